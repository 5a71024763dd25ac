"""The corpus's commands: deliver and collect, the ledger, dataset versions, lineage, erasure."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pipelines.cli.common import AsJson, DomainName, actor, show
from pipelines.config import domain_names, load_domain, load_settings
from pipelines.errors import BadInput, NotFound, RatchetError

app = typer.Typer()


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
    show(
        as_json,
        [{"domain": domain, "arrival": folder.name, "files": len(sources), "effective": day}],
        ("domain", "arrival", "files", "effective"),
    )


@app.command()
def arrivals(
    name: Annotated[str | None, typer.Argument(metavar="[DOMAIN|ID]", help="Of one domain, or one arrival with its reports.")] = None,
    items: Annotated[bool, typer.Option("--items", help="Also every file and document, and the reports of contract and masking.")] = False,
    as_json: AsJson = False,
) -> None:
    """The ledger: what was delivered and what became of it."""
    from pipelines.registry import views

    settings = load_settings()
    rows = views.arrivals(settings, name)
    if not rows and name and name not in domain_names(settings):
        raise NotFound(f"there is no domain and no arrival {name!r}", todo="`ratchet arrivals` lists them")
    show(as_json, rows, ("arrival", "domain", "state", "version", "documents", "uploader", "effective", "reason"))
    for row in rows if items or [row["arrival"] for row in rows] == [name] else []:
        if items:
            show(as_json, views.items(settings, row["arrival"]), ("file", "place", "state", "key", "reason"))
        if not as_json:
            reports = [{"report": kind, "of": row["arrival"], "file": row[kind]} for kind in views.REPORTS if row[kind]]
            show(as_json, reports, ("report", "of", "file"))


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
    show(as_json, rows, ("source", "state", "documents", "arrivals", "skipped", "note"))
    if any(row["skipped"] or row["state"] == "failed" for row in rows):
        raise typer.Exit(1)


@app.command()
def lineage(
    name: Annotated[str, typer.Argument(metavar="ID", help="An arrival, file id, document key, dataset version, artifact or release.")],
    as_json: AsJson = False,
) -> None:
    """Everything that an id comes from and went into: files, arrivals, versions, plans, artifacts, candidates, approvals, releases."""
    from pipelines.registry import lineage as tracing

    show(as_json, tracing.trace(load_settings(), name), ("what", "id", "when", "who", "detail"))


@app.command()
def erase(
    request: Annotated[Path, typer.Argument(help="A sealed request: REQUEST.json with its checksum in REQUEST.json.sha256.")],
    as_json: AsJson = False,
) -> None:
    """Erase a person by key: unread their text everywhere, bar what was made from it, write a receipt. Safe to repeat."""
    from pipelines.steps import erase as erasing

    receipt = erasing.erase(load_settings(), request, actor=actor())
    show(as_json, [receipt], ("request", "documents", "versions", "adapters", "indexes", "version", "receipt"))
    if receipt["live"] and not as_json:
        todo = f"run {receipt['domain']}.finetune and release what it makes, then give this request again"
        warning = f"STILL LIVE with erased text in its parts: {', '.join(receipt['live'])}: {todo}"
        Console(stderr=True, soft_wrap=True).print(warning, style="bold red", markup=False, highlight=False)
