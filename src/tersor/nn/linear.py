"""Layers whose weights are integers, or indices into a codebook: what `quantize_` and `convert_` make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..quantize import CodebookArray, QuantizedArray
from ._ops import grid_ends  # and the operators are registered

__all__ = ["QuantizedConv1d", "QuantizedConv2d", "QuantizedEmbedding", "QuantizedLayer", "QuantizedLinear"]

_PARTS = ("values", "indices", "codebook", "scale", "zero_point")


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Return `x`, exactly, its gradient being multiplied by a factor."""
    scaled = x * factor
    return scaled - scaled.detach() + x.detach()


def round_to_grid(
    x: Tensor, step: Tensor, zero_point: Tensor | None, bits: int, gradient_scale: float = 1.0
) -> Tensor:
    """Replace each element by what its integer stands for.

    `step` and `zero_point` have the same shape; elements that share one are neighbours. What is within the
    grid has the gradient that comes in. The gradient of `step` is that of LSQ, times `gradient_scale`.
    """
    least, most = grid_ends(zero_point, bits)
    step = scale_gradient(step, gradient_scale).unsqueeze(-1)
    zero = torch.zeros_like(step) if zero_point is None else zero_point.unsqueeze(-1).to(step)
    ratio = torch.clamp(x.reshape(*step.shape[:-1], -1).to(step) / step, least - zero, most - zero)
    rounded = ratio + (ratio.round() - ratio).detach()
    return (rounded * step).reshape(x.shape).to(x)


