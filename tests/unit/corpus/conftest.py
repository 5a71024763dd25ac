"""A site of its own, and domains to publish into."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import DomainConfig, Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    from pipelines.state.database import migrate

    made = Settings(var=tmp_path)
    migrate(made)
    return made


def of_profile(profile: str) -> DomainConfig:
    return DomainConfig.model_validate(
        {
            "domain": "regulatory",
            "description": "a test",
            "owner": "tests",
            "dataset": "Test",
            "sources": {"formats": ["regml"]},
            "contract": {"expectations": []},
            "privacy": {"profile": profile},
            "task": {},
            "gate": {"goldens": "goldens.jsonl", "floors": {}},
        }
    )


@pytest.fixture
def domain() -> DomainConfig:
    return of_profile("public")


@pytest.fixture
def private() -> DomainConfig:
    return of_profile("safe_harbor")
