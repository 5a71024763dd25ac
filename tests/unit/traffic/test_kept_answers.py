"""Kept answers: found by their request, unread without their day's key, gone when their retention is over."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import MaskingFailed, NotFound
from pipelines.feedback_config import Feedback
from pipelines.traffic import log, samples, sealed, segments
from pipelines.traffic.samples import Sample, Shown

SAID = "the threshold is what the paragraph says it is"


def sample(number: int, at: datetime, **told: Any) -> Sample:
    shown = Shown(key="9-1", content="0" * 64, paragraph="9(1)", title="About", text=SAID)
    values = {"at": at, "request_id": f"r{number}", "question": f"What is {number}?", "answer": SAID, "as_of": "2014-01-01"}
    return Sample.model_validate(values | {"passages": (shown,), "tenant": "bank"} | told)


def write(settings: Settings, domain: DomainConfig, *some: Sample) -> Path:
    folder = segments.folder_of(settings, domain.domain, "samples")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{some[0].at:%Y-%m-%dT%H}-1-abc-1.jsonl"
    with path.open("a", encoding="utf-8") as file:
        for one in some:
            file.write(json.dumps(samples.line(settings, domain, one), separators=(",", ":")) + "\n")
    return path


@pytest.mark.parametrize("name", ["regulatory", "clinical"])
def test_a_kept_answer_is_found_by_its_request(settings: Settings, name: str) -> None:
    domain, at = load_domain(name, settings), datetime.now(UTC)
    path = write(settings, domain, *(sample(number, at) for number in range(20)))
    found = samples.find(settings, name, ["r7", "r13", "r1", "nobody"])
    assert {one: found[one].question for one in found} == {"r7": "What is 7?", "r13": "What is 13?", "r1": "What is 1?"}
    assert [one.request_id for one in samples.read(settings, name)] == [f"r{number}" for number in range(20)]
    stored = [base64.b64decode(json.loads(line)["sealed"]) for line in path.read_text().splitlines()]
    assert all((SAID.encode() in one) is (name == "regulatory") for one in stored)


def test_text_of_a_private_domain_is_unread_without_its_key(settings: Settings) -> None:
    domain, today = load_domain("clinical", settings), datetime.now(UTC).date()
    stored = sealed.close(settings, domain, {"said": SAID}, today.isoformat())
    assert SAID.encode() not in stored and sealed.read(settings, "clinical", stored) == {"said": SAID}
    with pytest.raises(MaskingFailed, match="altered"):
        sealed.read(settings, "clinical", stored[:-1] + bytes([stored[-1] ^ 1]))
    assert sealed.forget(settings, "clinical", (today + timedelta(days=1)).isoformat()) == 1
    with pytest.raises(NotFound, match="past its retention"):
        sealed.read(settings, "clinical", stored)


@pytest.mark.parametrize("name", ["regulatory", "clinical"])
def test_what_is_past_its_retention_is_gone(settings: Settings, name: str) -> None:
    domain, at = load_domain(name, settings), datetime.now(UTC)
    write(settings, domain, sample(1, at - timedelta(days=40)))
    write(settings, domain, sample(2, at))
    assert samples.forget(settings, name, 30) == 1 and samples.forget(settings, name, 30) == 0
    assert list(samples.find(settings, name, ["r1", "r2"])) == ["r2"]


@pytest.mark.parametrize(
    ("keep", "consent", "store", "public", "private"),
    [
        ("public", "opt_out", None, True, False),
        ("sealed", "opt_out", None, True, True),
        ("none", "opt_out", True, False, False),
        ("sealed", "opt_out", False, False, False),
        ("sealed", "opt_in", None, False, False),
        ("sealed", "opt_in", True, True, True),
    ],
)
def test_who_may_be_kept(settings: Settings, keep: str, consent: str, store: bool | None, public: bool, private: bool) -> None:
    rule = Feedback.model_validate({"keep": keep, "consent": consent})
    for name, may in (("regulatory", public), ("clinical", private)):
        assert samples.may_keep(load_domain(name, settings).model_copy(update={"feedback": rule}), store) is may


async def test_the_writer_keeps_them_beside_the_log(settings: Settings) -> None:
    domain, kept = load_domain("regulatory", settings), log.TrafficLog(settings, durable=False, kind="samples")
    await kept.write("regulatory", samples.line(settings, domain, sample(1, datetime.now(UTC))))
    kept.close()
    assert samples.find(settings, "regulatory", ["r1"])["r1"].answer == SAID
    assert list(log.read(settings, "regulatory")) == []


async def test_what_a_request_was_answered_with_is_found_beside_its_failed_canary_and_its_shadow(settings: Settings) -> None:
    written = log.TrafficLog(settings)
    for told in (
        {"canary": True, "status": 500},
        {"status": 200, "release": "regulatory/r1"},
        {"shadow": True, "canary": True, "status": 500},
    ):
        await written.write("regulatory", {"request_id": "r1", **told})
    written.close()
    assert (log.find(settings, "regulatory", "r1") or {})["release"] == "regulatory/r1"


async def test_a_request_is_found_in_the_log_by_its_id(settings: Settings) -> None:
    written = log.TrafficLog(settings)
    for number in range(3):
        await written.write("regulatory", {"request_id": f"r{number}", "status": 200, "tenant": f"t{number}"})
    written.close()
    assert (log.find(settings, "regulatory", "r1") or {})["tenant"] == "t1"
    assert log.find(settings, "regulatory", "r") is None and log.find(settings, "other", "r1") is None
