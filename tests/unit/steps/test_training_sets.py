"""From a published version to its training set: an arrival costs its own size, a held-out key stays so, an erasure empties the cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from laws import by_structure, deliver, regulation
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.config import PROJECT, Settings
from pipelines.errors import BadInput
from pipelines.registry import artifacts
from pipelines.steps import learn
from pipelines.training import example, training_set
from pipelines.training.split import is_held_out

PARAGRAPHS = {f"p{n}": f"The term “item {n}” means a thing of sort {n} and of kind {n * 7}. So it stands here." for n in range(60)}


@pytest.fixture
def site(settings: Settings, tmp_path: Path) -> Settings:
    return by_structure(settings, tmp_path, {"structure": ["definition"], "held_out": 0.2})


def keys(folder: Path, name: str) -> set[str]:
    return {key for one in example.read(folder / name) for key in one.documents}


@pytest.mark.slow
def test_an_arrival_is_tokenised_alone_and_splits_stay(site: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    encode_all = training_set.encode_all

    def counted(examples: Any, *rest: Any) -> Any:
        encoded.extend(one.id for one in examples)
        return encode_all(examples, *rest)

    monkeypatch.setattr(training_set, "encode_all", counted)
    deliver(site, regulation(tmp_path, "2011-1", "2011-01-01", **PARAGRAPHS), "run-1")
    first = learn.training_set(site, "regulatory", "ConsumerLeasing_v1.0")
    whole = len(encoded)
    assert whole == first.counts["examples"] + first.counts["held_out_examples"]
    assert learn.training_set(site, "regulatory", "ConsumerLeasing_v1.0") == first and len(encoded) == whole

    more = {"q1": "The term “thing of its own” means what nothing else here is, at any time. So it stands here."}
    deliver(site, regulation(tmp_path, "2012-1", "2012-01-01", **PARAGRAPHS, **more), "run-2")
    second = learn.training_set(site, "regulatory", "ConsumerLeasing_v1.1")
    assert len(encoded) - whole <= 2 and second.counts["examples"] + second.counts["held_out_examples"] == whole + 1

    for manifest, version in ((first, "v1.0"), (second, "v1.1")):
        made = site.artifacts / str(learn.examples(site, "regulatory", f"ConsumerLeasing_{version}").outputs["path"])
        learned, held = keys(made, example.FILE), keys(made, "held_out.parquet")
        assert all(is_held_out(key, 0.2) for key in held) and not any(is_held_out(key, 0.2) for key in learned)
        assert "9-p3" not in learned | held and manifest.counts["evaluation_documents"] == 1
        folder = site.artifacts / str(manifest.outputs["path"])
        members = json.loads((folder / training_set.MEMBERS).read_text(encoding="utf-8"))
        assert {key for row in members for key in row["documents"]} == learned
        assert len(members) == manifest.counts["sequences"]
        assert (folder / training_set.HELD_OUT).is_file()


@pytest.mark.slow
def test_a_tokenizer_without_a_chat_template_is_refused_before_training(
    site: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(site, regulation(tmp_path, "2011-1", "2011-01-01", **PARAGRAPHS), "run-1")
    bare = learn.training_set(site, "regulatory", "ConsumerLeasing_v1.0")
    assert bare.config.keys() == {"recipe"}, "without the flag nothing has another address than before there was one"
    assert "chat_template" not in artifacts.get(site, str(bare.outputs["artifact"])).facts
    path = site.configs / "domains" / "regulatory.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"base": {"chat_template": True}}), encoding="utf-8")
    with pytest.raises(BadInput, match="the tokenizer has no chat template"):
        learn.train(site, "regulatory", "ConsumerLeasing_v1.0")
    (site.configs / "environments").symlink_to(PROJECT / "configs" / "environments")
    monkeypatch.setenv("RATCHET_VAR", str(site.var))
    monkeypatch.setenv("RATCHET_CONFIGS", str(site.configs))
    done = CliRunner().invoke(app, ["train", "regulatory", "--check"])
    assert isinstance(done.exception, BadInput) and "put chat_template.jinja beside it" in str(done.exception)
