"""The watcher: one event per growth, repeated while something waits, and it outlives a database that is away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pipelines.errors import Unavailable


async def events(watch: Any, seconds: float) -> list[int]:
    seen: list[int] = []

    async def listen() -> None:
        async for event in watch.run():
            seen.append(event.payload["pending"])

    task = asyncio.create_task(listen())
    await asyncio.sleep(seconds)
    task.cancel()
    return seen


async def test_nothing_waiting_is_silence_and_growth_is_an_event(airflow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import landing_watch

    answers = iter([0, 0, 1, 1, 3, 0, 1])
    monkeypatch.setattr(landing_watch, "unclaimed", lambda domain: next(answers, 0))
    assert await events(landing_watch.LandingWatch("law", poll_seconds=0.01), 0.5) == [1, 3, 1]


async def test_what_stays_unclaimed_is_nudged_again(airflow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import landing_watch

    monkeypatch.setattr(landing_watch, "NUDGE_AGAIN", 0.1)
    monkeypatch.setattr(landing_watch, "unclaimed", lambda domain: 2)
    assert len(await events(landing_watch.LandingWatch("law", poll_seconds=0.01), 0.6)) >= 3


async def test_a_database_that_is_away_does_not_end_the_watch(airflow: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import landing_watch

    calls = []

    def unclaimed(domain: str) -> int:
        calls.append(domain)
        if len(calls) < 3:
            raise Unavailable("away")
        return 1

    monkeypatch.setattr(landing_watch, "unclaimed", unclaimed)
    assert await events(landing_watch.LandingWatch("law", poll_seconds=0.01), 0.5) == [1]


def test_a_trigger_watches_one_domain(airflow: None) -> None:
    import landing_watch

    path, arguments = landing_watch.LandingWatch("law").serialize()
    assert path == "landing_watch.LandingWatch"
    assert landing_watch.LandingWatch(**arguments).domain == "law"
