"""Erasure from the sealed request to the receipt: unread everywhere, barred from release, and the others unharmed."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from live import approve

from pipelines.config import Settings
from pipelines.corpus import warehouse
from pipelines.corpus.keys import Keys
from pipelines.errors import BadInput, Conflict
from pipelines.governance import audit
from pipelines.intake import landing
from pipelines.manifest import sha256
from pipelines.registry import artifacts, candidates, lineage, pointer, views
from pipelines.state.database import reading, transaction
from pipelines.state.models import Artifact, ManifestRow, now
from pipelines.steps import erase as erasing
from pipelines.steps import ingest, plan, publish, release
from pipelines.training import tokens

pytestmark = pytest.mark.slow

ANN, BOB = "Annabel Quistgaard", "Roberto Vantongeren"


def deliver(settings: Settings, tmp_path: Path, run: str, **texts: str) -> dict[str, Any]:
    """Notes by id, `a...` about Ann and the rest about Bob; how the arrival ended."""
    path = tmp_path / f"{run}.jsonl"
    rows = [
        {"note_id": name, "title": "Visit", "text": text, "patient": ANN if name.startswith("a") else BOB} for name, text in texts.items()
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    landing.deliver(settings, "clinical", [path], uploader="steward", source="test", effective="2024-01-01")
    (arrival,) = ingest.claim(settings, "clinical", "clinical.ingest", run)
    done = ingest.prepare(settings, "clinical", arrival)
    publish.publish(settings, "clinical", [arrival])
    return done


@pytest.fixture
def site(settings: Settings, tmp_path: Path) -> Settings:
    deliver(settings, tmp_path, "run-1", a1="The duration of the cough is 3 days.", b1="The duration of the rash is 9 days.")
    return settings


def sealed(tmp_path: Path, **values: Any) -> Path:
    body = {"domain": "clinical", "subject": {"patient": ANN.upper()}, "reason": "Art. 17", "requester": "case 12"} | values
    path = tmp_path / "request.json"
    path.write_text(json.dumps(body), encoding="utf-8")
    path.with_name("request.json.sha256").write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  request.json\n")
    return path


def texts(settings: Settings, version: str) -> list[tuple[bool, str]]:
    return sorted((row.erased, row.text) for row in warehouse.documents(settings, "clinical", version))


def parts(settings: Settings, number: int, version: str) -> str:
    """A candidate with an adapter and an index of a version, approved."""
    made = {}
    for kind in ("adapter", "index"):
        step_hash = hashlib.sha256(f"{kind}{number}".encode()).hexdigest()
        artifacts.make(settings, kind, step_hash, lambda out: (out / "x").write_text("x"))
        made[kind] = artifacts.enter(settings, kind, "clinical", step_hash, {"version": version, "learning_key": "k"})
    name = candidates.assemble(
        settings, domain="clinical", version_id=version, base="b", base_sha256="0", adapter_id=made["adapter"], index_id=made["index"],
        prompt="p/v1", prompt_sha256="0", policy={}, step_hash=f"{number:064x}",
    )  # fmt: skip
    approve(settings, name)
    return name


def test_text_is_encrypted_from_staging_on(site: Settings) -> None:
    assert texts(site, "MedNotes_v1.0") == [(False, "The duration of the cough is 3 days."), (False, "The duration of the rash is 9 days.")]
    for path in (*site.warehouse.rglob("*"), *site.artifacts.joinpath("staged").rglob("*"), *site.var.joinpath("vault").rglob("*")):
        if path.is_file():
            assert b"duration of the" not in path.read_bytes(), path


def test_an_erased_subject_is_unread_and_the_others_are_not(site: Settings, tmp_path: Path) -> None:
    receipt = erasing.erase(site, sealed(tmp_path), actor="os:warden")
    assert (receipt["known"], receipt["documents"], receipt["versions"], receipt["by"]) == (True, 1, ["MedNotes_v1.0"], "os:warden")
    rest = [(False, "The duration of the rash is 9 days."), (True, "")]
    assert texts(site, "MedNotes_v1.0") == texts(site, "MedNotes_v1.1") == rest
    assert receipt["version"] == "MedNotes_v1.1", "a new version, so that new parts are made"
    stored = Path(receipt["receipt"]).read_text(encoding="utf-8")
    events = json.dumps(views.audit_events(site, None, 100))
    for shown in (stored, events, json.dumps(receipt)):
        assert ANN.lower() not in shown.lower() and "quistgaard" not in shown.lower()
    assert [row["who"] for row in lineage.trace(site, "MedNotes_v1.1") if row["what"] == "erasure"] == ["os:warden"]
    with reading(site) as session:
        assert audit.verify(session)[1] == []


def test_the_same_request_again_changes_nothing(site: Settings, tmp_path: Path) -> None:
    path = sealed(tmp_path)
    first = erasing.erase(site, path, actor="os:warden")
    again = erasing.erase(site, path, actor="os:other")
    assert {**again, "removed_now": []} == {**first, "removed_now": []}
    assert len([one for one in views.audit_events(site, None, 100) if one["action"] == "subject.erased"]) == 1
    assert len(warehouse.versions(site, "clinical")) == 2


@pytest.mark.parametrize("step", ["_account", "_bar", "_refuse", "sweep"])
def test_a_crash_is_finished_by_the_same_request(site: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    path = sealed(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(erasing, step, crash)
        with pytest.raises(KeyboardInterrupt):
            erasing.erase(site, path, actor="os:warden")
    assert texts(site, "MedNotes_v1.0")[-1] == (True, ""), "the key goes first"
    receipt = erasing.erase(site, path, actor="os:warden")
    assert (receipt["documents"], receipt["version"]) == (1, "MedNotes_v1.1")
    assert len(warehouse.versions(site, "clinical")) == 2


def test_what_was_made_from_the_text_is_barred_and_what_is_live_is_told(site: Settings, tmp_path: Path) -> None:
    first, second, third = (parts(site, number, "MedNotes_v1.0") for number in range(3))
    for name in (first, second):
        pointer.set_canary(site, name, 0.1)
        pointer.promote(site, name)
    receipt = erasing.erase(site, sealed(tmp_path), actor="os:warden")
    assert receipt["live"] == [second] and len(receipt["adapters"]) == len(receipt["indexes"]) == 3
    assert candidates.get(site, third).state == "refused" and "erased" in str(candidates.get(site, third).reason)
    assert pointer.current(site, "clinical").live_id == second  # type: ignore[union-attr]
    with pytest.raises(Conflict, match="may not be released"):
        pointer.rollback(site, "clinical", actor="os:x", reason="y")
    with pytest.raises(Conflict, match="may not be released"):
        release.load(site, "clinical", first)
    assert artifacts.path_of(site, candidates.get(site, second).index_id).is_dir(), "what is live goes on"
    assert not (site.artifacts / "adapter" / candidates.get(site, third).adapter_id.removeprefix("adapter-")).exists()  # type: ignore[union-attr]
    with reading(site) as session:
        assert all(row.barred for row in session.query(Artifact) if row.kind in ("adapter", "index"))
    assert plan.claim(site, "clinical", "clinical.finetune", "run") == "MedNotes_v1.1"
    from pipelines.config import load_domain
    from pipelines.registry import parts as keys

    with transaction(site) as session:
        for row in session.query(Artifact):
            row.facts = {**row.facts, "learning_key": keys.learning_key(site, load_domain("clinical", site))}
    assert plan.plan(site, "clinical", "MedNotes_v1.1") == "adapter"


def test_the_audit_names_the_receipt_that_is_on_disk(site: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = audit.record

    def crash_at_the_end(session: Any, *, action: str, **values: Any) -> None:
        if action == "subject.erased":
            raise KeyboardInterrupt
        record(session, action=action, **values)

    path = sealed(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(erasing.audit, "record", crash_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            erasing.erase(site, path, actor="os:warden")
    with monkeypatch.context() as patch:
        patch.setattr(erasing, "now", lambda: now() + timedelta(hours=1))
        receipt = erasing.erase(site, path, actor="os:warden")
    (event,) = (one for one in views.audit_events(site, None, 100) if one["action"] == "subject.erased")
    assert event["detail"]["receipt"] == sha256((site.artifacts / receipt["receipt"]).read_text(encoding="utf-8"))


def test_examples_of_a_run_that_failed_before_its_artifact_go_too(site: Settings, tmp_path: Path) -> None:
    folder = site.artifacts / "examples" / "x"
    folder.mkdir(parents=True)
    body = {"inputs": {"version": "MedNotes_v1.0"}, "outputs": {"path": "examples/x"}}
    with transaction(site) as session:
        session.add(ManifestRow(hash="0" * 64, step="examples", domain="clinical", body=body))
    kept = tokens.folder_of(site, "clinical")
    kept.mkdir(parents=True)
    assert "examples/x" in erasing.erase(site, sealed(tmp_path), actor="os:warden")["removed_now"]
    assert not kept.exists()  # tokens can be read back
    assert not folder.exists()


def test_someone_written_with_other_accents_is_the_same_subject(settings: Settings) -> None:
    keys = Keys.open(settings)
    assert keys.subject("clinical", ["M\u00e1rta \u00d8kland"]) == keys.find("clinical", ["Marta  Okland"]) is not None


def test_later_notes_about_an_erased_subject_are_refused_by_name_of_the_reason(site: Settings, tmp_path: Path) -> None:
    erasing.erase(site, sealed(tmp_path), actor="os:warden")
    done = deliver(site, tmp_path, "run-2", a2="The duration of the fever is 5 days.", b2="The duration of the itch is 4 days.")
    assert done["documents"] == 1
    (refused,) = (line for line in views.items(site, done["arrival"]) if line["state"] == "refused")
    assert refused["reason"] == "its subject was erased on request" and refused["key"] is None


def test_a_subject_that_nobody_knows_leaves_a_receipt_too(site: Settings, tmp_path: Path) -> None:
    receipt = erasing.erase(site, sealed(tmp_path, subject={"patient": "Nobody At All"}), actor="os:warden")
    assert (receipt["known"], receipt["documents"], receipt["version"]) == (False, 0, None)
    assert len(texts(site, "MedNotes_v1.0")) == 2


def test_bad_requests(site: Settings, tmp_path: Path) -> None:
    for values, fault in [
        ({"domain": "regulatory"}, "the domain is public"),
        ({"subject": {"nam": ANN}}, "no subject column 'nam'"),
        ({"record": "a1"}, "cannot be read"),
        ({"extra": ANN}, "cannot be read: extra"),
    ]:
        with pytest.raises(BadInput, match=fault) as told:
            erasing.erase(site, sealed(tmp_path, **values), actor="os:warden")
        assert "Quistgaard" not in str(told.value)
    path = sealed(tmp_path)
    path.write_text(path.read_text(encoding="utf-8") + " ")
    with pytest.raises(BadInput, match="wrong checksum"):
        erasing.erase(site, path, actor="os:warden")
    path.with_name("request.json.sha256").unlink()
    with pytest.raises(BadInput, match="checksum beside it"):
        erasing.erase(site, path, actor="os:warden")
    assert [erased for erased, _ in texts(site, "MedNotes_v1.0")] == [False, False]


def test_a_request_is_named_by_its_checksum_and_lies_where_nobody_else_reads(settings: Settings) -> None:
    def refused(request: str, why: str) -> None:
        with pytest.raises(BadInput, match=why):
            erasing.requested(settings, request=request, actor="admin")

    for typed in ("", "Annabel Quistgaard", "0" * 11, "../../secrets"):
        refused(typed, "not the beginning of a SHA-256")
    refused("0" * 12, "no folder of requests")
    settings.requests.mkdir()
    settings.requests.chmod(0o755)
    refused("0" * 12, "others may read")
    settings.requests.chmod(0o700)
    refused("0" * 12, "no sealed request")
    for name in ("a", "b"):
        (settings.requests / f"{name}.json.sha256").write_text("0" * 12 + name)
    refused("0" * 12, "no sealed request")
    for name in ("a", "b"):
        (settings.requests / f"{name}.json").write_text("{}")
    refused("0" * 12, "2 requests begin")
    (settings.requests / "a.json").write_text("{}")
    with pytest.raises(BadInput, match="wrong checksum"):
        erasing.requested(settings, request="0" * 12 + "a", actor="admin")
