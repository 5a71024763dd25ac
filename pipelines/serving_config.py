"""What a domain file may say about answering: confidence, guards, cache, routing, streaming, the engine.

Gateways read it anew when the file changes, apart from what the candidate's policy froze: a guard is tightened without a release.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.strict import Share, Strict

Action = Literal["off", "report", "refuse"]
"""`report`: the request goes on and the traffic log says what was found. `refuse`: it does not."""


class Guards(Strict):
    """What is looked for in questions, in retrieved passages and in answers. Each threshold is of a score in [0, 1]; see docs/guards.md."""

    report_only: bool = Field(False, description="every `refuse` below is a `report`: for a first week of watching")
    injection: Action = "refuse"
    injection_threshold: Share = 0.5
    toxicity: Action = "report"
    documents: Action = Field("refuse", description="a retrieved passage that gives the model orders is withheld from it")
    identifiers: Action = Field("refuse", description="direct identifiers, and surrogates of people, in an answer")
    canaries: Action = Field("refuse", description="secrets planted in the training data, in an answer")
    numbers: Action = Field("refuse", description="numbers in an answer that neither its passages nor the question hold")
    toxic_answers: Action = "refuse"
    question_characters: int = Field(2_000, ge=1, le=200_000)
    conversation_characters: int = Field(100_000, ge=1, description="all messages of one request together")

    def action(self, rule: str) -> Action:
        """What a rule's finding leads to."""
        chosen: Action = getattr(self, rule)
        return "report" if self.report_only and chosen == "refuse" else chosen


class CachePolicy(Strict):
    """Answers given again. Never across tenants, roles, releases, prompts or indexes; see docs/cache.md."""

    exact: bool = True
    semantic: bool = Field(False, description="also for a question that means the same")
    similarity: Share = Field(0.97, description="cosine of two questions that counts as the same meaning")
    seconds: float = Field(3_600, gt=0, description="how long an answer is kept")
    entries: int = Field(10_000, ge=1, description="per domain, where no Redis keeps them")


class Provider(Strict):
    """An outside model, reached through MLflow's gateway or any OpenAI-compatible endpoint. It sees masked text only."""

    url: str = Field(pattern=r"^https?://", description="base URL, ending in /v1")
    model: str = Field(min_length=1)
    api_key_env: str | None = Field(None, pattern=r"^[A-Z][A-Z0-9_]*$", description="environment variable that holds the key")
    seconds: float = Field(20.0, gt=0)


class Routing(Strict):
    """Easy questions go to a smaller base first; what it is not sure of, or what does not hold against the passages, goes up."""

    small: str | None = Field(None, min_length=1, description="folder of a smaller base model, or a hub name; none: no routing")
    threshold: Share = Field(0.95, description="confidence from which the smaller base's answer stands: `ratchet route` learns it")
    max_question_words: int = Field(40, ge=1, description="longer questions go up at once")
    provider: Provider | None = Field(None, description="asked where the domain's own engine fails")
    text_may_leave: bool = Field(False, description="whether masked text may go to the provider at all")

    @model_validator(mode="after")
    def _leaving_is_said(self) -> Self:
        if self.provider is not None and not self.text_may_leave:
            raise ValueError("a provider is outside: say text_may_leave: true, or drop it")
        if self.small is not None and "threshold" not in self.model_fields_set:
            raise ValueError("a smaller base needs a threshold of its own: `ratchet route DOMAIN` learns it")
        return self


class VLLM(Strict):
    """Settings of the vLLM engine, by vLLM's own names (`vllm.AsyncEngineArgs`)."""

    dtype: str = "auto"
    gpu_memory_utilization: Share = 0.9
    max_model_len: int | None = Field(None, ge=1)
    max_loras: int = Field(8, ge=1)
    max_lora_rank: int = Field(64, ge=1)
    max_num_seqs: int = Field(64, ge=1)
    enforce_eager: bool = False


class EngineSettings(Strict):
    """How the base is run on Triton. Two domains that share a base share its engine: they must agree."""

    kind: Literal["transformers", "vllm"] = "transformers"
    slots: int = Field(16, ge=1, le=256, description="requests decoded together")
    adapters: int = Field(8, ge=1, le=256, description="adapters resident together; the one used longest ago makes room")
    seconds: float = Field(30.0, gt=0, description="a request's time in the queue, and again in the engine, before it is refused")
    queue: int = Field(256, ge=1, description="requests that may wait")
    vllm: VLLM = VLLM()


class Serving(Strict):
    """How the gateway answers for this domain."""

    min_confidence: Share = Field(
        0.0, description="below it the gateway abstains and shows the passage; frozen into the candidate's policy, so the gate measures it"
    )
    stream: Literal["checked", "live"] = Field(
        "checked",
        description="checked: nothing is sent before the whole answer was checked; live: text goes out as it is written, behind the guards",
    )
    log_questions: bool = Field(True, description="whether masked questions are kept in the traffic log; only where the profile is public")
    audit: Literal["mandatory", "best_effort"] = Field("mandatory", description="mandatory: no answer that could not be logged")
    guards: Guards = Guards()
    cache: CachePolicy = CachePolicy()
    routing: Routing = Routing()
    engine: EngineSettings = EngineSettings()

    @model_validator(mode="after")
    def _a_live_stream_cannot_wait_for_its_record(self) -> Self:
        if self.stream == "live" and self.audit == "mandatory":
            raise ValueError("stream: live sends text before its record is on disk: say audit: best_effort too, or stream: checked")
        return self
