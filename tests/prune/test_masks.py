"""Thresholds and masks against NumPy's sorting, on every CPU path and for every type of float."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tersor import _native, prune, reference
from tersor.prune.select import Order

DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
SIZES = [1, 2, 63, 64, 65, 1000, 40_000]
SPARSITIES = [0, 0.1, 0.5, 0.9, 0.9999, 1]


def weights(n: int | tuple[int, ...], dtype: Any, seed: int = 0) -> NDArray[Any]:
    """Normal numbers, a tenth of them zero."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(n) * (rng.random(n) > 0.1)).astype(dtype)


def kept_by_sorting(scores: NDArray[Any], n_pruned: int) -> NDArray[np.bool_]:
    """All but the `n_pruned` least; of equal ones the first are kept."""
    kept = np.zeros(scores.size, bool)
    descending = np.argsort(-scores.astype(np.float64).ravel(), kind="stable")
    kept[descending[: scores.size - n_pruned]] = True
    return kept.reshape(scores.shape)


def smallest_kept(magnitudes: NDArray[Any], n_pruned: int) -> float:
    if n_pruned == magnitudes.size:
        return math.inf
    return float(np.partition(magnitudes.astype(np.float64).ravel(), n_pruned)[n_pruned])


# ---- One array ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_threshold_mask_and_apply_agree_with_sorting(cpu_path: str, dtype: Any, n: int) -> None:
    x = weights(n, dtype)
    for sparsity in SPARSITIES:
        n_pruned = round(sparsity * n)
        assert prune.threshold(x, sparsity) == smallest_kept(np.abs(x), n_pruned)
        kept = kept_by_sorting(np.abs(x), n_pruned)
        for threads in (1, 2):
            assert np.array_equal(prune.mask(x, sparsity, threads=threads), kept)
        pruned = x.copy()
        assert prune.apply_(pruned, sparsity) == n_pruned
        assert pruned.tobytes() == np.where(kept, x, 0).astype(dtype).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 64, 5000])
def test_importance_is_compared_by_value(cpu_path: str, dtype: Any, n: int) -> None:
    x, scores = weights(n, np.float32), weights(n, dtype, seed=1)
    for sparsity in (0, 0.3, 0.7, 1):
        n_pruned = round(sparsity * n)
        kept = kept_by_sorting(scores, n_pruned)
        assert np.array_equal(prune.mask(x, sparsity, importance=scores), kept)
        for target in (x.copy(), x.astype(np.float64), scores.copy()):
            expected = np.where(kept, target, 0)
            assert prune.apply_(target, sparsity, importance=scores) == n_pruned
            assert np.array_equal(target, expected)
        if n_pruned < n:
            assert prune.threshold(scores, sparsity, by="value") == np.sort(scores.astype(float))[n_pruned]


def test_zeros_of_either_sign_are_equal(cpu_path: str) -> None:
    x = np.array([0.0, -0.0, 0.0, -0.0, -1.0, 1.0], np.float32)
    assert prune.mask(x, 0.5).tolist() == [True, False, False, False, True, True]
    assert prune.mask(x, 0.5, importance=x).tolist() == [True, True, False, False, False, True]
    pruned = x.copy()
    prune.apply_(pruned, 0.5)
    assert np.signbit(pruned).tolist() == [False, False, False, False, True, False]


@pytest.mark.parametrize("n", [1, 64, 100_003])
def test_of_equal_numbers_the_first_are_kept(cpu_path: str, n: int) -> None:
    x = np.full(n, -2.5, np.float32)
    for sparsity in (0, 0.5, 1):
        kept = n - round(sparsity * n)
        for threads in (1, 2):
            mask = prune.mask(x, sparsity, threads=threads)
            assert mask.sum() == kept
            assert mask[:kept].all()
        assert prune.threshold(x, sparsity) == (2.5 if kept else math.inf)


def test_ties_are_shared_out_over_pieces() -> None:
    """More numbers than a worker is given, nearly all of which are equal to the threshold."""
    x = np.ones(5 << 19, np.float16)
    x[::7] = 2
    for sparsity in (0.01, 0.3, 0.8):
        kept = kept_by_sorting(x, round(sparsity * x.size))
        for threads in (1, 2):
            assert np.array_equal(prune.mask(x, sparsity, threads=threads), kept)
            pruned = x.copy()
            assert prune.apply_(pruned, sparsity, threads=threads) == x.size - kept.sum()
            assert np.array_equal(pruned, x * kept)


