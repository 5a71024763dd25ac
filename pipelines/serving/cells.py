"""The cells of the matrix: combinations of parts that a gate asks. `evaluation.matrix` names them and says what each is for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipelines.config import DomainConfig, Settings
from pipelines.evaluation.cases import GOLDENS, Asked
from pipelines.evaluation.matrix import BASE, CANDIDATE, LIVE, MEMORY, RAG, back
from pipelines.gate_config import Gate
from pipelines.registry import artifacts
from pipelines.serving.answer import Parts, open_parts
from pipelines.serving.generations import Model
from pipelines.state.database import reading
from pipelines.state.models import Candidate, DatasetVersion

if TYPE_CHECKING:
    from pipelines.evaluation.suites import Loaded


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of parts. Without `retrieve` the model answers from memory; `suites` limits what it is asked, empty: everything."""

    name: str
    parts: Parts
    adapter_sha256: str
    retrieve: bool = True
    suites: frozenset[str] = frozenset()

    @property
    def model(self) -> Model:
        """What writes its answers."""
        return Model(self.parts.engine, self.parts.adapter, self.adapter_sha256, self.parts.max_tokens, self.parts.chat)

    def asks(self, asked: Asked) -> bool:
        """Whether this case is put to it. What retrieval should find means nothing to a cell without it, apart from the answer itself."""
        return (not self.suites or asked.suite in self.suites) and (self.retrieve or not asked.case.passages)


def cases(settings: Settings, domain: DomainConfig, candidate: Candidate) -> Loaded:
    """Every case that a candidate is measured by, none of which its adapter learned from. Errors as `suites.load` and `require_apart`."""
    from pipelines.corpus import warehouse
    from pipelines.evaluation import suites

    with reading(settings) as session:
        version = session.get_one(DatasetVersion, candidate.version_id)
    adapter = artifacts.get(settings, candidate.adapter_id) if candidate.adapter_id else None
    examples = artifacts.examples_of(settings, adapter) if adapter is not None else None
    documents = warehouse.documents(settings, domain.domain, version.id)
    loaded = suites.load(settings, domain, documents, version.known_on, examples)
    suites.require_apart(loaded.asked, documents, examples)
    return loaded


def cells(settings: Settings, candidate: Candidate, live: Candidate | None, gate: Gate) -> list[Cell]:
    """The candidate first, then the others; one that would be equal to another is left out. Errors as `open_parts`: a part that is gone or
    altered stops the gate."""
    mine, weights = open_parts(settings, candidate), _weights(settings, candidate)
    of_base = frozenset(name for name, suite in gate.suites.items() if suite.against == "base")
    goldens = frozenset({GOLDENS})
    found = [Cell(CANDIDATE, mine, weights)]
    if candidate.adapter_id is not None:
        found.append(Cell(MEMORY, mine, weights, retrieve=False, suites=goldens))
        found.append(Cell(RAG, mine.with_adapter(""), "", suites=goldens | of_base))
    found.append(Cell(BASE, mine.with_adapter(""), "", retrieve=False, suites=goldens))
    if live is None:
        return found
    theirs, old = open_parts(settings, live), _weights(settings, live)
    found.append(Cell(LIVE, theirs, old, suites=frozenset()))
    seen = {_identity(candidate), _identity(live)}
    for name, row, parts, adapter in _one_part_back(candidate, live, mine, theirs, weights, old):
        if row not in seen:
            seen.add(row)
            found.append(Cell(back(name), parts, adapter, suites=goldens))
    return found


def _one_part_back(
    candidate: Candidate, live: Candidate, mine: Parts, theirs: Parts, weights: str, old: str
) -> list[tuple[str, tuple[Any, ...], Parts, str]]:
    """(part, what identifies the combination, its parts, its adapter's hash)."""
    adapter, index, prompt, rest = _identity(candidate)
    before = _identity(live)
    back = [
        ("index", (adapter, before[1], prompt, rest), replace(mine, index=theirs.index), weights),
        ("prompt", (adapter, index, before[2], rest), replace(mine, prompt=theirs.prompt), weights),
    ]
    # An adapter answers on its own base, asked as it was taught.
    if (mine.engine, mine.chat) == (theirs.engine, theirs.chat):
        back.insert(0, ("adapter", (before[0], index, prompt, rest), mine.with_adapter(theirs.adapter), old))
    return back


def _identity(row: Candidate) -> tuple[str, str, str, str]:
    return row.adapter_id or "", row.index_id, row.prompt_sha256, f"{row.base_sha256} {sorted(row.policy.items())}"


def _weights(settings: Settings, row: Candidate) -> str:
    return artifacts.get(settings, row.adapter_id).sha256 if row.adapter_id else ""
