"""Erasure on request: the subject's key is destroyed, what was made from the text is barred, and a receipt says so.

The request is a sealed file, never words on a command line or in a run's configuration, where they would stay. The same request again
finishes what a crash left, and removes what has gone out of service since.

Answers that gateways kept are deleted before the receipt is written: with a Redis that does not answer, nothing is called erased.

Does not cover raw files in the landing zone (the receipt names their arrivals), copies in MLflow's artifact store, the gate
report of what answers now, the traffic log, nor backups.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import BadInput, Conflict
from pipelines.governance import audit
from pipelines.manifest import sha256, sha256_file
from pipelines.registry import artifacts, candidates
from pipelines.serving import generations
from pipelines.serving.cache import answers
from pipelines.state.database import reading, transaction
from pipelines.state.models import Artifact, Candidate, Erasure, GateReport, ManifestRow, Pointer, now
from pipelines.steps import publish
from pipelines.steps import restore as restoring
from pipelines.strict import Strict
from pipelines.training import tokens

Receipt = dict[str, Any]
_UNDER_WAY = ("assembled", "gated", "approved", "canary")
_MAX_BYTES = 64 * 1024


class Request(Strict):
    """Who is to be erased, why, and who asks. Values are the record's own, as the domain's subject columns give them."""

    domain: str
    subject: dict[str, str] = Field(default_factory=dict, description="by subject column")
    record: str | None = Field(None, description="key of a record that names no subject, in place of `subject`")
    reason: str = Field(min_length=1)
    requester: str = Field(min_length=1, description="who asks, as a case number or a role: it goes into the receipt")

    @model_validator(mode="after")
    def _one_of_two(self) -> Request:
        if bool(self.subject) == bool(self.record):
            raise ValueError("give either subject or record")
        return self

    def names(self, domain: DomainConfig) -> tuple[str, ...]:
        """The identifiers under which the key was drawn."""
        if self.record:
            return ("record", self.record)
        columns = domain.sources.subject
        if unknown := sorted(self.subject.keys() - set(columns)):
            known = ", ".join(columns) or "none"
            raise BadInput(f"there is no subject column {unknown[0]!r}", where=self.domain, todo=f"subject columns are {known}")
        return tuple(self.subject[name] for name in columns if self.subject.get(name))


def erase(settings: Settings, path: Path, *, actor: str) -> Receipt:
    """Carry out a sealed request; returns its receipt. BadInput, nothing changed, when the request cannot be taken."""
    from pipelines.corpus import erasure
    from pipelines.corpus.keys import Keys

    request, request_hash = read(path)
    domain = load_domain(request.domain, settings)
    if domain.privacy.profile == "public":
        todo = "deliver a mended text, or restore a version without it"
        raise BadInput("the domain is public: its text is not encrypted, and has no subjects", where=request.domain, todo=todo)
    names = request.names(domain)
    keys = Keys.open(settings)
    subject = keys.find(domain.domain, names)
    held = erasure.Held() if subject is None else erasure.held(settings, domain.domain, subject)
    if subject is not None:
        keys.destroy(subject)  # first: whatever else fails, nobody reads it from here on
    _forget_answers(settings, domain.domain)
    with reading(settings) as session:
        given = session.get(Erasure, request_hash)
    if given is None:
        given = _account(settings, request, request_hash, held, actor)
    swept = sweep(settings, domain.domain)
    return {
        **given.receipt,
        "live": still_live(settings, domain.domain),
        "receipt": str(settings.artifacts / given.path),
        "removed_now": swept,
    }


def requested(settings: Settings, *, request: str, actor: str) -> dict[str, Any]:
    """Carry out the sealed request in the site's folder whose SHA-256 begins with `request`: a hash names nobody, a file name may.

    A request that was carried out may be destroyed since: then what has gone out of service is removed, and no more. Returns what an XCom
    may hold: names of versions and artifacts.
    """
    if not re.fullmatch("[0-9a-f]{12,64}", request):
        raise BadInput("not the beginning of a SHA-256: 12 to 64 of 0-9, a-f", todo="take it from the request's .sha256 file")
    path = _find(settings, request)
    if path is not None:
        receipt = erase(settings, path, actor=actor)
    else:
        row = _carried_out(settings, request)
        _forget_answers(settings, row.domain)
        receipt = {**row.receipt, "live": still_live(settings, row.domain), "removed_now": sweep(settings, row.domain)}
    kept = ("domain", "versions", "adapters", "indexes", "training_sets", "version", "live", "removed_now")
    return {"request": receipt["request"][:16]} | {name: receipt[name] for name in kept}


def require_out_of_service(settings: Settings, erased: dict[str, Any]) -> None:
    """Conflict while something that was made from erased text answers."""
    domain = erased["domain"]
    if live := still_live(settings, domain):
        todo = f"run {domain}.finetune, release what it makes, then clear this run, which removes the old parts"
        raise Conflict(f"still live with erased text in its parts: {', '.join(live)}", where=domain, todo=todo)


def still_live(settings: Settings, domain: str) -> list[str]:
    """Releases of a domain that answer now with a part made from erased text."""
    with reading(settings) as session:
        return _live(session, domain)


def _find(settings: Settings, begins: str) -> Path | None:
    folder = settings.requests
    if not folder.is_dir():
        raise BadInput("there is no folder of requests", where=str(folder), todo="see docs/runbooks/erase.md")
    if folder.stat().st_mode & 0o077:
        raise BadInput("others may read the folder of requests", where=str(folder), todo=f"chmod -R go= {folder}")
    found = {}
    for seal in sorted(folder.glob("*.sha256")):
        digest = (seal.read_text(encoding="utf-8").split() or [""])[0]
        path = seal.with_suffix("")
        if digest.startswith(begins) and path.is_file():  # the request is destroyed once it is carried out; its checksum names nobody
            found[digest] = path
    if len(found) > 1:
        raise BadInput(f"{len(found)} requests begin with {begins}", where=str(folder), todo="give more of the checksum")
    return next(iter(found.values()), None)


def _carried_out(settings: Settings, begins: str) -> Erasure:
    with reading(settings) as session:
        rows = session.scalars(select(Erasure).where(Erasure.id.startswith(begins, autoescape=True))).all()
    if len(rows) != 1:
        todo = "put the request and its .sha256 there; see docs/runbooks/erase.md"
        raise BadInput(f"no sealed request begins with {begins}", where=str(settings.requests), todo=todo)
    return rows[0]


def read(path: Path) -> tuple[Request, str]:
    """A request and its hash, after its checksum was compared. Errors name fields, never values."""
    beside = path.with_name(f"{path.name}.sha256")
    if not path.is_file() or not beside.is_file():
        todo = f"seal it: sha256sum {path.name} > {beside.name}"
        raise BadInput("a request is a file with its checksum beside it", where=path.name, todo=todo)
    if path.stat().st_size > _MAX_BYTES:
        raise BadInput("the request is too large", where=path.name, todo="one file names one subject")
    digest = sha256_file(path)
    if beside.read_text(encoding="utf-8").split()[:1] != [digest]:
        raise BadInput("wrong checksum: the request is not what was sealed", where=path.name, todo="ask for it again")
    try:
        return Request.model_validate_json(path.read_text(encoding="utf-8")), digest
    except ValidationError as error:
        faults = [".".join(map(str, fault["loc"])) or "file" for fault in error.errors(include_input=False)]
        raise BadInput(f"the request cannot be read: {', '.join(faults)}", where=path.name, todo="see docs/runbooks/erase.md") from None
    except ValueError:
        raise BadInput("the request is not JSON in UTF-8", where=path.name, todo="see docs/runbooks/erase.md") from None


def _forget_answers(settings: Settings, domain: str) -> None:
    """Delete the answers that gateways share, and raise the epoch, by which each drops its own. Every time, also for a request carried out:
    what answered in between may have been made from the text. Unavailable when it cannot be known that they are gone."""
    with transaction(settings) as session:
        pointer = session.get(Pointer, domain)
        if pointer is None:
            return  # nothing has ever answered
        pointer.epoch += 1
        session.flush()
        epoch = pointer.epoch
    answers.forget(settings, domain, epoch)


def _account(settings: Settings, request: Request, request_hash: str, held: Any, actor: str) -> Erasure:
    """Bar, refuse, make a version that calls for new parts, and write the receipt. All of it stands on the request's hash."""
    why = f"was made from text that was erased on request {request_hash[:12]}"
    with transaction(settings) as session:
        barred = _bar(session, request.domain, held.versions, why)
        _refuse(session, request.domain, why)
    parent = publish.latest(settings, request.domain)
    version = None
    if parent is not None and parent.id in held.versions:
        reason = f"request {request_hash[:12]}"
        version = restoring.again(settings, parent, parent, source="erasure", actor=actor, reason=reason, token=request_hash)
    receipt: Receipt = {
        "request": request_hash,
        "domain": request.domain,
        "requester": request.requester,
        "reason": request.reason,
        "by": actor,
        "at": now().isoformat(timespec="seconds"),
        "known": held.known,
        "documents": held.documents,
        "rows": held.rows,
        "arrivals": sorted(held.arrivals),
        "versions": held.versions,
        "adapters": [name for name in barred if name.startswith("adapter-")],
        "indexes": [name for name in barred if name.startswith("index-")],
        "training_sets": [name for name in barred if name.startswith("training_set-")],
        "version": version,
    }
    text = json.dumps(receipt, indent=2)
    step_hash = sha256(["erasure", request_hash])
    folder = artifacts.make(settings, "erasure", step_hash, lambda out: (out / "receipt.json").write_text(text, encoding="utf-8"))
    place = folder.relative_to(settings.artifacts).as_posix() + "/receipt.json"
    # What is on disk is the receipt: a rerun after a crash must not tell another time.
    text = (settings.artifacts / place).read_text(encoding="utf-8")
    receipt = json.loads(text)
    with transaction(settings) as session:
        if (known := session.get(Erasure, request_hash)) is not None:
            return known
        row = Erasure(id=request_hash, domain=request.domain, actor=actor, reason=request.reason, receipt=receipt, path=place)
        session.add(row)
        detail = {"documents": held.documents, "versions": len(held.versions), "barred": barred, "receipt": sha256(text)}
        audit.record(session, actor=actor, action="subject.erased", subject=f"{request.domain}/{request_hash[:16]}", detail=detail)
        return row


