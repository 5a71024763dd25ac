"""Tokens by example, kept from one training set to the next: an arrival is tokenised, what was there before is not.

One folder per domain and per (tokenizer, prompt); in it Arrow files, each written whole under the hash of its bytes and memory-mapped when
read. A file that was torn or altered is dropped and its examples are tokenised again. Bounded: of a domain the two folders used last, and
in each at most twice what the newest training set holds.

Tokens can be read back as text: erasing a subject removes the domain's folder (`forget`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config import Settings
from pipelines.manifest import sha256_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ids = NDArray[np.int32]

_FILES = 24
"""More of them are put together into one."""
_FOLDERS = 2


@dataclass(slots=True)
class Tokens:
    """Tokens of many examples, as views into mapped files: [tokens] int32 each, of which the first `given` are not learned."""

    _ids: list[Ids] = field(default_factory=list)
    """Per file, the tokens of all its examples in one row."""
    _place: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    """Example id: file, start, end, given."""

    def __contains__(self, name: str) -> bool:
        return name in self._place

    def __len__(self) -> int:
        return len(self._place)

    def length(self, name: str) -> int:
        """Tokens of an example."""
        _, start, end, _ = self._place[name]
        return end - start

    def given(self, name: str) -> int:
        """How many of them are the prompt."""
        return self._place[name][3]

    def of(self, name: str) -> Ids:
        """An example's tokens."""
        file, start, end, _ = self._place[name]
        return self._ids[file][start:end]

    def add(self, table: Any) -> None:
        """Take in a table of `schema()`, without copying its tokens."""
        import numpy as np

        for batch in table.to_batches():
            tokens = batch["tokens"]
            offsets = np.asarray(tokens.offsets).tolist()
            self._ids.append(np.asarray(tokens.values))
            names, given = batch["id"].to_pylist(), batch["given"].to_pylist()
            self._place.update(zip(names, zip(repeat(len(self._ids) - 1), offsets, offsets[1:], given, strict=False), strict=False))


class Cache:
    """The folder of one (tokenizer, prompt) of a domain. Without a folder, what is kept is gone with the process."""

    def __init__(self, domain_folder: Path | None, name: str) -> None:
        self._folder = domain_folder / name[:32] if domain_folder is not None else None

    def load(self) -> Tokens:
        """Everything that is kept and whole."""
        tokens = Tokens()
        for path in self._files():
            try:
                whole = sha256_file(path) == path.stem
                if whole:
                    tokens.add(_mapped(path))
                else:
                    path.unlink(missing_ok=True)
            except FileNotFoundError:
                continue  # another build has just put the files together
        return tokens

    def keep(self, tables: Iterable[Any], tokens: Tokens) -> None:
        """Write tables of fresh tokens as one file, each as it comes, and take them into `tokens`."""
        if self._folder is None:
            for fresh in tables:
                tokens.add(fresh)
        elif (path := self._write(tables)) is not None:
            tokens.add(_mapped(path))

    def settle(self, tokens: Tokens, used: Sequence[str]) -> None:
        """Put the files together where they are many or hold mostly what is not used any more; drop folders out of use."""
        if self._folder is None or not self._folder.is_dir():
            return
        old = self._files()
        if len(old) > _FILES or len(tokens) > 2 * len(used):
            new = self._write(_tables(tokens, used))
            for path in old:
                if path != new:
                    path.unlink(missing_ok=True)
        os.utime(self._folder)
        beside = sorted((path for path in self._folder.parent.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime_ns)
        for path in beside[:-_FOLDERS]:
            shutil.rmtree(path, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.arrow")) if self._folder is not None else []

    def _write(self, tables: Iterable[Any]) -> Path | None:
        """None when there was nothing to write."""
        import pyarrow as pa

        assert self._folder is not None  # noqa: S101
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f"{os.getpid()}.tmp"
        rows = 0
        with pa.ipc.new_file(str(temporary), schema()) as writer:
            for some in tables:
                writer.write_table(some)
                rows += some.num_rows
        if not rows:
            temporary.unlink()
            return None
        final = self._folder / f"{sha256_file(temporary)}.arrow"
        temporary.rename(final)
        return final


def folder_of(settings: Settings, domain: str) -> Path:
    """Where a domain's tokens are kept."""
    return settings.var / "cache" / "tokens" / domain


def forget(settings: Settings, domain: str) -> None:
    """Drop everything kept of a domain; the next training set tokenises anew."""
    shutil.rmtree(folder_of(settings, domain), ignore_errors=True)


def table(names: Sequence[str], encoded: Sequence[tuple[Sequence[int] | Ids, int]]) -> Any:
    """Arrow table of (tokens, given) by example id."""
    import pyarrow as pa

    columns = [list(names), [tokens for tokens, _ in encoded], [given for _, given in encoded]]
    return pa.table(dict(zip(("id", "tokens", "given"), columns, strict=True)), schema=schema())


def schema() -> Any:
    """Columns of a file: example id, its tokens, and how many of them are given."""
    import pyarrow as pa

    return pa.schema([("id", pa.string()), ("tokens", pa.list_(pa.int32())), ("given", pa.int32())])


def _mapped(path: Path) -> Any:
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _tables(tokens: Tokens, used: Sequence[str]) -> Iterator[Any]:
    for start in range(0, len(used), 4096):
        names = [name for name in used[start : start + 4096] if name in tokens]
        yield table(names, [(tokens.of(name), tokens.given(name)) for name in names])
