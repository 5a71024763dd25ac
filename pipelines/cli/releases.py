"""The commands from candidate to answer: steps, candidates, releases, rollback, asking."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.common import AsJson, DomainName, actor, print_json, show
from pipelines.config import domain_names, load_domain, load_settings
from pipelines.writing import write_json

app = typer.Typer()


class Part(StrEnum):
    """What a rollback can take back by itself."""

    ADAPTER = "adapter"
    PROMPT = "prompt"
    INDEX = "index"


@app.command(hidden=True)
def step(
    name: str,
    domain: Annotated[str, typer.Option()],
    arg: Annotated[list[str], typer.Option(help="key=value")] = [],  # noqa: B006 - Typer copies it
) -> None:
    """Run one step: what a heavy Airflow task or a Slurm job calls."""
    from pipelines.steps import run

    values = dict(pair.split("=", 1) for pair in arg if "=" in pair)
    output = run.run(load_settings(), name, domain, values)
    if (job := os.environ.get("RATCHET_JOB")) is not None:
        write_json(Path(job) / "output.json", output)
    print_json(output)


@app.command("candidates")
def candidates_command(domain: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """Every candidate, its verdict and what became of it."""
    from pipelines.registry import views

    show(
        as_json,
        views.candidates(load_settings(), domain),
        ("candidate", "version", "adapter", "verdict", "state", "reason"),
    )


@app.command("evaluate")
def evaluate(candidate: str, as_json: AsJson = False) -> None:
    """Gate a candidate by hand (Triton must be up); prints the verdict and every metric."""
    from pipelines.registry import candidates
    from pipelines.steps import gate

    settings = load_settings()
    row = candidates.get(settings, candidate)
    gate.gate(settings, row.domain, candidate)
    report = candidates.report_of(settings, candidate)
    assert report is not None  # noqa: S101 - gate() has just written it
    rows = [
        {"metric": name, **metric, "loss": (metric.get("loss") or {}).get("value"), "upper": (metric.get("loss") or {}).get("upper")}
        for name, metric in report.metrics.items()
        if as_json or metric.get("votes", True)
    ]
    show(as_json, rows, ("metric", "value", "low", "high", "floor", "loss", "upper", "margin", "outcome"))
    Console().print(f"{candidate}: {report.verdict}" + "".join(f"\n  {reason}" for reason in report.reasons)) if not as_json else None


@app.command()
def releases(domain: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """Every release and when it was live."""
    from pipelines.registry import views

    show(
        as_json, views.releases(load_settings(), domain), ("release", "version", "began", "ended", "actor", "reason", "answers_complaints")
    )


@app.command()
def rollback(
    domain: DomainName,
    reason: Annotated[str, typer.Option(help="Why; goes to the audit log.")],
    to: Annotated[int | None, typer.Option(help="Release number; default the one before.")] = None,
    only: Annotated[Part | None, typer.Option(help="Take back this part alone; the others stay as they are live.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier release live again. Needs neither Airflow nor Triton."""
    from pipelines.registry import partial

    settings = load_settings()
    load_domain(domain, settings)
    target = partial.rollback(settings, domain, actor=actor(), reason=reason, to=to, only=only.value if only else None)
    show(as_json, [{"domain": domain, "live": target}], ("domain", "live"))


@app.command()
def live(
    domain: Annotated[str | None, typer.Argument()] = None,
    on: Annotated[str | None, typer.Option("--on", help="A day, YYYY-MM-DD (UTC); default now.")] = None,
    as_json: AsJson = False,
) -> None:
    """What is live, or was live on a day: from which data, approved by whom."""
    from pipelines.registry import views

    settings = load_settings()
    names = [domain] if domain else domain_names(settings)
    if domain:
        load_domain(domain, settings)
    rows = [row for name in names for row in views.live(settings, name, on)]
    show(as_json, rows, ("domain", "release", "version", "approved_by", "began", "ended", "reason"))


@app.command()
def ask(
    domain: DomainName,
    question: str,
    as_of: Annotated[str | None, typer.Option("--as-of", help="Answer by the text in force on this day, YYYY-MM-DD.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the gateway; prints the answer with its release, paragraph and sources."""
    from pipelines.serving.caller import Caller

    settings = load_settings()
    load_domain(domain.split("/")[0], settings)
    reply = Caller.for_site(settings).ask(domain, question, as_of)
    if as_json:
        print_json(reply)
        return
    facts = reply["ratchet"]
    console = Console(soft_wrap=True)
    console.print(reply["choices"][0]["message"]["content"], markup=False, highlight=False, style="bold")
    console.print(
        f"release {facts['release']}, as of {facts['as_of']}" + (f", abstained: {facts['reason']}" if facts["abstained"] else ""),
        markup=False,
        highlight=False,
    )
    for source in facts["sources"]:
        mark = "*" if source.get("cited") else " "
        console.print(f" {mark} {source['key']} (from {source['valid_from']}): {source['text']}", markup=False, highlight=False)
