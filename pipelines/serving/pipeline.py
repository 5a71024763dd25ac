"""What happens to a question, in this order: mask in, screen, cache, retrieve, render, generate, check, check out, unmask, log.

Whoever asked is known by then, and within their limits (`gateway`). Everything after `mask in` sees the masked question; only what is sent
back to the caller holds their own words again. One answer is made of one release's parts from its first step to its last.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal

from pipelines.config import DomainConfig
from pipelines.errors import BadInput, NotFound, RatchetError, Unavailable
from pipelines.retrieval.index import Passage
from pipelines.serving import shapes, telemetry
from pipelines.serving.answer import Answer, LookUp, Parts, conclude, withheld
from pipelines.serving.cache import outcomes
from pipelines.serving.cache.answers import AnswerCache
from pipelines.serving.cache.key import CacheKey
from pipelines.serving.exchange import Generated
from pipelines.serving.fleet import Fleet
from pipelines.serving.guards import inbound, outbound
from pipelines.serving.guards.verdict import Verdict, refused
from pipelines.serving.identifiers import Identifiers
from pipelines.serving.inquiry import Inquiry, Outcome, record_of, sample_of
from pipelines.serving.live_text import LiveText
from pipelines.serving.metrics import Metrics
from pipelines.serving.releases import Releases, Route
from pipelines.serving.routing import cascade
from pipelines.traffic import samples
from pipelines.traffic.log import TrafficLog

GONE = 499
"""Status in the log of a request whose caller left: nginx' number, HTTP has none."""
SHADOWS = 2


