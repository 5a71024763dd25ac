"""Many patterns, one pass: sets of google-re2, and Python's patterns made fit for one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_MEMORY = 128 << 20
"""Bytes that the automaton of a set may take; the largest here takes a few megabytes."""


def compiled(patterns: Iterable[str], *, any_case: bool = False) -> Any:
    """An unanchored set of patterns, for `matches`. ValueError names one that RE2 does not take."""
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    options.case_sensitive = not any_case
    made = re2.Set.SearchSet(options)
    for pattern in patterns:
        try:
            made.Add(pattern)
        except re2.error:
            raise ValueError(f"not a pattern of RE2: {pattern}") from None
    made.Add(r"(?s).")
    made.Compile()
    return made


def matches(made: Any, text: str) -> list[int]:
    """Numbers of the patterns that occur, in no order, and the number behind the last: fewer than two means that none occurs.

    MemoryError when the set gave up: RE2 tells that from "nothing found" only in its log, so the last pattern matches any text.
    """
    if not text:
        return []
    found: list[int] = made.Match(text)
    if not found:
        raise MemoryError("the set of patterns gave up")
    return found


def wider(pattern: str) -> str:
    """The pattern without its look-arounds and anchors: RE2 can run it, and it occurs wherever the pattern does, in ASCII text."""
    kept: list[str] = []
    place = 0
    while place < len(pattern):
        if pattern.startswith(("(?!", "(?=", "(?<!", "(?<="), place):
            place = _closing(pattern, place) + 1
        elif pattern[place] == "\\":
            kept.append(pattern[place : place + 2])
            place += 2
        else:
            kept.append("" if pattern[place] == "^" and (place == 0 or pattern[place - 1] != "[") else pattern[place])
            place += 1
    return "".join(kept)


def _closing(pattern: str, place: int) -> int:
    """Where the bracket at `place` is closed."""
    depth = 0
    while place < len(pattern):
        if pattern[place] == "\\":
            place += 1
        elif pattern[place] == "(":
            depth += 1
        elif pattern[place] == ")":
            depth -= 1
            if depth == 0:
                return place
        place += 1
    raise ValueError("a bracket is not closed")
