"""An earlier dataset version again: a new version with the documents of an old one. Nothing is deleted, and nothing comes back unasked.

What the versions between brought is marked as undone: its amendments take no part in later replays, and the same files delivered again
count as a new delivery. See docs/adr/0006-a-restore-takes-back-what-came-between.md.
"""

from __future__ import annotations

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from pipelines.config import Settings, load_domain
from pipelines.errors import BadInput, NotFound
from pipelines.governance import audit
from pipelines.manifest import sha256
from pipelines.registry import ancestry
from pipelines.state.database import reading, transaction
from pipelines.state.models import Arrival, DatasetVersion, now
from pipelines.steps import publish

SOURCE = "restore"
"""`source` of the ledger's entry of a restore: it has no files, and its uploader is who restored."""


def restore(settings: Settings, version_id: str, *, actor: str, reason: str) -> str:
    """A new version with the documents of `version_id`; returns its id. While the newest version has them already, that one."""
    if not reason.strip():
        raise BadInput("a restore needs a reason", todo="say why with --reason")
    with reading(settings) as session:
        old = session.get(DatasetVersion, version_id)
    if old is None:
        raise NotFound(f"there is no dataset version {version_id!r}", todo="`ratchet datasets list` shows them")
    parent = publish.latest(settings, old.domain)
    assert parent is not None  # noqa: S101 - `old` is one
    if parent.content == old.content:
        made = parent.id  # also what a call made that was killed, so that what follows may be missing
    else:
        made = again(settings, parent, old, source=SOURCE, actor=actor, reason=reason, token=f"{parent.id} {old.id}")
    publish.account_again(settings, old.domain)
    publish.sign_again(settings, old.domain, made)
    return made


def again(settings: Settings, parent: DatasetVersion, old: DatasetVersion, *, source: str, actor: str, reason: str, token: str) -> str:
    """A new version after `parent` with the documents of `old`, entered in the ledger by its source. The same token again: the same one."""
    from pipelines.corpus import warehouse

    seal = sha256([source, old.domain, token])
    with reading(settings) as session:
        done = session.scalar(select(Arrival.version_id).where(Arrival.domain == old.domain, Arrival.seal == seal))
    if done is not None:
        return done
    domain = load_domain(old.domain, settings)
    major, minor = publish.next_number(domain, parent)
    new_id = f"{domain.dataset}_v{major}.{minor}"
    # A tag on the old snapshot: equal because it is the same. Set before the row, found again by a rerun after a crash.
    warehouse.restore(settings, domain, old.snapshot_id, version_id=new_id, parent_snapshot=parent.snapshot_id)
    with transaction(settings) as session:
        if session.get(DatasetVersion, new_id) is not None:
            return new_id  # another process did the same
        entry = _entry(old, new_id, source, actor, reason, seal)
        session.add(entry)
        session.flush()
        session.add(
            DatasetVersion(
                id=new_id,
                domain=old.domain,
                major=major,
                minor=minor,
                snapshot_id=old.snapshot_id,
                arrival_id=entry.id,
                restores_id=old.id,
                known_on=old.known_on,
                documents=old.documents,
                changed={"added": 0, "superseded": 0, "withdrawn": 0, "unchanged": 0},
                content=old.content,
                parent_id=parent.id,
            )
        )
        session.flush()
        entry.version_id = new_id
        undone = _mark(session, old.domain, new_id)
        detail = {"restores": old.id, "instead_of": parent.id, "source": source, "reason": reason, "undone": undone, "content": old.content}
        audit.record(session, actor=actor, action="dataset.restored", subject=new_id, detail=detail)
    return new_id


def _entry(old: DatasetVersion, new_id: str, source: str, actor: str, reason: str, seal: str) -> Arrival:
    return Arrival(
        id=f"{old.domain}-{source}-{seal[:12]}",
        domain=old.domain,
        folder=f"{source}-{new_id}",
        seal=seal,
        uploader=actor,
        source=source,
        effective=old.known_on,
        files=0,
        state="accepted",
        reason=f"{old.id} again: {reason}",
        settled_at=now(),
        claimed_dag=source,  # no ingest run may claim it
        claimed_run=new_id,
        claimed_at=now(),
    )


def _mark(session: Session, domain: str, new_id: str) -> list[str]:
    """Mark what the new version does not hold as undone, and what it holds again as not; returns what is newly undone."""
    held = ancestry.arrivals(session, domain, new_id)
    # A release from quarantine has no files of its own, and yet brings documents; the entry of a restore brings none.
    brings = or_(Arrival.files > 0, Arrival.releases.is_not(None))
    published = select(Arrival).where(Arrival.domain == domain, brings, Arrival.version_id.is_not(None))
    undone = []
    for arrival in session.scalars(published.order_by(Arrival.id)):
        if (arrival.duplicate_of or arrival.id) in held:
            arrival.undone_by = None
        elif arrival.undone_by is None:
            arrival.undone_by = new_id
            undone.append(arrival.id)
    return undone
