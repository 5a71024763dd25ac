"""Sequences that are longer than memory: they lie on disk and are read one value, or one batch, at a time."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from abc import abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar, overload

BATCH_CHARACTERS = 16_000_000
"""Text of one batch. What holds a batch in memory holds some copies of it, of one to four bytes a character."""
T = TypeVar("T")


class OnDisk(Sequence[T]):
    """A sequence of values read where they lie; slices are sequences of the same kind."""

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        if isinstance(place, slice):
            return Picked(self, range(len(self))[place])
        return self._at(range(len(self))[place])

    def __iter__(self) -> Iterator[T]:
        # Not Sequence's own, which takes an IndexError of a reader for the end: a fault would lose documents without a word.
        place = 0
        while place < len(self):
            yield self._at(place)
            place += 1

    @abstractmethod
    def _at(self, place: int) -> T:
        """The value at a place that there is."""


class Picked(OnDisk[T]):
    """Some values of another sequence, by their places there."""

    def __init__(self, values: Sequence[T], places: Sequence[int]) -> None:
        self._values, self._places = values, places

    def __len__(self) -> int:
        return len(self._places)

    def _at(self, place: int) -> T:
        return self._values[self._places[place]]


class Joined(OnDisk[T]):
    """Sequences one after another."""

    def __init__(self, parts: Sequence[Sequence[T]]) -> None:
        self._parts = parts
        self._starts: list[int] = list(accumulate((len(part) for part in parts), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def _at(self, place: int) -> T:
        part = bisect_right(self._starts, place) - 1
        return self._parts[part][place - self._starts[part]]


class Spool(OnDisk[T]):
    """Values appended to a file without a name: readable by nobody else, and gone with the spool or the process, however that ends."""

    def __init__(self, folder: Path, encode: Callable[[T], dict[str, Any]], decode: Callable[[dict[str, Any]], T]) -> None:
        # O_TMPFILE, or where the file system has none, a file of mode 0600 that is unlinked before the first byte is written.
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        # Closed with the spool, not whenever the collector comes by: that would warn, and warnings are errors.
        weakref.finalize(self, self._file.close)
        self._ends = array("q", [0])
        self._encode, self._decode = encode, decode

    def append(self, value: T) -> None:
        """Add one value at the end."""
        written = self._file.write(json.dumps(self._encode(value)).encode())
        self._ends.append(self._ends[-1] + written)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _at(self, place: int) -> T:
        self._file.flush()
        start, end = self._ends[place], self._ends[place + 1]
        # By place and not by a position that two readers would share.
        return self._decode(json.loads(os.pread(self._file.fileno(), end - start, start)))


def batches(values: Iterable[T], size: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """The values in lists of at most `most`, each of about `BATCH_CHARACTERS` by `size`."""
    batch: list[T] = []
    held = 0
    for value in values:
        batch.append(value)
        held += size(value)
        if len(batch) == most or held >= BATCH_CHARACTERS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
