"""Free text scored by a language model behind any OpenAI-compatible endpoint, with RAGAS's metrics.

A judge may be away, wrong or beside itself, and none of that may look like a score: such a score is None, and a problem says why.
docs/judge.md explains it to those who run one.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, FiniteFloat, ValidationError

from pipelines.errors import ConfigError, RatchetError
from pipelines.evaluation import judge_cache
from pipelines.evaluation.cases import Scored
from pipelines.evaluation.judge_calls import SETTINGS, CallFailed, Calls, Stop, refused
from pipelines.evaluation.judge_metrics import EMBEDDER_SHA256, NEEDS, Measure, measure
from pipelines.gate_config import Judge
from pipelines.manifest import sha256

_AT_ONCE = 4
_GIVE_UP_AFTER = 8
"""Failures in a row, each after its three tries. A dead endpoint costs the night 8 x 3 time-outs, four at a time, not one for each case."""
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class JudgedInput:
    """One answer, the passages that the model was shown, and the expected answer."""

    question: str
    answer: str
    contexts: tuple[str, ...]
    reference: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What the judge gave, and what it cost."""

    scores: dict[str, Scored]
    """By given key."""
    problems: list[str]
    """Each makes the gate inconclusive."""
    facts: dict[str, Any]
    """model, served (names in the answers), calls, cached (scores), retried (calls), tokens_in, tokens_out, unmetered (calls without a
    usage, charged at the most they could cost), cost, spread (largest mean difference of a metric's repeats, or None), seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One score of one input; `repeat` 0 counts, the others show whether the judge agrees with itself."""

    place: int
    key: str
    metric: str
    repeat: int
    given: dict[str, Any]
    hash: str


@dataclass(slots=True)
class _Round:
    """What became of the jobs."""

    values: dict[str, float] = field(default_factory=dict)
    """By a job's hash."""
    marks: set[str] = field(default_factory=set)
    """Of the models that answered, see `_mark`."""
    failed: dict[str, list[tuple[_Job, str]]] = field(default_factory=dict)
    """By what the judge did."""
    in_row: int = 0
    stop: str = ""
    """Why nothing more is asked."""
    lost: str = ""
    """Why scores could not be kept."""


def score(judge: Judge, inputs: Sequence[tuple[str, JudgedInput]], cache: Path, environ: Mapping[str, str] | None = None) -> Judged:
    """Every metric of the judge for every input, by key, in [0, 1]; None where it gave none. A metric that does not apply is left out.

    Asks only what `cache`, a folder, does not know. The first `repeated_cases` inputs are asked `repeats` times; the first time counts.
    Whatever goes wrong is in `problems`; nothing is raised.
    """
    started = time.perf_counter()
    jobs = list(_jobs(judge, inputs))
    problems = [f"the judge was given {key!r} more than once" for key, times in Counter(key for key, _ in inputs).items() if times > 1]
    done = _Round()
    facts: dict[str, Any] = {"calls": 0, "retried": 0, "tokens_in": 0, "tokens_out": 0, "unmetered": 0, "cost": 0.0, "served": []}
    try:
        _recall(cache, jobs, done)
        facts["cached"] = len(done.values)
        # Releases that give one answer are judged once.
        unknown = {job.hash: job for job in jobs if job.hash not in done.values}
        if unknown:
            facts |= asyncio.run(_ask(judge, list(unknown.values()), cache, os.environ if environ is None else environ, done))
    except RatchetError as error:
        problems.append(str(error))
    except Exception as error:
        problems.append(f"the judge could not be asked: {_place(error)}")
    spread = _spread(jobs, done.values)
    total = len({job.hash for job in jobs})
    problems += [*_failures(total, done), *_contradictions(judge, spread), *_moved(judge, done, facts["served"])]
    scores: dict[str, Scored] = {key: {} for key, _ in inputs}
    for job in jobs:
        if job.repeat == 0:
            scores[job.key][job.metric] = done.values.get(job.hash)
    facts = {"model": judge.model, "cached": 0, **facts, "spread": max(spread.values(), default=None)}
    return Judged(scores, problems, {**facts, "seconds": time.perf_counter() - started})


