"""**Purpose.** Put answers that went wrong before people, and what people accepted into the landing zone, as an arrival of corrections.

**Inputs.** The traffic log, kept answers, complaints (`POST /v1/feedback`), and what reviewers decided on the release board.

**Outputs.** Items of the review queue (`harvest`); a sealed arrival of source `feedback` (`deliver`), which `ingest` takes in like any
other, and of which the plan decides whether it calls for an adapter. Text that nobody reviewed trains nothing.

**At 3 a.m.** Nothing waits for this DAG: clear it, or let the next day's run do it. Both tasks may be cleared at any time: an answer is
queued once, a correction is delivered once. Runbook: `docs/runbooks/feedback.md`.
"""

from airflow.sdk import task
from wiring import call, good_domains, stage_dag, ticks

DAILY = "41 5 * * *"

for domain in good_domains():
    with stage_dag(domain, "feedback", ticks([DAILY]), __doc__):
        # Beside one another: neither waits for the other, and what failed shows in the run's colour.
        for what in ("harvest", "deliver"):
            task(call(f"feedback.{what}"), task_id=what)(domain.domain)
