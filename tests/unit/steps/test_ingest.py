"""Ingest: loose files of the inbox are taken like any other delivery."""

from __future__ import annotations

import os
import time

from pipelines.config import Settings
from pipelines.registry import views
from pipelines.steps import ingest


def test_a_loose_file_becomes_an_arrival_of_its_owner_once_it_lies_quiet(settings: Settings) -> None:
    inbox = settings.landing_zone / "clinical" / "inbox"
    inbox.mkdir(parents=True)
    (inbox / "note.txt").write_text("The duration of the cough is 3 days.", encoding="utf-8")
    assert ingest.unclaimed(settings, "clinical") == 0, "it may still be written"
    past = time.time() - 600
    os.utime(inbox / "note.txt", (past, past))
    status = (inbox / "note.txt").stat()
    if time.time() - status.st_ctime < 6:
        time.sleep(6 - (time.time() - status.st_ctime))
    assert ingest.unclaimed(settings, "clinical") == 1
    (arrival,) = ingest.claim(settings, "clinical", "clinical.ingest", "run")
    (row,) = views.arrivals(settings, "clinical")
    assert (row["arrival"], row["source"], row["uploader"].split(":")[0]) == (arrival, "inbox", "os")
    assert ingest.unclaimed(settings, "clinical") == 0
