"""Codebooks: every element is one of up to 256 levels, which need not be even (docs/quantization.md)."""

from __future__ import annotations

import math
import operator
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
    checked_out,
    checked_shape,
    fields_of,
)
from ._packing import packed_shape, unpack
from .observers import ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NF4", "CodebookArray", "codebook", "codebook_with"]

METHODS = ("kmeans", "uniform", "quantile", "nf4")
LEVELS_MAX = 256

# Indices of so many levels are stored two a byte.
PACKED_LEVELS = 16

# NF4 (Dettmers et al. 2023): quantiles of the normal distribution, scaled to [-1, 1] and with an exact zero.
NF4 = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
        *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
        *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941),
        *(0.7229568362236023, 1.0),
    ],
    np.float32,
)

# k-means of so many levels or fewer takes means of neighbouring values for more values than that.
CONDENSED_LEVELS = 32
CONDENSED_MIN = 1 << 18

# One codebook for many scaled groups is fitted to at most so many of their elements, evenly picked.
SCALED_SAMPLE = 1 << 22


class CodebookArray:
    """Indices of levels that stand for floats: ``x = codebook[index]``, by the group's scale if there is one.

    Parameters
    ----------
    indices : ndarray of uint8
        Of the shape of what was quantized; for up to 16 levels two a byte, the first in the lower half, the
        last axis padded with a zero.
    codebook : ndarray of float32
        ``(1, levels)``, or a row for each channel or group.
    scale : ndarray of float32, optional
        What a group's levels are multiplied by: finite and not negative, in the shape of the scales of a
        `QuantizedArray`.
    shape : tuple of int
        The shape of the floats.
    axis : int, optional
        The axis along which each index has a codebook, or a scale, of its own.
    group_size : int, optional
        How many neighbours on the last axis share one.
    mse : float, optional
        Mean squared error, where it is known.
    framework : {"numpy", "torch"}
        What kind of array `dequantize` makes if it is not told.

    Raises
    ------
    ValueError
        If these do not fit together. Indices that the codebook does not have are found by `dequantize`.

    Examples
    --------
    >>> c = tersor.quantize.codebook(np.array([0.25, 0.5, 5.0, 0.0, 4.0], np.float32), levels=2)
    >>> c.codebook.tolist(), c.integers().tolist(), c.nbytes
    ([[0.25, 4.5]], [0, 0, 1, 0, 1], 11)
    """

    __slots__ = ("_layout", "codebook", "framework", "indices", "mse", "scale")

    def __init__(
        self,
        indices: Any,
        codebook: Any,
        scale: Any = None,
        *,
        shape: tuple[int, ...],
        axis: int | None = None,
        group_size: int | None = None,
        mse: float | None = None,
        framework: str = "numpy",
    ) -> None:
        check_choice("framework", framework, ("numpy", "torch"))
        self.framework = framework
        sizes = checked_shape(shape)
        self._layout = Layout.of(sizes, axis, group_size)
        self.codebook = _checked_codebook(codebook, self._layout)
        self.scale = None if scale is None else _checked_scale(scale, self._layout)
        self.indices = np.asarray(as_numpy(indices))
        stored = packed_shape(sizes) if self.packed else sizes
        if self.indices.shape != stored or self.indices.dtype != np.uint8:
            raise ValueError(f"indices must be of shape {stored} and dtype uint8")
        self.indices = np.ascontiguousarray(self.indices).reshape(stored)
        self.mse = None if mse is None else float(mse)

    def __repr__(self) -> str:
        cut = "" if self.axis is None else f", axis={self.axis}"
        cut += "" if self.group_size is None else f", group_size={self.group_size}"
        cut += "" if self.scale is None else ", scaled"
        error = "" if self.mse is None else f", mse={self.mse:.4g}"
        return f"CodebookArray(shape={self.shape}, levels={self.levels}{cut}, nbytes={self.nbytes}{error})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the floats."""
        return self._layout.shape

    @property
    def axis(self) -> int | None:
        """Axis along which each index has a codebook or scale of its own; never negative."""
        return self._layout.axis

    @property
    def group_size(self) -> int | None:
        """How many neighbours on the last axis share a codebook or scale."""
        return self._layout.group_size

    @property
    def levels(self) -> int:
        """Levels of a codebook."""
        return int(self.codebook.shape[1])

    @property
    def packed(self) -> bool:
        """Whether indices are stored two a byte."""
        return self.levels <= PACKED_LEVELS

    @property
    def nbytes(self) -> int:
        """Bytes of the indices, codebooks and scales."""
        return self.indices.nbytes + self.codebook.nbytes + (0 if self.scale is None else self.scale.nbytes)

    def integers(self) -> NDArray[np.uint8]:
        """Make an array of one index an element; not a copy if that is `indices`."""
        return unpack(self.indices, self.shape) if self.packed else self.indices

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
        CorruptDataError
            If an index is beyond the codebook.
        TypeError
            If `dtype` is none of these.
        ValueError
            If `out` does not fit.

        Notes
        -----
        ``codebook[index] * scale`` in float32, rounded to `dtype`.
        """
        framework = self.framework if dtype is None else framework_of(dtype)
        wanted = np.dtype(np.float32) if dtype is None else as_dtype(dtype)
        if wanted.name not in FLOAT_TYPES:
            raise TypeError(f"dtype must be one of {', '.join(FLOAT_TYPES)}, not {wanted}")
        if out is None:
            array = np.empty(self.shape, wanted)
        else:
            names = tuple(FLOAT_TYPES) if dtype is None else (wanted.name,)
            array = checked_out(out, self.shape, names, self.indices, self.codebook)
        floats = Floats(array)
        kernel = _kernel(self.codebook, self.scale, self._layout)
        data = bytes_of(self.indices)

        def run(piece: Piece) -> None:
            part, n_row = _rows(self._layout, piece, self.packed)
            kernel.dequantize_into(
                data[part], floats.of(piece), floats.type, piece.elements.start, piece.n // n_row, n_row,
                self.packed,
            )  # fmt: skip

        for _ in ordered_map(run, self._layout.pieces(packed=self.packed), threads):
            pass
        return from_numpy(array, framework) if out is None else out

    def components(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Take apart into arrays by name, and fields that JSON can hold; `from_components` undoes it.

        The error `mse` is not among them.
        """
        arrays: dict[str, NDArray[Any]] = {"indices": self.indices, "codebook": self.codebook}
        if self.scale is not None:
            arrays["scale"] = self.scale
        fields = {
            "shape": list(self.shape),
            "axis": self.axis,
            "group_size": self.group_size,
            "levels": self.levels,
            "codebooks": self.codebook.shape[0],
            "scaled": self.scale is not None,
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
        with fields_of("a codebook array"):
            shape, levels = checked_shape(fields["shape"]), operator.index(fields["levels"])
            layout = Layout.of(shape, fields["axis"], fields["group_size"])
            codebooks = operator.index(fields["codebooks"])
            if not 1 <= levels <= LEVELS_MAX or codebooks not in (1, layout.n_channels):
                raise ValueError(f"there cannot be {codebooks} codebooks of {levels} levels")
            stored = packed_shape(shape) if levels <= PACKED_LEVELS else shape
            arrays: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
                "indices": (np.dtype(np.uint8), stored),
                "codebook": (np.dtype(np.float32), (codebooks, levels)),
                "scale": (np.dtype(np.float32), layout.parameter_shape),
            }
            if not fields["scaled"]:
                del arrays["scale"]
            return arrays

    @classmethod
    def from_components(cls, arrays: dict[str, Any], fields: dict[str, Any]) -> CodebookArray:
        """Put together what `components` took apart.

        Raises
        ------
        ValueError
            If something is missing, or the parts do not fit together.
        """
        cls.component_layout(fields)
        with fields_of("a codebook array"):
            return cls(
                arrays["indices"],
                arrays["codebook"],
                arrays.get("scale"),
                shape=tuple(fields["shape"]),
                axis=fields["axis"],
                group_size=fields["group_size"],
            )


