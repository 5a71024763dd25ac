"""The analyzer's own housekeeping."""

from __future__ import annotations

import pytest

from pipelines.masking import analyzer


def test_words_met_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = analyzer.engine("public")
    monkeypatch.setattr(analyzer, "VOCABULARY", 2_000)

    def known_after(number: int) -> int:
        text = " ".join(f"w{number}x{word}" for word in range(500)) + " 123-45-6789"
        assert [found.entity_type for found in engine.analyze(text, language="en", regex_flags=analyzer.FLAGS)] == ["SSN"]
        return len(engine.nlp_engine.nlp.vocab.strings)

    sizes = [known_after(number) for number in range(8)]
    assert max(sizes) < 2_000 + 1_000, f"4,000 words were met, and so many are kept: {sizes}"
