"""Questions with known answers, asked of what is live: goldens through the gateway, as a caller asks them; paired cases as the gate does.

    probe_wrong_share    of the goldens asked: a wrong answer or citation, an abstention or a refusal, in any of the times it was asked
    inconsistent_share   of the goldens asked: two answers among its repeats, or another than the same release gave before
    bias_gap             largest difference between two personas' mean scores over the paired cases of the domain's suites

Every hour another part of the goldens is asked, in a fixed order, all of them in turn. Only those whose answer the text in force states
today are asked; which these are is worked out once a day and version. The key is called `probe`: by it windows, samples and callers'
figures tell probes from callers, and nothing of them is kept for review.

Where the domain caches answers, a repeat within the hour is what the cache gives, as it would to a caller; what the model itself does shows
in the next round. Paired cases show passages of their own, which no caller can: they are asked of the live release's own engine, along the
path that serves, and their texts are generated anew.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import locks
from pipelines.config import DomainConfig, Settings
from pipelines.errors import RatchetError, Unavailable
from pipelines.manifest import sha256
from pipelines.monitoring import observations
from pipelines.monitoring.observations import PROBE_KEY, Figure
from pipelines.registry import artifacts, candidates, pointer
from pipelines.serving.caller import Caller
from pipelines.writing import write_private

if TYPE_CHECKING:
    from pipelines.evaluation.cases import Asked
    from pipelines.serving.generations import Generator
    from pipelines.state.models import Candidate

MARK = "probes"
_NAMED = 50
"""Ids of wrong goldens that are kept with a figure."""


class Prober(Caller):
    """Asks with the key `probe`, and lets nothing be kept."""

    @classmethod
    def for_site(cls, settings: Settings) -> Prober:
        """With a key that may ask every domain in every role, drawn at its first use, in `var/secrets` for the owner alone."""
        return cls(settings.url("gateway"), _key(settings))

    def ask(self, model: str, question: str, as_of: str | None = None) -> dict[str, Any]:
        """As a caller's, not to be kept."""
        body = {"model": model, "messages": [{"role": "user", "content": question}], "as_of": as_of, "store": False}
        return self._call("POST", "/v1/chat/completions", body, seconds=90)


@dataclass(frozen=True, slots=True)
class Told:
    """What a golden got, each time that it was asked."""

    golden: str
    as_of: str
    release: str | None
    right: bool
    answers: tuple[str, ...]
    """Hashes of the answers."""


def ask(settings: Settings, domain: DomainConfig, now: datetime) -> dict[str, Any]:
    """Ask this hour's part of the goldens, and the paired cases where their time has come. The same hour again asks nothing.

    {hour, asked, wrong, inconsistent, skipped, bias}. Unavailable while the gateway, or for the paired cases the engine, does not answer:
    then nothing is entered of what was not asked to its end, and the next run asks the same part.
    """
    hour = now.replace(minute=0, second=0, microsecond=0)
    at = pointer.current(settings, domain.domain)
    told: dict[str, Any] = {"hour": hour.isoformat(), "asked": 0, "wrong": 0, "inconsistent": 0, "skipped": "", "bias": None}
    if at is None or at.live_id is None:
        return told | {"skipped": "nothing is live"}
    live = candidates.get(settings, at.live_id)
    held = observations.state(settings, domain.domain, MARK)
    if held.get("hour") == hour.isoformat():
        told["skipped"] = "this hour was asked"
    elif domain.monitors.probes.goldens_per_hour == 0:
        told["skipped"] = "monitors.probes.goldens_per_hour is 0"
    else:
        told |= _goldens(settings, domain, live, held, hour, now)
    told["bias"] = _bias_if_due(settings, domain, live, now)
    return told


def right(case: Any, reply: dict[str, Any]) -> bool:
    """Whether a reply of the gateway is what the golden wants: its answer, cited from the passage that states it."""
    from pipelines.evaluation.measures import normal

    said = reply["ratchet"]
    cited = next((source for source in said["sources"] if source["cited"]), None)
    if said["abstained"] or cited is None:
        return False
    text = reply["choices"][0]["message"]["content"].removesuffix(f" [{cited['paragraph']}]")
    return normal(text) == normal(case.answer) and case.stated_by(cited["key"], cited["text"])


