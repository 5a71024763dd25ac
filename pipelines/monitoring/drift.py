"""Whether the last hours differ from the weeks before: in what is asked, in what is found, in what is answered.

Four tests, each a distance with a p-value (`differences.py`): questions by their embeddings, topics, scores of the best passage, and
answers (length, confidence, reasons). A figure is written for each: the distance where there is a drift, 0 where there is none, so that a
threshold rule on it alarms as seldom as is said here. A drift is

- beyond chance: by Holm's procedure over the tests, at most one in `drift.quiet_days`, were there a look an hour and each a new sample
  (looks share most of theirs, so in truth it is rarer);
- not smaller than `drift.least`, for a difference that is sure need not matter;
- greater than what any day of the reference time differed by from its other days: traffic is never one distribution (weekdays, campaigns).

And without a test, the share of answers that cite what the newest dataset version has other text for.

Does not cover why. A release changes answers too: the incident's cause names it. Scores of another release's index are not comparable: only
the reference of the releases that answered in the last hours counts for them.
"""

# ruff: noqa: S608 -- no part of a query comes from outside: names and expressions are this module's.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.config import DomainConfig, Settings
from pipelines.monitoring import differences, observations, topics
from pipelines.monitoring.differences import Difference
from pipelines.monitoring.observations import PROBE_KEY, Figure

MARK = "drift"
LOOKS_A_DAY = 24
MOST = {"now": 400, "before": 1000, "numbers": 5000}
"""Answers that a test looks at: questions of the last hours and of the reference, whose vectors cost 10 ms each; and figures of either."""
CACHE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """One test's outcome: the difference, and the greatest of the reference's days from its other days."""

    difference: Difference
    usual: float
    parts: Mapping[str, float]


def look(settings: Settings, domain: DomainConfig, now: datetime) -> dict[str, Any]:
    """Write `figures`; returns each one's value. The same moment adds nothing twice. Blocking, for some seconds."""
    found = figures(settings, domain, now)
    with observations.marked(settings, domain.domain, MARK) as (session, state):
        if state.get("at") == now.isoformat():
            return {"figures": 0}
        observations.add(session, domain.domain, found)
        state["at"] = now.isoformat()
    return {"figures": len(found), **{one.measure: round(one.value, 4) for one in found}}


def figures(settings: Settings, domain: DomainConfig, now: datetime) -> list[Figure]:
    """What is to be written of the `drift.hours` up to now. No figure where either sample has fewer than `drift.min_samples`."""
    from pipelines.monitoring.history import history

    rule = domain.monitors.drift
    begin = now - timedelta(hours=rule.hours)
    source = history(settings, domain.domain, begin - timedelta(days=rule.reference_days), now)
    try:
        log = _Log(source, begin, rule.min_samples)
        tests = {
            "drift_questions": _questions(settings, domain, begin, now),
            "drift_topics": log.kinds(
                f"regexp_extract({topics.DOCUMENT}, '{topics.TOPIC}')", f"regexp_matches({topics.DOCUMENT}, '{topics.TOPIC}')"
            ),
            "drift_retrieval": log.numbers("top_score", 'release IN (SELECT release FROM {records} WHERE "at" >= $begin AND {ours})'),
            "drift_answers": _joined(
                {
                    "length": log.numbers("tokens_out", 'tokens_out > 0 AND "cache" IS NULL'),
                    "confidence": log.numbers("confidence", '"cache" IS NULL'),
                    "reasons": log.kinds("coalesce(reason, 'none')", "true"),
                }
            ),
        }
        stale = _stale(settings, domain, log, now)
    finally:
        source.close()
    made = {name: one for name, one in tests.items() if one is not None}
    rate = 1.0 / (rule.quiet_days * LOOKS_A_DAY)
    sure = differences.holm({name: one.difference.p for name, one in made.items()}, rate)
    rows = [_figure(now, name, one, name in sure, rule.least) for name, one in made.items()]
    return rows + ([stale] if stale is not None else [])


def _figure(now: datetime, name: str, found: Found, sure: bool, least: float) -> Figure:
    one = found.difference
    drifted = sure and one.distance >= least and one.distance > found.usual
    detail = {
        "distance": round(one.distance, 4), "p": float(f"{one.p:.3g}"), "reference": one.reference, "usual": round(found.usual, 4),
        "beyond_chance": sure, "drifted": drifted, **{f"of_{part}": round(value, 4) for part, value in found.parts.items()},
    }  # fmt: skip
    return Figure(now, name, "drift", one.distance if drifted else 0.0, one.n, detail=detail)


