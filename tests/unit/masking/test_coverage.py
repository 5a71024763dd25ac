"""The gate on what the masker finds, the labelled set behind it, and the report."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from pipelines.config import Privacy, Settings
from pipelines.errors import MaskingFailed
from pipelines.masking import coverage, labelled
from pipelines.masking.mask import Masker
from pipelines.masking.recogniser import templates
from pipelines.masking.report import Tally, report
from pipelines.masking.score import Score
from pipelines.masking.vault import Vault


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    folder = tmp_path_factory.mktemp("vault")
    return Vault(folder / "v.db", folder / "v.key")


def test_the_installed_masker_passes_and_the_result_is_kept(settings: Settings, vault: Vault) -> None:
    masker = Masker("safe_harbor", vault)
    found = coverage.require(settings, masker)
    assert set(found) == labelled.kinds(masker.privacy) and min(found.values()) >= 0.95
    (kept,) = (settings.var / "masking").glob("coverage-*.json")
    kept.write_text(json.dumps({"NAME": 0.5}))
    with pytest.raises(MaskingFailed, match=r"NAME 0\.500; 0\.9 is asked for"):
        coverage.require(settings, masker)


def test_a_masker_that_finds_less_is_blocked(settings: Settings, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Masker, "spans", lambda self, text: [])
    with pytest.raises(MaskingFailed, match="too little"):
        Masker.open(settings, "safe_harbor")


def test_a_public_domain_is_asked_for_what_it_masks(settings: Settings) -> None:
    assert labelled.kinds(Privacy(profile="public")) == {"EMAIL", "PHONE", "SSN", "CARD"}
    assert "NAME" in labelled.kinds(Privacy(profile="public", also=("NAME", "CASE")))
    Masker.open(settings, "public")


def test_the_labelled_set_shares_no_sentence_with_the_training_text() -> None:
    seen = {labelled._SLOT.sub("", line) for line in templates.POSITIVE}
    assert not seen & {labelled._SLOT.sub("", line) for line in labelled._SENTENCES.splitlines() if line.strip()}
    first = list(itertools.islice(labelled.examples(1), 50))
    assert first == list(itertools.islice(labelled.examples(1), 50))
    assert all(one.text[a:b].strip() for one in first for a, b, _ in one.spans)


def test_a_score_counts_characters() -> None:
    counted = Score()
    counted.add([(0, 10, "NAME"), (20, 30, "CARD")], [(0, 9, "NAME"), (20, 30, "ACCOUNT"), (40, 44, "NAME")])
    assert counted.recall() == {"NAME": 1.0, "CARD": 1.0} and counted.precision() == {"ACCOUNT": 0.0, "NAME": 0.5}


def test_the_report_holds_counts_and_no_values(vault: Vault) -> None:
    masker = Masker("safe_harbor", vault)
    texts = [("Dr. Vole saw Ana Quist on March 3, 2014; mail a.b@example.org.", ("Ana Quist",)), ("The knee is better.", ())]
    tally = Tally()
    for one in masker.mask_all(texts):
        tally.add(one)
    made = report(masker, tally, {"NAME": 0.99})
    assert (made["texts"], made["texts_changed"], made["profile"]) == (2, 1, "safe_harbor")
    assert made["kinds"]["EMAIL"] == {"total": 1, "by": {"patterns": 1}} and made["kinds"]["SUBJECT"]["by"] == {"subjects": 1}
    assert made["recogniser"]["name"] == "ratchet-minilm" and len(made["recogniser"]["sha256"]) == 64
    text = json.dumps(made)
    assert not [word for word in ("Vole", "Quist", "example", "March") if word in text]


def test_another_model_is_named_in_the_domain_file(tmp_path: Path, vault: Vault) -> None:
    import transformers

    from pipelines.masking.recogniser.base import encoder_folder

    labels = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC"}
    config = transformers.BertConfig(
        vocab_size=30522, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, id2label=labels
    )
    model = transformers.BertForTokenClassification(config)
    model.classifier.bias.data[1] = 9.0
    model.save_pretrained(tmp_path / "ner")
    transformers.PreTrainedTokenizerFast(tokenizer_file=str(encoder_folder() / "tokenizer.json"), pad_token="[PAD]").save_pretrained(
        tmp_path / "ner"
    )
    masker = Masker(Privacy(profile="public", also=("NAME",), recogniser=str(tmp_path / "ner")), vault)
    assert masker.mask("somebody somewhere").text == "[NAME]"
    with pytest.raises(MaskingFailed, match="cannot be loaded"):
        Masker(Privacy(profile="public", also=("NAME",), recogniser=str(tmp_path / "none")), vault)
