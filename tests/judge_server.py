"""A real OpenAI-compatible server on loopback that judges by rule, or as a test says. Every call is kept."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "judge-1"
TOKENS_IN, TOKENS_OUT = 100, 20


@dataclass
class Call:
    """One request: what it asks for (the fields of its schema) and what about (the last JSON of its prompt)."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def schema(self) -> dict[str, Any]:
        text = self.body["messages"][0]["content"]
        found: dict[str, Any] = json.loads(text[text.index("{") : text.rindex("}") + 1])
        return found

    @property
    def asks_for(self) -> str:
        """`statements`, `claims`, `verdicts` or `question`."""
        fields = self.schema["properties"]
        if "statements" in fields:
            return "verdicts" if "$ref" in fields["statements"]["items"] else "statements"
        return "claims" if "claims" in fields else "question"

    @property
    def given(self) -> dict[str, Any]:
        prompt = self.body["messages"][-1]["content"]
        found: dict[str, Any] = json.loads(prompt[prompt.rindex("\ninput: ") + 8 : prompt.rindex("\nOutput:")])
        return found


@dataclass
class Reply:
    """What to answer, after `wait` seconds. `cut`: nothing at all, and the connection is closed."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    cut: bool = False


Answer = Callable[[Call], Reply]


def completion(
    content: str | None, *, usage: Any = None, model: str = MODEL, wait: float = 0.0, finish: str = "stop", **message: Any
) -> Reply:
    """A chat completion with that text."""
    counted = {"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT, "total_tokens": TOKENS_IN + TOKENS_OUT}
    made = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}],
        "usage": counted if usage is None else usage,
    }
    return Reply(json.dumps(made).encode(), wait=wait)


def error(status: int, message: str, **headers: str) -> Reply:
    """An error as OpenAI words it."""
    return Reply(json.dumps({"error": {"message": message, "type": "error"}}).encode(), status, headers)


def sentences(text: str) -> list[str]:
    return [one for one in re.split(r"(?<=[.])\s+", text.strip()) if one]


def verdict(call: Call) -> dict[str, Any]:
    """A judge's honest work: what the context says word by word holds; every answer is one to the question "What is <answer>"."""
    given = call.given
    if call.asks_for == "statements":
        return {"statements": sentences(given["answer"])}
    if call.asks_for == "claims":
        return {"claims": sentences(given["response"])}
    if call.asks_for == "question":
        return {"question": f"What is {given['response']}", "noncommittal": int("I do not know" in given["response"])}
    found = [{"statement": one, "reason": "as it says", "verdict": int(one in given["context"])} for one in given["statements"]]
    return {"statements": found}


def honest(call: Call) -> Reply:
    return completion(json.dumps(verdict(call)))


@dataclass
class JudgeServer:
    url: str
    answer: Answer = honest
    calls: list[Call] = field(default_factory=list)
    busiest: int = 0
    """Most calls that were under way at once."""

    def first(self, *replies: Reply) -> None:
        """Answer so in turn, then honestly."""
        left = list(replies)
        self.answer = lambda call: left.pop(0) if left else honest(call)


@contextmanager
def judging() -> Iterator[JudgeServer]:
    """The server for the length of the block."""
    made = JudgeServer("")
    lock = threading.Lock()
    busy = 0

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            nonlocal busy
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            call = Call(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            with lock:
                made.calls.append(call)
                busy += 1
                made.busiest = max(made.busiest, busy)
                reply = made.answer(call)
            stopping.wait(reply.wait)
            with lock:
                busy -= 1
            try:
                self.reply(reply)
            except OSError:  # the caller hung up
                self.close_connection = True

        def reply(self, reply: Reply) -> None:
            if reply.cut:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: Any) -> None:
            return

    stopping = threading.Event()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    httpd.daemon_threads = True
    made.url = f"http://127.0.0.1:{httpd.server_port}/v1"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        stopping.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()
