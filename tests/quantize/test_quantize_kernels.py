"""The kernels of affine quantization on every CPU path, against the reference in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tersor import _native
from tersor.arrays import bytes_of
from tersor.quantize._layout import FLOAT_TYPES
from tersor.reference import quantize as reference

DTYPES: dict[str, Any] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float64": np.float64,
}
ROUNDERS: dict[str, Callable[[float], float]] = {
    "float32": float,
    "float16": reference.float16,
    "bfloat16": reference.bfloat16,
    "float64": float,
}

# Outer, channels and inner: around a vector, a tile, and rows that are gathered until they fill one.
LAYOUTS = [
    (1, 1, 1),
    (1, 1, 15),
    (1, 1, 16),
    (1, 1, 17),
    (1, 1, 2047),
    (1, 1, 4097),
    (1, 5, 16),
    (1, 300, 7),
    (1, 3, 2100),
    (3, 4, 33),
    (700, 3, 1),
    (30, 20, 9),
    (2, 3000, 1),
    (2, 1030, 1),
    (3, 1025, 3),
]
EXTREMES = [0.0, -0.0, 1.0, -1.0, 3.4028235e38, -3.4028235e38, 1e-45, -1e-45, 1.1754944e-38, 0.5, 1.5, 2.5]


def floats(n: int, dtype: str, seed: int = 0) -> NDArray[Any]:
    """Numbers of many sizes, halves among them."""
    rng = np.random.default_rng(seed + n)
    x = rng.standard_normal(n) * np.exp(rng.uniform(-3, 3, n))
    x[::7] = np.round(x[::7] * 2) / 2
    return x.astype(DTYPES[dtype])


def channels_of(layout: tuple[int, int, int]) -> list[list[int]]:
    """The indices of each channel's elements."""
    outer, channels, inner = layout
    places = np.arange(outer * channels * inner).reshape(layout)
    return [places[:, c].ravel().tolist() for c in range(channels)]


