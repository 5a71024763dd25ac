"""For every format: what goes in comes out as a record or a refusal, and damage anywhere has a reason that repeats no value."""

from __future__ import annotations

import base64
import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from pipelines.config import Format
from pipelines.intake.formats import TABLE
from pipelines.intake.records import RawRecord, Refusal

Take = Callable[..., tuple[list[RawRecord], list[Refusal]]]
SECRET = "Lindqvist"
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def _items(seed: int) -> list[tuple[str, str]]:
    """Keys and texts, some of them missing."""
    draw = random.Random(seed)  # noqa: S311
    words = ("lease", "é\u2028ß", "dose, 5 mg", 'quo"te', SECRET, "line\nbreak")
    return [
        (f"k{number}" if draw.random() < 0.8 else "", " ".join(draw.choices(words, k=draw.randint(1, 9))) if draw.random() < 0.8 else "")
        for number in range(draw.randint(1, 40))
    ]


def _csv(items: list[tuple[str, str]]) -> bytes:
    quoted = ('"' + text.replace('"', '""') + '"' for _, text in items)
    return ("id,text\n" + "".join(f"{key},{text}\n" for (key, _), text in zip(items, quoted, strict=True))).encode()


def _rows(items: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"id": key, "text": text} for key, text in items]


def _parquet(items: list[tuple[str, str]]) -> bytes:
    made = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(_rows(items)), made)
    return made.getvalue()


def _fhir(items: list[tuple[str, str]]) -> list[dict[str, object]]:
    return [
        {
            "resourceType": "DocumentReference",
            "id": key,
            "content": [{"attachment": {"contentType": "text/plain", "data": base64.b64encode(text.encode()).decode()}}],
        }
        for key, text in items
    ]


def _bundle(items: list[tuple[str, str]]) -> bytes:
    return json.dumps({"resourceType": "Bundle", "entry": [{"resource": one} for one in _fhir(items)]}).encode()


def _lines(values: list[dict[str, str]] | list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in values)


def _ecfr(items: list[tuple[str, str]]) -> bytes:
    escaped = [(key, text.replace("&", "&amp;").replace("<", "&lt;")) for key, text in items]
    body = "".join(f'<DIV8 N="{key}" TYPE="SECTION"><HEAD>Head</HEAD><P>{text}</P></DIV8>' for key, text in escaped)
    return f"<ECFR>{body}</ECFR>".encode()


def _zip(items: list[tuple[str, str]]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (key, text) in enumerate(items):
            archive.writestr(f"{key}{number}.txt", text)
    return made.getvalue()


def _docx(items: list[tuple[str, str]]) -> bytes:
    made = io.BytesIO()
    text = "".join(f"<w:p><w:r><w:t>{text.replace('<', '&lt;')} x</w:t></w:r></w:p>" for _, text in items)
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{W}"><w:body>{text}</w:body></w:document>')
    return made.getvalue()


MANY: dict[str, Callable[[list[tuple[str, str]]], bytes]] = {
    "a.csv": _csv,
    "a.json": lambda items: json.dumps(_rows(items)).encode(),
    "a.jsonl": lambda items: _lines(_rows(items)),
    "a.parquet": _parquet,
    "b.json": _bundle,
    "b.ndjson": lambda items: _lines(_fhir(items)),
    "a.xml": _ecfr,
    "a.zip": _zip,
}
ONE: dict[str, Callable[[list[tuple[str, str]]], bytes]] = {
    "a.txt": lambda items: "\n".join(text for _, text in items).encode() + b"x",
    "a.md": lambda items: b"---\nid: k\n---\n# Head\n" + "\n".join(text for _, text in items).encode(),
    "a.html": lambda items: f"<h1>Head</h1>{''.join(f'<p>{text}</p>' for _, text in items)}".encode(),
    "a.docx": _docx,
}


def test_every_format_of_the_configuration_is_in_the_table() -> None:
    assert {name for entries in TABLE.values() for entry in entries for name in entry.formats} == set(get_args(Format))


@pytest.mark.parametrize("name", MANY)
def test_records_and_refusals_are_as_many_as_were_delivered(take: Take, name: str) -> None:
    for seed in range(12):
        items = _items(seed)
        records, refusals = take(name, MANY[name](items))
        assert len(records) + len(refusals) == len(items), seed
        if name != "a.zip":
            good = [key for key, text in items if key and text]
            assert [one.key.removeprefix("DocumentReference/") for one in records] == good
        else:
            assert len(records) == sum(bool(text) for _, text in items)


@pytest.mark.parametrize("name", ONE)
def test_a_file_of_one_text_is_one_record(take: Take, name: str) -> None:
    for seed in range(6):
        records, refusals = take(name, ONE[name](_items(seed)))
        assert (len(records), refusals) == (1, [])


@pytest.mark.parametrize("name", [*MANY, *ONE, "a.pdf"])
def test_damage_anywhere_has_a_reason_without_a_value(take: Take, name: str, make_pdf: Callable[..., bytes]) -> None:
    draw = random.Random(3)  # noqa: S311
    make = {**MANY, **ONE, "a.pdf": lambda items: make_pdf(*(SECRET for _ in items))}[name]
    for seed in range(40):
        content = bytearray(make(_items(seed % 5)))
        for _ in range(draw.randint(1, 4)):
            start = draw.randrange(len(content))
            content[start : start + draw.randint(1, 8)] = draw.randbytes(draw.randint(0, 8))
        records, refusals = take(name, bytes(content[: draw.randint(1, len(content))] if seed % 2 else content))
        assert records or refusals
        for one in refusals:
            assert one.reason and SECRET not in f"{one.place}{one.reason}"
            assert "its reader failed" not in one.reason, (seed, one)
