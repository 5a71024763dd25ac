"""The rules of the house that a program can check."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pipelines.config import PROJECT

FOUNDATIONS = {
    "config", "source_config", "screen_config", "plan_config", "recipe_config", "examples_config", "compute_config", "domain_config",
    "gate_config", "serving_config", "rollout_config", "monitor_config", "feedback_config",
    "project", "parsing", "strict", "errors", "locks", "manifest", "writing", "state", "governance",
}  # fmt: skip
CAPABILITIES = {
    "intake",
    "masking",
    "corpus",
    "retrieval",
    "training",
    "compute",
    "evaluation",
    "registry",
    "serving",
    "traffic",
    "monitoring",
    "feedback",
}
ABOVE = {"steps", "site", "demo", "samples", "cli", "__main__"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "pipelines" and len(parts) > 1 else None


def modules() -> list[Path]:
    return sorted(path for path in (PROJECT / "pipelines").rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_the_library_never_imports_airflow(path: Path) -> None:
    assert not {name for name in imports(path) if name == "airflow" or name.startswith("airflow.")}


def test_foundations_know_nobody_and_capabilities_know_no_steps() -> None:
    wrong = []
    for path in modules():
        own = path.relative_to(PROJECT / "pipelines").parts[0].removesuffix(".py")
        used = {name for name in map(room, imports(path)) if name}
        if own in FOUNDATIONS and used - FOUNDATIONS - {own}:
            wrong.append((path.name, used - FOUNDATIONS))
        if own in CAPABILITIES and used & ABOVE:
            wrong.append((path.name, used & ABOVE))
    assert wrong == []


def test_every_room_is_named_in_these_rules() -> None:
    found = {path.name.removesuffix(".py") for path in (PROJECT / "pipelines").iterdir() if path.name not in ("__init__.py", "__pycache__")}
    assert found <= FOUNDATIONS | CAPABILITIES | ABOVE


def test_capabilities_form_no_circle() -> None:
    edges: dict[str, set[str]] = {}
    for path in modules():
        own = path.relative_to(PROJECT / "pipelines").parts[0]
        if own in CAPABILITIES:
            edges.setdefault(own, set()).update(name for name in map(room, imports(path)) if name in CAPABILITIES and name != own)
    while edges:
        leaves = [name for name, needs in edges.items() if not needs & edges.keys()]
        assert leaves, f"a circle among {sorted(edges)}"
        for leaf in leaves:
            del edges[leaf]


def test_dags_hold_wiring_only() -> None:
    for path in (PROJECT / "dags").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60, path.name
        heavy = {"torch", "transformers", "pandas", "mlflow", "ragas", "lancedb", "pyiceberg", "presidio_analyzer", "great_expectations"}
        assert not {name.split(".")[0] for name in imports(path)} & heavy, path.name


def test_no_two_test_files_have_one_name() -> None:
    """pytest imports them by their name alone."""
    names = [path.name for path in (PROJECT / "tests").rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_no_pickle_is_read() -> None:
    for folder in ("pipelines", "dags", "plugins"):
        for path in (PROJECT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "pickle.load" not in text and "torch.load(" not in text and "joblib" not in text, path
