"""Great Expectations over an arrival of any size: what it holds in memory is one batch of texts, and the other columns of the whole.

An expectation that does not read the column `text` sees the whole arrival at once. One that does, and judges each row by itself, sees one
batch after another, and its counts are added. One that only asks whether texts are equal (uniqueness) sees a digest in place of each text.
Any other about `text` (a greatest value, an order) cannot be evaluated so, and is refused as a fault of the domain file.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipelines.corpus.spool import batches
from pipelines.intake.data_docs import Checked
from pipelines.intake.records import RawRecord
from pipelines.manifest import sha256

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]

COLUMNS = ("key", "title", "text", "valid_from", "source", "withdrawn", "words")
SHOWN_PLACES = 20
_ROWS_PER_BATCH = 50_000
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
_NO_TEXT = (
    "ExpectColumnValuesToBeUnique", "ExpectCompoundColumnsToBeUnique", "ExpectColumnUniqueValueCountToBeBetween",
    "ExpectColumnProportionOfUniqueValuesToBeBetween", "ExpectColumnProportionOfNonNullValuesToBeBetween", "ExpectColumnToExist",
    "ExpectTableColumnsToMatchOrderedList",
)  # fmt: skip
"""Ask of a text at most whether it is there and which others it equals."""
_ACROSS_ROWS = (
    "ExpectColumnValuesToBeUnique", "ExpectCompoundColumnsToBeUnique", "ExpectColumnValuesToBeIncreasing",
    "ExpectColumnValuesToBeDecreasing", "ExpectColumnValueZScoresToBeLessThan", "ExpectColumnValuesToNotBeOutliers",
)  # fmt: skip
"""Of the classes that judge rows, those whose verdict on one depends on others."""


def is_by_batch(expectation: Any) -> bool | None:
    """Whether an expectation is evaluated batch by batch; None for one that can be evaluated neither so nor without the texts."""
    from great_expectations.expectations import expectation as kinds

    said, kind = expectation.configuration.kwargs, type(expectation).__name__
    names = [said.get("column"), said.get("column_A"), said.get("column_B"), *(said.get("column_list") or ())]
    outside_quotes = re.sub(r"""'[^']*'|"[^"]*\"""", "", str(said.get("row_condition") or ""))
    on_condition = re.search(r"\btext\b", outside_quotes) is not None
    if not on_condition and ("text" not in names or kind in _NO_TEXT):
        return False
    by_row = (kinds.ColumnMapExpectation, kinds.ColumnPairMapExpectation, kinds.MulticolumnMapExpectation)
    return True if isinstance(expectation, by_row) and kind not in _ACROSS_ROWS else None


def validate(gx: ModuleType, records: Iterable[RawRecord], expectations: Sequence[Any]) -> tuple[int, list[Checked]]:
    """The number of records, and each expectation's result, in order. The records are read once."""
    import pandas

    by_batch: dict[int, list[Checked]] = {number: [] for number, one in enumerate(expectations) if is_by_batch(one)}
    frames: list[pandas.DataFrame] = []
    places: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluate = _evaluator(gx, places)
        for batch in batches(records, lambda record: len(record.text), _ROWS_PER_BATCH):
            frame = _frame(batch, len(places))
            places += [record.place for record in batch]
            for number, told in by_batch.items():
                told.append(evaluate(frame, expectations[number]))
            frame["text"] = frame["text"].map(sha256, na_action="ignore")
            frames.append(frame)
        whole = pandas.concat(frames) if frames else _frame([], 0)
        results = [
            # Of no batch at all there is nothing to add up.
            _together(by_batch[number], len(places)) if by_batch.get(number) else evaluate(whole, expectation)
            for number, expectation in enumerate(expectations)
        ]
    return len(places), results


def _frame(records: Sequence[RawRecord], start: int) -> pandas.DataFrame:
    """Rows whose index counts from `start`."""
    import pandas

    return pandas.DataFrame([_row(one) for one in records], columns=list(COLUMNS), index=range(start, start + len(records)))


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


def _evaluator(gx: ModuleType, places: Sequence[str]) -> Callable[[pandas.DataFrame, Any], Checked]:
    """A function of a frame and an expectation. `places` are those of all rows up to the frame's last."""
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    defined = context.data_sources.add_pandas("arrival").add_dataframe_asset("records").add_batch_definition_whole_dataframe("all")

    def evaluate(frame: pandas.DataFrame, expectation: Any) -> Checked:
        result = defined.get_batch({"dataframe": frame}).validate(expectation, result_format="COMPLETE")
        return _checked(result, len(frame), places)

    return evaluate


def _checked(one: Any, rows: int, places: Sequence[str]) -> Checked:
    """What may be kept of a result: counts, places, and of an exception that there was one."""
    facts: Mapping[str, Any] = one.result or {}
    config = one.expectation_config
    raised = one.exception_info or {}
    raised = [raised] if "raised_exception" in raised else list(raised.values())
    indexes = [index for index in facts.get("unexpected_index_list") or () if isinstance(index, int) and 0 <= index < len(places)]
    kept = (*_COUNTS, "observed_value") if config.type in _OBSERVE_A_COUNT else _COUNTS
    counts = {name: value for name in kept if (value := _number(facts.get(name))) is not None}
    return Checked(
        expectation=config.type,
        column=str(config.kwargs.get("column", "")),
        args={name: value for name, value in config.kwargs.items() if name not in ("batch_id", "result_format", "column")},
        success=bool(one.success),
        rows=rows,
        unexpected=int(counts.get("unexpected_count", 0)),
        fault="it could not be evaluated" if any(info.get("raised_exception") for info in raised) else "",
        places=tuple(places[index] for index in indexes[:SHOWN_PLACES]),
        counts=counts,
    )


def _together(told: Sequence[Checked], rows: int) -> Checked:
    """One expectation's results of all batches as one: counts added, and what Great Expectations makes of them made of the sums."""
    said = {name for one in told for name in one.counts}
    elements, missing, unexpected = (
        sum(one.counts.get(name, 0) for one in told) for name in ("element_count", "missing_count", "unexpected_count")
    )
    judged = elements - missing
    counts = {"element_count": elements, "missing_count": missing, "unexpected_count": unexpected}
    counts |= {"missing_percent": missing / (elements or 1) * 100, "unexpected_percent_total": unexpected / (elements or 1) * 100}
    counts |= dict.fromkeys(("unexpected_percent", "unexpected_percent_nonmissing"), unexpected / (judged or 1) * 100)
    fault = next((one.fault for one in told if one.fault), "")
    return replace(
        told[0],
        success=not fault and (not judged or (judged - unexpected) / judged >= told[0].args.get("mostly", 1)),
        rows=rows,
        unexpected=int(unexpected),
        fault=fault,
        places=tuple(place for one in told for place in one.places)[:SHOWN_PLACES],
        counts={name: value for name, value in counts.items() if name in said},
    )


def _number(value: object) -> float | None:
    """A plain number, also of NumPy's; nothing for anything else, NaN included, which JSON has no word for."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        return None
    return int(value) if isinstance(value, Integral) else float(value)
