"""Every reader: what it takes, and what it refuses without harming the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import Sources
from pipelines.intake.formats import RawRecord, Refusal, pair_of, read

ALL = ("regml", "csv", "json", "jsonl", "text", "textgrid")


def _sources(**values: Any) -> Sources:
    return Sources.model_validate({"formats": ALL, **values})


def _read(path: Path, sources: Sources | None = None) -> tuple[list[RawRecord], list[Refusal]]:
    found = list(read(path, sources or _sources(), effective="2014-01-01", where=""))
    return [one for one in found if isinstance(one, RawRecord)], [one for one in found if isinstance(one, Refusal)]


def _file(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_rows_become_records_with_subject_and_date(tmp_path: Path) -> None:
    sources = _sources(key="note", text=("head", "body"), title="kind", subject=("who", "mrn"), effective="day")
    path = _file(tmp_path, "n.csv", '\ufeffnote,kind,who,mrn,day,head,body\nn1,Visit,"Lind, Ana",77,2014-05-06T10:00,Hello,"two\nlines"\n')
    records, refusals = _read(path, sources)
    assert refusals == []
    assert records == [RawRecord("n1", "Visit", "Hello\ntwo\nlines", "2014-05-06", "", False, ("Lind, Ana", "77"), "row 1")]


def test_bad_rows_are_refused_by_place_and_the_rest_stays(tmp_path: Path) -> None:
    path = _file(tmp_path, "n.csv", "id,text\na,one\n,two\nc\nd,\ne,five,six\nf,last\n")
    records, refusals = _read(path)
    assert [record.key for record in records] == ["a", "f"]
    assert [refusal.place for refusal in refusals] == ["row 2", "row 3", "row 4", "row 5"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b" \n\n", "empty"),
        ("a.csv", b"id,text\n1,caf\xe9\n", "UTF-8"),
        ("a.csv", b"id,body\n1,x\n", "columns are missing: text"),
        ("a.csv", b"id,id,text\n1,2,x\n", "one name"),
        ("a.csv", b"id,text\n", "no rows"),
        ("a.csv", b'id,text\n1,"open\n', "not readable"),
        ("a.csv", b"id,text\n1,a\0b\n", "NUL"),
        ("a.json", b'{"id": 1', "not readable as JSON"),
        ("a.json", b"[]", "empty"),
        ("a.json", b"3", "neither"),
        ("a.json", b"[" * 100 + b"]" * 100, "deep"),
        ("a.json", b"[" * 200_000, "deep"),
        ("a.json", b'[{"id": NaN, "text": "x"}]', "NaN"),
        ("a.json", b'[{"id": "1", "id": "2", "text": "x"}]', "twice"),
        ("a.json", b'[{"id": ' + b"9" * 6000 + b', "text": "x"}]', "number"),
        ("a.json", b'["x"]', "not an object"),
        ("a.json", b'[{"id": "1", "text": {"a": 1}}]', "neither text nor a number"),
        ("a.jsonl", b"{}", "columns are missing"),
        ("a.xml", b"<a>", "well-formed"),
        ("a.xml", b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "DTD"),
        ("a.xml", b"<a/>", "not RegML"),
        ("a.exe", b"MZ", "not taken"),
        ("noname", b"x", "not taken"),
        ("a.TextGrid", b"hello", "TextGrid"),
    ],
)
def test_what_cannot_be_read_is_one_refusal(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    records, refusals = _read(_file(tmp_path, name, content))
    assert records == []
    assert len(refusals) == 1 and reason in refusals[0].reason


def test_a_refusal_never_repeats_a_value(tmp_path: Path) -> None:
    secret = "Lindqvist"
    for name, content in (
        ("a.csv", f"id,text,day\n1,{secret},{secret}\n"),
        ("b.json", f'[{{"id": "{secret}", "text": ["{secret}", 3]}}]'),
        ("c.json", f'[{{"{secret}": 1}}'),
        (f"d.{secret}{secret}", "x"),
        ("e.jsonl", f'"{secret}"\n'),
    ):
        _, refusals = _read(_file(tmp_path, name, content), _sources(effective="day"))
        assert refusals and not any(secret in f"{one.place} {one.reason}" for one in refusals)


def test_too_large_and_not_configured_are_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, "a.txt", "x" * 2000)
    assert "larger" in _read(path, _sources(max_file_mb=0.001))[1][0].reason
    assert "not taken" in _read(path, _sources(formats=("csv",)))[1][0].reason


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = _file(tmp_path, "real.txt", "secret")
    link = tmp_path / "link.txt"
    link.symlink_to(target)
    assert _read(link)[0] == [] and "plain file" in _read(link)[1][0].reason


def test_json_takes_turns_numbers_and_a_single_object(tmp_path: Path) -> None:
    turns = [{"speaker": "Doctor", "text": "Well?"}, {"speaker": "Patient", "text": " Fine. "}, "(pause)"]
    records, _ = _read(_file(tmp_path, "a.json", json.dumps([{"id": 5, "text": turns}])))
    assert (records[0].key, records[0].text, records[0].place) == ("5", "Doctor: Well?\nPatient: Fine.\n(pause)", "item 1")
    records, _ = _read(_file(tmp_path, "day1.json", '{"text": "a note"}'))
    assert (records[0].key, records[0].text) == ("day1", "a note")


def test_a_bad_line_of_jsonl_costs_only_itself(tmp_path: Path) -> None:
    records, refusals = _read(_file(tmp_path, "a.jsonl", '{"id": "1", "text": "a\u2028b"}\n{bad\n\n{"id": "2", "text": "c"}\n'))
    assert [record.key for record in records] == ["1", "2"]
    assert [refusal.place for refusal in refusals] == ["line 2"]


def test_a_text_file_is_one_record(tmp_path: Path) -> None:
    records, _ = _read(_file(tmp_path, "dictation.txt", "One.\nTwo.\n"))
    assert records == [RawRecord("dictation", "", "One.\nTwo.", "2014-01-01", "", False, (), "")]


def _grid(speaker: str, *turns: tuple[float, str]) -> str:
    intervals = "".join(
        f'        intervals [{n}]:\n            xmin = {start}\n            xmax = {start + 1}\n            text = "{text}"\n'
        for n, (start, text) in enumerate(turns, 1)
    )
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nitem []:\n    item [1]:\n        class = "IntervalTier"\n'
    return f'{head}        name = "{speaker}"\n        intervals: size = {len(turns)}\n{intervals}'


def test_two_textgrids_are_one_dialogue_in_order_of_time(tmp_path: Path) -> None:
    doctor = _file(tmp_path, "c1_doctor.TextGrid", _grid("Doctor", (0.5, "Hello?"), (4.0, "Say aah".replace('"', '""'))))
    patient = _file(tmp_path, "c1_patient.TextGrid", _grid("Speaker", (2.5, "<UNSURE>Good</UNSURE> day <UNIN/>"), (3.0, "")))
    records, refusals = _read(doctor)
    assert refusals == []
    assert (records[0].key, records[0].text) == ("c1", "Doctor: Hello?\nPatient: Good day\nDoctor: Say aah")
    assert _read(patient) == ([], []), "its turns are in the doctor's record"
    assert pair_of(patient) == doctor
    patient.write_text("broken")
    assert "the other speaker's file" in _read(doctor)[1][0].reason


@pytest.mark.shared
def test_a_real_consultation_reads_as_a_dialogue(shared_data: Path) -> None:
    path = shared_data / "primock57" / "transcripts" / "day1_consultation01_doctor.TextGrid"
    records, refusals = _read(path)
    assert refusals == [] and len(records) == 1
    lines = records[0].text.splitlines()
    assert records[0].key == "day1_consultation01"
    assert lines[0].startswith("Doctor: Hello?") and any(line.startswith("Patient: ") for line in lines)
    assert "<" not in records[0].text
