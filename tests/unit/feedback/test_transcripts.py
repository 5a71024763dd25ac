"""Conversations that arrive as files: what failed is queued, masked, once; what is wrong with a line is said without its words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import BadInput
from pipelines.feedback import queue, texts, transcripts
from pipelines.feedback_config import Feedback
from pipelines.state.database import reading
from pipelines.state.models import AuditEvent, ReviewItem

pytestmark = pytest.mark.slow

CHAT = [
    {"role": "system", "content": "You are an agent. The password is swordfish."},
    {"role": "user", "content": "Hi!"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "I want to end my lease early, write to ann@example.org"},
    {"role": "assistant", "content": None, "tool_calls": [{"function": "look_up"}]},
    {"role": "tool", "name": "look_up", "content": "lease 4711"},
    {"role": "assistant", "content": "You can not."},
    {"role": "user", "content": "Thank you ###STOP###"},
]


@pytest.fixture
def domain(settings: Settings) -> DomainConfig:
    base = load_domain("regulatory", settings)
    return base.model_copy(update={"task": base.task.model_copy(update={"kind": "chat"})})


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines), encoding="utf-8")
    return path


def items(settings: Settings) -> list[ReviewItem]:
    with reading(settings) as session:
        return list(session.scalars(select(ReviewItem).order_by(ReviewItem.number)))


def test_a_failed_conversation_is_queued_with_its_turns_masked(settings: Settings, domain: DomainConfig, tmp_path: Path) -> None:
    path = write(
        tmp_path / "Ann Smith.jsonl",
        {"task_id": 1, "trial": 0, "reward": 0.0, "info": {"secret": "swordfish"}, "traj": CHAT},
        {"id": "x", "rating": "down", "messages": [{"role": "user", "content": [{"type": "text", "text": "May I sublet?"}]}, CHAT[2]]},
        {"reward": 1.0, "traj": CHAT},
        {"traj": CHAT},
    )
    [told] = transcripts.transcripts(settings, domain, [path], "os:ann")
    assert {name: told[name] for name in ("lines", "failed", "well", "unrated", "opened", "bad")} == {
        "lines": 4, "failed": 2, "well": 1, "unrated": 1, "opened": 2, "bad": 0,
    }  # fmt: skip
    assert "Ann" not in str(told) and told["state"] == "taken"
    first, second = items(settings)
    text = texts.read(settings, "regulatory", first.sealed)
    assert (first.source, first.release, text.raised_by) == ("transcript", None, "os:ann")
    assert text.question.startswith("I want to end my lease early") and "example.org" not in str(text)
    assert text.answer == "You can not." and [one.role for one in text.turns] == ["user", "assistant", "user", "assistant", "user"]
    assert "swordfish" not in str(text) and "4711" not in str(text)
    assert texts.read(settings, "regulatory", second.sealed).question == "May I sublet?"
    assert queue.show(settings, domain, first.id, "steward").turns == text.turns
    with reading(settings) as session:
        [event] = session.scalars(select(AuditEvent).where(AuditEvent.action == "feedback.transcripts"))
    assert event.actor == "os:ann" and event.detail["opened"] == 2 and "lease" not in str(event.detail)


def test_a_file_or_a_conversation_that_comes_again_adds_nothing(settings: Settings, domain: DomainConfig, tmp_path: Path) -> None:
    one = {"reward": 0, "traj": CHAT}
    path = write(tmp_path / "one.jsonl", one)
    [first] = transcripts.transcripts(settings, domain, [path], "os:ann")
    [again] = transcripts.transcripts(settings, domain, [write(tmp_path / "other.jsonl", one)], "os:bob")
    assert (first["opened"], again["state"], again["opened"]) == (1, "known", 0)
    longer = write(tmp_path / "longer.jsonl", one, {"reward": 0, "traj": [*CHAT[1:], {"role": "assistant", "content": "Bye."}]})
    [more] = transcripts.transcripts(settings, domain, [longer], "os:ann")
    # The same request failed in another conversation: the item counts it.
    assert (more["repeated"], more["extended"], more["opened"]) == (1, 1, 0)
    [item] = items(settings)
    assert item.signals["seen"] == 2 and len(item.signals["conversations"]) == 2


def test_a_bad_line_has_a_reason_and_a_place_and_costs_nothing_else(settings: Settings, domain: DomainConfig, tmp_path: Path) -> None:
    deep: Any = "secret"
    for _ in range(80):
        deep = [deep]
    bad: list[object] = [
        "{not json: secret",
        json.dumps("secret"),
        {"reward": 0},
        {"reward": 7, "traj": CHAT},
        {"reward": 0, "traj": [{"content": "secret"}]},
        {"reward": 0, "traj": [{"role": "user", "content": "secret?"}]},
        {"reward": 0, "traj": CHAT, "info": deep},
        {"reward": 0, "traj": CHAT * 200},
        {"reward": 0, "traj": [CHAT[1], {"role": "assistant", "content": "secret " * 4_000}]},
        {"reward": 0, "traj": CHAT, "info": "secret" * 700_000},
        '{"reward": NaN, "traj": []}',
        {"rating": "meh", "traj": CHAT},
    ]
    path = write(tmp_path / "bad.jsonl", *bad, "", {"reward": 0, "traj": CHAT})
    [told] = transcripts.transcripts(settings, domain, [path], "os:ann")
    assert (told["lines"], told["bad"], told["failed"], told["opened"]) == (13, 12, 1, 1)
    assert [one["line"] for one in told["faults"]] == list(range(1, 13))
    assert all(one["reason"] for one in told["faults"]) and "secret" not in str(told)
    reasons = " | ".join(one["reason"] for one in told["faults"])
    for part in (
        "not JSON",
        "nested deeper than 64",
        "more than 500 turns",
        "more than 20,000 characters",
        "longer than 4 MB",
        "nobody answered",
    ):
        assert part in reasons


def test_what_is_no_file_or_too_large_is_said(settings: Settings, domain: DomainConfig, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a file"):
        transcripts.transcripts(settings, domain, [tmp_path / "missing.jsonl"], "os:ann")
    small = domain.model_copy(update={"sources": domain.sources.model_copy(update={"max_file_mb": 0.0001})})
    [told] = transcripts.transcripts(settings, small, [write(tmp_path / "big.jsonl", {"reward": 0, "traj": CHAT})], "os:ann")
    assert told["state"] == "refused" and "larger than" in told["reason"] and items(settings) == []


def test_a_domain_that_keeps_no_text_takes_none(settings: Settings, domain: DomainConfig, tmp_path: Path) -> None:
    path = write(tmp_path / "one.jsonl", {"reward": 0, "traj": CHAT})
    none = domain.model_copy(update={"feedback": Feedback(keep="none")})
    private = load_domain("clinical", settings).model_copy(update={"feedback": Feedback(keep="public")})
    for closed in (none, private):
        with pytest.raises(BadInput, match="keeps no text"):
            transcripts.transcripts(settings, closed, [path], "os:ann")


@pytest.mark.shared
def test_real_chats_with_reward_nought_are_queued_and_the_others_counted(
    settings: Settings, domain: DomainConfig, shared_data: Path
) -> None:
    path = shared_data / "tau_bench_chats" / "gpt-4o-airline.jsonl"
    [told] = transcripts.transcripts(settings, domain, [path], "os:ann")
    assert (told["lines"], told["failed"], told["well"], told["bad"]) == (50, 29, 21, 0)
    assert told["opened"] + told["extended"] + told["repeated"] == 29
    found = [texts.read(settings, "regulatory", one.sealed) for one in items(settings)]
    assert len(found) == told["opened"] and all(len(text.question.split()) >= 4 and text.answer and text.turns for text in found)
    assert not any("###" in text.question for text in found)
    assert {text.turns[0].role for text in found} == {"user"}
    [again] = transcripts.transcripts(settings, domain, [path], "os:ann")
    assert again["state"] == "known" and len(items(settings)) == told["opened"]
