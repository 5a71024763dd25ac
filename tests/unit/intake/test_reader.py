"""Reading in a child process: whatever a file does to it, the other files are read."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from pipelines.config import PROJECT, DomainConfig, Format, Sources
from pipelines.errors import Unavailable
from pipelines.intake import extract, formats, landing, reader
from pipelines.intake.records import RawRecord, Refusal

pytestmark = pytest.mark.slow


def _sources(**values: Any) -> Sources:
    return Sources.model_validate({"formats": get_args(Format), **values})


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Process ids of the children a test made; none is left behind."""
    pids: list[int] = []
    start = reader._Child.__init__

    def noted(self: Any, sources: Sources) -> None:
        start(self, sources)
        pids.append(self._process.pid)

    monkeypatch.setattr(reader._Child, "__init__", noted)
    yield pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def _nasty(tmp_path: Path, name: str) -> Path:
    """A module that the child finds before the project's and that misbehaves on a file of one name."""
    folder = tmp_path / "nasty"
    folder.mkdir(exist_ok=True)
    acts = {
        "stall": "time.sleep(60)",
        "spin": "exec('while True: pass')",
        "crash": "os.kill(os.getpid(), 11)",
        "killed": "os.kill(os.getpid(), 9)",
        "exit": "os._exit(3)",
        "memory": "list(bytearray(100_000_000) for _ in range(100))",
        "write": f"os.write(os.open({str(tmp_path / 'written')!r}, os.O_CREAT | os.O_WRONLY), b'x')",
        "secret": "print(os.environ['RATCHET_TEST_SECRET'])",
    }
    (folder / "sitecustomize.py").write_text(
        f"""
import os, sys, time
if "pipelines.intake.reader" in sys.orig_argv:
    sys.path.insert(0, {str(PROJECT)!r})
    from pipelines.intake.formats import documents
    from pipelines.intake.records import RawRecord
    real = documents.whole_text
    def whole_text(file, job, encoding=""):
        if file.stem == "nasty":
            {acts[name]}
        return real(file, job, encoding)
    documents.whole_text = whole_text
"""
    )
    return folder


@pytest.mark.parametrize(
    ("act", "reason", "replaced"),
    [
        ("stall", "reading it takes more than 1 s", True),
        ("spin", "reading it takes more than 1 s", True),
        ("crash", "its reader crashed on it (SIGSEGV)", True),
        ("killed", "its reader was killed, most likely for memory", True),
        ("exit", "its reader crashed on it (exit 3)", True),
        ("memory", "reading it takes more than 512 MB of memory", True),
        ("write", "its reader failed (OSError)", False),
        ("secret", "its reader failed (KeyError)", False),
    ],
)
def test_a_file_that_kills_or_stalls_its_reader_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: list[int], act: str, reason: str, replaced: bool
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(_nasty(tmp_path, act)))
    monkeypatch.setenv("RATCHET_TEST_SECRET", "a key of the control database")
    for name in ("first", "nasty", "last"):
        (tmp_path / f"{name}.txt").write_text(f"words of {name}")
    began = time.monotonic()
    seconds = 1 if act in ("stall", "spin") else 20  # a slow machine takes its time to fill 512 MB
    with reader.isolated(_sources(limits={"seconds": seconds, "memory_mb": 512})) as read:
        found = [one for name in ("first", "nasty", "last") for one in read(tmp_path / f"{name}.txt", "2014-01-01")]
    assert [one.key if isinstance(one, RawRecord) else one.reason for one in found] == ["first", reason, "last"]
    assert len(children) == (2 if replaced else 1)
    assert time.monotonic() - began < 30


def test_a_reader_that_cannot_start_is_no_files_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: list[int]) -> None:
    (tmp_path / "a.txt").write_text("words")
    monkeypatch.setattr(reader.sys, "executable", "/bin/false")
    with reader.isolated(_sources()) as read, pytest.raises(Unavailable, match="does not start"):
        list(read(tmp_path / "a.txt", "2014-01-01"))


def test_the_child_says_exactly_what_the_readers_say(tmp_path: Path, children: list[int]) -> None:
    (tmp_path / "a.csv").write_text("id,text,who\n1,café\u2028,Ana\n,x,y\n")
    (tmp_path / "b.jsonl").write_text('{"id": "1", "text": "a\\u0007"}\n{bad\n{"id": "\\ud800", "text": "b"}\n')
    sources = _sources(subject=())
    with reader.isolated(sources) as read:
        for name in ("a.csv", "b.jsonl", "absent.txt"):
            path = tmp_path / name
            assert list(read(path, "2014-01-01")) == list(formats.read(path, sources, effective="2014-01-01", where=""))
    assert len(children) == 1


def test_the_callers_own_time_counts_against_nobody(tmp_path: Path, children: list[int]) -> None:
    (tmp_path / "a.csv").write_text("id,text\n" + "".join(f"{n},{'words ' * 2000}\n" for n in range(200)))
    with reader.isolated(_sources(limits={"seconds": 0.5})) as read:
        count = 0
        for one in read(tmp_path / "a.csv", "2014-01-01"):
            assert isinstance(one, RawRecord)
            count += 1
            if count == 20:
                time.sleep(1)
    assert count == 200


