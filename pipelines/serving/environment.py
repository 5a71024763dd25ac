"""The serving environment: a virtual environment of its own, with Triton's server and the model's packages (numpy < 2).

`make setup` makes it (`scripts/setup.py`); this module finds it, and the libpython that its stub loads.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

from pipelines.errors import Unavailable

PROJECT = Path(__file__).resolve().parents[2]
REQUIREMENTS = PROJECT / "docker" / "triton" / "requirements.txt"
STUB = "triton_python_backend_stub"
HOW = "run `make setup`"


def venv() -> Path:
    """`.venv-triton` of the project, or RATCHET_TRITON_VENV."""
    return Path(os.environ.get("RATCHET_TRITON_VENV", PROJECT / ".venv-triton"))


def server_folder(place: Path) -> Path:
    """Where the wheel keeps bin/, backends/ and caches/."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return place / "lib" / version / "site-packages" / "pytriton" / "tritonserver"


def require() -> Path:
    """The environment's folder. Unavailable, with what to do, unless it was set up to its end from the present requirements."""
    place = venv()
    if not (server_folder(place) / "backends" / "python" / STUB).is_file():
        raise Unavailable("the serving environment is not set up", where=str(place), todo=HOW)
    return place


def libpython_folder() -> Path:
    """The folder of the shared libpython that Triton's stub loads: that of the Python which made the serving environment.

    Another build of the same version lacks symbols that this one's modules want, and the engine then dies at its first import.
    Unavailable where there is none.
    """
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    given = os.environ.get("RATCHET_LIBPYTHON_DIR")
    folders = [Path(given)] if given else _library_folders(venv() / "bin" / "python")
    for folder in folders:
        if (folder / name).is_file():
            return folder
    raise Unavailable(
        f"there is no {name}, which Triton needs",
        where=str(folders[0]),
        todo=f"`apt install {name.removesuffix('.so.1.0')}`, or set RATCHET_LIBPYTHON_DIR to its folder",
    )


def _library_folders(python: Path) -> list[Path]:
    """Where the installation behind an interpreter keeps its shared libraries; of this interpreter where that one does not run."""
    ask = "import sys, sysconfig as s; print(s.get_config_var('LIBDIR'), s.get_config_var('MULTIARCH'), sys.base_prefix, sep='\n')"
    found: list[str] = []
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run([str(python), "-I", "-c", ask], capture_output=True, text=True, timeout=30, check=True)
        found = done.stdout.splitlines()
    libdir, arch, prefix = found or [str(sysconfig.get_config_var("LIBDIR")), str(sysconfig.get_config_var("MULTIARCH")), sys.base_prefix]
    return [Path(libdir), Path(libdir) / arch, Path(prefix) / "lib"]