@pytest.mark.parametrize(
    "make",
    [
        lambda n, rng: np.sort(rng.standard_normal(n)),
        lambda n, rng: np.arange(n) % 16 * 1e-3,
        lambda n, rng: np.repeat(rng.standard_normal(n // 16 + 1), 16)[:n],
        lambda n, rng: np.where(np.arange(n) % (n // 100) < 16, 1e9, 1e-9 * rng.random(n)),
        lambda n, rng: rng.standard_normal(n) * 10.0 ** rng.integers(-30, 30, n),
        lambda n, rng: 1 + rng.random(n) * 1e-6,
        lambda n, rng: np.where(rng.random(n) < 0.9, 0, rng.standard_normal(n)),
        lambda n, rng: np.where(np.arange(n) < 0.9 * n, 0.0, 1.0 + np.arange(n)),
        lambda n, rng: np.where(rng.random(n) < 0.5, np.inf, -np.inf),
    ],
)
def test_samples_that_deceive_do_not_matter(make: Any) -> None:
    """Sorted, periodic, in runs, all within one bin, pruned before: the result is always exact."""
    rng = np.random.default_rng(0)
    for n in (40_000, 300_000):
        x = make(n, rng).astype(np.float32)
        for sparsity in (0.001, 0.37, 0.9, 0.999):
            assert prune.threshold(x, sparsity) == smallest_kept(np.abs(x), round(sparsity * n))


@given(st.data(), st.sampled_from(DTYPES))
def test_any_numbers(data: st.DataObject, dtype: Any) -> None:
    bits = data.draw(st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=200))
    width = np.dtype(dtype).itemsize
    spread = data.draw(st.sampled_from([1, 2 ** (8 * width - 16)]))
    x = np.array([b * spread for b in bits], f"u{width}").view(dtype)
    with np.errstate(invalid="ignore"):  # some versions of NumPy warn of what they are asked about
        x = np.where(np.isnan(x), np.array(0, dtype), x)
    sparsity = data.draw(st.floats(0, 1))
    n_pruned = round(sparsity * x.size)
    assert np.array_equal(prune.mask(x, sparsity), kept_by_sorting(np.abs(x), n_pruned))
    assert prune.threshold(x, sparsity) == smallest_kept(np.abs(x), n_pruned)
    assert prune.mask(x, sparsity).tolist() == reference.prune.mask(x.tolist(), sparsity)
    assert prune.threshold(x, sparsity) == reference.prune.threshold(x.tolist(), sparsity)


# ---- Many arrays, rows, n of m --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_arrays_are_pruned_as_one(cpu_path: str, dtype: Any) -> None:
    shapes = [(3, 5), (), (0, 4), (70, 300), (64,), (2, 2, 9)]
    arrays = [np.asarray(weights(shape, dtype, seed=i)) for i, shape in enumerate(shapes)]
    joined = np.concatenate([a.ravel() for a in arrays])
    for sparsity in (0, 0.5, 0.95, 1):
        assert prune.threshold(arrays, sparsity) == prune.threshold(joined, sparsity)
        masks = prune.mask(tuple(arrays), sparsity)
        assert [m.shape for m in masks] == shapes
        assert np.array_equal(np.concatenate([m.ravel() for m in masks]), prune.mask(joined, sparsity))
        scored = prune.mask(arrays, sparsity, importance=arrays)
        flat = prune.mask(joined, sparsity, importance=joined)
        assert np.array_equal(np.concatenate([m.ravel() for m in scored]), flat)
        pruned = [a.copy() for a in arrays]
        assert prune.apply_(pruned, sparsity) == round(sparsity * joined.size)
        for a, before, mask in zip(pruned, arrays, masks, strict=True):
            assert np.array_equal(a, np.where(mask, before, 0))
    assert prune.threshold([], 0.5) == math.inf
    assert prune.mask([], 0.5) == []
    assert prune.apply_([], 0.5) == prune.apply_([], threshold=0.5) == prune.apply_([], n=2, m=4) == 0
    with pytest.raises(ValueError, match="from 0 to 1"):
        prune.apply_([], 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_each_index_of_an_axis_is_pruned_on_its_own(cpu_path: str, dtype: Any, axis: int) -> None:
    x = weights((7, 30, 11), dtype)
    rows = np.moveaxis(x, axis, 0)
    for sparsity in (0, 0.4, 0.9, 1):
        mask = prune.mask(x, sparsity, axis=axis)
        thresholds = prune.threshold(x, sparsity, axis=axis)
        n_pruned = round(sparsity * rows[0].size)
        assert mask.shape == x.shape
        assert (thresholds.dtype, thresholds.shape) == (x.dtype, (len(rows),))
        for row, kept, number in zip(rows, np.moveaxis(mask, axis, 0), thresholds, strict=True):
            assert np.array_equal(kept, kept_by_sorting(np.abs(row), n_pruned))
            assert float(number) == smallest_kept(np.abs(row), n_pruned)
        pruned = x.copy()
        assert prune.apply_(pruned, sparsity, axis=axis) == n_pruned * len(rows)
        assert np.array_equal(pruned, np.where(mask, x, 0))


def test_long_rows(cpu_path: str) -> None:
    x = weights((3, 70_000), np.float32)
    mask = prune.mask(x, 0.75, axis=0)
    for row, kept in zip(x, mask, strict=True):
        assert np.array_equal(kept, kept_by_sorting(np.abs(row), 52_500))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n", "m"), [(2, 4), (1, 4), (4, 4), (0, 4), (1, 2), (3, 6), (8, 16), (5, 32), (1, 1)]
)
def test_n_of_m(cpu_path: str, dtype: Any, n: int, m: int) -> None:
    for rows in (1, 3, 70):
        x = weights((rows, 96), dtype)
        groups = np.abs(x.astype(np.float64)).reshape(-1, m)
        kept = np.zeros(groups.shape, bool)
        np.put_along_axis(kept, np.argsort(-groups, axis=1, kind="stable")[:, :n], True, axis=1)
        assert np.array_equal(prune.mask(x, n=n, m=m), kept.reshape(x.shape))
        assert kept.ravel().tolist() == reference.prune.mask_nm(x.ravel().tolist(), n, m)
        pruned = x.copy()
        assert prune.apply_(pruned, n=n, m=m) == x.size - kept.sum()
        assert np.array_equal(pruned, np.where(kept.reshape(x.shape), x, 0))
    values = weights((5, 96), dtype, seed=2)
    kept = np.concatenate([kept_by_sorting(group, m - n) for group in values.reshape(-1, m)])
    assert np.array_equal(prune.mask(values, n=n, m=m, importance=values).ravel(), kept)


# ---- Applying -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 64, 1001])
def test_masks_and_thresholds_are_applied(cpu_path: str, dtype: Any, n: int) -> None:
    x = weights(n, dtype)
    mask = np.random.default_rng(3).random(n) < 0.3
    for limit in (0, 0.5, 0.7501, 1e9):
        pruned = x.copy()
        below = np.abs(x.astype(np.float64)) < limit
        assert prune.apply_(pruned, threshold=limit) == below.sum()
        assert np.array_equal(pruned, np.where(below, 0, x))
    assert prune.apply_(x, mask=mask) == n - mask.sum()
    assert not x[~mask].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_that_are_not_contiguous(dtype: Any) -> None:
    for view in (lambda a: a.T, lambda a: a[::2, 1::3], lambda a: a[::-1]):
        x = weights((40, 60), dtype)
        before = view(x).copy()
        kept = kept_by_sorting(np.abs(before), round(0.6 * before.size))
        assert np.array_equal(prune.mask(view(x), 0.6), kept)
        assert prune.apply_(view(x), 0.6) == before.size - kept.sum()
        assert np.array_equal(view(x), np.where(kept, before, 0))
        again = view(weights((40, 60), dtype))
        prune.apply_(again, threshold=0.5)
        assert np.array_equal(again, np.where(np.abs(before) < 0.5, 0, before))
        prune.apply_(again, mask=kept)
        assert not again[~kept].any()


def test_own_thresholds_keep_what_the_mask_keeps() -> None:
    x = np.random.default_rng(0).permutation(10_000).astype(np.float32)
    by_threshold, by_sparsity = x.copy(), x.copy()
    prune.apply_(by_threshold, threshold=prune.threshold(x, 0.83))
    prune.apply_(by_sparsity, 0.83)
    assert np.array_equal(by_threshold, by_sparsity)


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 64, 65, 1000])
def test_masks_as_bits(cpu_path: str, n: int) -> None:
    mask = np.random.default_rng(n).random(n) < 0.4
    bits = prune.pack(mask)
    assert np.array_equal(bits, np.packbits(mask, bitorder="little"))
    assert np.array_equal(prune.unpack(bits, n), mask)
    x = weights(n, np.float32)
    assert np.array_equal(prune.mask(x, 0.5, packed=True), prune.pack(prune.mask(x, 0.5)))
    with pytest.raises(ValueError, match="bytes of bits"):
        prune.unpack(bits, n + 8)


# ---- Arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sparsity", [-0.1, 1.0001, math.nan, math.inf])
def test_sparsity_is_from_0_to_1(sparsity: float) -> None:
    x = np.ones(3, np.float32)
    for function in (prune.threshold, prune.mask, prune.apply_):
        with pytest.raises(ValueError, match="from 0 to 1"):
            function(x, sparsity)
        with pytest.raises(ValueError, match="from 0 to 1"):
            function([x], sparsity)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_is_named_by_its_index(cpu_path: str, dtype: Any) -> None:
    for shape, index in (((2, 3), (1, 2)), ((300, 400), (299, 7))):
        for nan in (np.nan, -np.nan):
            x = weights(shape, dtype)
            x[index] = nan
            before = x.copy()
            where = rf"NaN at index \({index[0]}, {index[1]}\)"
            calls = [
                lambda x=x: prune.threshold(x, 0.5),
                lambda x=x: prune.threshold(x, 1),
                lambda x=x: prune.threshold(x, 0.5, axis=1),
                lambda x=x: prune.mask(x, 0.5),
                lambda x=x: prune.mask(x, 0.5, axis=1),
                lambda x=x: prune.mask(np.zeros(x.shape), 0.5, importance=x),
                lambda x=x: prune.apply_(x, 0.5),
                lambda x=x: prune.apply_(x, threshold=0.5),
            ]
            for call in calls:
                with pytest.raises(ValueError, match=where):
                    call()
            with pytest.raises(ValueError, match=where + " of array 1"):
                prune.apply_([np.ones(3, dtype), x], 0.5)
            assert x.tobytes() == before.tobytes()
    with pytest.raises(ValueError, match="the threshold is NaN"):
        prune.apply_(np.ones(3, dtype), threshold=math.nan)


def test_other_types_are_refused() -> None:
    for x in (np.arange(3), np.ones(3, bool), np.ones(3, ">f4"), np.ones(3, complex)):
        for function in (prune.threshold, prune.mask, prune.apply_):
            with pytest.raises(TypeError, match="is needed"):
                function(x, 0.5)
    mixed = [np.ones(3, np.float32), np.ones(3)]
    with pytest.raises(TypeError, match="one dtype, not float32, float64"):
        prune.threshold(mixed, 0.5)
    with pytest.raises(TypeError, match="array of bool"):
        prune.pack(np.ones(3))
    with pytest.raises(TypeError, match="uint8"):
        prune.unpack(np.ones(3), 3)


def test_arguments_that_do_not_fit() -> None:
    x = np.ones((4, 6), np.float32)
    for arguments in ({}, {"sparsity": 0.5, "n": 2, "m": 4}):
        with pytest.raises(ValueError, match="how much to prune"):
            prune.mask(x, **arguments)
        with pytest.raises(ValueError, match="what to prune"):
            prune.apply_(x, **arguments)
    for n, m in ((2, None), (3, 2), (-1, 2), (0, 0), (1, 33)):
        with pytest.raises(ValueError, match="n and m must be"):
            prune.mask(x, n=n, m=m)
    with pytest.raises(ValueError, match="groups of 4"):
        prune.mask(x, n=2, m=4)
    with pytest.raises(ValueError, match="last axis"):
        prune.mask(x, n=1, m=2, axis=0)
    with pytest.raises(ValueError, match="axis is for a sparsity"):
        prune.apply_(x, threshold=0.5, axis=0)
    with pytest.raises(ValueError, match="axis 2 does not exist"):
        prune.mask(x, 0.5, axis=2)
    with pytest.raises(ValueError, match="axis is for one array"):
        prune.threshold([x], 0.5, axis=0)
    with pytest.raises(ValueError, match="by must be"):
        prune.threshold(x, 0.5, by="size")
    with pytest.raises(ValueError, match="importance has the shape"):
        prune.mask(x, 0.5, importance=np.ones(24, np.float32))
    with pytest.raises(ValueError, match="one array for each"):
        prune.mask([x], 0.5, importance=x)
    with pytest.raises(ValueError, match="threads"):
        prune.mask(x, 0.5, threads=0)
    for mask in (np.ones(24, bool), np.ones((4, 6))):
        with pytest.raises(ValueError, match="mask must be"):
            prune.apply_(x, mask=mask)
    x.flags.writeable = False
    assert prune.mask(x, 0.5).sum() == 12
    with pytest.raises(ValueError, match="read-only"):
        prune.apply_(x, 0.5)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty_arrays(shape: tuple[int, ...]) -> None:
    x = np.empty(shape, np.float32)
    assert prune.threshold(x, 0.5) == math.inf
    assert prune.mask(x, 0.5).shape == shape
    assert prune.apply_(x, 0.5) == 0
    for axis in range(len(shape)):
        assert prune.mask(x, 0.5, axis=axis).shape == shape
        assert prune.threshold(x, 0.5, axis=axis).tolist() == [math.inf] * shape[axis]


def test_scalars() -> None:
    x = np.array(-3, np.float32)
    assert prune.threshold(x, 0) == 3
    assert prune.mask(x, 0).shape == ()
    assert prune.apply_(x, 1) == 1
    assert x == 0


def test_kernels_check_their_buffers() -> None:
    order = Order.of(np.dtype(np.float32)).native
    eight, none = bytearray(8), bytearray()
    assert order.width == 4
    for call in (
        lambda: _native.PruneOrder(3, 0),
        lambda: _native.prune_count(order, bytes(7), 0, 0, none),
        lambda: _native.prune_count(order, bytes(8), 0, order.max_key + 1, none),
        lambda: _native.prune_sample(order, bytes(64), bytearray(128)),
        lambda: _native.prune_sample(order, bytes(64), bytearray(32)),
        lambda: _native.prune_histogram(order, bytes(8), 0, 1, np.zeros(5, np.uint64)),
        lambda: _native.prune_select(eight, 4, 2),
        lambda: _native.prune_select_rows(order, bytes(8), 2, 1, np.zeros((2, 3), np.uint64)),
        lambda: _native.prune_mask(order, bytes(8), 0, 0, bytearray(1)),
        lambda: _native.prune_mask(order, bytes(8), order.max_key + 2, 0, bytearray(2)),
        lambda: _native.prune_mask_rows(order, bytes(8), np.zeros((3, 3), np.uint64), 0, bytearray(2)),
        lambda: _native.prune_mask_nm(order, bytes(8), 1, 3, bytearray(2)),
        lambda: _native.prune_apply(order, eight, order.max_key + 2, 0),
        lambda: _native.prune_apply_scored(eight, 4, order, bytes(4), 0, 0),
        lambda: _native.prune_apply_mask(eight, 4, bytes(3)),
        lambda: _native.prune_pack(bytes(9), bytearray(1)),
        lambda: _native.prune_unpack(bytes(1), bytearray(9)),
    ):
        with pytest.raises(ValueError, match=r"."):
            call()


# ---- torch --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_tensors(name: str) -> None:
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, name)
    w = torch.from_numpy(weights((30, 40), np.float32)).to(dtype)
    mask = prune.mask(w, 0.75)
    assert mask.dtype == torch.bool
    assert np.array_equal(mask.numpy(), kept_by_sorting(w.double().abs().numpy(), 900))
    rows = prune.threshold(w, 0.75, axis=0)
    assert (rows.dtype, rows.shape) == (dtype, (30,))
    assert prune.pack(mask).dtype == torch.uint8
    assert torch.equal(prune.unpack(prune.pack(mask), (30, 40)), mask)
    parameter = torch.nn.Parameter(w.clone())
    assert prune.apply_(parameter, 0.75) == 900
    assert torch.equal(parameter.detach(), w * mask)
    turned = w.clone().T
    assert prune.apply_([turned], 0.5, importance=[turned.double().abs()]) == 600
    assert torch.equal(turned.contiguous(), (w * 1).T * prune.mask(w.T.double(), 0.5))
