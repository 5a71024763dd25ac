"""The traffic log's light masker."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipelines.masking import direct


@pytest.mark.parametrize(
    "value",
    [
        "a.b@example.org",
        "123-45-6789",
        "512-555-0142",
        "(512) 555-0142",
        "+44 20 7946 0958",
        "4111 1111 1111 1111",
        "DE89 3704 0044 0532 0130 00",
    ],
)
def test_contact_details_and_numbers_are_removed(value: str) -> None:
    assert direct.mask(f"Is {value} known?") == "Is <removed> known?"


@pytest.mark.parametrize("text", ["What is the threshold in 2014?", "Is $53,500 exempt under 1013.2(e)?", "12 CFR 1013, 76 FR 78500"])
def test_questions_about_the_law_stay(text: str) -> None:
    assert direct.mask(text) == text


def test_it_loads_nothing_heavy() -> None:
    code = (
        "import sys; from pipelines.masking import direct; assert not {'presidio_analyzer', 'spacy', 'torch', 'numpy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
