"""Calls to a judge: one OpenAI-compatible endpoint, one budget, and what went wrong with an answer, in words.

Does not know what is asked; see judge_metrics.py.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urlsplit

from pipelines.errors import ConfigError
from pipelines.gate_config import Judge

SETTINGS = {"temperature": 0.0, "top_p": 1.0, "seed": 7, "max_tokens": 2048}
"""Of every call. A judge must not draw lots; `max_tokens` holds the verdicts on some thirty statements with their reasons."""

_TRIES = 3
_FRAME_TOKENS = 64
"""At most what a chat template writes around two messages."""


class CallFailed(Exception):
    """The judge gave no answer of use. `what` completes "the judge ..."; neither it nor `detail` holds a case's text or the key."""

    def __init__(self, what: str, detail: str = "", *, again: bool = False, wait: float = 0.0) -> None:
        self.what, self.detail, self.again, self.wait = what, detail, again, wait
        super().__init__(what)


class Stop(CallFailed):
    """The same would come of every further call, or it must not be made."""


def refused(judge: Judge) -> ConfigError | None:
    """Why nothing may be sent, or None. Text leaves the host only encrypted, and a budget must be one."""
    parts = urlsplit(judge.url)
    where = "gate.judge.url"
    if parts.username or parts.password or parts.query or parts.fragment:
        return ConfigError("holds more than an address", where=where, todo="put the key into an environment variable, see api_key_env")
    if not parts.hostname:
        return ConfigError("names no host", where=where, todo="write it as https://host/v1")
    if parts.scheme != "https" and not local(judge.url):
        return ConfigError(f"would send text unencrypted to {parts.hostname}", where=where, todo="use https, or a judge on this host")
    if judge.max_cost is not None and not judge.price_in and not judge.price_out:
        return ConfigError("bounds nothing without prices", where="gate.judge.max_cost", todo="set price_in and price_out")
    return None


