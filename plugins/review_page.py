"""The review pages under /release-board/review: answers that people look at, one at a time, by mouse or by keyboard.

Who reviews is Airflow's user, never a field of the form; whether they may is the queue's to say. A form carries a token that is bound to
its user and item, so that no other site can answer in their name. The page works without its one small script, which only knows the keys.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pages import STATUS, TEMPLATES, Reader, domain_for, fault, page, told
from starlette.concurrency import run_in_threadpool

from pipelines.config import DomainConfig, Settings
from pipelines.errors import BadInput, NotAllowed, RatchetError
from pipelines.feedback import page_data, queue
from pipelines.governance import keyfile
from pipelines.monitoring import page_events

ROOT = "/release-board/review"
TOKEN_SECONDS = 12 * 3600
"""A form that lay open for longer is shown anew."""
FORM_BYTES = 64 * 1024
SOURCES = {
    "complaint": "A caller complained.",
    "low_confidence": "The model was not sure.",
    "ungrounded": "The answer does not rest on what was found.",
    "abstained": "No answer was found.",
    "withheld": "A guard held the answer back.",
    "repeated": "The same was asked again and again.",
    "transcript": "A conversation that went wrong was delivered.",
    "probe": "A question with a known answer got another one.",
    "sampled": "It looks well; some of those are looked at too.",
}


def token(settings: Settings, reader: str, item: str, issued: int) -> str:
    """What a form carries: when it was shown, and a proof that we showed it to this reader about this item."""
    key = keyfile.read_or_draw(settings.secrets / "review.key", lambda: secrets.token_hex(32).encode(), may_make=True)
    proof = hmac.new(key, "\0".join((reader, item, str(issued))).encode(), hashlib.sha256).hexdigest()
    return f"{issued}.{proof}"


def seconds_since(settings: Settings, reader: str, item: str, given: str) -> float:
    """How long ago the form was shown, s. NotAllowed for a token that is not this reader's and item's, or too old."""
    issued, _, _ = given.partition(".")
    valid = issued.isdecimal() and len(issued) < 16 and hmac.compare_digest(token(settings, reader, item, int(issued)), given)
    age = time.time() - int(issued) if valid else -1.0
    if not 0 <= age <= TOKEN_SECONDS:
        raise NotAllowed("this form was not shown to you, or too long ago", where=item, todo="open the item again, and answer there")
    return age


def listing(settings: Settings, name: str, reader: Reader, done: str | None = None) -> HTMLResponse:
    """The queue of a domain. NotAllowed for who does not review it."""
    domain = domain_for(settings, name, reader)
    return page(
        "review_queue.html",
        domain=domain,
        items=queue.items(settings, domain, reader.name, states=page_events.WAITING),
        settled=page_data.settled(settings, name),
        done=page_data.item(settings, name, done) if done else None,
        agreement=queue.agreement(settings, name),
        waits=page_events.review_waits(settings, name),
        sources=SOURCES,
        me=f"{ROOT}/{quote(name)}",
    )


def showing(
    settings: Settings, name: str, reader: Reader, item_id: str, *, done: str | None = None, refused: RatchetError | None = None,
    filled: dict[str, str] | None = None,
) -> HTMLResponse:  # fmt: skip
    """One item. With `refused`, why it could not be answered, above what was filled in."""
    domain = domain_for(settings, name, reader)
    shown = queue.show(settings, domain, item_id, reader.name)
    every = queue.items(settings, domain, reader.name)
    ids = [one.id for one in every if one.waits_for_me]
    before, after = _neighbours(ids, item_id)
    status = next((code for kind, code in STATUS if isinstance(refused, kind)), 500) if refused else 200
    return page(
        "review_item.html",
        status=status,
        script=True,
        form=True,
        domain=domain,
        item=page_data.item(settings, name, item_id),
        text=shown,
        # While it is open, and the other has not answered, a person may think again.
        answerable=item_id in ids or (shown.state == "open" and shown.mine is not None),
        place=ids.index(item_id) + 1 if item_id in ids else None,
        count=len(ids),
        before=before,
        after=after,
        token=token(settings, reader.name, item_id, int(time.time())),
        refused=refused,
        filled=filled,
        done=page_data.item(settings, name, done) if done else None,
        sources=SOURCES,
        me=f"{ROOT}/{quote(name)}",
    )


def answering(settings: Settings, name: str, reader: Reader, item_id: str, form: dict[str, str]) -> Response:
    """Give the reader's verdict to the queue, and open the next item. What it refuses is said in words above the filled form."""
    try:
        domain = domain_for(settings, name, reader)
        seconds = seconds_since(settings, reader.name, item_id, form.get("token", ""))
        waiting = [one.id for one in queue.items(settings, domain, reader.name) if one.waits_for_me]
    except RatchetError as error:
        return fault(error)
    try:
        verdict, answer, cited = _said(settings, domain, item_id, reader, form)
        kinds = {"example": True, "golden": "golden" in form, "regression": "regression" in form}
        note = form.get("note", "").strip() or None
        queue.decide(
            settings, domain, item_id, reader.name, verdict, answer=answer, cited=cited, kinds=kinds, note=note, seconds=round(seconds, 1)
        )
    except RatchetError as error:
        return told(showing)(settings, name, reader, item_id, refused=error, filled=form)
    following = _neighbours(waiting, item_id)[1] or next((one for one in waiting if one != item_id), None)
    target = f"{ROOT}/{quote(name)}" + (f"/{quote(following)}" if following else "")
    return RedirectResponse(f"{target}?{urlencode({'done': item_id})}", 303)


