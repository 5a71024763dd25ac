"""The text of an answer that goes out while it is written: only what can still become a checked answer.

The model writes `span [n]`. Whatever it wrote so far goes out, in whole words, while it stands in one of the passages; the citation is held
back until the paragraph is known. A beginning that stands nowhere stops the stream: the end then says what became of it.
"""

from __future__ import annotations

from pipelines.retrieval.spans import flatten
from pipelines.serving.answer import Answer, LookUp
from pipelines.serving.guards.outbound import HoldBack, Stopped
from pipelines.training.prompt import NOT_STATED


class LiveText:
    """One answer's text: `feed` it pieces as they are written, then ask for the `rest`."""

    def __init__(self, found: LookUp, guard: HoldBack) -> None:
        self._passages = [flatten(passage.text) for passage in found.passages]
        self._guard = guard
        self._written = ""
        self._offered = 0
        self.sent = ""
        self._stopped = False

    def feed(self, piece: str) -> str:
        """What may go out now; often nothing."""
        self._written += piece
        said = flatten(self._written.partition("[")[0])
        # The last word may go on: `$53` is no beginning of `$53,500` that anyone should see.
        whole = said if self._written[-1:].isspace() or "[" in self._written else said.rpartition(" ")[0]
        if self._stopped or not whole or NOT_STATED.startswith(whole.casefold()):
            return ""
        if not any(whole in passage for passage in self._passages):
            self._stopped = True
            return ""
        fresh, self._offered = whole[self._offered :], len(whole)
        try:
            out = self._guard.feed(fresh)
        except Stopped:
            # The whole answer is checked at its end, and says the same.
            self._stopped = True
            return ""
        self.sent += out
        return out

    def rest(self, answer: Answer) -> str | None:
        """What is still to be sent of the finished answer; None when what was sent is no beginning of it, and is to be taken back."""
        return answer.text[len(self.sent) :] if answer.text.startswith(self.sent) else None
