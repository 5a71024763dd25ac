"""The real Triton: loading, adapters, a crashed engine, what is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.config import Ports, Settings
from pipelines.errors import BadInput, NotFound, RatchetError, Unavailable
from pipelines.serving import client, environment, triton
from pipelines.serving.client import Engine, EngineCrashed

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
services = pytest.mark.services


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

    def test_more_prompts_than_a_batch_keep_their_order(self, engine: Engine, site: Any) -> None:
        found = engine.generate(["x" * (place + 1) for place in range(triton.MAX_BATCH + 5)], "north", 1)
        lengths = [one.tokens_in for one in found]
        assert len(found) == triton.MAX_BATCH + 5 and lengths == sorted(lengths) and lengths[-1] > lengths[0]

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
