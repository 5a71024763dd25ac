"""**Purpose.** Build what a new dataset version calls for: nothing, a new index, or a new adapter and index; then the candidate.

**Inputs.** The newest dataset version without a plan (`dataset/<domain>`); older ones are superseded by it.

**Outputs.** A candidate: base, adapter, prompt and index frozen together (`candidate/<domain>`).

**At 3 a.m.** Clear the red task. `train` continues from its last checkpoint, also after kill -9; every other step finds its output by
its hash and returns at once. `admit` up for reschedule: it waits for the budget that its log names. All skipped: nothing was new.
Runbook: `docs/runbooks/finetune.md`.
"""

from functools import partial

from airflow.sdk import task
from step_operator import StepOperator
from wiring import admitted, announce, asset, call, claim, good_domains, stage_dag, tell_others


@task.branch(task_id="path")
def path(kind: str) -> list[str]:
    """Facts travel by index, adapters teach behaviour: the plan says which tasks run."""
    return {"adapter": ["examples", "index"], "index": ["index"], "prompt": ["assemble"]}.get(kind, [])


for domain in good_domains():
    name = domain.domain
    with stage_dag(domain, "finetune", asset("dataset", name), __doc__):
        version = claim("plan", name)
        chosen = path(task(call("plan.plan"), task_id="plan")(name, version))
        step = partial(StepOperator.named, domain=name, args={"version": version})
        examples, index, train = step("examples"), step("index"), step("train")
        # Without an adapter to train, the training branch is skipped and the live adapter is taken over.
        assemble = step("assemble", trigger_rule="none_failed_min_one_success")
        chosen >> examples >> step("training-set") >> admitted(name, version) >> train >> assemble
        # A new prompt needs neither: the live index and adapter are taken over.
        chosen >> assemble
        told = announce(asset("candidate", name), "assemble.newly_assembled", name, version)
        chosen >> index >> assemble >> [told, tell_others()]
