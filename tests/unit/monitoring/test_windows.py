"""Windows against what plain Python counts, on small random logs."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.errors import BadInput
from pipelines.monitor_config import By, Monitors, Slice
from pipelines.monitoring import panes, source, topics
from pipelines.monitoring.measures import MEASURES
from pipelines.monitoring.windows import Window, windows

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
CONFIG = Monitors(
    cost_per_1000_tokens=0.5, cost_per_gpu_hour=3.0, slices=(Slice(name="leases", key=r"^1013-"), Slice(name="credit", key=r"^10\d\d-"))
)
Rows = list[dict[str, Any]]


def log(seed: int, count: int, minutes: float = 20.0) -> Rows:
    """Records of every kind, some of them empty where a field may be."""
    draw = random.Random(seed)  # noqa: S311

    def maybe(value: Any, share: float = 0.8) -> Any:
        return value if draw.random() < share else None

    found = []
    for number in range(count):
        rule, where = (
            draw.choice(["injection", "toxicity", "toxic_answers", "numbers", "identifiers", "canaries"]),
            draw.choice(["question", "passage 1", "answer"]),
        )
        found.append({
            "at": BEGIN + timedelta(microseconds=draw.randrange(int(minutes * 60e6))),
            "request_id": f"q{number}", "release": maybe(draw.choice(["r1", "r2"])), "prompt": maybe("p/v1"), "tenant": draw.choice("abc"),
            "shadow": maybe(draw.random() < 0.1), "canary": False,
            "status": draw.choice([200, 200, 200, 206, 401, 404, 422, 429, 499, 500, 503]),
            "latency_ms": maybe(draw.choice([0.0, -1.0, draw.lognormvariate(4, 1)])), "first_ms": maybe(draw.lognormvariate(3, 1), 0.3),
            "tokens_in": maybe(draw.randrange(500)), "tokens_out": maybe(draw.randrange(3)), "confidence": maybe(draw.random()),
            "abstained": maybe(draw.random() < 0.2), "reason": maybe(draw.choice(["not_in_passage", "answer_withheld", "no_passage"]), 0.3),
            "sources": draw.choice([None, [], ["1013-2-a", "1026-1-x"], ["note-17"]]),
            "cited": maybe(draw.choice(["1013-3-b", "1026-4"]), 0.4),
            "guards": maybe([{"rule": rule, "action": "report", "score": 0.9, "where": where}], 0.3),
            "cache": maybe("exact", 0.2), "route": maybe(draw.choice(["own", "small", "provider"])), "top_score": maybe(draw.random() * 2),
        })  # fmt: skip
    return found


def naive(
    rows: Rows, begin: datetime, end: datetime, seconds: float, every: float, group_of: Callable[[dict[str, Any]], str]
) -> list[Window]:
    """The same, window by window and record by record."""
    rows = [row for row in rows if not row["shadow"]]
    found, at = [], begin
    while at + timedelta(seconds=seconds) <= end:
        until = at + timedelta(seconds=seconds)
        inside = [row for row in rows if at <= row["at"] < until]
        for group in sorted({group_of(row) for row in inside} | ({"all"} if group_of({}) == "all" else set())):
            mine = [row for row in inside if group_of(row) == group]
            found.append(Window(at, until, group, len(mine), values(mine, inside, seconds), about(mine)))
        at += timedelta(seconds=every)
    return found


def values(rows: Rows, everybody: Rows, seconds: float) -> dict[str, float | None]:
    ok = [row for row in rows if row["status"] < 400]
    made = [row for row in ok if row["cache"] is None and (row["tokens_out"] or 0) > 0]

    def spent(some: Rows) -> int:
        return sum((row["tokens_in"] or 0) + (row["tokens_out"] or 0) for row in some if row["cache"] is None)

    def share(of: Rows, is_it: Callable[[dict[str, Any]], Any]) -> float | None:
        return sum(bool(is_it(row)) for row in of) / len(of) if of else None

    def mean(of: Rows, name: str) -> float | None:
        there = [row[name] for row in of if row[name] is not None]
        return sum(there) / len(there) if there else None

    def quantile(name: str, level: float) -> float | None:
        there = sorted(row[name] for row in ok if row[name] is not None and row[name] >= 0)
        return there[max(math.ceil(level * len(there) - 1e-9), 1) - 1] if there else None

    def found(row: dict[str, Any], rules: set[str], where: set[str] | None = None) -> bool:
        return any(one["rule"] in rules and (where is None or one["where"] in where) for one in row["guards"] or [])

    part = spent(rows) / spent(everybody) if spent(everybody) else 0.0
    money = spent(rows) * 0.5 / 1000 + part * 3.0 * seconds / 3600
    return {
        "requests": float(len(rows)), "requests_per_minute": len(rows) * 60 / seconds,
        "error_share": share(rows, lambda r: r["status"] >= 500), "refused_share": share(rows, lambda r: r["status"] in (422, 429)),
        "gone_share": share(rows, lambda r: r["status"] == 499),
        "latency_p50": quantile("latency_ms", 0.5), "latency_p95": quantile("latency_ms", 0.95),
        "latency_p99": quantile("latency_ms", 0.99),
        "first_p95": quantile("first_ms", 0.95), "tokens_in_mean": mean(made, "tokens_in"), "tokens_out_mean": mean(made, "tokens_out"),
        "tokens_per_minute": spent(rows) * 60 / seconds,
        "cost_per_request": money / len(rows) if rows else None, "cost_per_hour": money * 3600 / seconds,
        "cache_share": share(ok, lambda r: r["cache"]), "small_share": share(ok, lambda r: r["route"] == "small"),
        "provider_share": share(ok, lambda r: r["route"] == "provider"), "abstained_share": share(ok, lambda r: r["abstained"]),
        "withheld_share": share(ok, lambda r: r["reason"] == "answer_withheld"),
        "ungrounded_share": share(ok, lambda r: r["reason"] == "not_in_passage" or found(r, {"numbers"})),
        "cited_share": share(ok, lambda r: r["cited"]), "confidence_mean": mean(made, "confidence"),
        "unsure_share": share([r for r in made if r["confidence"] is not None], lambda r: r["confidence"] < 0.5),
        "top_score_mean": mean(ok, "top_score"),
        "injection_share": share(rows, lambda r: found(r, {"injection"}, {"question", "messages"})),
        "toxic_share": share(rows, lambda r: found(r, {"toxicity", "toxic_answers"})),
        "identifier_share": share(rows, lambda r: found(r, {"identifiers", "canaries"}, {"answer"})),
    }  # fmt: skip


def document(row: dict[str, Any]) -> str | None:
    return row["cited"] or (row["sources"] or [None])[0]


def about(rows: Rows) -> dict[str, int]:
    keys = [key for row in rows if row["status"] < 400 and (key := document(row)) is not None]
    return dict(Counter(match[0] for key in keys if (match := re.match(topics.TOPIC, key))))


def in_slice(row: dict[str, Any]) -> str:
    key = document(row) if row else ""
    return next((one.name for one in CONFIG.slices if key and re.search(one.key, key)), "other")


GROUPS: dict[By, Callable[[dict[str, Any]], str]] = {
    "all": lambda _: "all",
    "release": lambda row: row.get("release") or "none",
    "prompt": lambda row: row.get("prompt") or "none",
    "tenant": lambda row: row.get("tenant", ""),
    "slice": in_slice,
}


def same(found: list[Window], expected: list[Window]) -> None:
    assert [(one.begin, one.end, one.group, one.requests) for one in found] == [
        (one.begin, one.end, one.group, one.requests) for one in expected
    ]
    for one, wanted in zip(found, expected, strict=True):
        assert one.topics == wanted.topics, one.begin
        for name, value in wanted.values.items():
            rough = MEASURES[name].kind == "quantile"
            assert one.values[name] == (
                None if value is None else pytest.approx(value, rel=0.01001 if rough else 1e-9, abs=0.002 if rough else 1e-6)
            ), name


@pytest.mark.parametrize("by", GROUPS)
@pytest.mark.parametrize(
    ("seed", "count", "seconds", "every"), [(1, 200, 300, 60), (2, 60, 300, 300), (3, 150, 90, 60), (4, 9, 7.5, 2.5), (5, 0, 60, 60)]
)
def test_windows_are_what_counting_each_by_itself_gives(by: By, seed: int, count: int, seconds: float, every: float) -> None:
    rows = log(seed, count)
    begin, end = BEGIN + timedelta(minutes=1), BEGIN + timedelta(minutes=15, seconds=20)
    held = source.of_records(rows)
    found = windows(held, by, begin=begin, end=end, seconds=seconds, every=every, config=CONFIG)
    same(found, naive(rows, begin, end, seconds, every, GROUPS[by]))
    held.close()


def test_windows_that_do_not_overlap_hold_every_record_once_and_no_shadow() -> None:
    rows = log(11, 500)
    held = source.of_records(rows)
    for by in GROUPS:
        found = windows(
            held, by, begin=BEGIN, end=BEGIN + timedelta(minutes=20), seconds=60, every=60, config=CONFIG, measures=["requests"]
        )
        assert sum(one.requests for one in found) == sum(not row["shadow"] for row in rows)


def test_the_order_of_the_records_does_not_matter() -> None:
    rows = log(12, 400)
    asked = {"begin": BEGIN, "end": BEGIN + timedelta(minutes=20), "seconds": 300, "every": 60, "config": CONFIG}
    first = windows(source.of_records(rows), "tenant", **asked)
    random.Random(1).shuffle(rows)  # noqa: S311
    assert windows(source.of_records(rows), "tenant", **asked) == first, "to the last digit"


def test_no_traffic_is_no_value_and_not_nought() -> None:
    held = source.of_records([])
    (one,) = windows(held, "all", begin=BEGIN, end=BEGIN + timedelta(minutes=5), seconds=300, every=60, config=CONFIG)
    counts = {"requests", "requests_per_minute", "tokens_per_minute", "cost_per_hour"}
    assert one.requests == 0 and {name for name, value in one.values.items() if value is not None} == counts
    assert {one.values[name] for name in counts} == {0.0} and one.topics == {}
    assert windows(held, "tenant", begin=BEGIN, end=BEGIN + timedelta(minutes=5), seconds=300, every=60, config=CONFIG) == []


def test_what_is_no_number_is_not_counted() -> None:
    row = {"request_id": "q", "status": 200, "at": BEGIN, "tokens_out": 3, "sources": [], "guards": []}
    odd = [math.nan, math.inf, -math.inf, 1e300]
    held = source.of_records([row | {"latency_ms": one, "confidence": one, "top_score": one} for one in [*odd, 0.25]])
    (one,) = windows(held, "all", begin=BEGIN, end=BEGIN + timedelta(minutes=1), seconds=60, every=60, config=CONFIG)
    assert one.requests == 5 and one.values["confidence_mean"] == one.values["top_score_mean"] == 0.25
    assert one.values["latency_p99"] == pytest.approx(0.25, rel=0.01)


def test_without_prices_there_is_no_cost_and_only_what_is_asked_for_is_there() -> None:
    held = source.of_records(log(13, 50))
    asked = ["error_share", "cost_per_hour", "probe_wrong_share"]
    (one,) = windows(
        held, "all", begin=BEGIN, end=BEGIN + timedelta(minutes=20), seconds=1200, every=1200, config=Monitors(), measures=asked
    )
    assert list(one.values) == ["error_share", "cost_per_hour", "probe_wrong_share"] and one.topics == {}
    assert one.values["cost_per_hour"] is None and one.values["probe_wrong_share"] is None and one.values["error_share"] is not None


def test_a_quotation_mark_in_a_slice_is_a_letter() -> None:
    config = Monitors(slices=(Slice(name="quoted", key="it's"),))
    held = source.of_records([{"request_id": "q", "status": 200, "at": BEGIN, "cited": "it's-1"}])
    (one,) = windows(held, "slice", begin=BEGIN, end=BEGIN + timedelta(minutes=1), seconds=60, every=60, config=config)
    assert one.group == "quoted"


def test_bad_input_is_said() -> None:
    held, asked = source.of_records([]), {"begin": BEGIN, "end": BEGIN + timedelta(minutes=5), "config": CONFIG}
    with pytest.raises(BadInput, match="no measure 'error_shar'") as error:
        windows(held, "all", seconds=60, every=60, measures=["error_shar"], **asked)
    assert "'error_share'" in str(error.value)
    with pytest.raises(BadInput, match="a length"):
        windows(held, "all", seconds=0, every=60, **asked)
    config = Monitors(slices=(Slice(name="odd", key="(?=a)"),))
    with pytest.raises(BadInput, match="cannot be matched"):
        windows(held, "slice", seconds=60, every=60, **(asked | {"config": config}))
    assert windows(held, "all", seconds=600, every=60, **asked) == [], "no window fits"


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_keep_their_error_over_nine_decades(seed: int) -> None:
    import numpy as np

    draw = random.Random(seed)  # noqa: S311
    drawn = [10 ** draw.uniform(-3, 8.9) for _ in range(draw.choice([1, 2, 19, 20, 21, 1000]))]
    number = np.array([math.ceil(math.log(value) / math.log(panes.GAMMA)) for value in drawn])
    made = panes.plan(BEGIN, BEGIN + timedelta(seconds=60), 60, 60)
    levels = (0.01, 0.5, 0.95, 0.99, 1.0)
    (found,) = panes.quantiles(np.zeros(len(drawn), dtype=int), number, levels, made)
    for level, value in zip(levels, found, strict=True):
        exact = sorted(drawn)[max(math.ceil(level * len(drawn) - 1e-9), 1) - 1]
        assert value == pytest.approx(exact, rel=0.0101)


def test_quantiles_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    held = source.of_records(log(14, 600))
    asked = {"begin": BEGIN, "end": BEGIN + timedelta(minutes=20), "seconds": 120, "every": 30, "config": CONFIG}
    whole = windows(held, "release", **asked)
    monkeypatch.setattr(panes, "_CELLS", 1)
    assert windows(held, "release", **asked) == whole


def test_the_distance_of_topics() -> None:
    assert topics.distance({"1013-2": 5}, {"1013-2": 50}) == 0.0
    assert topics.distance({"1013-2": 5}, {"1013-3": 50}) == pytest.approx(1.0)
    assert topics.distance({}, {"1013-3": 50}) is None and topics.distance({"1013-3": 1}, {}) is None
    between = topics.distance({"a": 1, "b": 1}, {"a": 1})
    assert between is not None and between == pytest.approx(math.sqrt(0.5 * (0.5 * math.log2(2 / 3) + 0.5 + math.log2(4 / 3))))
    one = Window(BEGIN, BEGIN, "all", 2, {"topic_distance": None}, {"1013-2": 2})
    (told,) = topics.with_distance([one], topics.pooled([one, replace(one, topics={"1013-3": 2})]))
    assert told.values["topic_distance"] == pytest.approx(between)