def _said(
    settings: Settings, domain: DomainConfig, item_id: str, reader: Reader, form: dict[str, str]
) -> tuple[str, str | None, str | None]:
    """Verdict, answer and document of a form. `accept-2` takes the second of the other reviewers' answers."""
    verdict = form.get("verdict", "")
    which = verdict.removeprefix("accept-")
    if which != verdict and which.isdecimal():
        others = queue.show(settings, domain, item_id, reader.name).others
        if not 1 <= int(which) <= len(others):
            raise BadInput("there is no such answer of another reviewer", where=item_id, todo="open the item again")
        other = others[int(which) - 1]
        # `accept` without an answer would take the suggestion.
        return ("edit" if other.answer is None else "accept"), other.answer, other.cited
    if verdict == "edit":
        return verdict, form.get("answer", "").strip() or None, form.get("document", "").strip() or form.get("cited") or None
    return verdict, None, None


def mount(app: FastAPI, who: Any, settings: Callable[[], Settings]) -> None:
    """Add the routes. `who`: the annotation whose dependency is the Reader."""

    @told
    def every(domain: str, reader: Reader, done: str | None = None) -> HTMLResponse:
        return listing(settings(), domain, reader, done)

    @told
    def show(domain: str, item: str, reader: Reader, done: str | None = None) -> HTMLResponse:
        return showing(settings(), domain, reader, item, done=done)

    async def answer(domain: str, item: str, request: Request, reader: Reader) -> Response:
        # Browsers say where a form was sent from; the token stands for those that do not.
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return fault(NotAllowed("this form was sent from another site", where=item))
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > FORM_BYTES:
            return fault(BadInput("that is too long", where=item, todo="an answer is a sentence or two"))
        form = {name: value for name, value in (await request.form(max_files=0, max_fields=20)).items() if isinstance(value, str)}
        return await run_in_threadpool(answering, settings(), domain, reader, item, form)

    def keys(reader: Reader) -> Response:  # noqa: ARG001 - no route without a user
        text = (TEMPLATES / "review_keys.js").read_text(encoding="utf-8")
        return Response(text, media_type="text/javascript", headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"})

    for function in (every, show, answer, keys):
        function.__annotations__["reader"] = who
    answer.__annotations__["request"] = Request
    app.get("/review-keys.js")(keys)
    app.get("/review/{domain}", response_class=HTMLResponse)(every)
    app.get("/review/{domain}/{item}", response_class=HTMLResponse)(show)
    app.post("/review/{domain}/{item}", response_class=HTMLResponse)(answer)


def _neighbours(ids: list[str], item_id: str) -> tuple[str | None, str | None]:
    """The items before and after one; of one that is not waiting, none and the first."""
    if item_id not in ids:
        return None, next(iter(ids), None)
    place = ids.index(item_id)
    return (ids[place - 1] if place else None), (ids[place + 1] if place + 1 < len(ids) else None)
