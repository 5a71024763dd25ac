"""The release board: nobody without a user, nothing unescaped, no file outside the artifact store."""

from __future__ import annotations

import json
import re
import warnings
from typing import Any

import pytest
from fastapi import HTTPException

from pipelines.config import Settings
from pipelines.state.database import transaction
from pipelines.state.models import Arrival, Artifact, Candidate, DatasetVersion, GateReport, HeldDocument, Pointer, ReviewItem, now

HOSTILE = "<script>alert('x')</script>"


@pytest.fixture
def site(settings: Settings, tmp_path: Any) -> Settings:
    configs = tmp_path / "configs"
    (configs / "domains").mkdir(parents=True)
    (configs / "domains" / "law.yaml").write_text(f'domain: law\ndescription: "{HOSTILE}"\n', encoding="utf-8")
    made = settings.model_copy(update={"configs": configs})
    with transaction(made) as session:
        session.add(DatasetVersion(id="Law_v1.0", domain="law", major=1, minor=0, snapshot_id="1", arrival_id="law-1",
                                   known_on="2014-01-01", documents=3, changed={"added": 3}, content="c"))  # fmt: skip
        session.add(Arrival(id="law-2", domain="law", folder="f", seal="s", uploader=HOSTILE, source="x", effective="2014-01-01", files=1,
                            state="refused", reason=HOSTILE, prepared="1"))  # fmt: skip
        session.add(Arrival(id="law-3", domain="law", folder="g", seal="t", uploader="u", source="x", effective="2014-01-01", files=1,
                            prepared="../../secrets"))  # fmt: skip
        session.flush()
        session.add(HeldDocument(domain="law", arrival_id="law-2", row=0, file="f.txt", place=HOSTILE, key=HOSTILE, reason=HOSTILE,
                                 findings={"findings": [{"rule": HOSTILE}, {"rule": "encoding"}]}))  # fmt: skip
        session.add(Artifact(id="index-1", kind="index", domain="law", step_hash="i", path="index/1", sha256="s", facts={}))
        session.flush()
        for number, state in ((1, "live"), (2, "refused")):
            session.add(Candidate(id=f"law/r{number}", domain="law", number=number, version_id="Law_v1.0", base="b", base_sha256="b",
                                  index_id="index-1", prompt="p", prompt_sha256="p", policy={}, uploader="steward", state=state,
                                  reason=HOSTILE if number == 2 else None, step_hash=f"h{number}"))  # fmt: skip
        session.flush()
        session.add(Pointer(domain="law", live_id="law/r1", since=now()))
        session.add(GateReport(candidate_id="law/r1", verdict="pass", reasons=[], metrics={}, path="gate_report/1", step_hash="g"))
        session.add(GateReport(candidate_id="law/r2", verdict="fail", reasons=[], metrics={}, path="../secrets", step_hash="g"))
    for folder in (made.artifacts / "gate_report" / "1", made.var / "secrets"):
        folder.mkdir(parents=True)
        (folder / "report.html").write_text("<h1>report</h1>", encoding="utf-8")
    told = {"profile": HOSTILE, "texts": 2, "texts_changed": 1, "kinds": {"NAME": {"total": 3, "by": {HOSTILE: 3}}}}
    for path, text in (("contract/1/contract.html", "<h1>contract</h1>"), ("masking/1/report.json", json.dumps(told))):
        (made.artifacts / path).parent.mkdir(parents=True)
        (made.artifacts / path).write_text(text, encoding="utf-8")
    for name in ("contract.html", "report.json"):
        (made.var / "secrets" / name).write_text("secret", encoding="utf-8")
    return made


def test_the_page_shows_what_is_live_and_escapes_everything(site: Settings) -> None:
    import board

    answer = board.render(site, lambda dag_id: True)
    page = bytes(answer.body).decode()
    assert "law/r1" in page and "Law_v1.0" in page and "refused" in page
    assert "Held (1)" in page and "encoding" in page
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "script-src" not in answer.headers["content-security-policy"]


