"""Quarantine: what waits for a person, and the two decisions. A release goes through publishing as an arrival of its own, exactly once.

Who delivered a document may not release it. A decision, its release arrival and its audit event are one transaction; the next run of
`<domain>.ingest` claims that arrival like any other and stages the held documents, which were masked when they came in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipelines.config import Settings, load_domain
from pipelines.corpus import sealing, staging
from pipelines.corpus.staging import Staged
from pipelines.errors import BadInput, Conflict, NotAllowed, NotFound
from pipelines.governance import audit
from pipelines.manifest import sha256
from pipelines.registry import artifacts
from pipelines.state import held as state
from pipelines.state import ledger
from pipelines.state.database import reading, transaction
from pipelines.state.models import Arrival, ArrivalItem, HeldDocument, now

SOURCE = "quarantine"
Places = Collection[str] | Literal["all"]
"""Places of an arrival's held documents, or all that wait."""
Row = dict[str, Any]


def held(
    settings: Settings, domain: str | None = None, arrival_id: str | None = None, *, decided: bool = False, limit: int | None = None
) -> list[Row]:
    """What waits, oldest first; with `decided` also what no longer does."""
    query = select(HeldDocument, Arrival.uploader).join(Arrival, Arrival.id == HeldDocument.arrival_id)
    if domain is not None:
        query = query.where(HeldDocument.domain == domain)
    if arrival_id is not None:
        query = query.where(HeldDocument.arrival_id == arrival_id)
    if not decided:
        query = query.where(HeldDocument.decision.is_(None))
    with reading(settings) as session:
        return [
            {
                "arrival": row.arrival_id,
                "domain": row.domain,
                "file": row.file,
                "place": row.place,
                "key": row.key,
                "rules": sorted({one["rule"] for one in row.findings["findings"]}),
                "findings": row.findings["findings"],
                "since": row.held_at.strftime("%Y-%m-%d %H:%M:%S"),
                "uploader": uploader,
                "state": row.state,
                "reason": row.reason,
                "decision": row.decision,
                "by": row.decided_by,
                "why": row.decided_why,
                "release": row.release_id,
            }
            for row, uploader in session.execute(query.order_by(HeldDocument.held_at, HeldDocument.id).limit(limit))
        ]


def waiting(settings: Settings, domain: str) -> int:
    """How many documents of a domain wait."""
    query = select(func.count()).select_from(HeldDocument).where(HeldDocument.domain == domain, HeldDocument.decision.is_(None))
    with reading(settings) as session:
        return session.scalar(query) or 0


def text(settings: Settings, arrival_id: str, place: str, actor: str) -> str:
    """The masked text of a held document, for who has to decide. The reading is audited."""
    with transaction(settings) as session:
        arrival = _arrival(session, arrival_id)
        row = session.scalar(select(HeldDocument).where(HeldDocument.arrival_id == arrival_id, HeldDocument.place == place))
        waiting = staging.read_held(settings.artifacts / arrival.staged, sealing.sealer(settings)) if arrival.staged else None
        if row is None or waiting is None:
            raise NotFound(f"nothing is held at {place!r}", where=arrival_id, todo="`ratchet quarantine show` lists the places")
        audit.record(session, actor=actor, action="quarantine.read", subject=arrival_id, detail={"place": place})
        document = waiting.staged.documents[row.row]
    return f"{document.title}\n{document.text}" if document.title else document.text


