"""**Purpose.** Check once a week that a bad release would be seen and taken back: one is planted on a throw-away site, and the watcher's
own program has to tell a receiver and to move the pointer back.

**Inputs.** The domain's file, and a copy of its live release's rows. Nothing where nothing is live, and nothing in production.

**Outputs.** An event of the audit log, and two figures: seconds to the alert, seconds to the revert. Nothing of the site is touched.

**At 3 a.m.** Red: the alert or the revert did not come in time, so it would not come for a real fault either. The log names what is missing
and where the watcher's own log lies. Clearing is safe: it drills again. Runbook: `docs/runbooks/drill.md`.
"""

from airflow.sdk import task
from wiring import call, good_domains, only_on, stage_dag

WEEKLY = "23 4 * * 1"

for domain in good_domains():
    with stage_dag(domain, "drill", only_on(WEEKLY), __doc__):
        task(call("monitor.drill"), task_id="drill")(domain.domain)
