"""A local source to collect from, speaking HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from source_server import Server, serving


@pytest.fixture
def source_server() -> Iterator[Server]:
    """A real server on loopback; a test says what it answers."""
    with serving() as server:
        yield server
