"""`ratchet feedback` and `ratchet review`: what callers said, what was harvested, and the queue that people decide on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.common import AsJson, DomainName, actor, print_json, show
from pipelines.config import load_domain, load_settings

app = typer.Typer(no_args_is_help=True, help="What callers said of answers, and answers that look wrong.")
review = typer.Typer(no_args_is_help=True, help="The review queue. Who may review: docs/feedback.md.")

Item = Annotated[str, typer.Argument(help="As `review list` prints it: `regulatory-q12`.")]
State = Annotated[str | None, typer.Option(help="Only those in this state.")]
Limit = Annotated[int, typer.Option(min=1, max=1000)]


@app.command("list")
def feedback_list(
    domain: Annotated[str | None, typer.Argument()] = None, state: State = None, limit: Limit = 50, as_json: AsJson = False
) -> None:
    """Judgements, newest first: received, quarantined or refused, and why."""
    from pipelines.feedback import inbound

    settings = load_settings()
    if domain:
        load_domain(domain, settings)
    rows = inbound.listed(settings, domain, state, limit)
    show(as_json, rows, ("id", "at", "domain", "key", "rating", "reason", "state", "why", "item_id"))


@app.command("show")
def feedback_show(feedback_id: str, as_json: AsJson = False) -> None:
    """The masked words of one judgement; the reading is audited."""
    from pipelines.feedback import inbound

    words = inbound.words_of(load_settings(), feedback_id, actor()).model_dump()
    show(as_json, [{"what": name, "text": text} for name, text in words.items()], ("what", "text"))


@app.command("harvest")
def feedback_harvest(domain: DomainName, as_json: AsJson = False) -> None:
    """Put what looks wrong, and a few that look well, into the review queue; `<domain>.feedback` does it daily."""
    from pipelines.feedback import harvest
    from pipelines.state.models import now

    settings = load_settings()
    counts = harvest.harvest(settings, load_domain(domain, settings), now())
    if as_json:
        print_json(counts)
    else:
        show(False, [{"what": name, "count": count} for name, count in counts.items()], ("what", "count"))


@app.command("transcripts")
def feedback_transcripts(
    domain: DomainName,
    files: Annotated[list[Path], typer.Argument(help="JSON lines, a conversation each, with `reward` or `rating`.")],
    as_json: AsJson = False,
) -> None:
    """Take in conversations that arrived as files: those that failed go to the review queue."""
    from pipelines.feedback import transcripts

    settings = load_settings()
    accounts = transcripts.transcripts(settings, load_domain(domain, settings), files, actor())
    show(
        as_json,
        accounts,
        ("file", "state", "reason", "lines", "failed", "well", "unrated", "opened", "extended", "repeated", "bad", "faults"),
    )


@review.command("list")
def review_list(
    domain: DomainName, state: Annotated[list[str] | None, typer.Option(help="Items of these states.")] = None, limit: Limit = 50,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """What waits for you, the most urgent first; with --state everything in that state."""
    from pipelines.feedback import queue

    items = queue.items(load_settings(), domain, actor(), limit, states=tuple(state or ()))
    rows = [
        {"id": one.id, "state": one.state, "source": one.source, "complaints": one.signals.get("complaints", 0), "priority": one.priority,
         "release": one.release, "answers": f"{one.answers} of {one.reviewers}", "opened": one.opened_at, "mended_by": one.mended_by}
        for one in items
    ]  # fmt: skip
    show(as_json, rows, ("id", "state", "source", "complaints", "priority", "release", "answers", "opened", "mended_by"))


@review.command("show")
def review_show(item: Item, as_json: AsJson = False) -> None:
    """The question, the answer, its sources, what callers suggest; the reading is audited."""
    from pipelines.feedback import queue

    settings = load_settings()
    found = queue.show(settings, queue.domain_of(settings, item), item, actor())
    told = {
        "question": found.question, "answer": found.answer, "as of": found.as_of, "cited": found.cited, "suggested": found.suggested,
        **{f"comment {number}": one.text for number, one in enumerate(found.comments, 1)},
        **{f"passage {one.key}": one.text for one in found.passages},
        **{f"turn {number}, {one.role}": one.text for number, one in enumerate(found.turns, 1)},
        **{f"reviewer {one.reviewer}": f"{one.verdict}: {one.answer or ''}" for one in found.others},
        "state": found.state,
    }  # fmt: skip
    show(as_json, [{"what": name, "text": text} for name, text in told.items() if text], ("what", "text"))


@review.command("decide")
def review_decide(
    item: Item,
    verdict: Annotated[str, typer.Argument(help="accept | edit | reject | escalate")],
    answer: Annotated[str | None, typer.Option(help="With `edit`: the right answer; left out, nothing states it.")] = None,
    cited: Annotated[str | None, typer.Option(help="Key of the document that states it.")] = None,
    golden: Annotated[bool, typer.Option("--golden", help="It becomes a golden question.")] = False,
    regression: Annotated[bool, typer.Option("--regression", help="It becomes a regression case.")] = False,
    note: Annotated[str | None, typer.Option(help="For the other reviewers.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is right. What you accept becomes an example of the domain unless said otherwise."""
    from pipelines.feedback import queue

    settings = load_settings()
    kinds = {"example": True, "golden": golden, "regression": regression}
    domain = queue.domain_of(settings, item)
    state = queue.decide(settings, domain, item, actor(), verdict, answer=answer, cited=cited, kinds=kinds, note=note)
    show(as_json, [{"item": item, "state": state}], ("item", "state"))
