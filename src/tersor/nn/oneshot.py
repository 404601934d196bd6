"""Pruning of trained networks from a few batches of data, without training them again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from .. import prune
from ._running import call, evaluated
from ._select import check_share, n_inputs, parse_pattern, prunable_layers, unwrap, without_lowest

__all__ = ["prune_oneshot_"]

METHODS = ("magnitude", "wanda", "sparsegpt")

# Columns between two choices, whose errors the rest of the matrix makes good for at once.
_BLOCK = 128


def prune_oneshot_(
    model: nn.Module,
    sparsity: float | Mapping[str, float],
    *,
    method: str = "sparsegpt",
    calibration: Iterable[Any] | None = None,
    structure: str | None = None,
    sequential: bool = True,
    damping: float = 0.01,
    forward: Callable[[nn.Module, Any], object] | None = None,
) -> dict[str, float]:
    """Prune the linear and convolutional layers of a trained network.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place. Its weights must be plain parameters; frozen ones are left alone.
    sparsity : float or mapping
        Share of the weights of each layer to drop, 0 to 1; a mapping names the layers to prune.
    method : {"sparsegpt", "wanda", "magnitude"}
        What is dropped: "magnitude": the smallest weights w of a layer. "wanda": of each output those whose w
        times the norm of the input x, over all the data, is smallest. "sparsegpt": those of smallest
        w^2 / [H^-1]_jj, with H = X'X, and those that are left make good for each: the best of the three.
    calibration : iterable of batches
        Some hundreds of samples of what the network works on; not needed for "magnitude". Read once, and
        kept.
    structure : str, optional
        "n:m" keeps n of m neighbouring inputs, as "2:4" for sparse tensor cores; layers whose number of
        inputs m does not divide stay dense.
    sequential : bool
        Whether each layer is shown what the pruned layers before it make, which is better, or all are shown
        the dense network's data in one pass.
    damping : float
        Part of the mean of H's diagonal that is added to it; with "sparsegpt".
    forward : callable, optional
        Runs the model on a batch; by default the batch, its parts if it is a tuple or list, or its
        entries by name if it is a mapping, are the arguments.

    Returns
    -------
    dict of str to float
        Share of zeros in each layer that was pruned.

    Raises
    ------
    ValueError
        If an argument makes no sense, there is nothing to prune or no data, or a weight or H is not finite.

    Notes
    -----
    Convolutions are matrices over their patches; grouped ones are several. Transposed ones are left alone.
    Layers that are not called stay dense unless pruned by magnitude, also those whose weights another
    module uses, such as ``out_proj`` of `torch.nn.MultiheadAttention`.

    References
    ----------
    Sun 2023 (Wanda), Frantar & Alistarh 2023 (SparseGPT), Hassibi & Stork 1993 (optimal brain surgeon).

    Examples
    --------
    >>> import torch, tersor.nn
    >>> model = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    >>> data = [torch.randn(32, 16) for _ in range(4)]
    >>> tersor.nn.prune_oneshot_(model, 0.5, calibration=data)
    {'0': 0.5, '2': 0.5}
    """
    model = unwrap(model)
    if method not in METHODS:
        raise ValueError(f"method: {method!r} is not one of {', '.join(METHODS)}")
    if damping < 0:
        raise ValueError(f"damping: {damping} is negative")
    n, m = parse_pattern(structure)
    layers = dict(prunable_layers(model, lambda name: not isinstance(sparsity, Mapping) or name in sparsity))
    if isinstance(sparsity, Mapping) and (unknown := sorted(sparsity.keys() - layers.keys())):
        raise ValueError(f"sparsity: {unknown[0]!r} is no layer to prune")
    shares = dict(sparsity) if isinstance(sparsity, Mapping) else dict.fromkeys(layers, sparsity)
    for name, share in shares.items():
        check_share("sparsity", share)
        if structure is not None and not math.isclose(share, 1 - n / m):
            raise ValueError(f"sparsity: {structure!r} makes it {1 - n / m}, not {share}")
        if not layers[name].weight.isfinite().all():
            raise ValueError(f"{name!r} has weights that are not finite")
    layers = {name: layer for name, layer in layers.items() if n_inputs(layer) % m == 0}
    if not layers:
        raise ValueError("the model has no layer that can be pruned")
    if method == "magnitude":
        grams: Iterable[tuple[str, Tensor | None]] = [(name, None) for name in layers]
    else:
        batches = list(calibration or ())
        if not batches:
            raise ValueError(f"calibration: {method!r} needs data")
        grams = _grams(model, layers, batches, sequential, forward or call)
    with torch.no_grad():
        for name, gram in grams:
            pattern = None if structure is None else (n, m)
            _prune_layer(layers[name], gram, shares[name], pattern, method, damping, name)
    return {name: float((layer.weight == 0).double().mean()) for name, layer in layers.items()}


# ---- What layers are shown ------------------------------------------------------------------------


class _Gram:
    """X'X of all inputs x of a layer, for each of its groups."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.groups = getattr(layer, "groups", 1)
        width = layer.weight[0].numel()
        self.total = torch.zeros(self.groups, width, width, device=layer.weight.device)

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        x = arguments[0].detach().float()
        x = x.reshape(1, -1, x.shape[-1]) if isinstance(module, nn.Linear) else self._patches(x)
        self.total.baddbmm_(x.transpose(1, 2), x)

    def _patches(self, x: Tensor) -> Tensor:
        """Lay out what a convolution multiplies its weights by: groups, places, inputs."""
        layer = self.layer
        n_axes = len(layer.kernel_size)
        if x.ndim == n_axes + 1:
            x = x[None]
        padding = layer._reversed_padding_repeated_twice
        if isinstance(layer.padding, str) or any(layer.padding):
            mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
            x = F.pad(x, padding, mode)
        for axis, (size, stride, dilation) in enumerate(
            zip(layer.kernel_size, layer.stride, layer.dilation, strict=True), 2
        ):
            x = x.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
        # batch, channels, places..., kernel... -> groups, batch and places, channels of the group and kernel
        x = x.unflatten(1, (self.groups, -1)).movedim(1, 0).movedim(2, 2 + n_axes)
        return x.reshape(self.groups, -1, self.total.shape[-1])


