"""The cascade over a real Triton: a smaller base beside the domain's engine, and what happens when either is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from outside_server import completion, far_server, gives
from scripted_model import Shelf, passage

from pipelines.errors import Unavailable
from pipelines.serving.answer import LookUp, Parts, conclude, shown
from pipelines.serving.client import Engine, Server
from pipelines.serving.routing import cascade, small
from pipelines.serving.routing.provider import Outside
from pipelines.serving.routing.small import Small
from pipelines.serving_config import Provider, Routing
from pipelines.training.prompt import Prompt

pytestmark = [pytest.mark.slow, pytest.mark.services]

TEXT = "The threshold amount is $53,000 for a consumer lease."
GONE = "engine-000000000000"


@pytest.fixture
async def server(site: Any) -> AsyncIterator[Server]:
    opened = Server(site.settings)
    yield opened
    await opened.close()


@pytest.fixture
def parts(site: Any, engine: Engine) -> Parts:
    prompt = Prompt.load("grounded_extraction/v1", site.settings)
    return Parts(Shelf([]), prompt, "north", 1, 12, "leases/r1", engine.name)  # type: ignore[arg-type]


@pytest.fixture
def tiny(site: Any, engine: Engine) -> Small:
    """The tiny base without its adapter."""
    made = small.prepare(site.settings, Routing(small=str(site.model.base), threshold=0.95))
    assert made is not None
    assert made.engine == engine.name
    assert made.turns
    return made


def found(site: Any, parts: Parts, question: str = "") -> LookUp:
    return shown(question or site.question, (passage("9-2-e", TEXT),), parts.prompt)


async def test_the_smaller_base_answers_what_it_is_sure_of(site: Any, server: Server, parts: Parts, tiny: Small) -> None:
    look_up = found(site, parts)
    said, route = await cascade.generate(look_up, parts, Routing(small="tiny", threshold=0.5), server.generate, small=tiny)
    assert (route, conclude(look_up, said, "2013-06-01", parts, 0.0).answer) == ("small", "$53,000")
    said, route = await cascade.generate(look_up, parts, Routing(small="tiny", threshold=1.0), server.generate, small=tiny)
    assert (route, conclude(look_up, said, "2013-06-01", parts, 0.0).answer) == ("own", "$53,000")


async def test_its_silence_goes_up(site: Any, server: Server, parts: Parts, tiny: Small) -> None:
    look_up = found(site, parts, "What colour is it?")
    said, route = await cascade.generate(look_up, parts, Routing(small="tiny", threshold=0.0), server.generate, small=tiny)
    assert (route, said.text.strip()) == ("own", "not stated")


async def test_a_starter_beside_it_is_an_engine_of_its_own(site: Any, server: Server, parts: Parts) -> None:
    starter = small.prepare(site.settings, Routing(small="models/starter", threshold=0.95))
    assert starter is not None
    assert starter.engine != parts.engine
    Engine(site.settings, starter.engine).load()
    try:
        patient = replace(starter, seconds=60.0)
        look_up = found(site, parts)
        said, route = await cascade.generate(look_up, parts, Routing(small="s", threshold=0.0), server.generate, small=patient)
        assert patient.failures == 0
        assert conclude(look_up, said, "2013-06-01", parts, 0.0).answer == "$53,000"
        assert route in ("small", "own")
    finally:
        Engine(site.settings, starter.engine).unload()


async def test_a_smaller_base_that_is_gone_costs_no_answer(site: Any, server: Server, parts: Parts) -> None:
    gone = Small(GONE)
    _, route = await cascade.generate(found(site, parts), parts, Routing(small="gone", threshold=0.0), server.generate, small=gone)
    assert (route, gone.failures) == ("own", 1)


async def test_an_engine_that_is_gone_asks_the_provider_and_checks_its_answer(site: Any, server: Server, parts: Parts) -> None:
    down = replace(parts, engine=GONE)
    with pytest.raises(Unavailable):
        await cascade.generate(found(site, down), down, Routing(), server.generate)
    async with far_server() as far:
        outside = Outside(site.settings, "leases", Provider(url=far.url, model="far"))
        try:
            for text, answer in (("$53,000 [1]", "$53,000"), ("$99,999 [1]", None)):
                far.answers(gives(completion(text, [-0.1])))
                said, route = await cascade.generate(found(site, down), down, Routing(), server.generate, outside.generate)
                assert (route, conclude(found(site, down), said, "2013-06-01", down, 0.0).answer) == ("provider", answer)
        finally:
            await outside.close()