def _checked_codebook(codebook: Any, layout: Layout) -> NDArray[np.float32]:
    levels = np.asarray(as_numpy(codebook))
    if levels.dtype.name not in FLOAT_TYPES:
        raise ValueError(f"codebook must hold floats, not {levels.dtype}")
    if levels.ndim != 2 or not 1 <= levels.shape[1] <= LEVELS_MAX:
        raise ValueError(f"codebook must be rows of 1 to {LEVELS_MAX} levels, not of shape {levels.shape}")
    if levels.shape[0] not in (1, layout.n_channels):
        raise ValueError(f"codebook must have 1 row or {layout.n_channels}, not {levels.shape[0]}")
    with np.errstate(over="ignore", under="ignore"):
        return np.array(levels, np.float32, order="C")


def _checked_scale(scale: Any, layout: Layout) -> NDArray[np.float32]:
    scales = np.asarray(as_numpy(scale))
    if scales.dtype.name not in FLOAT_TYPES or scales.shape != layout.parameter_shape:
        raise ValueError(f"scale must hold floats in the shape {layout.parameter_shape}")
    with np.errstate(over="ignore", under="ignore"):
        scales = np.array(scales, np.float32, order="C")
    if not (np.isfinite(scales) & (scales >= 0)).all():
        raise ValueError("scale must be finite and not negative")
    return scales


