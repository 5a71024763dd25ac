"""**Purpose.** Put a candidate through the gate, ask an approver, and roll it out beside what is live without a failed request.

**Inputs.** The newest assembled candidate (`candidate/<domain>`).

**Outputs.** A live release (`release/<domain>`), or a candidate refused with its reason. Such a run is red, never green.

**At 3 a.m.** `require_pass` red: the gate refused; read its report on the release board, nothing is to be cleared. `approve` waits
for one of the domain's approvers; red, none answered in time. `load`, `gate` red: Triton or the gateway was down; mend and clear that
task. `canary` red: it was taken back, its last line says by which figures; live is untouched. A killed `canary` goes on where it was; while
Airflow is down the gateways take a bad canary back. To go back: `ratchet rollback`, which needs no Airflow.
Runbook: `docs/runbooks/release.md`.
"""

from airflow.sdk import chain, task
from step_operator import StepOperator
from wiring import Approval, announce, asset, authorise, call, claim, good_domains, stage_dag, tell_others, withdraw

for domain in good_domains():
    name = domain.domain
    with stage_dag(domain, "release", asset("candidate", name), __doc__):
        candidate = claim("release", name)
        gate = StepOperator.named("gate", domain=name, args={"candidate": candidate})
        passed = task(call("gate.require_pass"), task_id="require_pass", retries=0)(name, candidate)
        subject = f"Release {{{{ ti.xcom_pull(task_ids='claim') }}}} of {name}?"
        approve = Approval(task_id="approve", domain=domain, candidate=candidate, subject=subject)
        authorised = task(authorise)(name, candidate)
        loaded, canary, promoted = (task(call(f"release.{what}"), task_id=what)(name, candidate) for what in ("load", "canary", "promote"))
        told = announce(asset("release", name), "release.newly_released", name, candidate)
        chain(gate, passed, approve, authorised, loaded, canary, promoted, told)
        promoted >> tell_others()
        # A leaf of its own beside `announce`: after a withdrawal that one is upstream_failed, so the run stays red.
        [canary, promoted] >> task(withdraw, trigger_rule="one_failed")(name, candidate)
