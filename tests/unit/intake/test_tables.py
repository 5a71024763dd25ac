"""CSV, Parquet, JSON lines: rows as a stream, each broken one refused by its place."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from pipelines.intake.formats import read
from pipelines.intake.records import RawRecord, Refusal

Take = Callable[..., tuple[list[RawRecord], list[Refusal]]]


def _parquet(rows: list[dict[str, Any]], **options: Any) -> bytes:
    made = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), made, **options)
    return made.getvalue()


def test_parquet_rows_become_records(take: Take) -> None:
    turns = [{"speaker": "Doctor", "text": "Well?"}]
    content = _parquet(
        [
            {"id": 7, "day": date(2014, 5, 6), "who": "Ana", "text": turns, "cost": Decimal("1.5")},
            {"id": 8, "day": None, "who": None, "text": turns, "cost": None},
        ]
    )
    records, refusals = take("t.parquet", content, effective="day", subject=("who", "cost"))
    assert records == [RawRecord("7", "", "Doctor: Well?", "2014-05-06", "", False, ("Ana", "1.5"), "row 1")]
    assert [one.place for one in refusals] == ["row 2"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"hello", "not readable as Parquet"),
        (_parquet([{"id": "1", "text": "x"}])[:-20], "not readable as Parquet"),
        (_parquet([{"id": "1", "body": "x"}]), "columns are missing: text"),
        (_parquet([{"id": "1", "text": "x"}])[:60] + b"\xff" * 900, "not readable as Parquet"),
    ],
    ids=["text", "cut", "columns", "damaged"],
)
def test_a_bad_parquet_file_is_one_refusal(take: Take, content: bytes, reason: str) -> None:
    records, refusals = take("t.parquet", content)
    assert records == [] and len(refusals) == 1 and reason in refusals[0].reason


def test_parquet_that_unfolds_is_stopped(take: Take) -> None:
    content = _parquet([{"id": str(number), "text": "A" * 1_000_000} for number in range(30)], compression="zstd", use_dictionary=False)
    assert len(content) < 200_000
    _, refusals = take("t.parquet", content, limits={"expanded_mb": 10})
    assert [one.reason for one in refusals] == ["its rows take more than 10 MB"]
    content = _parquet([{"id": str(number), "text": "A" * 1_000_000} for number in range(30)])
    records, refusals = take("t.parquet", content, limits={"expanded_mb": 10})
    assert len(records) == 10 and [one.reason for one in refusals] == ["its text is more than 10 MB: the rest is not read"]


def test_csv_of_another_shape(take: Take) -> None:
    assert take("t.csv", "id;text\r\n1;a,b\r\n", delimiter=";")[0][0].text == "a,b"
    assert [one.text for one in take("t.csv", "id,text\r1,a\r2,b\r")[0]] == ["a", "b"], "old Macintosh line ends"
    long = "x" * 300_000
    assert take("t.csv", f"id,text\n1,{long}\n")[0][0].text == long, "more than the csv module takes by itself"


def test_a_changed_header_is_one_refusal_and_a_repeated_one_a_row(take: Take) -> None:
    records, refusals = take("t.csv", "id,txt\n1,a\n")
    assert records == [] and [(one.place, one.reason) for one in refusals] == [("header", "columns are missing: text")]
    records, refusals = take("t.csv", "id,text\n1,a\nid,text\n2,b\n")
    assert [one.key for one in records] == ["1", "2"] and [(one.place, one.reason) for one in refusals] == [
        ("row 2", "the header comes again")
    ]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_line_without_end_is_refused_and_never_held(take: Take, name: str) -> None:
    head = "id,text\n" if name == "t.csv" else '{"id": "1", "text": "a"}\n'
    content = head + ('1,"' if name == "t.csv" else '"') + "x" * 3_000_000 + '\n{"id": "2", "text": "b"}\n'
    records, refusals = take(name, content, limits={"record_mb": 1})
    assert len(refusals) == 1
    if name == "t.jsonl":
        assert [one.key for one in records] == ["1", "2"] and refusals[0].place == "line 2"


def test_lone_surrogates_and_nul_are_refused_by_place(take: Take) -> None:
    records, refusals = take("t.jsonl", '{"id": "1", "text": "a\\ud800"}\n{"id": "2", "text": "a\\u0000"}\n{"id": "3", "text": "c"}\n')
    assert [one.key for one in records] == ["3"]
    assert [one.place for one in refusals] == ["line 1", "line 2"]


def test_a_record_that_is_too_long_costs_only_itself(take: Take) -> None:
    rows = [{"id": "1", "text": "x" * 30_000}, {"id": "2", "text": "y"}]
    records, refusals = take("t.json", json.dumps(rows), limits={"record_mb": 0.02})
    assert [one.key for one in records] == ["2"] and "longer than 0.02 MB" in refusals[0].reason


@pytest.mark.parametrize(
    ("name", "start", "row"), [("t.csv", "id,text\n", '{n},"{text}"\n'), ("t.jsonl", "", '{{"id": {n}, "text": "{text}"}}\n')]
)
def test_rows_are_read_one_at_a_time(tmp_path: Path, name: str, start: str, row: str) -> None:
    from pipelines.config import Sources

    path = tmp_path / name
    with path.open("w") as file:
        file.write(start)
        for number in range(20_000):
            file.write(row.format(n=number, text="words " * 100))
    size = path.stat().st_size
    sources = Sources(formats=("csv", "jsonl"))
    tracemalloc.start()
    count = sum(isinstance(one, RawRecord) for one in read(path, sources, effective="2014-01-01", where=""))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20_000
    assert peak < size / 8, f"{peak} bytes held for a file of {size}"


def test_a_string_of_quotes_that_never_ends_is_refused_at_once(take: Take) -> None:
    records, refusals = take("t.json", '{"a": "' + '\\"' * 500_000)
    assert records == [] and "not readable as JSON" in refusals[0].reason


@pytest.mark.shared
def test_the_real_dialogues_are_all_there(shared_data: Path, take_path: Take) -> None:
    folder = shared_data / "mts_dialog" / "Main-Dataset"
    counts = {}
    for path in sorted(folder.glob("*.csv")):
        records, refusals = take_path(path, key="ID", text=("dialogue",), title="section_header")
        counts[path.name] = (len(records), len(refusals))
    assert counts["MTS-Dialog-TrainingSet.csv"] == (1201, 0)
    assert counts["MTS-Dialog-ValidationSet.csv"] == (100, 0)
