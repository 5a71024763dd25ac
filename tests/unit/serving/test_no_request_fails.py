"""Continuous traffic, streaming and not, while releases come, go and go back, adapters are loaded, and the engine is killed.

Every request is answered, by one release from its first letter to its last. BENCH_REQUESTS sets how many: bench_releases asks for
10,000.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import live
import psutil
import pytest

from pipelines.registry import artifacts, partial, pointer
from pipelines.registry.candidates import get
from pipelines.serving.caller import Caller
from pipelines.serving.keys import issue_key
from pipelines.state.database import transaction
from pipelines.state.models import GateReport

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]

DOMAIN = "busy"
CALLERS = 8
PATIENCE = 240.0
"""Seconds. On a machine busy with other tests an engine's process takes its time to come back, and who asked meanwhile waits for it."""
SERVING = {"cache": {"exact": False}, "stream": "live", "audit": "best_effort"}
"""Every answer is written, and every stream goes out as it is written."""
REQUESTS = int(os.environ.get("BENCH_REQUESTS", "1200"))


@dataclass
class Seen:
    """What the callers saw."""

    failed: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    answered: list[tuple[str, float]] = field(default_factory=list)
    """(release, when the answer was whole)."""
    streamed: int = 0
    canary: int = 0
    longest: float = 0.0
    """Seconds that somebody waited for a whole answer."""


async def one(http: aiohttp.ClientSession, site: Any, number: int, seen: Seen, amounts: dict[str, str]) -> None:
    stream = number % 2 == 1
    body = {
        "model": DOMAIN,
        "messages": [{"role": "user", "content": site.question}],
        "stream": stream,
        "metadata": {"conversation_id": f"talk {number}"},
    }
    began = time.monotonic()
    try:
        async with http.post("/v1/chat/completions", json=body) as answer:
            raw = await answer.read()
            seen.longest = max(seen.longest, time.monotonic() - began)
            if answer.status != 200:
                seen.failed.append(f"{answer.status}: {raw[:300]!r}")
                return
    except (aiohttp.ClientError, TimeoutError) as error:
        seen.failed.append(f"{type(error).__name__}: {error}")
        return
    if stream:
        lines = [line[6:] for line in raw.decode().split("\n\n") if line]
        if lines[-1] != "[DONE]" or any('"error"' in line for line in lines):
            seen.failed.append(f"a stream broke off: {lines[-2:]}")
            return
        chunks = [json.loads(line) for line in lines[:-1]]
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        facts = chunks[-1]["ratchet"]
        seen.streamed += 1
    else:
        reply = json.loads(raw)
        text, facts = reply["choices"][0]["message"]["content"], reply["ratchet"]
    release = facts["release"]
    seen.canary += facts["canary"]
    seen.answered.append((release, time.monotonic()))
    if not text.startswith(amounts[release]):
        seen.mixed.append(f"{release} said {text}")


def candidate(site: Any, version: int, amounts: dict[str, str], adapter: str = "north") -> str:
    """One that passed its gate, with an adapter folder of its own: its first request loads it."""
    made: str = site.candidate(DOMAIN, version, adapter=adapter, state="assembled")
    amounts[made] = site.amounts[version]
    with transaction(site.settings) as session:
        session.add(GateReport(candidate_id=made, verdict="pass", reasons=[], metrics={}, against=None, path="report", step_hash=made))
    return made


async def test_no_request_fails_and_no_answer_is_mixed(site: Any, gateway: str, triton_process: Any) -> None:
    settings, amounts, seen = site.settings, {}, Seen()
    path = settings.configs / "domains" / f"{DOMAIN}.yaml"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"serving": SERVING}))
    first = candidate(site, 1, amounts)
    live.make_live(settings, first)
    await asyncio.to_thread(Caller.for_site(settings).wait_live, DOMAIN, first, 30)
    headers = {"Authorization": f"Bearer {issue_key(settings, 'traffic', [DOMAIN])}"}
    numbers = iter(range(REQUESTS))
    flips: dict[str, float] = {}

    async with aiohttp.ClientSession(gateway, headers=headers, timeout=aiohttp.ClientTimeout(PATIENCE)) as http:

        async def caller() -> None:
            for number in numbers:
                await one(http, site, number, seen, amounts)

        async def until(share: float) -> None:
            while len(seen.answered) + len(seen.failed) < share * REQUESTS:
                await asyncio.sleep(0.02)

        async def flip(what: str, left: str, move: Any) -> None:
            await asyncio.to_thread(move)
            moved = time.monotonic()
            await asyncio.sleep(2.5)
            late = [when - moved for release, when in seen.answered if release == left]
            flips[what] = max([0.0, *late])

        callers = [asyncio.create_task(caller()) for _ in range(CALLERS)]
        await until(0.1)
        second = candidate(site, 2, amounts)
        await flip("promotion", first, lambda: live.make_live(settings, second))
        await until(0.25)
        await flip("rollback", second, lambda: pointer.rollback(settings, DOMAIN, actor="test", reason="a drill"))
        await until(0.35)
        # A canary by steps, and withdrawn.
        third = candidate(site, 2, amounts)
        await asyncio.to_thread(live.approve, settings, third)
        for share in (0.1, 0.5):
            await asyncio.to_thread(pointer.set_canary, settings, third, share)
            await asyncio.sleep(1.5)
        await asyncio.to_thread(pointer.end_canary, settings, third)
        await until(0.5)
        # The engine's process is killed under load.
        for stub in psutil.Process(triton_process.pid).children(recursive=True):
            stub.kill()
        await until(0.65)
        fourth = candidate(site, 2, amounts, adapter="south")
        await flip("another promotion", first, lambda: live.make_live(settings, fourth))
        await until(0.75)
        # One part alone goes back: the amounts stay those of the newer law.
        part = await asyncio.to_thread(
            lambda: partial.rollback(settings, DOMAIN, actor="test", reason="a drill", to=int(first.split("r")[-1]), only="adapter")
        )
        moved = time.monotonic()
        amounts[part], site.numbers[DOMAIN] = site.amounts[2], site.numbers[DOMAIN] + 1
        await asyncio.sleep(2.5)
        flips["rollback of one part"] = max([0.0, *(when - moved for release, when in seen.answered if release == fourth)])
        # Adapters come and go: more than the engine holds, each loaded by a release that was once live.
        for _ in range(9):
            other = site.candidate(DOMAIN, 1, state="retired")
            await asyncio.to_thread(Caller.for_site(settings).ask, other, site.question)
        await asyncio.gather(*callers)

    told = {
        "requests": len(seen.answered) + len(seen.failed),
        "failed": len(seen.failed),
        "mixed": len(seen.mixed),
        "streamed": seen.streamed,
        "by the canary": seen.canary,
        "longest wait, seconds": round(seen.longest, 1),
        "by release": dict(Counter(release for release, _ in seen.answered)),
        "seconds from pointer to last old answer": {what: round(seconds, 2) for what, seconds in flips.items()},
    }
    if target := os.environ.get("BENCH_JSON"):
        Path(target).write_text(json.dumps(told, indent=2))
    assert seen.failed == [] and seen.mixed == []
    assert told["requests"] == REQUESTS and seen.streamed > REQUESTS / 3 and seen.canary > 0
    assert max(flips.values()) < 2.0, flips
    shutil.rmtree(settings.artifacts / "adapter" / "spare", ignore_errors=True)
    assert get(settings, first) and artifacts.get(settings, str(get(settings, first).adapter_id))
