"""Choice of the lowest scores among several tensors, and what layers there are to prune."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from .. import prune

PRUNABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def without_lowest(scores: Sequence[Tensor], n: int) -> list[Tensor]:
    """Mark all but the n lowest of the scores of several tensors; of equal ones the first are kept."""
    sparsity = n / max(sum(score.numel() for score in scores), 1)
    kept: list[Tensor] = prune.mask(list(scores), sparsity, importance=list(scores))
    return kept


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
) -> Iterator[tuple[str, Any]]:
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


def n_inputs(layer: Any) -> int:
    """Count the inputs that an output of a layer reads, or the channels of them."""
    return int(layer.weight.shape[1])


def check_share(name: str, share: float) -> None:
    """Raise `ValueError` unless 0 <= share <= 1."""
    if not 0 <= share <= 1:
        raise ValueError(f"{name}: {share} is not between 0 and 1")


def parse_pattern(structure: str | None) -> tuple[int, int]:
    """Read "n:m", where n of m are kept; without a structure each weight is a group of its own."""
    if structure is None:
        return 1, 1
    n, colon, m = structure.partition(":")
    if not (colon and n.isdecimal() and m.isdecimal() and 0 < int(n) < int(m)):
        raise ValueError(f"structure: {structure!r} is neither 'n:m' with 0 < n < m nor 'channel'")
    return int(n), int(m)
