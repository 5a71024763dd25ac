"""JSON and JSON lines. What has a `resourceType` is FHIR where the domain takes it; the rest are rows."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from pipelines.intake.formats import fhir, rows
from pipelines.intake.formats.files import Bad, File, Found, Job, lines, require_size, whole_text
from pipelines.intake.records import Refusal


def read_json(file: File, job: Job) -> Found:
    """An array of objects, or one object, which may be keyed by the file's stem."""
    value = parse(whole_text(file, job, "utf-8"), "", job.limits.depth)
    if fhir.is_resource(value) and "fhir" in job.sources.formats:
        yield from fhir.resource(value, job, "", {})
        return
    if "json" not in job.sources.formats:
        raise Bad("", "not a FHIR resource, and other JSON is not taken here")
    if isinstance(value, dict):
        yield rows.record({job.sources.key: file.stem, **value}, job.sources, job.effective, "object")
        return
    if not isinstance(value, list):
        raise Bad("", "neither an array of objects nor an object")
    if not value:
        raise Bad("", "the array is empty")
    for number, item in enumerate(value, 1):
        yield rows.record(item, job.sources, job.effective, f"item {number}")


def read_jsonl(file: File, job: Job) -> Found:
    """An object, or a FHIR resource, per line. A broken line costs only itself."""
    require_size(file, job)
    empty = True
    patients: fhir.Patients = {}
    for number, line in enumerate(lines(file, job, "utf-8", newline_only=True), 1):
        place = f"line {number}"
        if line is None:
            yield Refusal(place, f"longer than a record of {job.limits.record_mb:g} MB can be")
            empty = False
            continue
        if not line.strip():
            continue
        empty = False
        try:
            value = parse(line, place, job.limits.depth)
        except Bad as bad:
            yield bad.refusal
            continue
        if fhir.is_resource(value) and "fhir" in job.sources.formats:
            yield from fhir.resource(value, job, place, patients)
        elif "jsonl" in job.sources.formats:
            yield rows.record(value, job.sources, job.effective, place)
        else:
            yield Refusal(place, "not a FHIR resource, and other JSON is not taken here")
    if empty:
        raise Bad("", "the file is empty")


def parse(text: str, place: str, depth: int) -> Any:
    """A JSON value. Bad for what the standard leaves open: names twice, NaN, numbers without end."""
    if _depth(text) > depth:
        raise Bad(place, f"nested more than {depth} deep")
    try:
        return json.loads(text, object_pairs_hook=_pairs, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise Bad(place or f"line {error.lineno}", "not readable as JSON") from None
    except ValueError as error:
        raise Bad(place, str(error) if isinstance(error, _Known) else "holds a number that cannot be read") from None


class _Known(ValueError):
    """A ValueError whose words are ours."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Known("an object holds one name twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _Known(f"{name} is not JSON")


# A string without its end is taken to the end of the text: trying again behind each quote would cost the square of its length.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z|\\\Z)|[\[{]|[\]}]', re.DOTALL)


def _depth(text: str) -> int:
    """Deepest nesting of brackets outside strings."""
    deepest = level = 0
    for token in _TOKEN.finditer(text):
        match token.group()[0]:
            case "[" | "{":
                level += 1
                deepest = max(deepest, level)
            case "]" | "}":
                level -= 1
    return deepest
