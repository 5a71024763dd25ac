"""What a publish is to write, worked out from rows without their texts and written as streams of small tables.

In memory are the arrival's and the touched rows without title and text, some hundred bytes each, and data files up to `_FILE_BYTES`. A
text is fetched from where it lies (a data file of the parent, the arrival's staging file, a replayed chain) when its table is made, in the
order in which it lies there: a file that is read in another order would be read once per text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from cachetools import LRUCache, cached

from pipelines.corpus import sealing
from pipelines.corpus import table as tables
from pipelines.corpus.amendments import Row, fold, replaced
from pipelines.corpus.documents import Document, Place, digest, lanes, shifted
from pipelines.corpus.places import Places
from pipelines.corpus.spool import batches

_FILE_BYTES = 64_000_000
"""Of one data file in memory: one of long texts has fewer rows than others. As much is kept of files read before: what an ordinary arrival
touches is read once."""
_Origin = tuple[str, str, tuple[str, ...], bool]
"""Key, content, subjects and whether it is erased: documents that agree in these have the same text, encrypted for the same people."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be written, and by what it is audited."""

    removed: list[Any]
    """Data files that hold a row which changes, or are too small to keep."""
    touched: set[str]
    """Keys whose rows change."""
    fresh: list[Row]
    """Their new rows, without texts."""
    documents: int
    before: bytes
    """Lanes of the parent's state."""
    content: str
    changed: dict[str, int]
    _read: Callable[[str], Any]
    _texts: Mapping[_Origin, Callable[[], Document]]
    _keys: sealing.Opener

    def kept(self) -> Iterator[Any]:
        """The stored rows of other keys in the removed files, which move as they are, a table per new file. The same each time."""
        return _pieces(tables.of_keys(self._read(file.file_path), self.touched, others=True) for file in self.removed)

    def written(self, *, seal: bool) -> Iterator[Any]:
        """The fresh rows as they are stored, a table per new file."""
        full = (replace(row, document=self._full(row.document)) for row in self.fresh)
        some = batches(full, lambda row: len(row.document.text), tables.ROWS_PER_FILE)
        return _pieces(tables.to_arrow(batch, self._keys, seal=seal) for batch in some)

    def _full(self, row: Document) -> Document:
        there = self._texts[_origin(row)]()
        return replace(row, title=there.title, text=there.text, sealed=there.sealed)


def draw(
    table: Any,
    parent: int,
    known: Places,
    rows: Sequence[Document],
    parts: Mapping[str, Sequence[Document]],
    *,
    chained: int,
    keys: sealing.Opener,
) -> Draft:
    """The state after an arrival, from the parent snapshot's files that hold a key of it. `parts`, `chained`: see `warehouse.publish`."""
    arriving = [bare(row) for row in rows]
    replaying = {part: [bare(row) for row in one] for part, one in parts.items()}
    touched = {row.key for row in arriving} | {row.key for one in replaying.values() for row in one} | known.of_parts(parts)
    files = tables.files(table, parent, wanted) if (wanted := known.of_keys(touched)) else {}

    @cached(LRUCache(_FILE_BYTES, getsizeof=lambda found: found.nbytes))
    def read(path: str) -> Any:
        return tables.rows_of(table, [files[path]])

    @lru_cache(1)
    def stored(path: str) -> list[Row]:
        return tables.to_rows(tables.of_keys(read(path), touched), keys)

    old = {path: [bare_row(row) for row in stored(path)] for path in files}
    state = sorted((row for one in old.values() for row in one), key=by_day)
    folded = replaced(fold(state, arriving), replaying, chained)
    texts: dict[_Origin, Callable[[], Document]] = {}
    for path, one in old.items():
        for place, row in enumerate(one):
            texts.setdefault(_origin(row.document), partial(_stored_document, stored, path, place))
    for source, light in ((rows, arriving), *((parts[part], one) for part, one in replaying.items())):
        for place, arrived in enumerate(light):
            texts.setdefault(_origin(arrived), partial(source.__getitem__, place))

    change = {path for path, one in old.items() if any(row.document.key in folded.touched for row in one)}
    if small := known.small() - files.keys():
        files |= tables.files(table, parent, small)
    lies = {origin: place for place, origin in enumerate(texts)}
    fresh = [row for row in folded.rows if row.document.key in folded.touched]
    fresh.sort(key=lambda row: (lies[_origin(row.document)], *by_day(row)))
    return Draft(
        removed=[files[path] for path in sorted(change | small)],
        touched=folded.touched,
        fresh=fresh,
        documents=tables.count(table, parent) - len(state) + len(folded.rows),
        before=known.state,
        content=digest(shifted(known.state, less=state_lanes(state), more=state_lanes(folded.rows))),
        changed=folded.changed,
        _read=read,
        _texts=texts,
        _keys=keys,
    )


def _stored_document(stored: Callable[[str], list[Row]], path: str, place: int) -> Document:
    return stored(path)[place].document


def bare(row: Document) -> Document:
    """A document without its text. The content hash still tells texts apart."""
    return replace(row, title="", text="", sealed=None)


def bare_row(row: Row) -> Row:
    """A stored row without its text."""
    return replace(row, document=bare(row.document))


def state_lanes(rows: Iterable[Row]) -> bytes:
    """`documents.lanes` of some rows."""
    return lanes(_place(row.document) for row in rows)


def _place(row: Document) -> Place:
    return row.key, row.valid_from, row.content


def by_day(row: Row) -> tuple[str, str]:
    """Sorts rows as a data file has them."""
    return row.document.key, row.document.valid_from


def _origin(row: Document) -> _Origin:
    return row.key, row.content, row.subjects, row.erased


def _pieces(stored: Iterable[Any]) -> Iterator[Any]:
    """The same rows in tables that make one file each, sorted by key and date."""
    import pyarrow as pa

    held = tables.schema().empty_table()
    for one in stored:
        held = pa.concat_tables([held, one])
        while len(held) >= tables.ROWS_PER_FILE or held.nbytes > _FILE_BYTES:
            yield tables.in_order(held.slice(0, tables.ROWS_PER_FILE))
            held = held.slice(tables.ROWS_PER_FILE)
    if len(held):
        yield tables.in_order(held)
