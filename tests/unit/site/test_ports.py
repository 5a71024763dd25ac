"""A taken port is named, with its holder and the variable that moves ours."""

from __future__ import annotations

import os
import socket

import pytest
from free_ports import free_port

from pipelines.config import Ports, Settings
from pipelines.errors import BadInput
from pipelines.site import ports


def with_ports(settings: Settings, **values: int) -> Settings:
    return settings.model_copy(update={"ports": Ports(**values)})


def test_a_taken_port_is_one_line_with_what_to_do(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInput) as caught:
            ports.require_free(with_ports(settings, mlflow=port), ("mlflow",))
    text = str(caught.value)
    assert f"port {port} is taken" in text and f"(pid {os.getpid()})" in text and "RATCHET_PORT_MLFLOW" in text
    assert "\n" not in text


def test_two_services_on_one_port_are_told_apart(settings: Settings) -> None:
    port = free_port()
    with pytest.raises(BadInput, match="asked for by both RATCHET_PORT_MLFLOW and RATCHET_PORT_GATEWAY"):
        ports.require_free(with_ports(settings, mlflow=port, gateway=port), ("mlflow", "gateway"))


def test_free_ports_pass(settings: Settings) -> None:
    ports.require_free(with_ports(settings, mlflow=free_port()), ("mlflow",))
