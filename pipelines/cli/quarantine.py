"""`ratchet quarantine`: see and decide what the screen holds."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipelines.cli.common import AsJson, actor, show
from pipelines.config import load_domain, load_settings
from pipelines.errors import BadInput

app = typer.Typer(no_args_is_help=True, help="Documents that wait for a person.")


Places = Annotated[list[str] | None, typer.Argument(help="Places of held documents, as `quarantine show` prints them.")]
Everything = Annotated[bool, typer.Option("--all", help="Everything of the arrival that waits.")]
Why = Annotated[str, typer.Option("--reason", help="Why; goes to the audit log and the ledger.")]


@app.command("list")
def quarantine_list(domain: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """What waits for a decision: which rule holds it, since when."""
    from pipelines.steps import quarantine

    settings = load_settings()
    if domain:
        load_domain(domain, settings)
    show(as_json, quarantine.held(settings, domain), ("arrival", "domain", "place", "rules", "since", "uploader"))


@app.command("show")
def quarantineshow(
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
    show(as_json, rows, ("place", "rule", "reason", "part", "start", "end", "state", "decision", "by", "why"))


@app.command("release")
def quarantine_release(arrival: str, reason: Why, places: Places = None, everything: Everything = False, as_json: AsJson = False) -> None:
    """Let held documents go on: the next run of `<domain>.ingest` publishes them. Not for who delivered them."""
    from pipelines.steps import quarantine

    release = quarantine.release(load_settings(), arrival, _chosen(places, everything), actor(), reason)
    show(as_json, [{"arrival": arrival, "release": release}], ("arrival", "release"))


@app.command("refuse")
def quarantine_refuse(arrival: str, reason: Why, places: Places = None, everything: Everything = False, as_json: AsJson = False) -> None:
    """Refuse held documents for good."""
    from pipelines.steps import quarantine

    quarantine.refuse(load_settings(), arrival, _chosen(places, everything), actor(), reason)
    show(as_json, [{"arrival": arrival, **quarantine.sums(load_settings(), arrival)}], ("arrival", "accepted", "quarantined", "refused"))


def _chosen(places: list[str] | None, everything: bool) -> Any:
    if bool(places) == everything:
        raise BadInput("say which documents", todo="name places, or --all")
    return places or "all"
