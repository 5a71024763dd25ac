"""Several examples in one sequence: which go together, and the tensors as the worker reads them."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.training.tokens import Tokens

IGNORED = -100
"""Label of a token that is not learned."""
_AT_ONCE = 256
"""Sequences in memory at a time while they are written."""


def pack(lengths: Sequence[int], room: int, seed: int) -> list[list[int]]:
    """Groups of places in `lengths` that add up to at most `room` each: longest first into the first group that has room (first-fit
    decreasing, at most 11/9 of the fewest groups possible), then the groups in random order.

    Equal lengths are placed together: a group with space s takes s // length of them before the next one gets any, which is what one
    by one would do. So the work is one pass over the groups per different length, not per example.
    """
    import numpy as np

    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    group_of = np.empty(len(sizes), dtype=np.int64)
    left = np.empty(0, dtype=np.int64)
    ends = np.flatnonzero(np.diff(sizes[order])) + 1
    for places in np.split(order, ends) if len(sizes) else []:
        length, count = int(sizes[places[0]]), len(places)
        fits = np.cumsum(left // length)
        taken = np.diff(np.minimum(fits, count), prepend=0)
        if (over := count - int(taken.sum())) > 0:
            each = room // length
            fresh = np.full(-(-over // each), each, dtype=np.int64)
            fresh[-1] = over - each * (len(fresh) - 1)
            taken = np.concatenate([taken, fresh])
            left = np.concatenate([left, np.full(len(fresh), room, dtype=np.int64)])
        group_of[places] = np.repeat(np.arange(len(left)), taken)
        left = left - taken * length
    members = order[np.argsort(group_of[order], kind="stable")]
    groups = [part.tolist() for part in np.split(members, np.cumsum(np.bincount(group_of))[:-1])] if len(sizes) else []
    random.Random(seed).shuffle(groups)  # noqa: S311 - repeatable, not secret
    return groups


def write(path: Path, groups: Sequence[Sequence[str]], tokens: Tokens, *, room: int, limit: int, pad: int) -> None:
    """A safetensors file of `input_ids`, `labels` and `position_ids`, int32, [groups, room] each, written some rows at a time.

    Position ids restart at 0 with each example. The padding at the end counts as one more text of its own, within the base's context of
    `limit` tokens.
    """
    import numpy as np

    names = ("input_ids", "labels", "position_ids")
    size = 4 * len(groups) * room
    about = {
        name: {"dtype": "I32", "shape": [len(groups), room], "data_offsets": [place * size, (place + 1) * size]}
        for place, name in enumerate(names)
    }
    head = json.dumps(about, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    counting = np.arange(max(room, limit), dtype=np.int32)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        data = file.tell()
        for first in range(0, len(groups), _AT_ONCE):
            some = groups[first : first + _AT_ONCE]
            ids = np.full((len(some), room), pad, dtype=np.int32)
            labels, positions = np.full_like(ids, IGNORED), np.empty_like(ids)
            for row, group in enumerate(some):
                start = 0
                for name in group:
                    text, given = tokens.of(name), tokens.given(name)
                    end = start + len(text)
                    ids[row, start:end] = text
                    labels[row, start + given : end] = text[given:]
                    positions[row, start:end] = counting[: len(text)]
                    start = end
                positions[row, start:] = counting[: room - start] % limit
            for place, part in enumerate((ids, labels, positions)):
                file.seek(data + place * size + first * room * 4)
                file.write(part.tobytes())
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