def release(settings: Settings, arrival_id: str, places: Places, actor: str, reason: str) -> str:
    """Let held documents go on: the id of the arrival that brings them. The same call again returns the same id and changes nothing.

    NotAllowed, audited, when the actor delivered them; Conflict when one of them was refused before.
    """

    def decide(session: Session, arrival: Arrival, rows: list[HeldDocument]) -> str:
        seal = sha256(["release", arrival.id, sorted((row.file, row.place) for row in rows)])
        made = Arrival(
            id=f"{arrival.domain}-{seal[:12]}",
            domain=arrival.domain,
            folder=f"{SOURCE}/{seal[:12]}",  # no folder of a landing zone can have this name
            seal=seal,
            uploader=arrival.uploader,
            source=SOURCE,
            effective=arrival.effective,
            files=0,
            releases=arrival.id,
        )
        session.add(made)
        for row in rows:
            row.release_id = made.id
            row.reason = f"released by {actor}: {reason}; the next run publishes it"
        return made.id

    return _decide(settings, arrival_id, places, actor, reason, "released", decide)


def refuse(settings: Settings, arrival_id: str, places: Places, actor: str, reason: str) -> str:
    """Refuse held documents for good; they stay in the account with who and why. Returns the arrival's id."""

    def decide(session: Session, arrival: Arrival, rows: list[HeldDocument]) -> str:
        for row in rows:
            row.state, row.reason = "refused", f"refused by {actor}: {reason}"
        session.flush()
        return arrival.id

    return _decide(settings, arrival_id, places, actor, reason, "refused", decide)


def _decide(
    settings: Settings,
    arrival_id: str,
    places: Places,
    actor: str,
    reason: str,
    decision: str,
    decide: Callable[[Session, Arrival, list[HeldDocument]], str],
) -> str:
    """One decision in one transaction."""
    if not reason.strip():
        raise BadInput("a decision needs a reason", where=arrival_id, todo="say why: it goes to the audit log")
    _authorise(settings, arrival_id, actor, decision)
    with transaction(settings) as session:
        arrival = _arrival(session, arrival_id)
        rows = list(session.scalars(select(HeldDocument).where(HeldDocument.arrival_id == arrival_id).order_by(HeldDocument.row)))
        chosen = _chosen(arrival, rows, places, decision, _documents(settings, arrival))
        fresh = [row for row in chosen if row.decision is None]
        if not fresh:
            # Said before: by the same words or by others, it is done.
            return next((row.release_id for row in chosen if row.release_id), arrival.id)
        outcome = decide(session, arrival, fresh)
        for row in fresh:
            row.decision, row.decided_by, row.decided_why, row.decided_at = decision, actor, reason, now()
        session.flush()
        lines = [ledger.Line(row.file, row.place, row.state, reason=row.reason) for row in fresh]
        ledger.restate(session, arrival_id, lines)
        state.settle(session, arrival_id)
        places_told = [row.place for row in fresh]
        detail = {"places": places_told[:50], "documents": len(fresh), "reason": reason, "as": outcome}
        audit.record(session, actor=actor, action=f"quarantine.{decision}", subject=arrival_id, detail=detail)
        return outcome


def _authorise(settings: Settings, arrival_id: str, actor: str, decision: str) -> None:
    """The uploader may refuse what he delivered, not release it. A denial is written before it is raised."""
    with transaction(settings) as session:
        arrival = _arrival(session, arrival_id)
        denied = decision == "released" and actor == arrival.uploader
        if denied:
            detail = {"decision": decision, "reason": "the uploader may not release"}
            audit.record(session, actor=actor, action="quarantine.denied", subject=arrival_id, allowed=False, detail=detail)
    if denied:
        raise NotAllowed(f"{actor} delivered this arrival and may not release it", where=arrival_id, todo="ask another person")


def _documents(settings: Settings, arrival: Arrival) -> list[set[int]]:
    """Rows of `held.parquet` that are one source document of an amendment chain: they are decided on together."""
    waiting = staging.read_held(settings.artifacts / arrival.staged, sealing.sealer(settings)) if arrival.staged else None
    return [set(one.places) for one in waiting.staged.chained] if waiting else []


