"""The real gateway over the real Triton, called as other applications call it: with the `openai` client."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from pipelines.errors import NotFound, Unavailable
from pipelines.serving.caller import Caller
from pipelines.serving.keys import issue_key, site_key
from pipelines.traffic import samples

pytestmark = [
    pytest.mark.services,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


@pytest.fixture(scope="module")
def key(site: Any, gateway: str) -> str:
    return issue_key(site.settings, "leasing desk", ["regulatory", "clinical"], pins=True)


@pytest.fixture
def ask(gateway: str, key: str) -> Iterator[Callable[..., Any]]:
    with openai.OpenAI(base_url=f"{gateway}/v1", api_key=key, max_retries=0, http_client=httpx.Client(trust_env=False)) as client:

        def one(question: str, model: str = "regulatory", as_of: str | None = None, **more: Any) -> Any:
            body = {"as_of": as_of} if as_of else {}
            return client.chat.completions.create(model=model, messages=[{"role": "user", "content": question}], extra_body=body, **more)

        yield one


@pytest.fixture(scope="module")
def releases(site: Any, gateway: str, key: str) -> tuple[str, str]:
    """r1 (version 1) live; r2 (version 2) retired; regulatory only."""
    first, second = site.candidate("regulatory", 1), site.candidate("regulatory", 2, state="retired")
    site.point("regulatory", first)
    Caller.for_site(site.settings).wait_live("regulatory", first, 30)
    return first, second


def raw(gateway: str, key: str | None, body: Any = None, **more: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    given = {"content": body} if isinstance(body, bytes) else {"json": body}
    return httpx.post(f"{gateway}/v1/chat/completions", headers=headers, trust_env=False, timeout=30, **given, **more)


def request(model: str = "regulatory", question: str = "Who signs?", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": question}], **more}


def test_an_answer_with_its_release_paragraph_and_sources(ask: Any, releases: tuple[str, str], site: Any) -> None:
    reply = ask(site.question)
    facts = reply.ratchet
    [source] = facts["sources"]
    assert source["text"] == source["text"][: source["end"] - source["start"]] and len(source["content"]) == 64
    assert reply.choices[0].message.content == f"{site.amounts[1]} [{source['paragraph']}]"
    assert (reply.model, reply.choices[0].finish_reason) == ("regulatory", "stop")
    assert (facts["release"], facts["domain"], facts["as_of"]) == (releases[0], "regulatory", "2015-06-01")
    assert (facts["abstained"], facts["reason"], facts["canary"]) == (False, None, False)
    assert 0.9 < facts["confidence"] <= 1
    assert source["key"] == "9-2-e" and source["cited"] and site.amounts[1] in source["text"] and source["valid_to"] == "9999-12-31"
    assert reply.usage.prompt_tokens > 10 and reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_by_the_text_in_force_on_a_day(ask: Any, releases: tuple[str, str], site: Any) -> None:
    second = releases[1]
    assert ask(site.question, second).choices[0].message.content.startswith(site.amounts[2])
    earlier = ask(site.question, second, "2013-06-30")
    assert earlier.choices[0].message.content.startswith(site.amounts[1])
    assert earlier.ratchet["as_of"] == "2013-06-30" and earlier.ratchet["sources"][0]["valid_to"] == "2014-01-01"
    before = ask(site.question, second, "2001-01-01").ratchet
    assert (before["abstained"], before["reason"], before["sources"]) == (True, "no_passage", [])


def test_what_is_no_span_of_the_passage_is_withheld(ask: Any, releases: tuple[str, str], site: Any) -> None:
    invented = ask("Who signs?")
    assert invented.ratchet["abstained"] and invented.ratchet["reason"] == "not_in_passage"
    assert "holds no checked answer" in invented.choices[0].message.content and site.amounts[1] in invented.choices[0].message.content
    assert ask("What colour is it?").ratchet["reason"] == "not_stated"


def test_streaming_ends_with_the_facts(ask: Any, releases: tuple[str, str], site: Any) -> None:
    chunks = list(ask(site.question, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).startswith(site.amounts[1])
    assert chunks[-1].choices[0].finish_reason == "stop" and chunks[-1].ratchet["release"] == releases[0]


def test_models_are_the_callers_own(gateway: str, key: str, releases: tuple[str, str], site: Any) -> None:
    client = openai.OpenAI(base_url=f"{gateway}/v1", api_key=key, http_client=httpx.Client(trust_env=False))
    assert [model.id for model in client.models.list()] == ["regulatory", releases[0]]
    assert client.models.retrieve("regulatory").owned_by == "ratchet"
    other = issue_key(site.settings, "ward", ["clinical"])
    assert httpx.get(f"{gateway}/v1/models", headers={"Authorization": f"Bearer {other}"}, trust_env=False).json()["data"] == []
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("leases")
    client.close()


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (request("leases"), 403, "not_allowed", "model"),
        (request("nothing"), 403, "not_allowed", "model"),
        (request("regulatory/r99"), 404, "model_not_found", None),
        (request("clinical"), 503, "unavailable", None),
        (request(as_of="June 2014"), 400, "invalid_value", "as_of"),
        (request(as_of="2014-02-30"), 400, "invalid_value", "as_of"),
        ({"model": "regulatory", "messages": []}, 400, "invalid_value", "messages"),
        ({"model": "regulatory", "messages": [{"role": "system", "content": "x"}]}, 400, "invalid_value", "messages"),
        ({"messages": [{"role": "user", "content": "x"}]}, 400, "invalid_value", "model"),
        (request(n=2), 400, "invalid_value", "n"),
        (request(question="x" * 3000), 400, "invalid_value", "messages"),
        (b"{not json", 400, "invalid_value", "body"),
        (b"", 400, "invalid_value", "body"),
        (b"\xff\xfe", 400, "invalid_value", "body"),
        (b'{"model": "' + b"x" * 300_000 + b'"}', 413, "request_too_large", "body"),
    ],
)
def test_errors_have_openais_shape(
    gateway: str, key: str, releases: tuple[str, str], body: Any, status: int, code: str, param: str | None
) -> None:
    response = raw(gateway, key, body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    assert error["message"] and "Traceback" not in error["message"]


def test_keys(gateway: str, key: str, releases: tuple[str, str], site: Any) -> None:
    for wrong in (None, "rk-wrong", ""):
        response = raw(gateway, wrong, request())
        assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    everything = issue_key(site.settings, "auditor", ["*"], pins=True)
    assert raw(gateway, everything, request("nothing")).status_code == 404
    assert raw(gateway, everything, request("unreleased")).status_code == 503


def test_an_unknown_path_has_the_same_shape(gateway: str, key: str) -> None:
    response = httpx.get(f"{gateway}/v1/files", trust_env=False)
    assert response.status_code == 404 and response.json()["error"]["code"] == "not_found"
    assert httpx.get(f"{gateway}/v1/chat/completions", trust_env=False).json()["error"]["code"] == "not_found"


def test_a_candidate_by_name_needs_its_right(gateway: str, key: str, ask: Any, releases: tuple[str, str], site: Any) -> None:
    unreleased = site.candidate("regulatory", 2, adapter=None, state="approved")
    assert raw(gateway, key, request(unreleased)).status_code == 404
    reply = Caller(gateway, site_key(site.settings)).ask(unreleased, site.question)
    assert reply["ratchet"]["release"] == unreleased and reply["choices"][0]["message"]["content"].startswith(site.amounts[2])
    assert ask(site.question).ratchet["release"] == releases[0]
    with pytest.raises(NotFound):
        Caller(gateway, site_key(site.settings)).ask("regulatory/r99", "x")


async def test_a_release_fails_no_request(gateway: str, key: str, releases: tuple[str, str], site: Any) -> None:
    """Continuous traffic while the pointer moves forth and back: every request is answered, and by the release then live."""
    first, second = releases
    site.point("regulatory", first)
    Caller.for_site(site.settings).wait_live("regulatory", first, 10)
    seen: list[tuple[str, str]] = []
    stop = asyncio.Event()
    moved: dict[str, float] = {}

    async with openai.AsyncOpenAI(
        base_url=f"{gateway}/v1", api_key=key, max_retries=0, http_client=httpx.AsyncClient(trust_env=False)
    ) as client:

        async def caller() -> None:
            while not stop.is_set():
                reply = await client.chat.completions.create(model="regulatory", messages=[{"role": "user", "content": site.question}])
                seen.append((reply.ratchet["release"], reply.choices[0].message.content.split()[0]))

        callers = [asyncio.create_task(caller()) for _ in range(4)]
        for live, previous in ((second, first), (first, second), (second, first)):
            count = len(seen)
            began = time.monotonic()
            await asyncio.to_thread(site.point, "regulatory", live, previous=previous)
            while live not in [release for release, _ in seen[count:]]:
                assert time.monotonic() - began < 5
                await asyncio.sleep(0.01)
            moved[live] = time.monotonic() - began
            await asyncio.sleep(0.5)
        stop.set()
        await asyncio.gather(*callers)
    assert {first, second} == {release for release, _ in seen} and len(seen) > 20
    assert set(seen) == {(first, site.amounts[1]), (second, site.amounts[2])}
    assert max(moved.values()) < 2.0
    site.point("regulatory", first)
    Caller.for_site(site.settings).wait_live("regulatory", first, 10)


def test_a_canary_takes_its_share_and_its_faults_reach_nobody(ask: Any, releases: tuple[str, str], site: Any) -> None:
    first, second = releases
    caller = Caller.for_site(site.settings)
    site.point("regulatory", first, canary=second, share=0.5)
    caller.wait_for(second, 10)
    conversations = [f"talk {number}" for number in range(24)]
    seen = [ask(site.question, metadata={"conversation_id": name}).ratchet for name in conversations]
    assert {facts["release"] for facts in seen} == {first, second}
    assert all(facts["canary"] == (facts["release"] == second) for facts in seen)
    # Whoever is on the canary stays there, also when its share rises.
    site.point("regulatory", first, canary=second, share=0.8)
    time.sleep(1)
    later = [ask(site.question, metadata={"conversation_id": name}).ratchet for name in conversations]
    assert all(after["canary"] for before, after in zip(seen, later, strict=True) if before["canary"])
    assert sum(facts["canary"] for facts in later) > sum(facts["canary"] for facts in seen)
    broken = site.candidate("regulatory", 2, prompt_sha256="0" * 64, state="canary")
    site.point("regulatory", first, canary=broken, share=1.0)
    with pytest.raises(Unavailable, match="is not the one"):
        caller.wait_for(broken, 2)
    assert {ask(site.question).ratchet["release"] for _ in range(5)} == {first}
    # One whose engine's answers fail: the caller is answered by the live release, and the log has a line on each.
    too_long = site.candidate("regulatory", 2, policy={"passages": 1, "max_new_tokens": 511}, state="canary")
    site.point("regulatory", first, canary=too_long, share=1.0)
    caller.wait_for(too_long, 10)
    before = len(site.traffic("regulatory"))
    assert ask(site.question).ratchet["release"] == first
    failed, answered = site.traffic("regulatory")[before:]
    assert (failed["release"], failed["canary"], failed["status"]) == (too_long, True, 500)
    assert (answered["release"], answered["canary"], answered["status"]) == (first, False, 200)
    assert failed["request_id"] == answered["request_id"]
    site.point("regulatory", first)
    time.sleep(1)


def test_an_altered_index_never_goes_live(ask: Any, releases: tuple[str, str], site: Any) -> None:
    from pipelines.registry import artifacts
    from pipelines.registry.candidates import get

    first, _ = releases
    spoilt = site.candidate("regulatory", 2)
    index_id = get(site.settings, spoilt).index_id
    (site.settings.artifacts / artifacts.get(site.settings, index_id).path / "facts.json").write_text("{}")
    site.point("regulatory", spoilt, previous=first)
    caller = Caller.for_site(site.settings)
    with pytest.raises(Unavailable, match="altered on disk"):
        caller.wait_live("regulatory", spoilt, 2)
    assert ask(site.question).ratchet["release"] == first
    site.point("regulatory", first)
    caller.wait_live("regulatory", first, 10)


def test_the_log_of_a_public_domain_holds_a_masked_question(ask: Any, releases: tuple[str, str], site: Any) -> None:
    ask("Who signs for jane.doe@example.org, 555-123-4567?", as_of="2014-05-01")
    record = site.traffic("regulatory")[-1]
    assert record["question_masked"] == "Who signs for [CONTACT-1], [CONTACT-2]?"
    assert record["release"] == releases[0] and record["status"] == 200 and record["key"] == "leasing desk"
    assert record["as_of"] == "2014-05-01" and record["sources"] == ["9-2-e"] and record["latency_ms"] > 0
    assert {"at", "request_id", "canary", "tokens_in", "tokens_out", "confidence", "abstained"} <= set(record)


def test_a_public_answer_is_kept_for_review_unless_its_caller_says_no(ask: Any, releases: tuple[str, str], site: Any) -> None:
    kept = ask("Who signs for jane.doe@example.org?", as_of="2014-05-02").id.removeprefix("chatcmpl-")
    not_kept = ask("Who signs for jane.doe@example.org?", as_of="2014-05-03", store=False).id.removeprefix("chatcmpl-")
    deadline = time.monotonic() + 10
    while not (found := samples.find(site.settings, "regulatory", [kept, not_kept])) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert set(found) == {kept}
    sample = found[kept]
    assert sample.question == "Who signs for [CONTACT-1]?" and sample.release == releases[0] and sample.as_of == "2014-05-02"
    assert [passage.key for passage in sample.passages] == ["9-2-e"] and sample.answer
    last = {record["request_id"]: record for record in site.traffic("regulatory")}
    assert last[kept]["stored"] and not last[not_kept].get("stored")
    assert last[kept]["prompt"] == "grounded_extraction/v1" and last[kept]["top_score"] is not None


def test_a_tenant_is_held_back_for_a_while(ask: Any, releases: tuple[str, str], site: Any) -> None:
    from pipelines.state.database import transaction
    from pipelines.state.models import Restraint, now

    tenant = issue_key(site.settings, "loud desk", ["regulatory"])
    with transaction(site.settings) as session:
        held = {"kind": "throttle", "subject": "loud desk", "requests_per_minute": 2, "until": now() + timedelta(minutes=5)}
        session.add(Restraint(domain="regulatory", by="watcher", reason="test", **held))
    url, deadline = f"{site.settings.url('gateway')}", time.monotonic() + 10
    while (answer := raw(url, tenant, request())).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
    assert ask("Who signs?").id, "others are answered as before"


def test_nothing_of_a_private_question_is_written_anywhere(gateway: str, key: str, ask: Any, releases: tuple[str, str], site: Any) -> None:
    live = site.candidate("clinical", 1)
    site.point("clinical", live)
    Caller.for_site(site.settings).wait_live("clinical", live, 10)
    name, before = "Zebulon Quartermaine", len(site.traffic("clinical"))
    ask(f"What is {name}'s threshold?", "clinical")
    raw(gateway, key, request("clinical", name, as_of=name))
    raw(gateway, key, request("clinical", name * 200))
    raw(gateway, key, f'{{"model": "clinical", "messages": "{name}"}}'.encode())
    records = site.traffic("clinical")[before:]
    assert [record["status"] for record in records] == [200, 400] and "question_masked" not in records[0]
    files = [path for path in site.settings.var.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if name.encode() in path.read_bytes() or b"Zebulon" in path.read_bytes()] == []


def test_health_readiness_and_metrics(gateway: str, releases: tuple[str, str]) -> None:
    def get(path: str) -> httpx.Response:
        return httpx.get(f"{gateway}{path}", trust_env=False)

    assert get("/healthz").json() == {"status": "ok"} == get("/health").json()
    ready = get("/readyz")
    assert ready.status_code == 200 and ready.json()["domains"]["regulatory"]["live"] == releases[0]
    text = get("/metrics").text
    assert f'ratchet_requests_total{{canary="false",domain="regulatory",release="{releases[0]}",status="200"}}' in text
    assert "ratchet_pointer_age_seconds" in text and "ratchet_request_seconds_bucket" in text


def test_a_crashed_engine_fails_no_request(ask: Any, releases: tuple[str, str], site: Any, triton_process: Any) -> None:
    stubs = psutil.Process(triton_process.pid).children(recursive=True)
    assert stubs
    for stub in stubs:
        stub.kill()
    time.sleep(0.3)
    found: list[str] = []
    callers = [threading.Thread(target=lambda: found.append(ask(site.question).ratchet["release"])) for _ in range(4)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert found == [releases[0]] * 4


def test_the_caller_says_when_the_gateway_is_down(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        Caller("http://127.0.0.1:9", "x").ask("regulatory", "Jane?")
