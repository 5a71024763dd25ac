"""Who may look at the review queue and decide on it, and on what not. Every refusal is audited."""

from __future__ import annotations

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import NotAllowed
from pipelines.feedback.texts import HARVEST, Text
from pipelines.governance import audit
from pipelines.state.database import transaction

Domain = DomainConfig | str
"""A domain, or its name: then its file is read."""


def config_of(settings: Settings, domain: Domain) -> DomainConfig:
    """The domain's file. NotFound and ConfigError as `load_domain`."""
    return load_domain(domain, settings) if isinstance(domain, str) else domain


def reviewers(domain: DomainConfig) -> tuple[str, ...]:
    """`feedback.reviewer_names`, else the domain's stewards and approvers."""
    return domain.feedback.reviewer_names or tuple(dict.fromkeys([*domain.roles.stewards, *domain.roles.approvers]))


def require(settings: Settings, domain: DomainConfig, reviewer: str, subject: str) -> None:
    """NotAllowed, audited, for who may neither review this domain nor settle what its reviewers escalate."""
    if reviewer not in (*reviewers(domain), *domain.roles.approvers):
        todo = "name them in feedback.reviewer_names of the domain file"
        deny(settings, reviewer, subject, f"{reviewer} does not review {domain.domain}", todo)


def require_turn(settings: Settings, domain: DomainConfig, reviewer: str, item_id: str, state: str) -> None:
    """NotAllowed, audited: what was escalated is for the approvers, and the rest for the reviewers."""
    if state == "escalated" and reviewer not in domain.roles.approvers:
        deny(settings, reviewer, item_id, f"{reviewer} may not settle what was escalated", "ask one of roles.approvers")
    if state != "escalated" and reviewer not in reviewers(domain):
        deny(settings, reviewer, item_id, f"{reviewer} settles only what reviewers of {domain.domain} escalate", "ask a reviewer")


def require_other(settings: Settings, reviewer: str, item_id: str, text: Text) -> None:
    """NotAllowed, audited, for who raised the item or suggested its correction: another person has to judge that."""
    authors = {text.raised_by, *(one.by for one in text.suggestions)} - {HARVEST}
    if any(_is(reviewer, author) for author in authors):
        what = f"{reviewer} raised this, or suggested its correction, and may not review it"
        deny(settings, reviewer, item_id, what, "ask another person")


def deny(settings: Settings, reviewer: str, subject: str, what: str, todo: str) -> None:
    """Write the refusal down, then raise it."""
    with transaction(settings) as session:
        audit.record(session, actor=reviewer or "nobody", action="review.denied", subject=subject, allowed=False, detail={"reason": what})
    raise NotAllowed(what, where=subject, todo=todo)


def _is(reviewer: str, author: str) -> bool:
    """Whether a key bears its owner's user name, or the two are one name."""
    return reviewer.casefold() in (author.casefold(), author.casefold().removeprefix("key:"))
