"""Who may do what in Airflow: roles per domain and the site's users, as plain data. `plugins/apply_access.py` puts it into Airflow.

A domain's *steward* may deliver, run and clear every stage but `release`, at which they only look; its *approver* may look at
everything and answer the approval of `release`, and can neither start a run nor change a task's state. So who trains does not release.
The DAGs `erase` and `rollback` are of the whole site; no role of a domain sees them, and only an administrator starts them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

from pipelines.config import PROJECT, DomainConfig, Settings, domain_names, load_domain
from pipelines.errors import ConfigError, Unavailable
from pipelines.manifest import sha256
from pipelines.site import secrets
from pipelines.site.airflow_env import airflow_env, airflow_home, metadata_database
from pipelines.site.pools import pools

Stage = Literal["collect", "ingest", "finetune", "release", "monitor", "feedback", "drill"]
Right = tuple[str, str]
"""(action, resource) in FAB's words; which DAGs a role may touch is said per DAG, by `access_control`."""

VERSION = 6
"""Raised when the rights below change, so that a running site takes them over."""

_SEEN = (
    "Website", "DAG Runs", "Task Instances", "Task Logs", "XComs", "DAG Code", "DAG Versions", "DAG Warnings", "DAG Dependencies",
    "Assets", "Asset Aliases", "ImportError", "Jobs", "Plugins", "Pools", "HITL Detail", "My Profile", "My Password",
)  # fmt: skip
LOOK: tuple[Right, ...] = (
    *(("can_read", resource) for resource in _SEEN),
    ("can_edit", "My Password"),
    *(("menu_access", menu) for menu in ("DAGs", "Browse", "Assets", "DAG Runs")),
)

RUN: tuple[Right, ...] = (
    ("can_create", "DAG Runs"), ("can_edit", "DAG Runs"), ("can_create", "Task Instances"), ("can_edit", "Task Instances"),
)  # fmt: skip
ANSWER: tuple[Right, ...] = (("can_edit", "HITL Detail"), ("menu_access", "HITL Detail"))
SERVICE_ROLE = "Service"
BOARD_ROLE = "Board"
"""What Airflow's own Viewer lacks to be shown the release board in the Browse menu."""


def role(domain: str, right: Literal["steward", "approver", "reviewer"]) -> str:
    """Name of a domain's role in Airflow."""
    return f"{domain}.{right}"


def access_control(domain: str, stage: Stage) -> dict[str, dict[str, set[str]]]:
    """Rights of the domain's roles on one DAG. FAB knows no wildcards, so every DAG says its own."""
    look, work = {"DAGs": {"can_read"}}, {"DAGs": {"can_read", "can_edit"}}
    if stage == "release":
        # Who reviews answers reads the board, which goes by this.
        return {role(domain, "steward"): look, role(domain, "approver"): work, role(domain, "reviewer"): look}
    return {role(domain, "steward"): work, role(domain, "approver"): look}


def domains(settings: Settings) -> dict[str, DomainConfig]:
    """The domains whose files are whole; broken ones show as import errors in Airflow and must not stop the site."""
    found = {}
    for name in domain_names(settings):
        try:
            found[name] = load_domain(name, settings)
        except ConfigError:
            continue
    return found


def roles(settings: Settings) -> dict[str, list[Right]]:
    """Every role we add to Airflow's own (Admin, Viewer, ...) with its rights."""
    wanted: dict[str, list[Right]] = {SERVICE_ROLE: [*LOOK, ("can_read", "DAGs")], BOARD_ROLE: [("can_read", "Plugins")]}
    for name in domain_names(settings):  # broken ones too: their DAGs must parse at once when the file is mended
        wanted[role(name, "steward")] = [*LOOK, *RUN]
        wanted[role(name, "approver")] = [*LOOK, *ANSWER]
        wanted[role(name, "reviewer")] = [*LOOK]
    return wanted


def members(settings: Settings) -> dict[str, list[str]]:
    """User name -> Airflow roles. Stewards and approvers are whom the domain files name."""
    users: dict[str, set[str]] = {"admin": {"Admin"}, "viewer": {"Viewer", BOARD_ROLE}, secrets.SERVICE_USER: {SERVICE_ROLE}}
    for name, domain in domains(settings).items():
        for user in domain.roles.stewards:
            users.setdefault(user, set()).add(role(name, "steward"))
        for user in domain.roles.approvers:
            users.setdefault(user, set()).add(role(name, "approver"))
        for user in domain.feedback.reviewer_names:
            users.setdefault(user, set()).add(role(name, "reviewer"))
    for standard in ("steward", "approver"):
        users.setdefault(standard, {"Viewer", BOARD_ROLE})
    return {user: sorted(held) for user, held in sorted(users.items())}


def ids_file(settings: Settings) -> Path:
    """User name -> numeric id in Airflow, as text: what an approval is assigned by."""
    return airflow_home(settings) / "user_ids.json"


def assigned_users(settings: Settings, domain: DomainConfig) -> list[dict[str, str]]:
    """Who may answer the domain's approval. ConfigError rather than an empty list, which Airflow takes for "anyone"."""
    path = ids_file(settings)
    known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found = [{"id": known[user], "name": user} for user in domain.roles.approvers if user in known]
    if not found:
        raise ConfigError(
            f"roles.approvers: none of {', '.join(domain.roles.approvers)} has an Airflow account",
            where=str(settings.configs / "domains" / f"{domain.domain}.yaml"),
            todo="`ratchet up` creates the accounts",
        )
    return found


def ensure(settings: Settings) -> None:
    """Create or migrate Airflow's database, roles and users. Returns at once when nothing changed since the last time."""
    wanted = members(settings)
    kept, _ = secrets.ensure(settings, wanted)
    home = airflow_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    spec = {
        "version": VERSION,
        "airflow": _airflow_version(),
        "roles": roles(settings),
        "users": {user: {"roles": held, "password": kept.passwords[user]} for user, held in wanted.items()},
        "pools": pools(settings, domains(settings)),
        "ids_file": str(ids_file(settings)),
    }
    mark, digest = home / "access.sha256", sha256(spec)
    done = mark.exists() and mark.read_text() == digest and metadata_database(settings).exists() and ids_file(settings).exists()
    if done:
        return
    # The passwords go through a pipe: an argument or a variable would show in the process list.
    applied = subprocess.run(
        [sys.executable, str(PROJECT / "plugins" / "apply_access.py")],
        input=json.dumps(spec), text=True, capture_output=True, cwd=PROJECT,
        env={**clean_environ(), **airflow_env(settings)}, timeout=300,
    )  # fmt: skip
    (settings.logs).mkdir(parents=True, exist_ok=True)
    log = settings.logs / "setup.log"
    log.write_text(applied.stdout + applied.stderr, encoding="utf-8")
    if applied.returncode != 0:
        last = (applied.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"Airflow could not be set up: {last}", where=str(log), todo="mend the cause, then run `ratchet up` again")
    mark.write_text(digest)


def clean_environ() -> dict[str, str]:
    """This process's environment without another site's Airflow or Ratchet settings."""
    import os

    return {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "RATCHET_", "_AIRFLOW"))}


def _airflow_version() -> str:
    from importlib.metadata import version

    return f"{version('apache-airflow')}, fab {version('apache-airflow-providers-fab')}"


def main() -> int:
    """`python -m pipelines.site.users`: the supervisor's first job, so that the other services start meanwhile."""
    from pipelines.config import load_settings

    ensure(load_settings())
    return 0


if __name__ == "__main__":
    sys.exit(main())
