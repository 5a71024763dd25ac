"""Runs the real Triton server on loopback, with models loaded only when asked for.

The wheel's server is old and has public CVEs, so it never listens beyond loopback; production uses NVIDIA's own container with the same
model repository (docker/triton).
"""

from __future__ import annotations

import importlib.util
import os
import py_compile
import socket
from pathlib import Path

from pipelines.config import PROJECT, Settings
from pipelines.errors import BadInput, NotFound
from pipelines.manifest import sha256, sha256_folder
from pipelines.registry.parts import engine_name
from pipelines.serving import environment

ENGINE = {"model.py": "serving/engine/model.py", "pipelines/training/chat.py": "training/chat.py"}
"""Files of an engine's version folder, which is on the import path there, and where they come from."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps it
MAX_BATCH = 16
SECONDS = 30
"""A request's time in the queue, and in the engine, before it is refused."""

CONFIG = """\
# Written by `ratchet`; changed by hand it is written again.
name: "{name}"
backend: "python"
max_batch_size: {batch}
input [
  {{ name: "PROMPT" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "ADAPTER" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "MAX_TOKENS" data_type: TYPE_INT32 dims: [ 1 ] }},
  {{ name: "CHAT" data_type: TYPE_BOOL dims: [ 1 ] optional: true }}
]
output [
  {{ name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "TOKENS_IN" data_type: TYPE_INT32 dims: [ 1 ] }},
  {{ name: "TOKENS_OUT" data_type: TYPE_INT32 dims: [ 1 ] }},
  {{ name: "CONFIDENCE" data_type: TYPE_FP32 dims: [ 1 ] }}
]
# The engine itself takes a GPU when it finds one; one instance, because its weights are large beside its work.
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
# No delay: a batch is what gathered while the last one ran, so a lone request never waits.
dynamic_batching {{
  default_queue_policy {{ timeout_action: REJECT default_timeout_microseconds: {queue} max_queue_size: 256 }}
}}
parameters [
  {{ key: "base" value: {{ string_value: "{base}" }} }},
  {{ key: "adapters" value: {{ string_value: "{adapters}" }} }},
  {{ key: "keep" value: {{ string_value: "8" }} }},
  {{ key: "seconds" value: {{ string_value: "{seconds}" }} }},
  {{ key: "threads" value: {{ string_value: "0" }} }}
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


def prepare(settings: Settings, base: str, base_sha256: str | None = None) -> str:
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
    config = CONFIG.format(
        name=name, batch=MAX_BATCH, queue=SECONDS * 1_000_000, seconds=SECONDS, base=where, adapters=settings.artifacts / "adapter"
    )
    for file, source in ENGINE.items():
        code = repository(settings) / name / "1" / file
        _write(code, (PROJECT / "pipelines" / source).read_text(encoding="utf-8"), settings.var / "triton")
        compiled = Path(importlib.util.cache_from_source(str(code)))
        if not compiled.is_file() or compiled.stat().st_mtime < code.stat().st_mtime:
            # Else the stub would write it at its first load, and Triton, seeing a changed folder, would restart the engine at the next.
            py_compile.compile(str(code), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    _write(repository(settings) / name / "config.pbtxt", config, settings.var / "triton")
    return name


def prepare_known(settings: Settings, name: str) -> None:
    """Write the engine of that name again, from whichever candidate rests on its base. NotFound when none does."""
    from sqlalchemy import select

    from pipelines.state.database import reading
    from pipelines.state.models import Candidate

    with reading(settings) as session:
        rows = session.execute(select(Candidate.base, Candidate.base_sha256).distinct()).all()
    for base, base_sha256 in rows:
        if engine_name(base_sha256) == name:
            prepare(settings, base, base_sha256)
            return
    if not (repository(settings) / name / "config.pbtxt").is_file():
        raise NotFound(f"no candidate rests on {name}", todo="`ratchet candidates` lists them")


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
