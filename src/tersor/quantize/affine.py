"""Affine quantization: floats as integers of 2 to 8 bits, a scale and a zero point (docs/quantization.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _native
from ..arrays import as_dtype, as_numpy, bytes_of, framework_of, from_numpy
from ..parallel import ordered_map
from ._layout import (
    FLOAT_TYPES,
    NAN_CHOICES,
    Floats,
    Layout,
    Piece,
    check_choice,
    checked_bits,
    checked_out,
    checked_shape,
    fields_of,
)
from ._packing import PACKED_BITS, packed_shape, unpack
from .observers import METHODS, Observer, mse_range, parameters, ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["QuantizedArray", "affine", "quantize_with"]

# Elements whose range is taken and which are quantized before the next: they stay in the cache in between.
ROWS_PIECE = 1 << 18

# So many that the kernel writes them past the cache, where all of an array does not stay anyway.
DEQUANTIZE_PIECE = 1 << 22


class QuantizedArray:
    """Integers that stand for floats: ``x = scale * (q - zero_point)``.

    Parameters
    ----------
    values : ndarray
        int8 where there is no zero point, else uint8, of the shape of what was quantized. For `bits` up
        to 4 uint8 with two integers a byte, the first in the lower half (two's complement if signed), the
        last axis padded with a zero.
    scale : ndarray of float32
        Finite and above zero, one for each channel: no axis for a whole array, one for an `axis`, and for
        groups as many as `shape`, the last counting groups.
    zero_point : ndarray of uint8, optional
        The integers that stand for 0, in the shape of `scale`. None: the quantization is symmetric, and 0
        stands for itself.
    bits : int
        2 to 8.
    shape : tuple of int
        The shape of the floats.
    axis : int, optional
        The axis along which each index has a scale of its own.
    group_size : int, optional
        How many neighbours on the last axis share a scale.
    framework : {"numpy", "torch"}
        What kind of array `dequantize` makes if it is not told.

    Raises
    ------
    ValueError
        If these do not fit together. Parts from outside are safe to use once they are in here.

    Examples
    --------
    >>> q = tersor.quantize.affine(np.array([[-1.0, 0.5], [0.0, 0.25]], np.float32), axis=0)
    >>> q.values.tolist(), q.nbytes
    ([[-127, 64], [0, 127]], 12)
    >>> q.dequantize().round(2).tolist()
    [[-1.0, 0.5], [0.0, 0.25]]
    """

    __slots__ = ("_layout", "bits", "framework", "scale", "values", "zero_point")

    def __init__(
        self,
        values: Any,
        scale: Any,
        zero_point: Any = None,
        *,
        bits: int,
        shape: tuple[int, ...],
        axis: int | None = None,
        group_size: int | None = None,
        framework: str = "numpy",
    ) -> None:
        check_choice("framework", framework, ("numpy", "torch"))
        self.framework = framework
        self.bits = checked_bits(bits)
        self._layout = Layout.of(checked_shape(shape), axis, group_size)
        self.scale, self.zero_point = _checked_parameters(scale, zero_point, self._layout)
        self.values = as_numpy(values)
        shape, dtype = _stored(self._layout, bits, self.symmetric)
        if self.values.shape != shape or self.values.dtype != dtype:
            raise ValueError(f"values must be of shape {shape} and dtype {dtype}")
        self.values = np.ascontiguousarray(self.values).reshape(shape)

    def __repr__(self) -> str:
        kind = "symmetric" if self.symmetric else "asymmetric"
        cut = "" if self.axis is None else f", axis={self.axis}"
        cut += "" if self.group_size is None else f", group_size={self.group_size}"
        return f"QuantizedArray(shape={self.shape}, bits={self.bits}, {kind}{cut}, nbytes={self.nbytes})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the floats."""
        return self._layout.shape

    @property
    def axis(self) -> int | None:
        """Axis along which each index has a scale of its own; never negative."""
        return self._layout.axis

    @property
    def group_size(self) -> int | None:
        """How many neighbours on the last axis share a scale."""
        return self._layout.group_size

    @property
    def symmetric(self) -> bool:
        """Whether there is no zero point."""
        return self.zero_point is None

    @property
    def nbytes(self) -> int:
        """Bytes of the integers, scales and zero points."""
        zero_points = 0 if self.zero_point is None else self.zero_point.nbytes
        return self.values.nbytes + self.scale.nbytes + zero_points

    def integers(self) -> NDArray[Any]:
        """Make an array of one int8 or uint8 an element, whatever `bits` is; not a copy if that is `values`.

        Examples
        --------
        >>> q = tersor.quantize.affine(np.array([0.7, -0.1, 0.3], np.float32), bits=4)
        >>> q.values.tolist(), q.integers().tolist()
        ([247, 3], [7, -1, 3])
        """
        if self.bits > PACKED_BITS:
            return self.values
        integers = unpack(self.values, self.shape)
        if not self.symmetric:
            return integers
        sign = np.uint8(1 << (PACKED_BITS - 1))
        return (integers ^ sign).view(np.int8) - sign.view(np.int8)

    def dequantize(self, dtype: Any = None, out: Any = None, *, threads: int | None = None) -> Any:
        """Make floats again.

        Parameters
        ----------
        dtype : dtype, optional
            float32, float16, bfloat16 or float64, as a dtype of NumPy or torch or its name; that of `out`
            by default, else float32.
        out : array, optional
            C-contiguous NumPy array or CPU torch tensor of the floats' shape to write to. It is returned.
        threads : int, optional
            Workers to use; all cores by default.

        Returns
        -------
        ndarray or Tensor
            `out`, or a tensor if `dtype` is one of torch, or if none is given and a tensor was quantized.

        Raises
        ------
        TypeError
            If `dtype` is none of these.
        ValueError
            If `out` does not fit.

        Notes
        -----
        ``scale * (q - zero_point)`` in float32, of which what is beyond float32 becomes its largest finite
        number, rounded to `dtype`.
        """
        framework = self.framework if dtype is None else framework_of(dtype)
        wanted = np.dtype(np.float32) if dtype is None else as_dtype(dtype)
        if wanted.name not in FLOAT_TYPES:
            raise TypeError(f"dtype must be one of {', '.join(FLOAT_TYPES)}, not {wanted}")
        if out is None:
            array = np.empty(self.shape, wanted)
        else:
            names = tuple(FLOAT_TYPES) if dtype is None else (wanted.name,)
            array = checked_out(out, self.shape, names, self.values, self.scale)
        floats = Floats(array)
        scale = self.scale.ravel()
        zero = None if self.zero_point is None else self.zero_point.ravel()
        data = bytes_of(self.values)
        packed = self.bits <= PACKED_BITS

        def run(piece: Piece) -> None:
            part, n_row = self._layout.packed_part(piece) if packed else (piece.elements, piece.n)
            channels = piece.channels
            zero_part = None if zero is None else zero[channels]
            _native.affine_dequantize(
                data[part], piece.n_channels, piece.n_inner, scale[channels], zero_part, self.bits, n_row,
                floats.of(piece), floats.type,
            )  # fmt: skip

        for _ in ordered_map(run, self._layout.pieces(DEQUANTIZE_PIECE, packed=packed), threads):
            pass
        return from_numpy(array, framework) if out is None else out

    def components(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Take apart into arrays by name, and fields that JSON can hold; `from_components` undoes it."""
        arrays = {"values": self.values, "scale": self.scale}
        if self.zero_point is not None:
            arrays["zero_point"] = self.zero_point
        fields = {
            "bits": self.bits,
            "shape": list(self.shape),
            "axis": self.axis,
            "group_size": self.group_size,
            "symmetric": self.symmetric,
        }
        return arrays, fields

    @staticmethod
    def component_layout(fields: dict[str, Any]) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """Work out dtype and shape of each array that `components` makes with these fields.

        Raises
        ------
        ValueError
            If something is missing, or the fields do not fit together.
        """
        with fields_of("a quantized array"):
            layout = Layout.of(checked_shape(fields["shape"]), fields["axis"], fields["group_size"])
            stored, dtype = _stored(layout, checked_bits(fields["bits"]), bool(fields["symmetric"]))
            arrays = {
                "values": (np.dtype(dtype), stored),
                "scale": (np.dtype(np.float32), layout.parameter_shape),
                "zero_point": (np.dtype(np.uint8), layout.parameter_shape),
            }
            if fields["symmetric"]:
                del arrays["zero_point"]
            return arrays

    @classmethod
    def from_components(cls, arrays: dict[str, Any], fields: dict[str, Any]) -> QuantizedArray:
        """Put together what `components` took apart.

        Raises
        ------
        ValueError
            If something is missing, or the parts do not fit together.
        """
        cls.component_layout(fields)
        with fields_of("a quantized array"):
            return cls(
                arrays["values"],
                arrays["scale"],
                arrays.get("zero_point"),
                bits=fields["bits"],
                shape=tuple(fields["shape"]),
                axis=fields["axis"],
                group_size=fields["group_size"],
            )


def _checked_parameters(
    scale: Any, zero_point: Any, layout: Layout
) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
    """Check what a caller gave, and convert numbers that were not arrays."""
    scales = np.asarray(as_numpy(scale))
    if scales.dtype.name not in FLOAT_TYPES:
        raise ValueError(f"scale must hold floats, not {scales.dtype}")
    with np.errstate(over="ignore", under="ignore"):
        scales = np.array(scales, np.float32, order="C")
    if scales.shape != layout.parameter_shape:
        raise ValueError(f"scale must have the shape {layout.parameter_shape}, not {scales.shape}")
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise ValueError("scale must be finite and above zero")
    if zero_point is None:
        return scales, None
    zeros = np.asarray(as_numpy(zero_point))
    if zeros.shape != layout.parameter_shape or zeros.dtype.kind not in "iu":
        raise ValueError(f"zero_point must hold integers in the shape {layout.parameter_shape}")
    if zeros.size and not 0 <= int(zeros.min()) <= int(zeros.max()) <= 255:
        raise ValueError("zero_point must be from 0 to 255")
    return scales, np.array(zeros, np.uint8, order="C")


def _stored(layout: Layout, bits: int, symmetric: bool) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of the integers as they are stored."""
    if bits <= PACKED_BITS:
        return packed_shape(layout.shape), np.dtype(np.uint8)
    return layout.shape, np.dtype(np.int8 if symmetric else np.uint8)


class _Quantizer:
    """Quantizes the pieces of an array into the parts of a `QuantizedArray`."""

    def __init__(self, layout: Layout, bits: int, symmetric: bool, out: Any, source: NDArray[Any]) -> None:
        self.layout = layout
        self.bits = bits
        self.packed = bits <= PACKED_BITS
        shape, dtype = _stored(layout, bits, symmetric)
        self.values: NDArray[Any] = np.empty(shape, dtype)
        if out is not None:
            self.values = checked_out(out, shape, (dtype.name,), source)
        self.data = bytes_of(self.values)
        self.scale = np.ones(layout.n_channels, np.float32)
        self.zero = None if symmetric else np.zeros(layout.n_channels, np.uint8)

    def quantize_piece(self, floats: Floats, piece: Piece) -> int:
        """Quantize with the scales that are there; the index of the first element that is not finite."""
        part, n_row = self.layout.packed_part(piece) if self.packed else (piece.elements, piece.n)
        zero = None if self.zero is None else self.zero[piece.channels]
        first = _native.affine_quantize(
            floats.of(piece), floats.type, piece.n_channels, piece.n_inner, self.scale[piece.channels], zero,
            self.bits, self.data[part], n_row,
        )  # fmt: skip
        return int(piece.elements.start) + first if first < piece.n else self.layout.n

    def quantize_rows(self, floats: Floats, piece: Piece) -> int:
        """The same after taking each row's range, while it is in the cache."""
        low, high = np.empty((2, piece.n_channels), np.float32)
        _native.float_range(floats.of(piece), floats.type, piece.n_channels, piece.n_inner, low, high)
        zero = None if self.zero is None else self.zero[piece.channels]
        _native.affine_parameters(low, high, self.scale[piece.channels], zero, self.bits)
        return self.quantize_piece(floats, piece)

    def run(self, floats: Floats, nan: str, threads: int | None, *, by_rows: bool = False) -> None:
        """Quantize all, or raise `ValueError` if `nan` says so."""
        step = self.quantize_rows if by_rows else self.quantize_piece

        def quantize(piece: Piece) -> int:
            return step(floats, piece)

        pieces = self.layout.pieces(ROWS_PIECE, packed=self.packed) if by_rows else None
        pieces = pieces or self.layout.pieces(packed=self.packed)
        first = min(ordered_map(quantize, pieces, threads), default=self.layout.n)
        settled = floats.settled(first, nan)
        if settled is not floats:
            self.run(settled, "keep", threads, by_rows=by_rows)

    def result(self, framework: str) -> QuantizedArray:
        """Put the parts together."""
        shape = self.layout.parameter_shape
        return QuantizedArray(
            self.values,
            self.scale.reshape(shape),
            None if self.zero is None else self.zero.reshape(shape),
            bits=self.bits,
            shape=self.layout.shape,
            axis=self.layout.axis,
            group_size=self.layout.group_size,
            framework=framework,
        )


def affine(
    x: Any,
    *,
    bits: int = 8,
    symmetric: bool = True,
    axis: int | None = None,
    group_size: int | None = None,
    observer: str = "minmax",
    percentile: float = 99.99,
    nan: str = "raise",
    out: Any = None,
    threads: int | None = None,
) -> QuantizedArray:
    """Quantize an array with scales that fit it.

    Parameters
    ----------
    x : array
        NumPy array or CPU torch tensor of float32, float16, bfloat16 or float64, of any shape; copied only
        if it is not contiguous.
    bits : int
        Of an integer, 2 to 8; up to 4 are stored two a byte.
    symmetric : bool
        Integers from ``-(2**(bits - 1) - 1)`` to ``2**(bits - 1) - 1`` and no zero point, which suits
        weights; else from 0 to ``2**bits - 1``, which wastes nothing on what is, say, never negative.
    axis : int, optional
        An axis along which each index gets a scale of its own. None: one for all.
    group_size : int, optional
        A number of neighbours on the last axis that get a scale of their own; divides the axis.
    observer : {"minmax", "percentile", "mse", "histogram"}
        How the range is chosen: all there is; without the outermost per mille or so; that of least squared
        error; that whose histogram loses least information. See `Observer`.
    percentile : float
        For that observer: the percentage of elements within the range.
    nan : {"raise", "zero", "keep"}
        What to do about elements that are not finite, or of float64 and beyond float32. "zero": all become
        0. "keep": infinities stay at the ends, as the least and the greatest integer; NaN, which no
        integer can stand for, becomes 0. Neither widens the range.
    out : array, optional
        C-contiguous array for the result's `values` to be written to.
    threads : int, optional
        Workers to use; all cores by default, for large arrays.

    Returns
    -------
    QuantizedArray

    Raises
    ------
    TypeError
        If `x` does not hold floats.
    ValueError
        If `x` is not finite, or an argument is out of its range, does not fit `x`, or is unknown.

    Notes
    -----
    ``q = clip(round(x / scale) + zero_point)`` in float32, halves rounded to even. The range always has 0
    in it, which an integer stands for exactly. The scale is the range's width by the number of steps, at
    least 2**-126, and 1 for a range of 0 alone. Within the range an element moves by at most half a scale.

    Examples
    --------
    >>> x = np.array([0.0, 0.1, 0.5, 2.55], np.float32)
    >>> q = tersor.quantize.affine(x, symmetric=False)
    >>> q.values.tolist(), q.zero_point.item(), round(q.scale.item(), 4)
    ([0, 10, 50, 255], 0, 0.01)
    >>> q
    QuantizedArray(shape=(4,), bits=8, asymmetric, nbytes=9)
    """
    bits = checked_bits(bits)
    check_choice("observer", observer, METHODS)
    check_choice("nan", nan, NAN_CHOICES)
    floats = Floats(x)
    layout = Layout.of(floats.array.shape, axis, group_size)
    quantizer = _Quantizer(layout, bits, symmetric, out, floats.array)
    if observer == "minmax" and layout.is_rows:
        quantizer.run(floats, nan, threads, by_rows=True)
        return quantizer.result(framework_of(x))
    if observer in ("minmax", "mse"):
        low, high, first = ranges(floats, layout, threads)
        floats = floats.settled(first, nan)
        if observer == "mse":
            low, high = mse_range(floats, layout, low, high, bits, symmetric, threads)
        quantizer.scale, quantizer.zero = parameters(low, high, bits, symmetric)
    else:
        if group_size is not None:
            raise ValueError(f"observer {observer!r} needs more elements than a group has")
        options: dict[str, Any] = {"percentile": percentile, "nan": nan, "threads": threads}
        watch = Observer(observer, bits=bits, symmetric=symmetric, axis=axis, **options)
        floats = watch.watch(floats)
        quantizer.scale, quantizer.zero = parameters(*watch.range(), bits, symmetric)
    quantizer.run(floats, "keep", threads)
    return quantizer.result(framework_of(x))


def quantize_with(
    x: Any,
    scale: Any,
    zero_point: Any = None,
    *,
    bits: int = 8,
    axis: int | None = None,
    group_size: int | None = None,
    nan: str = "raise",
    out: Any = None,
    threads: int | None = None,
) -> QuantizedArray:
    """Quantize an array with scales that are given, as those of an `Observer`.

    Parameters
    ----------
    x : array
        As for `affine`.
    scale : array or float
        Finite and above zero, in the shape that `QuantizedArray` tells; rounded to float32.
    zero_point : array or int, optional
        Integers from 0 to 255 in the same shape. None: the quantization is symmetric.
    bits, axis, group_size, nan, out, threads
        As for `affine`.

    Returns
    -------
    QuantizedArray
        What is beyond the integers becomes the least or the greatest.

    Raises
    ------
    TypeError, ValueError
        As `affine` does, and if `scale` or `zero_point` does not fit.

    Examples
    --------
    >>> quantize_with(np.array([0.26, -9.0, 1.0], np.float32), 0.1, 100).values.tolist()
    [103, 10, 110]
    """
    check_choice("nan", nan, NAN_CHOICES)
    floats = Floats(x)
    layout = Layout.of(floats.array.shape, axis, group_size)
    scales, zeros = _checked_parameters(scale, zero_point, layout)
    quantizer = _Quantizer(layout, checked_bits(bits), zeros is None, out, floats.array)
    quantizer.scale = scales.ravel()
    quantizer.zero = None if zeros is None else zeros.ravel()
    quantizer.run(floats, nan, threads)
    return quantizer.result(framework_of(x))
