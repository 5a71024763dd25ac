"""What a plan looks at: how a dataset version differs from what the live release serves and from what its adapter learned.

Costs what the difference costs: the warehouse reads the files that only one of two versions has. The first plan after an adapter went
live also counts the words of that adapter's version once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from sqlalchemy import func, select

from pipelines.config import DomainConfig, Settings
from pipelines.corpus import corrections
from pipelines.corpus.documents import FOREVER, Document
from pipelines.evaluation import goldens as evaluation
from pipelines.evaluation.goldens import Golden
from pipelines.manifest import find
from pipelines.registry import ancestry, artifacts, parts
from pipelines.state.database import reading
from pipelines.state.models import Arrival, ArrivalItem, Artifact, Candidate, DatasetVersion
from pipelines.strict import Strict
from pipelines.training import example

NAMED = 20
"""Documents and goldens that a plan names; of more, their number is told."""
FEEDBACK = "feedback"
"""`source` of arrivals that bring what users said."""


class Signals(Strict):
    """Everything a plan was decided on. `None` where it cannot be told."""

    against: str | None = None
    """The release that was live."""
    served: str | None = None
    """Its dataset version."""
    learned: str | None = None
    """The dataset version its adapter was trained on."""
    same_content: bool = False
    """The documents are those that the live release serves."""
    documents: dict[str, int] = Field({})
    """Against `served`: added, amended, withdrawn, removed."""
    keys: tuple[str, ...] = ()
    """The first twenty of them."""
    changed_parts: tuple[str, ...] = ()
    """What decides what an adapter learns and is not as it was: base, prompt, task, rules, examples, recipe, passages, chat_template."""
    prompt_fits: bool = True
    """The live adapter may answer under the domain's prompt."""
    new_prompt: bool = False
    """The domain's prompt is not the live release's."""
    new_retrieval: bool = False
    """Passages are found by other rules than the live index was built with."""
    barred: dict[str, str] = Field({})
    """Why the live adapter, or the live index, may not be released again."""
    new_share: float | None = None
    """Documents that `learned` does not have, of all."""
    drift: float | None = None
    """Jensen-Shannon divergence, bits, of all words of the version from those of `learned`."""
    drift_of_new: float | None = None
    """The same for the new documents alone. Of few words it is near 1 whatever they say: for people, not for the rules."""
    new_shapes: dict[str, int] = Field({})
    """New documents by the question rule that fits them, where it fitted nothing in `learned`."""
    unfitted: int = 0
    """New documents that no question rule fits."""
    goldens: int = 0
    stale_goldens: dict[str, tuple[str, ...]] = Field({})
    """The first twenty whose paragraph `changed`, and whose validity `ended`, since `served`."""
    examples: int | None = None
    """Of the live adapter's training set."""
    stale_examples: int | None = None
    """Those that rest on a document which changed since."""
    renewable_examples: int | None = None
    """Of these, those whose document fits a question rule as it reads now: from the others nothing could be learned anew."""
    feedback: int = 0
    """Documents of source `feedback` since `learned`."""
    only_corrections: bool = False
    """What the version has that `served` has not are corrections that people accepted: no text changed."""


@dataclass(frozen=True, slots=True)
class _Between:
    """The rows of the keys that differ between two versions."""

    gone: list[Document]
    come: list[Document]

    def new(self) -> list[Document]:
        """What the first version does not say. A content hash covers the key, so no other key can say it."""
        known = {row.content for row in self.gone}
        return [row for row in self.come if row.content not in known]

    def superseded(self) -> set[str]:
        """Keys whose text of before is not what holds now."""
        after = {(row.key, row.content) for row in self.come if _in_force(row)}
        return {row.key for row in self.gone if _in_force(row) and (row.key, row.content) not in after}


def measure(settings: Settings, domain: DomainConfig, version_id: str, live: Candidate | None) -> Signals:
    """Signals of one version against the live release. Reads only; the same for the same state of the site."""
    from pipelines.corpus import warehouse

    with reading(settings) as session:
        wanted = session.get_one(DatasetVersion, version_id)
        served = session.get_one(DatasetVersion, live.version_id) if live is not None else None
    questions = evaluation.load(settings.configs / domain.gate.goldens)
    if live is None or served is None:
        return Signals(documents={"added": wanted.documents}, goldens=len(questions))
    every = warehouse.diff(settings, domain.domain, served.id, version_id)
    changes = [change for change in every if not corrections.is_one(change.key)]
    kinds = Counter(change.kind for change in changes)
    found: dict[str, Any] = {
        "against": live.id,
        "served": served.id,
        "same_content": wanted.content == served.content,
        "documents": {kind: kinds[kind] for kind in ("added", "amended", "withdrawn", "removed") if kinds[kind]},
        "only_corrections": bool(every) and not changes,
        "keys": tuple(dict.fromkeys(change.key for change in changes))[:NAMED],
        "new_prompt": parts.prompt_sha256(settings, domain) != live.prompt_sha256,
        "new_retrieval": _new_retrieval(settings, domain, live),
        "goldens": len(questions),
        "stale_goldens": _stale_goldens(questions, changes, served.known_on, wanted.known_on),
    }
    index = artifacts.get(settings, live.index_id)
    barred = {"index": index.barred} if index.barred else {}
    if live.adapter_id is None:
        return Signals(**found, barred=barred)
    adapter = artifacts.get(settings, live.adapter_id)
    if adapter.barred:
        barred["adapter"] = adapter.barred
    return Signals(**found, barred=barred, **_of_parts(settings, domain, adapter), **_of_learning(settings, domain, adapter, wanted))


