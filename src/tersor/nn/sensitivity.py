"""How much each layer of a network bears to lose."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ._select import check_share, prunable_layers, unwrap, without_lowest

__all__ = ["Sensitivity", "sensitivity_scan"]


@dataclass(frozen=True)
class Sensitivity:
    """What a network is worth with one layer pruned, for each layer and share.

    Attributes
    ----------
    dense : float
        Its worth as it is.
    curves : dict of str to dict of float to float
        Of each layer, its worth for each share that was tried.
    sizes : dict of str to int
        Number of each layer's weights.
    """

    dense: float
    curves: dict[str, dict[float, float]]
    sizes: dict[str, int]

    def share(self, layer: str, loss: float) -> float:
        """Share of a layer's weights that can go for a loss, read off its curve, straight between points."""
        before, worth = 0.0, 0.0
        for sparsity, value in sorted(self.curves[layer].items()):
            lost = max(self.dense - value, worth)  # a curve that rises again was luck
            if lost > loss:
                return before + (sparsity - before) * (loss - worth) / (lost - worth)
            before, worth = sparsity, lost
        return before

    def targets(self, sparsity: float) -> dict[str, float]:
        """Find shares of the layers, each at the same loss, that together are `sparsity`.

        Parameters
        ----------
        sparsity : float
            Share of all weights of these layers.

        Returns
        -------
        dict of str to float
            For the `scope` of a `DynamicPruner` or the `sparsity` of `prune_oneshot_`.

        Raises
        ------
        ValueError
            If it is more than the largest shares that were tried make together.
        """
        check_share("sparsity", sparsity)
        total = sum(self.sizes.values())

        def found(loss: float) -> float:
            return sum(self.share(name, loss) * size for name, size in self.sizes.items()) / total

        low, high = 0.0, max(self.dense - value for curve in self.curves.values() for value in curve.values())
        high = max(high, 0.0)
        if found(high) < sparsity:
            raise ValueError(f"sparsity: {sparsity} is more than {found(high):.4f}, the most that was tried")
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if found(middle) >= sparsity else (middle, high)
        # Where layers lose nothing at first, more than was asked for comes for free.
        surplus = sparsity / found(high) if found(high) else 0.0
        return {name: self.share(name, high) * surplus for name in self.sizes}


@torch.no_grad()
def sensitivity_scan(
    model: nn.Module,
    evaluate: Callable[[nn.Module], float],
    *,
    sparsities: Sequence[float] = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98),
    exclude: Collection[str] = (),
) -> Sensitivity:
    """Prune one layer at a time by magnitude, and see what that does to a trained network.

    Parameters
    ----------
    model : torch.nn.Module
        Unchanged afterwards.
    evaluate : callable
        Tells the worth of the model: the more the better, such as its accuracy on data that are set aside
        for this.
    sparsities : sequence of float
        Shares of a layer's weights to try.
    exclude : collection of str
        Names of layers to leave alone.

    Returns
    -------
    Sensitivity

    Examples
    --------
    >>> import torch, tersor.nn
    >>> model = torch.nn.Sequential(torch.nn.Linear(20, 20), torch.nn.Linear(20, 2))
    >>> x = torch.randn(100, 20)
    >>> y = model(x)
    >>> scan = tersor.nn.sensitivity_scan(model, lambda model: -float((model(x) - y).square().mean()))
    >>> targets = scan.targets(0.6)
    >>> round(400 * targets["0"] + 40 * targets["1"])
    264
    """
    for sparsity in sparsities:
        check_share("sparsities", sparsity)
    layers = dict(prunable_layers(unwrap(model), lambda name: name not in exclude))
    if not layers or not sparsities:
        raise ValueError("there are no layers, or no sparsities, to try")
    dense = evaluate(model)
    curves: dict[str, dict[float, float]] = {}
    for name, layer in layers.items():
        saved = layer.weight.clone()
        score = saved.abs().float().cpu()
        curves[name] = {}
        try:
            for sparsity in sparsities:
                (kept,) = without_lowest([score], round(sparsity * score.numel()))
                layer.weight.copy_(saved * kept.to(saved.device))
                curves[name][sparsity] = evaluate(model)
        finally:
            layer.weight.copy_(saved)
    return Sensitivity(dense, curves, {name: layer.weight.numel() for name, layer in layers.items()})
