"""A line that a measure must not cross: https://sre.google/sre-book/monitoring-distributed-systems/ on what such a line is good for.

No false-alarm rate: the line is whatever its owner drew, and a measure that plays about it is raised as often.
"""

from __future__ import annotations

from pipelines.monitor_config import Threshold
from pipelines.monitoring.seen import Seen, Verdict


def judge(rule: Threshold, seen: Seen) -> Verdict | None:
    """Bad beyond the line; good once `slack` of the line on the right side of it. None where the window says nothing."""
    value = seen.value
    if value is None or seen.n < rule.min_requests:
        return None
    above = rule.above is not None
    line = float(rule.above if rule.above is not None else rule.below or 0.0)
    over, needed = (value - line, rule.slack * abs(line)) if above else (line - value, rule.slack * abs(line))
    side = "above" if above else "below"
    why = f"{rule.measure} is {value:.4g}, and is not to be {side} {line:.4g} ({seen.n} requests)"
    return Verdict(over > 0, over <= -needed, value, line, why)
