"""The panels of the Grafana dashboard, row by row: each names its measure, its unit and what to think of it. `grafana.py` lays them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["timeseries", "stat", "table"]
_DOMAIN = 'domain=~"$domain"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture. `queries`: (PromQL, legend); `unit` is one of Grafana's; `width` in 24ths of the row."""

    title: str
    description: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: Kind = "timeseries"
    width: int = 8
    stacked: bool = False
    minimum: float | None = 0.0
    maximum: float | None = None


def _rate(family: str, by: str, more: str = _DOMAIN) -> str:
    return f"sum by ({by}) (rate({family}{{{more}}}[$__rate_interval]))"


def _quantile(level: float, family: str, by: str, more: str = _DOMAIN) -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({level}, {_rate(f'{family}_bucket', labels, more)})"


def _share(part: str, whole: str) -> str:
    return f"{part} / clamp_min({whole}, 1e-9)"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Answers": (
        Panel(
            "Requests",
            "Requests a second by domain and status. 499: the caller had gone.",
            "reqps",
            ((_rate("ratchet_requests_total", "domain, status"), "{{domain}} {{status}}"),),
            stacked=True,
        ),
        Panel(
            "Errors",
            "Share of requests that failed on our side. The error budget of rule `errors` is 0.01: a page comes at 14.4 times that.",
            "percentunit",
            (
                (
                    _share(
                        _rate("ratchet_requests_total", "domain", f'{_DOMAIN}, status=~"5.."'), _rate("ratchet_requests_total", "domain")
                    ),
                    "{{domain}}",
                ),
            ),
        ),
        Panel(
            "Requests by release",
            "Who answers: what is live, and a canary beside it while one runs.",
            "reqps",
            ((_rate("ratchet_requests_total", "release, canary"), "{{release}} canary={{canary}}"),),
            stacked=True,
        ),
        Panel(
            "Time to the whole answer",
            "50, 95 and 99 % of the answers took no longer. Above 5 s for five minutes RatchetSlow is raised: docs/runbooks/slow.md.",
            "s",
            tuple(
                (_quantile(level, "ratchet_request_seconds", "domain"), f"{{{{domain}}}} p{level:.0%}"[:-1]) for level in (0.5, 0.95, 0.99)
            ),
        ),
        Panel(
            "Time to the first text",
            "Of streamed answers; 95 % had their first text by then.",
            "s",
            ((_quantile(0.95, "ratchet_first_token_seconds", "domain"), "{{domain}} p95"),),
        ),
        Panel(
            "Where the time goes",
            "Mean seconds of each stage of a request. A stage that grows alone is where to look.",
            "s",
            (
                (
                    _share(_rate("ratchet_stage_seconds_sum", "stage", ""), _rate("ratchet_stage_seconds_count", "stage", "")),
                    "{{stage}}",
                ),
            ),
            stacked=True,
        ),
    ),
    "What is said": (
        Panel(
            "Tokens",
            "Tokens a second, read and written. A step right after a release's mark is a prompt that grew.",
            "short",
            ((_rate("ratchet_tokens_total", "domain, direction"), "{{domain}} {{direction}}"),),
        ),
        Panel(
            "Tokens a request",
            "Mean of all requests, cached ones too; rules `tokens` and `tokens_in` watch the like, without the cache's.",
            "short",
            (
                (
                    f"{_rate('ratchet_tokens_total', 'domain, direction')} / on (domain) group_left ()"
                    f" clamp_min({_rate('ratchet_requests_total', 'domain')}, 1e-9)",
                    "{{domain}} {{direction}}",
                ),
            ),
        ),
        Panel(
            "Abstentions",
            "Answers withheld, by reason, a second. A rise of `not_in_passage` or `other_year` is a model that makes things up.",
            "reqps",
            ((_rate("ratchet_abstained_total", "domain, reason"), "{{domain}} {{reason}}"),),
            stacked=True,
        ),
        Panel(
            "Guards",
            "Findings of the guards a second: injections, toxicity, identifiers, numbers. docs/guards.md says what each does.",
            "reqps",
            ((_rate("ratchet_guard_verdicts_total", "rule, action, where"), "{{rule}} {{action}} in {{where}}"),),
            stacked=True,
        ),
        Panel(
            "Cache",
            "Share of look-ups that found an answer, exact or by meaning. It falls to nothing right after a release, and comes back.",
            "percentunit",
            (
                (
                    f"""{_rate("ratchet_cache_total", "domain, found", f'{_DOMAIN}, found!="miss"')} / on (domain) group_left ()"""
                    f" clamp_min({_rate('ratchet_cache_total', 'domain')}, 1e-9)",
                    "{{domain}} {{found}}",
                ),
            ),
            maximum=1.0,
        ),
        Panel(
            "Routes",
            "Answers a second by whose they are: our own engine, the small model, the provider.",
            "reqps",
            ((_rate("ratchet_routed_total", "domain, route"), "{{domain}} {{route}}"),),
            stacked=True,
        ),
    ),
    "What is held back": (
        Panel(
            "Limits",
            "Requests refused by a limit of the caller's key, and by a throttle that is in force, a second.",
            "reqps",
            (
                (_rate("ratchet_limited_total", "limit", ""), "limit {{limit}}"),
                (_rate("ratchet_throttled_total", "domain"), "throttled {{domain}}"),
            ),
        ),
        Panel(
            "Connections refused",
            "For being slow, large or too many, a second.",
            "reqps",
            ((_rate("ratchet_connections_refused_total", "reason", ""), "{{reason}}"),),
        ),
        Panel(
            "Log and kept answers",
            "Records that are not on the disk yet, and how many records and kept answers were lost, a second. Above 0 is a disk's trouble.",
            "short",
            (
                ("sum(ratchet_traffic_backlog)", "waiting"),
                (_rate("ratchet_unlogged_total", "domain"), "not logged {{domain}}"),
                (_rate("ratchet_unkept_total", "domain"), "not kept {{domain}}"),
            ),
        ),
    ),
    "The loop": (
        Panel(
            "Open incidents",
            "Incidents that are open or acknowledged, by domain and severity. The monitoring page of the release board has them whole.",
            "short",
            (("max by (domain, severity) (ratchet_incidents)", "{{domain}} {{severity}}"),),
        ),
        Panel(
            "The watcher's last round",
            "Seconds since the watcher looked. Above 180 for a minute RatchetWatcherSilent is raised: nobody watches the answers.",
            "s",
            (("time() - max(ratchet_watcher_seen_timestamp_seconds)", "ago"),),
            kind="stat",
        ),
        Panel(
            "Judgements",
            "What callers say of answers, a second: up or down, and whether it was received or put into quarantine.",
            "ops",
            ((_rate("ratchet_feedback_total", "domain, rating, state"), "{{domain}} {{rating}} {{state}}"),),
        ),
    ),
    "The fleet": (
        Panel(
            "Instances",
            "1 while every worker sends requests to this Triton. RatchetTritonOut is raised after 30 s of 0: docs/runbooks/triton-down.md.",
            "bool_on_off",
            (("min by (instance) (ratchet_instance_up)", "{{instance}}"),),
            maximum=1.0,
        ),
        Panel(
            "Taken out, repeated and mended",
            "In the last ten minutes: instances taken out, requests repeated elsewhere, crashed engines mended or lost.",
            "short",
            (
                ("sum by (instance, reason) (increase(ratchet_instance_ejected_total[10m]))", "{{instance}} out: {{reason}}"),
                ("sum by (instance) (increase(ratchet_requests_repeated_total[10m]))", "{{instance}} repeated"),
                ("sum by (instance, outcome) (increase(ratchet_engine_mended_total[10m]))", "{{instance}} {{outcome}}"),
            ),
        ),
        Panel(
            "Triton: waiting and working",
            "Seconds a request waits for a free slot, and seconds it is computed. Waiting that grows alone wants more instances.",
            "s",
            (
                (
                    "sum by (instance) (rate(nv_inference_queue_duration_us[$__rate_interval]))"
                    " / clamp_min(sum by (instance) (rate(nv_inference_request_success[$__rate_interval])), 1e-9) / 1e6",
                    "{{instance}} waits",
                ),
                (
                    "sum by (instance) (rate(nv_inference_compute_infer_duration_us[$__rate_interval]))"
                    " / clamp_min(sum by (instance) (rate(nv_inference_request_success[$__rate_interval])), 1e-9) / 1e6",
                    "{{instance}} works",
                ),
            ),
        ),
        Panel(
            "Being answered",
            "Requests under way, over all workers.",
            "short",
            (("sum(ratchet_in_flight)", "in flight"),),
            kind="stat",
            width=6,
        ),
        Panel(
            "Workers",
            "Processes of all gateways that are scraped.",
            "short",
            (("sum(ratchet_workers)", "workers"),),
            kind="stat",
            width=6,
        ),
        Panel(
            "Age of the pointers",
            "Seconds since the gateway that is furthest behind read what is live. Above 10 for a minute RatchetPointersOld is raised.",
            "s",
            (("max(ratchet_pointer_age_seconds)", "age"),),
            kind="stat",
            width=6,
        ),
        Panel(
            "Last read of the pointers",
            "When the gateway that is furthest behind last read what is live.",
            "dateTimeAsIso",
            (("min(ratchet_pointer_read_timestamp_seconds) * 1000", "read"),),
            kind="stat",
            width=6,
        ),
    ),
}