def _of_parts(settings: Settings, domain: DomainConfig, adapter: Artifact) -> dict[str, Any]:
    changed = parts.changed(settings, domain, adapter.facts)
    fits = "prompt" not in changed or parts.prompt_fits(settings, domain, adapter.facts.get("prompt"))
    return {"changed_parts": changed, "prompt_fits": fits}


def _of_learning(settings: Settings, domain: DomainConfig, adapter: Artifact, wanted: DatasetVersion) -> dict[str, Any]:
    """How far the documents are from those that the adapter learned from."""
    from pipelines.corpus import warehouse
    from pipelines.training import drift

    rules, folder = domain.task.rules, settings.var / "cache" / "profiles"
    with reading(settings) as session:
        base = session.get(DatasetVersion, adapter.facts.get("version", ""))
    if base is None:
        return {}
    between = _Between(*map(corrections.texts, warehouse.changed_rows(settings, domain.domain, base.id, wanted.id)))
    before = drift.cached(folder, base.content, rules)
    if before is None:
        before = drift.profile(corrections.texts(warehouse.documents(settings, domain.domain, base.id)), rules)
        drift.cached(folder, base.content, rules, before)
    after = before.after(gone=drift.profile(between.gone, rules), come=drift.profile(between.come, rules))
    new = between.new()
    fresh = drift.profile(new, rules)
    resting = _resting(settings, adapter)
    superseded = between.superseded()
    renewable = {row.key for row in new if row.key in superseded and not drift.profile([row], rules).shapes.get("")}
    return {
        "learned": base.id,
        "new_share": len(new) / max(wanted.documents, 1),
        "drift": round(drift.divergence(before.words, after.words), 6),
        "drift_of_new": round(drift.divergence(before.words, fresh.words), 6) if fresh.words else None,
        "new_shapes": {name: count for name, count in sorted(fresh.shapes.items()) if name and not before.shapes.get(name)},
        "unfitted": fresh.shapes.get("", 0),
        "examples": None if resting is None else len(resting),
        "stale_examples": None if resting is None else sum(not superseded.isdisjoint(keys) for keys in resting),
        "renewable_examples": None if resting is None else sum(not renewable.isdisjoint(keys) for keys in resting),
        "feedback": _feedback(settings, domain.domain, base.id, wanted.id),
    }


def _in_force(row: Document) -> bool:
    return row.valid_to == FOREVER and not row.withdrawn and not row.erased


def _new_retrieval(settings: Settings, domain: DomainConfig, live: Candidate) -> bool:
    """Whether the live index was built under another `retrieval`; False where its manifest is gone."""
    manifest = find(settings, artifacts.get(settings, live.index_id).step_hash)
    return manifest is not None and manifest.config != domain.model_dump(mode="json", include={"retrieval"})


def _stale_goldens(questions: list[Golden], changes: Iterable[Any], before: str, now: str) -> dict[str, tuple[str, ...]]:
    """Ids of goldens to look at again: their paragraph changed while they hold, or they ended between the two versions' days."""
    changed = [change for change in changes if change.before is not None]

    def touched(golden: Golden) -> bool:
        for change in changed:
            since = change.after.valid_from if change.after is not None else before
            # A quote that still stands is still the passage.
            still = not golden.cites and change.after is not None and golden.stated_by(None, change.after.text)
            if golden.valid_to > since and golden.stated_by(change.key, change.before.text) and not still:
                return True
        return False

    found = {
        "changed": tuple(golden.id for golden in questions if touched(golden))[:NAMED],
        "ended": tuple(golden.id for golden in questions if before < golden.valid_to <= now)[:NAMED],
    }
    return {name: ids for name, ids in found.items() if ids}


def _resting(settings: Settings, adapter: Artifact) -> list[set[str]] | None:
    """Per example of the adapter's training set, the keys of the documents it rests on. None where the examples are gone."""
    source = artifacts.examples_of(settings, adapter)
    return None if source is None else rests_on(source)


def rests_on(folder: Path) -> list[set[str]] | None:
    """The keys behind each example of a folder, read by column. None where its file is gone."""
    from pyarrow.parquet import read_table

    path = folder / example.FILE
    return [set(keys) for keys in read_table(path, columns=["documents"])["documents"].to_pylist()] if path.is_file() else None


def _feedback(settings: Settings, domain: str, before: str, now: str) -> int:
    """Accepted documents of the feedback arrivals that one version rests on and the other does not."""
    with reading(settings) as session:
        new = ancestry.arrivals(session, domain, now) - ancestry.arrivals(session, domain, before)
        brought = session.scalars(select(Arrival.id).where(Arrival.domain == domain, Arrival.source == FEEDBACK))
        mine = {one for one in brought if one in new}
        wanted = (ArrivalItem.arrival_id.in_(sorted(mine)), ArrivalItem.state == "accepted", ArrivalItem.key.is_not(None))
        return session.scalar(select(func.count()).select_from(ArrivalItem).where(*wanted)) or 0
