"""What a domain file may say about watching its answers: windows, rules, alerts, judging, probes, drills. See docs/monitoring.md.

The watcher reads it anew when the file changes: a rule is mended without a release.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipelines.strict import Name, Strict

By = Literal["all", "release", "prompt", "tenant", "slice"]
"""What a window is computed for, each by itself: the whole domain, or each release, prompt version, tenant or slice of it."""
Severity = Literal["page", "ticket", "note"]
"""`page`: somebody is woken. `ticket`: somebody looks on the next day. `note`: it is written down."""
Part = Literal["adapter", "prompt", "index"]
RouteName = Literal["small", "provider", "semantic_cache"]


class AlertOnly(Strict):
    """Tell people."""

    do: Literal["alert"] = "alert"


class Throttle(Strict):
    """Let the group's tenant (of a rule by tenant) or every caller of the domain ask no more than so often, for a while."""

    do: Literal["throttle"]
    requests_per_minute: int = Field(30, ge=1)
    minutes: float = Field(60.0, gt=0)


class RouteOff(Strict):
    """Stop using a way to answer, for a while: the domain's own engine answers instead."""

    do: Literal["route_off"]
    route: RouteName
    minutes: float = Field(60.0, gt=0)


class Revert(Strict):
    """Go back to the release before, whole or one part; only while the release that is live is younger than `within_hours`."""

    do: Literal["revert"]
    only: Part | None = Field(None, description="none: the part that is new in the live release where that is one, else the whole")
    within_hours: float = Field(72.0, gt=0, description="an older release is not what changed: then people are told, and nothing is done")


Action = Annotated[AlertOnly | Throttle | RouteOff | Revert, Field(discriminator="do")]


class _Rule(Strict):
    name: Name
    measure: str = Field(min_length=1, description="one of `ratchet alerts measures`: docs/detectors.md lists them")
    by: By = "all"
    min_requests: int = Field(20, ge=1, description="a window with fewer says nothing, for or against")
    hold: int = Field(2, ge=1, le=100, description="windows in a row that must be bad before it is raised")
    clear: int = Field(5, ge=1, le=1000, description="windows in a row that must be good before it is over")
    severity: Severity = "ticket"
    action: Action = AlertOnly()
    runbook: str = Field("docs/runbooks/incident.md", min_length=1)


