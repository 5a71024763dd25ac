from __future__ import annotations

import json
import logging
import math
import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from judge_server import MODEL, TOKENS_IN, TOKENS_OUT, Call, JudgeServer, Reply, completion, error, honest, judging, verdict

from pipelines.config import PROJECT
from pipelines.evaluation.judge import Judged, JudgedInput, _share, may_vote, score
from pipelines.evaluation.judge_cache import FILE
from pipelines.evaluation.judge_calls import _retry_after
from pipelines.gate_config import Judge

pytestmark = pytest.mark.slow

KEY = "sk-very-secret-0123456789"
QUESTION = "What is the threshold?"
PASSAGE = "The threshold is $53,500. It applies since 2014."
HALF = JudgedInput(QUESTION, "The threshold is $53,500. It is waived.", ("Scope.", PASSAGE), "The threshold is $53,500.")
"""Two statements, of which the passage and the reference know one."""


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judging() as made:
        yield made


def judge(server: JudgeServer, **changes: Any) -> Judge:
    return Judge(**{"url": server.url, "model": MODEL, "repeated_cases": 0, "timeout_seconds": 20, **changes})


def inputs(count: int) -> list[tuple[str, JudgedInput]]:
    answers = [f"Fact {number} holds." for number in range(count)]
    return [(f"case-{i}", JudgedInput(QUESTION, answer, (answer,), answer)) for i, answer in enumerate(answers)]


def judged(server: JudgeServer, cache: Path, **changes: Any) -> Judged:
    return score(judge(server, **changes), [("half", HALF)], cache, {})


# What it gives


def test_each_metric_gives_what_its_definition_says(server: JudgeServer, tmp_path: Path) -> None:
    found = judged(server, tmp_path, metrics=("faithfulness", "factual_correctness"))
    # One of two statements is in the passages; precision 1/2 and recall 1 against the reference, F1 2/3, which RAGAS rounds.
    assert found.scores == {"half": {"faithfulness": 0.5, "factual_correctness": 0.67}}
    assert found.problems == []
    facts = {name: found.facts[name] for name in ("model", "served", "calls", "cached", "retried", "unmetered", "spread")}
    assert facts == {"model": MODEL, "served": [MODEL], "calls": 6, "cached": 0, "retried": 0, "unmetered": 0, "spread": None}
    assert (found.facts["tokens_in"], found.facts["tokens_out"]) == (6 * TOKENS_IN, 6 * TOKENS_OUT)


@pytest.mark.parametrize(
    ("asked_back", "noncommittal", "low", "high"),
    [(QUESTION, 0, 1.0, 1.0), ("What is the limit?", 0, 0.3, 0.9), ("Zebra bicycle jazz purple.", 0, 0.0, 0.1), (QUESTION, 1, 0.0, 0.0)],
)
def test_relevancy_is_nearness_to_the_question_and_nothing_when_evasive(
    server: JudgeServer, tmp_path: Path, asked_back: str, noncommittal: int, low: float, high: float
) -> None:
    server.answer = lambda _: completion(json.dumps({"question": asked_back, "noncommittal": noncommittal}))
    found = judged(server, tmp_path, metrics=("answer_relevancy",))
    value = found.scores["half"]["answer_relevancy"]
    assert value is not None
    assert low <= value <= high
    assert (found.problems, len(server.calls)) == ([], 1)


def test_a_metric_that_lacks_what_it_needs_does_not_apply(server: JudgeServer, tmp_path: Path) -> None:
    given = [
        ("abstained", JudgedInput(QUESTION, " ", (PASSAGE,), "x")),
        ("bare", JudgedInput(QUESTION, "The threshold is $53,500.", (" ",), "")),
    ]
    found = score(judge(server, metrics=("faithfulness", "factual_correctness")), given, tmp_path, {})
    assert (found.scores, found.problems, server.calls) == ({"abstained": {}, "bare": {}}, [], [])


def test_nothing_to_judge_costs_nothing(server: JudgeServer, tmp_path: Path) -> None:
    found = score(judge(server), [], tmp_path, {})
    assert (found.scores, found.problems, found.facts["calls"]) == ({}, [], 0)


