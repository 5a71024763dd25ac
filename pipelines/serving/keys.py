"""API keys of the gateway: only their hashes are kept, in `var/secrets/api_keys.json`, each with a name and its rights."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import locks
from pipelines.config import Settings
from pipelines.manifest import sha256
from pipelines.writing import write_private

EVERY = "*"


@dataclass(frozen=True, slots=True)
class Key:
    """Who calls, what they may ask, and where they may deliver. `candidates` allows naming a candidate that is not released."""

    name: str
    domains: tuple[str, ...]
    candidates: bool = False
    delivers: tuple[str, ...] = ()

    def may(self, domain: str) -> bool:
        """Whether this key may ask that domain."""
        return domain in self.domains or EVERY in self.domains

    def may_deliver(self, domain: str) -> bool:
        """Whether this key may upload to that domain: a right of its own, which asking does not give."""
        return domain in self.delivers


class KeyRing:
    """The keys of a site, read again when the file changes."""

    def __init__(self, settings: Settings) -> None:
        self._path = _path(settings)
        self._seen: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}

    def find(self, presented: str) -> Key | None:
        """The key with this secret. Every kept hash is compared, in constant time each."""
        self._refresh()
        digest = sha256(presented)
        found = None
        for kept, key in self._keys.items():
            if hmac.compare_digest(kept, digest):
                found = key
        return found

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._seen, self._keys = None, {}
            return
        mark = (stat.st_mtime_ns, stat.st_ino)
        if mark != self._seen:
            entries = _read(self._path)
            self._keys = {
                kept: Key(e["name"], tuple(e["domains"]), bool(e.get("candidates", False)), tuple(e.get("delivers", ())))
                for kept, e in entries.items()
            }
            self._seen = mark


def issue_key(settings: Settings, name: str, domains: Iterable[str], *, candidates: bool = False, delivers: Iterable[str] = ()) -> str:
    """Draw a key, keep its hash, and return it: it cannot be shown again. Domain `*` means every domain, to ask; not to deliver to."""
    key = f"rk-{secrets.token_urlsafe(32)}"
    path = _path(settings)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locks.alone(path.parent / ".api_keys.lock"):
        entries = _read(path) if path.is_file() else {}
        entries[sha256(key)] = {
            "name": name,
            "domains": sorted(domains),
            "candidates": candidates,
            "delivers": sorted(delivers),
        }
        write_private(path, json.dumps(entries, indent=2, sort_keys=True))
    return key


def site_key(settings: Settings) -> str:
    """The key of this site's own commands and release steps; drawn at its first use."""
    path = settings.secrets / "site_api_key"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locks.alone(path.parent / ".site_api_key.lock"):
        key = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
        if not key or sha256(key) not in (_read(_path(settings)) if _path(settings).is_file() else {}):
            key = issue_key(settings, "site", [EVERY], candidates=True)
            write_private(path, key)
    return key


def _path(settings: Settings) -> Path:
    return settings.secrets / "api_keys.json"


def _read(path: Path) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return entries
