from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.config import Gate
from pipelines.evaluation import matrix
from pipelines.evaluation.cases import Case, Row
from pipelines.evaluation.metrics import METRICS, applicable
from pipelines.evaluation.report import DATA, HTML, Report, read_rows, render, write
from pipelines.evaluation.verdict import judge

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"
GATE = Gate(goldens=Path("g.jsonl"), floors={"grounded": 0.9}, min_goldens=1)
VOTES = {name: metric.votes for name, metric in METRICS.items()}
GOLDEN = Case(id="c", question="q", answer="a", cites="k", author="x", reviewer="y")


def row(name: str, value: float | None, text: str = "a text", **changes: Any) -> Row:
    made = Row(
        suite="goldens",
        case=name,
        as_of="2020-01-01",
        group=name,
        type="law",
        question=text,
        expected=text,
        expected_at=text,
        answer=text,
        cited_key=text,
        cited_text=text,
        retrieved=[text],
        abstained=False,
        seconds=0.2,
        error=None,
        scores=dict.fromkeys(applicable(GOLDEN), value),
    )
    return replace(made, **changes)


def report(rows: list[Row], live: list[Row] | None = None, **more: Any) -> Report:
    verdict = judge(rows, live, None, GATE, VOTES)
    cells = {matrix.CANDIDATE: rows} | ({matrix.LIVE: live} if live is not None else {})
    values: dict[str, Any] = {"facts": {"candidate": "law/r2"}, "verdict": verdict, "cells": cells, "matrix": matrix.table(cells), **more}
    return Report(**values)


def test_whatever_is_shown_is_escaped_and_nothing_can_run() -> None:
    rows = [row(EVIL, 0.5, EVIL), row("broken", None, error=EVIL, scores={})]
    stale = [{"suite": "goldens", "case": EVIL, "why": EVIL}]
    prompts = {"/".join(one.place): EVIL for one in rows}
    cost = {"generated": 1, "reused": 0, "generating_s": 0.1, "asking_s": 0.1, "scoring_s": 0.1, "judge": {EVIL: EVIL}}
    html = render(report(rows, rows, facts={"candidate": EVIL, "version": EVIL}, stale=stale, prompts=prompts, cost=cost))
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


def test_the_verdict_comes_first_and_the_worst_case_before_the_better() -> None:
    rows = [row("right", 1.0), row("half", 0.5), row("wrong", 0.0), row("broken", None, error="gone", scores={})]
    html = render(report(rows))
    places = [html.index("stamp inconclusive"), *(html.index(f"goldens {name}</span> ·") for name in ("broken", "wrong", "half"))]
    assert places == sorted(places)
    assert "goldens right</span> ·" not in html, "what is right is no worst case"
    assert "nan" not in html.lower().replace("maintenance", "").replace("disseminan", "")


def test_each_metric_that_decides_is_drawn_with_its_margin() -> None:
    rows = [row(f"c{number}", 1.0) for number in range(60)]
    html = render(report(rows, rows))
    deciding = [name for name in applicable(GOLDEN) if METRICS[name].votes]
    assert html.count('aria-label="loss of ') == len(applicable(GOLDEN))
    assert html.count('<span class="good">held</span>') == len(deciding)
    first = render(report(rows))
    assert 'aria-label="loss of ' not in first
    assert "no release is live" in first


def test_a_better_candidate_is_drawn_left_of_the_middle() -> None:
    html = render(report([row(f"c{number}", 1.0) for number in range(60)], [row(f"c{number}", 0.5) for number in range(60)]))
    drawn = re.search(r'aria-label="loss of answer_correct -0\.500">.*?<circle class="point" cx="([\d.]+)"', html, re.S)
    assert drawn is not None
    assert float(drawn[1]) < 90


def test_the_folder_holds_the_page_and_everything_as_json(tmp_path: Path) -> None:
    rows = [row("right", 1.0), row("wrong", 0.0)]
    write(tmp_path, report(rows, rows))
    assert sorted(path.name for path in tmp_path.iterdir()) == [HTML, DATA]
    stored = json.loads((tmp_path / DATA).read_text(encoding="utf-8"))
    assert read_rows(tmp_path / DATA) == read_rows(tmp_path / DATA, matrix.LIVE) == rows
    assert stored["matrix"][0] == {
        "cell": "candidate",
        "n": 2,
        **dict.fromkeys(("answer_correct", "amount_and_citation", "context_recall", "grounded", "answered"), 0.5),
    }
    assert stored["verdict"]["verdict"] in ("pass", "fail", "inconclusive")
