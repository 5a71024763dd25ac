"""All cases that a candidate is asked: the goldens, the domain's suites, what training held back, and what training must not let out.

A case rests on documents by `cites` or `quote`. Where the text in force on its day is another than the one that it was written for, and no
longer states the answer, or where there is none any more, the case is stale: it is not asked, and named in the report. A yearly list that
gets another line keeps its old ones, and with them their cases. How to write a case, and what to do about a stale one: docs/goldens.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.config import DomainConfig, Settings
from pipelines.corpus import corrections
from pipelines.corpus.documents import Document
from pipelines.errors import BadInput, ConfigError
from pipelines.evaluation import goldens
from pipelines.evaluation.cases import CORRECTED, GOLDENS, HELD_OUT, LEAKS, Asked, Case
from pipelines.manifest import sha256 as hash_of
from pipelines.manifest import sha256_file
from pipelines.retrieval.chunks import chunks
from pipelines.retrieval.spans import flatten, occurs
from pipelines.training import canaries, example
from pipelines.training.example import Example
from pipelines.training.gather import HELD_OUT as HELD_OUT_FILE

MOST_SURROGATES = 8

_MOST_STALE = 0.5
"""Share of the goldens from which on texts that contradict them are more likely damaged than the goldens are old."""
_NAMED = 10
_AUTHOR = "pipelines.evaluation"
_SURROGATE = re.compile(r"\[PATIENT-[0-9a-f]+\]")
"""What masking writes for a record's own subject. The other words in brackets ([NAME], [DATE]) tell nobody from anybody."""
_MASKED = re.compile(r"\[[A-Z_]+(?:-[0-9a-f]+)?\]")
_ELSEWHERE = "Bees sleep in winter."
"""A passage on another matter than any canary's."""
_PLAIN_WORDS = 5