class Threshold(_Rule):
    """A line that the measure must not cross."""

    kind: Literal["threshold"] = "threshold"
    above: float | None = None
    below: float | None = None
    slack: float = Field(0.1, ge=0, lt=1, description="share of the line by which it must be well again before a window counts as good")

    @model_validator(mode="after")
    def _one_line(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("say either `above` or `below`")
        return self


class BurnWindow(Strict):
    """Raised while both windows spend the error budget `factor` times as fast as it would last."""

    long_minutes: float = Field(gt=0)
    short_minutes: float = Field(gt=0)
    factor: float = Field(gt=1)


class Burn(_Rule):
    """An objective of so many good requests of all; the measure is the share of bad ones. Multi-window, multi-burn-rate alerts of the Site
    Reliability Workbook (Google, 2018), chapter 5, whose figures are the default's last two."""

    kind: Literal["burn"]
    objective: float = Field(0.99, gt=0, lt=1)
    windows: tuple[BurnWindow, ...] = Field(
        (
            BurnWindow(long_minutes=15, short_minutes=5, factor=20),
            BurnWindow(long_minutes=60, short_minutes=5, factor=14.4),
            BurnWindow(long_minutes=360, short_minutes=30, factor=6),
        ),
        min_length=1,
    )
    min_requests: int = Field(10, ge=1, description="in the longer window of a pair; with fewer the pair says nothing")
    hold: int = Field(1, ge=1, le=100)
    clear: int = Field(15, ge=1, le=1000)


class Shift(_Rule):
    """The measure is not what it was: compared with the windows of the reference time, and after a release with the release before."""

    kind: Literal["shift"]
    direction: Literal["up", "down", "both"] = "up"
    least: float = Field(0.2, ge=0, description="change, as a share of what it was, below which nobody is told, however sure it is")
    quiet_days: float = Field(365.0, gt=0, description="one false alarm of this rule in so many days without a fault")
    min_requests: int = Field(3, ge=1, description="a window with fewer says nothing; how far few requests may stray is learned")
    hold: int = Field(1, ge=1, le=100)


Rule = Annotated[Threshold | Burn | Shift, Field(discriminator="kind")]


class Slice(Strict):
    """Answers of one kind, by the document that they cite, or else the first that was found. The first slice that matches counts."""

    name: Name
    key: str = Field(min_length=1, description="regular expression, found anywhere in the document's key")

    @field_validator("key")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value


class Alerts(Strict):
    """Who is told, and how often."""

    urls_env: str = Field(
        "RATCHET_ALERT_URLS",
        pattern=r"^[A-Z][A-Z0-9_]*$",
        description="environment variable that holds Apprise addresses, separated by blanks; they hold secrets, so never a file",
    )
    group_minutes: float = Field(5.0, ge=0, description="what is raised of one domain within so many minutes is one incident")
    repeat_hours: float = Field(4.0, gt=0, description="an open page that nobody acknowledged is told again")
    tries: int = Field(
        8, ge=1, description="of one message to one address, with growing waits between; then the board shows that it failed"
    )
    summary_to_env: str | None = Field(
        None, pattern=r"^[A-Z][A-Z0-9_]*$", description="environment variable with the address of the weekly summary; none: not sent"
    )


class Judging(Strict):
    """Sampled answers shown to the judge of `gate.judge`. Nothing without one."""

    samples_per_day: int = Field(0, ge=0)
    metrics: tuple[str, ...] = Field(("groundedness",), min_length=1, description="`groundedness` needs no judge; others are the judge's")
    money_per_day: float = Field(0.0, ge=0, description="in the judge's currency; 0: only what costs nothing")


class Probes(Strict):
    """Questions with known answers, asked of what is live through the gateway, as a caller would."""

    goldens_per_hour: int = Field(8, ge=0, description="a different part of the goldens every hour, all of them in turn")
    bias_every_hours: float = Field(24.0, gt=0, description="paired cases of the suite `bias`, where the domain has one")
    repeat: int = Field(2, ge=1, le=5, description="times that each is asked: the same question must get the same answer")


class Drift(Strict):
    """What of the last hours is compared with the reference time. Each is an own test; `quiet_days` is for all of them together."""

    hours: float = Field(24.0, gt=0, description="what is looked at")
    reference_days: float = Field(14.0, gt=0)
    min_samples: int = Field(100, ge=10)
    quiet_days: float = Field(90.0, gt=0)
    least: float = Field(0.1, ge=0, le=1, description="Jensen-Shannon distance from which a difference matters")


class Monitors(Strict):
    """How the answers of a domain are watched."""

    window_seconds: float = Field(300.0, ge=5)
    every_seconds: float = Field(60.0, ge=1, description="a new window begins so often: windows overlap")
    reference_days: float = Field(14.0, gt=0)
    slices: tuple[Slice, ...] = ()
    rules: tuple[Rule, ...] | None = Field(None, description="none: the rules of docs/detectors.md; a list stands in place of all of them")
    cost_per_1000_tokens: float = Field(0.0, ge=0, description="in the budget's currency; 0: no cost is shown")
    cost_per_gpu_hour: float = Field(0.0, ge=0)
    alerts: Alerts = Alerts()
    judging: Judging = Judging()
    probes: Probes = Probes()
    drift: Drift = Drift()

    @field_validator("rules")
    @classmethod
    def _names_differ(cls, value: tuple[_Rule, ...] | None) -> tuple[_Rule, ...] | None:
        names = [rule.name for rule in value or ()]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two rules are named {twice!r}")
        return value

    @model_validator(mode="after")
    def _windows_overlap(self) -> Self:
        if self.every_seconds > self.window_seconds:
            raise ValueError("every_seconds is longer than window_seconds: what lies between would not be looked at")
        return self

    def watched(self) -> tuple[Rule, ...]:
        """The domain's own rules, or the usual ones."""
        return USUAL if self.rules is None else self.rules


USUAL: tuple[Rule, ...] = (
    Burn(kind="burn", name="errors", measure="error_share", severity="page"),
    Burn(kind="burn", name="tenant_errors", measure="error_share", by="tenant", severity="ticket"),
    Shift(kind="shift", name="tokens", measure="tokens_out_mean", least=0.3, severity="page", action=Revert(do="revert")),
    Shift(kind="shift", name="tokens_in", measure="tokens_in_mean", least=0.3, severity="page", action=Revert(do="revert")),
    Shift(kind="shift", name="latency", measure="latency_p95", least=0.5, severity="page"),
    Shift(kind="shift", name="latency_typical", measure="latency_p50", least=0.3),
    Shift(kind="shift", name="ungrounded", measure="ungrounded_share", least=0.3, severity="page", action=Revert(do="revert")),
    Shift(kind="shift", name="abstained", measure="abstained_share", direction="both", least=0.3),
    Shift(kind="shift", name="confidence", measure="confidence_mean", direction="down", least=0.05),
    Shift(kind="shift", name="topics", measure="topic_distance", least=0.15),
    Shift(kind="shift", name="injections", measure="injection_share", least=0.5, severity="page"),
    Threshold(name="identifiers", measure="identifier_share", above=0.0, hold=1, min_requests=1, severity="page"),
    Threshold(name="goldens", measure="probe_wrong_share", above=0.2, hold=1, min_requests=5, severity="page"),
    Threshold(name="drift_questions", measure="drift_questions", above=0.0, hold=1, min_requests=1),
    Threshold(name="drift_topics", measure="drift_topics", above=0.0, hold=1, min_requests=1, severity="note"),
    Threshold(name="drift_retrieval", measure="drift_retrieval", above=0.0, hold=1, min_requests=1),
    Threshold(name="drift_answers", measure="drift_answers", above=0.0, hold=1, min_requests=1),
    Threshold(name="stale", measure="stale_cited_share", above=0.02, hold=1, min_requests=1),
)
"""What is watched where a domain file names no rules."""
