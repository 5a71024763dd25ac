"""What must be true of this host before anything starts; each fault is one line that says what to do."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from pipelines.config import Settings
from pipelines.errors import BadInput, RatchetError
from pipelines.site import ports

NEEDED_GB = 2.0


def require_python(version: tuple[int, ...] = tuple(sys.version_info[:2])) -> None:
    """Airflow, the serving stub and the locks are for 3.11."""
    if version != (3, 11):
        found = ".".join(map(str, version))
        raise BadInput(f"Python {found} is not supported", todo="set up with Python 3.11: `make setup PYTHON=python3.11`")


def require_libpython() -> Path:
    """The folder of this Python's shared library, which Triton's Python backend loads."""
    from pipelines.serving import environment

    return environment.libpython_folder()


def require_disk(settings: Settings, needed_gb: float = NEEDED_GB) -> None:
    """Room for databases, checkpoints and logs."""
    place = settings.var
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    if free < needed_gb:
        raise BadInput(
            f"only {free:.1f} GB free, {needed_gb:.0f} GB needed", where=str(settings.var), todo="free some space, or set RATCHET_VAR"
        )


def doctor_site(settings: Settings, *, running: bool) -> list[str]:
    """One line per fault of this host; ports are looked at only while the site is down."""
    checks: list[Callable[[], object]] = [require_python, require_libpython, lambda: require_disk(settings)]
    if not running:
        checks.append(lambda: ports.require_free(settings))
    faults = []
    for check in checks:
        try:
            check()
        except RatchetError as error:
            faults.append(str(error))
    return faults
