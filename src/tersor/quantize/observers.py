"""Ranges for quantization: of all elements, or of most of them (docs/quantization.md, "Observers")."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _native
from ..arrays import framework_of, from_numpy
from ..parallel import ordered_map
from ._layout import NAN_CHOICES, Floats, Layout, Piece, check_choice, checked_bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["METHODS", "Observer", "abs_max", "min_max"]

METHODS = ("minmax", "percentile", "mse", "histogram")

# Bins of a histogram on either side of zero. The limit being a power of two, at least half are in use.
HALF = 2048

# The ranges that are tried for the least error: the whole one, times 2**(-i / COARSE), then in between.
# What is cut off costs ever more, so that there is no way back from an error so many times the least.
COARSE = 6
N_COARSE = 60
FINE = 4
HOPELESS = 4.0

# Ranges that are tried for the least loss of information: every so many bins.
ENTROPY_STEP = 8

# Channels whose errors are worked out at once.
CHANNELS = 64

Ranges = tuple["NDArray[np.float32]", "NDArray[np.float32]"]


def ranges(
    floats: Floats, layout: Layout, threads: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    """Find each channel's least and greatest finite element, and the first that is not finite.

    Where a channel has none, they are infinite and upside down; where all are finite, the index is the
    number of elements.
    """
    low = np.full(layout.n_channels, np.inf, np.float32)
    high = np.full(layout.n_channels, -np.inf, np.float32)

    def run(piece: Piece) -> tuple[Piece, NDArray[np.float32], int]:
        found = np.empty((2, piece.n_channels), np.float32)
        first = _native.float_range(
            floats.of(piece), floats.type, piece.n_channels, piece.n_inner, found[0], found[1]
        )
        return piece, found, int(piece.elements.start) + first if first < piece.n else layout.n

    first = layout.n
    for piece, found, piece_first in ordered_map(run, layout.pieces(), threads):
        c = piece.channels
        np.minimum(low[c], found[0], out=low[c])
        np.maximum(high[c], found[1], out=high[c])
        first = min(first, piece_first)
    return low, high, first


def parameters(
    low: NDArray[np.float32], high: NDArray[np.float32], bits: int, symmetric: bool
) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
    """Make the scales, and unless they are symmetric the zero points, of ranges."""
    scale = np.empty(low.shape, np.float32)
    zero = None if symmetric else np.empty(low.shape, np.uint8)
    _native.affine_parameters(low, high, scale, zero, bits)
    return scale, zero


def min_max(
    x: Any,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    nan: str = "raise",
    threads: int | None = None,
) -> tuple[Any, Any]:
    """Find the least and the greatest element.

    Parameters
    ----------
    x, axis, group_size, threads
        As for `affine`.
    nan : {"raise", "zero", "keep"}
        Elements that are not finite: refuse them, take them for 0, or leave them out.

    Returns
    -------
    low, high : ndarray or Tensor of float32
        In the shape of the scales of a `QuantizedArray`. Infinite, and ``low > high``, of no elements.

    Raises
    ------
    TypeError, ValueError
        As `affine` does.

    Examples
    --------
    >>> low, high = min_max(np.array([[1.0, -2.0], [5.0, 3.0]], np.float32), axis=0)
    >>> low.tolist(), high.tolist()
    ([-2.0, 3.0], [1.0, 5.0])
    """
    low, high = _min_max(x, axis, group_size, nan, threads)
    framework = framework_of(x)
    return from_numpy(low, framework), from_numpy(high, framework)


def abs_max(
    x: Any,
    *,
    axis: int | None = None,
    group_size: int | None = None,
    nan: str = "raise",
    threads: int | None = None,
) -> Any:
    """Find the greatest magnitude; 0 of no elements. Arguments are those of `min_max`.

    Examples
    --------
    >>> float(abs_max(np.array([1.0, -2.0], np.float32)))
    2.0
    """
    low, high = _min_max(x, axis, group_size, nan, threads)
    return from_numpy(_magnitude(low, high), framework_of(x))


def _min_max(
    x: Any, axis: int | None, group_size: int | None, nan: str, threads: int | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    check_choice("nan", nan, NAN_CHOICES)
    floats = Floats(x)
    layout = Layout.of(floats.array.shape, axis, group_size)
    low, high, first = ranges(floats, layout, threads)
    settled = floats.settled(first, nan)
    if settled is not floats:
        low, high, _ = ranges(settled, layout, threads)
    return low.reshape(layout.parameter_shape), high.reshape(layout.parameter_shape)


def _magnitude(low: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.float32]:
    """The greatest of each range; 0 for one that is upside down, of no elements."""
    return np.asarray(np.maximum(np.maximum(-low, high), np.float32(0)))


# ---- The range of least squared error ---------------------------------------------------------------


def mse_range(
    floats: Floats,
    layout: Layout,
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    bits: int,
    symmetric: bool,
    threads: int | None,
) -> Ranges:
    """Shrink ranges to where quantizing the elements makes the least squared error."""

    def error_of(low: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.float64]:
        scale, zero = parameters(low, high, bits, symmetric)

        def run(piece: Piece) -> tuple[Piece, NDArray[np.float64]]:
            c = piece.channels
            part = np.zeros(piece.n_channels)
            _native.affine_error(
                floats.of(piece), floats.type, piece.n_channels, piece.n_inner, scale[c],
                None if zero is None else zero[c], bits, part,
            )  # fmt: skip
            return piece, part

        error = np.zeros(layout.n_channels)
        for piece, part in ordered_map(run, layout.pieces(), threads):
            error[piece.channels] += part
        return error

    return least_error(error_of, low, high)


def least_error(
    error_of: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
) -> Ranges:
    """Cut off ever smaller magnitudes, in geometric steps, then try around each channel's best."""
    greatest = _magnitude(low, high).astype(np.float64)

    def at(steps: NDArray[np.float64]) -> Ranges:
        end = (greatest * np.exp2(-steps / COARSE)).astype(np.float32)
        return np.maximum(low, -end), np.minimum(high, end)

    best = np.zeros(low.shape)
    error = np.full(low.shape, np.inf)

    def attempt(steps: NDArray[np.float64]) -> NDArray[np.float64]:
        tried = error_of(*at(steps))
        best[tried < error] = steps[tried < error]
        np.minimum(error, tried, out=error)
        return tried

    for step in range(N_COARSE):
        if (attempt(np.full(low.shape, float(step))) >= HOPELESS * error).all():
            break
    center = best.copy()
    for fine in (*range(1 - FINE, 0), *range(1, FINE)):
        attempt(np.maximum(center + fine / FINE, 0))
    return at(best)


