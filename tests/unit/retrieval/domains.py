"""A domain of which only the retrieval section matters."""

from __future__ import annotations

from typing import Any

from pipelines.config import DomainConfig


def domain(**retrieval: Any) -> DomainConfig:
    return DomainConfig.model_validate(
        {
            "domain": "regulatory",
            "description": "a test",
            "owner": "tests",
            "dataset": "Test",
            "sources": {"formats": ["regml"]},
            "contract": {"expectations": []},
            "privacy": {"profile": "public"},
            "task": {},
            "retrieval": retrieval,
            "gate": {"goldens": "goldens.jsonl", "floors": {}},
        }
    )
