"""Fixtures for every test: a site of its own under tmp_path, no network but loopback, nothing from the developer's environment."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import PROJECT, Settings, load_settings

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "RAGAS_DO_NOT_TRACK": "true",
    "GX_ANALYTICS_ENABLED": "false",
}
for _name in [name for name in os.environ if name.startswith(("RATCHET_", "AIRFLOW")) and name != "RATCHET_SHARED_DATA"]:
    del os.environ[_name]
os.environ.update(OFFLINE)


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may reach another host: a connection elsewhere is an error, not a download."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def allowed(address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost", "0.0.0.0"):  # noqa: S104
            raise AssertionError(f"a test tried to reach {address[0]}")

    def guarded(self: socket.socket, address: Any) -> None:
        allowed(address)
        connect(self, address)

    def guarded_ex(self: socket.socket, address: Any) -> int:
        allowed(address)
        return connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_ex)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A fresh site: its own var/, the project's configs, an empty control database."""
    from pipelines.state.database import migrate

    made = load_settings({"RATCHET_VAR": str(tmp_path / "var")})
    migrate(made)
    return made


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The public data beside the checkout; skips where it is absent."""
    folder = Path(os.environ.get("RATCHET_SHARED_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no public data at {folder}: set RATCHET_SHARED_DATA")
    return folder


@pytest.fixture(autouse=True)
def _engines_closed() -> Iterator[None]:
    """Close the databases a test opened: an open SQLite handle at exit is a ResourceWarning, and warnings are errors."""
    yield
    from pipelines.state.database import engine_for

    if engine_for.cache_info().currsize > 4:
        engine_for.cache_clear()
