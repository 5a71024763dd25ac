"""Cuts a document into passages at sentence borders. Training and retrieval cut alike: a model must see the passages it learnt on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.config import Retrieval
from pipelines.corpus.documents import Document
from pipelines.manifest import sha256

# A full stop ends a sentence unless it follows an initial or an abbreviation; so does a line break.
_BORDER = re.compile(r"(?<!\b[A-Z])(?<!\bDr)(?<!\bMr)(?<!\bMs)(?<!\bMrs)(?<!\bNo)(?<!\be\.g)(?<!\bi\.e)[.!?][\"'”’)\]]*\s+|\n+\s*")
_CLAUSE = re.compile(r"[,;:]\s+")
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
    pieces = _pieces(document.text, rule.chunk_words)
    texts = _pack(pieces, rule.chunk_words) if rule.join_sentences else [text for piece in pieces if (text := piece.strip())]
    label = cite(document.key)
    return [
        Chunk(
            key=document.key,
            title=document.title,
            text=text,
            paragraph=label if len(texts) == 1 else f"{label} (part {number} of {len(texts)})",
            valid_from=document.valid_from,
            valid_to=document.valid_to,
        )
        for number, text in enumerate(texts, 1)
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


def _pieces(text: str, words: int) -> list[str]:
    """The text cut into pieces of at most `words` words each; joined, they are the text."""
    pieces: list[str] = []
    for sentence in _cut(text, _BORDER):
        if _count(sentence) <= words:
            pieces.append(sentence)
            continue
        for clause in _cut(sentence, _CLAUSE):
            tokens = re.findall(r"\s*\S+\s*", clause)
            pieces += ["".join(tokens[start : start + words]) for start in range(0, len(tokens), words)]
    return pieces


def _pack(pieces: list[str], words: int) -> list[str]:
    """Neighbouring pieces joined while they fit."""
    packed: list[str] = []
    for piece in pieces:
        if packed and _count(packed[-1]) + _count(piece) <= words:
            packed[-1] += piece
        else:
            packed.append(piece)
    return [stripped for text in packed if (stripped := text.strip())]


def _cut(text: str, border: re.Pattern[str]) -> list[str]:
    ends = [match.end() for match in border.finditer(text)] + [len(text)]
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False) if start < end]


def _count(text: str) -> int:
    return len(text.split())
