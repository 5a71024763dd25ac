"""Rotation of the traffic log: every line once in the warehouse or told as bad, whatever a crash cuts off."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines import cli
from pipelines.config import Settings
from pipelines.corpus import traffic_table
from pipelines.errors import Conflict, NotFound
from pipelines.steps import traffic
from pipelines.traffic import segments
from pipelines.traffic.log import TrafficLog, read


def one(number: int, **more: Any) -> dict[str, Any]:
    return {"request_id": f"q{number}", "status": 200, **more}


def write(settings: Settings, domain: str, records: list[dict[str, Any]], *, close: bool = True) -> TrafficLog:
    log = TrafficLog(settings)

    async def all_of_them() -> None:
        await asyncio.gather(*(log.write(domain, record) for record in records))

    asyncio.run(all_of_them())
    if close:
        log.close()
    return log


def rows(settings: Settings, domain: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = traffic_table.open_table(settings, domain).scan().to_arrow().to_pylist()
    return sorted(found, key=lambda row: (row["at"], row["request_id"]))


FULL = {
    "conversation": "c", "release": "regulatory/r1", "canary": True, "key": "nurse", "tenant": "north", "as_of": "2015-06-01",
    "latency_ms": 12.5, "first_ms": 3.25, "tokens_in": 10, "tokens_out": 4, "confidence": 0.5, "min_logprob": -1.5, "abstained": False,
    "reason": None, "sources": ["a", "b"], "cited": "a", "cache": "exact", "route": "own", "engine": "e", "instance": "i",
    "guards": [{"rule": "injection", "action": "report", "score": 0.7, "where": "question"}], "question_masked": "What?",
}  # fmt: skip


def test_closed_segments_become_rows_and_an_open_one_waits(settings: Settings) -> None:
    day = "2024-05-01T23:59:59.500+00:00"
    write(settings, "regulatory", [one(1, at=day, **FULL), one(2, at="2024-05-02T00:00:01+00:00")])
    writing = write(settings, "regulatory", [one(3)], close=False)
    told = traffic.rotate(settings, "regulatory")
    assert told == {"domain": "regulatory", "segments": 1, "lines": 2, "rows": 2, "bad": 0, "finished": 0, "deleted": 0}
    first, second = rows(settings, "regulatory")
    assert {name: first[name] for name in FULL} == FULL and first["at"] == datetime.fromisoformat(day)
    assert second["guards"] == second["sources"] == [] and second["shadow"] is False and second["question_masked"] is None
    table = traffic_table.open_table(settings, "regulatory")
    assert sorted(str(task.file.partition[0]) for task in table.scan().plan_files()) == ["19844", "19845"], "days since 1970"
    folder = segments.folder_of(settings, "regulatory")
    assert len(list(folder.glob("*.jsonl"))) == len(list((folder / segments.ROTATED).glob("*.jsonl"))) == 1
    writing.close()
    assert traffic.rotate(settings, "regulatory")["rows"] == 1
    assert [row["request_id"] for row in rows(settings, "regulatory")] == ["q1", "q2", "q3"]
    assert [record["request_id"] for record in read(settings, "regulatory")] == ["q1", "q2", "q3"], "rotated ones are still read"


def test_again_adds_nothing(settings: Settings) -> None:
    write(settings, "regulatory", [one(1)])
    traffic.rotate(settings, "regulatory")
    again = traffic.rotate(settings, "regulatory")
    assert (again["segments"], again["rows"]) == (0, 0) and len(rows(settings, "regulatory")) == 1
    assert traffic.rotate(settings, "clinical")["segments"] == 0, "a domain without traffic"


@pytest.mark.parametrize("step", ["before", "after"])
def test_a_crash_around_the_commit_is_finished_by_the_next_run(settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    for number in range(3):
        write(settings, "regulatory", [one(number)])

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((traffic_table, "append") if step == "before" else (traffic, "_move")), crash)
        with pytest.raises(KeyboardInterrupt):
            traffic.rotate(settings, "regulatory")
    told = traffic.rotate(settings, "regulatory")
    assert (told["segments"], told["finished"]) == ((3, 0) if step == "before" else (0, 3))
    assert [row["request_id"] for row in rows(settings, "regulatory")] == ["q0", "q1", "q2"]
    assert list(segments.folder_of(settings, "regulatory").glob("*.jsonl")) == []


def test_a_segment_changed_after_it_went_in_is_not_passed_over(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    write(settings, "regulatory", [one(1)])
    with monkeypatch.context() as patch:
        patch.setattr(traffic, "_move", lambda _: None)
        traffic.rotate(settings, "regulatory")
    (path,) = segments.folder_of(settings, "regulatory").glob("*.jsonl")
    with path.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(Conflict, match="changed after"):
        traffic.rotate(settings, "regulatory")


BAD = {
    "not json\n": "json_invalid",
    '{"at": "2024-01-01T00:00:00Z", "status": 200}\n': "request_id: missing",
    '{"at": "yesterday", "request_id": "q", "status": 200}\n': "at: ",
    '{"at": "2024-01-01T00:00:00Z", "request_id": "q", "status": "many"}\n': "status: int_parsing",
    '{"at": "2024-01-01T00:00:00Z", "request_id": "q", "status": 200, "question": "Annabel?"}\n': "question: extra_forbidden",
    "\n": "json_invalid",
    "\x00\x00\x00\n": "json_invalid",
    '{"at": "2024-01-01T00:00:00Z", "request_id": "torn"': "torn by a crash",
}


@pytest.mark.parametrize("domain", ["regulatory", "clinical"])
def test_bad_lines_are_told_and_everything_adds_up(settings: Settings, domain: str) -> None:
    write(settings, domain, [one(1), one(2)])
    (path,) = segments.folder_of(settings, domain).glob("*.jsonl")
    with path.open("a") as file:
        file.write("".join(BAD))
    told = traffic.rotate(settings, domain)
    assert (told["lines"], told["rows"], told["bad"]) == (2 + len(BAD), 2, len(BAD))
    bad = path.parent / segments.ROTATED / f"{path.stem}.bad"
    found = [json.loads(line) for line in bad.read_text().splitlines()]
    assert [line["line"] for line in found] == list(range(3, 3 + len(BAD))) and bad.stat().st_mode & 0o777 == 0o600
    for line, reason in zip(found, BAD.values(), strict=True):
        assert reason in line["reason"], line
    assert ("Annabel" in bad.read_text()) == (domain == "regulatory"), "of a private domain no text is told"


def test_a_private_domain_has_no_questions_in_the_warehouse(settings: Settings) -> None:
    write(settings, "clinical", [one(1), one(2, question_masked="Is Annabel ill?")])
    told = traffic.rotate(settings, "clinical")
    assert (told["rows"], told["bad"]) == (1, 1)
    assert "question_masked" not in rows(settings, "clinical")[0]
    for path in settings.warehouse.rglob("*"):
        if path.is_file():
            assert b"Annabel" not in path.read_bytes()


def test_an_empty_segment_and_one_without_a_good_line_go_too(settings: Settings) -> None:
    folder = segments.folder_of(settings, "regulatory")
    folder.mkdir(parents=True)
    (folder / "2024-01-01T00-1-a-1.jsonl").touch()
    (folder / "2024-01-01T00-1-a-2.jsonl").write_text("x\n")
    told = traffic.rotate(settings, "regulatory", 10_000)
    assert (told["segments"], told["lines"], told["rows"], told["bad"]) == (2, 1, 0, 1)
    assert rows(settings, "regulatory") == []


def test_rotated_segments_are_deleted_after_their_days_and_others_kept(settings: Settings) -> None:
    folder = segments.folder_of(settings, "regulatory")
    folder.mkdir(parents=True)
    now = datetime.now(UTC)
    for days in (0, 6, 8):
        name = (now - timedelta(days=days)).strftime(segments.STAMP)
        (folder / f"{name}-1-a-1.jsonl").write_text(f'{{"at": "{now.isoformat()}", "request_id": "q{days}", "status": 200}}\nbad\n')
    told = traffic.rotate(settings, "regulatory")
    assert (told["rows"], told["deleted"]) == (3, 1)
    left = sorted(path.suffix for path in (folder / segments.ROTATED).iterdir())
    assert left == [".bad", ".bad", ".jsonl", ".jsonl"] and len(rows(settings, "regulatory")) == 3
    (folder / segments.ROTATED / "foreign.txt").touch()
    assert traffic.rotate(settings, "regulatory", 0)["deleted"] in (1, 2)
    assert (folder / segments.ROTATED / "foreign.txt").exists()


def test_commits_are_bounded_and_old_snapshots_forgotten(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "_ROWS_PER_COMMIT", 4)
    monkeypatch.setattr(traffic, "_CHUNK", 2)
    for number in range(4):
        write(settings, "regulatory", [one(number * 10 + more) for more in range(3)])
    assert traffic.rotate(settings, "regulatory")["rows"] == 12
    table = traffic_table.open_table(settings, "regulatory")
    assert len(table.metadata.snapshots) == 2 and len(traffic_table.held(table)) == 4
    monkeypatch.setattr(traffic_table, "KEEP_SNAPSHOTS", timedelta(0))
    traffic_table.forget_old(table)
    table = traffic_table.open_table(settings, "regulatory")
    assert len(table.metadata.snapshots) == 1 and len(rows(settings, "regulatory")) == 12


def test_a_column_that_has_come_since_is_added(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = traffic_table.schema
    with monkeypatch.context() as patch:
        patch.setattr(traffic_table, "schema", lambda *, questions: whole(questions=questions).remove(5))
        write(settings, "regulatory", [one(1)])
        traffic.rotate(settings, "regulatory")
    write(settings, "regulatory", [one(2)])
    traffic.rotate(settings, "regulatory")
    table = traffic_table.open_table(settings, "regulatory")
    assert set(whole(questions=True).names) <= set(table.schema().column_names) and len(rows(settings, "regulatory")) == 2


def test_the_corpus_and_the_traffic_share_a_warehouse_without_meeting(settings: Settings) -> None:
    from pipelines.corpus import table

    write(settings, "regulatory", [one(1)])
    traffic.rotate(settings, "regulatory")
    table.open_or_create(settings, "regulatory")
    assert len(rows(settings, "regulatory")) == 1 and table.open_table(settings, "regulatory").name() == ("ratchet", "regulatory")


def test_the_fields_of_a_record_have_columns() -> None:
    names = set(traffic_table.schema(questions=True).names)
    assert names == segments.FIELDS | {"segment", "day"}
    assert set(traffic_table.schema(questions=False).names) == names - {"question_masked"}


def test_the_commands(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_VAR", str(settings.var))
    write(settings, "regulatory", [one(number) for number in range(5)])
    run = CliRunner().invoke
    shown = run(cli.app, ["traffic", "show", "regulatory", "--last", "2", "--json"])
    assert [record["request_id"] for record in json.loads(shown.stdout)] == ["q3", "q4"]
    assert "200" in run(cli.app, ["traffic", "show", "regulatory"]).stdout
    (told,) = json.loads(run(cli.app, ["traffic", "rotate", "--json"]).stdout)
    assert (told["domain"], told["rows"]) == ("regulatory", 5)
    assert run(cli.app, ["traffic", "rotate", "regulatory"]).exit_code == 0
    assert isinstance(run(cli.app, ["traffic", "rotate", "nobody"]).exception, NotFound)
    assert isinstance(run(cli.app, ["traffic", "show", "nobody"]).exception, NotFound)


def test_nothing_in_the_warehouse_is_said(settings: Settings) -> None:
    with pytest.raises(NotFound, match="no traffic"):
        traffic_table.open_table(settings, "regulatory")


def test_segments_are_the_owners_alone(settings: Settings) -> None:
    write(settings, "regulatory", [one(1)])
    traffic.rotate(settings, "regulatory")
    rotated = segments.folder_of(settings, "regulatory") / segments.ROTATED
    assert rotated.stat().st_mode & 0o777 == 0o700
    assert all(Path(entry.path).stat().st_mode & 0o077 == 0 for entry in os.scandir(rotated))
