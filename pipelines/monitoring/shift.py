"""Whether a measure is what it was: each window against what `reference.py` expects of one of its hour and its requests.

Three horizons: the window alone, and means that fade over 4 and 16 windows. The first sees a jump at once, the others see with few requests
what no single window can tell (Hawkins and Olwell, Cumulative Sum Charts, 1998, on why a single look misses a lasting small change).

A share is scored by the signed root of the binomial's deviance, all else by its (log) distance from what was expected; either is divided by
how far it strayed in the reference time, given the requests that it rests on.

Nothing is learned while it is raised, of a bad window, or for `PROBATION_HOURS` after another release went live.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from pipelines.monitor_config import Shift
from pipelines.monitoring.seen import Seen, State, Verdict

HORIZONS = (0, 4, 16)
"""Windows over which what was seen fades by e; 0: the newest window alone."""
PROBATION_HOURS = 72.0
"""After a release: so long may it be reverted as what changed (`Revert.within_hours`), so long is it compared with the time before it."""
LEARNED_HOURS = 14.0
"""Time constant, in hours of that hour of the day: two weeks."""
WARM = 240
"""Windows that are kept while a group has no reference yet: then every second is dropped, so that they reach back twice as far."""
_WARM_ENOUGH = 7 * 86_400.0
_WARM_STEP = 30

Model = dict[str, Any]


def judge(rule: Shift, state: State, seen: Seen) -> Verdict | None:
    """Bad beyond the line of any horizon, and by `least`. None where the window says nothing, or there is no reference yet."""
    if seen.value is None or seen.n < rule.min_requests or not math.isfinite(seen.value):
        return None
    on_probation = _release(rule, state, seen)
    model: Model | None = state.get("model")
    if model is None:
        if not on_probation:
            _warm(rule, state, seen, seen.value)
        return None
    expected = expected_of(model, seen.at, seen.n)
    sums = state.setdefault("sums", [[0.0, 0.0, 0.0] for _ in HORIZONS])
    add(sums, model["scale"], seen.value, seen.n, expected, state["step"], seen.seconds)
    found = [
        (score(rule.direction, model["scale"], one, model["spread"][k]), change(model["scale"], one, expected))
        for k, one in enumerate(sums)
    ]
    # Once raised, what a longer mean still shows is not waited for: it forgets slowly.
    last = state.get("horizon", 0) if state["raised"] else len(found) - 1
    bad = next((k for k, (far, by) in enumerate(found[: last + 1]) if far >= model["line"][k] and abs(by) >= rule.least), None)
    well = found[0][0] < model["line"][0] / 2 or abs(found[0][1]) < rule.least / 2
    if state["raised"]:
        good = _over(state, model, sums[0], well, min(state["step"], seen.seconds) / seen.seconds)
    else:
        good = bad is None
        if bad is not None:
            state.update(horizon=bad, ill=list(sums[bad]), well=[0.0, 0.0, 0.0])
    shown = bad if bad is not None else last if state["raised"] else 0
    if bad is None and not state["raised"] and not on_probation:
        _learn(model, seen.at, seen.value, expected, state["step"])
        if "warm" in state:
            _warm(rule, state, seen, seen.value)
    return Verdict(bad is not None, good, seen.value, expected, _why(rule, seen, expected, model, shown, found[shown]))


def expected_of(model: Model, at: datetime, n: int) -> float:
    """The value of a window of that hour with that many requests."""
    moment = at.astimezone(UTC)
    level = float(model["level"][moment.hour])
    weekend = moment.weekday() >= 5
    if model["scale"] == "share":
        return min(0.999, level * (float(model["weekend"]) if weekend else 1.0))
    level += float(model["weekend"]) if weekend else 0.0
    middle, least, most = model["sizes"]
    level += float(model["slope"]) * (min(max(math.log(n), least), most) - middle)
    return math.exp(level) if model["scale"] == "log" else level


def add(sums: list[list[float]], scale: str, value: float, n: int, expected: float, step: float, seconds: float) -> None:
    """Let what was seen fade, and add a window to each horizon's (off, requests, expected): of overlapping windows what is new."""
    if scale == "share":
        off, wanted = value * n, expected * n
    elif scale == "log":
        # A mean or quantile of zero, where all that were seen were above it, is far below, not infinitely.
        off, wanted = n * math.log(max(value, expected * 1e-3) / expected), 0.0
    else:
        off, wanted = n * (value - expected), 0.0
    sums[0][:] = (off, float(n), wanted)
    part = min(step, seconds) / seconds if step > 0 else 1.0
    for horizon, one in zip(HORIZONS[1:], sums[1:], strict=True):
        kept = math.exp(-step / (horizon * seconds))
        one[:] = (one[0] * kept + off * part, one[1] * kept + n * part, one[2] * kept + wanted * part)


def raw(scale: str, one: Sequence[float]) -> tuple[float, float]:
    """(how far off, what its variance grows with): of a share, root of the deviance and expected count; else, mean and 1 / requests."""
    off, requests, wanted = one
    if scale != "share":
        return off / requests, 1.0 / requests
    left, expected_left = requests - off, requests - wanted
    deviance = (off * math.log(off / wanted) if off > 0 else 0.0) + (left * math.log(left / expected_left) if left > 1e-9 else 0.0)
    return math.copysign(math.sqrt(max(0.0, 2.0 * deviance)), off - wanted), wanted


def score(direction: str, scale: str, one: Sequence[float], spread: Sequence[float]) -> float:
    """Standard deviations of the reference by which a horizon is off, in the direction that matters."""
    far, grows = raw(scale, one)
    far /= math.sqrt(spread[0] + spread[1] * grows)
    return far if direction == "up" else -far if direction == "down" else abs(far)


