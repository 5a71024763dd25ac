"""Delivering over HTTP, to a real server on loopback."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import select

from pipelines.config import PROJECT, Settings
from pipelines.errors import Unavailable
from pipelines.intake import landing, uploads
from pipelines.serving import upload
from pipelines.serving.access import Access
from pipelines.serving.gateway import create_app
from pipelines.serving.keys import issue_key, site_key
from pipelines.state.database import reading
from pipelines.state.models import AuditEvent
from pipelines.steps import ingest

pytestmark = pytest.mark.slow

Call = Callable[..., httpx.Response]


class Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        return


@pytest.fixture
def address(settings: Settings) -> Iterator[str]:
    app = FastAPI(openapi_url=None)
    upload.mount(app, settings, Access(settings))
    server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", http="httptools"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def key(settings: Settings) -> str:
    return issue_key(settings, "legal", ["regulatory"], delivers=["regulatory"])


@pytest.fixture
def put(address: str, key: str) -> Call:
    def call(
        name: str, body: bytes, *, upload_id: str = "one", domain: str = "regulatory", by: str = key, **headers: str
    ) -> httpx.Response:
        sent = {"Authorization": f"Bearer {by}", "X-Content-SHA256": hashlib.sha256(body).hexdigest(), **headers}
        sent = {name: value for name, value in sent.items() if value}
        return httpx.put(f"{address}/v1/arrivals/{domain}/{upload_id}/{name}", content=body, headers=sent, trust_env=False)

    return call


@pytest.fixture
def seal(address: str, key: str) -> Call:
    def call(upload_id: str = "one", domain: str = "regulatory", by: str = key, **body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {by}"}
        return httpx.post(f"{address}/v1/arrivals/{domain}/{upload_id}", json=body, headers=headers, trust_env=False)

    return call


def hidden(settings: Settings) -> list[str]:
    root = settings.landing_zone / "regulatory"
    return sorted(path.name for path in root.iterdir() if path.name.startswith(".")) if root.is_dir() else []


def uploaded(settings: Settings) -> list[tuple[str, dict[str, Any]]]:
    """What the audit log says of uploads that were allowed."""
    with reading(settings) as session:
        rows = session.scalars(select(AuditEvent).where(AuditEvent.action == "arrival.uploaded", AuditEvent.allowed.is_(True)))
        return [(row.subject, row.detail) for row in rows]


def test_files_then_a_seal_make_an_arrival(settings: Settings, put: Call, seal: Call) -> None:
    body = b"<regulation/>" * 200_000
    made = put("a.xml", body)
    assert (made.status_code, made.json()) == (201, {"name": "a.xml", "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()})
    digest = base64.b64encode(hashlib.sha256(b"<b/>").digest()).decode()
    assert put("b.xml", b"<b/>", **{"X-Content-SHA256": "", "Content-Digest": f"sha-256=:{digest}:"}).status_code == 201
    assert landing.sealed(settings, "regulatory") == [], "nothing counts before it is sealed"
    told = seal(source="legal team", effective="2024-05-01")
    [folder] = landing.sealed(settings, "regulatory")
    found = landing.verify(folder)
    assert told.status_code == 201
    assert told.json() == {
        "domain": "regulatory", "folder": folder.name, "seal": found.hash, "effective": "2024-05-01", "files": 2, "uploader": "key:legal",
    }  # fmt: skip
    assert (found.uploader, found.source, found.effective) == ("key:legal", "legal team", "2024-05-01")
    assert (folder / "a.xml").read_bytes() == body
    assert ingest.unclaimed(settings, "regulatory") == 1
    with reading(settings) as session:
        [event] = session.scalars(select(AuditEvent).where(AuditEvent.action == "arrival.uploaded"))
        assert (event.actor, event.subject, event.allowed) == ("key:legal", f"regulatory/{folder.name}", True)


def test_the_same_seal_again_gives_the_same_answer(settings: Settings, put: Call, seal: Call) -> None:
    put("a.xml", b"<a/>")
    first, again = seal(effective="2024-05-01"), seal(effective="2024-05-01")
    assert (first.status_code, again.status_code) == (201, 200) and first.json() == again.json()
    assert len(landing.sealed(settings, "regulatory")) == 1 and len(uploaded(settings)) == 1
    late = put("b.xml", b"<b/>")
    assert (late.status_code, late.json()["error"]["code"]) == (409, "conflict")


def test_a_file_sent_again_replaces_itself(settings: Settings, put: Call, seal: Call) -> None:
    put("a.xml", b"<a/>")
    put("a.xml", b"<mended/>")
    assert seal().json()["effective"] == settings.day()
    [folder] = landing.sealed(settings, "regulatory")
    assert (folder / "a.xml").read_bytes() == b"<mended/>" and landing.verify(folder).files[0].bytes == 9


def test_two_uploaders_with_one_id_do_not_mix(settings: Settings, put: Call, seal: Call) -> None:
    other = issue_key(settings, "field office", [], delivers=["regulatory"])
    put("a.xml", b"<a/>")
    put("a.xml", b"<other/>", by=other)
    assert seal().json()["uploader"] == "key:legal" and seal(by=other).json()["uploader"] == "key:field office"
    contents = {landing.verify(f).uploader: (f / "a.xml").read_bytes() for f in landing.sealed(settings, "regulatory")}
    assert contents == {"key:legal": b"<a/>", "key:field office": b"<other/>"}


def test_asking_is_no_right_to_deliver(settings: Settings, put: Call, seal: Call) -> None:
    asking = issue_key(settings, "asker", ["*"])
    for by in (asking, site_key(settings)):
        assert put("a.xml", b"<a/>", by=by).status_code == 403
        assert seal(by=by).status_code == 403
    assert put("a.xml", b"<a/>", domain="clinical").status_code == 403
    assert put("a.xml", b"<a/>", by="rk-wrong").status_code == 401
    assert hidden(settings) == []


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"X-Content-SHA256": ""}, "SHA-256 is missing"),
        ({"X-Content-SHA256": "abc"}, "SHA-256 is missing"),
        ({"X-Content-SHA256": "0" * 64}, "not what its SHA-256 says"),
    ],
)
def test_the_sha256_must_be_there_and_hold(settings: Settings, put: Call, headers: dict[str, str], says: str) -> None:
    answer = put("a.xml", b"<a/>", **headers)
    assert answer.status_code == 400 and says in answer.json()["error"]["message"]
    assert not [name for name in hidden(settings) if ".part-" in name]


@pytest.mark.parametrize("name", [".hidden", "arrival.json", "a%2Fb.xml", "..%2F..%2Fb.xml", "a%00.xml", "%2e%2e", "x" * 300])
def test_names_that_lead_elsewhere(settings: Settings, put: Call, name: str) -> None:
    assert put(name, b"<a/>").status_code in (400, 404, 405)
    assert landing.sealed(settings, "regulatory") == [] and not [path for path in settings.landing_zone.rglob("*") if path.is_file()]


@pytest.mark.parametrize("upload_id", [".x", "a b", "x" * 65, "ü"])
def test_ids_that_are_none(put: Call, upload_id: str) -> None:
    answer = put("a.xml", b"<a/>", upload_id=upload_id)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "upload_id")


def test_empty_files_and_empty_uploads(settings: Settings, put: Call, seal: Call) -> None:
    assert put("a.xml", b"").status_code == 400
    empty = seal()
    assert empty.status_code == 400 and landing.sealed(settings, "regulatory") == []
    nothing = seal("never")
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("body", [{"effective": "May"}, {"effective": "2024-02-31"}, {"source": ""}, {"sauce": "x"}])
def test_a_seal_that_says_nonsense(put: Call, seal: Call, body: dict[str, str]) -> None:
    put("a.xml", b"<a/>")
    assert seal(**body).status_code == 400
    assert seal().status_code == 201, "the upload is unharmed"


def test_a_seal_that_says_too_much(address: str, key: str, put: Call, seal: Call) -> None:
    put("a.xml", b"<a/>")
    where, headers = f"{address}/v1/arrivals/regulatory/one", {"Authorization": f"Bearer {key}"}
    declared = httpx.post(where, content=b"x" * (upload.SEAL_BYTES + 1), headers=headers, trust_env=False)
    streamed = httpx.post(where, content=iter([b"x" * (upload.SEAL_BYTES + 1)]), headers=headers, trust_env=False)
    assert [answer.json()["error"]["code"] for answer in (declared, streamed)] == ["request_too_large"] * 2
    assert httpx.post(where, headers=headers, trust_env=False).status_code == 201, "an empty body is as good as {}"


def test_too_large_with_and_without_a_length(settings: Settings, address: str, put: Call, key: str) -> None:
    assert put("a.xml", b"x" * 51_000_000).status_code == 413
    headers = {"Authorization": f"Bearer {key}", "X-Content-SHA256": "0" * 64}
    pieces = (b"x" * 1_000_000 for _ in range(60))
    try:
        status = httpx.put(f"{address}/v1/arrivals/regulatory/one/b.xml", content=pieces, headers=headers, trust_env=False).status_code
    except httpx.WriteError:
        status = 413  # the server closed while we were still sending
    assert status == 413
    assert not list((settings.landing_zone / "regulatory").glob("*.part-*"))


def test_a_body_that_breaks_off_leaves_nothing(settings: Settings, address: str, key: str, put: Call, seal: Call) -> None:
    put("a.xml", b"<a/>")
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        head = f"PUT /v1/arrivals/regulatory/one/b.xml HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        line.sendall((head + f"X-Content-SHA256: {'0' * 64}\r\nContent-Length: 1000\r\n\r\nhalf").encode())
        deadline = time.monotonic() + 10
        while not list((settings.landing_zone / "regulatory").glob("*.part-*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    while list((settings.landing_zone / "regulatory").glob("*.part-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert seal().json()["files"] == 1


def test_silence_is_ended(settings: Settings, address: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "IDLE_SECONDS", 0.1)
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        head = f"PUT /v1/arrivals/regulatory/one/b.xml HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        line.sendall((head + f"X-Content-SHA256: {'0' * 64}\r\nContent-Length: 1000\r\n\r\nhalf").encode())
        assert line.recv(4000).startswith(b"HTTP/1.1 400")
    assert not list((settings.landing_zone / "regulatory").glob("*.part-*"))


def test_no_room(put: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "KEEP_FREE", 10**18)
    answer = put("a.xml", b"<a/>")
    assert answer.status_code == 503 and answer.headers["retry-after"] == "60"


def test_limits_per_uploader_and_upload(put: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_OPEN", 1)
    monkeypatch.setattr(uploads, "MAX_BYTES", 10)
    assert put("a.xml", b"<a/>").status_code == 201
    assert put("a.xml", b"<a/>", upload_id="two").status_code == 409
    assert put("b.xml", b"<bbbbbbbbbb/>").status_code == 400


def test_sealed_from_two_sides_at_once(settings: Settings, put: Call, seal: Call) -> None:
    put("a.xml", b"<a/>")
    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(seal(effective="2024-05-01"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.text for answer in answers}) == 1 and len(landing.sealed(settings, "regulatory")) == 1
    assert len(uploaded(settings)) == 1


KILL = """
import os, signal, sys
from pathlib import Path
from pipelines.intake import landing, uploads

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def then_die(function):
    def call(*args, **more):
        function(*args, **more)
        die()
    return call

