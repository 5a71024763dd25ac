"""Delivered files into records: RegML, CSV, JSON, JSONL, plain text, Praat TextGrid. The suffix chooses the reader.

A reader yields a record or a refusal and goes on: one bad row, or one bad file, costs no other. Files are UTF-8 (a byte-order mark is
forgiven) and held in memory whole, at most `max_file_mb`. No refusal repeats a delivered value: it goes to the ledger, unmasked.

- CSV needs a header with the key and text columns. JSON is an array of objects, or one object; JSONL an object per line. A text column
  of JSON may also be a list of turns: strings, or objects with `speaker` and `text`.
- A text file, and a JSON file of one object without the key column, is one record keyed by the file's stem.
- Two TextGrids `<stem>_doctor` and `<stem>_patient` are one dialogue, turns in order of time, keyed by the stem; it is read with
  the doctor's file, and the patient's yields nothing of its own. Marks of unsure or unheard speech are taken out.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from pipelines.config import Sources
from pipelines.intake import regml
from pipelines.intake.landing import iso_date
from pipelines.intake.records import RawRecord, Refusal, at

__all__ = ["RawRecord", "Refusal", "pair_of", "read"]

MAX_JSON_DEPTH = 16
MAX_KEY = 160

Found = Iterator[RawRecord | Refusal]

SUFFIXES = {
    ".xml": "regml",
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "text",
    ".md": "text",
    ".textgrid": "textgrid",
}


class _Bad(Exception):
    """A refusal on its way up: place inside the file, reason."""

    def __init__(self, place: str, reason: str) -> None:
        self.refusal = Refusal(place, reason)
        super().__init__(reason)


def read(path: Path, sources: Sources, *, effective: str, where: str) -> Found:
    """Records and refusals of one file. `effective` is the ISO date of records that have none; `where` begins every place."""
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None or kind not in sources.formats:
        suffix = path.suffix.lower() if re.fullmatch(r"\.[a-z0-9]{1,10}", path.suffix.lower()) else "this kind"
        yield Refusal(where, f"files of {suffix} are not taken here; the domain takes {', '.join(sources.formats)}")
        return
    try:
        data = _load(path, sources)
        if kind == "regml":
            yield from regml.read(data, where)
            return
        text = _decode(data)
    except _Bad as bad:
        yield Refusal(at(where, bad.refusal.place), bad.refusal.reason)
        return
    reader = _READERS[kind]
    found = reader(path, text, sources, effective)
    while True:
        try:
            record = next(found, None)
        except _Bad as bad:
            yield Refusal(at(where, bad.refusal.place), bad.refusal.reason)
            return
        if record is None:
            return
        yield _placed(record, where)


def pair_of(path: Path) -> Path | None:
    """The other speaker's TextGrid beside this one, if there is one."""
    if path.suffix.lower() != ".textgrid":
        return None
    for mine, other in (("_doctor", "_patient"), ("_patient", "_doctor")):
        if path.stem.endswith(mine):
            twin = path.with_name(path.stem.removesuffix(mine) + other + path.suffix)
            return twin if twin.is_file() and not twin.is_symlink() else None
    return None


def _load(path: Path, sources: Sources) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise _Bad("", "not a plain file")
    limit = int(sources.max_file_mb * 1_000_000)
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise _Bad("", f"larger than {sources.max_file_mb:g} MB")
    if not data.strip():
        raise _Bad("", "the file is empty")
    _decode(data)
    return data


