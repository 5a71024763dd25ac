"""The one prompt that training and serving share: a versioned Jinja template, the completion's form, and the reading of answers.

Light on purpose (no torch, no transformers): the gateway imports it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipelines.config import Settings
from pipelines.errors import ConfigError, NotFound
from pipelines.manifest import sha256
from pipelines.retrieval.spans import flatten as flatten

NOT_STATED = "not stated"
"""What the model answers when no passage holds the answer."""

_NAME = re.compile(r"[a-z0-9_]+/v\d+")
_ANSWER = re.compile(r"(?P<answer>\S.*?)\s*\[(?P<cited>[1-9]\d{0,2})\]")
_COMPLETION = "answer [n] | not stated"


@dataclass(frozen=True, slots=True)
class Parsed:
    """What the model said: the span it copied and the passage (1-based) it cites; both None when it abstained or broke the form."""

    answer: str | None
    cited: int | None


@dataclass(frozen=True, slots=True)
class Prompt:
    """A loaded template. `sha256` covers the template and the completion's form: what an adapter was trained to continue."""

    name: str
    sha256: str
    source: str
    """The template as it is written."""
    _template: Template

    @classmethod
    def load(cls, name: str, settings: Settings) -> Prompt:
        """`configs/prompts/<name>.jinja`. NotFound for a name without a file, ConfigError for a template that cannot render."""
        path = settings.configs / "prompts" / f"{name}.jinja"
        if not _NAME.fullmatch(name) or not path.is_file():
            known = sorted(p.relative_to(path.parents[1]).with_suffix("").as_posix() for p in path.parents[1].glob("*/v*.jinja"))
            raise NotFound(f"there is no prompt {name!r}", where="task.prompt", todo=f"known prompts: {', '.join(known) or 'none'}")
        # Sandboxed: a template is configuration, and configuration must not run code.
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
        try:
            source = path.read_text(encoding="utf-8")
            prompt = cls(name, sha256([source, _COMPLETION]), source, environment.from_string(source))
            prompt.render(["a passage"], "a question?")
        except (TemplateError, UnicodeDecodeError) as error:
            raise ConfigError(f"the template does not render: {error}", where=str(path), todo="mend the template") from None
        return prompt

    def render(self, passages: Sequence[str], question: str) -> str:
        """The text the model continues. Every passage and the question become one line each."""
        return self._template.render(passages=[flatten(passage) for passage in passages], question=flatten(question))

    def completion(self, answer: str | None, cited: int | None) -> str:
        """What the model is to say: ` <answer> [<cited>]`, or ` not stated` for an answer of None. End of sequence is the caller's."""
        if answer is None or cited is None:
            return f" {NOT_STATED}"
        return f" {flatten(answer)} [{cited}]"

    def parse(self, generated: str) -> Parsed:
        """The inverse of `completion`, and strict: one line that ends in `[n]`. Whatever else the model says is no answer."""
        match = _ANSWER.fullmatch(generated.strip())
        return Parsed(match["answer"], int(match["cited"])) if match else Parsed(None, None)
