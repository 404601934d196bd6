"""k-means on a line, beside the exact optimum and scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tersor import _native
from tersor.quantize import codebook
from tersor.reference import codebook as reference

F32 = np.float32


def outliers(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    x = rng.normal(size=n)
    x[0], x[-1] = 1e4, -3e6
    return x


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], NDArray[np.float64]]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "far from zero": lambda rng, n: 1000 + rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_t(2, size=n),
    "uniform": lambda rng, n: rng.random(n),
    "skewed": lambda rng, n: rng.lognormal(0, 2, n),
    "outliers": outliers,
    "clusters": lambda rng, n: rng.normal(size=n) * 0.01 + rng.integers(0, 40, n),
    "mostly one value": lambda rng, n: np.where(rng.random(n) < 0.97, 0.5, rng.normal(size=n)),
    "few values": lambda rng, n: rng.integers(-200, 200, n) / 7,
}


def make(name: str, n: int) -> NDArray[np.float32]:
    return DISTRIBUTIONS[name](np.random.default_rng(n), n).astype(F32)


def error_of(x: NDArray[np.float32], levels: NDArray[np.floating]) -> float:
    levels = np.sort(levels.astype(np.float64).ravel())
    wide = x.astype(np.float64)
    nearest = np.searchsorted((levels[1:] + levels[:-1]) / 2, wide)
    return float(np.square(wide - levels[nearest]).sum())


def least_error(x: NDArray[np.float32], levels: int) -> float:
    """The optimum by dynamic programming over all values, in O(n**2) a level."""
    values, counts = np.unique(x.astype(np.float64), return_counts=True)
    values -= np.median(values)
    n = values.size
    w, wx, wxx = (np.concatenate([[0], np.cumsum(counts * values**p)]) for p in (0, 1, 2))
    weight = np.maximum(w[None] - w[:, None], 1)
    error = np.maximum(wxx[None] - wxx[:, None] - np.square(wx[None] - wx[:, None]) / weight, 0)
    error[np.tril_indices(n + 1)] = np.inf
    least = np.full(n + 1, np.inf)
    least[0] = 0
    for _ in range(min(levels, n)):
        least = (least[:, None] + error).min(axis=0)
    return float(least[n])


def fit(x: NDArray[np.floating], levels: int, **options: object) -> NDArray[np.float32]:
    return codebook(x, levels=levels, threads=1, **options).codebook[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("levels", [1, 2, 5, 32])
def test_few_values_get_the_optimum(name: str, levels: int) -> None:
    x = make(name, 800)
    optimum = least_error(x, levels)
    assert error_of(x, fit(x, levels)) <= optimum * (1 + 1e-6) + 1e-12 * float(np.square(x, dtype="f8").sum())


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(("levels", "slack"), [(2, 1e-5), (16, 1e-4), (64, 1e-3)])
def test_many_values_come_close_to_the_optimum(name: str, levels: int, slack: float) -> None:
    x = make(name, 1500)
    optimum = least_error(x, levels)
    assert error_of(x, fit(x, levels)) <= optimum * (1 + slack) + 1e-12 * float(
        np.square(x, dtype="f8").sum()
    )


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("levels", [4, 16])
def test_no_worse_than_scikit_learn(name: str, levels: int) -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    x = make(name, 10_000)
    theirs = cluster.KMeans(levels, n_init=2, random_state=0).fit(x[:, None]).cluster_centers_
    assert error_of(x, fit(x, levels)) <= error_of(x, theirs)


@given(
    hnp.arrays(F32, st.integers(1, 30), elements=st.integers(-50, 50)),
    st.integers(1, 9),
    st.booleans(),
)
def test_reference_agrees(x: NDArray[np.float32], levels: int, keep_zero: bool) -> None:
    """Of equally good levels either may be found, so errors are compared."""
    expected = reference.kmeans(x.tolist(), levels, keep_zero=keep_zero)
    found = codebook(x, levels=levels, keep_zero=keep_zero)
    kept = x[x != 0] if keep_zero else x
    error = reference.squared_error(kept.tolist(), expected)
    assert found.mse is not None
    assert found.mse * x.size <= error * (1 + 1e-5) + 1e-9
    if len(expected) < levels:
        assert sorted(set(found.codebook[0].tolist())) == expected


@given(
    hnp.arrays(F32, 25, elements=st.floats(-1e3, 1e3, width=32)),
    hnp.arrays(F32, 25, elements=st.integers(1, 9)),
    st.integers(1, 6),
)
def test_weights_count_as_repetition(
    x: NDArray[np.float32], weights: NDArray[np.float32], levels: int
) -> None:
    repeated = x.repeat(weights.astype(int))
    weighted = codebook(x, levels=levels, sample_weight=weights).codebook
    expected = codebook(repeated, levels=levels).codebook
    a, b = error_of(repeated, weighted), error_of(repeated, expected)
    assert a == pytest.approx(b, rel=1e-5, abs=1e-9 * float(np.square(repeated, dtype="f8").sum()) + 1e-30)


def test_weight_of_zero_leaves_out() -> None:
    x = np.array([1, 2, 50, 3, 90], F32)
    weights = np.array([1, 1, 0, 1, 0], F32)
    assert codebook(x, levels=3, sample_weight=weights).codebook.tolist() == [[1, 2, 3]]
    assert codebook(x, levels=3, sample_weight=weights * 0).codebook.tolist() == [[0, 0, 0]]


def test_levels_are_the_means_of_what_is_nearest_to_them() -> None:
    x = make("normal", 400_000)
    c = codebook(x, levels=16)
    indices = c.integers()
    means = [x[indices == i].mean(dtype=np.float64) for i in range(16)]
    np.testing.assert_allclose(c.codebook[0], means, atol=1e-3)


def test_values_of_very_different_size() -> None:
    """The small ones are not lost beside the large: each size has its levels."""
    rng = np.random.default_rng(1)
    sizes = np.array([1e-20, 1e-5, 1, 1e12, 1e30])
    x = np.concatenate([s * (1 + rng.integers(0, 4, 100)) for s in sizes]).astype(F32)
    values, counts = np.unique(x, return_counts=True)
    for levels in (6, 11, 19, 20):
        expected = reference.kmeans(values.tolist(), levels, counts.tolist())
        assert fit(x, levels).tolist() == expected


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_halves_are_fitted_as_floats_are(dtype: type) -> None:
    """Their different values are counted instead of sorted."""
    x = np.random.default_rng(2).normal(size=100_000).astype(dtype)
    counted, ordered = fit(x, 16), fit(x.astype(F32), 16)
    np.testing.assert_allclose(counted, ordered, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("levels", [3, 16, 32])
def test_condensing_many_values_costs_next_to_nothing(
    name: str, levels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = make(name, 300_000)
    condensed = fit(x, levels)
    # The package's attribute of the module's name is the function.
    monkeypatch.setattr(import_module("tersor.quantize.codebook"), "CONDENSED_MIN", x.size)
    ordered = fit(x, levels)
    assert error_of(x, condensed) <= error_of(x, ordered) * (1 + 1e-4)


@given(
    hnp.arrays(F32, st.integers(1, 300), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)),
    st.sampled_from([1, 3, 1000]),
)
def test_condensed_values_are_means_of_neighbours(x: NDArray[np.float32], repeat: int) -> None:
    x = x.repeat(repeat)
    values, weights = np.empty((2, _native.CONDENSED_MAX), F32)
    n = _native.condense(x, values, weights)
    values, weights = values[:n], weights[:n]
    assert (np.diff(values) >= 0).all()
    assert weights.sum() == x.size
    ordered = np.sort(x).astype(np.float64)
    end = 0
    for value, weight in zip(values, weights.astype(int), strict=True):
        part = ordered[end : end + weight]
        end += weight
        assert value == pytest.approx(part.mean(), rel=1e-6, abs=1e-44)
        assert part[-1] - part[0] <= 2.0**-7 * abs(part).max() + 2.0**-133


def test_keep_zero_fits_the_others() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=5000).astype(F32)
    x[rng.random(5000) < 0.8] = 0
    x[:3] = -0.0
    levels = fit(x, 16, keep_zero=True)
    assert 0 in levels
    free = fit(x[x != 0], 15)
    assert error_of(x, levels) <= error_of(x, np.append(free, 0))


def test_the_same_each_time_and_in_any_order() -> None:
    x = make("heavy tails", 50_000)
    first = fit(x, 16)
    shuffled = np.random.default_rng(4).permutation(x)
    for again in (fit(x, 16), fit(shuffled, 16)):
        np.testing.assert_array_equal(again, first)


@given(hnp.arrays(F32, st.integers(0, 300), elements=st.floats(width=32)), st.booleans())
def test_sorting(x: NDArray[np.float32], weighted: bool) -> None:
    weights = np.arange(x.size, dtype=F32) if weighted else None
    out, out_weights = np.empty_like(x), None if weights is None else np.empty_like(x)
    _native.sort_floats(x, weights, out, out_weights)
    np.testing.assert_array_equal(out, np.sort(x))
    if weights is not None:
        np.testing.assert_array_equal(out_weights, np.argsort(x, kind="stable"))


def test_kernel_arguments_are_checked() -> None:
    x = np.zeros(4, F32)
    for levels, values, weights in ((np.zeros(0, F32), x, None), (x, x[:0], None), (x, x, x[:3])):
        with pytest.raises(ValueError, match=r"needed|levels"):
            _native.kmeans(levels, values, weights, False)
    with pytest.raises(ValueError, match="room"):
        _native.condense(x, x, x)
    for arguments in ((x, None, x[:3], None), (x, x, x, None), (x, x, x, x[:3])):
        with pytest.raises(ValueError, match=r"output|needed"):
            _native.sort_floats(*arguments)