def test_a_caller_that_goes_away_leaves_nothing_for_the_next_file(tmp_path: Path, children: list[int]) -> None:
    (tmp_path / "a.csv").write_text("id,text\n" + "".join(f"{n},words\n" for n in range(1000)))
    (tmp_path / "b.txt").write_text("other words")
    with reader.isolated(_sources()) as read:
        found = read(tmp_path / "a.csv", "2014-01-01")
        next(found)
        found.close()  # type: ignore[attr-defined]
        assert [one.key for one in read(tmp_path / "b.txt", "2014-01-01") if isinstance(one, RawRecord)] == ["b"]


def test_what_was_read_before_the_end_stands(tmp_path: Path, children: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("id,text\n" + "".join(f"{n},{'words ' * 3000}\n" for n in range(100)))
    with reader.isolated(_sources()) as read:
        found = read(tmp_path / "a.csv", "2014-01-01")
        first = next(found)
        os.kill(children[0], signal.SIGKILL)
        rest = list(found)
    assert isinstance(first, RawRecord) and isinstance(rest[-1], Refusal)
    assert rest[-1].place == f"after {len(rest)} records"


def test_a_file_of_2_gb_is_refused_before_it_is_read(tmp_path: Path, children: list[int]) -> None:
    names = ("a.csv", "a.txt", "a.jsonl", "a.pdf", "a.zip", "a.parquet", "a.xml", "a.tar")
    for name in names:
        with (tmp_path / name).open("wb") as file:
            file.truncate(2_000_000_000)
    with reader.isolated(_sources(limits={"seconds": 10})) as read:
        found = [one for name in names for one in read(tmp_path / name, "2014-01-01")]
    assert [str(one) for one in found] == [str(Refusal("", "larger than 50 MB"))] * len(names) and len(children) == 1


def _domain(**sources: Any) -> DomainConfig:
    return DomainConfig.model_validate(
        {
            "domain": "clinical",
            "description": "",
            "owner": "x",
            "dataset": "MedNotes",
            "sources": {"formats": get_args(Format), **sources},
            "contract": {"expectations": []},
            "privacy": {"profile": "safe_harbor"},
            "task": {},
            "gate": {"goldens": "x.jsonl", "floors": {}},
        }
    )


def test_an_arrival_of_everything_that_goes_wrong_accounts_for_all_of_it(tmp_path: Path, children: list[int], make_pdf: Any) -> None:
    folder = tmp_path / "arrival"
    folder.mkdir()
    delivered = {
        "a good note.txt": (b"words", 1),
        "binary.txt": (b"\x7fELF\x02\x01\x01\0\0\0", 1),
        "latin.txt": ("café".encode("latin-1"), 1),
        "empty.csv": (b"", 1),
        "header.csv": (b"id,txt\n1,x\n", 1),
        "rows.csv": (b"id,text\nr1,one\nr2\nr3,three\n", 3),
        "broken.jsonl": (b'{"id": "j1", "text": "x"}\n{broken\n{"id": "j3", "text": "y"}\n', 3),
        "cut.pdf": (make_pdf("one")[:300], 1),
        "scan.pdf": (make_pdf("one", None), 2),
        "bomb.xml": (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', 1),
        "photo.jpg": (b"\xff\xd8\xff\xe0", 1),
        "sound.wav": (b"RIFF1234WAVE", 1),
    }
    for name, (content, _) in delivered.items():
        (folder / name).write_bytes(content)
    landing.seal(folder, uploader="steward", source="test", effective="2014-01-01")
    found = extract.extract(folder, _domain(), "2014-01-01")
    assert {record.key for record in found.records} == {"a good note", "r1", "r3", "j1", "j3", "scan"}
    assert len(found.records) + len(found.refusals) == sum(count for _, count in delivered.values())
    assert all(line.reason and len(line.file) <= 27 for line in found.refusals)
    assert len(children) == 1


def test_an_arrival_of_more_documents_than_its_account_may_have_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "arrival"
    folder.mkdir()
    (folder / "rows.csv").write_text("id,text\nr1,one\nr2,two\nr3,three\n", encoding="utf-8")
    landing.seal(folder, uploader="steward", source="test", effective="2014-01-01")
    domain = _domain()
    at_most = {"sources": domain.sources.model_copy(update={"limits": domain.sources.limits.model_copy(update={"documents": 3})})}
    found = extract.extract(folder, domain.model_copy(update=at_most), "2014-01-01")
    assert [record.key for record in found.records] == ["r1", "r2", "r3"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrival"], "the spool has no name"
    less = {"sources": domain.sources.model_copy(update={"limits": domain.sources.limits.model_copy(update={"documents": 2})})}
    found = extract.extract(folder, domain.model_copy(update=less), "2014-01-01")
    assert found.too_many == "it holds more than 2 documents (sources.limits.documents)" and len(found.records) == 2
