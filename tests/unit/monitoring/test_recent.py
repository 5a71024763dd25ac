"""The last hours in memory: each record once, whatever clocks, crashes and bursts do to the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from traffic_lines import record, write

from pipelines import locks
from pipelines.config import Settings, load_domain
from pipelines.monitoring import recent as module
from pipelines.monitoring.recent import Recent
from pipelines.state.database import transaction
from pipelines.state.models import FeedbackRow, Observation
from pipelines.steps import traffic
from pipelines.traffic import segments

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def recent(settings: Settings) -> Iterator[Recent]:
    made = Recent(settings, load_domain("regulatory", settings))
    yield made
    made.close()


def requests(recent: Recent, now: datetime = NOW, seconds: float = 300) -> int:
    (one,) = recent.latest("all", now, seconds, ["requests"])
    return one.requests


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_a_record_is_taken_in_once(settings: Settings, recent: Recent) -> None:
    assert recent.take_in(NOW) == 0 and requests(recent) == 0
    write(settings, "regulatory", ago(60), [record("r1", number) for number in range(10)])
    assert recent.take_in(NOW) == 10 and recent.take_in(NOW) == 0 and requests(recent) == 10
    write(settings, "regulatory", ago(30), [record("r1", 10), record("r2", 11, shadow=True)])
    assert recent.take_in(NOW) == 1, "a shadow answered nobody"
    traffic.rotate(settings, "regulatory")
    assert recent.take_in(NOW) == 0 and requests(recent) == 11
    by_release = recent.latest("release", NOW, 300, ["requests"])
    assert [(one.group, one.requests) for one in by_release] == [("r1", 11)]
    assert requests(recent, ago(45)) == 10 and requests(recent, NOW, 45) == 1


def test_repeated_lines_count_once_also_over_segments(settings: Settings, recent: Recent) -> None:
    write(settings, "regulatory", ago(60), [record("r1", 1)])
    write(settings, "regulatory", ago(60), [record("r1", 1), record("r1", 1, release="r2"), record("r1", 2)])
    recent.take_in(NOW)
    path = next(segments.folder_of(settings, "regulatory").glob("*.jsonl"))
    (path.parent / f"{path.name[:13]}-2-xyz-1.jsonl").write_bytes(path.read_bytes())
    recent.take_in(NOW)
    # The second of a segment's lines is a millisecond later: another request of that id.
    assert (recent.taken, recent.repeated) == (3, 5) and requests(recent) == 3


def test_late_records_of_several_gateways_count_by_their_own_time(settings: Settings, recent: Recent) -> None:
    write(settings, "regulatory", ago(10), [record("r1", 1)])
    recent.take_in(NOW)
    folder = segments.folder_of(settings, "regulatory")
    late = {"at": ago(200).isoformat(), **record("r1", 2)}
    older = {"at": ago(8 * 3600).isoformat(), **record("r1", 3)}
    (folder / f"{NOW:%Y-%m-%dT%H}-9-zzz-1.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (late, older)))
    assert recent.take_in(NOW) == 1, "the log itself does not give what is older than what is kept"
    assert requests(recent, NOW, 60) == 1 and requests(recent) == 2


def test_a_clock_that_is_ahead_is_not_believed(settings: Settings, recent: Recent) -> None:
    write(settings, "regulatory", NOW + timedelta(seconds=90), [record("r1", 1)])
    write(settings, "regulatory", NOW + timedelta(days=300), [record("r1", 2)])
    recent.take_in(NOW)
    assert (recent.taken, recent.ahead) == (2, 1)
    later = NOW + timedelta(seconds=100)
    assert requests(recent, later, 200) == 2 and requests(recent, NOW + timedelta(seconds=1), 2) == 1
    write(settings, "regulatory", NOW + timedelta(days=300), [record("r1", 2)])
    recent.take_in(NOW + timedelta(minutes=1))
    assert (recent.taken, recent.repeated) == (2, 1), "the same line is the same, whenever it arrives"


BAD: list[dict[str, Any]] = [
    {"status": "many"},
    {"status": None},
    {"request_id": None},
    {"tokens_in": "a lot"},
    {"tokens_out": 2**80},
    {"sources": [1]},
    {"guards": "none"},
]


@pytest.mark.parametrize("bad", BAD, ids=lambda one: next(iter(one)))
def test_a_line_that_only_looks_like_a_record_costs_only_itself(settings: Settings, recent: Recent, bad: dict[str, Any]) -> None:
    write(settings, "regulatory", ago(60), [record("r1", 1), record("r1", 2, **bad), record("r1", 3, later_field=1)])
    recent.take_in(NOW)
    assert (recent.taken, recent.skipped) == (2, 1) and requests(recent) == 2


def test_torn_lines_are_counted(settings: Settings, recent: Recent) -> None:
    path = write(settings, "regulatory", ago(60), [record("r1", 1)])
    with path.open("a") as file:
        file.write('nonsense\n{"at": "20')
    with locks.handle_of(path) as handle:
        assert handle is not None
        recent.take_in(NOW)
        assert (recent.taken, recent.skipped, recent.torn) == (1, 1, 0), "its writer may still be at it"
    for _ in range(2):
        recent.take_in(NOW)
        assert (recent.taken, recent.skipped, recent.torn) == (1, 1, 1)


def test_old_rows_are_dropped(settings: Settings) -> None:
    recent = Recent(settings, load_domain("regulatory", settings), timedelta(minutes=10))
    write(settings, "regulatory", ago(300), [record("r1", number) for number in range(100)])
    recent.take_in(NOW)
    recent.take_in(NOW + timedelta(minutes=6))
    (left,) = recent.source.connection.execute("SELECT count(*) FROM records").fetchone()
    assert left == 0 and recent.dropped == 0, "out of its time, not for want of room"
    recent.close()


def test_a_burst_is_survived_and_the_newest_stay(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 100)
    recent = Recent(settings, load_domain("regulatory", settings), most=400)
    write(settings, "regulatory", ago(60), [record("r1", number) for number in range(2000)])
    assert recent.take_in(NOW) == 2000
    (count, first) = recent.source.connection.execute('SELECT count(*), min("at") FROM records').fetchone()
    assert 400 <= count <= 500 and recent.dropped == 2000 - count
    assert recent.full_since is not None and ago(60) < recent.full_since and first >= ago(60) + timedelta(milliseconds=1500)
    recent.close()


def test_what_was_observed_stands_in_the_windows(settings: Settings, recent: Recent) -> None:
    def seen(seconds: float, value: float, n: int, release: str | None = "r1", **detail: float) -> Observation:
        return Observation(
            domain="regulatory",
            at=ago(seconds),
            measure="probe_wrong_share",
            source="probe",
            release=release,
            value=value,
            n=n,
            detail=detail,
        )

    def said(number: int, rating: int, state: str = "received") -> FeedbackRow:
        return FeedbackRow(
            id=f"fb-{number}",
            domain="regulatory",
            request_id="q",
            key=f"k{number}",
            tenant="t",
            release="r1",
            rating=rating,
            state=state,
            at=ago(5),
        )

    write(settings, "regulatory", ago(60), [record("r1", 1)])
    recent.take_in(NOW)
    with transaction(settings) as session:
        session.add_all([seen(10, 0.5, 2), seen(20, 0.0, 6), seen(20, 1.0, 4, "r9"), seen(5000, 1.0, 99), seen(0, 1.0, 99)])
        session.add_all([said(1, -1), said(2, 1), said(3, 1), said(4, 0), said(5, -1, "quarantined")])
    asked = ["requests", "error_share", "probe_wrong_share", "thumbs_down_share", "bias_gap"]
    (whole,) = recent.latest("all", NOW, 300, asked)
    assert whole.values == {
        "requests": 1.0, "error_share": 0.0, "probe_wrong_share": pytest.approx(5 / 12), "thumbs_down_share": pytest.approx(1 / 3),
        "bias_gap": None,
    }  # fmt: skip
    assert whole.counted == {"probe_wrong_share": 12, "thumbs_down_share": 3}
    first, other = recent.latest("release", NOW, 300, asked)
    assert (first.group, first.requests, first.values["probe_wrong_share"]) == ("r1", 1, 0.125)
    assert (other.group, other.requests, other.values["probe_wrong_share"], other.values["error_share"]) == ("r9", 0, 1.0, None)
    quiet = recent.latest("release", ago(0), 15, asked)
    assert [(one.group, one.values["probe_wrong_share"]) for one in quiet] == [("r1", 0.5)], "without a request"
    (tenant,) = recent.latest("tenant", NOW, 300, asked)
    assert tenant.values["probe_wrong_share"] is None


def test_a_sampled_figure_weighs_what_it_stands_for(settings: Settings, recent: Recent) -> None:
    with transaction(settings) as session:
        for value, weight in ((1.0, 9.0), (0.0, 1.0)):
            row = {"domain": "regulatory", "measure": "judged_mean", "source": "judge", "value": value, "detail": {"weight": weight}}
            session.add(Observation(at=ago(weight), **row))
    (one,) = recent.latest("all", NOW, 300, ["judged_mean"])
    assert (one.values["judged_mean"], one.counted["judged_mean"]) == (0.9, 2)
