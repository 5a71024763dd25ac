"""Sends one message to one Apprise address, and says in own words how that went.

An address holds a secret (a token, a password), and so may whatever Apprise and the libraries below it say of a failure: nothing of that
is passed on. What is told of an address is its scheme and eight characters of its hash.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import warnings
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.monitor_config import Alerts, Severity

READ_SECONDS = 15.0
"""How long a receiver may take to answer; Apprise's own 4 s make a slow one look like one that is down."""
SEND_SECONDS = 40.0
"""How long sending may take in all, names looked up and mail handed over; then nobody waits for it any more."""
_FOR = re.compile(r"^((?:page|ticket|note)(?:,(?:page|ticket|note))*)=(?=\S)")
_STATUS = re.compile(r"error=(\d{3})\b")
_LATE = re.compile(r"timed? ?out|timeout", re.IGNORECASE)
_AWAY = re.compile(r"connection error|connection refused|name or service|unreachable|resolve", re.IGNORECASE)
Outcome = Literal["sent", "failed", "unsure"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where messages go: `id` may be shown, `url` never."""

    id: str
    url: str
    severities: tuple[Severity, ...] = ("page", "ticket")

    def __repr__(self) -> str:
        return f"Address({self.id})"


@dataclass(frozen=True, slots=True)
class Sent:
    """`unsure`: it was handed over, or may have been, and no answer came. `error` is fit for everybody."""

    outcome: Outcome
    error: str | None = None


def addresses(alerts: Alerts) -> list[Address]:
    """The addresses of the environment variable, each once, in their order; empty where it is not set.

    `page=slack://...` is told of that severity only, `page,ticket,note=json://...` of several; without it, of pages and tickets.
    """
    found: dict[str, Address] = {}
    for word in os.environ.get(alerts.urls_env, "").split():
        told = _FOR.match(word)
        url = word[told.end() :] if told else word
        severities: Any = tuple(told.group(1).split(",")) if told else ("page", "ticket")
        scheme = re.match(r"[A-Za-z][A-Za-z0-9]{1,30}(?=://)", url)
        # What has no scheme may be a bare secret: nothing of it is shown.
        name = f"{scheme.group(0).lower() if scheme else 'unreadable'}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
        found.setdefault(name, Address(name, url, severities))
    return list(found.values())


def send(address: Address, title: str, body: str, severity: str, incident: str = "") -> Sent:
    """Deliver, waiting at most SEND_SECONDS. Never raises: what went wrong is in the answer."""
    answer: list[Sent] = []

    def work() -> None:
        try:
            answer.append(_send(address, title, body, severity, incident))
        except Exception as error:  # a plugin of Apprise may raise anything, with the address in it
            answer.append(Sent("failed", f"Apprise failed with {type(error).__name__}"))

    # A thread that nobody must wait for: a receiver that sends a byte now and then would hold us for ever.
    thread = threading.Thread(target=work, name=f"alert-{address.id}", daemon=True)
    thread.start()
    thread.join(SEND_SECONDS)
    return answer[0] if answer else Sent("unsure", f"no answer within {SEND_SECONDS:.0f} s: it may have arrived")


def library() -> Any:
    """Apprise, loaded, and its log shut: addresses are written there."""
    logger = logging.getLogger("apprise")
    if _hear not in logger.filters:
        logger.addFilter(_hear)
        logger.setLevel(logging.DEBUG)
        # At DEBUG it writes the path of every request, which holds the token.
        logging.getLogger("urllib3").setLevel(logging.INFO)
    with _lock, warnings.catch_warnings():
        # Apprise 2.3 loads `imghdr` for its PGP part, which Python 3.11 says is to go: https://github.com/caronc/apprise
        warnings.filterwarnings("ignore", "'imghdr' is deprecated", DeprecationWarning)
        import apprise

        apprise.Apprise.instantiate("json://127.0.0.1")  # it loads its plugins with the first address
    return apprise


def plugin_of(address: Address, incident: str = "") -> Any:
    """What Apprise sends with; None for an address that it does not know."""
    plugin: Any = library().Apprise.instantiate(address.url)
    if plugin is None:
        return None
    if plugin.socket_read_timeout == type(plugin).socket_read_timeout:  # unless the address says `rto=`
        plugin.socket_read_timeout = READ_SECONDS
    if (
        incident and getattr(plugin, "dedup", "") is None
    ):  # PagerDuty: all messages of an incident are one there, which the closing message resolves
        plugin.dedup, plugin.action = incident, "map"
    return plugin


def _send(address: Address, title: str, body: str, severity: str, incident: str) -> Sent:
    apprise, plugin = library(), plugin_of(address, incident)
    if plugin is None:
        return Sent("failed", "this is not an address that Apprise knows: see https://github.com/caronc/apprise/wiki")
    kinds = {"page": apprise.NotifyType.FAILURE, "ticket": apprise.NotifyType.WARNING, "closed": apprise.NotifyType.SUCCESS}
    with _Heard() as heard:
        well = plugin.notify(title=title, body=body, notify_type=kinds.get(severity, apprise.NotifyType.INFO))
    return Sent("sent") if well else _failed("\n".join(heard.lines))


def _failed(said: str) -> Sent:
    if status := _STATUS.search(said):
        return Sent("failed", f"the receiver answered {status.group(1)}")
    if "connect timeout" in said or "ConnectTimeout" in said:
        return Sent("failed", "it cannot be reached: no connection in time")
    if _LATE.search(said):
        return Sent("unsure", f"no answer within {READ_SECONDS:.0f} s: it may have arrived")
    if _AWAY.search(said):
        return Sent("failed", "it cannot be reached")
    return Sent("failed", "the receiver did not take it")


class _Heard:
    """What Apprise says in this thread, for us alone: it has the address in it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __enter__(self) -> _Heard:
        _listening[threading.get_ident()] = self
        return self

    def __exit__(self, *_error: object) -> None:
        _listening.pop(threading.get_ident(), None)


def _hear(record: logging.LogRecord) -> bool:
    """A filter that lets nothing through to anybody else's handlers."""
    if (one := _listening.get(record.thread or 0)) is not None:
        one.lines.append(record.getMessage())
    return False


_lock = threading.Lock()
_listening: dict[int, _Heard] = {}
