"""Asks the cases of every cell of the matrix, from one cached set of generations, along the path that serves.

Cells that render the same prompt for the same model share its text.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.errors import RatchetError
from pipelines.evaluation.cases import Answered, Asked, Case, Row, Scored
from pipelines.retrieval.index import Passage
from pipelines.serving.answer import LookUp, Parts, conclude, shown
from pipelines.serving.cells import Cell
from pipelines.serving.generations import Generations, Generator, Written

if TYPE_CHECKING:
    from pipelines.training.prompt import Prompt

FAR_FUTURE = "9999-12-31"
NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a cell gave for a case, the prompt that it was asked with, and why there is no answer, where there is none."""

    prompt: str
    answered: Answered | None
    error: str | None = None


Replies = dict[tuple[str, str, str], Reply]
"""By `Asked.place`."""


def ask(cells: Sequence[Cell], asked: Sequence[Asked], generations: Generations, engines: Mapping[str, Generator]) -> dict[str, Replies]:
    """cell name -> replies. `engines` by engine name. Unavailable when a server is gone; anything else ends as one case's error."""
    replies: dict[str, Replies] = {}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="search") as pool:
        searches = _searches(cells, asked, pool)
        # What needs no search is generated while the index is searched for the others.
        for cell in sorted(cells, key=lambda one: one.retrieve):
            here = {one.place: (one, *_look_up(one, cell, searches)) for one in asked if cell.asks(one)}
            prompts = [found.prompt for _, found, _ in here.values() if isinstance(found, LookUp) and found.prompt]
            texts = generations.write(cell.model, prompts, engines[cell.parts.engine])
            replies[cell.name] = {place: _reply(one, found, seconds, texts, cell) for place, (one, found, seconds) in here.items()}
    return {cell.name: replies[cell.name] for cell in cells}


Searched = tuple[tuple[Passage, ...], float]
"""Passages, and the seconds that finding them took."""
Searches = dict[tuple[int, str, str, int], "Future[Searched]"]
"""By index, question, day and number of passages: cells that share an index search it once."""


def _searches(cells: Sequence[Cell], asked: Sequence[Asked], pool: ThreadPoolExecutor) -> Searches:
    found: Searches = {}
    for cell in cells:
        for one in asked:
            key = _key(one, cell)
            if cell.retrieve and not one.case.passages and cell.asks(one) and key not in found:
                found[key] = pool.submit(_search, one.case.question, one.as_of, cell.parts)
    return found


def _key(one: Asked, cell: Cell) -> tuple[int, str, str, int]:
    return id(cell.parts.index), one.case.question, one.as_of, cell.parts.passages


def _search(question: str, as_of: str, parts: Parts) -> Searched:
    began = time.perf_counter()
    found = parts.index.search(question, as_of=as_of, k=parts.passages, roles=parts.index.every_role)
    return tuple(found), time.perf_counter() - began


def _look_up(one: Asked, cell: Cell, searches: Searches) -> tuple[LookUp | str, float]:
    """The passages and the prompt of one case, or why there are none; and the seconds that the search took."""
    case, prompt = one.case, cell.parts.prompt
    try:
        if case.passages:
            return shown(case.question, tuple(_given(number, text) for number, text in enumerate(case.passages, 1)), prompt), 0.0
        if not cell.retrieve:
            return LookUp(case.question, (), prompt.render([], case.question)), 0.0
        passages, seconds = searches[_key(one, cell)].result()
        return shown(case.question, passages, prompt), seconds
    except RatchetError as error:
        return str(error), 0.0
    except Exception as error:  # whatever broke, the gate must end in a verdict
        return f"{type(error).__name__}: {error}", 0.0


def _given(number: int, text: str) -> Passage:
    return Passage(f"given-{number}", "", text, f"passage {number}", "0001-01-01", FAR_FUTURE, 0.0)


def _reply(one: Asked, found: LookUp | str, seconds: float, texts: Mapping[str, Written | str], cell: Cell) -> Reply:
    if isinstance(found, str):
        return Reply("", None, found)
    written = texts.get(found.prompt) if found.prompt else None
    if isinstance(written, str):
        return Reply(found.prompt, None, written)
    generated = written.generated if written else None
    raw = generated.text if generated else ""
    tokens = (generated.tokens_in, generated.tokens_out) if generated else (0, 0)
    took = seconds + (written.seconds if written else 0.0)
    if not cell.retrieve:
        said = _from_memory(raw)
        answered = Answered(said, None, "", [], said is None, took, raw, True, generated.confidence if generated else 0.0, None, *tokens)
        return Reply(found.prompt, answered)
    checked = conclude(found, generated, one.as_of, cell.parts, took)
    cited = checked.cited
    answered = Answered(
        answer=checked.answer,
        cited_key=cited.key if cited else None,
        cited_text=cited.text if cited else "",
        passages=list(checked.passages),
        abstained=checked.abstained,
        seconds=took,
        raw=raw,
        well_formed=generated is None or well_formed(raw, cell.parts.prompt, len(found.passages)),
        confidence=checked.confidence,
        reason=checked.reason,
        tokens_in=checked.tokens_in,
        tokens_out=checked.tokens_out,
    )
    return Reply(found.prompt, answered)


def _from_memory(raw: str) -> str | None:
    """What a model says that was shown nothing: its first line, without the citation that it can only invent."""
    said = raw.strip().splitlines()[0].partition(" [")[0].strip() if raw.strip() else ""
    return said if said and said.casefold() != NOT_STATED else None


def well_formed(raw: str, prompt: Prompt, passages: int) -> bool:
    """Whether the model said `answer [n]` with a number that there is, or that nothing states it."""
    if raw.strip() == NOT_STATED:
        return True
    cited = prompt.parse(raw).cited
    return cited is not None and 1 <= cited <= passages


def rows(asked: Sequence[Asked], replies: Replies) -> list[Row]:
    """One row per case that was put to the cell, scored."""
    from pipelines.evaluation import metrics

    mine = [(one, replies[one.place]) for one in asked if one.place in replies]
    pairs = [(one.case, reply.answered) for one, reply in mine if reply.answered is not None]
    scored = iter(metrics.score(pairs))
    return [_row(one, reply, next(scored) if reply.answered is not None else {}) for one, reply in mine]


def _row(one: Asked, reply: Reply, scores: Scored) -> Row:
    known = reply.answered or Answered(None, None, "", [], True, 0.0)
    return Row(
        suite=one.suite,
        case=one.case.id,
        as_of=one.as_of,
        group=one.group,
        type=one.type,
        question=one.case.question,
        expected=expected(one.case),
        expected_at=one.case.cites or one.case.quote,
        answer=known.answer,
        cited_key=known.cited_key,
        cited_text=known.cited_text,
        retrieved=[passage.key for passage in known.passages],
        abstained=known.abstained,
        seconds=round(known.seconds, 4),
        error=reply.error,
        scores=scores,
    )


def expected(case: Case) -> str:
    """What a case wants, in words."""
    if case.expect == "answer":
        return case.answer
    if case.expect == "abstain":
        return NOT_STATED
    return f"anything but: {', '.join(case.forbidden)}"
