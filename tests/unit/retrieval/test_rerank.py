from __future__ import annotations

from pathlib import Path

import pytest
from domains import domain

from pipelines.corpus.documents import Document, document
from pipelines.errors import BadInput, ConfigError, NotFound
from pipelines.retrieval.index import Index, build
from pipelines.retrieval.rerank import Reranker

pytestmark = pytest.mark.slow

TEXTS = ["The late fee is $25.", "Records are kept for two years.", "The gate opens at nine.", "A balloon payment is allowed."]


def documents() -> list[Document]:
    return [document(key=f"k{n}", title="", text=text, valid_from="2011-01-01", arrival_id="a") for n, text in enumerate(TEXTS)]


def cross_encoder(folder: Path, *, labels: int = 1, head: bool = True) -> Path:
    """A tiny BERT drawn at random, with a tokenizer of the words in TEXTS."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

    words = sorted({word for text in TEXTS for word, _ in BertPreTokenizer().pre_tokenize_str(text)})
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    torch.manual_seed(7)
    shape = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, num_labels=labels, initializer_range=1.0,
    )  # fmt: skip
    (BertForSequenceClassification if head else BertModel)(shape).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
    return folder


def test_the_logits_decide_the_order(tmp_path: Path) -> None:
    cross = str(cross_encoder(tmp_path / "cross"))
    facts = build(documents(), domain(reranker=cross), tmp_path / "index", tmp_path / "cache")
    question = "What is the late fee?"
    logits = dict(zip(TEXTS, Reranker(cross).scores(question, TEXTS), strict=True))
    found = Index(tmp_path / "index").search(question, as_of="2020-01-01", k=4)
    assert [(hit.text, hit.score) for hit in found] == [
        (text, pytest.approx(logits[text], abs=1e-4)) for text in sorted(TEXTS, key=lambda text: -logits[text])
    ]
    assert len(set(logits.values())) == 4
    plain = tmp_path / "plain"
    build(documents(), domain(), plain, tmp_path / "cache")
    assert [hit.text for hit in Index(plain).search(question, as_of="2020-01-01", k=4)] != [hit.text for hit in found]
    assert facts["reranker"] == cross and len(facts["reranker_sha256"]) == 64


def test_only_the_best_candidates_are_read(tmp_path: Path) -> None:
    """With one candidate of each search there is nothing to reorder but these."""
    cross = str(cross_encoder(tmp_path / "cross"))
    build(documents(), domain(reranker=cross, candidates=1), tmp_path / "index", tmp_path / "cache")
    assert [hit.key for hit in Index(tmp_path / "index").search("What is the late fee?", as_of="2020-01-01", k=1)] == ["k0"]


def test_altered_weights_are_refused_when_the_index_is_opened(tmp_path: Path) -> None:
    cross = cross_encoder(tmp_path / "cross")
    build(documents(), domain(reranker=str(cross)), tmp_path / "index", tmp_path / "cache")
    weights = cross / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(BadInput, match="other weights of the reranker"):
        Index(tmp_path / "index")


def test_models_that_are_no_cross_encoder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no reranker 'nobody/nothing'"):
        build(documents(), domain(reranker="nobody/nothing"), tmp_path / "index", tmp_path / "cache")
    with pytest.raises(ConfigError, match="not a cross-encoder"):
        Reranker(str(cross_encoder(tmp_path / "two", labels=2)))
    with pytest.raises(ConfigError, match="not a cross-encoder"):
        Reranker(str(cross_encoder(tmp_path / "headless", head=False)))
    pickled = cross_encoder(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(NotFound, match="no reranker"):
        Reranker(str(pickled))
