"""The whole story on real Airflow, MLflow, Iceberg, LanceDB and Triton, once; then everything that must hold afterwards."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, DRIVER, browser, log_in, picture, waited
from living_site import Site, worked

from pipelines.errors import Conflict, NotFound
from pipelines.registry import views
from pipelines.site import secrets
from pipelines.site.airflow_api import AirflowClient
from pipelines.state.database import reading
from pipelines.state.models import Approval, Artifact

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

QUESTION = "What is the exempt consumer lease threshold in 2014?"


def test_the_answers_follow_the_law(site: Site) -> None:
    summary = json.loads((site.settings.var / "demo" / "summary.json").read_text())
    before, after, as_of = (answer for _, _, answer in summary["answers"][:3])
    assert before.split(" [")[0].startswith("$")
    assert before != after
    assert as_of == before
    assert [release for _, release, _ in summary["answers"]] == ["regulatory/r1", "regulatory/r2", "regulatory/r2", "clinical/r1"]


def test_every_arrival_is_accounted_for(site: Site) -> None:
    rows = site.json("arrivals")
    assert sorted((row["domain"], row["state"]) for row in rows) == [("clinical", "accepted")] + [("regulatory", "accepted")] * 3 + [
        ("regulatory", "refused")
    ]
    (refused,) = (row for row in rows if row["state"] == "refused")
    assert "wrong checksum" in refused["reason"]
    assert [row["version"] for row in site.json("datasets", "list", "regulatory")] == [f"ConsumerLeasing_v1.{n}" for n in (2, 1, 0)]


def test_the_amendment_was_planned_as_an_index_and_kept_the_adapter(site: Site) -> None:
    plans = {row["version"]: row["kind"] for row in site.json("plan", "regulatory")}
    assert plans == {"ConsumerLeasing_v1.0": "adapter", "ConsumerLeasing_v1.1": "index", "ConsumerLeasing_v1.2": "index"}
    adapters = {row["candidate"]: row["adapter"] for row in site.json("candidates", "regulatory")}
    assert adapters["regulatory/r1"] == adapters["regulatory/r2"]


def test_the_bad_scan_was_refused_and_the_live_release_stands(site: Site) -> None:
    states = {row["candidate"]: (row["verdict"], row["state"]) for row in site.json("candidates", "regulatory")}
    assert states == {"regulatory/r1": ("pass", "retired"), "regulatory/r2": ("pass", "live"), "regulatory/r3": ("fail", "refused")}
    assert [row["release"] for row in site.json("live", "regulatory")] == ["regulatory/r2"]


def test_what_was_killed_and_cleared_meanwhile_went_on_where_it_was(site: Site) -> None:
    assert sorted(site.incidents) == ["deferred training cleared", "training killed", "triggerer killed"]
    with reading(site.settings) as session:
        paths = [row.path for row in session.query(Artifact).filter(Artifact.kind == "adapter").order_by(Artifact.created_at)]
    facts = [json.loads((site.settings.artifacts / path / "facts.json").read_text()) for path in paths]
    assert len(facts) == 2, "one adapter per domain, however often its task ran"
    assert all(fact["resumed_at"] for fact in facts), "a training was done in one go"
    assert len(site.json("candidates", "clinical")) == 1


def test_the_approval_is_a_persons(site: Site) -> None:
    with reading(site.settings) as session:
        approvals = {row.candidate_id: row.actor for row in session.query(Approval)}
    assert approvals == {"regulatory/r1": "approver", "regulatory/r2": "approver", "clinical/r1": "approver"}


def test_no_planted_identifier_is_in_anything_the_run_wrote(site: Site) -> None:
    from pipelines.masking.leaks import find

    planted = json.loads((site.settings.var / "samples" / "planted.json").read_text())
    assert len(planted) > 100
    assert find(site.settings.landing_zone, planted), "the search itself must find them where they are"
    assert find(site.settings.var, planted, skip=(site.settings.landing_zone, site.settings.var / "samples")) == {}


def test_nothing_reached_another_host(site: Site) -> None:
    assert site.strangers == set()


def test_the_openai_client_works(site: Site) -> None:
    import openai

    key = site.run("keys", "issue", "a developer", "--domain", "regulatory").stdout.strip()
    with openai.OpenAI(base_url=f"{site.settings.url('gateway')}/v1", api_key=key) as client:
        reply = client.chat.completions.create(model="regulatory", messages=[{"role": "user", "content": QUESTION}])
        assert (reply.choices[0].message.content or "").startswith("$")
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model="clinical", messages=[{"role": "user", "content": "How long?"}])


def test_mlflow_holds_the_adapters(site: Site) -> None:
    import httpx

    site.run("doctor", check=False)
    url = f"{site.settings.url('mlflow')}/api/2.0/mlflow/registered-models/search"
    names = {model["name"] for model in httpx.get(url, timeout=20, trust_env=False).json()["registered_models"]}
    assert names == {"regulatory-adapter", "clinical-adapter"}


def test_clearing_every_task_of_every_run_changes_nothing(site: Site) -> None:
    admin = site.admin()

    def state() -> Any:
        rows = {
            "arrivals": views.arrivals(site.settings),
            "versions": views.versions(site.settings),
            "candidates": views.candidates(site.settings),
            "releases": views.releases(site.settings),
            "live": views.live(site.settings, "regulatory"),
        }
        with reading(site.settings) as session:
            rows["approvals"] = [(row.candidate_id, row.responded_at.isoformat()) for row in session.query(Approval)]
        return rows, admin.get("/assets/events", limit=1)["total_entries"]

    dags = [f"{domain}.{stage}" for domain in ("regulatory", "clinical") for stage in ("ingest", "finetune", "release")]
    ours = [(dag, run_id) for dag in dags for run_id in worked(admin, dag)]
    assert len(ours) == 13
    before = state()
    for dag, run_id in ours:
        admin.clear(dag, run_id, *{task["task_id"] for task in admin.tasks(dag, run_id)})
    # A cleared approval asks again. What was approved stays approved, by whom and when it was.
    approve_again(site, [(dag, run_id) for dag, run_id in ours if dag.endswith(".release")])
    ends = {(dag, run_id): site.finished(dag, run_id, 300) for dag, run_id in ours}
    assert before == state()
    red = sorted(dag for (dag, _), end in ends.items() if end == "failed")
    assert red == ["regulatory.ingest", "regulatory.release"], "only the refused delivery and the refused candidate"


def approve_again(site: Site, runs: list[tuple[str, str]]) -> None:
    """Answer every approval that is asked until all runs have ended."""
    approver, waiting, deadline = AirflowClient.of(site.settings, "approver"), list(runs), time.monotonic() + 300
    while waiting:
        assert time.monotonic() < deadline, waiting
        waiting = [(dag, run_id) for dag, run_id in waiting if approver.run_state(dag, run_id) not in ("success", "failed")]
        for dag, run_id in waiting:
            with suppress(NotFound, Conflict):
                approver.respond(dag, run_id, "Approve")
        time.sleep(0.5)


def test_the_release_board_asks_for_a_user(site: Site) -> None:
    import httpx

    assert httpx.get(f"{site.settings.url('airflow')}/release-board/", trust_env=False, timeout=20).status_code in (401, 403)


@pytest.mark.skipif(not ((CHROMIUM and DRIVER) or os.environ.get("CI")), reason="needs Chromium and chromedriver (Debian: chromium-driver)")
def test_a_person_reads_the_board_and_the_gate_report_in_a_browser(site: Site, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    url = site.settings.url("airflow")
    with browser(tmp_path / "profile") as driver:
        log_in(driver, url, "viewer", secrets.password(site.settings, "viewer"))
        waited(driver, By.XPATH, "//button[contains(., 'Browse')]").click()
        link = waited(driver, By.CSS_SELECTOR, "a[href*='release-board']")
        picture(driver, tmp_path, "browse")
        link.click()
        WebDriverWait(driver, 20).until(lambda d: len(d.window_handles) == 2)
        driver.switch_to.window(driver.window_handles[-1])
        board = waited(driver, By.TAG_NAME, "body").text
        picture(driver, tmp_path, "board")
        for shown in ("regulatory/r2", "clinical/r1", "ConsumerLeasing_v1.1", "wrong checksum", "approver"):
            assert shown in board
        width = driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert width[0] <= width[1], "the page is wider than the window"
        driver.find_element(By.CSS_SELECTOR, "a[href*='report/regulatory/r3']").click()
        report = waited(driver, By.TAG_NAME, "h1").find_element(By.XPATH, "/html/body").text
        picture(driver, tmp_path, "report")
        assert "fail" in report and "amount_and_citation" in report
        driver.back()
        driver.find_element(By.CSS_SELECTOR, "#clinical a[href$='clinical.ingest']").click()
        waited(driver, By.XPATH, "//*[contains(text(), 'clinical.ingest')]")
        picture(driver, tmp_path, "dag")
        assert driver.current_url.startswith(f"{url}/dags/clinical.ingest")
