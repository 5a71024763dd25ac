"""Loose files become arrivals: after they rest, once, by their owner, whoever calls and wherever a call dies."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipelines.config import PROJECT, Settings
from pipelines.intake import inbox, landing


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    return Settings(var=tmp_path / "var", today="2014-05-06")


@pytest.fixture
def box(site: Settings) -> Path:
    folder = site.landing_zone / "clinical" / "inbox"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six seconds have passed: one second more than the domain's quiet period."""
    now = time.time
    monkeypatch.setattr(inbox.time, "time", lambda: now() + 6)


def _delivered(site: Settings) -> list[str]:
    """Every file of every sealed folder, verified."""
    folders = landing.sealed(site, "clinical")
    return sorted(file.name for folder in folders for file in landing.verify(folder).files)


def test_no_inbox_is_no_work(site: Settings) -> None:
    assert inbox.seal_quiet(site, "clinical") == []


def test_resting_files_become_one_arrival_of_their_owner(site: Settings, box: Path, later: None) -> None:
    (box / "a.csv").write_text("note_id,text\n1,x\n")
    (box / "b.txt").write_text("words")
    (name,) = inbox.seal_quiet(site, "clinical")
    (folder,) = landing.sealed(site, "clinical")
    seal = landing.verify(folder)
    assert folder.name == name and name.startswith("2014-05-06-")
    assert (seal.uploader, seal.source, seal.effective) == (f"os:{getpass.getuser()}", "inbox", "2014-05-06")
    assert _delivered(site) == ["a.csv", "b.txt"] and list(box.iterdir()) == []
    assert inbox.seal_quiet(site, "clinical") == []


