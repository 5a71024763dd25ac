from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

from pipelines.config import Gate
from pipelines.evaluation.gate import Row, Scores, judge
from pipelines.evaluation.metrics import METRICS
from pipelines.evaluation.report import render, write

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"
GATE = Gate(goldens=Path("g.jsonl"), floors={"grounded": 0.9}, min_goldens=1)


def row(name: str, value: float | None, text: str = "a text") -> Row:
    return Row(name, "2020-01-01", text, text, text, text, text, text, [text], False, 0.2, None, dict.fromkeys(METRICS, value))


def test_whatever_is_shown_is_escaped_and_nothing_can_run() -> None:
    scores = Scores([row(EVIL, 1.0, EVIL), replace(row("broken", None), error=EVIL)])
    verdict = judge(scores, scores, GATE)
    html = render({"candidate": EVIL, "version": EVIL}, verdict, scores, scores, scores)
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "<img" not in html
    style = re.search(r"<style>(.*)</style>", html, re.S)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert style is not None
    assert policy is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy[1].startswith(f"default-src 'none'; style-src 'sha256-{digest}'")
    assert not re.search(r'\b(?:src|href|style)="', html)


def test_the_worst_comes_first_and_missing_values_show_as_such() -> None:
    scores = Scores([row("right", 1.0), row("half", 0.5), row("wrong", 0.0), replace(row("broken", None), error="gone")])
    html = render({"candidate": "r1"}, judge(scores, None, GATE), scores)
    assert [html.index(f">{name}</span> ·") for name in ("broken", "wrong", "half", "right")] == sorted(
        html.index(f">{name}</span> ·") for name in ("broken", "wrong", "half", "right")
    )
    assert "inconclusive" in html
    assert "no value" in html
    assert "nan" not in html.lower().replace("maintenance", "")


def test_the_folder_holds_the_page_and_the_rows(tmp_path: Path) -> None:
    scores = Scores([row("right", 1.0)])
    verdict = judge(scores, None, GATE)
    write(tmp_path, {"candidate": "r1", "against": ""}, verdict, scores)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "rows.json"]
    stored = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert Scores.from_json(stored["candidate"]) == scores
    assert stored["verdict"]["verdict"] == "pass"
    assert "against" not in (tmp_path / "report.html").read_text(encoding="utf-8").split("<h2>")[0].split("<dl>")[1]
