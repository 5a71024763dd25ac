"""How fast an error budget is spent: multi-window, multi-burn-rate alerts (Site Reliability Workbook, Google, 2018, chapter 5).

The Workbook's alerts are for much traffic. Of 20 requests three may fail by chance, and the budget seems to burn 15 times too fast: so the
count must also be one that chance does not bring while the objective is met, by the bound of Chernoff and Hoeffding,
P(share of bad >= s) <= exp(-n KL(s || 1 - objective)).
"""

from __future__ import annotations

import math
from dataclasses import replace

from pipelines.monitor_config import Burn
from pipelines.monitoring.seen import Seen, Verdict

CHANCE = 1e-5
"""Of one look at one pair of windows while the objective is just met. Looks that share most of their requests count as one: a group has
some 120 of its own a day (24 h / 15 min + 24 h / 60 min + 24 h / 6 h), hence one false alarm in more than two years."""


def judge(rule: Burn, seen: Seen) -> Verdict | None:
    """Bad while both windows of a pair burn `factor` times too fast; good when none does by half. None where no pair has the requests."""
    budget = 1.0 - rule.objective
    worst: Verdict | None = None
    calm = True
    for pair in rule.windows:
        long, requests = seen.spans.get(pair.long_minutes, (None, 0))
        short, lately = seen.spans.get(pair.short_minutes, (None, 0))
        if long is None or requests < rule.min_requests:
            continue
        both = min(long, short) if short is not None and lately > 0 else 0.0
        line = pair.factor * budget
        burning = both >= line and _chance(long, requests, budget) <= CHANCE
        calm = calm and both < line / 2
        why = (
            f"{rule.measure} is {long:.2%} of {requests} requests in {pair.long_minutes:g} minutes: "
            f"{long / budget:.3g} times what an objective of {rule.objective:.4%} allows"
        )
        if worst is None or (burning and not worst.bad):
            worst = Verdict(burning, False, long, budget, why)
    return None if worst is None else replace(worst, good=calm and not worst.bad)


def _chance(share: float, n: int, budget: float) -> float:
    """Upper bound of the chance of so many bad ones among `n` independent requests."""
    if share <= budget:
        return 1.0
    rest = 0.0 if share >= 1.0 else (1.0 - share) * math.log((1.0 - share) / (1.0 - budget))
    return math.exp(-n * (share * math.log(share / budget) + rest))
