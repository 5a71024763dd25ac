"""Writes the tables of docs/measures.md from pipelines/monitoring/measures.py: `.venv/bin/python scripts/measures_reference.py`."""

from __future__ import annotations

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PAGE = PROJECT / "docs" / "measures.md"
BEGIN, END = "<!-- generated: scripts/measures_reference.py -->\n", "<!-- end of what is generated -->\n"
SOURCES = {
    "log": "From the traffic log",
    "derived": "From the traffic log and a reference",
    "observed": "Measured beside the traffic log",
}


def reference() -> str:
    """The tables, one for each source."""
    from pipelines.monitoring.measures import MADE, MEASURES, OK

    of = {"true": "requests", OK: "answers", MADE: "written answers"}
    lines: list[str] = []
    for source, title in SOURCES.items():
        lines += [f"### {title}", "", "| measure | kind | unit | of | what |", "|---|---|---|---|---|"]
        for name, one in MEASURES.items():
            if one.source == source:
                whom = of.get(one.of, f"{of[MADE]} with a confidence") if source == "log" else ""
                lines.append(f"| `{name}` | {one.kind} | {one.unit} | {whom} | {one.says} |")
        lines.append("")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with its tables as they should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + reference() + END + after


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
