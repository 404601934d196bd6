"""Codebooks in plain Python: the nearest level, and the best levels there are (docs/quantization.md).

`nearest` and `dequantize` give what the kernels give. `kmeans` tries all ways to cut the sorted values, and
finds the least error possible; the library comes close to that, and reaches it where no more than 1024
values differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import accumulate

from .quantize import float32

__all__ = ["dequantize", "kmeans", "nearest", "quantiles", "squared_error"]


def nearest(x: Iterable[float], levels: Sequence[float], scale: float = 1.0) -> list[int]:
    """Find the nearest level for each element.

    Parameters
    ----------
    x : iterable of float
        Floats of 32 bits.
    levels : sequence of float
        Floats of 32 bits that ascend. -infinity may be the first, infinity the last, and a NaN after that.
    scale : float
        What elements are divided by, rounded to 32 bits; a scale of 0 counts as 1.

    Returns
    -------
    list of int
        In the middle between two levels the lower; of equal levels the first; for NaN the last of all.

    Examples
    --------
    >>> nearest([0.4, 0.5, 0.6, 9.0], [0.0, 1.0, 1.0])
    [0, 0, 1, 1]
    """
    return [_nearest(float32(e / (scale or 1.0)), levels) for e in x]


def _nearest(x: float, levels: Sequence[float]) -> int:
    if math.isnan(x):
        return len(levels) - 1
    best = 0
    for i, level in enumerate(levels):
        if not math.isnan(level) and _is_nearer(x, level, levels[best]):
            best = i
    return best


def _is_nearer(x: float, level: float, best: float) -> bool:
    """Whether `level`, which is not below `best`, is nearer to x; fractions round nothing."""
    if level == best:
        return False
    if math.isinf(x) or math.isinf(level):
        return level == x
    if math.isinf(best):
        return True
    return 2 * Fraction(x) > Fraction(best) + Fraction(level)


def dequantize(indices: Iterable[int], levels: Sequence[float], scale: float = 1.0) -> list[float]:
    """Put levels, by the scale, in the place of indices; `quantize.float16` and `bfloat16` round further.

    Raises
    ------
    IndexError
        If an index is beyond the codebook.

    Examples
    --------
    >>> dequantize([1, 0], [-1.0, 0.5], 3.0)
    [1.5, -3.0]
    """
    return [float32(levels[i] * scale) for i in indices]


def squared_error(
    x: Sequence[float], levels: Sequence[float], weights: Sequence[float] | None = None
) -> float:
    """Add up the squared differences of elements to their nearest levels, times their weights.

    Examples
    --------
    >>> squared_error([0.5, 2.0], [0.0, 1.0])
    1.25
    """
    nearest_levels = dequantize(nearest(x, levels), levels)
    return math.fsum(
        w * (e - level) ** 2 for e, level, w in zip(x, nearest_levels, weights or [1.0] * len(x), strict=True)
    )


def kmeans(
    x: Sequence[float], n_levels: int, weights: Sequence[float] | None = None, *, keep_zero: bool = False
) -> list[float]:
    """Find the levels of least squared error; fewer where fewer values differ.

    Clusters of values on a line are intervals, so that the best of the first j values in q clusters is the
    best of the first i in q - 1, and the others in one.

    Parameters
    ----------
    x : sequence of float
        At least one.
    n_levels : int
        At least one.
    weights : sequence of float, optional
        Above zero.
    keep_zero : bool
        Leave out values of 0, and add the level 0.

    Notes
    -----
    Takes time in proportion to ``n_levels * n**2`` for n different values.

    Examples
    --------
    >>> kmeans([1.0, 5.0, 2.0, 5.0, 6.0], 2)
    [1.5, 5.333333492279053]
    >>> kmeans([1.0, 5.0, 0.0, 0.0, 6.0], 2, keep_zero=True)
    [0.0, 4.0]
    """
    pairs = sorted(zip(x, weights or [1.0] * len(x), strict=True))
    if keep_zero:
        pairs = [(value, weight) for value, weight in pairs if value != 0]
        n_levels -= 1
    levels = _best_levels(pairs, n_levels) if pairs and n_levels else []
    if keep_zero and 0 not in levels:
        levels = sorted([*levels, 0.0])
    return [float32(level) for level in levels]


def _best_levels(pairs: list[tuple[float, float]], n_levels: int) -> list[float]:
    values = sorted({value for value, _ in pairs})
    mass = dict.fromkeys(values, Fraction(0))
    for value, weight in pairs:
        mass[value] += Fraction(weight)
    # Sums up to each value; as fractions their differences are exact.
    w = [Fraction(0), *accumulate(mass[v] for v in values)]
    wx = [Fraction(0), *accumulate(mass[v] * Fraction(v) for v in values)]
    wxx = [Fraction(0), *accumulate(mass[v] * Fraction(v) ** 2 for v in values)]

    def error(i: int, j: int) -> float:
        return float(wxx[j] - wxx[i] - (wx[j] - wx[i]) ** 2 / (w[j] - w[i]))

    n = len(values)
    errors = {(i, j): error(i, j) for j in range(1, n + 1) for i in range(j)}
    least = [0.0] + [math.inf] * n
    starts: list[list[int]] = []
    for _ in range(min(n_levels, n)):
        best = [min(range(j), key=lambda i: least[i] + errors[i, j]) for j in range(1, n + 1)]
        least = [math.inf, *(least[i] + errors[i, j] for j, i in enumerate(best, 1))]
        starts.append([0, *best])
    levels = []
    j = n
    for start in reversed(starts):
        i = start[j]
        levels.append(float((wx[j] - wx[i]) / (w[j] - w[i])))
        j = i
    return levels[::-1]


def quantiles(x: Sequence[float], n_levels: int) -> list[float]:
    """Pick the elements in the middle of equal shares.

    Examples
    --------
    >>> quantiles([3.0, 1.0, 2.0, 9.0], 2)
    [2.0, 9.0]
    """
    ordered = sorted(x)
    return [ordered[(2 * i + 1) * len(x) // (2 * n_levels)] for i in range(n_levels)]
