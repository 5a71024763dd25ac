"""Who may look and decide, what an answer must be, and what an item becomes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from kept_answers import PASSAGE, keep, sample
from sqlalchemy import select

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.corpus import warehouse
from pipelines.corpus.documents import document
from pipelines.errors import BadInput, Conflict, NotAllowed, NotFound
from pipelines.feedback import inbound, queue, retention, texts
from pipelines.feedback.corrections import digest
from pipelines.feedback_config import Feedback
from pipelines.state.database import reading
from pipelines.state.models import AuditEvent, ReviewItem, now

QUESTION = "What is the threshold amount in 2015?"


@pytest.fixture
def domain(settings: Settings) -> DomainConfig:
    return load_domain("regulatory", settings)


def pair(domain: DomainConfig) -> DomainConfig:
    """Two reviewers, and a third where they differ."""
    return domain.model_copy(update={"feedback": Feedback(reviewers=2, reviewer_names=("ann", "bob", "cid"))})


def chats(domain: DomainConfig, **told: Any) -> DomainConfig:
    """A domain of free text."""
    task = domain.task.model_copy(update={"kind": "chat"})
    return domain.model_copy(update={"task": task, "feedback": Feedback(reviewer_names=("ann", "bob", "cid"), **told)})


def complain(settings: Settings, domain: DomainConfig, request_id: str = "a1", question: str = QUESTION, **told: Any) -> str:
    said: dict[str, Any] = {"correction": "24 months", "key": "key:legal"} | {
        name: told.pop(name) for name in ("correction", "comment", "key") if name in told
    }
    keep(settings, domain, sample(request_id, now(), question, **told))
    answer = inbound.answered(settings, domain.domain, request_id)
    assert answer is not None
    got = inbound.receive(settings, domain, answer, tenant="legal", rating=-1, now=now(), **said)
    assert got.review is not None
    return got.review


def item_of(settings: Settings, item_id: str) -> ReviewItem:
    with reading(settings) as session:
        return session.get_one(ReviewItem, item_id)


def accepted(settings: Settings, item_id: str) -> texts.Accepted:
    found = texts.read(settings, "regulatory", item_of(settings, item_id).sealed).accepted
    assert found is not None
    return found


def events(settings: Settings, action: str) -> list[AuditEvent]:
    with reading(settings) as session:
        return list(session.scalars(select(AuditEvent).where(AuditEvent.action == action).order_by(AuditEvent.seq)))


# --- looking ----------------------------------------------------------------------------------------------------------


def test_the_queue_shows_what_waits_for_me_the_most_urgent_first(settings: Settings, domain: DomainConfig) -> None:
    first = complain(settings, domain)
    second = complain(settings, domain, "a2", "How long are accounts kept?")
    inbound.receive(settings, domain, inbound.answered(settings, "regulatory", "a2"), key="key:b", tenant="legal", rating=-1, now=now())  # type: ignore[arg-type]
    found = queue.items(settings, domain, "steward")
    assert [one.id for one in found] == [second, first] and found[0].signals["complaints"] == 2
    assert [one.id for one in queue.items(settings, "regulatory", "steward", limit=1)] == [second]
    queue.decide(settings, domain, second, "steward", "reject")
    assert [one.id for one in queue.items(settings, domain, "steward")] == [first]
    assert [one.id for one in queue.items(settings, domain, "approver", states=("rejected",))] == [second]


def test_a_reading_is_on_record_and_shows_no_name_of_a_caller(settings: Settings, domain: DomainConfig) -> None:
    item = complain(settings, domain, comment="see the notice")
    shown = queue.show(settings, domain, item, "steward")
    assert (shown.question, shown.span, shown.suggested, shown.cited) == (QUESTION, "$53,500", "24 months", "9-2-e")
    assert [one.text for one in shown.comments] == ["see the notice"] and shown.passages == (PASSAGE,) and shown.needs_passage
    assert "key:legal" not in str(shown)
    [event] = events(settings, "review.read")
    assert (event.actor, event.subject, event.detail) == ("steward", item, {})
    for unknown in ("regulatory-q9", "clinical-q1", ""):
        with pytest.raises(NotFound, match="no item"):
            queue.show(settings, domain, unknown, "steward")


def test_who_does_not_review_is_refused_on_record(settings: Settings, domain: DomainConfig) -> None:
    item = complain(settings, domain)
    for look in (
        lambda: queue.items(settings, domain, "eve"),
        lambda: queue.show(settings, domain, item, "eve"),
        lambda: queue.decide(settings, domain, item, "eve", "accept"),
    ):
        with pytest.raises(NotAllowed, match="does not review"):
            look()
    assert [(one.actor, one.allowed) for one in events(settings, "review.denied")] == [("eve", False)] * 3


# --- one reviewer -----------------------------------------------------------------------------------------------------


def test_the_suggested_correction_is_accepted(settings: Settings, domain: DomainConfig) -> None:
    item = complain(settings, domain)
    assert queue.decide(settings, domain, item, "steward", "accept", seconds=12.5) == "accepted"
    row, told = item_of(settings, item), accepted(settings, item)
    assert (told.answer, told.cites, told.author, told.reviewer) == ("24 months", "9-2-e", "key:legal", "steward")
    assert row.answer_sha256 == digest(QUESTION, "24 months", "9-2-e") and row.cites == "9-2-e" and row.settled_at is not None
    assert row.kinds == {"example": True, "golden": False, "regression": False}
    [event] = events(settings, "review.decided")
    assert (event.actor, event.subject, event.detail["verdict"]) == ("steward", item, "accept")
    assert "24 months" not in str(event.detail) and event.detail["seconds"] == 12.5


def test_the_answer_was_right_as_it_was(settings: Settings, domain: DomainConfig) -> None:
    item = complain(settings, domain, correction=None)
    assert queue.decide(settings, domain, item, "steward", "accept") == "accepted"
    assert accepted(settings, item).answer == "$53,500"
    other = complain(settings, domain, "a2", "What is the other amount?")
    queue.decide(settings, domain, other, "steward", "accept", answer="$53,500", kinds={"golden": True})
    row = item_of(settings, other)
    assert row.answer_sha256 == digest("What is the other amount?", "$53,500", "9-2-e")
    assert row.kinds == {"example": False, "golden": True, "regression": False}


def test_an_edit_must_stand_in_a_passage_or_say_that_nothing_states_it(settings: Settings, domain: DomainConfig) -> None:
    item = complain(settings, domain, correction="It is sixty months, I think.")
    for verdict, answer in (("accept", None), ("edit", "sixty months"), ("edit", "53")):
        with pytest.raises(BadInput, match="word for word") as refused:
            queue.decide(settings, domain, item, "steward", verdict, answer=answer)
        assert "copy the words" in refused.value.todo
    with pytest.raises(BadInput, match="nobody gave or suggested"):
        queue.decide(settings, domain, item, "steward", "accept", answer="24 months")
    assert item_of(settings, item).state == "open"
    assert queue.decide(settings, domain, item, "steward", "edit", answer=" 24\n months ") == "accepted"
    assert accepted(settings, item).answer == "24 months" and accepted(settings, item).author == "key:legal"
    nothing = complain(settings, domain, "a2", "Who is the president?")
    assert queue.decide(settings, domain, nothing, "steward", "edit", answer=None) == "accepted"
    assert item_of(settings, nothing).answer_sha256 == digest("Who is the president?", None, "9-2-e")


@pytest.mark.slow
def test_a_passage_that_was_not_shown_is_named_by_its_key(settings: Settings, domain: DomainConfig) -> None:
    rows = [
        document(key="9-4-a", title="Leases", text="A lease of 2015 is exempt above $54,600.", valid_from="2015-01-01", arrival_id="a"),
        document(key="9-4-b", title="Gone", text="Old text.", valid_from="2011-01-01", arrival_id="a"),
        document(key="9-4-b", title="", text="", valid_from="2012-01-01", arrival_id="a", withdrawn=True),
    ]
    warehouse.publish(settings, domain, "a", rows, version_id="ConsumerLeasing_v1.0", parent_snapshot=None)
    item = complain(settings, domain)
    with pytest.raises(BadInput, match="no document 'nowhere'"):
        queue.decide(settings, domain, item, "steward", "edit", answer="$54,600", cited="nowhere")
    with pytest.raises(BadInput, match="word for word, in any passage of 9-4-a"):
        queue.decide(settings, domain, item, "steward", "edit", answer="$1", cited="9-4-a")
    assert queue.decide(settings, domain, item, "steward", "edit", answer="$54,600", cited="9-4-a") == "accepted"
    told = accepted(settings, item)
    assert told.cites == "9-4-a" and told.passage is not None and told.passage.content == rows[0].content


def test_a_rejection_settles_and_the_same_again_changes_nothing(settings: Settings, domain: DomainConfig) -> None:
    item = complain(settings, domain)
    assert queue.decide(settings, domain, item, "steward", "reject") == "rejected"
    assert queue.decide(settings, domain, item, "steward", "reject") == "rejected"
    with pytest.raises(Conflict, match="rejected already"):
        queue.decide(settings, domain, item, "steward", "accept")
    row = item_of(settings, item)
    assert (row.answer_sha256, row.kinds) == (None, {}) and len(events(settings, "review.decided")) == 1


@pytest.mark.parametrize(
    ("verdict", "told", "match"),
    [
        ("delete", {}, "no such verdict"),
        ("reject", {"answer": "x"}, "takes no answer"),
        ("edit", {"answer": "   "}, "empty or too long"),
        ("edit", {"answer": "x" * 4_001}, "empty or too long"),
        ("accept", {"kinds": {"weapon": True}}, "nothing becomes a 'weapon'"),
        ("accept", {"note": "x" * 2_001}, "note is too long"),
    ],
)
def test_what_is_no_verdict_changes_nothing(
    settings: Settings, domain: DomainConfig, verdict: str, told: dict[str, Any], match: str
) -> None:
    item = complain(settings, domain)
    with pytest.raises(BadInput, match=match):
        queue.decide(settings, domain, item, "steward", verdict, **told)
    assert item_of(settings, item).state == "open" and events(settings, "review.decided") == []


def test_nobody_judges_their_own_correction(settings: Settings, domain: DomainConfig) -> None:
    item = complain(settings, domain, key="key:Steward")
    with pytest.raises(NotAllowed, match="raised this"):
        queue.decide(settings, domain, item, "steward", "accept")
    assert events(settings, "review.denied")[0].allowed is False
    assert queue.decide(settings, domain, item, "approver", "accept") == "accepted"


def test_what_was_escalated_is_for_an_approver(settings: Settings, domain: DomainConfig) -> None:
    item = complain(settings, domain)
    assert queue.decide(settings, domain, item, "steward", "escalate", note="call 415-555-0132 first") == "escalated"
    assert queue.items(settings, domain, "steward") == []
    with pytest.raises(NotAllowed, match="may not settle"):
        queue.decide(settings, domain, item, "steward", "accept")
    shown = queue.show(settings, domain, item, "approver")
    assert [(one.reviewer, one.verdict, one.note) for one in shown.others] == [("steward", "escalate", "call <removed> first")]
    assert [one.id for one in queue.items(settings, domain, "approver")] == [item]
    assert queue.decide(settings, domain, item, "approver", "accept") == "accepted"


def test_an_approver_who_does_not_review_settles_only_what_was_escalated(settings: Settings, domain: DomainConfig) -> None:
    two = pair(domain)
    item = complain(settings, two)
    assert queue.items(settings, two, "approver") == []
    with pytest.raises(NotAllowed, match="settles only"):
        queue.decide(settings, two, item, "approver", "accept")
    queue.decide(settings, two, item, "ann", "escalate")
    assert queue.decide(settings, two, item, "approver", "accept") == "accepted"


def test_an_item_whose_time_is_over_cannot_be_decided(settings: Settings, domain: DomainConfig) -> None:
    item = complain(settings, domain)
    retention.expire(settings, domain, now() + timedelta(days=40))
    with pytest.raises(Conflict, match="its time is over"):
        queue.decide(settings, domain, item, "steward", "accept")
    with pytest.raises(NotFound, match="past its retention"):
        queue.show(settings, domain, item, "steward")


# --- two reviewers ----------------------------------------------------------------------------------------------------


def test_two_who_agree_settle_it_and_neither_sees_the_other_before(settings: Settings, domain: DomainConfig) -> None:
    two = pair(domain)
    item = complain(settings, two)
    assert queue.decide(settings, two, item, "ann", "accept", kinds={"example": True, "golden": True}, note="as in the notice") == "open"
    assert [one.id for one in queue.items(settings, two, "ann")] == [] and [one.id for one in queue.items(settings, two, "bob")] == [item]
    assert queue.show(settings, two, item, "bob").others == ()
    mine = queue.show(settings, two, item, "ann").mine
    assert mine is not None and mine.verdict == "accept"
    # The same answer by the other way is the same answer.
    assert queue.decide(settings, two, item, "bob", "edit", answer="24 months", cited="9-2-e") == "accepted"
    assert item_of(settings, item).kinds == {"example": True, "golden": False, "regression": False}
    told = accepted(settings, item)
    assert (told.author, told.reviewer) == ("key:legal", "bob")
    assert [one.note for one in queue.show(settings, two, item, "bob").others] == ["as in the notice"]


def test_of_an_edit_that_two_made_the_first_is_the_author(settings: Settings, domain: DomainConfig) -> None:
    two = pair(domain)
    item = complain(settings, two, correction=None)
    queue.decide(settings, two, item, "ann", "edit", answer="24 months")
    assert queue.decide(settings, two, item, "bob", "edit", answer="24  months") == "accepted"
    assert (accepted(settings, item).author, accepted(settings, item).reviewer) == ("ann", "bob")


def test_one_may_think_again_while_the_other_has_not_answered(settings: Settings, domain: DomainConfig) -> None:
    two = pair(domain)
    item = complain(settings, two)
    queue.decide(settings, two, item, "ann", "accept")
    assert queue.decide(settings, two, item, "ann", "reject") == "open"
    assert queue.decide(settings, two, item, "bob", "reject") == "rejected"


@pytest.mark.parametrize("third", ["accept", "reject"])
def test_where_two_differ_a_third_decides(settings: Settings, domain: DomainConfig, third: str) -> None:
    two = pair(domain)
    item = complain(settings, two)
    queue.decide(settings, two, item, "ann", "accept")
    assert queue.decide(settings, two, item, "bob", "reject") == "disputed"
    with pytest.raises(Conflict, match="a third person"):
        queue.decide(settings, two, item, "ann", "reject")
    assert queue.items(settings, two, "ann") == []
    shown = queue.show(settings, two, item, "cid")
    assert [(one.reviewer, one.verdict, one.answer) for one in shown.others] == [("ann", "accept", "24 months"), ("bob", "reject", None)]
    assert queue.decide(settings, two, item, "cid", third) == ("accepted" if third == "accept" else "rejected")


def test_two_different_answers_are_a_dispute(settings: Settings, domain: DomainConfig) -> None:
    two = pair(domain)
    item = complain(settings, two)
    queue.decide(settings, two, item, "ann", "accept")
    assert queue.decide(settings, two, item, "bob", "edit", answer="$53,500") == "disputed"
    assert queue.decide(settings, two, item, "cid", "accept", answer="$53,500") == "accepted"
    assert (accepted(settings, item).author, accepted(settings, item).reviewer) == ("bob", "cid")


# --- free text --------------------------------------------------------------------------------------------------------


def test_free_text_of_one_person_waits_for_another(settings: Settings, domain: DomainConfig) -> None:
    chat = chats(domain)
    item = complain(settings, chat, correction=None)
    assert queue.decide(settings, chat, item, "ann", "edit", answer="Write to ann@example.org.") == "open"
    assert queue.show(settings, chat, item, "bob").suggested == "Write to <removed>."
    with pytest.raises(NotAllowed, match="raised this"):
        queue.decide(settings, chat, item, "ann", "accept")
    assert queue.decide(settings, chat, item, "bob", "accept") == "accepted"
    told = accepted(settings, item)
    assert (told.answer, told.cites, told.author, told.reviewer) == ("Write to <removed>.", None, "ann", "bob")
    with pytest.raises(BadInput, match="no answer to learn from"):
        queue.decide(settings, chat, complain(settings, chat, "a2", "Hello?", correction=None), "ann", "edit")


def test_of_two_free_texts_a_third_person_takes_one(settings: Settings, domain: DomainConfig) -> None:
    chat = chats(domain, reviewers=2)
    item = complain(settings, chat, correction=None)
    queue.decide(settings, chat, item, "ann", "edit", answer="You may not.")
    assert queue.show(settings, chat, item, "bob").suggested is None
    assert queue.decide(settings, chat, item, "bob", "edit", answer="You must not.") == "disputed"
    assert queue.decide(settings, chat, item, "cid", "accept", answer="You must not.") == "accepted"
    assert accepted(settings, item).author == "bob"
