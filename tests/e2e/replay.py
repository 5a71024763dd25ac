"""`PYTHONPATH=tests python tests/e2e/replay.py DATA OUT.json`: the public data through a real Airflow, in order and in shuffled orders.

Regulations B, M and P, one source document an arrival, into four domains: by effective date, and in three shuffled orders; each order with
a notice that was torn on its way, one that holds an instruction to a model, and one that is delivered twice. Beside them the five days of
primock57, notes and dialogues, and the C-CDA documents by type. Once, the triggerer is killed. Then: are the four end states equal, do the
ledger's sums equal what was delivered, is anything waiting that should not? Only `ingest` runs: the other DAGs are paused.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from living_site import Site, mine, supervisor
from rich.console import Console

from pipelines.config import PROJECT, Settings, load_domain
from pipelines.corpus import warehouse
from pipelines.corpus.chain import part_of
from pipelines.corpus.documents import as_of
from pipelines.demo.public import effective
from pipelines.intake import formats, landing
from pipelines.registry import views
from pipelines.samples.write import break_seal
from pipelines.site import site as services
from pipelines.steps import publish, quarantine

ORDERS = ("law_by_date", "law_shuffled_1", "law_shuffled_2", "law_shuffled_3")
AIRFLOW = ("setup", "api-server", "scheduler", "dag-processor", "triggerer")
PATIENCE = 1_800.0


@dataclass(frozen=True)
class Delivery:
    """What is delivered together, and what the ledger must make of it."""

    name: str
    files: tuple[Path, ...]
    effective: str
    wanted: str = "accepted"
    """Its state once a person has decided on what was held."""
    torn: bool = False
    held: bool = False
    """The screen must hold something of it."""


# --- what is delivered --------------------------------------------------------------------------------------------------


def law(data: Path, made: Path) -> list[Delivery]:
    """Every root text and notice by effective date, and the three that test the account."""
    found = []
    for part in ("1002", "1013", "1016"):
        roots = sorted((data / "cfpb_regulations/regulation" / part).glob("*.xml"), key=effective)[:1]
        for path in [*roots, *(data / "cfpb_regulations/notice" / part).glob("*.xml")]:
            found.append(Delivery(f"{part}/{path.stem}", (path,), effective(path)))
    found.sort(key=lambda one: (one.effective, one.name))
    attacks = json.loads((data / "bipia/text_attack_test.json").read_text(encoding="utf-8"))
    attack = next(text for texts in attacks.values() for text in texts)
    poisoned = _notice(made / "2018-90001.xml", "2018-90001", "2017-24411", f"The appraisal is copied. {attack}")
    torn = _notice(made / "2018-90002.xml", "2018-90002", "2017-24411", "The copy is free of charge.")
    again = next(one for one in found if one.name == "1013/2014-21847")
    return [
        *found,
        Delivery("the same again", again.files, again.effective, wanted="accepted"),
        Delivery("poisoned", (poisoned,), "2018-03-01", wanted="refused", held=True),
        Delivery("torn", (torn,), "2018-03-01", wanted="refused", torn=True),
    ]


def _notice(path: Path, number: str, amends: str, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<notice xmlns="eregs"><preamble><cfr><title>12</title><section>1013</section></cfr>'
        f"<documentNumber>{number}</documentNumber><effectiveDate>2018-03-01</effectiveDate></preamble>"
        f'<changeset leftDocumentNumber="{amends}" rightDocumentNumber="{number}"><change operation="modified" label="1013-1-a">'
        f'<paragraph label="1013-1-a" marker="(a)"><content>{text}</content></paragraph></change></changeset></notice>',
        encoding="utf-8",
    )
    return path


def days(data: Path, kind: str, pattern: str) -> list[Delivery]:
    """Five arrivals of primock57, a day each."""
    return [
        Delivery(f"{kind} of day {day}", tuple(sorted((data / "primock57" / kind).glob(pattern.format(day=day)))), f"2022-01-{day:02}")
        for day in range(1, 6)
    ]


def ccda(data: Path) -> list[Delivery]:
    """The C-CDA documents, one type an arrival; the two CCDs differ in the case of their name only, and come apart."""
    paths = sorted(path for path in (data / "hl7_ccda").rglob("*") if path.suffix.lower() == ".xml")
    # The second CCD holds a character without width: it waits for a person.
    return [Delivery(f"C-CDA {path.parent.name}", (path,), "2022-02-01", held=path.parent.name == "CCD 2") for path in paths]


# --- the site -----------------------------------------------------------------------------------------------------------


def configure(folder: Path) -> None:
    """Configs of its own: four domains of law, one of notes, one of dialogues, one of C-CDA."""
    shutil.copytree(PROJECT / "configs", folder)
    domains = folder / "domains"
    given = {name: yaml.safe_load((domains / f"{name}.yaml").read_text(encoding="utf-8")) for name in ("regulatory", "clinical")}
    for path in domains.iterdir():
        path.unlink()
    for name in ORDERS:
        _domain(domains, given["regulatory"] | {"domain": name, "dataset": name.title().replace("_", "")})
    for name, sources in {
        "notes": {"formats": ["json"], "key": "id", "text": ["presenting_complaint", "note"]},
        "dialogues": {"formats": ["textgrid"]},
        "ccda": {"formats": ["ccda"]},
    }.items():
        _domain(domains, given["clinical"] | {"domain": name, "dataset": name.title(), "sources": sources})


def _domain(folder: Path, values: dict[str, Any]) -> None:
    (folder / f"{values['domain']}.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def pause_the_rest(site: Site) -> None:
    """Everything but `ingest`, as soon as Airflow knows it."""
    admin = site.admin()
    wanted = {f"{name}.{stage}" for name in [*ORDERS, "notes", "dialogues", "ccda"] for stage in ("ingest", "finetune", "release")}
    known: set[str] = set()
    while not wanted <= known:
        known = {dag["dag_id"] for dag in admin.get("/dags", limit=100)["dags"]}
        time.sleep(1)
    for dag in sorted(known):
        if not dag.endswith(".ingest"):
            admin.patch(f"/dags/{dag}", {"is_paused": True})


def deliver(settings: Settings, domain: str, one: Delivery) -> str:
    folder = landing.deliver(settings, domain, list(one.files), uploader="replay", source="public data", effective=one.effective)
    if one.torn:
        break_seal(folder)
    return folder.name


def replay(site: Site, domain: str, deliveries: list[Delivery], bursts: random.Random | None, told: dict[str, str]) -> None:
    """Deliver one after the other has settled, or in bursts of one to five, the next while a run is active."""
    left = list(deliveries)
    while left:
        size = bursts.randint(1, 5) if bursts else 1
        burst, left = left[:size], left[size:]
        folders = []
        for one in burst:
            folder = deliver(site.settings, domain, one)
            told[f"{domain}/{folder}"] = one.name
            folders.append(folder)
        if bursts is None:
            settled(site.settings, domain, folders)
        else:
            time.sleep(bursts.uniform(5, 25))


def settled(settings: Settings, domain: str, folders: list[str]) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        states = {row["folder"]: row["state"] for row in views.arrivals(settings, domain)}
        if all(states.get(folder, "received") != "received" for folder in folders):
            return
        time.sleep(1)
    raise TimeoutError(f"{domain}: {folders} did not settle")


def strike(site: Site, after: float) -> None:
    """Kill the triggerer once, while arrivals come in."""
    time.sleep(after)
    for process in mine(site.settings):
        with suppress(psutil.Error):
            if "triggerer" in process.cmdline() and process.ppid() == supervisor(site.settings):
                process.send_signal(signal.SIGKILL)
                site.incidents.append("triggerer killed")
                return


# --- what came of it ----------------------------------------------------------------------------------------------------


def rows_of(settings: Settings, domain: str) -> set[tuple[Any, ...]]:
    """What a reader of the newest version sees, without whose arrival it was."""
    version = publish.latest(settings, domain)
    assert version is not None
    found = warehouse.documents(settings, domain, version.id)
    return {(row.key, row.title, row.text, row.valid_from, row.valid_to, row.withdrawn, row.source) for row in found}


def official(settings: Settings, domain: str, data: Path) -> dict[str, int]:
    """Per published whole text: paragraphs in which the corpus differs on the day it took effect."""
    version = publish.latest(settings, domain)
    assert version is not None
    documents = warehouse.documents(settings, domain, version.id)
    sources = load_domain(domain, settings).sources
    differing = {}
    for path in sorted((data / "cfpb_regulations/regulation").rglob("*.xml")):
        records = [one for one in formats.read(path, sources, effective="", where="") if isinstance(one, formats.RawRecord)]
        wanted = {one.key: one.text.strip() for one in records}
        part = part_of(records[0].key)
        held = {one.key: one.text.strip() for one in as_of(documents, effective(path)) if part_of(one.key) == part}
        differing[f"{part}/{path.stem}"] = sum(wanted.get(key) != held.get(key) for key in wanted.keys() | held.keys())
    return differing


def account(settings: Settings, domain: str, deliveries: dict[str, Delivery], told: dict[str, str]) -> list[dict[str, Any]]:
    """Per arrival: what was delivered, counted from its files, and what the ledger says became of it."""
    sources = load_domain(domain, settings).sources
    lines = []
    for row in views.arrivals(settings, domain):
        if (name := told.get(f"{domain}/{row['folder']}")) is None:
            continue  # a release from quarantine is accounted where its documents were delivered
        one = deliveries[name]
        delivered = sum(1 for path in one.files for _ in formats.read(path, sources, effective=one.effective, where=""))
        sums = quarantine.sums(settings, row["arrival"])
        # A second delivery of the same is accounted where the first was; a torn seal is refused before a file is opened.
        elsewhere = not sums and (row["state"] == "refused" or "nothing was stored twice" in (row["reason"] or ""))
        whole = elsewhere or sum(sums.values()) == delivered
        told_of = {"domain": domain, "name": one.name, "state": row["state"], "wanted": one.wanted, "reason": row["reason"]}
        lines.append(told_of | {"delivered": delivered, "lines": sums, "whole": whole})
    return lines


def run(site: Site, deliveries: dict[str, list[Delivery]]) -> tuple[dict[str, str], set[str]]:
    """Deliver everything, all domains at a time. Returns when all is settled and decided: which folder is which delivery, and the folders
    of which something was held."""
    told: dict[str, str] = {}
    pause_the_rest(site)
    threads = [threading.Thread(target=strike, args=(site, 90.0))]
    for name, given in deliveries.items():
        bursts = None if name == ORDERS[0] else random.Random(name)  # noqa: S311 - repeatable, not secret
        order = bursts.sample(given, len(given)) if bursts and name in ORDERS else given
        threads.append(threading.Thread(target=replay, args=(site, name, order, bursts, told)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in deliveries:
        settled(site.settings, name, [key.split("/")[1] for key in told if key.startswith(f"{name}/")])
    return told, decide(site.settings)


def decide(settings: Settings) -> set[str]:
    """What the screen holds, a steward looks at: the planted instruction in the law is refused, what patients and doctors said goes on.
    Returns domain/folder of each."""
    made = []
    held = quarantine.held(settings)
    folders = {row["arrival"]: row["folder"] for row in views.arrivals(settings)}
    for row in held:
        if row["domain"] in ORDERS:
            quarantine.refuse(settings, row["arrival"], "all", "os:steward", "an instruction to a model is no law")
        else:
            made.append((row["domain"], quarantine.release(settings, row["arrival"], "all", "os:steward", "read: nothing is hidden in it")))
    for domain, arrival_id in sorted(set(made)):
        settled(settings, domain, [row["folder"] for row in views.arrivals(settings, domain) if row["arrival"] == arrival_id])
    return {f"{row['domain']}/{folders[row['arrival']]}" for row in held}


def main(data: Path, out: Path) -> int:
    """Replay, compare, write. Exit 1 when something is not what it must be."""
    folder = Path(tempfile.mkdtemp(prefix="ratchet-replay-"))
    configure(folder / "configs")
    os.environ["RATCHET_CONFIGS"] = str(folder / "configs")
    site = Site(folder)
    deliveries = dict.fromkeys(ORDERS, law(data, folder / "made")) | {
        "notes": days(data, "notes", "day{day}_*.json"),
        "dialogues": days(data, "transcripts", "day{day}_*.TextGrid"),
        "ccda": ccda(data),
    }
    began = time.monotonic()
    services.up(site.settings, only=AIRFLOW)
    try:
        told, held = run(site, deliveries)
    finally:
        services.down(site.settings)
    lines = [line for name, given in deliveries.items() for line in account(site.settings, name, {one.name: one for one in given}, told)]
    states = {name: rows_of(site.settings, name) for name in ORDERS}
    equal = all(rows == states[ORDERS[0]] for rows in states.values())
    wrong = [line for line in lines if line["state"] != line["wanted"] or not line["whole"]]
    was_held = sorted({f"{name.split('/')[0]}: {told[name]}" for name in held})
    not_held = sorted({f"{name}: {one.name}" for name, given in deliveries.items() for one in given if one.held} - set(was_held))
    found = {
        "seconds": round(time.monotonic() - began, 1),
        "incidents": site.incidents,
        "arrivals": dict(Counter(line["domain"] for line in lines)),
        "runs": {name: len({row["run"] for row in views.arrivals(site.settings, name)}) for name in deliveries},
        "records delivered": sum(line["delivered"] for line in lines),
        "rows of the law": {name: len(rows) for name, rows in states.items()},
        "equal end states": equal,
        "paragraphs that differ from the official texts": official(site.settings, ORDERS[0], data),
        "lines by state": dict(Counter(state for line in lines for state, count in line["lines"].items() for _ in range(count))),
        "held": was_held,
        "not held": not_held,
        "not as wanted": wrong,
    }
    out.write_text(json.dumps(found | {"lines": lines}, indent=2), encoding="utf-8")
    Console().print_json(data=found)
    if wrong or not_held or not equal:
        Console().print(f"kept for a look: {folder}", highlight=False)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
