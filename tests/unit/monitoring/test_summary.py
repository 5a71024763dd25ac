from __future__ import annotations

import email
import email.policy
import re
import socketserver
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from threading import Thread
from typing import Any

import pytest
from free_ports import free_port
from traffic_lines import record, write

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import ConfigError, Unavailable
from pipelines.monitor_config import Alerts
from pipelines.monitoring import observations, summary
from pipelines.monitoring.observations import Figure
from pipelines.state.database import transaction
from pipelines.state.models import Incident, ReviewItem

# Of apprise 2.3, which asks for it when its mail plugin is loaded.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
NOW = datetime(2026, 3, 11, 9, 30, tzinfo=UTC)
END = datetime(2026, 3, 9, tzinfo=UTC)
"""A Monday: the week is 2026-W10."""
ENV = "RATCHET_SUMMARY_TO"


@dataclass
class Mail:
    port: int = 0
    refuses: bool = False
    came: list[bytes] = field(default_factory=list)


@pytest.fixture
def mail() -> Iterator[Mail]:
    """An SMTP server on loopback that takes what it is given."""
    made = Mail()

    class Talks(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            self.say("220 here")
            while line := self.rfile.readline():
                word = line[:4].upper().strip()
                if word == b"DATA":
                    self.say("354 go on")
                    lines = []
                    while (part := self.rfile.readline()) not in (b".\r\n", b""):
                        lines.append(part.removeprefix(b".") if part.startswith(b"..") else part)
                    made.came.append(b"".join(lines))
                    self.say("250 taken")
                elif word == b"QUIT":
                    self.say("221 bye")
                    return
                elif word == b"RCPT" and made.refuses:
                    self.say("550 nobody here")
                else:
                    self.say("250 well")

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", 0), Talks) as server:
        made.port = server.server_address[1]
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def domain(settings: Settings) -> DomainConfig:
    return load_domain("regulatory", settings)


def mailed(domain: DomainConfig) -> DomainConfig:
    return domain.model_copy(update={"monitors": domain.monitors.model_copy(update={"alerts": Alerts(summary_to_env=ENV)})})


def address(port: int) -> str:
    return f"mailto://127.0.0.1:{port}?smtp=127.0.0.1&from=ratchet@example.org&to=owner@example.org&mode=insecure"


class Words(HTMLParser):
    """The text of a page, its tags balanced, and what it fetches."""

    VOID = frozenset({"meta", "br", "img", "link", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.fetches: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.fetches += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def words(html: str) -> str:
    parser = Words()
    parser.feed(html)
    assert parser.open == [] and parser.fetches == [] and "<script" not in html and "url(" not in html
    return re.sub(r"\s+", " ", " ".join(parser.words))


def traffic(settings: Settings) -> None:
    for weeks, n, latency in ((1, 40, 200.0), (2, 20, 100.0)):
        at = END - timedelta(weeks=weeks) + timedelta(days=2, hours=3)
        write(settings, "regulatory", at, [record("regulatory/r1", k, latency_ms=latency, abstained=k % 4 == 0) for k in range(n)])


def test_a_week_stands_beside_the_week_before(settings: Settings, domain: DomainConfig) -> None:
    traffic(settings)
    with transaction(settings) as session:
        figures = [
            Figure(END - timedelta(days=1), "groundedness_mean", "text", 0.75, n=3),
            Figure(END - timedelta(days=9), "groundedness_mean", "text", 0.9),
        ]
        observations.add(session, "regulatory", [*figures, Figure(END, "groundedness_mean", "text", 0.1, n=99)])
    said = words(summary.page(settings, domain, END))
    assert "regulatory: 2026-03-02 to 2026-03-08" in said
    assert "Requests 40 20 +100 %" in said
    # Quantiles are of a logarithmic histogram: within a part in a hundred.
    (now, before) = re.findall(r"half within (\d+) ms (\d+) ms \+\d+ %", said)[0]
    assert abs(int(now) - 200) <= 4 and abs(int(before) - 100) <= 2
    assert "Abstentions 25.0 % 25.0 % +0.0 points" in said
    assert "Groundedness of kept answers 0.750 0.900 -17 %" in said
    assert "Goldens answered wrongly – –" in said
    assert "Wed 04 Mar 40" in re.sub(r"\xa0", "", said).replace("  ", " ") and "Cost" not in said
    assert "Incidents: 0 (the week before 0), 0 still open None." in said


def test_a_week_without_anything_is_a_mail_too(settings: Settings, domain: DomainConfig) -> None:
    said = words(summary.page(settings, domain, END))
    assert "Requests 0 0" in said and "0 answers came to the queue, 0 were settled; 0 wait ." in said.replace("wait.", "wait .")


def test_what_went_wrong_what_waits_and_what_the_loop_did(settings: Settings, domain: DomainConfig) -> None:
    with transaction(settings) as session:
        for number, (days, drill) in enumerate([(1, False), (2, True), (9, False), (-1, False)], 1):
            session.add(
                Incident(
                    id=f"regulatory-i{number}", domain="regulatory", number=number, title=f"<b>tokens</b> {number}", severity="page",
                    drill=drill, runbook="r", opened_at=END - timedelta(days=days),
                )
            )  # fmt: skip
        for number, (days, settled) in enumerate([(1, None), (20, 3)]):
            session.add(
                ReviewItem(
                    id=f"q{number}", domain="regulatory", number=number, fingerprint=str(number), source="complaint", sealed=b"p{}",
                    opened_at=END - timedelta(days=days), state="accepted" if settled else "open",
                    settled_at=END - timedelta(days=settled) if settled else None,
                )
            )  # fmt: skip
    loop = {
        "complaints": 7,
        "accepted": 4,
        "mended_share": 0.75,
        "regressed_share": None,
        "hours_to_mend": {"n": 3, "median": 5.5, "p90": 9.0},
    }
    html = summary.page(settings, domain, END, loop)
    said = words(html)
    assert "Incidents: 1 (the week before 1), 1 still open" in said
    assert "&lt;b&gt;tokens&lt;/b&gt; 1" in html
    assert "1 answers came to the queue, 1 were settled; 1 wait, the oldest since 08 Mar" in said
    assert (
        "of these in a release that gets them right 75%" in said and "half within 5.5 h" in said and "of these wrong again since –" in said
    )


@pytest.mark.parametrize(
    ("unit", "now", "before", "better", "judged"),
    [
        ("ms", 120, 100, -1, "bad"),
        ("ms", 102, 100, -1, "same"),
        ("share", 0.02, 0.05, -1, "good"),
        ("share", 0.05, 0.055, -1, "same"),
        ("count", 10, 100, 0, "same"),
        ("ms", None, 100, -1, "same"),
        ("0 to 1", 0.5, 0.0, 1, "same"),
    ],
)
def test_a_change_is_good_bad_or_neither(unit: str, now: float | None, before: float, better: int, judged: str) -> None:
    assert summary.Line("x", unit, now, before, better).judged == judged


@pytest.mark.parametrize(
    ("now", "end"),
    [
        (NOW, END),
        (END, END),
        (END - timedelta(seconds=1), END - timedelta(days=7)),
        (datetime(2027, 1, 3, 12, tzinfo=UTC), datetime(2026, 12, 28, tzinfo=UTC)),
    ],
)
def test_the_last_whole_week_ended_on_a_monday(now: datetime, end: datetime) -> None:
    assert summary.week_end(now) == end


# --- sending ----------------------------------------------------------------------------------------------------------


def test_without_an_address_it_lies_in_a_file_and_is_made_once(settings: Settings, domain: DomainConfig) -> None:
    told = summary.send(settings, domain, NOW)
    assert told == {"week": "2026-W10", "sent": False, "path": "summaries/regulatory-2026-W10.html", "skipped": ""}
    assert "2026-03-02" in words((settings.var / told["path"]).read_text(encoding="utf-8"))
    assert summary.send(settings, domain, NOW)["skipped"] == "it was written"
    assert summary.send(settings, domain, NOW + timedelta(days=7))["week"] == "2026-W11"


def test_it_comes_by_mail_once(settings: Settings, domain: DomainConfig, mail: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, address(mail.port))
    traffic(settings)
    assert summary.send(settings, mailed(domain), NOW)["sent"] is True
    assert summary.send(settings, mailed(domain), NOW)["skipped"] == "it was sent"
    (came,) = mail.came
    message: Any = email.message_from_bytes(came, policy=email.policy.default)
    assert message["to"] == "owner@example.org" and "regulatory: week 2026-W10" in message["subject"]
    assert "Requests 40 20 +100 %" in words(message.get_body(("html",)).get_content())


def test_a_mail_that_was_not_taken_is_tried_again(
    settings: Settings, domain: DomainConfig, mail: Mail, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENV, address(free_port()).replace("mailto://", "mailto://me:secretword@"))
    with pytest.raises(Unavailable, match="did not take") as failed:
        summary.send(settings, mailed(domain), NOW)
    assert "secretword" not in str(failed.value) + caplog.text
    monkeypatch.setenv(ENV, address(mail.port))
    mail.refuses = True
    with pytest.raises(Unavailable):
        summary.send(settings, mailed(domain), NOW)
    mail.refuses = False
    assert summary.send(settings, mailed(domain), NOW)["sent"] is True
    assert len(mail.came) == 1


def test_an_address_that_is_none_is_told_without_being_shown(
    settings: Settings, domain: DomainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV, "secretword")
    with pytest.raises(ConfigError, match="none that Apprise knows") as failed:
        summary.send(settings, mailed(domain), NOW)
    assert "secretword" not in str(failed.value)


def test_what_a_killed_run_may_have_sent_is_not_sent_again(
    settings: Settings, domain: DomainConfig, mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV, address(mail.port))
    with observations.marked(settings, "regulatory", "summary") as (_, state):
        state["weeks"] = {"2026-W10": "being sent"}
    assert summary.send(settings, mailed(domain), NOW)["skipped"] == "it was being sent"
    assert mail.came == []
