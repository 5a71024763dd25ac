"""The monitoring pages: what they show, to whom, and that nothing gets out of them that should not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

import pytest
import watched_pages
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient

from pipelines.config import Settings
from pipelines.state.database import reading, transaction
from pipelines.state.models import AuditEvent, Incident, Silence

pytestmark = pytest.mark.slow
HOSTILE = "<script>alert('x')</script>"
ROOT = "/monitoring/law"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    from pipelines.config import load_settings
    from pipelines.state.database import migrate

    folder = tmp_path_factory.mktemp("watched")
    made = load_settings({"RATCHET_VAR": str(folder / "var")})
    migrate(made)
    return watched_pages.whole(made, folder)


@pytest.fixture(autouse=True)
def _drawn_anew() -> Iterator[None]:
    import monitor_page

    monitor_page.KEPT.held.clear()
    yield
    monitor_page.KEPT.held.clear()


def client(settings: Settings, *, may_read: bool = True) -> TestClient:
    """The pages without Airflow; the header `who` says which of its users asks."""
    import monitor_page
    import pages

    def reader(request: Request) -> pages.Reader:
        name = request.headers.get("who", "steward")
        return pages.Reader(name, lambda dag_id: may_read and dag_id == "law.release", admin=name == "admin")

    app = FastAPI()
    reader.__annotations__["request"] = Request
    monitor_page.mount(app, Annotated[pages.Reader, Depends(reader)], lambda: settings)
    return TestClient(app)


def figures(page: str) -> dict[str, ElementTree.Element]:
    plots = [ElementTree.fromstring(one) for one in re.findall(r"<svg.*?</svg>", page, re.S)]  # noqa: S314
    return {str(plot.get("aria-labelledby")).partition("-t ")[0]: plot for plot in plots}


def test_the_page_shows_plots_with_releases_and_incidents_on_them(site: Settings) -> None:
    answer = client(site).get(ROOT)
    assert answer.status_code == 200
    plots = figures(answer.text)
    assert {
        "requests",
        "errors",
        "latency",
        "tokens",
        "cost",
        "outcome",
        "confidence",
        "routes",
        "groundedness",
        "probes",
        "drift",
        "thumbs",
    } <= set(plots)
    for plot in plots.values():
        classes = [one.get("class", "") for one in plot.iter()]
        assert classes.count("mark-release-line") == 1 and classes.count("mark-revert-line") == 1 and classes.count("mark-canary-line") == 1
        assert classes.count("band") == 2 and classes.count("hit") == 96
    assert "p95:" in (plots["latency"].findtext("desc") or "")
    policy = answer.headers["content-security-policy"]
    assert "script-src" not in policy and "default-src 'none'" in policy and "form-action 'none'" in policy
    assert "<script" not in answer.text and ' style="' not in answer.text


def test_an_incident_tells_its_cause_its_timeline_and_what_could_not_be_delivered(site: Settings) -> None:
    page = client(site).get(ROOT).text
    opened, over = page.split('id="law-i2"')[1].split("</article>")[0], page.split('id="law-i1"')[1].split("</article>")[0]
    assert "1 message could not be delivered" in opened and "503 from the service" in opened and "docs/runbooks/incident.md" in opened
    assert "What changed last: law/r2 went live" in opened and "the tenant crow has 61% of the requests" in opened
    assert "/dags/law.release/runs/run-2" in opened and f"/release-board{ROOT}/requests/q-3000" in opened
    assert "throttle crow" in opened
    assert "went back from law/r2 to law/r1" in over and "opened as a page" in over
    assert "the yearly list is out" in page and "waiting for review" in page


def test_a_column_of_a_plot_leads_to_its_requests_and_each_of_those_to_itself(site: Settings) -> None:
    pages = client(site)
    plot = figures(pages.get(ROOT).text)["requests"]
    hits = [one for one in plot.iter("a") if one[-1].get("class") == "hit"]
    counts = [int(re.findall(r"requests (\d+)", one.findtext("title") or "")[0]) for one in hits[:-1]]
    busiest = hits[counts.index(max(counts))]
    listed = pages.get(str(busiest.get("href")).removeprefix("/release-board"))
    rows = re.findall(rf'href="/release-board({ROOT}/requests/q-\d+)"', listed.text)
    assert listed.status_code == 200 and len(rows) == max(counts)
    one = pages.get(rows[0])
    assert one.status_code == 200 and rows[0].rpartition("/")[2] in one.text


def test_requests_are_listed_a_page_at_a_time_and_by_group(site: Settings) -> None:
    pages = client(site)
    span = {"from": "2000-01-01T00:00:00Z", "to": "2000-01-02T00:00:00Z"}
    assert "Nothing was asked in this time" in pages.get(f"{ROOT}/requests", params=span).text
    page = pages.get(f"{ROOT}?by=tenant").text
    whole = page.split(f"{ROOT}/requests?", 1)[1]
    assert whole
    href = re.findall(rf'<td><a href="/release-board({ROOT}/requests\?[^"]*group=acme)"', page)[0].replace("&amp;", "&")
    first = pages.get(href)
    assert len(re.findall(r"/requests/q-", first.text)) == 200 and ">older<" in first.text and ">newer<" not in first.text
    second = pages.get(f"{ROOT}/requests" + re.findall(r'href="(\?[^"]*)">older', first.text)[0].replace("&amp;", "&"))
    assert second.status_code == 200 and ">newer<" in second.text
    assert not set(re.findall(r"/requests/(q-\d+)", first.text)) & set(re.findall(r"/requests/(q-\d+)", second.text))
    assert set(re.findall(r"<td>(acme|bolt|crow)</tr>", first.text + second.text)) == {"acme"}


@pytest.mark.parametrize("by", ["release", "tenant", "slice", "prompt"])
def test_told_apart_by(site: Settings, by: str) -> None:
    page = client(site).get(f"{ROOT}?by={by}&hours=24").text
    groups = re.findall(rf'by={by}&amp;group=[^"]*">([^<]+)</a>', page)
    assert sorted(groups) == {
        "release": ["law/r1", "law/r2"], "tenant": ["acme", "bolt", "crow"], "slice": ["fees", "other"],
        "prompt": ["grounded_extraction/v1", "grounded_extraction/v2"],
    }[by]  # fmt: skip
    legend = re.findall(r'<span><i class="s\d-key"></i>([^<]+) <b>', page.split("Requests</b>")[1].split("</figcaption>")[0])
    assert sorted(one.strip() for one in legend) == sorted(groups)
    counted = [int(one) for one in re.findall(rf'by={by}&amp;group=[^"]*">[^<]+</a><td class="num">(\d+)', page)]
    listed = re.findall(rf'href="/release-board({ROOT}/requests\?[^"]*by={by}&amp;group=[^"]*)"', page)
    told = [int(re.findall(r"(\d+) requests? of the", client(site).get(one.replace("&amp;", "&")).text)[0]) for one in listed]
    assert told == counted and sum(counted) > 3000


def test_the_text_of_an_answer_is_for_those_who_may_and_every_reading_is_audited(site: Settings) -> None:
    pages, place = client(site), f"{ROOT}/requests/q-3000"

    def readings() -> list[str]:
        with reading(site) as session:
            return [
                row.actor
                for row in session.query(AuditEvent).filter(AuditEvent.action == "answer.read", AuditEvent.subject == "law/q-3000")
            ]

    before = len(readings())
    viewer = pages.get(place, headers={"who": "viewer"})
    assert (
        "How high may the late fee be?" not in viewer.text
        and "stewards and approvers of law only" in viewer.text
        and "law/r2" in viewer.text
    )
    assert len(readings()) == before
    for who in ("steward", "approver", "admin"):
        text = pages.get(place, headers={"who": who}).text
        assert "How high may the late fee be?" in text and "$24 [13-2]" in text and "Late fees" in text
    assert readings()[before:] == ["steward", "approver", "admin"]
    assert "was not kept" in pages.get(f"{ROOT}/requests/q-3001").text


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("?hours=0", 422, "hours cannot be shown"), ("?hours=100000", 422, "hours cannot be shown"),
        ("?hours=nan", 422, "hours cannot be shown"),
        ("?by=colour", 422, "told apart by"), ("/requests/none", 404, "no request"), ("/requests?from=x&amp;to=y", 422, ""),
        ("/requests?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 422, "no time to look at"),
        ("/requests?from=yesterday&to=today", 422, "is no moment"),
        ("/requests?from=2026-01-01T00:00:00Z&to=2026-01-01T01:00:00Z&skip=-1", 422, "no time"),
        ("/requests?from=2026-01-01T00:00:00Z&to=2026-01-01T01:00:00Z&by=tenant&group=x'%20OR%20'1'='1", 200, "Nothing was asked"),
    ],
)  # fmt: skip
def test_bad_addresses_are_answered_in_words(site: Settings, path: str, status: int, says: str) -> None:
    answer = client(site).get(ROOT + path)
    assert answer.status_code == status and says in answer.text


def test_who_may_not_read_the_domain_is_told_so_and_no_more(site: Settings) -> None:
    for path in (ROOT, f"{ROOT}/requests?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z", f"{ROOT}/requests/q-3000", "/monitoring/none"):
        answer = client(site, may_read=False).get(path)
        assert answer.status_code == 403 and "law" not in answer.text.replace("allowed", "")


def test_what_is_written_in_an_incident_is_text(settings: Settings, tmp_path: Path) -> None:
    made = watched_pages.configured(settings, tmp_path)
    with transaction(made) as session:
        session.add(Incident(id="law-i1", domain="law", number=1, title=HOSTILE, severity="page", runbook=HOSTILE,
                             cause={"likeliest": HOSTILE},
                             signals={HOSTILE: {"rule": HOSTILE, "group": HOSTILE, "why": HOSTILE, "requests": [HOSTILE]}},
                             timeline={"events": [{"at": "2026-03-01T00:00:00+00:00", "what": HOSTILE, "by": HOSTILE}]}))  # fmt: skip
        session.add(Silence(domain="law", rule=HOSTILE[:40], until=watched_pages.now().replace(year=2100), by="x", why=HOSTILE))
    page = client(made).get(ROOT).text
    assert "<script" not in page and "&lt;script&gt;" in page


def test_a_new_domain_has_a_page_without_traffic(settings: Settings, tmp_path: Path) -> None:
    page = client(watched_pages.configured(settings, tmp_path)).get(f"{ROOT}?hours=1")
    assert page.status_code == 200 and "Nothing was asked in this time" in page.text and "nothing yet" in page.text


def test_plots_are_drawn_once_for_all_who_look(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import monitor_page

    drawn: list[Any] = []
    whole = monitor_page.draw
    monkeypatch.setattr(monitor_page, "draw", lambda *asked: drawn.append(asked) or whole(*asked))
    pages = client(site)
    for path in (ROOT, f"{ROOT}?still=1", f"{ROOT}?hours=6", ROOT):
        assert pages.get(path).status_code == 200
    assert len(drawn) == 2
    monitor_page.KEPT.held = {key: (at - 60, one) for key, (at, one) in monitor_page.KEPT.held.items()}
    pages.get(ROOT)
    assert len(drawn) == 3
