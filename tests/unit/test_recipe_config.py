from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path

import pytest
import yaml

from pipelines.config import PROJECT, Recipe, load_domain, load_settings
from pipelines.errors import ConfigError
from pipelines.parsing import parse
from pipelines.recipe_config import deepspeed_config, resolve


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    shutil.copytree(PROJECT / "configs", tmp_path / "configs")
    return tmp_path / "configs"


def said(values: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(Recipe, values, "a.yaml")
    return str(caught.value)


def test_what_depends_on_the_method_survives_a_round_trip() -> None:
    lora, full = Recipe(), Recipe(method="full", epochs=2)
    assert (lora.rank, lora.alpha, lora.steps) == (16, 32, 200)
    assert (full.rank, full.dropout, full.steps) == (None, None, None)
    for recipe in (lora, full):
        assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"learning_rat": 1}, "did you mean 'learning_rate'"),
        ({"early_stopping": {"patiense": 2}}, "did you mean 'patience'"),
        ({"method": "full", "rank": 8}, "method full trains every weight, so rank mean nothing"),
        ({"steps": 5, "epochs": 1}, "steps (5) and epochs (1) are both given"),
        ({"batch_sequences": 6, "ranks": 2, "accumulate": 2}, "6 batch_sequences do not divide into 2 ranks x 2 pieces"),
        ({"offload": "cpu"}, "zero is 0"),
        ({"method": "qlora", "zero": 2}, "qlora runs on one rank without ZeRO"),
        ({"deepspeed": "zero2"}, "DeepSpeed does not run"),
        ({"target_modules": []}, "target_modules is empty"),
        ({"method": "lorra"}, "'lora'"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_in_words(values: dict[str, object], words: str) -> None:
    assert words in said(values)


def test_a_named_recipe_is_filled_in_and_overridden(configs: Path) -> None:
    (configs / "recipes" / "careful.yaml").write_text("method: dora\nrank: 4\nlearning_rate: 0.0002\nsteps: 50\n")
    path = configs / "domains" / "regulatory.yaml"
    domain = yaml.safe_load(path.read_text())

    def recipe(given: object) -> Recipe:
        path.write_text(yaml.safe_dump({**domain, "recipe": given}))
        return load_domain("regulatory", load_settings({"RATCHET_CONFIGS": str(configs)})).recipe

    assert recipe("careful").method == "dora"
    changed = recipe({"from": "careful", "epochs": 1, "learning_rate": 0.1})
    assert (changed.method, changed.steps, changed.epochs, changed.learning_rate) == ("dora", None, 1, 0.1)
    assert recipe({"from": "careful", "method": "full"}).rank is None
    with pytest.raises(ConfigError, match=r"no recipe 'carefull'.*did you mean 'careful'"):
        recipe("carefull")
    (configs / "recipes" / "careful.yaml").write_text("methud: dora\n")
    with pytest.raises(ConfigError, match=r"careful\.yaml: unknown key 'methud' did you mean 'method'"):
        recipe("careful")


def test_every_shipped_recipe_is_valid() -> None:
    names = sorted(path.stem for path in (PROJECT / "configs" / "recipes").glob("*.yaml"))
    assert names
    for name in names:
        recipe = parse(Recipe, resolve(name, PROJECT / "configs"), name)
        if recipe.distributed:
            deepspeed_config(recipe, recipe.precision, PROJECT / "configs")


@pytest.mark.parametrize(("zero", "offload"), [(0, "none"), *product((1, 2, 3), ("none", "cpu"))])
def test_the_deepspeed_files_take_their_values_from_the_recipe(zero: int, offload: str) -> None:
    recipe = Recipe(zero=zero, offload=offload, ranks=2, accumulate=2, learning_rate=0.5, max_grad_norm=0.3)
    config = deepspeed_config(recipe, "bf16", PROJECT / "configs")
    assert config["zero_optimization"]["stage"] == zero
    assert config["zero_optimization"]["offload_optimizer"]["device"] == offload
    assert (config["train_batch_size"], config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"]) == (8, 2, 2)
    assert (config["gradient_clipping"], config["optimizer"]["params"]["lr"], config["bf16"]["enabled"]) == (0.3, 0.5, True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_batch_size": 16}, "the file says train_batch_size: 16, the recipe says batch_sequences: 8"),
        ({"bf16": {"enabled": True}}, 'the file says bf16.enabled: true, the recipe says precision: "auto"'),
        ({"zero_optimization": {"stage": 3}}, "the file says zero_optimization.stage: 3, the recipe says zero: 2"),
        ({"gradient_clipping": 0.5}, "the file says gradient_clipping: 0.5, the recipe says max_grad_norm: 1.0"),
        ({"fp16": {"enabled": True}}, "the file says fp16.enabled: true"),
        ({"scheduler": {"type": "WarmupLR"}}, "says scheduler, the recipe says schedule: linear"),
        ({"optimizer": []}, "optimizer must be a mapping"),
    ],
)
def test_a_deepspeed_file_that_contradicts_the_recipe_is_refused_with_both_values(
    configs: Path, change: dict[str, object], words: str
) -> None:
    (configs / "deepspeed" / "mine.json").write_text(json.dumps(change))
    recipe = Recipe(zero=2, ranks=2, deepspeed="mine")
    with pytest.raises(ConfigError) as caught:
        deepspeed_config(recipe, recipe.precision, configs)
    assert words in str(caught.value)


def test_a_domain_with_a_contradicting_deepspeed_file_does_not_load(configs: Path) -> None:
    (configs / "deepspeed" / "zero2.json").write_text('{"train_batch_size": 7}')
    path = configs / "domains" / "regulatory.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "recipe": {"zero": 2, "ranks": 2}}))
    with pytest.raises(ConfigError, match="train_batch_size: 7"):
        load_domain("regulatory", load_settings({"RATCHET_CONFIGS": str(configs)}))
