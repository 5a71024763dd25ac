"""API keys of the gateway, in the control database: what one allows, and how they are issued, revoked and rotated. Only hashes are kept.

What a running gateway knows of them is `access/ring.py`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from pipelines import locks
from pipelines.config import Settings
from pipelines.errors import BadInput, ConfigError, NotFound, RatchetError
from pipelines.governance import audit
from pipelines.parsing import did_you_mean
from pipelines.state.database import reading, transaction
from pipelines.state.models import ApiKey, now
from pipelines.strict import Name, Strict
from pipelines.writing import write_private

EVERY = "*"
SITE = "site"
PERSON = "person:"
_OLD = "api_keys.json"
"""Where keys were kept before, in `var/secrets`."""
Model = TypeVar("Model", bound=Strict)
NameOrEvery = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9_]{0,39})$")]


@dataclass(frozen=True, slots=True)
class Key:
    """Who calls, and what they may do. A person's token is one too, named `person:<pseudonym>`.

    `candidates`: may name a candidate that is not released; `pins`: may name an exact release; limits that are None do not limit.
    """

    name: str
    tenant: str
    domains: tuple[str, ...] = ()
    roles: frozenset[str] = frozenset()
    candidates: bool = False
    pins: bool = False
    delivers: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_day: int | None = None
    expires_at: datetime | None = None

    def may(self, domain: str) -> bool:
        """Whether this key may ask that domain."""
        return domain in self.domains or EVERY in self.domains

    def may_deliver(self, domain: str) -> bool:
        """Whether this key may upload to that domain: a right of its own, which asking does not give."""
        return domain in self.delivers

    def roles_for(self, access: Iterable[Mapping[str, Any]]) -> frozenset[str]:
        """What to give `Index.search` as `roles`: those of this key that the index's rules (`facts["access"]`) name; role `*` is all of
        them. Two keys that see the same passages get the same set, whatever other roles they hold."""
        named = frozenset(role for rule in access for role in rule["roles"])
        return named if EVERY in self.roles else self.roles & named

    @property
    def actor(self) -> str:
        """Its name in the audit log."""
        return self.name if self.name.startswith(PERSON) else f"key:{self.name}"


class TooMany(RatchetError):
    """Over budget. `retry_after`: whole seconds, at least 1, after which trying again may help. `budget`: requests | tokens."""

    def __init__(self, what: str, *, where: str = "", todo: str = "", budget: str = "requests", retry_after: int = 1) -> None:
        super().__init__(what, where=where, todo=todo)
        self.budget, self.retry_after = budget, retry_after


class Grants(Strict):
    """What `ApiKey.grants` holds."""

    domains: tuple[NameOrEvery, ...] = ()
    roles: tuple[NameOrEvery, ...] = ()
    delivers: tuple[Name, ...] = ()
    candidates: bool = False
    pins: bool = False


class Allowance(Strict):
    """What `ApiKey.limits` holds; a missing one does not limit."""

    requests_per_minute: int | None = Field(None, ge=1, le=10**6)
    tokens_per_day: int | None = Field(None, ge=1, le=10**12)


class Named(Strict):
    """What a key and its tenant may be called: the audit log and the traffic log show it."""

    name: str = Field(pattern=r"^[^\W_][\w .:@/+-]{0,79}$")
    tenant: str = Field(pattern=r"^[^\W_][\w .:@/+-]{0,79}$")


def issue_key(
    settings: Settings,
    name: str,
    domains: Iterable[str],
    *,
    candidates: bool = False,
    delivers: Iterable[str] = (),
    roles: Iterable[str] = (),
    pins: bool = False,
    tenant: str | None = None,
    requests_per_minute: int | None = None,
    tokens_per_day: int | None = None,
    expires_at: datetime | None = None,
    by: str = "ratchet",
    alone: bool = False,
) -> str:
    """Draw a key, keep its hash, and return it: it cannot be shown again. Domain `*` means every domain, to ask; not to deliver to.

    `expires_at` is aware. `alone`: BadInput where a valid key has this name already. BadInput for what no key can be or have.
    """
    if name.startswith(PERSON):
        raise BadInput("names of people's tokens begin like this", where="name", todo=f"leave out {PERSON!r}")
    named = _checked(Named, {"name": name, "tenant": name if tenant is None else tenant})
    grants = _checked(
        Grants, {"domains": sorted(domains), "roles": sorted(roles), "delivers": sorted(delivers), "candidates": candidates, "pins": pins}
    )
    limits = _checked(Allowance, {"requests_per_minute": requests_per_minute, "tokens_per_day": tokens_per_day})
    if expires_at is not None and expires_at <= now():
        raise BadInput("it would have expired already", where="expires_at", todo="name a day to come")
    take_over(settings)
    with transaction(settings) as session:
        if alone and _valid(session, name):
            todo = f"`ratchet keys rotate {name!r}` gives it a new secret; or revoke it first"
            raise BadInput(f"there is a valid key named {name!r}", where="name", todo=todo)
        row = ApiKey(
            name=name,
            tenant=named.tenant,
            grants=grants.model_dump(mode="json"),
            limits=limits.model_dump(mode="json", exclude_none=True),
            issued_by=by,
            expires_at=expires_at,
        )
        secret = _enter(session, row)
        audit.record(session, actor=by, action="key.issued", subject=f"key:{name}", detail=_facts(row))
    return secret


def revoke_key(settings: Settings, name: str, reason: str, by: str) -> int:
    """Revoke every valid key of that name; how many there were. Gateways see it within a second. NotFound without a valid one."""
    if not reason.strip():
        raise BadInput("no reason was given", where="reason", todo="say why; it goes to the audit log")
    take_over(settings)
    with transaction(settings) as session:
        rows = _named(session, name)
        for row in rows:
            row.revoked_at = now()
        audit.record(session, actor=by, action="key.revoked", subject=f"key:{name}", detail={"keys": len(rows), "reason": reason})
    return len(rows)


def rotate_key(settings: Settings, name: str, grace_hours: float, by: str) -> str:
    """A new secret with the tenant, grants, limits and lifetime of the newest valid key of that name. Those before it stay good for so many
    hours, and not longer than they would have been. NotFound without a valid one."""
    if name == SITE:
        raise BadInput("the site draws its own key", where="name", todo="`ratchet keys revoke site`: the next command draws a new one")
    if not 0 <= grace_hours <= 24 * 90:
        raise BadInput("not a time from 0 hours to 90 days", where="grace_hours", todo="24 is usual")
    take_over(settings)
    with transaction(settings) as session:
        rows = _named(session, name)
        newest = max(rows, key=lambda row: row.issued_at)
        lifetime = newest.expires_at - newest.issued_at if newest.expires_at else None
        made = ApiKey(
            name=name,
            tenant=newest.tenant,
            grants=dict(newest.grants),
            limits=dict(newest.limits),
            issued_by=by,
            expires_at=now() + lifetime if lifetime else None,
        )
        end = now() + timedelta(hours=grace_hours)
        for row in rows:
            if grace_hours:
                row.expires_at = min(row.expires_at or end, end)
            else:
                row.revoked_at = end
        secret = _enter(session, made)
        detail = {"grace_hours": grace_hours, "old": len(rows), **_facts(made)}
        audit.record(session, actor=by, action="key.rotated", subject=f"key:{name}", detail=detail)
    return secret


def list_keys(settings: Settings, name: str | None = None, *, every: bool = False) -> list[dict[str, Any]]:
    """The valid keys, or `every` one there ever was, oldest first: rights, limits and `state` (valid | expired | revoked), no hash.
    NotFound for a name that no key ever had."""
    take_over(settings)
    with reading(settings) as session:
        query = select(ApiKey).order_by(ApiKey.issued_at, ApiKey.hash)
        rows = list(session.scalars(query.where(ApiKey.name == name) if name is not None else query))
        if name is not None and not rows:
            raise _no_such(session, name)
    shown = [
        {
            "name": row.name,
            "state": _state(row),
            "tenant": row.tenant,
            **Grants.model_construct().model_dump(mode="json"),
            **row.grants,
            **Allowance.model_construct().model_dump(mode="json"),
            **row.limits,
            "issued_by": row.issued_by,
            "issued_at": row.issued_at,
            "expires_at": row.expires_at,
            "revoked_at": row.revoked_at,
        }
        for row in rows
    ]
    return [row for row in shown if every or row["state"] == "valid"]


def site_key(settings: Settings) -> str:
    """The key of this site's own commands and release steps, in `var/secrets` for the owner alone; drawn at its first use.

    It has every role: whoever runs these commands can read the index's files anyway.
    """
    path = settings.secrets / "site_api_key"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    take_over(settings)
    with locks.alone(path.parent / ".site_api_key.lock"):
        key = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
        if not key or not _is_valid(settings, key):
            key = issue_key(settings, SITE, [EVERY], candidates=True, roles=[EVERY])
            write_private(path, key)
    return key


def take_over(settings: Settings) -> None:
    """Harmless to repeat, also after a crash half-way; with nothing to do it costs one look at the folder. ConfigError for another file.

    What a key could do before it can do now: any of them could name an exact release, so all get `pins`.
    """
    path = settings.secrets / _OLD
    if not path.is_file():
        return
    with locks.alone(settings.secrets / ".api_keys.lock"):
        if not path.is_file():
            return
        rows = _old_rows(path.read_text(encoding="utf-8"), str(path))
        with transaction(settings) as session:
            fresh = [row for row in rows if session.get(ApiKey, row.hash) is None]
            session.add_all(fresh)
            if fresh:
                detail = {"names": sorted({row.name for row in fresh})}
                audit.record(session, actor="ratchet", action="keys.taken_over", subject=_OLD, detail=detail)
        path.rename(path.with_name(f"{_OLD}.taken_over"))


def _old_rows(text: str, where: str) -> list[ApiKey]:
    try:
        return [_old_row(hash_, entry) for hash_, entry in json.loads(text).items()]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ConfigError("not a file of keys", where=where, todo="restore it, or move it away and issue anew") from None


def _old_row(hash_: str, entry: dict[str, Any]) -> ApiKey:
    bytes.fromhex(hash_)
    name = str(entry["name"])[:80]
    grants = {
        "domains": list(entry["domains"]),
        "roles": [EVERY] if name == SITE else [],
        "delivers": list(entry.get("delivers", ())),
        "candidates": bool(entry.get("candidates", False)),
        "pins": True,
    }
    return ApiKey(hash=hash_, name=name, tenant=name, grants=grants, limits={}, issued_by="ratchet")


def _enter(session: Session, row: ApiKey) -> str:
    secret = f"rk-{secrets.token_urlsafe(32)}"
    row.hash = sha256(secret.encode()).hexdigest()
    session.add(row)
    return secret


def _valid(session: Session, name: str) -> list[ApiKey]:
    query = select(ApiKey).where(ApiKey.name == name, ApiKey.revoked_at.is_(None)).with_for_update()
    return [row for row in session.scalars(query) if _state(row) == "valid"]


def _named(session: Session, name: str) -> list[ApiKey]:
    """The valid keys of that name, at least one."""
    if rows := _valid(session, name):
        return rows
    if session.scalar(select(ApiKey.hash).where(ApiKey.name == name).limit(1)) is not None:
        raise NotFound(f"no key named {name!r} is valid any more", where="name", todo="`ratchet keys list --all` shows since when")
    raise _no_such(session, name)


def _no_such(session: Session, name: str) -> NotFound:
    known = list(session.scalars(select(ApiKey.name).distinct()))
    return NotFound(f"there is no key named {name!r}", where="name", todo=f"{did_you_mean(name, known)}`ratchet keys list` shows them")


def _is_valid(settings: Settings, secret: str) -> bool:
    with reading(settings) as session:
        row = session.get(ApiKey, sha256(secret.encode()).hexdigest())
        return row is not None and _state(row) == "valid"


def _state(row: ApiKey) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= datetime.now(UTC) else "valid"


def _facts(row: ApiKey) -> dict[str, Any]:
    expires = row.expires_at.isoformat() if row.expires_at else None
    return {"tenant": row.tenant, "grants": row.grants, "limits": row.limits, "expires_at": expires}


def _checked(model: type[Model], values: dict[str, Any]) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise BadInput(f"{fault['msg']}: {fault['input']!r}", where=where, todo="see docs/access.md") from None