def _joined(parts: Mapping[str, Found | None]) -> Found | None:
    """Several tests as one: the least p-value times their number, the distance that has it."""
    made = {name: one for name, one in parts.items() if one is not None}
    if not made:
        return None
    name = min(made, key=lambda name: (made[name].difference.p, -made[name].difference.distance))
    one = made[name].difference
    joined = Difference(one.distance, min(1.0, one.p * len(made)), one.n, one.reference)
    return Found(joined, made[name].usual, {part: found.difference.distance for part, found in made.items()})


# --- the traffic log --------------------------------------------------------------------------------------------------


class _Log:
    """Answers of the last hours and of the time before them."""

    OURS = f"NOT coalesce(shadow, false) AND status < 400 AND coalesce(key, '') <> '{PROBE_KEY}'"

    def __init__(self, source: Any, begin: datetime, least: int) -> None:
        from pipelines.monitoring.source import moment

        self._source, self._begin, self._least = source, moment(begin), least

    def rows(self, what: str, where: str, tail: str = "") -> list[tuple[Any, ...]]:
        """Rows of a query over our answers; `what` may use `late` (whether it is of the last hours) and `day`."""
        inside = where.replace("{ours}", self.OURS).replace("$begin", self._begin)
        dated = f'SELECT *, "at" >= {self._begin} AS late, cast("at" AS DATE) AS day FROM {{records}}'
        query = f"SELECT {what} FROM ({dated} WHERE {self.OURS} AND {inside}) {tail}"
        table = self._source.arrow(query)
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def kinds(self, kind: str, where: str) -> Found | None:
        """Of a column's kinds."""
        now: dict[str, int] = {}
        days: dict[Any, dict[str, int]] = {}
        for late, day, name, count in self.rows(f"late, day, {kind} AS kind, count(*) AS n", where, "GROUP BY ALL ORDER BY ALL"):
            (now if late else days.setdefault(day, {}))[name] = count
        before = _total(days.values())
        if min(sum(now.values()), sum(before.values())) < self._least:
            return None

        def apart(day: Any) -> float:
            rest = {name: before[name] - days[day].get(name, 0) for name in before}
            return differences.of_kinds(days[day], {name: count for name, count in rest.items() if count}).distance

        whole = [day for day, counts in days.items() if sum(counts.values()) >= self._least]
        return Found(differences.of_kinds(now, before), _usual(apart, whole), {})

    def numbers(self, column: str, where: str) -> Found | None:
        """Of a column's values, at most `MOST` of them, the same in every look."""
        some = f"{column} IS NOT NULL AND {where}"
        found = self.rows(
            f"late, day, cast({column} AS DOUBLE) AS value", some,
            f"QUALIFY row_number() OVER (PARTITION BY late ORDER BY hash(request_id), \"at\") <= {MOST['numbers']}",
        )  # fmt: skip
        now = [value for late, _, value in found if late]
        days: dict[Any, list[float]] = {}
        for late, day, value in found:
            if not late:
                days.setdefault(day, []).append(value)
        before = [value for values in days.values() for value in values]
        if min(len(now), len(before)) < self._least:
            return None

        def apart(day: Any) -> float:
            return differences.of_numbers(days[day], [value for other, values in days.items() if other != day for value in values]).distance

        whole = [day for day, values in days.items() if len(values) >= self._least]
        return Found(differences.of_numbers(now, before), _usual(apart, whole), {})


