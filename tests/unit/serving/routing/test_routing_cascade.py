"""Who answers: rules, the smaller base, the domain's own engine, the provider. And that the gate measures what serves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_model import Shelf, cell, passage

from pipelines.config import Settings
from pipelines.errors import BadInput, RatchetError, Unavailable
from pipelines.evaluation.cases import GOLDENS, Asked, Case
from pipelines.serving import asking
from pipelines.serving.answer import LookUp, Parts, shown
from pipelines.serving.exchange import Ask, EngineCrashed, Generated
from pipelines.serving.generations import Generations
from pipelines.serving.routing import cascade, measured, small
from pipelines.serving.routing.small import Small
from pipelines.serving_config import Routing

FEE = passage("p-1", "since 2014 the fee is $55")
ROUTING = Routing(small="tiny", threshold=0.9)
RIGHT = Generated(" $55 [1]", 10, 3, 0.95)


@pytest.fixture
def parts(settings: Settings) -> Parts:
    return replace(cell(settings, "r1", Shelf([FEE]), "north").parts, engine="engine-own", adapter_sha256="ab")


def found(parts: Parts, question: str = "How high is the fee in 2014?") -> LookUp:
    return shown(question, (FEE,), parts.prompt)


class Site:
    """Engines that say or raise what they are told to, and remember what they were asked."""

    def __init__(self, tiny: Any = RIGHT, own: Any = Generated(" $55 [1]", 10, 3, 0.5), far: Any = None) -> None:
        self.says = {"engine-tiny": tiny, "engine-own": own, "far": far}
        self.asked: list[tuple[str, Any]] = []

    async def engine(self, name: str, ask: Ask) -> Generated:
        return await self._said(name, ask)

    async def provider(self, prompt: str, max_tokens: int) -> Generated:
        return await self._said("far", (prompt, max_tokens))

    async def _said(self, name: str, ask: Any) -> Generated:
        self.asked.append((name, ask))
        said = self.says[name]
        if isinstance(said, Exception):
            raise said
        if callable(said):
            return await said()  # type: ignore[no-any-return]
        assert isinstance(said, Generated)
        return said

    @property
    def order(self) -> list[str]:
        return [name for name, _ in self.asked]


async def routed(site: Site, parts: Parts, look_up: LookUp | None = None, **more: Any) -> tuple[Generated, str]:
    tiny = more.pop("small", None) or Small("engine-tiny")
    provider: Callable[[str, int], Awaitable[Generated]] | None = site.provider if site.says["far"] is not None else None
    return await cascade.generate(look_up or found(parts), parts, more.pop("routing", ROUTING), site.engine, provider, small=tiny, **more)


async def test_an_easy_question_is_the_smaller_bases(parts: Parts) -> None:
    site = Site()
    assert await routed(site, parts) == (RIGHT, "small")
    ((name, ask),) = site.asked
    assert (name, ask) == ("engine-tiny", Ask(found(parts).prompt, "", 48, False))


@pytest.mark.parametrize(
    "tiny",
    [
        Generated(" not stated", 10, 3, 0.99),
        Generated(" $55 [1]", 10, 3, 0.899),
        Generated(" $56 [1]", 10, 3, 0.99),
        Generated(" $55", 10, 3, 0.99),
        Generated(" $55 [7]", 10, 3, 0.99),
        Generated(" $55 [1]", 10, 3, float("nan")),
        Generated("", 0, 0, 1.0),
        BadInput("prompt: too long"),
        EngineCrashed("gone"),
        Unavailable("down"),
        RatchetError("the adapter cannot be used"),
        ZeroDivisionError("a fault of ours"),
    ],
    ids=repr,
)
async def test_whatever_is_not_a_sure_and_checked_answer_goes_up(parts: Parts, tiny: Any) -> None:
    site = Site(tiny)
    said, route = await routed(site, parts)
    assert (said.confidence, route, site.order) == (0.5, "own", ["engine-tiny", "engine-own"])
    assert site.asked[1][1] == Ask(found(parts).prompt, "north", 48, False, "ab")


async def test_a_smaller_base_that_hangs_is_not_waited_for(parts: Parts) -> None:
    async def never() -> Generated:
        await asyncio.sleep(3600)
        raise AssertionError

    site = Site(never)
    tiny = Small("engine-tiny", seconds=0.05)
    for _ in range(small.FAILURES + 2):
        assert (await routed(site, parts, small=tiny))[1] == "own"
    assert site.order.count("engine-tiny") == small.FAILURES, "then it rests"
    assert tiny.resting


async def test_it_is_asked_again_after_its_rest(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "REST_SECONDS", 0.0)
    site, tiny = Site(Unavailable("down")), Small("engine-tiny")
    for _ in range(small.FAILURES + 2):
        await routed(site, parts, small=tiny)
    assert site.order.count("engine-tiny") == small.FAILURES + 2
    site.says["engine-tiny"] = RIGHT
    assert (await routed(site, parts, small=tiny))[1] == "small"
    assert tiny.failures == 0


async def test_a_long_prompt_is_no_failure_of_it(parts: Parts) -> None:
    site, tiny = Site(BadInput("prompt: too long")), Small("engine-tiny")
    for _ in range(small.FAILURES + 2):
        await routed(site, parts, small=tiny)
    assert not tiny.resting


async def test_a_caller_that_leaves_stops_the_work(parts: Parts) -> None:
    stopped = asyncio.Event()

    async def slow() -> Generated:
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()
        raise AssertionError

    site = Site(slow)
    task = asyncio.create_task(routed(site, parts))
    while not site.asked:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stopped.is_set()
    assert site.order == ["engine-tiny"]


@pytest.mark.parametrize(
    ("question", "chat", "turns", "reason"),
    [
        ("How high is the fee in 2014?", False, False, None),
        ("How high is the fee?", False, False, None),
        (" ".join(["fee"] * 40), False, False, None),
        (" ".join(["fee"] * 41), False, False, "41 words"),
        ("How high is the fee in 2015?", False, False, "no passage speaks"),
        ("How high is the fee in 2014?", True, False, "in turns"),
        ("How high is the fee in 2014?", True, True, None),
    ],
)
async def test_rules_come_first(parts: Parts, question: str, chat: bool, turns: bool, reason: str | None) -> None:
    parts = replace(parts, chat=chat)
    told = cascade.up_at_once(found(parts, question), parts, ROUTING, turns=turns)
    assert told is None if reason is None else told is not None and reason in told
    site = Site()
    assert (await routed(site, parts, found(parts, question), small=Small("engine-tiny", turns)))[1] == (
        "small" if reason is None else "own"
    )
    assert site.order == (["engine-tiny"] if reason is None else ["engine-own"])


def test_without_a_passage_nobody_small_is_asked(parts: Parts) -> None:
    assert cascade.up_at_once(LookUp("What?", (), ""), parts, ROUTING, turns=True) == "there is no passage"


async def test_without_a_smaller_base_it_is_the_domains_engine(parts: Parts) -> None:
    site = Site()
    assert (await cascade.generate(found(parts), parts, Routing(), site.engine))[1] == "own"
    assert site.order == ["engine-own"]


async def test_a_low_confidence_that_the_domain_withholds_goes_up_too(parts: Parts) -> None:
    site = Site()
    assert (await routed(site, replace(parts, min_confidence=0.97)))[1] == "own"


@pytest.mark.parametrize("error", [Unavailable("down"), EngineCrashed("gone")])
async def test_the_provider_answers_where_the_engine_fails(parts: Parts, error: Exception) -> None:
    far = Generated("$55 [1]", 20, 4, 0.0)
    site = Site(Unavailable("down"), error, far)
    assert await routed(site, parts) == (far, "provider")
    assert site.asked[-1] == ("far", (found(parts).prompt, 48))


@pytest.mark.parametrize("error", [BadInput("prompt: too long"), RatchetError("the adapter was altered")])
async def test_a_fault_of_the_request_or_of_the_parts_never_leaves(parts: Parts, error: RatchetError) -> None:
    site = Site(Unavailable("down"), error, Generated("$55 [1]", 20, 4, 0.0))
    with pytest.raises(type(error), match=error.what):
        await routed(site, parts)
    assert "far" not in site.order


async def test_no_provider_leaves_the_engines_error(parts: Parts) -> None:
    with pytest.raises(Unavailable, match="down"):
        await routed(Site(Unavailable("tiny"), Unavailable("down")), parts)


async def test_a_provider_that_fails_too_leaves_the_engines_error(parts: Parts) -> None:
    with pytest.raises(Unavailable, match="down") as caught:
        await routed(Site(Unavailable("tiny"), Unavailable("down"), Unavailable("far")), parts)
    assert str(caught.value.__cause__) == "far"


class Both:
    """Two engines of the gate: what each says is drawn from the question, so that every route comes up."""

    def __init__(self, tiny: bool) -> None:
        self.tiny = tiny

    def generate(self, prompts: Any, adapter: str = "", max_tokens: int = 48, chat: bool = False, *_: Any) -> list[Generated]:
        return [self.said(prompt) for prompt in prompts]

    def said(self, prompt: str) -> Generated:
        number = int(prompt.split("number ")[1].split(" ")[0])
        text = (f" ${number} [1]", " not stated", f" ${number + 1} [1]", " prose")[number % 4 if self.tiny else number % 5 % 2]
        if self.tiny and number % 11 == 0:
            raise BadInput("prompt: too long")
        return Generated(text, 10, 3, (number * 37 % 100) / 100)

    def ready(self) -> bool:
        return True

    def mend(self) -> None:
        raise AssertionError


async def test_the_gate_measures_what_serves(settings: Settings, tmp_path: Path) -> None:
    passages = [passage(f"p-{n}", f"number {n} costs ${n}" + (" in 2014" if n % 7 == 0 else "")) for n in range(60)]
    asked = [
        Asked(GOLDENS, Case(id=str(n), question=f"number {n} costs what" + (" in 2014?" if n % 3 == 0 else "?"), answer=f"${n}",
                            cites=f"p-{n}", author="a", reviewer="b"), "2015-01-01")
        for n in range(60)
    ]  # fmt: skip

    class Exact(Shelf):
        def search(self, question: str, *, as_of: str, k: int, **_: Any) -> Any:
            return [self.passages[int(question.split()[1])]]

        every_role = frozenset[str]()

    tiny = Small("engine-tiny")
    own = cell(settings, "r1", Exact(passages), "north")
    cheap = measured.small_cell(own, tiny)
    engines: dict[str, Any] = {"engine-1": Both(tiny=False), "engine-tiny": Both(tiny=True)}
    told = asking.ask([own, cheap], asked, Generations(tmp_path / "g.sqlite"), engines)
    replies = measured.replies(asked, told[cheap.name], told[own.name], own.parts, ROUTING, turns=False)

    async def engine(name: str, ask: Ask) -> Generated:
        return engines[name].generate([ask.prompt])[0]  # type: ignore[no-any-return]

    routes = []
    for one in asked:
        look_up = shown(one.case.question, (passages[int(one.case.id)],), own.parts.prompt)
        said, route = await cascade.generate(look_up, own.parts, ROUTING, engine, small=tiny)
        reply = replies[one.place].answered
        assert reply is not None
        assert (reply.raw, reply.confidence) == (said.text, said.confidence), one.case.id
        routes.append(route)
    assert set(routes) == {"small", "own"}
