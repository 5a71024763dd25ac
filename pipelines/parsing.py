"""Files that people write, YAML and JSON lines, into models; every fault in one line that names the key and the nearest right spelling."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pipelines.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], values: object, where: str) -> Model:
    """Validate, turning Pydantic's report into one line per fault with the nearest right key."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [_explain(model, fault["loc"], fault["type"], fault["msg"]) for fault in error.errors()]
        raise ConfigError("; ".join(faults), where=where, todo="mend the file and try again") from None


def _explain(model: type[BaseModel], loc: tuple[int | str, ...], kind: str, message: str) -> str:
    key = ".".join(str(part) for part in loc) or "(file)"
    if kind != "extra_forbidden":
        return f"{key}: {message.removeprefix('Value error, ')}"
    hint = did_you_mean(str(loc[-1]), sorted(_fields_at(model, loc[:-1])))
    return f"unknown key {key!r} {hint}".rstrip().rstrip(";")


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> set[str]:
    """Field names of the (nested) model that `loc` leads to."""
    current: list[type[BaseModel]] = [model]
    for part in loc:
        if isinstance(part, int):
            continue
        found: list[type[BaseModel]] = []
        for candidate in current:
            if part in candidate.model_fields:
                found += _models_in(candidate.model_fields[part].annotation)
            elif part in get_args(getattr(candidate.model_fields.get("kind"), "annotation", None)):
                found.append(candidate)  # of a union, the one whose `kind` was written
        current = found
    return {name for candidate in current for name in candidate.model_fields}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in _models_in(arg)]


def did_you_mean(word: str, known: list[str]) -> str:
    """`did you mean 'x'? `, or nothing where nothing is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}? " if near else ""


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds, or ConfigError."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"not readable as YAML: {line}", where=str(path), todo="mend the file") from None
    if not isinstance(values, dict):
        raise ConfigError("must be a mapping of keys to values", where=str(path), todo="see the other files beside it")
    return values


def read_lines(model: type[Model], path: Path, name: str) -> Iterator[tuple[str, Model]]:
    """The records of a JSON-lines file, each with its place, `name:line`; blank lines are passed over. ConfigError names the line."""
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise ConfigError(f"not JSON: {error.msg}", where=where, todo="mend the line") from None
        yield where, parse(model, values, where)
