"""A contract's results as Great Expectations' Data Docs, made from counts and places alone.

Its own renderer lays the page out; the frame around it is ours, for two reasons. Its frame loads styles, fonts and scripts from five
other hosts. And what it is given here is made anew from `Checked`, which has no room for a cell of the data: the data is not masked yet,
and Great Expectations shows unexpected values, observed minima and the messages of exceptions.
"""

from __future__ import annotations

import html
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

NOT_SHOWN: Final = "not shown"


@dataclass(frozen=True, slots=True)
class Checked:
    """What may be kept of one expectation's result."""

    expectation: str
    column: str
    args: Mapping[str, Any]
    """As the domain file gives them."""
    success: bool
    rows: int
    unexpected: int
    fault: str
    places: tuple[str, ...]
    counts: Mapping[str, float]
    """Counts and percentages, by Great Expectations' names."""


def page(title: str, rows: int, checked: Sequence[Checked]) -> str:
    """One HTML page that needs nothing from anywhere else: no script, no font, no other host."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports warn about each other
        from great_expectations import __version__
        from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
        from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
        from great_expectations.render.view import DefaultJinjaPageView

        passed = sum(one.success for one in checked)
        results = ExpectationSuiteValidationResult(
            success=passed == len(checked),
            results=[_result(one) for one in checked],
            suite_name="contract",
            suite_parameters={},
            statistics={
                "evaluated_expectations": len(checked),
                "successful_expectations": passed,
                "unsuccessful_expectations": len(checked) - passed,
                "success_percent": 100 * passed / len(checked) if checked else 100.0,
            },
            meta={},
        )
        document = ValidationResultsPageRenderer(run_info_at_end=True).render(results)
        # The first block links to the pages of a site that is not there, the last section tells of Great Expectations' own run.
        overview, *columns, _ = document.sections
        overview.content_blocks = overview.content_blocks[1:]
        document.sections = [overview, *columns]
        view = DefaultJinjaPageView(custom_views_directory=str(Path(__file__).parent))
        facts = {"title": title, "rows": rows, "success": results.success, "made_by": __version__}
        rendered = view.render(document, "data_docs.html", **facts)
    return str(rendered)


def _result(one: Checked) -> Any:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    # Its statement about rows looks up the percentage, which an expectation about the set of values does not have.
    facts: dict[str, Any] = dict(one.counts) if "unexpected_percent" in one.counts else {**one.counts, "unexpected_count": 0}
    if one.places:
        facts |= {
            "partial_unexpected_counts": [{"value": NOT_SHOWN, "count": one.unexpected}],
            # Cells of its tables are the only strings that it does not escape.
            "unexpected_index_list": [{"value": NOT_SHOWN, "place": html.escape(place)} for place in one.places],
            "unexpected_index_column_names": ["place"],
        }
    column = {"column": one.column} if one.column else {}
    return ExpectationValidationResult(
        success=one.success,
        expectation_config=ExpectationConfiguration(type=one.expectation, kwargs={**column, **one.args}),
        result=facts,
        exception_info={
            "raised_exception": bool(one.fault),
            "exception_message": one.fault,
            "exception_traceback": "not kept: it may quote the data",
        },
    )
