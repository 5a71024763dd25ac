"""The closed loop on the story's site: a prompt edit that doubles the tokens is taken back by itself, complaints become a better answer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from browser import CHROMIUM, DRIVER, browser, log_in, picture, waited
from living_site import Site

from pipelines.errors import Conflict, NotFound
from pipelines.registry import pointer, views
from pipelines.site import secrets
from pipelines.site.airflow_api import AirflowClient
from pipelines.state.database import reading
from pipelines.state.models import AuditEvent, Incident, MonitorMark, ReviewItem
from pipelines.steps import plan

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

DOMAIN = "regulatory"
WORSE = """{% for passage in passages %}[{{ loop.index }}] {{ passage }}
{% endfor %}{% for passage in passages %}[{{ loop.index }}] {{ passage }}
{% endfor %}Question: {{ question }}
Question: {{ question }}
Question: {{ question }}
Answer:
"""
"""Somebody hoped that what is said more than once would be read better."""
MONITORS = {
    "window_seconds": 30,
    "every_seconds": 5,
    "alerts": {"group_minutes": 2},
    "rules": [
        {"kind": "shift", "name": "tokens_in", "measure": "tokens_in_mean", "least": 0.4, "severity": "page", "action": {"do": "revert"}},
        {"kind": "burn", "name": "errors", "measure": "error_share", "severity": "page"},
    ],
}
ASKED = "Below which amount is a {year} lease covered?"
CORRECT = {2001: "$32,900", 2003: "$34,600", 2005: "$37,600"}
UNASKED = {2002: "$33,500", 2004: "$36,200", 2006: "$39,000"}


def edit(site: Site, **sections: dict[str, Any]) -> None:
    """Change keys of sections of the domain file."""
    path = site.settings.configs / "domains" / f"{DOMAIN}.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, changes in sections.items():
        values[name] = (values.get(name) or {}) | changes
    path.with_suffix(".new").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    path.with_suffix(".new").rename(path)


def until(what: str, true: Callable[[], Any], seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, what
        time.sleep(0.5)
    return found


def live(site: Site) -> str:
    at = pointer.current(site.settings, DOMAIN)
    return str(at.live_id) if at is not None else ""


def released(site: Site, version: str) -> str:
    """Follow a version's candidate through the gate and past the approver until it is live."""

    def row() -> dict[str, Any]:
        return next((one for one in views.candidates(site.settings, DOMAIN) if one["version"] == version), {})

    until(f"a verdict on {version}", lambda: row().get("verdict"), 600)
    assert row()["verdict"] == "pass", row()["reasons"]
    run = until("its run", lambda: row().get("run"))
    person = AirflowClient.of(site.settings, "approver")

    def answered() -> bool:
        with suppress(NotFound, Conflict):
            person.respond(f"{DOMAIN}.release", run, "Approve")
        return person.run_state(f"{DOMAIN}.release", run) in ("success", "failed")

    until("its release", answered)
    assert person.run_state(f"{DOMAIN}.release", run) == "success"
    return str(row()["candidate"])


class Traffic:
    """Callers who ask all the time; what each was answered with, and when."""

    def __init__(self, site: Site, per_second: float) -> None:
        key = site.run("keys", "issue", "a branch", "--domain", DOMAIN).stdout.strip()
        self.answers: list[tuple[float, int, str]] = []
        self._stop = threading.Event()
        self._pause = 1 / per_second
        self._url, self._headers = f"{site.settings.url('gateway')}/v1/chat/completions", {"Authorization": f"Bearer {key}"}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=30, headers=self._headers) as client:
            number = 0
            while not self._stop.wait(self._pause):
                number += 1
                # No two alike, or the cache would answer.
                question = f"How long must a lessor keep payment ledgers of branch {number}?"
                body = {"model": DOMAIN, "messages": [{"role": "user", "content": question}], "user": str(number)}
                answer = client.post(self._url, json=body)
                self.answers.append((time.time(), answer.status_code, answer.headers.get("x-ratchet-release", "")))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def test_a_prompt_edit_that_doubles_the_tokens_is_told_and_taken_back_by_itself(site: Site) -> None:
    prompts = site.settings.configs / "prompts" / "grounded_extraction"
    path = site.settings.configs / "domains" / f"{DOMAIN}.yaml"
    strict = yaml.safe_load(path.read_text(encoding="utf-8"))["gate"]
    # A gate that asks little, so that what it does not look at gets through: the tokens.
    edit(site, monitors=MONITORS, gate={"floors": {"amount_and_citation": 0.5}, "max_regression": 0.5, "suites": {}})
    before = live(site)
    traffic = Traffic(site, 4)
    try:
        until("a detector that knows what is usual", lambda: _knows(site), 400)
        # The story ended with a bad scan in the newest version: a steward takes that back first.
        site.run("datasets", "restore", "ConsumerLeasing_v1.1", "--reason", "the scan of v1.2 cannot be read")
        (prompts / "v2.jinja").write_text(WORSE, encoding="utf-8")
        (prompts / "v2.yaml").write_text("compatible_with: [v1]\n", encoding="utf-8")
        edit(site, task={"prompt": "grounded_extraction/v2"})
        version = plan.again(site.settings, DOMAIN, actor="e2e", reason="said twice it is read better")
        site.admin().trigger(f"{DOMAIN}.finetune")
        worse = released(site, version)
        until("the revert", lambda: live(site) == before, 240)
        until("the pager", lambda: any(worse in str(one) for one in site.pager.got), 30)
        time.sleep(5)
    finally:
        traffic.stop()
    first = next(at for at, _, release in traffic.answers if release == worse)
    last = max(at for at, _, release in traffic.answers if release == worse)
    # The last answer of the bad release is the moment at which the revert had reached the callers.
    assert last - first <= 120, f"{last - first:.0f} s of traffic until it was taken back"
    assert {status for _, status, _ in traffic.answers} == {200}, "no request failed"
    with reading(site.settings) as session:
        incident = session.query(Incident).filter(Incident.domain == DOMAIN).order_by(Incident.opened_at.desc()).first()
        assert incident is not None and any(name.startswith("tokens_in/") for name in incident.signals)
        words = str(incident.cause) + str(incident.timeline)
        assert worse in words and "prompt" in words
        assert session.query(AuditEvent).filter(AuditEvent.actor == "watcher", AuditEvent.action == "release.rollback").count() == 1
    opened = [one for one in site.pager.got if incident.id in str(one)]
    assert len(opened) == len({str(one.get("title")) for one in opened}), "nobody is told the same twice"
    edit(site, task={"prompt": "grounded_extraction/v1"}, gate=strict)


