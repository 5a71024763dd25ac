"""**Purpose.** Measure hour by hour how a domain answers, beside the watcher, which looks every few seconds and needs no Airflow.

**Inputs.** Closed segments of the domain's traffic log on this host, kept answers, goldens, the live release behind the gateway.

**Outputs.** Rows of the Iceberg table `traffic.<domain>` (`rotate`), and observations that rules and the monitoring page read: `texts`
measures kept answers, `judge` shows a sample to the judge, `probe` asks goldens of what is live, `drift` compares the last hours with the
weeks before, `summarise` sends the week's figures once a week. Nothing here tells anybody of an incident, or acts: the watcher does.

**At 3 a.m.** Any task red: no request is harmed, and nothing is lost. `rotate`: segments wait on the disk; the log says what is wrong:
mend, clear. `probe`: the gateway does not answer. `judge`: the judge does not. Clearing is safe at any time: a segment goes in once, an
hour is measured once. `bad` above 0 in `rotate`: `rotated/*.bad` says which lines and why.
Runbook: `docs/runbooks/monitor.md`.
"""

from airflow.sdk import task
from wiring import call, good_domains, stage_dag, ticks

for domain in good_domains():
    name = domain.domain
    with stage_dag(domain, "monitor", ticks([]), __doc__):
        rotated = task(call("traffic.rotate"), task_id="rotate")(name)
        # Each a leaf of its own: what failed must show in the run's colour.
        for what in ("texts", "judge", "probe", "drift", "summarise"):
            rotated >> task(call(f"monitor.{what}"), task_id=what)(name)
