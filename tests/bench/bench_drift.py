"""How far texts drift, where the plan's threshold comes from: `python -m tests.bench.bench_drift SHARED_DATA [OUT.json]`.

Per row: divergence in bits, from what was there, of the new text alone, and of old and new together, which is what the plan uses.
Consultations are taken unmasked, regulations by paragraph.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pipelines.config import load_domain, load_settings
from pipelines.corpus.documents import Document, document
from pipelines.intake.formats import RawRecord, read
from pipelines.training.drift import divergence, profile


def main(argv: list[str]) -> int:
    """Print the table; write JSON where a second argument says so."""
    data = Path(argv[0])
    days = {f"day{number}": _notes(data / "primock57" / "notes", number) for number in range(1, 6)}
    law = data / "cfpb_regulations"
    texts = [_paragraphs(path) for path in sorted((law / "regulation" / "1013").glob("*.xml"))]
    first, newest = texts[0], texts[-1]
    notices = {path.stem: _paragraphs(path) for path in sorted((law / "notice" / "1013").glob("*.xml"))}
    others = {part: _paragraphs(min((law / "regulation" / part).glob("*.xml"))) for part in ("1002", "1016")}
    rows = [_row("Regulation M", name, first, texts_of) for name, texts_of in notices.items()]
    rows += [_row("Regulation M", f"part {part}", first, texts_of) for part, texts_of in others.items()]
    rows.append(_row("day1", "one note of day1 again", days["day1"], days["day1"][:1]))
    rows += [_row("day1", name, days["day1"], days[name]) for name in sorted(days)[1:]]
    rows.append(_row("Regulation M", "day1", first, days["day1"]))
    whole = {"was": "Regulation M", "new": "its text of 2017", "documents": len(newest), "replaced": _bits(first, newest)}
    for row in rows:
        print(f"{row['was']:<14}{row['new']:<26}{row['documents']:>5}{row['alone']:>9.4f}{row['together']:>9.4f}")  # noqa: T201
    print(f"{whole['was']:<14}{whole['new']:<26}{whole['documents']:>5}{'':>9}{whole['replaced']:>9.4f}")  # noqa: T201
    if len(argv) > 1:
        Path(argv[1]).write_text(json.dumps([*rows, whole], indent=2), encoding="utf-8")
    return 0


def _row(was: str, new: str, before: list[Document], come: list[Document]) -> dict[str, object]:
    alone, together = _bits(before, come), _bits(before, [*before, *come])
    return {"was": was, "new": new, "documents": len(come), "alone": alone, "together": together}


def _bits(one: list[Document], other: list[Document]) -> float:
    return round(divergence(profile(one, ()).words, profile(other, ()).words), 4)


def _notes(folder: Path, day: int) -> list[Document]:
    told = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob(f"day{day}_*.json"))]
    return [_document(str(number), f"{one['presenting_complaint']} {one['note']}") for number, one in enumerate(told)]


def _paragraphs(path: Path) -> list[Document]:
    sources = load_domain("regulatory", load_settings()).sources
    found = read(path, sources, effective="2012-01-01", where="")
    return [_document(one.key, one.text) for one in found if isinstance(one, RawRecord) and one.text]


def _document(key: str, text: str) -> Document:
    return document(key=key, title="", text=text, valid_from="2012-01-01", arrival_id="a")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