def local(url: str) -> bool:
    """Whether the address is of this host itself."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Calls:
    """Calls to one judge within its budget, from one event loop, and what they took.

    The budget is hard: a call is sent only when the most it can cost still fits, beside those under way. That is a token for each byte of
    the prompt (byte-level tokenizers make no more) and all of `max_tokens`. A call whose usage never came back is charged so.
    """

    def __init__(self, judge: Judge, key: str | None) -> None:
        import instructor
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        # They log prompts and answers, and what an endpoint says about a key.
        for name in ("instructor", "openai", "httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.calls = self.retried = self.unmetered = self.tokens_in = self.tokens_out = 0
        self.cost = 0.0
        self.served: set[str] = set()
        """The model's name, as the answers give it."""
        self._held = 0.0
        self._judge = judge
        self._hidden: Callable[[str], str] = lambda text: text.replace(key, "***") if key else text
        # No redirects: they could lead text elsewhere. No proxy to this very host. The time limit is set around the whole call.
        http = DefaultAsyncHttpxClient(follow_redirects=False, trust_env=not local(judge.url), timeout=None)
        # Without a key of the judge's own, openai would send the one that lies in OPENAI_API_KEY.
        self._client = AsyncOpenAI(base_url=judge.url, api_key=key or "none", max_retries=0, timeout=None, http_client=http)
        self._client.organization = self._client.project = None
        self._create: Any = instructor.patch(create=self._send, mode=instructor.Mode.JSON)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def ask(self, prompt: str, shape: type[Any], flaw: Callable[[Any], str]) -> Any:
        """An instance of `shape`, a pydantic model, without a `flaw`. Tried three times where another try may help; CallFailed, or Stop."""
        for tried in range(1, _TRIES + 1):
            try:
                made = await self._once(prompt, shape)
                if wrong := flaw(made):
                    raise CallFailed(wrong, again=True)
                return made
            except CallFailed as failed:
                if not failed.again or tried == _TRIES:
                    raise
                await asyncio.sleep(min(failed.wait * tried, self._judge.timeout_seconds))
                self.retried += 1
        raise AssertionError("the last try returns or raises")

    async def _once(self, prompt: str, shape: type[Any]) -> Any:
        from instructor.core import IncompleteOutputException, InstructorRetryException

        messages = [{"role": "user", "content": prompt}]
        try:
            return await self._create(response_model=shape, messages=messages, max_retries=0, model=self._judge.model, **SETTINGS)
        except IncompleteOutputException:
            raise CallFailed(f"was cut off after {SETTINGS['max_tokens']} tokens", again=True) from None
        except InstructorRetryException as error:
            if isinstance(error.__cause__, CallFailed):
                raise error.__cause__ from None
            raise CallFailed("wrote something else than the JSON asked for", again=True) from None

    async def _send(self, **request: Any) -> Any:
        """One call, its budget and its time. A `ChatCompletion` with text in it, or CallFailed."""
        from openai import APIConnectionError, APIStatusError

        most = sum(len(str(message["content"]).encode()) for message in request["messages"]) + _FRAME_TOKENS, request["max_tokens"]
        held = self._reserve(*most)
        used: tuple[int, int] | None = None
        try:
            async with asyncio.timeout(self._judge.timeout_seconds):
                completion = await self._client.chat.completions.create(**request)
            used = _usage(completion)
            self._name(completion)
            return _with_text(completion)
        except CallFailed:
            raise
        except TimeoutError:
            raise CallFailed(f"did not answer within {self._judge.timeout_seconds:g} s", again=True) from None
        except APIStatusError as error:
            used = 0, 0
            raise self._status(error) from None
        except APIConnectionError as error:
            kind = type(error.__cause__).__name__
            if "Connect" in kind:
                used = 0, 0
                raise CallFailed(f"cannot be reached at {self._judge.url}", kind) from None
            raise CallFailed("broke off its answer", kind, again=True) from None
        except Exception as error:
            raise CallFailed("answered something that is no chat completion", type(error).__name__, again=True) from None
        finally:
            self._held -= held
            self._charge(used, most)

    def _reserve(self, tokens_in: int, tokens_out: int) -> float:
        judge = self._judge
        if self.calls >= judge.max_calls:
            raise Stop(f"has used up its budget of {judge.max_calls:,} calls")
        cost = self._price(tokens_in, tokens_out)
        if judge.max_cost is not None and self.cost + self._held + cost > judge.max_cost:
            raise Stop(f"has used up its budget: {self.cost:.4g} of {judge.max_cost:g}, and the next call could cost {cost:.2g}")
        self.calls += 1
        self._held += cost
        return cost

    def _charge(self, used: tuple[int, int] | None, most: tuple[int, int]) -> None:
        self.unmetered += used is None
        self.tokens_in, self.tokens_out = (had + new for had, new in zip((self.tokens_in, self.tokens_out), used or (0, 0), strict=True))
        self.cost += self._price(*(used or most))

    def _price(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self._judge.price_in + tokens_out * self._judge.price_out) / 1e6

    def _name(self, completion: Any) -> None:
        name = getattr(completion, "model", None)
        if isinstance(name, str) and name:
            self.served.add(self._hidden(name)[:100])

    def _status(self, error: Any) -> CallFailed:
        code = int(error.status_code)
        detail = self._hidden(" ".join(str(error.message).split()))[:200]
        if code in (401, 403):
            # Not a word of what it says: some endpoints repeat the key, or parts of it.
            return Stop(f"refuses the key (HTTP {code})")
        if code == 404:
            return Stop(f"does not know the model {self._judge.model!r}, or {self._judge.url} is not its address (HTTP 404)", detail)
        if code < 400:
            return Stop(f"wants to be asked at another address (HTTP {code})")
        again = code in (408, 429) or code >= 500
        return CallFailed(f"answered HTTP {code}", detail, again=again, wait=_retry_after(error.response.headers.get("retry-after")))


def _retry_after(header: str | None) -> float:
    """Seconds; 1 where it gives none, or a date."""
    try:
        return max(0.0, float(header)) if header is not None else 1.0
    except ValueError:
        return 1.0


def _usage(completion: Any) -> tuple[int, int] | None:
    """Tokens of prompt and answer; None, and taken off the completion, where they are missing or no counts."""
    usage = getattr(completion, "usage", None)
    tokens_in, tokens_out = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    if type(tokens_in) is int and type(tokens_out) is int and tokens_in > 0 and tokens_out >= 0:
        return tokens_in, tokens_out
    if usage is not None:
        completion.usage = None
    return None


def _with_text(completion: Any) -> Any:
    try:
        choice = completion.choices[0]
        refusal, text = choice.message.refusal, choice.message.content
    except (AttributeError, IndexError, KeyError, TypeError):
        raise CallFailed("answered something that is no chat completion", again=True) from None
    if refusal or choice.finish_reason == "content_filter":
        raise CallFailed("refused to judge")
    if not isinstance(text, str) or not text.strip():
        raise CallFailed("gave an empty answer", again=True)
    return completion
