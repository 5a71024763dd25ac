"""The engine: one base model with adapters chosen per request. Triton's Python backend runs this file.

It stands alone on purpose: it runs in the serving environment (numpy < 2), where the rest of the project is not installed; a copy of
`chat.py`, which training shares, lies beside it there.

Inputs, each [batch, 1]: PROMPT and ADAPTER (strings), MAX_TOKENS (int32), CHAT (bool, false where it is left out). Outputs, each
[batch, 1]: TEXT (string), TOKENS_IN and TOKENS_OUT (int32), CONFIDENCE (float32, mean probability of the tokens chosen, the stop
included). Decoding is greedy and ends at the end of sequence, of the turn or of the line. An error begins with its kind: `prompt:`,
`adapter:`, `timeout:` or `engine:`; none quotes a prompt.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import re
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch

from pipelines.training import chat

ADAPTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
SMALL_BASE = 64 * 2**20
"""Bytes of weights. Below, an adapter is merged into a copy of its own, which saves a third of a tiny model's time and costs little
memory; above, it sits beside the base's weights, which all adapters share."""

WEIGHTS = "adapter_model.safetensors"


class Refused(Exception):
    """Why one request got no answer; the others of its batch did."""


@dataclass(frozen=True)
class Completion:
    """What one prompt was continued with."""

    text: str
    tokens_in: int
    tokens_out: int
    confidence: float


@dataclass(frozen=True)
class Ask:
    """One prompt of a request."""

    prompt: str
    adapter: str
    max_tokens: int
    chat: bool = False
    """As a turn of the base's chat template."""


