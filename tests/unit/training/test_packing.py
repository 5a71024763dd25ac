from __future__ import annotations

import random
from pathlib import Path

from pipelines.training import packing, tokens


def first_fit(lengths: list[int], room: int, seed: int) -> list[list[int]]:
    """One by one, as the words say it: the slow way."""
    groups: list[list[int]] = []
    left: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda one: -lengths[one]):
        index = next((i for i, space in enumerate(left) if space >= lengths[place]), None)
        if index is None:
            groups.append([])
            left.append(room)
            index = len(groups) - 1
        groups[index].append(place)
        left[index] -= lengths[place]
    random.Random(seed).shuffle(groups)  # noqa: S311
    return groups


def test_the_quick_way_packs_as_one_by_one_does() -> None:
    rng = random.Random(1)  # noqa: S311
    for room in (8, 64, 300):
        for count in (0, 1, 7, 400):
            lengths = [rng.choice((rng.randint(1, room), rng.randint(1, max(1, room // 8)), room)) for _ in range(count)]
            assert packing.pack(lengths, room, count) == first_fit(lengths, room, count)


def test_the_file_is_what_safetensors_writes(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    held = tokens.Tokens()
    held.add(tokens.table(["a", "b", "c"], [([5, 6, 7], 2), ([8, 9], 1), ([4, 4, 4, 4], 3)]))
    packing.write(tmp_path / "f", [["a", "b"], ["c"]] * 300, held, room=6, limit=4, pad=0)
    found = load_file(tmp_path / "f")
    assert found["input_ids"][:2].tolist() == [[5, 6, 7, 8, 9, 0], [4, 4, 4, 4, 0, 0]]
    assert found["labels"][:2].tolist() == [[-100, -100, 7, -100, 9, -100], [-100, -100, -100, 4, -100, -100]]
    assert found["position_ids"][:2].tolist() == [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 0, 1]]
    assert (found["input_ids"][598:] == found["input_ids"][:2]).all()
    save_file(found, tmp_path / "g")
    assert (tmp_path / "f").read_bytes() == (tmp_path / "g").read_bytes()
