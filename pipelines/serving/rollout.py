"""A rollout: shadow, then a canary by steps, taken back by itself as soon as it is shown to be worse than live. See docs/rollout.md.

What it came to stands in one row of the control database, and what it rests on in the traffic log: whoever looks (the release step; the
gateways, while Airflow is down) comes to the same, and a killed task goes on where it was. It goes by what the domain's file said when it
began.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from pipelines import locks
from pipelines.config import Settings
from pipelines.errors import Conflict
from pipelines.governance import audit
from pipelines.registry import candidates, pointer
from pipelines.rollout_config import Rollout, Stage
from pipelines.serving.canary.records import Following
from pipelines.serving.canary.weighing import Before, Decision, Weighing, decide
from pipelines.state.database import reading, transaction
from pipelines.state.models import Candidate, Pointer, RolloutRow, now

LOOKS_BACK = timedelta(hours=26)
"""How far back live's own figures are looked for."""


@dataclass(frozen=True, slots=True)
class Place:
    """A stage, and whether it is the shadow."""

    stage: Stage
    shadow: bool = False


def places(policy: Rollout, against: str | None) -> list[Place]:
    """Every stage in its order. The first release of a domain has nothing beside it: one step, that asks the goldens only."""
    if against is None:
        return [Place(policy.steps[0].model_copy(update={"minutes": 0.0, "requests": 0}))]
    shadow = [Place(policy.shadow, shadow=True)] if policy.shadow is not None else []
    return [*shadow, *(Place(step) for step in policy.steps)]


# --- beginning and ending ---------------------------------------------------------------------------------------------


def begin(settings: Settings, policy: Rollout, candidate_id: str) -> RolloutRow:
    """The candidate's rollout: begun now, or as far as it came. Nobody is answered by it yet.

    Conflict where it was taken back or withdrawn before, or while another canary runs; NotAllowed when its approval does not stand any
    more.
    """
    row = get(settings, candidate_id)
    if row is not None:
        if row.state not in ("running", "passed"):
            raise Conflict(f"its rollout ended: {row.state}, {row.reason}", where=candidate_id, todo="assemble another candidate")
        return row
    pointer.set_canary(settings, candidate_id, 0.0)
    domain = candidates.get(settings, candidate_id).domain
    at = pointer.current(settings, domain)
    against = at.live_id if at is not None else None
    moment = now()
    earlier = (record for _, record in Following(settings, domain, moment - LOOKS_BACK).new(moment))
    before = Before.of(earlier, against) if against is not None else Before()
    with transaction(settings) as session:
        row = RolloutRow(
            candidate_id=candidate_id,
            against=against,
            stage=0,
            stage_began_at=moment,
            began_at=moment,
            state="running",
            facts={
                "policy": policy.model_dump(mode="json", exclude={"auto_approve"}),
                "lines": dict(before.lines),
                "known": {name: list(count) for name, count in before.known.items()},
                "stages": [],
            },
        )
        session.add(row)
        audit.record(session, actor="ratchet", action="rollout.began", subject=candidate_id, detail={"against": against})
    return row


def get(settings: Settings, candidate_id: str) -> RolloutRow | None:
    """The candidate's rollout, detached."""
    with reading(settings) as session:
        return session.get(RolloutRow, candidate_id)


def enter(settings: Settings, candidate_id: str, number: int) -> None:
    """Send the stage's share of the traffic to the candidate, and start its clock; harmless when it was entered before."""
    row = _running(settings, candidate_id)
    place = places(policy_of(row), row.against)[number]
    share, shadow = (0.0, place.stage.share) if place.shadow else (place.stage.share, 0.0)
    pointer.set_canary(settings, candidate_id, share, shadow=shadow)
    if len(row.facts["stages"]) > number:
        return
    with transaction(settings) as session:
        kept = session.get_one(RolloutRow, candidate_id)
        moment = now()
        moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)  # the log's times have no more
        entered = {"began": moment.isoformat(), "share": place.stage.share, "shadow": place.shadow}
        kept.stage, kept.stage_began_at = number, moment
        kept.facts = kept.facts | {"stages": [*kept.facts["stages"], entered]}
        audit.record(session, actor="ratchet", action="rollout.stage", subject=candidate_id, detail={"stage": number, **entered})


def keep(settings: Settings, candidate_id: str, seen: dict[str, Any], decision: Decision | None = None) -> bool:
    """Write down what was seen, and how the rollout ended where it did; False where it had ended before."""
    ends = {"pass": "passed", "revert": "reverted", "withdraw": "withdrawn"}
    state = ends.get(decision.what) if decision is not None else None
    with transaction(settings) as session:
        row = session.get_one(RolloutRow, candidate_id)
        if row.state != "running":
            return False
        stages = [*row.facts["stages"]]
        if stages:
            stages[row.stage] = stages[row.stage] | {"seen": seen}
        row.facts = row.facts | {"stages": stages}
        if state is None or decision is None:
            return True
        row.state, row.reason = state, decision.reason
        if state != "passed":
            at = session.get(Pointer, session.get_one(Candidate, candidate_id).domain)
            if at is not None and at.canary_id == candidate_id:
                at.canary_id, at.canary_share, at.shadow_share = None, 0.0, 0.0
            candidates.move(session, candidate_id, "reverted" if state == "reverted" else "refused", reason=decision.reason)
        detail = {"reason": decision.reason, "stage": row.stage, "seen": seen}
        audit.record(session, actor="ratchet", action=f"rollout.{state}", subject=candidate_id, allowed=state == "passed", detail=detail)
    return True


