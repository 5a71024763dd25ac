"""Texts that the domain already holds under another key: linked instead of stored again, or only reported, as the domain says.

A link is made for a new key alone: a key that has a text is being amended, whatever other text its new one equals. The text stands as long
as the key it is linked to keeps it; when that one changes or goes, the linked document is taken from where it was staged and stored after
all. Documents of amendment chains are neither linked nor compared: the same text under two labels is law.

Only hashes are kept (`state.models.TextSignature`), one row per key, looked up by hash and by MinHash band: an arrival costs its own size.
Domains whose text is stored encrypted take no part: a link would tie one subject's text to another subject's key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings
from pipelines.corpus import near
from pipelines.corpus.chain import part_of
from pipelines.corpus.documents import FOREVER, Document
from pipelines.manifest import sha256
from pipelines.state.database import insert_all, reading, transaction
from pipelines.state.models import Arrival, ChainLink, SignatureBand, TextSignature

if TYPE_CHECKING:
    from pipelines.corpus.near import Signature

_MOST = 400
"""Values of one IN clause."""
T = TypeVar("T")


@dataclass(slots=True)
class Sign:
    """What is kept of a key's text."""

    key: str
    text: str
    valid_from: str
    sketch: Signature | None = field(default=None, compare=False)
    linked_to: str | None = None


@dataclass(slots=True)
class Linking:
    """What became of each document of an arrival, by its place in the list."""

    linked: dict[int, str] = field(default_factory=dict)
    """Not stored again; the reason names the key."""
    reported: dict[int, str] = field(default_factory=dict)
    revived: list[TextSignature] = field(default_factory=list)
    """Linked earlier, to be stored now: what they equalled changes with this arrival."""
    signs: dict[str, Sign] = field(default_factory=dict)
    """By key, what is to be kept."""


def compare(settings: Settings, domain: DomainConfig, documents: Sequence[Document]) -> Linking:
    """Compare an arrival's unchained documents with the domain's and with one another. Changes nothing; the same call, the same answer."""
    found = Linking()
    if not documents:
        return found
    signed = [_signed(row, domain) for row in documents]
    with reading(settings) as session:
        known = {row.key: row for row in _rows(session, domain.domain, TextSignature.key, {row.key for row in signed})}
        _compare(session, domain, signed, known, found)
        latest = {key: sign for key, sign in found.signs.items() if sign.linked_to is None}
        changed = {key for key, sign in latest.items() if key in known and known[key].text != sign.text and known[key].linked_to is None}
        own = [known[key] for key in latest if key in known and known[key].linked_to is not None]
        twins = _rows(session, domain.domain, TextSignature.linked_to, changed)
        found.revived = list({row.key: row for row in (*own, *twins)}.values())
    return found


@dataclass(frozen=True, slots=True)
class _Signed:
    """What is compared of a document: its text is not kept."""

    key: str
    valid_from: str
    text: str
    """Hash of its text."""
    compared: bool
    """Whether it is long enough to be linked."""
    sketch: Signature | None


def _signed(row: Document, domain: DomainConfig) -> _Signed:
    config = domain.screen.duplicates
    compared = not row.withdrawn and len(row.text.split()) >= config.min_words
    sketch = near.signature(row.text) if compared and config.near != "off" else None
    return _Signed(row.key, row.valid_from, _text(row), compared, sketch)


def _compare(session: Session, domain: DomainConfig, documents: Sequence[_Signed], known: dict[str, TextSignature], found: Linking) -> None:
    config = domain.screen.duplicates
    times = Counter(row.key for row in documents)
    moving = {row.key for row in documents if row.key in known and known[row.key].text != row.text}
    equal: dict[str, list[Sign]] = {}
    for held in _rows(session, domain.domain, TextSignature.text, {row.text for row in documents if row.compared}):
        if held.linked_to is None and held.key not in moving:
            equal.setdefault(held.text, []).append(_sign(held))
    like = _Like(session, domain.domain, [row.sketch for row in documents if row.sketch is not None], moving)
    for place in sorted(range(len(documents)), key=lambda one: (documents[one].valid_from, one)):
        row = documents[place]
        text, sketch = row.text, row.sketch
        before = known.get(row.key)
        sign = Sign(row.key, text, row.valid_from, sketch)
        if row.compared:
            twin, score = _twin(equal.get(text, ()), row), 1.0
            if twin is None and sketch is not None:
                twin, score = like.best(row, sketch, config.similarity)
            wanted = config.exact if twin is not None and twin.text == text else config.near
            if twin is not None and wanted != "off":
                same = f"the same text as {twin.key}"
                if twin.text != text:
                    same = f"nearly {same} (similarity {score:.2f})"
                again = before is not None and before.linked_to == twin.key and before.text == text
                if wanted == "link" and times[row.key] == 1 and (before is None or again):
                    found.linked[place] = same
                    sign.linked_to = twin.key
                else:
                    found.reported[place] = f"reported: {same}"
            if sign.linked_to is None and times[row.key] == 1 and row.key not in moving:
                equal.setdefault(text, []).append(sign)
                like.add(sign)
        _keep(found.signs, sign, before)


