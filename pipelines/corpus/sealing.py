"""Documents to stored rows and back: title and text of a domain that is not public are encrypted, each document under a key of its own.

AES-256-GCM, the content hash as associated data. The document's key is wrapped by the keys of its subjects (`keys.py`); where one of those
was destroyed the row is read as erased: no title, no text, everything else as it was. Moving a row never needs its key.

Does not cover keys, dates and the content hash, which stay readable: the hash of a text that somebody can guess whole confirms the guess.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

from pipelines.config import DomainConfig, Settings
from pipelines.corpus.documents import Document, Sealed
from pipelines.corpus.keys import Keys
from pipelines.errors import MaskingFailed

_NONCE = 12

Opener = Callable[[], Keys]
"""Opens the key store when the first encrypted row asks for it: a public domain has none."""


def sealer(settings: Settings) -> Opener:
    """An opener that opens the environment's store once."""
    opened: list[Keys] = []

    def keys() -> Keys:
        if not opened:
            opened.append(Keys.open(settings))
        return opened[0]

    return keys


def is_sealed(domain: DomainConfig) -> bool:
    """Whether the domain's text is stored encrypted."""
    return domain.privacy.profile != "public"


def to_values(row: Document, keys: Opener, *, seal: bool) -> dict[str, Any]:
    """What is stored of a document. With `seal`, title and text only encrypted; MaskingFailed when it has no subject to encrypt it for."""
    values: dict[str, Any] = {
        "key": row.key,
        "title": row.title,
        "text": row.text,
        "content": row.content,
        "valid_from": row.valid_from,
        "valid_to": row.valid_to,
        "arrival_id": row.arrival_id,
        "source": row.source,
        "withdrawn": row.withdrawn,
        "subjects": list(row.subjects),
        "sealed": None,
        "wrapped": None,
    }
    if not seal:
        return values
    if not row.subjects:
        raise MaskingFailed("a document that is not public has no subject", where=row.key, todo="nothing was written; report it")
    kept = row.sealed if row.sealed is not None and row.sealed.content == row.content else _sealed(row, keys())
    return values | {"title": "", "text": "", "sealed": kept.data, "wrapped": kept.wrapped}


def from_values(values: dict[str, Any], keys: Opener) -> Document:
    """What `to_values` stored, decrypted where the keys still exist."""
    data, wrapped = values.pop("sealed", None), values.pop("wrapped", None)
    subjects = tuple(values.pop("subjects", None) or ())
    row = Document(**values, subjects=subjects)
    if data is None:
        return row
    sealed = Sealed(row.content, bytes(data), bytes(wrapped))
    opened = _open(sealed, subjects, keys())
    title, text = opened or ("", "")
    return Document(**values | {"title": title, "text": text}, subjects=subjects, erased=opened is None, sealed=sealed)


def _sealed(row: Document, keys: Keys) -> Sealed:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if row.erased:
        raise MaskingFailed("an erased text cannot be encrypted again", where=row.key, todo="nothing was written; report it")
    key, nonce = AESGCM.generate_key(256), secrets.token_bytes(_NONCE)
    plain = json.dumps([row.title, row.text], ensure_ascii=False).encode()
    return Sealed(row.content, nonce + AESGCM(key).encrypt(nonce, plain, row.content.encode()), keys.wrap(row.subjects, key))


def _open(sealed: Sealed, subjects: tuple[str, ...], keys: Keys) -> tuple[str, str] | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        key = keys.unwrap(subjects, sealed.wrapped)
        if key is None:
            return None
        plain = AESGCM(key).decrypt(sealed.data[:_NONCE], sealed.data[_NONCE:], sealed.content.encode())
    except InvalidTag:
        raise MaskingFailed(
            "an encrypted text was altered, or its keys are not the right ones", todo="restore both from one backup"
        ) from None
    title, text = json.loads(plain)
    return str(title), str(text)