def _decode(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Bad(f"byte {error.start}", "not UTF-8") from None
    if "\0" in text:
        raise _Bad("", "holds a NUL character: not a text file")
    return text


def _placed(found: RawRecord | Refusal, where: str) -> RawRecord | Refusal:
    from dataclasses import replace

    return replace(found, place=at(where, found.place))


# --- rows ---------------------------------------------------------------------------------------------------------------


def _csv(path: Path, text: str, sources: Sources, effective: str) -> Found:  # noqa: ARG001
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = list(rows.fieldnames or [])
    except csv.Error:
        raise _Bad("line 1", "not readable as CSV") from None
    if len(set(header)) < len(header):
        raise _Bad("header", "two columns have one name")
    needed = (sources.key, *sources.text, *sources.subject, *filter(None, (sources.title, sources.effective)))
    if missing := [name for name in dict.fromkeys(needed) if name not in header]:
        raise _Bad("header", f"columns are missing: {', '.join(missing)}")
    number = 0
    while True:
        number += 1
        place = f"row {number}"
        try:
            row = next(rows, None)
        except csv.Error:
            # After a broken quote nothing is certain about where rows begin.
            raise _Bad(place, "not readable as CSV from here on") from None
        if row is None:
            break
        if None in row or None in row.values():
            yield Refusal(place, "the row has more or fewer fields than the header")
            continue
        yield _record(row, sources, effective, place)
    if number == 1:
        raise _Bad("", "the file holds a header and no rows")


def _json(path: Path, text: str, sources: Sources, effective: str) -> Found:
    value = _parse(text, "")
    if isinstance(value, dict):
        yield _record({sources.key: path.stem, **value}, sources, effective, "object")
        return
    if not isinstance(value, list):
        raise _Bad("", "neither an array of objects nor an object")
    if not value:
        raise _Bad("", "the array is empty")
    for number, item in enumerate(value, 1):
        yield _record(item, sources, effective, f"item {number}")


def _jsonl(path: Path, text: str, sources: Sources, effective: str) -> Found:  # noqa: ARG001
    # Not splitlines(): U+2028 and its like are lawful inside a JSON string.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield _record(_parse(line, f"line {number}"), sources, effective, f"line {number}")
        except _Bad as bad:
            yield bad.refusal


def _parse(text: str, place: str) -> Any:
    if _depth(text) > MAX_JSON_DEPTH:
        raise _Bad(place, f"nested more than {MAX_JSON_DEPTH} deep")
    try:
        return json.loads(text, object_pairs_hook=_pairs, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise _Bad(place or f"line {error.lineno}", "not readable as JSON") from None
    except ValueError as error:
        raise _Bad(place, str(error) if isinstance(error, _Known) else "holds a number that cannot be read") from None


class _Known(ValueError):
    """A ValueError whose words are ours."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Known("an object holds one name twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _Known(f"{name} is not JSON")


def _depth(text: str) -> int:
    """Deepest nesting of brackets outside strings."""
    deepest = level = 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', text, re.DOTALL):
        match token.group()[0]:
            case "[" | "{":
                level += 1
                deepest = max(deepest, level)
            case "]" | "}":
                level -= 1
    return deepest


def _record(row: object, sources: Sources, effective: str, place: str) -> RawRecord | Refusal:
    if not isinstance(row, dict):
        return Refusal(place, "not an object")
    if missing := [name for name in (sources.key, *sources.text) if name not in row]:
        return Refusal(place, f"columns are missing: {', '.join(missing)}")
    key, title = _cell(row.get(sources.key)), _cell(row.get(sources.title)) if sources.title else ""
    parts = [_cell(row.get(name)) for name in sources.text]
    subjects = [_cell(value) for name in sources.subject for value in _many(row.get(name))]
    if None in (key, title, *parts, *subjects):
        return Refusal(place, "a column holds neither text nor a number")
    if not key or len(key) > MAX_KEY:
        return Refusal(place, f"the key in column {sources.key!r} is empty or longer than {MAX_KEY} characters")
    text = "\n".join(part for part in parts if part)
    if not text:
        return Refusal(place, "the text is empty")
    valid_from = effective
    if sources.effective:
        given = _cell(row.get(sources.effective)) or ""
        try:
            valid_from = iso_date(given[:10]) if given[10:11] in ("", "T", " ") else iso_date("")
        except ValueError:
            return Refusal(place, f"column {sources.effective!r} does not hold a date written YYYY-MM-DD")
    return RawRecord(key, title or "", text, valid_from, "", False, tuple(filter(None, subjects)), place)


def _cell(value: object) -> str | None:
    """A cell as text: text, a number, or a list of turns as lines. None when it is something else."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        turns = [_turn(item) for item in value]
        return None if None in turns else "\n".join(turn for turn in turns if turn)
    return None


def _turn(item: object) -> str | None:
    if isinstance(item, str):
        return item.strip()
    if isinstance(item, dict) and isinstance(item.get("text"), str):
        speaker = item.get("speaker", "")
        return f"{speaker}: {item['text'].strip()}" if isinstance(speaker, str) and speaker else str(item["text"]).strip()
    return None


def _many(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [value]


# --- one record per file ------------------------------------------------------------------------------------------------


def _text(path: Path, text: str, sources: Sources, effective: str) -> Found:  # noqa: ARG001
    yield RawRecord(path.stem[:MAX_KEY], "", text.strip(), effective, "", False, (), "")


_TIER = re.compile(r'^\s*name = "(?P<name>(?:[^"]|"")*)"', re.MULTILINE)
_INTERVAL = re.compile(r'xmin = (?P<xmin>[\d.]+)\s+xmax = (?P<xmax>[\d.]+)\s+text = "(?P<text>(?:[^"]|"")*)"', re.MULTILINE)
_MARK = re.compile(r"</?[A-Z_]+/?>")


def _textgrid(path: Path, text: str, sources: Sources, effective: str) -> Found:
    twin = pair_of(path)
    if twin is not None and path.stem.endswith("_patient"):
        return
    turns = _turns(text)
    stem = path.stem
    if twin is not None:
        try:
            # The tiers of a pair may both be named "Speaker": the files say who is who.
            turns = _said_by("Doctor", turns) + _said_by("Patient", _turns(_decode(_load(twin, sources))))
        except _Bad as bad:
            raise _Bad(bad.refusal.place, f"the other speaker's file: {bad.refusal.reason}") from None
        stem = stem.removesuffix("_doctor")
    lines = [f"{speaker}: {words}" for _, speaker, words in sorted(turns, key=lambda turn: turn[0])]
    if not lines:
        raise _Bad("", "the TextGrid holds no speech")
    yield RawRecord(stem[:MAX_KEY], "", "\n".join(lines), effective, "", False, (), "")


def _said_by(speaker: str, turns: list[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    return [(start, speaker, words) for start, _, words in turns]


def _turns(text: str) -> list[tuple[float, str, str]]:
    """(start in seconds, speaker, words) of every interval with speech."""
    tiers = list(_TIER.finditer(text))
    if "ooTextFile" not in text[:200] or "TextGrid" not in text[:400] or not tiers:
        raise _Bad("", "not a Praat TextGrid in the long text format")
    found: list[tuple[float, str, str]] = []
    for tier, following in zip(tiers, [*tiers[1:], None], strict=True):
        end = len(text) if following is None else following.start()
        for interval in _INTERVAL.finditer(text, tier.end(), end):
            words = " ".join(_MARK.sub(" ", interval["text"].replace('""', '"')).split())
            if words:
                found.append((float(interval["xmin"]), tier["name"], words))
    return found


_READERS: dict[str, Callable[[Path, str, Sources, str], Found]] = {
    "csv": _csv,
    "json": _json,
    "jsonl": _jsonl,
    "text": _text,
    "textgrid": _textgrid,
}
