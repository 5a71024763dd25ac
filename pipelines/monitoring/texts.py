"""What can be measured of kept questions and answers without a judge: by windows of five minutes and by release. See docs/probes.md.

groundedness_mean     how far answers rest on the passages that were shown, of those that are no abstention (evaluation.groundedness)
readability_question  1 for what six school years suffice to read, 0 for what eighteen do (evaluation.wording); `readability_answer` too
question_words        words of a question
foreign_share         questions that are surely in another language than English; those too short to tell are left out
impolite_share        answers with a swear word, a slur or a crude word in them (evaluation.wording)
inconsistent_share    of answers to what was asked before, of the same release as of the same day: those that say something else

English only, but for `foreign_share`. What no caller asked (probes) does not count, nor what the cache gave again for consistency.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import Any

from pipelines.config import DomainConfig, Settings
from pipelines.evaluation import groundedness, wording
from pipelines.manifest import sha256
from pipelines.monitoring import observations
from pipelines.monitoring.observations import PROBE_KEY, Figure
from pipelines.traffic import samples
from pipelines.traffic.samples import Sample

MARK = "texts"
MEASURES = frozenset(
    {"readability_question", "readability_answer", "question_words", "foreign_share", "groundedness_mean", "impolite_share",
     "inconsistent_share"}
)  # fmt: skip
"""What is measured here."""
WINDOW = timedelta(minutes=5)
SETTLES = timedelta(seconds=30)
"""A sample is written after its answer has gone out: what is younger may still come."""
_MOST = 2_000
"""Samples a run: some 20 ms each, most of it for the language."""
_REMEMBERED = 2_000
"""Questions of which the answer is known, for consistency."""
_SURE = 0.95
_FEW_WORDS, _FEW_LETTERS = 6, 30
"""A text with fewer of both says nothing of its language."""
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_MASK = re.compile(r"\[[A-Z_]+(?:-[0-9a-f]+)?\]")
Values = dict[tuple[datetime, str | None], dict[str, list[float]]]


def read(settings: Settings, domain: DomainConfig, now: datetime, most: int = _MOST) -> dict[str, int]:
    """Measure the kept answers since the last run, the oldest first and at most so many (those of one millisecond stay together).

    {samples, figures, waiting}: read, entered, and left for the next run.
    """
    until = now - SETTLES
    held = observations.state(settings, domain.domain, MARK)
    since = datetime.fromisoformat(held["until"]) if "until" in held else None
    found = [one for one in _kept(settings, domain, since, until)]
    some = _first(found, most)
    if not some:
        return {"samples": 0, "figures": 0, "waiting": 0}
    remembered: dict[str, str] = dict(held.get("answers", {}))
    values = _measure([one for one in some if one.key != PROBE_KEY], remembered)
    figures = [
        Figure(at=at, measure=name, source="text", value=sum(many) / len(many), n=len(many), release=release)
        for (at, release), measures in sorted(values.items(), key=lambda one: (one[0][0], one[0][1] or ""))
        for name, many in sorted(measures.items())
    ]
    with observations.marked(settings, domain.domain, MARK) as (session, state):
        if state.get("until") != held.get("until"):  # another run was faster
            return {"samples": 0, "figures": 0, "waiting": len(found)}
        observations.add(session, domain.domain, figures)
        state["until"] = (some[-1].at + timedelta(milliseconds=1)).isoformat()
        state["answers"] = dict(list(remembered.items())[-_REMEMBERED:])
    return {"samples": len(some), "figures": len(figures), "waiting": len(found) - len(some)}


def foreign(text: str) -> bool | None:
    """Whether a text is in another language than English; None where it is too short, or nothing is sure."""
    plain = _MASK.sub(" ", text)
    words = _WORD.findall(plain)
    if len(words) < _FEW_WORDS and sum(map(len, words)) < _FEW_LETTERS:
        return None
    detector = _languages().create()
    from langdetect.lang_detect_exception import LangDetectException  # type: ignore[import-untyped]

    try:
        detector.append(plain)
        likely = detector.get_probabilities()
    except LangDetectException:
        return None
    if not likely or likely[0].prob < _SURE:
        return None
    return bool(likely[0].lang != "en")


def window_of(at: datetime) -> datetime:
    """The end of the five minutes that a moment is in."""
    seconds = int(WINDOW.total_seconds())
    return datetime.fromtimestamp((int(at.timestamp()) // seconds + 1) * seconds, UTC)


def _kept(settings: Settings, domain: DomainConfig, since: datetime | None, until: datetime) -> Iterator[Sample]:
    return samples.read(settings, domain.domain, since, until)


def _first(found: list[Sample], most: int) -> list[Sample]:
    some: list[Sample] = []
    for _, same in groupby(found, key=lambda one: one.at):
        together = list(same)
        if some and len(some) + len(together) > most:
            break
        some += together
    return some


def _measure(some: list[Sample], remembered: dict[str, str]) -> Values:
    """(window's end, release) -> measure -> values."""
    values: Values = defaultdict(lambda: defaultdict(list))
    for one in some:
        here = values[window_of(one.at), one.release]
        here["readability_question"].append(wording.readability(one.question))
        here["question_words"].append(float(len(one.question.split())))
        if (other := foreign(one.question)) is not None:
            here["foreign_share"].append(float(other))
        said = one.span or one.answer
        if not one.abstained:
            here["groundedness_mean"].append(groundedness.groundedness(said, [passage.text for passage in one.passages]))
            here["readability_answer"].append(wording.readability(said))
        here["impolite_share"].append(1.0 - wording.polite(said))
        if one.cache is None:
            asked = sha256([one.question, one.release, one.as_of])[:16]
            answered = sha256(None if one.abstained else said)[:16]
            if (before := remembered.pop(asked, None)) is not None:
                here["inconsistent_share"].append(float(before != answered))
            remembered[asked] = answered
    return values


@lru_cache(maxsize=1)
def _languages() -> Any:
    """Its profiles take half a second to load. The seed is fixed: without one it draws lots, and one text has two languages."""
    import langdetect.detector_factory as factory  # type: ignore[import-untyped]

    factory.DetectorFactory.seed = 0
    factory.init_factory()
    return factory._factory