upload, point = uploads.Upload(Path(sys.argv[1]), "key:legal", "one"), sys.argv[2]
if point == "after the seal":
    landing.seal = then_die(landing.seal)
elif point == "after the receipt":
    landing.settle = die
else:
    landing.settle = then_die(landing.settle)
uploads.seal(upload, source="legal team", effective="2024-05-01")
"""


@pytest.mark.parametrize("point", ["after the seal", "after the receipt", "after it appeared"])
def test_a_kill_while_sealing_makes_one_arrival(settings: Settings, put: Call, seal: Call, point: str) -> None:
    put("a.xml", b"<a/>")
    root = str(settings.landing_zone / "regulatory")
    environ = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", KILL, root, point], env=environ, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    # Another source and date: what was sealed stands, and is what the audit log says.
    told = seal(source="another team", effective="2024-06-01")
    assert told.status_code in (200, 201) and told.json()["effective"] == "2024-05-01"
    assert seal().status_code == 200
    [folder] = landing.sealed(settings, "regulatory")
    assert folder.name == told.json()["folder"]
    assert uploaded(settings) == [(f"regulatory/{folder.name}", {"seal": landing.read_seal(folder).hash, "files": 1})]


def test_a_database_away_while_sealing_loses_no_record(settings: Settings, put: Call, seal: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise Unavailable("the control database does not answer")

    put("a.xml", b"<a/>")
    with monkeypatch.context() as patch:
        patch.setattr(upload, "transaction", away)
        assert seal().status_code == 503
    assert len(landing.sealed(settings, "regulatory")) == 1 and uploaded(settings) == []
    assert seal().status_code == 200 and len(uploaded(settings)) == 1


def test_what_is_abandoned_goes_after_a_day(settings: Settings, put: Call, seal: Call) -> None:
    put("a.xml", b"<a/>", upload_id="old")
    put("a.xml", b"<a/>", upload_id="sealed")
    seal("sealed")
    put("a.xml", b"<a/>", upload_id="fresh")
    root = settings.landing_zone / "regulatory"
    legal = uploads.Upload(root, "key:legal", "fresh")
    (root / f"{legal.folder.name}.part-x").write_bytes(b"half")
    day_ago = time.time() - uploads.ABANDONED_SECONDS - 5
    for path in root.glob(".upload-*"):
        if path != legal.folder:
            os.utime(path, (day_ago, day_ago))
    assert uploads.clean(root) == 3
    assert hidden(settings) == [legal.folder.name] and len(landing.sealed(settings, "regulatory")) == 1
    assert seal("sealed").status_code == 404 and seal("fresh").status_code == 201


def test_a_domain_out_of_order_tells_nothing_of_the_site(settings: Settings, tmp_path: Path, put: Call) -> None:
    other = settings.model_copy(update={"configs": tmp_path / "nowhere"})
    routes = upload._Routes(other, None)  # type: ignore[arg-type]
    (tmp_path / "nowhere" / "domains").mkdir(parents=True)
    (tmp_path / "nowhere" / "domains" / "regulatory.yaml").write_text("domain: [")
    with pytest.raises(Exception, match="not in order") as caught:
        routes._domain("regulatory")
    assert str(tmp_path) not in str(caught.value)


def test_the_gateway_has_the_routes(settings: Settings) -> None:
    paths = {getattr(route, "path", "") for route in create_app(settings).routes}
    assert {"/v1/arrivals/{domain}/{upload_id}/{filename}", "/v1/arrivals/{domain}/{upload_id}"} <= paths
