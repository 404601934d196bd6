"""Choice of the lowest scores among several tensors, and what layers there are to prune."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

PRUNABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def smallest(scores: Sequence[Tensor], n: int) -> list[Tensor]:
    """Mark the n lowest of all scores, none of which is negative; of equal ones those that come first."""
    if n <= 0:
        return [torch.zeros_like(s, dtype=torch.bool) for s in scores]
    flat = torch.cat([s.flatten() for s in scores])
    threshold = flat.kthvalue(n).values
    marks = [s < threshold for s in scores]
    ties = n - sum(int(m.sum()) for m in marks)
    for mark, s in zip(marks, scores, strict=True):
        if ties:
            equal = (s == threshold).flatten().nonzero().flatten()[:ties]
            mark.view(-1)[equal] = True
            ties -= len(equal)
    return marks


def unwrap(model: nn.Module) -> nn.Module:
    """Find the module that `torch.compile` and `DistributedDataParallel` wrap."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def prunable_layers(
    model: nn.Module, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[tuple[str, nn.Module]]:
    """Name the layers whose weights can be pruned: each weight once, none that is frozen.

    Raises
    ------
    ValueError
        If a weight is computed from others, as `torch.nn.utils.parametrize` and `prune` do.
    """
    seen = set()
    for name, module in model.named_modules():
        if not isinstance(module, PRUNABLE) or not wanted(name):
            continue
        weight = module.weight
        if not isinstance(weight, nn.Parameter):
            raise ValueError(
                f"the weight of {name!r} is computed from others: make it a plain parameter first"
            )
        if weight.requires_grad and weight not in seen:
            seen.add(weight)
            yield name, module


def n_inputs(layer: nn.Module) -> int:
    """Count the inputs that an output of a layer reads, or the channels of them."""
    return int(getattr(layer, "weight").shape[1])  # noqa: B009 - a module's attributes have no types