def _keep(signs: dict[str, Sign], sign: Sign, before: TextSignature | None) -> None:
    """Of several texts of a key the one that holds last; of the same text the day it began."""
    last = signs.get(sign.key) or (_sign(before) if before is not None else None)
    if last is not None and last.text == sign.text and last.linked_to == sign.linked_to:
        sign.valid_from = min(sign.valid_from, last.valid_from)
    if last is None or sign.valid_from >= last.valid_from or last.text == sign.text:
        signs[sign.key] = sign


def _twin(candidates: Iterable[Sign], row: _Signed) -> Sign | None:
    """The key that has had the text for longest, if it had it when this document begins."""
    fitting = [one for one in candidates if one.key != row.key and one.valid_from <= row.valid_from]
    return min(fitting, key=lambda one: (one.valid_from, one.key), default=None)


class _Like:
    """Keys that share a band with a text of this arrival."""

    def __init__(self, session: Session, domain: str, sketches: list[Signature], moving: set[str]) -> None:
        self._buckets: dict[int, list[Sign]] = {}
        if not sketches:
            return
        bands, shared = near.distinct_bands(sketches)
        hits = [row for start in range(0, len(bands), _MOST) for row in session.scalars(select(SignatureBand).where(
            SignatureBand.domain == domain, SignatureBand.band.in_(bands[start : start + _MOST].tolist())))]  # fmt: skip
        # A band that only one text has leads nowhere.
        self._buckets = {band: [] for band in shared | {hit.band for hit in hits}}
        signs = {row.key: _sign(row) for row in _rows(session, domain, TextSignature.key, {hit.key for hit in hits})}
        for hit in hits:
            if hit.key not in moving and (sign := signs.get(hit.key)) is not None and sign.linked_to is None:
                self._buckets[hit.band].append(sign)

    def best(self, row: _Signed, sketch: Signature, threshold: float) -> tuple[Sign | None, float]:
        """The most similar at or above the threshold."""
        candidates = {one.key: one for band in near.bands(sketch) for one in self._buckets.get(band, ())[:_MOST]}
        scored = [
            (near.similarity(sketch, one.sketch), one)
            for one in candidates.values()
            if one.sketch is not None and one.key != row.key and one.valid_from <= row.valid_from
        ]
        score, twin = max(scored, key=lambda pair: (pair[0], pair[1].key), default=(0.0, None))
        return (twin, score) if score >= threshold else (None, 0.0)

    def add(self, sign: Sign) -> None:
        """A text of this arrival that is stored."""
        for band in _bands(sign):
            if band in self._buckets:
                self._buckets[band].append(sign)


def enter(session: Session, domain: str, arrival_id: str, linking: Linking) -> None:
    """Keep the signatures of an arrival, in the transaction that publishes it."""
    signs = dict(linking.signs)
    for row in linking.revived:
        signs.setdefault(row.key, Sign(row.key, row.text, row.valid_from, _sketch(row.sketch)))
    owners = {row.key: row.arrival_id for row in linking.revived if row.key not in linking.signs}
    _enter(session, domain, signs, owners, arrival_id)


def _enter(session: Session, domain: str, signs: dict[str, Sign], owners: dict[str, str], arrival_id: str) -> None:
    for part in _parts(signs):
        session.execute(delete(SignatureBand).where(SignatureBand.domain == domain, SignatureBand.key.in_(part)))
        session.execute(delete(TextSignature).where(TextSignature.domain == domain, TextSignature.key.in_(part)))
    insert_all(session, TextSignature, (_row(domain, sign, owners.get(sign.key, arrival_id)) for sign in signs.values()))
    stored = (sign for sign in signs.values() if sign.linked_to is None)
    bands = ({"domain": domain, "band": band, "key": sign.key} for sign in stored for band in _bands(sign))
    insert_all(session, SignatureBand, bands)


