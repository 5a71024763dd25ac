"""What an engine is asked and what it answers: the two shapes, how they go to Triton, and what its errors mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.config import Settings, TritonInstance
from pipelines.errors import BadInput, RatchetError, Unavailable


class EngineCrashed(Unavailable):
    """The engine's process is gone while Triton still calls it ready; `mend` brings it back."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt. `chat`: as a turn of the base's chat template. `adapter_sha256`: `manifest.sha256_folder` of the adapter as it was
    registered; empty: its files are not compared."""

    prompt: str
    adapter: str = ""
    max_tokens: int = 48
    chat: bool = False
    adapter_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Generated:
    """What the engine continued a prompt with. `confidence` is exp of the mean log-probability of its tokens, in [0, 1]; `min_logprob`
    the least sure token's, at most 0."""

    text: str
    tokens_in: int
    tokens_out: int
    confidence: float
    min_logprob: float = 0.0


def address(settings: Settings, instance: TritonInstance | None = None) -> TritonInstance:
    """The instance, or this site's own."""
    if instance is not None:
        return instance
    return TritonInstance(http=settings.url("triton_http").removeprefix("http://"), grpc=settings.url("triton_grpc"))


def translate(error: Exception, where: str) -> RatchetError:
    """What went wrong in our words. Never quotes a prompt: the engine's messages do not hold one."""
    from tritonclient.utils import InferenceServerException

    if isinstance(error, RatchetError):
        return error
    if isinstance(error, InferenceServerException) and error.message():
        return from_message(str(error.message()), where)
    kind = "is too slow" if isinstance(error, TimeoutError) else "does not answer"
    return Unavailable(f"Triton {kind}", where=where, todo="see `ratchet status` and the log of Triton")


def from_message(said: str, where: str) -> RatchetError:
    """The error that a message of Triton or of the engine stands for."""
    message = " ".join(said.split())
    if "is not healthy" in message or "Stub process" in message:
        return EngineCrashed("the engine's process is gone", where=where, todo="unload and load it")
    kinds: tuple[tuple[str, type[RatchetError]], ...] = (
        ("prompt: ", BadInput), ("adapter: ", RatchetError), ("timeout: ", Unavailable), ("engine: ", Unavailable),
        ("cancelled: ", Unavailable),
    )  # fmt: skip
    for kind, make in kinds:
        if kind in message:
            return make(message.split(kind, 1)[1].rstrip("'\""), where="the engine")
    if "maximum queue size" in message.lower() or "request timeout expired" in message.lower():
        return Unavailable("the engine is busy: too many requests wait", where=where, todo="ask again later")
    if "connect" in message.lower() or "refused" in message.lower():
        return Unavailable("Triton does not answer", where=where, todo="see `ratchet status` and the log of Triton")
    return Unavailable(f"Triton said: {message[:300]}", where=where, todo="see the log of Triton")


def fields(ask: Ask) -> dict[str, Any]:
    """An engine's inputs by name. CHAT and ADAPTER_SHA256 go only where they say something."""
    inputs: dict[str, Any] = {"PROMPT": ask.prompt, "ADAPTER": ask.adapter, "MAX_TOKENS": ask.max_tokens}
    if ask.chat:
        inputs["CHAT"] = True
    if ask.adapter_sha256:
        inputs["ADAPTER_SHA256"] = ask.adapter_sha256
    return inputs


def tensors(inputs: Mapping[str, Any]) -> list[Any]:
    """Each as a tensor [1, 1]."""
    import numpy
    from tritonclient.grpc import InferInput

    tensors = []
    for name, value in inputs.items():
        if isinstance(value, bool):
            datatype, column = "BOOL", numpy.array([[value]])
        elif isinstance(value, int):
            datatype, column = "INT32", numpy.array([[value]], dtype=numpy.int32)
        else:
            datatype, column = "BYTES", numpy.array([[value.encode()]], dtype=numpy.object_)
        one = InferInput(name, [1, 1], datatype)
        one.set_data_from_numpy(column)
        tensors.append(one)
    return tensors
