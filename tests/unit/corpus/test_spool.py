"""Sequences on disk: as lists, but for where they are."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

from pipelines.corpus.spool import Joined, Picked, Spool, batches


def _spool(folder: Path, values: list[str]) -> Spool[str]:
    made = Spool[str](folder, lambda text: {"text": text}, lambda row: row["text"])
    for value in values:
        made.append(value)
    return made


def test_a_spool_gives_back_what_it_was_given_in_any_order_and_while_it_grows(tmp_path: Path) -> None:
    values = ["", "two\nlines", "§ \u2028 \U0001f3f4", "x" * 100_000]
    spool = _spool(tmp_path, values)
    assert list(spool) == values and spool[-1] == values[-1] and list(spool[1:3]) == values[1:3]
    first = iter(spool)
    next(first)
    spool.append("more")
    assert [one for one, _ in zip(spool, spool, strict=True)] == [*values, "more"], "readers do not share a position"
    assert next(first) == values[1]


def test_a_spool_has_no_name_and_its_space_goes_with_it(tmp_path: Path) -> None:
    def open_files() -> set[str]:
        # The folder's own handle is closed by the time its links are read.
        return {str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()}

    spool = _spool(tmp_path, ["Lindqvist"])
    assert list(tmp_path.iterdir()) == [] and any(str(tmp_path) in name for name in open_files())
    assert os.fstat(spool._file.fileno()).st_mode & 0o077 == 0
    del spool
    gc.collect()
    assert not any(str(tmp_path) in name for name in open_files())


def test_picked_and_joined_are_views(tmp_path: Path) -> None:
    spool = _spool(tmp_path, list("abcde"))
    picked: Any = Picked(spool, [4, 0])
    joined = Joined([[], picked, Picked(spool, []), ["z"]])
    assert list(joined) == ["e", "a", "z"] and len(joined) == 3 and joined[1:][0] == "a"


def test_batches_end_at_a_number_or_at_a_size() -> None:
    assert list(batches(range(5), lambda _: 1, 2)) == [[0, 1], [2, 3], [4]]
    assert list(batches([1, 9_000_000, 9_000_000, 2], lambda one: one, 99)) == [[1, 9_000_000, 9_000_000], [2]]
    assert list(batches([], lambda _: 1, 2)) == []
