"""What a dataset version calls for, on the generated sample and, where it is there, on public data; and a person's word against it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from live import make_live
from releasing import adapter, deliver, edit, own_configs, release
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.config import Ports, Settings, load_domain, load_settings
from pipelines.errors import BadInput, Conflict, NotFound
from pipelines.governance import audit
from pipelines.plan_config import PlanPolicy
from pipelines.registry import artifacts, candidates, comparison, pointer, views
from pipelines.samples.write import write
from pipelines.state.database import migrate, reading, transaction
from pipelines.state.models import Artifact, Candidate, OutboxMessage, Plan
from pipelines.steps import assemble, learn, plan
from pipelines.steps.signals import Signals, measure, rests_on

RECIPE = {"steps": 2, "warmup_steps": 1, "batch_sequences": 2, "sequence_tokens": 256, "examples": 60, "checkpoint_every": 1}
NEVER = PlanPolicy(
    retrain_when_new_share=1.0, retrain_when_drift=1.0, retrain_when_stale_share=1.0, retrain_when_new_shape=999, retrain_after_feedback=999
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, list[str]]:
    """The sample's rule, live with an adapter that learned from it, then its amendment and the scan that is worse; their versions."""
    home = tmp_path_factory.mktemp("plan")
    made = load_settings({"RATCHET_VAR": str(home / "var")})
    migrate(made)
    site = own_configs(made, regulatory={"recipe": RECIPE})
    write(home / "samples")
    folders = {one["folder"]: one["effective"] for one in json.loads((home / "samples" / "deliveries.json").read_text(encoding="utf-8"))}

    def arrive(name: str) -> str:
        return deliver(site, "regulatory", sorted((home / "samples" / name).iterdir()), folders[name])

    first = arrive("regulatory/01-base")
    packed = learn.training_set(site, "regulatory", first)
    release(site, "regulatory", first, adapter(site, "regulatory", first, training_set=packed.outputs["artifact"]))
    return site, [first, arrive("regulatory/02-amendment"), arrive("regulatory/04-worse")]


def signals(site: Settings, version: str, **sections: Any) -> Signals:
    live = candidates.get(site, "regulatory/r1")
    return measure(site, load_domain("regulatory", site).model_copy(update=sections), version, live)


@pytest.mark.slow
def test_one_amended_paragraph_calls_for_an_index(sample: tuple[Settings, list[str]]) -> None:
    site, (first, amended, _) = sample
    found = signals(site, amended)
    assert sum(found.documents.values()) == len(found.keys) == 1
    assert 0 < (found.new_share or 0) < 0.05 and (found.drift or 0) < 0.01 < (found.drift_of_new or 0)
    assert found.examples == RECIPE["examples"] and (found.renewable_examples or 0) <= (found.stale_examples or 0) < 30
    assert (found.against, found.served, found.learned, found.changed_parts) == ("regulatory/r1", first, first, ())
    kind, reason = plan.decide(found, load_domain("regulatory", site).plan)
    assert kind == "index"
    assert "facts travel by index" in reason and "up to 50%" in reason


@pytest.mark.slow
def test_a_scan_that_is_worse_is_not_learned(sample: tuple[Settings, list[str]]) -> None:
    site, (_, _, worse) = sample
    found = signals(site, worse)
    assert (found.stale_examples or 0) > 50 > (found.renewable_examples or 0), "no rule fits what the scan made of the text"
    assert plan.decide(found, load_domain("regulatory", site).plan)[0] == "index"


@pytest.mark.slow
def test_goldens_whose_paragraph_changed_are_named(sample: tuple[Settings, list[str]]) -> None:
    site, (_, amended, worse) = sample
    for version in (amended, worse):
        found = signals(site, version)
        cited = {one["cites"] for one in _goldens(site) if one["id"] in found.stale_goldens.get("changed", ())}
        assert cited and cited <= {change.key for change in _changes(site, version)}
        assert "goldens rest on what changed or ended" in plan.decide(found, NEVER)[1]


