"""What must work when everything was stopped. Last: the site of the story is down afterwards."""

from __future__ import annotations

import os
import time

import pytest
from living_site import Site, mine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


def test_rollback_and_history_work_with_airflow_stopped(site: Site) -> None:
    site.run("down")
    assert all(row["state"] == "down" for row in site.json("status"))
    assert not [process for process in mine(site.settings) if process.pid != os.getpid()]
    (before,) = site.json("live", "regulatory")
    (moved,) = site.json("rollback", "regulatory", "--reason", "testing")
    assert moved["live"] != before["release"]
    today = time.strftime("%Y-%m-%d", time.gmtime())
    history = [row["release"] for row in site.json("live", "regulatory", "--on", today)]
    assert history[:2] == [moved["live"], before["release"]] and history[-1] == "regulatory/r1"
    assert site.json("audit", "verify")[0]["whole"] is True
