"""The five calls that reach Kubernetes, through its own client: create the Service; create, read, delete a Job; list its pods.

Answers are plain objects.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.compute_config import Kubernetes
from pipelines.errors import BadInput, Unavailable

SECONDS = 30
CONFLICT, MISSING = 409, 404
REFUSED = (400, 401, 403, 422)
"""What a person must mend before anything is created. A read is never refused for good: the job runs on, though a token ran out."""


def create_service(profile: Kubernetes, body: dict[str, Any]) -> None:
    """Unless it is there."""
    _call(profile, lambda core, _: core.create_namespaced_service(profile.namespace, body, _request_timeout=SECONDS), but=(CONFLICT,))


def create_job(profile: Kubernetes, body: dict[str, Any]) -> bool:
    """False when a Job of this name exists: the API server itself lets only one be made."""
    made = _call(profile, lambda _, batch: batch.create_namespaced_job(profile.namespace, body, _request_timeout=SECONDS), but=(CONFLICT,))
    return made is not None


def read_job(profile: Kubernetes, name: str) -> dict[str, Any] | None:
    """The Job as the API shows it, or None."""

    def read(_: Any, batch: Any) -> Any:
        return batch.read_namespaced_job(name, profile.namespace, _request_timeout=SECONDS)

    return _call(profile, read, but=(MISSING,), refused=())


def delete_job(profile: Kubernetes, name: str, uid: str) -> None:
    """Delete this very Job, and not a later one of its name, after its pods have ended. Returns before that."""
    body = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}

    def delete(_: Any, batch: Any) -> Any:
        return batch.delete_namespaced_job(name, profile.namespace, body=body, _request_timeout=SECONDS)

    # 409: the precondition failed, so the one that was meant is gone.
    _call(profile, delete, but=(CONFLICT, MISSING))


def pods(profile: Kubernetes, name: str) -> list[dict[str, Any]]:
    """The pods of a Job."""
    label = f"batch.kubernetes.io/job-name={name}"

    def read(core: Any, _: Any) -> Any:
        return core.list_namespaced_pod(profile.namespace, label_selector=label, _request_timeout=SECONDS)

    return list((_call(profile, read, refused=()) or {}).get("items") or [])


def _call(
    profile: Kubernetes, ask: Callable[[Any, Any], Any], but: tuple[int, ...] = (), refused: tuple[int, ...] = REFUSED
) -> dict[str, Any] | None:
    """The answer as JSON, or None for an expected status. BadInput when the API refuses for good, Unavailable otherwise."""
    try:
        from kubernetes import client, config
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError
    except ImportError:
        raise BadInput("the package `kubernetes` is not installed", where="compute", todo="pip install kubernetes") from None
    configuration = client.Configuration()
    try:
        location = os.environ.get("KUBECONFIG", "~/.kube/config")
        if any(Path(part).expanduser().exists() for part in location.split(os.pathsep)):
            config.load_kube_config(location, context=profile.context, client_configuration=configuration)
        else:
            config.load_incluster_config(client_configuration=configuration)
    except (config.ConfigException, OSError) as error:
        raise BadInput(f"no way to the cluster: {error}", where="KUBECONFIG", todo="see docs/cluster.md") from None
    with client.ApiClient(configuration) as api:
        try:
            answer: dict[str, Any] = api.sanitize_for_serialization(ask(client.CoreV1Api(api), client.BatchV1Api(api)))
        except ApiException as error:
            if error.status in but:
                return None
            said = f"Kubernetes answers {error.status} {error.reason}: {' '.join(str(error.body).split())[:300]}"
            kind = BadInput if error.status in refused else Unavailable
            raise kind(said, where=f"namespace {profile.namespace}", todo="see docs/cluster.md") from None
        except HTTPError as error:
            raise Unavailable(f"Kubernetes does not answer: {error}", where=str(configuration.host), todo="try again later") from None
    return answer
