"""The real Triton: loading, adapters, a crashed engine, what is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from pipelines.config import Ports, Settings
from pipelines.errors import BadInput, ConfigError, NotFound, RatchetError, Unavailable
from pipelines.manifest import sha256_folder
from pipelines.registry.parts import engine_name
from pipelines.serving import client, environment, triton
from pipelines.serving.client import Engine, Server
from pipelines.serving.exchange import Ask, EngineCrashed, Generated
from pipelines.serving_config import VLLM, EngineSettings
from pipelines.state.database import migrate

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
services = pytest.mark.services
SLEEPER = """import time
class TritonPythonModel:
    def initialize(self, args):
        time.sleep(8)
    def execute(self, requests):
        return []
"""


def unused(tmp_path: Path) -> Settings:
    return Settings(var=tmp_path / "var", ports=Ports(triton_http=1, triton_grpc=2, triton_metrics=3))


@services
@pytest.mark.slow
class TestRunning:
    """Against one server for all."""

    def test_two_adapters_answer_at_once_each_in_its_way(self, engine: Engine, site: Any) -> None:
        names = ["north", "south"] * 8
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda name: engine.generate([site.greeting], name, 8)[0], names))
        assert [one.text for one in found] == [f" {name} [1]" for name in names]
        assert all(0.9 < one.confidence <= 1 and one.tokens_in > 10 and one.tokens_out > 2 for one in found)

    def test_more_prompts_than_slots_keep_their_order(self, engine: Engine, site: Any) -> None:
        found = engine.generate(["x" * (place + 1) for place in range(21)], "north", 1)
        lengths = [one.tokens_in for one in found]
        assert len(found) == 21 and lengths == sorted(lengths) and lengths[-1] > lengths[0]

    def test_a_turn_of_the_chat_template(self, engine: Engine, site: Any) -> None:
        with ThreadPoolExecutor(4) as pool:  # with and without CHAT at once
            found = list(
                pool.map(lambda chat: engine.generate([site.greeting], "turned" if chat else "north", 20, chat), [True, False] * 6)
            )
        assert [one.text for [one] in found] == [site.turned, " north [1]"] * 6
        assert engine.probe("turned", chat=True) > 0
        with pytest.raises(RatchetError, match="turned was trained with a chat template"):
            engine.generate([site.greeting], "turned")

    def test_text_beyond_ascii_comes_through(self, engine: Engine) -> None:
        assert engine.generate(["§ 1013.2 – “lease” 🏠"], "", 2)[0].tokens_in > 10

    def test_errors_have_our_kinds(self, engine: Engine, site: Any) -> None:
        with pytest.raises(RatchetError, match="nowhere is not there"):
            engine.generate([site.greeting], "nowhere")
        with pytest.raises(RatchetError, match="not a name"):
            engine.probe("../north")
        with pytest.raises(BadInput, match="tokens, and there is room for"):
            engine.generate(["x " * 2000], "")
        with pytest.raises(Unavailable, match="unknown model"):
            Engine(site.settings, "engine-000000000000").generate(["x"])

    def test_prepare_and_load_again_change_nothing(self, engine: Engine, site: Any, triton_process: subprocess.Popen[bytes]) -> None:
        files = [path for path in triton.repository(site.settings).rglob("*") if path.is_file()]
        before = {path: path.stat().st_mtime_ns for path in files}
        assert triton.prepare(site.settings, str(site.model.base)) == engine.name
        assert before == {path: path.stat().st_mtime_ns for path in files}
        stubs = [stub.pid for stub in psutil.Process(triton_process.pid).children(recursive=True)]
        engine.load()
        assert stubs == [stub.pid for stub in psutil.Process(triton_process.pid).children(recursive=True)], "the load was no no-op"

    def test_a_failed_load_says_so_and_leaves_others_serving(self, engine: Engine, site: Any, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        broken = Engine(site.settings, triton.prepare(site.settings, str(tmp_path / "empty")))
        with pytest.raises(Unavailable, match="load failed for model"):
            broken.load()
        assert engine.generate([site.greeting], "north", 8)[0].text == " north [1]"

    def test_a_crashed_engine_is_noticed_and_mended(self, engine: Engine, site: Any, triton_process: subprocess.Popen[bytes]) -> None:
        for stub in psutil.Process(triton_process.pid).children(recursive=True):
            stub.kill()
        with pytest.raises(EngineCrashed):
            engine.generate([site.greeting], "", 2)
        assert engine.ready(), "Triton calls a crashed engine ready: if it no longer does, the mending can be simpler"
        assert 0 < engine.probe("south") < 5
        assert engine.generate([site.greeting], "south", 8)[0].text == " south [1]"

    def test_a_second_server_on_the_same_ports_is_told_apart(self, engine: Engine, site: Any) -> None:
        argv, env = triton.command(site.settings)
        second = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            second.wait(20)
            with pytest.raises(Unavailable, match="did not come up"):
                client.wait_ready(site.settings, seconds=5, alive=lambda: second.poll() is None)
        finally:
            second.kill()
            second.wait()

    def test_nothing_listens_beyond_loopback(self, triton_process: subprocess.Popen[bytes]) -> None:
        found = [c.laddr.ip for c in psutil.Process(triton_process.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert found and {address.removeprefix("::ffff:") for address in found} == {"127.0.0.1"}


SLOW = EngineSettings(slots=2, queue=3, seconds=20)


def metric(settings: Settings, name: str, model: str) -> float:
    """One of Triton's figures of a model."""
    with urllib.request.urlopen(f"{settings.url('triton_metrics')}/metrics") as page:  # noqa: S310
        lines = page.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{") and f'model="{model}"' in line)


@pytest.fixture(scope="class")
def slow(site: Any, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An engine of two slots whose answers end at their limit only."""
    folder = tmp_path_factory.mktemp("slow") / "base"
    shutil.copytree(site.model.base, folder)
    (folder / "README.md").write_text("another hash")
    name = triton.prepare(site.settings, str(folder), engine=SLOW)
    config = triton.repository(site.settings) / name / "config.pbtxt"
    config.write_text(config.read_text().replace("parameters [", 'parameters [\n  { key: "stop" value: { string_value: "false" } },'))
    made = Engine(site.settings, name)
    made.load()
    yield name
    made.unload()


async def outcome(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except RatchetError as error:
        return error


async def pieces(server: Server, name: str, ask: Ask) -> list[str | Generated]:
    return [piece async for piece in server.stream(name, ask)]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.05)


@services
@pytest.mark.slow
class TestManyAtOnce:
    """Against the same server."""

    async def test_a_stream_is_the_whole_answer_in_pieces(self, engine: Engine, site: Any) -> None:
        server = Server(site.settings)
        whole = await server.generate(engine.name, Ask(site.greeting, "north", 8))
        *text, last = await pieces(server, engine.name, Ask(site.greeting, "north", 8))
        assert len(text) > 1 and "".join(map(str, text)) == whole.text == " north [1]"
        assert last == whole and whole.min_logprob <= 0 < whole.confidence
        with pytest.raises(BadInput, match="MAX_TOKENS"):
            await pieces(server, engine.name, Ask("x", max_tokens=0))
        with pytest.raises(RatchetError, match="not a name"):
            await pieces(server, engine.name, Ask("x", "../north"))
        await server.close()

    async def test_an_altered_adapter_is_refused(self, engine: Engine, site: Any) -> None:
        server, source = Server(site.settings), site.settings.artifacts / "adapter" / "north"
        right, folder = sha256_folder(source), site.settings.artifacts / "adapter" / "tampered"
        shutil.copytree(source, folder)
        assert (await server.generate(engine.name, Ask(site.greeting, "north", 8, adapter_sha256=right))).text == " north [1]"
        with (folder / "adapter_model.safetensors").open("ab") as file:
            file.write(b" ")
        with pytest.raises(RatchetError, match="the files of tampered are not those that were registered"):
            await server.generate(engine.name, Ask(site.greeting, "tampered", 8, adapter_sha256=right))
        await server.close()
        shutil.rmtree(folder)

    async def test_closing_a_stream_frees_its_slot(self, slow: str, site: Any) -> None:
        server = Server(site.settings)
        await until(lambda: metric(site.settings, "ratchet_engine_tokens_total", slow) > 0)
        before = metric(site.settings, "ratchet_engine_tokens_total", slow)
        for _ in range(6):
            async with aclosing(server.stream(slow, Ask("a", max_tokens=480))) as stream:
                await anext(stream)
        await server.generate(slow, Ask("a", max_tokens=2))
        await until(lambda: metric(site.settings, "ratchet_engine_running", slow) == 0)
        assert metric(site.settings, "ratchet_engine_tokens_total", slow) - before < 3 * 480
        await server.close()

    async def test_what_is_too_much_waits_in_tritons_queue_and_then_is_refused(self, slow: str, site: Any) -> None:
        server = Server(site.settings)
        waited = metric(site.settings, "nv_inference_queue_duration_us", slow)
        asks = [server.generate(slow, Ask(f"{number}", max_tokens=300)) for number in range(16)]
        found = await asyncio.gather(*map(outcome, asks))
        good, bad = ([one for one in found if isinstance(one, kind)] for kind in (Generated, Unavailable))
        assert len(good) >= 4 and len(bad) >= 4 and len(good) + len(bad) == 16
        assert all("busy" in str(one) for one in bad)
        assert metric(site.settings, "nv_inference_queue_duration_us", slow) - waited > 50_000
        await server.close()

    async def test_what_was_under_way_is_ended_where_another_process_loads_the_engine_anew(
        self, slow: str, site: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "LOOK_SECONDS", 0.02)
        server = Server(site.settings)
        await server.probe(slow)
        await until(lambda: metric(site.settings, "ratchet_engine_running", slow) == 0)
        task = asyncio.create_task(outcome(pieces(server, slow, Ask("a", max_tokens=480))))  # one slot stays free for the look
        await until(lambda: metric(site.settings, "ratchet_engine_running", slow) == 1)
        await asyncio.to_thread(Engine(site.settings, slow).mend)
        assert isinstance(await task, EngineCrashed)
        assert (await server.generate(slow, Ask("a", max_tokens=3))).tokens_out == 3
        await server.close()

    async def test_a_crash_ends_what_was_under_way_at_once(self, slow: str, site: Any, triton_process: subprocess.Popen[bytes]) -> None:
        server = Server(site.settings)
        await server.probe(slow)
        long = Ask("a", max_tokens=480)
        tasks = [asyncio.create_task(outcome(work)) for work in (server.generate(slow, long), pieces(server, slow, long))]
        await until(lambda: metric(site.settings, "ratchet_engine_running", slow) == 2)
        for stub in psutil.Process(triton_process.pid).children(recursive=True):
            stub.kill()
        for task in tasks:
            assert isinstance(await task, EngineCrashed)
        await server.mend(slow)
        assert (await server.generate(slow, Ask("a", max_tokens=3))).tokens_out == 3
        await server.close()

    async def test_a_hung_server_is_noticed(self, slow: str, site: Any, triton_process: subprocess.Popen[bytes]) -> None:
        server = Server(site.settings)
        await server.probe(slow)
        os.kill(triton_process.pid, signal.SIGSTOP)
        try:
            ask = Ask("a", max_tokens=3)
            for found in await asyncio.gather(outcome(server.generate(slow, ask)), outcome(pieces(server, slow, ask))):
                assert isinstance(found, Unavailable) and "is too slow" in str(found)
            assert not await server.ready()
        finally:
            os.kill(triton_process.pid, signal.SIGCONT)
        await until_true(server.ready)
        assert (await server.generate(slow, Ask("a", max_tokens=3))).tokens_out == 3
        await server.close()

    async def test_a_server_that_is_silent_for_a_moment_is_not_hung(
        self, slow: str, site: Any, triton_process: subprocess.Popen[bytes]
    ) -> None:
        server = Server(site.settings)
        await server.probe(slow)
        os.kill(triton_process.pid, signal.SIGSTOP)
        try:
            task = asyncio.create_task(server.generate(slow, Ask("a", max_tokens=3)))
            await asyncio.sleep(client.LOOK_SECONDS + client.LIVE_SECONDS + 1.0)  # beyond the first look, not the second
        finally:
            os.kill(triton_process.pid, signal.SIGCONT)
        assert (await task).tokens_out == 3
        await server.close()

    async def test_others_answer_while_an_engine_is_loaded(self, engine: Engine, slow: str, site: Any) -> None:
        server, ask = Server(site.settings), Ask("a", max_tokens=3)
        folder = triton.repository(site.settings) / "sleeper"
        (folder / "1").mkdir(parents=True)
        text = (triton.repository(site.settings) / slow / "config.pbtxt").read_text()
        (folder / "config.pbtxt").write_text(text.replace(slow, folder.name))
        (folder / "1" / "model.py").write_text(SLEEPER)
        sleeper = Engine(site.settings, folder.name)
        await asyncio.gather(*(server.probe(slow) for _ in range(4)))  # connections that stand open when the load begins
        loading = asyncio.create_task(asyncio.to_thread(sleeper.load))
        await asyncio.sleep(1)
        found = await asyncio.gather(*(server.generate(slow, ask) for _ in range(2)), pieces(server, slow, ask))
        assert len(found) == 3 and not loading.done()
        await loading
        await asyncio.to_thread(sleeper.unload)
        await server.close()

    async def test_a_mend_leaves_the_adapters_answering(self, engine: Engine, site: Any) -> None:
        server = Server(site.settings)
        if isinstance(await outcome(server.generate(engine.name, Ask("a", max_tokens=1))), EngineCrashed):
            await server.mend(engine.name)
        assert (await server.generate(engine.name, Ask(site.greeting, "south", 8))).text == " south [1]"
        await server.close()


async def until_true(ask: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await ask():
            await asyncio.sleep(0.05)


async def test_one_request_that_meets_a_crash_ends_all_that_were_begun_on_that_engine(tmp_path: Path) -> None:
    server = Server(unused(tmp_path))
    waiting, between, elsewhere, first = (client._Flight(server, name) for name in ("e", "e", "other", "e"))

    async def wait(flight: Any) -> None:
        async with flight:
            await asyncio.sleep(60)

    tasks = [asyncio.create_task(wait(flight)) for flight in (waiting, elsewhere)]
    await asyncio.sleep(0)
    with pytest.raises(EngineCrashed):
        async with first:
            raise EngineCrashed("gone")
    with pytest.raises(EngineCrashed):
        await tasks[0]
    with pytest.raises(EngineCrashed):
        await wait(between)  # a stream whose piece its caller had in hand
    assert not tasks[1].done()
    tasks[1].cancel()
    for flight in (waiting, between, elsewhere, first):
        flight.over()
    await server.close()


async def test_a_server_that_is_down_is_one_line(tmp_path: Path) -> None:
    server = Server(unused(tmp_path))
    assert await server.ready() is False
    for work in (server.generate("e", Ask("Jane Doe")), pieces(server, "e", Ask("Jane Doe")), server.ensure_loaded("e")):
        found = await outcome(work)
        assert isinstance(found, Unavailable) and "does not answer" in str(found) and "Jane" not in str(found) and "\n" not in str(found)
    await server.close()


def test_the_configuration_says_what_the_domain_does_and_triton_can_read_it(tmp_path: Path) -> None:
    said = EngineSettings(kind="vllm", queue=7, seconds=2.5, adapters=3, vllm=VLLM(max_num_seqs=5, max_loras=9, max_model_len=99))
    text = triton.config("engine-1", "/a base", tmp_path, said)
    parsed = text_format.Parse(text, model_config_pb2.ModelConfig())
    values = {key: value.string_value for key, value in parsed.parameters.items()}
    assert parsed.model_transaction_policy.decoupled and parsed.max_batch_size == 5
    assert parsed.dynamic_batching.default_queue_policy.max_queue_size == 7
    assert parsed.dynamic_batching.default_queue_policy.default_timeout_microseconds == 2_500_000
    assert (values["kind"], values["slots"], values["keep"], values["seconds"], values["base"]) == ("vllm", "5", "3", "2.5", "/a base")
    assert json.loads(values["vllm"]) == {**said.vllm.model_dump(), "max_loras": 3}
    with pytest.raises(BadInput, match="cannot read the engine's configuration"):
        triton.require_config(text + "max_batch_sise: 3")


def test_an_engine_waits_as_long_as_its_configuration_says(settings: Settings, tmp_path: Path) -> None:
    assert triton.seconds_of(settings, "engine-1") == triton.SECONDS
    (tmp_path / "base").mkdir()
    name = triton.prepare(settings, str(tmp_path / "base"), engine=EngineSettings(seconds=4.5))
    assert triton.seconds_of(settings, name) == 4.5


def test_domains_that_share_a_base_must_agree_on_its_engine(site: Any, tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    shutil.copytree(site.settings.configs, configs)
    settings = site.settings.model_copy(update={"configs": configs, "var": tmp_path / "var", "database_url": None})
    migrate(settings)
    other = type(site)(settings, site.model, site.index_folders)
    for domain in ("regulatory", "clinical"):
        other.candidate(domain, 1)
    name = engine_name(sha256_folder(site.model.base))

    def say(domain: str, **engine: Any) -> None:
        file = configs / "domains" / f"{domain}.yaml"
        file.write_text(json.dumps({**json.loads(file.read_text()), "serving": {"engine": engine}}))

    say("regulatory", slots=4)
    with pytest.raises(ConfigError, match="clinical and regulatory share a base"):
        triton.prepare_known(settings, name)
    say("clinical", slots=4)
    triton.prepare_known(settings, name)
    assert '"slots" value: { string_value: "4" }' in (triton.repository(settings) / name / "config.pbtxt").read_text()
    (configs / "domains" / "regulatory.yaml").unlink()
    say("clinical", slots=5)
    triton.prepare_known(settings, name)
    assert '"slots" value: { string_value: "5" }' in (triton.repository(settings) / name / "config.pbtxt").read_text()


def test_triton_down_is_one_line(tmp_path: Path) -> None:
    settings = unused(tmp_path)
    engine = Engine(settings, "engine-000000000000")
    assert engine.ready() is False
    with pytest.raises(Unavailable, match="Triton does not answer") as caught:
        engine.generate(["Jane Doe's question"])
    assert "\n" not in str(caught.value) and "Jane" not in str(caught.value)


def test_an_engine_no_candidate_rests_on(settings: Settings) -> None:
    with pytest.raises(NotFound, match="no candidate rests on"):
        Engine(settings, "engine-000000000000").ensure_loaded()


def test_clean_removes_this_sites_regions_only(tmp_path: Path) -> None:
    own, other = unused(tmp_path / "own"), unused(tmp_path / "other")
    regions = [triton.SHARED_MEMORY / f"{triton.shared_memory_prefix(settings)}{os.getpid()}" for settings in (own, other)]
    try:
        for region in regions:
            region.touch()
        assert triton.clean(own) == 1
        assert [region.exists() for region in regions] == [False, True]
        assert triton.clean(own) == 0
    finally:
        for region in regions:
            region.unlink(missing_ok=True)


def test_a_missing_environment_and_libpython_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_TRITON_VENV", str(tmp_path / "nothing"))
    with pytest.raises(Unavailable, match="make setup"):
        triton.command(unused(tmp_path))
    monkeypatch.setenv("RATCHET_LIBPYTHON_DIR", str(tmp_path))
    with pytest.raises(Unavailable, match=rf"apt install libpython3\.{sys.version_info.minor}.*RATCHET_LIBPYTHON_DIR"):
        environment.libpython_folder()


def test_every_serving_pin_is_exact_and_numpy_is_below_2() -> None:
    lines = [line for line in environment.REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    assert all(line.count("==") == 1 for line in lines)
    pins = dict(line.split("==") for line in lines)
    assert pins["numpy"].startswith("1.") and pins["nvidia-pytriton"] == "0.7.0"


def test_libpython_is_that_of_the_python_behind_the_serving_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, python = tmp_path / "lib" / "arch", tmp_path / "venv" / "bin" / "python"
    library.mkdir(parents=True)
    (library / f"libpython3.{sys.version_info.minor}.so.1.0").touch()
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\nprintf '%s\\n' {tmp_path / 'lib'} arch /nowhere\n", encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setenv("RATCHET_TRITON_VENV", str(tmp_path / "venv"))
    monkeypatch.delenv("RATCHET_LIBPYTHON_DIR", raising=False)
    assert environment.libpython_folder() == library
