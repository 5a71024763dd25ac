"""One reviewer's verdict on one item, and what the item becomes by it. See docs/feedback.md for who may settle what."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings
from pipelines.errors import BadInput, Conflict, NotFound
from pipelines.feedback import answers, rights, texts
from pipelines.feedback.answers import Chosen
from pipelines.feedback.corrections import digest
from pipelines.feedback.opening import UNSETTLED
from pipelines.feedback.rights import Domain
from pipelines.feedback.texts import Accepted, Text
from pipelines.governance import audit
from pipelines.retrieval.spans import flatten
from pipelines.state.database import reading, transaction
from pipelines.state.models import Review, ReviewItem, now
from pipelines.traffic import sealed

_KEEP = ("accept", "edit")
_LONGEST = 86_400.0
"""Seconds for one item: a page that stayed open for longer says nothing about the work."""


def decide(
    settings: Settings,
    domain: Domain,
    item_id: str,
    reviewer: str,
    verdict: str,
    *,
    answer: str | None = None,
    cited: str | None = None,
    kinds: dict[str, bool] | None = None,
    note: str | None = None,
    seconds: float | None = None,
) -> str:
    """Write a verdict down and return the item's state; the same verdict again changes nothing.

    `verdict`: accept | edit | reject | escalate. `answer` and `cited` as `answers.chosen`; `kinds` {"example", "golden", "regression"};
    `seconds` from the showing of the item to the verdict. NotAllowed, audited, for who may not; BadInput for an answer that cannot be
    learned from; Conflict for an item that is settled, or that a third person has to judge; NotFound.
    """
    config = rights.config_of(settings, domain)
    rights.require(settings, config, reviewer, item_id)
    wanted = answers.kinds(kinds)
    seconds = seconds if seconds is not None and 0 <= seconds < _LONGEST else None
    if note is not None and len(note) > answers.LONGEST // 2:
        raise BadInput("the note is too long", where="note", todo=f"up to {answers.LONGEST // 2:,} characters")
    with reading(settings) as session:
        item, text, reviews = _load(session, settings, config.domain, item_id)
        seen = _said_by_others(settings, config.domain, item, reviews, reviewer)
    rights.require_other(settings, reviewer, item_id, text)
    rights.require_turn(settings, config, reviewer, item_id, item.state)
    before = item.state
    chosen = answers.chosen(settings, config, text, verdict, answer, cited, seen)
    told = {"answer": chosen.answer, "cited": chosen.cites, "passage": chosen.passage and chosen.passage.model_dump()} if chosen else {}
    told["note"] = answers.masked(settings, config, note.strip()) if note and note.strip() else None
    with transaction(settings) as session:
        item, text, reviews = _load(session, settings, config.domain, item_id)
        sha = digest(text.question, chosen.answer, chosen.cites) if chosen else None
        mine = next((one for one in reviews if one.reviewer == reviewer), None)
        if _said_already(item, mine, verdict, sha, wanted):
            return item.state
        _require_turn(item, mine)
        if item.state != before:
            raise Conflict("another reviewer has answered meanwhile", where=item.id, todo="look at it again")
        if mine is None:
            mine = Review(item_id=item.id, reviewer=reviewer)
            reviews.append(mine)
            session.add(mine)
        mine.verdict, mine.answer_sha256, mine.at, mine.seconds = verdict, sha, now(), seconds
        mine.kinds = dict(wanted) if chosen else {}
        mine.sealed = sealed.close(settings, config, told, str(item.signals["day"]))
        state = _next(settings, config, item, text, reviews, mine, chosen)
        detail = {"verdict": verdict, "state": state, "seconds": seconds} | ({"kinds": mine.kinds} if chosen else {})
        audit.record(session, actor=reviewer, action="review.decided", subject=item.id, detail=detail)
        return state


def _next(
    settings: Settings, config: DomainConfig, item: ReviewItem, text: Text, reviews: list[Review], mine: Review, chosen: Chosen | None
) -> str:
    if mine.verdict == "escalate":
        item.state = "escalated"
        return item.state
    others = [one for one in reviews if one is not mine and one.verdict != "escalate"]
    together: list[Review] = []
    if item.state == "open" and item.reviewers == 2:
        if not others:
            return item.state
        if not _agree(others[0], mine):
            item.state = "disputed"
            return item.state
        together = others[:1]
    if chosen is None:
        item.state, item.kinds, item.settled_at = "rejected", {}, now()
        return item.state
    if chosen.own and not together:
        # Nobody else has read these words: they become a suggestion, which another person may accept.
        heard = text.heard(mine.reviewer, chosen.answer, None)
        item.sealed = texts.seal(settings, config, heard.model_copy(update={"suggested": chosen.answer}), str(item.signals["day"]))
        return item.state
    _accept(settings, config, item, text, mine, chosen, together or [one for one in others if _agree(one, mine)])
    return item.state


def _accept(
    settings: Settings, config: DomainConfig, item: ReviewItem, text: Text, mine: Review, chosen: Chosen, agreeing: list[Review]
) -> None:
    suggested_by = next((one.by for one in text.suggestions if chosen.answer and _same(one.text, chosen.answer)), None)
    author = suggested_by or (agreeing[0].reviewer if agreeing else text.raised_by)
    accepted = Accepted(answer=chosen.answer, cites=chosen.cites, passage=chosen.passage, author=author, reviewer=mine.reviewer)
    day = texts.day_of(now())
    # From here on it is kept for what it is learned as: its time counts from today.
    item.sealed = texts.seal(settings, config, text.model_copy(update={"accepted": accepted}), day)
    item.signals = {**item.signals, "day": day}
    # Of what two people want, what both want.
    item.kinds = {kind: all(one.kinds.get(kind, False) for one in (mine, *agreeing)) for kind in answers.KINDS}
    item.state, item.cites, item.answer_sha256, item.settled_at = "accepted", chosen.cites, mine.answer_sha256, now()


def _agree(one: Review, other: Review) -> bool:
    """Whether both keep the same answer, by whichever of the two ways, or both reject."""
    return (one.verdict in _KEEP) == (other.verdict in _KEEP) and one.answer_sha256 == other.answer_sha256


def _same(one: str, other: str) -> bool:
    return flatten(one) == flatten(other)


def _said_already(item: ReviewItem, mine: Review | None, verdict: str, sha: str | None, kinds: dict[str, bool]) -> bool:
    if mine is None or (mine.verdict, mine.answer_sha256) != (verdict, sha):
        return False
    return item.state not in UNSETTLED or sha is None or mine.kinds == kinds


def _require_turn(item: ReviewItem, mine: Review | None) -> None:
    if item.state not in UNSETTLED:
        raise Conflict(f"it is {item.state} already", where=item.id, todo="another complaint about it opens it again")
    if item.state == "disputed" and mine is not None:
        raise Conflict("two reviewers differ, and you are one of them", where=item.id, todo="a third person has to decide")


def _said_by_others(settings: Settings, domain: str, item: ReviewItem, reviews: list[Review], reviewer: str) -> list[str | None]:
    """The other reviewers' answers; none while it is open, for they may not be seen then."""
    if item.state == "open":
        return []
    found = []
    for one in reviews:
        if one.reviewer != reviewer and one.verdict in _KEEP and one.sealed:
            found.append(texts.unseal(settings, domain, one.sealed).get("answer"))
    return found


def _load(session: Session, settings: Settings, domain: str, item_id: str) -> tuple[ReviewItem, Text, list[Review]]:
    item = session.scalar(select(ReviewItem).where(ReviewItem.id == item_id, ReviewItem.domain == domain).with_for_update())
    if item is None:
        raise NotFound(f"there is no item {item_id!r} in {domain}", todo=f"`ratchet review list {domain}` shows them")
    if item.state == "expired":
        raise Conflict("its time is over and its text is gone", where=item.id, todo="another complaint about it opens it again")
    text = texts.read(settings, domain, item.sealed)
    return item, text, list(session.scalars(select(Review).where(Review.item_id == item_id).order_by(Review.id)))
