"""The way of an arrival through the real steps: `python -m tests.bench.bench_ingest FOLDER [--json OUT] [--mb 5 20 80] [--corpus 1000]`.

arrivals  `ingest.claim`, `prepare` and `publish.publish` of generated JSON lines in a fresh site, once per size and privacy profile, each
          in a process of its own: documents/s, seconds of wall and processor by part, and the peak of resident memory against the size
corpus    the same steps for 100 documents into a corpus that holds so many already: all new, and 90 new with 10 that supersede others

Seconds of the processor are of this process and its children: on a busy machine they say more than the wall's. Nothing here is asserted.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from pipelines.config import PROJECT, Settings, load_domain, load_settings
from pipelines.intake import landing
from pipelines.samples import clinical
from pipelines.state.database import migrate
from pipelines.steps import ingest, publish

PROFILES = ("public", "safe_harbor")
PER_ARRIVAL = 100
TURNS = 5
PARTS = {
    "extract": ("pipelines.intake.extract", "extract"),
    "contract": ("pipelines.intake.contract", "check"),
    "open masker": ("pipelines.masking.mask.Masker", "open"),
    "mask": ("pipelines.intake.extract", "mask"),
    "screen": ("pipelines.steps.screening", "screen"),
    "stage": ("pipelines.corpus.staging", "write"),
}
"""Functions that make up `prepare`, where it looks them up."""
DOMAIN = """\
domain: bench
description: Generated text.
owner: bench
dataset: Bench
contract_version: 1
sources: {{formats: [jsonl], key: id, title: title, text: [text], subject: [{subject}], max_file_mb: 100000,
  limits: {{expanded_mb: 100000, seconds: 100000}}}}
contract:
  on_breach: refuse
  expectations:
    - {{type: ExpectTableRowCountToBeBetween, args: {{min_value: 1, max_value: 10000000}}}}
    - {{type: ExpectColumnValuesToNotBeNull, args: {{column: key}}}}
    - {{type: ExpectColumnValuesToBeUnique, args: {{column: key}}}}
    - {{type: ExpectColumnValuesToNotBeNull, args: {{column: text}}}}
    - {{type: ExpectColumnValuesToMatchRegex, args: {{column: valid_from, regex: '^\\d{{4}}-\\d{{2}}-\\d{{2}}$'}}}}
    - {{type: ExpectColumnValuesToBeBetween, args: {{column: words, min_value: 1, max_value: 100000}}}}
