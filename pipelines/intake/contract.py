"""The data contract of an arrival, checked by Great Expectations.

Expectations are named in the domain's YAML by their class. They see one row per record with the columns key, title, text, valid_from,
source, withdrawn, words. Blank key, title and text are null; a withdrawn record has the text "" and no word count, so that rules
about text leave repeals alone.

Nothing written here holds a cell of the data, which is not masked yet: results are counts and places, and the HTML is made from those,
not by Data Docs, which show the unexpected values.
"""

from __future__ import annotations

import difflib
import html
import json
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pipelines.config import DomainConfig, Expectation
from pipelines.errors import ConfigError
from pipelines.intake.records import RawRecord

COLUMNS = ("key", "title", "text", "valid_from", "source", "withdrawn", "words")
SHOWN_PLACES = 20


@dataclass(frozen=True, slots=True)
class Breach:
    """One expectation that does not hold, in words and without a value."""

    expectation: str
    column: str
    text: str
    rows: int
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Checked:
    expectation: str
    column: str
    args: Mapping[str, Any]
    success: bool
    rows: int
    unexpected: int
    fault: str
    places: tuple[str, ...]


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


def _validate(gx: ModuleType, records: list[RawRecord], expectations: list[Any]) -> list[_Checked]:
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


def _checked(one: Any, records: list[RawRecord]) -> _Checked:
    """What may be kept of a result: counts, places, and of an exception its kind alone."""
    facts: Mapping[str, Any] = one.result or {}
    config = one.expectation_config
    raised = one.exception_info or {}
    raised = [raised] if "raised_exception" in raised else list(raised.values())
    fault = next((str(info.get("exception_message", "")) for info in raised if info.get("raised_exception")), "")
    indexes = [index for index in facts.get("unexpected_index_list") or () if isinstance(index, int) and 0 <= index < len(records)]
    count = facts.get("unexpected_count")
    args = {name: value for name, value in config.kwargs.items() if name not in ("batch_id", "result_format", "column")}
    return _Checked(
        expectation="".join(part.capitalize() for part in config.type.split("_")),
        column=str(config.kwargs.get("column", "")),
        args=args,
        success=bool(one.success),
        rows=len(records),
        unexpected=int(count) if isinstance(count, int) else 0,
        fault="it could not be evaluated" if fault else "",
        places=tuple(records[index].place for index in indexes[:SHOWN_PLACES]),
    )


def _breach(one: _Checked) -> Breach:
    subject = f"column {one.column!r}" if one.column else "the table"
    said = f"{one.unexpected} of {one.rows} rows" if one.unexpected else one.fault or f"{one.rows} rows"
    near = f", first at {one.places[0]}" if one.places and one.places[0] else ""
    return Breach(one.expectation, one.column, f"{one.expectation} on {subject}: {said}{near}", one.unexpected, one.places)


def _write(out: Path, domain: DomainConfig, rows: int, checked: list[_Checked]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    success = all(one.success for one in checked)
    body = {
        "domain": domain.domain,
        "contract_version": domain.contract_version,
        "rows": rows,
        "success": success,
        "expectations": [asdict(one) for one in checked],
    }
    _replace(out / "contract.json", json.dumps(body, indent=2, ensure_ascii=False, default=str))
    lines = "\n".join(_html_row(one) for one in checked)
    title = f"Data contract of {domain.domain}, version {domain.contract_version}"
    _replace(
        out / "contract.html",
        f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>body{{font:15px system-ui;margin:2rem;max-width:70rem}}td,th{{text-align:left;padding:.3rem .8rem;border-bottom:1px solid #ddd}}
.no{{color:#a00}}.yes{{color:#060}}</style>
<h1>{html.escape(title)}</h1>
<p>{rows} records: <b class="{"yes" if success else "no"}">{"holds" if success else "does not hold"}</b>. Values are never shown here.</p>
<table><tr><th>expectation<th>column<th>arguments<th>result<th>rows against it<th>first places</tr>
{lines}
</table></html>
""",
    )


def _html_row(one: _Checked) -> str:
    result = '<td class="yes">holds' if one.success else '<td class="no">' + html.escape(one.fault or "does not hold")
    args = json.dumps(dict(one.args), ensure_ascii=False, default=str)
    cells = (one.expectation, one.column, args)
    places = html.escape(", ".join(one.places[:5]))
    return "<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in cells) + f"{result}<td>{one.unexpected}<td>{places}</tr>"


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(path)
