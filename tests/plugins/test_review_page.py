"""The review pages: who may answer, that nobody else can in their name, and that neither of two sees the other's answer first."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
import watched_pages
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient

from pipelines.config import Settings
from pipelines.state.database import reading
from pipelines.state.models import AuditEvent, Review, ReviewItem

HOSTILE = "<script>alert('x')</script>"
ROOT = "/release-board/review/law"


@pytest.fixture
def site(settings: Settings, tmp_path: Path) -> Settings:
    return watched_pages.configured(settings, tmp_path)


def app(settings: Settings, *, may_read: bool = True) -> FastAPI:
    """The pages without Airflow; the cookie `who` says which of its users asks."""
    import pages
    import review_page

    def reader(request: Request) -> pages.Reader:
        return pages.Reader(request.cookies.get("who", "steward"), lambda dag_id: may_read and dag_id == "law.release")

    mounted, whole = FastAPI(), FastAPI()
    reader.__annotations__["request"] = Request
    review_page.mount(mounted, Annotated[pages.Reader, Depends(reader)], lambda: settings)
    whole.mount("/release-board", mounted)
    return whole


def client(settings: Settings, who: str = "steward", *, may_read: bool = True) -> TestClient:
    return TestClient(app(settings, may_read=may_read), cookies={"who": who}, follow_redirects=False)


def token(page: str) -> str:
    return re.findall(r'name="token" value="([^"]+)"', page)[0]


def say(pages: TestClient, item: str, verdict: str, **more: str) -> str:
    """Answer an item as its form would; returns where one is sent, or the status with the fault that is shown."""
    given = token(pages.get(f"{ROOT}/{item}").text)
    answer = pages.post(f"{ROOT}/{item}", data={"token": given, "verdict": verdict, **more})
    if answer.status_code == 303:
        return answer.headers["location"]
    return f"{answer.status_code} " + " ".join(re.findall(r'class="fault"[^>]*>([^<]*)', answer.text))


def row(settings: Settings, item: str) -> ReviewItem:
    with reading(settings) as session:
        return session.get_one(ReviewItem, item)


def reviews(settings: Settings, item: str) -> list[Review]:
    with reading(settings) as session:
        return list(session.query(Review).filter(Review.item_id == item).order_by(Review.id))


def test_an_item_shows_the_question_the_answer_its_sources_and_why_it_is_here(site: Settings) -> None:
    item = watched_pages.item(site, "How high may the late fee be?", **watched_pages.suggested("$30"))
    pages = client(site)
    assert item in pages.get(ROOT).text
    answer = pages.get(f"{ROOT}/{item}")
    page = answer.text
    for said in ("How high may the late fee be?", "$24 [13-2]", "The fee was raised this year.", "A caller complained.", "2 complaints",
                 "confidence 0.41", "Late fees", "no more than <mark>$30</mark> for"):  # fmt: skip
        assert said in page
    assert page.count('<span class="pill live">cited</span>') == 1
    policy = answer.headers["content-security-policy"]
    (nonce,) = re.findall(r"script-src 'nonce-([^']+)'", policy)
    assert (
        "form-action 'self'" in policy
        and "unsafe" not in policy
        and re.findall("<script[^>]*>", page) == [f'<script nonce="{nonce}" src="/release-board/review-keys.js" defer>']
    )
    assert "script-src" not in pages.get(ROOT).headers["content-security-policy"]
    script = pages.get("/release-board/review-keys.js")
    assert script.headers["content-type"].startswith("text/javascript") and "keydown" in script.text


def test_accepting_opens_the_next_item_and_says_what_becomes_of_the_last(site: Settings) -> None:
    first = watched_pages.item(site, "How high may the late fee be?", **watched_pages.suggested("$30"))
    second = watched_pages.item(site, "How long must records be kept?", source="low_confidence")
    pages = client(site)
    target = say(pages, first, "accept", regression="on")
    assert target == f"{ROOT}/{second}?done={first}"
    assert (row(site, first).state, row(site, first).kinds) == ("accepted", {"example": True, "golden": False, "regression": True})
    assert "Accepted as a regression case" in pages.get(target).text
    assert say(pages, second, "reject") == f"{ROOT}?done={second}"
    done = pages.get(f"{ROOT}?done={second}").text
    assert "nothing is learned from it" in done and "Nothing waits for you" in done
    settled = pages.get(f"{ROOT}/{first}").text
    assert "Accepted answer" in settled and "<form" not in settled
    assert reviews(site, first)[0].seconds is not None and reviews(site, first)[0].reviewer == "steward"


def test_an_edited_answer_must_stand_in_the_passage_and_what_was_written_is_not_lost(site: Settings) -> None:
    item = watched_pages.item(site, "How long must records be kept?")
    pages = client(site)
    given = token(pages.get(f"{ROOT}/{item}").text)
    wrong = {"token": given, "verdict": "edit", "answer": "two years & a day", "cited": "13-4", "note": "see 13-4", "golden": "on"}
    refused = pages.post(f"{ROOT}/{item}", data=wrong)
    assert refused.status_code == 422 and "Not taken: the answer does not stand, word for word" in refused.text
    assert "two years &amp; a day</textarea>" in refused.text and 'value="see 13-4"' in refused.text
    assert re.search(r'value="13-4" checked', refused.text) and re.search(r'name="golden" checked', refused.text)
    assert row(site, item).state == "open" and not reviews(site, item)
    assert say(pages, item, "edit", answer="24 months", cited="13-4") == f"{ROOT}?done={item}"
    assert (row(site, item).state, row(site, item).cites) == ("accepted", "13-4")


def test_an_empty_answer_means_that_nothing_states_it(site: Settings) -> None:
    item = watched_pages.item(site, "Who pays for snow?", source="abstained", answer="It is not stated.", span=None, cited=None)
    pages = client(site)
    assert "Right, it is not stated" in pages.get(f"{ROOT}/{item}").text
    assert say(pages, item, "edit", answer="  ").startswith(ROOT)
    assert row(site, item).state == "accepted"
    assert "The sources do not state it." in pages.get(f"{ROOT}/{item}").text


def test_a_form_counts_only_for_whom_and_what_it_was_shown(site: Settings) -> None:
    import review_page

    first, second = (watched_pages.item(site, f"How high may fee {n} be?", **watched_pages.suggested("$30")) for n in range(2))
    pages, other = client(site), client(site, "second")
    mine = token(pages.get(f"{ROOT}/{first}").text)
    old = review_page.token(site, "steward", first, int(time.time()) - review_page.TOKEN_SECONDS - 5)
    early = review_page.token(site, "steward", first, int(time.time()) + 600)
    for who, item, given in (
        (other, first, mine), (pages, second, mine), (pages, first, ""), (pages, first, "x.y"), (pages, first, mine[:-1] + "0" + mine[-1]),
        (pages, first, old), (pages, first, early), (pages, first, f"{'9' * 400}.a"),
    ):  # fmt: skip
        answer = who.post(f"{ROOT}/{item}", data={"token": given, "verdict": "accept", "reviewer": "approver"})
        assert answer.status_code == 403, given
    sent = pages.post(f"{ROOT}/{first}", data={"token": mine, "verdict": "accept"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert sent.status_code == 403
    assert not reviews(site, first) and not reviews(site, second)
    assert (site.secrets / "review.key").stat().st_mode & 0o077 == 0
    assert pages.post(f"{ROOT}/{first}", data={"token": mine, "verdict": "accept", "reviewer": "approver"}).status_code == 303
    assert [one.reviewer for one in reviews(site, first)] == ["steward"], "the reviewer is who is logged in, whatever the form says"


def test_who_does_not_review_sees_nothing_and_is_written_down(site: Settings) -> None:
    item = watched_pages.item(site, "How high may the late fee be?")
    pages = client(site, "viewer")
    for path in (ROOT, f"{ROOT}/{item}"):
        answer = pages.get(path)
        assert answer.status_code == 403 and "does not review law" in answer.text and "late fee" not in answer.text
    import review_page

    given = review_page.token(site, "viewer", item, int(time.time()))
    assert pages.post(f"{ROOT}/{item}", data={"token": given, "verdict": "accept"}).status_code == 403
    assert client(site, may_read=False).get(f"{ROOT}/{item}").status_code == 403
    with reading(site) as session:
        denied = [one.actor for one in session.query(AuditEvent).filter(AuditEvent.action == "review.denied")]
    assert denied and set(denied) == {"viewer"}
    assert not reviews(site, item)


def test_neither_of_two_reviewers_sees_the_others_answer_first(site: Settings) -> None:
    item = watched_pages.item(site, "How long must records be kept?", reviewers=2)
    one, two, third = client(site), client(site, "second"), client(site, "approver")
    say(one, item, "edit", answer="24 months", cited="13-4", note="plain enough")
    for pages in (two, third):
        page = pages.get(f"{ROOT}/{item}").text
        assert "plain enough" not in page and "steward" not in page and ">24 months<" not in page
    assert (
        "You answered: edit" in one.get(f"{ROOT}/{item}").text
        and "Another reviewer has to answer too" in one.get(f"{ROOT}?done={item}").text
    )
    say(two, item, "reject", note="the question is odd")
    assert row(site, item).state == "disputed"
    page = third.get(f"{ROOT}/{item}").text
    assert "steward: 24 months" in page and "the question is odd" in page and "The reviewers differ" in page
    assert "<form" not in one.get(f"{ROOT}/{item}").text
    say(third, item, "accept-1")
    assert (row(site, item).state, row(site, item).cites) == ("accepted", "13-4")


def test_an_escalated_item_is_an_approvers(site: Settings) -> None:
    item = watched_pages.item(site, "How high may the late fee be?", **watched_pages.suggested("$30"))
    say(client(site), item, "escalate", note="ask the lawyers")
    second = client(site, "second")
    assert "<form" not in second.get(f"{ROOT}/{item}").text and "for an approver" in second.get(ROOT).text
    approver = client(site, "approver")
    assert "ask the lawyers" in approver.get(f"{ROOT}/{item}").text
    say(approver, item, "accept")
    assert row(site, item).state == "accepted"


@pytest.mark.parametrize("verdict", ["", "delete", "accept-0", "accept-9", "accept-x"])
def test_a_verdict_that_there_is_not_is_refused_in_words(site: Settings, verdict: str) -> None:
    item = watched_pages.item(site, "How high may the late fee be?", **watched_pages.suggested("$30"))
    assert say(client(site), item, verdict).startswith("422 Not taken")
    assert row(site, item).state == "open"


def test_what_is_settled_is_not_settled_again(site: Settings) -> None:
    item = watched_pages.item(site, "How high may the late fee be?", **watched_pages.suggested("$30"))
    two = client(site, "second")
    given = token(two.get(f"{ROOT}/{item}").text)
    say(client(site), item, "accept")
    answer = two.post(f"{ROOT}/{item}", data={"token": given, "verdict": "reject"})
    assert answer.status_code == 409 and "accepted already" in answer.text and row(site, item).state == "accepted"


def test_a_form_that_is_too_long_is_refused(site: Settings) -> None:
    item = watched_pages.item(site, "How high may the late fee be?")
    pages = client(site)
    given = token(pages.get(f"{ROOT}/{item}").text)
    assert pages.post(f"{ROOT}/{item}", data={"token": given, "verdict": "edit", "answer": "x" * 70_000}).status_code == 422


def test_what_callers_wrote_is_text(site: Settings) -> None:
    told = watched_pages.suggested(HOSTILE) | {"answer": HOSTILE, "span": HOSTILE}
    item = watched_pages.item(site, HOSTILE, **told)
    page = client(site).get(f"{ROOT}/{item}").text
    assert "<script>" not in page and page.count("&lt;script&gt;") >= 4
    assert client(site).get(f"{ROOT}?done={HOSTILE}").text.count("<script") == 0


def test_an_unknown_item_is_answered_in_words(site: Settings) -> None:
    assert client(site).get(f"{ROOT}/law-q99").status_code == 404
    assert "Nothing waits for you" in client(site).get(ROOT).text


# --- as a person does it ----------------------------------------------------------------------------------------------


@pytest.fixture
def served(site: Settings) -> Iterator[str]:
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app(site), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}{ROOT}"
    server.should_exit = True
    thread.join()


@pytest.mark.services
@pytest.mark.slow
def test_three_items_are_answered_without_a_mouse(site: Settings, served: str, tmp_path: Path) -> None:
    from e2e.browser import browser, waited
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    names = [watched_pages.item(site, f"How long must records of kind {n} be kept?", span="24 months", cited="13-4") for n in range(3)]

    def press(*keys: str) -> None:
        driver.switch_to.active_element.send_keys(*keys)

    with browser(tmp_path / "profile") as driver:
        driver.get(f"{served}/{names[0]}")
        press("?")
        assert driver.find_element(By.ID, "keys").get_attribute("open")
        press("g")
        assert driver.find_element(By.ID, "golden").is_selected()
        press("j")
        waited(driver, By.XPATH, f"//h2[text()='{names[1]}']")
        press("k")
        waited(driver, By.XPATH, f"//h2[text()='{names[0]}']")
        press("a")
        waited(driver, By.XPATH, f"//h2[text()='{names[1]}']")
        press("e")
        press(Keys.BACKSPACE, "24 months after")
        assert not reviews(site, names[1]), "letters in the field are no commands"
        press(Keys.CONTROL + Keys.ENTER)
        waited(driver, By.XPATH, f"//h2[text()='{names[2]}']")
        press("r")
        waited(driver, By.XPATH, "//*[contains(text(),'Nothing waits for you')]")
        assert driver.get_log("browser") == [], "the content policy stops nothing that the page needs"
    assert [row(site, name).state for name in names] == ["accepted", "accepted", "rejected"]