def _goldens(site: Settings) -> list[dict[str, Any]]:
    lines = (site.configs / "goldens" / "regulatory.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_the_same_documents_call_for_nothing(sample: tuple[Settings, list[str]]) -> None:
    site, (first, _, _) = sample
    assert plan.decide(signals(site, first), PlanPolicy()) == ("none", "the documents are those of regulatory/r1")


@pytest.mark.slow
def test_a_new_retrieval_calls_for_an_index_and_a_new_recipe_for_an_adapter(sample: tuple[Settings, list[str]]) -> None:
    site, (first, _, _) = sample
    domain = load_domain("regulatory", site)
    found = signals(site, first, recipe=domain.recipe.model_copy(update={"rank": 4}))
    assert plan.decide(found, NEVER) == ("adapter", "recipe changed since the live adapter was trained")
    rules = domain.task.model_copy(update={"rules": domain.task.rules[1:]})
    assert signals(site, first, task=rules).changed_parts == ("rules",)
    assert plan.decide(found.model_copy(update={"changed_parts": (), "new_retrieval": True}), NEVER)[0] == "index"


@pytest.mark.slow
def test_documents_of_a_shape_that_the_adapter_has_not_met(sample: tuple[Settings, list[str]]) -> None:
    """The rule fits what the amendment says and nothing that was there before."""
    site, (_, amended, _) = sample
    (after,) = (row.after.text for row in _changes(site, amended))
    domain = load_domain("regulatory", site)
    rule = domain.task.rules[0].model_copy(update={"pattern": f"(?P<amount>{_escaped(after)})"})
    found = signals(site, amended, task=domain.task.model_copy(update={"rules": (rule,)}))
    assert found.new_shapes == {"task.rules[0]": 1} and found.unfitted == 0
    known = found.model_copy(update={"changed_parts": ()})
    assert plan.decide(known, NEVER.model_copy(update={"retrain_when_new_shape": 1}))[0] == "adapter"


def _changes(site: Settings, version: str) -> list[Any]:
    from pipelines.corpus import warehouse

    first = candidates.get(site, "regulatory/r1").version_id
    return warehouse.diff(site, "regulatory", first, version)


def _escaped(text: str) -> str:
    import re

    return re.escape(" ".join(text.split()))


@pytest.mark.parametrize(
    ("told", "key"),
    [
        ({"new_share": 0.31}, "retrain_when_new_share"),
        ({"drift": 0.11}, "retrain_when_drift"),
        ({"renewable_examples": 6}, "retrain_when_stale_share"),
        ({"new_shapes": {"task.rules[3]": 10}}, "retrain_when_new_shape"),
        ({"feedback": 200}, "retrain_after_feedback"),
    ],
)
def test_each_threshold_alone_calls_for_an_adapter_and_is_named(told: dict[str, Any], key: str) -> None:
    quiet = Signals(
        against="d/r1", served="D_v1.0", learned="D_v1.0", new_share=0.3, drift=0.1, examples=10, stale_examples=9, renewable_examples=5
    )
    assert plan.decide(quiet, PlanPolicy())[0] == "index"
    kind, reason = plan.decide(quiet.model_copy(update=told), PlanPolicy())
    assert (kind, f"plan.{key}" in reason) == ("adapter", True)
    assert plan.decide(quiet.model_copy(update=told), NEVER)[0] == "index"


def test_a_barred_part_is_made_anew() -> None:
    quiet = Signals(against="d/r1", learned="D_v1.0", same_content=True)
    assert plan.decide(quiet.model_copy(update={"barred": {"adapter": "was erased", "index": "too"}}), NEVER)[0] == "adapter"
    assert plan.decide(quiet.model_copy(update={"barred": {"index": "too"}}), NEVER) == ("index", "the live index too")


def test_what_examples_rest_on_is_read_from_their_file(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    assert rests_on(tmp_path) is None
    write_table(pa.table({"documents": [["c"], ["a", "c"]], "id": ["1", "2"]}), tmp_path / "examples.parquet")
    assert rests_on(tmp_path) == [{"c"}, {"a", "c"}]


# --- a changed prompt -------------------------------------------------------------------------------------------------


@pytest.fixture
def law(settings: Settings, tmp_path: Path) -> Settings:
    """A small law, live with an adapter, and the same law delivered again in a second version."""
    from laws import regulation

    site = own_configs(settings, regulatory={"recipe": RECIPE})
    path = regulation(tmp_path, "2011-1", "2011-01-01", a="first words of a rule", b="second words of a rule")
    first = deliver(site, "regulatory", [path], "2011-01-01")
    assert plan.claim(site, "regulatory", "regulatory.finetune", "run 0") == first
    assert plan.plan(site, "regulatory", first) == "adapter"
    release(site, "regulatory", first, adapter(site, "regulatory", first))
    return site


def again(site: Settings, run: str = "run") -> str:
    """The next version with the same documents, as a redelivery makes it, claimed and planned."""
    made = plan.again(site, "regulatory", actor="os:carer", reason="the prompt changed")
    assert plan.claim(site, "regulatory", "regulatory.finetune", run) == made
    plan.plan(site, "regulatory", made)
    return made


def second_prompt(site: Settings, compatible: str = "") -> None:
    folder = site.configs / "prompts" / "grounded_extraction"
    (folder / "v2.jinja").write_text("Read.\n" + (folder / "v1.jinja").read_text(encoding="utf-8"), encoding="utf-8")
    if compatible:
        (folder / "v2.yaml").write_text(compatible, encoding="utf-8")
    task = load_domain("regulatory", site).task.model_dump(mode="json") | {"prompt": "grounded_extraction/v2"}
    edit(site, "regulatory", task=task)


def row(site: Settings, version: str) -> Plan:
    with reading(site) as session:
        return session.get_one(Plan, version)


def test_a_new_prompt_that_says_it_fits_makes_a_candidate_of_live_parts(law: Settings) -> None:
    second_prompt(law, "compatible_with: [v1]")
    version = again(law)
    assert row(law, version).kind == "prompt" and "the prompt alone changed" in row(law, version).reason
    live, made = candidates.get(law, "regulatory/r1"), candidates.get(law, assemble.assemble(law, "regulatory", version))
    assert (made.adapter_id, made.index_id, made.prompt) == (live.adapter_id, live.index_id, "grounded_extraction/v2")
    assert made.prompt_sha256 != live.prompt_sha256
    assert assemble.assemble(law, "regulatory", version) == made.id
    # MLflow is told of the new template once, in words of its own: the file may change before it is.
    template = (law.configs / "prompts" / "grounded_extraction" / "v2.jinja").read_text(encoding="utf-8")
    told = {
        "domain": "regulatory",
        "candidate_id": made.id,
        "prompt": made.prompt,
        "prompt_sha256": made.prompt_sha256,
        "template": template,
    }
    assert waiting(law, "mlflow.prompt") == [told]
    # No server answers here: nothing turns red, and it waits.
    down = law.model_copy(update={"ports": Ports(mlflow=free_port())})
    before = len(waiting(law))
    assert learn.tell_others(down)["waiting"] == len(waiting(law)) == before
    make_live(law, made.id)
    released = {name: told[name] for name in ("domain", "candidate_id", "prompt", "prompt_sha256")}
    assert waiting(law, "mlflow.release")[-1].items() >= released.items()
    pointer.rollback(law, "regulatory", actor="os:warden", reason="worse")
    assert waiting(law, "mlflow.release")[-1]["prompt"] == live.prompt == "grounded_extraction/v1"


def waiting(site: Settings, kind: str = "") -> list[dict[str, Any]]:
    """What the outbox has not told yet."""
    with reading(site) as session:
        rows = session.query(OutboxMessage).where(OutboxMessage.published_at.is_(None)).order_by(OutboxMessage.id).all()
    return [message.payload for message in rows if message.kind == kind or not kind]


def test_a_new_prompt_that_does_not_say_so_is_trained_for(law: Settings) -> None:
    second_prompt(law)
    version = again(law)
    assert (row(law, version).kind, row(law, version).reason) == ("adapter", "prompt changed since the live adapter was trained")
    with pytest.raises(BadInput, match="does not say that it fits"):
        plan.override(law, version, "prompt", actor="os:carer", reason="try it")


@pytest.mark.parametrize("text", ["compatible: [v1]", "compatible_with: v1", "[: "])
def test_a_broken_prompt_file_is_named(law: Settings, text: str) -> None:
    second_prompt(law, text)
    with pytest.raises(BadInput, match=r"v2\.yaml"):
        again(law)


# --- the base's chat template -----------------------------------------------------------------------------------------

TURNS = {"base": {"model": "models/starter", "chat_template": True}}


def test_an_adapter_is_not_taken_over_to_be_asked_in_another_way(law: Settings) -> None:
    bare = again(law)
    assert row(law, bare).kind == "none" and load_domain("regulatory", law).base.model_dump().keys() == {
        "model",
        "revision",
        "max_new_tokens",
    }
    edit(law, "regulatory", **TURNS)
    for kind in ("index", "prompt"):
        with pytest.raises(Conflict, match="was trained without the chat template of its base"):
            plan.override(law, bare, kind, actor="os:x", reason="y")
    version = again(law, "run 2")
    assert (row(law, version).kind, row(law, version).reason) == ("adapter", "chat_template changed since the live adapter was trained")
    adapter(law, "regulatory", version)
    with pytest.raises(Conflict, match="was trained without the chat template of its base"):
        assemble.assemble(law, "regulatory", version)


def test_a_candidate_says_that_it_is_asked_in_turns(law: Settings) -> None:
    edit(law, "regulatory", **TURNS)
    first = candidates.get(law, "regulatory/r1").version_id
    release(law, "regulatory", first, adapter(law, "regulatory", first, chat_template="a hash"))
    version = again(law)
    assert row(law, version).kind == "none"
    plan.override(law, version, "prompt", actor="os:x", reason="y")
    assert candidates.get(law, assemble.assemble(law, "regulatory", version)).policy["chat_template"] is True
    edit(law, "regulatory", base={"model": "models/starter"})
    assert row(law, again(law, "run 2")).signals["changed_parts"] == ["chat_template"]


# --- overriding -------------------------------------------------------------------------------------------------------


def test_a_person_overrides_once_and_is_on_record(law: Settings) -> None:
    version = again(law)
    assert row(law, version).kind == "none" and row(law, version).done_at is not None
    for _ in range(2):
        plan.override(law, version, "adapter", actor="os:carer", reason="the sixty examples were too few")
    found = row(law, version)
    assert (found.kind, found.decided, found.overridden_by, found.done_at) == ("adapter", "none", "os:carer", None)
    assert found.cost["basis"] == "estimated" and found.cost["cpu_hours"] > 0
    (event,) = (one for one in views.audit_events(law, version, 20) if one["action"] == "plan.overridden")
    assert (event["actor"], event["detail"]["from"], event["detail"]["to"]) == ("os:carer", "none", "adapter")
    assert plan.plan(law, "regulatory", version) == "adapter", "a cleared task reads it"
    with reading(law) as session:
        assert audit.verify(session)[1] == []


def test_what_cannot_be_overridden(law: Settings) -> None:
    version = again(law)
    with pytest.raises(BadInput, match="no plan 'retrain'"):
        plan.override(law, version, "retrain", actor="os:x", reason="y")
    with pytest.raises(BadInput, match="needs a reason"):
        plan.override(law, version, "adapter", actor="os:x", reason=" ")
    with pytest.raises(NotFound):
        plan.override(law, "ConsumerLeasing_v9.9", "adapter", actor="os:x", reason="y")
    plan.override(law, version, "prompt", actor="os:x", reason="to see it assembled")
    assemble.assemble(law, "regulatory", version)
    with pytest.raises(Conflict, match="is assembled from"):
        plan.override(law, version, "adapter", actor="os:x", reason="y")
    waiting = plan.again(law, "regulatory", actor="os:x", reason="y")
    plan.claim(law, "regulatory", "regulatory.finetune", "run 2")
    with pytest.raises(Conflict, match="is pending"):
        plan.override(law, waiting, "adapter", actor="os:x", reason="y")


def test_parts_that_are_barred_are_not_taken_over(law: Settings) -> None:
    version = again(law)
    live = candidates.get(law, "regulatory/r1")
    with transaction(law) as session:
        session.get_one(Artifact, live.adapter_id).barred = "was trained on text that was erased"
    with pytest.raises(Conflict, match="erased"):
        plan.override(law, version, "index", actor="os:x", reason="y")


def test_an_index_is_assembled_with_the_adapter_that_was_live_when_it_was_planned(law: Settings, tmp_path: Path) -> None:
    version = again(law)
    plan.override(law, version, "prompt", actor="os:x", reason="y")
    other = adapter(law, "regulatory", version, number=2)
    release(law, "regulatory", version, other)
    assert _newest(law) == "regulatory/r2"
    made = assemble.assemble(law, "regulatory", version)
    assert candidates.get(law, made).adapter_id == candidates.get(law, "regulatory/r1").adapter_id != other


def _newest(site: Settings) -> str:
    with reading(site) as session:
        return session.query(Candidate).order_by(Candidate.number.desc()).first().id  # type: ignore[union-attr]


def test_feedback_is_counted_by_its_source(law: Settings, tmp_path: Path) -> None:
    from laws import notice

    version = deliver(law, "regulatory", [notice(tmp_path, "2013-1", "2014-01-18", "2011-1", a="other words")], "2014-01-18", "feedback")
    found = measure(law, load_domain("regulatory", law), version, candidates.get(law, "regulatory/r1"))
    assert found.feedback == 1 and found.documents == {"amended": 1}
    assert artifacts.get(law, str(candidates.get(law, "regulatory/r1").adapter_id)).facts["version"] == found.learned
    second = release(law, "regulatory", version, candidates.get(law, "regulatory/r1").adapter_id)
    assert comparison.compare(law, "regulatory/r1", second)["documents"] == {"amended": 1}


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_shows_and_overrides(law: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    version = again(law)
    monkeypatch.setenv("RATCHET_VAR", str(law.var))
    monkeypatch.setenv("RATCHET_CONFIGS", str(law.configs))

    def ratchet(*argv: str) -> str:
        done = CliRunner().invoke(app, ["plan", "regulatory", *argv], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    assert "none" in ratchet() and "the documents are those of" in ratchet("--version", version)
    (told,) = json.loads(ratchet("--version", version, "--json"))
    assert (told["kind"], told["signals"]["served"], told["overridden_by"]) == ("none", "ConsumerLeasing_v1.0", None)
    assert "adapter" in ratchet("--version", version, "--override", "adapter", "--reason", "why not")
    (told,) = json.loads(ratchet("--version", version, "--json"))
    assert (told["kind"], told["decided"], told["overridden_why"]) == ("adapter", "none", "why not")
    assert told["overridden_by"].startswith("os:")
    for argv in (["--override", "none", "--reason", "x"], ["--version", "Nope_v1.0"], ["--version", version, "--override", "none"]):
        with pytest.raises(BadInput):
            CliRunner().invoke(app, ["plan", "regulatory", *argv], catch_exceptions=False)


# --- public data ------------------------------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.slow
def test_a_notice_of_one_paragraph_is_an_index_and_a_day_of_consultations_an_adapter(settings: Settings, shared_data: Path) -> None:
    from pipelines.demo import public

    site, script = public.script(settings, shared_data)
    first = deliver(site, "regulatory", script.base.files, script.base.effective)
    release(site, "regulatory", first, adapter(site, "regulatory", first))
    notice = script.amendment[0]
    amended = deliver(site, "regulatory", notice.files, notice.effective)
    domain = load_domain("regulatory", site)
    found = measure(site, domain, amended, candidates.get(site, "regulatory/r1"))
    assert sum(found.documents.values()) == 1
    assert plan.plan(site, "regulatory", amended) == "index"

    notes = deliver(site, "clinical", script.clinical.files, script.clinical.effective)
    assert plan.plan(site, "clinical", notes) == "adapter"
    assert row(site, notes).signals["documents"] == {"added": 15}