class QuantizedLayer(nn.Module):
    """What layers with a quantized weight have in common.

    The weight is held as a matrix, a row for each output or entry, in buffers that keep their types when the
    model is cast: `values`, `scale` and `zero_point`, or `indices`, `codebook` and `scale`.
    """

    weight_shape: tuple[int, ...]
    bits: int | None  # of an integer; None: there is a codebook
    axis: int | None
    group_size: int | None
    input_bits: int | None  # of activations; None: they are not rounded
    values: Tensor
    indices: Tensor
    codebook: Tensor
    scale: Tensor | None
    zero_point: Tensor | None
    input_scale: Tensor
    input_zero_point: Tensor | None
    like: Tensor  # nothing, in the type that floats have: that of the model, whatever it is cast to

    def hold(self, weight: QuantizedArray | CodebookArray, parts: dict[str, Tensor]) -> None:
        """Take a quantized weight, whose arrays are given as tensors, in place of the floats."""
        floats = cast(Tensor, self._parameters.pop("weight"))
        self.weight_shape = tuple(floats.shape)
        self.register_buffer("like", floats.detach().new_empty(0), persistent=False)
        self.bits = weight.bits if isinstance(weight, QuantizedArray) else None
        self.axis, self.group_size = weight.axis, weight.group_size
        for name in _PARTS:
            if name in parts or name in ("scale", "zero_point"):
                self.register_buffer(name, parts.get(name))
        self.input_bits = None

    def round_inputs(self, scale: Tensor, zero_point: Tensor | None, bits: int) -> None:
        """Round activations to integers of so many bits from now on."""
        self.register_buffer("input_scale", scale)
        self.register_buffer("input_zero_point", zero_point)
        self.input_bits = bits

    @property
    def weight(self) -> Tensor:
        """Floats that the integers or indices stand for, made anew each time."""
        return self._floats(self.like.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of the quantized weight."""
        return sum(part.nbytes for part in self.parts().values())

    def parts(self) -> dict[str, Tensor]:
        """The tensors that the quantized weight consists of."""
        parts = {name: self._buffers.get(name) for name in _PARTS}
        return {name: part for name, part in parts.items() if part is not None}

    def array(self) -> QuantizedArray | CodebookArray:
        """The quantized weight, a matrix; on the CPU it shares the layer's memory."""
        parts: dict[str, Any] = {name: part.cpu().numpy() for name, part in self.parts().items()}
        matrix = (self.weight_shape[0], torch.Size(self.weight_shape[1:]).numel())
        cut: dict[str, Any] = {"axis": self.axis, "group_size": self.group_size, "framework": "torch"}
        if self.bits is not None:
            return QuantizedArray(**parts, bits=self.bits, shape=matrix, **cut)
        return CodebookArray(**parts, shape=matrix, **cut)

    def _floats(self, dtype: torch.dtype) -> Tensor:
        matrix = [self.weight_shape[0], torch.Size(self.weight_shape[1:]).numel()]
        return self._rows(matrix, dtype, lambda part: part).reshape(self.weight_shape)

    def _rows(self, shape: list[int], dtype: torch.dtype, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Make floats of some rows: `choose` takes them from what has rows."""

        def of_rows(part: Tensor | None) -> Tensor | None:
            return part if part is None or part.ndim == 0 else choose(part)

        cut = self.axis, self.group_size
        if self.bits is not None:
            integers = choose(self.values), of_rows(self.scale), of_rows(self.zero_point), self.bits
            return cast(Tensor, torch.ops.tersor.dequantize(*integers, shape, *cut, dtype))
        codebook = self.codebook
        if len(codebook) > 1:  # as many as groups
            n_rows = self.weight_shape[0]
            codebook = choose(codebook.reshape(n_rows, -1, codebook.shape[1])).reshape(-1, codebook.shape[1])
        indices = choose(self.indices), codebook, of_rows(self.scale)
        return cast(Tensor, torch.ops.tersor.decode(*indices, shape, *cut, dtype))

    def _inputs(self, x: Tensor) -> Tensor:
        if self.input_bits is None:
            return x
        return round_to_grid(x, self.input_scale, self.input_zero_point, self.input_bits)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        before = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, part in self._buffers.items():
            kept = before[name]
            if part is not None and kept is not None and name != "like" and part.dtype != kept.dtype:
                self._buffers[name] = kept.to(part.device)
        return self

    def extra_repr(self) -> str:
        """Describe the layer, and how its weight is held."""
        how = f"bits={self.bits}" if self.bits is not None else f"levels={self.codebook.shape[1]}"
        how += "" if self.group_size is None else f", group_size={self.group_size}"
        how += "" if self.input_bits is None else f", input_bits={self.input_bits}"
        return f"{super().extra_repr()}, {how}"


class QuantizedLinear(QuantizedLayer, nn.Linear):  # type: ignore[override]
    """A linear layer that multiplies with integers as they are.

    Made by `quantize_` and `convert_`. `weight` gives the floats that the integers stand for.

    Notes
    -----
    For few rows of activations, or any number a kernel likes, products are summed up as integers, the
    activations being rounded to 16 bits in blocks of 256 or less. Otherwise a few rows of the weight at a
    time become floats. Codebooks always do.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Multiply with the weight and add the bias."""
        return cast(Tensor, self._product(x))

    def _product(self, x: Tensor) -> Any:
        if self.input_bits is not None and self._has_signed_bytes():
            grid = self.input_scale, self.input_zero_point, self.input_bits
            return torch.ops.tersor.integer_linear(x, *grid, self.values, self.scale, self.bias)
        x = self._inputs(x)
        rest = self.bias, self.in_features
        cut = self.axis, self.group_size
        if self.bits is None:
            return torch.ops.tersor.decode_linear(x, self.indices, self.codebook, self.scale, *rest, *cut)
        integers = self.values, self.scale, self.zero_point
        return torch.ops.tersor.linear(x, *integers, *rest, self.bits, *cut)

    def _has_signed_bytes(self) -> bool:
        """Whether PyTorch's own product of integers takes the weights, sums fitting into 32 bits."""
        is_bytes = self.bits is not None and self.bits > 4 and self.zero_point is None
        return is_bytes and self.group_size is None and self.in_features <= 1 << 16


class _QuantizedConv(QuantizedLayer):
    """Convolutions make floats of their weights, which are small, each time."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the weight and add the bias."""
        layer = cast(nn.Conv2d, self)  # or another
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        return cast(Tensor, layer._conv_forward(self._inputs(x), self._floats(x.dtype), bias))


class QuantizedConv1d(_QuantizedConv, nn.Conv1d):  # type: ignore[override]
    """A convolution over sequences whose weight is held as integers; made by `quantize_` and `convert_`."""


class QuantizedConv2d(_QuantizedConv, nn.Conv2d):  # type: ignore[override]
    """A convolution over images whose weight is held as integers; made by `quantize_` and `convert_`."""


class QuantizedEmbedding(QuantizedLayer, nn.Embedding):  # type: ignore[override]
    """A table of vectors held as integers; made by `quantize_` and `convert_`."""

    def forward(self, input: Tensor) -> Tensor:
        """Look up vectors; only these become floats."""
        ids = input.reshape(-1)
        shape = [ids.shape[0], self.embedding_dim]
        rows = self._rows(shape, self.like.dtype, lambda part: part.index_select(0, ids))
        return rows.reshape(*input.shape, self.embedding_dim)