def _chosen(arrival: Arrival, rows: list[HeldDocument], places: Places, decision: str, together: list[set[int]]) -> list[HeldDocument]:
    """The documents meant, and with a paragraph of a chain its whole source document. Conflict with an earlier decision."""
    if not rows:
        raise NotFound("nothing of this arrival is held", where=arrival.id, todo="`ratchet quarantine list` shows what is")
    if places == "all":
        chosen = [row for row in rows if row.decision is None] or [row for row in rows if row.decision == decision] or rows
    else:
        known = {row.place for row in rows}
        if unknown := sorted(set(places) - known):
            raise NotFound(f"nothing is held at {unknown[0]!r}", where=arrival.id, todo="`ratchet quarantine show` lists the places")
        named = {row.row for row in rows if row.place in places}
        named.update(*(one for one in together if one & named))
        chosen = [row for row in rows if row.row in named]
    if (other := next((row for row in chosen if row.decision not in (None, decision)), None)) is not None:
        raise Conflict(f"{other.place!r} was {other.decision} by {other.decided_by}", where=arrival.id, todo="deliver it again instead")
    return chosen


def _arrival(session: Session, arrival_id: str) -> Arrival:
    row = session.get(Arrival, arrival_id)
    if row is None:
        raise NotFound(f"there is no arrival {arrival_id!r}", todo="`ratchet quarantine list` names those with held documents")
    return row


# --- a release as an arrival ------------------------------------------------------------------------------------------


def prepare(settings: Settings, row: Arrival) -> Row:
    """Stage a release: the chosen rows of `held.parquet`, as they were masked."""
    domain, keys = load_domain(row.domain, settings), sealing.sealer(settings)
    if row.staged is None:
        original = ledger.arrival(settings, row.releases or "")
        waiting = staging.read_held(settings.artifacts / (original.staged or ""), keys)
        with reading(settings) as session:
            rows = set(session.scalars(select(HeldDocument.row).where(HeldDocument.release_id == row.id)))
        if waiting is None:
            raise Conflict("the held documents are gone from the artifact store", where=row.id, todo="restore the staged folder")
        _, chosen = staging.split(waiting.staged, rows)
        seal = sealing.is_sealed(domain)
        target = artifacts.make(settings, "staged", row.seal, lambda out: staging.write(out, _ready(chosen), keys, seal=seal))
        with transaction(settings) as session:
            session.get_one(Arrival, row.id).staged = target.relative_to(settings.artifacts).as_posix()
    documents = len(staging.read(settings.artifacts / (ledger.arrival(settings, row.id).staged or ""), keys).documents)
    return {"arrival": row.id, "state": "accepted", "reason": None, "documents": documents, "held": 0}


def _ready(chosen: Staged) -> Staged:
    """What the rules said is history: the lines begin anew."""
    return Staged(
        chosen.documents, [ledger.Line(**{**asdict(line), "state": "accepted", "reason": None}) for line in chosen.lines], chosen.chained
    )


def cannot_store(settings: Settings, release_id: str, reason: str) -> None:
    """A release that the warehouse refused: its documents are refused with the reason, everything else goes on."""
    with transaction(settings) as session:
        row = session.get_one(Arrival, release_id)
        row.state, row.reason, row.settled_at = "refused", reason, now()
        lines = []
        for one in session.scalars(select(HeldDocument).where(HeldDocument.release_id == release_id)):
            lines.append(ledger.Line(one.file, one.place, "refused", reason=f"it cannot be stored: {reason}"))
        state.follow(session, row, lines)
        audit.record(session, actor="ratchet", action="arrival.refused", subject=release_id, allowed=False, detail={"reason": reason})


def sums(settings: Settings, arrival_id: str) -> dict[str, int]:
    """Lines of an arrival by state: together what was delivered, whatever was decided since."""
    counts: dict[str, int] = {}
    with reading(settings) as session:
        for one in session.scalars(select(ArrivalItem.state).where(ArrivalItem.arrival_id == arrival_id)):
            counts[one] = counts.get(one, 0) + 1
    return counts
