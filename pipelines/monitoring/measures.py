"""Every figure that a window can hold: what it says, and for those of the traffic log, how it is counted. Made into docs/measures.md.

A measure is of some records and no others: `of` says which. Latency is of answers, never of refusals, which are fast; tokens are of
answers that a model wrote anew. A window without such a record has no value, which is not the value 0.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from pipelines.errors import BadInput
from pipelines.parsing import did_you_mean

Kind = Literal["share", "mean", "count", "quantile", "distance"]
Where = Literal["log", "observed", "derived"]

ALL = "true"
OK = "ok"
"""Answered: status below 400, abstentions too."""
MADE = "made"
"""Answered, and a model wrote something for it: not from a cache, not for want of passages."""
COLUMNS: dict[str, str] = {
    "ok": "coalesce(status < 400, false)",
    "made": 'coalesce(status < 400 and "cache" is null and tokens_out > 0, false)',
    "spent": 'case when "cache" is null then coalesce(tokens_in, 0) + coalesce(tokens_out, 0) else 0 end',
    "injected": "{guard:x.rule = 'injection' and x.\"where\" in ('question', 'messages')}",
    "toxic": "{guard:x.rule in ('toxicity', 'toxic_answers')}",
    "misnumbered": "{guard:x.rule = 'numbers'}",
    "identifying": "{guard:x.rule in ('identifiers', 'canaries') and x.\"where\" = 'answer'}",
}
"""What the expressions below may name beside the fields of `traffic.segments.Record`."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a window. `sql`: of a share the condition that is counted, else the number; `of`: which records count at all."""

    says: str
    unit: str
    kind: Kind
    source: Where
    sql: str = ""
    of: str = ALL
    level: float = 0.0
    """Of a quantile."""
    per_minute: bool = False


def _share(says: str, sql: str, of: str = ALL) -> Measure:
    return Measure(says, "share", "share", "log", sql, of)


def _mean(says: str, unit: str, sql: str, of: str) -> Measure:
    return Measure(says, unit, "mean", "log", sql, of)


def _quantile(says: str, sql: str, level: float) -> Measure:
    return Measure(says, "ms", "quantile", "log", sql, OK, level)


def _seen(says: str, unit: str = "share", kind: Kind = "share") -> Measure:
    return Measure(says, unit, kind, "observed")


