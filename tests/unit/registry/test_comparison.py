"""Two candidates side by side, from facts as a training leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.config import Settings
from pipelines.errors import NotFound
from pipelines.registry import artifacts, candidates, comparison
from pipelines.state.database import transaction
from pipelines.state.models import DatasetVersion, GateReport


def version(site: Settings, minor: int, documents: int) -> str:
    name = f"Law_v1.{minor}"
    with transaction(site) as session:
        session.add(
            DatasetVersion(
                id=name,
                domain=f"law{minor}",
                major=1,
                minor=minor,
                snapshot_id="1",
                arrival_id=name,
                known_on="2014-01-01",
                documents=documents,
                changed={},
                content="c",
            )
        )
    return name


def adapter(site: Settings, number: int, version_id: str, rank: int, loss: float) -> str:
    history = [{"step": step, "loss": loss * 40 / step, "lr": 1e-3, "tokens_per_second": 9000.0 + step} for step in range(1, 41)]
    told: dict[str, Any] = {"base": "models/starter", "prompt": "p/v1", "examples": 60, "seconds": 12.5, "peak_mb": 900.0, "steps": 40}
    step_hash = f"{number}" * 64

    def write(out: Path) -> None:
        (out / "facts.json").write_text(json.dumps(told | {"history": history, "recipe": {"rank": rank, "steps": 40}}))

    artifacts.make(site, "adapter", step_hash, write)
    cost = {"basis": "metered", "money": 1.5 * number, "currency": "EUR", "why": "", "energy_kwh": None}
    return artifacts.enter(
        site, "adapter", "law", step_hash, told | {"version": version_id, "training_set": "training_set-1", "cost": cost}
    )


def candidate(site: Settings, number: int, version_id: str, adapter_id: str | None, value: float | None) -> str:
    index = f"{number}" * 63 + "a"
    artifacts.make(site, "index", index, lambda out: (out / "x").write_text("x"))
    name = candidates.assemble(
        site, domain="law", version_id=version_id, base="models/starter", base_sha256="0", adapter_id=adapter_id,
        index_id=artifacts.enter(site, "index", "law", index, {}), prompt="p/v1", prompt_sha256="0", policy={}, step_hash=f"{number:064x}",
    )  # fmt: skip
    if value is not None:
        metrics = {"grounded": {"value": value, "low": value - 0.1, "high": value + 0.05}, "faithfulness": {"value": None}}
        with transaction(site) as session:
            session.add(GateReport(candidate_id=name, verdict="pass", reasons=[], metrics=metrics, path="p", step_hash=f"{number}" * 64))
    return name


@pytest.fixture
def two(settings: Settings) -> tuple[str, str]:
    first, second = version(settings, 0, 100), version(settings, 1, 101)
    one = candidate(settings, 1, first, adapter(settings, 1, first, 16, 0.5), 0.9)
    return one, candidate(settings, 2, second, adapter(settings, 2, second, 8, 0.25), None)


def test_two_candidates_side_by_side(settings: Settings, two: tuple[str, str]) -> None:
    found = comparison.compare(settings, *two)
    table = {(part, name): (one, other, mark) for part, name, one, other, mark in comparison.lines(found)}
    assert table["recipe", "rank"] == (16, 8, "differs")
    assert table["recipe", "steps"] == (40, 40, "")
    assert table["data", "documents"] == (100, 101, "differs")
    assert table["training", "final_loss"][0] == pytest.approx(2 * table["training", "final_loss"][1])
    assert table["training", "median_tokens_per_second"][:2] == (9021.0, 9021.0)
    assert table["training", "peak_mb"] == (900.0, 900.0, "")
    assert table["cost", "money"] == (1.5, 3.0, "differs")
    assert table["gate", "grounded"] == ("0.900 [0.800, 0.950]", None, "differs")
    assert table["gate", "faithfulness"] == (None, None, "")
    assert table["gate", "verdict"] == ("pass", None, "differs")
    assert found["documents"] == {}, "two domains: nothing to count"


def test_an_adapter_and_a_training_are_found_by_id_and_by_hash(settings: Settings, two: tuple[str, str]) -> None:
    of_candidate = comparison.compare(settings, two[0], two[1])["a"]
    by_id, by_hash = (comparison.compare(settings, name, two[1])["a"] for name in ("adapter-1111111111111111", "1111111111"))
    assert by_id["training"] == by_hash["training"] == of_candidate["training"]
    assert by_id["data"]["version"] == "Law_v1.0" and by_id["gate"]["verdict"] is None


def test_a_candidate_without_an_adapter(settings: Settings, two: tuple[str, str]) -> None:
    bare = comparison.compare(settings, candidate(settings, 3, "Law_v1.0", None, 0.5), two[0])["a"]
    assert (bare["parts"]["adapter"], bare["training"], bare["cost"], bare["recipe"]) == (None, {}, {}, {})


def test_an_unknown_id_names_the_nearest(settings: Settings, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match=r"'law/r9' \(the nearest: law/r"):
        comparison.compare(settings, "law/r9", two[0])
    with pytest.raises(NotFound, match="`ratchet candidates` lists"):
        comparison.compare(settings, two[0], "zzz")
    with pytest.raises(NotFound):
        comparison.compare(settings, "index-1111111111111111", two[0])
    assert NotFound.exit_code == 2


def test_the_command(settings: Settings, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_VAR", str(settings.var))
    shown = CliRunner().invoke(app, ["compare", *two], catch_exceptions=False).output
    (line,) = (line for line in shown.splitlines() if line.startswith("recipe.rank"))
    assert line.split() == ["recipe.rank", "16", "8", "differs"]
    told = json.loads(CliRunner().invoke(app, ["compare", *two, "--json"], catch_exceptions=False).output)
    assert told["b"]["recipe"]["rank"] == 8
