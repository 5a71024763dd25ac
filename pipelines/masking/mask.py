"""Masking by profile, fail closed: what cannot be masked raises, nothing passes.

`safe_harbor` removes the identifiers of 45 CFR 164.514(b)(2): dates keep their year (a birth date nothing), ages over 89 become 90+, ZIP
codes their first three digits or 000, the rest a word in brackets. The record's own subjects, every word of their names, become
one random surrogate from the vault: an assigned code that is not derived from them, as 164.514(c) asks.

`public` masks e-mail addresses, US phone numbers, social security and payment card numbers; government addresses and toll-free
numbers are part of the law and stay. Amounts, years and section numbers are never touched.

What this does not cover. Names that are neither a subject of the record nor near a title, label or word of kinship nor in a short list
of common ones: without a trained recogniser most of them pass (`names.py`; measured in the tests). Places without a state or a word of
dwelling, organisations, rare dates in words ("the Friday before Easter"), text inside pictures, and people told by circumstance alone.
Safe harbor also asks that nobody *knows* that what is left identifies someone: no program can promise that.

Measured without subjects on 1,500 public synthetic texts (share of spans found): cards, social security, e-mail, domain, IP and licence
numbers 1.00, IBAN 0.95, phones of many countries 0.67, names 0.40, addresses of many countries 0.05.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import regex  # type: ignore[import-untyped]

from pipelines.config import Settings
from pipelines.errors import MaskingFailed
from pipelines.masking.patterns import LOW_POPULATION_ZIP3
from pipelines.masking.vault import Vault

PROFILES = ("public", "safe_harbor")

_NOT_NAMES_TEXT = "mr mrs ms miss dr prof sir jr sr ii iii iv de da del der den di du la le van von bin al el the and of"
_NOT_NAMES = frozenset(_NOT_NAMES_TEXT.split())
_MUST_NOT_REMAIN = (
    regex.compile(r"[\w.%+-]+@[\w-]+(?:\.[\w-]+)+"),
    regex.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"),
)
_YEAR = regex.compile(r"(?<!\d)(?:1[89]|20)\d\d(?!\d)")
# Letters that Unicode does not take apart.
_STROKED = dict(zip("øłđħŧıæœþð", "oldhtiaotd", strict=True))
_LABELS = {"BIRTH_DATE": "DATE", "CREDIT_CARD": "CARD", "IBAN_CODE": "ACCOUNT"}


@dataclass(frozen=True, slots=True)
class Masked:
    """The masked text, and how many of each kind were replaced."""

    text: str
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int
    kind: str


class Masker:
    """One profile over one vault. Built in under 2 s (the first in a process); a short text takes a few milliseconds."""

    def __init__(self, profile: str, vault: Vault) -> None:
        if profile not in PROFILES:
            raise MaskingFailed(f"there is no privacy profile {profile!r}", todo=f"profiles are {', '.join(PROFILES)}")
        self.profile, self._vault = profile, vault
        try:
            from pipelines.masking.analyzer import engine

            self._engine: Any = engine(profile)
        except Exception as error:
            raise MaskingFailed(
                f"the recognisers could not be built ({type(error).__name__})", todo="set up the environment again"
            ) from None

    @classmethod
    def open(cls, settings: Settings, profile: str) -> Masker:
        """A masker over the vault of this environment."""
        return cls(profile, Vault.open(settings))

    def mask(self, text: str, subjects: tuple[str, ...] = ()) -> Masked:
        """The text without what the profile removes. `subjects` together name the one person the record is about.

        MaskingFailed, which never quotes the text, when anything goes wrong or a subject's name is still there afterwards.
        """
        try:
            return self._mask(text, subjects)
        except MaskingFailed:
            raise
        except Exception as error:
            # The error's own words may quote the text.
            raise MaskingFailed(f"masking stopped ({type(error).__name__})", todo="nothing of this text was kept; report it") from None

    def surrogate(self, key: str) -> str:
        """A document's key: itself where the profile is public, else `note-<random>`, the same for the same key for ever."""
        if self.profile == "public":
            return key
        if not key.strip():
            raise MaskingFailed("an empty key has no surrogate", todo="give every record a key")
        return f"note-{self._vault.surrogate('key', key.strip())}"

    def _mask(self, text: str, subjects: tuple[str, ...]) -> Masked:
        spans = [_Span(found.start, found.end, found.entity_type) for found in self._analyze(text)]
        surrogate = ""
        if self.profile == "safe_harbor" and (named := _normal(subjects)):
            surrogate = f"[PATIENT-{self._vault.surrogate('subject', named, digits=8)}]"
            spans += [_Span(start, end, "SUBJECT") for start, end in _subject_spans(text, subjects)]
        merged = _merge(spans)
        pieces, counts, last = [], Counter[str](), 0
        for span in merged:
            pieces += [
                text[last : span.start],
                surrogate if span.kind == "SUBJECT" else _replacement(span.kind, text[span.start : span.end]),
            ]
            counts[_LABELS.get(span.kind, span.kind)] += 1
            last = span.end
        masked = "".join([*pieces, text[last:]])
        if surrogate:
            # "[P], [P] [P]" says no more than "[P]".
            masked = regex.sub(rf"{regex.escape(surrogate)}(?:[,\s]*{regex.escape(surrogate)})+", surrogate, masked)
        self._verify(masked, subjects, surrogate)
        return Masked(masked, dict(counts))

    def _analyze(self, text: str) -> list[Any]:
        from pipelines.masking.analyzer import FLAGS

        found: list[Any] = self._engine.analyze(text, language="en", regex_flags=FLAGS) if text.strip() else []
        return found

    def _verify(self, masked: str, subjects: tuple[str, ...], surrogate: str) -> None:
        if self.profile != "safe_harbor":
            return
        rest = masked.replace(surrogate, " ") if surrogate else masked
        rest = regex.sub(r"\[[A-Z_]+\]", " ", rest)
        if next(iter(_subject_spans(rest, subjects)), None) is not None or any(shape.search(rest) for shape in _MUST_NOT_REMAIN):
            raise MaskingFailed("an identifier was still there after masking", todo="nothing of this text was kept; report it")


