"""Staged arrivals into dataset versions: one per arrival, in order of effective date; what amends a text that has not come waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from sqlalchemy import Select, and_, delete, or_, select
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import ArrivalRefused
from pipelines.governance import audit
from pipelines.state import held, ledger
from pipelines.state.database import reading, transaction
from pipelines.state.models import Arrival, ArrivalItem, ChainLink, DatasetVersion, now

if TYPE_CHECKING:
    from pipelines.corpus.chain import Link
    from pipelines.corpus.documents import Document
    from pipelines.corpus.duplicates import Linking
    from pipelines.corpus.staging import Staged


def publish(settings: Settings, domain_name: str, arrival_ids: list[str]) -> list[str]:
    """One dataset version per prepared arrival, in order of effective date. Returns their ids; a rerun returns the same ones.

    An arrival whose every document amends a text that has not come is quarantined, and published with the arrival that brings it.
    """
    domain = load_domain(domain_name, settings)
    rows = sorted((ledger.arrival(settings, one) for one in arrival_ids), key=lambda a: (a.effective, a.received_at, a.id))
    made: list[str] = []
    for row in rows:
        row = ledger.arrival(settings, row.id)  # the one before may have brought what this one waited for
        if row.version_id is not None:
            made.append(row.version_id)
        elif row.duplicate_of is None and row.staged is not None and (version_id := _try(settings, domain, row)) is not None:
            made.append(version_id)
    _settle_duplicates(settings, domain_name)
    return list(dict.fromkeys(made))


def _try(settings: Settings, domain: DomainConfig, row: Arrival) -> str | None:
    """Publish one arrival. A release that cannot be stored (a person let through what broke the contract) costs no other arrival."""
    try:
        return _publish(settings, domain, row)
    except ArrivalRefused as error:
        if row.releases is None:
            raise
        from pipelines.steps import quarantine

        quarantine.cannot_store(settings, row.id, str(error))
        return None


def _publish(settings: Settings, domain: DomainConfig, row: Arrival) -> str | None:
    """The version made from one staged arrival; None when all of it waits for its base."""
    from pipelines.corpus import chain, warehouse
    from pipelines.corpus.spool import Joined, Picked
    from pipelines.intake.screen import memory, outliers

    staged = _staged(settings, row)
    if not staged.documents:
        return None  # all of it is held by the screen
    links = [one.link for one in staged.chained]
    earlier = _chained_arrivals(settings, domain.domain, {link.part for link in links}, row.id)
    # In order of arrival: of two deliveries of one source document the later stands.
    steps = [step for one in earlier for step in _staged(settings, one).steps()] + staged.steps()
    replayed = chain.replay(step for step in steps if step.link.part in {link.part for link in links})
    waiting = set(replayed.waiting)
    if links and waiting.issuperset(links) and not staged.unchained():
        _quarantine(settings, row, links)
        return None
    parent = latest(settings, domain.domain)
    major, minor = next_number(domain, parent)
    version_id = f"{domain.dataset}_v{major}.{minor}"
    parts: dict[str, list[Document]] = {link.part: [] for link in links}
    for document in replayed.documents:
        parts[chain.part_of(document.key)].append(document)
    unchained = staged.unchained()
    linking = _compare(settings, domain, unchained, parent)
    stored = Picked(unchained, [place for place in range(len(unchained)) if place not in linking.linked])
    published = warehouse.publish(
        settings,
        domain,
        row.id,
        Joined([_revived(settings, linking), stored]),
        version_id=version_id,
        parent_snapshot=parent.snapshot_id if parent else None,
        parts=parts,
        chained=len(staged.documents) - len(unchained),
    )
    waited = [one for one in earlier if _waited(settings, one.id)]
    # Before the transaction: it reads every text, and a transaction is the only writer.
    seen = outliers.measure(staged.documents, domain.screen)
    released = [one for one in waited if one.state == "quarantined" and not waiting & set(_links(settings, one.id))]
    with transaction(settings) as session:
        known = [row.effective, *(one.effective for one in released), *([parent.known_on] if parent else [])]
        session.add(
            DatasetVersion(
                id=version_id,
                domain=domain.domain,
                major=major,
                minor=minor,
                snapshot_id=str(published.snapshot_id),
                arrival_id=row.id,
                known_on=max(known),
                documents=published.documents,
                changed=published.changed,
                content=published.content,
                parent_id=parent.id if parent else None,
            )
        )
        session.flush()
        _enter_links(session, domain.domain, row.id, links)
        _wait(session, domain.domain, parts, waiting)
        for one in (row, *released):
            current = session.get_one(Arrival, one.id)
            again = session.scalars(select(Arrival).where(Arrival.duplicate_of == one.id, Arrival.state == "quarantined"))
            for arrival in (current, *again):
                arrival.state, arrival.version_id, arrival.settled_at = "accepted", version_id, now()
            current.reason = None if one is row else f"waited for what {row.id} brought"
            if one is not row:
                detail = {"by": row.id, "version": version_id}
                audit.record(session, actor="ratchet", action="arrival.released", subject=one.id, detail=detail)
        row_now = session.get_one(Arrival, row.id)
        _account(session, row_now, _linked_lines(staged, _lines(staged, waiting), linking))
        for one in waited:
            before = _staged(settings, one)
            _follow(session, one, _chained_lines(before, _lines(before, waiting)))
        _enter_duplicates(session, domain, row.id, linking)
        memory.remember(session, domain.domain, seen)
        audit.record(
            session,
            actor="ratchet",
            action="dataset.published",
            subject=version_id,
            detail={"arrival": row.id, "snapshot": str(published.snapshot_id), "content": published.content},
        )
    return version_id


def _staged(settings: Settings, row: Arrival) -> Staged:
    from pipelines.corpus import sealing, staging

    return staging.read(settings.artifacts / (row.staged or ""), sealing.sealer(settings))


def _chained_arrivals(settings: Settings, domain_name: str, parts: set[str], but: str) -> list[Arrival]:
    """Other arrivals with links of these parts that no restore took back, in order of receipt."""
    with reading(settings) as session:
        ids = select(ChainLink.arrival_id).where(ChainLink.domain == domain_name, ChainLink.part.in_(parts), ChainLink.arrival_id != but)
        held = select(Arrival).where(Arrival.id.in_(ids), Arrival.undone_by.is_(None))
        return list(session.scalars(held.order_by(Arrival.received_at, Arrival.id)))


def _waited(settings: Settings, arrival_id: str) -> bool:
    """Whether any of an arrival's links was waiting until now."""
    with reading(settings) as session:
        return session.scalar(select(ChainLink.id).where(ChainLink.arrival_id == arrival_id, ChainLink.waits).limit(1)) is not None