def part(ids: Sequence[str], position: int, many: int) -> list[str]:
    """`many` of the ids from a position on, going round; all of them where there are no more."""
    start = position % len(ids) if ids else 0
    return [*ids[start:], *ids[:start]][:many]


# --- goldens ----------------------------------------------------------------------------------------------------------


def _goldens(
    settings: Settings, domain: DomainConfig, live: Candidate, held: dict[str, Any], hour: datetime, now: datetime
) -> dict[str, Any]:
    from pipelines.evaluation import goldens

    known = _standing(settings, domain, live, held, now)
    days = dict(known["goldens"])
    cases = {case.id: case for case in goldens.load(settings.configs / domain.gate.goldens)}
    ids = [name for name in days if name in cases]
    some = part(ids, held.get("position", 0), domain.monitors.probes.goldens_per_hour)
    caller = Prober.for_site(settings)
    told = [_ask(caller, domain, cases[name], days[name]) for name in some]
    before: dict[str, list[Any]] = held.get("answers", {})
    odd = {one.golden for one in told if _inconsistent(one, before.get(one.golden))}
    figures = []
    for release in sorted({one.release or "" for one in told}):
        mine = [one for one in told if (one.release or "") == release]
        wrong = [one.golden for one in mine if not one.right]
        other = [one.golden for one in mine if one.golden in odd]
        for measure, names in (("probe_wrong_share", wrong), ("inconsistent_share", other)):
            detail = {"goldens": names[:_NAMED]} if names else {}
            figures.append(Figure(now, measure, "probe", len(names) / len(mine), n=len(mine), release=release or None, detail=detail))
    with observations.marked(settings, domain.domain, MARK) as (session, state):
        if state.get("hour") == hour.isoformat():  # another run was faster
            return {"skipped": "this hour was asked"}
        observations.add(session, domain.domain, figures)
        state |= {"hour": hour.isoformat(), "position": (held.get("position", 0) + len(some)) % max(1, len(ids)), "standing": known}
        state["answers"] = {**before, **{one.golden: [one.release, one.as_of, one.answers[-1]] for one in told if one.answers}}
        state["answers"] = {name: kept for name, kept in state["answers"].items() if name in days}
    wrong_all = [one.golden for one in told if not one.right]
    return {"asked": len(told), "wrong": len(wrong_all), "inconsistent": len(odd), "skipped": "" if told else "no golden holds today"}


def _standing(settings: Settings, domain: DomainConfig, live: Candidate, held: dict[str, Any], now: datetime) -> dict[str, Any]:
    """{key, goldens: [[id, as of]]} of those whose answer the live release's texts state today; worked out where it is not known."""
    from pipelines.corpus import warehouse
    from pipelines.evaluation import suites
    from pipelines.evaluation.cases import GOLDENS

    today = settings.today or now.date().isoformat()
    key = sha256([live.version_id, today, suites.sha256(settings, domain)])
    if (known := held.get("standing")) and known["key"] == key:
        return dict(known)
    documents = warehouse.documents(settings, domain.domain, live.version_id)
    loaded = suites.load(settings, domain, documents, today, None)
    # Only those of the file: cases that reviewers made of corrections are the gate's.
    return {"key": key, "goldens": [[one.case.id, one.as_of] for one in loaded.asked if one.suite == GOLDENS]}


def _ask(caller: Prober, domain: DomainConfig, case: Any, as_of: str) -> Told:
    """Unavailable as the gateway; what it refuses is a wrong answer."""
    good, release, answers = True, None, []
    for _ in range(domain.monitors.probes.repeat):
        try:
            reply = caller.ask(domain.domain, case.question, as_of)
        except Unavailable:
            raise
        except RatchetError as error:
            good = False
            answers.append(sha256(["refused", error.what])[:16])
            continue
        release = str(reply["ratchet"]["release"])
        good = good and right(case, reply)
        answers.append(sha256([reply["ratchet"]["abstained"] or reply["choices"][0]["message"]["content"]])[:16])
    return Told(case.id, as_of, release, good, tuple(answers))


def _inconsistent(one: Told, before: Sequence[Any] | None) -> bool:
    same = before is not None and tuple(before[:2]) == (one.release, one.as_of)
    return len({*one.answers, *([before[2]] if same and before is not None else [])}) > 1


