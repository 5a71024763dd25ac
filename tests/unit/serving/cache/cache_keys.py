"""A key, and keys that differ from it in what a test says."""

from __future__ import annotations

from typing import Any

from pipelines.serving.cache.key import CacheKey, of

BASE: dict[str, Any] = {
    "domain": "clinical", "tenant": "north", "roles": ["nurse"], "release": "clinical/r1", "prompt_sha256": "p", "index": "index-1",
    "policy": {"passages": 3}, "as_of": "2015-06-01", "epoch": 0, "question": "What is the dose of <DRUG_1>?",
}  # fmt: skip


def key(**changes: Any) -> CacheKey:
    return of(**(BASE | changes))