def _kernel(
    levels: NDArray[np.float32], scale: NDArray[np.float32] | None, layout: Layout
) -> _native.Codebook:
    n_channels, n_inner = max(layout.n_channels, 1), max(layout.n_inner, 1)  # even of no elements
    scales = None if scale is None or layout.n == 0 else scale.ravel()
    return _native.Codebook(levels, scales, n_channels, n_inner)


def _rows(layout: Layout, piece: Piece, packed: bool) -> tuple[slice, int]:
    """Find the bytes of a piece's indices, and the length of the rows that begin with a byte."""
    return layout.packed_part(piece) if packed else (piece.elements, piece.n)


def codebook(
    x: Any,
    *,
    levels: int = 16,
    method: str = "kmeans",
    axis: int | None = None,
    group_size: int | None = None,
    sample_weight: Any = None,
    keep_zero: bool = False,
    scaled: bool | None = None,
    nan: str = "raise",
    out: Any = None,
    threads: int | None = None,
) -> CodebookArray:
    """Quantize an array to levels that fit it.

    Parameters
    ----------
    x : array
        NumPy array or CPU torch tensor of float32, float16, bfloat16 or float64 (rounded to float32), of any
        shape; copied only if it is not contiguous.
    levels : int
        1 to 256; indices of up to 16 are stored two a byte.
    method : {"kmeans", "uniform", "quantile", "nf4"}
        How levels are chosen. "kmeans": for the least squared error. "uniform": evenly from the least
        element to the greatest. "quantile": so that each stands for as many elements. "nf4": the 16 levels
        of NF4, scaled.
    axis : int, optional
        An axis along which each index gets a codebook of its own. None: one for all.
    group_size : int, optional
        A number of neighbours on the last axis that get one of their own; divides the axis.
    sample_weight : array, optional
        How much each element's error counts, in the shape of `x`: finite and not negative. For "kmeans"
        and "quantile".
    keep_zero : bool
        One level is exactly 0, so that what was pruned stays so. Of "uniform" and "quantile" it is the
        level nearest to 0; "kmeans" fits the others to what is not zero; "nf4" has it anyway.
    scaled : bool, optional
        Share one codebook among the channels or groups, the elements of each being divided by their
        greatest magnitude, its `scale`: a float32 instead of a codebook each. True for "nf4" and else
        False by default.
    nan : {"raise", "zero", "keep"}
        What to do about elements that are not finite, or of float64 and beyond float32. "zero": all become
        0. "keep": NaN and each infinity that occurs take up a level, and come back as they were.
    out : array, optional
        C-contiguous array for the result's `indices` to be written to.
    threads : int, optional
        Workers to use; all cores by default, for large arrays.

    Returns
    -------
    CodebookArray
        Its levels ascend, and where there are fewer different values than levels the last is repeated.
        An element gets the nearest level, in the middle between two the lower.

    Raises
    ------
    TypeError
        If `x` or `sample_weight` does not hold floats.
    ValueError
        If `x` is not finite, or an argument is out of its range, does not fit `x`, or is unknown.

    Notes
    -----
    k-means on a line: dynamic programming, which finds the best clusters, where up to 1024 values differ;
    else among 1024 bins of neighbouring values, cut to have equal shares in the error, and from there
    Lloyd's iteration on the sorted values. Of more than 2**18 values, for up to 32 levels, those that agree
    in 16 leading bits, or in more where many do, are first replaced by their means. Nothing is random.

    With `scaled`, elements are compared with the levels after the division, and k-means weighs each with
    the square of its scale, so that it is still the error of `x` that becomes least.

    Examples
    --------
    >>> x = np.array([-1.0, -0.5, 0.0, 0.0, 0.25, 0.5], np.float32)
    >>> c = tersor.quantize.codebook(x, levels=3, keep_zero=True)
    >>> c.codebook.tolist(), c.dequantize().tolist()
    ([[-0.75, 0.0, 0.375]], [-0.75, -0.75, 0.0, 0.0, 0.375, 0.375])
    >>> c
    CodebookArray(shape=(6,), levels=3, nbytes=15, mse=0.02604)
    """
    levels = operator.index(levels)
    if not 1 <= levels <= LEVELS_MAX:
        raise ValueError(f"levels must be from 1 to {LEVELS_MAX}, not {levels}")
    check_choice("method", method, METHODS)
    check_choice("nan", nan, NAN_CHOICES)
    if method == "nf4" and levels != NF4.size:
        raise ValueError(f"levels must be {NF4.size} for method 'nf4', not {levels}")
    floats = Floats(x)
    layout = Layout.of(floats.array.shape, axis, group_size)
    weights = _checked_weights(sample_weight, method, layout.shape)
    scaled = method == "nf4" if scaled is None else scaled
    if method == "nf4" and not scaled:
        raise ValueError("scaled cannot be False for method 'nf4'")

    low, high, first = ranges(floats, layout, threads)
    settled = floats.settled(first, nan)
    if settled is not floats:
        floats = settled
        low, high, first = ranges(floats, layout, threads)
    kept = _not_finite(floats) if first < layout.n else []
    n_free = levels - len(kept)
    if n_free < 1 or (kept and method == "nf4"):
        raise ValueError(f"levels leaves none for what nan='keep' keeps: {kept}")
    fit = _Fit(method, n_free, keep_zero, all_finite=not kept)

    scale: NDArray[np.float32] | None = None
    if scaled:
        scale = np.maximum(np.maximum(-low, high), np.float32(0))
        if kept:  # an infinite level by a scale of 0 would be no infinity
            scale = np.maximum(scale, np.finfo(np.float32).tiny)
        rows = [fit.scaled(floats.array, weights, scale, layout)]
    else:
        cube = floats.array.reshape(-1, layout.n_channels, layout.n_inner) if layout.n else None

        def run(c: int) -> NDArray[np.float32]:
            if cube is None:
                return np.zeros(1, np.float32)
            values = cube[:, c].ravel()
            part = None if weights is None else weights.reshape(cube.shape)[:, c].ravel()
            return fit(values, part, float(low[c]), float(high[c]))

        rows = list(ordered_map(run, range(layout.n_channels), threads))
    book = np.zeros((max(len(rows), 1), levels), np.float32)
    below = [k for k in kept if k < 0]
    above = [k for k in kept if not k < 0]
    for c, row in enumerate(rows):
        padding = [row[-1]] * (n_free - row.size)
        book[c] = [*below, *row, *padding, *above]
    assignment = _Assignment(layout, book, scale, out, floats.array)
    assignment.run(floats, threads)
    return assignment.result(framework_of(x))


