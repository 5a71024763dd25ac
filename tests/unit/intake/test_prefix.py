"""Objects under a prefix: a folder, and fsspec's in-memory file system in the place of S3 and GCS, which need their own packages."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.errors import ConfigError, Unavailable
from pipelines.intake.connectors import kinds, prefix
from pipelines.intake.connectors.pull import Gathered, Pull, State
from pipelines.source_config import Prefix

OLD = datetime(2024, 3, 1, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def put(path: Path, text: str, *, age: float | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    when = OLD if age is None else time.time() - age
    os.utime(path, (when, when))


@pytest.fixture
def gather(tmp_path: Path, inbox: Path) -> Callable[..., Gathered]:
    calls = iter(range(100))

    def run(watermark: State | None = None, url: str | None = None, **more: Any) -> Gathered:
        folder = tmp_path / f"pull{next(calls)}"
        folder.mkdir()
        source = Prefix(kind="prefix", name="inbox", url=url or str(inbox), **more)
        return kinds.gather(source, Pull(folder, "2024-07-01", watermark or {}, {}, lambda _: None))

    return run


def taken(found: Gathered) -> dict[str, str]:
    return {document.path.name: document.path.read_text() for document in found.documents}


def test_new_changed_and_deleted_objects(inbox: Path, gather: Callable[..., Gathered]) -> None:
    put(inbox / "a.txt", "one")
    put(inbox / "deep" / "b.txt", "two")
    first = gather()
    assert taken(first) == {"a.txt": "one", "deep--b.txt": "two"}
    assert {document.effective for document in first.documents} == {"2024-03-01"}
    assert gather(first.watermark).documents == [] and gather(first.watermark).watermark == first.watermark
    put(inbox / "a.txt", "One", age=1000)  # as long as before
    (inbox / "deep" / "b.txt").unlink()
    put(inbox / "c.txt", "three")
    second = gather(first.watermark)
    assert taken(second) == {"a.txt": "One", "c.txt": "three"}
    assert second.counts == {"objects": 2, "deleted_at_the_source": 1, "still_changing": 0}
    put(inbox / "deep" / "b.txt", "two")
    assert taken(gather(second.watermark)) == {"deep--b.txt": "two"}, "what comes back after its deletion is new"


def test_the_watermark_holds_no_name(inbox: Path, gather: Callable[..., Gathered]) -> None:
    put(inbox / "Marta-Lindqvist.txt", "note")
    put(inbox / "Marta-Lindqvist-2.txt", "")
    found = gather()
    assert "Marta" not in json.dumps(found.watermark) + repr(found.skipped)
    assert [one.reason for one in found.skipped] == ["the object is empty"]
    assert gather(found.watermark).skipped == [], "said once, until it changes"


def test_what_may_still_be_written_waits(inbox: Path, gather: Callable[..., Gathered]) -> None:
    put(inbox / "fresh.txt", "half", age=5)
    put(inbox / "upload.txt.part", "half")
    put(inbox / ".hidden" / "x.txt", "half")
    found = gather()
    assert found.documents == [] and found.counts["still_changing"] == 1 and found.counts["objects"] == 1
    assert taken(gather(found.watermark, quiet_seconds=1)) == {"fresh.txt": "half"}


def test_an_object_that_changes_while_it_is_read_waits(
    inbox: Path, gather: Callable[..., Gathered], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(inbox / "a.txt", "one")
    put(inbox / "b.txt", "two")
    plain_open = fsspec.implementations.local.LocalFileSystem.open

    def disturbed(self: Any, path: str, *args: Any, **more: Any) -> Any:
        if path.endswith("a.txt"):
            put(inbox / "a.txt", "one, and more", age=100)
        if path.endswith("b.txt"):
            (inbox / "b.txt").unlink()
        return plain_open(self, path, *args, **more)

    monkeypatch.setattr(fsspec.implementations.local.LocalFileSystem, "open", disturbed)
    found = gather()
    assert found.documents == [] and found.counts["still_changing"] == 2
    monkeypatch.undo()
    assert taken(gather(found.watermark)) == {"a.txt": "one, and more"}


def test_links_and_large_objects_are_skipped_with_a_reason(inbox: Path, tmp_path: Path, gather: Callable[..., Gathered]) -> None:
    put(tmp_path / "outside" / "secret.txt", "secret")
    (inbox / "link.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    (inbox / "folder").symlink_to(tmp_path / "outside")
    (inbox / "dangling.txt").symlink_to(tmp_path / "nowhere")
    put(inbox / "large.txt", "x" * 2000)
    found = gather(max_mb=0.001, quiet_seconds=0)
    assert found.documents == []
    assert sorted(one.reason for one in found.skipped) == ["a link, not a file"] * 3 + ["larger than 0.001 MB"]


def test_in_pieces_the_oldest_first(inbox: Path, gather: Callable[..., Gathered]) -> None:
    for number in range(5):
        put(inbox / f"{number}.txt", "x", age=10_000 - number)
    mark: State = {}
    order: list[str] = []
    for _ in range(3):
        found = gather(mark, max_items=2)
        order += taken(found)
        mark = found.watermark
    assert order == [f"{number}.txt" for number in range(5)]


def test_patterns_and_names_that_collide(inbox: Path, gather: Callable[..., Gathered]) -> None:
    put(inbox / "a" / "b.csv", "deep")
    put(inbox / "a--b.csv", "flat")
    put(inbox / "c.pdf", "no")
    found = gather(include=("*.csv",))
    assert sorted(taken(found).values()) == ["deep", "flat"] and len(set(taken(found))) == 2


def test_a_folder_that_is_away_is_not_an_empty_one(inbox: Path, gather: Callable[..., Gathered]) -> None:
    with pytest.raises(Unavailable, match="no such folder"):
        gather(url=f"{inbox}/gone")


def test_the_day_of_collection(inbox: Path, gather: Callable[..., Gathered]) -> None:
    put(inbox / "a.txt", "one")
    assert gather(effective="collected").documents[0].effective == "2024-07-01"


@pytest.fixture
def bucket() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    yield fs
    fs.rm("/bucket", recursive=True)


def test_an_object_store(bucket: Any, gather: Callable[..., Gathered]) -> None:
    bucket.pipe("/bucket/in/a.txt", b"one")
    bucket.pipe("/bucket/in/sub/b.txt", b"two")
    bucket.pipe("/bucket/other/c.txt", b"no")
    first = gather(url="memory://bucket/in", quiet_seconds=0)
    assert taken(first) == {"a.txt": "one", "sub--b.txt": "two"}
    bucket.pipe("/bucket/in/a.txt", b"changed")
    bucket.rm("/bucket/in/sub/b.txt")
    second = gather(first.watermark, url="memory://bucket/in", quiet_seconds=0)
    assert taken(second) == {"a.txt": "changed"} and second.counts["deleted_at_the_source"] == 1


def test_versions_as_s3_and_gcs_list_them() -> None:
    s3 = {"type": "file", "size": 3, "ETag": '"abc"', "LastModified": datetime(2024, 1, 2, tzinfo=UTC)}
    gcs = {"type": "file", "size": 3, "etag": "CJ", "updated": "2024-01-02T00:00:00.000Z"}
    for info, mark in ((s3, '"abc" 3'), (gcs, "CJ 3")):
        read = prefix._read("bucket/in/a.txt", "a.txt", info)
        assert (read.version, read.changed, read.plain) == (mark, datetime(2024, 1, 2, tzinfo=UTC), True)


def test_options_come_from_the_variable_that_is_named(gather: Callable[..., Gathered], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="BUCKET_OPTIONS"):
        gather(credentials_env="BUCKET_OPTIONS")
    monkeypatch.setenv("BUCKET_OPTIONS", "no json: s3cret")
    with pytest.raises(ConfigError, match="JSON object") as caught:
        gather(credentials_env="BUCKET_OPTIONS")
    assert "s3cret" not in str(caught.value)


def test_a_store_without_its_package(gather: Callable[..., Gathered]) -> None:
    with pytest.raises(ConfigError, match="install s3fs"):
        gather(url="s3://bucket/in")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, OSError], None]:
    """`failing(name, error)`: reading this object fails after its first bytes."""
    plain_open = fsspec.implementations.local.LocalFileSystem.open

    def fail(name: str, error: OSError) -> None:
        def open_(self: Any, path: str, *args: Any, **more: Any) -> Any:
            reader = plain_open(self, path, *args, **more)
            if path.endswith(name):
                pieces = iter([b"o"])

                def read(size: int) -> bytes:
                    if (piece := next(pieces, None)) is None:
                        raise error
                    return piece

                monkeypatch.setattr(reader, "read", read, raising=False)
            return reader

        monkeypatch.setattr(fsspec.implementations.local.LocalFileSystem, "open", open_)

    return fail


def test_an_object_that_may_not_be_read_is_skipped_and_tried_again(
    inbox: Path, tmp_path: Path, gather: Callable[..., Gathered], failing: Callable[[str, OSError], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(inbox / "one.txt", "one")
    put(inbox / "b.txt", "two")
    failing("one.txt", PermissionError(errno.EACCES, "denied"))
    found = gather()
    assert taken(found) == {"b.txt": "two"} and [one.reason for one in found.skipped] == ["may not be read"]
    assert [path.name for path in (tmp_path / "pull0").iterdir()] == ["b.txt"], "nothing of it is left"
    assert found.note == "" and "one.txt" not in repr(found.skipped)
    monkeypatch.undo()
    assert taken(gather(found.watermark)) == {"one.txt": "one"}


def test_a_prefix_that_fails_half_way_keeps_what_was_gathered(
    inbox: Path, gather: Callable[..., Gathered], failing: Callable[[str, OSError], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(inbox / "a.txt", "one")
    put(inbox / "b.txt", "two")
    failing("b.txt", TimeoutError("away"))
    found = gather()
    assert taken(found) == {"a.txt": "one"} and "cannot be read (TimeoutError)" in found.note
    with pytest.raises(Unavailable, match="TimeoutError"):
        gather(found.watermark)
    monkeypatch.undo()
    assert taken(gather(found.watermark)) == {"b.txt": "two"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_our_own_full_disk_is_not_the_prefixs_fault(
    inbox: Path, gather: Callable[..., Gathered], failing: Callable[[str, OSError], None], number: int
) -> None:
    put(inbox / "a.txt", "one")
    put(inbox / "b.txt", "two")
    failing("b.txt", OSError(number, "no room"))
    with pytest.raises(OSError, match="no room"):
        gather()
