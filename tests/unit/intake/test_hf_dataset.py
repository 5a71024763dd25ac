"""Datasets that lie on this host: plain files, a saved dataset, and the hub's cache."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ConfigError, NotFound
from pipelines.intake.connectors import kinds
from pipelines.intake.connectors.pull import Gathered, Pull, State
from pipelines.source_config import HfDataset


@pytest.fixture
def gather(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Gathered]:
    calls = iter(range(100))

    def run(watermark: State | None = None, **more: Any) -> Gathered:
        folder = tmp_path / f"pull{next(calls)}"
        folder.mkdir()
        return kinds.gather(
            HfDataset(kind="hf_dataset", name="hub", **more), Pull(folder, "2024-07-01", watermark or {}, {}, lambda _: None)
        )

    return run


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def some(count: int, word: str = "text") -> list[dict[str, Any]]:
    return [{"id": number, "text": f"{word} {number}"} for number in range(count)]


def ids(found: Gathered) -> list[int]:
    return [json.loads(line)["id"] for document in found.documents for line in document.path.read_text().splitlines()]


def test_new_rows_in_files_of_a_size(tmp_path: Path, gather: Callable[..., Gathered]) -> None:
    folder = write(tmp_path / "data", some(5))
    first = gather(folder=folder, rows_per_file=2)
    assert ids(first) == [0, 1, 2, 3, 4]
    assert [(d.path.name, d.effective) for d in first.documents] == [(f"hub-{n:09d}.jsonl", "2024-07-01") for n in (1, 3, 5)]
    assert gather(first.watermark, folder=folder).documents == []
    write(folder, some(8))
    second = gather(first.watermark, folder=folder)
    assert ids(second) == [5, 6, 7] and second.counts == {"rows": 3, "taken_anew": 0}


def test_in_pieces(tmp_path: Path, gather: Callable[..., Gathered]) -> None:
    folder = write(tmp_path / "data", some(5))
    first = gather(folder=folder, max_items=3)
    assert ids(first) == [0, 1, 2] and ids(gather(first.watermark, folder=folder, max_items=3)) == [3, 4]


@pytest.mark.parametrize("rows", [some(6, "other"), some(3)])
def test_a_dataset_whose_past_changed_is_taken_anew(tmp_path: Path, gather: Callable[..., Gathered], rows: list[dict[str, Any]]) -> None:
    folder = write(tmp_path / "data", some(5))
    first = gather(folder=folder)
    write(folder, rows)
    second = gather(first.watermark, folder=folder)
    assert ids(second) == [row["id"] for row in rows] and second.counts["taken_anew"] == 1


def test_columns_and_a_saved_dataset(tmp_path: Path, gather: Callable[..., Gathered]) -> None:
    import datasets

    datasets.Dataset.from_list(some(3)).save_to_disk(str(tmp_path / "saved"))
    found = gather(folder=tmp_path / "saved", columns=("id",), effective="2024-01-01")
    assert found.documents[0].path.read_text() == '{"id": 0}\n{"id": 1}\n{"id": 2}\n' and found.documents[0].effective == "2024-01-01"


def test_by_name_from_the_hubs_cache(tmp_path: Path, gather: Callable[..., Gathered], monkeypatch: pytest.MonkeyPatch) -> None:
    cache, commit = tmp_path / "hub", "a" * 40
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(cache))
    with pytest.raises(NotFound, match="not in this host's cache"):
        gather(dataset="someone/notes")
    repo = cache / "datasets--someone--notes"
    (repo / "snapshots").mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    write(repo / "snapshots" / commit, some(2))
    found = gather(dataset="someone/notes")
    assert ids(found) == [0, 1] and found.watermark["revision"] == commit


def test_no_copy_is_left_in_the_librarys_cache(tmp_path: Path, gather: Callable[..., Gathered], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    gather(folder=write(tmp_path / "data", some(2)))
    assert not [path for path in tmp_path.rglob("*.arrow")]


@pytest.mark.parametrize("more", [{"split": "test"}, {"columns": ("nothing",)}, {"config": "other"}])
def test_a_wrong_name_is_said_in_one_line(tmp_path: Path, gather: Callable[..., Gathered], more: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, NotFound)):
        gather(folder=write(tmp_path / "data", some(2)), **more)


def test_a_folder_that_is_not_there(tmp_path: Path, gather: Callable[..., Gathered]) -> None:
    with pytest.raises(NotFound):
        gather(folder=tmp_path / "gone")


@pytest.mark.parametrize(
    "place", ["/etc/passwd", "../other/*.jsonl", "https://elsewhere.invalid/x.jsonl", "zip://x::https://elsewhere.invalid/x"]
)
def test_a_card_that_points_elsewhere_is_refused(tmp_path: Path, gather: Callable[..., Gathered], place: str) -> None:
    folder = write(tmp_path / "data", some(2))
    configs = f"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: ['{place}']\n"
    (folder / "README.md").write_text(f"---\n{configs}---\n# Notes\n")
    with pytest.raises(ConfigError, match="points out of its folder"):
        gather(folder=folder)


def test_a_card_that_names_its_files(tmp_path: Path, gather: Callable[..., Gathered]) -> None:
    folder = write(tmp_path / "data", some(2))
    (folder / "train.jsonl").rename(folder / "rows.jsonl")
    configs = "configs:\n- config_name: notes\n  data_files:\n  - split: train\n    path: rows.jsonl\n"
    (folder / "README.md").write_text(f"---\n{configs}---\n# Notes\n")
    assert ids(gather(folder=folder, config="notes")) == [0, 1]


@pytest.mark.parametrize("row", ['{"id": "Jane Roe"}', '{"id": 2'], ids=["a value", "half a row"])
def test_a_row_that_cannot_be_read_is_not_repeated(
    tmp_path: Path, gather: Callable[..., Gathered], caplog: pytest.LogCaptureFixture, row: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "Jane Roe.jsonl").write_text('{"id": "1"}\n' + row + "\n")
    features = "dataset_info:\n  features:\n  - name: id\n    dtype: int64\n"
    (folder / "README.md").write_text(f"---\n{features}---\n# Notes\n")
    logging.getLogger("datasets").setLevel(logging.WARNING)
    with caplog.at_level(logging.INFO), pytest.raises(ConfigError, match="a row cannot be read") as caught:
        gather(folder=folder)
    assert "Jane" not in str(caught.value) + caplog.text
    assert caught.value.__suppress_context__
