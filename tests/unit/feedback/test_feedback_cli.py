"""`ratchet feedback` and `ratchet review`, as somebody types them."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest
from kept_answers import keep, sample
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.config import Settings, load_domain
from pipelines.errors import NotAllowed
from pipelines.feedback import inbound
from pipelines.state.models import now

QUESTION = "What is the threshold amount in 2015?"


@pytest.fixture
def ratchet(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Configs in which whoever runs the tests reviews; one complaint and one unsure answer."""
    configs = tmp_path / "configs"
    for name in ("environments", "domains", "prompts"):
        (configs / name).mkdir(parents=True)
    (configs / "environments" / "dev.yaml").write_text("var: var\n")
    text = (settings.configs / "domains" / "regulatory.yaml").read_text(encoding="utf-8").partition("\nfeedback:")[0]
    more = f"\nfeedback: {{reviewer_names: ['os:{getpass.getuser()}'], harvest: {{sampled_per_day: 0}}}}\n"
    (configs / "domains" / "regulatory.yaml").write_text(text + more, encoding="utf-8")
    monkeypatch.setenv("RATCHET_CONFIGS", str(configs))
    monkeypatch.setenv("RATCHET_VAR", str(settings.var))
    domain = load_domain("regulatory", settings)
    keep(settings, domain, sample("a1", now(), QUESTION), sample("a2", now(), "Who must sign a lease?", confidence=0.1))
    answer = inbound.answered(settings, "regulatory", "a1")
    assert answer is not None
    inbound.receive(
        settings, domain, answer, key="key:legal", tenant="legal", rating=-1, correction="24 months", comment="see above", now=now()
    )

    def call(*words: str) -> Any:
        done = CliRunner().invoke(app, [*words, "--json"])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return json.loads(done.output)

    return call


def test_from_a_judgement_to_an_accepted_answer(ratchet: Any) -> None:
    [row] = ratchet("feedback", "list", "regulatory")
    assert (row["state"], row["rating"], row["item_id"]) == ("received", -1, "regulatory-q1")
    assert {one["what"]: one["text"] for one in ratchet("feedback", "show", row["id"])} == {
        "correction": "24 months", "comment": "see above",
    }  # fmt: skip
    assert ratchet("feedback", "harvest", "regulatory")["low_confidence"] == 1
    assert [one["id"] for one in ratchet("review", "list", "regulatory")] == ["regulatory-q1", "regulatory-q2"]
    told = {one["what"]: one["text"] for one in ratchet("review", "show", "regulatory-q1")}
    assert (told["question"], told["suggested"], told["comment 1"]) == (QUESTION, "24 months", "see above")
    assert ratchet("review", "decide", "regulatory-q1", "accept", "--golden") == [{"item": "regulatory-q1", "state": "accepted"}]
    assert ratchet("review", "decide", "regulatory-q2", "reject")[0]["state"] == "rejected"
    assert ratchet("review", "list", "regulatory") == []
    assert len(ratchet("review", "list", "regulatory", "--state", "accepted", "--state", "rejected")) == 2


def test_files_are_taken_in(ratchet: Any, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "May I end my lease early?"}, {"role": "assistant", "content": "No."}]
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps({"reward": 0, "messages": turns}) + "\nnothing\n", encoding="utf-8")
    [told] = ratchet("feedback", "transcripts", "regulatory", str(path))
    assert (told["opened"], told["bad"], told["faults"]) == (1, 1, [{"line": 2, "reason": "not JSON"}])
    # Who delivered it does not review it.
    with pytest.raises(NotAllowed, match="raised this"):
        ratchet("review", "decide", "regulatory-q2", "escalate")
