"""Ranks of numbers: the key that as many others are below as are pruned, over any number of arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..arrays import bytes_of
from ..parallel import ordered_map

# Bits of infinity, by type.
_INFINITY = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F800000, "float64": 0x7FF0 << 48}

# Numbers that are handed to a worker at a time.
_CHUNK = 1 << 20
# A sample pays from so many numbers on. It is this part of them, within limits, and in runs.
_SAMPLED_MIN = 1 << 15
_SAMPLE_PART = 32
_SAMPLE_MIN, _SAMPLE_MAX = 1 << 11, 1 << 15
_SAMPLE_RUN = 16
# Standard deviations on either side, and keys: numbers that lie side by side are more alike than others.
_DEVIATIONS = 5
_MARGIN = 32
# Room for keys: a part of the numbers, and at least so many.
_KEPT_PART = 8
_KEPT_MIN = 1 << 14


class Rank(NamedTuple):
    """A key, and how many keys are less and how many equal, itself included."""

    key: int
    n_less: int
    n_equal: int


@dataclass(frozen=True)
class Order:
    """How the numbers of a dtype are compared: by magnitude or by value, as integer keys."""

    dtype: np.dtype[Any]
    by_value: bool
    native: _native.PruneOrder

    @staticmethod
    def of(dtype: np.dtype[Any], by_value: bool = False) -> Order:
        """Make the order of a dtype; `TypeError` if it is none of the four."""
        if dtype.name not in _INFINITY or not dtype.isnative:
            raise TypeError(f"float16, bfloat16, float32 or float64 is needed, not {dtype}")
        return Order(dtype, by_value, _native.PruneOrder(dtype.itemsize, _INFINITY[dtype.name], by_value))

    @property
    def key_dtype(self) -> np.dtype[Any]:
        """Unsigned integers of the same size."""
        return np.dtype(f"u{self.dtype.itemsize}")

    def key_above(self, number: float) -> int:
        """The least key whose number is no less than `number`."""
        middle = self._middle
        with np.errstate(over="ignore"):
            rounded = np.array([number], self.dtype)
        bits = int(rounded.view(self.key_dtype)[0])
        magnitude = bits & ((1 << 8 * self.dtype.itemsize - 1) - 1)
        key = middle + (-magnitude if bits != magnitude else magnitude)
        return key + (float(rounded[0]) < number)

    def numbers(self, keys: NDArray[Any]) -> NDArray[Any]:
        """Turn keys into the numbers that have them; one above that of infinity is infinity too."""
        sign = 1 << 8 * self.dtype.itemsize - 1
        if self.by_value:
            middle = keys.dtype.type(sign)
            bits = np.where(keys < middle, middle + (middle - keys), keys - middle)
        else:
            bits = keys
        magnitudes = np.minimum(bits & keys.dtype.type(sign - 1), keys.dtype.type(_INFINITY[self.dtype.name]))
        numbers: NDArray[Any] = (magnitudes | bits & keys.dtype.type(sign)).view(self.dtype)
        return numbers

    @property
    def _middle(self) -> int:
        return 1 << 8 * self.dtype.itemsize - 1 if self.by_value else 0


def chunks(array: NDArray[Any]) -> list[memoryview]:
    """Cut the bytes of a contiguous array into pieces for workers."""
    view = bytes_of(array)
    step = _CHUNK * array.itemsize
    return [view[at : at + step] for at in range(0, len(view), step)]


def refuse_nan(arrays: Sequence[NDArray[Any]], threads: int | None = None) -> None:
    """Raise `ValueError` for the first NaN, with its index."""
    for array in arrays:
        order = Order.of(array.dtype)
        nothing = np.empty(0, order.key_dtype)

        def has_nan(chunk: memoryview, order: Order = order, nothing: NDArray[Any] = nothing) -> bool:
            return _native.prune_count(order.native, chunk, 0, 0, bytes_of(nothing))[2]

        if any(ordered_map(has_nan, chunks(array), threads)):
            raise _nan_error(arrays)


def _nan_error(arrays: Sequence[NDArray[Any]]) -> ValueError:
    for i, array in enumerate(arrays):
        found = np.flatnonzero(np.isnan(array.ravel()))
        if found.size:
            index = tuple(int(k) for k in np.unravel_index(found[0], array.shape))
            where = f" of array {i}" if len(arrays) > 1 else ""
            return ValueError(f"NaN at index {index}{where}: NaNs cannot be compared")
    raise AssertionError("no NaN")


def find_rank(arrays: Sequence[NDArray[Any]], order: Order, rank: int, threads: int | None = None) -> Rank:
    """Find the key of a rank among the numbers of all arrays.

    Parameters
    ----------
    arrays : sequence of ndarray
        Contiguous, of the order's dtype.
    order : Order
    rank : int
        0 is the least; below the number of all numbers.
    threads : int, optional

    Returns
    -------
    Rank

    Raises
    ------
    ValueError
        If there is a NaN.

    Notes
    -----
    A sample tells between which keys the one of this rank most likely is. One pass counts what is below,
    and collects the few keys between them, in which it is then found. Where the sample is wrong, or too many
    keys are there, histograms of 2^11 bins narrow the bounds first: the result is exact in any case.
    """
    pieces = [piece for array in arrays for piece in chunks(array)]
    n = sum(array.size for array in arrays)
    key_dtype = order.key_dtype
    lo, hi = 0, order.native.max_key
    if n >= _SAMPLED_MIN:
        lo, hi = _likely_bounds(arrays, order, rank, n)
    # Also where a sample was right: only numbers within the bounds are looked at in detail.
    while True:

        def count(piece: memoryview, lo: int = lo, hi: int = hi) -> tuple[int, int, bool, NDArray[Any]]:
            n_here = len(piece) // key_dtype.itemsize
            room = min(n_here, max(n_here // _KEPT_PART, _KEPT_MIN)) if lo < hi else 0
            keys = np.empty(room, key_dtype)
            n_below, n_inside, has_nan = _native.prune_count(order.native, piece, lo, hi, bytes_of(keys))
            # A copy, unless it is full: what was not needed is not kept waiting.
            return n_below, n_inside, has_nan, keys[:n_inside].copy() if n_inside <= room else keys[:0]

        counted = list(ordered_map(count, pieces, threads))
        n_below = sum(c[0] for c in counted)
        n_inside = sum(c[1] for c in counted)
        if any(c[2] for c in counted):
            raise _nan_error(arrays)
        if rank < n_below:
            lo, hi = 0, lo - 1
        elif rank >= n_below + n_inside:
            lo, hi = hi + 1, order.native.max_key
        elif lo == hi:
            return Rank(lo, n_below, n_inside)
        elif sum(len(c[3]) for c in counted) == n_inside:
            keys = np.concatenate([c[3] for c in counted])
            key, n_less, n_equal = _native.prune_select(bytes_of(keys), key_dtype.itemsize, rank - n_below)
            return Rank(key, n_below + n_less, n_equal)
        else:
            lo, hi = _narrow(pieces, order, rank - n_below, lo, hi, threads)


def _likely_bounds(arrays: Sequence[NDArray[Any]], order: Order, rank: int, n: int) -> tuple[int, int]:
    """Keys between which the one of a rank is, unless a sample deceives."""
    sample = []
    size = min(max(n // _SAMPLE_PART, _SAMPLE_MIN), _SAMPLE_MAX)
    for array in arrays:
        share = round(array.size / n * size / _SAMPLE_RUN) * _SAMPLE_RUN
        if 0 < share <= array.size:
            keys = np.empty(share, order.key_dtype)
            _native.prune_sample(order.native, bytes_of(array), bytes_of(keys))
            sample.append(keys)
    lo, hi = 0, order.native.max_key
    if not sample:
        return lo, hi
    joined = np.concatenate(sample)
    quantile = rank / n
    margin = int(_DEVIATIONS * math.sqrt(joined.size * quantile * (1 - quantile))) + _MARGIN
    middle = int(joined.size * quantile)
    first, last = middle - margin, middle + margin
    bounds = [place for place in (first, last) if 0 <= place < joined.size]
    if bounds:
        joined.partition(bounds)
    if first >= 0:
        lo = min(int(joined[first]), hi)
    if last < joined.size:
        hi = min(int(joined[last]), hi)
    # Of what was pruned before, most are zeros: they are below, and not many keys that are alike.
    return (max(lo, 1) if hi > 0 else 0), hi


def _narrow(
    pieces: Sequence[memoryview], order: Order, rank: int, lo: int, hi: int, threads: int | None
) -> tuple[int, int]:
    """Cut the range from `lo` to `hi` into bins and find the one with the key of a rank in the range."""

    def histogram(piece: memoryview) -> NDArray[np.uint64]:
        counts = np.zeros(_native.PRUNE_BINS, np.uint64)
        _native.prune_histogram(order.native, piece, lo, hi, counts)
        return counts

    total = np.zeros(_native.PRUNE_BINS, np.uint64)
    for counts in ordered_map(histogram, pieces, threads):
        total += counts
    ends = np.cumsum(total)
    place = int(np.searchsorted(ends, rank, side="right"))
    width = 1 << max((hi - lo).bit_length() - (_native.PRUNE_BINS.bit_length() - 1), 0)
    return lo + place * width, min(lo + (place + 1) * width - 1, hi)
