"""A correction that people accepted, from the review queue to a training example and a case of the gate; and one that nobody accepted."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from laws import by_structure, deliver, held, regulation, work

from pipelines.config import Settings, load_domain
from pipelines.corpus import corrections, warehouse
from pipelines.evaluation import suites
from pipelines.evaluation.cases import CORRECTED, GOLDENS
from pipelines.feedback import corrections as accepted
from pipelines.intake import landing
from pipelines.manifest import sha256
from pipelines.state.database import reading, transaction
from pipelines.state.models import AuditEvent, ReviewItem, now
from pipelines.steps import learn, signals
from pipelines.steps.plan import decide
from pipelines.traffic import sealed
from pipelines.training import example

pytestmark = pytest.mark.slow
TEXTS = {f"p{n}": f"The term “item {n}” means a thing of sort {n} and of kind {n * 7}. So it stands here." for n in range(12)}


@pytest.fixture
def site(settings: Settings, tmp_path: Path) -> Settings:
    made = by_structure(settings, tmp_path, {"structure": ["definition"]}).model_copy(update={"today": "2011-02-01"})
    deliver(made, regulation(tmp_path, "2011-1", "2011-01-01", **TEXTS), "run-1")
    return made


def accept(site: Settings, number: int, question: str, answer: str | None, cites: str | None, **kinds: bool) -> ReviewItem:
    """What the queue leaves of an item that was settled."""
    domain = load_domain("regulatory", site)
    text = {"question": question, "answer": "wrong", "accepted": {"answer": answer, "cites": cites}}
    row = ReviewItem(
        id=f"regulatory-q{number}",
        domain="regulatory",
        number=number,
        fingerprint=sha256(question),
        source="complaint",
        sealed=sealed.close(site, domain, text, site.day()),
        cites=cites,
        state="accepted",
        answer_sha256=accepted.digest(question, answer, cites),
        kinds=kinds or {"example": True},
        settled_at=now(),
    )
    with transaction(site) as session:
        session.add(row)
    return row


def test_accepted_corrections_become_documents_examples_and_cases(site: Settings) -> None:
    accept(site, 1, "Which sort is item 5?", "sort 5", "9-p5")
    accept(site, 2, "Which colour has item 6?", None, "9-p6")
    accept(site, 3, "Which kind is item 7?", "kind 49", "9-p7", golden=True)
    domain = load_domain("regulatory", site)
    told = accepted.deliver(site, domain)
    assert (told["delivered"], told["waiting"], told["lost"]) == (3, 0, 0)
    assert accepted.deliver(site, domain)["delivered"] == 0
    (version,) = work(site, "run-2")
    rows = warehouse.documents(site, "regulatory", version)
    made = {one.kind: one for one in corrections.of(rows) if one.answer is not None}
    assert (made["example"].question, made["example"].answer, made["example"].cites) == ("Which sort is item 5?", "sort 5", "9-p5")
    assert len(corrections.texts(rows)) == len(TEXTS)

    folder = site.artifacts / str(learn.examples(site, "regulatory", version).outputs["path"])
    made_of = [one for one in example.read(folder / example.FILE) if one.rule == "feedback"]
    learned = {one.question: one for one in made_of}
    assert len(made_of) == len({one.id for one in made_of}) == len(learned) * domain.examples.corrected_weight
    assert set(learned) == {"Which sort is item 5?", "Which colour has item 6?"}
    assert learned["Which sort is item 5?"].answer in learned["Which sort is item 5?"].passages[0]
    assert learned["Which colour has item 6?"].answer is None
    resting = {key for one in example.read(folder / example.FILE) for key in one.documents}
    assert "9-p7" not in resting, "what a golden rests on is kept from training, also one that reviewers made"

    loaded = suites.load(site, domain, rows, "2011-02-01", folder)
    asked = {(one.suite, one.case.question) for one in loaded.asked}
    assert (CORRECTED, "Which sort is item 5?") in asked and (CORRECTED, "Which colour has item 6?") in asked
    assert (GOLDENS, "Which kind is item 7?") in asked
    suites.require_apart(loaded.asked, rows, folder)


def test_a_correction_is_suspended_when_its_text_is_replaced(site: Settings, tmp_path: Path) -> None:
    accept(site, 1, "Which sort is item 5?", "sort 5", "9-p5")
    accepted.deliver(site, load_domain("regulatory", site))
    work(site, "run-2")
    (version,) = deliver(
        site, regulation(tmp_path, "2012-1", "2012-01-01", **TEXTS | {"p5": "The term “item 5” means nothing now."}), "run-3"
    )
    folder = site.artifacts / str(learn.examples(site, "regulatory", version).outputs["path"])
    assert not [one for one in example.read(folder / example.FILE) if one.rule == "feedback"]
    assert "suspended: 9-p5 has another text now" in (folder / "left_out.jsonl").read_text()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            {"key": corrections.key_of("example", "f" * 64), "question": "Who?", "answer": "me", "cites": "9-p1"},
            "no reviewer accepted this",
        ),
        ({"key": "9-p1", "question": "Who?", "answer": "me", "cites": "9-p1"}, "of corrections that people accepted"),
    ],
)
def test_what_nobody_accepted_trains_nothing(site: Settings, tmp_path: Path, line: dict[str, str], reason: str) -> None:
    _seal(site, tmp_path, [line])
    assert work(site, "run-2") == []
    assert reason in _refused(site)


def test_another_answer_than_the_accepted_one_is_refused_and_the_rest_goes_on(site: Settings, tmp_path: Path) -> None:
    one = accept(site, 1, "Which sort is item 5?", "sort 5", "9-p5")
    two = accept(site, 2, "Which sort is item 6?", "sort 6", "9-p6")
    lines = [
        {
            "key": corrections.key_of("example", row.fingerprint),
            "question": f"Which sort is item {n}?",
            "answer": answer,
            "cites": f"9-p{n}",
        }
        for row, n, answer in ((one, 5, "sort 4"), (two, 6, "sort 6"))
    ]
    _seal(site, tmp_path, lines)
    (version,) = work(site, "run-2")
    assert [made.question for made in corrections.of(warehouse.documents(site, "regulatory", version))] == ["Which sort is item 6?"]
    assert "no reviewer accepted this" in _refused(site)


def test_no_other_arrival_may_bring_keys_of_corrections(site: Settings, tmp_path: Path) -> None:
    path = regulation(tmp_path, "2012-1", "2012-01-01", p1="Of another day.")
    path.write_text(path.read_text().replace('label="9-p1"', 'label="feedback.example.1"'))
    assert deliver(site, path, "run-2") == []
    assert "of corrections that people accepted" in _refused(site)


def test_corrections_alone_call_for_an_adapter_only_when_there_are_enough(site: Settings) -> None:
    fields: dict[str, Any] = {"against": "regulatory/r1", "learned": "v1", "only_corrections": True}
    policy = load_domain("regulatory", site).plan
    kind, reason = decide(signals.Signals(**fields, feedback=3), policy)
    assert kind == "none" and "3 documents of feedback wait" in reason
    assert decide(signals.Signals(**fields, feedback=policy.retrain_after_feedback), policy)[0] == "adapter"


def test_few_corrections_wait_and_old_ones_do_not(site: Settings) -> None:
    accept(site, 1, "Which sort is item 5?", "sort 5", "9-p5")
    domain = load_domain("regulatory", site)
    patient = domain.model_copy(update={"feedback": domain.feedback.model_copy(update={"learn_after": 5})})
    assert accepted.deliver(site, patient) == {"delivered": 0, "waiting": 1, "folder": None, "lost": 0}
    with transaction(site) as session:
        session.get_one(ReviewItem, "regulatory-q1").settled_at = now() - timedelta(days=8)
    assert accepted.deliver(site, patient)["delivered"] == 1


def test_the_first_release_that_is_right_mends_and_a_later_one_may_regress(site: Settings) -> None:
    row = accept(site, 1, "Which sort is item 5?", "sort 5", "9-p5")
    key = corrections.key_of("example", row.fingerprint)

    def after(release: str, good: bool) -> tuple[str | None, str | None]:
        accepted.outcomes(site, "regulatory", release, {key: good})
        with reading(site) as session:
            item = session.get_one(ReviewItem, "regulatory-q1")
            return item.mended_by, item.regressed_by

    assert after("regulatory/r2", False) == (None, None)
    assert after("regulatory/r3", True) == after("regulatory/r3", True) == ("regulatory/r3", None)
    assert after("regulatory/r4", False) == ("regulatory/r3", "regulatory/r4")
    assert after("regulatory/r5", True) == ("regulatory/r3", None)
    with reading(site) as session:
        assert session.query(AuditEvent).filter(AuditEvent.action == "release.answers_complaints").count() == 5


def test_texts_of_the_law_stay_as_they_are(site: Settings) -> None:
    accept(site, 1, "Which sort is item 5?", "sort 5", "9-p5")
    accepted.deliver(site, load_domain("regulatory", site))
    (version,) = work(site, "run-2")
    assert {key for key in held(site, version, "2011-03-01") if not corrections.is_one(key)} == {f"9-{name}" for name in TEXTS}


def _seal(site: Settings, tmp_path: Path, lines: list[dict[str, str]]) -> None:
    path = tmp_path / corrections.FILE
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    landing.deliver(site, "regulatory", [path], uploader="somebody", source=corrections.SOURCE, effective="2011-02-01")


def _refused(site: Settings) -> str:
    from pipelines.registry import views

    newest = views.arrivals(site, "regulatory")[0]
    return f"{newest['reason']} {[row['reason'] for row in views.items(site, newest['arrival'])]}"