def may_vote(judge: Judge, configs: Path) -> tuple[bool, str]:
    """Whether the judge's scores may decide, and on which figures; or why not, in words. `judge.calibration` is relative to `configs`.

    It may when people's ratings were met: for each of its metrics the lower end of the AUC's interval reaches `min_auc`.
    """
    if judge.calibration is None:
        return False, "the judge was never calibrated: run `ratchet calibrate` and name its file in gate.judge.calibration"
    try:
        found = _Calibration.model_validate_json((configs / judge.calibration).read_bytes())
    except OSError as error:
        return False, f"the judge's calibration {judge.calibration} cannot be read: {error.strerror}"
    except ValidationError as error:
        first = error.errors()[0]
        return False, f"the judge's calibration {judge.calibration} is none: {'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
    if found.judge is None or found.judge.model != judge.model:
        of = "no judge" if found.judge is None else repr(found.judge.model)
        return False, f"the calibration {judge.calibration} is of {of}, not of {judge.model!r}"
    if lacking := [name for name in judge.metrics if name not in found.metrics]:
        return False, f"the calibration {judge.calibration} says nothing of {', '.join(lacking)}"
    lows = {name: found.metrics[name].auc.low for name in judge.metrics}
    if below := {name: low for name, low in lows.items() if low is None or low < judge.min_auc}:
        said = ", ".join(f"{name} {'has none' if low is None else f'{low:.3f}'}" for name, low in below.items())
        return False, f"the judge agrees too little with people: lower end of the AUC: {said}; {judge.min_auc:.3f} is needed"
    return True, f"calibrated on {found.cases} cases, lower end of the AUC: {', '.join(f'{name} {low:.3f}' for name, low in lows.items())}"


class _Interval(BaseModel):
    low: FiniteFloat | None


class _Agreement(BaseModel):
    auc: _Interval


class _Model(BaseModel):
    model: str


class _Calibration(BaseModel):
    """Of the file, what the vote needs; people find more in it."""

    cases: int
    judge: _Model | None
    metrics: dict[str, _Agreement]


def _jobs(judge: Judge, inputs: Sequence[tuple[str, JudgedInput]]) -> Iterator[_Job]:
    common = {"url": judge.url, "model": judge.model, "ragas": version("ragas"), "settings": SETTINGS, "embedder": EMBEDDER_SHA256}
    for place, (key, one) in enumerate(inputs):
        for metric in judge.metrics:
            given = {name: getattr(one, name) for name in NEEDS[metric]}
            if not all("".join(value).strip() for value in given.values()):
                continue
            for repeat in range(judge.repeats if place < judge.repeated_cases else 1):
                yield _Job(place, key, metric, repeat, given, sha256({**common, "metric": metric, "given": given, "repeat": repeat}))


def _recall(cache: Path, jobs: list[_Job], done: _Round) -> None:
    """Fill `done` with what the cache knows. ConfigError when it cannot be used."""
    try:
        known = judge_cache.read(cache, list({job.hash for job in jobs}))
    except (sqlite3.Error, OSError) as error:
        todo = f"move {judge_cache.FILE} away"
        raise ConfigError(f"the judge's earlier scores cannot be read: {error}", where=str(cache), todo=todo) from None
    for key, (value, mark) in known.items():
        if (share := _share(value)) is not None:
            done.values[key] = share
            done.marks.add(mark)


async def _ask(judge: Judge, jobs: list[_Job], cache: Path, environ: Mapping[str, str], done: _Round) -> dict[str, Any]:
    """Fill `done`, and say what that took. ConfigError where nothing may be asked."""
    if problem := refused(judge):
        raise problem
    key = environ.get(judge.api_key_env or "", "").strip()
    if judge.api_key_env and not key:
        raise ConfigError(f"{judge.api_key_env} is not set", where="gate.judge.api_key_env", todo="put the judge's key into it")
    measured = measure(judge.metrics)
    waiting = iter(jobs)
    async with Calls(judge, key) as calls:

        async def work() -> None:
            for job in waiting:
                await _one(measured, job, calls, done)
                if job.hash in done.values:
                    _keep(cache, job, calls, done)
                if done.stop:
                    return

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
        done.marks |= {_mark(name) for name in calls.served}
        took = {name: getattr(calls, name) for name in ("calls", "retried", "tokens_in", "tokens_out", "unmetered", "cost")}
        return {**took, "served": sorted(calls.served)}


