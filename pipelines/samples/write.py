"""Writes every sample, and breaks a seal on purpose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.errors import NotFound
from pipelines.intake.landing import SEAL_NAME
from pipelines.samples import clinical, regulatory, regulatory_files, suites
from pipelines.writing import write_text

SEED = 7

DELIVERIES: tuple[dict[str, str], ...] = (
    {"domain": "regulatory", "folder": "regulatory/01-base", "effective": regulatory.BASE_DATE, "source": "sample"},
    {"domain": "regulatory", "folder": "regulatory/02-amendment", "effective": regulatory.AMENDMENT_DATE, "source": "sample"},
    {"domain": "regulatory", "folder": "regulatory/03-broken", "effective": "2014-08-01", "source": "sample"},
    {"domain": "regulatory", "folder": "regulatory/04-worse", "effective": regulatory.WORSE_DATE, "source": "sample"},
    {"domain": "clinical", "folder": "clinical/01-notes", "effective": clinical.NOTES_DATE, "source": "sample"},
    {"domain": "clinical", "folder": "clinical/02-notes", "effective": clinical.MORE_DATE, "source": "sample"},
)


def write(out: Path, seed: int = SEED) -> None:
    """`regulatory/`, `clinical/`, `goldens/`, `suites/`, `planted.json` (raw identifiers), `deliveries.json` (what arrives when)."""
    regulatory_files.write(out / "regulatory", seed)
    clinical.write(out / "clinical", seed)
    _replace(out / "goldens" / "regulatory.jsonl", _lines(regulatory.goldens(seed)))
    _replace(out / "goldens" / "clinical.jsonl", _lines(clinical.goldens(seed)))
    for name, rows in suites.files().items():
        _replace(out / "suites" / name, _lines(rows))
    _replace(out / "planted.json", json.dumps(clinical.planted(seed), indent=1, ensure_ascii=False) + "\n")
    _replace(out / "deliveries.json", json.dumps(DELIVERIES, indent=1) + "\n")


def break_seal(folder: Path) -> None:
    """Change one sealed file behind its seal's back, as a transfer gone wrong would."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SEAL_NAME)
    if not files or not (folder / SEAL_NAME).is_file():
        raise NotFound("there is no sealed file to break", where=folder.name, todo="deliver the folder first")
    data = files[0].read_bytes()
    files[0].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