# ---- Ranges from histograms -------------------------------------------------------------------------

# Each channel's counts are those of 2 * HALF equal bins from minus its limit to its limit.


def histogram_error_of(
    counts: NDArray[np.uint64], limits: NDArray[np.float64], bits: int, symmetric: bool
) -> Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]]:
    """Tell what `least_error` asks for from histograms, each element being in the middle of its bin."""
    middles = (np.arange(-HALF, HALF) + 0.5) / HALF
    least, most = (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1) if symmetric else (0, 2**bits - 1)

    def error_of(low: NDArray[np.float32], high: NDArray[np.float32]) -> NDArray[np.float64]:
        scale, zero = parameters(low, high, bits, symmetric)
        error = np.empty(low.size)
        for start in range(0, low.size, CHANNELS):
            c = slice(start, start + CHANNELS)
            x = limits[c, None] * middles
            z = 0.0 if zero is None else zero[c, None].astype(np.float64)
            q = np.clip(np.rint(x / scale[c, None]) + z, least, most)
            error[c] = (counts[c] * np.square(x - scale[c, None] * (q - z))).sum(axis=1)
        return error

    return error_of


def percentile_range(
    counts: NDArray[np.uint64], limit: float, percentile: float, symmetric: bool
) -> tuple[float, float]:
    """Find the range that a percentage of one channel's elements is in.

    The same share is left out on both sides, or of a symmetric range that of the greatest magnitude.
    """
    width = limit / HALF
    if symmetric:
        end = _quantile(_magnitudes(counts), percentile / 100) * width
        return -end, end
    tail = (1 - percentile / 100) / 2
    return (_quantile(counts, tail) - HALF) * width, (_quantile(counts, 1 - tail) - HALF) * width


