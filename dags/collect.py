"""**Purpose.** Pull what is new from a domain's outside sources and deliver it, sealed, into its landing zone.

**Inputs.** The entries of `sources.collect` in the domain's file, each with its own schedule, and the watermark of each in the control
database. A run starts at every tick of any of the schedules, and hourly; a source that was asked with success since its own last tick
answers "not due". So what failed, and an export that still runs, is tried again within the hour. A run by hand asks every source.

**Outputs.** Sealed folders in the landing zone, one per effective date; the landing-zone watcher wakes `<domain>.ingest` for them. The
watermark moves only after they are sealed.

**At 3 a.m.** A red task is one source; the others are unharmed. "asks for ... seconds of patience", "is busy", "no answer": the source is
down, the next run goes on by itself, clear nothing. "could not be taken": the rest was delivered; the log names what was left out.
"refuses our key": the variable that holds it must be renewed. Every task may be cleared at any time: nothing is delivered twice.
Runbook: `docs/runbooks/collect.md`.
"""

from airflow.sdk import task
from wiring import call, good_domains, stage_dag, ticks

for domain in good_domains():
    if domain.sources.collect:
        with stage_dag(domain, "collect", ticks(source.schedule for source in domain.sources.collect), __doc__):
            for source in domain.sources.collect:
                collected = task(call("collect.scheduled"), task_id=source.name)
                collected(domain.domain, source.name, "{{ dag_run.run_type.value }}")
