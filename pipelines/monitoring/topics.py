"""What is asked about: the sections of the documents that answers cite, and how far one mix of them is from another."""

# ruff: noqa: S608 -- no part of a query comes from outside: names and expressions are this module's, numbers are numbers.

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.monitoring.panes import Plan
from pipelines.monitoring.source import Source

if TYPE_CHECKING:
    from pipelines.monitoring.windows import Window

DOCUMENT = "coalesce(cited, sources[1])"
"""The document that an answer rests on: the one it cites, or else the first that was found."""
TOPIC = "^[0-9]+-[^-]+"
"""The section in a document's key, `1013-2` of `1013-2-b-3`. Keys of private domains are random: they have no topic."""


def counted(source: Source, records: str, made: Plan) -> dict[tuple[str, int], dict[str, int]]:
    """Answers by topic, by group and number of the window. `records`: SQL of records with `grp`, `pane` and `ok`."""
    inner = (
        f"SELECT grp, pane, regexp_extract({DOCUMENT}, '{TOPIC}') AS topic, count(*) AS n FROM {records} "
        f"WHERE ok AND regexp_matches({DOCUMENT}, '{TOPIC}') GROUP BY ALL"
    )
    first = f"greatest((pane - {made.width} + {made.step}) // {made.step}, 0)"
    query = (
        f"SELECT grp, number, topic, cast(sum(n) AS BIGINT) AS n FROM "
        f"(SELECT grp, topic, n, unnest(range({first}, least(pane // {made.step}, {made.count - 1}) + 1)) AS number FROM ({inner})) "
        "GROUP BY ALL ORDER BY ALL"
    )
    table = source.arrow(query)
    found: dict[tuple[str, int], dict[str, int]] = {}
    for group, number, topic, n in zip(*(table.column(name).to_pylist() for name in ("grp", "number", "topic", "n")), strict=True):
        found.setdefault((group, number), {})[topic] = n
    return found


def pooled(windows: Iterable[Window]) -> dict[str, int]:
    """Answers by topic of all these windows together: a reference, where they do not overlap."""
    found: dict[str, int] = {}
    for window in windows:
        for topic, n in window.topics.items():
            found[topic] = found.get(topic, 0) + n
    return found


def distance(topics: Mapping[str, int], reference: Mapping[str, int]) -> float | None:
    """Jensen-Shannon distance of two mixes, base 2: 0 the same, 1 nothing in common. None where one of them is empty.

    Lin, "Divergence measures based on the Shannon entropy" (IEEE Transactions on Information Theory 37, 1991); its square root is a metric.
    """
    from scipy.spatial.distance import jensenshannon  # type: ignore[import-untyped]

    names = sorted(topics.keys() | reference.keys())
    mine, other = ([mix.get(name, 0) for name in names] for mix in (topics, reference))
    if not sum(mine) or not sum(other):
        return None
    found = float(jensenshannon(mine, other, base=2))
    return found if found == found else 0.0  # rounding below zero, of mixes that are the same


def with_distance(windows: Sequence[Window], reference: Mapping[str, int]) -> list[Window]:
    """The same windows, with "topic_distance" from a reference."""
    return [replace(one, values=one.values | {"topic_distance": distance(one.topics, reference)}) for one in windows]
