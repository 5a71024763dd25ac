"""The Model Consumer Leasing Rule as four deliveries of RegML: the rule, its amendment, one to break the seal of, one badly scanned."""

from __future__ import annotations

import random
from html import escape
from pathlib import Path

from pipelines.samples.regulatory import (
    AMENDMENT,
    AMENDMENT_DATE,
    BASE,
    BASE_DATE,
    PART,
    TITLE,
    WORSE,
    WORSE_DATE,
    Paragraph,
    amended,
    paragraphs,
    section_title,
)
from pipelines.writing import write_text

_XMLNS = 'xmlns="eregs"'


def write(out: Path, seed: int) -> None:
    """Four folders below `out`, each the files of one delivery."""
    _write(out / "01-base" / f"{BASE}.xml", _regulation(paragraphs(seed)))
    _write(out / "02-amendment" / f"{AMENDMENT}.xml", _notice([amended(seed)], AMENDMENT, AMENDMENT_DATE, BASE))
    _write(out / "03-broken" / "2014-90009.xml", _notice([_spare(seed)], "2014-90009", "2014-08-01", AMENDMENT))
    _write(out / "04-worse" / f"{WORSE}.xml", _notice(_scanned(seed), WORSE, WORSE_DATE, AMENDMENT))


def _spare(seed: int) -> Paragraph:
    """A harmless change, for the delivery whose seal the caller breaks."""
    plain = next(p for p in paragraphs(seed) if not p.title)
    return Paragraph(plain.label, "", f"{plain.text} Nothing else follows from this.")


def _scanned(seed: int) -> list[Paragraph]:
    """Every paragraph with a fact, as a bad scan reads it: figures full of letters, sentences broken off."""
    rng = random.Random(seed + 1)  # noqa: S311
    like = {"0": "O", "1": "l", "2": "Z", "3": "E", "4": "A", "5": "S", "6": "b", "7": "?", "8": "B", "9": "g"}
    broken: list[Paragraph] = []
    for paragraph in paragraphs(seed):
        if not paragraph.title:
            continue
        # At least every other digit, so that no figure comes through whole.
        text = "".join(like[c] if c.isdigit() and (i % 2 or rng.random() < 0.8) else c for i, c in enumerate(paragraph.text))
        words = [word if rng.random() < 0.75 else word[::-1].upper() for word in text.split()]
        if any(c.isdigit() for c in "".join(words)):
            words = ["".join(like.get(c, c) for c in word) for word in words]
        broken.append(Paragraph(paragraph.label, "", " ".join(words)))
    return broken


def _regulation(rule: list[Paragraph]) -> str:
    sections: dict[str, list[Paragraph]] = {}
    interpretations: list[Paragraph] = []
    for paragraph in rule:
        if "-Interp-" in paragraph.label:
            interpretations.append(paragraph)
        else:
            sections.setdefault(paragraph.label.rsplit("-", 1)[0], []).append(paragraph)
    body = "\n".join(
        f'<section label="{label}" sectionNum="{label.split("-")[1]}"><subject>{section_title(label)}</subject>\n'
        + "\n".join(_element(paragraph, "paragraph") for paragraph in held)
        + "\n</section>"
        for label, held in sorted(sections.items(), key=lambda item: int(item[0].split("-")[1]))
    )
    lines = "\n".join(_element(paragraph, "interpParagraph") for paragraph in interpretations)
    return f"""<?xml version='1.0' encoding='UTF-8'?>
<!-- {TITLE}. Written by pipelines.samples; every figure is invented. -->
<regulation {_XMLNS}>
{_front("regulation", BASE, BASE_DATE)}
<part label="{PART}"><content><subpart label="{PART}-Subpart"><content>
{body}
</content></subpart>
<interpretations label="{PART}-Interp"><title>Supplement I: commentary (generated sample, not law)</title>
<interpSection label="{PART}-2-Interp"><title>Section {PART}.2 Definitions</title>
<interpParagraph label="{PART}-2-e-Interp" target="{PART}-2-e"><title>2(e) Consumer lease</title><content/>
<interpParagraph label="{PART}-2-e-Interp-9" marker="9."><title type="keyterm">Threshold amount.</title>
<content>A consumer lease is exempt if its total contractual obligation exceeds the amount stated below for that period.</content>
{lines}
</interpParagraph></interpParagraph></interpSection></interpretations>
</content></part>
</regulation>
"""


def _front(kind: str, number: str, effective: str) -> str:
    letter = "<regLetter>ZZ</regLetter>" if kind == "notice" else ""
    return f"""<fdsys><cfrTitleNum>12</cfrTitleNum><cfrTitleText>Generated sample</cfrTitleText><volume>0</volume><date>{effective}</date>
<originalDate>{BASE_DATE}</originalDate><title>{TITLE}</title></fdsys>
<preamble><agency>Bureau of Generated Samples</agency>{letter}<cfr><title>12</title><section>{PART}</section></cfr>
<documentNumber>{number}</documentNumber><effectiveDate>{effective}</effectiveDate></preamble>"""


def _notice(changes: list[Paragraph], number: str, effective: str, before: str) -> str:
    body = "\n".join(
        f'<change operation="modified" label="{change.label}">'
        + _element(change, "interpParagraph" if "-Interp-" in change.label else "paragraph")
        + "</change>"
        for change in changes
    )
    return f"""<?xml version='1.0' encoding='UTF-8'?>
<!-- {TITLE}: a notice. Every figure is invented. -->
<notice {_XMLNS}>
{_front("notice", number, effective)}
<changeset leftDocumentNumber="{before}" rightDocumentNumber="{number}">
{body}
</changeset>
</notice>
"""


def _element(paragraph: Paragraph, tag: str) -> str:
    marker = paragraph.label.rsplit("-", 1)[1]
    title = f'<title type="keyterm">{escape(paragraph.title)}</title>' if paragraph.title else ""
    return f'<{tag} label="{paragraph.label}" marker="({marker})">{title}<content>{escape(paragraph.text)}</content></{tag}>'


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
