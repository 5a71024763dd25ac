"""Cuts a document into passages at sentence borders. Training and retrieval cut alike: a model must see the passages it learnt on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.config import Retrieval
from pipelines.corpus.documents import Document
from pipelines.manifest import sha256

# A full stop ends a sentence unless it follows an initial or an abbreviation; so does a line break.
# The characters come first, so that the engine skips to them: looking behind at every place took 50 us a paragraph, and now takes 3.
_BORDER = re.compile(
    r"[.!?\n](?:(?<=\n)\s*|(?<!\n)(?<!\b[A-Z].)(?<!\bDr.)(?<!\bMr.)(?<!\bMs.)(?<!\bMrs.)(?<!\bNo.)(?<!\be\.g.)(?<!\bi\.e.)[\"'”’)\]]*\s+)"
)
_CLAUSE = re.compile(r"[,;:]\s+")
_TOKEN = re.compile(r"\s*\S+\s*")
_PARAGRAPH = re.compile(r"(?P<part>\d{4})-(?P<section>\d+|[A-Z]\d?)(?P<rest>(?:-[A-Za-z0-9]+)*)")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage: a slice of its document's text."""

    key: str
    title: str
    text: str
    paragraph: str
    """How a reader cites it: "Comment 1013.2(e)-9.v"."""
    valid_from: str
    valid_to: str
    content: str
    """Content hash of the document."""
    start: int
    end: int
    """`document.text[start:end]` is `text`."""

    @property
    def searched(self) -> str:
        """What is embedded and indexed: many paragraphs say what they are about in their title only."""
        return f"{self.title.rstrip('.')}. {self.text}" if self.title else self.text

    @property
    def sha256(self) -> str:
        """Names the passage in the embedding cache."""
        return sha256(self.searched)


def chunks(document: Document, rule: Retrieval) -> list[Chunk]:
    """Passages of at most `chunk_words` words, in order; none for a withdrawn or erased document.

    Sentences stay whole where they fit, each a passage of its own unless `join_sentences`. A longer one is cut after a comma, semicolon
    or colon, and between words only as a last resort.
    """
    if document.withdrawn or document.erased:
        return []
    text = document.text
    spans = _pieces(text, rule.chunk_words)
    if rule.join_sentences:
        spans = _pack(text, spans, rule.chunk_words)
    spans = [span for span in (_stripped(text, *span) for span in spans) if span[0] < span[1]]
    label = cite(document.key)
    return [
        Chunk(
            key=document.key,
            title=document.title,
            text=text[start:end],
            paragraph=label if len(spans) == 1 else f"{label} (part {number} of {len(spans)})",
            valid_from=document.valid_from,
            valid_to=document.valid_to,
            content=document.content,
            start=start,
            end=end,
        )
        for number, (start, end) in enumerate(spans, 1)
    ]


def cite(key: str) -> str:
    """A paragraph label as lawyers write it; any other key as it is.

    `1013-2-e-1` is § 1013.2(e)(1), `1013-2-e-Interp-9-v` is Comment 1013.2(e)-9.v, `1013-A-1` is Appendix A-1 to Part 1013.
    """
    match = _PARAGRAPH.fullmatch(key)
    if match is None:
        return key
    part, section = match["part"], match["section"]
    rest = match["rest"].split("-")[1:]
    if not section.isdigit():
        return f"Appendix {'-'.join([section, *rest])} to Part {part}"
    if "Interp" not in rest:
        return f"§ {part}.{section}" + "".join(f"({level})" for level in rest)
    at = rest.index("Interp")
    comment = ".".join(rest[at + 1 :])
    return f"Comment {part}.{section}" + "".join(f"({level})" for level in rest[:at]) + (f"-{comment}" if comment else "")


_Span = tuple[int, int]
"""Begin and end of a slice of the document's text, in characters."""


def _pieces(text: str, words: int) -> list[_Span]:
    """The text cut into neighbouring pieces of at most `words` words each."""
    pieces: list[_Span] = []
    for sentence in _cut(text, (0, len(text)), _BORDER):
        if _count(text, sentence) <= words:
            pieces.append(sentence)
            continue
        for begin, end in _cut(text, sentence, _CLAUSE):
            tokens = [match.span() for match in _TOKEN.finditer(text, begin, end)]
            runs = [tokens[first : first + words] for first in range(0, len(tokens), words)]
            pieces += [(run[0][0], run[-1][1]) for run in runs]
    return pieces


def _pack(text: str, pieces: list[_Span], words: int) -> list[_Span]:
    """Neighbouring pieces joined while they fit."""
    packed: list[_Span] = []
    for piece in pieces:
        if packed and _count(text, packed[-1]) + _count(text, piece) <= words:
            packed[-1] = (packed[-1][0], piece[1])
        else:
            packed.append(piece)
    return packed


def _cut(text: str, span: _Span, border: re.Pattern[str]) -> list[_Span]:
    begin, end = span
    # A slice, not bounds: what stands before a sentence must not decide where its clauses end.
    ends = [begin + match.end() for match in border.finditer(text[begin:end])] + [end]
    return [(start, stop) for start, stop in zip([begin, *ends], ends, strict=False) if start < stop]


def _stripped(text: str, start: int, end: int) -> _Span:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return start, start + len(piece.strip())


def _count(text: str, span: _Span) -> int:
    return len(text[span[0] : span[1]].split())