def _grams(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    batches: list[Any],
    sequential: bool,
    forward: Callable[[nn.Module, Any], object],
) -> Iterator[tuple[str, Tensor | None]]:
    """Show the layers their inputs, one after another in the order in which the model calls them."""
    order: list[str] = []
    with (
        _hooks({name: lambda *_, name=name: order.append(name) for name in layers}, layers),
        evaluated(model),
    ):
        forward(model, batches[0])
    order = list(dict.fromkeys(order))
    for names in [[name] for name in order] if sequential else [order]:
        grams = {name: _Gram(layers[name]) for name in names}
        with _hooks(grams, layers), evaluated(model):
            for batch in batches:
                forward(model, batch)
        for name in names:
            yield name, grams.pop(name).total


@contextmanager
def _hooks(hooks: Mapping[str, Callable[..., Any]], layers: Mapping[str, nn.Module]) -> Iterator[None]:
    handles = [layers[name].register_forward_pre_hook(hook) for name, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# ---- What is dropped ------------------------------------------------------------------------------


def _prune_layer(
    layer: Any,
    gram: Tensor | None,
    share: float,
    pattern: tuple[int, int] | None,
    method: str,
    damping: float,
    name: str,
) -> None:
    weight = layer.weight
    groups = getattr(layer, "groups", 1)
    if pattern is not None and weight.ndim > 2:
        # The neighbours of a pattern are channels: they come last, and so do their rows and columns of H.
        places = torch.arange(weight[0].numel(), device=weight.device).view(weight.shape[1:])
        order = places.movedim(0, -1).flatten()
    else:
        order = torch.arange(weight[0].numel(), device=weight.device)
    matrices = weight.detach().float().reshape(groups, -1, len(order))[:, :, order]
    if gram is not None:
        if not gram.isfinite().all():
            raise ValueError(f"calibration: {name!r} is shown numbers that are not finite")
        gram = gram[:, order][:, :, order]
    pruned = torch.stack(
        [
            _prune_matrix(matrix, None if gram is None else gram[i], share, pattern, method, damping)
            for i, matrix in enumerate(matrices)
        ]
    )
    restored = torch.empty_like(pruned)
    restored[:, :, order] = pruned
    weight.copy_(restored.view(weight.shape) + 0.0)  # which makes positive zeros of negative ones


def _kept(scores: Tensor, share: float, pattern: tuple[int, int] | None, by_row: bool = False) -> Tensor:
    """Mark what is kept of a matrix of scores."""
    on_cpu = scores.contiguous().cpu()
    kept: Tensor
    if pattern is not None:
        kept = prune.mask(on_cpu, n=pattern[0], m=pattern[1], importance=on_cpu)
    else:
        kept = prune.mask(on_cpu, share, importance=on_cpu, axis=0 if by_row else None)
    return kept.to(scores.device)


def _prune_matrix(
    matrix: Tensor,
    gram: Tensor | None,
    share: float,
    pattern: tuple[int, int] | None,
    method: str,
    damping: float,
) -> Tensor:
    """Prune a matrix of outputs by inputs."""
    if gram is None:
        return matrix * _kept(matrix.abs(), share, pattern)
    if method == "wanda":
        return matrix * _kept(matrix.abs() * gram.diagonal().sqrt(), share, pattern, by_row=True)
    return _optimal_brain_surgeon(matrix, gram, share, pattern, damping)


def _optimal_brain_surgeon(
    matrix: Tensor, gram: Tensor, share: float, pattern: tuple[int, int] | None, damping: float
) -> Tensor:
    """Drop weights column by column; what follows in the row makes good for each.

    With U'U the Cholesky factors of H^-1, U_jj^2 is [H^-1]_jj once the columns before j are fixed, and U_j
    the direction in which the others move.
    """
    matrix = matrix.clone()
    gram = gram.double()
    silent = gram.diagonal() == 0
    # Without any input all count alike.
    gram.diagonal().add_(damping * gram.diagonal().mean() if gram.any() else 1)
    try:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        upper = torch.linalg.cholesky(inverse, upper=True).to(matrix.dtype)
    except RuntimeError:
        raise ValueError(f"damping: the inputs depend on each other, and {damping} is too little") from None
    # Weights of inputs that are always zero cost nothing, whatever the damping says.
    scale = upper.diagonal().masked_fill(silent, math.inf)
    n_drop = round(share * matrix.numel())
    width = matrix.shape[1]
    block = _BLOCK if pattern is None else max(_BLOCK // pattern[1], 1) * pattern[1]
    for begin in range(0, width, block):
        end = min(begin + block, width)
        columns = slice(begin, end)
        part = matrix[:, columns]
        factor = upper[columns, columns]
        kept = torch.ones_like(part, dtype=torch.bool)
        if pattern is None:
            # Of all that is still to come, as it stands now; later blocks choose again.
            (rest,) = without_lowest([(matrix[:, begin:] / scale[begin:]).square().cpu()], n_drop)
            kept = rest[:, : end - begin].to(part.device)
            n_drop -= int((~kept).sum())
        errors = torch.zeros_like(part)
        for j in range(end - begin):
            if pattern is not None and j % pattern[1] == 0:
                group = slice(j, j + pattern[1])
                kept[:, group] = _kept((part[:, group] / scale[columns][group]).square(), share, pattern)
            errors[:, j] = part[:, j] * ~kept[:, j] / factor[j, j]
            part[:, j:] -= errors[:, j : j + 1] * factor[j, j:]
            part[:, j].mul_(kept[:, j])
        matrix[:, end:] -= errors @ upper[columns, end:]
    return matrix
