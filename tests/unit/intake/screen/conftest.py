"""Text in, findings out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipelines.corpus.documents import document
from pipelines.intake.records import RawRecord
from pipelines.intake.screen.findings import History, Seen, Usage
from pipelines.screen_config import Screen

Look = Callable[..., Seen]


def record(text: str, *, title: str = "", key: str = "k", source: str = "", amends: str | None = None) -> RawRecord:
    return RawRecord(key, title, text, "2014-01-01", source, False, (), f"place of {key}", amends=amends)


@pytest.fixture
def seen() -> Look:
    """`seen(texts, screen values)`: an arrival as the rules see it."""

    def make(records: list[RawRecord] | list[str], history: History = History(), usage: Usage = Usage(), **values: object) -> Seen:
        rows = [one if isinstance(one, RawRecord) else record(one, key=f"k{place}") for place, one in enumerate(records)]
        documents = [
            document(key=one.key, title=one.title, text=one.text, valid_from=one.valid_from, arrival_id="a", source=one.source)
            for one in rows
        ]
        return Seen(rows, documents, Screen.model_validate(values), history, usage)

    return make
