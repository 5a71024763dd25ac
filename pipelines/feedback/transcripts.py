"""Conversations that arrive as files, with a verdict on each: those that failed go to the review queue.

A line of JSON is a conversation: {"messages" or "traj": [{"role", "content"}, ...], "reward": 0 to 1 or "rating": up or down}. Reward 0, or
a thumb down, is a failure. Turns of the user and of the assistant are taken, masked; system prompts, tool calls, their results and whatever
else the line holds are not.

The question is the user's first request: the first turn of four words or more, else the first. Later turns lean on what came before them,
and the last one that is answered is more often "yes, please go ahead" than what went wrong. The answer is the assistant's last turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings
from pipelines.errors import BadInput, MaskingFailed
from pipelines.feedback import opening, texts
from pipelines.feedback.fingerprint import fingerprint
from pipelines.feedback.opening import Found
from pipelines.feedback.texts import Text, Turn
from pipelines.governance import audit
from pipelines.intake.landing import file_id
from pipelines.manifest import sha256, sha256_file
from pipelines.masking.mask import Masker
from pipelines.state.database import reading, transaction
from pipelines.state.models import MonitorMark, now

MARK = "transcripts"
LINE_BYTES = 4_000_000
LINES = 20_000
"""Conversations of one file."""
TURNS = 500
TURN_CHARACTERS = 20_000
FILES = 2_000
"""Files that are remembered, so that one that comes again adds nothing."""
FAULTS = 200
"""Bad lines of a file that are told one by one; all are counted."""
_WORDS = 4


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: str = Field(max_length=40)
    content: str | list[dict[str, Any]] | None = None

    def plain(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(str(part["text"]) for part in self.content if isinstance(part.get("text"), str)).strip()
        return (self.content or "").strip()


class _Conversation(BaseModel):
    model_config = ConfigDict(extra="ignore")

    messages: list[_Message] | None = Field(None, max_length=20 * TURNS)
    traj: list[_Message] | None = Field(None, max_length=20 * TURNS)
    reward: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    rating: Literal["up", "down"] | None = None

    @property
    def failed(self) -> bool | None:
        """None where the line does not say."""
        if self.reward is not None:
            return self.reward == 0
        return None if self.rating is None else self.rating == "down"

    def turns(self) -> list[tuple[Literal["user", "assistant"], str]]:
        said = [(one.role, one.plain()) for one in self.messages or self.traj or []]
        return [("user" if role == "user" else "assistant", text) for role, text in said if role in ("user", "assistant") and text]


@dataclass(frozen=True, slots=True)
class _Failed:
    number: int
    digest: str
    """SHA-256 of the masked turns."""
    turns: tuple[Turn, ...]


class _Bad(ValueError):
    """Why a line is not taken; never its value."""


def transcripts(
    settings: Settings, domain: DomainConfig, files: Sequence[Path], uploader: str, at: datetime | None = None
) -> list[dict[str, Any]]:
    """Take in files of conversations. One account a file: {"file", "state" (taken | known | refused), "reason", "lines", "failed", "well",
    "unrated", "opened", "extended", "repeated", "bad", "faults": [{"line", "reason"}]}; lines = failed + well + unrated + bad.

    `file` is a hash: names of files may hold a person's. A file that came before adds nothing, nor does a conversation that did. BadInput
    where the domain keeps no text for review. MaskingFailed, before anything is read, where masking cannot run.
    """
    if domain.feedback.keep == "none" or (domain.feedback.keep == "public" and domain.privacy.profile != "public"):
        raise BadInput("this domain keeps no text for review", where=domain.domain, todo="set feedback.keep: sealed in the domain file")
    masker = Masker.open(settings, domain.privacy)
    return [_one_file(settings, domain, path, uploader, masker, at or now()) for path in files]


def _one_file(settings: Settings, domain: DomainConfig, path: Path, uploader: str, masker: Masker, at: datetime) -> dict[str, Any]:
    most = int(domain.sources.max_file_mb * 1_000_000)
    if path.is_symlink() or not path.is_file():
        raise BadInput("this is not a file", where=path.name, todo="name files of JSON lines")
    digest = sha256_file(path)
    told: dict[str, Any] = {"file": file_id(digest, path.name), "state": "taken", "reason": None}
    counts: Counter[str] = Counter(lines=0, failed=0, well=0, unrated=0, opened=0, extended=0, repeated=0, bad=0)
    if path.stat().st_size > most:
        return {**told, "state": "refused", "reason": f"the file is larger than {domain.sources.max_file_mb:g} MB", **counts, "faults": []}
    with reading(settings) as session:
        if digest in _files(session, domain.domain):
            return {**told, "state": "known", "reason": "it was taken before", **counts, "faults": []}
    faults: list[dict[str, Any]] = []
    failed = list(_failed(path, domain, masker, counts, faults))
    with transaction(settings) as session:
        known = _files(session, domain.domain)
        if digest in known:
            counts = Counter({name: 0 for name in counts})
            return {**told, "state": "known", "reason": "it was taken before", **counts, "faults": []}
        for one in failed:
            counts[_enter(session, settings, domain, one, uploader, at)] += 1
        mark = session.get(MonitorMark, (domain.domain, MARK)) or MonitorMark(domain=domain.domain, name=MARK)
        mark.state = {"files": [*known, digest][-FILES:]}
        session.add(mark)
        detail = {**told, **counts}
        audit.record(session, actor=uploader, action="feedback.transcripts", subject=domain.domain, detail=detail)
    return {**told, **counts, "faults": faults}


def _failed(path: Path, domain: DomainConfig, masker: Masker, counts: Counter[str], faults: list[dict[str, Any]]) -> Iterator[_Failed]:
    """The conversations of a file that failed, masked; the others are counted."""
    for number, line in _lines(path):
        counts["lines"] += 1
        try:
            if number > LINES:
                raise _Bad(f"a file may hold {LINES:,} conversations")
            found = _read(line, domain.sources.limits.depth)
            if not found.failed:
                counts["unrated" if found.failed is None else "well"] += 1
                continue
            turns = tuple(Turn(role=role, text=masker.mask(text).text) for role, text in found.turns())
        except (_Bad, MaskingFailed) as error:
            counts["bad"] += 1
            if len(faults) < FAULTS:
                reason = str(error) if isinstance(error, _Bad) else f"it cannot be masked: {error.what}"
                faults.append({"line": number, "reason": reason})
            continue
        counts["failed"] += 1
        yield _Failed(number, sha256([[one.role, one.text] for one in turns]), turns)


def _lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines that are not blank; None for one that is too long, which is never in memory whole."""
    with path.open("rb") as file:
        number = 0
        while piece := file.readline(LINE_BYTES + 1):
            number += 1
            if len(piece) > LINE_BYTES:
                while piece and not piece.endswith(b"\n"):
                    piece = file.readline(LINE_BYTES)
                yield number, None
            elif piece.strip():
                yield number, piece


