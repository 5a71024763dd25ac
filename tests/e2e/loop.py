"""`PYTHONPATH=tests python tests/e2e/loop.py DATA OUT.json`: the closed loop on public data, through every step but Airflow's.

*law*: Regulations B, M and P, with an adapter that learned from their structure. Callers ask in words that no rule of the domain has; those
who were answered wrongly or not at all complain, every other one of them, with what the law says. *support*: the policy of an airline's
desk, a document per rule, and its failed conversations delivered as transcripts; there the reviewer picks the rule that search finds first
and its first sentence, for nobody wrote what the desk should have said.

Complaints and transcripts go through quotas, masking and the review queue; what is accepted through landing zone, ingest, examples,
training, a real gate on a real Triton, and the pointer. Reported: how many of the corrected questions are right before and after, how many
of those that nobody complained about became better or worse, and the same for the goldens.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from free_ports import free_ports
from live import make_live

from pipelines.config import Ports, Settings, load_domain, load_settings
from pipelines.corpus import warehouse
from pipelines.demo.public import effective
from pipelines.errors import BadInput
from pipelines.feedback import corrections, deciding, inbound, queue, transcripts
from pipelines.intake import landing
from pipelines.manifest import sha256
from pipelines.registry import candidates
from pipelines.retrieval.chunks import chunks
from pipelines.retrieval.spans import flatten
from pipelines.serving import client, triton
from pipelines.serving.answer import Answer, Parts, answer, open_parts
from pipelines.serving.client import Engine
from pipelines.state.database import migrate
from pipelines.state.models import now
from pipelines.steps import assemble, feedback, gate, ingest, learn, plan, publish
from pipelines.traffic import samples
from pipelines.traffic.samples import Sample, Shown
from pipelines.training import structure

BASES = ("1013/2011-31723.xml", "1002/2011-31714.xml", "1016/2011-31729.xml")
STRUCTURE = ["reference", "definition"]
RECIPE = {"steps": 90, "learning_rate": 0.001}
NAMED = re.compile(r'^Which provision is named after "(?P<lead>.+)"\?$')
CALLED = 'The text says "{lead}" and then cites something. Tell me what.'


@dataclass(frozen=True)
class Question:
    """What somebody asks, and what is right."""

    text: str
    right: str
    cites: str


def edit(settings: Settings, name: str, **sections: Any) -> None:
    path = settings.configs / "domains" / f"{name}.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, changes in sections.items():
        values[key] = {**values.get(key, {}), **changes} if isinstance(changes, dict) else changes
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


class Loop:
    """One domain from its first delivery to the release that answers its complaints."""

    def __init__(self, settings: Settings, domain: str) -> None:
        self.settings, self.domain = settings, domain
        self.day = "2026-01-01"

    def work(self, run: str) -> str:
        """Claim, prepare, publish; the version."""
        arrivals = ingest.claim(self.settings, self.domain, f"{self.domain}.ingest", run)
        for arrival in arrivals:
            told = ingest.prepare(self.settings, self.domain, arrival)
            assert told["state"] == "accepted", told
        return publish.publish(self.settings, self.domain, arrivals)[-1]

    def release(self, version: str, kind: str | None = None) -> tuple[str, dict[str, Any]]:
        """Plan, train, index, assemble, gate; live where the gate passes. (candidate, what the gate said)."""
        decided = plan.plan(self.settings, self.domain, version)
        if kind is not None and decided != kind:
            plan.override(self.settings, version, kind, actor="loop", reason="there is nothing to learn from yet")
            decided = kind
        if decided == "adapter":
            learn.train(self.settings, self.domain, version)
        name = assemble.assemble(self.settings, self.domain, version)
        row = candidates.get(self.settings, name)
        triton.prepare(self.settings, row.base, row.base_sha256)
        verdict = gate.gate(self.settings, self.domain, name).outputs
        if verdict["verdict"] == "pass":
            make_live(self.settings, name)
            feedback.settle(self.settings, self.domain, name)
        return name, {"plan": decided, "verdict": verdict["verdict"], "reasons": verdict["reasons"][:3]}

    def parts(self, name: str) -> tuple[Parts, Engine]:
        parts = open_parts(self.settings, candidates.get(self.settings, name))
        engine = Engine(self.settings, parts.engine)
        engine.ensure_loaded()
        return parts, engine

    def ask(self, name: str, questions: list[str]) -> dict[str, Answer]:
        parts, engine = self.parts(name)
        return {text: answer(text, self.day, parts, engine.generate) for text in questions}

    def complain(self, release: str, said: Answer, question: Question) -> None:
        """What the gateway keeps of the answer, then what its caller says of it."""
        domain, number = load_domain(self.domain, self.settings), sha256(question.text)[:32]
        shown = tuple(Shown(key=p.key, content=p.content, paragraph=p.paragraph, title=p.title, text=p.text) for p in said.passages)
        at = datetime.now(UTC)
        sample = Sample(
            at=at, request_id=number, question=question.text, answer=said.text, span=said.answer, as_of=self.day, passages=shown,
            cited=said.cited.key if said.cited else None, release=release, tenant="desk", key="desk", confidence=said.confidence,
            abstained=said.abstained, reason=said.reason,
        )  # fmt: skip
        path = self.settings.var / "samples" / self.domain / f"{at:%Y-%m-%dT%H}-1-loop-1.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(samples.line(self.settings, domain, sample), separators=(",", ":")) + "\n")
        found = inbound.answered(self.settings, self.domain, number)
        assert found is not None
        told = inbound.receive(
            self.settings, domain, found, key="desk", tenant="desk", rating=-1, now=now(), reason="wrong", correction=question.right
        )
        assert told.state == "received", told

    def deliver(self, run: str) -> str:
        told = corrections.deliver(self.settings, load_domain(self.domain, self.settings))
        assert told["delivered"], told
        return self.work(run)


def right(said: Answer, wanted: str) -> bool:
    return said.answer is not None and flatten(said.answer) == flatten(wanted)


# --- the law ----------------------------------------------------------------------------------------------------------


def law(settings: Settings, data: Path) -> dict[str, Any]:
    files = [data / "cfpb_regulations/regulation" / name for name in BASES]
    edit(
        settings, "regulatory", examples={"structure": STRUCTURE}, recipe=RECIPE,
        plan={"retrain_after_feedback": 1}, feedback={"learn_after": 1, "quota": {"per_key": 5000, "burst": 5000, "down_share": 1.0}},
        gate={"suites": {}, "floors": {"answered": 0.05}, "margins": {}, "max_regression": 0.1, "min_goldens": 40},
    )  # fmt: skip
    edit(settings, "regulatory", task={"kind": "grounded_extraction", "prompt": "grounded_extraction/v1", "passages": 1, "rules": []})
    loop = Loop(settings, "regulatory")
    landing.deliver(settings, "regulatory", files, uploader="steward", source="CFPB", effective=effective(files[0]))
    version = loop.work("first")
    asked = _questions(settings, version)
    goldens = [one for one in asked if int(sha256(["golden", one.cites])[:8], 16) % 3 == 0]
    evaluated = {one.cites for one in goldens}
    rows = [
        {"id": f"g-{number}", "question": f'Which provision is named after "{one.text}"?', "answer": one.right, "cites": one.cites,
         "valid_from": effective(files[0]), "author": "tests.e2e.loop", "reviewer": "steward"}
        for number, one in enumerate(goldens)
    ]  # fmt: skip
    lines(settings.configs / "goldens" / "regulatory.jsonl", rows[:120])
    callers = [Question(CALLED.format(lead=one.text), one.right, one.cites) for one in asked if one.cites not in evaluated]
    began = time.monotonic()
    first, told = loop.release(version)
    before = loop.ask(first, [one.text for one in callers])
    found = [one for one in callers if before[one.text].passages and before[one.text].passages[0].key == one.cites]
    wrong = [one for one in found if not right(before[one.text], one.right)]
    corrected, others = wrong[::2], [one for one in found if one not in wrong[::2]]
    for one in corrected:
        loop.complain(first, before[one.text], one)
    accepted, truth = 0, {one.text: one for one in corrected}
    for item in queue.items(settings, "regulatory", "steward", limit=1000):
        accepted += _reviewed(settings, item.id, truth) == "accepted"
    second, again = loop.release(loop.deliver("second"))
    after = loop.ask(second, [one.text for one in found])
    return _report(loop, began, told, again, before, after, corrected, others, accepted, first, second)


def _reviewed(settings: Settings, item: str, truth: dict[str, Question]) -> str:
    """Accept the suggestion; where the passage that was shown is another piece of the paragraph, name the paragraph."""
    try:
        return deciding.decide(settings, "regulatory", item, "steward", "accept")
    except BadInput:
        asked = truth[queue.show(settings, "regulatory", item, "steward").question]
    try:
        return deciding.decide(settings, "regulatory", item, "steward", "edit", answer=asked.right, cited=asked.cites)
    except BadInput:
        return deciding.decide(settings, "regulatory", item, "steward", "reject")


def _questions(settings: Settings, version: str) -> list[Question]:
    """One per paragraph: the words before a provision that it names, and that provision."""
    domain = load_domain("regulatory", settings)
    found: dict[str, Question] = {}
    for one in structure.make(warehouse.documents(settings, "regulatory", version), domain):
        if one.answer is not None and (match := NAMED.match(one.question)):
            key = one.documents[(one.cited or 1) - 1]
            found.setdefault(key, Question(match["lead"], one.answer, key))
    return list(found.values())


# --- the desk ---------------------------------------------------------------------------------------------------------


def support(settings: Settings, data: Path) -> dict[str, Any]:
    chats = data / "tau_bench_chats" / "gpt-4o-airline.jsonl"
    policy = json.loads(chats.read_text(encoding="utf-8").splitlines()[0])["traj"][0]["content"]
    rules = [flatten(line.strip().lstrip("-").strip()) for line in policy.splitlines() if len(line.split()) > 8]
    path = settings.var / "policy.jsonl"
    lines(path, [{"id": f"rule-{number}", "text": text} for number, text in enumerate(rules, 1)])
    values = yaml.safe_load((settings.configs / "domains" / "regulatory.yaml").read_text(encoding="utf-8"))
    values |= {
        "domain": "support", "description": "What an airline's desk may do.", "dataset": "DeskPolicy", "sources": {"formats": ["jsonl"]},
        "contract": {"expectations": [{"type": "ExpectColumnValuesToNotBeNull", "args": {"column": "text"}}]}, "examples": {},
        "privacy": {"profile": "public", "also": ["NAME"]},
        "gate": {"goldens": "goldens/support.jsonl", "floors": {"context_recall": 0.1}, "max_regression": 1.0, "min_goldens": 1},
    }  # fmt: skip
    (settings.configs / "domains" / "support.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    golden = {"id": "g", "question": rules[0], "answer": " ".join(rules[0].split()[:3]), "cites": "rule-1", "valid_from": "2026-01-01",
              "author": "tests.e2e.loop", "reviewer": "steward"}  # fmt: skip
    lines(settings.configs / "goldens" / "support.jsonl", [golden])
    loop = Loop(settings, "support")
    landing.deliver(settings, "support", [path], uploader="steward", source="desk", effective="2026-01-01")
    version = loop.work("first")
    began = time.monotonic()
    first, told = loop.release(version, "index")
    domain = load_domain("support", settings)
    [account] = transcripts.transcripts(settings, domain, [chats], uploader="steward")
    parts, _ = loop.parts(first)
    texts = {row.key: row for row in warehouse.documents(settings, "support", version)}
    chosen: list[Question] = []
    for item in queue.items(settings, "support", "approver", limit=1000):
        shown = queue.show(settings, "support", item.id, "approver")
        hit = parts.index.search(shown.question, as_of=loop.day, k=1)[0]
        sentence = re.split(r"(?<=[.!?]) ", flatten(chunks(texts[hit.key], domain.retrieval)[0].text))[0]
        if hit.key == "rule-1" or " ".join(sentence.split()) not in flatten(hit.text):
            deciding.decide(settings, "support", item.id, "approver", "reject")
            continue
        state = deciding.decide(settings, "support", item.id, "approver", "edit", answer=sentence, cited=hit.key)
        if state == "accepted":
            chosen.append(Question(shown.question, sentence, hit.key))
    corrected, others = chosen, []
    before = loop.ask(first, [one.text for one in chosen])
    second, again = loop.release(loop.deliver("second"), "adapter")
    after = loop.ask(second, [one.text for one in chosen])
    report = _report(loop, began, told, again, before, after, corrected, others, len(chosen), first, second)
    return report | {"conversations": {name: account[name] for name in ("lines", "failed", "well", "opened", "bad")}}


# --- what is told -----------------------------------------------------------------------------------------------------


def _report(
    loop: Loop, began: float, told: dict[str, Any], again: dict[str, Any], before: dict[str, Answer], after: dict[str, Answer],
    corrected: list[Question], others: list[Question], accepted: int, first: str, second: str,
) -> dict[str, Any]:  # fmt: skip
    from pipelines.feedback import figures

    def share(said: dict[str, Answer], some: list[Question]) -> str:
        return f"{sum(right(said[one.text], one.right) for one in some)} of {len(some)}"

    was = [(right(before[one.text], one.right), right(after[one.text], one.right)) for one in others]
    return {
        "releases": {first: told, second: again},
        "corrected": {"accepted": accepted, "right before": share(before, corrected), "right after": share(after, corrected)},
        "not asked for": {
            "right before": share(before, others), "right after": share(after, others),
            "better": sum(not a and b for a, b in was), "worse": sum(a and not b for a, b in was),
        },
        "goldens": {name: _goldens(loop.settings, name) for name in (first, second)},
        "loop": figures.loop(loop.settings, loop.domain),
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def _goldens(settings: Settings, name: str) -> float | None:
    report = candidates.report_of(settings, name)
    metric = (report.metrics if report is not None else {}).get("answer_correct") or {}
    value = metric.get("value")
    return round(float(value), 3) if value is not None else None


@contextmanager
def running(folder: Path) -> Iterator[Settings]:
    """A site of its own with a real Triton."""
    names = list(Ports.model_fields)
    ports = {f"RATCHET_PORT_{name.upper()}": str(port) for name, port in zip(names, free_ports(len(names)), strict=True)}
    settings = load_settings({**os.environ, **ports, "RATCHET_VAR": str(folder / "var"), "RATCHET_TODAY": "2026-01-01"})
    shutil.copytree(settings.configs, folder / "configs")
    settings = settings.model_copy(update={"configs": folder / "configs"})
    migrate(settings)
    argv, env = triton.command(settings)
    settings.logs.mkdir(parents=True, exist_ok=True)
    with (settings.logs / "triton.log").open("wb") as log:
        process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
    try:
        client.wait_ready(settings, alive=lambda: process.poll() is None)
        yield settings
    finally:
        process.terminate()
        process.wait(20)
        triton.clean(settings)


def main() -> None:
    """Both domains, one after the other."""
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    found: dict[str, Any] = {}
    for name, tell in (("law", law), ("support", support)):
        with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as settings:
            found[name] = tell(settings, data)
            sys.stdout.write(json.dumps({name: found[name]}, indent=1, default=str) + "\n")
    out.write_text(json.dumps(found, indent=1, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
