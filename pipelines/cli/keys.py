"""`ratchet keys`: give out, list, revoke and rotate the gateway's API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from pipelines.cli.common import AsJson, actor, print_json, show
from pipelines.config import Settings, domain_names, load_domain, load_settings
from pipelines.errors import BadInput, ConfigError
from pipelines.parsing import did_you_mean

app = typer.Typer(no_args_is_help=True, help="API keys of the gateway.")

Holder = Annotated[str, typer.Argument(help="The key's name: who calls with it.")]
COLUMNS = (
    "name",
    "state",
    "tenant",
    "domains",
    "roles",
    "delivers",
    "candidates",
    "pins",
    "requests_per_minute",
    "tokens_per_day",
    "expires_at",
)


@app.command("issue")
def issue(
    name: Holder,
    domain: Annotated[list[str] | None, typer.Option(help="A domain it may ask, or '*' for every one; may be repeated.")] = None,
    role: Annotated[list[str] | None, typer.Option(help="A role that access rules of retrieval ask for; may be repeated.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose it is: answers are cached per tenant. Its name by default.")] = None,
    deliver: Annotated[list[str] | None, typer.Option(help="A domain it may upload files to; may be repeated.")] = None,
    pins: Annotated[bool, typer.Option("--pins", help="It may name an exact release.")] = False,
    candidates: Annotated[bool, typer.Option("--candidates", help="It may name a candidate that is not released.")] = False,
    expires: Annotated[int | None, typer.Option(min=1, max=3650, help="Days until it expires; never by default.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    tokens_per_day: Annotated[int | None, typer.Option(min=1)] = None,
    as_json: AsJson = False,
) -> None:
    """Issue a key; shown once, only its hash is kept."""
    from pipelines.serving import keys
    from pipelines.state.models import now

    settings = load_settings()
    ask, give, roles = domain or [], deliver or [], role or []
    if not ask and not give:
        raise BadInput("a key without a right is of no use", todo="--domain a domain it may ask, or --deliver one it may upload to")
    if name == keys.SITE:
        raise BadInput("the site draws its own key", where="name", todo="choose another name")
    for one in (*ask, *give):
        if one != keys.EVERY:
            load_domain(one, settings)
    _warn_of_roles(roles, ask, settings)
    secret = keys.issue_key(
        settings,
        name,
        ask,
        candidates=candidates,
        delivers=give,
        roles=roles,
        pins=pins,
        tenant=tenant,
        requests_per_minute=requests_per_minute,
        tokens_per_day=tokens_per_day,
        expires_at=now() + timedelta(days=expires) if expires else None,
        by=actor(),
        alone=True,
    )
    _tell(name, secret, as_json)


@app.command("list")
def list_(
    every: Annotated[bool, typer.Option("--all", help="Also those that were revoked or have expired.")] = False, as_json: AsJson = False
) -> None:
    """The keys, with their rights and limits."""
    from pipelines.serving import keys

    show(as_json, keys.list_keys(load_settings(), every=every), COLUMNS)


@app.command("show")
def show_(name: Holder, as_json: AsJson = False) -> None:
    """Every key of that name there ever was: by whom it was issued, since when, until when."""
    from pipelines.serving import keys

    rows = keys.list_keys(load_settings(), name, every=True)
    show(as_json, rows, (*COLUMNS, "issued_by", "issued_at", "revoked_at"))


@app.command("revoke")
def revoke(
    name: Holder,
    reason: Annotated[str, typer.Option(help="Why; goes to the audit log.")],
    as_json: AsJson = False,
) -> None:
    """Revoke the keys of that name, old secrets of a rotation too. Every gateway refuses them within a second."""
    from pipelines.serving import keys

    show(as_json, [{"name": name, "revoked": keys.revoke_key(load_settings(), name, reason, actor())}], ("name", "revoked"))


@app.command("rotate")
def rotate(
    name: Holder,
    grace_hours: Annotated[float, typer.Option(help="How long the old secret stays good; 0 ends it now.")],
    as_json: AsJson = False,
) -> None:
    """A new secret with the same rights, limits and lifetime; shown once."""
    from pipelines.serving import keys

    _tell(name, keys.rotate_key(load_settings(), name, grace_hours, actor()), as_json)


@app.command("person")
def person(subject: Annotated[str, typer.Argument(help="The person's `sub` at the identity provider.")]) -> None:
    """The name under which a person stands in the audit log and the traffic log."""
    from pipelines.serving.access.people import People

    settings = load_settings()
    if settings.oidc is None:
        raise ConfigError("no identity provider is configured", where="oidc", todo="see docs/access.md")
    typer.echo(People(settings, settings.oidc).name(subject))


def _tell(name: str, secret: str, as_json: bool) -> None:
    print_json({"name": name, "key": secret}) if as_json else typer.echo(secret)


def _warn_of_roles(roles: Sequence[str], domains: Sequence[str], settings: Settings) -> None:
    """On stderr: a role that no rule asks for opens nothing, and is mostly a slip of the pen."""
    asked = domain_names(settings) if "*" in domains else domains
    known = sorted({role for domain in asked for rule in load_domain(domain, settings).retrieval.access for role in rule.roles})
    for role in roles:
        if role != "*" and role not in known:
            typer.echo(f"note: no access rule of these domains asks for role {role!r}. {did_you_mean(role, known)}".rstrip(), err=True)
