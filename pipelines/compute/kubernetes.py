"""Runs a heavy step as an indexed Job on Kubernetes, submitted once.

The Job's name is derived from ours, and the API server refuses a second object of one name: an answer that was lost, or a caller that was
killed, finds `409 AlreadyExists`. A Job that failed without a result is deleted, by its uid, before its name is used again.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any

from pipelines.compute import kubernetes_calls as calls
from pipelines.compute import kubernetes_manifest as manifest
from pipelines.compute.files import RESULT, State, begin, folder, settled
from pipelines.compute_config import Kubernetes
from pipelines.config import Settings
from pipelines.errors import Unavailable
from pipelines.manifest import sha256


def object_name(settings: Settings, job: str) -> str:
    """What Kubernetes calls the job; its pods add `-<index>` and must stay below 64 characters."""
    words = re.sub(r"[^a-z0-9]+", "-", "-".join(job.split("/")[:3:2]).lower()).strip("-")[:24].strip("-")
    return f"ratchet-{words}-{sha256([str(settings.var), job])[:16]}"


def start(settings: Settings, job: str, argv: list[str], profile: Kubernetes) -> None:
    """Create the Job unless one of its name is alive or its result is there."""
    place, name = folder(settings, job), object_name(settings, job)
    place.mkdir(parents=True, exist_ok=True)
    found = calls.read_job(profile, name)
    if (place / RESULT).exists() or (found is not None and _ending(found) is None):
        return
    if found is not None:
        _remove(profile, name, found)
    begin(place)
    calls.create_service(profile, manifest.service(profile))
    body = manifest.job(settings, name, job, place, _snapshot(settings, place), argv, profile)
    try:
        calls.create_job(profile, body)
    except Unavailable:
        if calls.read_job(profile, name) is None:
            raise  # should it have been made nevertheless, the next try finds its name taken
    (place / "started").touch()


def poll(settings: Settings, job: str, profile: Kubernetes) -> State:
    """By the Job first, then by the result: it is renamed into place before the pod ends, so this order cannot miss it."""
    place = folder(settings, job)
    if not place.is_dir():
        return "absent"
    found = calls.read_job(profile, object_name(settings, job))
    ending = None if found is None else _ending(found)
    if found is not None and ending is None:
        return "running" if (found.get("status") or {}).get("ready") else "queued"
    if (place / RESULT).exists():
        return "done"
    if ending is not None and ending["type"] == "Complete" and not settled(place, profile.result_grace_seconds):
        return "running"
    return "lost" if found is not None or (place / "started").exists() else "absent"


def note(settings: Settings, job: str, profile: Kubernetes) -> str:
    """The Job's and its pods' own words: unschedulable and why, an image that does not come, out of memory, evicted."""
    name = object_name(settings, job)
    found = calls.read_job(profile, name)
    if found is None:
        return "Kubernetes no longer has the Job, and it left no result"
    ending, said = _ending(found), []
    if ending is not None:
        said.append(f"{ending.get('reason', ending['type'])}: {ending.get('message', '')}".rstrip(": "))
    elif (found.get("spec") or {}).get("suspend"):
        said.append("suspended: its queue has not admitted it")
    for words in (_words(pod) for pod in calls.pods(profile, name)):
        if words and words not in said:
            said.append(words)
    since = found["metadata"].get("creationTimestamp", "")
    return f"Kubernetes job {profile.namespace}/{name}: {'; '.join(said) or 'pods are being made'}, submitted {since}"


def stop(settings: Settings, job: str, profile: Kubernetes) -> None:
    """Delete the Job with its pods, and wait until it is gone. A finished one stays, to be read."""
    name = object_name(settings, job)
    found = calls.read_job(profile, name)
    if found is not None and _ending(found) is None:
        _remove(profile, name, found)


def _remove(profile: Kubernetes, name: str, found: dict[str, Any]) -> None:
    uid = found["metadata"]["uid"]
    calls.delete_job(profile, name, uid)
    deadline = time.monotonic() + profile.ending_seconds  # the pods' own grace period comes first
    while (left := calls.read_job(profile, name)) is not None and left["metadata"]["uid"] == uid:
        if time.monotonic() > deadline:
            todo = f"kubectl -n {profile.namespace} describe job {name}"
            raise Unavailable("the job does not go away", where=name, todo=todo)
        time.sleep(min(0.5, profile.poll_seconds))


def _ending(found: dict[str, Any]) -> dict[str, Any] | None:
    """The condition that ended a Job: Complete or Failed."""
    for condition in (found.get("status") or {}).get("conditions") or []:
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return dict(condition)
    return None


def _words(pod: dict[str, Any]) -> str:
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or []:
        for told in (container.get("state") or {}).values():
            if told.get("reason") not in (None, "Completed", "ContainerCreating"):
                return f"{told['reason']} {told.get('message', '')}".strip()
    for condition in status.get("conditions") or []:
        if (condition["status"] == "False" and condition["type"] == "PodScheduled") or condition["type"] == "DisruptionTarget":
            return f"{condition.get('reason', '')} {condition.get('message', '')}".strip()
    return str(status.get("reason") or "")


def _snapshot(settings: Settings, place: Path) -> Path:
    """The configuration as it is now, below `var`: the image holds the code, and may hold an older one."""
    kept = place / "configs"
    if kept.exists():
        shutil.rmtree(kept)
    temporary = place / "configs.tmp"
    if temporary.exists():
        shutil.rmtree(temporary)
    shutil.copytree(settings.configs, temporary)
    temporary.rename(kept)
    return kept
