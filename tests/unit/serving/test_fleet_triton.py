"""Two real Tritons under continuous traffic, streamed and not: a stub that crashes, a server that is killed, a rolling restart."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest
from free_ports import free_ports
from sqlalchemy import select

from pipelines.config import Settings, TritonInstance
from pipelines.errors import RatchetError
from pipelines.manifest import sha256_folder
from pipelines.serving import client, triton
from pipelines.serving.exchange import Ask, Generated
from pipelines.serving.fleet import Fleet, drain_file
from pipelines.serving.metrics import Metrics
from pipelines.state.database import reading
from pipelines.state.models import AuditEvent

pytestmark = [pytest.mark.slow, pytest.mark.services]


class Server:
    """One Triton over the site's repository, on ports of its own."""

    def __init__(self, settings: Settings) -> None:
        http, grpc, metrics = free_ports(3)
        ports = settings.ports.model_copy(update={"triton_http": http, "triton_grpc": grpc, "triton_metrics": metrics})
        self.settings = settings.model_copy(update={"ports": ports})
        self.instance = TritonInstance(http=f"127.0.0.1:{http}", grpc=f"127.0.0.1:{grpc}")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        argv, env = triton.command(self.settings)
        self.settings.logs.mkdir(parents=True, exist_ok=True)
        with (self.settings.logs / f"triton-{self.settings.ports.triton_http}.log").open("ab") as log:
            self.process = process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
        client.wait_ready(self.settings, alive=lambda: process.poll() is None)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        stubs = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(how)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            # As the site's supervisor does after its grace: this server's exit has been seen to wait on its stub for ever.
            self.process.kill()
            self.process.wait(10)
        for stub in stubs:  # a killed server leaves them
            with suppress(psutil.NoSuchProcess):
                stub.kill()

    def crash(self) -> None:
        """Kill the engine's process and leave the server."""
        assert self.process is not None
        stubs = [one for one in psutil.Process(self.process.pid).children(recursive=True) if "stub" in one.name()]
        assert stubs
        for stub in stubs:
            stub.kill()


@pytest.fixture(scope="module")
def servers(site: Any) -> Iterator[list[Server]]:
    made = [Server(site.settings) for _ in range(2)]
    try:
        for server in made:
            server.start()
        yield made
    finally:
        for server in made:
            if server.process is not None and server.process.poll() is None:
                server.stop()


class Traffic:
    """Asks without a pause, half of it streamed, from many conversations."""

    def __init__(self, fleet: Fleet, engine: str) -> None:
        self.fleet, self.engine = fleet, engine
        self.answers: Counter[str] = Counter()
        self.instances: Counter[str] = Counter()
        self.failures: list[str] = []
        self.broken_off: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Traffic:
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(6)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, worker: int) -> None:
        number = 0
        while True:
            number += 1
            began = False
            ask, conversation = Ask("[1] nobody.\nQuestion: Who?\nAnswer:", max_tokens=8), f"{worker} {number % 20}"
            try:
                if worker % 2:
                    text = ""
                    async for piece in self.fleet.stream(self.engine, ask, conversation=conversation, told=self._told):
                        began = True
                        text = piece.text if isinstance(piece, Generated) else text
                else:
                    text = (await self.fleet.generate(self.engine, ask, conversation=conversation, told=self._told)).text
            except RatchetError as error:
                if began:
                    self.broken_off.append(str(error))  # its text had gone out: it cannot be begun again
                else:
                    self.failures.append(str(error))
            else:
                self.answers[text] += 1

    def _told(self, name: str) -> None:
        self.instances[name] += 1

    async def more(self, count: int = 100) -> None:
        """Wait for so many further answers."""
        wanted = self.answers.total() + count
        await until(lambda: self.answers.total() >= wanted)


async def until(true: Callable[[], Any], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_nothing_fails_while_engines_crash_and_servers_come_and_go(site: Any, servers: list[Server]) -> None:
    settings = site.settings.model_copy(update={"tritons": tuple(server.instance for server in servers)})
    engine = triton.prepare(settings, str(site.model.base), sha256_folder(site.model.base))
    fleet = Fleet(settings, Metrics(settings))
    watch = asyncio.create_task(fleet.supervise())
    first, second = fleet.places
    try:
        await fleet.ensure_loaded(engine)
        assert await fleet.probe(engine) > 0 and await fleet.ready()
        async with Traffic(fleet, engine) as traffic:
            await traffic.more()
            assert set(traffic.instances) == {first.name, second.name}, "both answer"

            servers[0].crash()
            await until(lambda: first.broken)
            await until(lambda: not first.broken)
            await traffic.more()

            servers[1].stop(signal.SIGKILL)
            await until(lambda: second.out_until)
            await traffic.more()
            servers[1].start()
            await until(lambda: not second.out_until)
            assert traffic.failures == []

            broken_off = list(traffic.broken_off)
            for server, place in zip(servers, fleet.places, strict=True):
                # A rolling restart: drained, stopped, started, and the next one only once this one is back.
                file = drain_file(settings, place.name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
                await until(lambda place=place: place.draining and not place.in_flight)
                await asyncio.to_thread(server.stop)
                file.unlink()
                await until(lambda place=place: place.out_until)
                await traffic.more(50)
                await asyncio.to_thread(server.start)
                await until(lambda place=place: not place.out_until)
                await traffic.more(50)
        assert traffic.failures == [], "no request failed before its first text"
        assert traffic.broken_off == broken_off, "a restart in order breaks no stream off"
        assert len(traffic.answers) == 1, "and every answer is the same"
        assert len(broken_off) <= 6, "only what was being said at the moment of a crash"
        assert all(not state["broken"] and state["in_use"] and not state["in_flight"] for state in fleet.states())
    finally:
        watch.cancel()
        await fleet.close()
    with reading(settings) as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.actor == "gateway"))
        ours = [(event.action, event.subject) for event in events if event.subject.startswith((first.name, second.name))]
    assert ours == [("engine.mended", f"{first.name}/{engine}")]
