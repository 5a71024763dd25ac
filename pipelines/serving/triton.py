"""Runs the real Triton server on loopback, with models loaded only when asked for.

The wheel's server is old and has public CVEs, so it never listens beyond loopback; production uses NVIDIA's own container with the same
model repository (docker/triton).
"""

from __future__ import annotations

import importlib.util
import json
import os
import py_compile
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from pipelines.config import PROJECT, Settings, load_domain
from pipelines.errors import BadInput, ConfigError, NotFound
from pipelines.manifest import sha256, sha256_folder
from pipelines.registry.parts import engine_name
from pipelines.serving import environment
from pipelines.serving_config import EngineSettings

_ALONE = ("adapters", "base", "cache", "decoder", "lora", "scheduler", "vllm_engine", "work")
ENGINE = {
    "model.py": "serving/engine/model.py",
    **{f"pipelines/serving/engine/{name}.py": f"serving/engine/{name}.py" for name in _ALONE},
    "pipelines/training/chat.py": "training/chat.py",
}
"""Files of an engine's version folder, which is on the import path there, and where they come from."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps it
SECONDS = EngineSettings().seconds
"""A request's time in the queue, and again in the engine, where the domain says nothing else."""

CONFIG = """\
# Written by `ratchet`; changed by hand it is written again.
name: "{name}"
backend: "python"
# Each request is one prompt, and the engine itself decides which run together. Triton hands over as many at once as wait, for after each
# hand-over its batcher may miss the call that the engine is free, and sleeps up to half a second: one by one, sixteen took three seconds.
max_batch_size: {slots}
model_transaction_policy {{ decoupled: true }}
input [
  {{ name: "PROMPT" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "ADAPTER" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "MAX_TOKENS" data_type: TYPE_INT32 dims: [ 1 ] }},
  {{ name: "CHAT" data_type: TYPE_BOOL dims: [ 1 ] optional: true }},
  {{ name: "STREAM" data_type: TYPE_BOOL dims: [ 1 ] optional: true }},
  {{ name: "ADAPTER_SHA256" data_type: TYPE_STRING dims: [ 1 ] optional: true }}
]
output [
  {{ name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "TOKENS_IN" data_type: TYPE_INT32 dims: [ 1 ] }},
  {{ name: "TOKENS_OUT" data_type: TYPE_INT32 dims: [ 1 ] }},
  {{ name: "CONFIDENCE" data_type: TYPE_FP32 dims: [ 1 ] }},
  {{ name: "MIN_LOGPROB" data_type: TYPE_FP32 dims: [ 1 ] }},
  {{ name: "FINAL" data_type: TYPE_BOOL dims: [ 1 ] }}
]
# The engine itself takes a GPU when it finds one; one instance, because its weights are large beside its work.
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
dynamic_batching {{
  default_queue_policy {{ timeout_action: REJECT default_timeout_microseconds: {microseconds} max_queue_size: {queue} }}
}}
parameters [
{parameters}
]
"""


def repository(settings: Settings) -> Path:
    """The model repository: one folder per engine."""
    return settings.var / "triton" / "models"


