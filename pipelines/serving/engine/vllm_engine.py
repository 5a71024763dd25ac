"""vLLM behind the same interface. Not yet run: it is written against vLLM's documented API (`AsyncLLMEngine`, per-request `LoRARequest`;
docs.vllm.ai), on machines where vLLM cannot be installed.

vLLM decides which requests run together, keeps the adapters and shares prefixes; tokens, stops, checks of adapters, pieces of text and
errors are ours, so that both engines answer alike.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from pipelines.serving.engine.adapters import ADAPTER_NAME, WEIGHTS, read
from pipelines.serving.engine.base import Pieces, Words
from pipelines.serving.engine.work import Ask, Completion, Figures, Refused, Sink

KEPT = 256
"""Adapters whose hash and number are remembered; vLLM itself keeps `max_loras` of them loaded."""


class VLLMEngine:
    """A `work.Backend`. `settings` are `vllm.AsyncEngineArgs` by name."""

    def __init__(self, base: str, adapters: Path, settings: dict[str, Any], *, seconds: float = 30.0) -> None:
        from transformers import AutoTokenizer, GenerationConfig
        from vllm import AsyncEngineArgs, AsyncLLMEngine

        self.root, self.seconds, self.slots = adapters.resolve(), seconds, int(settings["max_num_seqs"])
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True).start()
        given = {key: value for key, value in settings.items() if value is not None}

        async def start() -> Any:
            return AsyncLLMEngine.from_engine_args(AsyncEngineArgs(model=base, enable_lora=True, disable_log_stats=True, **given))

        self._engine: Any = self._here(start()).result()
        ends = GenerationConfig.from_pretrained(base).eos_token_id
        context = int(self._engine.model_config.max_model_len)
        self.words = Words(AutoTokenizer.from_pretrained(base), context, ends if isinstance(ends, list) else [ends])
        self._known: OrderedDict[str, tuple[int, str, str | None]] = OrderedDict()
        self._numbers = itertools.count(1)
        self._change = threading.Condition()
        self._running = self._tokens = 0

    def submit(self, ask: Ask, sink: Sink) -> None:
        """As `work.Backend.submit`."""
        with self._change:
            self._running += 1
        self._here(self._answer(ask, sink))

    def room(self, seconds: float) -> bool:
        """As `work.Backend.room`."""
        with self._change:
            return self._change.wait_for(lambda: self._running < self.slots, seconds)

    def figures(self) -> Figures:
        """As `work.Backend.figures`."""
        return Figures(self._running, 0, self._tokens)

    def close(self) -> None:
        """As `work.Backend.close`."""
        self._engine.shutdown()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _here(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _answer(self, ask: Ask, sink: Sink) -> None:
        outcome: Completion | Refused
        try:
            async with asyncio.timeout(self.seconds):
                outcome = await self._generate(ask, sink)
        except Refused as refused:
            outcome = refused
        except TimeoutError:
            outcome = Refused(f"timeout: no answer within {self.seconds:g} s")
        except Exception as error:
            outcome = Refused(f"engine: {type(error).__name__}")
        with self._change:
            self._running -= 1
            self._change.notify_all()
        sink.end(outcome)

    async def _generate(self, ask: Ask, sink: Sink) -> Completion | Refused:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        ids = self.words.encode(ask)
        adapter = await asyncio.to_thread(self._adapter, ask) if ask.adapter else None
        sampling = SamplingParams(
            temperature=0.0,
            max_tokens=ask.max_tokens,
            stop_token_ids=sorted(self.words.stops),
            logprobs=0,  # of the token chosen only
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        pieces = Pieces(self.words) if ask.stream else None
        chosen: list[int] = []
        logs: list[float] = []
        # A generator that is closed, or cancelled by the time-out, aborts its request in vLLM.
        stream = self._engine.generate({"prompt_token_ids": ids}, sampling, f"r{next(self._numbers)}", lora_request=adapter)
        try:
            async for output in stream:
                said = output.outputs[0]
                for number, log in zip(said.token_ids, said.logprobs, strict=True):
                    logs.append(float(log[number].logprob))
                    if number not in self.words.stops:
                        chosen.append(number)
                    self._tokens += 1
                fresh = pieces.next(chosen, last=output.finished) if pieces is not None else ""
                if fresh:
                    sink.piece(fresh)
                if sink.gone():
                    return Refused("cancelled: nobody waits for it")
        finally:
            await stream.aclose()
        mean = sum(logs) / max(1, len(logs))
        if not logs or not math.isfinite(mean):
            return Refused("engine: the model's probabilities are not finite")
        return Completion(self.words.decode(chosen), len(ids), len(chosen), min(math.exp(mean), 1.0), min(*logs, 0.0))

    def _adapter(self, ask: Ask) -> Any:
        """vLLM's request for the adapter. Its number stands for its hash: files that changed are another adapter to vLLM."""
        from vllm.lora.request import LoRARequest

        folder = self.root / ask.adapter
        if not ADAPTER_NAME.fullmatch(ask.adapter) or folder.resolve().parent != self.root:
            raise Refused("adapter: not a name of an adapter")
        found = self._known.get(ask.adapter)
        if found is None or ask.adapter_sha256 not in ("", found[1]):
            if not (folder / WEIGHTS).is_file():
                raise Refused(f"adapter: {ask.adapter} is not there, or holds no {WEIGHTS}")
            try:
                files = read(folder, ask.adapter_sha256)
            except Refused:
                raise
            except Exception as error:
                raise Refused(f"adapter: {ask.adapter} cannot be loaded ({type(error).__name__})") from error
            found = self._known[ask.adapter] = (next(self._numbers), files.sha256, files.taught)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        self.words.require_taught(ask, found[2])
        return LoRARequest(f"{ask.adapter}@{found[1][:12]}", found[0], str(folder))
