"""**Purpose.** Bring the traffic log into the warehouse, hour by hour.

**Inputs.** Closed segments of the domain's traffic log on this host, `var/traffic/<domain>/`.

**Outputs.** Rows of the Iceberg table `traffic.<domain>`, partitioned by day. Segments lie in `rotated/` for a week more. `rotate` returns
its counts: lines are rows and bad lines.

**At 3 a.m.** `rotate` red: no request is harmed, and nothing is lost; segments wait on the disk. The log says what is wrong: mend, clear.
Clearing is safe at any time: a segment goes in once. `bad` above 0: `rotated/*.bad` says which lines and why.
Runbook: `docs/runbooks/monitor.md`.
"""

from airflow.sdk import task
from wiring import call, good_domains, stage_dag, ticks

for domain in good_domains():
    with stage_dag(domain, "monitor", ticks([]), __doc__):
        task(call("traffic.rotate"), task_id="rotate")(domain.domain)
