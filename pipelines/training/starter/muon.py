"""Muon: momentum whose update is made nearly orthogonal by a Newton-Schulz iteration.

Source: Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024),
https://kellerjordan.github.io/posts/muon/ , with the quintic coefficients given there. For the hidden matrices only:
embeddings and norms go to AdamW.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Bring the singular values of each matrix near 1. Shape: (n, rows, columns), same out."""
    a, b, c = COEFFICIENTS
    tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon:
    """Muon over matrices, with Nesterov momentum; matrices of one shape are orthogonalised in one batch."""

    def __init__(self, matrices: Iterable[Tensor], momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        self.momentum = momentum
        self.weight_decay = weight_decay
        self._groups: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for matrix in matrices:
            self._groups[matrix.shape].append(matrix)
        self._buffers = {shape: torch.zeros(len(group), *shape) for shape, group in self._groups.items()}

    def step(self, lr: float) -> None:
        """One update from the gradients in place, which are then dropped."""
        with torch.no_grad():
            self._update(lr)

    def _update(self, lr: float) -> None:
        for shape, group in self._groups.items():
            gradients = torch.stack([matrix.grad for matrix in group if matrix.grad is not None])
            buffer = self._buffers[shape]
            buffer.lerp_(gradients, 1 - self.momentum)
            update = orthogonalise(gradients.lerp_(buffer, self.momentum))
            # The scale keeps the update's RMS alike for tall and wide matrices.
            scale = lr * max(1.0, shape[0] / shape[1]) ** 0.5
            for matrix, change in zip(group, update, strict=True):
                matrix.mul_(1 - lr * self.weight_decay).sub_(change, alpha=scale)
                matrix.grad = None
