"""Sealing, verifying and delivering folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.config import Settings
from pipelines.errors import ArrivalRefused
from pipelines.intake import landing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "a.csv").write_text("id,text\n1,x\n")
    (folder / "b.txt").write_text("words")
    return folder


def _seal(folder: Path, uploader: str = "steward") -> landing.Seal:
    landing.seal(folder, uploader=uploader, source="test", effective="2014-01-01")
    return landing.verify(folder)


def test_a_sealed_folder_verifies_and_lists_its_files(folder: Path) -> None:
    seal = _seal(folder)
    assert [(file.name, file.bytes) for file in seal.files] == [("a.csv", 12), ("b.txt", 5)]
    assert list(folder.parent.iterdir()) == [folder], "no temporary file is left"


def test_the_same_delivery_has_the_same_seal_whoever_sends_it(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "two"
    other.mkdir()
    (other / "b.txt").write_text("words")
    (other / "a.csv").write_text("id,text\n1,x\n")
    assert _seal(folder).hash == _seal(other, uploader="someone else").hash


def test_source_date_and_bytes_change_the_seal(folder: Path) -> None:
    seal = _seal(folder)
    assert seal.model_copy(update={"source": "elsewhere"}).hash != seal.hash
    assert seal.model_copy(update={"effective": "2014-01-02"}).hash != seal.hash
    assert seal.model_copy(update={"files": seal.files[:1]}).hash != seal.hash


@pytest.mark.parametrize("damage", ["changed", "missing", "extra", "link", "folder", "unsealed"])
def test_a_damaged_folder_is_refused_without_saying_a_file_name(folder: Path, damage: str) -> None:
    (folder / "Marta-Lindqvist.txt").write_text("secret")
    _seal(folder)
    match damage:
        case "changed":
            (folder / "Marta-Lindqvist.txt").write_text("Secret")
        case "missing":
            (folder / "Marta-Lindqvist.txt").unlink()
        case "extra":
            (folder / "Marta-2.txt").write_text("x")
        case "link":
            (folder / "Marta-Lindqvist.txt").unlink()
            (folder / "Marta-Lindqvist.txt").symlink_to(folder / "b.txt")
        case "folder":
            (folder / "Marta").mkdir()
        case "unsealed":
            (folder / landing.SEAL_NAME).unlink()
    with pytest.raises(ArrivalRefused) as refused:
        landing.verify(folder)
    assert "marta" not in str(refused.value).lower()
    assert refused.value.todo


@pytest.mark.parametrize("name", ["../a.csv", "/etc/passwd", ".hidden", "x/../../y", "a\\b", "arrival.json", "a\nb"])
def test_a_seal_cannot_name_a_path(folder: Path, name: str) -> None:
    _seal(folder)
    path = folder / landing.SEAL_NAME
    body = json.loads(path.read_text())
    body["files"][0]["name"] = name
    path.write_text(json.dumps(body))
    with pytest.raises(ArrivalRefused, match="not plain"):
        landing.verify(folder)


@pytest.mark.parametrize(
    "change",
    [{"effective": "2014-13-01"}, {"effective": "20140101"}, {"note": "extra"}, {"files": []}, {"sealed_at": "2014-01-01T00:00:00"}],
)
def test_a_seal_with_other_fields_is_refused(folder: Path, change: dict[str, object]) -> None:
    _seal(folder)
    path = folder / landing.SEAL_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ArrivalRefused, match=r"arrival\.json"):
        landing.verify(folder)


def test_an_unreadable_seal_is_a_delivery_with_its_fault(folder: Path) -> None:
    _seal(folder)
    good = landing.read_delivery(folder)
    assert (good.folder, good.files, good.fault) == ("one", 2, None)
    (folder / landing.SEAL_NAME).write_text("{")
    bad = landing.read_delivery(folder)
    assert bad.fault is not None and bad.seal != good.seal
    assert landing.read_delivery(folder) == bad


def test_sealing_twice_is_refused(folder: Path) -> None:
    _seal(folder)
    with pytest.raises(ArrivalRefused, match="sealed already"):
        _seal(folder)


def test_delivering_copies_seals_and_never_reuses_a_folder(folder: Path, tmp_path: Path) -> None:
    settings = Settings(var=tmp_path / "var")
    files = [folder / "a.csv", folder / "b.txt"]
    made = [landing.deliver(settings, "clinical", files, uploader="u", source="s", effective="2014-01-01") for _ in range(2)]
    assert landing.sealed(settings, "clinical") == sorted(made) and made[0] != made[1]
    assert landing.verify(made[0]).hash == landing.verify(made[1]).hash
    assert landing.sealed(settings, "nothing") == []


def test_a_delivery_that_cannot_go_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    settings = Settings(var=tmp_path / "var")
    (folder / "empty.csv").touch()
    for files, effective in (
        ([folder / "empty.csv"], "2014-01-01"),
        ([folder / "absent.csv"], "2014-01-01"),
        ([], "2014-01-01"),
        ([folder / "a.csv"], "yesterday"),
        ([folder / "a.csv", folder / "a.csv"], "2014-01-01"),
    ):
        with pytest.raises(ArrivalRefused):
            landing.deliver(settings, "clinical", files, uploader="u", source="s", effective=effective)
    root = settings.landing_zone / "clinical"
    assert not root.exists() or not list(root.iterdir())


def test_folders_without_a_seal_and_hidden_ones_wait(folder: Path, tmp_path: Path) -> None:
    settings = Settings(var=tmp_path / "var")
    root = settings.landing_zone / "clinical"
    (root / "half").mkdir(parents=True)
    (root / ".incoming-1").mkdir()
    (root / ".incoming-1" / landing.SEAL_NAME).write_text("{}")
    assert landing.sealed(settings, "clinical") == []
