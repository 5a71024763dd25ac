from __future__ import annotations

import importlib.util

from pipelines.config import PROJECT


def test_the_recipe_reference_is_current() -> None:
    spec = importlib.util.spec_from_file_location("recipe_reference", PROJECT / "scripts" / "recipe_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.PAGE.read_text(encoding="utf-8")
    assert module.page(text) == text, "run .venv/bin/python scripts/recipe_reference.py"
    assert "| `learning_rate` | number > 0 | `0.001` |" in text
