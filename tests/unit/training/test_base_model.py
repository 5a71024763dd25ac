from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipelines.errors import BadInput
from pipelines.training import base_model, methods


@pytest.fixture
def folder(base: str, tmp_path: Path) -> Path:
    shutil.copytree(base, tmp_path / "model")
    return tmp_path / "model"


def refused(base: object, revision: str | None = None) -> str:
    with pytest.raises(BadInput) as caught:
        base_model.check(str(base), revision)
    return str(caught.value)


def test_a_whole_model_is_taken(folder: Path) -> None:
    assert base_model.check(str(folder)) == folder
    base_model.check_tokenizer(str(folder))


def test_a_path_that_is_wrong_and_a_hub_name_without_a_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no such folder" in refused(tmp_path / "nowhere")
    assert "as a hub name it lacks a revision" in refused("someone/model")
    assert "revision abc is not in the local hub cache, and nothing is fetched" in refused("someone/model", "abc")


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "only pickled weights (pytorch_model.bin)" in refused(folder)
    (folder / "pytorch_model.bin").unlink()
    assert "has no weights" in refused(folder)


def test_what_is_missing_is_named(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}))
    assert "1 of 2 weight files are missing, e.g. model-2.safetensors" in refused(folder)
    (folder / "model.safetensors.index.json").unlink()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert "has no tokenizer" in refused(folder)
    (folder / "config.json").write_text("{")
    assert "config.json is broken" in refused(folder)
    (folder / "config.json").unlink()
    assert "config.json is missing" in refused(folder)


def test_a_tokenizer_that_cannot_end_an_answer(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "eos_token"}))
    with pytest.raises(BadInput, match="no end-of-sequence token"):
        base_model.check_tokenizer(str(folder))


def test_a_snapshot_of_the_hub_cache_keeps_the_hubs_name() -> None:
    assert methods.base_name("/cache/hub/models--meta--Llama-3/snapshots/0123abc") == "meta/Llama-3"
