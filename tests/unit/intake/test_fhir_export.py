"""HL7 Bulk Data Access, spoken by a local server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from source_server import Asked, Reply, Server, serving

from pipelines.errors import ConfigError, NotAllowed, Unavailable
from pipelines.intake.connectors import fhir_export, kinds
from pipelines.intake.connectors.pull import Gathered, Pull, State
from pipelines.intake.fetch import Fetcher
from pipelines.source_config import FhirExport, Http

TOKEN = "t0ken-of-the-server"
NDJSON = b'{"resourceType":"DocumentReference","id":"1"}\n{"resourceType":"DocumentReference","id":"2"}\n'


class Bulk:
    """A FHIR server with one export that is ready after some polls."""

    def __init__(self, server: Server) -> None:
        self.server, self.kicked = server, 0
        self.manifest: dict[str, Any] = {
            "transactionTime": "2024-05-01T10:00:00.000Z",
            "request": f"{server.url}/fhir/$export",
            "requiresAccessToken": True,
            "output": [{"type": "DocumentReference", "url": f"{server.url}/files/1", "count": 2}],
            "error": [],
        }
        server.on("/fhir/$export", self.kick_off)
        server.on("/files/1", self.guarded(Reply(body=NDJSON)))
        self.ready_after(2)

    def kick_off(self, asked: Asked) -> Reply:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Reply(401)
        if asked.headers.get("prefer") != "respond-async":
            return Reply(400)
        self.kicked += 1
        return Reply(202, headers={"Content-Location": f"{self.server.url}/status/{self.kicked}"})

    def guarded(self, reply: Reply) -> Callable[[Asked], Reply]:
        return lambda asked: reply if asked.headers.get("authorization") == f"Bearer {TOKEN}" else Reply(401)

    def ready_after(self, polls: int) -> None:
        for job in range(1, 5):
            waits = [Reply(202, headers={"X-Progress": "50%", "Retry-After": "0"}) for _ in range(polls)]
            self.server.on(f"/status/{job}", *waits, self.done)

    def done(self, asked: Asked) -> Reply:
        if asked.method == "DELETE":
            return Reply(202)
        return Reply(body=json.dumps(self.manifest).encode())


@pytest.fixture
def bulk(source_server: Server, monkeypatch: pytest.MonkeyPatch) -> Bulk:
    monkeypatch.setenv("FHIR_TOKEN", TOKEN)
    monkeypatch.setattr(fhir_export, "POLL_SECONDS", 0.01)
    return Bulk(source_server)


def config(bulk: Bulk, **more: Any) -> FhirExport:
    given = {"token_env": "FHIR_TOKEN", **more}
    http = Http(attempts=3, backoff_seconds=0.001)
    return FhirExport(kind="fhir_export", name="ehr", url=f"{bulk.server.url}/fhir", http=http, **given)


@pytest.fixture
def gather(bulk: Bulk, tmp_path: Path) -> Callable[..., Gathered]:
    calls = iter(range(100))

    def run(watermark: State | None = None, progress: State | None = None, kept: list[State] | None = None, **more: Any) -> Gathered:
        folder = tmp_path / f"pull{next(calls)}"
        folder.mkdir()
        keep = (kept if kept is not None else []).append
        return kinds.gather(config(bulk, **more), Pull(folder, "2024-05-02", watermark or {}, progress or {}, keep))

    return run


def test_ask_poll_and_fetch(bulk: Bulk, gather: Callable[..., Gathered]) -> None:
    found = gather(since="2024-01-01T00:00:00Z", type_filters=("DocumentReference?status=current",))
    assert [(d.path.name, d.path.read_bytes(), d.effective) for d in found.documents] == [
        ("DocumentReference-00001.ndjson", NDJSON, "2024-05-01")
    ]
    assert found.watermark == {"since": "2024-05-01T10:00:00.000Z"}
    asked = bulk.server.asked[0]
    assert asked.headers["accept"] == "application/fhir+json"
    assert (asked.get("_type"), asked.get("_since")) == ("DocumentReference,DiagnosticReport,Composition", "2024-01-01T00:00:00Z")
    assert asked.get("_typeFilter") == "DocumentReference?status=current"
    assert bulk.server.paths() == ["/fhir/$export", "/status/1", "/status/1", "/status/1", "/files/1"]
    kinds.let_go(config(bulk), found.let_go)
    assert (bulk.server.asked[-1].method, bulk.server.asked[-1].path) == ("DELETE", "/status/1")


def test_the_next_export_asks_since_the_last(bulk: Bulk, gather: Callable[..., Gathered]) -> None:
    gather(gather().watermark)
    assert [asked.get("_since") for asked in bulk.server.asked if asked.path == "/fhir/$export"] == [None, "2024-05-01T10:00:00.000Z"]


@pytest.mark.parametrize(
    ("more", "path"), [({"level": "patient"}, "/fhir/Patient/$export"), ({"level": "group", "group": "g1"}, "/fhir/Group/g1/$export")]
)
def test_levels(bulk: Bulk, gather: Callable[..., Gathered], more: dict[str, Any], path: str) -> None:
    bulk.server.on(path, bulk.kick_off)
    gather(**more)
    assert bulk.server.asked[0].path == path


def test_an_export_that_still_runs_is_gone_on_with(bulk: Bulk, gather: Callable[..., Gathered]) -> None:
    bulk.ready_after(50)
    kept: list[State] = []
    first = gather(kept=kept, wait_minutes=0.0)
    assert first.documents == [] and first.watermark == {} and "under way" in first.note
    bulk.ready_after(0)
    second = gather(progress=kept[-1])
    assert len(second.documents) == 1 and bulk.kicked == 1, "the same export, not another"


def test_a_changed_question_asks_anew(bulk: Bulk, gather: Callable[..., Gathered]) -> None:
    kept: list[State] = []
    gather(kept=kept, wait_minutes=0.0)
    gather(progress=kept[-1], types=("Composition",))
    assert bulk.kicked == 2


def test_the_server_says_how_long_to_wait(bulk: Bulk, gather: Callable[..., Gathered]) -> None:
    bulk.server.on("/status/1", Reply(202, headers={"Retry-After": "3600"}), bulk.done)
    assert "under way" in gather().note
    assert bulk.server.paths().count("/status/1") == 1


def test_busy_broken_and_cut_short_on_the_way(bulk: Bulk, gather: Callable[..., Gathered]) -> None:
    bulk.server.on("/fhir/$export", Reply(429, headers={"Retry-After": "0"}), bulk.kick_off)
    bulk.server.on("/status/1", Reply(503), Reply(202, headers={"Retry-After": "0"}), Reply(500), bulk.done)
    whole = bulk.guarded(Reply(body=NDJSON))
    bulk.server.on("/files/1", Reply(body=NDJSON, sent=20), Reply(502), whole)
    assert [d.path.read_bytes() for d in gather().documents] == [NDJSON]


@pytest.mark.parametrize("answer", [Reply(404), Reply(410), Reply(422, b'{"resourceType":"OperationOutcome"}')])
def test_an_export_that_failed_is_forgotten(bulk: Bulk, gather: Callable[..., Gathered], answer: Reply) -> None:
    bulk.server.on("/status/1", answer)
    kept: list[State] = []
    with pytest.raises(Unavailable, match="failed or is gone"):
        gather(kept=kept)
    assert kept[-1] == {}
    assert len(gather(progress=kept[-1]).documents) == 1 and bulk.kicked == 2


def test_an_export_whose_status_is_broken_for_long_is_forgotten(bulk: Bulk, gather: Callable[..., Gathered]) -> None:
    bulk.server.on("/status/1", Reply(500))
    kept: list[State] = [{}]
    for _ in range(fhir_export.GIVE_UP):
        with pytest.raises(Unavailable):
            gather(progress=kept[-1], kept=kept)
    assert kept[-1] == {} and bulk.kicked == 1


def test_files_that_are_gone_ask_for_another_export(bulk: Bulk, gather: Callable[..., Gathered]) -> None:
    bulk.server.on("/files/1", Reply(404))
    kept: list[State] = []
    with pytest.raises(Unavailable, match="gone"):
        gather(kept=kept)
    assert kept[-1] == {}


def test_a_file_with_fewer_resources_than_promised(bulk: Bulk, gather: Callable[..., Gathered]) -> None:
    bulk.manifest["output"][0]["count"] = 3
    with pytest.raises(Unavailable, match="2 resources instead of 3"):
        gather()


def test_errors_and_deletions_are_reported(bulk: Bulk, gather: Callable[..., Gathered]) -> None:
    outcome = b'{"resourceType":"OperationOutcome","issue":[{"severity":"%s","code":"processing"}]}\n'
    bulk.server.on("/files/e", bulk.guarded(Reply(body=outcome % b"error" + outcome % b"information")))
    bulk.server.on("/files/none", bulk.guarded(Reply(body=b"")))
    bulk.manifest["error"] = [{"type": "OperationOutcome", "url": f"{bulk.server.url}/files/e"}]
    bulk.manifest["deleted"] = [{"type": "Bundle", "url": f"{bulk.server.url}/files/d", "count": 4}]
    bulk.manifest["output"].append({"type": "Composition", "url": f"{bulk.server.url}/files/none", "count": 0})
    found = gather()
    assert len(found.documents) == 1 and found.counts == {"errors": 1, "deleted_at_the_source": 4}
    assert [one.reason for one in found.skipped] == ["the server could not export 1 resources"]


def test_a_manifest_in_pages(bulk: Bulk, gather: Callable[..., Gathered]) -> None:
    more = {"output": [{"type": "../Evil", "url": f"{bulk.server.url}/files/1"}]}
    bulk.server.on("/status/1/2", Reply(body=json.dumps(more).encode()))
    bulk.manifest["link"] = [{"relation": "next", "url": f"{bulk.server.url}/status/1/2"}]
    assert [d.path.name for d in gather().documents] == ["DocumentReference-00001.ndjson", "Resource-00002.ndjson"]


def test_signed_addresses_on_a_named_host_get_no_token(bulk: Bulk, gather: Callable[..., Gathered]) -> None:
    with serving() as store:
        store.on("/signed", Reply(body=NDJSON))
        bulk.manifest |= {"requiresAccessToken": False, "output": [{"type": "DocumentReference", "url": f"{store.url}/signed?sig=s3cret"}]}
        with pytest.raises(ConfigError, match="another host"):
            gather()
        assert len(gather(hosts=(store.url.removeprefix("http://"),)).documents) == 1
        assert "authorization" not in store.asked[0].headers


def test_a_token_that_is_missing_or_wrong(bulk: Bulk, gather: Callable[..., Gathered], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FHIR_TOKEN", "wr0ng")
    with pytest.raises(NotAllowed) as caught:
        gather()
    assert "wr0ng" not in str(caught.value)
    monkeypatch.delenv("FHIR_TOKEN")
    with pytest.raises(ConfigError, match="FHIR_TOKEN"):
        gather()


@pytest.mark.parametrize("told", ["0", "Fri, 31 Dec 1999 23:59:59 GMT"])
def test_a_server_that_wants_to_be_asked_at_once_is_not(bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setattr(fhir_export, "POLL_SECONDS", 1.0)
    bulk.server.on("/status/1", Reply(202, headers={"Retry-After": told}), Reply(202, headers={"Retry-After": told}), bulk.done)
    pauses: list[float] = []
    source, secret = config(bulk), {"Authorization": f"Bearer {TOKEN}"}
    with Fetcher(source.http, source.url, secret_headers=secret, sleep=pauses.append) as fetcher:
        fhir_export.gather(source, Pull(tmp_path, "2024-05-02", {}, {}, lambda _: None), fetcher)
    assert pauses == [1.0, 1.0]


@pytest.mark.parametrize("place", ["http://[::1", "http:////[", "http://h:x/", "http://xn--/", "/a\x7f"])
def test_a_status_address_that_is_none(bulk: Bulk, gather: Callable[..., Gathered], place: str) -> None:
    bulk.server.on("/fhir/$export", Reply(202, headers={"Content-Location": place}))
    with pytest.raises(ConfigError, match="no address"):
        gather()


def test_a_status_address_below_the_servers_own(bulk: Bulk, gather: Callable[..., Gathered]) -> None:
    bulk.server.on("/fhir/$export", Reply(202, headers={"Content-Location": "/status/1"}))
    assert len(gather().documents) == 1
