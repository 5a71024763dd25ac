"""A prompt and its answer as token ids: bare, or as a user's turn and the assistant's of the tokenizer's own chat template.

Training and the serving engine both call this file, so a model is asked as it was taught. It stands alone (standard library only): the
engine runs where the rest of the project is not installed, with a copy of it.

The template is rendered once around two sentinels and cut at them. What it wrote itself is tokenised with its special tokens, what goes
between without: a delivered document cannot end its turn, whatever it spells. Contents go in without white space at their ends, so that
a template which trims and one which does not are the same. A chat template is Jinja from a model's folder: transformers renders it in
its sandbox, and nothing else evaluates it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_OFF = "set base.chat_template: false"
_FIXED = {"enable_thinking": False, "date_string": "26 Jul 2024", "strftime_now": None}
"""The same for ever. Llama's templates take this date for today's; one that asks for today itself finds no function, and fails."""


class Unfit(ValueError):
    """Why this tokenizer's chat template cannot be used, and what to do."""

    def __init__(self, what: str, todo: str = f"{_OFF}, or put a chat_template.jinja of your own beside the tokenizer") -> None:
        super().__init__(what)
        self.what, self.todo = what, todo


@dataclass(frozen=True, slots=True)
class Turns:
    """What a chat template puts around a user's text and an answer. `sha256` is over all of it: what an adapter learned to answer in."""

    before: tuple[int, ...]
    middle: tuple[int, ...]
    """From the end of the user's text to the end of the generation prompt."""
    lead: str
    """Blanks that the template writes before an answer."""
    end: int
    """The token that ends an answer."""
    sha256: str


def turns(tokenizer: Any) -> Turns:
    """The frames of the tokenizer's chat template. Unfit when it has none, or one that a prompt cannot be put into safely."""
    if not tokenizer.chat_template:
        raise Unfit("the tokenizer has no chat template", f"{_OFF}, or put chat_template.jinja beside it")
    cut = _cut(tokenizer, "one")
    if cut != _cut(tokenizer, "another"):
        raise Unfit("the chat template renders by what it is given, not always the same around it")
    before, middle, lead, after = cut
    starts, asks, ends = (_ids(tokenizer, [text], split=False)[0] for text in (before, middle, after))
    if not any(_closed(tokenizer, token) for token in asks):
        raise Unfit("the chat template ends a user's turn with ordinary text, which a delivered document could spell out")
    end = next((token for token in ends if _closed(tokenizer, token)), tokenizer.eos_token_id)
    if end is None:
        raise Unfit("neither the chat template nor the tokenizer ends an answer", "set eos_token in its tokenizer_config.json")
    digest = hashlib.sha256(json.dumps([starts, asks, lead, end]).encode()).hexdigest()
    return Turns(tuple(starts), tuple(asks), lead, end, digest)


def prompts(tokenizer: Any, texts: Sequence[str], within: Turns | None) -> list[list[int]]:
    """What the model is given to continue. Bare, a text follows the tokenizer's beginning of sequence; a template writes its own."""
    if within is not None:
        return [[*within.before, *ids, *within.middle] for ids in _ids(tokenizer, [text.strip() for text in texts])]
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return [[*begin, *ids] for ids in _ids(tokenizer, texts)]


def answers(tokenizer: Any, texts: Sequence[str], within: Turns | None) -> list[list[int]]:
    """What the model is to say, its end included."""
    if within is not None:
        return [[*ids, within.end] for ids in _ids(tokenizer, [within.lead + text.strip() for text in texts])]
    return [[*ids, tokenizer.eos_token_id] for ids in _ids(tokenizer, texts)]


def _ids(tokenizer: Any, texts: Sequence[str], split: bool = True) -> list[list[int]]:
    """Without what a tokenizer adds by itself. `split`: a special token that is spelt out is ordinary text."""
    given = {"add_special_tokens": False, "split_special_tokens": split, "return_attention_mask": False}
    return list(tokenizer(list(texts), **given)["input_ids"]) if texts else []


def _closed(tokenizer: Any, token: int) -> bool:
    """Whether no content can become this token."""
    added = tokenizer.added_tokens_decoder.get(token)
    return added is not None and bool(added.special) and token not in _ids(tokenizer, [added.content])[0]


# --- rendering ----------------------------------------------------------------------------------------------------------


def _cut(tokenizer: Any, mark: str) -> tuple[str, str, str, str]:
    """(before, middle, lead, after) of one user turn and its answer."""
    # With what a template may alter: capitals, white space, line breaks, marks of HTML and JSON, letters beyond ASCII.
    asked, said = (f"Ratchet  {who} {mark}\n<{who}> & \"§\" 'É' {{{{ {who} }}}}" for who in ("ASKS", "Says"))
    user, assistant = {"role": "user", "content": asked}, {"role": "assistant", "content": said}
    whole, prompt = _render(tokenizer, [user, assistant], False), _render(tokenizer, [user], True)
    before, middle, after = _around(whole, asked, said)
    start, generation = _around(prompt, asked)
    if not generation.strip():
        raise Unfit("the chat template has no generation prompt: nothing stands between a user's text and the answer")
    lead = middle.removeprefix(generation)
    if start != before or not middle.startswith(generation):
        raise Unfit("the chat template asks in one way and shows an answered question in another")
    if lead.strip(" "):
        raise Unfit(f"the chat template's generation prompt does not lead up to the answer: {lead!r} is missing")
    return before, generation, lead, after


def _around(rendered: str, *contents: str) -> list[str]:
    """The pieces before, between and after the contents."""
    pieces, rest = [], rendered
    for content in contents:
        if rendered.count(content) != 1:
            raise Unfit("the chat template alters, drops or repeats what it is given")
        piece, found, rest = rest.partition(content)
        if not found:
            raise Unfit("the chat template shows an answer before its question")
        pieces.append(piece)
    return [*pieces, rest]


def _render(tokenizer: Any, messages: list[dict[str, str]], ask: bool) -> str:
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask, **_FIXED))
    except Exception as error:  # a template may raise anything
        why = " ".join(str(error).split())[:200] or type(error).__name__
        if "NoneType' object is not callable" in why:
            why = "it asks for today's date, and a prompt must be the same tomorrow"
        raise Unfit(f"the chat template does not render a user's turn and an answer: {why}") from error
