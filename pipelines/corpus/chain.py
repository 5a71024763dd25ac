"""Replays a source's own amendment chain: whole texts and the notices that change them, in the order the source gives them.

Every source document names the one it amends. The state after each link is the state before it with the link's changes; what is in
force on a day is the state after the last link, in the chain's order, whose date has come. So a notice that takes effect before the one
it amends carries that one's changes into force with it, and the one it overtook never stands alone. The result is a function of the set
of known documents: any order of arrival ends in the same rows. A link whose base has not come waits, and so does all that rests on it.

Does not cover two notices that amend the same document side by side: the one with the lower number is taken to come first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pipelines.corpus.documents import FOREVER, Document, content_of


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """One source document's say on one part of the law."""

    part: str
    """First segment of its paragraphs' labels: `1013`."""
    number: str
    """Document number: `2013-28194`."""
    effective: str
    """ISO date. Two documents may share a number and differ in this."""
    amends: str = ""
    """Number of the document it changes, with `@date` where the source says which of several; empty for a whole text."""

    def fits(self, base: str) -> bool:
        """Whether this is the document that `base` names."""
        number, _, day = base.partition("@")
        return self.number == number and day in ("", self.effective)


@dataclass(frozen=True, slots=True)
class Step:
    """A link with what it states."""

    link: Link
    documents: tuple[Document, ...]
    """Texts, and withdrawals of single keys."""
    subtrees: frozenset[str] = frozenset()
    """Keys whose whole subtree it replaces: what lies below and is not delivered with it is repealed."""
    headless: frozenset[str] = frozenset()
    """Keys whose content alone it changes: they keep the heading they have."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The rows of every part, past, present and future, and the links that wait for their base."""

    documents: list[Document]
    waiting: list[Link]


State = dict[str, Document]


def replay(steps: Iterable[Step]) -> Replayed:
    """All parts, each by itself. Of two steps for one link (a notice and the whole text after it) the whole text is taken."""
    parts: dict[str, dict[Link, Step]] = {}
    for step in steps:
        parts.setdefault(step.link.part, {})[step.link] = step
    documents: list[Document] = []
    waiting: list[Link] = []
    for name in sorted(parts):
        ordered, left = _ordered(list(parts[name].values()))
        documents += _rows(ordered)
        waiting += [step.link for step in left]
    return Replayed(documents, sorted(waiting))


def _ordered(steps: list[Step]) -> tuple[list[Step], list[Step]]:
    """Steps with their bases before them, by number where the source leaves it open; and those that wait."""
    named = {(step.link.number, step.link.effective): step.link.amends for step in steps if step.link.amends}
    whole = {(step.link.number, step.link.effective) for step in steps if not step.link.amends}
    # The whole text after a notice says all that the notice says, and stands at its place in the chain.
    left = [step for step in steps if not step.link.amends or (step.link.number, step.link.effective) not in whole]
    left.sort(key=lambda step: _by_number(step.link))
    ordered: list[Step] = []
    while True:
        ready = next((step for step in left if _may_follow(step, named, ordered, left)), None)
        if ready is None:
            return ordered, left
        ordered.append(ready)
        left.remove(ready)


def _may_follow(step: Step, named: dict[tuple[str, str], str], ordered: list[Step], left: list[Step]) -> bool:
    """Whether its base is in place. A whole text does without one, but comes after the one its notice names where that is still to come."""
    link = step.link
    base = link.amends or named.get((link.number, link.effective), "")
    if not base or any(other.link.fits(base) for other in ordered):
        return True
    return not link.amends and not any(other.link.fits(base) for other in left if other is not step)


def _rows(steps: Sequence[Step]) -> list[Document]:
    """One row per run of equal texts of a key, closed by the day on which the next begins."""
    states: list[State] = []
    state: State = {}
    for step in steps:
        state = _after(state, step)
        states.append(state)
    rows: dict[str, list[Document]] = {}
    for day in sorted({step.link.effective for step in steps}):
        last = max(index for index, step in enumerate(steps) if step.link.effective <= day)
        in_force = states[last]
        for key in in_force.keys() | rows.keys():
            before = rows[key][-1] if key in rows else None
            now = in_force.get(key)
            if now is None:
                if before is not None and not before.withdrawn:
                    rows[key].append(_withdrawn(before, steps[last], day))
            elif before is None or before.withdrawn or before.content != now.content:
                rows.setdefault(key, []).append(replace(now, valid_from=day))
    return [
        replace(row, valid_to=after.valid_from if after else FOREVER)
        for key in sorted(rows)
        for row, after in zip(rows[key], [*rows[key][1:], None], strict=True)
    ]


def _after(state: State, step: Step) -> State:
    """The state after a step, a new one: texts by key."""
    stated = {row.key: _headed(row, state.get(row.key)) if row.key in step.headless else row for row in step.documents}
    if not step.link.amends:
        kept: State = {}
    else:
        kept = {key: row for key, row in state.items() if key in stated or not any(is_below(key, top) for top in step.subtrees)}
    kept |= {key: row for key, row in stated.items() if not row.withdrawn}
    return {key: row for key, row in kept.items() if not (key in stated and stated[key].withdrawn)}


def _headed(row: Document, before: Document | None) -> Document:
    """The new content under the heading that stood before the old one, where it had one of its own."""
    heading = re.match(rf"{re.escape(before.title)}[ .:—]*", before.text) if before is not None and before.title else None
    if before is None or heading is None:
        return row
    return _sealed(replace(row, title=before.title, text=f"{heading.group().rstrip()} {row.text}"))


def is_below(key: str, top: str) -> bool:
    """Whether an amendment of the subtree `top` reaches the paragraph `key`."""
    # "2-e-Interp-9" comments on "2-e"; in the regulation's tree it lies in the interpretations, not below it.
    return key.startswith(f"{top}-") and ("-Interp" in key) == ("-Interp" in top)


def part_of(key: str) -> str:
    """The part that a paragraph label belongs to: `1013` of `1013-2-e-1`."""
    return key.partition("-")[0]


def _by_number(link: Link) -> tuple[list[int], str, str]:
    return [int(part) for part in re.findall(r"\d+", link.number)], link.number, link.effective


def _withdrawn(before: Document, step: Step, day: str) -> Document:
    arrival_id = step.documents[0].arrival_id if step.documents else before.arrival_id
    return _sealed(replace(before, text="", withdrawn=True, valid_from=day, source=step.link.number, arrival_id=arrival_id))


def _sealed(row: Document) -> Document:
    return replace(row, content=content_of(row.key, row.title, row.text))
