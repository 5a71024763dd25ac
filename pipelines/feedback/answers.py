"""What a reviewer's verdict says in words: which answer, resting on which passage, and whether it may be learned from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pipelines.config import DomainConfig, Privacy, Settings
from pipelines.corpus import corrections, warehouse
from pipelines.corpus.documents import Document
from pipelines.errors import BadInput
from pipelines.feedback.texts import Passage, Text
from pipelines.masking import direct
from pipelines.retrieval.spans import flatten, occurs

LONGEST = 4_000
"""Characters of an answer; half of it of a note."""
VERDICTS = ("accept", "edit", "reject", "escalate")
KINDS = ("example", "golden", "regression")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The answer that a verdict stands for."""

    answer: str | None = None
    """None: nothing states it."""
    cites: str | None = None
    passage: Passage | None = None
    own: bool = False
    """The reviewer's own words: nobody else has said or read them."""


def chosen(
    settings: Settings, domain: DomainConfig, text: Text, verdict: str, answer: str | None, cited: str | None, others: list[str | None]
) -> Chosen | None:
    """What is accepted; None for `reject` and `escalate`. `others`: answers of reviewers that this one may see.

    accept: the answer named, which somebody gave or suggested before; without one the suggested correction, else the answer as given.
    edit: the reviewer's own; None for "nothing states it". BadInput, with what to do, for an answer that cannot be learned from.
    """
    if verdict not in VERDICTS:
        raise BadInput("there is no such verdict", where="verdict", todo=f"one of {', '.join(VERDICTS)}")
    if verdict in ("reject", "escalate"):
        if answer is not None or cited is not None:
            raise BadInput(f"`{verdict}` takes no answer", where="answer", todo="leave it out, or use `edit`")
        return None
    extracts = domain.task.kind == "grounded_extraction"
    given = text.span if extracts else text.answer.strip() or None
    known = [given, *(one.text for one in text.suggestions), *others]
    if verdict == "accept":
        wanted = answer if answer is not None else text.suggested if text.suggested is not None else given
        if wanted is not None and not any(one is not None and flatten(one) == flatten(wanted) for one in known):
            raise BadInput("nobody gave or suggested that answer", where="answer", todo="use `edit` for an answer of your own")
    else:
        wanted = answer
    if wanted is not None and (not wanted.strip() or len(wanted) > LONGEST):
        raise BadInput("the answer is empty or too long", where="answer", todo=f"up to {LONGEST:,} characters, or leave it out")
    if extracts:
        return _extracted(settings, domain, text, wanted, cited)
    if wanted is None:
        raise BadInput("there is no answer to learn from", where="answer", todo="write the right one with `edit`, or reject")
    own = verdict == "edit" and not any(one is not None and flatten(one) == flatten(wanted) for one in known)
    return Chosen(masked(settings, domain, wanted.strip()) if own else wanted.strip(), None, None, own)


def kinds(wanted: dict[str, Any] | None) -> dict[str, bool]:
    """What an accepted answer becomes: an example unless said otherwise. BadInput for a kind that there is not."""
    if wanted is None:
        return {"example": True, "golden": False, "regression": False}
    if unknown := sorted(set(wanted) - set(KINDS)):
        raise BadInput(f"nothing becomes a {unknown[0]!r}", where="kinds", todo=f"kinds are {', '.join(KINDS)}")
    return {kind: bool(wanted.get(kind, False)) for kind in KINDS}


def masked(settings: Settings, domain: DomainConfig, text: str) -> str:
    """A reviewer's own words without identifiers, by the domain's profile. MaskingFailed when they cannot be masked."""
    privacy = domain.privacy
    if privacy.profile == "public" and not privacy.also:
        return direct.mask(text)
    return str(_masker(settings, privacy.model_dump_json()).mask(text).text)


def _extracted(settings: Settings, domain: DomainConfig, text: Text, answer: str | None, cited: str | None) -> Chosen:
    if answer is None:
        # The nearest passage is named all the same: an example shows what does not state it.
        shown = cited or text.cited or (text.passages[0].key if text.passages else None)
        if cited is not None and cited not in {one.key for one in text.passages}:
            _passages_of(settings, domain, cited, text.as_of)
        return Chosen(None, shown, next((one for one in text.passages if one.key == shown), None))
    answer = flatten(answer)
    passages = list(text.passages)
    if cited is not None:
        passages = [one for one in passages if one.key == cited] or _passages_of(settings, domain, cited, text.as_of)
    stating = [one for one in passages if occurs(answer, one.text)]
    if not stating:
        where = f"any passage of {cited}" if cited else "any passage that was shown"
        todo = "copy the words from a passage, or name the key of the document that states them; leave the answer out where nothing does"
        raise BadInput(f"the answer does not stand, word for word, in {where}", where="answer", todo=todo)
    passage = next((one for one in stating if one.key == text.cited), stating[0])
    return Chosen(answer, passage.key, passage)


def _passages_of(settings: Settings, domain: DomainConfig, key: str, as_of: str) -> list[Passage]:
    """The passages of a document of the newest dataset version, by its text in force on that day, else by its newest."""
    from pipelines.retrieval.chunks import chunks

    row = _document(settings, domain.domain, key, as_of)
    if row is None:
        todo = "name a key of the newest dataset version: `ratchet datasets show` lists versions"
        raise BadInput(f"there is no document {key[:80]!r} with a text in force", where="cited", todo=todo)
    return [
        Passage(key=one.key, content=one.content, paragraph=one.paragraph, title=one.title, text=one.text)
        for one in chunks(row, domain.retrieval)
    ]


def _document(settings: Settings, domain: str, key: str, as_of: str) -> Document | None:
    versions = list(warehouse.versions(settings, domain))
    if not versions or corrections.is_one(key):
        return None
    rows = [row for row in warehouse.documents(settings, domain, versions[-1]) if row.key == key]
    live = [row for row in rows if not row.withdrawn and not row.erased]
    return next((row for row in live if row.holds(as_of)), live[-1] if live else None)


@lru_cache(maxsize=4)
def _masker(settings: Settings, privacy: str) -> Any:
    from pipelines.masking.mask import Masker

    return Masker.open(settings, Privacy.model_validate_json(privacy))