def _links(settings: Settings, arrival_id: str) -> list[Link]:
    from pipelines.corpus.chain import Link

    with reading(settings) as session:
        rows = session.scalars(select(ChainLink).where(ChainLink.arrival_id == arrival_id))
        return [Link(row.part, row.number, row.effective, row.amends) for row in rows]


def _enter_links(session: Session, domain_name: str, arrival_id: str, links: list[Link]) -> None:
    """Write an arrival's links once."""
    session.execute(delete(ChainLink).where(ChainLink.arrival_id == arrival_id))
    session.add_all(ChainLink(domain=domain_name, arrival_id=arrival_id, **asdict(link)) for link in links)
    session.flush()


def _wait(session: Session, domain_name: str, parts: Iterable[str], waiting: set[Link]) -> None:
    """Note which links of these parts wait for their base."""
    from pipelines.corpus.chain import Link

    for link in session.scalars(select(ChainLink).where(ChainLink.domain == domain_name, ChainLink.part.in_(parts))):
        link.waits = Link(link.part, link.number, link.effective, link.amends) in waiting


def account_again(settings: Settings, domain_name: str) -> None:
    """After a restore: what rests on an amendment that was taken back waits again, and its account says so."""
    from pipelines.corpus import chain

    with reading(settings) as session:
        parts = set(session.scalars(select(ChainLink.part).where(ChainLink.domain == domain_name).distinct()))
    rows = _chained_arrivals(settings, domain_name, parts, but="")
    staged = {row.id: _staged(settings, row) for row in rows if row.version_id is not None}
    waiting = set(chain.replay(step for one in staged.values() for step in one.steps()).waiting)
    # What was never published is in no version, whatever came back: the next publish of its part looks again.
    waiting |= {link for row in rows if row.version_id is None for link in _links(settings, row.id)}
    with transaction(settings) as session:
        _wait(session, domain_name, parts, waiting)
        for row in rows:
            if (one := staged.get(row.id)) is not None:
                _follow(session, row, _chained_lines(one, _lines(one, waiting)))


