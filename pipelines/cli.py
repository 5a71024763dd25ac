"""`ratchet`: the command line. Each command is a few lines over the library; errors are one line; bad input exits 2 and changes nothing."""

from __future__ import annotations

import getpass
import json
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipelines.config import Settings, domain_names, load_domain, load_settings
from pipelines.errors import BadInput, RatchetError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
datasets_app = typer.Typer(no_args_is_help=True, help="Dataset versions.")
audit_app = typer.Typer(no_args_is_help=True, help="The audit log.")
app.add_typer(datasets_app, name="datasets")
app.add_typer(audit_app, name="audit")
quarantine_app = typer.Typer(no_args_is_help=True, help="Documents that wait for a person.")
app.add_typer(quarantine_app, name="quarantine")

WIDE = 200
"""Columns of a table that goes into a file or a pipe, where nothing has a width and Rich would fold at 80."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DomainName = Annotated[str, typer.Argument(help="A domain: a file under configs/domains/.")]


def main() -> None:
    """Entry point: expected errors become one line on stderr and their exit code."""
    try:
        app()
    except RatchetError as error:
        _leave_for_the_job(str(error))
        Console(stderr=True, soft_wrap=True).print(f"ratchet: {error}", style="red", markup=False, highlight=False)
        sys.exit(error.exit_code)


def actor() -> str:
    """The OS user of this host: the actor of a local command is authenticated, never typed."""
    return f"os:{getpass.getuser()}"


# --- the site ---------------------------------------------------------------------------------------------------------


@app.command()
def up(foreground: Annotated[bool, typer.Option(help="Stay attached; stop everything on Ctrl-C.")] = False) -> None:
    """Start Airflow, MLflow, Triton and the gateway on this host."""
    from pipelines.site import site

    site.up(load_settings(), foreground=foreground)


@app.command()
def down() -> None:
    """Stop what `up` started, and nothing else."""
    from pipelines.site import site

    site.down(load_settings())


@app.command()
def status(as_json: AsJson = False) -> None:
    """What runs, where, since when, and how much memory it takes."""
    from pipelines.site import site

    rows = [asdict(row) for row in site.status(load_settings())]
    _show(as_json, rows, ("name", "state", "pid", "rss_mb", "uptime", "restarts", "url"))


@app.command()
def doctor(
    repair: Annotated[bool, typer.Option(help="Deliver what other systems were not told yet.")] = True,
    as_json: AsJson = False,
) -> None:
    """Find what is missing or broken, and repair what can be repaired."""
    from pipelines.site import doctor as examine

    findings = examine.examine(load_settings(), repair=repair)
    _show(as_json, findings, ("check", "ok", "detail"))
    if not all(finding["ok"] for finding in findings):
        raise typer.Exit(1)


@app.command()
def migrate() -> None:
    """Create or upgrade the control database."""
    from pipelines.state.database import migrate as upgrade

    settings = load_settings()
    upgrade(settings)
    Console().print(f"control database is up to date: {_hide(settings.database)}")


# --- arrivals and datasets --------------------------------------------------------------------------------------------


@app.command()
def arrive(
    domain: DomainName,
    files: Annotated[list[Path], typer.Argument(help="Files, or one folder of files.")],
    effective: Annotated[str, typer.Option(help="Date from which the text holds, YYYY-MM-DD; default today.")] = "",
    source: Annotated[str, typer.Option(help="Where it comes from.")] = "command line",
    as_json: AsJson = False,
) -> None:
    """Deliver files: copy them into the landing zone and seal them."""
    from pipelines.intake import landing

    settings = load_settings()
    load_domain(domain, settings)
    sources = sorted(path for file in files for path in (file.iterdir() if file.is_dir() else [file]))
    for path in sources:
        if not path.is_file():
            raise BadInput("not a file", where=str(path), todo="name files, or a folder that holds only files")
    if not sources:
        raise BadInput("nothing to deliver", where=", ".join(map(str, files)))
    day = effective or datetime.now(UTC).date().isoformat()
    folder = landing.deliver(settings, domain, sources, uploader=actor(), source=source, effective=day)
    _show(
        as_json,
        [{"domain": domain, "arrival": folder.name, "files": len(sources), "effective": day}],
        ("domain", "arrival", "files", "effective"),
    )


@app.command()
def arrivals(
    domain: Annotated[str | None, typer.Argument()] = None,
    items: Annotated[bool, typer.Option("--items", help="Also every file and document.")] = False,
    as_json: AsJson = False,
) -> None:
    """The ledger: what was delivered and what became of it."""
    from pipelines.registry import views

    settings = load_settings()
    rows = views.arrivals(settings, domain)
    _show(as_json, rows, ("arrival", "domain", "state", "version", "documents", "uploader", "effective", "reason"))
    if items:
        for row in rows:
            _show(as_json, views.items(settings, row["arrival"]), ("file", "place", "state", "key", "reason"))


Places = Annotated[list[str] | None, typer.Argument(help="Places of held documents, as `quarantine show` prints them.")]
Everything = Annotated[bool, typer.Option("--all", help="Everything of the arrival that waits.")]
Why = Annotated[str, typer.Option("--reason", help="Why; goes to the audit log and the ledger.")]


@quarantine_app.command("list")
def quarantine_list(domain: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """What waits for a decision: which rule holds it, since when."""
    from pipelines.steps import quarantine

    settings = load_settings()
    if domain:
        load_domain(domain, settings)
    _show(as_json, quarantine.held(settings, domain), ("arrival", "domain", "place", "rules", "since", "uploader"))


@quarantine_app.command("show")
def quarantine_show(
    arrival: str,
    text: Annotated[str | None, typer.Option(help="Print the masked text of the document at this place; the reading is audited.")] = None,
    as_json: AsJson = False,
) -> None:
    """What is or was held of one arrival: each finding with its place, and what was decided by whom."""
    from pipelines.steps import quarantine

    settings = load_settings()
    if text is not None:
        typer.echo(quarantine.text(settings, arrival, text, actor()))
        return
    rows = quarantine.held(settings, arrival_id=arrival, decided=True)
    if not as_json:
        rows = [{**row, **one} for row in rows for one in row["findings"]]
    _show(as_json, rows, ("place", "rule", "reason", "part", "start", "end", "state", "decision", "by", "why"))


@quarantine_app.command("release")
def quarantine_release(arrival: str, reason: Why, places: Places = None, everything: Everything = False, as_json: AsJson = False) -> None:
    """Let held documents go on: the next run of `<domain>.ingest` publishes them. Not for who delivered them."""
    from pipelines.steps import quarantine

    release = quarantine.release(load_settings(), arrival, _chosen(places, everything), actor(), reason)
    _show(as_json, [{"arrival": arrival, "release": release}], ("arrival", "release"))


@quarantine_app.command("refuse")
def quarantine_refuse(arrival: str, reason: Why, places: Places = None, everything: Everything = False, as_json: AsJson = False) -> None:
    """Refuse held documents for good."""
    from pipelines.steps import quarantine

    quarantine.refuse(load_settings(), arrival, _chosen(places, everything), actor(), reason)
    _show(as_json, [{"arrival": arrival, **quarantine.sums(load_settings(), arrival)}], ("arrival", "accepted", "quarantined", "refused"))


def _chosen(places: list[str] | None, everything: bool) -> Any:
    if bool(places) == everything:
        raise BadInput("say which documents", todo="name places, or --all")
    return places or "all"


@app.command()
def collect(
    domain: DomainName,
    source: Annotated[str | None, typer.Option(help="One source; default all of the domain's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Pull what is new from the domain's outside sources, now. Exits 1 when something could not be taken or a source failed."""
    from pipelines.steps import collect as collecting

    settings = load_settings()
    names = [source] if source else collecting.source_names(settings, domain)
    if not names:
        raise BadInput(f"{domain} has no sources", todo="name some under sources.collect, see docs/collect.md")
    rows: list[dict[str, Any]] = []
    for name in names:
        try:
            told = collecting.collect(settings, domain, name)
        except RatchetError as error:
            if source:
                raise
            # One source that is down must not hold up the others.
            told = {"source": name, "state": "failed", "note": str(error), "skipped": [], "arrivals": []}
        rows.append(told | ({} if as_json else {"arrivals": len(told["arrivals"])}))
    _show(as_json, rows, ("source", "state", "documents", "arrivals", "skipped", "note"))
    if any(row["skipped"] or row["state"] == "failed" for row in rows):
        raise typer.Exit(1)


