"""One site for the whole story, in the order of the files: the demo, the closed loop on top of it, and everything stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from living_site import Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The demo, run through real Airflow, MLflow, Triton and the gateway; services stay up."""
    made = Site(tmp_path_factory.mktemp("site"))
    watcher = threading.Thread(target=made.watch, daemon=True)
    watcher.start()
    try:
        made.output = made.run("demo").stdout
        yield made
    finally:
        made.stop_watching()
        watcher.join()
        made.run("down", check=False)
