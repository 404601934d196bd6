"""Ranges: of all elements, and of most of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tersor import quantize
from tersor.quantize import Observer, affine
from tersor.quantize.observers import HALF, METHODS


def heavy_tailed(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_t(3, shape).astype(np.float32)


def error(x: NDArray[Any], **options: Any) -> float:
    return float(np.square(affine(x, **options).dequantize() - x).mean())


# ---- Ranges of all ----------------------------------------------------------------------------------


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(max_dims=3, max_side=40),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ),
    st.data(),
)
def test_min_max_is_numpys(x: NDArray[np.float32], data: st.DataObject) -> None:
    axis = data.draw(st.none() | st.integers(0, x.ndim - 1))
    others = None if axis is None else tuple(a for a in range(x.ndim) if a != axis)
    low, high = quantize.min_max(x, axis=axis)
    assert np.array_equal(low, x.min(axis=others))
    assert np.array_equal(high, x.max(axis=others))
    assert np.array_equal(quantize.abs_max(x, axis=axis), np.abs(x).max(axis=others))


def test_min_max_of_groups() -> None:
    x = heavy_tailed((6, 40))
    low, high = quantize.min_max(x, group_size=8)
    assert np.array_equal(low, x.reshape(6, 5, 8).min(axis=2))
    assert np.array_equal(high, x.reshape(6, 5, 8).max(axis=2))


def test_min_max_of_nothing() -> None:
    low, high = quantize.min_max(np.empty((0, 3), np.float32), axis=1)
    assert low.tolist() == [math.inf] * 3
    assert high.tolist() == [-math.inf] * 3
    assert quantize.abs_max(np.empty((0, 3), np.float32), axis=1).tolist() == [0] * 3
    assert float(quantize.abs_max(np.empty(0, np.float32))) == 0


def test_min_max_without_what_is_not_finite() -> None:
    x = np.array([3.0, np.nan, np.inf, 5.0], np.float32)
    assert quantize.min_max(x, nan="keep") == (3.0, 5.0)
    assert quantize.min_max(x, nan="zero") == (0.0, 5.0)


# ---- Observers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_batches_make_no_difference(method: str, symmetric: bool, axis: int | None) -> None:
    x = heavy_tailed((40, 6, 8)) * np.float32(10)
    x[0] *= 30
    batch_axis = 0 if axis == 1 else 2 if axis is None or axis == 0 else 1
    whole = Observer(method, symmetric=symmetric, axis=axis)
    whole.update(x)
    expected = whole.qparams()
    for batches in (np.split(x, 2, batch_axis), np.split(x, 2, batch_axis)[::-1]):
        observer = Observer(method, symmetric=symmetric, axis=axis, threads=2)
        observer.update(np.zeros_like(batches[0]))
        for batch in batches:
            observer.update(batch)
        whole_and_zeros = Observer(method, symmetric=symmetric, axis=axis)
        whole_and_zeros.update(x)
        whole_and_zeros.update(np.zeros_like(batches[0]))
        for a, b in zip(observer.qparams(), whole_and_zeros.qparams(), strict=True):
            assert np.array_equal(a, b)
    assert expected[0].shape == (() if axis is None else (x.shape[axis],))
    assert (expected[1] is None) == symmetric


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_minmax_is_that_of_affine(bits: int, symmetric: bool) -> None:
    x = heavy_tailed((50, 20))
    observer = Observer(bits=bits, symmetric=symmetric, axis=1)
    for batch in np.split(x, 5):
        observer.update(batch)
    q = affine(x, bits=bits, symmetric=symmetric, axis=1)
    scale, zero_point = observer.qparams()
    assert np.array_equal(scale, q.scale)
    assert (zero_point is None and q.zero_point is None) or np.array_equal(zero_point, q.zero_point)
    same = quantize.quantize_with(x, scale, zero_point, bits=bits, axis=1)
    assert np.array_equal(same.values, q.values)


@pytest.mark.parametrize("percentile", [99.0, 99.9, 100.0])
@pytest.mark.parametrize("axis", [None, 0])
def test_percentile_of_the_elements_is_within_a_bin_of_the_range(percentile: float, axis: int | None) -> None:
    x = heavy_tailed((3, 40_000))
    observer = Observer("percentile", percentile=percentile, axis=axis)
    observer.update(x)
    _, high = observer.range()
    end = np.maximum(high, -observer.range()[0])[:, None]
    width = 2 * np.abs(x).max() / HALF
    magnitudes = np.abs(x).reshape(end.size, -1)
    assert ((magnitudes <= end + width).mean(axis=1) >= percentile / 100).all()
    assert ((magnitudes < end - width).mean(axis=1) <= percentile / 100).all()


def test_percentile_cuts_both_sides_if_asymmetric() -> None:
    x = heavy_tailed((100_000,))
    observer = Observer("percentile", percentile=98.0, symmetric=False)
    observer.update(x)
    low, high = observer.range()
    assert np.allclose([low[0], high[0]], np.percentile(x, [1, 99]), atol=2 * np.abs(x).max() / HALF)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("cut", [{}, {"axis": 0}, {"axis": 1}, {"group_size": 32}])
def test_mse_is_never_worse_than_minmax(cut: dict[str, int], symmetric: bool, bits: int) -> None:
    x = heavy_tailed((20, 256))
    options: dict[str, Any] = {"bits": bits, "symmetric": symmetric, **cut}
    least = error(x, observer="mse", **options)
    assert least <= error(x, **options)
    if bits <= 4 and not cut:
        assert least < 0.7 * error(x, **options)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_mse_is_near_the_best_of_many_ranges(symmetric: bool, bits: int) -> None:
    x = heavy_tailed((20_000,))
    least = error(x, bits=bits, symmetric=symmetric, observer="mse")
    low, high = (float(v) for v in quantize.min_max(x))
    others = []
    for factor in np.linspace(0.02, 1, 200):
        observer = Observer(bits=bits, symmetric=symmetric)
        observer.update(np.array([low * factor, high * factor], np.float32))
        scale, zero = observer.qparams()
        q = quantize.quantize_with(x, scale, zero, bits=bits)
        others.append(float(np.square(q.dequantize() - x).mean()))
    assert least <= 1.03 * min(others)


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_mse_of_a_histogram_is_nearly_that_of_the_elements(symmetric: bool, bits: int) -> None:
    x = heavy_tailed((50_000,))
    observer = Observer("mse", bits=bits, symmetric=symmetric)
    observer.update(x)
    q = quantize.quantize_with(x, *observer.qparams(), bits=bits)
    exact = error(x, bits=bits, symmetric=symmetric, observer="mse")
    assert float(np.square(q.dequantize() - x).mean()) <= 1.03 * exact


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_histogram_leaves_out_outliers(symmetric: bool, bits: int) -> None:
    """Of a normal distribution and a few far elements, the range is about that of the former."""
    x = np.random.default_rng(1).standard_normal(200_000).astype(np.float32)
    x[:4] = [40, -40, 55, -60]
    observer = Observer("histogram", bits=bits, symmetric=symmetric)
    observer.update(x)
    low, high = observer.range()
    assert -12 < low[0] < -1.5
    assert 1.5 < high[0] < 12
    assert high[0] < 30


def test_histogram_keeps_what_it_can_show_exactly() -> None:
    """Elements in fewer bins than there are levels lose nothing by the whole range."""
    x = np.repeat(np.arange(100, dtype=np.float32) / 128, 50)
    observer = Observer("histogram", symmetric=False)
    observer.update(x)
    assert observer.range()[1][0] == x.max()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1.0, 1e-42, 3e38])
def test_constants(method: str, symmetric: bool, value: float) -> None:
    observer = Observer(method, symmetric=symmetric)
    observer.update(np.full(1000, value, np.float32))
    scale, zero = observer.qparams()
    q = quantize.quantize_with(np.full(3, value, np.float32), scale, zero)
    # Histograms know an element by its bin.
    assert np.allclose(q.dequantize(), value, rtol=2e-3, atol=2.0**-127)


@pytest.mark.parametrize("method", METHODS)
def test_channels_without_elements(method: str) -> None:
    x = np.full((3, 50), np.nan, np.float32)
    x[1] = heavy_tailed((50,))
    observer = Observer(method, axis=0, nan="keep")
    observer.update(x)
    observer.update(np.empty((3, 0), np.float32))
    scale, _ = observer.qparams()
    assert scale[0] == scale[2] == 1
    assert 0 < scale[1] < 1


def test_batches_that_are_refused() -> None:
    observer = Observer("mse", axis=0)
    with pytest.raises(ValueError, match="seen no data"):
        observer.qparams()
    observer.update(np.ones((3, 2), np.float32))
    with pytest.raises(ValueError, match="x has 2 channels on the axis, not 3"):
        observer.update(np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"x has nan at \[0, 1\]"):
        observer.update(np.array([[1, np.nan], [1, 1], [1, 1]], np.float32))
    before = observer.qparams()[0].copy()
    assert np.array_equal(observer.qparams()[0], before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "median"}, "method must be one of"),
        ({"bits": 1}, "bits must"),
        ({"percentile": 0}, "percentile must"),
        ({"percentile": math.nan}, "percentile must"),
        ({"nan": "drop"}, "nan must be one of"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Observer(**arguments)