def _quarantine(settings: Settings, row: Arrival, links: list[Link]) -> None:
    """Hold an arrival until what it amends has come; the next arrival of its part looks again."""
    reason = "it amends what has not arrived: " + ", ".join(sorted({link.amends for link in links}))
    lines = _lines(_staged(settings, row), set(links))
    with transaction(settings) as session:
        current = session.get_one(Arrival, row.id)
        first = current.state != "quarantined"
        current.state, current.reason, current.settled_at = "quarantined", reason, now()
        _enter_links(session, row.domain, row.id, links)
        for link in session.scalars(select(ChainLink).where(ChainLink.arrival_id == row.id)):
            link.waits = True
        _account(session, current, lines)
        if first:
            audit.record(session, actor="ratchet", action="arrival.quarantined", subject=row.id, allowed=False, detail={"reason": reason})


def _lines(staged: Staged, waiting: set[Link]) -> list[ledger.Line]:
    """The account, with the documents of waiting links held back."""
    waits = {place: one.link for one in staged.chained if one.link in waiting for place in one.places}
    # The lines of documents come first, one each, in their order.
    return [
        replace(line, state="quarantined", reason=f"it amends {waits[place].amends}, which has not arrived") if place in waits else line
        for place, line in enumerate(staged.lines)
    ]


def _compare(settings: Settings, domain: DomainConfig, unchained: Sequence[Document], parent: DatasetVersion | None) -> Linking:
    """The arrival's documents against what the domain holds; the first time in a domain that is older than its signatures, from there."""
    from pipelines.corpus import duplicates, sealing, warehouse

    if sealing.is_sealed(domain):
        # A text linked to another subject's would be lost with that subject's key, and a sketch of it would outlive its own.
        return duplicates.Linking()
    if parent is not None and unchained and duplicates.is_empty(settings, domain.domain):
        duplicates.rebuild(settings, domain, warehouse.documents(settings, domain.domain, parent.id))
    return duplicates.compare(settings, domain, unchained)


def sign_again(settings: Settings, domain_name: str, version_id: str) -> None:
    """After a restore: what a later text may be linked to is what the version holds now, and what was linked before is linked again."""
    from pipelines.corpus import duplicates, sealing, warehouse

    domain = load_domain(domain_name, settings)
    if sealing.is_sealed(domain):
        return
    documents = warehouse.documents(settings, domain_name, version_id)
    linked = duplicates.rebuild(settings, domain, documents, _lost(settings, domain_name, {row.key for row in documents}))
    with transaction(settings) as session:
        for row, sign in linked:
            for item in session.scalars(_items(session, row.arrival_id, row.key)):
                item.state, item.reason = "duplicate", f"the same text as {sign.linked_to}"


def _lost(settings: Settings, domain_name: str, keys: set[str]) -> list[Document]:
    """Accepted documents of arrivals that stand, newest first, whose key a version lacks: it was linked when it came."""
    stands = select(Arrival).where(Arrival.domain == domain_name, Arrival.undone_by.is_(None), Arrival.version_id.is_not(None))
    accepted = select(ArrivalItem.arrival_id).where(ArrivalItem.state.in_(("accepted", "duplicate")), ArrivalItem.key.not_in(keys))
    with reading(settings) as session:
        named = set(session.scalars(accepted))
        rows = [row for row in session.scalars(stands.order_by(Arrival.received_at.desc())) if (row.releases or row.id) in named]
    return [one for row in rows if row.staged is not None for one in _staged(settings, row).unchained() if one.key not in keys]


def _items(session: Session, arrival_id: str, key: str) -> Select[ArrivalItem]:
    """The lines of an arrival's document; those of a release are where it was delivered."""
    arrival = session.get_one(Arrival, arrival_id)
    return select(ArrivalItem).where(ArrivalItem.arrival_id == (arrival.releases or arrival.id), ArrivalItem.key == key)


def _revived(settings: Settings, linking: Linking) -> list[Document]:
    """Documents linked until now, from where they were staged."""
    found: list[Document] = []
    for arrival_id in sorted({one.arrival_id for one in linking.revived}):
        keys = {one.key for one in linking.revived if one.arrival_id == arrival_id}
        staged = _staged(settings, ledger.arrival(settings, arrival_id))
        found += [document for document in staged.unchained() if document.key in keys]
    return found