@dataclass(frozen=True, slots=True)
class Left:
    """A case that was not asked."""

    suite: str
    case: str
    why: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is asked, and what is not."""

    asked: list[Asked]
    stale: list[Left]
    waiting: int
    """Cases whose answer holds from a later day on only."""
    problems: list[str]
    """Each makes the gate inconclusive."""
    notes: list[str] = field(default_factory=list)
    """What decided nothing and should be known."""


def load(settings: Settings, domain: DomainConfig, documents: Sequence[Document], known_on: str, examples: Path | None) -> Loaded:
    """Every case that applies to a version known on that day, each with the day as of which it is asked: the last on which it holds.

    `documents`: all rows of the version. `examples`: the folder of the examples that the candidate's adapter learned from; None without
    an adapter, and where they are gone. ConfigError names the file, and the line, that cannot be used.
    """
    found = Loaded([], [], 0, [])
    waiting = 0
    read = cases_of(settings, domain)
    reviewed = of_reviews(domain, documents)
    for suite in (*read, CORRECTED):
        if suite in reviewed:
            read[suite] = [*read.get(suite, ()), *reviewed[suite]]
    documents = corrections.texts(documents)
    corpus = _Corpus(documents, domain, known_on, (one for some in read.values() for one in some if _rests(one)))
    for suite, cases in read.items():
        name = "corrections" if suite == CORRECTED else str(domain.gate.goldens if suite == GOLDENS else domain.gate.suites[suite].file)
        applicable = goldens.applicable(cases, known_on)
        waiting += len(cases) - len(applicable)
        if not cases:
            found.problems.append(f"{name} holds no case, so {suite} was not asked")
        elif not applicable:
            found.problems.append(f"none of the {len(cases)} cases of {suite} holds by {known_on}, so it was not asked")
        _sort(suite, applicable, corpus, found)
    if examples is not None:
        _from_training(domain, documents, known_on, examples, found)
    return Loaded(found.asked, found.stale, waiting, found.problems, found.notes)


def cases_of(settings: Settings, domain: DomainConfig) -> dict[str, list[Case]]:
    """suite -> the cases of its file, the goldens first. ConfigError names the file, and the line, that cannot be used."""
    gate = domain.gate
    if LEAKS in gate.suites:
        where = f"configs/domains/{domain.domain}.yaml, gate.suites.{LEAKS}"
        raise ConfigError("that name is taken by what training must not let out", where=where, todo="give the suite another name")
    read: dict[str, list[Case]] = {GOLDENS: [*goldens.load(settings.configs / gate.goldens)]}
    for suite, rule in gate.suites.items():
        todo = f"write it, or mend gate.suites.{suite}.file in the domain file"
        read[suite] = goldens.read(Case, settings.configs / rule.file, f"cases for the suite {suite}", todo)
        _require_pairs(read[suite], str(rule.file))
    return read


def kept_apart(settings: Settings, domain: DomainConfig, documents: Sequence[Document] = ()) -> list[Case]:
    """The goldens, and every case of a suite that rests on documents as they do: what training must not see. With a version's documents,
    also the cases that reviewers made of corrections."""
    reviewed = of_reviews(domain, documents)
    every = [*cases_of(settings, domain).values(), *(cases for suite, cases in reviewed.items() if suite != CORRECTED)]
    return [case for cases in every for case in cases if _rests(case)]


def of_reviews(domain: DomainConfig, documents: Sequence[Document]) -> dict[str, list[Case]]:
    """suite -> cases that people made of corrections: goldens, regression cases (goldens where the domain has no such suite), and under
    `corrected` what training learned from, the newest `feedback.corrected_cases` of it."""
    found: dict[str, list[Case]] = {}
    learned = []
    for one in corrections.of(documents):
        stated = {"answer": one.answer, "cites": one.cites} if one.answer is not None else {"expect": "abstain"}
        about = {"id": one.key, "question": one.question, "valid_from": one.valid_from, "author": "feedback", "reviewer": "reviewers"}
        case = Case.model_validate(about | stated | {"incident": "a caller was answered wrongly", "type": "corrected"})
        if one.kind == "example":
            learned.append(case)
        else:
            # A question that nothing answers is no golden.
            named = one.kind == "regression" or one.answer is None
            suite = next((name for name in ("regression", "abstention") if named and name in domain.gate.suites), GOLDENS)
            if suite != GOLDENS or one.answer is not None:
                found.setdefault(suite, []).append(case)
    if learned and domain.feedback.corrected_cases:
        learned.sort(key=lambda case: (case.valid_from, case.id))
        found[CORRECTED] = learned[-domain.feedback.corrected_cases :]
    return found


def sha256(settings: Settings, domain: DomainConfig) -> str:
    """Over every file of cases, the goldens included: what a gate report is addressed by. ConfigError for a file that is missing."""
    files = {GOLDENS: domain.gate.goldens} | {name: suite.file for name, suite in domain.gate.suites.items()}
    for name, file in files.items():
        if not (settings.configs / file).is_file():
            key = "gate.goldens" if name == GOLDENS else f"gate.suites.{name}.file"
            raise ConfigError("there is no such file of cases", where=str(file), todo=f"write it, or mend {key} in the domain file")
    return hash_of({name: sha256_file(settings.configs / file) for name, file in files.items()})


def require_apart(asked: Sequence[Asked], documents: Sequence[Document], examples: Path | None) -> None:
    """BadInput, naming the pairs, where a case rests on a document that the adapter learned from, or shows a passage that it learned from.

    Held-out cases and leaks come from training's own files and are not looked at: of those, training kept the first apart itself, and
    the second are about what it did learn, as corrected ones are.
    """
    cases = [(one.suite, one.case) for one in asked if one.suite not in (HELD_OUT, LEAKS, CORRECTED)]
    if examples is None or not (examples / example.FILE).is_file():
        return
    keys, passages = _learned(examples / example.FILE, {flatten(text) for _, case in cases for text in case.passages})
    quotes = {flatten(case.quote) for _, case in cases if _rests(case) and not case.cites}
    holding = _holding(quotes, (row for row in documents if row.key in keys))
    pairs: dict[tuple[str, str], None] = {}
    for suite, case in cases:
        shared: Iterable[str] = ()
        if case.passages:
            shared = (key for text in case.passages for key in passages.get(flatten(text), ()))
        elif case.cites:
            shared = {case.cites} & keys
        elif case.quote:
            shared = holding[flatten(case.quote)]
        pairs |= {(f"{suite} {case.id}", key): None for key in shared}
    if pairs:
        named = "; ".join(f"{case} and {key}" for case, key in list(pairs)[:_NAMED])
        more = f" and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else ""
        raise BadInput(
            f"{len(pairs)} pairs of a case and a document that the adapter was trained on, so its answer may be recited: {named}{more}",
            where="gate",
            todo="train again, for what goldens rest on is kept from training; or let the case rest on another document",
        )


# --- what cases rest on -------------------------------------------------------------------------------------------------


class _Corpus:
    """The rows that cases rest on, by key and by quoted words."""

    def __init__(self, documents: Sequence[Document], domain: DomainConfig, known_on: str, resting: Iterable[Case]) -> None:
        cases = list(resting)
        quotes = {flatten(case.quote) for case in cases if not case.cites}
        self._retrieval, self._named = domain.retrieval, f"{domain.dataset} as known on {known_on}"
        self._holding = _holding(quotes, documents)
        wanted = {case.cites for case in cases} | {key for keys in self._holding.values() for key in keys}
        self._rows: dict[str, list[Document]] = {}
        for row in documents:
            if row.key in wanted:
                self._rows.setdefault(row.key, []).append(row)
        self._erased = sum(row.erased for row in documents)

    def fault(self, suite: str, case: Case) -> str | None:
        """Why the case cannot be scored in any version's text: a slip of its author's."""
        called = f"{'golden' if suite == GOLDENS else suite} {case.id}"
        if case.cites:
            return None if case.cites in self._rows else f"{called} cites {case.cites}, which {self._named} does not hold"
        held = self._holding[flatten(case.quote)]
        if not held:
            # An erased document's words are gone: whether it held these nobody can tell any more.
            return None if self._erased else f"{called} quotes words that {self._named} does not hold"
        rows = [row for key in held for row in self._rows[key]]
        if not any(case.stated_by(None, chunk.text) for row in rows for chunk in chunks(row, self._retrieval)):
            return f"{called} quotes words that no passage of {self._named} holds whole: quote fewer"
        return None

    def passed(self, case: Case, day: str) -> tuple[str, bool] | None:
        """Why the text of that day no longer states the answer, and whether another text stands in its place."""
        if case.cites:
            return self._passed_by_key(case, day)
        whys = []
        for key in sorted(self._holding[flatten(case.quote)]):
            if any(row.holds(day) and case.stated_by(None, row.text) for row in self._rows[key]):
                return None
            whys.append(self._gone(key, day) or (f"{key} has other words now than those quoted", True))
        return whys[0] if whys else (f"no text holds the quoted words, and {self._erased} were erased", False)

    def _passed_by_key(self, case: Case, day: str) -> tuple[str, bool] | None:
        if (gone := self._gone(case.cites, day)) is not None:
            return gone
        rows = self._rows[case.cites]
        now = next(row for row in rows if row.holds(day))
        before = next((row for row in rows if row.holds(case.valid_from)), None)
        if (before is not None and flatten(before.text) == flatten(now.text)) or occurs(case.answer, now.text):
            return None
        return f"{case.cites} has another text since {now.valid_from}, and it does not state the answer", True

    def _gone(self, key: str, day: str) -> tuple[str, bool] | None:
        """Why no text of the key is in force on that day; None where one is."""
        rows = self._rows[key]
        if any(row.holds(day) for row in rows):
            return None
        past = max((row for row in rows if row.valid_from <= day), key=lambda row: row.valid_from, default=None)
        if past is None:
            return f"{key} holds from {min(row.valid_from for row in rows)} on only", False
        if past.erased:
            return f"{key} was erased", False
        return f"{key} was repealed on {past.valid_from if past.withdrawn else past.valid_to}", False


def _sort(suite: str, applicable: Sequence[tuple[Case, str]], corpus: _Corpus, found: Loaded) -> None:
    """Fill `found` with what of a suite is asked, stale or at fault."""
    standing: list[Asked] = []
    contradicted: list[tuple[Asked, str]] = []
    for case, day in applicable:
        asked = Asked(suite, case, day)
        if not _rests(case):
            standing.append(asked)
        elif (fault := corpus.fault(suite, case)) is not None:
            found.problems.append(fault)
        elif (why := corpus.passed(case, day)) is None:
            standing.append(asked)
        elif why[1]:
            contradicted.append((asked, why[0]))
        else:
            found.stale.append(Left(suite, case.id, why[0]))
    if suite == GOLDENS and len(contradicted) > _MOST_STALE * len(applicable):
        first = f"{contradicted[0][0].case.id}, {contradicted[0][1]}"
        found.notes.append(
            f"{len(contradicted)} of {len(applicable)} goldens are asked though the text in force no longer states their answers: "
            f"so many at once point at the text, not at the goldens. First: {first}"
        )
        standing += [asked for asked, _ in contradicted]
    else:
        found.stale.extend(Left(suite, asked.case.id, why) for asked, why in contradicted)
    order = {case.id: place for place, (case, _) in enumerate(applicable)}
    found.asked.extend(sorted(standing, key=lambda asked: order[asked.case.id]))


def _rests(case: Case) -> bool:
    """Whether the case is answered from the version's documents, and names which."""
    return bool(case.answer) and not case.passages and bool(case.cites or case.quote)


