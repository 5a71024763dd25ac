"""What an arrival of 100 documents costs in a corpus of any size: `python -m tests.bench.bench_corpus FOLDER [OUT.json] [SIZE...]`.

Each size gets a table of its own under FOLDER, filled with synthetic rows straight into Iceberg, and a ledger of as many documents. Then:

new       an arrival of 100 documents whose keys are new
mixed     one of 90 new documents and 10 that supersede others, chosen at random
diff      `ratchet datasets diff` of the versions before and after a mixed arrival
lineage   of a document, a file and the newest version

Medians of `TURNS`, with the slowest beside them. Nothing here is asserted.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from pipelines.config import DomainConfig, Settings, load_domain, load_settings
from pipelines.corpus import places, table, warehouse
from pipelines.corpus.documents import Document, digest, document
from pipelines.registry import lineage, views
from pipelines.state.database import migrate, transaction
from pipelines.state.models import Arrival, ArrivalItem, DatasetVersion

TURNS = 11
SIZES = (1_000, 100_000, 1_000_000)
PER_ARRIVAL = 100
WORDS = "the creditor shall provide the disclosures required by this section clearly and conspicuously in writing".split()  # noqa: SIM905


def main(argv: list[str]) -> int:
    """Print the table; write JSON where a second argument says so."""
    root = Path(argv[0])
    sizes = [int(size) for size in argv[2:]] or list(SIZES)
    rows = [measure(root / str(size), size) for size in sizes]
    for name in ("new", "mixed"):
        for row in rows:
            row[f"{name}_ratio"] = round(row[f"{name}_s"] / rows[0][f"{name}_s"], 2)
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))  # noqa: T201
    for row in rows:
        print("| " + " | ".join(str(row[name]) for name in columns) + " |")  # noqa: T201
    if len(argv) > 1:
        Path(argv[1]).write_text(json.dumps(rows, indent=2), encoding="utf-8")
    return 0


def doc(number: int, turn: int = 0) -> Document:
    """A text of some 600 characters under a key that looks like a surrogate."""
    draw = random.Random(number * 1_000 + turn)  # noqa: S311
    text = " ".join(draw.choices(WORDS, k=90))
    return document(key=f"note-{_key(number)}", title="A note", text=text, valid_from=f"20{11 + turn:02}-01-01", arrival_id="bench")


def _key(number: int) -> str:
    return f"{(number * 0x9E3779B97F4A7C15) % 2**64:016x}"


def measure(folder: Path, size: int) -> dict[str, Any]:
    """One size: fill, then time."""
    shutil.rmtree(folder, ignore_errors=True)
    settings = load_settings({"RATCHET_VAR": str(folder)})
    domain = load_domain("regulatory", settings)
    migrate(settings)
    began = time.perf_counter()
    versions = [fill(settings, domain, size)]
    filled = time.perf_counter() - began
    new = [_arrive(settings, domain, versions, [doc(size + turn * PER_ARRIVAL + n) for n in range(PER_ARRIVAL)]) for turn in range(TURNS)]
    draw = random.Random(size)  # noqa: S311
    mixed = []
    for turn in range(TURNS):
        fresh = [doc(size + (TURNS + turn) * PER_ARRIVAL + n) for n in range(90)]
        mixed.append(_arrive(settings, domain, versions, fresh + [doc(n, 1 + turn) for n in draw.sample(range(size), 10)]))
    diffs = [_timed(partial(views.diff, settings, *pair)) for pair in list(pairwise(versions))[-5:]]
    names = {"key": doc(size // 2).key, "file": f"{size // 2 // PER_ARRIVAL:016x}.csv", "version": versions[0]}
    traces = {}
    for kind, name in names.items():
        traces[f"lineage_{kind}_s"] = round(min(_timed(partial(lineage.trace, settings, name)) for _ in range(3)), 3)
    return {
        "documents": size,
        "new_s": round(median(new), 3),
        "new_max_s": round(max(new), 3),
        "mixed_s": round(median(mixed), 3),
        "mixed_max_s": round(max(mixed), 3),
        "diff_s": round(median(diffs), 3),
        **traces,
        "fill_s": round(filled, 1),
        "disk_mb": round(sum(path.stat().st_size for path in settings.warehouse.rglob("*") if path.is_file()) / 1e6),
    }


def fill(settings: Settings, domain: DomainConfig, size: int) -> str:
    """Synthetic rows into the table and the ledger, and the version over them. The index of places is made here too."""
    from pipelines.corpus.amendments import Row

    opened = table.open_or_create(settings, domain.domain)
    version = f"{domain.dataset}_v1.0"
    for start in range(0, size, 50_000):
        rows = [Row(doc(number)) for number in range(start, min(start + 50_000, size))]
        stored = table.in_order(table.to_arrow(rows, lambda: 1 / 0, seal=False))  # type: ignore[arg-type, return-value]
        pieces = [table.write(opened, stored.slice(at, table.ROWS_PER_FILE)) for at in range(0, len(stored), table.ROWS_PER_FILE)]
        table.replace(opened, "main", [], pieces, {})
        opened.refresh()
        with transaction(settings) as session:
            for at in range(0, len(rows), PER_ARRIVAL):
                number = (start + at) // PER_ARRIVAL
                session.add(_arrival(domain.domain, number))
                session.flush()
                lines = [
                    {"arrival_id": f"a{number}", "file": f"{number:016x}.csv", "place": f"row {n}", "key": row.document.key,
                     "content": row.document.content, "state": "accepted"}
                    for n, row in enumerate(rows[at : at + PER_ARRIVAL])
                ]  # fmt: skip
                session.execute(ArrivalItem.__table__.insert(), lines)  # type: ignore[attr-defined]
    snapshot = opened.current_snapshot().snapshot_id
    opened.manage_snapshots().create_tag(snapshot, version).commit()
    with places.at(settings, domain.domain, opened, snapshot) as known:
        content = digest(known.state)
    with transaction(settings) as session:
        # As many versions as arrivals, all but the last without a tag: what lineage has to go through.
        last = (size - 1) // PER_ARRIVAL
        for number in range(last + 1):
            name = version if number == last else f"before{number}"
            parent = f"before{number - 1}" if number else None
            session.add(
                DatasetVersion(id=name, domain=domain.domain, major=0 if number < last else 1, minor=number if number < last else 0,
                               snapshot_id=str(snapshot), arrival_id=f"a{number}", known_on="2011-01-01", documents=size, changed={},
                               content=content, parent_id=parent)
            )  # fmt: skip
    return version


def _arrival(domain: str, number: int) -> Arrival:
    return Arrival(id=f"a{number}", domain=domain, folder=f"f{number}", seal=f"{number:064x}", uploader="bench", source="bench",
                   effective="2011-01-01", files=1, state="accepted", claimed_dag="bench.fill", claimed_run="fill")  # fmt: skip


def _arrive(settings: Settings, domain: DomainConfig, versions: list[str], rows: list[Document]) -> float:
    """Publish an arrival; seconds of the warehouse's part."""
    number = len(versions)
    parent = warehouse.versions(settings, domain.domain)[versions[-1]]
    name = f"{domain.dataset}_v1.{number}"
    took = _timed(lambda: warehouse.publish(settings, domain, f"bench{number}", rows, version_id=name, parent_snapshot=parent))
    with transaction(settings) as session:
        session.add(
            DatasetVersion(id=name, domain=domain.domain, major=1, minor=number, snapshot_id="1", arrival_id=f"bench{number}",
                           known_on="2011-01-01", documents=0, changed={}, content="", parent_id=versions[-1])
        )  # fmt: skip
    versions.append(name)
    return took


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