def found_range(x: NDArray[Any], n_channels: int, n_inner: int) -> tuple[NDArray[Any], NDArray[Any], int]:
    low, high = np.empty((2, n_channels), np.float32)
    first = _native.float_range(bytes_of(x), FLOAT_TYPES[x.dtype.name], n_channels, n_inner, low, high)
    return low, high, first


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_range_is_the_references(cpu_path: str, dtype: str, layout: tuple[int, int, int]) -> None:
    x = floats(math.prod(layout), dtype)
    low, high, first = found_range(x, *layout[1:])
    assert first == x.size
    values = x.astype(np.float64).tolist()
    for c, places in enumerate(channels_of(layout)):
        assert (low[c], high[c]) == reference.value_range(values[i] for i in places)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_range_leaves_out_what_is_not_finite(cpu_path: str, layout: tuple[int, int, int]) -> None:
    x = floats(math.prod(layout), "float32")
    rng = np.random.default_rng(1)
    bad = rng.random(x.size) < 0.1
    bad[x.size // 3] = True
    x[bad] = rng.choice([np.nan, np.inf, -np.inf], bad.sum())
    low, high, first = found_range(x, *layout[1:])
    assert first == np.flatnonzero(bad)[0]
    for c, places in enumerate(channels_of(layout)):
        assert (low[c], high[c]) == reference.value_range(x[places].tolist())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("n", [1, 15, 16, 40, 2048, 5000])
def test_first_element_that_is_not_finite_is_found(cpu_path: str, n: int, value: float) -> None:
    scale = np.ones(1, np.float32)
    for place in sorted({0, n // 2, n - 1, min(n - 1, 17)}):
        x = np.ones(n, np.float32)
        x[place:] = value
        assert found_range(x, 1, n)[2] == place
        out = np.empty(n, np.uint8)
        assert _native.affine_quantize(bytes_of(x), _native.FLOAT32, 1, n, scale, None, 8, out, n) == place
        assert found_range(x, n, 1)[2] == place


def test_doubles_beyond_float32_are_not_finite(cpu_path: str) -> None:
    x = np.array([1.0] * 30 + [3.5e38, -1e300])
    assert found_range(x, 1, 32) == (1.0, 1.0, 30)


def test_zero_has_one_sign(cpu_path: str) -> None:
    for x in ([0.0, -0.0] * 20, [-0.0, 0.0] * 20, [-0.0] * 3):
        low, high, _ = found_range(np.array(x, np.float32), 1, len(x))
        assert not np.signbit([low, high]).any()


@pytest.mark.parametrize("n_row", ["whole", "channel"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_quantized_is_the_references(
    cpu_path: str, layout: tuple[int, int, int], symmetric: bool, bits: int, n_row: str
) -> None:
    _, n_channels, n_inner = layout
    x = floats(math.prod(layout), "float32")
    low, high, _ = found_range(x, n_channels, n_inner)
    scale = np.empty(n_channels, np.float32)
    zero = None if symmetric else np.empty(n_channels, np.uint8)
    _native.affine_parameters(low, high, scale, zero, bits)
    scale[::2] *= np.float32(0.25)  # some are out of their range

    n = x.size
    row = n if n_row == "whole" else n_channels * n_inner
    size = n if bits > 4 else n // row * ((row + 1) // 2)
    out = np.full(size, 0xAA, np.uint8)
    arguments = (n_channels, n_inner, scale, zero, bits)
    assert _native.affine_quantize(bytes_of(x), _native.FLOAT32, *arguments, out, row) == n
    restored = np.full(n, np.nan, np.float32)
    _native.affine_dequantize(out, *arguments, row, bytes_of(restored), _native.FLOAT32)

    integers, numbers = [0] * n, [0.0] * n
    for c, places in enumerate(channels_of(layout)):
        s, z = float(scale[c]), 0 if zero is None else int(zero[c])
        if c % 2:
            assert (s, z) == reference.parameters(float(low[c]), float(high[c]), bits, symmetric)
        channel = reference.quantize((float(x[i]) for i in places), s, z, bits, symmetric)
        for i, q, y in zip(places, channel, reference.dequantize(channel, s, z), strict=True):
            integers[i], numbers[i] = q, y
    expected = bytes(q % 256 for q in integers) if bits > 4 else reference.pack(integers, row)
    assert out.tobytes() == expected
    assert restored.tolist() == numbers
    if bits <= 4:
        assert reference.unpack(out.tobytes(), n, row, symmetric) == integers


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 7, 16, 21, 2049])
def test_float_types(cpu_path: str, dtype: str, n: int) -> None:
    """Of 16 bits: quantized exactly, dequantized with rounding, out of range ones to infinity."""
    x = floats(n, dtype)
    scale, zero = np.array([0.07], np.float32), np.array([130], np.uint8)
    values = x.astype(np.float64).tolist()
    out = np.empty(n, np.uint8)
    _native.affine_quantize(bytes_of(x), FLOAT_TYPES[dtype], 1, n, scale, zero, 8, out, n)
    integers = reference.quantize(values, float(scale[0]), 130, 8, False)
    assert out.tolist() == integers
    for s in (scale, np.array([1e3], np.float32), np.array([1e-6], np.float32)):
        restored = np.empty(n, x.dtype)
        _native.affine_dequantize(out, 1, n, s, zero, 8, n, bytes_of(restored), FLOAT_TYPES[dtype])
        expected = [ROUNDERS[dtype](y) for y in reference.dequantize(integers, float(s[0]), 130)]
        assert restored.astype(np.float64).tolist() == expected


@given(
    st.lists(st.floats(width=32) | st.sampled_from(EXTREMES), min_size=1, max_size=70),
    st.floats(2.0**-126, 2.0**120, width=32) | st.sampled_from([0.25, 0.5, 1.0, 2.0**-126]),
    st.integers(0, 255),
    st.integers(2, 8),
    st.booleans(),
)
def test_any_floats_and_scale(
    cpu_path: str, values: list[float], scale: float, zero_point: int, bits: int, symmetric: bool
) -> None:
    zero_point = 0 if symmetric else zero_point % 2**bits
    x = np.array(values, np.float32)
    scales = np.array([scale], np.float32)
    zero = None if symmetric else np.array([zero_point], np.uint8)
    n = x.size
    out = np.empty(n if bits > 4 else (n + 1) // 2, np.uint8)
    _native.affine_quantize(bytes_of(x), _native.FLOAT32, 1, n, scales, zero, bits, out, n)
    integers = reference.quantize(values, scale, zero_point, bits, symmetric)
    expected = bytes(q % 256 for q in integers) if bits > 4 else reference.pack(integers, n)
    assert out.tobytes() == expected
    restored = np.empty(n, np.float32)
    _native.affine_dequantize(out, 1, n, scales, zero, bits, n, bytes_of(restored), _native.FLOAT32)
    assert restored.tolist() == reference.dequantize(integers, scale, zero_point)


@given(st.floats(width=32), st.floats(width=32), st.integers(2, 8), st.booleans())
def test_parameters_are_the_references(a: float, b: float, bits: int, symmetric: bool) -> None:
    if not math.isfinite(a + b):
        a, b = math.inf, -math.inf  # of no elements
    low, high = (np.array([x], np.float32) for x in ((a, b) if math.isinf(a) else sorted((a, b))))
    scale, zero = np.empty(1, np.float32), None if symmetric else np.empty(1, np.uint8)
    _native.affine_parameters(low, high, scale, zero, bits)
    expected = reference.parameters(float(low[0]), float(high[0]), bits, symmetric)
    assert (scale[0], 0 if zero is None else zero[0]) == expected
    assert 2.0**-126 <= scale[0] < math.inf


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_histogram_is_the_references(cpu_path: str, layout: tuple[int, int, int]) -> None:
    _, n_channels, n_inner = layout
    x = floats(math.prod(layout), "float16")
    x[:: x.size // 5 + 1] = np.nan
    limits = np.array([2.0 ** (c % 5 - 1) for c in range(n_channels)])
    counts = np.zeros((n_channels, 64), np.uint64)
    _native.float_histogram(bytes_of(x), _native.FLOAT16, n_channels, n_inner, limits, counts)
    for c, places in enumerate(channels_of(layout)):
        assert counts[c].tolist() == reference.histogram(x[places].tolist(), float(limits[c]), 64)


@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_error_is_that_of_going_there_and_back(
    cpu_path: str, layout: tuple[int, int, int], symmetric: bool, bits: int
) -> None:
    _, n_channels, n_inner = layout
    x = floats(math.prod(layout), "float32")
    scale = np.full(n_channels, 0.1, np.float32)
    zero = None if symmetric else np.full(n_channels, 3, np.uint8)
    error = np.ones(n_channels)
    _native.affine_error(bytes_of(x), _native.FLOAT32, n_channels, n_inner, scale, zero, bits, error)
    for c, places in enumerate(channels_of(layout)):
        values = x[places].tolist()
        z = 0 if symmetric else 3
        integers = reference.quantize(values, float(scale[c]), z, bits, symmetric)
        restored = reference.dequantize(integers, float(scale[c]), z)
        expected = 1 + math.fsum((a - b) ** 2 for a, b in zip(values, restored, strict=True))
        assert error[c] == pytest.approx(expected, rel=1e-12)


def test_error_is_the_same_on_every_path() -> None:
    x = floats(10_000, "float32")
    scale = np.full(1, 0.1, np.float32)
    errors = set()
    before = str(_native.cpu_features()["selected"])
    for path in _native.cpu_paths():
        _native.select_cpu(path)
        error = np.zeros(1)
        _native.affine_error(bytes_of(x), _native.FLOAT32, 1, x.size, scale, None, 8, error)
        errors.add(error[0])
    _native.select_cpu(before)
    assert len(errors) == 1


@pytest.mark.parametrize("n_row", [1, 2, 3, 31, 32, 33, 130])
def test_nibbles(cpu_path: str, n_row: int) -> None:
    data = np.random.default_rng(n_row).integers(0, 256, 5 * n_row, np.uint8)
    out = np.empty(5 * ((n_row + 1) // 2), np.uint8)
    _native.pack_nibbles(data, out, n_row)
    assert out.tobytes() == reference.pack(data.tolist(), n_row)
    back = np.empty_like(data)
    _native.unpack_nibbles(out, back, n_row)
    assert (back == data & 15).all()


ONE = np.ones(1, np.float32)
FOUR = np.ones(4, np.float32)
ZEROS = np.zeros(4, np.uint8)
X = bytes_of(np.ones(8, np.float32))


@pytest.mark.parametrize(
    "call",
    [
        lambda: _native.float_range(X, 4, 1, 8, ONE, ONE),
        lambda: _native.float_range(X, -1, 1, 8, ONE, ONE),
        lambda: _native.float_range(X[:31], 0, 1, 7, ONE, ONE),
        lambda: _native.float_range(X[:0], 0, 1, 1, ONE, ONE),
        lambda: _native.float_range(X, 0, 1, 3, ONE, ONE),
        lambda: _native.float_range(X, 0, 3, 2, ONE, ONE),
        lambda: _native.float_range(X, 0, 0, 8, ONE, ONE),
        lambda: _native.float_range(X, 0, 1, 0, ONE, ONE),
        lambda: _native.float_range(X, 0, 2**63, 2, ONE, ONE),
        lambda: _native.float_range(X, 0, 4, 2, ONE, FOUR),
        lambda: _native.float_range(X, 0, 4, 2, FOUR, ONE),
        lambda: _native.float_histogram(X, 0, 1, 8, np.ones(2), np.zeros((1, 4), np.uint64)),
        lambda: _native.float_histogram(X, 0, 1, 8, np.ones(1), np.zeros((2, 4), np.uint64)),
        lambda: _native.float_histogram(X, 0, 1, 8, np.ones(1), np.zeros((1, 3), np.uint64)),
        lambda: _native.float_histogram(X, 0, 1, 8, np.ones(1), np.zeros((1, 0), np.uint64)),
        lambda: _native.affine_parameters(ONE, FOUR, ONE, None, 8),
        lambda: _native.affine_parameters(ONE, ONE, FOUR, None, 8),
        lambda: _native.affine_parameters(ONE, ONE, ONE, ZEROS, 8),
        lambda: _native.affine_parameters(ONE, ONE, ONE, None, 9),
        lambda: _native.affine_parameters(ONE, ONE, ONE, None, 1),
        lambda: _native.affine_quantize(X, 0, 1, 8, FOUR, None, 8, bytearray(8), 8),
        lambda: _native.affine_quantize(X, 0, 1, 8, ONE, ZEROS, 8, bytearray(8), 8),
        lambda: _native.affine_quantize(X, 0, 1, 8, ONE, None, 8, bytearray(7), 8),
        lambda: _native.affine_quantize(X, 0, 1, 8, ONE, None, 4, bytearray(5), 8),
        lambda: _native.affine_quantize(X, 0, 1, 8, ONE, None, 4, bytearray(4), 0),
        lambda: _native.affine_quantize(X, 0, 1, 8, ONE, None, 4, bytearray(4), 3),
        lambda: _native.affine_dequantize(bytes(7), 1, 8, ONE, None, 8, 8, bytearray(32), 0),
        lambda: _native.affine_dequantize(bytes(8), 1, 8, ONE, None, 8, 8, bytearray(36), 0),
        lambda: _native.affine_error(X, 0, 1, 8, ONE, None, 8, np.zeros(2)),
        lambda: _native.pack_nibbles(bytes(8), bytearray(3), 8),
        lambda: _native.unpack_nibbles(bytes(4), bytearray(7), 7 + 2**63),
    ],
)
def test_sizes_are_checked(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"channel|elements|floats|bits|integers|rows"):
        call()


@pytest.mark.parametrize("dimension", ["rows", "each"])
def test_quotients_at_and_next_to_halves_are_rounded_exactly(cpu_path: str, dimension: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        scale = np.float32(rng.uniform(1, 2) * 2.0 ** rng.integers(-126, 100))
        halves = ((np.arange(-128, 128) + 0.5) * np.float64(scale)).astype(np.float32)
        x = np.concatenate(
            [halves, np.nextafter(halves, np.float32(9e37)), np.nextafter(halves, np.float32(0))]
        )
        rng.shuffle(x)
        n = x.size
        channels = (1, n) if dimension == "rows" else (n, 1)
        out = np.empty(n, np.int8)
        scales = np.full(channels[0], scale, np.float32)
        _native.affine_quantize(bytes_of(x), _native.FLOAT32, *channels, scales, None, 8, bytes_of(out), n)
        exact = [round(Fraction(float(v)) / Fraction(float(scale))) for v in x]
        assert out.tolist() == [min(max(q, -127), 127) for q in exact]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_float_of_16_bits_is_read(cpu_path: str, dtype: str) -> None:
    x = np.arange(2**16, dtype=np.uint16).view(DTYPES[dtype])
    low, high, _ = found_range(x, x.size, 1)
    wide = x.astype(np.float32)
    is_finite = np.isfinite(wide)
    assert np.array_equal(low[is_finite], wide[is_finite])
    assert np.array_equal(low[is_finite], high[is_finite])
    assert (low[~is_finite] == np.inf).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_floats_of_16_bits_are_rounded(cpu_path: str, dtype: str) -> None:
    """All float32 of one sign with some of their lowest bits zero, and their neighbours."""
    patterns = np.arange(0x00800000, 0x7F800000, 0x800, dtype=np.uint32)[:, None] + np.uint32([0, 1, 0x7FF])
    scale = patterns.ravel().view(np.float32)[::5].copy()
    ones = np.ones(scale.size, np.int8)
    out = np.empty(scale.size, DTYPES[dtype])
    _native.affine_dequantize(
        bytes_of(ones), scale.size, 1, scale, None, 8, scale.size, bytes_of(out), FLOAT_TYPES[dtype]
    )
    with np.errstate(over="ignore"):
        assert np.array_equal(out, scale.astype(DTYPES[dtype]))


def test_large_output_goes_past_the_cache_alike(cpu_path: str) -> None:
    """Above and below the size from which stores are of another kind, at any alignment."""
    integers = np.random.default_rng(0).integers(-127, 128, (1 << 20) + 100, dtype=np.int8)
    scale = np.array([0.03], np.float32)
    memory = np.empty(integers.size + 16, np.float32)
    for n in (100, (1 << 20) - 1, (1 << 20) + 100):
        expected = integers[:n].astype(np.float32) * scale
        for shift in (0, 1, 15):
            out = memory[shift : shift + n]
            memory[:] = np.nan
            _native.affine_dequantize(
                bytes_of(integers[:n]), 1, n, scale, None, 8, n, bytes_of(out), _native.FLOAT32
            )
            assert np.array_equal(out, expected)
            assert np.isnan(memory[:shift]).all()
            assert np.isnan(memory[shift + n :]).all()
