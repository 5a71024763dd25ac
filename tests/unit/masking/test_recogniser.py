"""The shipped recogniser: what it finds, alone or among others, and that it needs neither torch nor the network."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import MaskingFailed
from pipelines.masking.recogniser import encode, generate, negatives, pools
from pipelines.masking.recogniser.model import FOLDER, Recogniser, recogniser


def _found(text: str) -> list[tuple[str, str]]:
    return [(text[one.start : one.end], one.label) for one in recogniser().find([text])[0]]


def test_it_finds_names_places_organisations_and_addresses() -> None:
    assert _found("Adaeze Okonkwo moved from Tromsø to Portugal.") == [
        ("Adaeze Okonkwo", "NAME"),
        ("Tromsø", "PLACE"),
        ("Portugal", "PLACE"),
    ]
    assert ("adaeze okonkwo", "NAME") in _found("yesterday adaeze okonkwo called me")
    assert ("12 Alder Creek Road", "ADDRESS") in _found("Please send it to 12 Alder Creek Road.")
    assert ("Lindqvist & Sons", "ORG") in _found("She works for Lindqvist & Sons.")


def test_facts_are_no_names() -> None:
    text = "Zelotrin 20 mg was started for Crohn's disease. The CT scan of the chest was normal. Regulation M, Section 1013.2 applies."
    assert [one for one in _found(text) if one[1] == "NAME"] == []


def test_a_text_is_tagged_the_same_alone_and_among_others() -> None:
    texts = ["Ana Quist lives in Bergen.", "No names here.", "Mr. Vole, of 4 Elm Street, called.", "", "  \n", "x " * 50 + "Ana Quist"]
    assert recogniser().find(texts) == [recogniser().find([text])[0] for text in texts]


def test_long_texts_are_read_to_the_end_in_windows_that_overlap() -> None:
    text = "The knee is better and the back is worse. " * 60 + "Thank you, Ana Quist."
    assert _found(text)[-1] == ("Ana Quist", "NAME")
    spans = list(encode.windows(400))
    assert spans[0] == (0, encode.WINDOW) and spans[-1][1] == 400
    assert all(b[0] == a[1] - encode.OVERLAP for a, b in itertools.pairwise(spans))
    assert list(encode.windows(0)) == [(0, 0)]


def test_places_in_the_text_are_exact_for_letters_beyond_ascii() -> None:
    text = "İlker Ünlü — naïve “Zoë” 🙂 Ana Quist"
    assert ("Ana Quist", "NAME") in _found(text)


def test_it_needs_no_learning_framework() -> None:
    code = (
        "import sys; from pipelines.masking.recogniser.model import recogniser as r; r().find(['Ana']); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]


def test_absent_or_foreign_weights_block(tmp_path: Path) -> None:
    with pytest.raises(MaskingFailed, match="missing"):
        Recogniser(tmp_path)
    shutil.copytree(FOLDER, tmp_path / "other")
    facts = json.loads((FOLDER / "config.json").read_text(encoding="utf-8")) | {"encoder_sha256": "0" * 64}
    (tmp_path / "other" / "config.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(MaskingFailed, match="another encoder"):
        Recogniser(tmp_path / "other")


def test_the_shipped_weights_are_small() -> None:
    assert (FOLDER / "model.safetensors").stat().st_size < 8_000_000


def test_generated_text_repeats_and_its_spans_are_what_they_say() -> None:
    source = pools.from_lists()
    first, again = (list(itertools.islice(generate.stream(source, 3), 400)) for _ in range(2))
    assert first == again != list(itertools.islice(generate.stream(source, 4), 400))
    assert {label for one in first for *_, label in one.spans} == set(generate.LABELS)
    for one in first:
        assert all(0 <= start < end <= len(one.text) and one.text[start:end].strip() == one.text[start:end] for start, end, _ in one.spans)


def test_negatives_name_nobody() -> None:
    named = {"name", "first", "last", "upper_name", "last_first", "city", "country", "state", "org", "street", "address", "crossing"}
    assert not [line for line in negatives.NEGATIVE for slot in named if f"{{{slot}}}" in line]
