"""What the fleet decides when instances fail, come back, hang or crash: instances that do as a test says. Real ones: test_fleet_triton."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import select

from pipelines.config import Settings, TritonInstance
from pipelines.errors import BadInput, RatchetError, Unavailable
from pipelines.serving import fleet as module
from pipelines.serving import mending, places
from pipelines.serving.exchange import Ask, EngineCrashed, Generated
from pipelines.serving.fleet import Fleet, Place, drain_file
from pipelines.serving.metrics import Metrics
from pipelines.state.database import migrate, reading
from pipelines.state.models import AuditEvent

ASK = Ask("[1] Hello.\nQuestion: Who?\nAnswer:")
DOWN = Unavailable("Triton does not answer")


class Instance:
    """Answers with its own name; whatever a test puts into `fault` is raised instead, `hangs` for ever."""

    def __init__(self, _settings: Settings, instance: TritonInstance | None) -> None:
        self.name = instance.http if instance else "own"
        self.fault: RatchetError | None = None
        self.request_fault: RatchetError | None = None
        """Of requests only: probes go well."""
        self.load_fault: RatchetError | None = None
        self.load_seconds = 0.0
        self.mend_fault: RatchetError | None = None
        self.hangs = False
        self.after = 0
        """Pieces of a stream before its fault."""
        self.calls: Counter[str] = Counter()
        self.closed_streams = 0

    async def _answer(self, kind: str) -> None:
        self.calls[kind] += 1
        await asyncio.sleep(0)
        if self.hangs:
            await asyncio.sleep(3600)
        if self.fault is not None:
            raise self.fault

    async def generate(self, engine: str, ask: Ask) -> Generated:
        await self._answer("generate")
        if self.request_fault is not None:
            raise self.request_fault
        return Generated(self.name, 1, 1, 1.0)

    async def stream(self, engine: str, ask: Ask) -> AsyncIterator[str | Generated]:
        try:
            pieces = ["", self.name, " says", " so"]
            for number, piece in enumerate(pieces):
                if number >= self.after:
                    await self._answer("stream")
                yield piece
            yield Generated("".join(pieces), 1, 3, 1.0)
        finally:
            self.closed_streams += 1

    async def ready(self) -> bool:
        return not isinstance(self.fault, Unavailable) or isinstance(self.fault, EngineCrashed)

    async def ensure_loaded(self, engine: str) -> None:
        self.calls["load"] += 1
        await asyncio.sleep(self.load_seconds)
        if self.load_fault is not None:
            raise self.load_fault
        if self.fault is not None and not isinstance(self.fault, EngineCrashed):
            raise self.fault

    async def probe(self, engine: str) -> float:
        await self._answer("probe")
        return 0.01

    async def mend(self, engine: str) -> None:
        self.calls["mend"] += 1
        await asyncio.sleep(0.02)
        if self.mend_fault is not None:
            raise self.mend_fault
        self.fault = None

    async def close(self) -> None:
        self.calls["close"] += 1


def crashed() -> EngineCrashed:
    return EngineCrashed("the engine's process is gone")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for where, name, value in (
        (module, "IDLE_SECONDS", 0.05),
        (module, "LOOK_SECONDS", 0.01),
        (places, "PROBE_SECONDS", 0.3),
        (places, "FIRST_BACK_OFF", 0.05),
    ):
        monkeypatch.setattr(where, name, value)


def made(settings: Settings, count: int = 3) -> Fleet:
    tritons = tuple(TritonInstance(http=f"t{number}:8000", grpc=f"t{number}:8001") for number in range(count))
    changed = settings.model_copy(update={"tritons": tritons if count > 1 else ()})
    return Fleet(changed, Metrics(changed), serve=Instance)  # type: ignore[arg-type]


def of(place: Place) -> Instance:
    assert isinstance(place.server, Instance)
    return place.server


@asynccontextmanager
async def supervised(fleet: Fleet) -> AsyncIterator[Fleet]:
    task = asyncio.create_task(fleet.supervise())
    try:
        yield fleet
    finally:
        assert not task.done() or task.result() is None, "the watch never ends by itself"
        task.cancel()
        await fleet.close()


async def until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def events(settings: Settings) -> list[tuple[str, str]]:
    with reading(settings) as session:
        rows = session.scalars(select(AuditEvent).where(AuditEvent.actor == "gateway").order_by(AuditEvent.seq))
        return [(row.action, row.subject) for row in rows]


def counted(fleet: Fleet, name: str) -> list[str]:
    assert fleet._metrics is not None
    return [line for line in fleet._metrics.render().decode().splitlines() if line.startswith(name)]


# --- who answers --------------------------------------------------------------------------------------------------------


async def test_a_conversation_has_its_instance_and_a_lost_one_moves_only_its_own(settings: Settings) -> None:
    fleet = made(settings)
    names = [f"conversation {number}" for number in range(3000)]
    before = {name: (await fleet.generate("e", ASK, conversation=name)).text for name in names}
    assert {name: (await fleet.generate("e", ASK, conversation=name)).text for name in names} == before
    assert all(900 < count < 1100 for count in Counter(before.values()).values()), "even, within a tenth"
    fleet.places[1].out_until = time.monotonic() + 3600
    after = {name: (await fleet.generate("e", ASK, conversation=name)).text for name in names}
    assert {name for name in names if before[name] != after[name]} == {name for name in names if before[name] == "t1:8000"}
    assert Counter(after.values()).keys() == {"t0:8000", "t2:8000"}


async def test_one_instance_is_the_sites_own(settings: Settings) -> None:
    fleet = made(settings, 1)
    assert [place.name for place in fleet.places] == [settings.url("triton_http").removeprefix("http://")]
    told: list[str] = []
    assert (await fleet.generate("e", ASK, told=told.append)).text == "own" and told == [fleet.places[0].name]


# --- repeating ----------------------------------------------------------------------------------------------------------


async def test_what_failed_is_asked_once_more_elsewhere(settings: Settings) -> None:
    fleet = made(settings)
    first, second, third = fleet.order("c")
    of(first).fault = DOWN
    told: list[str] = []
    assert (await fleet.generate("e", ASK, conversation="c", told=told.append)).text == second.name and told == [second.name]
    of(second).fault = DOWN
    with pytest.raises(Unavailable):
        await fleet.generate("e", ASK, conversation="c")
    assert of(third).calls == {}, "once, not until one answers"
    assert counted(fleet, "ratchet_requests_repeated_total") == [f'ratchet_requests_repeated_total{{instance="{first.name}"}} 2.0']


@pytest.mark.parametrize("fault", [BadInput("the prompt is too long"), RatchetError("the adapter cannot be used")])
async def test_what_would_fail_anywhere_is_not_repeated(settings: Settings, fault: RatchetError) -> None:
    fleet = made(settings)
    of(fleet.order("c")[0]).fault = fault
    with pytest.raises(type(fault)):
        await fleet.generate("e", ASK, conversation="c")
    with pytest.raises(type(fault)):
        _ = [piece async for piece in fleet.stream("e", ASK, conversation="c")]
    assert sum(sum(of(place).calls.values()) for place in fleet.places) == 2
    assert not fleet.order("c")[0].failures


async def test_a_stream_begins_again_only_while_no_text_came(settings: Settings) -> None:
    fleet = made(settings)
    first, second, _ = fleet.order("c")
    of(first).fault, of(first).after = DOWN, 1  # after an empty piece, which is no text
    pieces = [piece async for piece in fleet.stream("e", ASK, conversation="c")]
    assert pieces == [second.name, " says", " so", Generated(f"{second.name} says so", 1, 3, 1.0)]
    of(first).after = 2
    heard: list[str | Generated] = []
    with pytest.raises(Unavailable):
        async for piece in fleet.stream("e", ASK, conversation="c"):
            heard.append(piece)
    assert heard == [first.name], "nothing is said twice"


async def test_closing_a_stream_closes_the_instances(settings: Settings) -> None:
    fleet = made(settings)
    stream = fleet.stream("e", ASK, conversation="c")
    await anext(stream)
    assert fleet.states()[fleet.places.index(fleet.order("c")[0])]["in_flight"] == 1
    await stream.aclose()
    assert of(fleet.order("c")[0]).closed_streams == 1
    assert [state["in_flight"] for state in fleet.states()] == [0, 0, 0]


async def test_repeats_have_a_budget(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPEATS", 5.0)
    fleet = made(settings)
    for place in fleet.places:
        of(place).request_fault = Unavailable("the queue is full")
    for number in range(100):
        with pytest.raises(Unavailable):
            await fleet.generate("e", ASK, conversation=str(number))
    asked = sum(of(place).calls["generate"] for place in fleet.places)
    assert 100 + 5 <= asked <= 100 + 5 + 21, "a fifth more, not twice as much"


# --- out, and back ------------------------------------------------------------------------------------------------------


async def test_an_instance_that_is_down_is_out_and_comes_back_loaded(settings: Settings) -> None:
    async with supervised(made(settings)) as fleet:
        first = fleet.order("c")[0]
        of(first).fault = DOWN
        for _ in range(places.FAILURES):
            await fleet.generate("e", ASK, conversation="c")
        await until(lambda: first.out_until)
        assert fleet.states()[fleet.places.index(first)]["in_use"] is False
        assert f'ratchet_instance_up{{instance="{first.name}"}} 0.0' in counted(fleet, "ratchet_instance_up")
        asked = of(first).calls["generate"]
        for _ in range(50):
            await fleet.generate("e", ASK, conversation="c")
        assert of(first).calls["generate"] == asked, "it is not asked any more"
        await until(lambda: first.back_off > 0.15)  # doubled while it stays away
        of(first).fault, of(first).calls["load"], of(first).calls["probe"] = None, 0, 0
        await until(lambda: not first.out_until)
        assert of(first).calls["load"] >= 1 and of(first).calls["probe"] >= 1, "loaded and tried before the first request"
        assert (await fleet.generate("e", ASK, conversation="c")).text == first.name
        assert f'ratchet_instance_up{{instance="{first.name}"}} 1.0' in counted(fleet, "ratchet_instance_up")


async def test_all_out_is_said_at_once(settings: Settings) -> None:
    async with supervised(made(settings)) as fleet:
        for place in fleet.places:
            of(place).fault = DOWN
        while not all(place.out_until for place in fleet.places):
            with pytest.raises(Unavailable):
                await fleet.generate("e", ASK, conversation=str(time.monotonic()))
        before = sum(of(place).calls["generate"] for place in fleet.places)
        for work in (fleet.generate("e", ASK), fleet.probe("e"), fleet.ensure_loaded("e")):
            with pytest.raises(Unavailable, match="no Triton answers"):
                await work
        with pytest.raises(Unavailable, match="no Triton answers"):
            await anext(fleet.stream("e", ASK))
        assert not await fleet.ready()
        assert sum(of(place).calls["generate"] for place in fleet.places) == before


async def test_a_hung_instance_is_found_while_it_is_idle(settings: Settings) -> None:
    async with supervised(made(settings)) as fleet:
        await fleet.ensure_loaded("e")
        of(fleet.places[1]).hangs = True
        await until(lambda: fleet.places[1].out_until)
        assert [bool(place.out_until) for place in fleet.places] == [False, True, False]


async def test_an_engine_that_takes_its_time_to_load_puts_no_instance_out(settings: Settings) -> None:
    async with supervised(made(settings)) as fleet:
        for place in fleet.places:
            of(place).load_seconds = 6 * module.IDLE_SECONDS
        await fleet.ensure_loaded("e")
        assert not any(of(place).calls["probe"] for place in fleet.places), "it is not tried before it can answer"
        await until(lambda: all(of(place).calls["probe"] for place in fleet.places))


async def test_an_instance_that_is_drained_ends_what_it_began_and_begins_nothing(settings: Settings) -> None:
    async with supervised(made(settings)) as fleet:
        first = fleet.order("c")[0]
        stream = fleet.stream("e", ASK, conversation="c")
        assert await anext(stream) == first.name
        file = drain_file(settings, first.name)
        file.parent.mkdir(parents=True)
        file.touch()
        await until(lambda: first.draining)
        assert (await fleet.generate("e", ASK, conversation="c")).text != first.name
        assert [piece async for piece in stream][-1] == Generated(f"{first.name} says so", 1, 3, 1.0)
        assert first.in_flight == 0 and not fleet.states()[fleet.places.index(first)]["in_use"]
        file.unlink()
        await until(lambda: not first.draining)
        assert (await fleet.generate("e", ASK, conversation="c")).text == first.name


async def test_on_a_host_that_is_slow_the_last_instance_stays(settings: Settings) -> None:
    async with supervised(made(settings, 2)) as fleet:
        await fleet.ensure_loaded("e")
        for place in fleet.places:
            of(place).hangs = True
        await until(lambda: any(place.out_until for place in fleet.places))
        await asyncio.sleep(3 * places.PROBE_SECONDS)
        assert sum(bool(place.out_until) for place in fleet.places) == 1


async def test_a_release_that_fails_everywhere_takes_no_instance_away(settings: Settings) -> None:
    async with supervised(made(settings)) as fleet:
        for place in fleet.places:
            of(place).request_fault = Unavailable("the engine failed on this adapter")
        for number in range(30):
            with pytest.raises(Unavailable):
                await fleet.generate("e", ASK, conversation=str(number))
        await until(lambda: not any(place.suspect for place in fleet.places))
        assert not any(place.out_until for place in fleet.places), "a real inference went well"


# --- crashed ------------------------------------------------------------------------------------------------------------


async def test_a_crash_of_the_only_instance_fails_no_request_and_is_mended_once(settings: Settings) -> None:
    migrate(settings)
    fleet = made(settings, 1)
    of(fleet.places[0]).fault = crashed()
    answers = await asyncio.gather(*(fleet.generate("e", ASK, conversation=str(number)) for number in range(20)))
    assert {answer.text for answer in answers} == {"own"} and of(fleet.places[0]).calls["mend"] == 1
    await until(lambda: events(settings))
    assert events(settings) == [("engine.mended", f"{fleet.places[0].name}/e")]
    assert counted(fleet, "ratchet_engine_mended_total")[0].endswith('outcome="mended"} 1.0')
    await fleet.close()


async def test_a_crash_is_mended_while_another_instance_answers(settings: Settings) -> None:
    migrate(settings)
    fleet = made(settings)
    first, second, _ = fleet.order("c")
    of(first).fault = crashed()
    pieces = [piece async for piece in fleet.stream("e", ASK, conversation="c")]
    assert pieces[0] == second.name
    assert (await fleet.generate("e", ASK, conversation="c")).text in (first.name, second.name)
    await until(lambda: not first.broken)
    assert (await fleet.generate("e", ASK, conversation="c")).text == first.name
    await fleet.close()


async def test_a_crash_nobody_asked_is_found_by_a_real_inference(settings: Settings) -> None:
    migrate(settings)
    async with supervised(made(settings)) as fleet:
        await fleet.ensure_loaded("e")
        of(fleet.places[2]).fault = crashed()
        await until(lambda: of(fleet.places[2]).calls["mend"] == 1 and not fleet.places[2].broken)


async def test_two_gateways_mend_one_crash_once(settings: Settings) -> None:
    migrate(settings)
    fleets = [made(settings, 1), made(settings, 1)]
    fleets[1].places[0].server = fleets[0].places[0].server
    of(fleets[0].places[0]).fault = crashed()
    await asyncio.gather(*(fleet.generate("e", ASK) for fleet in fleets))
    assert of(fleets[0].places[0]).calls["mend"] == 1
    for fleet in fleets:
        await fleet.close()


async def test_an_engine_that_cannot_be_mended_is_lost_loudly_and_tried_on(settings: Settings) -> None:
    migrate(settings)
    async with supervised(made(settings, 1)) as fleet:
        [place] = fleet.places
        of(place).fault, of(place).mend_fault = crashed(), Unavailable("it does not load")
        with pytest.raises(Unavailable):
            await fleet.generate("e", ASK)
        await until(lambda: events(settings))
        assert events(settings) == [("engine.lost", f"{place.name}/e")] and of(place).calls["mend"] >= mending.TRIES
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await fleet.generate("e", ASK)
        assert time.monotonic() - began < module.MEND_SECONDS / 2, "nobody waits for what was tried in vain"
        of(place).mend_fault = None
        await until(lambda: len(events(settings)) == 2)
        assert events(settings)[1][0] == "engine.mended"
        assert (await fleet.generate("e", ASK)).text == "own"


async def test_a_database_that_is_away_holds_up_no_mending(settings: Settings) -> None:
    fleet = made(settings.model_copy(update={"database_url": "sqlite:////nowhere/at/all.db"}), 1)
    of(fleet.places[0]).fault = crashed()
    assert (await fleet.generate("e", ASK)).text == "own"
    await fleet.close()


# --- loading ------------------------------------------------------------------------------------------------------------


async def test_an_engine_is_loaded_everywhere_and_one_that_cannot_have_it_is_not_asked(settings: Settings) -> None:
    fleet = made(settings)
    first = fleet.order("c")[0]
    of(first).load_fault = Unavailable("out of memory")
    await fleet.ensure_loaded("e")
    assert [of(place).calls["load"] for place in fleet.places] == [1, 1, 1]
    assert (await fleet.generate("e", ASK, conversation="c")).text != first.name
    assert (await fleet.generate("other", ASK, conversation="c")).text == first.name, "for another engine it is as good as ever"
    of(first).load_fault = None
    await fleet.ensure_loaded("e")
    assert (await fleet.generate("e", ASK, conversation="c")).text == first.name
    for place in fleet.places:
        of(place).load_fault = Unavailable("out of memory")
    with pytest.raises(Unavailable, match="out of memory"):
        await fleet.ensure_loaded("e")


async def test_closing_closes_every_instance(settings: Settings) -> None:
    fleet = made(settings)
    await fleet.close()
    assert [of(place).calls["close"] for place in fleet.places] == [1, 1, 1]
