"""Airflow's REST API, as far as the stack itself needs it: runs, approvals, health."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from pipelines.config import Settings
from pipelines.errors import Conflict, NotAllowed, NotFound, RatchetError, Unavailable
from pipelines.site import secrets


@dataclass(frozen=True, slots=True)
class Answer:
    """A person's response to an approval, from Airflow's record."""

    user: str
    option: str
    at: str
    """ISO 8601."""


class AirflowClient:
    """One user's session. Every call raises Unavailable, NotAllowed, NotFound or Conflict in words."""

    def __init__(self, settings: Settings, user: str, password: str) -> None:
        self._settings, self.user = settings, user
        # No connection is kept open: on loopback a new one costs nothing, and nobody has to close this client.
        closing = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(base_url=settings.url("airflow"), timeout=30, trust_env=False, limits=closing)
        token = self._send("POST", "/auth/token", json={"username": user, "password": password})["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    @classmethod
    def of(cls, settings: Settings, user: str) -> AirflowClient:
        """A session of one of the site's users, with the password kept in `var/secrets`."""
        return cls(settings, user, secrets.password(settings, user))

    @classmethod
    def of_service(cls, settings: Settings) -> AirflowClient:
        """The account of the steps: reads, changes nothing."""
        return cls.of(settings, secrets.SERVICE_USER)

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """GET under /api/v2."""
        return self._send("GET", f"/api/v2{path}", params=params)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST under /api/v2."""
        return self._send("POST", f"/api/v2{path}", json=body)

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """PATCH under /api/v2."""
        return self._send("PATCH", f"/api/v2{path}", json=body)

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Runs of a DAG, newest first."""
        found: list[dict[str, Any]] = self.get(f"/dags/{quote(dag_id)}/dagRuns", order_by="-run_after", limit=50)["dag_runs"]
        return found

    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of one run: queued, running, success or failed."""
        return str(self.get(_run(dag_id, run_id))["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Task instances of a run."""
        found: list[dict[str, Any]] = self.get(f"{_run(dag_id, run_id)}/taskInstances", limit=100)["task_instances"]
        return found

    def trigger(self, dag_id: str) -> str:
        """Start a run by hand; its id."""
        return str(self.post(f"/dags/{quote(dag_id)}/dagRuns", {"logical_date": None})["dag_run_id"])

    def clear(self, dag_id: str, run_id: str, *task_ids: str, downstream: bool = True) -> None:
        """What "Clear" does in the UI."""
        body = {"dag_run_id": run_id, "task_ids": list(task_ids), "dry_run": False, "only_failed": False, "include_downstream": downstream}
        self.post(f"/dags/{quote(dag_id)}/clearTaskInstances", body)

    def respond(self, dag_id: str, run_id: str, option: str, task_id: str = "approve") -> None:
        """Answer an approval as this user: "Approve" or "Reject". NotAllowed unless assigned, NotFound while nothing is asked.

        Airflow 3.3.2 takes an answer from the moment the question is stored, some 15 ms before the task is parked; the task then
        fails. So the answer waits for the parked state.
        """
        task = f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id)}"
        if (state := self.get(task)["state"]) not in ("awaiting_input", "deferred"):
            raise NotFound(f"{task_id} asks nothing now, it is {state}", where=f"{dag_id}/{run_id}")
        self.patch(_hitl(dag_id, run_id, task_id), {"chosen_options": [option], "params_input": {}})

    def answer(self, dag_id: str, run_id: str, task_id: str = "approve") -> Answer:
        """Who answered what, and when. NotAllowed when nobody did: a task marked as success is no approval."""
        detail = self.get(_hitl(dag_id, run_id, task_id))
        who = detail.get("responded_by_user") or {}
        options, at = detail.get("chosen_options") or [], detail.get("responded_at")
        if not (detail.get("response_received") and who.get("id") and len(options) == 1 and at):
            where = f"{dag_id}/{run_id}/{task_id}"
            raise NotAllowed("Airflow holds no answer of a person", where=where, todo="clear it and answer it there")
        return Answer(user=self._name_of(str(who["id"])), option=str(options[0]), at=str(at))

    def _name_of(self, user_id: str) -> str:
        """The account behind an id: the name in the record is for display, and may be anything."""
        import json

        from pipelines.site.users import ids_file

        ids: dict[str, str] = json.loads(ids_file(self._settings).read_text(encoding="utf-8"))
        for name, known in ids.items():
            if known == user_id:
                return name
        raise NotAllowed(f"the answer is by an account this site did not create (id {user_id})", todo="approvers come from the domain file")

    def _send(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        try:
            for wait in (0.2, 0.5, 1.0, 2.0, None):
                answer = self._http.request(method, path, **more)
                if answer.status_code not in (429, 500, 502, 503) or wait is None:
                    break
                time.sleep(wait)  # SQLite was busy, or the server has just started
        except httpx.HTTPError as error:
            raise Unavailable(f"Airflow does not answer: {error}", where=str(self._http.base_url), todo="`ratchet status`") from error
        if answer.status_code >= 400:
            raise _error(answer, self.user, f"{method} {path}")
        value: dict[str, Any] = answer.json() if answer.content else {}
        return value


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _hitl(dag_id: str, run_id: str, task_id: str) -> str:
    return f"{_run(dag_id, run_id)}/taskInstances/{quote(task_id)}/-1/hitlDetails"


def _error(answer: httpx.Response, user: str, where: str) -> RatchetError:
    try:
        detail = answer.json().get("detail")
    except ValueError:
        detail = answer.text[:200]
    kinds: dict[int, type[RatchetError]] = {401: NotAllowed, 403: NotAllowed, 404: NotFound, 409: Conflict}
    return kinds.get(answer.status_code, Unavailable)(f"Airflow answered {answer.status_code} to {user}: {detail}", where=where)
