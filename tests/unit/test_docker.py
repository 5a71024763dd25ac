"""docker/: what can be checked of images, compose and manifests without Docker and without a cluster."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipelines.config import PROJECT, Settings
from pipelines.serving.metrics import FAMILIES

DOCKER = PROJECT / "docker"
COMPOSE_TEXT = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SCALE_OUT = (PROJECT / "docs" / "scale-out.md").read_text(encoding="utf-8")
VERSION = "1.34"
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::[-?][^}]*)?\}")
SERVICE_KEYS = {
    "image", "command", "environment", "ports", "volumes", "tmpfs", "healthcheck", "deploy", "depends_on", "restart", "read_only",
    "security_opt", "cap_drop", "cap_add", "user", "network_mode", "profiles", "stop_grace_period", "shm_size", "logging",
}  # fmt: skip
"""Those of the compose specification that are used; a misspelt one is none of them."""


def manifests() -> list[dict[str, Any]]:
    return [
        body for path in sorted((DOCKER / "kubernetes").glob("*.yaml")) for body in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def manifest(kind: str, name: str) -> dict[str, Any]:
    (found,) = [body for body in manifests() if (body["kind"], body["metadata"]["name"]) == (kind, name)]
    return found


# --- compose ------------------------------------------------------------------------------------------------------------


def test_every_part_of_the_production_shape_is_there() -> None:
    assert {
        "postgres", "redis", "minio", "mlflow", "api-server", "scheduler", "dag-processor", "triggerer", "triton-1", "triton-2", "gateway",
        "otel-collector", "prometheus", "grafana",
    } <= SERVICES.keys()  # fmt: skip
    assert {name for name, one in SERVICES.items() if "profiles" in one} == {"minio", "otel-collector", "prometheus", "grafana"}
    assert set(COMPOSE) == {"name", "services", "volumes", *(key for key in COMPOSE if key.startswith("x-"))}


def test_every_variable_is_explained_and_has_its_line_in_the_example() -> None:
    example = (DOCKER / "compose.env.example").read_text(encoding="utf-8")
    variables = set(VARIABLE.findall(COMPOSE_TEXT.replace("$$", "")))
    assert variables == set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))
    for variable in variables:
        assert f"`{variable}`" in SCALE_OUT, variable
    for line in example.splitlines():
        name, mark, value = line.partition("=")
        if mark and name.endswith("_IMAGE"):
            assert value.endswith("@sha256:"), line
        elif mark and re.search("PASSWORD|SECRET|KEY|USER", name):
            assert not value, "no secret is given"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened_bounded_and_local(name: str) -> None:
    one = SERVICES[name]
    assert set(one) <= SERVICE_KEYS
    assert re.fullmatch(r"\$\{[A-Z_]+_IMAGE:\?[^}]+\}", one["image"]), "an image comes by digest, through a variable that must be set"
    assert one["read_only"] is True and one["cap_drop"] == ["ALL"] and one["security_opt"] == ["no-new-privileges:true"]
    assert one["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    for port in one.get("ports", ()):
        assert port.startswith("127.0.0.1:"), port
    # On the host's network it is the command, or the settings, that choose the address.
    if one.get("network_mode") == "host":
        assert "0.0.0.0" not in json.dumps(one)  # noqa: S104 - looked for, not bound to
        assert not one.get("ports"), "nothing is published twice"
    if name != "postgres":  # its entry point becomes its own user
        assert one["user"].split(":")[0] not in ("0", "root")
    once = one["restart"] == "no"
    assert once or name == "otel-collector" or "healthcheck" in one
    for needed, how in one.get("depends_on", {}).items():
        finished = SERVICES[needed]["restart"] == "no"
        assert how["condition"] == ("service_completed_successfully" if finished else "service_healthy")
        assert finished or "healthcheck" in SERVICES[needed]


@pytest.mark.parametrize("name", [name for name, one in SERVICES.items() if "-m" in one.get("command", ())])
def test_a_command_exists_in_the_code(name: str) -> None:
    argv = SERVICES[name]["command"]
    assert argv[:2] == ["python", "-m"] and importlib.util.find_spec(argv[2]) is not None


def test_the_commands_of_ratchet_and_of_the_site_are_these() -> None:
    """As `ratchet up` starts them, so that what is tested is what production runs."""
    from typer.main import get_command

    from pipelines.cli import app
    from pipelines.site.services import _airflow, _gateway

    assert SERVICES["migrate"]["command"] == ["python", "-m", "pipelines", "migrate"]
    assert "migrate" in get_command(app).commands  # type: ignore[attr-defined]
    assert (PROJECT / SERVICES["access"]["command"][1]).is_file()
    own = {one.name: one.argv[1:] for one in [*_airflow(Settings()), _gateway(Settings())] if not one.once}
    for name, argv in own.items():
        assert SERVICES[name]["command"][1:] == argv, name


def test_volumes_files_and_the_environment_are_there() -> None:
    from pipelines.parsing import parse

    for one in SERVICES.values():
        for volume in one.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DOCKER / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"], volume
    settings = parse(Settings, yaml.safe_load((DOCKER / "environment.yaml").read_text()), "docker/environment.yaml")
    for number, instance in enumerate(settings.tritons, 1):
        command = SERVICES[f"triton-{number}"]["command"]
        assert f"--http-port={instance.http.split(':')[1]}" in command and f"--grpc-port={instance.grpc.split(':')[1]}" in command
        assert {f"--{part}-address=127.0.0.1" for part in ("http", "grpc", "metrics")} <= set(command)
    assert len(settings.tritons) == sum(name.startswith("triton-") for name in SERVICES)


def test_every_file_an_image_copies_is_there_and_no_base_is_left_open() -> None:
    for path in DOCKER.glob("*/Dockerfile"):
        text = path.read_text(encoding="utf-8")
        assert "ARG BASE\nFROM ${BASE}" in text
        place = path.parent if path.parent.name == "triton" else PROJECT
        for source in re.findall(r"^COPY (\S+) ", text, re.MULTILINE):
            assert (place / source).exists(), f"{path}: {source}"


def test_prometheus_reads_families_that_exist() -> None:
    rules = (DOCKER / "observe" / "rules.yaml").read_text(encoding="utf-8")
    for path in ("observe/rules.yaml", "observe/prometheus.yaml", "observe/collector.yaml"):
        assert yaml.safe_load((DOCKER / path).read_text(encoding="utf-8"))
    known = set(FAMILIES) | {"ratchet_pointer_age_seconds"}
    for name in set(re.findall(r"ratchet_[a-z_]+", rules)):
        assert re.sub(r"_(total|bucket|sum|count)$", "", name) in known, name
    for runbook in re.findall(r"docs/runbooks/[a-z-]+\.md", rules):
        assert (PROJECT / runbook).is_file(), runbook


@pytest.mark.parametrize("page", ["docs/scale-out.md", "docs/runbooks/slow.md", "docs/runbooks/triton-down.md", "docs/api.md"])
def test_a_page_names_commands_metrics_and_pages_that_exist(page: str) -> None:
    from typer.main import get_command

    from pipelines.cli import app

    text = (PROJECT / page).read_text(encoding="utf-8")
    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    for first, second in re.findall(r"(?:ratchet|python -m pipelines) ([a-z]+)(?: ([a-z]+))?", re.sub(r"ratchet-\S+", "", text)):
        if f"ratchet {first}" in text and re.search(rf"(`|^|m pipelines )(ratchet )?{first}", text, re.MULTILINE):
            assert first in commands, first
            assert not hasattr(commands[first], "commands") or second in commands[first].commands, (first, second)
    known = set(FAMILIES) | {"ratchet_pointer_age_seconds"}
    for name in re.findall(r"ratchet_[a-z]+(?:_[a-z]+)+", text):
        if not name.startswith("ratchet_engine_"):  # of the engine itself, in Triton
            assert re.sub(r"_(total|bucket|sum|count)$", "", name) in known, name
    for other in re.findall(r"docs/[a-z/-]+\.md", text):
        assert (PROJECT / other).is_file() or other == "docs/access.md", other


# --- Kubernetes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", manifests(), ids=lambda body: f"{body['kind']} {body['metadata']['name']}")
def test_a_manifest_is_what_the_api_takes(body: dict[str, Any]) -> None:
    kubernetes_validate.validate(body, VERSION, strict=True)
    assert body["kind"] == "Namespace" or body["metadata"]["namespace"] == "ratchet"


def test_a_manifest_that_is_wrong_is_refused() -> None:
    wrong = manifest("Service", "gateway")
    wrong["spec"]["portz"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


@pytest.mark.parametrize(("kind", "name"), [("Deployment", "gateway"), ("StatefulSet", "triton")])
def test_a_pod_is_restricted_drained_and_selected(kind: str, name: str) -> None:
    made = manifest(kind, name)
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert "@sha256:" in container["image"]
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    secured = container["securityContext"]
    assert secured == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
    assert container["resources"].keys() == {"requests", "limits"}
    labels = made["spec"]["template"]["metadata"]["labels"]
    for one in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        selector = manifest(one, name)["spec"]
        chosen = selector.get("podSelector") or selector["selector"]
        assert (chosen.get("matchLabels") or chosen).items() <= labels.items()
    scaled = manifest("HorizontalPodAutoscaler", name)["spec"]
    assert scaled["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": kind, "name": name} and scaled["minReplicas"] >= 2


def test_draining_takes_less_than_the_pod_is_given() -> None:
    gateway = (PROJECT / "pipelines" / "serving" / "gateway.py").read_text(encoding="utf-8")
    (graceful,) = re.findall(r"timeout_graceful_shutdown=(\d+)", gateway)
    for kind, name, ending in (("Deployment", "gateway", int(graceful)), ("StatefulSet", "triton", 10)):
        pod = manifest(kind, name)["spec"]["template"]["spec"]
        pause = int(re.findall(r"\d+$", pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1])[0])
        assert pause + ending < pod["terminationGracePeriodSeconds"], name
    assert int(SERVICES["gateway"]["stop_grace_period"].rstrip("s")) > int(graceful)


def test_a_triton_that_ends_says_so_in_the_file_that_gateways_look_for() -> None:
    from pipelines.serving.fleet import drain_file

    pod = manifest("StatefulSet", "triton")["spec"]["template"]["spec"]["containers"][0]
    name = drain_file(Settings(), "triton-0.triton.ratchet.svc:8000").name.replace("triton-0", "$HOSTNAME", 1)
    for hook in ("preStop", "postStart"):
        assert f"/drain/{name}" in pod["lifecycle"][hook]["exec"]["command"][-1]
    mounted = {one["mountPath"]: one.get("subPath") for one in pod["volumeMounts"]}
    assert mounted["/drain"] == drain_file(Settings(), "x").parent.relative_to(Settings().var).as_posix()


def test_as_many_tritons_are_known_as_there_may_be() -> None:
    from pipelines.parsing import parse

    text = manifest("ConfigMap", "ratchet-site")["data"]["kubernetes.yaml"]
    settings = parse(Settings, yaml.safe_load(text), "site.yaml")
    assert len(settings.tritons) == manifest("HorizontalPodAutoscaler", "triton")["spec"]["maxReplicas"]
    for number, instance in enumerate(settings.tritons):
        assert instance.http == f"triton-{number}.triton.ratchet.svc:8000"


def test_triton_is_reached_by_gateways_only_and_reaches_nobody() -> None:
    policy = manifest("NetworkPolicy", "triton")["spec"]
    inference, metrics = policy["ingress"]
    assert inference["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway"}}}]
    assert metrics["ports"] == [{"port": 8002}] and policy["egress"] == [] and policy["policyTypes"] == ["Ingress", "Egress"]


def test_the_autoscaler_asks_for_the_metric_that_the_rule_makes() -> None:
    rule = yaml.safe_load(manifest("ConfigMap", "ratchet-adapter-rule")["data"]["rules.yaml"])["rules"][0]
    (wanted,) = manifest("HorizontalPodAutoscaler", "triton")["spec"]["metrics"]
    assert wanted["pods"]["metric"]["name"] == rule["name"]["as"]
    assert "nv_inference_queue_duration_us" in rule["metricsQuery"] and "nv_inference_request_success" in rule["metricsQuery"]


# --- the probe of a Triton's pod, as it is written there --------------------------------------------------------------------


class Fake(BaseHTTPRequestHandler):
    """Triton's two endpoints, as the probe knows them; `says` is what an inference answers."""

    says: tuple[int, bytes] = (200, b'{"TEXT": ""}')
    models: tuple[str, ...] = ("llm_a",)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        index = self.path == "/v2/repository/index"
        status, body = (200, json.dumps([{"name": name, "state": "READY"} for name in self.models]).encode()) if index else self.says
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def triton() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("says", "models", "code"),
    [
        ((200, b'{"TEXT": ""}'), ("a", "b"), 0),
        ((500, b'{"error": "Stub process a_0 is not healthy."}'), ("a",), 1),
        ((500, b'{"error": "timeout: the queue is full"}'), ("a",), 0),
        ((500, b"x"), (), 0),
    ],
    ids=["answers", "crashed", "busy", "nothing loaded"],
)
def test_the_probe_tells_a_crashed_engine_from_a_busy_one(
    triton: str, monkeypatch: pytest.MonkeyPatch, says: tuple[int, bytes], models: tuple[str, ...], code: int
) -> None:
    monkeypatch.setattr(Fake, "says", says)
    monkeypatch.setattr(Fake, "models", models)
    script = manifest("ConfigMap", "triton-probe")["data"]["probe.py"]
    done = subprocess.run([sys.executable, "-c", script], env={"TRITON_URL": triton}, capture_output=True, check=False)
    assert done.returncode == code, done.stderr


def test_the_probe_gives_every_input_that_the_engine_must_have() -> None:
    from pipelines.serving import triton

    script = manifest("ConfigMap", "triton-probe")["data"]["probe.py"]
    inputs = triton.CONFIG.split("input [")[1].split("\n]")[0].splitlines()
    needed = {line.split('"')[1] for line in inputs if "name:" in line and "optional" not in line}
    assert needed and needed <= set(re.findall(r'"([A-Z_]+)":', script))


def test_the_probe_fails_where_nobody_listens() -> None:
    from free_ports import free_port

    script = manifest("ConfigMap", "triton-probe")["data"]["probe.py"]
    env = {"TRITON_URL": f"http://127.0.0.1:{free_port()}"}
    assert subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, check=False).returncode == 1
