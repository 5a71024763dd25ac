"""**Purpose.** Erase a person by key, on a sealed request, and bar what was made from the text.

**Inputs.** `request`: the first 12 or more characters of the SHA-256 of a request that lies sealed in `var/requests`. Never a name: a
run's parameters stay in Airflow. Only an administrator may trigger it.

**Outputs.** The key is destroyed, and a receipt lies under `var/artifacts/erasure`. `announce` says what was barred, and wakes
`<domain>.finetune` for the new version (`dataset/<domain>`), which calls for new parts.

**At 3 a.m.** `require_out_of_service` red: the text is erased, but what answers now was made from it; run `<domain>.finetune`, release what
it makes, then clear this run with all its tasks. `erase` red: the log says what is wrong with the request, or could not be reached; mend,
clear. Every task may be cleared at any time: a request is carried out once. Runbook: `docs/runbooks/erase.md`.
"""

from airflow.sdk import Param, task
from wiring import announce_anew, by_hand, by_hand_dag, call

REQUEST = Param(type="string", pattern="^[0-9a-f]{12,64}$", title="Request", description="first 12 or more of its SHA-256; never a name")

with by_hand_dag("erase", __doc__, {"request": REQUEST}):
    erased = task(by_hand("steps.erase.requested"), task_id="erase")()
    announce_anew(erased)
    task(call("erase.require_out_of_service"), task_id="require_out_of_service", retries=0)(erased)