MEASURES: dict[str, Measure] = {
    "requests": Measure("Requests of every status.", "requests", "count", "log", "1"),
    "requests_per_minute": Measure("Requests of every status, a minute.", "requests/min", "count", "log", "1", per_minute=True),
    "error_share": _share("Requests that failed on our side: status 500 and above.", "status >= 500"),
    "refused_share": _share(
        "Requests that were refused: status 400 to 499, but not for who asked or what does not exist (401, 403, 404), nor for a caller "
        "who had gone (499).",
        "status between 400 and 499 and status not in (401, 403, 404, 499)",
    ),
    "gone_share": _share("Requests whose caller had gone before the answer: status 499.", "status = 499"),
    "latency_p50": _quantile("Time to the whole answer; half took no longer.", "latency_ms", 0.5),
    "latency_p95": _quantile("Time to the whole answer; 95 % took no longer.", "latency_ms", 0.95),
    "latency_p99": _quantile("Time to the whole answer; 99 % took no longer.", "latency_ms", 0.99),
    "first_p95": _quantile("Time to the first letter of a streamed answer; 95 % took no longer.", "first_ms", 0.95),
    "tokens_in_mean": _mean("Tokens that the model read.", "tokens", "tokens_in", MADE),
    "tokens_out_mean": _mean("Tokens that the model wrote.", "tokens", "tokens_out", MADE),
    "tokens_per_minute": Measure(
        "Tokens read and written a minute; an answer from a cache costs none.", "tokens/min", "count", "log", "spent", per_minute=True
    ),
    "cost_per_request": Measure(
        "Tokens at `cost_per_1000_tokens`, and the group's part, by tokens, of one GPU at `cost_per_gpu_hour`.",
        "currency",
        "mean",
        "log",
        "spent",
    ),
    "cost_per_hour": Measure("The same, an hour.", "currency/h", "count", "log", "spent"),
    "cache_share": _share("Answers that came from a cache.", '"cache" is not null', OK),
    "small_share": _share("Answers of the small model.", "route = 'small'", OK),
    "provider_share": _share("Answers of the provider outside.", "route = 'provider'", OK),
    "abstained_share": _share("Answers that say that nothing states it, or that it may not be shown.", "abstained", OK),
    "withheld_share": _share(
        "Answers whose text or whose passages a guard held back.", "reason in ('answer_withheld', 'passages_withheld')", OK
    ),
    "ungrounded_share": _share(
        "Answers that do not rest on what was shown: not in the passage, a wrong citation, another year, or figures that stand nowhere.",
        "reason in ('not_in_passage', 'bad_citation', 'other_year') or misnumbered",
        OK,
    ),
    "cited_share": _share("Answers that cite a document.", "cited is not null", OK),
    "confidence_mean": _mean("How sure the model was.", "0 to 1", "confidence", MADE),
    "unsure_share": _share(
        "Answers that the model wrote with a confidence below 0.5.", "confidence < 0.5", f"{MADE} and confidence is not null"
    ),
    "top_score_mean": _mean("Score of the best passage found, by the index's own measure.", "score", "top_score", OK),
    "injection_share": _share("Requests whose question tries to give the model orders (guard `injection`).", "injected"),
    "toxic_share": _share("Requests with abuse in the question or the answer (guards `toxicity`, `toxic_answers`).", "toxic"),
    "identifier_share": _share("Requests with an identifier or a canary in the answer (guards `identifiers`, `canaries`).", "identifying"),
    "topic_distance": Measure(
        "Jensen-Shannon distance (base 2) of the topics that are asked about from the reference's; a topic is the section of the cited "
        "document, or else of the first that was found.",
        "0 to 1",
        "distance",
        "derived",
    ),
    "groundedness_mean": _seen("How far sampled answers rest on their passages.", "0 to 1", "mean"),
    "readability_question": _seen("Reading ease of sampled questions.", "score", "mean"),
    "readability_answer": _seen("Reading ease of sampled answers.", "score", "mean"),
    "question_words": _seen("Words of sampled questions.", "words", "mean"),
    "foreign_share": _seen("Sampled questions that are not in the domain's language."),
    "impolite_share": _seen("Sampled answers with a swear word, a slur or a crude word."),
    "inconsistent_share": _seen(
        "Of questions that the same release was asked before as of the same day, those that got another answer: kept answers and probes."
    ),
    "probe_wrong_share": _seen("Golden questions, asked of what is live, that got a wrong answer."),
    "bias_gap": _seen("Difference of right answers between the two sides of paired probes.", "0 to 1", "mean"),
    "judged_mean": _seen("What the judge gave sampled answers.", "0 to 1", "mean"),
    "stale_cited_share": _seen("Answers that cite a document whose text has been replaced."),
    "drift_questions": _seen("Distance of the questions' embeddings from the reference's.", "0 to 1", "distance"),
    "drift_topics": _seen("Distance of the topics from the reference's, over the hours of `drift`.", "0 to 1", "distance"),
    "drift_retrieval": _seen("Distance of the scores of the best passages from the reference's.", "0 to 1", "distance"),
    "drift_answers": _seen("Distance of the answers (length, confidence, reasons) from the reference's.", "0 to 1", "distance"),
    "thumbs_down_share": _seen("Of callers' judgements, up or down, those that are down; quarantined ones count for nothing."),
}
"""By name, in the order in which they are shown."""

LOG = tuple(name for name, one in MEASURES.items() if one.source == "log")
OBSERVED = tuple(name for name, one in MEASURES.items() if one.source == "observed")


def known(names: Collection[str] | None) -> tuple[str, ...]:
    """These measures in the order of `MEASURES`; None: all of them. BadInput for a name that is none, with the nearest one."""
    if names is None:
        return tuple(MEASURES)
    for name in names:
        if name not in MEASURES:
            todo = f"{did_you_mean(name, sorted(MEASURES))} docs/measures.md lists them".strip()
            raise BadInput(f"there is no measure {name!r}", where="monitors", todo=todo)
    return tuple(name for name in MEASURES if name in names)
