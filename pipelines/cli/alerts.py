"""`ratchet alerts` and `ratchet watch`: incidents, who was told, what is held back, and the service that watches."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from pipelines.cli.common import AsJson, DomainName, actor, print_json, show
from pipelines.config import load_domain, load_settings
from pipelines.errors import Unavailable

app = typer.Typer(no_args_is_help=True, help="What is wrong with the answers, who was told, and what was done.")
watching = typer.Typer()
Incident = Annotated[str, typer.Argument(help="An incident, `regulatory-i12`.")]
OfDomain = Annotated[str | None, typer.Argument(help="A domain; default all.")]
_COLUMNS = ("id", "severity", "state", "title", "opened_at", "closed_at", "told", "not_told", "drill")


@app.command("list")
def list_incidents(
    domain: OfDomain = None,
    closed: Annotated[bool, typer.Option("--closed", help="Those that are over too.")] = False,
    last: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Incidents, newest first."""
    from pipelines.monitoring import desk

    settings = load_settings()
    _known(domain)
    show(as_json, desk.listed(settings, domain, closed=closed, limit=last), _COLUMNS)


@app.command("show")
def show_incident(incident: Incident, as_json: AsJson = False) -> None:
    """All of one incident: what was seen, what changed last, what happened, who was told."""
    from pipelines.monitoring import desk

    found = desk.shown(load_settings(), incident)
    if as_json:
        print_json(found)
        return
    console = Console(soft_wrap=True)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    say(f"{found['id']}: {found['title']}, a {found['severity']}, {found['state']}" + (" (a drill)" if found["drill"] else ""))
    for one in found["signals"].values():
        say(f"  {'over' if one['over'] else 'seen'}: {one['rule']} of {one['group']} since {one['since']}: {one['why']}")
        if one["requests"]:
            say(f"        requests: {', '.join(one['requests'])}")
    for change in found["cause"].get("changes", []):
        say(f"  changed: {change['says']}")
    for event in found["timeline"]:
        say(f"  {event['at']} {event['what']} ({event['by']})")
    for told in found["deliveries"]:
        say(f"  {told['event']} to {told['address']}: {told['state']}" + (f", {told['error']}" if told["error"] else ""))
    say(f"  runbook: {found['runbook']}")


@app.command("ack")
def acknowledge(incident: Incident) -> None:
    """Say that you have it: it is not told again."""
    from pipelines.monitoring import desk

    desk.acknowledge(load_settings(), incident, actor())


@app.command("close")
def close(
    incident: Incident,
    reason: Annotated[str, typer.Option(help="What it was.")],
    no_fault: Annotated[bool, typer.Option("--no-fault", help="What is seen is as it should be: the detectors learn it so.")] = False,
) -> None:
    """End an incident though not all of it is well."""
    from pipelines.monitoring import desk

    desk.close(load_settings(), incident, actor(), reason, no_fault=no_fault)


@app.command("silence")
def silence(
    domain: DomainName,
    why: Annotated[str, typer.Option(help="Why nobody is to be told.")],
    hours: Annotated[float, typer.Option(min=0.01, help="For how long.")] = 4.0,
    rule: Annotated[str | None, typer.Option(help="Of one rule only.")] = None,
    group: Annotated[str | None, typer.Option(help="Of one tenant, release, prompt or slice only.")] = None,
    actions_too: Annotated[bool, typer.Option("--actions-too", help="Nothing is throttled, switched off or reverted either.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell nobody for a while. What is seen is still written down."""
    from pipelines.monitoring import desk

    row = desk.silence(load_settings(), domain, hours=hours, by=actor(), why=why, rule=rule, group=group, actions_too=actions_too)
    show(as_json, [{"id": row.id, "domain": row.domain, "rule": row.rule, "group": row.group, "until": row.until}], _SILENCE[:5])


_SILENCE = ("id", "domain", "rule", "group", "until", "actions_too", "by", "why")


@app.command("silences")
def silences(domain: OfDomain = None, as_json: AsJson = False) -> None:
    """What nobody is told of now."""
    from pipelines.monitoring import desk
    from pipelines.state.models import now

    _known(domain)
    show(as_json, desk.silences(load_settings(), domain, now()), _SILENCE)


@app.command("unsilence")
def unsilence(number: Annotated[int, typer.Argument(help="The silence's id.")]) -> None:
    """End a silence now; what is still open is told."""
    from pipelines.monitoring import desk

    desk.unsilence(load_settings(), number, actor())


@app.command("restraints")
def restraints(domain: OfDomain = None, as_json: AsJson = False) -> None:
    """What is held back now: throttled tenants, routes that are off."""
    from pipelines.monitoring import holdbacks
    from pipelines.state.models import now

    _known(domain)
    rows = [holdbacks.facts(row) for row in holdbacks.in_force(load_settings(), domain, now())]
    show(as_json, rows, ("id", "domain", "kind", "subject", "requests_per_minute", "until", "by", "reason", "incident"))


@app.command("lift")
def lift(
    number: Annotated[int, typer.Argument(help="The restraint's id.")],
    reason: Annotated[str, typer.Option(help="Why it ends now.")],
) -> None:
    """End a restraint now."""
    from pipelines.monitoring import holdbacks

    holdbacks.lift(load_settings(), number, actor(), reason)


@app.command("test")
def test(domain: OfDomain = None, as_json: AsJson = False) -> None:
    """Send a test message to every address, and say of each whether it was delivered. Exits 1 where one was not, or there is none."""
    from pipelines.monitoring import alerts

    rows = alerts.try_all(load_settings(), domain, actor())
    show(as_json, rows, ("address", "told_of", "delivered", "error"))
    if not rows:
        raise Unavailable("nobody would be told: there is no address", where="RATCHET_ALERT_URLS", todo="see docs/monitoring.md")
    if not all(row["delivered"] for row in rows):
        raise typer.Exit(1)


@app.command("drill")
def drill(
    domain: DomainName,
    seconds: Annotated[float, typer.Option(min=10, help="In which both must have come.")] = 120.0,
    force: Annotated[bool, typer.Option("--force", help="In production too: nothing live is touched.")] = False,
    as_json: AsJson = False,
) -> None:
    """Plant a bad release on a throw-away site, and see that the alert and the revert come. Takes about a minute."""
    from pipelines.monitoring import drill as room

    found = room.run(load_settings(), domain, seconds=seconds, forced=force, actor=actor())
    show(as_json, [found], ("domain", "rule", "measure", "alert_s", "revert_s", "requests", "ok"))


@app.command("measures")
def measures(as_json: AsJson = False) -> None:
    """What a rule may watch."""
    from pipelines.monitoring.measures import MEASURES

    rows: list[dict[str, Any]] = [
        {"measure": name, "unit": one.unit, "from": one.source, "says": one.says} for name, one in MEASURES.items()
    ]
    show(as_json, rows, ("measure", "unit", "from", "says"))


@watching.command("watch")
def watch(once: Annotated[bool, typer.Option("--once", help="One round over all domains.")] = False) -> None:
    """Watch the answers until stopped. `ratchet up` runs it as a service."""
    from pipelines.monitoring import watcher
    from pipelines.state.models import now

    settings = load_settings()
    if not once:
        watcher.main()
        return
    said = watcher.once(settings, now())
    for line in said or ["nothing new"]:
        typer.echo(line)


def _known(domain: str | None) -> None:
    if domain is not None:
        load_domain(domain, load_settings())