def _row(domain: str, sign: Sign, owner: str) -> dict[str, Any]:
    sketch = None if sign.sketch is None else sign.sketch.astype("<u4").tobytes()
    return {"domain": domain, "key": sign.key, "arrival_id": owner, "text": sign.text, "valid_from": sign.valid_from,
            "sketch": sketch, "linked_to": sign.linked_to}  # fmt: skip


def _bands(sign: Sign) -> set[int]:
    return set(near.bands(sign.sketch)) if sign.sketch is not None else set()


def is_empty(settings: Settings, domain: str) -> bool:
    """Whether no signature was kept yet."""
    with reading(settings) as session:
        return session.scalar(select(TextSignature.key).where(TextSignature.domain == domain).limit(1)) is None


def rebuild(
    settings: Settings, domain: DomainConfig, documents: Iterable[Document], lost: Iterable[Document] = ()
) -> list[tuple[Document, Sign]]:
    """Signatures made anew from a dataset version: for a domain that is older than they are, and after a restore.

    `lost` are delivered documents whose key the version lacks, a later text of it having been taken back. Returns those of them that are
    linked again, each with its link.
    """
    with reading(settings) as session:
        chained = set(session.scalars(select(ChainLink.part).where(ChainLink.domain == domain.domain)))
    signs: dict[str, Sign] = {}
    owners: dict[str, str] = {}
    for row in documents:
        if row.valid_to == FOREVER and not row.withdrawn and part_of(row.key) not in chained:
            compared = domain.screen.duplicates.near != "off" and len(row.text.split()) >= domain.screen.duplicates.min_words
            signs[row.key] = Sign(row.key, _text(row), row.valid_from, near.signature(row.text) if compared else None)
            owners[row.key] = row.arrival_id
    with transaction(settings) as session:
        linked = _link_again(session, domain.domain, signs, owners, lost)
        session.execute(delete(SignatureBand).where(SignatureBand.domain == domain.domain))
        session.execute(delete(TextSignature).where(TextSignature.domain == domain.domain))
        _enter(session, domain.domain, signs, owners, "")
    return linked


def _link_again(
    session: Session, domain: str, signs: dict[str, Sign], owners: dict[str, str], lost: Iterable[Document]
) -> list[tuple[Document, Sign]]:
    """Keys that the version lacks because their text is another key's: without the link it would be lost when the other changes."""
    stored = dict(signs)
    by_text = {sign.text: sign for sign in signs.values()}
    mine = select(TextSignature).join(Arrival, Arrival.id == TextSignature.arrival_id)
    for row in session.scalars(mine.where(TextSignature.domain == domain, Arrival.undone_by.is_(None))):
        twin = by_text.get(row.text) or stored.get(row.linked_to or "")
        if row.key not in stored and twin is not None:
            signs[row.key] = replace(_sign(row), linked_to=twin.key)
            owners[row.key] = row.arrival_id
    linked = []
    for one in lost:
        # The link that its signature told of was overwritten by the text that was taken back: only an equal text tells of it still.
        if one.key not in signs and (twin := by_text.get(_text(one))) is not None:
            signs[one.key] = Sign(one.key, twin.text, one.valid_from, twin.sketch, twin.key)
            owners[one.key] = one.arrival_id
            linked.append((one, signs[one.key]))
    return linked


def _text(row: Document) -> str:
    return sha256(["withdrawn", row.key]) if row.withdrawn else sha256([row.title, row.text])


def _sign(row: TextSignature) -> Sign:
    return Sign(row.key, row.text, row.valid_from, _sketch(row.sketch), row.linked_to)


def _sketch(raw: bytes | None) -> Signature | None:
    import numpy as np

    return None if raw is None else np.frombuffer(raw, dtype="<u4").astype(np.uint32)


def _rows(session: Session, domain: str, column: Any, values: Iterable[str]) -> list[TextSignature]:
    query = select(TextSignature).where(TextSignature.domain == domain)
    return [row for part in _parts(values) for row in session.scalars(query.where(column.in_(part)))]


def _parts(values: Iterable[T]) -> Iterator[list[T]]:
    ordered = list(values)
    for place in range(0, len(ordered), _MOST):
        yield ordered[place : place + _MOST]
