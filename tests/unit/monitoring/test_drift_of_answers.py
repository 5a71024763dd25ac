"""Drift: what differs is found, what chance does is not, and too little is no figure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.corpus import warehouse
from pipelines.corpus.documents import Document, document
from pipelines.monitoring import drift
from pipelines.monitoring.differences import Difference, holm, of_kinds, of_numbers, of_vectors, tail
from pipelines.state.database import reading, transaction
from pipelines.state.models import Artifact, Candidate, DatasetVersion, Observation, Pointer
from pipelines.traffic import samples
from tests.traffic_lines import record, write

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
SEEDS = range(400)


@pytest.fixture
def domain(settings: Settings) -> DomainConfig:
    return load_domain("regulatory", settings)


def rows(days: int, each: int, seed: int, **told: Any) -> Iterator[tuple[datetime, dict[str, Any]]]:
    """Answers of so many days before NOW, `each` of them a day; numbers and topics drawn anew from one distribution."""
    rng = np.random.default_rng(seed)
    for day in range(days):
        at = NOW - timedelta(days=day, hours=6)
        for number in range(each):
            topic = int(rng.choice(6, p=[0.3, 0.25, 0.2, 0.1, 0.1, 0.05]))
            values = {
                "tokens_out": int(rng.gamma(4, 15)) + 1, "confidence": float(rng.beta(9, 2)), "top_score": float(rng.normal(0.6, 0.1)),
                "cited": f"1013-{topic}-a-{number % 5}", "sources": [], "reason": "not_in_passage" if rng.random() < 0.05 else None,
            }  # fmt: skip
            yield at, record(f"regulatory/r1-{day}", number, **(values | {"release": "regulatory/r1"} | told))


def log(settings: Settings, found: Iterator[tuple[datetime, dict[str, Any]]]) -> None:
    by_day: dict[datetime, list[dict[str, Any]]] = {}
    for at, one in found:
        by_day.setdefault(at, []).append(one)
    for at, some in by_day.items():
        write(settings, "regulatory", at, some)


def before(found: Iterator[tuple[datetime, dict[str, Any]]]) -> Iterator[tuple[datetime, dict[str, Any]]]:
    return (one for one in found if one[0] < NOW - timedelta(days=1))


def named(settings: Settings, domain: DomainConfig) -> dict[str, Any]:
    return {one.measure: one for one in drift.figures(settings, domain, NOW)}


def test_without_traffic_there_is_no_figure(settings: Settings, domain: DomainConfig) -> None:
    assert drift.figures(settings, domain, NOW) == []
    assert drift.look(settings, domain, NOW) == {"figures": 0}


def test_too_few_answers_are_no_figure(settings: Settings, domain: DomainConfig) -> None:
    log(settings, rows(10, 99, 1))
    assert named(settings, domain) == {}


def test_the_same_traffic_is_no_drift(settings: Settings, domain: DomainConfig) -> None:
    log(settings, rows(12, 200, 2))
    found = named(settings, domain)
    assert found.keys() == {"drift_topics", "drift_retrieval", "drift_answers"}
    assert [one.value for one in found.values()] == [0.0, 0.0, 0.0]
    assert found["drift_topics"].n == 200 and found["drift_topics"].detail["reference"] == 2200
    assert found["drift_answers"].detail.keys() >= {"p", "distance", "usual", "of_length", "of_confidence", "of_reasons"}


@pytest.mark.parametrize(
    ("told", "measure"),
    [
        ({"cited": "1013-9-z-1"}, "drift_topics"),
        ({"top_score": 0.4}, "drift_retrieval"),
        ({"tokens_out": 400}, "drift_answers"),
        ({"confidence": 0.4}, "drift_answers"),
        ({"reason": "bad_citation"}, "drift_answers"),
    ],
)
def test_each_drift_is_found_in_its_own_figure(settings: Settings, domain: DomainConfig, told: dict[str, Any], measure: str) -> None:
    log(settings, before(rows(12, 200, 3)))
    log(settings, rows(1, 200, 4, **told))
    found = named(settings, domain)
    assert found[measure].value >= 0.3 and found[measure].detail["drifted"]
    assert {name for name, one in found.items() if one.value} == {measure}


def test_a_difference_as_great_as_between_usual_days_is_none(settings: Settings, domain: DomainConfig) -> None:
    for day in range(12):
        scored = {"top_score": 0.3 if day % 4 == 0 else 0.6}
        log(settings, ((at - timedelta(days=day), one) for at, one in rows(1, 150, day, **scored)))
    one = named(settings, domain)["drift_retrieval"]
    assert one.detail["beyond_chance"] and one.value == 0.0


def test_probes_shadows_and_errors_are_no_traffic(settings: Settings, domain: DomainConfig) -> None:
    log(settings, before(rows(12, 200, 3)))
    log(settings, rows(1, 200, 4))
    for odd in ({"key": "probe"}, {"shadow": True}, {"status": 503}):
        log(settings, rows(1, 300, 5, cited="1013-9-z-1", confidence=0.1, **odd))
    found = named(settings, domain)
    assert found["drift_topics"].n == 200 and not any(one.value for one in found.values())


def test_scores_of_another_release_are_not_compared(settings: Settings, domain: DomainConfig) -> None:
    log(settings, before(rows(12, 200, 3)))
    log(settings, rows(1, 200, 4, release="regulatory/r2", top_score=12.0))
    assert "drift_retrieval" not in named(settings, domain)


def keep(settings: Settings, domain: DomainConfig, at: datetime, of: str, questions: list[str]) -> None:
    """Kept answers to these questions, a second apart."""
    path = settings.var / "samples" / domain.domain / f"{at:%Y-%m-%dT%H}-1-abc-1.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for k, question in enumerate(questions):
            one = samples.Sample(
                at=at + timedelta(seconds=k), request_id=f"{of}-{k}", question=question, answer="30 months", as_of="2015-06-01"
            )
            file.write(json.dumps(samples.line(settings, domain, one)) + "\n")


def test_questions_about_something_else_are_a_drift(settings: Settings, domain: DomainConfig) -> None:
    rule = domain.monitors.drift.model_copy(update={"min_samples": 40})
    domain = domain.model_copy(update={"monitors": domain.monitors.model_copy(update={"drift": rule})})
    things = ["ledgers", "odometers", "disclosures", "balloon payments", "wear standards", "advertisements", "renewals"]
    asked = ["How long must a lessor keep {}?", "Who signs {}?", "When are {} due?", "What must {} say?", "Are {} needed for lease {n}?"]
    rng = np.random.default_rng(1)
    for day in range(5):
        some = [str(rng.choice(asked)).format(rng.choice(things), n=number + 50 * day) for number in range(50)]
        keep(settings, domain, NOW - timedelta(days=day, hours=3), f"q{day}", some)
    one = named(settings, domain)["drift_questions"]
    assert one.value == 0.0 and one.n == 50 and one.detail["reference"] == 200
    other = [
        f"Which {dish} goes with {drink}?"
        for dish in ("pizza", "soup", "salad", "cake", "bread")
        for drink in ("wine", "beer", "tea", "milk")
    ]
    keep(settings, domain, NOW - timedelta(hours=2), "other", other * 3)
    found = named(settings, domain)["drift_questions"]
    assert found.value > 0.1 and found.n == 110


@pytest.mark.slow
def test_answers_that_cite_replaced_text_are_counted(settings: Settings, domain: DomainConfig) -> None:
    def doc(key: str, text: str, day: str, *, withdrawn: bool = False) -> Document:
        return document(key=key, title="", text=text, valid_from=day, arrival_id="a", withdrawn=withdrawn)

    first = [doc("1013-1", "one", "2011-01-01"), doc("1013-2", "two", "2011-01-01"), doc("1013-3", "three", "2011-01-01")]
    second = [
        doc("1013-1", "one, amended", "2014-01-01"),
        doc("1013-2", "two", "2014-01-01"),
        doc("1013-3", "", "2014-01-01", withdrawn=True),
    ]
    one = warehouse.publish(settings, domain, "a1", first, version_id="Law_v1.0", parent_snapshot=None)
    two = warehouse.publish(settings, domain, "a2", second, version_id="Law_v1.1", parent_snapshot=one.snapshot_id)

    def version(number: int, made: Any) -> DatasetVersion:
        return DatasetVersion(
            id=f"Law_v1.{number}", domain="regulatory", major=1, minor=number, snapshot_id=str(made.snapshot_id), arrival_id=f"a{number}",
            known_on="2014-01-01", documents=3, changed={}, content="c",
        )  # fmt: skip

    for key, as_of, count in (("1013-1", "2015-06-01", 30), ("1013-1", "2013-06-01", 40), ("1013-2", None, 50), ("1013-3", None, 20)):
        write(settings, "regulatory", NOW - timedelta(hours=1), [record(f"{key}{as_of}", k, cited=key, as_of=as_of) for k in range(count)])
    assert "stale_cited_share" not in named(settings, domain)
    with transaction(settings) as session:
        session.add(version(0, one))
        session.add(Artifact(id="i", kind="index", domain="regulatory", step_hash="i", path="index/1", sha256="s", facts={}))
        session.flush()
        session.add(
            Candidate(
                id="regulatory/r1",
                domain="regulatory",
                number=1,
                version_id="Law_v1.0",
                base="b",
                base_sha256="b",
                index_id="i",
                prompt="p",
                prompt_sha256="p",
                policy={},
                uploader="u",
                state="live",
                step_hash="s",
            )
        )
        session.flush()
        session.add(Pointer(domain="regulatory", live_id="regulatory/r1"))
    assert named(settings, domain)["stale_cited_share"].value == 0.0
    with transaction(settings) as session:
        session.add(version(1, two))
    found = named(settings, domain)["stale_cited_share"]
    assert found.n == 140 and found.value == pytest.approx(50 / 140) and found.detail == {"keys": 2, "answers": 50}


def test_looking_writes_once(settings: Settings, domain: DomainConfig) -> None:
    log(settings, rows(12, 150, 6))
    assert drift.look(settings, domain, NOW)["figures"] == 3
    assert drift.look(settings, domain, NOW) == {"figures": 0}
    with reading(settings) as session:
        held = session.scalars(select(Observation).order_by(Observation.measure)).all()
    assert [(one.measure, one.source, one.at) for one in held] == [
        ("drift_answers", "drift", NOW), ("drift_retrieval", "drift", NOW), ("drift_topics", "drift", NOW),
    ]  # fmt: skip


# --- the statistics ---------------------------------------------------------------------------------------------------


def vectors(rng: Any, n: int, shift: float = 0.0) -> Any:
    found = rng.normal(size=(n, 16))
    found[:, 0] += shift
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_p_values_are_what_they_say_for_samples_of_one_distribution() -> None:
    """At 1 %, of 400 looks each: 4 are stated; more than 11 happen once in 600 times."""
    small: dict[str, int] = {"numbers": 0, "kinds": 0, "all": 0}
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        shares = rng.dirichlet(np.full(12, 1.0))
        now, past = rng.multinomial(150, shares), rng.multinomial(900, shares)
        chances = {
            "numbers": of_numbers(rng.gamma(2, 3, 150), rng.gamma(2, 3, 900)).p,
            "kinds": of_kinds({str(k): int(n) for k, n in enumerate(now) if n}, {str(k): int(n) for k, n in enumerate(past) if n}, seed).p,
        }
        for name, p in chances.items():
            small[name] += p <= 0.01
        small["all"] += bool(holm(chances, 0.01))
    assert max(small.values()) <= 11


@pytest.mark.slow
def test_p_values_of_vectors_are_what_they_say() -> None:
    small = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        small += of_vectors(vectors(rng, 60), vectors(rng, 140), seed).p <= 0.02
    # 2 are stated; more than 7 happen once in 1000 times.
    assert small <= 7


def test_distances_are_nothing_for_the_same_and_grow_with_the_difference() -> None:
    rng = np.random.default_rng(1)
    same = of_vectors(vectors(rng, 100), vectors(rng, 200))
    some, far = (of_vectors(vectors(rng, 100, by), vectors(rng, 200)) for by in (2.0, 8.0))
    assert same.distance < 0.1 < some.distance < far.distance < 1 and some.p < 1e-6
    assert of_kinds({"a": 100}, {"b": 100}).distance == pytest.approx(1, abs=0.01) and of_kinds({"a": 5}, {"a": 7}) == Difference(
        0.0, 1.0, 5, 7
    )
    assert of_numbers([1.0] * 50, [2.0] * 50).distance > 0.7 and of_numbers([1.0] * 50, [1.0] * 50).p == 1.0


def test_the_tail_beyond_the_permutations_is_that_of_their_curve() -> None:
    from scipy.stats import gamma

    null = gamma.rvs(2.0, size=4000, random_state=1)
    for p in (1e-3, 1e-4, 1e-5):
        assert 0.2 * p < tail(float(gamma.isf(p, 2.0)), null) < 5 * p
    assert tail(1.0, np.ones(100)) == 1.0


def test_holm_takes_the_least_first() -> None:
    assert holm({"a": 0.01, "b": 0.02, "c": 0.04}, 0.05) == {"a", "b", "c"}
    assert holm({"a": 0.01, "b": 0.03, "c": 0.04}, 0.05) == {"a"}
    assert holm({"a": 0.02, "b": 0.001}, 0.01) == {"b"}
    assert holm({}, 0.05) == set()
