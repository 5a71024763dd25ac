from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.errors import BadInput
from pipelines.training import example
from pipelines.training.example import Example

MADE = [
    Example(f"{n:04}", (f"passage {n}", "other"), f"q {n}?", None if n % 3 else str(n), None if n % 3 else 1, "r", ("k",), ("c",))
    for n in range(3000)
]


def test_written_examples_read_back_once_each(tmp_path: Path) -> None:
    counts = example.write([*MADE, MADE[0], replace(MADE[1], rule="other"), Example("x", ("t",), "", None, None, "p", ())], tmp_path / "e")
    assert counts == {"r": 3000, "p": 1}
    assert example.read(tmp_path / "e")[:-1] == MADE
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_the_same_examples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        example.write(iter(MADE), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("stored", [True, False])
def test_wanted_examples_come_in_batches(tmp_path: Path, stored: bool) -> None:
    example.write(MADE, tmp_path / "e")
    source = example.dataset(tmp_path / "e" if stored else MADE)
    batches = list(example.among(source, {"0007", "2999"}))
    assert [one for batch in batches for one in batch] == [MADE[7], MADE[2999]]
    assert len(batches) == (2 if stored else 1)
    assert list(example.among(source, set())) == []


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(b"torn")
    for name in ("e", "missing"):
        with pytest.raises(BadInput, match="not a file of examples"):
            example.dataset(tmp_path / name)
