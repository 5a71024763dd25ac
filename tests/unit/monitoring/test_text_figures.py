from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kept_answers import keep, numbered

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.monitoring import observations, texts

AT = datetime(2026, 3, 2, 10, 0, 1, tzinfo=UTC)
NOW = AT + timedelta(hours=1)
EVERY = {
    "groundedness_mean", "readability_question", "readability_answer", "question_words", "foreign_share", "impolite_share",
    "inconsistent_share",
}  # fmt: skip


@pytest.fixture
def domain(settings: Settings) -> DomainConfig:
    return load_domain("regulatory", settings)


def figures(settings: Settings, measure: str) -> list[tuple[float, int]]:
    rows = observations.read(settings, "regulatory", {measure}, AT - timedelta(days=1), NOW)
    return [(round(row.value, 3), row.n) for row in rows]


def told(settings: Settings, domain: DomainConfig, *changes: dict[str, Any]) -> None:
    keep(settings, domain, *[numbered(AT + timedelta(milliseconds=k), k, **one) for k, one in enumerate(changes)])
    texts.read(settings, domain, NOW)


def test_every_measure_comes_by_window_and_release(settings: Settings, domain: DomainConfig) -> None:
    same = {"question": "How long must a lessor keep the payment ledgers of a lease that has ended?"}
    keep(settings, domain, *[numbered(AT + timedelta(minutes=5 * k), k, release=f"regulatory/r{k % 2 + 1}", **same) for k in range(4)])
    assert texts.read(settings, domain, NOW) == {"samples": 4, "figures": 4 * 6 + 2, "waiting": 0}
    rows = observations.read(settings, "regulatory", EVERY, AT, NOW)
    assert {row.measure for row in rows} == EVERY
    words = [(row.at.minute, row.release, row.value) for row in rows if row.measure == "question_words"]
    assert words == [(5, "regulatory/r1", 15.0), (10, "regulatory/r2", 15.0), (15, "regulatory/r1", 15.0), (20, "regulatory/r2", 15.0)]
    assert all(row.source == "text" and row.detail == {} for row in rows)


def test_the_same_hour_again_adds_nothing(settings: Settings, domain: DomainConfig) -> None:
    told(settings, domain, {}, {})
    before = figures(settings, "question_words")
    assert texts.read(settings, domain, NOW) == {"samples": 0, "figures": 0, "waiting": 0}
    assert figures(settings, "question_words") == before == [(11.0, 2)]


def test_what_is_too_much_for_one_run_waits_and_its_window_is_one_figure(settings: Settings, domain: DomainConfig) -> None:
    keep(settings, domain, *[numbered(AT + timedelta(milliseconds=k // 2), k) for k in range(10)])
    assert texts.read(settings, domain, NOW, most=5) == {"samples": 4, "figures": 6, "waiting": 6}
    assert texts.read(settings, domain, NOW, most=5)["waiting"] == 2
    assert texts.read(settings, domain, NOW, most=5)["waiting"] == 0
    assert figures(settings, "question_words") == [(11.0, 10)]


def test_what_may_still_be_written_is_not_passed_by(settings: Settings, domain: DomainConfig) -> None:
    keep(settings, domain, *[numbered(AT)])
    assert texts.read(settings, domain, AT + timedelta(seconds=10))["samples"] == 0
    assert texts.read(settings, domain, AT + timedelta(seconds=40))["samples"] == 1


def test_an_answer_is_grounded_or_not_and_an_abstention_is_neither(settings: Settings, domain: DomainConfig) -> None:
    lie = {"span": "The lessee pays ninety dollars.", "answer": "The lessee pays ninety dollars. [9.8(a)]"}
    told(settings, domain, {}, lie, {"abstained": True, "span": None, "answer": "r1 holds no checked answer to this."})
    ((value, n),) = figures(settings, "groundedness_mean")
    assert n == 2 and 0.4 < value < 0.9
    assert figures(settings, "readability_answer")[0][1] == 2


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Wie lange muss der Leasinggeber die Zahlungsbücher nach dem Ende des Vertrages aufbewahren?", True),
        ("Combien de temps le bailleur doit-il conserver les registres de paiement après la fin du bail?", True),
        ("出租人在租约结束后必须保存付款账簿多长时间请告诉我具体的月数和适用的法规条文内容谢谢您的帮助", True),
        ("How long must a lessor keep the payment ledgers after the lease has ended?", False),
        ("How long has [NAME] of [LOCATION] had to keep the payment ledgers of the lease?", False),
        ("2014 threshold?", None),
        ("", None),
        ("12 34 56 78 90 12 34 56 78 90", None),
    ],
)
def test_a_foreign_question_is_known_and_a_short_one_says_nothing(text: str, other: bool | None) -> None:
    assert texts.foreign(text) is other
    assert texts.foreign(text) is other, "no lots are drawn"


def test_no_golden_is_taken_for_a_foreign_one(settings: Settings, domain: DomainConfig) -> None:
    from pipelines.evaluation import goldens

    asked = [golden.question for name in ("regulatory", "clinical") for golden in goldens.load(settings.configs / f"goldens/{name}.jsonl")]
    assert sum(texts.foreign(question) is True for question in asked) <= len(asked) * 0.02


def test_who_is_told_otherwise_by_the_same_release_is_told_inconsistently(settings: Settings, domain: DomainConfig) -> None:
    same = {"question": "What is the threshold?"}
    told(
        settings,
        domain,
        same,
        same,
        {**same, "span": "33 months"},
        {**same, "span": "33 months", "release": "regulatory/r2"},
        {**same, "span": "34 months", "as_of": "2016-01-01"},
        {**same, "span": "35 months", "cache": "exact"},
    )
    # Of the release and day that were asked three times, two could be compared; the other release, day and the cache say nothing of it.
    assert figures(settings, "inconsistent_share") == [(0.5, 2)]


def test_consistency_is_known_over_runs(settings: Settings, domain: DomainConfig) -> None:
    same = {"question": "What is the threshold?"}
    told(settings, domain, same)
    later = AT + timedelta(minutes=30)
    keep(settings, domain, *[numbered(later, 9, span="33 months", **same)])
    texts.read(settings, domain, NOW)
    assert figures(settings, "inconsistent_share") == [(1.0, 1)]


def test_probes_are_nobodys_questions(settings: Settings, domain: DomainConfig) -> None:
    told(settings, domain, {"key": observations.PROBE_KEY}, {})
    assert figures(settings, "question_words") == [(11.0, 1)]


def test_a_swear_word_in_an_answer_shows(settings: Settings, domain: DomainConfig) -> None:
    told(settings, domain, {}, {"span": "30 months, you stupid bastard"})
    assert figures(settings, "impolite_share") == [(0.5, 2)]


def test_no_text_is_in_the_control_database(settings: Settings, domain: DomainConfig) -> None:
    told(settings, domain, {"question": "What about Zanzibarquestion, I wonder?"}, {})
    data = (settings.var / "state" / "ratchet.db").read_bytes() + (settings.var / "state" / "ratchet.db-wal").read_bytes()
    assert b"Zanzibar" not in data
