"""Lineage: from a delivered file to the release that answers with it, and back, by any id on the way."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.config import Settings
from pipelines.errors import NotFound
from pipelines.governance import audit
from pipelines.registry import artifacts, candidates, lineage, pointer
from pipelines.state.database import transaction
from pipelines.state.models import Approval, Arrival, ArrivalItem, DatasetVersion, Plan, now


def ids(settings: Settings, name: str, what: str) -> list[str]:
    return [row["id"] for row in lineage.trace(settings, name) if row["what"] == what]


@pytest.fixture
def story(settings: Settings) -> Settings:
    """Two versions of one arrival each; an adapter from the first, an index from each; r1 of the first is live, r2 is of both."""
    with transaction(settings) as session:
        for minor in range(2):
            session.add(
                Arrival(id=f"a{minor}", domain="d", folder=f"f{minor}", seal=f"s{minor}", uploader=f"uploader{minor}", source="t",
                        effective="2012-01-01", files=1, state="accepted")
            )  # fmt: skip
            session.flush()
            session.add(ArrivalItem(arrival_id=f"a{minor}", file=f"file{minor}.csv", place="row 1", key="k", content="c", state="accepted"))
            session.add(
                DatasetVersion(id=f"Set_v1.{minor}", domain="d", major=1, minor=minor, snapshot_id="1", arrival_id=f"a{minor}",
                               known_on="2012-01-01", documents=1, changed={}, content=f"c{minor}", parent_id="Set_v1.0" if minor else None)
            )  # fmt: skip
            session.flush()
            session.get_one(Arrival, f"a{minor}").version_id = f"Set_v1.{minor}"
            session.add(Plan(version_id=f"Set_v1.{minor}", domain="d", kind="adapter", reason="first", cost={}))
        audit.record(session, actor="warden", action="arrival.released", subject="a1", detail={"reason": "it is sound"})
    parts = {}
    for kind, number, facts in (
        ("training_set", 7, {"version": "Set_v1.0"}),
        ("adapter", 8, {"version": "Set_v1.0", "training_set": f"training_set-{7:016x}"}),
        ("index", 1, {"version": "Set_v1.0"}),
        ("index", 2, {"version": "Set_v1.1"}),
    ):
        step_hash = f"{number:016x}{number:048x}"
        artifacts.make(settings, kind, step_hash, lambda out: (out / "x").write_text("x"))
        parts[kind, number] = artifacts.enter(settings, kind, "d", step_hash, facts)
    for number in (1, 2):
        candidates.assemble(
            settings, domain="d", version_id=f"Set_v1.{number - 1}", base="b", base_sha256="0", adapter_id=parts["adapter", 8],
            index_id=parts["index", number], prompt="p/v1", prompt_sha256="0", policy={}, step_hash=f"{number:064x}",
        )  # fmt: skip
    with transaction(settings) as session:
        candidates.move(session, "d/r1", "gated")
        candidates.move(session, "d/r1", "approved")
        session.add(Approval(candidate_id="d/r1", decision="approved", actor="approver", responded_at=now(), source="x"))
    pointer.set_canary(settings, "d/r1", 0.1)
    pointer.promote(settings, "d/r1")
    return settings


@pytest.mark.parametrize("name", ["file0.csv", "a0"])
def test_from_a_file_down_to_every_release(story: Settings, name: str) -> None:
    assert ids(story, name, "arrival") == ["a0"]
    assert ids(story, name, "version") == ["Set_v1.0", "Set_v1.1"]
    assert ids(story, name, "candidate") == ["d/r1", "d/r2"]
    assert ids(story, name, "approval") == ids(story, name, "release") == ["d/r1"]


def test_a_later_file_is_not_in_an_earlier_release(story: Settings) -> None:
    assert ids(story, "file1.csv", "candidate") == ["d/r2"]
    assert ids(story, "file1.csv", "release") == []
    assert ids(story, "file1.csv", "index") == [f"index-{2:016x}"]


def test_a_document_key_names_every_place_it_was_delivered_at(story: Settings) -> None:
    assert ids(story, "k", "file") == ["file0.csv", "file1.csv"]
    assert ids(story, "k", "candidate") == ["d/r1", "d/r2"]


def test_from_a_release_back_to_the_files_and_people(story: Settings) -> None:
    rows = lineage.trace(story, "d/r2")
    assert [(row["id"], row["who"]) for row in rows if row["what"] == "arrival"] == [("a0", "uploader0"), ("a1", "uploader1")]
    assert [(row["id"], row["who"], row["detail"]) for row in rows if row["what"] == "arrival.released"] == [
        ("a1", "warden", "it is sound")
    ]
    assert ids(story, "d/r2", "file") == ["file0.csv", "file1.csv"]
    assert ids(story, "d/r2", "training_set") == [f"training_set-{7:016x}"]


def test_artifacts_and_versions_go_both_ways(story: Settings) -> None:
    for name in (f"training_set-{7:016x}", f"adapter-{8:016x}"):
        assert ids(story, name, "arrival") == ["a0"]
        assert ids(story, name, "candidate") == ["d/r1", "d/r2"]
    assert ids(story, f"index-{2:016x}", "candidate") == ["d/r2"]
    assert ids(story, "Set_v1.0", "candidate") == ["d/r1", "d/r2"], "the second has the first one's adapter"
    assert ids(story, "Set_v1.0", "plan") == ["Set_v1.0"]


def test_an_unknown_name(story: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="nothing is known as 'x'"):
        lineage.trace(story, "x")
    monkeypatch.setenv("RATCHET_VAR", str(story.var))
    shown = json.loads(CliRunner().invoke(app, ["lineage", "a1", "--json"]).stdout)
    assert {row["what"] for row in shown} >= {"file", "arrival", "version", "candidate"}
