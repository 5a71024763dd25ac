from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipelines.training.tokens import Cache, Tokens, table


def kept(cache: Cache, *names: str) -> Tokens:
    tokens = cache.load()
    cache.keep([table([name], [([1, 2, len(name)], 1)]) for name in names], tokens)
    return tokens


def names(tokens: Tokens, *wanted: str) -> list[str]:
    return [name for name in wanted if name in tokens]


def test_tokens_come_back_as_they_were(tmp_path: Path) -> None:
    kept(Cache(tmp_path, "one"), "a", "bb")
    tokens = Cache(tmp_path, "one").load()
    assert tokens.of("bb").tolist() == [1, 2, 2] and tokens.given("bb") == 1 and tokens.length("bb") == 3
    assert len(Cache(tmp_path, "two").load()) == 0
    assert names(kept(Cache(None, "one"), "a"), "a") == ["a"]


def test_a_torn_file_is_dropped_and_the_others_stand(tmp_path: Path) -> None:
    kept(Cache(tmp_path, "one"), "a")
    kept(Cache(tmp_path, "one"), "b")
    first, second = sorted((tmp_path / "one").glob("*.arrow"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    assert len(names(Cache(tmp_path, "one").load(), "a", "b")) == 1
    assert list((tmp_path / "one").iterdir()) == [second]


def test_a_broken_off_build_leaves_nothing_that_is_read(tmp_path: Path) -> None:
    def broken() -> object:
        yield table(["a"], [([1], 0)])
        raise RuntimeError

    cache = Cache(tmp_path, "one")
    with pytest.raises(RuntimeError):
        cache.keep(broken(), Tokens())
    assert len(cache.load()) == 0


def test_it_keeps_at_most_twice_what_is_used_and_two_folders(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "one")
    tokens = kept(cache, *"abcdef")
    cache.settle(tokens, list("abc"))
    assert len(cache.load()) == 6
    cache.settle(tokens, list("ab"))
    assert names(cache.load(), *"abcdef") == ["a", "b"]
    assert tokens.of("f").tolist() == [1, 2, 1]  # still mapped where it is in use
    for name in ("two", "three"):
        time.sleep(0.01)
        other = Cache(tmp_path, name)
        other.settle(kept(other, "a"), ["a"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["three", "two"]


def test_many_files_are_put_together(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "one")
    used = [f"n{number}" for number in range(30)]
    for name in used:
        tokens = kept(cache, name)
    cache.settle(tokens, used)
    assert len(list((tmp_path / "one").iterdir())) == 1
    assert len(cache.load()) == 30