@pytest.mark.skipif(not ((CHROMIUM and DRIVER) or os.environ.get("CI")), reason="needs Chromium and chromedriver (Debian: chromium-driver)")
def test_complaints_are_reviewed_on_the_board_and_mended_by_the_next_release(site: Site, tmp_path: Path) -> None:
    edit(site, plan={"retrain_after_feedback": len(CORRECT)}, feedback={"learn_after": len(CORRECT), "reviewers": 1})
    before = live(site)
    key = site.run("keys", "issue", "a desk", "--domain", DOMAIN).stdout.strip()
    with httpx.Client(
        base_url=site.settings.url("gateway"), headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=60
    ) as desk:

        def ask(year: int) -> Any:
            body = {"model": DOMAIN, "messages": [{"role": "user", "content": ASKED.format(year=year)}]}
            return desk.post("/v1/chat/completions", json=body).raise_for_status().json()

        def said(year: int) -> str:
            return str(ask(year)["choices"][0]["message"]["content"])

        for year, right in CORRECT.items():
            answer = ask(year)
            assert not answer["choices"][0]["message"]["content"].startswith(right), f"{year} was answered well already"
            complaint = {"id": answer["id"], "model": DOMAIN, "rating": "down", "reason": "wrong", "correction": right}
            told = desk.post("/v1/feedback", json=complaint)
            assert told.status_code == 201, told.text
        _review(site, tmp_path)
        assert site.finished(f"{DOMAIN}.feedback", site.admin().trigger(f"{DOMAIN}.feedback")) == "success"
        version = until("the corrections' version", lambda: _version_of_feedback(site), 180)
        better = released(site, version)
        assert better != before and live(site) == better
        for year, right in (CORRECT | UNASKED).items():
            assert said(year).startswith(right), (year, said(year))
    assert next(row for row in views.releases(site.settings, DOMAIN) if row["release"] == better)["answers_complaints"] == len(CORRECT)
    with reading(site.settings) as session:
        items = session.query(ReviewItem).filter(ReviewItem.domain == DOMAIN, ReviewItem.state == "accepted").all()
        assert {item.mended_by for item in items} == {better} and all(item.mended_at is not None for item in items)
    _look_at_monitoring(site, tmp_path, better)


def _knows(site: Site) -> bool:
    with reading(site.settings) as session:
        mark = session.get(MonitorMark, (DOMAIN, "detector:tokens_in"))
        return mark is not None and any("model" in state for state in mark.state.values())


def _review(site: Site, tmp_path: Path) -> None:
    """Accept every complaint, by keyboard."""
    with reading(site.settings) as session:
        items = [row.id for row in session.query(ReviewItem).filter(ReviewItem.domain == DOMAIN, ReviewItem.source == "complaint")]
    assert len(items) == len(CORRECT)
    from selenium.webdriver.common.by import By

    url = site.settings.url("airflow")
    with browser(tmp_path / "profile") as driver:
        log_in(driver, url, "steward", secrets.password(site.settings, "steward"))
        driver.get(f"{url}/release-board/review/{DOMAIN}")
        picture(driver, tmp_path, "review-queue")
        for number, item in enumerate(items):
            driver.get(f"{url}/release-board/review/{DOMAIN}/{item}")
            body = waited(driver, By.TAG_NAME, "body")
            assert "lease covered?" in body.text and "correct" in body.text.lower()
            picture(driver, tmp_path, f"review-{number}")
            shown = driver.current_url
            body.send_keys("a")
            until("the next item", lambda shown=shown: driver.current_url != shown, 30)
        picture(driver, tmp_path, "review-done")
    with reading(site.settings) as session:
        states = {row.id: row.state for row in session.query(ReviewItem).filter(ReviewItem.id.in_(items))}
    assert set(states.values()) == {"accepted"}, states


def _look_at_monitoring(site: Site, tmp_path: Path, release: str) -> None:
    from selenium.webdriver.common.by import By

    url = site.settings.url("airflow")
    with browser(tmp_path / "profile2") as driver:
        log_in(driver, url, "steward", secrets.password(site.settings, "steward"))
        driver.get(f"{url}/release-board/monitoring/{DOMAIN}?hours=1")
        text = waited(driver, By.TAG_NAME, "body").text
        picture(driver, tmp_path, "monitoring")
        assert release in text and f"{DOMAIN}-i" in text and "tokens_in" in text
        assert driver.find_elements(By.CSS_SELECTOR, "svg"), "there are plots"
        width = driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert width[0] <= width[1], "the page is wider than the window"


def _version_of_feedback(site: Site) -> str | None:
    rows = [row for row in views.arrivals(site.settings, DOMAIN) if row["source"] == "feedback" and row["version"]]
    return str(rows[0]["version"]) if rows else None