def _read(line: bytes | None, depth: int) -> _Conversation:
    import orjson

    if line is None:
        raise _Bad(f"the line is longer than {LINE_BYTES // 1_000_000} MB")
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise _Bad("not JSON") from None
    if _deeper(value, depth):
        raise _Bad(f"nested deeper than {depth}")
    try:
        found = _Conversation.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        raise _Bad(f"{'.'.join(str(part) for part in fault['loc']) or 'line'}: {fault['msg']}") from None
    turns = found.turns()
    if not turns:
        raise _Bad("messages: no turn of the user or the assistant holds text")
    if len(turns) > TURNS:
        raise _Bad(f"messages: more than {TURNS} turns")
    if any(len(text) > TURN_CHARACTERS for _, text in turns):
        raise _Bad(f"messages: a turn of more than {TURN_CHARACTERS:,} characters")
    if {role for role, _ in turns} != {"user", "assistant"}:
        raise _Bad("messages: nobody asked, or nobody answered")
    return found


def _deeper(value: Any, depth: int) -> bool:
    level: list[Any] = [value]
    for _ in range(depth):
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())]
        if not level:
            return False
    return True


def _enter(session: Session, settings: Settings, domain: DomainConfig, one: _Failed, uploader: str, at: datetime) -> str:
    asked = [turn.text for turn in one.turns if turn.role == "user"]
    question = next((text for text in asked if len(text.split()) >= _WORDS), asked[0])
    answer = next(turn.text for turn in reversed(one.turns) if turn.role == "assistant")
    name = fingerprint(question)
    known = opening.find(session, domain.domain, name)
    if known is not None and known.state != "expired" and one.digest[:16] in known.signals.get("conversations", ()):
        return "repeated"
    text = Text(
        question=texts.tidy(domain, question), answer=answer, as_of=settings.day(), turns=one.turns, raised_by=uploader
    )  # fmt: skip
    signals = {"conversations": [one.digest[:16]], "turns": len(one.turns)}
    _, opened = opening.enter(session, settings, domain, Found(name, "transcript", text, at, None, signals), at)
    return "opened" if opened else "extended"


def _files(session: Session, domain: str) -> list[str]:
    mark = session.get(MonitorMark, (domain, MARK))
    return list(mark.state.get("files", ())) if mark is not None else []
