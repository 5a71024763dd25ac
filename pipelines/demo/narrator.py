"""Delivers, waits, approves and tells: the verbs that the story's chapters are written in."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.config import Settings
from pipelines.errors import Conflict, NotFound, RatchetError, Unavailable
from pipelines.intake import landing
from pipelines.registry import views
from pipelines.serving.caller import Caller
from pipelines.site.airflow_api import AirflowClient


@dataclass
class Narrator:
    """Speaks to the terminal and keeps what the summary needs."""

    settings: Settings
    console: Console
    uploader: str
    seen: list[dict[str, Any]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self.console.print(f"\n[bold]{title}[/bold]  [dim]{time.monotonic() - self.began:.0f} s[/dim]")

    def tell(self, line: str) -> None:
        """One line of progress."""
        self.console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)

    def deliver(self, domain: str, name: str, files: list[Path], effective: str, source: str, *, broken: bool = False) -> str:
        """Deliver files under a name of the story's, once: an interrupted story goes on where it was. Returns the folder's name.

        `broken` changes a byte after sealing, as a torn upload would.
        """
        book = self.settings.var / "demo" / "delivered.json"
        known: dict[str, str] = json.loads(book.read_text(encoding="utf-8")) if book.exists() else {}
        if name not in known:
            place = self.settings.landing_zone / domain
            if broken:
                folder = place / name
                hidden = place / f".{name}"
                shutil.rmtree(hidden, ignore_errors=True)
                hidden.mkdir(parents=True)
                for file in files:
                    shutil.copyfile(file, hidden / file.name)
                landing.seal(hidden, uploader=self.uploader, source=source, effective=effective)
                with (hidden / files[0].name).open("ab") as torn:
                    torn.write(b" ")
                hidden.rename(folder)
            else:
                folder = landing.deliver(self.settings, domain, files, uploader=self.uploader, source=source, effective=effective)
            known[name] = folder.name
            book.parent.mkdir(parents=True, exist_ok=True)
            book.write_text(json.dumps(known, indent=2), encoding="utf-8")
        self.tell(f"delivered {name}: {len(files)} file(s), in force from {effective}, folder {known[name]}")
        return known[name]

    def settled(self, domain: str, folder: str, seconds: float = 240) -> dict[str, Any]:
        """Wait until the ledger has settled an arrival."""

        def look() -> dict[str, Any] | None:
            row = next((row for row in views.arrivals(self.settings, domain) if row["folder"] == folder), None)
            if row is None or row["state"] != "received":
                return row
            self._stop_if_failed(admin, f"{domain}.ingest", row["run"])
            return None

        admin = AirflowClient.of(self.settings, "admin")
        row: dict[str, Any] = self.wait(look, f"{domain}/{folder} to be settled", seconds)
        became = f"{row['version']}, {row['documents']} documents" if row["state"] == "accepted" else row["reason"]
        self.tell(f"{row['arrival']}: {row['state']}: {became}")
        self.seen.append(row)
        return row

    def judged(self, domain: str, version: str, seconds: float = 600) -> dict[str, Any]:
        """Wait for the version's candidate and its verdict."""

        admin = AirflowClient.of(self.settings, "admin")

        def planned() -> dict[str, Any] | None:
            self._stop_if_failed(admin, f"{domain}.finetune", self._run_of_plan(domain, version))
            return next((p for p in views.plans(self.settings, domain) if p["version"] == version and p["kind"] != "pending"), None)

        plan = self.wait(planned, f"a plan for {version}", 240)
        self.tell(f"plan for {version}: {plan['kind']}: {plan['reason']}")

        def assembled() -> dict[str, Any] | None:
            found = next((c for c in views.candidates(self.settings, domain) if c["version"] == version), None)
            if found is None:
                self._stop_if_failed(admin, f"{domain}.finetune", self._run_of_plan(domain, version))
            return found

        candidate: dict[str, Any] = self.wait(assembled, f"a candidate from {version}", seconds)
        self.tell(f"{candidate['candidate']} assembled: {candidate['adapter']}, {candidate['index']}")

        def verdict() -> dict[str, Any] | None:
            found = assembled()
            if found and found["verdict"]:
                return found
            self._stop_if_failed(admin, f"{domain}.release", found["run"] if found else None)
            return None

        candidate = self.wait(verdict, f"the verdict on {candidate['candidate']}", 180)
        self.tell(f"gate: {candidate['verdict']}" + "".join(f"; {reason}" for reason in candidate["reasons"]))
        for name, metric in candidate["metrics"].items():
            if not metric.get("votes", True):
                continue
            live = f", live release {metric['live']['value']:.3f}" if metric.get("live") else ""
            base = f", the base {metric['base']['value']:.3f}" if metric.get("base") else ""
            self.tell(f"  {name}: {metric['value']:.3f}{live}{base}" if metric["value"] is not None else f"  {name}: no value")
        return candidate

    def released(self, candidate: dict[str, Any], approver: str = "approver", seconds: float = 300) -> None:
        """Approve through Airflow's REST API as the approver, and wait until the candidate is live."""
        domain = candidate["domain"]
        dag = f"{domain}.release"
        person = AirflowClient.of(self.settings, approver)
        run_id = self.wait(lambda: self._run_of(candidate["candidate"]), "its release run", 180)

        def live() -> bool:
            self._stop_if_failed(person, dag, run_id)
            if any(row["release"] == candidate["candidate"] for row in views.releases(self.settings, domain)):
                return True
            # Asked, or asked again: see `Approval` in plugins/wiring.py.
            with suppress(NotFound, Conflict):
                person.respond(dag, run_id, "Approve")
                self.tell(f"approved by {approver} through Airflow's REST API")
            return False

        self.wait(live, f"{candidate['candidate']} to be approved and live", seconds)
        if any(row["release"] == candidate["candidate"] for row in views.live(self.settings, domain)):
            # The pointer has moved; the gateway follows within a second.
            Caller.for_site(self.settings).wait_live(domain, candidate["candidate"], seconds=60)
        self.tell(f"{candidate['candidate']} is live")

    def ended(self, dag: str, run_id: str, seconds: float = 240) -> str:
        """Wait until a run has ended; returns its state."""
        admin = AirflowClient.of(self.settings, "admin")

        def look() -> str | None:
            state = admin.run_state(dag, run_id)
            return state if state in ("success", "failed") else None

        state: str = self.wait(look, f"{dag} to end", seconds)
        self.tell(f"Airflow: {dag} ended {state}")
        return state

    def ask(self, release: str, question: str, as_of: str | None = None) -> tuple[str, str, str]:
        """Ask the gateway and show what it says; returns (question, release, answer).

        A release that is no longer live (the story goes on after an interruption) is asked by its own name.
        """
        domain = release.split("/")[0]
        live = any(row["release"] == release for row in views.live(self.settings, domain))
        reply = Caller.for_site(self.settings).ask(domain if live else release, question, as_of)
        facts = reply["ratchet"]
        text = str(reply["choices"][0]["message"]["content"])
        cited = next((source["key"] for source in facts["sources"] if source.get("cited")), "no paragraph")
        self.tell(f"? {question}" + (f"  (as of {as_of})" if as_of else ""))
        self.tell(f"> {text}   [{facts['release']}, {cited}]")
        return question + (f" (as of {as_of})" if as_of else ""), str(facts["release"]), text

    def wait(self, look: Callable[[], Any], what: str, seconds: float) -> Any:
        """Poll until `look` returns something true. Unavailable after `seconds`."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                raise Unavailable(f"waited {seconds:.0f} s for {what}", todo="look at the runs in Airflow's UI, and at var/logs")
            time.sleep(0.4)
        return found

    def _run_of(self, candidate_id: str) -> str | None:
        rows = views.candidates(self.settings, candidate_id.split("/")[0])
        return next((row["run"] for row in rows if row["candidate"] == candidate_id), None)

    def _run_of_plan(self, domain: str, version: str) -> str | None:
        return next((row["run"] for row in views.plans(self.settings, domain) if row["version"] == version), None)

    def _stop_if_failed(self, person: AirflowClient, dag: str, run_id: str | None) -> None:
        """Nobody is to wait minutes for what a red task will not bring."""
        if run_id is None:
            return
        with suppress(Unavailable):
            if person.run_state(dag, run_id) == "failed":
                red = [task["task_id"] for task in person.tasks(dag, run_id) if task["state"] == "failed"]
                raise _RunFailed(f"{dag} {run_id} failed in {', '.join(red) or 'no task'}", todo="read that task's log in Airflow's UI")


class _RunFailed(RatchetError):
    """A run that had to go well ended red."""
