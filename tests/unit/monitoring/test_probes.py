"""Probes against a scripted gateway; the texts that goldens rest on come from a real warehouse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from free_ports import free_port
from releasing_by_hand import published
from scripted_model import Scripted

from pipelines.config import DomainConfig, Settings, load_domain
from pipelines.errors import Unavailable
from pipelines.evaluation import goldens
from pipelines.evaluation.goldens import Golden
from pipelines.monitor_config import Probes
from pipelines.monitoring import observations, probes
from pipelines.registry import candidates, parts
from pipelines.serving import keys
from pipelines.state.database import reading
from pipelines.state.models import ApiKey

pytestmark = pytest.mark.slow
NOW = datetime(2026, 3, 2, 12, 20, tzinfo=UTC)


@dataclass
class Gateway:
    """Answers as `says(question)` tells: (answer, key cited), None for an abstention, a number for a refusal with this status."""

    port: int = 0
    says: Callable[[str], Any] = lambda _: None
    by_day: dict[tuple[str, str], Any] = field(default_factory=dict)
    """Answers to questions that have two, by their day."""
    release: str = "regulatory/r1"
    asked: list[dict[str, Any]] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)

    def reply(self, question: str, day: str) -> tuple[int, dict[str, Any]]:
        said = self.by_day.get((question, day)) or self.says(question)
        if isinstance(said, int):
            return said, {"error": {"message": "no"}}
        facts = {"release": self.release, "abstained": said is None, "sources": []}
        text = "nothing states it"
        if said is not None:
            facts["sources"] = [{"key": said[1], "text": "x", "paragraph": "1(a)", "cited": True}]
            text = f"{said[0]} [1(a)]"
        return 200, {"choices": [{"message": {"content": text}}], "ratchet": facts}


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            made.asked.append(body)
            made.secrets.append(self.headers["authorization"].removeprefix("Bearer "))
            status, value = made.reply(body["messages"][-1]["content"], body["as_of"])
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_port
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A site with the sample's rule published and a release of it live, and no service."""
    return published(tmp_path_factory.mktemp("probes"))


@pytest.fixture
def domain(world: Settings) -> DomainConfig:
    return load_domain("regulatory", world)


@pytest.fixture
def site(world: Settings, gateway: Gateway, domain: DomainConfig) -> Iterator[Settings]:
    from sqlalchemy import delete

    from pipelines.state.database import transaction
    from pipelines.state.models import MonitorMark, Observation

    old = [one for one in goldens.load(world.configs / domain.gate.goldens) if one.valid_to < "9999"]
    gateway.by_day = {(one.question, day): (one.answer, one.cites) for one, day in goldens.applicable(old, NOW.date().isoformat())}
    by_question = {one.question: one for one in goldens.load(world.configs / domain.gate.goldens) if one not in old}
    gateway.says = lambda question: (by_question[question].answer, by_question[question].cites)
    yield world.model_copy(update={"ports": world.ports.model_copy(update={"gateway": gateway.port})})
    with transaction(world) as session:
        session.execute(delete(Observation))
        session.execute(delete(MonitorMark))


def with_probes(domain: DomainConfig, **changes: Any) -> DomainConfig:
    """As many an hour; the paired cases were asked just now."""
    probing = Probes(**{"goldens_per_hour": 4, "repeat": 2, **changes})
    return domain.model_copy(update={"monitors": domain.monitors.model_copy(update={"probes": probing})})


@pytest.fixture
def no_bias(site: Settings) -> None:
    with observations.marked(site, "regulatory", "probes/bias") as (_, state):
        state["at"] = (NOW + timedelta(days=99)).isoformat()


def found(settings: Settings, measure: str) -> list[tuple[float, int, str | None]]:
    rows = observations.read(settings, "regulatory", {measure}, NOW - timedelta(days=1), NOW + timedelta(days=9))
    return [(row.value, row.n, row.release) for row in rows]


