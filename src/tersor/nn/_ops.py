"""Custom operators of PyTorch for quantized weights, so that `torch.compile` and `torch.export` know them.

Weights are matrices: a row of integers, or of indices into a codebook, for each output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .. import _native
from ..parallel import ordered_map
from ..quantize import CodebookArray, QuantizedArray

# Multiplications below which a second thread costs more than it saves.
_WORK = 1 << 21
# Weights that are made floats at a time, where integers are not multiplied as such: they stay in a cache.
_TILE = 1 << 18
# Most rows of activations, by bits of a weight, for which that is slower.
_ROWS_MAX = {8: 256, 4: 64}

_library = torch.library.Library("tersor", "DEF")
_library.define(
    "dequantize(Tensor values, Tensor scale, Tensor? zero_point, int bits, SymInt[] shape, int? axis,"
    " int? group_size, ScalarType dtype) -> Tensor"
)
_library.define(
    "decode(Tensor indices, Tensor codebook, Tensor? scale, SymInt[] shape, int? axis, int? group_size,"
    " ScalarType dtype) -> Tensor"
)
_library.define(
    "linear(Tensor x, Tensor values, Tensor scale, Tensor? zero_point, Tensor? bias, int n_in, int bits,"
    " int? axis, int? group_size) -> Tensor"
)
_library.define(
    "decode_linear(Tensor x, Tensor indices, Tensor codebook, Tensor? scale, Tensor? bias, int n_in,"
    " int? axis, int? group_size) -> Tensor"
)
_library.define(
    "integer_linear(Tensor x, Tensor input_scale, Tensor? input_zero_point, int input_bits, Tensor values,"
    " Tensor scale, Tensor? bias) -> Tensor"
)


def grid_ends(zero_point: Tensor | None, bits: int) -> tuple[int, int]:
    """Tell the least and the greatest integer."""
    return (0, 2**bits - 1) if zero_point is not None else (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1)


# ---- Floats again ---------------------------------------------------------------------------------


def _dequantize(
    values: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    bits: int,
    shape: list[int],
    axis: int | None,
    group_size: int | None,
    dtype: torch.dtype,
) -> Tensor:
    array = QuantizedArray(
        values, scale, zero_point, bits=bits, shape=tuple(shape), axis=axis, group_size=group_size
    )
    return _floats(array, dtype)


def _decode(
    indices: Tensor,
    codebook: Tensor,
    scale: Tensor | None,
    shape: list[int],
    axis: int | None,
    group_size: int | None,
    dtype: torch.dtype,
) -> Tensor:
    array = CodebookArray(indices, codebook, scale, shape=tuple(shape), axis=axis, group_size=group_size)
    return _floats(array, dtype)


def _floats(array: QuantizedArray | CodebookArray, dtype: torch.dtype) -> Tensor:
    result = torch.empty(array.shape, dtype=dtype)
    array.dequantize(out=result, threads=torch.get_num_threads())
    return result


def _empty_weight(indices: Tensor, *arguments: Any) -> Tensor:
    shape, _, _, dtype = arguments[-4:]
    return indices.new_empty(shape, dtype=dtype)


# ---- Products -------------------------------------------------------------------------------------


def _linear(
    x: Tensor,
    values: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    bias: Tensor | None,
    n_in: int,
    bits: int,
    axis: int | None,
    group_size: int | None,
) -> Tensor:
    rows = _rows(x, n_in)
    n_out, stored_bits = values.shape[0], 8 if bits > 4 else 4
    group = group_size or n_in
    fits = x.dtype != torch.float64 and (group >= n_in or group % _native.LINEAR_GROUP == 0)
    if fits and rows.numel() and len(rows) <= _ROWS_MAX[stored_bits]:
        parameters = _per_row(scale, n_out), _per_row(zero_point, n_out)
        product = _native.LinearProduct(rows.numpy(), _bytes(values), *parameters, stored_bits, group)
        y = _multiply(product, len(rows), n_out, n_in)
    else:

        def tile(part: slice) -> QuantizedArray:
            of_rows = part if scale.ndim else ()
            zeros = None if zero_point is None else zero_point[of_rows]
            shape = (part.stop - part.start, n_in)
            return QuantizedArray(
                values[part], scale[of_rows], zeros, bits=bits, shape=shape, axis=axis, group_size=group_size
            )

        y = _by_tiles(rows, n_out, tile)
    return _finish(y, x, bias)


def _decode_linear(
    x: Tensor,
    indices: Tensor,
    codebook: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
    n_in: int,
    axis: int | None,
    group_size: int | None,
) -> Tensor:
    n_out = indices.shape[0]
    n_books = codebook.shape[0] // n_out  # for each row; one book alone is for all of them

    def tile(part: slice) -> CodebookArray:
        books = codebook if len(codebook) == 1 else codebook[part.start * n_books : part.stop * n_books]
        scales = scale if scale is None or not scale.ndim else scale[part]
        shape = (part.stop - part.start, n_in)
        return CodebookArray(indices[part], books, scales, shape=shape, axis=axis, group_size=group_size)

    return _finish(_by_tiles(_rows(x, n_in), n_out, tile), x, bias)


def _integer_linear(
    x: Tensor,
    input_scale: Tensor,
    input_zero_point: Tensor | None,
    input_bits: int,
    values: Tensor,
    scale: Tensor,
    bias: Tensor | None,
) -> Tensor:
    """Multiply signed integers of a scale for each output with activations that become integers too."""
    rows = _rows(x, values.shape[1])
    least, most = grid_ends(input_zero_point, input_bits)
    # Integers from 0 to 255 are moved to fit into a signed byte.
    zero, moved = (0, 0) if input_zero_point is None else (int(input_zero_point), 128)
    integers = rows.div(input_scale).round_().clamp_(least - zero, most - zero).add_(zero - moved)
    # Moving them adds a multiple of each row's sum of weights, which a row of ones tells.
    ones = torch.ones(1 if moved else 0, rows.shape[1], dtype=torch.int8)
    sums = torch._int_mm(torch.cat([integers.to(torch.int8), ones]), values.T)
    if moved:
        sums = sums[:-1] - sums[-1:] * (zero - moved)
    y = sums.to(rows.dtype).mul_(scale * input_scale)
    return _finish(y.masked_fill_(rows.isnan().any(1, keepdim=True), math.nan), x, bias)


def _rows(x: Tensor, n_in: int) -> Tensor:
    """Lay out activations as rows, in the type to compute with."""
    if x.ndim == 0 or x.shape[-1] != n_in:
        raise ValueError(f"the input has the shape {tuple(x.shape)}: its last axis should be {n_in}")
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.detach().reshape(-1, n_in).to(dtype).contiguous()


def _per_row(parameter: Any, n_out: int) -> Any:
    """Make a row of parameters for each output, whatever shares them."""
    if parameter is None:
        return None
    rows = parameter if parameter.ndim == 2 else parameter.reshape(-1, 1).expand(n_out, 1)
    return rows.contiguous().numpy()


def _bytes(values: Tensor) -> Any:
    return values.contiguous().view(torch.uint8).numpy()


def _multiply(product: _native.LinearProduct, n_rows: int, n_out: int, n_in: int) -> Tensor:
    y = torch.empty(n_rows, n_out)
    out = y.numpy()
    threads = torch.get_num_threads() if n_rows * n_out * n_in >= _WORK else 1

    def run(part: slice) -> None:
        product.multiply(out, part.start, part.stop)

    for _ in ordered_map(run, _parts(n_out, -(-n_out // threads)), threads):
        pass
    return y


def _by_tiles(rows: Tensor, n_out: int, tile: Callable[[slice], QuantizedArray | CodebookArray]) -> Tensor:
    """Make floats of a few rows of weights at a time, and let PyTorch multiply them."""
    y = rows.new_empty(len(rows), n_out)
    for part in _parts(n_out, max(_TILE // max(rows.shape[1], 1), 1)):
        torch.mm(rows, _floats(tile(part), rows.dtype).T, out=y[:, part])
    return y


def _parts(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _finish(y: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
    if bias is not None:
        y += bias.detach()
    return y.to(x.dtype).reshape(*x.shape[:-1], y.shape[-1])


def _empty_product(x: Tensor, values: Tensor, *arguments: Any) -> Tensor:
    return x.new_empty(*x.shape[:-1], values.shape[0])


# ---- Gradients: of what is not quantized --------------------------------------------------------------


def _save_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, values, scale, zero_point, bias, n_in, bits, axis, group_size = inputs
    ctx.weight = values, scale, zero_point, bits, [values.shape[0], n_in], axis, group_size, x.dtype
    ctx.bias = None if bias is None else bias.dtype


def _save_integer_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, input_scale, input_zero_point, input_bits, values, scale, bias = inputs
    _save_linear(ctx, (x, values, scale, None, bias, values.shape[1], 8, 0, None), output)
    ctx.save_for_backward(x)
    ctx.grid = input_scale, input_zero_point, input_bits


def _save_decode_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, indices, codebook, scale, bias, n_in, axis, group_size = inputs
    ctx.weight = indices, codebook, scale, [indices.shape[0], n_in], axis, group_size, x.dtype
    ctx.bias = None if bias is None else bias.dtype


def _gradients(ctx: Any, gradient: Tensor, weight: Any) -> tuple[Tensor | None, Tensor | None]:
    of_x, of_bias = None, None
    if ctx.needs_input_grad[0]:
        of_x = gradient @ weight(*ctx.weight)
    if ctx.bias is not None:
        of_bias = gradient.reshape(-1, gradient.shape[-1]).sum(0).to(ctx.bias)
    return of_x, of_bias


def _linear_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    of_x, of_bias = _gradients(ctx, gradient, torch.ops.tersor.dequantize)
    return of_x, None, None, None, of_bias, None, None, None, None


def _integer_linear_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    of_x, of_bias = _gradients(ctx, gradient, torch.ops.tersor.dequantize)
    if of_x is not None:
        step, zero_point, bits = ctx.grid
        least, most = grid_ends(zero_point, bits)
        zero = 0 if zero_point is None else zero_point.to(step.dtype)
        ratio = ctx.saved_tensors[0] / step
        of_x = of_x * ((ratio >= least - zero) & (ratio <= most - zero))
    return of_x, None, None, None, None, None, of_bias


def _decode_linear_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    of_x, of_bias = _gradients(ctx, gradient, torch.ops.tersor.decode)
    return of_x, None, None, None, of_bias, None, None, None


def _empty_integer_product(x: Tensor, _: Any, __: Any, ___: Any, values: Tensor, *others: Any) -> Tensor:
    return _empty_product(x, values)


for name, kernel, fake in (
    ("dequantize", _dequantize, _empty_weight),
    ("decode", _decode, _empty_weight),
    ("linear", _linear, _empty_product),
    ("decode_linear", _decode_linear, _empty_product),
    ("integer_linear", _integer_linear, _empty_integer_product),
):
    _library.impl(name, kernel, "CPU")
    torch.library.register_fake(f"tersor::{name}", fake, lib=_library)

for name, backward, save in (
    ("linear", _linear_backward, _save_linear),
    ("decode_linear", _decode_linear_backward, _save_decode_linear),
    ("integer_linear", _integer_linear_backward, _save_integer_linear),
):
    torch.library.register_autograd(f"tersor::{name}", backward, setup_context=save, lib=_library)
