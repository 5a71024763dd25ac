"""Praat TextGrid, long text format. `<stem>_doctor` and `<stem>_patient` are one dialogue, read with the doctor's file."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from pipelines.intake.formats.documents import head, record
from pipelines.intake.formats.files import Bad, File, Found, Job, whole_text

_TIER = re.compile(r'^\s*name = "(?P<name>(?:[^"]|"")*)"', re.MULTILINE)
_INTERVAL = re.compile(r'xmin = (?P<xmin>[\d.]+)\s+xmax = (?P<xmax>[\d.]+)\s+text = "(?P<text>(?:[^"]|"")*)"', re.MULTILINE)
_MARK = re.compile(r"</?[A-Z_]+/?>")


def read_textgrid(file: File, job: Job) -> Found:
    """One record: the turns of all tiers in order of time. Of a pair, the patient's file yields nothing of its own."""
    other = twin_name(file.name)
    twin = file.beside(other) if other else None
    if twin is not None and file.stem.endswith("_patient"):
        return
    turns = _turns(whole_text(file, job))
    name = file.name
    if twin is not None:
        try:
            # The tiers of a pair may both be named "Speaker": the files say who is who.
            turns = _said_by("Doctor", turns) + _said_by("Patient", _turns(whole_text(twin, job)))
        except Bad as bad:
            raise Bad(bad.refusal.place, f"the other speaker's file: {bad.refusal.reason}") from None
        name = file.stem.removesuffix("_doctor") + file.suffix
    lines = [f"{speaker}: {words}" for _, speaker, words in sorted(turns, key=lambda turn: turn[0])]
    if not lines:
        raise Bad("", "the TextGrid holds no speech")
    yield record(head(File(name, None, file.open), job), "\n".join(lines))


def pair_of(path: Path) -> Path | None:
    """The other speaker's TextGrid beside this one, if there is one."""
    name = twin_name(path.name)
    twin = path.with_name(name) if name else None
    return twin if twin is not None and twin.is_file() and not twin.is_symlink() else None


def twin_name(name: str) -> str | None:
    """What the other speaker's file is called."""
    path = PurePosixPath(name)
    if path.suffix.lower() == ".textgrid":
        for mine, other in (("_doctor", "_patient"), ("_patient", "_doctor")):
            if path.stem.endswith(mine):
                return path.stem.removesuffix(mine) + other + path.suffix
    return None


def _said_by(speaker: str, turns: list[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    return [(start, speaker, words) for start, _, words in turns]


def _turns(text: str) -> list[tuple[float, str, str]]:
    """(start in seconds, speaker, words) of every interval with speech."""
    tiers = list(_TIER.finditer(text))
    if "ooTextFile" not in text[:200] or "TextGrid" not in text[:400] or not tiers:
        raise Bad("", "not a Praat TextGrid in the long text format")
    found: list[tuple[float, str, str]] = []
    for tier, following in zip(tiers, [*tiers[1:], None], strict=True):
        end = len(text) if following is None else following.start()
        for interval in _INTERVAL.finditer(text, tier.end(), end):
            words = " ".join(_MARK.sub(" ", interval["text"].replace('""', '"')).split())
            if words:
                try:
                    found.append((float(interval["xmin"]), tier["name"], words))
                except ValueError:
                    raise Bad("", "a time in the TextGrid is not a number") from None
    return found
