"""What changed last: found, dated, and the likeliest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from watching import T0, artifact, minutes, release, site

from pipelines.config import Settings
from pipelines.governance import audit
from pipelines.monitoring import cause, holdbacks
from pipelines.monitoring.windows import Window
from pipelines.state.database import transaction
from pipelines.state.models import RolloutRow


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return site(settings)


def kinds(found: dict[str, Any]) -> list[str]:
    return [change["kind"] for change in found["changes"]]


def test_nothing_is_known_of_a_domain_that_never_changed(settings: Settings) -> None:
    found = cause.probable(settings, "d", T0)
    assert (found["likeliest"], found["changes"]) == (None, [])
    assert found["looked_at"] == ["releases", "canaries", "engines", "restraints"]


def test_a_release_is_named_with_what_is_new_in_it(settings: Settings) -> None:
    release(settings, 1, since=minutes(-600))
    release(settings, 2, since=minutes(-12), prompt="chat/v2", prompt_sha256="p2")
    found = cause.probable(settings, "d", T0)
    assert found["likeliest"] == f"d/r2 went live at {minutes(-12):%Y-%m-%d %H:%M} UTC, 12 min before; new in it against d/r1: prompt"
    assert found["changes"][0]["detail"]["new"] == ["prompt"]
    assert [change["detail"]["release"] for change in found["changes"]] == ["d/r2", "d/r1"]


def test_every_part_is_told_apart(settings: Settings) -> None:
    release(settings, 1, since=minutes(-60))
    parts = {
        "adapter_id": artifact(settings, "adapter", "other", {"prompt": "chat/v1"}), "index_id": artifact(settings, "index", "other", {}),
        "policy": {"passages": 3},
    }  # fmt: skip
    release(settings, 2, since=minutes(-30), **parts)
    assert cause.probable(settings, "d", T0)["changes"][0]["detail"]["new"] == ["adapter", "index", "policy"]


def test_what_came_after_it_began_did_not_cause_it(settings: Settings) -> None:
    release(settings, 1, since=minutes(-60))
    release(settings, 2, since=minutes(5))
    assert [change["detail"]["release"] for change in cause.probable(settings, "d", T0)["changes"]] == ["d/r1"]


def test_what_is_three_days_old_is_not_what_changed(settings: Settings) -> None:
    release(settings, 1, since=T0 - timedelta(hours=73))
    assert cause.probable(settings, "d", T0)["changes"] == []


def test_a_canary_that_has_just_grown_comes_before_yesterday_s_release(settings: Settings) -> None:
    release(settings, 1, since=minutes(-24 * 60))
    second = release(settings, 2, live=False)
    stages = [{"share": 0.2, "shadow": True}, {"share": 0.1, "shadow": False}]
    with transaction(settings) as session:
        session.add(
            RolloutRow(
                candidate_id=second, stage=1, stage_began_at=minutes(-3), began_at=minutes(-9), state="running", facts={"stages": stages}
            )
        )
    found = cause.probable(settings, "d", T0)
    assert kinds(found) == ["canary", "release"] and "the canary d/r2 answers 10%" in found["likeliest"]


def test_an_engine_that_was_mended_is_named(settings: Settings) -> None:
    with transaction(settings) as session:
        audit.record(session, actor="gateway", action="engine.mended", subject="127.0.0.1:8000/e1", detail={})
    (change,) = cause.probable(settings, "d", T0 + timedelta(hours=5))["changes"]
    assert change["kind"] == "engine" and change["says"].startswith("the engine 127.0.0.1:8000/e1 crashed and was mended at ")


def test_what_was_held_back_is_named(settings: Settings) -> None:
    with transaction(settings) as session:
        holdbacks.hold(session, "d", "route_off", "small", minutes=60, by="os:ann", reason="x", at=minutes(-5))
        holdbacks.hold(session, "other", "route_off", "small", minutes=60, by="os:ann", reason="x", at=minutes(-5))
    (change,) = cause.probable(settings, "d", T0)["changes"]
    assert change["says"] == f"the route small is off since {minutes(-5):%Y-%m-%d %H:%M} UTC, 5 min before, by os:ann"


def mix(after: dict[str, Any], before: dict[str, Any]) -> Any:
    """`Recent.latest`, of two times: tenants, topics, and values of the whole."""

    def latest(by: str, end: datetime, seconds: float, measures: Sequence[str]) -> list[Window]:
        told = after if end == T0 else before
        begin = end - timedelta(seconds=seconds)
        if by == "tenant":
            return [Window(begin, end, name, count, {}) for name, count in told["tenants"].items()]
        total = sum(told["tenants"].values())
        return [Window(begin, end, "all", total, told.get("values", {}), told.get("topics", {}))]

    return latest


def test_the_traffic_mix_is_named_where_it_moved(settings: Settings) -> None:
    before = {"tenants": {"acme": 80, "zeta": 20}, "topics": {"1013-2": 100}, "values": {"provider_share": 0.0, "small_share": 0.5}}
    after = {
        "tenants": {"acme": 20, "zeta": 80},
        "topics": {"1013-2": 40, "1013-9": 60},
        "values": {"provider_share": 0.4, "small_share": 0.5},
    }
    found = cause.probable(settings, "d", T0, windows=mix(after, before))
    says = [change["says"] for change in found["changes"]]
    assert says[0] == "the outside provider answered 40% of the requests, an hour before 0%"
    assert "the tenant zeta has 80% of the requests, an hour before 20%" in says
    assert "the topic 1013-9 has 60% of the requests, an hour before 0%" in says
    assert not any("small model" in one for one in says) and found["looked_at"][-1] == "traffic of the last hour"


def test_a_few_requests_say_nothing_about_the_mix(settings: Settings) -> None:
    quiet = {"tenants": {"acme": 9}}
    assert cause.probable(settings, "d", T0, windows=mix({"tenants": {"zeta": 90}}, quiet))["changes"] == []
    assert cause.probable(settings, "d", T0, windows=mix({"tenants": {}}, {"tenants": {}}))["changes"] == []


def test_three_times_the_requests_are_named(settings: Settings) -> None:
    found = cause.probable(settings, "d", T0, windows=mix({"tenants": {"acme": 500}}, {"tenants": {"acme": 100}}))
    assert found["likeliest"] == "5.0 times as many requests as an hour before"
