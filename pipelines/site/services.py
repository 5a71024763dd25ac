"""The processes of the local stack: how each is started, how one sees that it works, and when it is stopped."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from pipelines.config import Settings
from pipelines.site import users
from pipelines.site.airflow_env import airflow_env, airflow_home, ratchet_env


@dataclass(frozen=True, slots=True)
class Service:
    """One child of the supervisor. Plain data: the plan is handed to the supervisor as JSON."""

    name: str
    argv: list[str]
    env: dict[str, str] = field(repr=False)
    url: str = ""
    """Where a person or a client finds it."""
    health: str = ""
    """An address that answers 200 when it works; empty: being alive is enough."""
    heartbeat: str = ""
    """Instead: the component's name in Airflow's own health report at `health`."""
    port: str = ""
    """Which of the configured ports it listens on: checked before anything starts."""
    after: str = ""
    """Starts when this one-off has ended well."""
    once: bool = False
    wave: int = 0
    """Stopped in rising order: what creates work before what serves it."""
    grace: float = 15.0
    """Seconds between SIGTERM and SIGKILL."""


ALL = ("setup", "mlflow", "triton", "gateway", "watcher", "api-server", "scheduler", "dag-processor", "triggerer")


def services(settings: Settings, only: tuple[str, ...] = ()) -> list[Service]:
    """The stack in the order of starting; `only` picks some by name (`setup` comes along with any part of Airflow)."""
    wanted = only or ALL
    found = [*_airflow(settings), *(_mlflow(settings) if "mlflow" in wanted else ())]
    if "triton" in wanted:
        found.append(_triton(settings))
    if "gateway" in wanted:
        found.append(_gateway(settings))
    if "watcher" in wanted:
        found.append(_watcher(settings))
    needs_setup = any(service.name in wanted and service.after for service in found)
    return [service for service in found if service.name in wanted or (service.once and needs_setup)]


def _airflow(settings: Settings) -> list[Service]:
    env = _environ(airflow_env(settings))
    report = f"{settings.url('airflow')}/api/v2/monitor/health"
    airflow = [sys.executable, "-m", "airflow"]

    def part(name: str, *options: str, **more: Any) -> Service:
        return Service(name, [*airflow, name, *options], env, health=report, after="setup", **more)

    listen = ("--host", settings.host, "--port", str(settings.ports.airflow), "--workers", "1")
    return [
        Service("setup", [sys.executable, "-m", "pipelines.site.users"], env, once=True),
        part("api-server", *listen, url=settings.url("airflow"), port="airflow", wave=1, grace=4),
        # Logs are read from disk by the API server: no log server, no further port.
        part("scheduler", "--skip-serve-logs", heartbeat="scheduler", grace=10),
        part("dag-processor", heartbeat="dag_processor"),
        part("triggerer", "--skip-serve-logs", heartbeat="triggerer"),
    ]


def _mlflow(settings: Settings) -> list[Service]:
    home, url = settings.var / "mlflow", settings.url("mlflow")
    argv = [sys.executable, "-m", "pipelines.site.mlflow_server", settings.host, str(settings.ports.mlflow), str(home)]
    return [Service("mlflow", argv, _environ(ratchet_env(settings)), url=url, health=f"{url}/health", port="mlflow", wave=1)]


def _triton(settings: Settings) -> Service:
    from pipelines.serving import triton

    argv, env = triton.command(settings)
    url = settings.url("triton_http")
    return Service("triton", argv, env, url=url, health=f"{url}/v2/health/live", port="triton_http", wave=1)


def _gateway(settings: Settings) -> Service:
    url = settings.url("gateway")
    argv = [sys.executable, "-m", "pipelines.serving.gateway"]
    return Service("gateway", argv, _environ(ratchet_env(settings)), url=url, health=f"{url}/health", port="gateway")


def _watcher(settings: Settings) -> Service:
    """Needs the control database and the traffic log alone: with Airflow down it still tells people, and takes a bad release back."""
    return Service("watcher", [sys.executable, "-m", "pipelines.monitoring.watcher"], _environ(ratchet_env(settings)))


def _environ(env: dict[str, str]) -> dict[str, str]:
    return {**users.clean_environ(), **env}


def prepare(settings: Settings) -> None:
    """Folders that services expect."""
    for folder in (settings.logs, settings.var / "run", airflow_home(settings), settings.artifacts):
        folder.mkdir(parents=True, exist_ok=True)