def change(scale: str, one: Sequence[float], expected: float) -> float:
    """By what share of what it was a horizon's measure is off."""
    off, requests, wanted = one
    if scale == "share":
        return off / wanted - 1.0
    if scale == "log":
        return math.expm1(off / requests)
    return off / requests / max(abs(expected), 1e-9)


def take(state: State, model: Model | None, past: Sequence[Seen]) -> None:
    """Put a new reference into a state."""
    if model is None:
        return
    state["model"] = model
    state.pop("warm", None)
    if not state["raised"]:
        calm(state)
    releases = [(one.release, one.at) for one in past if one.release is not None]
    if releases and state.get("release") is None:
        changes = [at for (before, _), (after, at) in pairwise(releases) if before != after]
        state["release"], state["since"] = releases[-1][0], changes[-1].timestamp() if changes else None


def accept(state: State) -> None:
    """Move the whole reference to what the last windows were."""
    model, sums = state.get("model"), state.get("sums")
    if model is not None and sums is not None and sums[1][1] > 0:
        off, requests, wanted = sums[min(state.get("horizon", 0), 1)]
        if model["scale"] == "share":
            factor = max(off, 0.5) / max(wanted, 0.5)
            model["level"] = [min(0.98, level * factor) for level in model["level"]]
        else:
            model["level"] = [level + off / requests for level in model["level"]]
    state["since"] = None
    calm(state)


def calm(state: State) -> None:
    """Forget what was gathered of the last windows: it was of another time."""
    for name in ("sums", "horizon", "ill", "well"):
        state.pop(name, None)


def _over(state: State, model: Model, one: Sequence[float], well: bool, part: float) -> bool:
    """Whether what was raised is over: the windows that were well since can no longer be such as those that were ill.

    By three standard deviations, and nearer to what is usual. With few requests a window is well now and then by chance alone, and what
    is not over would be raised again and again.
    """
    ill, since = state["ill"], state["well"]
    kept = math.exp(-part / max(HORIZONS[state["horizon"]], HORIZONS[1]))
    new = [had * kept + part * more for had, more in zip(since, one, strict=True)]
    if not well:
        state.update(ill=[had + more for had, more in zip(ill, new, strict=True)], well=[0.0, 0.0, 0.0])
        return False
    state["well"] = new
    spread = model["spread"][1]
    if new[1] <= 0 or ill[1] <= 0:
        return False
    if model["scale"] == "share":
        usual, were, are = new[2], ill[0] / max(ill[2], 1e-9) * new[2], new[0]
        doubt = math.sqrt(max(were, usual) * spread[0] + spread[1] * usual * usual)
    else:
        usual, were, are = 0.0, ill[0] / ill[1], new[0] / new[1]
        doubt = math.sqrt(spread[0] + spread[1] / new[1])
    return bool(abs(were - are) >= 3 * doubt and abs(are - usual) < abs(were - usual) / 2)


def _release(rule: Shift, state: State, seen: Seen) -> bool:
    """Whether what is live is too new to be learned from. A rule by release or prompt compares groups that are one release each."""
    if rule.by in ("release", "prompt") or seen.release is None:
        return False
    now = seen.at.timestamp()
    before = state.get("release")
    if before != seen.release:
        state["release"], state["since"] = seen.release, None if before is None else now
    since = state.get("since")
    return since is not None and 0 <= now - since < PROBATION_HOURS * 3600


def _learn(model: Model, at: datetime, value: float, expected: float, step: float) -> None:
    gain = min(0.05, step / (LEARNED_HOURS * 3600))
    hour = at.astimezone(UTC).hour
    if model["scale"] == "share":
        model["level"][hour] = min(0.98, max(model["level"][hour] * (1.0 + gain * (value / expected - 1.0)), model["floor"]))
    elif model["scale"] == "log":
        model["level"][hour] += gain * math.log(max(value, expected * 1e-3) / expected)
    else:
        model["level"][hour] += gain * (value - expected)


def _warm(rule: Shift, state: State, seen: Seen, value: float) -> None:
    """Gather a first reference from what is seen, and take it anew as it grows."""
    from pipelines.monitoring import reference

    warm: list[list[float]] = state.setdefault("warm", [])
    apart = state.get("apart", 0.0)
    now = seen.at.timestamp()
    if warm and now - warm[-1][0] < apart:
        return
    warm.append([now, value, seen.n])
    if len(warm) % _WARM_STEP:
        return
    past = [Seen(datetime.fromtimestamp(at, UTC), seen.group, value, int(n), seconds=seen.seconds) for at, value, n in warm]
    model = reference.fit(rule, past)
    if model is not None:
        state["model"] = model
    if now - warm[0][0] > _WARM_ENOUGH:
        del state["warm"]
        state.pop("apart", None)
    elif len(warm) >= WARM:
        state["warm"] = warm[::2]
        state["apart"] = max(2 * apart, 1.5 * (warm[-1][0] - warm[0][0]) / len(warm))


def _why(rule: Shift, seen: Seen, expected: float, model: Model, k: int, found: tuple[float, float]) -> str:
    far, by = found
    over = f"the last {HORIZONS[k] * seen.seconds / 60:g} minutes" if k else f"{seen.seconds / 60:g} minutes"
    return (
        f"{rule.measure} is {seen.value:.4g} where {expected:.4g} is usual at this hour: {by:+.0%} over {over}, "
        f"{far:.1f} standard deviations (line {model['line'][k]:.1f})"
    )
