"""Thresholds, masks and masks applied: what to keep of one array, of many as one, or of each row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..arrays import as_numpy, bytes_of, in_kind_of
from ..parallel import n_workers, ordered_map
from .select import Order, chunks, find_rank, refuse_nan

__all__ = ["apply_", "mask", "pack", "threshold", "unpack"]

T = TypeVar("T")

# Longer rows are worth the search for their likely bounds.
_SHORT_ROW = 1 << 15
_ROWS_TOGETHER = 1 << 18  # numbers in the rows that a worker is given


def _check_sparsity(sparsity: float) -> float:
    if not 0 <= sparsity <= 1:  # so is a NaN
        raise ValueError(f"sparsity must be from 0 to 1, not {sparsity!r}")
    return float(sparsity)


def n_pruned(size: int, sparsity: float) -> int:
    """How many of `size` numbers are pruned: the nearest whole number, the even one of two."""
    return round(_check_sparsity(sparsity) * size)


def _contiguous(x: Any) -> NDArray[Any]:
    array = as_numpy(x)
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _several(x: Any) -> bool:
    return isinstance(x, (list, tuple))


def _scored(
    arrays: Sequence[NDArray[Any]], importance: Any, several: bool
) -> tuple[list[NDArray[Any]], bool]:
    """The numbers that decide, and whether they are compared by value."""
    if importance is None:
        return list(arrays), False
    if several != _several(importance) or (several and len(importance) != len(arrays)):
        raise ValueError("importance must be one array for each of x")
    scores = [_contiguous(score) for score in (importance if several else [importance])]
    for array, score in zip(arrays, scores, strict=True):
        if array.shape != score.shape:
            raise ValueError(f"importance has the shape {score.shape}, x has {array.shape}")
    return scores, True


def _order_of(arrays: Sequence[NDArray[Any]], by_value: bool = False) -> Order:
    dtypes = sorted({array.dtype.name for array in arrays})
    if len(dtypes) > 1:
        raise TypeError(f"arrays that are pruned as one need one dtype, not {', '.join(dtypes)}")
    return Order.of(arrays[0].dtype, by_value)


class _Cut:
    """A threshold as a key, and how many of those at it are kept."""

    def __init__(self, order: Order, key: int, n_ties: int, *, all_ties: bool) -> None:
        self.order = order
        self.key = key
        self.n_ties = n_ties
        self.all_ties = all_ties

    @staticmethod
    def find(arrays: Sequence[NDArray[Any]], order: Order, n_zero: int, threads: int | None) -> _Cut:
        """Where the `n_zero` least numbers end; of equal ones the last are pruned."""
        n = sum(array.size for array in arrays)
        if n_zero == n:
            refuse_nan(arrays, threads)
            return _Cut(order, order.native.max_key + 1, 0, all_ties=True)
        rank = find_rank(arrays, order, n_zero, threads)
        n_ties = rank.n_less + rank.n_equal - n_zero
        return _Cut(order, rank.key, n_ties, all_ties=n_ties == rank.n_equal)

    def number(self) -> Any:
        """The number itself, in its dtype."""
        return self.order.numbers(np.array([self.key], self.order.key_dtype))[0]

    def map(
        self, pieces: Sequence[memoryview], function: Callable[[int, int], T], threads: int | None
    ) -> list[T]:
        """Call ``function(i, n_ties)`` for every piece with what it keeps of those at the threshold."""
        if self.all_ties:
            return list(ordered_map(lambda i: function(i, 2**63), range(len(pieces)), threads))
        nothing = bytes_of(np.empty(0, self.order.key_dtype))

        def count(piece: memoryview) -> int:
            return _native.prune_count(self.order.native, piece, self.key, self.key, nothing)[1]

        # Pieces keep what those before them leave, so that all have to be counted before any is done.
        left = self.n_ties
        shares = []
        for n_here in ordered_map(count, pieces, threads) if len(pieces) > 1 else [left]:
            shares.append(left)
            left = max(left - n_here, 0)
        return list(ordered_map(lambda i: function(i, shares[i]), range(len(pieces)), threads))


# ---- Rows ---------------------------------------------------------------------------------------


def _by_rows(array: NDArray[Any], axis: int) -> NDArray[Any]:
    """Bring an axis to the front and join the others: a row for each index."""
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(f"axis {axis} does not exist in an array of shape {array.shape}")
    moved = np.ascontiguousarray(np.moveaxis(array, axis, 0))
    return moved.reshape(moved.shape[0], math.prod(moved.shape[1:]))


def _row_cuts(rows: NDArray[Any], order: Order, n_zero: int, threads: int | None) -> NDArray[np.uint64]:
    """Key, number of lesser and number of equal ones of each row's threshold; rows are not empty."""
    found = np.empty((len(rows), 3), np.uint64)
    size = rows.shape[1]
    if n_zero == size:
        found[:] = order.native.max_key + 1, size, 0
    elif size > _SHORT_ROW:
        for row, cut in zip(rows, found, strict=True):
            cut[:] = find_rank([row], order, n_zero, threads)
    else:
        step = max(_ROWS_TOGETHER // size, 1)

        def select(at: int) -> None:
            part = rows[at : at + step]
            _native.prune_select_rows(order.native, bytes_of(part), len(part), n_zero, found[at : at + step])

        for _ in ordered_map(select, range(0, len(rows), step), threads):
            pass
    return found


def _mask_rows(
    scores: NDArray[Any], by_value: bool, sparsity: float, axis: int, threads: int | None
) -> NDArray[Any]:
    order = Order.of(scores.dtype, by_value)
    refuse_nan([scores], threads)
    rows = _by_rows(scores, axis)
    mask = np.empty(rows.shape, np.uint8)
    if rows.size:
        n_zero = n_pruned(rows.shape[1], sparsity)
        found = _row_cuts(rows, order, n_zero, threads)
        step = max(_ROWS_TOGETHER // rows.shape[1], 1)

        def make(at: int) -> None:
            part = slice(at, at + step)
            made = bytes_of(mask[part])
            _native.prune_mask_rows(order.native, bytes_of(rows[part]), found[part], n_zero, made)

        for _ in ordered_map(make, range(0, len(rows), step), threads):
            pass
    moved = np.moveaxis(scores, axis, 0).shape
    return np.ascontiguousarray(np.moveaxis(mask.reshape(moved), 0, axis))


# ---- Public -------------------------------------------------------------------------------------


@overload
def threshold(
    x: Any, sparsity: float, *, axis: None = ..., by: str = ..., threads: int | None = ...
) -> float: ...
@overload
def threshold(x: Any, sparsity: float, *, axis: int, by: str = ..., threads: int | None = ...) -> Any: ...
def threshold(
    x: Any,
    sparsity: float,
    *,
    axis: int | None = None,
    by: Literal["magnitude", "value"] | str = "magnitude",
    threads: int | None = None,
) -> Any:
    """Find the smallest magnitude that is kept when a part of an array is pruned.

    Parameters
    ----------
    x : array, or list or tuple of arrays
        NumPy arrays or CPU torch tensors of float16, bfloat16, float32 or float64; several are taken as one,
        and need one dtype. Copied only if not C-contiguous.
    sparsity : float
        Part to prune, 0 to 1. ``round(sparsity * size)`` numbers are.
    axis : int, optional
        Prune each index of this axis on its own: 0 for each row of a matrix.
    by : {"magnitude", "value"}
        What is compared; "value" is for scores, which may be negative.
    threads : int, optional
        Workers to use; all cores by default. The result does not depend on it.

    Returns
    -------
    float
        Infinity if nothing is kept. With `axis` an array of x's dtype and kind, a number for each index.

    Raises
    ------
    ValueError
        If `sparsity` is not from 0 to 1, or if there is a NaN, whose index is named.
    TypeError
        If the arrays are not of these types, or of several.

    Notes
    -----
    Exact: what ``np.partition(abs(x).ravel(), k)[k]`` finds, without a copy of `x`. One pass over the numbers
    in general, a few more at worst, by radix selection on the bits of the floats.

    Examples
    --------
    >>> x = np.array([0.5, -3, 1, -0.25, 2], dtype=np.float32)
    >>> tersor.prune.threshold(x, 0.4)
    1.0
    >>> tersor.prune.threshold([x, 10 * x], 0.5)
    3.0
    """
    if by not in ("magnitude", "value"):
        raise ValueError(f'by must be "magnitude" or "value", not {by!r}')
    n_workers(threads)
    _check_sparsity(sparsity)
    arrays = [_contiguous(a) for a in (x if _several(x) else [x])]
    if not arrays:
        return math.inf
    order = _order_of(arrays, by == "value")
    if axis is None:
        n_zero = n_pruned(sum(array.size for array in arrays), sparsity)
        return float(_Cut.find(arrays, order, n_zero, threads).number())
    if _several(x):
        raise ValueError("axis is for one array")
    refuse_nan(arrays, threads)
    rows = _by_rows(arrays[0], axis)
    if rows.size:
        keys = _row_cuts(rows, order, n_pruned(rows.shape[1], sparsity), threads)[:, 0]
    else:
        keys = np.full(len(rows), order.native.max_key, np.uint64)
    return in_kind_of(order.numbers(keys.astype(order.key_dtype)), x)


def mask(
    x: Any,
    sparsity: float | None = None,
    *,
    n: int | None = None,
    m: int | None = None,
    importance: Any = None,
    axis: int | None = None,
    packed: bool = False,
    threads: int | None = None,
) -> Any:
    """Tell which numbers are kept.

    Parameters
    ----------
    x : array, or list or tuple of arrays
        As for `threshold`.
    sparsity : float, optional
        Part to prune, 0 to 1: exactly ``round(sparsity * size)`` numbers are.
    n, m : int, optional
        Instead of `sparsity`: keep `n` of every `m` consecutive numbers of the last axis, 2 of 4 for NVIDIA's
        sparse tensor cores; `m` is at most 32.
    importance : array, or list or tuple of arrays, optional
        Scores of the same shape, of any of the float types, of which the least are pruned, by value;
        magnitudes by default.
    axis : int, optional
        Prune each index of this axis on its own: 0 for each row of a matrix, as Wanda [1]_ does.
    packed : bool
        Return masks as `pack` makes them.
    threads : int, optional

    Returns
    -------
    array of bool, or list of them
        True for what is kept; of x's kind and shape.

    Raises
    ------
    ValueError
        If `sparsity` is not from 0 to 1, `n` and `m` do not fit, or there is a NaN, whose index is named.
    TypeError
        If the arrays are not of these types.

    Notes
    -----
    Of equal numbers the first are kept, in the order of C and of the arrays.

    References
    ----------
    .. [1] M. Sun, Z. Liu, A. Bair, J. Z. Kolter, "A Simple and Effective Pruning Approach for Large Language
       Models", 2023.

    Examples
    --------
    >>> x = np.array([0.5, -3, 1, -0.25], dtype=np.float32)
    >>> tersor.prune.mask(x, 0.5)
    array([False,  True,  True, False])
    >>> tersor.prune.mask(x, n=1, m=2)
    array([False,  True,  True, False])
    """
    n_workers(threads)
    several = _several(x)
    arrays = [_contiguous(a) for a in (x if several else [x])]
    scores, by_value = _scored(arrays, importance, several)
    masks = _masks(scores, by_value, sparsity, n, m, axis, threads)
    made = [
        in_kind_of(pack(a) if packed else a.view(np.bool_), like)
        for a, like in zip(masks, x if several else [x], strict=True)
    ]
    return made if several else made[0]


def _masks(
    scores: list[NDArray[Any]],
    by_value: bool,
    sparsity: float | None,
    n: int | None,
    m: int | None,
    axis: int | None,
    threads: int | None,
) -> list[NDArray[Any]]:
    """Bytes of 0 and 1 for all arrays."""
    if (sparsity is None) == (n is None and m is None):
        raise ValueError("either sparsity or n and m say how much to prune")
    if sparsity is None:
        if axis is not None:
            raise ValueError("axis is for a sparsity; n of m are along the last axis")
        return [_mask_nm(score, by_value, n, m, threads) for score in scores]
    _check_sparsity(sparsity)
    if axis is not None:
        return [_mask_rows(score, by_value, sparsity, axis, threads) for score in scores]
    if not scores:
        return []
    order = _order_of(scores, by_value)
    cut = _Cut.find(scores, order, n_pruned(sum(score.size for score in scores), sparsity), threads)
    masks = [np.empty(score.shape, np.uint8) for score in scores]
    pieces = [piece for score in scores for piece in chunks(score)]
    made = [piece for mask in masks for piece in chunks(mask)]

    def make(i: int, n_ties: int) -> None:
        _native.prune_mask(order.native, pieces[i], cut.key, n_ties, made[i])

    cut.map(pieces, make, threads)
    return masks


def _mask_nm(
    scores: NDArray[Any], by_value: bool, n: int | None, m: int | None, threads: int | None
) -> NDArray[Any]:
    if n is None or m is None or not (0 <= n <= m and 1 <= m <= _native.PRUNE_M_MAX):
        raise ValueError(f"n and m must be 0 <= n <= m and 1 <= m <= {_native.PRUNE_M_MAX}, not {n} and {m}")
    if scores.ndim == 0 or scores.shape[-1] % m:
        raise ValueError(f"the last axis of shape {scores.shape} does not consist of groups of {m}")
    order = Order.of(scores.dtype, by_value)
    refuse_nan([scores], threads)
    mask = np.empty(scores.shape, np.uint8)
    flat, made = scores.reshape(-1), mask.reshape(-1)
    step = _ROWS_TOGETHER // m * m

    def make(at: int) -> None:
        part = slice(at, at + step)
        _native.prune_mask_nm(order.native, bytes_of(flat[part]), n, m, bytes_of(made[part]))

    for _ in ordered_map(make, range(0, flat.size, step), threads):
        pass
    return mask


def apply_(
    x: Any,
    sparsity: float | None = None,
    *,
    mask: Any = None,
    threshold: float | None = None,
    n: int | None = None,
    m: int | None = None,
    importance: Any = None,
    axis: int | None = None,
    threads: int | None = None,
) -> int:
    """Prune in place: make zeros of all numbers that are not kept.

    Parameters
    ----------
    x : array, or list or tuple of arrays
        As for `threshold`; they are changed, and so must be writable.
    sparsity : float, optional
        Part to prune; or `n` and `m`, as for `mask`.
    mask : array of bool, or list or tuple of them, optional
        Instead: what to keep.
    threshold : float, optional
        Instead: keep magnitudes (importances, if given) of so much or more.
    n, m, importance, axis, threads
        As for `mask`.

    Returns
    -------
    int
        How many numbers were not kept, those that were zero before included.

    Raises
    ------
    ValueError
        As `mask` does, if shapes do not fit, or if an array is read-only. Nothing is changed then.
    TypeError
        As `mask` does.

    Examples
    --------
    >>> x = np.array([0.5, -3, 1, -0.25], dtype=np.float32)
    >>> tersor.prune.apply_(x, 0.5), x
    (2, array([ 0., -3.,  1.,  0.], dtype=float32))
    """
    n_workers(threads)
    ways = [sparsity is not None, mask is not None, threshold is not None, not (n is None and m is None)]
    if sum(ways) != 1:
        raise ValueError("one of sparsity, mask, threshold, or n and m says what to prune")
    several = _several(x)
    targets = list(x) if several else [x]
    arrays = [as_numpy(a) for a in targets]
    for array in arrays:
        Order.of(array.dtype)
        if not array.flags.writeable:
            raise ValueError("x is read-only")
    if mask is not None:
        masks = [_byte_mask(a, like) for a, like in zip(mask if several else [mask], arrays, strict=True)]
        return sum(_apply_mask(*pair, threads) for pair in zip(targets, masks, strict=True))
    in_place = all(map(_is_contiguous, targets))
    scores, by_value = _scored(
        arrays if in_place else [np.ascontiguousarray(a) for a in arrays], importance, several
    )
    if in_place and axis is None and n is None and m is None and scores:
        order = _order_of(scores, by_value)
        if threshold is None:
            assert sparsity is not None
            n_zero = n_pruned(sum(a.size for a in arrays), sparsity)
            cut = _Cut.find(scores, order, n_zero, threads)
        else:
            cut = _cut_at(threshold, scores, order, threads)
        return _apply_cut(arrays, scores, cut, importance is not None, threads)
    if threshold is not None:
        masks = []
        for score in scores:
            cut = _cut_at(threshold, [score], Order.of(score.dtype, by_value), threads)
            made = np.empty(score.shape, np.uint8)
            _native.prune_mask(cut.order.native, bytes_of(score), cut.key, 2**63, bytes_of(made))
            masks.append(made)
    else:
        masks = _masks(scores, by_value, sparsity, n, m, axis, threads)
    return sum(_apply_mask(*pair, threads) for pair in zip(targets, masks, strict=True))


def _is_contiguous(x: Any) -> bool:
    """Whether `as_numpy` gives the memory itself, in one piece and in the order of C."""
    return bool(x.flags.c_contiguous if isinstance(x, np.ndarray) else x.is_contiguous())


def _byte_mask(mask: Any, like: NDArray[Any]) -> NDArray[Any]:
    array = np.ascontiguousarray(as_numpy(mask))
    if array.dtype != np.bool_ or array.shape != like.shape:
        raise ValueError(
            f"the mask must be of bool and shape {like.shape}, not of {array.dtype} and shape {array.shape}"
        )
    return array


def _cut_at(threshold: float, scores: Sequence[NDArray[Any]], order: Order, threads: int | None) -> _Cut:
    if math.isnan(threshold):
        raise ValueError("the threshold is NaN")
    refuse_nan(scores, threads)
    number = threshold if order.by_value else max(threshold, 0.0)
    return _Cut(order, order.key_above(number), 0, all_ties=True)


def _apply_cut(
    arrays: list[NDArray[Any]], scores: list[NDArray[Any]], cut: _Cut, scored: bool, threads: int | None
) -> int:
    targets = [piece for array in arrays for piece in chunks(array)]
    pieces = [piece for score in scores for piece in chunks(score)] if scored else targets
    widths = [array.itemsize for array in arrays for _ in chunks(array)]

    def apply(i: int, n_ties: int) -> int:
        if not scored:
            return _native.prune_apply(cut.order.native, targets[i], cut.key, n_ties)
        return _native.prune_apply_scored(targets[i], widths[i], cut.order.native, pieces[i], cut.key, n_ties)

    return sum(cut.map(pieces, apply, threads))


def _apply_mask(x: Any, mask: NDArray[Any], threads: int | None) -> int:
    array = as_numpy(x)
    mask = mask.view(np.uint8)
    if not _is_contiguous(x):
        pruned = mask == 0
        if isinstance(x, np.ndarray):
            np.copyto(x, 0, where=pruned)
        else:
            x.detach().masked_fill_(in_kind_of(pruned, x), 0)
        return int(pruned.sum())
    pairs = list(zip(chunks(array), chunks(mask), strict=True))
    return sum(
        ordered_map(lambda pair: _native.prune_apply_mask(pair[0], array.itemsize, pair[1]), pairs, threads)
    )


def pack(mask: Any) -> Any:
    """Pack a mask into bits.

    Parameters
    ----------
    mask : array of bool
        Of any shape.

    Returns
    -------
    array of uint8
        One-dimensional: eight elements a byte in the order of C, the first in the lowest bit.

    Examples
    --------
    >>> tersor.prune.pack(np.array([True, False, False, True, True]))
    array([25], dtype=uint8)
    """
    array = np.ascontiguousarray(as_numpy(mask))
    if array.dtype not in (np.bool_, np.uint8):
        raise TypeError(f"a mask is an array of bool, not of {array.dtype}")
    bits = np.empty(-(-array.size // 8), np.uint8)
    _native.prune_pack(bytes_of(array), bytes_of(bits))
    return in_kind_of(bits, mask)


def unpack(bits: Any, shape: int | tuple[int, ...]) -> Any:
    """Turn what `pack` made into a mask again.

    Parameters
    ----------
    bits : array of uint8
    shape : int or tuple of int
        The mask's.

    Returns
    -------
    array of bool

    Raises
    ------
    ValueError
        If the bits are not as many as the shape needs.

    Examples
    --------
    >>> tersor.prune.unpack(np.array([25], dtype=np.uint8), 5)
    array([ True, False, False,  True,  True])
    """
    array = np.ascontiguousarray(as_numpy(bits))
    if array.dtype != np.uint8:
        raise TypeError(f"packed masks are arrays of uint8, not of {array.dtype}")
    mask = np.empty(shape, np.uint8)
    if array.size != -(-mask.size // 8):
        raise ValueError(f"{array.size} bytes of bits are no mask of shape {mask.shape}")
    _native.prune_unpack(bytes_of(array), bytes_of(mask))
    return in_kind_of(mask.view(np.bool_), bits)
