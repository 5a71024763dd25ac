"""The few calls of Airflow's REST API that the story makes, as the person it speaks for."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from pipelines.config import Settings
from pipelines.errors import NotAllowed, Unavailable
from pipelines.site import secrets


class Airflow:
    """One user's session with this site's Airflow."""

    def __init__(self, settings: Settings, user: str) -> None:
        self.base = settings.url("airflow")
        self.user = user
        reply = self._call("POST", "/auth/token", {"username": user, "password": secrets.password(settings, user)}, token=None)
        self.token = str(reply["access_token"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The newest runs of a DAG."""
        return list(self.get(f"/api/v2/dags/{dag_id}/dagRuns?order_by=-run_after&limit=20")["dag_runs"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of one run."""
        return str(self.get(f"/api/v2/dags/{dag_id}/dagRuns/{_quoted(run_id)}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The run's task instances."""
        return list(self.get(f"/api/v2/dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances?limit=100")["task_instances"])

    def awaits_approval(self, dag_id: str, run_id: str, task_id: str) -> bool:
        """Whether the run's approval was asked for and nobody has responded."""
        try:
            detail = self.get(f"{self._approval(dag_id, run_id, task_id)}")
        except NotFoundThere:
            return False
        return not detail["response_received"]

    def approve(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Answer the approval with yes, as this user."""
        self._call("PATCH", self._approval(dag_id, run_id, task_id), {"chosen_options": ["Approve"], "params_input": {}}, token=self.token)

    def clear(self, dag_id: str, run_id: str, task_ids: list[str]) -> None:
        """Clear tasks, as an on-call engineer does in the UI."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": task_ids, "only_failed": False, "reset_dag_runs": True}
        self._call("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", body, token=self.token)

    def get(self, path: str) -> dict[str, Any]:
        """GET a JSON object."""
        return self._call("GET", path, None, token=self.token)

    def _approval(self, dag_id: str, run_id: str, task_id: str) -> str:
        return f"/api/v2/dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{task_id}/-1/hitlDetails"

    def _call(self, method: str, path: str, body: dict[str, Any] | None, token: str | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, headers=headers, method=method)  # noqa: S310 - our own loopback URL
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
                text = reply.read()
        except urllib.error.HTTPError as error:
            detail = error.read().decode("utf-8", "replace")[:300]
            if error.code == 404:
                raise NotFoundThere(detail, where=path) from None
            if error.code in (401, 403):
                raise NotAllowed(f"Airflow refuses {self.user}: {detail}", where=path) from None
            raise Unavailable(f"Airflow answered {error.code}: {detail}", where=path, todo="see var/logs/api-server.log") from None
        except OSError as error:
            raise Unavailable(f"Airflow does not answer: {error}", where=self.base, todo="`ratchet status`") from None
        value: dict[str, Any] = json.loads(text) if text else {}
        return value


class NotFoundThere(Unavailable):
    """Airflow knows no such thing (yet)."""


def _quoted(run_id: str) -> str:
    return urllib.parse.quote(run_id, safe="")
