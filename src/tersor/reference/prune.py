"""Pruning of lists of numbers: what to keep, by sorting (docs/pruning.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["mask", "mask_nm", "threshold"]


def _n_pruned(n: int, sparsity: float) -> int:
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity must be from 0 to 1, not {sparsity!r}")
    return round(sparsity * n)


def _from_most_important(scores: Sequence[float]) -> list[int]:
    """Places of the scores, the largest first; of equal ones the first comes first."""
    for i, score in enumerate(scores):
        if math.isnan(score):
            raise ValueError(f"NaN at index {i}: NaNs cannot be compared")
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def threshold(numbers: Sequence[float], sparsity: float) -> float:
    """Find the smallest magnitude that is kept.

    Parameters
    ----------
    numbers : sequence of float
    sparsity : float
        Part to prune, 0 to 1.

    Returns
    -------
    float
        Infinity if nothing is kept.

    Raises
    ------
    ValueError
        If `sparsity` is not from 0 to 1, or a number is NaN.

    Examples
    --------
    >>> threshold([0.5, -3, 1, -0.25, 2], 0.4)
    1
    """
    magnitudes = [abs(x) for x in numbers]
    order = _from_most_important(magnitudes)
    n_kept = len(numbers) - _n_pruned(len(numbers), sparsity)
    return magnitudes[order[n_kept - 1]] if n_kept else math.inf


def mask(numbers: Sequence[float], sparsity: float, importance: Sequence[float] | None = None) -> list[bool]:
    """Tell which numbers are kept: all but the least important ones, by magnitude if nothing else is given.

    Parameters
    ----------
    numbers : sequence of float
    sparsity : float
        Part to prune, 0 to 1; ``round(sparsity * n)`` numbers are.
    importance : sequence of float, optional
        A score for each number. Of equal ones the first are kept.

    Returns
    -------
    list of bool

    Raises
    ------
    ValueError
        As `threshold` does.

    Examples
    --------
    >>> mask([0.5, -3, 1, -0.25], 0.5)
    [False, True, True, False]
    """
    scores = [abs(x) for x in numbers] if importance is None else importance
    order = _from_most_important(scores)
    kept = set(order[: len(numbers) - _n_pruned(len(numbers), sparsity)])
    return [i in kept for i in range(len(numbers))]


def mask_nm(numbers: Sequence[float], n: int, m: int) -> list[bool]:
    """Keep the `n` largest magnitudes of every `m` numbers.

    Parameters
    ----------
    numbers : sequence of float
        A multiple of `m` of them.
    n, m : int

    Returns
    -------
    list of bool

    Raises
    ------
    ValueError
        If a number is NaN.

    Examples
    --------
    >>> mask_nm([0.5, -3, 1, -0.25, 1, 1, 1, 1], 2, 4)
    [False, True, True, False, True, True, False, False]
    """
    kept = []
    for start in range(0, len(numbers), m):
        group = numbers[start : start + m]
        first = set(_from_most_important([abs(x) for x in group])[:n])
        kept += [i in first for i in range(m)]
    return kept
