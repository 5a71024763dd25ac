"""What Airflow registers: the release board, and MLflow, in its Browse menu. Triggers and operators are imported by name."""

from __future__ import annotations

import sys
from typing import Any

from airflow.plugins_manager import AirflowPlugin

# Every task runner and parser loads plugins too; only the API server needs the page and its web framework.
SERVES_PAGES = any("api-server" in argument or "api_server" in argument for argument in sys.argv)


def _apps() -> list[dict[str, Any]]:
    if not SERVES_PAGES:
        return []
    from board import make_app

    return [{"app": make_app(), "url_prefix": "/release-board", "name": "Release board"}]


def _mlflow() -> list[dict[str, Any]]:
    if not SERVES_PAGES:
        return []
    from pipelines.config import load_settings

    return [{"name": "MLflow", "href": load_settings().url("mlflow"), "destination": "nav", "category": "browse"}]


class RatchetPlugin(AirflowPlugin):
    """The release board."""

    name = "ratchet"
    fastapi_apps = _apps()
    # In the Browse menu. A lone top-level entry without a `url_route` is a button that does nothing in Airflow 3.3.2, and one with a
    # `url_route` opens in an iframe whose sandbox forbids following links out of it.
    external_views = [  # noqa: RUF012
        {"name": "Release board", "href": "/release-board/", "destination": "nav", "category": "browse"},
        *_mlflow(),
    ]
