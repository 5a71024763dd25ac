"""Masked text at rest: plain JSON where the domain is public, else encrypted under a key of its domain and day.

AES-256-GCM; the text's own key is wrapped by the day's, which lies in the key store of `corpus.keys`. When a day is over its retention
its key is destroyed (`forget`), and every copy, in a file, a row or a backup, is unread at once.
"""

from __future__ import annotations

import json
import secrets
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pipelines.config import DomainConfig, Settings
from pipelines.errors import MaskingFailed, NotFound

if TYPE_CHECKING:
    from pipelines.corpus.keys import Keys

_NONCE = 12
_PLAIN, _LOCKED = b"p", b"s"


def close(settings: Settings, domain: DomainConfig, value: dict[str, Any], day: str) -> bytes:
    """What is stored of a JSON object that holds masked text. `day`: the ISO date whose retention it falls under."""
    import orjson

    plain = orjson.dumps(value)
    if domain.privacy.profile == "public":
        return _PLAIN + plain
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    keys = _keys(settings)
    subject = keys.subject(domain.domain, _names(day))
    if subject is None:
        raise MaskingFailed("the key of that day was destroyed", where=f"{domain.domain}, {day}", todo="it is past its retention")
    key, nonce = AESGCM.generate_key(256), secrets.token_bytes(_NONCE)
    wrapped = keys.wrap((subject,), key)
    head = json.dumps({"day": day, "wrapped": len(wrapped)}).encode()
    return _LOCKED + len(head).to_bytes(2, "big") + head + wrapped + nonce + AESGCM(key).encrypt(nonce, plain, domain.domain.encode())


def read(settings: Settings, domain: str, stored: bytes) -> dict[str, Any]:
    """What `close` was given. NotFound once its day's key was destroyed; MaskingFailed where it was altered."""
    if stored[:1] == _PLAIN:
        found: dict[str, Any] = json.loads(stored[1:])
        return found
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    size = int.from_bytes(stored[1:3], "big")
    head, rest = json.loads(stored[3 : 3 + size]), stored[3 + size :]
    wrapped, rest = rest[: head["wrapped"]], rest[head["wrapped"] :]
    keys = _keys(settings)
    subject = keys.find(domain, _names(head["day"]))
    key = keys.unwrap((subject,), wrapped) if subject is not None else None
    if key is None:
        raise NotFound("the text is past its retention and cannot be read any more", where=f"{domain}, {head['day']}")
    try:
        found = json.loads(AESGCM(key).decrypt(rest[:_NONCE], rest[_NONCE:], domain.encode()))
    except InvalidTag:
        raise MaskingFailed("a kept text was altered", where=f"{domain}, {head['day']}", todo="restore it from backup") from None
    return found


def forget(settings: Settings, domain: str, before: str, days: int = 400) -> int:
    """Destroy the keys of the days before an ISO date, so many days back; returns how many there were."""
    if not (settings.var / "vault" / "subjects.db").exists():
        return 0
    keys, last = _keys(settings), date.fromisoformat(before)
    some = (keys.find(domain, _names((last - timedelta(days=back)).isoformat())) for back in range(1, days + 1))
    return sum(keys.destroy(subject) for subject in some if subject is not None)


def _names(day: str) -> tuple[str, str]:
    return ("kept answers of", day)


@lru_cache(maxsize=8)
def _opened(vault: str, master: str) -> Keys:
    from pathlib import Path

    from pipelines.corpus.keys import Keys

    return Keys(Path(vault), Path(master))


def _keys(settings: Settings) -> Keys:
    return _opened(str(settings.var / "vault" / "subjects.db"), str(settings.secrets / "subjects.key"))
