"""The Federal Register (API v1): documents by day of publication, oldest first, with their full text.

The search answers in pages (`next_page_url`) of at most 2,000 documents altogether; as every run asks from the watermark's day on, no run
needs to go further. A document is known by its number and day: numbers were reused before 2016. Its full text may appear later than the
document itself: such numbers wait in the watermark and are asked for again, `patience_days` long. So does a document whose text answers
with errors only: it must not hold up the rest. Several of these in a row mean that the source is down, and end the run.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from pipelines.errors import ArrivalRefused, NotFound, Unavailable
from pipelines.intake.connectors.pull import Document, Gathered, Pull, Skipped, day, plain
from pipelines.intake.fetch import Fetcher
from pipelines.manifest import sha256
from pipelines.source_config import FederalRegister

FIELDS = (
    "document_number", "type", "title", "abstract", "citation", "publication_date", "effective_on",
    "full_text_xml_url", "raw_text_url", "html_url",
)  # fmt: skip
WINDOW = 2000
GIVE_UP = 3
"""Texts in a row that could not be had, after which it is the source that is down and not the texts."""


def gather(source: FederalRegister, pull: Pull, fetcher: Fetcher) -> Gathered:
    """What was published since the watermark, and what was without text then. Stops early, with what it has, when the source fails."""
    mark = pull.watermark
    now = {"day": mark.get("day", source.since), "seen": list(mark.get("seen", [])), "waiting": dict(mark.get("waiting", {}))}
    # By number, the first day on which its text failed. A run that brought nothing moves no watermark, and leaves what it met as progress.
    now["failing"] = {**mark.get("failing", {}), **pull.progress.get("failing", {})}
    found = Gathered(watermark=now)
    later = list(now["waiting"])
    try:
        _published(source, pull, fetcher, found, later)
        _waited_for(source, pull, fetcher, found, later)
    except Unavailable as error:
        if not found.documents:
            pull.remember({"failing": now["failing"]})
            raise
        found.note = str(error)
    now["failing"] = {number: since for number, since in now["failing"].items() if number in now["waiting"]}
    found.counts["waiting_for_text"] = len(now["waiting"])
    return found


def _published(source: FederalRegister, pull: Pull, fetcher: Fetcher, found: Gathered, later: list[str]) -> None:
    """What is new. Texts that failed before are left for `later`, after everything that may work."""
    now, failed = found.watermark, 0
    for row in _search(source, fetcher, now["day"]):
        if len(found.documents) >= source.max_items:
            break
        number, published = plain(row.get("document_number")), day(row.get("publication_date"))
        if number is None or published is None:
            found.skipped.append(Skipped("a document", "the source gives it no usable number or day"))
            continue
        if published == now["day"] and number in now["seen"]:
            continue
        there, failure = False, None
        if number in now["failing"]:
            later.append(number)
        else:
            try:
                there, failed = _take(source, pull, fetcher, found, row, number, published), 0
            except Unavailable as error:
                failure, failed = error, failed + 1
                now["failing"][number] = pull.today
        if not there:
            now["waiting"][number] = published
        now["seen"] = [*(now["seen"] if published == now["day"] else []), number]
        now["day"] = published
        if failure is not None and failed >= GIVE_UP:
            raise failure


def _search(source: FederalRegister, fetcher: Fetcher, since: str) -> Iterator[dict[str, Any]]:
    asked = [("order", "oldest"), ("per_page", str(min(100, source.max_items + 20))), ("conditions[publication_date][gte]", since)]
    asked += [("fields[]", name) for name in FIELDS]
    asked += [("conditions[type][]", kind) for kind in source.types]
    asked += [("conditions[agencies][]", slug) for slug in source.agencies]
    for key, value in (("cfr][title", source.cfr_title), ("cfr][part", source.cfr_part), ("term", source.term)):
        if value is not None:
            asked.append((f"conditions[{key}]", str(value)))
    page = fetcher.get(f"{source.url}/documents.json", asked).json()
    seen: set[str] = set()
    while True:
        rows = page.get("results", []) if isinstance(page, dict) else None
        if not isinstance(rows, list):
            raise Unavailable("the search answers in an unknown shape", where=source.name)
        yield from (row for row in rows if isinstance(row, dict))
        following = page.get("next_page_url")
        if not following or following in seen or len(seen) > WINDOW:
            return
        seen.add(following)
        page = fetcher.get(str(following)).json()


def _waited_for(source: FederalRegister, pull: Pull, fetcher: Fetcher, found: Gathered, numbers: list[str]) -> None:
    """Ask again for texts that were not there, or failed. Several failures in a row end it, but lose nothing of what came before."""
    waiting, failing, failed = found.watermark["waiting"], found.watermark["failing"], 0
    # In another order each day, so that those which fail for good do not stand before the others for ever.
    for number in sorted(numbers, key=lambda one: sha256([one, pull.today])):
        if len(found.documents) >= source.max_items:
            break
        published, there = waiting.pop(number), False
        since, why = published, "its full text did not appear"
        try:
            try:
                row = fetcher.get(f"{source.url}/documents/{number}.json", [("fields[]", name) for name in FIELDS]).json()
            except NotFound:
                row = {}
            there, failed = _take(source, pull, fetcher, found, row, number, published), 0
        except Unavailable as error:
            failed, found.note = failed + 1, str(error) if failed + 1 >= GIVE_UP else ""
            since, why = failing.setdefault(number, pull.today), f"its full text could not be had ({error.what})"
        if not there and (date.fromisoformat(pull.today) - date.fromisoformat(since)).days > source.patience_days:
            found.skipped.append(Skipped(number, f"{why} within {source.patience_days} days"))
        elif not there:
            waiting[number] = published
        if found.note:
            return


def _take(source: FederalRegister, pull: Pull, fetcher: Fetcher, found: Gathered, row: dict[str, Any], number: str, published: str) -> bool:
    """Fetch one document's text; False when the source has none yet."""
    url = row.get("full_text_xml_url" if source.format == "xml" else "raw_text_url")
    if not url:
        return False
    path = pull.place(f"{number}.{source.format}")
    try:
        fetcher.download(str(url), path)
        if source.format == "json":
            _as_json(path, row, number, published)
    except NotFound:
        return False
    except ArrivalRefused as error:
        found.skipped.append(Skipped(number, error.what))
        return True
    effective = day(row.get("effective_on")) if source.effective == "effective_on" else None
    found.documents.append(Document(path, effective or published))
    return True


def _as_json(path: Path, row: dict[str, Any], number: str, published: str) -> None:
    """The plain text, which comes inside one `<pre>`, with what the search says of it."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if (inside := re.search(r"<pre>(.*)</pre>", text, re.DOTALL | re.IGNORECASE)) is not None:
        text = html.unescape(re.sub(r"<[^>]*>", "", inside.group(1)))
    known = {key: row.get(key) for key in ("type", "title", "abstract", "citation", "effective_on", "html_url")}
    path.write_text(
        json.dumps({"id": number, "publication_date": published, **known, "text": text.strip()}, ensure_ascii=False, indent=1),
        encoding="utf-8",
    )
