"""Packed attention gives what each example gives alone, forwards and backwards, in every architecture a base may have."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from pipelines.training import attention

SHAPE = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {**SHAPE, "num_key_value_heads": 2}
POSITIONS = [[0, 1, 2, 3, 4, 0, 1, 2, 0, 0], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]


def model(name: str) -> Any:
    import torch
    import transformers

    more = {"Mistral": {"sliding_window": 3}, "Gemma": {"head_dim": 8}}.get(name, {})
    torch.manual_seed(1)
    config = getattr(transformers, f"{name}Config")(**GROUPED, **more)
    return getattr(transformers, f"{name}ForCausalLM")(config).eval()


@pytest.mark.parametrize("name", ["Llama", "Qwen2", "Mistral", "Gemma"])
def test_packed_examples_are_computed_as_if_alone(name: str) -> None:
    import torch

    base = model(name)
    ids, positions = torch.arange(20).reshape(2, 10) + 5, torch.tensor(POSITIONS)
    with torch.no_grad():
        alone = [
            base(input_ids=ids[row : row + 1, a:b], use_cache=False).logits
            for row, marks in enumerate(positions)
            for a, b in pairwise([*(marks == 0).nonzero().flatten().tolist(), 10])
        ]
    masked = base(input_ids=ids, position_ids=positions, use_cache=False).logits
    masked.square().sum().backward()
    wanted = [weight.grad.clone() for weight in base.parameters()]
    base.zero_grad()
    assert attention.use(base)
    packed = base(input_ids=ids, position_ids=positions, use_cache=False).logits
    packed.square().sum().backward()
    assert torch.allclose(packed.detach(), torch.cat([one[0] for one in alone]).reshape(packed.shape), atol=1e-5)
    for weight, gradient in zip(base.parameters(), wanted, strict=True):
        assert torch.allclose(weight.grad, gradient, atol=1e-3, rtol=1e-3)


def test_it_refuses_what_it_would_mix_up() -> None:
    import torch

    base = model("Llama")
    attention.use(base)
    base(input_ids=torch.arange(5)[None], use_cache=False)  # positions count up by themselves: one text
    with pytest.raises(RuntimeError, match="neither mask nor cache"):
        attention.attend(None, torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4), None)


def test_a_model_with_another_attention_keeps_it() -> None:
    from types import SimpleNamespace

    config = SimpleNamespace(attn_logit_softcapping=50.0)
    config.get_text_config = lambda: config
    assert not attention.use(SimpleNamespace(config=config))
