"""The provider against a real server that behaves in every way."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from outside_server import Answer, Far, completion, far_server, floods, gives, hangs, hangs_up, trickles

from pipelines.config import Settings, load_domain
from pipelines.errors import ConfigError, NotAllowed, RatchetError, Unavailable
from pipelines.serving.routing import provider as outside
from pipelines.serving.routing.provider import Leak, Outside
from pipelines.serving_config import Provider, Routing
from pipelines.state.database import reading
from pipelines.state.models import AuditEvent

pytestmark = pytest.mark.slow

PROMPT = "[1] The fee is $55.\nQuestion: How high is the fee?\nAnswer:"
GOOD = completion("$55 [1]", [-0.1, -0.3])


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    async with far_server() as server:
        yield server


def provided(settings: Settings, far: Far, **more: Any) -> Outside:
    return Outside(settings, "regulatory", Provider(url=far.url, model="far", **{"seconds": 5.0, **more}))


async def asked(client: Outside, prompt: str = PROMPT) -> Any:
    try:
        return await client.generate(prompt, 48)
    finally:
        await client.close()


async def test_an_answer_with_its_confidence(settings: Settings, far: Far) -> None:
    far.answers(gives(GOOD))
    said = await asked(provided(settings, far))
    assert (said.text, said.tokens_in, said.tokens_out) == ("$55 [1]", 20, 4)
    assert (said.confidence, said.min_logprob) == (pytest.approx(math.exp(-0.2)), -0.3)
    (body,) = far.asked
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][1]["content"] == PROMPT
    assert {name: body[name] for name in ("model", "max_tokens", "temperature", "stream", "logprobs")} == {
        "model": "far", "max_tokens": 48, "temperature": 0, "stream": False, "logprobs": True,
    }  # fmt: skip


async def test_without_token_probabilities_nothing_is_sure(settings: Settings, far: Far) -> None:
    far.answers(gives(completion("$55 [1]")))
    assert (await asked(provided(settings, far))).confidence == 0.0


@pytest.mark.parametrize("status", [400, 422])
async def test_an_endpoint_that_knows_no_logprobs_is_asked_without_from_then_on(settings: Settings, far: Far, status: int) -> None:
    far.answers(gives({"error": "logprobs"}, status), gives(completion("$55 [1]")))
    client = provided(settings, far)
    assert (await client.generate(PROMPT, 48)).text == "$55 [1]"
    await asked(client)
    assert ["logprobs" in body for body in far.asked] == [True, False, False]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_one_more_try_where_it_is_busy_or_broken(settings: Settings, far: Far, status: int) -> None:
    far.answers(gives({}, status), gives(GOOD))
    assert (await asked(provided(settings, far))).text == "$55 [1]"
    assert len(far.asked) == 2


async def test_but_no_third(settings: Settings, far: Far) -> None:
    far.answers(gives({}, 500))
    with pytest.raises(Unavailable, match="HTTP 500"):
        await asked(provided(settings, far))
    assert len(far.asked) == 2


async def test_whoever_asks_for_more_patience_than_there_is_gets_none(settings: Settings, far: Far) -> None:
    far.answers(gives({}, 429, {"Retry-After": "60"}))
    with pytest.raises(Unavailable, match="patience"):
        await asked(provided(settings, far))
    assert len(far.asked) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (hangs, "within 0.4 s"),
        (trickles, "within 0.4 s"),
        (floods, "more than 256 KiB"),
        (hangs_up, "does not answer"),
        (gives(b"I am sorry, I can only write prose."), "no chat completion"),
        (gives(b"\xff\xfe{}"), "no chat completion"),
        (gives(b"[" * 100_000), "no chat completion"),
        (gives({"choices": []}), "no chat completion"),
        (gives({"choices": {"0": "$55 [1]"}}), "no chat completion"),
        (gives({"choices": [{"message": {"content": None}}]}), "no chat completion"),
        (gives(completion("x" * 8_001)), "no chat completion"),
        (gives(completion("$55 [1]", [0.5])), "no chat completion"),
        (gives(b'{"choices":[{"message":{"content":"a"},"logprobs":{"content":[{"logprob":-1e999}]}}]}'), "no chat completion"),
        (gives(completion("$55 [1]", usage={"prompt_tokens": -1})), "no chat completion"),
        (gives({}, 401), "HTTP 401"),
        (gives({}, 302, {"Location": "http://127.0.0.1:1/v1/chat/completions"}), "HTTP 302"),
        (gives({}, 307, {"Location": "/v1/elsewhere"}), "HTTP 307"),
    ],
)
async def test_whatever_else_it_does_is_unavailable(settings: Settings, far: Far, answer: Answer, words: str) -> None:
    far.answers(answer)
    with pytest.raises(Unavailable, match=words) as caught:
        await asked(provided(settings, far, seconds=0.4 if "within" in words else 5.0))
    assert "prose" not in str(caught.value)


async def test_nobody_there(settings: Settings, far: Far) -> None:
    client = Outside(settings, "regulatory", Provider(url="http://127.0.0.1:9/v1", model="far"))
    with pytest.raises(Unavailable, match="does not answer"):
        await asked(client)


async def test_the_key_comes_from_the_environment_and_from_nowhere_else(
    settings: Settings, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.answers(gives(GOOD))
    monkeypatch.setenv("OPENAI_API_KEY", "not this one")
    await asked(provided(settings, far))
    monkeypatch.setenv("FAR_KEY", "secret")
    await asked(provided(settings, far, api_key_env="FAR_KEY"))
    assert [headers.get("Authorization") for headers in far.headers] == [None, "Bearer secret"]


@pytest.mark.parametrize("value", [None, " ", "a\nb", "geheim\u00fc"])
async def test_without_a_usable_key_nothing_is_sent(
    settings: Settings, far: Far, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    far.answers(gives(GOOD))
    monkeypatch.delenv("FAR_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("FAR_KEY", value)
    with pytest.raises(ConfigError, match="FAR_KEY"):
        await asked(provided(settings, far, api_key_env="FAR_KEY"))
    assert far.asked == []


@pytest.mark.parametrize(
    "identifier",
    [
        "anna.meier@example.org",
        "anna.meier\uff20example.org",
        "anna\u200b.meier\u200b@\u200bexample.org",
        "123-45-6789",
        "\u0661\u0662\u0663-\u0664\u0665-\u0666\u0667\u0668\u0669",
        "(212) 555-0187",
        "+41 44 668 18 00",
        "DE89 3704 0044 0532 0130 00",
        "4111 1111 1111 1111",
    ],
)
async def test_a_direct_identifier_stays_and_is_audited(settings: Settings, far: Far, identifier: str) -> None:
    far.answers(gives(GOOD))
    with pytest.raises(Leak) as caught:
        await asked(provided(settings, far), PROMPT.replace("fee?", f"fee of {identifier} ?"))
    assert far.asked == []
    with reading(settings) as session:
        (event,) = session.query(AuditEvent).filter(AuditEvent.action == "provider.refused")
        assert (event.subject, event.allowed, event.detail["identifiers"]) == ("regulatory", False, 1)
        assert identifier not in f"{event.detail} {caught.value}"


async def test_amounts_years_and_section_numbers_leave(settings: Settings, far: Far) -> None:
    far.answers(gives(GOOD))
    prompt = "[1] From January 1, 2014, under 12 CFR 1013.2(e)(9)-1, it is $53,500.\nQuestion: [NAME-1] asks: how much in 2014?\nAnswer:"
    await asked(provided(settings, far), prompt)
    assert far.asked[0]["messages"][1]["content"] == prompt


async def test_a_patients_code_stays(settings: Settings, far: Far) -> None:
    far.answers(gives(GOOD))
    await asked(provided(settings, far), "[1] [PATIENT-0a1b2c3d] takes aspirin.\nQuestion: What does [PATIENT-0a1b2c3d] take?\nAnswer:")
    assert far.asked[0]["messages"][1]["content"].count("[PATIENT]") == 2
    assert "0a1b2c3d" not in str(far.asked)


@pytest.mark.parametrize(
    ("url", "kind", "words"),
    [
        ("http://models.example.org/v1", ConfigError, "unencrypted"),
        ("https://user:word@models.example.org/v1", ConfigError, "more than an address"),
        ("https://models.example.org/v1?key=1", ConfigError, "more than an address"),
        ("https:///v1", ConfigError, "no host"),
        ("https://models.example.org:99999/v1", ConfigError, "no address"),
    ],
)
def test_an_address_that_text_may_not_go_to(url: str, kind: type[RatchetError], words: str) -> None:
    fault = outside.refused(Routing(provider=Provider(url=url, model="far"), text_may_leave=True))
    assert isinstance(fault, kind)
    assert words in str(fault)


@pytest.mark.parametrize("url", ["https://models.example.org/v1", "http://127.0.0.1:5000/gateway/mlflow/v1", "http://localhost:7000/v1"])
def test_an_address_that_it_may_go_to(url: str) -> None:
    assert outside.refused(Routing(provider=Provider(url=url, model="far"), text_may_leave=True)) is None


def test_a_configuration_made_past_its_validators_sends_nothing(settings: Settings) -> None:
    domain = load_domain("clinical", settings)
    assert outside.of(settings, domain) is None
    routing = Routing().model_copy(update={"provider": Provider(url="https://models.example.org/v1", model="far")})
    with pytest.raises(NotAllowed, match="may not leave"):
        outside.of(settings, domain.model_copy(update={"serving": domain.serving.model_copy(update={"routing": routing})}))


def test_a_provider_of_a_domain_whose_text_may_leave(settings: Settings) -> None:
    domain = load_domain("regulatory", settings)
    routing = Routing(provider=Provider(url="https://models.example.org/v1", model="far"), text_may_leave=True)
    found = outside.of(settings, domain.model_copy(update={"serving": domain.serving.model_copy(update={"routing": routing})}))
    assert found is not None
    assert (found.domain, found.provider.model) == ("regulatory", "far")
