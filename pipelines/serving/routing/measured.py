"""The cascade as the gate asks it: from what both engines wrote for every case, what the routed domain would have answered.

Engines decode greedily, so a case's route follows from what was written, and nothing need be generated again for another threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipelines.evaluation.cases import Asked
from pipelines.serving.answer import LookUp, Parts
from pipelines.serving.asking import Replies, Reply
from pipelines.serving.cells import Cell
from pipelines.serving.exchange import Generated
from pipelines.serving.routing.cascade import holds, stands, up_at_once
from pipelines.serving.routing.small import Small
from pipelines.serving_config import Routing

SMALL = "the smaller base"


def small_cell(cell: Cell, small: Small) -> Cell:
    """The cell that answers with the same index and prompt, and the smaller base."""
    return replace(cell, name=f"{cell.name}, {SMALL}", parts=replace(cell.parts.with_adapter(""), engine=small.engine), adapter_sha256="")


def replies(asked: Sequence[Asked], small: Replies, own: Replies, parts: Parts, routing: Routing, *, turns: bool) -> Replies:
    """By place, the reply of whoever answers; `turns`: whether the smaller base has a chat template.

    Where both were asked the seconds are of both, the search counted twice.
    """
    return {
        one.place: _routed(one.case.question, small.get(one.place), own[one.place], parts, routing, turns)
        for one in asked
        if one.place in own
    }


def rule(question: str, reply: Reply, parts: Parts, routing: Routing, *, turns: bool) -> str | None:
    """Why a case goes up at once, or None. `reply`: anybody's that was shown the same passages."""
    return up_at_once(_found(question, reply), parts, routing, turns=turns)


def answers(question: str, reply: Reply, parts: Parts) -> bool:
    """Whether the smaller base's reply holds against its passages, however sure it is."""
    said = _written(reply)
    return said is not None and holds(_found(question, reply), said, parts)


def _routed(question: str, small: Reply | None, own: Reply, parts: Parts, routing: Routing, turns: bool) -> Reply:
    if small is None or rule(question, small, parts, routing, turns=turns) is not None:
        return own
    said = _written(small)
    if said is not None and stands(_found(question, small), said, parts, routing):
        return small
    if own.answered is None or small.answered is None:
        return own
    return replace(own, answered=replace(own.answered, seconds=own.answered.seconds + small.answered.seconds))


def _found(question: str, reply: Reply) -> LookUp:
    return LookUp(question, tuple(reply.answered.passages) if reply.answered else (), reply.prompt)


def _written(reply: Reply) -> Generated | None:
    """What the model wrote; None where it was not asked, or failed."""
    said = reply.answered
    if said is None or not said.passages:
        return None
    return Generated(said.raw, said.tokens_in, said.tokens_out, said.confidence)