def _bar(session: Session, domain: str, versions: list[str], why: str) -> list[str]:
    """Bar every artifact made from a version that holds the text; their ids."""
    rows = session.scalars(select(Artifact).where(Artifact.domain == domain).order_by(Artifact.id))
    found = [row for row in rows if row.facts.get("version") in versions]
    for row in found:
        row.barred = row.barred or why
    return [row.id for row in found]


def _refuse(session: Session, domain: str, why: str) -> None:
    """Refuse what is on its way to release with a barred part; what is live is not touched."""
    barred = select(Artifact.id).where(Artifact.domain == domain, Artifact.barred.is_not(None))
    uses = or_(Candidate.adapter_id.in_(barred), Candidate.index_id.in_(barred))
    for row in session.scalars(select(Candidate).where(Candidate.domain == domain, Candidate.state.in_(_UNDER_WAY), uses)):
        pointer = session.get(Pointer, domain)
        if pointer is not None and pointer.canary_id == row.id:
            pointer.canary_id, pointer.canary_share, pointer.shadow_share = None, 0.0, 0.0
        candidates.move(session, row.id, "refused", reason=f"a part of it {why}")


def _live(session: Session, domain: str) -> list[str]:
    """What answers now with a barred part."""
    pointer = session.get(Pointer, domain)
    if pointer is None or pointer.live_id is None:
        return []
    row = session.get_one(Candidate, pointer.live_id)
    parts = [session.get(Artifact, part) for part in (row.adapter_id, row.index_id) if part]
    return [row.id] if any(part is not None and part.barred for part in parts) else []


