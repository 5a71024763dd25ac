"""What is looked for in an answer before it goes out: identifiers, planted secrets, numbers that nothing holds, crude words.

`check` is for a whole answer. `HoldBack` is for one that goes out while it is being written: it keeps back the end, up to a place that no
identifier, secret or number can straddle, and looks at each part before it lets it go.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from pipelines.errors import RatchetError
from pipelines.serving.guards import figures, identifiers, toxic
from pipelines.serving.guards.folding import readings
from pipelines.serving.guards.verdict import BROKEN, Verdict, judge, refused
from pipelines.serving_config import Guards

_WORDS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
    " twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion oh and at dot dash hyphen minus point"
    " january february march april may june july august september october november december jan feb mar apr jun jul aug sept sep oct"
    " nov dec"
    " section sections part parts paragraph article title note patient percent"
)
_LINKS: Final = frozenset(_WORDS.split())
_TOKEN = re.compile(r"\S+")
_NEAR = 2
"""Tokens on either side of a cut that must be plain words."""
_SEEN_AGAIN = 240
"""Characters before a part that are looked at again with it: the label of a number stands before it."""


def check(
    answer: str, passages: Sequence[str], question: str, policy: Guards, *, private: bool, canaries: frozenset[str] = frozenset()
) -> list[Verdict]:
    """Verdicts on an answer; empty for one that may go out.

    `passages` are what the model was shown, with whatever else the answer may rest on (a paragraph's number, its title). `private`: the
    domain's text is about people. `canaries` are the planted secrets. Nothing is raised: an error in a guard is a refusal.
    """
    shown = (*passages, question)
    return [
        *judge("identifiers", "answer", policy, lambda: float(identifiers.leaked(answer, shown, private=private))),
        *judge("canaries", "answer", policy, lambda: float(identifiers.recited(answer, canaries))),
        *judge("numbers", "answer", policy, lambda: figures.ungrounded(answer, shown), 0.0),
        *judge("toxic_answers", "answer", policy, lambda: toxic.score(readings(answer))),
    ]


class Stopped(RatchetError):
    """A stream that must end here. `verdicts` say why; what was found has not gone out."""

    def __init__(self, verdicts: Sequence[Verdict]) -> None:
        rules = ", ".join(sorted({verdict.rule for verdict in verdicts}))
        super().__init__(f"the answer was stopped by a guard ({rules})", where="answer")
        self.verdicts = tuple(verdicts)

    def __reduce__(self) -> tuple[object, ...]:
        return (Stopped, (self.verdicts,))


class HoldBack:
    """One answer as it is written. `verdicts` holds what was only reported so far, each rule once.

    Text comes out at the white space before a run of four plain words; an answer full of figures comes out late, one without white space
    at its end. `feed` and `finish` raise Stopped once; afterwards the object is of no use.
    """

    def __init__(
        self, passages: Sequence[str], question: str, policy: Guards, *, private: bool, canaries: frozenset[str] = frozenset()
    ) -> None:
        self.verdicts: list[Verdict] = []
        self._passages, self._question, self._policy = tuple(passages), question, policy
        self._private, self._canaries = private, canaries
        self._secrets = tuple(core for core in map(identifiers.squash, canaries) if core)
        self._text = ""
        self._cuts = [0]
        self._tried = 0

    def feed(self, piece: str) -> str:
        """Take what was written next; give what may go out now, often nothing."""
        self._text += piece
        held = len(self._text) - self._cuts[-1]
        # Of a long part without a place to cut only every eighth more is tried, so that the whole costs no square of its length.
        if held < self._tried + max(1, self._tried // 8):
            return ""
        cut = self._closed(self._place)
        if cut <= self._cuts[-1]:
            self._tried = held if held > 1000 else 0
            return ""
        self._tried = 0
        return self._release(cut)

    def finish(self) -> str:
        """The rest, after the whole answer was looked at once more."""
        self._look(self._text)
        rest = self._text[self._cuts[-1] :]
        self._cuts.append(len(self._text))
        return rest

    def _release(self, cut: int) -> str:
        last = self._cuts[-1]
        begin = next((place for place in reversed(self._cuts) if place <= last - _SEEN_AGAIN), 0)
        self._look(self._text[begin:cut])
        self._cuts.append(cut)
        return self._text[last:cut]

    def _look(self, text: str) -> None:
        found = check(text, self._passages, self._question, self._policy, private=self._private, canaries=self._canaries)
        if refused(found):
            raise Stopped(found)
        known = {verdict.rule for verdict in self.verdicts}
        self.verdicts += [verdict for verdict in found if verdict.rule not in known]

    def _closed(self, place: object) -> int:
        try:
            return place()  # type: ignore[operator, no-any-return]
        except Exception:
            raise Stopped([Verdict(BROKEN, "refuse", 1.0, "answer")]) from None

    def _place(self) -> int:
        """The last place where the text may be cut."""
        last = self._cuts[-1]
        tokens = [(match.start() + last, match.group()) for match in _TOKEN.finditer(self._text[last:])]
        # The last token may go on.
        plain = [not _links(token) for _, token in tokens[:-1]]
        for number in range(len(plain) - _NEAR, 0, -1):
            if all(plain[max(0, number - _NEAR) : number + _NEAR]) and not self._splits(tokens[number][0]):
                return tokens[number][0]
        return last

    def _splits(self, cut: int) -> bool:
        """Whether one of the secrets may begin before the cut and end after it."""
        if not self._secrets:
            return False
        longest = max(map(len, self._secrets))
        # Enough characters for the longest secret spaced out.
        before = identifiers.squash(self._text[max(0, cut - 4 * longest) : cut])
        after = identifiers.squash(self._text[cut : cut + 4 * longest])
        return any(
            before.endswith(secret[:size]) and (secret[size:].startswith(after) or after.startswith(secret[size:]))
            for secret in self._secrets
            for size in range(1, len(secret))
        )


def _links(token: str) -> bool:
    """Whether a token may be part of an identifier or a number that goes on in its neighbours."""
    bare = token.strip(".,;:!?\"'()")
    return (
        len(bare) < 2
        or not token.isascii()
        or any(letter.isdigit() or letter in "@[]<>{}_%$§*&\\/|+" for letter in token)
        or (bare.isupper() and len(bare) <= 6)
        or not _LINKS.isdisjoint(re.split(r"[\W_]+", token.lower()))
    )
