"""The data contract of an arrival, checked by Great Expectations.

Expectations are named in the domain's YAML by their class. They see one row per record with the columns key, title, text, valid_from,
source, withdrawn, words. Blank key, title and text are null; a withdrawn record has the text "" and no word count, so that rules
about text leave repeals alone.

Nothing written here holds a cell of the data, which is not masked yet. What is kept of a result is on a list: counts, percentages,
places. The Data Docs page is made from those.
"""

from __future__ import annotations

import difflib
import json
import os
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pipelines.config import DomainConfig, Expectation
from pipelines.errors import ConfigError
from pipelines.intake import data_docs, validation
from pipelines.intake.data_docs import Checked
from pipelines.intake.records import RawRecord
from pipelines.intake.validation import COLUMNS
from pipelines.writing import write_text


@dataclass(frozen=True, slots=True)
class Breach:
    """One expectation that does not hold, in words and without a value."""

    expectation: str
    column: str
    text: str
    rows: int
    places: tuple[str, ...] = ()


def check(records: Iterable[RawRecord], domain: DomainConfig, out: Path) -> list[Breach]:
    """Breaches of the domain's contract, none when it holds. Writes `contract.json` and `contract.html` into `out`.

    ConfigError when the domain file names an expectation that does not exist, or gives it arguments that it does not take.
    """
    gx = _great_expectations()
    where = f"configs/domains/{domain.domain}.yaml"
    expectations = [
        _expectation(gx, given, f"{where}, contract.expectations[{index}]") for index, given in enumerate(domain.contract.expectations)
    ]
    rows, checked = validation.validate(gx, records, expectations)
    _write(out, domain, rows, checked)
    return [_breach(one) for one in checked if not one.success]


def _great_expectations() -> ModuleType:
    """The package, with everything that talks to the network or the terminal turned off before its import."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings():
        # Its own imports warn about each other; none of it is about our data.
        warnings.simplefilter("ignore")
        import great_expectations
        import great_expectations.expectations
    module: ModuleType = great_expectations
    return module


def _expectation(gx: ModuleType, given: Expectation, where: str) -> Any:
    known = sorted(name for name in dir(gx.expectations) if name.startswith("Expect"))
    if given.type not in known:
        near = difflib.get_close_matches(given.type, known, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}?" if near else "see the classes of great_expectations.expectations"
        raise ConfigError(f"there is no expectation {given.type!r}", where=where, todo=hint)
    if (column := given.args.get("column")) is not None and column not in COLUMNS:
        raise ConfigError(f"there is no column {column!r}", where=where, todo=f"columns are {', '.join(COLUMNS)}")
    try:
        made = getattr(gx.expectations, given.type)(**given.args)
    except Exception as error:
        line = " ".join(str(error).split())[:200]
        raise ConfigError(f"{given.type} does not take these arguments: {line}", where=where, todo="mend the arguments") from None
    if validation.is_by_batch(made) is None:
        what = f"{given.type} compares the texts of a whole arrival, which is never in memory"
        raise ConfigError(what, where=where, todo="ask it of the column words, or of each text by itself: docs/contract.md")
    return made


def _breach(one: Checked) -> Breach:
    name = _class_name(one)
    subject = f"column {one.column!r}" if one.column else "the table"
    said = f"{one.unexpected} of {one.rows} rows" if one.unexpected else one.fault or f"{one.rows} rows"
    near = f", first at {one.places[0]}" if one.places and one.places[0] else ""
    return Breach(name, one.column, f"{name} on {subject}: {said}{near}", one.unexpected, one.places)


def _class_name(one: Checked) -> str:
    return "".join(part.capitalize() for part in one.expectation.split("_"))


def _write(out: Path, domain: DomainConfig, rows: int, checked: list[Checked]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    body = {
        "domain": domain.domain,
        "contract_version": domain.contract_version,
        "rows": rows,
        "success": all(one.success for one in checked),
        "expectations": [asdict(one) | {"expectation": _class_name(one)} for one in checked],
    }
    write_text(out / "contract.json", json.dumps(body, indent=2, ensure_ascii=False, default=str))
    title = f"Data contract of {domain.domain}, version {domain.contract_version}"
    write_text(out / "contract.html", data_docs.page(title, rows, checked))