def _enter_duplicates(session: Session, domain: DomainConfig, arrival_id: str, linking: Linking) -> None:
    """Keep the signatures, and tell the account of a document that was linked that it is stored now."""
    from pipelines.corpus import duplicates

    duplicates.enter(session, domain.domain, arrival_id, linking)
    for one in linking.revived:
        for item in session.scalars(_items(session, one.arrival_id, one.key).where(ArrivalItem.state == "duplicate")):
            item.state, item.reason = "accepted", f"stored when {arrival_id} changed what it equalled"


def _account(session: Session, row: Arrival, lines: list[ledger.Line]) -> None:
    """Write an arrival's account; that of a release is kept where its documents were delivered."""
    if row.releases is None:
        ledger.account(session, row.id, held.overlay(session, row.id, lines))
    else:
        held.follow(session, row, lines)


def _follow(session: Session, row: Arrival, lines: list[ledger.Line]) -> None:
    """Restate single lines of an arrival that was accounted before."""
    if row.releases is None:
        ledger.restate(session, row.id, lines)
    else:
        held.follow(session, session.get_one(Arrival, row.id), lines)


def _linked_lines(staged: Staged, lines: list[ledger.Line], linking: Linking) -> list[ledger.Line]:
    """The account with what was found about duplicates in it."""
    chained = {place for one in staged.chained for place in one.places}
    places = [place for place in range(len(staged.documents)) if place not in chained]
    told = list(lines)
    for number, reason in linking.linked.items():
        told[places[number]] = replace(told[places[number]], state="duplicate", reason=reason)
    for number, reason in linking.reported.items():
        line = told[places[number]]
        told[places[number]] = replace(line, reason=f"{line.reason}; {reason}" if line.reason else reason)
    return told


def _chained_lines(staged: Staged, lines: list[ledger.Line]) -> list[ledger.Line]:
    """Lines of documents that belong to a chain: the only ones that a later arrival can change."""
    return [lines[place] for one in staged.chained for place in one.places]


def _settle_duplicates(settings: Settings, domain_name: str) -> None:
    """A second delivery becomes what its first became. Whichever run settles the first settles the second, whose own run may be over."""
    waiting = select(Arrival).where(Arrival.domain == domain_name, Arrival.duplicate_of.is_not(None), Arrival.state == "received")
    with transaction(settings) as session:
        for row in session.scalars(waiting):
            first = session.get_one(Arrival, row.duplicate_of)
            if first.state != "received":
                row.state, row.version_id, row.settled_at = first.state, first.version_id, now()
                row.reason = f"the same delivery as {first.id}: nothing was stored twice"


def latest(settings: Settings, domain_name: str) -> DatasetVersion | None:
    """The domain's newest dataset version."""
    with reading(settings) as session:
        return session.scalar(
            select(DatasetVersion)
            .where(DatasetVersion.domain == domain_name)
            .order_by(DatasetVersion.major.desc(), DatasetVersion.minor.desc())
            .limit(1)
        )


def next_number(domain: DomainConfig, parent: DatasetVersion | None) -> tuple[int, int]:
    """Minor step per arrival, major step when the contract changes. Starts at v1.0."""
    if parent is None or domain.contract_version > parent.major:
        return domain.contract_version, 0
    return parent.major, parent.minor + 1


def newly_published(settings: Settings, domain_name: str, dag_id: str, run_id: str) -> list[str]:
    """Versions of this run, and restored ones, that were not announced yet, marked as announced: a cleared task announces nothing."""
    with transaction(settings) as session:
        fresh = session.scalars(
            select(DatasetVersion)
            .join(Arrival, Arrival.id == DatasetVersion.arrival_id)
            .where(
                DatasetVersion.domain == domain_name,
                DatasetVersion.announced_at.is_(None),
                # A restore is done by a person, outside any run: the next run tells of it.
                or_(and_(Arrival.claimed_dag == dag_id, Arrival.claimed_run == run_id), DatasetVersion.restores_id.is_not(None)),
            )
            .order_by(DatasetVersion.major, DatasetVersion.minor)
        ).all()
        for version in fresh:
            version.announced_at = now()
        return [version.id for version in fresh]