def codebook_with(
    x: Any,
    codebook: Any,
    scale: Any = None,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    nan: str = "raise",
    measure: bool = True,
    out: Any = None,
    threads: int | None = None,
) -> CodebookArray:
    """Quantize an array to levels that are given.

    Parameters
    ----------
    x : array
        As for `codebook`.
    codebook, scale : array
        As for `CodebookArray`; a single row of levels may have one dimension. Levels must ascend.
    axis, group_size, out, threads
        As for `codebook`.
    nan : {"raise", "zero", "keep"}
        "keep": NaN becomes the last level, and infinities the first and the last, unless levels are like
        them.
    measure : bool
        Find the mean squared error, which takes about half as long again.

    Returns
    -------
    CodebookArray

    Raises
    ------
    TypeError, ValueError
        As `codebook` does, and if `codebook` or `scale` does not fit.

    Examples
    --------
    >>> c = codebook_with(np.array([0.2, 0.5, 7.0], np.float32), np.array([0.0, 1.0], np.float32))
    >>> c.integers().tolist()
    [0, 0, 1]
    """
    check_choice("nan", nan, NAN_CHOICES)
    floats = Floats(x)
    layout = Layout.of(floats.array.shape, axis, group_size)
    book = np.asarray(as_numpy(codebook))
    book = _checked_codebook(book[None] if book.ndim == 1 else book, layout)
    numbers = np.where(np.isnan(book), np.inf, book)  # only the end of a row may be NaN
    if not (numbers[:, 1:] >= numbers[:, :-1]).all() or np.isnan(book[:, :-1]).any():
        raise ValueError("codebook must ascend")
    scales = None if scale is None else _checked_scale(scale, layout).ravel()
    assignment = _Assignment(layout, book, scales, out, floats.array, measure=measure)
    settled = floats.settled(assignment.run(floats, threads), nan)
    if settled is not floats:
        assignment.run(settled, threads)
    return assignment.result(framework_of(x))


