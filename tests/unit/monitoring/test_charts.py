"""Plots: no style, script, id or colour of their own; links that say what they are; the figures in words."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from pipelines.monitoring import plain_svg
from pipelines.monitoring.charts import Band, Chart, Line, Mark, shown, summary, svg

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def chart(*values: float | None, **more: object) -> Chart:
    told: dict[str, object] = {"unit": "ms", "links": tuple(f"/list?n={n}&by=all" for n in range(len(values)))} | more
    return Chart("latency", "Latency", begin=BEGIN, seconds=900.0, lines=(Line("p95", values),), **told)  # type: ignore[arg-type]


def test_a_plot_passes_a_policy_that_forbids_styles_and_scripts() -> None:
    marks = (Mark(BEGIN + timedelta(minutes=20), "r7", "release", "r7 live"), Mark(BEGIN + timedelta(minutes=40), "r8", "canary", "10 %"))
    bands = (Band(BEGIN, BEGIN + timedelta(minutes=30), "tokens", "#law-i1"),)
    text = svg(chart(100.0, 200.0, None, 400.0, marks=marks, bands=bands))
    root = ElementTree.fromstring(text)  # noqa: S314
    for element in root.iter():
        assert element.tag in {"svg", "title", "desc", "path", "rect", "text", "a"}
        assert not {name for name in element.attrib if name == "style" or name.startswith("on") or "xlink" in name}
    assert not re.search(r"#[0-9a-f]{6}", text), "every colour is a class"
    assert {element.get("id") for element in root.iter()} == {None, "latency-t", "latency-d"}
    assert root.get("aria-labelledby") == "latency-t latency-d"


def test_every_window_is_a_link_that_says_its_figures() -> None:
    root = ElementTree.fromstring(svg(chart(100.0, None, 1500.0)))  # noqa: S314
    links = [element for element in root.iter("a") if element[-1].get("class") == "hit"]
    assert [link.get("href") for link in links] == ["/list?n=0&by=all", "/list?n=1&by=all", "/list?n=2&by=all"]
    assert [link.findtext("title") for link in links] == [
        "01 Mar 12:00–12:15 UTC: p95 100 ms", "01 Mar 12:15–12:30 UTC: p95 –", "01 Mar 12:30–12:45 UTC: p95 1.5 s",
    ]  # fmt: skip
    assert {link.get("tabindex") for link in links} == {"-1"}
    widths = [float(link[-1].get("width", "")) for link in links]
    assert max(widths) == min(widths) > 100


def test_releases_stand_at_their_time_and_what_was_wrong_is_a_band() -> None:
    at = BEGIN + timedelta(minutes=30)
    bands = (Band(at, at + timedelta(minutes=15), "law-i1: tokens", "#law-i1"), Band(BEGIN - timedelta(days=1), BEGIN, "before", "#law-i0"))
    root = ElementTree.fromstring(svg(chart(1.0, 1.0, 1.0, 1.0, marks=(Mark(at, "r7", "revert", "back to law/r7"),), bands=bands)))  # noqa: S314
    (line,) = [one for one in root.iter("path") if one.get("class") == "mark-revert-line"]
    place = float(re.findall(r"[\d.]+", line.get("d", ""))[0])
    assert abs(place - (48 + (plain_svg.SIZE[0] - 54) / 2)) < 1
    links = {link.get("href"): link.findtext("title") for link in root.iter("a") if not str(link.get("href")).startswith("/")}
    assert links == {"#law-i1": "law-i1: tokens", "#change-1": "back to law/r7"}


def test_labels_that_would_run_into_one_another_are_left_out() -> None:
    marks = [Mark(BEGIN + timedelta(minutes=20, seconds=k), f"r{k}", "release", "live") for k in range(5)]
    root = ElementTree.fromstring(svg(chart(1.0, 2.0, 3.0, 4.0, marks=marks)))  # noqa: S314
    assert [one.text for one in root.iter("text") if one.get("class") == "mark-release"] == ["r0"]
    assert len([one for one in root.iter("path") if one.get("class") == "mark-release-line"]) == 5


def test_what_somebody_named_cannot_break_out() -> None:
    hostile = '"><script>alert(1)</script>'
    plot = Chart("t", hostile, "count", BEGIN, 60.0, (Line(hostile, (1.0, 2.0)),), ("/x?group=%22%3E", "/y"))
    text = svg(plot)
    assert "<script" not in text and "&lt;script&gt;" in text
    ElementTree.fromstring(text)  # noqa: S314


@pytest.mark.parametrize("values", [(), (None, None), (0.0, 0.0), (None, 5.0, None), (1e-12, 1e12), (-0.4, 0.2)])
@pytest.mark.parametrize("unit", ["share", "value", "count"])
@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("bars", [True, False])
def test_nothing_measured_one_value_and_equal_ones_are_drawn_too(
    values: tuple[float | None, ...], unit: str, zero: bool, bars: bool
) -> None:
    root = ElementTree.fromstring(svg(chart(*values, unit=unit, zero=zero, bars=bars)))  # noqa: S314
    assert "nan" not in " ".join(one.get("d", "") for one in root.iter("path"))


def test_a_value_between_gaps_is_seen_and_sparse_ones_are_joined() -> None:
    def lines(**more: object) -> int:
        root = ElementTree.fromstring(svg(chart(1.0, None, 2.0, None, 3.0, **more)))  # noqa: S314
        return len([one for one in root.iter("path") if one.get("class") == "s1-line"])

    assert lines() == 3
    assert lines(sparse=True) == 1


def test_the_summary_says_the_last_the_middle_and_the_highest() -> None:
    assert summary(chart(100.0, 900.0, 300.0)) == "p95: 300 ms last, 300 ms in the middle, 900 ms at most (01 Mar 12:15)."
    assert summary(chart(None)) == "Nothing was measured in this time."


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [(None, "ms", "–"), (0.0423, "share", "4.23 %"), (1.0, "share", "100 %"), (1234.0, "ms", "1.23 s"), (12.3, "ms", "12.3 ms"),
     (9999.0, "count", "9999"), (123456.0, "count", "123 k"), (2.5e6, "tokens", "2.5 M"), (0.0123, "money", "0.0123")],
)  # fmt: skip
def test_figures_read_as_people_write_them(value: float | None, unit: str, said: str) -> None:
    assert shown(value, unit) == said  # type: ignore[arg-type]


def test_several_threads_draw_the_same() -> None:
    plot = chart(*(float(n % 7) for n in range(60)))
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: svg(plot), range(8))) == {svg(plot)}