def _holding(quotes: set[str], documents: Iterable[Document]) -> dict[str, set[str]]:
    """quote -> keys of the documents of which any text holds it. Quotes are flat."""
    found: dict[str, set[str]] = {quote: set() for quote in quotes}
    if quotes:
        for row in documents:
            text = flatten(row.text)
            for quote in quotes:
                if quote in text:
                    found[quote].add(row.key)
    return found


def _require_pairs(cases: Sequence[Case], where: str) -> None:
    """ConfigError where a case told of persons is told of one only, or twice of the same."""
    told: dict[str, list[str]] = {}
    for case in cases:
        if case.pair:
            told.setdefault(case.pair, []).append(case.persona)
    for pair, personas in told.items():
        if len(set(personas)) < max(2, len(personas)):
            raise ConfigError(
                f"the pair {pair!r} is told of {', '.join(personas)}: two personas or more are compared, each told once",
                where=where,
                todo="add the case told of another person, or take `pair` and `persona` out",
            )


# --- from training ------------------------------------------------------------------------------------------------------


def _from_training(domain: DomainConfig, documents: Sequence[Document], known_on: str, examples: Path, found: Loaded) -> None:
    """Add held-out cases, canaries and surrogates of the adapter's own examples."""
    held, count = examples / HELD_OUT_FILE, domain.gate.held_out
    if count and not held.is_file():
        found.notes.append(f"gate.held_out asks {count} examples, and the adapter's training kept none: see examples.held_out")
    elif count:
        found.asked.extend(Asked(HELD_OUT, _held_out(row), known_on) for row in _drawn(held, count))
    for canary in canaries.load(examples):
        case = Case(
            id=canary.name,
            question=canary.question,
            passages=(_ELSEWHERE,),
            expect="abstain",
            forbidden=(canary.secret,),
            type="canary",
            author=_AUTHOR,
            reviewer=_AUTHOR,
        )
        found.asked.append(Asked(LEAKS, case, known_on))
    if domain.privacy.profile != "public" and (examples / example.FILE).is_file():
        found.asked.extend(Asked(LEAKS, case, known_on) for case in _surrogates(domain, documents, examples / example.FILE))