async def _one(measured: Measure, job: _Job, calls: Calls, done: _Round) -> None:
    """Ask for one score, and write down what came of it."""
    try:
        value = await measured(job.metric, job.given, calls)
    except Stop as stop:
        done.stop = done.stop or _sentence(stop.what, stop.detail)
        return
    except CallFailed as failed:
        what, detail = failed.what, failed.detail
    except Exception as error:
        what, detail = "could not be asked", _place(error)
    else:
        if (share := _share(value)) is not None:
            done.values[job.hash] = share
            done.in_row = 0
            return
        what, detail = "gave no score from 0 to 1", repr(value)
    done.failed.setdefault(what, []).append((job, detail))
    done.in_row += 1
    if done.in_row >= _GIVE_UP_AFTER:
        done.stop = done.stop or f"failed {done.in_row} times in a row"


def _keep(cache: Path, job: _Job, calls: Calls, done: _Round) -> None:
    if done.lost:
        return
    try:
        judge_cache.keep(cache, job.hash, done.values[job.hash], _mark(max(calls.served, default="")))
    except sqlite3.Error as error:
        done.lost = str(error)


def _mark(name: str) -> str:
    """Stands for a model's name in the cache, which holds no text that came from elsewhere."""
    return sha256(name)[:16]


def _share(value: Any) -> float | None:
    """A number in [0, 1], rounding forgiven; or None."""
    if not isinstance(value, int | float) or not -_ROUNDING <= value <= 1 + _ROUNDING:
        return None
    return min(1.0, max(0.0, float(value)))


def _place(error: Exception) -> str:
    """Kind and line alone: what a library's error says may hold text of the cases, or the key."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"


def _sentence(what: str, detail: str) -> str:
    return f"{what}: {detail}" if detail else what


def _failures(total: int, done: _Round) -> Iterator[str]:
    for what, failed in done.failed.items():
        job, detail = min(failed, key=lambda one: one[0].place)
        yield _sentence(f"the judge {what} ({len(failed)} of {total} scores, first {job.metric} of {job.key!r})", detail)
    if done.stop:
        missing = total - len(done.values) - sum(map(len, done.failed.values()))
        yield f"the judge {done.stop}; {missing} of {total} scores were not asked for, or not to the end"
    if done.lost:
        yield f"the judge's scores could not be kept for the next time: {done.lost}"


def _spread(jobs: list[_Job], values: dict[str, float]) -> dict[str, float]:
    """By metric, the mean over the repeated inputs of the largest less the smallest value."""
    repeats: dict[tuple[str, str], list[float]] = {}
    for job in jobs:
        if job.hash in values:
            repeats.setdefault((job.metric, job.key), []).append(values[job.hash])
    spans: dict[str, list[float]] = {}
    for (metric, _), found in repeats.items():
        if len(found) > 1:
            spans.setdefault(metric, []).append(max(found) - min(found))
    return {metric: sum(found) / len(found) for metric, found in spans.items()}


def _contradictions(judge: Judge, spread: dict[str, float]) -> Iterator[str]:
    for metric, mean in spread.items():
        if mean > judge.max_spread + _ROUNDING:
            yield f"the judge contradicts itself: {metric} of one answer differs by {mean:.3f} on average, more than {judge.max_spread:.3f}"


def _moved(judge: Judge, done: _Round, served: list[str]) -> Iterator[str]:
    if len(done.marks) > 1:
        now = f" (now {', '.join(served)})" if served else ""
        yield f"several models answered under the name {judge.model!r}{now}, today or for earlier scores: pin one that cannot move"
