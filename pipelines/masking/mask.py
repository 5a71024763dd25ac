"""Masking by profile, fail closed: what cannot be masked raises, nothing passes.

`safe_harbor` removes the identifiers of 45 CFR 164.514(b)(2): dates keep their year (a birth date nothing), ages over 89 become 90+, ZIP
codes their first three digits or 000, the rest a word in brackets. The record's own subjects, every word of their names, become
one random surrogate from the vault: an assigned code that is not derived from them, as 164.514(c) asks.

`expert` does the same under a named expert's certificate, except that full dates move by a number of days drawn once per subject, so that
the time between two visits stays true. A certificate past its last day stops masking.

`public` masks e-mail addresses, US phone numbers, social security and payment card numbers, and what the domain file asks for besides;
government addresses and toll-free numbers are part of the law and stay. Amounts, years and section numbers are never touched.

What this does not cover, and how much of what it should find it does find, is in docs/privacy.md. Safe harbor also asks that nobody *knows*
that what is left identifies someone: no program can promise that.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import regex  # type: ignore[import-untyped]

from pipelines.config import Privacy, Settings
from pipelines.errors import MaskingFailed
from pipelines.governance.naming import normal
from pipelines.masking import dates, postcodes, subjects, tidy
from pipelines.masking.tidy import REDACTED
from pipelines.masking.vault import Vault

PROFILES = ("public", "safe_harbor", "expert")

_MUST_NOT_REMAIN = (
    regex.compile(r"[\w.%+-]+@[\w-]+(?:\.[\w-]+)+"),
    regex.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"),
)
_YEAR = regex.compile(r"(?<!\d)(?:1[89]|20)\d\d(?!\d)")
_BY_SENSE = frozenset({"NAME", "PLACE", "ORGANISATION", "ADDRESS"})
_LABELS = {"BIRTH_DATE": "DATE", "CREDIT_CARD": "CARD", "IBAN_CODE": "ACCOUNT"}


@dataclass(frozen=True, slots=True)
class Masked:
    """The masked text, how many of each kind were replaced, and by kind which recogniser found how many."""

    text: str
    counts: dict[str, int]
    found: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int
    kind: str
    by: str


class Masker:
    """One profile over one vault. Built in about 3 s (the first in a process); a short text takes a few milliseconds."""

    def __init__(self, privacy: Privacy | str, vault: Vault, *, today: date | None = None) -> None:
        self.privacy = _privacy(privacy)
        self.profile, self._vault, self._today = self.privacy.profile, vault, today
        self._valid()
        try:
            from pipelines.masking.analyzer import engine

            self._engine: Any = engine(self.profile, self.privacy.also, self.privacy.recogniser)
        except MaskingFailed:
            raise
        except Exception as error:
            raise MaskingFailed(
                f"the recognisers could not be built ({type(error).__name__})", todo="set up the environment again"
            ) from None

    @classmethod
    def open(cls, settings: Settings, privacy: Privacy | str) -> Masker:
        """A masker over the vault of this environment. MaskingFailed where it finds less of the labelled set than the domain asks for."""
        from pipelines.masking import coverage

        masker = cls(privacy, Vault.open(settings), today=date.fromisoformat(settings.day()))
        coverage.require(settings, masker)
        return masker

    def mask(self, text: str, subjects: tuple[str, ...] = ()) -> Masked:
        """The text without what the profile removes. `subjects` together name the one person the record is about.

        MaskingFailed, which never quotes the text, when anything goes wrong or a subject's name is still there afterwards.
        """
        self._valid()
        try:
            # The recognisers know letters with their accents, not accents that stand apart.
            return self._mask(unicodedata.normalize("NFC", text), subjects)
        except MaskingFailed:
            raise
        except Exception as error:
            # The error's own words may quote the text.
            raise MaskingFailed(f"masking stopped ({type(error).__name__})", todo="nothing of this text was kept; report it") from None

    def mask_all(self, texts: Sequence[tuple[str, tuple[str, ...]]]) -> list[Masked]:
        """`mask` for many (text, subjects), a thread per core: the model's products run outside the interpreter's lock."""
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            return list(pool.map(lambda one: self.mask(*one), texts))

    def surrogate(self, key: str) -> str:
        """A document's key: itself where the profile is public, else `note-<random>`, the same for the same key for ever."""
        if self.profile == "public":
            return key
        if not key.strip():
            raise MaskingFailed("an empty key has no surrogate", todo="give every record a key")
        return f"note-{self._vault.surrogate('key', key.strip())}"

    def spans(self, text: str) -> list[tuple[int, int, str]]:
        """(start, end, kind) of what would be replaced, subjects apart: what the coverage gate and the bench count."""
        return [(span.start, span.end, _LABELS.get(span.kind, span.kind)) for span in _merge(self._found(text))]

    def marked(self, text: str) -> tuple[str, list[tuple[str, str]]]:
        """The text with a numbered mark (`[NAME-1]`) for each identifier, equal ones alike, and the pairs (mark, what it stands for), so
        that the caller who sent them can be told them back. Dates, ages and ZIP codes become what they are in masked documents.

        MaskingFailed, which never quotes the text, when anything goes wrong.
        """
        self._valid()
        try:
            return self._marked(unicodedata.normalize("NFC", text))
        except MaskingFailed:
            raise
        except Exception as error:
            raise MaskingFailed(f"masking stopped ({type(error).__name__})", todo="nothing of this text was kept; report it") from None

    def _marked(self, text: str) -> tuple[str, list[tuple[str, str]]]:
        marks: dict[tuple[str, str], tuple[str, str]] = {}
        pieces, last = [], 0
        for span in _merge(self._found(text)):
            value = text[span.start : span.end]
            if span.kind in ("DATE", "AGE", "ZIP"):
                mark = _replacement(span.kind, value, 0)
            else:
                label = _LABELS.get(span.kind, span.kind)
                number = 1 + sum(kind == label for kind, _ in marks)
                mark, _ = marks.setdefault((label, value.casefold()), (f"[{label}-{number}]", value))
            pieces += [text[last : span.start], mark]
            last = span.end
        marked = "".join([*pieces, text[last:]])
        self._verify(marked, (), "")
        return marked, list(marks.values())

    def _valid(self) -> None:
        certificate = self.privacy.certificate
        if certificate is not None and (self._today or date.today()) > certificate.expires:
            raise MaskingFailed(
                f"the expert's certificate {certificate.id!r} expired on {certificate.expires.isoformat()}",
                where="privacy.certificate",
                todo="have it renewed, or use safe_harbor",
            )

    def _mask(self, text: str, names: tuple[str, ...]) -> Masked:
        found = self._found(text)
        surrogate, days = "", 0
        if self.profile != "public" and (named := normal(names)):
            surrogate = f"[PATIENT-{self._vault.surrogate('subject', named, digits=8)}]"
            found += [_Span(start, end, "SUBJECT", "subjects") for start, end in subjects.spans(text, names)]
            days = self._shift(named)
        pieces, counts, by, last = [], Counter[str](), dict[str, Counter[str]](), 0
        for span in _merge(found):
            value = text[span.start : span.end]
            pieces += [text[last : span.start], surrogate if span.kind == "SUBJECT" else _replacement(span.kind, value, days)]
            label = _LABELS.get(span.kind, span.kind)
            counts[label] += 1
            by.setdefault(label, Counter())[span.by] += 1
            last = span.end
        masked = "".join([*pieces, text[last:]])
        if surrogate:
            # "[P], [P] [P]" says no more than "[P]".
            masked = regex.sub(rf"{regex.escape(surrogate)}(?:[,\s]*{regex.escape(surrogate)})+", surrogate, masked)
        self._verify(masked, names, surrogate)
        return Masked(masked, dict(counts), {kind: dict(count) for kind, count in by.items()})

    def _shift(self, named: str) -> int:
        """Days that this subject's dates move by: random, drawn once, kept in the vault. 0 where dates are cut to their year."""
        if self.privacy.certificate is None:
            return 0
        most = self.privacy.certificate.max_shift_days
        drawn = int(self._vault.surrogate("shift", named), 16)
        return (1 if drawn & 1 else -1) * (1 + (drawn >> 1) % most)

    def _found(self, text: str) -> list[_Span]:
        found = [_Span(one.start, one.end, one.entity_type, _name_of(one)) for one in self._analyze(text)]
        if not REDACTED.search(text):
            return found
        return [_Span(*part, span.kind, span.by) for span in found for part in tidy.around_redactions(text, span.start, span.end)]

    def _analyze(self, text: str) -> list[Any]:
        from pipelines.masking.analyzer import FLAGS

        found: list[Any] = self._engine.analyze(text, language="en", regex_flags=FLAGS) if text.strip() else []
        return found

    def _verify(self, masked: str, names: tuple[str, ...], surrogate: str) -> None:
        if self.profile == "public":
            return
        rest = masked.replace(surrogate, " ") if surrogate else masked
        rest = REDACTED.sub(" ", rest)
        if subjects.spans(rest, names) or any(shape.search(rest) for shape in _MUST_NOT_REMAIN):
            raise MaskingFailed("an identifier was still there after masking", todo="nothing of this text was kept; report it")


