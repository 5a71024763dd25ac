"""The story: a regulation arrives, is learned, gated, approved, released and quoted; the next paragraph of law changes the answer."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.config import Settings
from pipelines.demo import public
from pipelines.demo.narrator import Narrator
from pipelines.demo.script import Script, generated
from pipelines.errors import BadInput, RatchetError
from pipelines.registry import pointer, views


def tell(settings: Settings, *, data: Path | None, keep_up: bool) -> None:
    """Start the stack, tell the story, show the summary. Safe to run again after an interruption."""
    from pipelines.cli.common import actor
    from pipelines.site import site

    console = Console()
    if data is None:
        script = generated(settings)
    else:
        settings, script = public.script(settings, data)
    _same_story(settings, script.name)
    narrator = Narrator(settings, console, actor())
    narrator.chapter("Starting Airflow, MLflow, Triton and the gateway")
    began = time.monotonic()
    site.up(settings)
    marks = {"up_s": round(time.monotonic() - began, 1)}
    answers = _chapters(narrator, script, marks)
    marks["story_s"] = round(time.monotonic() - narrator.began, 1)
    _summary(narrator, script, answers, marks)
    if not keep_up:
        site.down(settings)


def _chapters(narrator: Narrator, script: Script, marks: dict[str, float]) -> list[tuple[str, str, str]]:
    answers: list[tuple[str, str, str]] = []
    first, second = script.base, script.amendment

    narrator.chapter("1-4  A regulation arrives, is learned, gated, approved and released")
    t = time.monotonic()
    row = narrator.settled("regulatory", narrator.deliver("regulatory", first.name, first.files, first.effective, first.source))
    _expect(row, "accepted")
    candidate = narrator.judged("regulatory", row["version"])
    narrator.released(candidate)
    marks["first_release_s"] = round(time.monotonic() - t, 1)

    narrator.chapter("5  It is asked through the gateway")
    answers.append(narrator.ask(candidate["candidate"], script.question))

    narrator.chapter("6  One amending paragraph: planned index, no training")
    t = time.monotonic()
    for part in second:
        row = narrator.settled("regulatory", narrator.deliver("regulatory", part.name, part.files, part.effective, part.source))
        _expect(row, "accepted")
        candidate = narrator.judged("regulatory", row["version"])
        narrator.released(candidate)
    marks["amendment_s"] = round(time.monotonic() - t, 1)
    answers.append(narrator.ask(candidate["candidate"], script.question))
    answers.append(narrator.ask(candidate["candidate"], script.question, script.as_of))

    narrator.chapter("7  Clinical notes with names in them")
    t = time.monotonic()
    notes = script.clinical
    row = narrator.settled("clinical", narrator.deliver("clinical", notes.name, notes.files, notes.effective, notes.source))
    _expect(row, "accepted")
    clinical = narrator.judged("clinical", row["version"])
    if clinical["verdict"] == "pass":
        narrator.released(clinical)
        answers.append(narrator.ask(clinical["candidate"], script.clinical_question))
    marks["clinical_s"] = round(time.monotonic() - t, 1)
    _nothing_leaked(narrator, script.planted)

    narrator.chapter("8  A broken delivery, and one that would make answers worse")
    live = pointer.current(narrator.settings, "regulatory")
    broken, worse = script.broken, script.worse
    row = narrator.settled(
        "regulatory", narrator.deliver("regulatory", broken.name, broken.files, broken.effective, broken.source, broken=True)
    )
    _expect(row, "refused")
    if narrator.ended("regulatory.ingest", row["run"]) != "failed":
        raise RatchetError("the run of a refused delivery ended green", where=row["run"])
    row = narrator.settled("regulatory", narrator.deliver("regulatory", worse.name, worse.files, worse.effective, worse.source))
    _expect(row, "accepted")
    refused = narrator.judged("regulatory", row["version"])
    state = narrator.wait(lambda: _run(narrator, refused["candidate"]), "its release run", 180)
    if narrator.ended("regulatory.release", state) != "failed":
        raise RatchetError("the run of a refused candidate ended green", where=state)
    now = pointer.current(narrator.settings, "regulatory")
    if live is None or now is None or now.live_id != live.live_id:
        raise RatchetError("a refused candidate moved the live release")
    narrator.tell(f"{now.live_id} is still live")
    return answers


def _run(narrator: Narrator, candidate_id: str) -> str | None:
    rows = views.candidates(narrator.settings, candidate_id.split("/")[0])
    return next((row["run"] for row in rows if row["candidate"] == candidate_id), None)


def _expect(row: dict[str, Any], state: str) -> None:
    if row["state"] != state:
        raise RatchetError(f"{row['arrival']} was {row['state']}, not {state}: {row['reason']}", todo="see `ratchet arrivals --items`")


def _same_story(settings: Settings, name: str) -> None:
    """One var/ holds one story: the generated sample or the public data, not both on top of each other."""
    mark = settings.var / "demo" / "story"
    if mark.exists() and mark.read_text() != name:
        raise BadInput(
            f"{settings.var} holds the story {mark.read_text()!r}", todo="run `make clean` first, or set RATCHET_VAR to another folder"
        )
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(name)


def _nothing_leaked(narrator: Narrator, planted: list[str]) -> None:
    """Search everything the run wrote, outside the landing zone, for the identifiers planted in the notes."""
    from pipelines.masking.leaks import find

    settings = narrator.settings
    if not planted:
        narrator.tell("this data has no planted identifiers to search for")
        return
    found = find(settings.var, planted, skip=(settings.landing_zone, settings.var / "samples", settings.var / "demo"))
    if found:
        where = "; ".join(f"{path.relative_to(settings.var)}: {len(hits)}" for path, hits in list(found.items())[:5])
        raise RatchetError(f"planted identifiers were found past masking: {where}")
    narrator.tell(f"none of {len(planted)} planted identifiers is in anything the run wrote")


def _summary(narrator: Narrator, script: Script, answers: list[tuple[str, str, str]], marks: dict[str, float]) -> None:
    settings, console = narrator.settings, narrator.console
    console.print("\n[bold]Summary[/bold]")
    _table(console, "What arrived, and what became of it", ("arrival", "state", "version", "documents", "reason"), views.arrivals(settings))
    _table(console, "Candidates", ("candidate", "version", "verdict", "state", "reason"), views.candidates(settings))
    _table(console, "Releases", ("release", "version", "began", "ended", "actor"), views.releases(settings))
    _table(
        console,
        "Answers",
        ("question", "release", "answer"),
        [dict(zip(("question", "release", "answer"), a, strict=True)) for a in answers],
    )
    console.print("\n[bold]Where to look[/bold]")
    for name, url in (
        ("Airflow; the release board is in its Browse menu", settings.url("airflow")),
        ("MLflow", settings.url("mlflow")),
        ("the gateway (OpenAI-compatible)", f"{settings.url('gateway')}/v1"),
    ):
        console.print(f"  {name}: {url}", highlight=False, soft_wrap=True)
    console.print(f"  users and passwords: {settings.secrets / 'users.json'}", highlight=False, soft_wrap=True)
    prefix = "" if script.name == "generated" else f"RATCHET_VAR={settings.var} RATCHET_CONFIGS={settings.configs} "
    console.print(f'  try: {prefix}.venv/bin/ratchet ask regulatory "{script.question}"', highlight=False, soft_wrap=True)
    console.print("  try: .venv/bin/ratchet live; .venv/bin/ratchet rollback regulatory --reason 'trying it'; make down", highlight=False)
    console.print(f"\n{marks}", highlight=False)
    report = settings.var / "demo" / "summary.json"
    facts = {
        "story": script.name,
        "at": datetime.now(UTC).isoformat(),
        "marks": marks,
        "answers": answers,
        "cores": len(os.sched_getaffinity(0)),
    }
    report.write_text(json.dumps(facts, indent=2), encoding="utf-8")


def _table(console: Console, title: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if row[column] is None else str(row[column])) for column in columns))
    console.print()
    console.print(table)
