"""Pull what is new from a domain's outside sources and deliver it, sealed, into the landing zone.

One call: fetch into a hidden folder of the landing zone, seal one hidden folder per effective date, record them in the control database
as pending together with the watermark to move to, let them appear, move the watermark. Killed before the record, nothing was delivered
and the pull is repeated; killed after it, the next call finishes what the record says. So nothing is delivered twice and nothing is left
out, whatever the source answers the second time.
"""

from __future__ import annotations

import errno
import platform
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from croniter import croniter
from sqlalchemy.orm import Session

from pipelines import locks
from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import ArrivalRefused, BadInput, ConfigError, Conflict, NotFound, RatchetError, Unavailable
from pipelines.governance import audit
from pipelines.intake import landing
from pipelines.intake.connectors import kinds
from pipelines.intake.connectors.pull import Document, Pull, State
from pipelines.manifest import sha256
from pipelines.source_config import HfDataset, Prefix, Source
from pipelines.state.database import reading, transaction
from pipelines.state.models import Watermark, now

ABANDONED_SECONDS = 86_400.0


def collect(settings: Settings, domain_name: str, source_name: str) -> dict[str, Any]:
    """Deliver what one source has that was not collected yet. Says what was delivered, what could not be, and why there is no more."""
    began = time.monotonic()
    domain = load_domain(domain_name, settings)
    source = _source(domain, source_name)
    root = settings.landing_zone / domain_name
    _not_our_own(settings, source)
    root.mkdir(parents=True, exist_ok=True)
    with _alone(root, source):
        finished = _finish(settings, root, domain_name, source)
        _clear(root, source)
        try:
            # From here on nothing of this source is pending, so that whatever is hidden may go.
            told = _pull(settings, root, domain_name, source)
        except RatchetError as error:
            _note(settings, domain_name, source_name, fault=str(error))
            raise
        finally:
            _clear(root, source)
    arrivals = finished + told.pop("arrivals")
    return {
        "step": "collect",
        "domain": domain_name,
        "source": source_name,
        "kind": source.kind,
        "state": "delivered" if arrivals else "waiting" if told["note"] else "nothing new",
        "arrivals": arrivals,
        **told,
        "seconds": round(time.monotonic() - began, 3),
    }


def scheduled(settings: Settings, domain_name: str, source_name: str, run_type: str) -> dict[str, Any]:
    """Collect if the source's own schedule says so, or a person asked. ArrivalRefused, after delivering the rest, when something could
    not be taken: a run that left something out must not be green."""
    source = _source(load_domain(domain_name, settings), source_name)
    if run_type == "scheduled" and not due(settings, domain_name, source, now()):
        return {"domain": domain_name, "source": source_name, "state": "not due"}
    told = collect(settings, domain_name, source_name)
    if told["skipped"]:
        first = "; ".join(f"{one['item']}: {one['reason']}" for one in told["skipped"][:3])
        raise ArrivalRefused(
            f"{len(told['skipped'])} could not be taken: {first}",
            where=f"{domain_name}/{source_name}",
            todo="the rest was delivered; nothing is to be cleared",
        )
    return told


def due(settings: Settings, domain_name: str, source: Source, at: datetime) -> bool:
    """Whether the source's schedule had a tick since it was last asked with success."""
    with reading(settings) as session:
        row = session.get(Watermark, (domain_name, source.name))
    tick: datetime = croniter(source.schedule, at).get_prev(datetime)
    return row is None or row.checked_at is None or row.checked_at < tick


def source_names(settings: Settings, domain_name: str) -> list[str]:
    """The sources of a domain, in the order of its file."""
    return [source.name for source in load_domain(domain_name, settings).sources.collect]


# --- one pull -----------------------------------------------------------------------------------------------------------


def _pull(settings: Settings, root: Path, domain: str, source: Source) -> dict[str, Any]:
    with reading(settings) as session:
        row = session.get(Watermark, (domain, source.name)) or Watermark(state={}, progress={}, pending={}, generation=0)
    folder = root / f"{_prefix(source)}files"
    folder.mkdir()
    pull = Pull(folder, settings.day(), row.state, row.progress, lambda progress: _note(settings, domain, source.name, progress=progress))
    try:
        found = kinds.gather(source, pull)
        batches = _seal(root, source, found.documents)
    except OSError as error:
        why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"cannot write ({type(error).__name__})"
        raise Unavailable(why, where="landing zone", todo="make room; the next run goes on where this one stopped") from None
    skipped = [{"item": one.item, "reason": one.reason} for one in found.skipped]
    told: dict[str, Any] = {"documents": len(found.documents), "skipped": skipped, "counts": found.counts, "note": found.note}
    if not batches and found.watermark == row.state and not skipped:
        _note(settings, domain, source.name, checked=not found.note)
        return {"arrivals": [], **told}
    pending: State = {"batches": batches, "state": found.watermark, "skipped": skipped, "note": found.note}
    with transaction(settings) as session:
        current = _row(session, domain, source.name)
        if current.generation != row.generation or current.pending:
            raise Conflict("another host collects this source", where=f"{domain}/{source.name}", todo="let one of them do it")
        current.pending, current.generation = pending, row.generation + 1
    arrivals = _finish(settings, root, domain, source)
    kinds.let_go(source, found.let_go)
    return {"arrivals": arrivals, **told}


