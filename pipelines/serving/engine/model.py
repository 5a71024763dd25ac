"""What Triton's stub calls: one base model with adapters chosen per request, decoded together.

The folder stands alone on purpose: it runs in the serving environment (numpy < 2), where the rest of the project is not installed; a copy
of `chat.py`, which training shares, lies beside it there.

Inputs, each [1, 1]: PROMPT and ADAPTER (strings), MAX_TOKENS (int32), and, where given, CHAT and STREAM (bool) and ADAPTER_SHA256
(string). Outputs, each [1, 1]: TEXT (string), TOKENS_IN and TOKENS_OUT (int32), CONFIDENCE and MIN_LOGPROB (float32), FINAL (bool). The
last response holds the whole text and FINAL; a streamed answer has others before it, whose TEXT is what is new. Decoding is greedy and
ends at the end of sequence, of the turn or of the line. An error begins with its kind (`work.Refused`); none quotes a prompt.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from pathlib import Path
from typing import Any

import numpy

from pipelines.serving.engine.work import Ask, Backend, Completion, Once, Refused

LOOK_SECONDS = 0.02
"""Pause between two rounds of asking whether the callers of running requests are gone."""
METRIC_SECONDS = 0.5


class Answer:
    """A `work.Sink`: puts what the engine says on the outbox's queue."""

    def __init__(self, sender: Any, outbox: Outbox) -> None:
        self.sender, self._outbox = sender, outbox
        self.left = False
        self.using = threading.Lock()
        """Held while the sender is used: Triton's server dies when it is asked anything after the last response."""

    def piece(self, text: str) -> None:
        """As `work.Sink.piece`."""
        self._outbox.put(self, text)

    def end(self, outcome: Completion | Refused) -> None:
        """As `work.Sink.end`."""
        self._outbox.put(self, outcome)

    def gone(self) -> bool:
        """As `work.Sink.gone`."""
        return self.left


