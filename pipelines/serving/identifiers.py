"""Identifiers in questions: replaced before anything looks at the question, told back only to the caller who sent them.

What comes after (screen, cache, search, model, log, traces, an outside provider) sees the masked question alone. A public domain's
questions lose direct contact details, by one regular expression. Of the others Presidio's recognisers look for every identifier that the
profile removes: some 7 ms of Python, so it is done in processes of their own, which the first such domain starts.

A name in a question is not looked up in the vault: whoever knows a patient's name does not learn from here which notes are theirs.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass

from pipelines.config import Privacy, Settings
from pipelines.errors import MaskingFailed
from pipelines.masking import direct

SECONDS = 10.0
"""A question that is not masked by then is not answered."""
BUILD_SECONDS = 120.0
"""The first of a profile, where it was not warmed, waits while the recognisers are built and measured against the labelled set."""


@dataclass(frozen=True, slots=True)
class Masked:
    """A question without identifiers, and what its marks stand for."""

    text: str
    marks: tuple[tuple[str, str], ...] = ()

    def restored(self, text: str) -> str:
        """An answer with the caller's own words in place of their marks."""
        for mark, value in self.marks:
            text = text.replace(mark, value)
        return text


class Identifiers:
    """Masks questions by a domain's privacy profile."""

    def __init__(self, settings: Settings, workers: int = 1) -> None:
        self._settings, self._workers = settings, workers
        self._pool: ProcessPoolExecutor | None = None
        self._built: set[str] = set()

    async def mask(self, question: str, privacy: Privacy) -> Masked:
        """MaskingFailed, never quoting the question, when it cannot be masked: it must not go on then."""
        if privacy.profile == "public" and not privacy.also:
            return _contacts(question)
        try:
            return Masked(*await self._mark(question, privacy))
        except TimeoutError:
            raise MaskingFailed("masking took too long", todo="try again; see var/logs/gateway.log") from None
        except BrokenExecutor:
            # A worker that was killed breaks the whole pool; the next question starts another.
            self.close()
            raise MaskingFailed("the masking process is gone", todo="try again") from None

    async def warm(self, profiles: Mapping[str, Privacy]) -> None:
        """Build the recognisers of these domains before the first question: it takes seconds."""
        for privacy in profiles.values():
            if privacy.profile != "public" or privacy.also:
                await self._mark("", privacy)

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
            self._built.clear()

    async def _mark(self, question: str, privacy: Privacy) -> tuple[str, tuple[tuple[str, str], ...]]:
        profile = privacy.model_dump_json()
        async with asyncio.timeout(SECONDS if profile in self._built else BUILD_SECONDS):
            found = await asyncio.get_running_loop().run_in_executor(self._workers_of(), _mark, question, profile)
        self._built.add(profile)
        return found

    def _workers_of(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Spawned: a fork of a process with threads and an event loop may hang.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, mp_context=context, initializer=_begin, initargs=(self._settings,))
        return self._pool


def _contacts(question: str) -> Masked:
    marks: dict[str, str] = {}
    pieces, last = [], 0
    for start, end in direct.spans(question):
        value = question[start:end]
        mark = marks.setdefault(value, f"[CONTACT-{len(marks) + 1}]")
        pieces += [question[last:start], mark]
        last = end
    if not marks:
        return Masked(question)
    return Masked("".join([*pieces, question[last:]]), tuple((mark, value) for value, mark in marks.items()))


_settings: Settings | None = None
_maskers: dict[str, object] = {}


def _begin(settings: Settings) -> None:
    global _settings
    _settings = settings


def _mark(question: str, privacy: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """In a worker process."""
    from pipelines.masking.mask import Masker

    assert _settings is not None  # noqa: S101 - the initializer has run
    if privacy not in _maskers:
        _maskers[privacy] = Masker.open(_settings, Privacy.model_validate_json(privacy))
    masker = _maskers[privacy]
    assert isinstance(masker, Masker)  # noqa: S101 - put there above
    text, marks = masker.marked(question)
    return text, tuple(marks)
