"""The objects of a job on Kubernetes, as the API takes them: pure functions of job and profile.

One pod per node under an indexed Job, found by the others under `<job>-<index>.<SERVICE>`. A pod runs as an ordinary user with no
capability, no service-account token and a read-only image; it writes to `var` and to memory. One lost pod ends the Job: the next try
resumes from the checkpoint, under the budget of Airflow's retries instead of a second one here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.compute.environment import environment
from pipelines.compute.files import LOG
from pipelines.compute_config import Kubernetes
from pipelines.config import Settings

SERVICE = "ratchet-jobs"
"""Headless, one per namespace: it gives the pods of every job their names."""

APP = {"app.kubernetes.io/name": "ratchet", "app.kubernetes.io/component": "step"}


def service(profile: Kubernetes) -> dict[str, Any]:
    """The headless Service. Names resolve before a pod is ready: the pods meet each other while they start."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": profile.namespace, "labels": APP},
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": APP},
    }


def job(settings: Settings, name: str, words: str, place: Path, configs: Path, argv: list[str], profile: Kubernetes) -> dict[str, Any]:
    """The indexed Job. `words` is our name of the job, for people; `configs` is the configuration as it was submitted, below `var`."""
    labels = {**APP, **({"kueue.x-k8s.io/queue-name": profile.queue} if profile.queue else {})}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": profile.namespace, "labels": labels, "annotations": {"ratchet/job": words}},
        "spec": {
            "completionMode": "Indexed",
            "completions": profile.nodes,
            "parallelism": profile.nodes,
            "backoffLimit": 0,
            "activeDeadlineSeconds": profile.time_limit_minutes * 60,
            "ttlSecondsAfterFinished": profile.keep_seconds,
            "template": {"metadata": {"labels": APP}, "spec": _pod(settings, name, place, configs, argv, profile)},
        },
    }


def _pod(settings: Settings, name: str, place: Path, configs: Path, argv: list[str], profile: Kubernetes) -> dict[str, Any]:
    spec = {
        "restartPolicy": "Never",
        "subdomain": SERVICE,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": round(profile.stop_seconds),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": profile.user,
            "runAsGroup": profile.user,
            "fsGroup": profile.user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(settings, name, place, configs, argv, profile)],
        "volumes": [
            {"name": "var", "persistentVolumeClaim": {"claimName": profile.claim}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": _gigabytes(profile.shm_gb)}},
        ],
    }
    return spec | ({"nodeSelector": dict(profile.node_selector)} if profile.node_selector else {})


def _container(settings: Settings, name: str, place: Path, configs: Path, argv: list[str], profile: Kubernetes) -> dict[str, Any]:
    values = environment(settings, profile) | {
        "HOME": "/tmp",  # noqa: S108 -- the pod's own
        "RATCHET_CONFIGS": str(configs),
        "RATCHET_HEAD": f"{name}-0.{SERVICE}",
        "RATCHET_LOG": str(place / LOG),
    }
    of_pod = {"RATCHET_ADDRESS": "status.podIP", "RATCHET_SUBMISSION": "metadata.labels['batch.kubernetes.io/controller-uid']"}
    env: list[dict[str, Any]] = [{"name": key, "value": value} for key, value in sorted(values.items())]
    env += [{"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in sorted(of_pod.items())]
    resources = {"cpu": str(profile.cpus_per_node)}
    if profile.memory_gb_per_node is not None:
        resources["memory"] = _gigabytes(profile.memory_gb_per_node)
    if profile.gpus_per_node:
        resources[profile.gpu_resource] = str(profile.gpus_per_node)
    container = {
        "name": "step",
        "image": profile.image,
        "command": [profile.python or "python3", "-m", "pipelines.compute.inside", str(place), *argv],
        "workingDir": profile.project or "/",
        "env": env,
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "var", "mountPath": str(settings.var)},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
        ],
    }
    return container | ({"envFrom": [{"secretRef": {"name": profile.secret}}]} if profile.secret else {})


def _gigabytes(value: float) -> str:
    return f"{round(value * 1024)}Mi"