def sweep(settings: Settings, domain: str) -> list[str]:
    """Remove the folders of barred artifacts, and of examples of their versions, that nothing in service uses; what was removed."""
    with reading(settings) as session:
        pointer = session.get(Pointer, domain)
        names = [name for name in (pointer.live_id, pointer.previous_id, pointer.canary_id) if name] if pointer else []
        used = {part for name in names for row in [session.get_one(Candidate, name)] for part in (row.adapter_id, row.index_id) if part}
        rows = session.scalars(select(Artifact).where(Artifact.domain == domain, Artifact.barred.is_not(None))).all()
        versions = {row.facts.get("version") for row in rows}
        for erased in session.scalars(select(Erasure).where(Erasure.domain == domain)):
            versions |= set(erased.receipt["versions"])  # a run that failed early left examples, and no artifact
        made = session.scalars(select(ManifestRow).where(ManifestRow.domain == domain, ManifestRow.step == "examples")).all()
        # Their figures stay in the control database; what they quote goes.
        holds = select(Candidate.id).where(Candidate.domain == domain, Candidate.version_id.in_(versions))
        reports = session.scalars(select(GateReport).where(GateReport.candidate_id.in_(holds))).all()
    folders = [row.path for row in rows if row.id not in used]
    folders += [row.path for row in reports if row.candidate_id not in names]
    folders += [row.body["outputs"]["path"] for row in made if row.body["inputs"].get("version") in versions]
    gone = [folder for folder in folders if (settings.artifacts / folder).is_dir()]
    if gone:
        # Tokens can be read back; what is still needed is made again. First, so that a crash does not leave them behind.
        tokens.forget(settings, domain)
        generations.forget(settings, domain)
        # Of every domain's texts: a vector can betray its text, and the cache does not say whose it is.
        shutil.rmtree(settings.var / "cache" / "embeddings", ignore_errors=True)
    for folder in gone:
        shutil.rmtree(settings.artifacts / folder)
    return sorted(gone)
