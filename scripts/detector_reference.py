"""Writes the tables of docs/detectors.md from pipelines/monitor_config.py: `.venv/bin/python scripts/detector_reference.py`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

PROJECT = Path(__file__).resolve().parent.parent
PAGE = PROJECT / "docs" / "detectors.md"
BEGIN, END = "<!-- generated {}: scripts/detector_reference.py -->\n", "<!-- end of {} -->\n"
DAYS = 14


def parts() -> dict[str, str]:
    """What is generated, by name."""
    from pipelines import monitor_config as config

    kinds = {"threshold": config.Threshold, "burn": config.Burn, "shift": config.Shift}
    found = {name: _table(model) for name, model in kinds.items()}
    actions = {"alert": config.AlertOnly, "throttle": config.Throttle, "route_off": config.RouteOff, "revert": config.Revert}
    found["burn windows"] = _table(config.BurnWindow)
    found["actions"] = "\n".join(f"`do: {name}`. {_first(model)}\n\n{_table(model, 'do')}" for name, model in actions.items())
    outer = {"": config.Monitors, "drift.": config.Drift}
    found["monitors"] = _rows("", [row for prefix, model in outer.items() for row in _keys(model, prefix)])
    found["usual"] = _usual(config)
    found["rates"] = _rates(config)
    return found


def page(text: str) -> str:
    """The page with its tables as they should be."""
    for name, table in parts().items():
        begin, end = BEGIN.format(name), END.format(name)
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = before + begin + table + end + after
    return text


def _usual(config: Any) -> str:
    lines = ["| rule | kind | measure | by | raised | severity | action |", "|---|---|---|---|---|---|---|"]
    for rule in config.USUAL:
        told = rule.action.model_dump(exclude_none=True, exclude_defaults=True).get("do", rule.action.do)
        lines.append(f"| `{rule.name}` | {rule.kind} | `{rule.measure}` | {rule.by} | {_when(rule)} | {rule.severity} | {told} |")
    return "\n".join(lines) + "\n"


def _when(rule: Any) -> str:
    if rule.kind == "shift":
        way = {"up": "more", "down": "less", "both": "more or less"}[rule.direction]
        return f"{rule.least:.0%} {way} than usual"
    if rule.kind == "burn":
        pairs = ", ".join(f"{pair.long_minutes:g}/{pair.short_minutes:g} min x{pair.factor:g}" for pair in rule.windows)
        return f"objective {rule.objective:.0%}: {pairs}"
    return f"above {rule.above:g}" if rule.above is not None else f"below {rule.below:g}"


def _rates(config: Any) -> str:
    from pipelines.monitoring import burn

    shifts = [rule for rule in config.USUAL if rule.kind == "shift"]
    every = sum(DAYS / rule.quiet_days for rule in shifts)
    drift = DAYS / config.Drift().quiet_days
    looks = {rule.name: sum(1440 / pair.long_minutes for pair in rule.windows) for rule in config.USUAL if rule.kind == "burn"}
    burning = DAYS * max(looks.values(), default=0.0) * burn.CHANCE
    return "\n".join(
        [
            f"| usual rules | false alarms in {DAYS} quiet days, as stated |",
            "|---|---|",
            f"| {len(shifts)} shift rules, each at its `quiet_days` | {every:.2f} |",
            f"| drift, all its tests together, at `drift.quiet_days` | {drift:.2f} |",
            f"| each group of a burn rule | {burning:.3f} |",
            "| threshold rules | none stated: the line is its owner's |",
            "",
        ]
    )


def _table(model: type[BaseModel], *without: str) -> str:
    return _rows("", [row for row in _keys(model) if not row.startswith(tuple(f"| `{name}`" for name in ("kind", *without)))])


def _rows(before: str, rows: list[str]) -> str:
    return before + "\n".join(["| key | type | default | what |", "|---|---|---|---|", *rows]) + "\n"


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    schema = model.model_json_schema()
    for name, field in schema["properties"].items():
        what = field.get("description", "")
        needed = " (needed)" if name in schema.get("required", []) else ""
        yield f"| `{prefix}{name}` | {_type(field)} | {_default(field)}{needed} | {what} |"


def _type(field: dict[str, Any]) -> str:
    named = []
    for kind in field.get("anyOf", [field]):
        if "enum" in kind:
            named.append(", ".join(f"`{value}`" for value in kind["enum"]))
        elif "const" in kind:
            named.append(f"`{kind['const']}`")
        elif "oneOf" in kind or "$ref" in kind:
            named.append("a mapping")
        elif kind.get("type") != "null":
            limits = {"minimum": ">= ", "exclusiveMinimum": "> ", "maximum": "<= ", "exclusiveMaximum": "< "}
            bounds = [f"{sign}{kind[key]:g}" for key, sign in limits.items() if key in kind]
            named.append(" ".join([{"array": "list", "string": "text"}.get(kind["type"], str(kind["type"])), *bounds]))
    return " or ".join(named)


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    if value is None:
        return ""
    if isinstance(value, list):
        return "; ".join(", ".join(f"{key} {part:g}" for key, part in one.items()) if isinstance(one, dict) else str(one) for one in value)
    if isinstance(value, dict):
        return f"`{value['do']}`" if "do" in value else "as below or in docs/monitoring.md"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`".lower() if isinstance(value, bool) else f"`{value}`"


def _first(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
