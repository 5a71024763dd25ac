"""Writes the tables of docs/recipes.md from the models of pipelines/recipe_config.py: `.venv/bin/python scripts/recipe_reference.py`."""

from __future__ import annotations

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PAGE = PROJECT / "docs" / "recipes.md"
BEGIN, END = "<!-- generated: scripts/recipe_reference.py -->\n", "<!-- end of what is generated -->\n"


def reference() -> str:
    """The tables."""
    from pipelines.recipe_config import Divergence, EarlyStopping, Recipe

    parts = (("", Recipe), ("early_stopping.", EarlyStopping), ("divergence.", Divergence))
    lines = ["| key | type | default | what |", "|---|---|---|---|"]
    for prefix, model in parts:
        schema = model.model_json_schema()
        for name, field in schema["properties"].items():
            lines.append(f"| `{prefix}{name}` | {_type(field)} | {_default(field)} | {field.get('description', '')} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """The page with its tables as they should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + reference() + END + after


def _type(field: dict[str, object]) -> str:
    kinds = field.get("anyOf", [field])
    named = []
    for kind in kinds if isinstance(kinds, list) else []:
        if "enum" in kind:
            named.append(", ".join(f"`{value}`" for value in kind["enum"]))
        elif "const" in kind:
            named.append(f"`{kind['const']}`")
        elif "$ref" in kind:
            named.append("a mapping, below")
        elif kind.get("type") != "null":
            limits = {"minimum": ">= ", "exclusiveMinimum": "> ", "maximum": "<= ", "exclusiveMaximum": "< "}
            bounds = [f"{sign}{kind[key]:g}" for key, sign in limits.items() if key in kind]
            named.append(" ".join([{"array": "list of names"}.get(kind["type"], str(kind["type"])), *bounds]))
    return " or ".join(named)


def _default(field: dict[str, object]) -> str:
    value = field.get("default")
    if value is None:
        return ""
    return ", ".join(f"{key} {part:g}" for key, part in value.items()) if isinstance(value, dict) else f"`{value}`".lower()


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
