"""A base model and its tokenizer: loading, prompts to token ids, token ids to text, and where an answer ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import torch

from pipelines.serving.engine.work import Ask, Refused
from pipelines.training import chat

SMALL_BASE = 64 * 2**20
"""Bytes of weights below which one thread computes: handing a tiny model's operations from thread to thread takes longer than the work."""


class Words:
    """A tokenizer as an engine needs it. A fast tokenizer must not be called from two threads at once, so each call takes a lock."""

    def __init__(self, tokenizer: Any, context: int, ends: Sequence[int], *, stop: bool = True) -> None:
        self.tokenizer, self.context = tokenizer, context
        self._lock = threading.Lock()
        self.turns: chat.Turns | chat.Unfit = _turns(tokenizer)
        self.stops = _stops(tokenizer, ends, self.turns) if stop else frozenset()
        known = (tokenizer.pad_token_id, tokenizer.eos_token_id, *sorted(self.stops), 0)
        self.pad = int(next(number for number in known if number is not None))

    def encode(self, ask: Ask) -> list[int]:
        """Token ids as in training. Special tokens spelt out in a passage stay ordinary text. Refused: too long, a senseless limit."""
        if not 1 <= ask.max_tokens < self.context:
            raise Refused(f"prompt: MAX_TOKENS must be from 1 to {self.context - 1}")
        within = self._within(ask)
        with self._lock:
            [ids] = chat.prompts(self.tokenizer, [ask.prompt], within)
        room = self.context - ask.max_tokens
        if not ids or len(ids) > room:
            raise Refused(f"prompt: {len(ids)} tokens, and there is room for 1 to {room}")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Without special tokens. A character whose bytes are not all there shows as U+FFFD."""
        with self._lock:
            return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def require_taught(self, ask: Ask, taught: str | None) -> None:
        """Refused when the adapter would be asked in another way than it was trained. `taught`: the hash of the turns, or None."""
        within = self._within(ask)
        if taught != (within.sha256 if within is not None else None):
            raise Refused(f"adapter: {ask.adapter} was trained {'without this' if ask.chat else 'with a'} chat template")

    def _within(self, ask: Ask) -> chat.Turns | None:
        if not ask.chat:
            return None
        if isinstance(self.turns, chat.Unfit):
            raise Refused(f"engine: {self.turns}")
        return self.turns


class Pieces:
    """Text as it grows. A byte-level token may end within a character: what could still change is held back."""

    def __init__(self, words: Words) -> None:
        self._words, self._sent = words, ""

    def next(self, ids: Sequence[int], last: bool = False) -> str:
        """What is new and final in the text of all ids so far."""
        text = self._words.decode(ids)
        if not last:
            text = text.rstrip("\ufffd")
        if not text.startswith(self._sent):
            return ""
        fresh, self._sent = text[len(self._sent) :], text
        return fresh


class Base:
    """The model on its device, with its tokenizer. Raises whatever transformers raises when it cannot be loaded."""

    def __init__(self, folder: str, *, threads: int = 0, stop: bool = True, model: Any = None, tokenizer: Any = None) -> None:
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
        from transformers import AutoModelForCausalLM, AutoTokenizer

        gpu = torch.cuda.is_available()
        if model is None:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if gpu else torch.float32)
        self.model: Any = model.to("cuda" if gpu else "cpu").eval().requires_grad_(False)
        self.small = sum(parameter.nbytes for parameter in self.model.parameters()) < SMALL_BASE
        torch.set_num_threads(threads or (1 if self.small else len(os.sched_getaffinity(0))))
        ends = self.model.generation_config.eos_token_id
        self.words = Words(
            AutoTokenizer.from_pretrained(folder) if tokenizer is None else tokenizer,
            int(getattr(self.model.config, "max_position_embeddings", 0) or 2048),
            ends if isinstance(ends, list) else [ends],
            stop=stop,
        )


def _turns(tokenizer: Any) -> chat.Turns | chat.Unfit:
    try:
        return chat.turns(tokenizer)
    except chat.Unfit as unfit:
        return unfit


def _stops(tokenizer: Any, ends: Sequence[int | None], turns: chat.Turns | chat.Unfit) -> frozenset[int]:
    """Token ids that end an answer: end of sequence, end of turn, and every token with a line break in it."""
    stops = {*ends, tokenizer.eos_token_id}
    if isinstance(turns, chat.Turns):
        stops.add(turns.end)
    for piece, number in tokenizer.get_vocab().items():
        if "\n" in piece or "Ċ" in piece or piece == "<0x0A>":
            stops.add(number)
    return frozenset(stop for stop in stops if stop is not None)