def _checked_weights(sample_weight: Any, method: str, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    if sample_weight is None:
        return None
    if method not in ("kmeans", "quantile"):
        raise ValueError(f"sample_weight makes no difference for method {method!r}")
    weights = Floats(sample_weight, "sample_weight").array
    if weights.shape != shape:
        raise ValueError(f"sample_weight must have the shape of x, {shape}, not {weights.shape}")
    with np.errstate(over="ignore"):
        weights = weights.astype(np.float32)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("sample_weight must be finite and not negative")
    return weights


def _not_finite(floats: Floats) -> list[float]:
    """Which numbers that are not finite occur, in the order of levels."""
    with np.errstate(over="ignore"):
        values = floats.array.astype(np.float32)
    occurs = [np.isneginf(values).any(), np.isposinf(values).any(), np.isnan(values).any()]
    return [number for number, does in zip((-math.inf, math.inf, math.nan), occurs, strict=True) if does]


class _Fit:
    """Chooses levels for the elements of one channel, or of all that share a codebook."""

    def __init__(self, method: str, levels: int, keep_zero: bool, *, all_finite: bool) -> None:
        self.method = method
        self.levels = levels
        self.keep_zero = keep_zero
        self.all_finite = all_finite

    def __call__(
        self, x: NDArray[Any], weights: NDArray[np.float32] | None, low: float, high: float
    ) -> NDArray[np.float32]:
        """Find at most so many levels, ascending; at least one, for nothing 0."""
        if self.method == "uniform":
            return self._with_zero(_even(low, high, self.levels) if low <= high else np.zeros(1, np.float32))
        values, weights = self._values(x, weights)
        if values.size == 0:
            return np.zeros(1, np.float32)
        if self.method == "quantile":
            return self._with_zero(_quantiles(*_sorted(values, weights), self.levels))
        condense = weights is None and values.size > CONDENSED_MIN and self.levels <= CONDENSED_LEVELS
        ordered = _condensed(values) if condense else _sorted(values, weights)
        found = np.empty(self.levels, np.float32)
        return found[: _native.kmeans(found, *ordered, self.keep_zero)]

    def scaled(
        self, x: NDArray[Any], weights: NDArray[np.float32] | None, scale: NDArray[np.float32], layout: Layout
    ) -> NDArray[np.float32]:
        """Find levels for all channels, divided by their scales."""
        if self.method == "nf4":
            return NF4
        if layout.n == 0:
            return np.zeros(1, np.float32)
        # An odd step meets every place of a group in turn.
        picked = np.arange(0, layout.n, layout.n // SCALED_SAMPLE | 1)
        scales = scale[picked // layout.n_inner % layout.n_channels]
        with np.errstate(over="ignore"):
            values = x.reshape(-1)[picked].astype(np.float32)
        counted = np.isfinite(values) & (scales > 0)
        values, scales = values[counted] / scales[counted], scales[counted] / np.float32(scale.max())
        importance = np.square(scales)
        if weights is not None:
            importance *= weights.reshape(-1)[picked[counted]]
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        return self(values, importance, low, high)

    def _values(
        self, x: NDArray[Any], weights: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """What counts, in float32: finite and of a weight above zero."""
        if weights is None and x.itemsize == 2 and x.size > 1 << 16:
            # There are fewer different values than elements: a weight for each is faster than sorting.
            counts = np.zeros(1 << 16, np.uint64)
            _native.histogram16(x.view(np.uint16), counts)
            present = np.flatnonzero(counts)
            x, weights = present.astype(np.uint16).view(x.dtype), counts[present].astype(np.float32)
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(x, np.float32)
        counted = np.ones(values.size, np.bool_) if self.all_finite else np.isfinite(values)
        if weights is not None:
            counted &= weights > 0
        if counted.all():
            return values, weights
        return values[counted], None if weights is None else weights[counted]

    def _with_zero(self, levels: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.keep_zero:
            levels[np.argmin(np.abs(levels))] = 0
        return levels


def _sorted(
    values: NDArray[np.float32], weights: NDArray[np.float32] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    ordered = np.empty_like(values)
    ordered_weights = None if weights is None else np.empty_like(weights)
    _native.sort_floats(values, weights, ordered, ordered_weights)
    return ordered, ordered_weights


def _condensed(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    means, weights = np.empty((2, _native.CONDENSED_MAX), np.float32)
    n = _native.condense(values, means, weights)
    return means[:n], weights[:n]


def _even(low: float, high: float, levels: int) -> NDArray[np.float32]:
    if levels == 1:
        return np.array([low / 2 + high / 2], np.float32)
    return np.asarray(np.linspace(low, high, levels), np.float32)


def _quantiles(
    ordered: NDArray[np.float32], weights: NDArray[np.float32] | None, levels: int
) -> NDArray[np.float32]:
    """The elements in the middle of equal shares of the weight."""
    if weights is None:
        places = (2 * np.arange(levels) + 1) * ordered.size // (2 * levels)
    else:
        total = np.cumsum(weights, dtype=np.float64)
        middles = (np.arange(levels) + 0.5) / levels * total[-1]
        places = np.minimum(np.searchsorted(total, middles, side="right"), ordered.size - 1)
    return np.asarray(ordered[places])


class _Assignment:
    """Gives the elements of an array their nearest levels."""

    def __init__(
        self,
        layout: Layout,
        book: NDArray[np.float32],
        scale: NDArray[np.float32] | None,
        out: Any,
        source: NDArray[Any],
        *,
        measure: bool = True,
    ) -> None:
        self.layout = layout
        self.book = book
        self.scale = scale
        self.measure = measure
        self.error = 0.0
        self.packed = book.shape[1] <= PACKED_LEVELS
        shape = packed_shape(layout.shape) if self.packed else layout.shape
        self.indices = (
            np.empty(shape, np.uint8) if out is None else checked_out(out, shape, ("uint8",), source)
        )

    def run(self, floats: Floats, threads: int | None) -> int:
        """Find all levels; the index of the first element that is not finite."""
        kernel = _kernel(self.book, self.scale, self.layout)
        kernel.prepare()
        data = bytes_of(self.indices)

        def assign(piece: Piece) -> tuple[float, int]:
            part, n_row = _rows(self.layout, piece, self.packed)
            start = piece.elements.start
            error, first = kernel.assign_into(
                floats.of(piece), floats.type, data[part], start, piece.n // n_row, n_row,
                self.packed, self.measure,
            )  # fmt: skip
            return error, start + first if first < piece.n else self.layout.n

        found = list(ordered_map(assign, self.layout.pieces(packed=self.packed), threads))
        self.error = math.fsum(error for error, _ in found)
        if not math.isfinite(self.error):  # a difference that is beyond float32
            x = floats.array.astype(np.float64)
            difference = np.where(np.isfinite(x), x - self.result("numpy").dequantize("float64"), 0)
            self.error = float(np.square(difference).sum())
        return min((first for _, first in found), default=self.layout.n)

    def result(self, framework: str) -> CodebookArray:
        """Put the parts together."""
        layout = self.layout
        return CodebookArray(
            self.indices,
            self.book,
            None if self.scale is None else self.scale.reshape(layout.parameter_shape),
            shape=layout.shape,
            axis=layout.axis,
            group_size=layout.group_size,
            mse=self.error / max(layout.n, 1) if self.measure else None,
            framework=framework,
        )
