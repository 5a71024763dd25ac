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
import math
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType
from typing import Any

from pipelines.config import DomainConfig, Expectation
from pipelines.errors import ConfigError
from pipelines.intake import data_docs
from pipelines.intake.data_docs import Checked
from pipelines.intake.records import RawRecord

COLUMNS = ("key", "title", "text", "valid_from", "source", "withdrawn", "words")
SHOWN_PLACES = 20
_COUNTS = (
    "element_count", "missing_count", "missing_percent", "unexpected_count", "unexpected_percent", "unexpected_percent_total",
    "unexpected_percent_nonmissing",
)  # fmt: skip
_OBSERVE_A_COUNT = (
    "expect_column_proportion_of_non_null_values_to_be_between", "expect_column_proportion_of_unique_values_to_be_between",
    "expect_column_unique_value_count_to_be_between", "expect_table_column_count_to_be_between", "expect_table_column_count_to_equal",
    "expect_table_row_count_to_be_between", "expect_table_row_count_to_equal",
)  # fmt: skip
"""Whose observed value is never a cell, as a minimum or the commonest value is."""


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
    records = list(records)
    where = f"configs/domains/{domain.domain}.yaml"
    expectations = [
        _expectation(gx, given, f"{where}, contract.expectations[{index}]") for index, given in enumerate(domain.contract.expectations)
    ]
    checked = _validate(gx, records, expectations) if expectations else []
    _write(out, domain, len(records), checked)
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
        return getattr(gx.expectations, given.type)(**given.args)
    except Exception as error:
        line = " ".join(str(error).split())[:200]
        raise ConfigError(f"{given.type} does not take these arguments: {line}", where=where, todo="mend the arguments") from None


def _validate(gx: ModuleType, records: list[RawRecord], expectations: list[Any]) -> list[Checked]:
    import pandas  # type: ignore[import-untyped]
    from great_expectations.data_context.types.base import ProgressBarsConfig

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        frame = pandas.DataFrame([_row(record) for record in records], columns=list(COLUMNS))
        batch = context.data_sources.add_pandas("arrival").add_dataframe_asset("records").add_batch_definition_whole_dataframe("all")
        suite = gx.ExpectationSuite(name="contract", expectations=expectations)
        result = batch.get_batch({"dataframe": frame}).validate(suite, result_format="COMPLETE")
    return [_checked(one, records) for one in result.results]


def _row(record: RawRecord) -> dict[str, object]:
    return {
        "key": record.key.strip() or None,
        "title": record.title.strip() or None,
        "text": "" if record.withdrawn else record.text.strip() or None,
        "valid_from": record.valid_from,
        "source": record.source,
        "withdrawn": record.withdrawn,
        "words": None if record.withdrawn else len(record.text.split()),
    }


def _checked(one: Any, records: list[RawRecord]) -> Checked:
    """What may be kept of a result: counts, places, and of an exception that there was one."""
    facts: Mapping[str, Any] = one.result or {}
    config = one.expectation_config
    raised = one.exception_info or {}
    raised = [raised] if "raised_exception" in raised else list(raised.values())
    indexes = [index for index in facts.get("unexpected_index_list") or () if isinstance(index, int) and 0 <= index < len(records)]
    kept = (*_COUNTS, "observed_value") if config.type in _OBSERVE_A_COUNT else _COUNTS
    counts = {name: value for name in kept if (value := _number(facts.get(name))) is not None}
    return Checked(
        expectation=config.type,
        column=str(config.kwargs.get("column", "")),
        args={name: value for name, value in config.kwargs.items() if name not in ("batch_id", "result_format", "column")},
        success=bool(one.success),
        rows=len(records),
        unexpected=int(counts.get("unexpected_count", 0)),
        fault="it could not be evaluated" if any(info.get("raised_exception") for info in raised) else "",
        places=tuple(records[index].place for index in indexes[:SHOWN_PLACES]),
        counts=counts,
    )


def _number(value: object) -> float | None:
    """A plain number, also of NumPy's; nothing for anything else, NaN included, which JSON has no word for."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        return None
    return int(value) if isinstance(value, Integral) else float(value)


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
    _replace(out / "contract.json", json.dumps(body, indent=2, ensure_ascii=False, default=str))
    title = f"Data contract of {domain.domain}, version {domain.contract_version}"
    _replace(out / "contract.html", data_docs.page(title, rows, checked))


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(path)
