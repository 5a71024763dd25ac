"""What the gateway costs: with access, guards, exact cache, masking and the traffic log on, beside a bare FastAPI + aiohttp pass-through.

    python -m tests.bench.bench_gateway [--seconds N] [--rounds N] [--portkey FOLDER] [--json FILE]

The engine behind both is a stub that answers at once, on one core with wrk; the gateway's worker has the other core to itself. Rounds of
the candidates alternate, so that a busy minute of the machine hits all of them. `miss` asks a new question each time, `hit` the same one.
Retrieval is replaced by one fixed passage: what a search costs is measured in bench_retrieval. Two workers share both cores with wrk and
the stub, which is why one worker is measured that way too. Portkey's gateway (`npm install @portkey-ai/gateway`) joins where its folder is
given.

The stub speaks Triton's generate extension and OpenAI's chat completions. Latencies are wrk's, in milliseconds, at concurrency 8; CPU is
that of the gateway's processes per request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from free_ports import free_ports

from pipelines.config import PROJECT, Settings, load_settings
from pipelines.writing import write_json

CONCURRENCY = 8
PASSAGE = "Since 2014 a consumer lease above $53,500 is exempt from the rules of this part, whatever its term."
WRITTEN = " $53,500 [1]"
FILLER = " ".join(["and under what further conditions would a lessor who leases to a consumer have to keep what record of it"] * 4)
LUA = """
local number = 0
function request()
  number = number + 1
  local mark = {unique} and (" of lease {salt}x" .. number) or ""
  local body = '{{"model":"{model}","messages":[{{"role":"user","content":"What is the threshold amount' .. mark .. ' {filler}?"}}]}}'
  return wrk.format("POST", "{path}", {{["Content-Type"]="application/json", ["Authorization"]="Bearer {key}"{more}}}, body)
end
function done(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  print(string.format("RESULT %d %d %f %f %f", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), bad))
end
"""


# --- the stub engine --------------------------------------------------------------------------------------------------


class Stub(asyncio.Protocol):
    """Answers every request on a connection in turn, with a fixed body per path. Just enough HTTP for wrk, aiohttp and Node."""

    answers: dict[bytes, bytes]

    def __init__(self) -> None:
        self.held = b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.held += data
        while (end := self.held.find(b"\r\n\r\n")) >= 0:
            head = self.held[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 : (head + b"\r\n").find(b"\r\n", at)]) if at >= 0 else 0
            if len(self.held) < end + 4 + length:
                return
            path = self.held.split(b" ", 2)[1]
            self.held = self.held[end + 4 + length :]
            kind = b"chat" if path.endswith(b"/chat/completions") else b"generate" if path.endswith(b"/generate") else b"other"
            self.transport.write(self.answers[kind])


def _http(value: object) -> bytes:
    body = json.dumps(value).encode() if value is not None else b""
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def stub(port: int) -> None:
    """Serve until killed."""
    import uvloop

    usage = {"prompt_tokens": 120, "completion_tokens": 6, "total_tokens": 126}
    message = {"role": "assistant", "content": WRITTEN}
    Stub.answers = {
        b"chat": _http(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": usage,
            }
        ),
        b"generate": _http(generated()),
        b"other": _http({"name": "engine", "live": True}),
    }

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(run())


def generated() -> dict[str, Any]:
    """What the engine's generate endpoint answers: see `serving/client.py`."""
    return {
        "model_name": "engine",
        "model_version": "1",
        "TEXT": WRITTEN,
        "TOKENS_IN": 120,
        "TOKENS_OUT": 6,
        "CONFIDENCE": 0.97,
        "MIN_LOGPROB": -0.1,
    }


# --- the gateways under test ------------------------------------------------------------------------------------------


def bare() -> Any:
    """FastAPI and aiohttp, and nothing between: what any gateway on this stack costs at the least."""
    import aiohttp
    from fastapi import FastAPI, Request, Response

    session: list[Any] = []

    @asynccontextmanager
    async def open_session(_app: Any) -> AsyncIterator[None]:
        session.append(aiohttp.ClientSession(f"http://127.0.0.1:{os.environ['BENCH_STUB']}", connector=aiohttp.TCPConnector(limit=0)))
        yield
        await session[0].close()

    app = FastAPI(openapi_url=None, lifespan=open_session)

    async def passed(request: Request) -> Response:
        async with session[0].post("/v1/chat/completions", data=await request.body()) as answer:
            return Response(await answer.read(), answer.status, media_type="application/json")

    app.add_route("/v1/chat/completions", passed, methods=["POST"])
    return app


