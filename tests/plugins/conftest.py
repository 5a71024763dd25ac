"""Airflow in this process, with a home of its own."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator

import pytest

from pipelines.config import PROJECT

sys.path.insert(0, str(PROJECT / "plugins"))


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Airflow imported; its own warnings are not ours."""
    home = str(tmp_path_factory.mktemp("airflow"))
    os.environ.update(AIRFLOW_HOME=home, AIRFLOW_CONFIG=str(PROJECT / "airflow.cfg"), AIRFLOW__CORE__UNIT_TEST_MODE="False")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import airflow.api_fastapi.core_api.security
        import airflow.sdk
        import airflow.triggers.base  # noqa: F401
    yield
    for name in ("AIRFLOW_HOME", "AIRFLOW_CONFIG", "AIRFLOW__CORE__UNIT_TEST_MODE"):
        os.environ.pop(name, None)