# What is sent


def test_on_the_wire_are_the_pinned_model_no_lots_and_the_key(server: JudgeServer, tmp_path: Path) -> None:
    score(judge(server, api_key_env="JUDGE_KEY"), [("half", HALF)], tmp_path, {"JUDGE_KEY": f"{KEY}\n"})
    assert len(server.calls) == 2
    for call in server.calls:
        body = call.body
        assert (call.path, call.headers["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
        assert (body["model"], body["temperature"], body["top_p"], body["seed"]) == (MODEL, 0.0, 1.0, 7)
    assert [call.asks_for for call in server.calls] == ["statements", "verdicts"]
    assert server.calls[1].given == {"context": f"Scope.\n{PASSAGE}", "statements": ["The threshold is $53,500.", "It is waived."]}


def test_names_that_ragas_would_warm_up_are_asked_cold_too(server: JudgeServer, tmp_path: Path) -> None:
    judged(server, tmp_path, model="gpt-5-mini")
    assert {call.body["temperature"] for call in server.calls} == {0.0}


def test_another_services_key_and_names_are_not_sent(server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.invalid/v1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    found = judged(server, tmp_path)
    assert found.problems == []
    assert KEY not in str([call.headers for call in server.calls])


def test_a_redirect_is_not_followed(server: JudgeServer, tmp_path: Path) -> None:
    with judging() as elsewhere:
        server.answer = lambda call: Reply(status=307, headers={"Location": f"{elsewhere.url}/chat/completions"})
        found = judged(server, tmp_path)
        assert elsewhere.calls == []
    assert found.scores == {"half": {"faithfulness": None}}
    assert "wants to be asked at another address (HTTP 307)" in found.problems[0]


def test_at_most_four_calls_are_under_way(server: JudgeServer, tmp_path: Path) -> None:
    server.answer = lambda call: completion(json.dumps(verdict(call)), wait=0.02)
    found = score(judge(server), inputs(12), tmp_path, {})
    assert found.scores == {key: {"faithfulness": 1.0} for key, _ in inputs(12)}
    assert 2 <= server.busiest <= 4


# What is asked only once


def test_what_was_judged_before_is_not_asked_again(server: JudgeServer, tmp_path: Path) -> None:
    settings = {"metrics": ("faithfulness", "factual_correctness"), "repeated_cases": 1}
    first = judged(server, tmp_path, **settings)
    asked = len(server.calls)
    again = judged(server, tmp_path, **settings, api_key_env="UNSET")
    assert (again.scores, again.problems, len(server.calls)) == (first.scores, [], asked)
    assert (again.facts["cached"], again.facts["calls"], again.facts["cost"]) == (4, 0, 0.0)
    more = score(judge(server, metrics=("faithfulness",)), [("half", HALF), *inputs(1)], tmp_path, {})
    assert (more.facts["cached"], more.facts["calls"]) == (1, 2)


@pytest.mark.parametrize("change", [{"model": "judge-2"}, {"url": "/v1/"}])
def test_another_judge_is_asked_anew(server: JudgeServer, tmp_path: Path, change: dict[str, str]) -> None:
    judged(server, tmp_path)
    other = {name: server.url + "/" if name == "url" else value for name, value in change.items()}
    assert judged(server, tmp_path, **other).facts["cached"] == 0


def test_one_answer_of_two_releases_is_judged_once(server: JudgeServer, tmp_path: Path) -> None:
    found = score(judge(server), [("live", HALF), ("candidate", HALF)], tmp_path, {})
    assert found.scores == {"live": {"faithfulness": 0.5}, "candidate": {"faithfulness": 0.5}}
    assert len(server.calls) == 2


def test_the_cache_holds_neither_text_nor_key_nor_failures(server: JudgeServer, tmp_path: Path) -> None:
    server.answer = lambda call: honest(call) if "waived" in str(call.given) else completion("It is fine, I think.")
    given = [("half", HALF), *inputs(1)]
    found = score(judge(server, api_key_env="K"), given, tmp_path, {"K": KEY})
    assert found.scores == {"half": {"faithfulness": 0.5}, "case-0": {"faithfulness": None}}
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        rows = connection.execute("SELECT * FROM scores").fetchall()
    assert [value for _, value, _ in rows] == [0.5]
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not [word for word in (KEY, "threshold", "waived", "half", MODEL) if word.encode() in kept]
    server.answer = honest
    assert score(judge(server, api_key_env="K"), given, tmp_path, {"K": KEY}).scores["case-0"] == {"faithfulness": 1.0}


@pytest.mark.parametrize("value", [7.0, -1.0, "high"])
def test_a_cached_value_that_is_no_score_is_asked_again(server: JudgeServer, tmp_path: Path, value: object) -> None:
    judged(server, tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE)) as connection, connection:
        connection.execute("UPDATE scores SET score = ?", (value,))
    assert judged(server, tmp_path).scores == {"half": {"faithfulness": 0.5}}
    assert len(server.calls) == 4


def test_a_cache_that_cannot_be_used_is_said_before_anything_is_paid(server: JudgeServer, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this is no database, but it is long enough to be taken for one" * 20)
    (tmp_path / "file").write_text("", encoding="utf-8")
    for cache in (tmp_path, tmp_path / "file"):
        found = judged(server, cache)
        assert found.scores == {"half": {"faithfulness": None}}
        assert "the judge's earlier scores cannot be read" in found.problems[0]
    assert server.calls == []


# What goes wrong


PROSE = completion("The answer looks faithful to me: 0.9.")
BAD: dict[str, tuple[Reply, int, str]] = {
    "prose": (PROSE, 3, "wrote something else than the JSON asked for"),
    "empty": (completion(""), 3, "gave an empty answer"),
    "nothing": (completion(None), 3, "gave an empty answer"),
    "other JSON": (completion('{"score": 0.9}'), 3, "wrote something else than the JSON asked for"),
    "no statements": (completion('{"statements": []}'), 3, "found nothing in the answer to judge"),
    "cut short": (completion('{"statements": ["The', finish="length"), 3, "was cut off after 2048 tokens"),
    "refusal": (completion(None, refusal="I cannot judge that."), 1, "refused to judge"),
    "filtered": (completion(None, finish="content_filter"), 1, "refused to judge"),
    "web page": (Reply(b"<html>Welcome</html>", headers={"Content-Type": "text/html"}), 3, "answered something that is no chat completion"),
    "broken JSON": (Reply(b'{"id": '), 3, "answered something that is no chat completion"),
    "error in a 200": (Reply(b'{"error": {"message": "overloaded"}}'), 3, "answered something that is no chat completion"),
    "odd choices": (Reply(b'{"choices": [{"message": "yes"}]}'), 3, "answered something that is no chat completion"),
    "hung up": (Reply(cut=True), 3, "broke off its answer"),
    "500": (error(500, "out of memory", **{"Retry-After": "0"}), 3, "answered HTTP 500"),
    "429": (error(429, "slow down", **{"Retry-After": "0"}), 3, "answered HTTP 429"),
    "400": (error(400, "temperature is not supported"), 1, "answered HTTP 400"),
    "404": (error(404, "no such model"), 1, f"does not know the model {MODEL!r}"),
    "401": (error(401, f"Incorrect API key provided: {KEY}"), 1, "refuses the key (HTTP 401)"),
    "403": (error(403, "not in your country"), 1, "refuses the key (HTTP 403)"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_answer_is_a_problem_and_never_a_score(server: JudgeServer, tmp_path: Path, kind: str) -> None:
    reply, tries, words = BAD[kind]
    server.answer = lambda _: reply
    found = judged(server, tmp_path)
    assert found.scores == {"half": {"faithfulness": None}}
    assert len(found.problems) == 1
    assert words in found.problems[0]
    assert "1 of 1" in found.problems[0]
    assert (len(server.calls), found.facts["calls"], found.facts["retried"]) == (tries, tries, tries - 1)
    assert KEY not in str(found)


@pytest.mark.parametrize("kind", ["prose", "empty", "web page", "hung up", "500", "429"])
def test_what_may_pass_is_tried_again(server: JudgeServer, tmp_path: Path, kind: str) -> None:
    server.first(BAD[kind][0], BAD[kind][0])
    found = judged(server, tmp_path)
    assert (found.scores, found.problems, found.facts["retried"]) == ({"half": {"faithfulness": 0.5}}, [], 2)


def test_a_judge_that_sleeps_is_left(server: JudgeServer, tmp_path: Path) -> None:
    server.answer = lambda call: completion(json.dumps(verdict(call)), wait=60)
    found = judged(server, tmp_path, timeout_seconds=0.1, price_out=10.0, max_cost=1.0)
    assert found.scores == {"half": {"faithfulness": None}}
    assert found.problems == ["the judge did not answer within 0.1 s (1 of 1 scores, first faithfulness of 'half')"]
    # What it may have written meanwhile is paid for.
    assert (len(server.calls), found.facts["unmetered"], found.facts["cost"]) == (3, 3, pytest.approx(3 * 2048 * 10 / 1e6))


def test_a_judge_that_sleeps_once_is_asked_again(server: JudgeServer, tmp_path: Path) -> None:
    server.first(completion("{}", wait=60))
    assert judged(server, tmp_path, timeout_seconds=1).scores == {"half": {"faithfulness": 0.5}}


def test_a_dead_port(tmp_path: Path) -> None:
    dead = JudgeServer(f"http://127.0.0.1:{free_port()}/v1")
    found = judged(dead, tmp_path, metrics=("faithfulness", "factual_correctness"), price_in=1.0)
    assert found.scores == {"half": {"faithfulness": None, "factual_correctness": None}}
    assert f"the judge cannot be reached at {dead.url} (2 of 2 scores" in found.problems[0]
    assert (found.facts["calls"], found.facts["cost"]) == (2, 0.0)


@pytest.mark.parametrize(
    ("header", "seconds"), [("2", 2.0), ("-3", 0.0), ("nan", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0), (None, 1.0)]
)
def test_the_wait_that_a_busy_judge_asks_for(header: str | None, seconds: float) -> None:
    assert _retry_after(header) == seconds


def lazy(call: Call) -> Reply:
    made = verdict(call)
    if call.asks_for == "verdicts":
        made["statements"].pop()
    return completion(json.dumps(made))


def shouting(call: Call) -> Reply:
    made = verdict(call)
    if call.asks_for == "verdicts":
        made["statements"][0]["verdict"] = 7
    return completion(json.dumps(made))


def unsure(call: Call) -> Reply:
    return completion('{"question": "What?", "noncommittal": 2}')


@pytest.mark.parametrize(
    ("metric", "answer", "words"),
    [
        ("faithfulness", lazy, "judged more or fewer statements than it named"),
        ("factual_correctness", lazy, "judged more or fewer statements than it named"),
        ("faithfulness", shouting, "gave a verdict that is neither 0 nor 1"),
        ("factual_correctness", lambda _: completion('{"claims": []}'), "found nothing in the answer to judge"),
        ("answer_relevancy", lambda _: completion('{"question": " ", "noncommittal": 0}'), "asked an empty question"),
        ("answer_relevancy", unsure, "gave a verdict that is neither 0 nor 1"),
    ],
)
def test_what_ragas_would_take_for_a_score_is_none(server: JudgeServer, tmp_path: Path, metric: str, answer: Any, words: str) -> None:
    server.answer = answer
    found = judged(server, tmp_path, metrics=(metric,))
    assert found.scores == {"half": {metric: None}}
    assert words in found.problems[0]


@pytest.mark.parametrize(
    ("value", "share"),
    [
        (0, 0.0),
        (0.4, 0.4),
        (1 + 1e-9, 1.0),
        (-1e-9, 0.0),
        (1.1, None),
        (-0.1, None),
        (math.nan, None),
        (math.inf, None),
        (None, None),
        ("1", None),
    ],
)
def test_only_numbers_from_0_to_1_are_scores(value: object, share: float | None) -> None:
    assert _share(value) == share


def test_problems_of_a_kind_are_counted_and_one_bad_answer_spoils_no_other(server: JudgeServer, tmp_path: Path) -> None:
    server.answer = lambda call: PROSE if "Fact 1 " in str(call.given) or "Fact 3 " in str(call.given) else honest(call)
    found = score(judge(server), inputs(5), tmp_path, {})
    values = [found.scores[key]["faithfulness"] for key, _ in inputs(5)]
    assert values == [1.0, None, 1.0, None, 1.0]
    assert found.problems == ["the judge wrote something else than the JSON asked for (2 of 5 scores, first faithfulness of 'case-1')"]


def test_a_key_given_twice_is_said(server: JudgeServer, tmp_path: Path) -> None:
    found = score(judge(server), [("half", HALF), ("half", HALF)], tmp_path, {})
    assert found.problems == ["the judge was given 'half' more than once"]


# A judge that dies, or contradicts itself


def test_a_judge_that_only_fails_is_not_asked_all_night(server: JudgeServer, tmp_path: Path) -> None:
    server.answer = lambda _: PROSE
    found = score(judge(server), inputs(60), tmp_path, {})
    assert set(found.scores) == {key for key, _ in inputs(60)}
    assert {value for one in found.scores.values() for value in one.values()} == {None}
    assert 8 * 3 <= len(server.calls) <= (8 + 3) * 3
    assert len(found.problems) == 2
    assert "the judge failed 8 times in a row; " in found.problems[1]
    assert "of 60 scores were not asked for" in found.problems[1]


def test_a_wrong_key_is_found_out_once(server: JudgeServer, tmp_path: Path) -> None:
    server.answer = lambda _: BAD["401"][0]
    found = score(judge(server), inputs(60), tmp_path, {})
    assert len(server.calls) <= 4
    assert found.problems == ["the judge refuses the key (HTTP 401); 60 of 60 scores were not asked for, or not to the end"]


def test_a_judge_that_contradicts_itself(server: JudgeServer, tmp_path: Path) -> None:
    given = inputs(6)
    seen: dict[str, int] = {}

    def moody(call: Call) -> Reply:
        made = verdict(call)
        if call.asks_for == "verdicts":
            text = call.given["context"]
            seen[text] = seen.get(text, 0) + 1
            made["statements"][0]["verdict"] = seen[text] % 2
        return completion(json.dumps(made))

    server.answer = moody
    found = score(judge(server, repeats=2, repeated_cases=3), given, tmp_path, {})
    assert [seen[one.contexts[0]] for _, one in given] == [2, 2, 2, 1, 1, 1]
    assert [found.scores[key]["faithfulness"] for key, _ in given[3:]] == [1.0] * 3
    wanted = "the judge contradicts itself: faithfulness of one answer differs by 1.000 on average, more than 0.200"
    assert (found.problems, found.facts["spread"]) == ([wanted], 1.0)
    again = score(judge(server, repeats=2, repeated_cases=3), given, tmp_path, {})
    assert (again.scores, again.problems, again.facts["calls"]) == (found.scores, [wanted], 0)


def test_a_judge_that_agrees_with_itself(server: JudgeServer, tmp_path: Path) -> None:
    found = score(judge(server, repeats=3, repeated_cases=2), inputs(3), tmp_path, {})
    assert (found.problems, found.facts["spread"], found.facts["calls"]) == ([], 0.0, 2 * (3 + 3 + 1))


def test_a_name_that_moves_to_other_weights(server: JudgeServer, tmp_path: Path) -> None:
    assert judged(server, tmp_path).problems == []
    server.answer = lambda call: completion(json.dumps(verdict(call)), model="judge-1-june")
    found = score(judge(server), [("half", HALF), *inputs(1)], tmp_path, {})
    assert found.problems == [
        "several models answered under the name 'judge-1' (now judge-1-june), today or for earlier scores: pin one that cannot move"
    ]


# What it may cost


def test_no_call_is_sent_past_the_budget_of_calls(server: JudgeServer, tmp_path: Path) -> None:
    found = score(judge(server, max_calls=7), inputs(10), tmp_path, {})
    assert len(server.calls) == found.facts["calls"] == 7
    done = [one["faithfulness"] for one in found.scores.values()]
    assert done.count(1.0) >= 1
    assert done.count(None) == 10 - done.count(1.0)
    assert found.problems == [
        f"the judge has used up its budget of 7 calls; {done.count(None)} of 10 scores were not asked for, or not to the end"
    ]


def test_tries_count_in_the_budget(server: JudgeServer, tmp_path: Path) -> None:
    server.answer = lambda _: PROSE
    found = judged(server, tmp_path, max_calls=2)
    assert len(server.calls) == 2
    assert "used up its budget of 2 calls" in found.problems[0]


def test_no_call_is_sent_that_could_cost_more_than_is_left(server: JudgeServer, tmp_path: Path) -> None:
    limit = 0.05
    found = score(judge(server, max_cost=limit, price_in=1.0, price_out=10.0), inputs(40), tmp_path, {})
    cost = (len(server.calls) * (TOKENS_IN * 1.0 + TOKENS_OUT * 10.0)) / 1e6
    assert found.facts["cost"] == pytest.approx(cost)
    assert 0 < cost <= limit
    assert "the judge has used up its budget: " in found.problems[0]
    assert None in [one["faithfulness"] for one in found.scores.values()]
    # The next night goes on where the money ended.
    again = score(judge(server, max_cost=limit, price_in=1.0, price_out=10.0), inputs(40), tmp_path, {})
    assert again.facts["cached"] == sum(one["faithfulness"] == 1.0 for one in found.scores.values()) > 0


@pytest.mark.parametrize(
    "usage", [{}, {"prompt_tokens": "many", "completion_tokens": None}, {"prompt_tokens": -5, "completion_tokens": 2}, "none"]
)
def test_calls_without_a_usage_are_charged_the_most_they_can_cost(server: JudgeServer, tmp_path: Path, usage: Any) -> None:
    server.answer = lambda call: completion(json.dumps(verdict(call)), usage=usage)
    found = judged(server, tmp_path, price_out=10.0)
    assert (found.scores, found.problems) == ({"half": {"faithfulness": 0.5}}, [])
    assert (found.facts["tokens_out"], found.facts["unmetered"], found.facts["cost"]) == (0, 2, pytest.approx(2 * 2048 * 10 / 1e6))


# What may not be asked at all


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "http://judge.example/v1"}, "gate.judge.url: would send text unencrypted to judge.example (use https"),
        ({"url": f"https://user:{KEY}@judge.example/v1"}, "gate.judge.url: holds more than an address"),
        ({"url": f"https://judge.example/v1?key={KEY}"}, "gate.judge.url: holds more than an address"),
        ({"url": "https:///v1"}, "gate.judge.url: names no host"),
        ({"max_cost": 1.0}, "gate.judge.max_cost: bounds nothing without prices"),
        ({"api_key_env": "JUDGE_KEY"}, "gate.judge.api_key_env: JUDGE_KEY is not set"),
    ],
)
def test_a_setting_that_forbids_to_ask(server: JudgeServer, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    found = judged(server, tmp_path, **changes)
    assert found.scores == {"half": {"faithfulness": None}}
    assert words in found.problems[0]
    assert KEY not in str(found.problems)
    assert server.calls == []


@pytest.mark.parametrize("kind", ["401", "400", "prose", "hung up"])
def test_the_key_and_the_text_are_in_no_log(
    server: JudgeServer, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    said = f"Incorrect API key provided: {KEY}, asked about $53,500"
    server.answer = lambda _: {"401": error(401, said), "400": error(400, said), "prose": completion(said)}.get(kind, Reply(cut=True))
    with caplog.at_level(logging.DEBUG):
        found = score(judge(server, api_key_env="JUDGE_KEY"), [("half", HALF)], tmp_path, {"JUDGE_KEY": KEY})
    assert found.problems
    assert KEY not in repr(found)
    logged = caplog.text + "".join(capfd.readouterr())
    assert KEY not in logged
    assert "53,500" not in logged


def test_nothing_is_written_to_the_home_and_nobody_else_is_called(server: JudgeServer, tmp_path: Path) -> None:
    program = """
        import sys
        from pathlib import Path
        reached = []
        sys.addaudithook(lambda event, args: reached.append((event, args)) if event in ("socket.connect", "socket.getaddrinfo") else None)
        from pipelines.evaluation.judge import JudgedInput, score
        from pipelines.gate_config import Judge
        metrics = ("faithfulness", "answer_relevancy", "factual_correctness")
        judge = Judge(url=sys.argv[1], model="judge-1", metrics=metrics)
        found = score(judge, [("a", JudgedInput("What is it?", "It is so.", ("It is so.",), "It is so."))], Path(sys.argv[2]), {})
        print(found.problems, found.facts["calls"])
        print({args[1][:2] if event == "socket.connect" else args[:2] for event, args in reached})
    """
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "RAGAS", "LANG")) and "HOME" not in name}
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), server.url, str(cache)],
        cwd=PROJECT,
        env={**plain, "HOME": str(home), "LANGSMITH_TRACING": "true", "LANGSMITH_API_KEY": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    port = int(server.url.split(":")[2].split("/")[0])
    assert run.stdout.splitlines() == ["[] 14", str({("127.0.0.1", port)})], run.stderr
    assert [path for path in home.rglob("*") if path.is_file()] == []


# Who may vote


def calibration(**changes: Any) -> dict[str, Any]:
    agreed = {"n": 100, "spearman": {"value": 0.5, "low": 0.4, "high": 0.6}, "auc": {"value": 0.8, "low": 0.74, "high": 0.86}}
    return {"data": "mtrag", "cases": 120, "judge": {"model": MODEL}, "metrics": {"faithfulness": agreed}, **changes}


def votes(tmp_path: Path, content: object, **changes: Any) -> tuple[bool, str]:
    (tmp_path / "judges").mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "judges" / "x.json").write_text(text, encoding="utf-8")
    return may_vote(Judge(**{"url": "http://127.0.0.1/v1", "model": MODEL, "calibration": Path("judges/x.json"), **changes}), tmp_path)