class Engine:
    """A base, its tokenizer, and the adapters used last."""

    def __init__(self, base: str, adapters: Path, *, keep: int = 8, seconds: float = 30.0, threads: int = 0) -> None:
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
        from transformers import AutoModelForCausalLM, AutoTokenizer

        gpu = torch.cuda.is_available()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(base)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16 if gpu else torch.float32)
        self.base: Any = model.to("cuda" if gpu else "cpu").eval()
        self.small = sum(parameter.nbytes for parameter in self.base.parameters()) < SMALL_BASE
        # Handing a tiny model's operations from thread to thread takes longer than computing them, far longer on a busy machine.
        torch.set_num_threads(threads or (1 if self.small else len(os.sched_getaffinity(0))))
        self.context = int(getattr(self.base.config, "max_position_embeddings", 0) or 2048)
        self.adapters, self.keep, self.seconds = adapters.resolve(), keep, seconds
        self.loaded: OrderedDict[str, Any] = OrderedDict()
        self.taught: dict[str, str | None] = {}
        """Adapter -> hash of the turns it was trained in, None for bare prompts."""
        self.turns: chat.Turns | chat.Unfit = self._turns()
        self.stops = self._stops()
        self.pad = int(next(iter(self.stops)) if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id)

    def answer(self, asks: Sequence[Ask]) -> list[Completion | Refused]:
        """One outcome per ask, in order. Asks of one adapter run as one batch."""
        outcomes: list[Completion | Refused] = [Refused("engine: not reached")] * len(asks)
        deadline = time.monotonic() + self.seconds
        for adapter, places in _grouped(asks).items():
            try:
                model = self._model(adapter)
                encoded: dict[int, list[int]] = {}
                for place in places:
                    try:
                        self._require_taught(asks[place])
                        encoded[place] = self._encode(asks[place])
                    except Refused as refusal:
                        outcomes[place] = refusal
                if encoded:
                    limits = [asks[place].max_tokens for place in encoded]
                    found = self._complete(model, list(encoded.values()), limits, deadline)
                    for place, outcome in zip(encoded, found, strict=True):
                        outcomes[place] = outcome
            except Refused as refusal:
                for place in places:
                    outcomes[place] = refusal
            except Exception as error:  # a fault in one batch must not take the engine down
                for place in places:
                    outcomes[place] = Refused(f"engine: {type(error).__name__}")
        return outcomes

    # --- adapters -----------------------------------------------------------------------------------------------------

    def _model(self, adapter: str) -> Any:
        """The base, or the base with an adapter, loaded at its first use."""
        if not adapter:
            return self.base
        if adapter in self.loaded:
            self.loaded.move_to_end(adapter)
            return self.loaded[adapter]
        model = self._load(adapter)
        self.loaded[adapter], self.taught[adapter] = model, _taught(self.adapters / adapter)
        while len(self.loaded) > self.keep:
            self.taught.pop(self.loaded.popitem(last=False)[0])
        return model

    def _require_taught(self, ask: Ask) -> None:
        """Refused when the adapter would be asked in another way than it was trained."""
        within = self._within(ask)
        if ask.adapter and self.taught[ask.adapter] != (within.sha256 if within is not None else None):
            raise Refused(f"adapter: {ask.adapter} was trained {'without this' if ask.chat else 'with a'} chat template")

    def _load(self, adapter: str) -> Any:
        """Refused unless the folder lies directly under the adapters' root and holds a whole LoRA, as safetensors, for this base."""
        folder = self.adapters / adapter
        if not ADAPTER_NAME.fullmatch(adapter) or folder.resolve().parent != self.adapters:
            raise Refused("adapter: not a name of an adapter")
        if not (folder / WEIGHTS).is_file() or not (folder / "adapter_config.json").is_file():
            raise Refused(f"adapter: {adapter} is not there, or holds no {WEIGHTS}")
        from peft import PeftModel, get_peft_model_state_dict
        from safetensors.torch import load_file

        # A module tree of its own: a failed load leaves the base as it was, and dropping the tree unloads the adapter.
        shared = {} if self.small else {id(tensor): tensor for tensor in itertools.chain(self.base.parameters(), self.base.buffers())}
        try:
            if json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("peft_type") != "LORA":
                raise Refused(f"adapter: {adapter} is not a LoRA adapter")
            weights = load_file(folder / WEIGHTS)
            if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
                raise Refused(f"adapter: {adapter} holds values that are not finite")
            tuned = PeftModel.from_pretrained(copy.deepcopy(self.base, dict(shared)), str(folder))
            # peft only warns about weights that are missing or belong to another model.
            if set(get_peft_model_state_dict(tuned)) != set(weights):
                raise Refused(f"adapter: the weights of {adapter} are not those of its configuration on this base")
        except Refused:
            raise
        except Exception as error:
            raise Refused(f"adapter: {adapter} cannot be loaded ({type(error).__name__})") from error
        model: Any = tuned.merge_and_unload() if self.small else tuned.base_model.model
        return model.eval()

    # --- text ---------------------------------------------------------------------------------------------------------

    def _encode(self, ask: Ask) -> list[int]:
        """Token ids as in training. Special tokens spelt out in a passage stay ordinary text."""
        if not 1 <= ask.max_tokens < self.context:
            raise Refused(f"prompt: MAX_TOKENS must be from 1 to {self.context - 1}")
        [ids] = chat.prompts(self.tokenizer, [ask.prompt], self._within(ask))
        room = self.context - ask.max_tokens
        if not ids or len(ids) > room:
            raise Refused(f"prompt: {len(ids)} tokens, and there is room for 1 to {room}")
        return ids

    def _turns(self) -> chat.Turns | chat.Unfit:
        """Of the base's chat template; why not, where it has none that can be used: bare prompts are answered all the same."""
        try:
            return chat.turns(self.tokenizer)
        except chat.Unfit as error:
            return error

    def _within(self, ask: Ask) -> chat.Turns | None:
        if ask.chat and isinstance(self.turns, chat.Unfit):
            raise Refused(f"engine: {self.turns}")
        return self.turns if ask.chat and isinstance(self.turns, chat.Turns) else None

    def _stops(self) -> set[int]:
        """Token ids that end an answer: end of sequence, end of turn, and every token with a line break in it."""
        ends = self.base.generation_config.eos_token_id
        stops = set(ends) if isinstance(ends, list) else {ends}
        stops |= {self.tokenizer.eos_token_id}
        if isinstance(self.turns, chat.Turns):
            stops.add(self.turns.end)
        for piece, number in self.tokenizer.get_vocab().items():
            if "\n" in piece or "Ċ" in piece or piece == "<0x0A>":
                stops.add(number)
        return {stop for stop in stops if stop is not None}

    def _complete(self, model: Any, prompts: list[list[int]], limits: list[int], deadline: float) -> list[Completion | Refused]:
        """Greedy continuation of a left-padded batch with a key-value cache."""
        with torch.inference_mode():
            return self._decode(model, prompts, limits, deadline)

    def _decode(self, model: Any, prompts: list[list[int]], limits: list[int], deadline: float) -> list[Completion | Refused]:
        width = max(map(len, prompts))
        device = self.base.device
        ids = torch.tensor([[self.pad] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        chosen: list[list[int]] = [[] for _ in prompts]
        surety: list[list[float]] = [[] for _ in prompts]
        open_rows = set(range(len(prompts)))
        cache = None
        while open_rows and time.monotonic() < deadline:
            out = model(input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = out.past_key_values
            best, token = torch.softmax(out.logits[:, -1].float(), -1).max(-1)
            for row, (number, probability) in enumerate(zip(token.tolist(), best.tolist(), strict=True)):
                if row not in open_rows:
                    continue
                surety[row].append(probability)
                if number not in self.stops:
                    chosen[row].append(number)
                if number in self.stops or len(chosen[row]) >= limits[row]:
                    open_rows.discard(row)
            ids, places = token[:, None], places[:, -1:] + 1
            mask = torch.cat([mask, torch.ones_like(ids)], -1)
        return [
            Refused(f"timeout: no answer within {self.seconds:g} s")
            if row in open_rows
            else self._completion(len(prompt), chosen[row], surety[row])
            for row, prompt in enumerate(prompts)
        ]

    def _completion(self, tokens_in: int, chosen: list[int], surety: list[float]) -> Completion | Refused:
        confidence = sum(surety) / len(surety)
        if not 0.0 <= confidence <= 1.0001:  # also false for NaN
            return Refused("engine: the model's probabilities are not finite")
        return Completion(self.tokenizer.decode(chosen, skip_special_tokens=True), tokens_in, len(chosen), min(confidence, 1.0))


def _taught(adapter: Path) -> str | None:
    facts = adapter / "facts.json"
    found = json.loads(facts.read_text(encoding="utf-8")).get("chat_template") if facts.is_file() else None
    return None if found is None else str(found)


def _grouped(asks: Sequence[Ask]) -> dict[str, list[int]]:
    """Places of the asks per adapter."""
    groups: dict[str, list[int]] = {}
    for place, ask in enumerate(asks):
        groups.setdefault(ask.adapter, []).append(place)
    return groups


class TritonPythonModel:
    """What Triton's stub calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load and warm the base; an exception here fails the load and leaves other models serving."""
        import triton_python_backend_utils as pb

        self.pb: Any = pb
        given = {key: value["string_value"] for key, value in json.loads(args["model_config"])["parameters"].items()}
        self.engine = Engine(
            given["base"],
            Path(given["adapters"]),
            keep=int(given["keep"]),
            seconds=float(given["seconds"]),
            threads=int(given["threads"]),
        )
        self.engine.answer([Ask("Question: ready?\nAnswer:", "", 4)])

    def execute(self, requests: list[Any]) -> list[Any]:
        """All prompts of all requests at once; a request with a refused prompt gets that as its error."""
        asks: list[Ask] = []
        sizes: list[int] = []
        for request in requests:
            prompts, adapters, limits = (self._values(request, name) for name in ("PROMPT", "ADAPTER", "MAX_TOKENS"))
            sizes.append(len(prompts))
            chats = self._values(request, "CHAT") or [False] * len(prompts)
            for prompt, adapter, limit, turn in zip(prompts, adapters, limits, chats, strict=True):
                asks.append(Ask(prompt.decode("utf-8", "replace"), adapter.decode("utf-8", "replace"), int(limit), bool(turn)))
        outcomes = iter(self.engine.answer(asks))
        return [self._response(list(itertools.islice(outcomes, size))) for size in sizes]

    def _values(self, request: Any, name: str) -> list[Any]:
        tensor = self.pb.get_input_tensor_by_name(request, name)
        return [] if tensor is None else list(tensor.as_numpy().reshape(-1))

    def _response(self, outcomes: list[Completion | Refused]) -> Any:
        refusal = next((outcome for outcome in outcomes if isinstance(outcome, Refused)), None)
        if refusal is not None:
            return self.pb.InferenceResponse(error=self.pb.TritonError(str(refusal)))
        done = [outcome for outcome in outcomes if isinstance(outcome, Completion)]
        columns = {
            "TEXT": numpy.array([one.text.encode() for one in done], dtype=numpy.object_),
            "TOKENS_IN": numpy.array([one.tokens_in for one in done], dtype=numpy.int32),
            "TOKENS_OUT": numpy.array([one.tokens_out for one in done], dtype=numpy.int32),
            "CONFIDENCE": numpy.array([one.confidence for one in done], dtype=numpy.float32),
        }
        return self.pb.InferenceResponse([self.pb.Tensor(name, column.reshape(-1, 1)) for name, column in columns.items()])