def command(settings: Settings) -> tuple[list[str], dict[str, str]]:
    """(argv, whole environment) that run the server. Unavailable when the environment or libpython is missing."""
    place = environment.require()
    server = environment.server_folder(place)
    libpython = environment.libpython_folder()
    repository(settings).mkdir(parents=True, exist_ok=True)
    ports = settings.ports
    argv = [
        str(server / "bin" / "tritonserver"),
        f"--model-repository={repository(settings)}",
        "--model-control-mode=explicit",
        f"--backend-directory={server / 'backends'}",
        f"--cache-directory={server / 'caches'}",
        f"--backend-config=python,shm-region-prefix-name={shared_memory_prefix(settings)}",
        # Another address would publish a server with known holes.
        *(f"--{part}-address=127.0.0.1" for part in ("http", "grpc", "metrics")),
        f"--http-port={ports.triton_http}",
        f"--grpc-port={ports.triton_grpc}",
        f"--metrics-port={ports.triton_metrics}",
        # Guessing a configuration costs seconds per load, and ours is complete.
        "--disable-auto-complete-config",
        # Strict, one failed load would make the whole server "not ready" until that name loads.
        "--strict-readiness=false",
        "--exit-timeout-secs=5",
    ]
    env = {
        key: os.environ[key] for key in ("HOME", "LANG", "TMPDIR", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES") if key in os.environ
    }
    # The stub takes its packages from the first python3 on PATH, and its libpython from the loader.
    env["PATH"] = f"{place / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    env["LD_LIBRARY_PATH"] = str(libpython)
    env |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONWARNINGS": "ignore"}
    return argv, env


def config(name: str, base: str, adapters: Path, engine: EngineSettings) -> str:
    """The engine's `config.pbtxt`. BadInput when Triton's own schema does not take it."""
    vllm = engine.vllm.model_dump(mode="json")
    slots = engine.vllm.max_num_seqs if engine.kind == "vllm" else engine.slots
    parameters = {
        "kind": engine.kind,
        "base": base,
        "adapters": str(adapters),
        "slots": str(slots),
        "keep": str(engine.adapters),
        "seconds": f"{engine.seconds:g}",
        "threads": "0",
        "vllm": json.dumps({**vllm, "max_loras": min(engine.vllm.max_loras, engine.adapters)}),
    }
    lines = [f"  {{ key: {json.dumps(key)} value: {{ string_value: {json.dumps(value)} }} }}" for key, value in parameters.items()]
    wait = round(engine.seconds * 1_000_000)
    text = CONFIG.format(name=name, slots=slots, microseconds=wait, queue=engine.queue, parameters=",\n".join(lines))
    require_config(text)
    return text


def require_config(text: str) -> None:
    """BadInput unless Triton's own schema takes the text, with the line at fault."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise BadInput(f"Triton cannot read the engine's configuration: {error}", todo="see docs/engine.md") from error


def prepare(settings: Settings, base: str, base_sha256: str | None = None, engine: EngineSettings | None = None) -> str:
    """Write the engine of a base into the repository; returns its name. Nothing is touched when nothing changed, so that a later
    load is a no-op. `base` is a folder, relative to the project or absolute, or a hub name that is in the local cache."""
    folder = PROJECT / base
    if base_sha256 is None and not folder.is_dir():
        raise NotFound(f"there is no folder {base!r}", todo="give a local base model, or the hash of its name and revision")
    name = engine_name(base_sha256 or sha256_folder(folder))
    where = str(folder) if folder.is_dir() else base
    if any(mark in f"{where}{settings.artifacts}" for mark in '"\\\n'):
        raise BadInput("a path holds a quote, a backslash or a line break", where=where, todo="rename the folder")
    (settings.artifacts / "adapter").mkdir(parents=True, exist_ok=True)
    text = config(name, where, settings.artifacts / "adapter", engine or EngineSettings())
    for file, source in ENGINE.items():
        code = repository(settings) / name / "1" / file
        _write(code, (PROJECT / "pipelines" / source).read_text(encoding="utf-8"), settings.var / "triton")
        compiled = Path(importlib.util.cache_from_source(str(code)))
        if not compiled.is_file() or compiled.stat().st_mtime < code.stat().st_mtime:
            # Else the stub would write it at its first load, and Triton, seeing a changed folder, would restart the engine at the next.
            py_compile.compile(str(code), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    _write(repository(settings) / name / "config.pbtxt", text, settings.var / "triton")
    return name


def seconds_of(settings: Settings, name: str) -> float:
    """A request's time in the queue of that engine, and again in the engine, as its configuration here says."""
    path = repository(settings) / name / "config.pbtxt"
    try:
        return _seconds(path, path.stat().st_mtime_ns)
    except OSError:
        return SECONDS


@lru_cache(32)
def _seconds(path: Path, _written: int) -> float:
    found = re.search(r'"seconds" value: \{ string_value: "([0-9.e+-]+)"', path.read_text(encoding="utf-8"))
    return float(found.group(1)) if found else SECONDS


def prepare_known(settings: Settings, name: str) -> None:
    """Write the engine of that name again, from whichever candidate rests on its base, as the domains that use it say. NotFound when
    none does; ConfigError when two of them disagree."""
    from sqlalchemy import select

    from pipelines.state.database import reading
    from pipelines.state.models import Candidate

    with reading(settings) as session:
        rows = session.execute(select(Candidate.domain, Candidate.base, Candidate.base_sha256).distinct()).all()
    rows = [row for row in rows if engine_name(row.base_sha256) == name]
    if rows:
        prepare(settings, rows[0].base, rows[0].base_sha256, _agreed(settings, sorted({row.domain for row in rows})))
    elif not (repository(settings) / name / "config.pbtxt").is_file():
        raise NotFound(f"no candidate rests on {name}", todo="`ratchet candidates` lists them")


def _agreed(settings: Settings, domains: Sequence[str]) -> EngineSettings:
    """What the domains that share a base say of its engine. One whose file is gone has no say."""
    said = {}
    for domain in domains:
        with suppress(NotFound):
            said[domain] = load_domain(domain, settings).serving.engine
    for domain, engine in said.items():
        first = next(iter(said))
        if engine != said[first]:
            raise ConfigError(
                f"{first} and {domain} share a base and say different things of its engine",
                where="serving.engine",
                todo="say the same in both files",
            )
    return next(iter(said.values()), EngineSettings())


def shared_memory_prefix(settings: Settings) -> str:
    """Names this site's regions, so that cleaning up cannot touch another's."""
    return f"ratchet_{sha256(str(settings.var.resolve()))[:10]}_"


def clean(settings: Settings) -> int:
    """Remove the shared memory an unclean exit of this site's server left; returns how many regions. Nothing while a server runs."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        if probe.connect_ex(("127.0.0.1", settings.ports.triton_http)) == 0:
            return 0
    regions = [path for path in SHARED_MEMORY.glob("*") if shared_memory_prefix(settings) in path.name]
    for region in regions:
        region.unlink(missing_ok=True)
    return len(regions)


def _write(path: Path, text: str, scratch: Path) -> None:
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written outside the repository: the server may be looking at it.
    temporary = scratch / f".{path.name}.{os.getpid()}"
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(path)