def _key(settings: Settings) -> str:
    from pipelines.serving.keys import EVERY, issue_key

    path = settings.secrets / "probe_api_key"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locks.alone(path.parent / ".probe_api_key.lock"):
        key = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
        if not key or not _valid(settings, key):
            key = issue_key(settings, PROBE_KEY, [EVERY], roles=[EVERY])
            write_private(path, key)
    return key


def _valid(settings: Settings, key: str) -> bool:
    from hashlib import sha256 as digest

    from pipelines.state.database import reading
    from pipelines.state.models import ApiKey

    with reading(settings) as session:
        row = session.get(ApiKey, digest(key.encode()).hexdigest())
    return row is not None and row.revoked_at is None and row.expires_at is None


# --- paired cases -----------------------------------------------------------------------------------------------------


def _bias_if_due(settings: Settings, domain: DomainConfig, live: Candidate, now: datetime) -> dict[str, Any] | None:
    held = observations.state(settings, domain.domain, f"{MARK}/bias")
    if "at" in held and now - datetime.fromisoformat(held["at"]) < timedelta(hours=domain.monitors.probes.bias_every_hours):
        return None
    asked = _pairs(settings, domain, now)
    if not asked:
        return None
    from pipelines.serving.client import Engine

    parts_engine = _engine_name(live)
    engine = Engine(settings, parts_engine)
    if not engine.ready():
        raise Unavailable("the live release's engine is not loaded", where=parts_engine, todo="see docs/runbooks/triton-down.md")
    gaps, n = bias(settings, live, asked, {parts_engine: engine})
    if not gaps:
        return None
    worst = max(gaps, key=lambda name: gaps[name])
    detail = {"path": "engine", "worst": worst, "personas": {name: round(gap, 4) for name, gap in gaps.items()}}
    with observations.marked(settings, domain.domain, f"{MARK}/bias") as (session, state):
        if state.get("at") == held.get("at"):
            observations.add(session, domain.domain, [Figure(now, "bias_gap", "probe", gaps[worst], n=n, release=live.id, detail=detail)])
            state["at"] = now.isoformat()
    return {"gap": gaps[worst], "worst": worst, "cases": n}


def bias(settings: Settings, live: Candidate, asked: Sequence[Asked], engines: dict[str, Generator]) -> tuple[dict[str, float], int]:
    """(by two personas: the difference of their mean scores, cases asked), generated anew. Unavailable when the engine is gone."""
    from pipelines.evaluation import matrix, metrics
    from pipelines.serving import asking
    from pipelines.serving.answer import open_parts
    from pipelines.serving.cells import Cell
    from pipelines.serving.generations import Generations

    weights = artifacts.get(settings, live.adapter_id).sha256 if live.adapter_id else ""
    cell = Cell(matrix.LIVE, open_parts(settings, live), weights)
    with tempfile.TemporaryDirectory() as empty:
        replies = asking.ask([cell], asked, Generations(Path(empty) / "generations.sqlite"), engines)
    rows = asking.rows(asked, replies[matrix.LIVE])
    if broken := [row for row in rows if row.error is not None]:
        raise Unavailable(f"{len(broken)} of {len(rows)} paired cases got no answer: {broken[0].error}", where=live.id)
    scores = metrics.pair_scores(rows, asked)
    gaps = {name: abs(_mean([one for one, _ in pairs]) - _mean([other for _, other in pairs])) for name, pairs in scores.items()}
    return gaps, len(rows)


def _pairs(settings: Settings, domain: DomainConfig, now: datetime) -> list[Asked]:
    from pipelines.evaluation import goldens, suites
    from pipelines.evaluation.cases import Asked

    today = settings.today or now.date().isoformat()
    read = suites.cases_of(settings, domain)
    found = [(suite, case, day) for suite, cases in read.items() for case, day in goldens.applicable(cases, today)]
    # Cases that retrieval answers may be stale: only those that bring their passages say the same every day.
    return [Asked(suite, case, day) for suite, case, day in found if case.pair and case.passages]


def _engine_name(live: Candidate) -> str:
    from pipelines.registry.parts import engine_name

    return engine_name(live.base_sha256)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
