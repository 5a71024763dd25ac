"""API keys of the gateway, in the control database: who may call, what they may ask, and how much. Only their hashes are kept."""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from threading import Lock
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipelines import locks
from pipelines.config import Settings
from pipelines.errors import BadInput, ConfigError, NotFound, RatchetError
from pipelines.governance import audit
from pipelines.parsing import did_you_mean
from pipelines.state.database import reading, transaction
from pipelines.state.models import ApiKey, AuditEvent, now
from pipelines.strict import Name, Strict
from pipelines.writing import write_private

EVERY = "*"
SITE = "site"
PERSON = "person:"
_OLD = "api_keys.json"
"""Where keys were kept before, in `var/secrets`."""
READ_WHOLE_SECONDS = 30.0
UNKNOWN_AT_ONCE, UNKNOWN_A_SECOND = 5, 5
"""Unknown keys that may each ask the database: at once, and from then on. A flood of them costs that many queries of a third of a
millisecond a second."""

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


@dataclass(frozen=True, slots=True)
class Held:
    """A key as the ring holds it. `until`: seconds since 1970, UTC."""

    key: Key
    until: float
    revoked: bool

    def refusal(self, at: float) -> str | None:
        """Why it is not good at that time; None when it is."""
        return "revoked" if self.revoked else "expired" if at >= self.until else None


class KeyRing:
    """The keys of a site, in memory. Safe to ask while another thread refreshes it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.fault: str | None = "the keys were not read yet"
        self.read_at: float | None = None
        """Monotonic seconds at which they were last read; None before the first time."""
        self._keys: dict[bytes, Held] = {}
        self._mark: int | None = None
        self._alone = Lock()
        self._whole_at = self._tried_at = -math.inf
        self._spare, self._counted_at = float(UNKNOWN_AT_ONCE), time.monotonic()

    def held(self, presented: str) -> Held | None:
        """The key with this secret, good or not, as last read. About a microsecond.

        A dictionary is fine here, although its look-up takes different times for different hashes: who guesses learns something of the
        SHA-256 of a secret with 256 random bits, from which nothing leads back to it.
        """
        return self._keys.get(sha256(presented.encode()).digest())

    def find(self, presented: str) -> Key | None:
        """The valid key with this secret; for callers without `Access`. Reads the keys again when they are older than a second."""
        if time.monotonic() - self._tried_at >= 1.0:
            self.refresh()
        held = self.held(presented)
        if held is None and self.may_ask():
            self.refresh()
            held = self.held(presented)
        return held.key if held is not None and held.refusal(time.time()) is None else None

    def may_ask(self) -> bool:
        """Whether an unknown key may be looked for in the database now; counts as one that was."""
        at = time.monotonic()
        self._spare = min(UNKNOWN_AT_ONCE, self._spare + UNKNOWN_A_SECOND * (at - self._counted_at))
        self._counted_at = at
        if self._spare < 1:
            return False
        self._spare -= 1
        return True

    def refresh(self) -> None:
        """Read the keys if they may have changed. Never raises: the known ones stay good while the database is away."""
        with self._alone:
            self._refresh()

    def _refresh(self) -> None:
        self._tried_at = time.monotonic()
        fault: str | None = None
        try:
            take_over(self._settings)
        except Exception as error:
            fault = _reason(error)
        try:
            self._read(self._tried_at)
        except Exception as error:
            self.fault = _reason(error)
            return
        self.fault, self.read_at = fault, time.monotonic()

    def _read(self, at: float) -> None:
        with reading(self._settings) as session:
            # Whatever changes a key is audited in the same transaction: a log that did not move means keys that did not. Now and then
            # they are read all the same, for rows that somebody changed by hand.
            mark = session.scalar(select(func.max(AuditEvent.seq)))
            if mark == self._mark and at - self._whole_at < READ_WHOLE_SECONDS:
                return
            rows = session.execute(select(*_COLUMNS)).all()
        self._keys = {bytes.fromhex(row.hash): held for row in rows if (held := _held(row)) is not None}
        self._mark, self._whole_at = mark, at


_COLUMNS = (ApiKey.hash, ApiKey.name, ApiKey.tenant, ApiKey.grants, ApiKey.limits, ApiKey.expires_at, ApiKey.revoked_at)


def _held(row: Any) -> Held | None:
    try:
        grants, limits = Grants.model_validate(row.grants), Allowance.model_validate(row.limits)
    except ValidationError:
        return None  # written by a newer version, or by hand: what is not understood opens nothing
    key = Key(
        row.name,
        row.tenant,
        grants.domains,
        frozenset(grants.roles),
        grants.candidates,
        grants.pins or grants.candidates,
        grants.delivers,
        limits.requests_per_minute,
        limits.tokens_per_day,
        row.expires_at,
    )
    return Held(key, row.expires_at.timestamp() if row.expires_at else math.inf, row.revoked_at is not None)


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


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, RatchetError) else type(error).__name__