@datasets_app.command("list")
def datasets_list(domain: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """Every dataset version."""
    from pipelines.registry import views

    _show(
        as_json,
        views.versions(load_settings(), domain),
        ("version", "documents", "changed", "known_on", "snapshot", "arrival"),
    )


@datasets_app.command("show")
def datasets_show(version: str, as_json: AsJson = False) -> None:
    """The documents of one version."""
    from pipelines.registry import views

    _show(as_json, views.documents(load_settings(), version), ("key", "valid_from", "valid_to", "text"))


@datasets_app.command("diff")
def datasets_diff(before: str, after: str, as_json: AsJson = False) -> None:
    """What changed from one version to another."""
    from pipelines.registry import views

    _show(as_json, views.diff(load_settings(), before, after), ("change", "key", "valid_from", "text"))


@datasets_app.command("restore")
def datasets_restore(
    version: str,
    reason: Annotated[str, typer.Option(help="Why; goes to the audit log.")],
    as_json: AsJson = False,
) -> None:
    """Make a new version with the documents of an old one. Nothing is deleted; `finetune` takes it like any other version."""
    from pipelines.steps import restore

    made = restore.restore(load_settings(), version, actor=actor(), reason=reason)
    _show(as_json, [{"version": made, "restores": version}], ("version", "restores"))


@app.command()
def lineage(
    name: Annotated[str, typer.Argument(metavar="ID", help="An arrival, file id, document key, dataset version, artifact or release.")],
    as_json: AsJson = False,
) -> None:
    """Everything that an id comes from and went into: files, arrivals, versions, plans, artifacts, candidates, approvals, releases."""
    from pipelines.registry import lineage as tracing

    _show(as_json, tracing.trace(load_settings(), name), ("what", "id", "when", "who", "detail"))


@app.command()
def erase(
    request: Annotated[Path, typer.Argument(help="A sealed request: REQUEST.json with its checksum in REQUEST.json.sha256.")],
    as_json: AsJson = False,
) -> None:
    """Erase a person by key: unread their text everywhere, bar what was made from it, write a receipt. Safe to repeat."""
    from pipelines.steps import erase as erasing

    receipt = erasing.erase(load_settings(), request, actor=actor())
    _show(as_json, [receipt], ("request", "documents", "versions", "adapters", "indexes", "version", "receipt"))
    if receipt["live"] and not as_json:
        todo = f"run {receipt['domain']}.finetune and release what it makes, then give this request again"
        warning = f"STILL LIVE with erased text in its parts: {', '.join(receipt['live'])}: {todo}"
        Console(stderr=True, soft_wrap=True).print(warning, style="bold red", markup=False, highlight=False)


# --- learning and releases --------------------------------------------------------------------------------------------


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
        target = Path(job) / "output.json"
        temporary = target.with_suffix(".tmp")
        temporary.write_text(json.dumps(output), encoding="utf-8")
        temporary.rename(target)
    _print_json(output)


@app.command()
def plan(domain: DomainName, as_json: AsJson = False) -> None:
    """What each dataset version called for, and why."""
    from pipelines.registry import views

    _show(as_json, views.plans(load_settings(), domain), ("version", "kind", "reason", "done"))


@app.command()
def train(
    domain: DomainName,
    version: Annotated[str | None, typer.Option(help="Default: the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train the domain's adapter by hand, on this host, outside Airflow."""
    from pipelines.steps import learn, publish

    settings = load_settings()
    newest = publish.latest(settings, domain)
    if version is None and newest is None:
        raise BadInput(f"{domain} has no dataset version", todo="deliver something first: `ratchet arrive`")
    manifest = learn.train(settings, domain, version or (newest.id if newest else ""))
    _show(as_json, [{**manifest.outputs, "seconds": manifest.seconds}], ("artifact", "sha256", "seconds"))


@app.command("candidates")
def candidates_command(domain: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """Every candidate, its verdict and what became of it."""
    from pipelines.registry import views

    _show(
        as_json,
        views.candidates(load_settings(), domain),
        ("candidate", "version", "adapter", "verdict", "state", "reason"),
    )


@app.command("evaluate")
def evaluate(candidate: str, as_json: AsJson = False) -> None:
    """Gate a candidate by hand (Triton must be up); prints the verdict and every metric."""
    from pipelines.registry import candidates
    from pipelines.steps import release

    settings = load_settings()
    row = candidates.get(settings, candidate)
    release.gate(settings, row.domain, candidate)
    report = candidates.report_of(settings, candidate)
    assert report is not None  # noqa: S101 - gate() has just written it
    rows = [{"metric": name, **metric} for name, metric in report.metrics.items()]
    _show(as_json, rows, ("metric", "value", "low", "high", "floor", "live"))
    Console().print(f"{candidate}: {report.verdict}" + "".join(f"\n  {reason}" for reason in report.reasons)) if not as_json else None


@app.command()
def releases(domain: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """Every release and when it was live."""
    from pipelines.registry import views

    _show(as_json, views.releases(load_settings(), domain), ("release", "version", "began", "ended", "actor", "reason"))


@app.command()
def rollback(
    domain: DomainName,
    reason: Annotated[str, typer.Option(help="Why; goes to the audit log.")],
    to: Annotated[int | None, typer.Option(help="Release number; default the one before.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier release live again. Needs neither Airflow nor Triton."""
    from pipelines.registry import pointer

    settings = load_settings()
    load_domain(domain, settings)
    target = pointer.rollback(settings, domain, actor=actor(), reason=reason, to=to)
    _show(as_json, [{"domain": domain, "live": target}], ("domain", "live"))


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
    _show(as_json, rows, ("domain", "release", "version", "approved_by", "began", "ended", "reason"))


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
        _print_json(reply)
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


@app.command()
def key(
    name: Annotated[str, typer.Argument(help="Who will call with it.")],
    domains: Annotated[list[str] | None, typer.Argument(help="Domains it may ask.")] = None,
    deliver: Annotated[list[str] | None, typer.Option(help="A domain it may upload files to; may be repeated.")] = None,
) -> None:
    """Issue an API key for the gateway; shown once, only its hash is kept."""
    from pipelines.serving.keys import issue_key

    settings = load_settings()
    ask, give = domains or [], deliver or []
    if not ask and not give:
        raise BadInput("a key without a right is of no use", todo="name domains it may ask, or --deliver DOMAIN")
    for domain in (*ask, *give):
        load_domain(domain, settings)
    typer.echo(issue_key(settings, name, ask, delivers=give))


# --- audit ------------------------------------------------------------------------------------------------------------


@audit_app.command("verify")
def audit_verify(as_json: AsJson = False) -> None:
    """Check the hash chain."""
    from pipelines.governance import audit
    from pipelines.state.database import reading

    with reading(load_settings()) as session:
        count, faults = audit.verify(session)
    _show(as_json, [{"events": count, "whole": not faults, "faults": "; ".join(faults)}], ("events", "whole", "faults"))
    if faults:
        raise typer.Exit(1)


@audit_app.command("show")
def audit_show(
    subject: Annotated[str | None, typer.Argument(help="e.g. regulatory/r3")] = None,
    last: int = 40,
    as_json: AsJson = False,
) -> None:
    """The newest events, of one subject or of all."""
    from pipelines.registry import views

    _show(
        as_json,
        views.audit_events(load_settings(), subject, last),
        ("seq", "at", "actor", "action", "subject", "allowed", "detail"),
    )


# --- demo -------------------------------------------------------------------------------------------------------------


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="Public data to run on instead of the generated sample (see README).")] = None,
    keep_up: Annotated[bool, typer.Option(help="Leave the services running.")] = True,
) -> None:
    """The whole story, end to end, through Airflow."""
    from pipelines.demo import story

    story.tell(load_settings(), data=data, keep_up=keep_up)


# --- showing ----------------------------------------------------------------------------------------------------------


def _show(as_json: bool, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    if as_json:
        _print_json(rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.print(table) if rows else console.print("nothing yet")


def _cell(value: object) -> str:
    from rich.markup import escape

    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    return escape(json.dumps(value) if isinstance(value, dict | list) else str(value))


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, default=str))


def _hide(url: str) -> str:
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


def _leave_for_the_job(message: str) -> None:
    if (job := os.environ.get("RATCHET_JOB")) is not None:
        (Path(job) / "error.txt").write_text(message, encoding="utf-8")


__all__ = ["Settings", "app", "main"]
