"""What a checkpoint holds of a rank: the weights that learn, the optimiser's own parameters (under ZeRO this rank's share), its moments."""

from __future__ import annotations

from typing import Any


def groups(trained: dict[str, Any], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; vectors (norms, biases, DoRA's magnitudes) do not."""
    matrices = [parameter for parameter in trained.values() if parameter.ndim > 1]
    vectors = [parameter for parameter in trained.values() if parameter.ndim <= 1]
    kinds = ((matrices, weight_decay), (vectors, 0.0))
    return [{"params": parameters, "weight_decay": decay} for parameters, decay in kinds if parameters]


def take(trained: dict[str, Any], optimizer: Any) -> dict[str, Any]:
    """Copies on the CPU."""
    inner = _torch_optimizer(optimizer)
    tensors = {f"weight/{name}": _own(parameter) for name, parameter in trained.items()}
    for index, parameter in enumerate(_parameters(optimizer)):
        tensors[f"own/{index}"] = parameter
        tensors |= {f"state/{index}/{name}": value for name, value in inner.state[parameter].items()}
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def restore(tensors: dict[str, Any], trained: dict[str, Any], optimizer: Any) -> None:
    """The inverse of `take`."""
    import torch

    inner = _torch_optimizer(optimizer)
    with torch.no_grad():
        for name, parameter in trained.items():
            _own(parameter).copy_(tensors[f"weight/{name}"])
        for index, parameter in enumerate(_parameters(optimizer)):
            parameter.data.copy_(tensors[f"own/{index}"])
            prefix = f"state/{index}/"
            saved = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            # Adam counts its steps on the CPU wherever the moments live.
            inner.state[parameter] = {
                name: value.clone() if name == "step" else value.to(parameter.device, copy=True) for name, value in saved.items()
            }
    # ZeRO-3 keeps small weights whole on every rank; these copies must follow the shares that were just restored.
    persistent = getattr(optimizer, "persistent_parameters", None)
    if persistent:
        persistent[0].partition(persistent)
        persistent[0].all_gather(persistent)


def _own(parameter: Any) -> Any:
    """The whole parameter, or under ZeRO-3 this rank's share of it."""
    return getattr(parameter, "ds_tensor", parameter.data)


def _torch_optimizer(optimizer: Any) -> Any:
    return getattr(optimizer, "optimizer", optimizer)


def _parameters(optimizer: Any) -> list[Any]:
    """What PyTorch's optimiser steps. ZeRO-3 lends it one share at a time, and leaves its groups empty between steps."""
    shares: list[Any] | None = getattr(optimizer, "fp32_partitioned_groups_flat", None)
    if shares is not None:
        return shares
    return [parameter for group in _torch_optimizer(optimizer).param_groups for parameter in group["params"]]
