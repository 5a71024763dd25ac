"""What an answer is found by: everything that may change it. Two requests that differ in any of it never share an answer."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Digests of 32 bytes, and what semantic look-up and purging need besides."""

    domain: str
    epoch: int
    partition: bytes
    """Of everything but the question: whatever has another partition is another world."""
    exact: bytes
    """Of everything."""
    question: str
    """Masked and tidied."""


def of(
    *,
    domain: str,
    tenant: str,
    roles: Iterable[str],
    release: str,
    prompt_sha256: str,
    index: str,
    policy: Mapping[str, Any],
    as_of: str,
    epoch: int,
    question: str,
    more: str = "",
) -> CacheKey:
    """The key of a masked question. `policy`: the candidate's, and whatever of the domain file was read anew. `more`: anything else that
    went into the answer, such as earlier turns of the conversation or the request's own token limit."""
    asked = tidy(question)
    # A list in JSON has one reading: no two lists of parts run together to the same bytes, as parts glued by a separator may.
    parts = [domain, tenant, sorted(set(roles)), release, prompt_sha256, index, policy, as_of, epoch, more]
    partition = sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).digest()
    return CacheKey(domain, epoch, partition, sha256(partition + asked.encode()).digest(), asked)


def tidy(question: str) -> str:
    """The question in Unicode's composed form, on one line, runs of white space as one space.

    Case stays: `mg` is no `Mg`, `US` no `us`. So do the characters that NFKC would fold: 10² is not 102.
    """
    if question.isascii():
        return " ".join(question.split())
    return " ".join(unicodedata.normalize("NFC", question).split())