def _total(counts: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            found[name] = found.get(name, 0) + count
    return found


def _usual(apart: Callable[[Any], float], days: Sequence[Any]) -> float:
    """The greatest difference of one day from the others; 0 where there are too few days to say."""
    return max(map(apart, days)) if len(days) >= 3 else 0.0


# --- what is asked ----------------------------------------------------------------------------------------------------


def _questions(settings: Settings, domain: DomainConfig, begin: datetime, now: datetime) -> Found | None:
    """Of kept questions' embeddings. Vectors are kept on disk of public domains only: a vector tells of its text."""
    import numpy as np

    from pipelines.retrieval.embed import embed_cached

    rule = domain.monitors.drift
    late, early = (
        _asked(settings, domain, begin, now, MOST["now"]),
        _asked(settings, domain, begin - timedelta(days=rule.reference_days), begin, MOST["before"]),
    )
    if min(len(late), len(early)) < rule.min_samples:
        return None
    folder = settings.var / "cache" / "embeddings" / "questions" if domain.privacy.profile == "public" else None
    if folder is not None:
        for path in folder.glob("*.sqlite"):
            if path.stat().st_size > CACHE_BYTES:
                path.unlink(missing_ok=True)
    texts = {_sha256(text): text for _, text in (*late, *early)}
    vectors, _ = embed_cached(domain.retrieval.embedder, texts, folder)
    stacked = [np.stack([vectors[_sha256(text)] for _, text in some]) for some in (late, early)]
    days = np.array([at.astimezone(UTC).date().toordinal() for at, _ in early])
    before = differences.distances(stacked[1])

    def apart(day: Any) -> float:
        return differences.energy(before, days == day)

    # Of an evenly drawn reference a day has a part of the samples only.
    whole = [day for day in sorted(set(days.tolist())) if int((days == day).sum()) >= max(10, rule.min_samples // 4)]
    return Found(differences.of_vectors(stacked[0], stacked[1]), _usual(apart, whole), {})


def _asked(settings: Settings, domain: DomainConfig, since: datetime, until: datetime, most: int) -> list[tuple[datetime, str]]:
    """At most so many kept questions: those whose request's id has the least hash, so that looks share their samples, and vectors."""
    import heapq

    from pipelines.traffic import samples

    kept = (
        (_sha256(one.request_id), one.at, one.question)
        for one in samples.read(settings, domain.domain, since, until)
        if one.key != PROBE_KEY
    )
    return [(at, question) for _, at, question in heapq.nsmallest(most, kept)]


def _sha256(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


# --- what is cited ----------------------------------------------------------------------------------------------------


def _stale(settings: Settings, domain: DomainConfig, log: _Log, now: datetime) -> Figure | None:
    """Share of citing answers of the last hours whose document has other text, on the day asked for, in the newest dataset version."""
    changed = _changed(settings, domain.domain)
    if changed is None:
        return None
    day = now.astimezone(UTC).date().isoformat()
    rows = log.rows(
        "cited, coalesce(as_of, $day) AS asked, count(*) AS n".replace("$day", f"'{day}'"),
        "cited IS NOT NULL",
        "WHERE late GROUP BY ALL ORDER BY ALL",
    )
    cited = sum(count for *_, count in rows)
    if cited < domain.monitors.drift.min_samples:
        return None
    stale = [(key, count) for key, asked, count in rows if any(one[0] <= asked < one[1] for one in changed.get(key, ()))]
    total = sum(count for _, count in stale)
    return Figure(
        now, "stale_cited_share", "drift", total / cited, cited, detail={"keys": len({key for key, _ in stale}), "answers": total}
    )


def _changed(settings: Settings, domain: str) -> dict[str, list[tuple[str, str]]] | None:
    """Days (from, until) for which a key's text is another than the live index has; None before the first release."""
    from sqlalchemy import select

    from pipelines.corpus import warehouse
    from pipelines.state.database import reading
    from pipelines.state.models import Candidate, DatasetVersion, Pointer

    with reading(settings) as session:
        pointer = session.get(Pointer, domain)
        live = session.get(Candidate, pointer.live_id) if pointer is not None and pointer.live_id else None
        newest = session.scalar(
            select(DatasetVersion.id)
            .where(DatasetVersion.domain == domain)
            .order_by(DatasetVersion.major.desc(), DatasetVersion.minor.desc())
        )
    if live is None or newest is None:
        return None
    if newest == live.version_id:
        return {}
    gone, come = warehouse.changed_rows(settings, domain, live.version_id, newest)
    had = {(row.key, row.content, row.withdrawn, row.valid_from, row.valid_to) for row in gone}
    held: dict[str, list[tuple[str, str, str]]] = {}
    for row in gone:
        if not row.withdrawn:
            held.setdefault(row.key, []).append((row.content, row.valid_from, row.valid_to))
    found: dict[str, list[tuple[str, str]]] = {}
    for row in come:
        if (row.key, row.content, row.withdrawn, row.valid_from, row.valid_to) in had:
            continue
        for content, begins, ends in held.get(row.key, ()):
            days = (max(begins, row.valid_from), min(ends, row.valid_to))
            if days[0] < days[1] and (row.withdrawn or content != row.content):
                found.setdefault(row.key, []).append(days)
    return found
