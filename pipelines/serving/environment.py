"""The serving environment: a virtual environment of its own, with Triton's server and the model's packages (numpy < 2).

Set it up with `python -m pipelines.serving.environment`, or by hand:

    python3.11 -m venv .venv-triton
    .venv-triton/bin/pip install --no-compile torch==2.13.0 numpy==1.26.4
    .venv-triton/bin/pip install --no-compile --no-deps -r docker/triton/requirements.txt
    S=.venv-triton/lib/python3.11/site-packages/pytriton/tritonserver
    cp $S/python_backend_stubs/3.11/triton_python_backend_stub $S/backends/python/

Needs nothing but the standard library, so that it runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from pipelines.errors import ConfigError, RatchetError, Unavailable

PROJECT = Path(__file__).resolve().parents[2]
REQUIREMENTS = PROJECT / "docker" / "triton" / "requirements.txt"
STUB = "triton_python_backend_stub"
HOW = "run `python -m pipelines.serving.environment`"


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
    """The folder of the shared libpython that Triton's stub loads. Unavailable where this Python has none."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    given = os.environ.get("RATCHET_LIBPYTHON_DIR")
    libdir = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    folders = [Path(given)] if given else [libdir, libdir / (sysconfig.get_config_var("MULTIARCH") or ""), Path(sys.base_prefix) / "lib"]
    for folder in folders:
        if (folder / name).is_file():
            return folder
    raise Unavailable(
        f"there is no {name}, which Triton needs",
        where=str(folders[0]),
        todo=f"`apt install {name.removesuffix('.so.1.0')}`, or set RATCHET_LIBPYTHON_DIR to its folder",
    )


def set_up() -> bool:
    """Create or finish the environment; False when it was whole already. An interrupted set-up is taken up again."""
    if sys.version_info[:2] != (3, 11):
        raise ConfigError(f"Python {sys.version.split()[0]} cannot run this", todo="use Python 3.11")
    libpython_folder()
    place, mark = venv(), venv() / "ratchet.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if mark.is_file() and mark.read_text() == wanted:
        return False
    pins = {line.split("==")[0]: line for line in REQUIREMENTS.read_text().splitlines() if "==" in line}
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
    _run([sys.executable, "-m", "venv", "--clear", str(place)])
    # torch with its dependencies: which ones it has depends on the wheel (CPU or CUDA).
    _run([*pip, pins["torch"], pins["numpy"]])
    _run([*pip, "--no-deps", "-r", str(REQUIREMENTS)])
    server = server_folder(place)
    stub = server / "backends" / "python" / STUB
    # The server looks for the stub beside the backend, and the wheel keeps one per Python version elsewhere.
    temporary = stub.with_suffix(".tmp")
    shutil.copy2(server / "python_backend_stubs" / f"{sys.version_info.major}.{sys.version_info.minor}" / STUB, temporary)
    temporary.rename(stub)
    mark.write_text(wanted)
    return True


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"`{' '.join(argv[:4])} ...` failed: {last}", todo="see to network and disk, then run it again")


if __name__ == "__main__":
    try:
        set_up()
    except RatchetError as error:
        sys.exit(str(error))