class FixedIndex:
    """One passage for whatever is asked."""

    access: list[Any] = []  # noqa: RUF012
    every_role: frozenset[str] = frozenset()
    dimensions = 3

    def search(self, _question: str, **_how: Any) -> list[Any]:
        from pipelines.retrieval.index import Passage

        return [Passage("9-2", "Threshold", PASSAGE, "9.2", "2014-01-01", "9999-12-31", 1.0, "c" * 64, "Law_v1.0", 0, len(PASSAGE))]


def ours() -> Any:
    """The gateway as it is, but for the index, and a pointer that stands still."""
    from pipelines.config import load_domain
    from pipelines.serving.answer import Parts
    from pipelines.serving.gateway import create_app
    from pipelines.serving.releases import Route
    from pipelines.training.prompt import Prompt

    settings = load_settings()
    app = create_app(settings)
    releases = app.state.gateway.releases
    prompt = Prompt.load("grounded_extraction/v1", settings)
    parts = Parts(FixedIndex(), prompt, "", 1, 48, "regulatory/r1", engine="engine-bench", index_id="index-bench")  # type: ignore[arg-type]
    releases.routes["regulatory"] = Route("regulatory", load_domain("regulatory", settings), mark="bench", wanted=parts.release, live=parts)

    async def stand_still() -> None:
        await asyncio.Event().wait()

    releases.follow = stand_still
    return app


def serve(name: str, port: int, workers: int) -> None:
    """Run one of them until stopped."""
    import uvicorn

    from pipelines.serving import metrics

    options: dict[str, Any] = {"http": "httptools"}
    if name == "ours":
        metrics.share(load_settings())
        options["http"] = "pipelines.serving.http_limits:LimitedProtocol"
    uvicorn.run(
        f"tests.bench.bench_gateway:{name}",
        factory=True,
        workers=workers,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        **options,
    )


# --- measuring --------------------------------------------------------------------------------------------------------