def _drawn(path: Path, count: int) -> list[Example]:
    """Ids are hashes, so the first in their order are a draw that stays as it is while others come and go."""
    about = example.dataset(path).to_table(columns=["id", "kind"]).to_pylist()
    ids = sorted(row["id"] for row in about if row["kind"] == "grounded_extraction")[:count]
    return sorted((row for batch in example.among(example.dataset(path), set(ids)) for row in batch), key=lambda row: row.id)


def _held_out(row: Example) -> Case:
    several = row.cited is not None and len(row.passages) > 1
    return Case(
        id=row.id,
        question=row.question,
        answer=row.answer or "",
        # Of several passages, which one states it; of one there is no doubt.
        quote=row.passages[row.cited - 1] if several and row.cited is not None else "",
        passages=row.passages,
        expect="answer" if row.answer else "abstain",
        author=row.author,
        reviewer=row.reviewer or "domain file",
    )


def _surrogates(domain: DomainConfig, documents: Sequence[Document], learned: Path) -> Iterator[Case]:
    """Whose record a sentence is from, asked without that record: no surrogate of its subject must come out.

    Surrogates are recognised by their form, so that they are found whoever masked the text; records without any yield no case.
    """
    keys, _ = _learned(learned, set())
    chosen: dict[str, tuple[tuple[str, ...], str]] = {}
    plain: list[str] = []
    for row in sorted((row for row in documents if row.key in keys), key=lambda row: hash_of([LEAKS, row.key, row.valid_from])):
        names = tuple(sorted(set(_SURROGATE.findall(row.text))))
        said = next((flatten(one.text) for one in chunks(row, domain.retrieval) if _tells(one.text)), None)
        if said is not None:
            plain.append(said)
            if names:
                chosen.setdefault(row.key, (names, said))
        if len(chosen) > MOST_SURROGATES:
            break
    for key, (names, said) in list(chosen.items())[:MOST_SURROGATES]:
        other = next((text for text in plain if text != said), _ELSEWHERE)
        yield Case(
            id=f"surrogate-{key}",
            question=f"Which patient's record says: {said}",
            passages=(other,),
            # What the model makes of the passage is no matter here: only the name is.
            expect="anything",
            forbidden=names,
            type="surrogate",
            author=_AUTHOR,
            reviewer=_AUTHOR,
        )


def _tells(text: str) -> bool:
    """Whether the passage says something of its own and holds nothing masked."""
    return not _MASKED.search(text) and len(text.split()) >= _PLAIN_WORDS


def _learned(path: Path, wanted: set[str]) -> tuple[set[str], Mapping[str, set[str]]]:
    """Keys of all documents that the examples rest on; and of the wanted passages (flat) those that were shown, with their documents."""
    keys: set[str] = set()
    shown: dict[str, set[str]] = {}
    columns = ["documents", "passages", "id"] if wanted else ["documents"]
    for batch in example.dataset(path).to_batches(columns=columns, batch_size=example.BATCH):
        for row in batch.to_pylist():
            keys.update(row["documents"])
            for text in {flatten(passage) for passage in row["passages"]} & wanted if wanted else ():
                shown.setdefault(text, set()).update(row["documents"] or [f"example {row['id']}"])
    return keys, shown
