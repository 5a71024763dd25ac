"""Starts the attention layers as copying layers, so that training need not discover copying first.

From random weights the model spent most of a short run before any look-up worked. Instead the first layer starts with
heads that look one and two tokens back, the second with heads that look for "what came after this token before"
(induction heads: Olsson et al., "In-context Learning and Induction Heads", 2022), and the others match equal content and
pass it on (after Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers", 2023). All of it is trained on.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

EMBEDDING_STD = 0.06
# One embedding dimension starts equal in all tokens: what a head that looks only at distance can read.
CONSTANT = 0.18
LOOK_BACK = (1, 1, 1, 2)
SHARPNESS = 2.2
WRITE = 0.09
NOISE = 0.1
# How strongly the second, third and fourth layer pass on what they find.
COPY = (0.4, 0.1, 0.4)
# Rotary pairs below this index turn too fast to match content over a passage's length.
FAST_PAIRS = 8


def _orthogonal(size: int, generator: torch.Generator) -> Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=generator))[0]


def _slow_rows(matrix: Tensor, width: int) -> Tensor:
    """Quieten the rows of fast rotary pairs. `matrix` is (heads * width, d); a pair is rows i and i + width / 2."""
    pair = torch.arange(matrix.size(0)) % width % (width // 2)
    return matrix * torch.where(pair < FAST_PAIRS, 0.1, 1.0)[:, None]


def initialise(model: LlamaForCausalLM, seed: int) -> None:
    """Set embeddings and attention weights in place; `LOOK_BACK` has one distance per head."""
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    size, heads = config.hidden_size, config.num_attention_heads
    width = size // heads
    angle = config.rope_parameters["rope_theta"] ** (-torch.arange(0, width, 2) / width)
    with torch.no_grad():
        embedding = model.model.embed_tokens.weight
        embedding.copy_(torch.randn(embedding.shape, generator=generator) * EMBEDDING_STD)
        embedding[:, 0] = CONSTANT
        read, write = _orthogonal(size, generator), _orthogonal(size, generator)
        for number, layer in enumerate(model.model.layers):
            attention = layer.self_attn
            layer.mlp.down_proj.weight.mul_(0.3)
            if number == 0:
                query, key = torch.zeros(size, size), torch.zeros(size, size)
                for head, distance in enumerate(LOOK_BACK):
                    for pair in range(FAST_PAIRS):
                        row = head * width + pair
                        query[row, 0] = SHARPNESS
                        # The key is turned by `distance` positions: the score peaks exactly so far back.
                        key[row, 0] = SHARPNESS * torch.cos(angle[pair] * distance)
                        key[row + width // 2, 0] = SHARPNESS * torch.sin(angle[pair] * distance)
                value, output = read, write * WRITE
            else:
                match = read if number == 1 else _orthogonal(size, generator)
                sharpness = SHARPNESS if number == 1 else SHARPNESS / 2
                query = _slow_rows(match, width) * sharpness
                # In the second layer the key is what the first wrote of the token before.
                key = _slow_rows(write.T.clone() if number == 1 else match, width) * sharpness
                value = _orthogonal(size, generator)
                output = value.T * COPY[number - 1]
            for linear, start in (
                (attention.q_proj, query),
                (attention.k_proj, key),
                (attention.v_proj, value),
                (attention.o_proj, output),
            ):
                noise = torch.randn(start.shape, generator=generator) * start.std() * NOISE
                linear.weight.copy_(start + noise)