def test_a_judge_that_agrees_with_people_may_vote(tmp_path: Path) -> None:
    assert votes(tmp_path, calibration()) == (True, "calibrated on 120 cases, lower end of the AUC: faithfulness 0.740")


@pytest.mark.parametrize(
    ("content", "changes", "words"),
    [
        (calibration(), {"min_auc": 0.75}, "agrees too little with people: lower end of the AUC: faithfulness 0.740; 0.750 is needed"),
        (calibration(), {"model": "judge-2"}, "is of 'judge-1', not of 'judge-2'"),
        (calibration(judge=None), {}, "is of no judge, not of 'judge-1'"),
        (calibration(), {"metrics": ("faithfulness", "answer_relevancy")}, "says nothing of answer_relevancy"),
        (calibration(metrics={}), {}, "says nothing of faithfulness"),
        (calibration(metrics={"faithfulness": {"auc": {"low": None}}}), {}, "faithfulness has none"),
        (calibration(metrics={"faithfulness": {"auc": {"low": math.nan}}}), {}, "is none: metrics.faithfulness.auc.low"),
        (calibration(metrics={"faithfulness": {}}), {}, "is none: metrics.faithfulness.auc: Field required"),
        ("not JSON", {}, "is none: file: Invalid JSON"),
        (calibration(), {"calibration": None}, "never calibrated: run `ratchet calibrate`"),
        (calibration(), {"calibration": Path("judges/y.json")}, "judges/y.json cannot be read: No such file"),
        (calibration(), {"calibration": Path("judges")}, "judges cannot be read: Is a directory"),
    ],
)
def test_a_judge_that_may_not_vote(tmp_path: Path, content: object, changes: dict[str, Any], words: str) -> None:
    vote, why = votes(tmp_path, content, **changes)
    assert not vote
    assert words in why