def _seal(root: Path, source: Source, documents: list[Document]) -> list[dict[str, Any]]:
    """Hidden sealed folders, one per effective date: an arrival has one. Their names and seals, without a file's name."""
    by_date: dict[str, list[Path]] = {}
    for document in documents:
        by_date.setdefault(document.effective, []).append(document.path)
    batches = []
    size = min(source.max_items, landing.MAX_FILES)
    for effective, paths in sorted(by_date.items()):
        for start in range(0, len(paths), size):
            hidden = root / f"{_prefix(source)}{uuid.uuid4().hex}"
            hidden.mkdir()
            for path in paths[start : start + size]:
                path.rename(hidden / path.name)
            landing.seal(hidden, uploader=f"source:{source.name}", source=f"{source.kind} {source.name}", effective=effective)
            seal = landing.read_seal(hidden)
            batches.append(
                {
                    "hidden": hidden.name,
                    "seal": seal.hash,
                    "effective": effective,
                    "files": len(seal.files),
                    "sealed_at": seal.sealed_at.isoformat(),
                }
            )
    return batches


def _finish(settings: Settings, root: Path, domain: str, source: Source) -> list[dict[str, Any]]:
    """Let what is recorded as pending appear, and move the watermark. May be repeated after a kill at any point."""
    with reading(settings) as session:
        row = session.get(Watermark, (domain, source.name))
    if row is None or not row.pending:
        return []
    pending = row.pending
    arrivals = []
    for batch in pending["batches"]:
        arrivals.append({"folder": _appear(root, batch), **{key: batch[key] for key in ("seal", "effective", "files")}})
    with transaction(settings) as session:
        current = _row(session, domain, source.name)
        if current.generation != row.generation or not current.pending:
            return arrivals  # another host has finished it
        current.state, current.pending, current.progress, current.fault = pending["state"], {}, {}, None
        current.generation += 1
        current.moved_at = now()
        if not pending["note"]:
            current.checked_at = current.moved_at
        audit.record(
            session,
            actor=f"source:{source.name}",
            action="source.collected",
            subject=f"{domain}/{source.name}",
            detail={
                "arrivals": [{"folder": one["folder"], "seal": one["seal"], "files": one["files"]} for one in arrivals],
                "skipped": pending["skipped"][:100],
                "skipped_count": len(pending["skipped"]),
            },
        )
    return arrivals


def _appear(root: Path, batch: dict[str, Any]) -> str | None:
    """The visible folder of a pending one, renamed now or by whoever was killed. None: it was in sight and has been cleared since."""
    hidden, sealed_at = root / batch["hidden"], datetime.fromisoformat(batch["sealed_at"])
    for _ in range(2):
        if hidden.is_dir():
            try:
                return landing.settle(hidden).name
            except (ArrivalRefused, FileNotFoundError):
                pass  # another host was quicker: look for what it made
        if (folder := landing.settled(root, batch["effective"], batch["seal"], sealed_at)) is not None:
            return folder.name
    return None


def _note(
    settings: Settings, domain: str, source: str, *, progress: State | None = None, fault: str | None = None, checked: bool = False
) -> None:
    """Write down what does not move the watermark: progress of a pull, why it failed, that there was nothing new."""
    with transaction(settings) as session:
        row = _row(session, domain, source)
        if progress is not None:
            row.progress = progress
            return
        row.fault = fault
        if checked:
            row.checked_at = now()


def _row(session: Session, domain: str, source: str) -> Watermark:
    row = session.get(Watermark, (domain, source))
    if row is None:
        row = Watermark(domain=domain, source=source, state={}, progress={}, pending={}, generation=0)
        session.add(row)
        session.flush()
    return row


# --- the folder ---------------------------------------------------------------------------------------------------------


def _prefix(source: Source, host: str = "") -> str:
    # A source's name has no hyphen, so that no prefix begins another's.
    return f".collect-{source.name}-{host or sha256(platform.node())[:8]}-"


@contextmanager
def _alone(root: Path, source: Source) -> Iterator[None]:
    """One collector per source: a command and a task must not fetch the same twice."""
    with locks.alone_now(root / f".collect-{source.name}.lock") as alone:
        if not alone:
            raise Conflict("this source is being collected just now", where=source.name, todo="try again when that run has ended")
        yield


def _clear(root: Path, source: Source) -> None:
    """Take away what a killed or failed pull left. Another host may be at work (a lock need not reach over a network): its folders stay
    for a day."""
    for path in root.glob(_prefix(source, "*") + "*"):
        if path.name.startswith(_prefix(source)) or _age(path) > ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _age(path: Path) -> float:
    """Seconds. Zero where another host has just let the folder appear."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _source(domain: DomainConfig, name: str) -> Source:
    for source in domain.sources.collect:
        if source.name == name:
            return source
    known = ", ".join(source.name for source in domain.sources.collect) or "none"
    raise NotFound(f"{domain.domain} has no source {name!r}", todo=f"its sources: {known}")


def _not_our_own(settings: Settings, source: Source) -> None:
    """A source must not lie in what Ratchet itself writes: it would feed on its own output."""
    places = []
    if isinstance(source, Prefix) and (source.url.startswith("/") or source.url.startswith("file://")):
        places.append(Path(source.url.removeprefix("file://")))
    if isinstance(source, HfDataset) and source.folder is not None:
        places.append(source.folder)
    for place in places:
        if not place.is_absolute():
            raise ConfigError("a folder must be an absolute path", where=source.name)
        for own in (settings.landing_zone, settings.var):
            if place.resolve().is_relative_to(own.resolve()):
                raise BadInput("the source lies inside Ratchet's own folders", where=source.name, todo="name a folder outside them")