class Outbox:
    """Sends responses and asks for cancellations in threads of its own: each costs a round to the server's process, which the engine's
    steps must not wait for."""

    def __init__(self, pb: Any) -> None:
        self.pb = pb
        self._said: queue.SimpleQueue[tuple[Answer, str | Completion | Refused] | None] = queue.SimpleQueue()
        self._open: set[Answer] = set()
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._look)]
        for thread in self._threads:
            thread.start()

    def open(self, sender: Any) -> Answer:
        """A sink for one request."""
        answer = Answer(sender, self)
        self._open.add(answer)
        return answer

    def put(self, answer: Answer, said: str | Completion | Refused) -> None:
        """To be sent, in order."""
        self._said.put((answer, said))

    def close(self) -> None:
        """After what is on the queue was sent."""
        self._closed.set()
        self._said.put(None)
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        while (item := self._said.get()) is not None:
            answer, said = item
            try:
                response, flags = self._response(said)
                with answer.using:
                    if flags:
                        self._open.discard(answer)
                    answer.sender.send(response, flags=flags)
            except Exception:
                # The caller is gone, or the server goes down: nobody is left to tell.
                answer.left = True

    def _look(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            for answer in list(self._open):
                with answer.using:
                    if answer in self._open and answer.sender.is_cancelled():
                        answer.left = True

    def _response(self, said: str | Completion | Refused) -> tuple[Any, int]:
        """(the response, its flags)."""
        last = int(self.pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        if isinstance(said, Refused):
            return self.pb.InferenceResponse(error=self.pb.TritonError(str(said))), last
        if isinstance(said, str):
            return self._columns(said, 0, 0, 0.0, 0.0, False), 0
        return self._columns(said.text, said.tokens_in, said.tokens_out, said.confidence, said.min_logprob, True), last

    def _columns(self, text: str, tokens_in: int, tokens_out: int, confidence: float, least: float, final: bool) -> Any:
        columns = {
            "TEXT": numpy.array([[text.encode()]], dtype=numpy.object_),
            "TOKENS_IN": numpy.array([[tokens_in]], dtype=numpy.int32),
            "TOKENS_OUT": numpy.array([[tokens_out]], dtype=numpy.int32),
            "CONFIDENCE": numpy.array([[confidence]], dtype=numpy.float32),
            "MIN_LOGPROB": numpy.array([[least]], dtype=numpy.float32),
            "FINAL": numpy.array([[final]]),
        }
        return self.pb.InferenceResponse([self.pb.Tensor(name, column) for name, column in columns.items()])


class Metrics:
    """The engine's own figures among Triton's, renewed twice a second."""

    def __init__(self, pb: Any, name: str, backend: Backend) -> None:
        self._backend = backend
        self._closed = threading.Event()
        kinds = {
            "ratchet_engine_running": ("requests in the engine", pb.MetricFamily.GAUGE),
            "ratchet_engine_waiting": ("requests in the engine that wait for their adapter", pb.MetricFamily.GAUGE),
            "ratchet_engine_tokens_total": ("tokens generated", pb.MetricFamily.COUNTER),
        }
        self._families = [pb.MetricFamily(name=key, description=says, kind=kind) for key, (says, kind) in kinds.items()]
        self._metrics = [family.Metric(labels={"model": name}) for family in self._families]
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closed.set()
        self._thread.join()

    def _follow(self) -> None:
        last, tokens = (0, 0), 0
        while not self._closed.wait(METRIC_SECONDS):
            now = self._backend.figures()
            running, waiting, written = self._metrics
            if (now.running, now.waiting) != last:
                running.set(now.running)
                waiting.set(now.waiting)
                last = (now.running, now.waiting)
            if now.tokens > tokens:
                written.increment(now.tokens - tokens)
                tokens = now.tokens


def engine(given: dict[str, str]) -> Backend:
    """The engine that the model's configuration asks for."""
    if given["kind"] == "vllm":
        from pipelines.serving.engine.vllm_engine import VLLMEngine

        return VLLMEngine(given["base"], Path(given["adapters"]), json.loads(given["vllm"]), seconds=float(given["seconds"]))
    from pipelines.serving.engine.base import Base
    from pipelines.serving.engine.scheduler import Scheduler

    base = Base(given["base"], threads=int(given["threads"]), stop=given.get("stop", "true") == "true")
    return Scheduler(
        base,
        Path(given["adapters"]),
        slots=int(given["slots"]),
        keep=int(given["keep"]),
        seconds=float(given["seconds"]),
        # A device that fails stays failed for this process: ended, it is found by the next request, and loaded anew.
        broken=lambda: os._exit(70),
    )


class TritonPythonModel:
    """What Triton's stub calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load and warm the base; an exception here fails the load and leaves other models serving."""
        import triton_python_backend_utils as pb

        self.pb: Any = pb
        given = {key: value["string_value"] for key, value in json.loads(args["model_config"])["parameters"].items()}
        self.seconds = float(given["seconds"])
        self.backend = engine(given)
        warm = Once()
        self.backend.submit(Ask("Question: ready?\nAnswer:", "", 4), warm)
        outcome = warm.wait()
        if isinstance(outcome, Refused) and not str(outcome).startswith("timeout: "):
            raise RuntimeError(str(outcome))
        self.outbox = Outbox(pb)
        self.metrics = Metrics(pb, args["model_name"], self.backend)

    def execute(self, requests: list[Any]) -> None:
        """Hand each request to the engine; it answers through its response sender. Returns when another can start: until then the next
        ones wait in Triton's queue, whose time-out, length, cancellation and metric are then true."""
        for request in requests:
            self._room()
            answer = self.outbox.open(request.get_response_sender())
            try:
                self.backend.submit(self._ask(request), answer)
            except Exception as error:
                answer.end(Refused(f"engine: {type(error).__name__}"))
        self._room()

    def _room(self) -> None:
        """Wait until a slot is free, for as long as a request may take at most."""
        until = time.monotonic() + 2 * self.seconds
        while not self.backend.room(0.5) and time.monotonic() < until:
            pass

    def finalize(self) -> None:
        """Called when it is unloaded, with no request under way, or when the server ends."""
        self.metrics.close()
        self.backend.close()
        self.outbox.close()

    def _ask(self, request: Any) -> Ask:
        def value(name: str, default: Any) -> Any:
            tensor = self.pb.get_input_tensor_by_name(request, name)
            return default if tensor is None else tensor.as_numpy().reshape(-1)[0]

        text = {name: value(name, b"").decode("utf-8", "replace") for name in ("PROMPT", "ADAPTER", "ADAPTER_SHA256")}
        chat, stream = bool(value("CHAT", False)), bool(value("STREAM", False))
        return Ask(text["PROMPT"], text["ADAPTER"], int(value("MAX_TOKENS", 0)), chat, text["ADAPTER_SHA256"], stream)
