"""Quantized arrays, against NumPy's float64 and torch; their arguments, and what is not finite."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tersor import quantize
from tersor.quantize import QuantizedArray, affine, quantize_with
from tersor.quantize._layout import Layout

SHAPES: list[tuple[tuple[int, ...], dict[str, int]]] = [
    ((1000,), {}),
    ((7, 33), {}),
    ((7, 33), {"axis": 0}),
    ((7, 33), {"axis": -1}),
    ((6, 5, 3, 3), {"axis": 0}),
    ((6, 5, 3, 3), {"axis": 1}),
    ((6, 5, 3, 3), {"axis": -1}),
    ((8, 96), {"group_size": 32}),
    ((8, 15), {"group_size": 5}),
    ((8, 6), {"group_size": 3}),
    ((9, 7), {"group_size": 7}),
    ((), {}),
    ((1,), {"axis": 0}),
]
ALL_BITS = [2, 3, 4, 5, 6, 7, 8]


def normal(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0) -> NDArray[Any]:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) + 0.3).astype(dtype)


def spread(parameter: NDArray[Any], q: QuantizedArray) -> NDArray[np.float64]:
    """Repeat scales or zero points for each element."""
    wide = parameter.astype(np.float64)
    if q.group_size is not None:
        return np.repeat(wide, q.group_size, axis=-1)
    if q.axis is not None:
        return np.broadcast_to(wide.reshape([-1 if i == q.axis else 1 for i in range(len(q.shape))]), q.shape)
    return np.broadcast_to(wide, q.shape)


def oracle(x: NDArray[Any], q: QuantizedArray) -> NDArray[np.float64]:
    """The integers by the formula, in float64."""
    least, most = (0, 2**q.bits - 1)
    zero: Any = 0
    if q.zero_point is None:
        most = 2 ** (q.bits - 1) - 1
        least = -most
    else:
        zero = spread(q.zero_point, q)
    with np.errstate(over="ignore"):
        values = x.astype(np.float32).astype(np.float64)
    return np.clip(np.rint(values / spread(q.scale, q)) + zero, least, most)


@pytest.mark.parametrize("bits", ALL_BITS)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("shape", "cut"), SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
def test_integers_are_those_of_the_formula(
    dtype: Any, shape: tuple[int, ...], cut: dict[str, int], symmetric: bool, bits: int
) -> None:
    x = normal(shape, dtype)
    q = affine(x, bits=bits, symmetric=symmetric, **cut)
    assert (q.integers() == oracle(x, q)).all()
    assert q.integers().dtype == (np.int8 if symmetric else np.uint8)
    zero = 0 if q.zero_point is None else spread(q.zero_point, q)
    expected = (spread(q.scale, q) * (q.integers().astype(np.float64) - zero)).astype(np.float32)
    assert (q.dequantize() == expected).all()
    assert q.dequantize().shape == shape
    assert (np.abs(expected - x.astype(np.float64)) <= spread(q.scale, q) * (0.5 + 1e-4)).all()
    assert q.nbytes == q.values.nbytes + q.scale.size * (4 if symmetric else 5)


@given(
    hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=20), elements=st.floats(width=32)),
    st.integers(2, 8),
    st.booleans(),
    st.data(),
)
def test_any_array_within_half_a_scale(
    x: NDArray[np.float32], bits: int, symmetric: bool, data: st.DataObject
) -> None:
    """Also of the greatest and the least floats; infinities stay at the ends, NaN becomes 0."""
    axis = data.draw(st.none() | st.integers(-x.ndim, x.ndim - 1))
    q = affine(x, bits=bits, symmetric=symmetric, axis=axis, nan="keep")
    y = q.dequantize()
    assert np.isfinite(y).all()
    assert (y[np.isnan(x)] == 0).all()
    is_finite = np.isfinite(x)
    difference = np.abs(y.astype(np.float64) - np.where(is_finite, x, 0))[is_finite]
    # Zero points are whole, which may leave half a step at an end of the range; float32 rounds the rest.
    limit = spread(q.scale, q)[is_finite] * (0.5 if symmetric else 1.0)
    assert (difference <= limit * (1 + 2.0**-12)).all()
    least, most = oracle(np.full(x.shape, -np.inf), q), oracle(np.full(x.shape, np.inf), q)
    integers = q.integers()
    assert (integers[x == -np.inf] == least[x == -np.inf]).all()
    assert (integers[x == np.inf] == most[x == np.inf]).all()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("cut", [{}, {"axis": 0}, {"axis": 1}])
@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_torch_agrees(cut: dict[str, int], symmetric: bool) -> None:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(normal((300, 200)))
    q = affine(x, symmetric=symmetric, **cut)
    dtype = torch.qint8 if symmetric else torch.quint8
    zero = (
        torch.zeros(q.scale.shape, dtype=torch.int64) if q.zero_point is None else torch.tensor(q.zero_point)
    )
    if cut:
        scale = torch.from_numpy(q.scale)
        expected = torch.quantize_per_channel(x, scale, zero.to(torch.int64), cut["axis"], dtype)
    else:
        expected = torch.quantize_per_tensor(x, float(q.scale), int(zero), dtype)
    theirs, ours = expected.int_repr().to(torch.int16), torch.from_numpy(q.values).to(torch.int16)
    # It multiplies by a rounded reciprocal, so what is all but halfway may go the other way.
    quotient = x.double() / torch.from_numpy(spread(q.scale, q).copy())
    is_halfway = ((quotient - quotient.floor()) - 0.5).abs() < 1e-4
    assert (theirs == ours)[~is_halfway | (theirs < -127)].float().mean() > 0.9999
    assert (theirs - ours).abs().max() <= 1
    same = (theirs == ours).numpy()
    restored = q.dequantize()
    assert isinstance(restored, torch.Tensor)
    assert np.array_equal(expected.dequantize().numpy()[same], restored.numpy()[same])


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("cut", [{}, {"axis": 0}, {"axis": 1}, {"axis": 2}, {"group_size": 15}])
@pytest.mark.parametrize("n_last", [30, 45])
def test_result_depends_on_neither_threads_nor_pieces(cut: dict[str, int], bits: int, n_last: int) -> None:
    x = normal((300, 200, n_last))
    one, three = (affine(x, bits=bits, threads=threads, **cut) for threads in (1, 3))
    assert np.array_equal(one.values, three.values)
    assert np.array_equal(one.scale, three.scale)
    assert (one.integers() == oracle(x, one)).all()
    assert np.array_equal(one.dequantize(threads=1), three.dequantize(threads=3))
    low, high = quantize.min_max(x, **cut)
    if "group_size" not in cut:
        others = tuple(a for a in range(3) if a != cut.get("axis"))
        assert (low == x.min(axis=others)).all()
        assert (high == x.max(axis=others)).all()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("size", [1, 10, 64, 1000])
@pytest.mark.parametrize(("shape", "cut"), SHAPES, ids=str)
def test_pieces_are_all_of_the_array(
    shape: tuple[int, ...], cut: dict[str, int], size: int, packed: bool
) -> None:
    layout = Layout.of(shape, **cut)
    at, byte = 0, 0
    for piece in layout.pieces(size, packed=packed):
        assert piece.elements.start == at
        at = piece.elements.stop
        assert piece.n % (piece.n_channels * piece.n_inner) == 0
        if packed:
            part, n_row = layout.packed_part(piece)
            assert part.start == byte
            byte = part.stop
            assert part.stop - part.start == piece.n // n_row * ((n_row + 1) // 2)
    assert at == math.prod(shape)


# ---- Ranges that are not ordinary -------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", ALL_BITS)
def test_zeros_have_scale_one(symmetric: bool, bits: int) -> None:
    q = affine(np.zeros((3, 5), np.float32), bits=bits, symmetric=symmetric, axis=0)
    assert (q.scale == 1).all()
    assert not q.dequantize().any()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("value", [5.0, -3.0, 1e-30, 3e38])
def test_constants_are_kept(value: float, symmetric: bool) -> None:
    x = np.full(100, value, np.float32)
    assert np.allclose(affine(x, symmetric=symmetric).dequantize(), x, rtol=1e-6)


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_widest_range_does_not_overflow(symmetric: bool) -> None:
    most = np.finfo(np.float32).max
    x = np.array([-most, 0, most], np.float32)
    q = affine(x, symmetric=symmetric)
    assert np.isfinite(q.scale).all()
    assert np.allclose(q.dequantize(), x, rtol=0.01)
    assert q.dequantize()[1] == 0


def test_scales_are_never_subnormal() -> None:
    x = np.array([1e-45, -1e-40, 1e-38], np.float32)
    q = affine(x)
    assert q.scale == np.float32(2.0**-126)
    assert (np.abs(q.dequantize() - x) <= 2.0**-127).all()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0)])
@pytest.mark.parametrize("cut", [{}, {"axis": 0}, {"axis": -1}, {"group_size": 2}])
@pytest.mark.parametrize("observer", ["minmax", "mse"])
@pytest.mark.parametrize("bits", [4, 8])
def test_empty(
    shape: tuple[int, ...], cut: dict[str, int], symmetric: bool, observer: str, bits: int
) -> None:
    q = affine(np.empty(shape, np.float32), bits=bits, symmetric=symmetric, observer=observer, **cut)
    assert q.dequantize().shape == q.integers().shape == shape
    assert (q.scale == 1).all()


@pytest.mark.parametrize("symmetric", [True, False])
def test_one_element(symmetric: bool) -> None:
    assert float(affine(np.float32(-2.5), symmetric=symmetric).dequantize()) == pytest.approx(-2.5)


def test_memory_that_is_laid_out_otherwise() -> None:
    x = normal((40, 60))
    expected = affine(x, axis=0)
    shifted = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    assert not shifted.flags.aligned
    for same in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x.astype(">f4"), shifted):
        assert np.array_equal(affine(same, axis=0).values, expected.values)
    assert np.array_equal(affine(x[::-1, ::-1], axis=0).values, expected.values[::-1, ::-1])


def test_zero_stays_zero() -> None:
    x = np.abs(normal((50, 50))) + 3
    x[::2] = 0
    for symmetric in (True, False):
        assert not affine(x, symmetric=symmetric, bits=3).dequantize()[::2].any()


# ---- What is not finite -----------------------------------------------------------------------------

CUTS: list[dict[str, int]] = [{}, {"axis": 0}, {"axis": 1}, {"group_size": 10}]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("observer", quantize.observers.METHODS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_raises_and_tells_where(value: float, observer: str, cut: dict[str, int]) -> None:
    x = normal((30, 20))
    x[17, 3] = x[20, 0] = value
    if "group_size" in cut and observer in ("percentile", "histogram"):
        return
    with pytest.raises(ValueError, match=rf"x has {value} at \[17, 3\]"):
        affine(x, observer=observer, **cut)
    with pytest.raises(ValueError, match=rf"x has {value} at \[17, 3\]"):
        quantize_with(x, 0.1)
    with pytest.raises(ValueError, match=rf"x has {value} at \[17, 3\]"):
        quantize.min_max(x, **cut)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("observer", ["minmax", "mse"])
def test_not_finite_as_zero_or_kept(observer: str, symmetric: bool, cut: dict[str, int]) -> None:
    x = normal((30, 20))
    bad = np.zeros_like(x)
    bad[1, 2], bad[1, 3], bad[29, 19], bad[15, 0] = np.nan, np.inf, -np.inf, np.nan
    broken = np.where(bad == 0, x, bad)
    clean = np.where(bad == 0, x, np.float32(0))
    expected = affine(clean, symmetric=symmetric, observer=observer, **cut)
    as_zero = affine(broken, symmetric=symmetric, observer=observer, nan="zero", **cut)
    assert np.array_equal(as_zero.values, expected.values)
    assert np.array_equal(as_zero.scale, expected.scale)
    kept = affine(broken, symmetric=symmetric, observer=observer, nan="keep", **cut)
    assert np.array_equal(kept.scale, expected.scale)
    assert np.array_equal(kept.values[bad == 0], expected.values[bad == 0])
    assert np.array_equal(kept.values[np.isnan(bad)], expected.values[np.isnan(bad)])
    assert kept.values[1, 3] == (127 if symmetric else 255)
    assert kept.values[29, 19] == (-127 if symmetric else 0)


def test_doubles_beyond_float32_are_not_finite() -> None:
    x = np.array([1.0, -1e300, 0.5])
    with pytest.raises(ValueError, match=r"x has -1e\+300, which is beyond float32, at \[1\]"):
        affine(x)
    assert affine(x, nan="zero").values.tolist() == [127, 0, 64]
    assert affine(x, nan="keep").values.tolist() == [127, -127, 64]


def test_nothing_but_nan() -> None:
    q = affine(np.full((2, 3), np.nan, np.float32), nan="zero", axis=0)
    assert q.values.tolist() == [[0] * 3] * 2
    assert q.scale.tolist() == [1, 1]


# ---- Arguments --------------------------------------------------------------------------------------

X = normal((6, 10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 1}, "bits must be from 2 to 8, not 1"),
        ({"bits": 9}, "bits must be from 2 to 8, not 9"),
        ({"axis": 2}, "axis 2 is none"),
        ({"axis": -3}, "axis -3 is none"),
        ({"group_size": 0}, "group_size 0"),
        ({"group_size": -5}, "group_size -5"),
        ({"group_size": 4}, "group_size 4 does not divide the 10"),
        ({"group_size": 5, "axis": 0}, "group_size"),
        ({"observer": "median"}, "observer must be one of minmax, percentile, mse, histogram, not 'median'"),
        ({"observer": "percentile", "percentile": 0.0}, "percentile must be"),
        ({"observer": "percentile", "percentile": 101.0}, "percentile must be"),
        ({"observer": "percentile", "group_size": 5}, "observer 'percentile' needs more elements"),
        ({"nan": "ignore"}, "nan must be one of raise, keep, zero, not 'ignore'"),
        ({"threads": 0}, "threads must be at least 1"),
        (
            {"out": np.empty((6, 10), np.uint8)},
            "out must be a contiguous, writable array of shape .6, 10. and dtype int8",
        ),
        ({"out": np.empty((6, 9), np.int8)}, "out must"),
        ({"out": np.empty((6, 20), np.int8)[:, ::2]}, "out must"),
        ({"out": np.empty((6, 10), np.int8), "bits": 4}, "out must"),
        ({"out": np.frombuffer(bytes(60), np.int8).reshape(6, 10)}, "out must"),
        ({"out": X.view(np.int8)[:, :10].copy(order="F")}, "out must"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        affine(X, **arguments)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.bool_, np.complex64, object, "U3"])
def test_what_is_no_float_is_a_type_error(dtype: Any) -> None:
    x = np.zeros((3, 3)).astype(dtype)
    for call in (affine, quantize.min_max, quantize.abs_max, lambda x: quantize_with(x, 1.0)):
        with pytest.raises(TypeError, match="x must hold float32, float16, bfloat16, float64, not"):
            call(x)
    with pytest.raises(TypeError, match="x must hold"):
        quantize.Observer().update(x)


def test_bits_and_axis_are_integers() -> None:
    for arguments in ({"bits": 4.0}, {"axis": 0.0}, {"group_size": 5.0}, {"bits": "8"}):
        with pytest.raises(TypeError, match="integer"):
            affine(X, **arguments)


def test_out_is_used() -> None:
    for bits, symmetric in ((8, True), (8, False), (4, True)):
        expected = affine(X, bits=bits, symmetric=symmetric)
        out = np.empty_like(expected.values)
        q = affine(X, bits=bits, symmetric=symmetric, out=out)
        assert np.shares_memory(q.values, out)
        assert np.array_equal(out, expected.values)
        restored = np.empty_like(X)
        assert q.dequantize(out=restored) is restored
        assert np.array_equal(restored, expected.dequantize())
        half = np.empty(X.shape, np.float16)
        assert q.dequantize(out=half) is half
        assert np.array_equal(half, expected.dequantize().astype(np.float16))


def test_out_must_not_overlap() -> None:
    memory = np.zeros(240, np.uint8)
    x = memory.view(np.float32).reshape(6, 10)
    with pytest.raises(ValueError, match="overlap"):
        affine(x, out=memory[:60].view(np.int8).reshape(6, 10))
    q = QuantizedArray(memory[:60].view(np.int8), 1.0, bits=8, shape=(60,))
    with pytest.raises(ValueError, match="overlap"):
        q.dequantize(out=memory[40:160].view(np.float16))


def test_dtype_of_dequantize() -> None:
    q = affine(X)
    assert q.dequantize(np.float64).dtype == np.float64
    assert q.dequantize("bfloat16").dtype == ml_dtypes.bfloat16
    with pytest.raises(TypeError, match="dtype must be one of"):
        q.dequantize(np.int32)
    with pytest.raises(TypeError, match="unknown dtype"):
        q.dequantize("float12")
    with pytest.raises(ValueError, match=r"out must .* dtype float16"):
        q.dequantize(np.float16, out=np.empty_like(X))
    with pytest.raises(ValueError, match="out must"):
        q.dequantize(out=np.empty((6, 9), np.float32))


# ---- Given scales, and parts from outside -----------------------------------------------------------


def test_quantize_with_saturates() -> None:
    x = np.array([-1e30, -12.9, 12.7, 1e30], np.float32)
    assert quantize_with(x, 0.1).values.tolist() == [-127, -127, 127, 127]
    assert quantize_with(x, 1e-30, 7, bits=4).integers().tolist() == [0, 0, 15, 15]
    assert quantize_with(x, 1e-45).values.tolist() == [-127, -127, 127, 127]
    assert quantize_with(x, 3e38).values.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 1e39, 1e-60, np.ones(2), "x", 3])
def test_scales_are_checked(scale: Any) -> None:
    with pytest.raises(ValueError, match="scale must"):
        quantize_with(X, scale)
    with pytest.raises(ValueError, match="scale must"):
        QuantizedArray(np.zeros(4, np.int8), scale, bits=8, shape=(4,))


@pytest.mark.parametrize("zero_point", [-1, 256, 0.5, np.zeros(2, np.uint8)])
def test_zero_points_are_checked(zero_point: Any) -> None:
    with pytest.raises(ValueError, match="zero_point must"):
        quantize_with(X, 0.1, zero_point)
    with pytest.raises(ValueError, match="zero_point must"):
        QuantizedArray(np.zeros(4, np.uint8), 1.0, zero_point, bits=8, shape=(4,))


GOOD: dict[str, Any] = {"values": np.zeros((2, 3), np.uint8), "scale": 1.0, "bits": 4, "shape": (2, 6)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros((2, 6), np.uint8)}, r"values must be of shape \(2, 3\) and dtype uint8"),
        ({"values": np.zeros((2, 3), np.int8)}, "values must"),
        ({"values": np.zeros((2, 3), np.int8), "bits": 8}, "values must"),
        ({"bits": 0}, "bits must"),
        ({"shape": (2, -6)}, "shape must have no negative"),
        ({"shape": (2**62, 6)}, "values must"),
        ({"axis": 5}, "axis 5"),
        ({"axis": 0}, "scale must have the shape"),
        ({"group_size": 4}, "group_size 4"),
        ({"framework": "jax"}, "framework must be one of"),
    ],
)
def test_parts_are_checked(change: dict[str, Any], message: str) -> None:
    QuantizedArray(**GOOD)
    with pytest.raises(ValueError, match=message):
        QuantizedArray(**(GOOD | change))


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("cut", CUTS)
def test_components_round_trip(cut: dict[str, int], symmetric: bool, bits: int) -> None:
    import json

    q = affine(X, bits=bits, symmetric=symmetric, **cut)
    arrays, fields = q.components()
    copy = QuantizedArray.from_components(arrays, json.loads(json.dumps(fields)))
    assert np.array_equal(copy.dequantize(), q.dequantize())
    assert repr(copy) == repr(q)
    assert copy.components()[1] == fields


@pytest.mark.parametrize("name", ["values", "scale", "bits", "shape", "axis", "group_size"])
def test_missing_components_are_named(name: str) -> None:
    arrays, fields = affine(X).components()
    arrays.pop(name, None)
    fields.pop(name, None)
    with pytest.raises(ValueError, match=name):
        QuantizedArray.from_components(arrays, fields)


@pytest.mark.parametrize(
    "field", [("bits", "8"), ("bits", None), ("shape", 3), ("shape", ["a"]), ("axis", "0")]
)
def test_components_of_wrong_types(field: tuple[str, Any]) -> None:
    arrays, fields = affine(X).components()
    fields[field[0]] = field[1]
    with pytest.raises(ValueError, match="not a quantized array"):
        QuantizedArray.from_components(arrays, fields)


def test_whatever_integers_dequantize() -> None:
    """Integers beyond `bits` mean what the formula says."""
    q = QuantizedArray(np.array([255, 0], np.uint8), 0.5, 3, bits=5, shape=(2,))
    assert q.dequantize().tolist() == [126.0, -1.5]
    q = QuantizedArray(np.array([0xF8], np.uint8), 0.5, bits=2, shape=(2,))
    assert q.dequantize().tolist() == [-4.0, -0.5]


# ---- Torch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_tensors(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(normal((20, 30))).to(getattr(torch, dtype))
    q = affine(x, axis=0, symmetric=False)
    assert isinstance(q.values, np.ndarray)
    assert q.dequantize().dtype == torch.float32
    assert q.dequantize(x.dtype).dtype == x.dtype
    assert isinstance(q.dequantize(np.float32), np.ndarray)
    out = torch.empty_like(x)
    assert q.dequantize(out=out) is out
    assert ((out - x).abs() <= torch.from_numpy(q.scale)[:, None] * 0.6 + x.abs() * 0.01).all()
    values = torch.empty(x.shape, dtype=torch.uint8)
    affine(x, axis=0, symmetric=False, out=values)
    assert np.array_equal(values.numpy(), q.values)
    low, high = quantize.min_max(x, axis=0)
    assert low.equal(x.amin(1).float())
    assert high.equal(x.amax(1).float())
    assert quantize.abs_max(x).equal(x.abs().max().float())
    weight = torch.nn.Parameter(x)
    assert np.array_equal(affine(weight, axis=0, symmetric=False).values, q.values)