def test_a_release_says_how_many_complaints_it_answers(site: Settings) -> None:
    import board

    with transaction(site) as session:
        for number in (1, 2):
            item = {"id": f"law-q{number}", "domain": "law", "number": number, "fingerprint": str(number), "source": "complaint"}
            session.add(ReviewItem(**item, sealed=b"p{}", state="accepted", mended_by="law/r1"))
    page = bytes(board.render(site, lambda dag_id: True).body).decode()
    assert "answers 2 complaints" in page and page.count("answers 2") == 1


def test_a_domain_the_user_may_not_read_is_not_there(site: Settings) -> None:
    import board

    page = bytes(board.render(site, lambda dag_id: False).body).decode()
    assert "law" not in page


def test_a_broken_domain_file_shows_on_the_board_too(site: Settings) -> None:
    import board

    assert "law.yaml" in board.domains_for(site, lambda dag_id: True)[0]["fault"]


def test_a_report_is_read_from_the_artifact_store_only(site: Settings) -> None:
    import board

    assert board.report_file(site, "law", "r1").name == "report.html"
    for number in ("r2", "r9", "../r1"):
        with pytest.raises(HTTPException) as caught:
            board.report_file(site, "law", number)
        assert caught.value.status_code == 404


def test_an_arrivals_reports_are_linked_and_read_from_the_artifact_store_only(site: Settings) -> None:
    import board

    page = bytes(board.render(site, lambda dag_id: True).body).decode()
    assert re.findall(r"/release-board/arrival/([^\"]+)", page) == ["law/law-2/contract", "law/law-2/masking"]
    assert board.arrival_report(site, "law", "law-2", "contract") == "<h1>contract</h1>"
    masking = board.arrival_report(site, "law", "law-2", "masking")
    assert "1 of 2 titles and texts" in masking and "&lt;script&gt;" in masking and "<script" not in masking
    assert (site.artifacts / "contract" / "../../secrets" / "contract.html").exists(), "a place that a broken row could lead to"
    for asked in (("law", "law-3", "contract"), ("law", "law-9", "contract"), ("notes", "law-2", "contract"), ("law", "law-2", "../1")):
        with pytest.raises(HTTPException) as caught:
            board.arrival_report(site, *asked)
        assert caught.value.status_code == 404


def test_every_route_asks_for_a_user(airflow: None, site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from airflow.api_fastapi.core_api.security import get_user
        from fastapi.testclient import TestClient
    import board

    monkeypatch.setattr(board, "load_settings", lambda: site)
    app = board.make_app()
    paths = {route.path for route in app.routes}
    assert {"/", "/report/{domain}/{number}", "/monitoring/{domain}", "/review/{domain}/{item}", "/review-keys.js"} <= paths
    for route in app.routes:
        assert get_user in {dependency.call for dependency in route.dependant.dependencies}
    client = TestClient(app)
    for path in ("/", "/report/law/r1", "/arrival/law/law-2/contract", "/monitoring/law", "/review/law", "/review-keys.js"):
        assert client.get(path).status_code == 401
    assert client.post("/review/law/law-q1", data={"verdict": "accept"}).status_code == 401


def test_a_refused_candidates_first_reason_is_shown_and_the_rest_folded_away(site: Settings) -> None:
    import board

    with transaction(site) as session:
        session.get_one(GateReport, "law/r2").reasons = ["first", HOSTILE, "third"]
        session.get_one(Candidate, "law/r2").reason = f"gate fail: first; {HOSTILE}; third"
    page = bytes(board.render(site, lambda dag_id: True).body).decode()
    shown, folded = page.split('<td class="wide">first', 1)[1].split("</details>", 1)[0].split("<summary>", 1)
    assert shown == "<details>" and folded.startswith("and 2 more</summary>") and "<li>third</li>" in folded
    assert "<script" not in page


def test_the_page_is_empty_but_well_on_a_new_site(settings: Settings) -> None:
    import board

    assert board.render(settings, lambda dag_id: False).status_code == 200
