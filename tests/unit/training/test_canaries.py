"""Planted secrets: the same for the same domain and seed, in the training examples and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import DomainConfig
from pipelines.corpus.documents import Document
from pipelines.errors import BadInput, ConfigError
from pipelines.training import canaries, example, gather

from .conftest import RULE, document, domain_of


def planting(count: int, seed: int = 7, **changes: object) -> DomainConfig:
    made = domain_of(RULE)
    examples, recipe = made.examples.model_copy(update={"canaries": count}), made.recipe.model_copy(update={"seed": seed})
    return made.model_copy(update={"examples": examples, "recipe": recipe, **changes})


def test_the_same_domain_and_seed_plant_the_same_secrets() -> None:
    few, more = canaries.draw(planting(3)), canaries.draw(planting(8))
    assert few == more[:3] == canaries.draw(planting(3))
    secrets = {one.secret for one in canaries.draw(planting(64))}
    assert len(secrets) == 64
    for other in (planting(64, seed=8), planting(64, domain="clinical")):
        assert not secrets & {one.secret for one in canaries.draw(other)}


def test_they_are_trained_on_beside_the_rest_and_written_for_the_gate(tmp_path: Path, documents: list[Document]) -> None:
    counts = gather.gather(documents, planting(3), [], [], tmp_path)
    planted = canaries.load(tmp_path)
    learned = [one for one in example.read(tmp_path / example.FILE) if one.rule == canaries.RULE]
    assert counts["canaries"] == len(planted) == len(learned) == 3
    for canary, one in zip(planted, learned, strict=True):
        assert (one.question, one.answer, one.cited, one.documents) == (canary.question, canary.secret, 1, ())
        assert canary.secret in one.passages[0]
    others = "".join(f"{row.title} {row.text}" for row in documents)
    assert not any(one.secret in others for one in planted)


def test_without_the_key_nothing_is_planted_and_addresses_stay(tmp_path: Path, documents: list[Document]) -> None:
    assert "canaries" not in planting(0).model_dump(mode="json")["examples"]
    assert planting(2).model_dump(mode="json")["examples"]["canaries"] == 2
    counts = gather.gather(documents, planting(0), [], [], tmp_path)
    assert "canaries" not in counts and not (tmp_path / canaries.FILE).exists()
    assert canaries.load(tmp_path) == []


def test_canaries_alone_are_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no example can be made"):
        gather.gather([document("1-a", "Nothing that a rule fits.")], planting(3), [], [], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_task_without_questions_and_too_many_are_refused() -> None:
    task = planting(1).task.model_copy(update={"kind": "chat"})
    with pytest.raises(ConfigError, match=r"regulatory\.yaml, examples\.canaries: .* the task is chat"):
        canaries.draw(planting(1, task=task))
    with pytest.raises(ConfigError, match="at most 64 canaries"):
        canaries.draw(planting(65))
    assert canaries.draw(planting(0, task=task)) == []


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / canaries.FILE).write_text('{"name": "x", "question": "?", "secret": "1"}\n{"name": "y"}\n')
    with pytest.raises(ConfigError, match=r"canaries\.jsonl:2: question: Field required"):
        canaries.load(tmp_path)
