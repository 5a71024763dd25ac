"""Identifiers in questions: gone before anything looks, told back to the caller alone. Presidio is real, in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pipelines.config import Privacy, Settings
from pipelines.errors import MaskingFailed
from pipelines.masking import direct
from pipelines.serving import identifiers
from pipelines.serving.identifiers import Identifiers

PUBLIC = Privacy(profile="public")
PRIVATE = Privacy(profile="safe_harbor")


@pytest.fixture
async def masking(settings: Settings) -> AsyncIterator[Identifiers]:
    made = Identifiers(settings)
    yield made
    made.close()


async def test_a_public_question_loses_contact_details_and_the_caller_gets_them_back(masking: Identifiers) -> None:
    asked = "Send the notice to ann@example.org or call 415-555-0132; again: ann@example.org"
    masked = await masking.mask(asked, PUBLIC)
    assert masked.text == "Send the notice to [CONTACT-1] or call [CONTACT-2]; again: [CONTACT-1]"
    assert masked.restored(masked.text) == asked
    assert masked.restored("nothing to restore") == "nothing to restore"


@pytest.mark.parametrize("question", ["What is the threshold amount in 2014?", "Is $53,500 exempt under 1013.2(e)(1)?", "", "é" * 50])
async def test_a_question_without_them_stays_as_it_is(masking: Identifiers, question: str) -> None:
    masked = await masking.mask(question, PUBLIC)
    assert (masked.text, masked.marks) == (question, ())


def test_more_than_nine_contacts_are_told_apart() -> None:
    asked = " ".join(f"a{number}@example.org" for number in range(12))
    masked = identifiers._contacts(asked)
    assert "example" not in masked.text
    assert masked.restored(masked.text) == asked


@pytest.mark.parametrize(
    "text",
    [
        "ann@example.org",
        "123-45-6789",
        "(415) 555-0132",
        "+44 20 7946 0958",
        "DE89 3704 0044 0532 0130 00",
        "4111 1111 1111 1111",
        "+1 (1) 2 3 4",
    ],
)
def test_the_quick_look_misses_nothing_that_the_pattern_finds(text: str) -> None:
    assert direct._DIRECT.search(text)
    assert direct.spans(f"see {text} please") != []


@pytest.mark.slow
async def test_a_private_question_loses_every_identifier(masking: Identifiers) -> None:
    asked = "Did Margaret Thornbury (MRN 4471230, born 3 May 1951, m.thornbury@example.org) get 20 mg? Ask Margaret Thornbury."
    masked = await masking.mask(asked, PRIVATE)
    for word in ("Margaret", "Thornbury", "4471230", "1951", "example.org"):
        assert word not in masked.text
    assert "20 mg" in masked.text
    assert masked.text.count("[NAME-1]") == 2
    restored = masked.restored(masked.text)
    assert restored.count("Margaret Thornbury") == 2 and "m.thornbury@example.org" in restored


@pytest.mark.slow
async def test_a_masking_process_that_dies_blocks_its_question_and_the_next_one_gets_another(masking: Identifiers) -> None:
    await masking.mask("How is Jonathan Whitcombe?", PRIVATE)
    assert masking._pool is not None
    for process in list(masking._pool._processes.values()):
        process.kill()
    with pytest.raises(MaskingFailed) as caught:
        await masking.mask("How is Jonathan Whitcombe?", PRIVATE)
    assert "Whitcombe" not in str(caught.value)
    assert "Whitcombe" not in (await masking.mask("How is Jonathan Whitcombe?", PRIVATE)).text


async def test_a_question_that_takes_too_long_is_not_let_through(masking: Identifiers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identifiers, "BUILD_SECONDS", 0.001)
    with pytest.raises(MaskingFailed, match="too long"):
        await masking.mask("How is Jonathan Whitcombe?", PRIVATE)
    await asyncio.sleep(0)
