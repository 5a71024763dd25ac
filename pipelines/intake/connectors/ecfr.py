"""The eCFR versioner (API v1): the full XML of a part for each day on which it changed.

`titles` says up to which day a title is complete and whether it is being rebuilt (then it is left alone); `versions` lists every change of
a section with its amendment date and the issue date on which it appeared; `full` gives a part as of a day. The watermark of a part is the
(issue date, amendment date) of the last version taken, so a correction that is issued later for an earlier day is taken too.
"""

from __future__ import annotations

from typing import Any

from pipelines.errors import ArrivalRefused, NotFound, Unavailable
from pipelines.intake.connectors.pull import Document, Gathered, Pull, Skipped, day
from pipelines.intake.fetch import Fetcher
from pipelines.source_config import Ecfr

PAGE = 1000


def gather(source: Ecfr, pull: Pull, fetcher: Fetcher) -> Gathered:
    """Versions of the parts that were issued since the watermark."""
    found = Gathered(watermark=dict(pull.watermark))
    try:
        titles = _titles(source, fetcher)
        for part in source.parts:
            complete = titles.get(part.partition("/")[0])
            if complete is None:
                found.note = f"title {part.partition('/')[0]} is being rebuilt, or there is none"
                continue
            _part(source, pull, fetcher, found, part, complete)
    except Unavailable as error:
        if not found.documents:
            raise
        found.note = str(error)
    return found


def _titles(source: Ecfr, fetcher: Fetcher) -> dict[str, str]:
    """Title -> the day up to which it is complete; titles that are being rebuilt are left out."""
    told = fetcher.get(f"{source.url}/titles.json").json()
    if told.get("meta", {}).get("import_in_progress"):
        return {}
    return {
        str(title["number"]): up_to
        for title in told.get("titles", [])
        if not title.get("processing_in_progress") and (up_to := day(title.get("up_to_date_as_of"))) is not None
    }


def _part(source: Ecfr, pull: Pull, fetcher: Fetcher, found: Gathered, part: str, complete: str) -> None:
    title, number = part.split("/")
    last = tuple(found.watermark.get(part, ("", "")))
    issued: dict[str, str] = {}
    for row in _versions(source, fetcher, title, number, last[0], complete):
        amended, issue = day(row.get("amendment_date") or row.get("date")), day(row.get("issue_date"))
        if amended is not None and issue is not None and amended <= complete:
            issued[amended] = max(issue, issued.get(amended, ""))
    due = sorted((issue, amended) for amended, issue in issued.items() if (issue, amended) > last)
    end = due[-1] if due else last
    if source.since is not None:
        due = [one for one in due if one[1] >= source.since]
    elif not last[0] and due:
        due = [max(due, key=lambda one: one[1])]  # the first time only what is in force
    for issue, amended in due:
        if len(found.documents) >= source.max_items:
            return
        path = pull.place(f"title-{title}-part-{number}-{amended}.xml")
        try:
            fetcher.download(f"{source.url}/full/{amended}/title-{title}.xml", path, [("part", number)])
            found.documents.append(Document(path, amended))
        except (NotFound, ArrivalRefused) as error:
            found.skipped.append(Skipped(f"{title} CFR {number} of {amended}", error.what))
        found.watermark[part] = [issue, amended]
    if end[0]:
        found.watermark[part] = list(end)


def _versions(source: Ecfr, fetcher: Fetcher, title: str, part: str, since: str, until: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    asked = [("part", part), ("issue_date[lte]", until), *([("issue_date[gte]", since)] if since else [])]
    for page in range(1, 1000):
        answer = fetcher.get(f"{source.url}/versions/title-{title}.json", [*asked, ("page", str(page))]).json()
        new = answer.get("content_versions", [])
        if not new or new == rows[-len(new) :]:
            break
        rows += new
        if len(new) < PAGE:
            break
    return rows