def test_a_fresh_file_waits_and_so_do_its_companions(site: Settings, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (box / "a.txt").write_text("words")
    os.utime(box / "a.txt", (1, 1))
    assert inbox.seal_quiet(site, "clinical") == [], "an old mtime came with the copy; the copy itself is new"
    now = time.time()
    seen = os.lstat

    def lstat(path: Path) -> os.stat_result:
        found = list(seen(path))
        return os.stat_result([*found[:9], now - (100 if path.name == "old.txt" else 20 if path.name == "a.txt" else 1)])

    (box / "b.txt").write_text("half of the")
    (box / "old.txt").write_text("words")
    monkeypatch.setattr(inbox, "_rested", lambda seen, _: now - seen.st_ctime)
    monkeypatch.setattr(Path, "lstat", lstat)
    assert [path.name for files in inbox._resting(box, 5) for path, _ in files] == ["old.txt"], "patience has an end"


def test_a_file_that_is_open_for_writing_waits(site: Settings, box: Path, later: None) -> None:
    with (box / "a.txt").open("w") as file:
        file.write("half")
        file.flush()
        assert inbox.seal_quiet(site, "clinical") == []
    assert len(inbox.seal_quiet(site, "clinical")) == 1


def test_what_cannot_be_an_arrivals_file_stays_and_is_not_named(
    site: Settings, box: Path, later: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "Lindqvist.txt").write_text("elsewhere")
    (box / "Lindqvist-link.txt").symlink_to(tmp_path / "Lindqvist.txt")
    (box / "Lindqvist").mkdir()
    os.link(tmp_path / "Lindqvist.txt", box / "Lindqvist-hard.txt")
    os.mkfifo(box / "pipe.txt")
    (box / "upload.csv.part").write_text("half")
    (box / ".hidden").write_text("x")
    assert inbox.seal_quiet(site, "clinical") == []
    assert len(list(box.iterdir())) == 6
    assert "4 entries" in caplog.text and "Lindqvist" not in caplog.text


def test_names_that_a_seal_cannot_hold_get_another(site: Settings, box: Path, later: None) -> None:
    (box / "arrival.json").write_text("{}")
    (box / "a\\b\n.txt").write_text("words")
    Path(os.fsdecode(os.fsencode(box) + b"/caf\xe9.txt")).write_text("more words")
    assert landing.sealed(site, "clinical") == [], "an inbox is no arrival, whatever lies in it"
    assert len(inbox.seal_quiet(site, "clinical")) == 1
    names = _delivered(site)
    assert len(names) == 3 and all(name.startswith("unnamed-") for name in names)
    assert sorted(Path(name).suffix for name in names) == [".json", ".txt", ".txt"]


def test_two_callers_at_once_seal_each_file_once(site: Settings, box: Path, later: None) -> None:
    for number in range(40):
        (box / f"{number}.txt").write_text(f"words {number}")
    made: list[str] = []
    start = threading.Barrier(4)

    def call() -> None:
        start.wait()
        made.extend(inbox.seal_quiet(site, "clinical"))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == len(set(made)) == 1
    assert len(_delivered(site)) == 40 and list(box.iterdir()) == []


_KILLED = """
import os, signal, sys, time
from pathlib import Path
from pipelines.config import Settings
from pipelines.intake import inbox
left = int(sys.argv[2])
def counted(call):
    def inner(*given, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*given, **named)
    return inner
Path.rename, Path.mkdir, Path.write_text = counted(Path.rename), counted(Path.mkdir), counted(Path.write_text)
now = time.time
inbox.time.time = lambda: now() + 6
inbox.seal_quiet(Settings(var=Path(sys.argv[1]), today="2014-05-06"), "clinical")
"""


@pytest.mark.parametrize("steps", range(7))
def test_killed_at_any_step_nothing_is_lost_and_nothing_comes_twice(site: Settings, box: Path, later: None, steps: int) -> None:
    names = ["a.txt", "b.txt", "c.txt"]
    for name in names:
        (box / name).write_text(f"words of {name}")
    run = subprocess.run([sys.executable, "-c", _KILLED, str(site.var), str(steps)], cwd=PROJECT, check=False)
    # Folder, three files, the seal's text, the seal's name, the arrival's name.
    assert run.returncode == -9
    before = {folder.name for folder in landing.sealed(site, "clinical")}
    made = inbox.seal_quiet(site, "clinical")
    assert _delivered(site) == names
    assert {folder.name for folder in landing.sealed(site, "clinical")} == before | set(made)
    left = [path.name for path in box.parent.iterdir() if path.name.startswith(".")]
    assert left == [".inbox.lock"] and list(box.iterdir()) == []


def test_what_is_written_into_while_it_is_sealed_comes_later_and_whole(
    site: Settings, box: Path, later: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (box / "a.txt").write_text("first half")
    seal = landing.seal

    def slow(folder: Path, **named: str) -> Path:
        made = seal(folder, **named)
        with (folder / "a.txt").open("a") as file:
            file.write(", second half")
        return made

    monkeypatch.setattr(landing, "seal", slow)
    assert inbox.seal_quiet(site, "clinical") == [] and landing.sealed(site, "clinical") == []
    monkeypatch.setattr(landing, "seal", seal)
    assert len(inbox.seal_quiet(site, "clinical")) == 1
    (folder,) = landing.sealed(site, "clinical")
    assert (folder / "a.txt").read_text() == "first half, second half" and landing.verify(folder)


def test_a_writer_that_holds_on_gets_its_file_back(site: Settings, box: Path, later: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with (box / "a.txt").open("w") as file:
        file.write("half")
        file.flush()
        monkeypatch.setattr(inbox, "_being_written", lambda path: path.parent != box)
        assert inbox.seal_quiet(site, "clinical") == []
        assert [path.name for path in box.iterdir()] == ["a.txt"] and (box / "a.txt").stat().st_nlink == 1


def test_what_cannot_be_sealed_is_said_once_until_its_number_changes(
    site: Settings, box: Path, later: None, caplog: pytest.LogCaptureFixture
) -> None:
    (box / "folder").mkdir()
    for _ in range(2):
        inbox.seal_quiet(site, "clinical")
    assert len(caplog.records) == 1
    (box / "another").mkdir()
    inbox.seal_quiet(site, "clinical")
    assert [record.args for record in caplog.records] == [(1,), (2,)]
    for name in ("folder", "another"):
        (box / name).rmdir()
    inbox.seal_quiet(site, "clinical")
    assert len(caplog.records) == 2, "an inbox in order is nothing to warn of"
    (box / "folder").mkdir()
    (box / "another").mkdir()
    inbox.seal_quiet(site, "clinical")
    assert len(caplog.records) == 3


def test_it_holds_from_the_day_that_the_site_goes_by(site: Settings, box: Path, later: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "day", lambda _: "2030-01-02")
    (box / "a.txt").write_text("words")
    inbox.seal_quiet(site.model_copy(update={"today": None}), "clinical")
    (folder,) = landing.sealed(site, "clinical")
    assert landing.verify(folder).effective == "2030-01-02"