class Pipeline:
    """Answers inquiries. Its parts are opened and closed by the gateway."""

    def __init__(
        self,
        fleet: Fleet,
        releases: Releases,
        identifiers: Identifiers,
        cache: AnswerCache,
        traffic: TrafficLog,
        kept: TrafficLog,
        metrics: Metrics,
    ) -> None:
        self.fleet, self.releases, self.identifiers = fleet, releases, identifiers
        self.cache, self.traffic, self.kept, self.metrics = cache, traffic, kept, metrics
        self._shadows: set[asyncio.Task[None]] = set()
        self._logging: set[asyncio.Task[None]] = set()

    async def answer(self, inquiry: Inquiry) -> Outcome:
        """The whole answer, logged. NoModel, Filtered (a guard refused the question), Unavailable, RatchetError."""
        parts, canary = None, False
        try:
            route, config = await self._take_in(inquiry)
            parts, canary = await self._parts(inquiry, route)
            screened = len(inquiry.verdicts)
            try:
                outcome = await self._from(inquiry, route, config, parts, canary)
            except RatchetError as error:
                if not canary or inquiry.release is not None:
                    raise
                # The canary pays for its fault with a line of its own; the caller is answered by what is live.
                await self._log(inquiry, parts, canary=True, status=_of_canary(error))
                del inquiry.verdicts[screened:]
                parts, canary = self.releases.live(inquiry.domain), False
                outcome = await self._from(inquiry, route, config, parts, canary)
        except RatchetError as error:
            if not isinstance(error, NotFound):
                await self._log(inquiry, parts, canary=canary, status=shapes.fault(error)[0])
            raise
        except asyncio.CancelledError:
            self._log_later(inquiry, parts, canary)
            raise
        await self._log(inquiry, parts, canary=canary, status=200, outcome=outcome)
        self._shadow(inquiry, route, config)
        return outcome

    async def stream(self, inquiry: Inquiry) -> AsyncGenerator[str | Outcome, None]:
        """Pieces of the answer as they are written, each checked as far as a piece can be, then the outcome, logged.

        What was sent is a beginning of the answer, or the outcome says that it was taken back. Errors as `answer`, also after pieces.
        """
        parts, canary, logged = None, False, False
        try:
            route, config = await self._take_in(inquiry)
            parts, canary = await self._parts(inquiry, route)
            screened = len(inquiry.verdicts)
            while not logged:
                try:
                    async with aclosing(self._pieces(inquiry, route, config, parts, canary)) as pieces:
                        async for piece in pieces:
                            if isinstance(piece, Outcome):
                                await self._log(inquiry, parts, canary=canary, status=200, outcome=piece)
                                logged = True
                                self._shadow(inquiry, route, config)
                            elif inquiry.first is None:
                                inquiry.first = time.perf_counter() - inquiry.began
                            yield piece
                except RatchetError as error:
                    if not canary or inquiry.release is not None or inquiry.first is not None:
                        raise
                    await self._log(inquiry, parts, canary=True, status=_of_canary(error))
                    del inquiry.verdicts[screened:]
                    parts, canary = self.releases.live(inquiry.domain), False
        except RatchetError as error:
            if not isinstance(error, NotFound):
                await self._log(inquiry, parts, canary=canary, status=shapes.fault(error)[0])
            raise
        except (asyncio.CancelledError, GeneratorExit):
            if not logged:
                self._log_later(inquiry, parts, canary)
            raise

    def streams(self, domain: str) -> bool:
        """Whether the domain's answers go out as they are written. NoModel, Unavailable."""
        config = self.releases.route(domain).config
        return config is not None and config.serving.stream == "live"

    async def close(self) -> None:
        """Wait for what is being written."""
        for task in self._shadows:
            task.cancel()
        await asyncio.gather(*self._shadows, *self._logging, return_exceptions=True)

    # --- the steps ----------------------------------------------------------------------------------------------------

    async def _take_in(self, inquiry: Inquiry) -> tuple[Route, DomainConfig]:
        """Mask, then screen."""
        if inquiry.release is not None:
            await self.releases.require(inquiry.release, any_state=inquiry.key.candidates)
        route = self.releases.route(inquiry.domain)
        config = route.config
        assert config is not None  # noqa: S101 - `route` refuses a domain without one
        guards = config.serving.guards
        # Before masking, which is what a long text costs most in.
        if len(inquiry.question) > guards.question_characters:
            what = f"the question has {len(inquiry.question)} characters, more than {guards.question_characters}"
            raise BadInput(what, where="messages", todo="ask in fewer words")
        inquiry.masked = await self.identifiers.mask(inquiry.question, config.privacy)
        inquiry.verdicts += inbound.screen(inquiry.masked.text, inquiry.characters, guards)
        if refusing := next((one for one in inquiry.verdicts if one.action == "refuse"), None):
            raise shapes.Filtered(f"the question was refused by the rule `{refusing.rule}`", where="messages", todo="put it in other words")
        return route, config

    async def _parts(self, inquiry: Inquiry, route: Route) -> tuple[Parts, bool]:
        if inquiry.release is not None:
            return await self.releases.named(inquiry.release, any_state=inquiry.key.candidates)
        return self.releases.pick(route, inquiry.conversation)

    async def _from(self, inquiry: Inquiry, route: Route, config: DomainConfig, parts: Parts, canary: bool) -> Outcome:
        """An answer of these parts, from the cache or made."""
        key = outcomes.key_of(inquiry, route, parts)
        known = await self._cached(inquiry, route, config, parts, canary, key)
        if known is not None:
            return known
        found = await self._look_up(inquiry, config, parts)
        # Who asks the same at the same moment waits for one text: the key covers all that went into the prompt.
        (generated, way), _ = await self.cache.flight(key, lambda: self._generate(inquiry, route, config, parts, canary, found))
        outcome = self._concluded(inquiry, config, parts, canary, found, generated, way)
        await self._keep(inquiry, config, outcome, key)
        return outcome

    async def _pieces(
        self, inquiry: Inquiry, route: Route, config: DomainConfig, parts: Parts, canary: bool
    ) -> AsyncGenerator[str | Outcome, None]:
        key = outcomes.key_of(inquiry, route, parts)
        known = await self._cached(inquiry, route, config, parts, canary, key)
        if known is not None:
            yield inquiry.masked.restored(known.answer.text)
            yield known
            return
        found = await self._look_up(inquiry, config, parts)
        live = LiveText(
            found, outbound.HoldBack(_shown(found.passages), inquiry.masked.text, config.serving.guards, **_apart(config, parts))
        )
        generated, way = None, "own"
        if found.passages:
            ask = functools.partial(self.fleet.generate, conversation=inquiry.conversation, told=inquiry.told)
            generated = await cascade.first(found, parts, config.serving.routing, ask, route.usable_small)
            way = "small" if generated is not None else "own"
        if found.passages and generated is None:
            work = self.fleet.stream(parts.engine, parts.ask(found.prompt), conversation=inquiry.conversation, told=inquiry.told)
            try:
                async with aclosing(work):
                    async for piece in work:
                        if isinstance(piece, Generated):
                            generated = piece
                        elif text := live.feed(piece):
                            yield text
            except Unavailable:
                if live.sent:
                    raise
                # Nobody has seen a letter of it yet: it may be written again as a whole.
                generated, way = await self._generate(inquiry, route, config, parts, canary, found)
        outcome = self._concluded(inquiry, config, parts, canary, found, generated, way)
        await self._keep(inquiry, config, outcome, key)
        rest = live.rest(outcome.answer)
        if rest is not None:
            yield inquiry.masked.restored(rest)
        yield outcome if rest is not None else replace(outcome, taken_back=True)

    async def _look_up(self, inquiry: Inquiry, config: DomainConfig, parts: Parts) -> LookUp:
        began = time.perf_counter()
        with telemetry.span("retrieve", release=parts.release) as span:
            roles = inquiry.key.roles_for(parts.index.access)
            found, verdicts = await self.releases.look_up(inquiry.masked.text, inquiry.as_of, parts, roles, config.serving.guards)
            span.set(passages=len(found.passages), withheld=found.withheld)
        self.metrics.observe("ratchet_stage_seconds", time.perf_counter() - began, "retrieve")
        inquiry.verdicts += verdicts
        return found

    async def _generate(
        self, inquiry: Inquiry, route: Route, config: DomainConfig, parts: Parts, canary: bool, found: LookUp
    ) -> tuple[Generated | None, cascade.Route]:
        if not found.passages:
            return None, "own"
        began = time.perf_counter()
        ask = functools.partial(self.fleet.generate, conversation=inquiry.conversation, told=inquiry.told)
        # A provider in the canary's place would hide that the canary fails.
        outside = route.usable_outside.generate if route.usable_outside is not None and not canary else None
        made = await cascade.generate(found, parts, config.serving.routing, ask, outside, small=route.usable_small)
        self.metrics.observe("ratchet_stage_seconds", time.perf_counter() - began, "generate")
        return made

    def _concluded(
        self, inquiry: Inquiry, config: DomainConfig, parts: Parts, canary: bool, found: LookUp, generated: Generated | None, way: str
    ) -> Outcome:
        """Check, and check out."""
        answer = conclude(found, generated, inquiry.as_of, parts, time.perf_counter() - inquiry.began)
        verdicts = _checked_out(answer, inquiry, config, parts)
        inquiry.verdicts += verdicts
        if refused(verdicts):
            answer = withheld(answer, parts)
        return Outcome(answer, parts, canary, None, way, generated.min_logprob if generated else 0.0)

    # --- the cache ----------------------------------------------------------------------------------------------------

    async def _cached(
        self, inquiry: Inquiry, route: Route, config: DomainConfig, parts: Parts, canary: bool, key: CacheKey
    ) -> Outcome | None:
        policy, domain = config.serving.cache, inquiry.domain
        self.cache.saw(domain, route.epoch)
        how: Literal["exact", "semantic"] = "exact"
        value = await self.cache.get(key, policy)
        if value is None and policy.semantic and "semantic_cache" not in route.held.off:
            [vector] = await self.releases.vectors([inquiry.masked.text], parts)
            near = await self.cache.similar(key, vector, policy)
            how, value = "semantic", near.value if near else None
        self.metrics.count("ratchet_cache", domain, how if value is not None else "miss")
        return outcomes.thawed(value, parts, canary, how) if value is not None else None

    async def _keep(self, inquiry: Inquiry, config: DomainConfig, outcome: Outcome, key: CacheKey) -> None:
        policy = config.serving.cache
        # What a guard found is looked at again each time: it is to be logged each time.
        if inquiry.verdicts or not (policy.exact or policy.semantic):
            return
        vector = None
        if policy.semantic:
            [vector] = await self.releases.vectors([inquiry.masked.text], outcome.parts)
        await self.cache.put(key, outcomes.frozen(outcome), policy, vector)

    # --- the log ------------------------------------------------------------------------------------------------------

    async def _log(
        self, inquiry: Inquiry, parts: Parts | None, *, canary: bool, status: int, outcome: Outcome | None = None, shadow: bool = False
    ) -> None:
        """Count the request, and write its record to disk. Unavailable where the domain's audit is mandatory and it cannot be written."""
        seconds = time.perf_counter() - inquiry.began
        route = self.releases.routes.get(inquiry.domain)
        config = route.config if route else None
        if not shadow:
            self._count(inquiry, parts, canary, status, seconds, outcome)
        record = record_of(inquiry, parts, canary, status, seconds, outcome, shadow)
        if config is not None and config.serving.log_questions and config.privacy.profile == "public" and inquiry.masked.text:
            record["question_masked"] = inquiry.masked.text
        stored = outcome is not None and not shadow and config is not None and samples.may_keep(config, inquiry.store)
        if stored:
            record["stored"] = True
        began = time.perf_counter()
        try:
            await self.traffic.write(inquiry.domain, record)
            self.metrics.observe("ratchet_stage_seconds", time.perf_counter() - began, "log")
        except Unavailable:
            if status == 200 and not shadow and (config is None or config.serving.audit == "mandatory"):
                raise
            self.metrics.count("ratchet_unlogged", inquiry.domain)
        if stored and outcome is not None and config is not None:
            self._later(self._keep_answer(inquiry, config, outcome))

    async def _keep_answer(self, inquiry: Inquiry, config: DomainConfig, outcome: Outcome) -> None:
        """Keep question and answer for review. A disk that takes no more, or a key store that is away, costs a review, not an answer."""
        sample = sample_of(inquiry, outcome)
        try:
            if config.privacy.profile == "public":
                line = samples.line(self.releases.settings, config, sample)
            else:
                line = await asyncio.to_thread(samples.line, self.releases.settings, config, sample)
            await self.kept.write(inquiry.domain, line)
        except RatchetError:
            self.metrics.count("ratchet_unkept", inquiry.domain)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """What nobody waits for."""
        task = asyncio.ensure_future(work)
        self._logging.add(task)
        task.add_done_callback(self._logging.discard)

    def _log_later(self, inquiry: Inquiry, parts: Parts | None, canary: bool) -> None:
        """For a request whose caller has gone: this task is being cancelled and may not wait."""
        self._later(self._log(inquiry, parts, canary=canary, status=GONE))

    def _count(self, inquiry: Inquiry, parts: Parts | None, canary: bool, status: int, seconds: float, outcome: Outcome | None) -> None:
        count, domain = self.metrics.count, inquiry.domain
        self.metrics.request(domain, parts.release if parts else "none", status, canary, seconds)
        for one in inquiry.verdicts:
            count("ratchet_guard_verdicts", domain, one.rule, one.action, one.where.partition(" ")[0])
        if inquiry.first is not None:
            self.metrics.observe("ratchet_first_token_seconds", inquiry.first, domain)
        if outcome is not None:
            count("ratchet_tokens", domain, "in", by=outcome.answer.tokens_in)
            count("ratchet_tokens", domain, "out", by=outcome.answer.tokens_out)
            count("ratchet_routed", domain, outcome.route)
            if outcome.answer.reason is not None:
                count("ratchet_abstained", domain, outcome.answer.reason)

    # --- the shadow ---------------------------------------------------------------------------------------------------

    def _shadow(self, inquiry: Inquiry, route: Route, config: DomainConfig) -> None:
        """Have the candidate answer too, for nobody to see. Left out while as many as `SHADOWS` are at it: callers come first."""
        parts = route.shadowed(inquiry.request_id)
        if parts is None or inquiry.release is not None or len(self._shadows) >= SHADOWS:
            return
        task = asyncio.ensure_future(self._answer_in_shadow(inquiry, route, config, parts))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _answer_in_shadow(self, inquiry: Inquiry, route: Route, config: DomainConfig, parts: Parts) -> None:
        mine = replace(inquiry, began=time.perf_counter(), verdicts=[], first=None, instance=None)
        outcome, status = None, 200
        try:
            found = await self._look_up(mine, config, parts)
            generated, way = await self._generate(mine, route, config, parts, True, found)
            outcome = self._concluded(mine, config, parts, True, found, generated, way)
        except RatchetError as error:
            status = shapes.fault(error)[0]
        await self._log(mine, parts, canary=True, status=status, outcome=outcome, shadow=True)


def _of_canary(error: RatchetError) -> int:
    """The status of a canary's failure: a prompt that is too long for its model, say, is no fault of a caller whom live can answer."""
    return max(500, shapes.fault(error)[0])


def _checked_out(answer: Answer, inquiry: Inquiry, config: DomainConfig, parts: Parts) -> list[Verdict]:
    """What the guards say of the text that would go out. A passage shown in place of an answer may hold the surrogates that it holds."""
    text = answer.answer if answer.answer is not None else answer.passages[0].text if answer.passages else ""
    if not text:
        return []
    apart = _apart(config, parts)
    if answer.abstained:
        apart["private"] = False
    return outbound.check(text, _shown(answer.passages), inquiry.masked.text, config.serving.guards, **apart)


def _shown(passages: Sequence[Passage]) -> list[str]:
    """What an answer may rest on."""
    return [f"{passage.paragraph} {passage.title} {passage.text}" for passage in passages]


def _apart(config: DomainConfig, parts: Parts) -> dict[str, Any]:
    return {"private": config.privacy.profile != "public", "canaries": parts.canaries}