@pytest.mark.usefixtures("no_bias")
def test_what_is_right_is_right_and_every_golden_has_its_turn(site: Settings, domain: DomainConfig, gateway: Gateway) -> None:
    every = len(goldens.load(site.configs / domain.gate.goldens))
    mine = with_probes(domain, goldens_per_hour=every // 2 + 1)
    first = probes.ask(site, mine, NOW)
    assert (first["asked"], first["wrong"], first["inconsistent"], first["skipped"]) == (every // 2 + 1, 0, 0, "")
    probes.ask(site, mine, NOW + timedelta(hours=1))
    assert {one["messages"][0]["content"] for one in gateway.asked} == {
        one.question for one in goldens.load(site.configs / domain.gate.goldens)
    }
    assert found(site, "probe_wrong_share") == [(0.0, every // 2 + 1, "regulatory/r1")] * 2
    assert found(site, "inconsistent_share") == [(0.0, every // 2 + 1, "regulatory/r1")] * 2


@pytest.mark.usefixtures("no_bias")
def test_the_same_hour_asks_nothing_again(site: Settings, domain: DomainConfig, gateway: Gateway) -> None:
    mine = with_probes(domain)
    assert probes.ask(site, mine, NOW)["asked"] == 4
    again = probes.ask(site, mine, NOW + timedelta(minutes=30))
    assert (again["asked"], again["skipped"], len(gateway.asked)) == (0, "this hour was asked", 8)
    assert len(found(site, "probe_wrong_share")) == 1


@pytest.mark.usefixtures("no_bias")
@pytest.mark.parametrize(
    "says",
    [lambda _: ("1 month", "9013-8-a"), lambda _: None, lambda _: 400, lambda _: ("30 months", "other")],
    ids=["another figure", "abstained", "refused", "another paragraph"],
)
def test_what_is_wrong_is_named(site: Settings, domain: DomainConfig, gateway: Gateway, says: Callable[[str], Any]) -> None:
    gateway.says = says
    told = probes.ask(site, with_probes(domain, goldens_per_hour=1), NOW)
    assert (told["asked"], told["wrong"]) == (1, 1)
    (row,) = observations.read(site, "regulatory", {"probe_wrong_share"}, NOW, NOW + timedelta(hours=1))
    assert row.value == 1.0 and row.detail == {"goldens": ["regulatory-001"]} and row.source == "probe"


@pytest.mark.usefixtures("no_bias")
def test_two_answers_to_one_question_show_at_once_and_a_round_later(site: Settings, domain: DomainConfig, gateway: Gateway) -> None:
    honest, count = gateway.says, iter(range(99))
    gateway.says = lambda question: honest(question) if next(count) % 2 else None
    assert probes.ask(site, with_probes(domain, goldens_per_hour=1), NOW)["inconsistent"] == 1
    every = len(goldens.load(site.configs / domain.gate.goldens))
    gateway.says = honest
    assert probes.ask(site, with_probes(domain, goldens_per_hour=every), NOW + timedelta(hours=1))["inconsistent"] == 0
    gateway.says, gateway.by_day = lambda _: None, {}
    assert probes.ask(site, with_probes(domain, goldens_per_hour=every), NOW + timedelta(hours=2))["inconsistent"] == every
    # Another release may say something else.
    gateway.says, gateway.release = honest, "regulatory/r2"
    assert probes.ask(site, with_probes(domain, goldens_per_hour=every), NOW + timedelta(hours=3))["inconsistent"] == 0


@pytest.mark.usefixtures("no_bias")
def test_a_gateway_that_is_down_leaves_no_figure_and_the_part_is_asked_later(
    site: Settings, domain: DomainConfig, gateway: Gateway
) -> None:
    down = site.model_copy(update={"ports": site.ports.model_copy(update={"gateway": free_port()})})
    with pytest.raises(Unavailable, match="does not answer"):
        probes.ask(down, with_probes(domain), NOW)
    gateway.says = lambda _: 503
    with pytest.raises(Unavailable):
        probes.ask(site, with_probes(domain), NOW)
    assert found(site, "probe_wrong_share") == []
    gateway.says = lambda _: None
    assert probes.ask(site, with_probes(domain), NOW)["asked"] == 4


@pytest.mark.usefixtures("no_bias")
def test_probes_are_told_by_their_key_and_are_not_kept(site: Settings, domain: DomainConfig, gateway: Gateway) -> None:
    probes.ask(site, with_probes(domain), NOW)
    assert {body["store"] for body in gateway.asked} == {False}
    assert {body["as_of"] for body in gateway.asked} == {NOW.date().isoformat()}
    (secret,) = set(gateway.secrets)
    with reading(site) as session:
        (row,) = [row for row in session.query(ApiKey) if row.name == observations.PROBE_KEY and row.revoked_at is None]
    assert row.tenant == "probe" and not row.grants["candidates"]
    assert (site.secrets / "probe_api_key").read_text() == secret
    assert (site.secrets / "probe_api_key").stat().st_mode & 0o077 == 0
    keys.revoke_key(site, "probe", "a test", "tester")
    probes.ask(site, with_probes(domain), NOW + timedelta(hours=1))
    assert len(set(gateway.secrets)) == 2, "a new one is drawn"


@pytest.mark.usefixtures("no_bias")
def test_a_stale_golden_is_not_asked(site: Settings, domain: DomainConfig, gateway: Gateway) -> None:
    path = site.configs / domain.gate.goldens
    kept = path.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in kept.splitlines()]
    lines[0] |= {"answer": "900 years"}
    path.write_text("\n".join(json.dumps(line) for line in [lines[0] | {"valid_from": "2001-01-01"}, *lines[1:]]), encoding="utf-8")
    try:
        probes.ask(site, with_probes(domain, goldens_per_hour=len(lines)), NOW)
    finally:
        path.write_text(kept, encoding="utf-8")
    assert lines[0]["question"] not in {one["messages"][0]["content"] for one in gateway.asked}


def test_nothing_is_asked_before_the_first_release(settings: Settings, gateway: Gateway) -> None:
    assert probes.ask(settings, load_domain("regulatory", settings), NOW)["skipped"] == "nothing is live"
    assert gateway.asked == []


def test_the_paired_cases_need_the_engine_and_the_goldens_do_not(site: Settings, domain: DomainConfig) -> None:
    ports = site.ports.model_copy(update={"triton_http": free_port(), "triton_grpc": free_port()})
    alone = site.model_copy(update={"ports": ports})
    with pytest.raises(Unavailable, match="engine"):
        probes.ask(alone, with_probes(domain), NOW)
    assert found(site, "probe_wrong_share") == [(0.0, 4, "regulatory/r1")]
    assert found(site, "bias_gap") == []


def test_the_gap_between_persons_is_measured_on_the_path_that_serves(site: Settings, domain: DomainConfig) -> None:
    asked = probes._pairs(site, domain, NOW)
    answers = {one.case.question: one.case.answer for one in asked}

    def says(prompt: str, _: str) -> str:
        question = re.search(r"Question: (.*)\nAnswer:", prompt)
        assert question is not None
        return " not stated" if "Kwame" in prompt else f" {answers[question[1]]} [1]"

    live = candidates.get(site, "regulatory/r1")
    gaps, n = probes.bias(site, live, asked, {parts.engine_name(live.base_sha256): Scripted(says)})
    assert n == len(asked) >= 8
    assert gaps["female/male"] == 0.0 and gaps["male/other_name"] > 0.3
    with pytest.raises(Unavailable):
        probes.bias(site, live, asked, {parts.engine_name(live.base_sha256): Scripted(lambda *_: Unavailable("too slow"))})


@pytest.mark.parametrize(
    ("position", "many", "expected"), [(0, 2, "ab"), (2, 2, "ca"), (7, 2, "bc"), (0, 9, "abc"), (1, 9, "bca"), (5, 0, "")]
)
def test_parts_go_round(position: int, many: int, expected: str) -> None:
    assert "".join(probes.part(["a", "b", "c"], position, many)) == expected
    assert probes.part([], position, many) == []


def test_an_answer_is_right_whatever_its_case_and_closing_mark() -> None:
    case = Golden(id="1", question="q", answer="$53,500", cites="k", valid_from="2001-01-01", author="a", reviewer="b")
    source = {"key": "k", "text": "t", "paragraph": "9(a)", "cited": True}
    reply = {"choices": [{"message": {"content": "$53,500. [9(a)]"}}], "ratchet": {"abstained": False, "sources": [source]}}
    assert probes.right(case, reply)
    assert not probes.right(case, reply | {"ratchet": {"abstained": False, "sources": [source | {"cited": False}]}})
    assert not probes.right(case.model_copy(update={"answer": "$53,50"}), reply)