def _normal(subjects: tuple[str, ...]) -> str:
    return "\0".join(" ".join(_fold(subject).split()) for subject in subjects if subject.strip())


def _subject_spans(text: str, subjects: tuple[str, ...]) -> list[tuple[int, int]]:
    """Where the text says a subject: whole, or any word of it, in any case, with or without its accents, also as a possessive."""
    words: set[str] = set()
    for subject in subjects:
        whole = " ".join(_fold(subject).split())
        words.add(whole)
        words.update(part for part in regex.findall(r"[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*", whole) if _tells(part))
        words.update(part for part in regex.findall(r"[\p{L}\p{N}]+", whole) if _tells(part))
    if not (words := {word for word in words if len(word) > 1}):
        return []
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    escaped = (regex.escape(word).replace(r"\ ", r"\s+").replace(" ", r"\s+") for word in longest_first)
    pattern = regex.compile(rf"(?<![\p{{L}}\p{{N}}])(?:{'|'.join(escaped)})(?![\p{{L}}\p{{N}}])")
    return [match.span() for match in pattern.finditer(_fold(text))]


def _tells(part: str) -> bool:
    """Whether a word of a subject tells who it is: not a title or a particle, not a short number."""
    if any(character.isdigit() for character in part):
        return sum(character.isdigit() for character in part) >= 4
    return len(part) > 1 and part not in _NOT_NAMES


def _fold(text: str) -> str:
    """Lower case without accents, character for character: positions stay."""
    return "".join(_fold_one(character) for character in text)


def _fold_one(character: str) -> str:
    if character.isascii():
        return character.lower()
    base = unicodedata.normalize("NFKD", character)[0].lower()
    return _STROKED.get(base, base) if len(base) == 1 else character


def _merge(spans: Iterable[_Span]) -> list[_Span]:
    """Overlapping spans as one: the longer one names it, but a subject's surrogate wins over a mere name."""
    merged: list[_Span] = []
    for span in sorted(spans, key=lambda one: (one.start, -one.end)):
        if not merged or span.start >= merged[-1].end:
            merged.append(span)
            continue
        last = merged[-1]
        longer = last if last.end - last.start >= span.end - span.start else span
        kind = "SUBJECT" if {last.kind, span.kind} <= {"SUBJECT", "NAME"} and last.kind != span.kind else longer.kind
        merged[-1] = _Span(last.start, max(last.end, span.end), kind)
    return merged


def _replacement(kind: str, value: str) -> str:
    match kind:
        case "DATE":
            year = _YEAR.search(value)
            return year.group() if year else "[DATE]"
        case "AGE":
            return "90+"
        case "ZIP":
            return "000" if value[:3] in LOW_POPULATION_ZIP3 else value[:3]
        case _:
            return f"[{_LABELS.get(kind, kind)}]"
