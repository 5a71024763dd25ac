"""Files that are one text each: whole, or cut at their headings. Their key, date and subject stand in them or in the file's name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pipelines.intake.formats import rows
from pipelines.intake.formats.files import MAX_KEY, Bad, File, Found, Job, whole_text
from pipelines.intake.records import RawRecord, Refusal, at, iso_date, one_line

Block = tuple[int, str]
"""Level of a heading, 0 for other text; the text."""


@dataclass(frozen=True, slots=True)
class Head:
    """What all records of one file share."""

    key: str
    valid_from: str
    subjects: tuple[str, ...]
    title: str


def read_text(file: File, job: Job) -> Found:
    """One record: the whole text."""
    yield record(head(file, job), whole_text(file, job))


def head(file: File, job: Job, title: str = "", fields: Mapping[str, str] | None = None) -> Head:
    """Key, date, subjects and title of a file. Bad when its name or its fields do not give what the domain says they give."""
    given, sources = fields or {}, job.sources
    named: Mapping[str, str | None] = {}
    if sources.file_name is not None:
        match = re.fullmatch(sources.file_name, file.stem)
        if match is None:
            raise Bad("", "the file's name does not have the shape that sources.file_name asks for")
        named = match.groupdict()
    key = given.get(sources.key) or named.get("key") or file.stem
    try:
        if sources.effective and sources.effective in given:
            valid_from = rows.day(given[sources.effective])
        else:
            valid_from = compact_day(named.get("date") or "") or job.effective
    except ValueError:
        raise Bad("", "its date is not written YYYY-MM-DD") from None
    subjects = [given.get(name, "") for name in sources.subject]
    if not any(subjects) and named.get("subject"):
        subjects = [one_line(str(named["subject"]).replace("_", " "))]
    title = (given.get(sources.title, "") if sources.title else "") or title
    return Head(key[:MAX_KEY], valid_from, tuple(filter(None, subjects)), one_line(title))


def compact_day(given: str) -> str:
    """An ISO date out of YYYY-MM-DD or YYYYMMDD, empty for the empty text; ValueError for anything else."""
    if not given:
        return ""
    return iso_date(f"{given[:4]}-{given[4:6]}-{given[6:]}" if len(given) == 8 and given.isdigit() else given)


def record(shared: Head, text: str, *, part: str = "", title: str = "", place: str = "") -> RawRecord | Refusal:
    """One record of a file; `part` tells it from the others of that file."""
    text = text.strip()
    if not text:
        return Refusal(place, "holds no text")
    return RawRecord(part_key(shared.key, part), title or shared.title, text, shared.valid_from, "", False, shared.subjects, place)


def part_key(key: str, part: str) -> str:
    """`key#part`, cut to what a key may be without two parts becoming one."""
    full = f"{key}#{part}" if part else key
    return full if len(full) <= MAX_KEY else f"{full[: MAX_KEY - 13]}~{hashlib.sha256(full.encode(errors='replace')).hexdigest()[:12]}"


def slug(text: str) -> str:
    """Words of a heading as part of a key."""
    return re.sub(r"[\W_]+", "-", text.casefold()).strip("-") or "untitled"


def cut(shared: Head, job: Job, blocks: Iterable[Block]) -> Found:
    """Records of a text that is given as blocks: one, or one per heading that has text of its own."""
    if job.sources.split == "whole":
        found = record(shared, "\n".join(text for _, text in blocks))
        if isinstance(found, Refusal):
            raise Bad("", found.reason)
        yield found
        return
    seen: set[str] = set()
    path: list[tuple[int, str]] = []
    body: list[str] = []
    number = 0

    def section() -> Found:
        if body:
            part = "/".join(slug(text) for _, text in path)
            place = f"section {number}"
            if part in seen:
                yield Refusal(place, "another section before it stands under the same headings")
            else:
                seen.add(part)
                yield record(shared, "\n".join(body), part=part, title=path[-1][1] if path else "", place=place)

    for level, text in blocks:
        if level == 0:
            body.append(text)
            continue
        yield from section()
        body, number = [], number + 1
        path = [*(one for one in path if one[0] < level), (level, one_line(text))]
    yield from section()
    if not seen:
        raise Bad("", "holds no text")


def placed(found: RawRecord | Refusal, where: str) -> RawRecord | Refusal:
    """The same thing found inside `where`."""
    return replace(found, place=at(where, found.place))
