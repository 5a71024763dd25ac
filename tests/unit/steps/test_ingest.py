"""Ingest: loose files of the inbox are taken like any other delivery."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml
from releasing import edit, own_configs
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.config import Settings
from pipelines.errors import NotFound
from pipelines.intake import landing
from pipelines.registry import views
from pipelines.steps import ingest, publish


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


def test_a_refused_arrival_is_linked_to_the_contract_that_refused_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "n.jsonl").write_text('{"note_id": "a", "text": "too short", "title": "Visit"}\n', encoding="utf-8")
    landing.deliver(settings, "clinical", [tmp_path / "n.jsonl"], uploader="steward", source="test", effective="2014-01-01")
    (arrival,) = ingest.claim(settings, "clinical", "clinical.ingest", "run")
    assert [row["contract"] for row in views.arrivals(settings)] == [None]
    assert ingest.prepare(settings, "clinical", arrival)["state"] == "refused"
    (row,) = views.arrivals(settings, arrival)
    assert "100% of 1 total rows" in Path(row["contract"]).read_text(encoding="utf-8") and row["masking"] is None

    monkeypatch.setattr("pipelines.cli.corpus.load_settings", lambda: settings)
    shown = CliRunner().invoke(app, ["arrivals", arrival])
    assert shown.exit_code == 0 and "contract.html" in shown.output.replace("\n", "")
    assert "contract.html" not in CliRunner().invoke(app, ["arrivals", "clinical"]).output
    assert "contract.html" in CliRunner().invoke(app, ["arrivals", "clinical", "--items"]).output.replace("\n", "")
    assert isinstance(CliRunner().invoke(app, ["arrivals", "clinicl"]).exception, NotFound)


def test_too_many_documents_are_refused_as_a_whole_and_what_could_not_be_read_is_told(settings: Settings, tmp_path: Path) -> None:
    own = own_configs(settings)
    sources = yaml.safe_load((own.configs / "domains" / "clinical.yaml").read_text(encoding="utf-8"))["sources"]
    edit(own, "clinical", sources=sources | {"limits": {"documents": 1}})
    rows = [f'{{"note_id": "{name}", "text": "The duration of the cough is 3 days.", "title": "Visit"}}' for name in ("a", "b")]
    (tmp_path / "n.jsonl").write_text("\n".join(["{broken", *rows]) + "\n", encoding="utf-8")
    landing.deliver(own, "clinical", [tmp_path / "n.jsonl"], uploader="steward", source="test", effective="2014-01-01")
    (arrival,) = ingest.claim(own, "clinical", "clinical.ingest", "run")
    said = ingest.prepare(own, "clinical", arrival)
    assert said["state"] == "refused" and "more than 1 documents (sources.limits.documents)" in said["reason"]
    assert [(row["place"], row["state"]) for row in views.items(own, arrival)] == [("line 1", "refused")]


def test_the_reports_are_those_of_what_is_staged(settings: Settings, tmp_path: Path) -> None:
    own = own_configs(settings)
    before = yaml.safe_load((own.configs / "domains" / "clinical.yaml").read_text(encoding="utf-8"))["contract"]
    (tmp_path / "n.jsonl").write_text(
        '{"note_id": "a", "text": "The duration of the cough is 3 days.", "title": "Visit"}\n', encoding="utf-8"
    )
    landing.deliver(own, "clinical", [tmp_path / "n.jsonl"], uploader="steward", source="test", effective="2014-01-01")
    (arrival,) = ingest.claim(own, "clinical", "clinical.ingest", "run")
    ingest.prepare(own, "clinical", arrival)
    first = views.arrivals(own, arrival)[0]["contract"]
    stricter = {"type": "ExpectTableRowCountToBeBetween", "args": {"min_value": 2}}
    edit(own, "clinical", contract=before | {"expectations": [*before["expectations"], stricter]})
    assert ingest.prepare(own, "clinical", arrival)["state"] == "refused"
    assert views.arrivals(own, arrival)[0]["contract"] != first
    edit(own, "clinical", contract=before)
    assert ingest.prepare(own, "clinical", arrival)["state"] == "accepted"
    assert views.arrivals(own, arrival)[0]["contract"] == first


@pytest.mark.parametrize("first_is_refused", [False, True])
def test_a_second_delivery_is_settled_by_the_run_that_settles_the_first(settings: Settings, tmp_path: Path, first_is_refused: bool) -> None:
    text = "short" if first_is_refused else "The duration of the cough is 3 days."
    (tmp_path / "n.jsonl").write_text(f'{{"note_id": "a", "text": "{text}", "title": "Visit"}}\n', encoding="utf-8")
    claimed = []
    for run in ("one", "two"):
        landing.deliver(settings, "clinical", [tmp_path / "n.jsonl"], uploader="steward", source="test", effective="2014-01-01")
        claimed.append(ingest.claim(settings, "clinical", "clinical.ingest", run))
    (first,), (second,) = claimed
    # The second's run is over before the first's has published.
    assert ingest.prepare(settings, "clinical", second)["state"] == "duplicate"
    assert publish.publish(settings, "clinical", [second]) == []
    assert ingest.settle(settings, "clinical", [second]) == {"received": 1}
    ingest.prepare(settings, "clinical", first)
    publish.publish(settings, "clinical", [first])
    states = {row["arrival"]: (row["state"], row["version"]) for row in views.arrivals(settings, "clinical")}
    assert states[second] == states[first] == (("refused", None) if first_is_refused else ("accepted", "MedNotes_v1.0"))