def _privacy(given: Privacy | str) -> Privacy:
    if isinstance(given, Privacy):
        return given
    try:
        return Privacy.model_validate({"profile": given})
    except ValueError:
        what = f"there is no privacy profile {given!r}" if given not in PROFILES else f"the profile {given!r} needs a certificate"
        raise MaskingFailed(what, todo=f"profiles are {', '.join(PROFILES)}; see docs/privacy.md") from None


def _name_of(found: Any) -> str:
    return str((getattr(found, "recognition_metadata", None) or {}).get("recognizer_name", "unknown"))


def _merge(spans: Iterable[_Span]) -> list[_Span]:
    """Overlapping spans as one: the longer names it (of equals, one with a shape of its own), but a subject's surrogate beats a name."""
    merged: list[_Span] = []
    for span in sorted(spans, key=lambda one: (one.start, -one.end)):
        if not merged or span.start >= merged[-1].end:
            merged.append(span)
            continue
        last = merged[-1]
        longer = max(last, span, key=lambda one: (one.end - one.start, one.kind not in _BY_SENSE))
        kind = "SUBJECT" if {last.kind, span.kind} <= {"SUBJECT", "NAME"} and last.kind != span.kind else longer.kind
        merged[-1] = _Span(last.start, max(last.end, span.end), kind, longer.by)
    return merged


def _replacement(kind: str, value: str, days: int) -> str:
    match kind:
        case "DATE":
            if days and (moved := dates.shift(value, days)):
                return moved
            year = _YEAR.search(value)
            return year.group() if year else "[DATE]"
        case "AGE":
            return "90+"
        case "ZIP":
            return postcodes.shortened(value)
        case _:
            return f"[{_LABELS.get(kind, kind)}]"
