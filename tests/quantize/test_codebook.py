"""`tersor.quantize.codebook`: the nearest level and the way back, with float64 NumPy as the oracle."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tersor import _native
from tersor.errors import CorruptDataError
from tersor.quantize import CodebookArray, codebook, codebook_with
from tersor.quantize.codebook import NF4
from tersor.reference import codebook as reference
from tersor.reference.quantize import bfloat16, float16

RNG = np.random.default_rng(5)
F32 = np.float32
DTYPES: list[Any] = [np.float32, np.float16, ml_dtypes.bfloat16, np.float64]
LEVELS = [1, 2, 3, 5, 15, 16, 17, 31, 32, 33, 64, 100, 128, 129, 255, 256]
finite32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


def channels_of(c: CodebookArray) -> NDArray[np.intp]:
    """The channel of each element."""
    index = np.indices(c.shape)
    if c.axis is not None:
        return index[c.axis]
    if c.group_size is not None:
        groups = (*c.shape[:-1], c.shape[-1] // c.group_size)
        return np.arange(np.prod(groups)).reshape(groups).repeat(c.group_size, axis=-1)
    return np.zeros(c.shape, np.intp)


def check(x: NDArray[Any], c: CodebookArray) -> None:
    """Every element has the nearest level, ties the lower; the way back, the error and the size are right."""
    channels = channels_of(c)
    levels = c.codebook[channels if len(c.codebook) > 1 else np.zeros_like(channels)]
    x32 = x.astype(F32)
    scaled = x32
    scales = np.ones((), F32)
    if c.scale is not None:
        scales = c.scale.ravel()[channels]
        scaled = x32 / np.where(scales > 0, scales, F32(1))
    distances = np.abs(scaled[..., None].astype(np.float64) - levels)
    expected = distances.argmin(axis=-1)
    np.testing.assert_array_equal(c.integers(), expected)
    back = np.take_along_axis(levels, expected[..., None], axis=-1)[..., 0] * scales
    np.testing.assert_array_equal(c.dequantize(), back)
    error = np.square(x32.astype(np.float64) - back).mean() if x.size else 0
    assert c.mse == pytest.approx(error, rel=1e-6, abs=1e-30)
    assert c.nbytes == sum(a.nbytes for a in c.components()[0].values())


# ---- The nearest level ------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("n", [1, 7, 16, 33, 2047, 2049, 5000])
def test_nearest_level(cpu_path: str, levels: int, n: int) -> None:
    x = RNG.normal(size=n).astype(F32)
    check(x, codebook_with(x, np.sort(RNG.normal(size=levels).astype(F32))))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("levels", [3, 16, 100])
@pytest.mark.parametrize("cut", [{}, {"axis": 0}, {"axis": 1}, {"axis": -1}, {"group_size": 3}])
@pytest.mark.parametrize("shape", [(4, 5, 9), (3, 2, 15), (2, 3, 24)])
def test_channels_groups_and_dtypes(
    cpu_path: str, dtype: Any, levels: int, cut: dict[str, int], shape: tuple[int, ...]
) -> None:
    x = RNG.normal(size=shape).astype(dtype)
    for scaled in (False, True):
        c = codebook(x, levels=levels, scaled=scaled, **cut)
        assert c.codebook.shape == (1 if scaled or not cut else channels_of(c).max() + 1, levels)
        check(x, c)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_rows_of_odd_length_and_strides(cpu_path: str, step: int) -> None:
    x = RNG.normal(size=(40, 3000)).astype(F32)[::step, :2999:step]
    assert x.shape[1] % 2 or step != 1
    check(x, codebook(x, levels=16, axis=0))
    check(np.asfortranarray(x), codebook(np.asfortranarray(x), levels=7))


@given(
    hnp.arrays(F32, st.integers(0, 70), elements=finite32),
    hnp.arrays(F32, st.integers(1, 256), elements=finite32),
)
def test_any_floats(x: NDArray[np.float32], levels: NDArray[np.float32]) -> None:
    levels = np.sort(levels)
    results = []
    before = str(_native.cpu_features()["selected"])
    for path in _native.cpu_paths():
        _native.select_cpu(path)
        results.append(codebook_with(x, levels).integers().tolist())
    _native.select_cpu(before)
    expected = reference.nearest(x.tolist(), levels.tolist())
    assert results == [expected] * len(results)


@given(finite32, finite32)
def test_the_middle_goes_to_the_lower(a: float, b: float) -> None:
    """Around the middle of two levels, whatever their size, no rounding decides."""
    low, high = sorted((a, b))
    middle = F32(np.float64(low) / 2 + np.float64(high) / 2)
    with np.errstate(over="ignore"):
        around = [np.nextafter(middle, F32(-np.inf)), middle, np.nextafter(middle, F32(np.inf))]
    x = np.array([v for v in around if np.isfinite(v)], F32)
    indices = codebook_with(x, np.array([low, high], F32)).integers().tolist()
    assert indices == reference.nearest(x.tolist(), [low, high])


def test_bucketize_agrees(cpu_path: str) -> None:
    torch = pytest.importorskip("torch")
    x = torch.randn(30_000, generator=torch.Generator().manual_seed(1))
    levels = torch.sort(torch.randn(16, generator=torch.Generator().manual_seed(2))).values
    middles = torch.from_numpy((levels.double()[1:] + levels.double()[:-1]).numpy() / 2)
    expected = torch.bucketize(x.double(), middles)
    np.testing.assert_array_equal(codebook_with(x, levels).integers(), expected.numpy())


def test_equal_levels_give_the_first(cpu_path: str) -> None:
    levels = np.array([-1, 0, 0, 0, 2, 2], F32)
    x = np.array([-5, -0.5, -0.1, 0, 0.1, 0.9, 1.0, 1.1, 2, 9], F32)
    assert codebook_with(x, levels).integers().tolist() == [0, 0, 1, 1, 1, 1, 1, 4, 4, 4]


@pytest.mark.parametrize("levels", [7, 40])
def test_indices_are_written_to_out(levels: int) -> None:
    x = RNG.normal(size=(9, 31)).astype(F32)
    out = np.zeros((9, 16 if levels <= 16 else 31), np.uint8)
    c = codebook(x, levels=levels, out=out)
    assert np.shares_memory(c.indices, out)
    np.testing.assert_array_equal(codebook(x, levels=levels).indices, out)
    again = codebook_with(x, c.codebook, measure=False, out=np.zeros_like(out))
    np.testing.assert_array_equal(again.indices, out)
    assert again.mse is None
    for wrong in (np.zeros((9, 15), np.uint8), np.zeros(out.shape, np.int8), x):
        with pytest.raises(ValueError, match="out must"):
            codebook(x, levels=levels, out=wrong)


@pytest.mark.parametrize("at", [0, 2047, 2048, 5000, (1 << 20) + 7])
def test_given_levels_find_what_is_not_finite(cpu_path: str, at: int) -> None:
    x = np.zeros(at + 10, F32)
    x[at] = x[at + 3] = np.inf
    levels = np.array([-1, 0, 1], F32)
    with pytest.raises(ValueError, match=rf"at \[{at}\]"):
        codebook_with(x, levels)
    assert codebook_with(x, levels, nan="zero").integers()[at] == 1
    assert codebook_with(x, levels, nan="keep").integers()[at] == 2


# ---- The way back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("levels", [2, 16, 17, 256])
@pytest.mark.parametrize("n", [1, 15, 16, 31, 32, 33, 64, 2049, 4097])
def test_dequantize_rounds_to_every_dtype(cpu_path: str, dtype: Any, levels: int, n: int) -> None:
    book = np.sort(RNG.normal(size=(1, levels)).astype(F32) * 1e3)
    indices = RNG.integers(0, levels, n, dtype=np.uint8)
    c = codebook_with(book[0, indices], book)
    out = np.zeros(n, dtype)
    assert c.dequantize(out=out) is out
    np.testing.assert_array_equal(out, book[0, indices].astype(dtype))
    np.testing.assert_array_equal(c.dequantize(np.dtype(dtype).name), out)


def test_dequantize_is_that_of_the_reference(cpu_path: str) -> None:
    c = codebook(RNG.normal(size=(3, 64)).astype(F32), method="nf4", group_size=32)
    assert c.scale is not None
    expected = [
        reference.dequantize(row, NF4.tolist(), scale)
        for row, scale in zip(c.integers().reshape(6, 32).tolist(), c.scale.ravel().tolist(), strict=True)
    ]
    assert c.dequantize().reshape(6, 32).tolist() == expected
    half = [[float16(v) for v in row] for row in expected]
    assert c.dequantize("float16").reshape(6, 32).tolist() == half
    brain = [[bfloat16(v) for v in row] for row in expected]
    assert c.dequantize("bfloat16").astype(F32).reshape(6, 32).tolist() == brain


@pytest.mark.parametrize("levels", [1, 5, 15, 17, 255])
@pytest.mark.parametrize("at", [0, 20, 2048, 4999])
def test_index_beyond_the_codebook_is_found(cpu_path: str, levels: int, at: int) -> None:
    c = codebook_with(np.zeros(5000, F32), np.arange(levels, dtype=F32))
    c.dequantize()
    if levels <= 16:
        c.indices[at // 2] = levels << 4 * (at % 2)
    else:
        c.indices[at] = levels
    with pytest.raises(CorruptDataError, match="beyond the codebook"):
        c.dequantize()


def test_out_is_checked() -> None:
    c = codebook(np.arange(6, dtype=F32).reshape(2, 3), levels=4)
    for out in (np.zeros((3, 2), F32), np.zeros((2, 3), np.int32), np.zeros((2, 6), F32)[:, ::2]):
        with pytest.raises(ValueError, match="out must"):
            c.dequantize(out=out)
    with pytest.raises(ValueError, match="out must"):
        c.dequantize("float16", out=np.zeros((2, 3), F32))
    with pytest.raises(TypeError, match="dtype must"):
        c.dequantize("int8")


# ---- Methods ----------------------------------------------------------------------------------------


def test_uniform_levels_are_even() -> None:
    c = codebook(np.array([3.0, -1.0, 0.5], F32), levels=5, method="uniform")
    assert c.codebook.tolist() == [[-1, 0, 1, 2, 3]]
    assert codebook(np.array([3.0, -1.0], F32), levels=1, method="uniform").codebook.tolist() == [[1]]


@pytest.mark.parametrize("levels", [1, 4, 16, 100])
def test_quantiles_are_the_references(levels: int) -> None:
    x = RNG.normal(size=1001).astype(F32)
    c = codebook(x, levels=levels, method="quantile")
    assert c.codebook[0].tolist() == reference.quantiles(x.tolist(), levels)
    counts = np.bincount(c.integers(), minlength=levels)
    assert counts.max() < 2.5 * x.size / levels + 2


def test_weighted_quantiles_are_those_of_repetition() -> None:
    x, repeats = RNG.normal(size=500).astype(F32), RNG.integers(0, 4, 500)
    weighted = codebook(x, levels=8, method="quantile", sample_weight=repeats.astype(F32))
    repeated = codebook(x.repeat(repeats), levels=8, method="quantile")
    np.testing.assert_array_equal(weighted.codebook, repeated.codebook)


def test_nf4_levels_are_normal_quantiles() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    end = (1 - 1 / 32 + 1 - 1 / 30) / 2
    below = scipy_stats.norm.ppf(np.linspace(1 - end, 0.5, 8))
    above = scipy_stats.norm.ppf(np.linspace(0.5, end, 9))[1:]
    np.testing.assert_allclose(NF4, np.concatenate([below, above]) / above[-1], atol=2e-4)


def test_nf4_is_the_nearest_of_scaled_levels() -> None:
    x = RNG.normal(size=(8, 128)).astype(F32)
    x[3, :64] = 0
    c = codebook(x, method="nf4", group_size=64)
    assert c.scale is not None
    np.testing.assert_array_equal(c.scale, np.abs(x).reshape(8, 2, 64).max(axis=-1))
    assert not c.dequantize()[3, :64].any()
    check(x, c)
    assert c.nbytes == x.size // 2 + 64 + 4 * 16


def test_scaled_kmeans_beats_nf4_of_the_same_size() -> None:
    x = RNG.normal(size=(100, 640)).astype(F32) * RNG.lognormal(size=(100, 1)).astype(F32)
    ours, nf4 = (codebook(x, method=m, scaled=True, group_size=64) for m in ("kmeans", "nf4"))
    assert ours.nbytes == nf4.nbytes
    assert ours.mse is not None
    assert nf4.mse is not None
    assert ours.mse < 0.95 * nf4.mse


@pytest.mark.parametrize("method", ["kmeans", "uniform", "quantile", "nf4"])
@pytest.mark.parametrize("levels", [1, 2, 16, 40])
def test_keep_zero(method: str, levels: int) -> None:
    if method == "nf4" and levels != 16:
        pytest.skip("it has 16 levels")
    x = RNG.normal(0.3, 1, (20, 64)).astype(F32)
    x[RNG.random(x.shape) < 0.7] = 0
    x[0] = abs(x[0]) + 1
    for cut in ({}, {"axis": 0}, {"group_size": 16}):
        c = codebook(x, method=method, levels=levels, keep_zero=True, **cut)  # type: ignore[arg-type]
        assert (c.dequantize()[x == 0] == 0).all()
        assert (c.codebook == 0).any(axis=1).all()
        assert (np.diff(c.codebook, axis=1) >= 0).all()
        check(x, c)


# ---- Unusual input ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["kmeans", "uniform", "quantile", "nf4"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0), (0, 3), (1, 1)])
def test_empty_and_single(method: str, shape: tuple[int, ...]) -> None:
    x = np.full(shape, 0.25, F32)
    for cut in ({}, {"axis": 0}) if shape else ({},):
        c = codebook(x, method=method, **cut)  # type: ignore[arg-type]
        assert c.mse == 0
        np.testing.assert_array_equal(c.dequantize(), x)


@pytest.mark.parametrize("method", ["kmeans", "uniform", "quantile", "nf4"])
@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, -3.5, 3.4e38])
def test_constant(method: str, value: float) -> None:
    x = np.full(100, value, F32)
    c = codebook(x, method=method)
    np.testing.assert_array_equal(c.dequantize(), x)
    assert c.mse == 0


@pytest.mark.parametrize("levels", [5, 16, 256])
def test_more_levels_than_values(levels: int) -> None:
    x = RNG.choice(np.array([-7, 0, 1e-30, 2], F32), 1000)
    c = codebook(x, levels=levels)
    np.testing.assert_array_equal(c.dequantize(), x)
    assert c.mse == 0
    assert c.codebook.shape == (1, levels)
    assert c.codebook[0, 4:].tolist() == [2] * (levels - 4)
    assert c.integers().max() == 3


@pytest.mark.parametrize("method", ["kmeans", "uniform", "quantile", "nf4"])
def test_huge_range(method: str) -> None:
    x = np.array([-3.4e38, -1, -1e-40, 0, 1e-40, 2, 3.4e38], F32)
    c = codebook(x, method=method, levels=16)
    scale = 1.0 if c.scale is None else c.scale.item()
    # NumPy's float64 cannot tell which of -2e37 and 2e37 is nearer to 1e-40.
    assert c.integers().tolist() == reference.nearest(x.tolist(), c.codebook[0].tolist(), scale)
    c = codebook(x, method="uniform", levels=1)
    assert c.codebook.tolist() == [[0]]
    assert c.mse == pytest.approx(2 * 3.4e38**2 / 7)
    with np.errstate(over="ignore"):
        spread = np.array([-3.4e38, 3.4e38, 3.4e38], F32)
    far = codebook_with(spread, np.array([3.4e38], F32))
    assert far.mse == pytest.approx(6.8e38**2 / 3)


def test_not_finite_raises_and_says_where() -> None:
    for bad in (np.nan, np.inf, -np.inf):
        x = np.zeros((3, 5), F32)
        x[1, 2] = bad
        for cut in ({}, {"axis": 0}, {"group_size": 5}):
            with pytest.raises(ValueError, match=r"at \[1, 2\].*nan="):
                codebook(x, **cut)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="beyond float32"):
        codebook(np.array([1e300]))


def test_not_finite_as_zero() -> None:
    x = np.array([np.nan, 4, np.inf, -1, -np.inf], F32)
    c = codebook(x, nan="zero")
    assert c.dequantize().tolist() == [0, 4, 0, -1, 0]


@pytest.mark.parametrize("levels", [4, 5, 16, 40])
@pytest.mark.parametrize("method", ["kmeans", "uniform", "quantile"])
@pytest.mark.parametrize("scaled", [False, True])
def test_not_finite_kept(cpu_path: str, method: str, levels: int, scaled: bool) -> None:
    x = RNG.normal(size=(7, 50)).astype(F32)
    x[2, 3:6] = np.nan, np.inf, -np.inf
    x[3] = np.nan
    for cut in ({}, {"axis": 0}, {"group_size": 25}):
        c = codebook(x, method=method, levels=levels, nan="keep", scaled=scaled, **cut)  # type: ignore[arg-type]
        back = c.dequantize()
        np.testing.assert_array_equal(np.isnan(back), np.isnan(x))
        np.testing.assert_array_equal(back[np.isinf(x)], x[np.isinf(x)])
        finite = np.isfinite(x)
        assert c.mse == pytest.approx(np.square(x[finite] - back[finite]).sum() / x.size, rel=1e-5)
    only = codebook(np.array([np.inf, 1, 2], F32), levels=3, nan="keep")
    assert only.dequantize().tolist() == [np.inf, 1, 2]
    with pytest.raises(ValueError, match="levels leaves none"):
        codebook(x, levels=3, nan="keep")
    with pytest.raises(ValueError, match="levels leaves none"):
        codebook(x, method="nf4", nan="keep")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": 0}, "levels"),
        ({"levels": 257}, "levels"),
        ({"method": "median"}, "method"),
        ({"method": "nf4", "levels": 8}, "levels must be 16"),
        ({"method": "nf4", "scaled": False}, "scaled"),
        ({"nan": "ignore"}, "nan"),
        ({"axis": 2}, "axis"),
        ({"group_size": 4}, "group_size"),
        ({"group_size": 3, "axis": 0}, "group_size"),
        ({"sample_weight": np.ones(6, F32)}, "sample_weight"),
        ({"sample_weight": -np.ones((2, 6), F32)}, "sample_weight"),
        ({"sample_weight": np.full((2, 6), np.nan, F32)}, "sample_weight"),
        ({"sample_weight": np.ones((2, 6), F32), "method": "uniform"}, "sample_weight"),
        ({"threads": 0}, "threads"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codebook(np.arange(12, dtype=F32).reshape(2, 6), **arguments)


def test_integers_are_refused() -> None:
    with pytest.raises(TypeError, match="x must hold"):
        codebook(np.arange(5))
    with pytest.raises(TypeError, match="sample_weight must hold"):
        codebook(np.zeros(5), sample_weight=np.ones(5, int))


def test_given_levels_must_ascend() -> None:
    x = np.zeros(3, F32)
    for levels in ([1.0, 0.0], [np.nan, 1.0], [np.inf, 0.0]):
        with pytest.raises(ValueError, match="ascend"):
            codebook_with(x, np.array(levels, F32))
    assert codebook_with(x, np.array([-1.0, 0.0, np.nan], F32)).dequantize().tolist() == [0, 0, 0]


# ---- Parts from outside -----------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [{}, {"axis": 0, "levels": 20}, {"method": "nf4", "group_size": 4}])
def test_components_round_trip(arguments: dict[str, Any]) -> None:
    c = codebook(RNG.normal(size=(6, 8)).astype(F32), **arguments)
    arrays, fields = c.components()
    again = CodebookArray.from_components(arrays, json.loads(json.dumps(fields)))
    np.testing.assert_array_equal(again.dequantize(), c.dequantize())
    assert again.mse is None
    again.mse = c.mse
    assert repr(again) == repr(c)
    assert again.nbytes == c.nbytes


def test_damaged_components_raise() -> None:
    c = codebook(RNG.normal(size=(6, 8)).astype(F32), method="nf4", group_size=4)
    arrays, fields = c.components()
    for name in ("indices", "codebook"):
        with pytest.raises(ValueError, match=name):
            CodebookArray.from_components({k: a for k, a in arrays.items() if k != name}, fields)
    for name in fields:
        with pytest.raises(ValueError, match=name):
            CodebookArray.from_components(arrays, {k: v for k, v in fields.items() if k != name})
    damaged: list[tuple[str, Any]] = [
        ("indices", arrays["indices"][:, :3]),
        ("indices", arrays["indices"].astype(np.int8)),
        ("codebook", arrays["codebook"].ravel()),
        ("codebook", arrays["codebook"].repeat(2, axis=0)),
        ("codebook", np.zeros((1, 0), F32)),
        ("codebook", np.zeros((1, 257), F32)),
        ("codebook", arrays["codebook"].astype(int)),
        ("scale", arrays["scale"][:2]),
        ("scale", -arrays["scale"]),
        ("scale", arrays["scale"] * F32(np.nan)),
    ]
    for name, array in damaged:
        with pytest.raises(ValueError, match=name):
            CodebookArray.from_components(arrays | {name: array}, fields)
    for name, value in [
        ("shape", [6, -8]),
        ("shape", [6, 9]),
        ("shape", 5),
        ("axis", "x"),
        ("group_size", 0),
    ]:
        with pytest.raises(ValueError, match=r"."):
            CodebookArray.from_components(arrays, fields | {name: value})


def test_kernel_arguments_are_checked() -> None:
    levels = np.zeros((2, 4), F32)
    for arguments in ((levels, None, 3, 1), (levels, None, 2, 0), (levels, np.ones(1, F32), 2, 1)):
        with pytest.raises(ValueError, match="needed"):
            _native.Codebook(*arguments)
    kernel = _native.Codebook(levels, None, 2, 1)
    with pytest.raises(ValueError, match="trees"):
        kernel.assign_into(bytes(4), _native.FLOAT32, bytearray(1), 0, 1, 1, False, False)
    kernel.prepare()
    for n_x, n_out, n_rows, row in ((8, 1, 1, 1), (4, 2, 1, 1), (4, 1, 2**63, 2**63), (4, 1, 1, 2**64 - 1)):
        with pytest.raises(ValueError, match=r"rows|many"):
            kernel.assign_into(bytes(n_x), _native.FLOAT32, bytearray(n_out), 0, n_rows, row, False, False)
    with pytest.raises(ValueError, match="type"):
        kernel.assign_into(bytes(4), 9, bytearray(1), 0, 1, 1, False, False)
    with pytest.raises(ValueError, match="packed"):
        _native.Codebook(np.zeros((1, 17), F32), None, 1, 1).dequantize_into(
            bytes(1), bytearray(8), 0, 0, 1, 2, True
        )


# ---- Threads and torch ------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [{}, {"axis": 0}, {"group_size": 100}])
def test_threads_make_no_difference(cut: dict[str, int]) -> None:
    x = RNG.normal(size=(30, 100_000)).astype(F32)
    one, two = (codebook(x, levels=16, method="quantile", threads=n, **cut) for n in (1, 2))  # type: ignore[arg-type]
    np.testing.assert_array_equal(one.indices, two.indices)
    assert one.mse == two.mse
    np.testing.assert_array_equal(one.dequantize(threads=1), two.dequantize(threads=2))


def test_torch_in_torch_out() -> None:
    torch = pytest.importorskip("torch")
    x = torch.randn(20, 30, generator=torch.Generator().manual_seed(3))
    c = codebook(x, axis=0)
    back = c.dequantize()
    assert isinstance(back, torch.Tensor)
    assert torch.equal(back, torch.from_numpy(codebook(x.numpy(), axis=0).dequantize()))
    assert c.dequantize(torch.bfloat16).dtype is torch.bfloat16
    out = torch.zeros(20, 30, dtype=torch.float16)
    assert c.dequantize(out=out) is out
    assert torch.equal(out, back.half())
    assert isinstance(c.dequantize("float32"), np.ndarray)
    half = codebook(x.bfloat16())
    assert torch.equal(half.dequantize(), codebook(x.bfloat16().float()).dequantize())


def test_torch_is_not_imported() -> None:
    code = "import sys, numpy, tersor.quantize as q; q.codebook(numpy.ones(9)); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