privacy: {{profile: {profile}}}
task: {{}}
gate: {{goldens: x.jsonl, floors: {{}}}}
"""


def main() -> int:
    """Print the tables; write JSON where it is asked for."""
    asked = _arguments()
    if asked.one is not None:
        print(json.dumps(one_arrival(asked.folder, *asked.one)))  # noqa: T201
        return 0
    found = {
        "arrivals": [_apart(asked.folder / f"{profile}-{size:g}", profile, size) for profile in asked.profiles for size in asked.mb],
        "corpus": [into_corpus(asked.folder / f"corpus-{size}", size) for size in asked.corpus],
    }
    for row in found["corpus"]:
        for kind in ("new", "mixed"):
            row[f"{kind}_cpu_ratio"] = round(row[f"{kind}_cpu"] / found["corpus"][0][f"{kind}_cpu"], 2)
    for rows in found.values():
        _print(rows)
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=2), encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    asked = argparse.ArgumentParser(prog="python -m tests.bench.bench_ingest")
    asked.add_argument("folder", type=Path)
    asked.add_argument("--json", type=Path)
    asked.add_argument("--mb", type=float, nargs="*", default=[5.0, 20.0, 80.0])
    asked.add_argument("--profiles", nargs="*", choices=PROFILES, default=["public"])
    asked.add_argument("--corpus", type=int, nargs="*", default=[])
    asked.add_argument("--one", nargs=2, metavar=("PROFILE", "MB"), help=argparse.SUPPRESS)
    return asked.parse_args()


def _print(rows: list[dict[str, Any]]) -> None:
    if rows:
        columns = list(rows[0])
        print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))  # noqa: T201
        for row in rows:
            print("| " + " | ".join(str(row.get(name, "")) for name in columns) + " |")  # noqa: T201


# --- one arrival by size ----------------------------------------------------------------------------------------------


def _apart(folder: Path, profile: str, size: float) -> dict[str, Any]:
    """In a process of its own, so that the peak is this arrival's."""
    command = [sys.executable, "-m", "tests.bench.bench_ingest", str(folder), "--one", profile, str(size)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    shutil.rmtree(folder, ignore_errors=True)
    return row


def one_arrival(folder: Path, profile: str, megabytes: str) -> dict[str, Any]:
    """Deliver, claim, prepare and publish about so many MB of text."""
    settings = site(folder, profile)
    # Everything is loaded and warm before the first byte is counted.
    _through(settings, deliver(settings, [_record(n, random.Random(n)) for n in range(20)]), "warm")  # noqa: S311
    count, size = _fill(settings, float(megabytes))
    before = _peak()
    spent: dict[str, tuple[float, float]] = {}
    with _timed_parts(spent), _timing(spent, "all"):
        _through(settings, None, "measured", spent)
    wall, cpu = spent["all"]
    return {
        "profile": profile,
        "mb": round(size / 1e6, 1),
        "documents": count,
        "documents/s": round(count / wall),
        "documents/cpu s": round(count / cpu),
        "MB/cpu s": round(size / 1e6 / cpu, 2),
        **{f"{part} (wall, cpu s)": f"{spent[part][0]:.2f}, {spent[part][1]:.2f}" for part in (*PARTS, "prepare", "publish", "all")},
        "peak MB before": before,
        "peak MB": _peak(),
    }


def site(folder: Path, profile: str) -> Settings:
    """A fresh site with one domain."""
    shutil.rmtree(folder, ignore_errors=True)
    domains = folder / "configs" / "domains"
    domains.mkdir(parents=True)
    shutil.copytree(PROJECT / "configs" / "environments", folder / "configs" / "environments")
    subject = "" if profile == "public" else "patient"
    (domains / "bench.yaml").write_text(DOMAIN.format(profile=profile, subject=subject), encoding="utf-8")
    settings = load_settings({"RATCHET_VAR": str(folder / "var"), "RATCHET_CONFIGS": str(folder / "configs")})
    migrate(settings)
    return settings


def _through(settings: Settings, _: object, run: str, spent: dict[str, tuple[float, float]] | None = None) -> None:
    """Every step of an ingest run but the settling."""
    spent = {} if spent is None else spent
    (arrival,) = ingest.claim(settings, "bench", "bench.ingest", run)
    with _timing(spent, "prepare"):
        prepared = ingest.prepare(settings, "bench", arrival)
    if prepared["state"] != "accepted":
        raise SystemExit(f"the arrival was not accepted: {prepared['reason']}")
    with _timing(spent, "publish"):
        publish.publish(settings, "bench", [arrival])


def deliver(settings: Settings, records: list[dict[str, str]]) -> Path:
    """Seal records as one arrival."""
    lines = "".join(f"{json.dumps(one)}\n" for one in records)
    return _seal(settings, lambda folder: (folder / "part.jsonl").write_text(lines, encoding="utf-8"))


def _fill(settings: Settings, megabytes: float) -> tuple[int, int]:
    """An arrival of files of some 20 MB, never whole in memory: (documents, bytes)."""
    count = size = 0

    def write(folder: Path) -> None:
        nonlocal count, size
        while size < megabytes * 1e6:
            with (folder / f"part-{count:09d}.jsonl").open("w", encoding="utf-8") as file:
                end = min(size + 20e6, megabytes * 1e6)
                while size < end:
                    size += file.write(json.dumps(_record(1_000 + count, random.Random(1_000 + count))) + "\n")  # noqa: S311
                    count += 1

    _seal(settings, write)
    return count, size


def _seal(settings: Settings, write: Callable[[Path], object]) -> Path:
    incoming = settings.landing_zone / "bench" / ".incoming"
    incoming.mkdir(parents=True)
    write(incoming)
    landing.seal(incoming, uploader="bench", source="bench", effective="2024-01-01")
    return landing.settle(incoming)


_SENTENCES: list[str] = []


def _record(number: int, draw: random.Random) -> dict[str, str]:
    """A text of some 2,000 characters of the sample notes' sentences, with a few words of its own between them."""
    if not _SENTENCES:
        notes = [note for seed in range(20) for part in clinical.notes(seed) for note in part]
        _SENTENCES.extend(sorted({f"{sentence}." for note in notes for sentence in note.text.split(". ")}))
    drawn = (f"{draw.choice(_SENTENCES)} {''.join(draw.choices('bdfklmnprstaeiou', k=7))}" for _ in range(30))
    patient = f"{draw.choice(clinical._GIVEN)} {draw.choice(clinical._FIRST)}{draw.choice(clinical._LAST)}"
    return {"id": f"d{number:09d}", "title": "A note", "text": " ".join(drawn), "patient": f"{patient} {number}"}


# --- one hundred documents into a corpus ------------------------------------------------------------------------------


def into_corpus(folder: Path, size: int) -> dict[str, Any]:
    """Medians of `TURNS` arrivals of each kind."""
    from tests.bench import bench_corpus

    settings = site(folder, "public")
    bench_corpus.fill(settings, load_domain("bench", settings), size)
    draw, kinds = random.Random(size), {"new": 0, "mixed": 10}  # noqa: S311
    row: dict[str, Any] = {"corpus": size}
    fresh = 2_000_000
    _through(settings, deliver(settings, [_record(n, draw) for n in range(fresh - 20, fresh)]), "warm")
    for kind, old in kinds.items():
        spent: list[dict[str, tuple[float, float]]] = []
        for turn in range(TURNS):
            records = [_record(fresh + n, draw) for n in range(PER_ARRIVAL - old)]
            records += [_record(0, draw) | {"id": bench_corpus.doc(n).key} for n in draw.sample(range(size), old)]
            fresh += PER_ARRIVAL
            deliver(settings, records)
            spent.append({})
            with _timing(spent[-1], "all"):
                _through(settings, None, f"{kind}{turn}", spent[-1])
        for part in ("prepare", "publish", "all"):
            row[f"{kind}_{part}_s"] = round(median(one[part][0] for one in spent), 3)
        row[f"{kind}_cpu"] = round(median(one["all"][1] for one in spent), 3)
    shutil.rmtree(folder, ignore_errors=True)
    return row


# --- clocks -----------------------------------------------------------------------------------------------------------


@contextmanager
def _timing(spent: dict[str, tuple[float, float]], part: str) -> Iterator[None]:
    """Add seconds of wall and processor to a part."""
    wall, cpu = time.perf_counter(), _cpu()
    try:
        yield
    finally:
        before = spent.get(part, (0.0, 0.0))
        spent[part] = before[0] + time.perf_counter() - wall, before[1] + _cpu() - cpu


@contextmanager
def _timed_parts(spent: dict[str, tuple[float, float]]) -> Iterator[None]:
    """Put a clock around each function of `PARTS`."""
    import pkgutil

    kept: list[tuple[Any, str, Any]] = []
    for part, (owner, name) in PARTS.items():
        holder: Any = pkgutil.resolve_name(owner.replace(".mask.Masker", ".mask:Masker"))
        spent.setdefault(part, (0.0, 0.0))
        kept.append((holder, name, holder.__dict__[name]))
        setattr(holder, name, _clocked(spent, part, getattr(holder, name)))
    try:
        yield
    finally:
        for holder, name, was in kept:
            setattr(holder, name, was)


def _clocked(spent: dict[str, tuple[float, float]], part: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        with _timing(spent, part):
            return call(*args, **kwargs)

    return timed


def _cpu() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    raise SystemExit(main())