def policy_of(row: RolloutRow) -> Rollout:
    """What the domain's file said of rollouts when this one began."""
    return Rollout.model_validate(row.facts["policy"])


def _running(settings: Settings, candidate_id: str) -> RolloutRow:
    row = get(settings, candidate_id)
    if row is None or row.state != "running":
        why = "has no rollout" if row is None else f"was {row.state}: {row.reason}"
        raise Conflict(f"{candidate_id} {why}", todo="the live release is untouched; see docs/runbooks/release.md")
    return row


# --- looking ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Watch:
    """One rollout as one process follows it: made anew from the row and the log, it comes to the same."""

    settings: Settings
    candidate: str
    _weighing: Weighing | None = None
    _log: Following | None = None
    _entered: int = 0
    _stages: list[datetime] = field(default_factory=list)

    def look(self, moment: datetime | None = None) -> Decision:
        """Take in what came since the last look, and say what is to be done. Changes nothing; Conflict when the rollout does not run."""
        moment = moment or now()
        row = _running(self.settings, self.candidate)
        domain = row.candidate_id.split("/")[0]
        at = pointer.current(self.settings, domain)
        live = at.live_id if at is not None else None
        if live != row.against:
            return Decision("withdraw", f"{row.against or 'nothing'} was live when it began, and {live or 'nothing'} is now")
        if at is None or at.canary_id != self.candidate:
            return Decision("withdraw", "it was taken out of the canary")
        if not row.facts["stages"]:
            return Decision("go on")
        weighing = self._feed(row, domain, moment)
        all_places = places(policy_of(row), row.against)
        return decide(
            weighing, (row.stage, len(all_places)), all_places[row.stage].stage, _utc(row.stage_began_at), _utc(row.began_at), moment
        )

    def seen(self) -> dict[str, Any]:
        """Counts and evidence of the present stage; no text."""
        return self._weighing.facts() if self._weighing is not None else {}

    def _feed(self, row: RolloutRow, domain: str, moment: datetime) -> Weighing:
        policy = policy_of(row)
        if self._weighing is None or self._log is None:
            before = Before(row.facts["lines"], {name: (count[0], count[1]) for name, count in row.facts["known"].items()})
            self._weighing = Weighing(policy, self.candidate, row.against, before)
            self._log = Following(self.settings, domain, datetime.fromisoformat(row.facts["stages"][0]["began"]))
        stages, every = [datetime.fromisoformat(one["began"]) for one in row.facts["stages"]], places(policy, row.against)
        for at, record in self._log.new(moment):
            self._enter(self._weighing, stages, every, at)
            self._weighing.feed(record)
        self._enter(self._weighing, stages, every, moment)
        return self._weighing

    def _enter(self, weighing: Weighing, stages: list[datetime], every: list[Place], at: datetime) -> None:
        while self._entered < len(stages) and stages[self._entered] <= at:
            weighing.enter(every[self._entered].stage, shadow=every[self._entered].shadow)
            self._entered += 1


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=now().tzinfo)


# --- beside Airflow ---------------------------------------------------------------------------------------------------

_WATCHES: dict[tuple[Path, str], Watch] = {}
_HELD: dict[Path, ExitStack] = {}


def watch_once(settings: Settings) -> list[str]:
    """Look at every rollout that runs and take back what is shown to be worse, or has lost its place; one line for each that was ended.

    For a gateway's background task, about once a second. Of several processes on a host one does it, until it ends or no rollout runs; the
    others come back with nothing. Stages and promotion stay with the release step: while Airflow is down a canary stays as it is, watched.
    """
    with reading(settings) as session:
        running = list(session.scalars(select(RolloutRow.candidate_id).where(RolloutRow.state == "running")))
    for key in [key for key in _WATCHES if key[0] == settings.var and key[1] not in running]:
        del _WATCHES[key]
    if not running:
        if (held := _HELD.pop(settings.var, None)) is not None:
            held.close()
        return []
    if not _first(settings):
        return []
    return [reason for candidate_id in running if (reason := _watched(settings, candidate_id)) is not None]


def _first(settings: Settings) -> bool:
    if settings.var in _HELD:
        return True
    path = settings.var / "locks" / "rollout"
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if not stack.enter_context(locks.alone_now(path)):
            return False
        _HELD[settings.var] = stack.pop_all()
    return True


def _watched(settings: Settings, candidate_id: str) -> str | None:
    watch = _WATCHES.setdefault((settings.var, candidate_id), Watch(settings, candidate_id))
    try:
        decision = watch.look()
    except Conflict:  # it ended between the two reads
        return None
    done = {"revert": "taken back", "withdraw": "withdrawn"}.get(decision.what)
    if done is None or not keep(settings, candidate_id, watch.seen(), decision):
        return None
    return f"{candidate_id} was {done}: {decision.reason}"