@contextmanager
def process(argv: list[str], env: dict[str, str], core: str, port: int, log: Path) -> Iterator[psutil.Process]:
    """A server pinned to cores, once it takes connections."""
    import socket

    with log.open("wb") as out:
        child = subprocess.Popen(["taskset", "-c", core, *argv], env=env, cwd=PROJECT, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if child.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{argv[:3]} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield psutil.Process(child.pid)
    finally:
        for one in psutil.Process(child.pid).children(recursive=True) if child.poll() is None else []:
            one.terminate()
        child.terminate()
        child.wait(20)


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a process and its children so far."""
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))


def load(
    place: Path, port: int, seconds: float, *, unique: bool, concurrency: int, core: str, model: str, key: str, more: str = ""
) -> dict[str, float]:
    """One round of wrk."""
    script = place / "load.lua"
    values = {"unique": str(unique).lower(), "filler": FILLER, "model": model, "path": "/v1/chat/completions", "key": key, "more": more}
    script.write_text(LUA.format(salt=random.randrange(10**4), **values))  # noqa: S311 - only to be new
    argv = ["taskset", "-c", core, "wrk", "-t1", f"-c{concurrency}", f"-d{seconds:g}s", "-s", str(script), f"http://127.0.0.1:{port}"]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    requests, micros, p50, p99, bad = (float(value) for value in said.split("RESULT ")[1].split())
    return {"requests": requests, "rps": requests / micros * 1e6, "p50_ms": p50 / 1000, "p99_ms": p99 / 1000, "bad": bad}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--portkey", type=Path, help="folder with node_modules/@portkey-ai/gateway")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", choices=("bare", "ours", "stub"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve == "stub":
        stub(options.port)
        return 0
    if options.serve:
        serve(options.serve, options.port, options.workers)
        return 0
    place = Path(tempfile.mkdtemp(prefix="bench-gateway-"))
    try:
        table = measure(place, options)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    show(table)
    if options.json:
        write_json(options.json, table)
    return 0


def measure(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """name -> medians over the rounds."""
    from pipelines.serving.keys import issue_key
    from pipelines.state.database import migrate

    ports = dict(zip(("stub", "bare", "ours", "two", "portkey", "grpc", "metrics"), free_ports(7), strict=True))
    env = {
        **os.environ,
        "RATCHET_VAR": str(place / "var"),
        "RATCHET_PORT_TRITON_HTTP": str(ports["stub"]),
        "RATCHET_PORT_TRITON_GRPC": str(ports["grpc"]),
        "RATCHET_PORT_TRITON_METRICS": str(ports["metrics"]),
        "BENCH_STUB": str(ports["stub"]),
    }
    settings: Settings = load_settings(env)
    migrate(settings)
    key = issue_key(settings, "bench", ["regulatory"])
    me = [sys.executable, "-m", "tests.bench.bench_gateway"]

    def server(name: str, core: str, workers: int = 1) -> list[str]:
        return [*me, "--serve", "ours" if name == "two" else name, "--port", str(ports[name]), "--workers", str(workers)]

    rounds: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as stack:

        def start(name: str, argv: list[str], core: str, more: dict[str, str] | None = None) -> psutil.Process:
            return stack.enter_context(process(argv, env | (more or {}), core, ports[name], place / f"{name}.log"))

        start("stub", server("stub", "1"), "1")
        running = {"bare": start("bare", server("bare", "0"), "0"), "ours": start("ours", server("ours", "0"), "0")}
        kinds: list[tuple[str, str, bool]] = [("bare", "bare", True), ("ours, miss", "ours", True), ("ours, hit", "ours", False)]
        more = ""
        if options.portkey:
            script = options.portkey / "node_modules/@portkey-ai/gateway/build/start-server.js"
            running["portkey"] = start("portkey", ["node", str(script), "--headless", f"--port={ports['portkey']}"], "0")
            kinds.append(("portkey", "portkey", True))
            stub_url = f"http://127.0.0.1:{ports['stub']}/v1"
            more = f', ["x-portkey-provider"]="openai", ["x-portkey-custom-host"]="{stub_url}"'
        for _, name, unique in kinds:  # warm
            load(place, ports[name], 2, unique=unique, concurrency=CONCURRENCY, core="1", model="regulatory", key=key, more=more)
        for _ in range(options.rounds):
            for label, name, unique in kinds:
                before = cpu_of(running[name])
                found = load(
                    place, ports[name], options.seconds, unique=unique, concurrency=CONCURRENCY, core="1", model="regulatory", key=key,
                    more=more if name == "portkey" else "",
                )  # fmt: skip
                found["cpu_ms"] = (cpu_of(running[name]) - before) * 1000 / max(1.0, found["requests"])
                rounds.setdefault(label, []).append(found)
        for _ in range(2):
            for label, name, unique in kinds:
                found = load(place, ports[name], options.seconds, unique=unique, concurrency=1, core="1", model="regulatory", key=key,
                             more=more if name == "portkey" else "")  # fmt: skip
                rounds.setdefault(f"{label}, one at a time", []).append(found)
    with ExitStack() as stack:
        # Both cores for everybody: what a second worker brings, it brings beside wrk and the stub.
        stack.enter_context(process(server("stub", "0,1"), env, "0,1", ports["stub"], place / "stub2.log"))
        for workers, name in ((1, "ours"), (2, "two")):
            many = env | {"RATCHET_GATEWAY_WORKERS": str(workers), "RATCHET_PORT_GATEWAY": str(ports[name])}
            stack.enter_context(process(server(name, "0,1", workers), many, "0,1", ports[name], place / f"{name}2.log"))
            load(place, ports[name], 3, unique=True, concurrency=CONCURRENCY, core="0,1", model="regulatory", key=key)
        for _ in range(options.rounds):
            for label, name in (("one worker, shared cores", "ours"), ("two workers, shared cores", "two")):
                found = load(place, ports[name], options.seconds, unique=True, concurrency=16, core="0,1", model="regulatory", key=key)
                rounds.setdefault(label, []).append(found)
    medians = {label: {name: statistics.median(one[name] for one in found) for name in found[0]} for label, found in rounds.items()}
    return {
        "rows": medians,
        "ratio to bare, miss": medians["ours, miss"]["rps"] / medians["bare"]["rps"],
        "ratio to bare, hit": medians["ours, hit"]["rps"] / medians["bare"]["rps"],
        "two workers to one": medians["two workers, shared cores"]["rps"] / medians["one worker, shared cores"]["rps"],
    }


def show(table: dict[str, Any]) -> None:
    print(f"{'':34}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>9}{'not 2xx':>9}")  # noqa: T201
    for label, row in table["rows"].items():
        cpu = f"{row['cpu_ms']:9.3f}" if "cpu_ms" in row else f"{'':9}"
        print(f"{label:34}{row['rps']:9.0f}{row['p50_ms']:9.2f}{row['p99_ms']:9.2f}{cpu}{row['bad']:9.0f}")  # noqa: T201
    for label, value in table.items():
        if label != "rows":
            print(f"{label}: {value:.2f}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
