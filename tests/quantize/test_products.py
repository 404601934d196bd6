"""Products with quantized matrices: within the rounding of activations, and the same on every path."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from tersor import _native

WHOLE = 1 << 40
RNG = np.random.default_rng(3)


class Matrix(NamedTuple):
    values: NDArray[np.uint8]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.uint8] | None
    bits: int
    group_size: int

    def floats(self, n_in: int) -> NDArray[np.float64]:
        """What the numbers stand for, by NumPy."""
        integers = self.values.astype(np.int64)
        if self.bits == 4:
            integers = np.stack([integers & 15, integers >> 4], axis=-1).reshape(len(integers), -1)[:, :n_in]
        if self.zero_point is None:
            half = 1 << (self.bits - 1)
            integers = (integers ^ half) - half
        group = np.arange(n_in) // min(self.group_size, n_in)
        zero = 0 if self.zero_point is None else self.zero_point[:, group].astype(np.int64)
        return (integers - zero) * self.scale[:, group].astype(np.float64)


def make(n_out: int, n_in: int, bits: int, group_size: int, signed: bool) -> Matrix:
    values = RNG.integers(0, 256, (n_out, (n_in * bits + 7) // 8), np.uint8)
    shape = (n_out, -(-n_in // group_size))
    zero_point = None if signed else RNG.integers(0, 1 << bits, shape).astype(np.uint8)
    return Matrix(values, RNG.random(shape, np.float32) + np.float32(0.1), zero_point, bits, group_size)


def multiply(x: NDArray[np.float32], matrix: Matrix) -> NDArray[np.float32]:
    out = np.full((len(x), len(matrix.values)), np.nan, np.float32)
    _native.LinearProduct(x, *matrix).multiply(out, 0, out.shape[1])
    return out


def bound(x: NDArray[np.float32], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half a step of 16 bits an activation, and the rounding of float32 sums."""
    magnitude = np.abs(x.astype(np.float64))
    steps = magnitude.max(axis=1, keepdims=True) / 65534
    return (steps + 2.0**-20 * magnitude) @ np.abs(weight).T


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "zero points"])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("group_size", [32, 64, 96, 256, 512, WHOLE])
@pytest.mark.parametrize("n_in", [1, 31, 32, 63, 257, 1030])
def test_products(cpu_path: str, n_in: int, group_size: int, bits: int, signed: bool) -> None:
    for n_rows, n_out in ((1, 7), (3, 2), (4, 1), (6, 5)):
        matrix = make(n_out, n_in, bits, group_size, signed)
        x = RNG.standard_normal((n_rows, n_in)).astype(np.float32)
        expected = x.astype(np.float64) @ matrix.floats(n_in).T
        assert (np.abs(multiply(x, matrix) - expected) <= bound(x, matrix.floats(n_in))).all()


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "zero points"])
def test_every_path_gives_the_same(bits: int, signed: bool) -> None:
    before = str(_native.cpu_features()["selected"])
    try:
        for n_in, group_size in ((100, WHOLE), (4099, WHOLE), (1000, 32), (1024, 64)):
            matrix = make(9, n_in, bits, group_size, signed)
            x = (RNG.standard_normal((5, n_in)) * 10.0 ** RNG.integers(-5, 5, (5, n_in))).astype(np.float32)
            results = []
            for path in _native.cpu_paths():
                _native.select_cpu(path)
                results.append(multiply(x, matrix).tobytes())
            assert len(set(results)) == 1
    finally:
        _native.select_cpu(before)


def test_extreme_integers(cpu_path: str) -> None:
    """All sums are as large as they can become: none may wrap."""
    x = np.ones((4, 2048), np.float32)
    lowest = np.full((3, 2048), 0x80, np.uint8)
    zero = np.zeros((3, 1), np.uint8)
    one = np.ones((3, 1), np.float32)
    assert (multiply(x, Matrix(lowest, one, None, 8, WHOLE)) == -128 * 2048).all()
    assert (multiply(x, Matrix(lowest | 0x7F, one, zero, 8, WHOLE)) == 255 * 2048).all()
    assert (multiply(-x, Matrix(np.zeros_like(lowest), one, zero + 255, 8, WHOLE)) == 255 * 2048).all()


def test_activations_of_any_size(cpu_path: str) -> None:
    """Blocks of zeros, of the smallest and of the largest floats."""
    matrix = make(3, 512, 8, WHOLE, True)
    weight = matrix.floats(512)
    for magnitude in (0.0, 1e-45, 1e-37, 1e-20, 1e30):
        x = (RNG.standard_normal((2, 512)) * magnitude).astype(np.float32)
        lost = 512 * 1e-30 * np.abs(weight).max()  # what is smaller counts as zero
        assert (
            np.abs(multiply(x, matrix) - x.astype(np.float64) @ weight.T) <= bound(x, weight) + lost
        ).all()


def test_what_is_not_finite_makes_nan_of_its_row_alone(cpu_path: str) -> None:
    matrix = make(3, 512, 8, WHOLE, True)
    for number in (np.nan, np.inf, -np.inf):
        x = RNG.standard_normal((5, 512)).astype(np.float32)
        x[2, 300] = number
        y = multiply(x, matrix)
        assert np.isnan(y[2]).all()
        assert np.isfinite(np.delete(y, 2, axis=0)).all()


def test_parts_of_the_outputs(cpu_path: str) -> None:
    matrix = make(23, 64, 4, 32, False)
    x = RNG.standard_normal((5, 64)).astype(np.float32)
    whole = multiply(x, matrix)
    out = np.zeros_like(whole)
    product = _native.LinearProduct(x, *matrix)
    product.multiply(out, 3, 10)
    assert (out[:, 3:10] == whole[:, 3:10]).all()
    assert (np.delete(out, np.s_[3:10], axis=1) == 0).all()


def test_nothing_to_multiply() -> None:
    matrix = make(3, 64, 8, WHOLE, True)
    assert multiply(np.empty((0, 64), np.float32), matrix).shape == (0, 3)
    none = matrix._replace(values=matrix.values[:0], scale=matrix.scale[:0])
    assert multiply(np.ones((2, 64), np.float32), none).shape == (2, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 5}, "bits"),
        ({"group_size": 48}, "group_size"),
        ({"group_size": 0}, "group_size"),
        ({"group_size": 32}, "scale"),
        ({"values": np.zeros((3, 63), np.uint8)}, "63 bytes"),
        ({"bits": 4}, "64 bytes"),
        ({"scale": np.ones((2, 1), np.float32)}, "scale"),
        ({"zero_point": np.zeros((3, 2), np.uint8)}, "zero_point"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    matrix = make(3, 64, 8, WHOLE, True)._replace(**change)
    with pytest.raises(ValueError, match=message):
        _native.LinearProduct(np.zeros((1, 64), np.float32), *matrix)


def test_outputs_that_do_not_fit() -> None:
    product = _native.LinearProduct(np.zeros((2, 64), np.float32), *make(3, 64, 8, WHOLE, True))
    out = np.zeros((2, 3), np.float32)
    for first, last in ((-1, 3), (2, 1), (0, 4)):
        with pytest.raises(ValueError, match="first and last"):
            product.multiply(out, first, last)
    for shape in ((1, 3), (2, 4)):
        with pytest.raises(ValueError, match="out must"):
            product.multiply(np.zeros(shape, np.float32), 0, 3)
