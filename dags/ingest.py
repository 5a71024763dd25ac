"""**Purpose.** Turn delivered files into a named dataset version, or refuse them with a reason.

**Inputs.** Sealed folders in the landing zone that no run has claimed. A watcher wakes this DAG within seconds; an hourly sweep
catches what an event missed. One run takes everything that waits.

**Outputs.** One dataset version per accepted arrival (`dataset/<domain>`), and the account of every file in the ledger.

**At 3 a.m.** `settle` red: an arrival was refused; the log names it and the reason, the others are published, nothing is to be
cleared. `prepare` red: masking could not run, or a file broke the reader: mend, then clear that one task with downstream.
Every task may be cleared at any time: nothing is published or announced twice. Runbook: `docs/runbooks/ingest.md`.
"""

from airflow.sdk import task
from wiring import announce, arrivals, asset, call, claim, good_domains, prepare, stage_dag

for domain in good_domains():
    name = domain.domain
    with stage_dag(domain, "ingest", arrivals(name), __doc__):
        claimed = claim("ingest", name)
        prepared = task(prepare).partial(domain=name).expand(arrival_id=claimed)
        # Whatever could be prepared is published: one bad arrival does not hold up the others.
        published = task(call("publish.publish"), task_id="publish", trigger_rule="all_done_min_one_success")(name, claimed)
        told = announce(asset("dataset", name), "publish.newly_published", name, "{{ dag.dag_id }}", "{{ run_id }}")
        settled = task(call("ingest.settle"), task_id="settle", retries=0)(name, claimed)
        prepared >> published >> [told, settled]
        prepared >> settled
