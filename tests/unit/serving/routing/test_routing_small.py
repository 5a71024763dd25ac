"""The smaller base's files, and the engine that is written of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.config import PROJECT, Settings
from pipelines.errors import BadInput
from pipelines.serving import triton
from pipelines.serving.routing import small
from pipelines.serving_config import Routing


def test_an_engine_of_its_own_without_an_adapter(settings: Settings) -> None:
    made = small.prepare(settings, Routing(small="models/starter", threshold=0.95))
    assert made is not None
    assert made.turns is False
    assert made.engine == triton.prepare(settings, "models/starter")
    assert (triton.repository(settings) / made.engine / "config.pbtxt").is_file()


def test_no_name_no_engine(settings: Settings) -> None:
    assert small.prepare(settings, Routing()) is None


@pytest.mark.parametrize("name", ["models/nowhere", "/nowhere", "some/model", "some/model@abc", "docs"])
def test_a_base_that_is_not_there(settings: Settings, name: str) -> None:
    with pytest.raises(BadInput) as caught:
        small.prepare(settings, Routing(small=name, threshold=0.95))
    assert caught.value.where == "serving.routing.small"
    assert name in str(caught.value)


def test_pickled_weights_are_not_read(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(BadInput, match="pickled"):
        small.prepare(settings, Routing(small=str(tmp_path), threshold=0.95))


def test_a_chat_template_is_found_where_transformers_writes_it(tmp_path: Path) -> None:
    assert not small.has_turns(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{not json")
    assert not small.has_turns(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert small.has_turns(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert small.has_turns(tmp_path)
    assert not small.has_turns(PROJECT / "models" / "starter")
