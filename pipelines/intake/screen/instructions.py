"""Instructions to a language model that arrive inside a document, and tokens that steer one.

Regulated text gives orders too ("provide the consumer with a summary"), and notes are full of imperatives ("stop aspirin"). So a bare
imperative counts for nothing: what counts is that the sentence speaks of a model's answer, of its instructions or role, or orders a kind of
text that neither law nor medicine orders. Each pattern is tried on single sentences of the plain text (see `encoding.plain`), so that
disguised letters do not hide one.

Does not cover: plain questions and orders that a reader of the document could have been meant by ("What is the capital ...", "Explain
how ..."), other languages than English beyond the commonest override phrases, instructions spread over sentences, or poison without
instructions. `tests/unit/intake/screen/test_public_data.py` holds the measured recall; it is far from 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import regex  # type: ignore[import-untyped]

from pipelines.intake.screen.encoding import plain
from pipelines.intake.screen.phrases import PHRASES
from pipelines.screen_config import Screen

_SENTENCE = regex.compile(r"[^\n.!?]+(?:[.!?]+(?!\s|$)[^\n.!?]+)*[.!?]*")
"""Up to a full stop that white space follows: neither `example.com` nor a quoted "now!" is an end. Lines end sentences."""
_LONGEST = 600
"""Characters of a sentence that are looked at; longer ones are cut into overlapping windows."""
_OVERLAP = 200
_TOKENS = regex.compile(
    r"<\|(?:im_start|im_end|endoftext|system|user|assistant|eot_id|begin_of_text|start_header_id|end_header_id|endofprompt)\|>"
    r"|\[/?inst\]|<</?sys>>|</?(?:system|assistant|instructions?|user_query)>"
    r"|^\s*#{2,}\s*(?:instruction|system|response|new task)s?\s*:?\s*$"
    r"|^\s*(?:system|assistant)\s*:\s*(?:you|ignore|respond|reply|always)\b"
    r"|\{\{\s*(?:system|prompt|user_input)\b|\b(?:begin|end|start)[ _](?:system[ _])?(?:prompt|instructions?)\b(?=\s*[\]>-])",
    regex.MULTILINE,
)


def spans(text: str, config: Screen) -> Iterator[tuple[int, int, str]]:  # noqa: ARG001
    """The first instruction of each kind in a text."""
    lowered, places = plain(text)
    # Most texts hold no word that most patterns need: what is left is quick.
    likely = [phrase for phrase in PHRASES if any(word in lowered for word in phrase.anchors)]
    told: set[str] = set()
    for start, end in _windows(lowered) if likely else ():
        piece = lowered[start:end]
        for phrase in likely:
            if phrase.reason in told or not any(word in piece for word in phrase.anchors):
                continue
            if (match := phrase.pattern.search(piece)) is not None:
                told.add(phrase.reason)
                yield *_where((start + match.start(), start + match.end()), places), phrase.reason


def triggers(text: str, config: Screen) -> Iterator[tuple[int, int, str]]:
    """Control tokens of chat templates, and the domain's own phrases."""
    lowered, places = plain(text)
    for match in _TOKENS.finditer(lowered):
        yield *_where(match.span(), places), "a control token of a chat template"
    for number, phrase in enumerate(config.trigger_phrases, 1):
        words = [regex.escape(word) for word in plain(phrase)[0].split()]
        for match in regex.finditer(r"\s+".join(words), lowered) if words else ():
            yield *_where(match.span(), places), f"trigger phrase {number} of the domain file"


def _windows(text: str) -> Iterator[tuple[int, int]]:
    for match in _SENTENCE.finditer(text):
        start, end = match.span()
        while start < end and not text[start].isalnum():
            start += 1
        while end - start > _LONGEST:
            yield start, start + _LONGEST
            start += _LONGEST - _OVERLAP
        if end > start:
            yield start, end


def _where(span: tuple[int, int], places: list[int] | None) -> tuple[int, int]:
    """Places in the text as delivered."""
    start, end = span
    if places is None:
        return start, end
    return places[start], places[end - 1] + 1 if end else 0
