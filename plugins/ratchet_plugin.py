"""What Airflow registers: the release board in its navigation. Triggers and operators beside this file are imported by name."""

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


class RatchetPlugin(AirflowPlugin):
    """The release board."""

    name = "ratchet"
    fastapi_apps = _apps()
    external_views = [  # noqa: RUF012
        # Without a `url_route` it opens as a page of its own: the iframe Airflow would put it in forbids following links out of it.
        {"name": "Releases", "href": "/release-board/", "destination": "nav"},
    ]
