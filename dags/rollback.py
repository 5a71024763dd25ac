"""**Purpose.** Make an earlier release of a domain live again, from the UI. `ratchet rollback` does the same without Airflow, sooner.

**Inputs.** `domain`, `reason` for the audit log, `to`, the release's number (without it the one before), and `only`, a part to take back by
itself while the others stay. Who triggered the run is the actor. Only an administrator may trigger it.

**Outputs.** The domain's pointer has moved; gateways follow within a second, and no request fails. What was live is `reverted`, a canary
ends.

**At 3 a.m.** `rollback` red: nothing has moved, and the log says why (there is nothing before it, a part of it is barred); name another
release with `to` in a new run. Clearing is safe: a run goes back once. Runbook: `docs/runbooks/release.md`.
"""

from airflow.sdk import Param, task
from wiring import by_hand, by_hand_dag, good_domains, tell_others

names = [domain.domain for domain in good_domains()]
params = {
    "domain": Param(type="string", enum=names, title="Domain"),
    "to": Param(None, type=["null", "integer"], minimum=1, title="Release number", description="empty: the one before"),
    "only": Param(None, type=["null", "string"], enum=[None, "adapter", "prompt", "index"], title="Part", description="empty: the whole"),
    "reason": Param(type="string", minLength=3, title="Reason", description="goes to the audit log"),
}

with by_hand_dag("rollback", __doc__, params):
    task(by_hand("registry.partial.rollback"))(more={"run": "{{ dag.dag_id }}/{{ run_id }}"}) >> tell_others()
