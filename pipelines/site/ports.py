"""Checks that every configured port is free before anything starts: a half-started stack is worse than none."""

from __future__ import annotations

import socket

import psutil

from pipelines.config import Ports, Settings
from pipelines.errors import BadInput


def require_free(settings: Settings, names: tuple[str, ...] | None = None) -> None:
    """BadInput naming every taken port, who holds it (where the system tells) and the variable that moves ours."""
    faults: list[str] = []
    seen: dict[int, str] = {}
    for name in names or tuple(Ports.model_fields):
        port: int = getattr(settings.ports, name)
        variable = f"RATCHET_PORT_{name.upper()}"
        if port in seen:
            faults.append(f"port {port} is asked for by both {seen[port]} and {variable}")
        elif not _free(settings.host, port):
            holder = _holder(port)
            faults.append(f"port {port} is taken{f' by {holder}' if holder else ''}: set {variable} to a free one")
        seen[port] = variable
    if faults:
        raise BadInput("; ".join(faults), todo="or stop what holds it, then run `ratchet up` again")


def _free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Servers set this too: a connection in TIME_WAIT from the last stop is not a holder.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _holder(port: int) -> str:
    """`name (pid 123)`, or empty when the process belongs to somebody we may not look at."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass
    return ""