def _magnitudes(counts: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return counts[HALF:] + counts[HALF - 1 :: -1]


def _quantile(counts: NDArray[np.uint64], share: float) -> float:
    """Where the bins up to there have a share of all; bins are 1 wide, and even inside."""
    total = np.cumsum(counts)
    wanted = share * float(total[-1])
    bin = min(int(np.searchsorted(total, wanted)), counts.size - 1)
    before = float(total[bin]) - float(counts[bin])
    return bin + (wanted - before) / max(float(counts[bin]), 1.0)


def entropy_range(
    counts: NDArray[np.uint64], limit: float, low: float, high: float, bits: int, symmetric: bool
) -> tuple[float, float]:
    """Find the range whose quantized histogram diverges least from one channel's.

    That is the Kullback-Leibler divergence of two distributions of magnitudes: what the range leaves of
    the elements, those beyond it put into the last bin; and the same, without those, as the quantized
    levels tell it, each level's elements spread evenly over its bins that have any.
    """
    magnitudes = _magnitudes(counts).astype(np.float64)
    one_sided = low >= 0 or high <= 0
    levels = 2 ** (bits if one_sided and not symmetric else bits - 1)
    n_used = int(np.flatnonzero(magnitudes)[-1]) + 1
    totals = np.cumsum(magnitudes)
    best, least = n_used, math.inf
    for n in (*range(min(levels, n_used), n_used, ENTROPY_STEP), n_used):
        inside = magnitudes[:n]
        target = inside.copy()
        target[-1] += totals[-1] - totals[n - 1]
        edges = np.arange(levels) * n // levels if n > levels else np.arange(n)
        level_of = np.repeat(np.arange(edges.size), np.diff(np.append(edges, n)))
        n_filled = np.add.reduceat(inside > 0, edges, dtype=np.float64)
        share = np.add.reduceat(inside, edges) / np.maximum(n_filled, 1)
        spread = np.where(inside > 0, share[level_of], 0)
        divergence = _divergence(target, spread)
        if divergence <= least:  # of two that are as good, the one that leaves less out
            best, least = n, divergence
    end = best * limit / HALF
    return max(low, -end), min(high, end)


def _divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Kullback-Leibler divergence of two histograms; infinite where only `p` has elements."""
    has = p > 0
    if not (q[has] > 0).all():
        return math.inf
    p, q = p[has] / p.sum(), q[has] / q.sum()
    return float((p * np.log(p / q)).sum())


# ---- Observers --------------------------------------------------------------------------------------


class Observer:
    """Watches batches of data, such as a layer's inputs, and tells the scale that fits all of it.

    Parameters
    ----------
    method : {"minmax", "percentile", "mse", "histogram"}
        "minmax": the range of all elements. "percentile": that of a percentage of them. "mse": the range
        without the greatest magnitudes whose quantization makes the least squared error. "histogram": that
        whose quantized histogram diverges least from the elements' own, as TensorRT calibrates. All but
        the first work on a histogram of 4096 bins for each channel.
    bits, symmetric, axis, percentile, nan, threads
        As for `affine`; `axis` must have the same size in all batches. Elements that are not finite are
        left out where `nan` allows them.

    Raises
    ------
    ValueError
        If an argument is unknown or out of its range.

    Notes
    -----
    The order of batches, and how data is cut into batches, make no difference.

    Examples
    --------
    >>> observer = tersor.quantize.Observer(symmetric=False)
    >>> for batch in ([0.0, 1.0], [-0.5, 0.7]):
    ...     observer.update(np.array(batch, np.float32))
    >>> scale, zero_point = observer.qparams()
    >>> round(scale.item(), 5), zero_point.item()
    (0.00588, 85)
    """

    def __init__(
        self,
        method: str = "minmax",
        *,
        bits: int = 8,
        symmetric: bool = True,
        axis: int | None = None,
        percentile: float = 99.99,
        nan: str = "raise",
        threads: int | None = None,
    ) -> None:
        check_choice("method", method, METHODS)
        check_choice("nan", nan, NAN_CHOICES)
        if not 0 < percentile <= 100:
            raise ValueError(f"percentile must be above 0 and at most 100, not {percentile}")
        self.method = method
        self.bits = checked_bits(bits)
        self.symmetric = symmetric
        self.axis = axis
        self.percentile = percentile
        self.nan = nan
        self.threads = threads
        self._shape: tuple[int, ...] = ()
        self._low: NDArray[np.float32] | None = None
        self._high = np.empty(0, np.float32)
        self._limits = np.empty(0)
        self._counts = np.empty((0, 2 * HALF), np.uint64)

    def update(self, x: Any) -> None:
        """Take in a batch.

        Raises
        ------
        TypeError
            If it does not hold floats.
        ValueError
            If it is not finite and `nan` is "raise", or if it has another number of channels.
        """
        self.watch(Floats(x))

    def watch(self, floats: Floats) -> Floats:
        """Take in a batch, and tell what it is once `nan` is heeded."""
        layout = Layout.of(floats.array.shape, self.axis)
        low, high, first = ranges(floats, layout, self.threads)
        floats = floats.settled(first, self.nan)
        if self._low is None:
            self._shape = layout.parameter_shape
            self._low, self._high = low, high
            self._limits = np.zeros(low.size)
            if self.method != "minmax":
                self._counts = np.zeros((low.size, 2 * HALF), np.uint64)
        elif layout.parameter_shape != self._shape:
            raise ValueError(f"x has {layout.n_channels} channels on the axis, not {self._low.size}")
        else:
            self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        if self.method != "minmax":
            self._widen(low, high)
            self._count(floats, layout)
        return floats

    def _widen(self, low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
        """Make room in the histograms, by merging bins, for elements of a range."""
        greatest = _magnitude(low, high).astype(np.float64)
        _, exponent = np.frexp(greatest)  # greatest < 2**exponent
        limits = np.where(greatest > 0, np.exp2(exponent), 0.0)
        for c in np.flatnonzero(limits > self._limits):
            # Bins begin at zero on both sides, so those of twice the width take two whole ones each.
            if self._limits[c] > 0:  # else there are zeros alone, in the bin above the middle
                n_merged = int(min(limits[c] / self._limits[c], HALF))
                sides = self._counts[c].reshape(2, HALF // n_merged, n_merged).sum(axis=2)
                self._counts[c] = 0
                self._counts[c, HALF - sides.shape[1] : HALF] = sides[0]
                self._counts[c, HALF : HALF + sides.shape[1]] = sides[1]
            self._limits[c] = limits[c]

    def _count(self, floats: Floats, layout: Layout) -> None:
        limits = np.where(self._limits > 0, self._limits, 1)

        def run(piece: Piece) -> None:
            _native.float_histogram(
                floats.of(piece), floats.type, piece.n_channels, piece.n_inner, limits[piece.channels],
                self._counts[piece.channels],
            )  # fmt: skip

        # Only pieces that share no channel can be counted at the same time.
        for _ in ordered_map(run, layout.pieces(), self.threads if layout.is_rows else 1):
            pass

    def range(self) -> Ranges:
        """Tell the chosen range of each channel, as two flat arrays; upside down for one without elements.

        Raises
        ------
        ValueError
            If there was no batch yet.
        """
        if self._low is None:
            raise ValueError("the observer has seen no data: call update first")
        low, high = self._low, self._high
        if self.method == "minmax":
            return low, high
        if self.method == "mse":
            error_of = histogram_error_of(self._counts, self._limits, self.bits, self.symmetric)
            return least_error(error_of, low, high)
        low, high = low.copy(), high.copy()
        for c in np.flatnonzero(self._limits > 0):
            least, most = float(low[c]), float(high[c])
            counts, limit = self._counts[c], float(self._limits[c])
            if self.method == "percentile":
                chosen = percentile_range(counts, limit, self.percentile, self.symmetric)
            else:
                chosen = entropy_range(counts, limit, least, most, self.bits, self.symmetric)
            low[c], high[c] = max(least, chosen[0]), min(most, chosen[1])
        return low, high

    def qparams(self) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
        """Tell the scales and zero points that `quantize_with` takes.

        Returns
        -------
        scale : ndarray of float32
            Of no dimensions, or with an `axis` of one.
        zero_point : ndarray of uint8 or None
            In the same shape; None if they are symmetric.

        Raises
        ------
        ValueError
            If there was no batch yet.
        """
        scale, zero = parameters(*self.range(), self.bits, self.symmetric)
        return scale.reshape(self._shape), None if zero is None else zero.reshape(self._shape)
