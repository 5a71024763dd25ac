"""The log as far back as it goes: the warehouse and what is not in it yet, each record once."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from traffic_lines import record, write

from pipelines.config import Settings
from pipelines.corpus import traffic_table
from pipelines.monitor_config import Monitors
from pipelines.monitoring.history import history
from pipelines.monitoring.windows import windows
from pipelines.steps import traffic
from pipelines.traffic import segments

DAY = datetime(2026, 3, 1, tzinfo=UTC)
FOREVER = 100_000
"""Days that rotated segments are kept: these are old."""


def ids(settings: Settings, since: datetime = DAY - timedelta(days=400), until: datetime = DAY + timedelta(days=400)) -> list[str]:
    source = history(settings, "regulatory", since, until)
    found = source.arrow("SELECT request_id FROM {records} ORDER BY request_id").column("request_id").to_pylist()
    source.close()
    return list(found)


def segment(settings: Settings, name: str, lines: str | bytes) -> Path:
    path = segments.folder_of(settings, "regulatory") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    return path


def line(number: int, at: datetime = DAY, **more: Any) -> str:
    return json.dumps({"at": at.isoformat(), **record("r1", number, **more)}) + "\n"


def rotate(settings: Settings) -> dict[str, Any]:
    return traffic.rotate(settings, "regulatory", FOREVER)


def test_a_domain_without_a_table_or_a_log_has_no_history(settings: Settings) -> None:
    assert ids(settings) == []
    source = history(settings, "regulatory", DAY, DAY + timedelta(minutes=5))
    (one,) = windows(
        source,
        "all",
        begin=DAY,
        end=DAY + timedelta(minutes=5),
        seconds=300,
        every=300,
        config=Monitors(),
        measures=["requests", "error_share"],
    )
    assert one.requests == 0 and one.values == {"requests": 0.0, "error_share": None}


def test_every_record_once_before_during_and_after_it_goes_into_the_warehouse(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    write(settings, "regulatory", DAY, [record("r1", number) for number in range(3)])
    wanted = ["r1-0", "r1-1", "r1-2"]
    assert ids(settings) == wanted
    with monkeypatch.context() as patch:
        patch.setattr(traffic, "_move", lambda _: None)
        rotate(settings)
    assert ids(settings) == wanted, "committed, and not moved yet"
    rotate(settings)
    assert ids(settings) == wanted
    write(settings, "regulatory", DAY + timedelta(hours=1), [record("r1", 3)])
    assert ids(settings) == [*wanted, "r1-3"], "one that came since"
    folder = segments.folder_of(settings, "regulatory")
    shutil.rmtree(folder)
    assert ids(settings) == wanted, "segments that are gone are in the table"


def test_a_segment_whose_snapshot_is_forgotten_is_not_counted_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for hour in range(2):
        write(settings, "regulatory", DAY + timedelta(hours=hour), [record(f"r{hour}")])
        rotate(settings)
    monkeypatch.setattr(traffic_table, "KEEP_SNAPSHOTS", timedelta(0))
    traffic_table.forget_old(traffic_table.open_table(settings, "regulatory"))
    assert len(traffic_table.held(traffic_table.open_table(settings, "regulatory"))) == 1 and ids(settings) == ["r0-0", "r1-0"]


def test_a_warehouse_that_was_lost_leaves_the_segments(settings: Settings) -> None:
    write(settings, "regulatory", DAY, [record("r1")])
    rotate(settings)
    shutil.rmtree(settings.warehouse)
    assert ids(settings) == ["r1-0"]


def test_only_files_of_the_days_that_are_asked_for_are_read(settings: Settings) -> None:
    for days in range(4):
        write(settings, "regulatory", DAY + timedelta(days=days), [record(f"d{days}")])
    rotate(settings)
    table = traffic_table.open_table(settings, "regulatory")
    for task in table.scan().plan_files():
        if "day=2026-03-02" not in task.file.file_path:
            Path(task.file.file_path.removeprefix("file://")).unlink()
    assert ids(settings, DAY + timedelta(days=1), DAY + timedelta(days=1, hours=2)) == ["d1-0"]


def test_times_are_from_until_before(settings: Settings) -> None:
    segment(settings, "2026-03-01T00-1-a-1.jsonl", "".join(line(number, DAY + timedelta(seconds=number)) for number in range(4)))
    wanted = ["r1-1", "r1-2"]
    between = DAY + timedelta(seconds=1), DAY + timedelta(seconds=3)
    assert ids(settings, *between) == wanted
    rotate(settings)
    assert ids(settings, *between) == wanted


def test_a_segment_cut_short_and_lines_that_are_no_records_cost_only_themselves(settings: Settings) -> None:
    bad = (
        b'not json\n\n\x00\x00\n[1]\n{"at": "yesterday", "request_id": "x", "status": 200}\n{"at": "2026-03-01T00:00:00Z", "status": 200}\n'
    )
    odd = b'{"at": "2026-03-01T00:00:00Z", "request_id": "y", "status": "many"}\n\xff\xfe\n'
    torn = line(3).encode()[:60]
    segment(settings, "2026-03-01T00-1-a-1.jsonl", line(1).encode() + bad + odd + line(2).encode() + torn)
    segment(settings, "2026-03-01T00-1-a-2.jsonl", b"")
    assert ids(settings) == ["r1-1", "r1-2"]
    rotate(settings)
    assert ids(settings) == ["r1-1", "r1-2"], "and the warehouse says the same"


@pytest.mark.parametrize("rotated", [False, True])
def test_a_segment_that_is_there_twice_counts_once(settings: Settings, rotated: bool) -> None:
    text = line(1) + line(2)
    segment(settings, "2026-03-01T00-1-a-1.jsonl", text)
    if rotated:
        rotate(settings)
    segment(settings, "2026-03-01T00-1-b-7.jsonl", text)
    assert ids(settings) == ["r1-1", "r1-2"]
    assert rotate(settings)["finished"] == 1
    assert ids(settings) == ["r1-1", "r1-2"], "nor does it go into the warehouse twice"


def test_a_request_of_live_and_of_a_shadow_is_two_records_and_a_line_twice_is_one(settings: Settings) -> None:
    segment(settings, "2026-03-01T00-1-a-1.jsonl", line(1) + line(1, shadow=True, release="r2") + line(1))
    assert ids(settings) == ["r1-1", "r1-1"]


def test_columns_that_have_come_since_are_empty_in_older_files(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, new = traffic_table.schema, {"prompt", "top_score", "stored"}

    def older(*, questions: bool) -> Any:
        import pyarrow as pa

        return pa.schema([field for field in whole(questions=questions) if field.name not in new])

    more = {"prompt": "p/v1", "top_score": 0.5, "stored": True}
    with monkeypatch.context() as patch:
        patch.setattr(traffic_table, "schema", older)
        segment(settings, "2026-03-01T00-1-a-1.jsonl", line(1, **more))
        rotate(settings)
    source = history(settings, "regulatory", DAY, DAY + timedelta(hours=1))
    asked = "SELECT prompt, top_score, stored FROM {records} ORDER BY request_id"
    assert source.arrow(asked).to_pylist() == [dict.fromkeys(new)], "no file has them"
    segment(settings, "2026-03-01T01-1-a-1.jsonl", line(2, **more))
    rotate(settings)
    assert new <= set(traffic_table.open_table(settings, "regulatory").schema().column_names)
    source = history(settings, "regulatory", DAY, DAY + timedelta(hours=1))
    assert source.arrow(asked).to_pylist() == [dict.fromkeys(new), more]
    (one, other) = windows(
        source,
        "prompt",
        begin=DAY,
        end=DAY + timedelta(hours=1),
        seconds=3600,
        every=3600,
        config=Monitors(),
        measures=["requests", "top_score_mean"],
    )
    assert (one.group, one.values["top_score_mean"]) == ("none", None) and (other.group, other.values["top_score_mean"]) == ("p/v1", 0.5)


def test_questions_are_not_read(settings: Settings) -> None:
    segment(settings, "2026-03-01T00-1-a-1.jsonl", line(1, question_masked="What?"))
    source = history(settings, "regulatory", DAY, DAY + timedelta(hours=1))
    assert "question_masked" not in source.arrow("SELECT * FROM {records}").column_names
    rotate(settings)
    source = history(settings, "regulatory", DAY, DAY + timedelta(hours=1))
    assert "question_masked" not in source.arrow("SELECT * FROM {records}").column_names
