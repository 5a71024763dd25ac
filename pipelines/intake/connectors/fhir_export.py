"""Bulk export of a FHIR R4 server (HL7 Bulk Data Access): ask, poll, read the manifest, fetch the NDJSON files.

An export may take hours. Its address is remembered as soon as the server names it: a run polls `wait_minutes`, and the next one goes on
with the same export, also after a kill. The server's `transactionTime` becomes the watermark (`_since` of the next export).

What the server could not export, and what was deleted there, is counted and reported; a deletion withdraws no document by itself.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.errors import ConfigError, NotFound, RatchetError, Unavailable
from pipelines.intake.connectors.pull import Document, Gathered, Pull, Skipped, State, day
from pipelines.intake.fetch import Fetcher, retry_after
from pipelines.manifest import sha256
from pipelines.source_config import FhirExport

POLL_SECONDS, LONGEST_POLL = 1.0, 60.0
GIVE_UP = 3
"""Runs in a row whose polling failed, after which an export counts as broken and another is asked for."""


def gather(source: FhirExport, pull: Pull, fetcher: Fetcher) -> Gathered:
    """The files of one whole export, or nothing yet."""
    asked = _asked(source, pull.watermark)
    export = pull.progress if pull.progress.get("asked") == sha256(asked) else {}
    if not export:
        export = {"asked": sha256(asked), "status": _kick_off(source, fetcher, asked), "failures": 0}
        pull.remember(export)
    manifest, note = _poll(source, pull, fetcher, export)
    if manifest is None:
        return Gathered(watermark=pull.watermark, note=note)
    found = Gathered(watermark={"since": manifest.get("transactionTime")})
    effective = day(manifest.get("transactionTime"))
    if effective is None:
        raise Unavailable("the manifest has no usable transactionTime", where=source.name)
    try:
        _fetch(pull, fetcher, manifest, found, effective, export["status"])
    except NotFound:
        pull.remember({})
        raise Unavailable("files of the export are gone", where=source.name, todo="the next run asks for another export") from None
    found.let_go = export["status"]
    return found


def let_go(fetcher: Fetcher, status: str) -> None:
    """Tell the server that the export's files may go. Courtesy: a server that does not listen clears them by itself."""
    with suppress(RatchetError):
        fetcher.send("DELETE", status, accept=(200, 202, 204, 404))


def _asked(source: FhirExport, watermark: State) -> list[tuple[str, str]]:
    since = watermark.get("since") or source.since
    asked = [("_outputFormat", "application/fhir+ndjson"), ("_type", ",".join(source.types))]
    asked += [("_since", str(since))] if since else []
    return asked + [("_typeFilter", one) for one in source.type_filters]


def _kick_off(source: FhirExport, fetcher: Fetcher, asked: list[tuple[str, str]]) -> str:
    path = {"system": "", "patient": "/Patient", "group": f"/Group/{source.group}"}[source.level]
    headers = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
    answer = fetcher.get(f"{source.url}{path}/$export", asked, headers, accept=(202,))
    place = answer.headers.get("content-location")
    if not place:
        raise Unavailable("the server accepts the export but does not say where to ask for it", where=source.name)
    return fetcher.resolve(place)


def _poll(source: FhirExport, pull: Pull, fetcher: Fetcher, export: State) -> tuple[dict[str, Any] | None, str]:
    until = time.monotonic() + source.wait_minutes * 60
    pause = POLL_SECONDS
    while True:
        try:
            answer = fetcher.get(export["status"], headers={"Accept": "application/json"}, accept=(200, 202))
        except (NotFound, ConfigError) as error:
            pull.remember({})
            raise Unavailable(
                f"the export failed or is gone: {error.what}", where=source.name, todo="the next run asks for another"
            ) from None
        except Unavailable:
            failures = int(export.get("failures", 0)) + 1
            pull.remember({**export, "failures": failures} if failures < GIVE_UP else {})
            raise
        if answer.status == 200:
            manifest = answer.json()
            if not isinstance(manifest, dict):
                raise Unavailable("the manifest is no JSON object", where=source.name)
            return manifest, ""
        told = retry_after(answer.headers)
        wait = max(told if told is not None else pause, POLL_SECONDS)
        if time.monotonic() + wait > until:
            return None, "the export is still under way"
        fetcher.sleep(wait)
        pause = min(pause * 2, LONGEST_POLL)


def _fetch(pull: Pull, fetcher: Fetcher, manifest: dict[str, Any], found: Gathered, effective: str, status: str) -> None:
    errors = deleted = 0
    page, number = manifest, 0
    seen = {status}
    while True:
        # A server that guards its files another way (signed addresses) must not be given our key.
        secret = page.get("requiresAccessToken", True) is not False
        for item in page.get("output") or []:
            number += 1
            path = _file(pull, fetcher, item, f"{_type(item)}-{number:05d}.ndjson", secret)
            if path is not None:
                found.documents.append(Document(path, effective))
        for item in page.get("error") or []:
            path = _file(pull, fetcher, item, "error.ndjson", secret)
            if path is not None:
                errors += sum(map(_is_grave, path.read_bytes().splitlines()))
                path.unlink()
        deleted += sum(int(item.get("count") or 1) for item in page.get("deleted") or [])
        following = next((link.get("url") for link in page.get("link") or [] if link.get("relation") == "next"), None)
        if not following or following in seen:
            break
        seen.add(following)
        page = fetcher.get(str(following), headers={"Accept": "application/json"}).json()
    if errors:
        found.skipped.append(Skipped("export", f"the server could not export {errors} resources"))
    found.counts.update(errors=errors, deleted_at_the_source=deleted)


def _file(pull: Pull, fetcher: Fetcher, item: dict[str, Any], name: str, secret: bool) -> Path | None:
    """Fetch one NDJSON file and count its resources against the manifest. An empty one yields nothing."""
    path = pull.place(name)
    fetcher.download(str(item.get("url")), path, headers={"Accept": "application/fhir+ndjson"}, secret=secret)
    with path.open("rb") as file:
        lines = sum(1 for line in file if line.strip())
    if isinstance(item.get("count"), int) and lines != item["count"]:
        raise Unavailable(f"a file of the export has {lines} resources instead of {item['count']}", todo="it is fetched again")
    if not lines:
        path.unlink()
        return None
    return path


def _type(item: dict[str, Any]) -> str:
    kind = item.get("type")
    return kind if isinstance(kind, str) and kind.isalpha() and kind.isascii() and len(kind) <= 40 else "Resource"


def _is_grave(line: bytes) -> bool:
    try:
        issues = json.loads(line).get("issue", [])
    except (ValueError, AttributeError):
        return bool(line.strip())
    return any(issue.get("severity") in ("error", "fatal") for issue in issues if isinstance(issue, dict))
