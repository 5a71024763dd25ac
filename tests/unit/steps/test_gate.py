"""The gate over a real warehouse, index, prompt and suites; only the writing is scripted: an adapter answers as well as its name says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from free_ports import free_port
from live import make_live
from releasing import adapter, deliver, edit, own_configs
from scripted_model import Scripted

from pipelines.config import Settings, load_domain
from pipelines.errors import BadInput, ConfigError, GateRefused, RatchetError, Unavailable
from pipelines.registry import artifacts, candidates, parts, pointer
from pipelines.samples.write import write
from pipelines.state.database import migrate, reading
from pipelines.state.models import AuditEvent, OutboxMessage
from pipelines.steps import assemble, gate, learn

pytestmark = pytest.mark.slow

RECIPE = {"steps": 2, "warmup_steps": 1, "batch_sequences": 2, "sequence_tokens": 256, "examples": 60, "checkpoint_every": 1}
WRONG = {"good": 0, "equal": 0, "slightly": 30, "bad": 3}
"""By kind of adapter: every how many answers are wrong; 0 none."""


@dataclass
class World:
    """A site with one version of the sample's rule, and what its adapters say."""

    site: Settings
    version: str
    answers: dict[str, str]
    kinds: dict[str, str] = field(default_factory=dict)
    engine: Scripted = field(default_factory=lambda: Scripted(lambda *_: ""))
    slow: str = ""
    """A question on which the engine times out."""

    def says(self, prompt: str, name: str) -> str | Exception:
        asked = re.search(r"Question: (.*)\nAnswer:", prompt)
        question = asked[1] if asked else ""
        if question == self.slow:
            return Unavailable("the engine is too slow")
        right = self.answers.get(question)
        every = WRONG[self.kinds.get(name, "bad")]
        if right is None or right not in prompt or (every and sum(map(ord, question)) % every == 0):
            return " not stated"
        return f" {right} [1]"

    def candidate(self, kind: str, **changes: Any) -> str:
        """A candidate of the version with an adapter of that kind."""
        domain = load_domain("regulatory", self.site)
        adapter_id = adapter(self.site, "regulatory", self.version, kind=kind, training_set=self.packed)
        self.kinds[artifacts.path_of(self.site, adapter_id).name] = kind
        values: dict[str, Any] = {
            "base": domain.base.model,
            "base_sha256": parts.base_sha256(domain),
            "adapter_id": adapter_id,
            "index_id": str(assemble.index(self.site, "regulatory", self.version).outputs["artifact"]),
            "prompt": domain.task.prompt,
            "prompt_sha256": parts.prompt_sha256(self.site, domain),
            "policy": {"passages": 1, "max_new_tokens": 48},
        } | changes
        step_hash = f"{len(self.kinds)}-{kind}-{sorted(changes)}"
        return candidates.assemble(self.site, domain="regulatory", version_id=self.version, step_hash=step_hash, **values)

    @property
    def packed(self) -> str:
        return str(learn.training_set(self.site, "regulatory", self.version).outputs["artifact"])

    def gated(self, candidate: str) -> tuple[str, list[str], dict[str, Any]]:
        """(verdict, reasons, the report's JSON)."""
        gate.gate(self.site, "regulatory", candidate)
        row = candidates.report_of(self.site, candidate)
        assert row is not None
        return row.verdict, row.reasons, json.loads((self.site.artifacts / row.path / "report.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests: they index the same paragraphs."""
    return tmp_path_factory.mktemp("embeddings")


@pytest.fixture
def world(settings: Settings, tmp_path: Path, embeddings: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    site = own_configs(settings, regulatory={"recipe": RECIPE})
    migrate(site)
    (site.var / "cache").mkdir()
    (site.var / "cache" / "embeddings").symlink_to(embeddings)
    write(tmp_path / "samples")
    folder = tmp_path / "samples" / "regulatory" / "01-base"
    version = deliver(site, "regulatory", sorted(path for path in folder.iterdir() if path.suffix == ".xml"), "2014-01-01")
    files = [site.configs / "goldens" / "regulatory.jsonl", *sorted((site.configs / "suites").rglob("*.jsonl"))]
    cases = [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    made = World(site, version, {case["question"]: case["answer"] for case in cases if case.get("answer")})
    made.engine = Scripted(made.says)
    monkeypatch.setattr(gate, "_engines", lambda _, cells: {cell.parts.engine: made.engine for cell in cells})
    return made


def test_the_first_release_is_judged_by_floors_and_asked_once(world: World) -> None:
    first = world.candidate("good")
    verdict, reasons, report = world.gated(first)
    assert (verdict, reasons[0][:24]) == ("pass", "every floor is held on 4"), reasons
    assert "no release is live: only floors and bias were judged" in report["verdict"]["notes"]
    assert [row["cell"] for row in report["matrix"]] == ["candidate", "adapter alone", "base + index", "base"]
    asked = world.engine.prompts
    assert asked == report["cost"]["generated"] > 0
    world.gated(first)
    assert world.engine.prompts == asked, "a cleared gate asks nothing again"
    with reading(world.site) as session:
        assert session.query(AuditEvent).filter(AuditEvent.action == "candidate.judged").count() == 1
        (told,) = session.query(OutboxMessage).filter(OutboxMessage.kind == "mlflow.gate").all()
    assert told.payload["verdict"] == "pass"
    shown = gate.require_pass(world.site, "regulatory", first)
    assert candidates.get(world.site, first).state == "gated"
    assert {"value", "low", "high", "floor", "margin", "loss", "upper", "against"} == set(shown["metrics"]["answer_correct"])
    assert shown["metrics"]["retention/answer_correct"]["against"] == "the base"


def test_an_equal_a_worse_and_a_better_one_against_what_is_live(world: World) -> None:
    live = world.candidate("good")
    world.gated(live)
    make_live(world.site, live)
    made = world.engine.prompts

    equal = world.candidate("equal")
    verdict, reasons, report = world.gated(equal)
    assert verdict == "pass", reasons
    assert "every metric that has a margin is shown to lose less than that against the live release" in reasons[0]
    assert report["cost"]["reused"] > 0
    assert {row["cell"] for row in report["matrix"]} >= {"candidate", "live", "base", "base + index", "adapter alone"}
    again = world.engine.prompts - made
    assert again < made, "the live release's texts were there already"

    bad = world.candidate("bad")
    verdict, reasons, _ = world.gated(bad)
    assert verdict == "fail"
    assert any(reason.startswith("amount_and_citation loses 0.") and "regulatory-" in reason for reason in reasons), reasons
    with pytest.raises(GateRefused, match="gate fail"):
        gate.require_pass(world.site, "regulatory", bad)
    assert candidates.get(world.site, bad).state == "refused"
    at = pointer.current(world.site, "regulatory")
    assert at is not None and at.live_id == live

    weaker = world.candidate("bad")
    verdict, _, _ = world.gated(weaker)
    assert verdict == "fail", "refused once is no reason to be judged otherwise"


def test_a_time_out_is_inconclusive_and_a_clear_measures_again(world: World) -> None:
    first = world.candidate("good")
    world.slow = next(iter(world.answers))
    verdict, reasons, report = world.gated(first)
    assert verdict == "inconclusive"
    assert "the engine is too slow" in reasons[0]
    with pytest.raises(GateRefused, match="inconclusive"):
        gate.require_pass(world.site, "regulatory", first)
    assert candidates.get(world.site, first).state == "assembled", "it is not refused for what was not measured"
    asked, world.slow = world.engine.prompts, ""
    assert world.gated(first)[0] == "pass"
    assert world.engine.prompts - asked <= 4, "all but the one question were there"
    assert report["verdict"]["settle"]


def test_a_prompt_alone_that_changed_reuses_what_it_can_and_says_what(world: World) -> None:
    live = world.candidate("good")
    world.gated(live)
    make_live(world.site, live)
    prompts = world.site.configs / "prompts" / "grounded_extraction"
    (prompts / "v2.jinja").write_text((prompts / "v1.jinja").read_text(encoding="utf-8").replace("Question:", "Question: "), "utf-8")
    edit(world.site, "regulatory", task=yaml_of(world.site)["task"] | {"prompt": "grounded_extraction/v2"})
    other = parts.prompt_sha256(world.site, load_domain("regulatory", world.site))
    row = candidates.get(world.site, live)
    changed = world.candidate("good", adapter_id=row.adapter_id, prompt="grounded_extraction/v2", prompt_sha256=other)
    world.answers |= {f" {question}": answer for question, answer in world.answers.items()}
    verdict, reasons, report = world.gated(changed)
    assert verdict == "pass", reasons
    cost = report["cost"]
    assert cost["reused"] >= len(report["cells"]["live"])
    assert cost["generated"] > 0
    assert "candidate, live prompt" not in report["cells"], "that is the live release itself"


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda world, _: edit_gate(world, floors={"answer_corect": 0.5}), ConfigError, "did you mean"),
        (lambda world, _: edit_gate(world, suites={"extra": {"file": "suites/none.jsonl"}}), ConfigError, "no such file"),
        (lambda world, row: alter(world, row.index_id), RatchetError, "altered on disk"),
        (lambda world, row: alter(world, row.adapter_id), RatchetError, "altered on disk"),
        (lambda world, row: remove(world, row.index_id), RatchetError, "is gone"),
        (lambda world, _: trained_on(world), BadInput, "that the adapter was trained on"),
    ],
)
def test_what_cannot_be_read_stops_the_gate_with_its_reason(
    world: World, spoil: Callable[[World, Any], None], error: type[Exception], words: str
) -> None:
    first = world.candidate("good")
    spoil(world, candidates.get(world.site, first))
    with pytest.raises(error, match=words):
        gate.gate(world.site, "regulatory", first)
    assert candidates.report_of(world.site, first) is None
    assert candidates.get(world.site, first).state == "assembled"
    assert pointer.current(world.site, "regulatory") is None


def test_a_golden_on_a_paragraph_that_is_not_there_and_an_empty_suite_are_inconclusive(world: World) -> None:
    path = world.site.configs / "goldens" / "regulatory.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(row | ({"cites": "9013-99-z"} if not n else {})) + "\n" for n, row in enumerate(rows)), "utf-8")
    (world.site.configs / "suites" / "empty.jsonl").write_text("", "utf-8")
    edit_gate(world, suites={"empty": {"file": "suites/empty.jsonl"}})
    verdict, reasons, _ = world.gated(world.candidate("good"))
    assert verdict == "inconclusive"
    assert any("cites 9013-99-z, which" in reason for reason in reasons)
    assert any("suites/empty.jsonl holds no case" in reason for reason in reasons)


def test_a_judge_that_is_dead_is_inconclusive_only_if_it_has_a_vote(world: World) -> None:
    rule = {"url": f"http://127.0.0.1:{free_port()}/v1", "model": "m-1", "calibration": "judges/m.json", "timeout_seconds": 1}
    edit_gate(world, judge=rule)
    first = world.candidate("good")
    verdict, _, report = world.gated(first)
    assert verdict == "pass"
    assert any(note.startswith("the judge m-1 has no vote:") for note in report["verdict"]["notes"])
    told = {"data": "d", "cases": 100, "judge": {"model": "m-1"}}
    figures = {"faithfulness": {"n": 100, "spearman": None, "auc": {"value": 0.9, "low": 0.85, "high": 0.95}}}
    (world.site.configs / "judges").mkdir()
    (world.site.configs / "judges" / "m.json").write_text(json.dumps(told | {"metrics": figures}), "utf-8")
    verdict, reasons, _ = world.gated(first)
    assert verdict == "inconclusive"
    assert any("judge" in reason for reason in reasons)


# --- spoiling -----------------------------------------------------------------------------------------------------------


def yaml_of(site: Settings) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((site.configs / "domains" / "regulatory.yaml").read_text(encoding="utf-8"))
    return values


def edit_gate(world: World, **changes: Any) -> None:
    rule = yaml_of(world.site)["gate"]
    for name, value in changes.items():
        rule[name] = rule.get(name, {}) | value if isinstance(value, dict) else value
    edit(world.site, "regulatory", gate=rule)


def alter(world: World, artifact: str) -> None:
    path = next(path for path in sorted(artifacts.path_of(world.site, artifact).rglob("*")) if path.is_file())
    path.write_bytes(path.read_bytes() + b"x")


def remove(world: World, artifact: str) -> None:
    folder = artifacts.path_of(world.site, artifact)
    folder.rename(folder.with_name("elsewhere"))


def trained_on(world: World) -> None:
    """A golden on a document that an example rests on, written after the training."""
    from pipelines.training import example

    (source,) = world.site.artifacts.glob("examples/*/examples.parquet")
    key = example.read(source)[0].documents[0]
    path = world.site.configs / "goldens" / "regulatory.jsonl"
    people = {"author": "a", "reviewer": "b", "valid_from": "2014-01-01"}
    late = {"id": "late", "question": "What?", "answer": "x", "cites": key, **people}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(late) + "\n")
