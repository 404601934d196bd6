"""`tersor.compress_array` and `decompress_array`, with NumPy's own `.npy` reader as the oracle."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import tersor
from tersor import arrays

RNG = np.random.default_rng(20)

ARRAYS: dict[str, NDArray[Any]] = {
    "float32": RNG.normal(size=(300, 333)).astype("f4"),
    "float64": RNG.normal(size=(50, 60)),
    "float16": RNG.normal(size=5000).astype("f2"),
    "bfloat16": RNG.normal(size=(70, 1000)).astype(ml_dtypes.bfloat16),
    "float8": RNG.normal(size=100).astype(ml_dtypes.float8_e4m3fn),
    "int16 series": np.arange(400_000, dtype="i2").reshape(4, -1),
    "uint64": RNG.integers(0, 2**40, 3000, dtype="u8"),
    "int8": RNG.integers(-5, 5, 100_000, dtype="i1"),
    "big-endian": np.arange(1000, dtype=">i4"),
    "complex": (RNG.normal(size=100) + 1j).astype("c8"),
    "bool": RNG.random(1000) < 0.1,
    "scalar": np.array(5.0),
    "empty": np.zeros((0, 3), "f4"),
    "strings": np.array(["abc", "de"]),
    "dates": np.array(["2020-01-01"], dtype="M8[D]"),
    "structured": np.zeros(5, dtype=[("a", "i4"), ("ü", "f8")]),
    "beyond latin-1": np.zeros(2, dtype=[("平", "i4")]),
    "fortran order": np.asfortranarray(RNG.normal(size=(50, 60))),
    "strided": RNG.normal(size=(50, 60))[::2, ::3],
    "several blocks": RNG.normal(size=700_000).astype("f4"),
}


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", ARRAYS)
def test_round_trip_keeps_dtype_shape_and_bits(name: str) -> None:
    a = ARRAYS[name]
    frame = tersor.compress_array(a)
    assert same(tersor.decompress_array(frame), a)
    out = np.empty_like(a, order="A") if name != "strided" else np.empty(a.shape)
    assert tersor.decompress_array(frame, out=out) is out
    assert same(out, a)


@pytest.mark.parametrize("name", [n for n in ARRAYS if n != "float8"])
def test_content_is_a_file_that_numpy_reads(name: str) -> None:
    a = ARRAYS[name]
    assert same(np.load(io.BytesIO(tersor.decompress(tersor.compress_array(a)))), a)


@pytest.mark.filterwarnings("ignore:Stored array in format 3.0")
@pytest.mark.parametrize("name", [n for n in ARRAYS if n not in ("float8", "bfloat16")])
def test_compressed_npy_file_is_an_array(name: str) -> None:
    """Whatever the division into blocks: here the header shares one with the data."""
    a = ARRAYS[name]
    file = io.BytesIO()
    np.save(file, a)
    assert same(tersor.decompress_array(tersor.compress(file.getvalue())), a)


@given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(max_side=6)))
def test_any_array_round_trips(a: NDArray[Any]) -> None:
    assert same(tersor.decompress_array(tersor.compress_array(a)), a)


def test_result_does_not_depend_on_threads() -> None:
    a = ARRAYS["several blocks"]
    frame = tersor.compress_array(a, threads=1)
    assert tersor.compress_array(a, threads=3) == frame
    assert same(tersor.decompress_array(frame, threads=1), tersor.decompress_array(frame, threads=2))


@pytest.mark.parametrize("name", ["float32", "int16 series", "several blocks", "bfloat16"])
def test_numbers_shrink_more_than_with_zlib(name: str) -> None:
    a = ARRAYS[name]
    file = io.BytesIO()
    np.savez_compressed(file, a=a.view("u1"))
    assert len(tersor.compress_array(a)) < len(file.getvalue())


def test_objects_are_refused() -> None:
    with pytest.raises(TypeError, match="Python objects"):
        tersor.compress_array(np.array([None, {}]))


@pytest.mark.parametrize(
    "out",
    [
        np.empty((333, 300), "f4"),
        np.empty((300, 333), "f8"),
        np.empty((300, 666), "f4")[:, ::2],
        np.empty((300, 333), "f4", order="F"),
    ],
    ids=["shape", "dtype", "strided", "order"],
)
def test_out_that_does_not_fit_is_refused(out: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="out must be"):
        tersor.decompress_array(tersor.compress_array(ARRAYS["float32"]), out=out)


def test_read_only_out_is_refused() -> None:
    out = np.empty((300, 333), "f4")
    out.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        tersor.decompress_array(tersor.compress_array(ARRAYS["float32"]), out=out)


def test_max_length_counts_the_header() -> None:
    a = ARRAYS["float64"]
    frame = tersor.compress_array(a)
    assert same(tersor.decompress_array(frame, max_length=a.nbytes + 128), a)
    with pytest.raises(tersor.LimitError):
        tersor.decompress_array(frame, max_length=a.nbytes + 127)


def npy(header: str, data: bytes = b"") -> bytes:
    """Compress an `.npy` file with a header of our making."""
    text = header.encode("latin-1")
    return tersor.compress(b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + data)


@pytest.mark.parametrize(
    "frame",
    [
        tersor.compress(b""),
        tersor.compress(b"no array at all"),
        tersor.compress(b"\x93NUMPY\1\0\xff\xff{}"),
        tersor.compress(b"\x93NUMPY\7\0\x02\0{}"),
        npy("{}"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", bytes(11)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-3,)}", bytes(12)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': 3}", bytes(12)),
        npy("{'descr': '<f4', 'fortran_order': 0, 'shape': (3,)}", bytes(12)),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        npy("{'descr': 'nonsense', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        npy("{'descr': 'finfo', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (10**9,)}", bytes(8)),
        npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**15}, 3)}}", bytes(12)),
        npy("(" * 3000),
    ],
)
def test_content_that_is_no_array_raises(frame: bytes) -> None:
    with pytest.raises(tersor.CorruptDataError):
        tersor.decompress_array(frame)


def test_shape_beyond_memory_raises() -> None:
    frame = npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**30}, 0)}}")
    with pytest.raises(tersor.LimitError):
        tersor.decompress_array(frame)


def test_damaged_frames_raise_or_decode_to_the_same() -> None:
    a = ARRAYS["float16"]
    frame = tersor.compress_array(a)
    for i in range(0, len(frame), 7):
        bad = bytearray(frame)
        bad[i] ^= 1 << (i % 8)
        with pytest.raises(tersor.TersorError):
            tersor.decompress_array(bad)
        with pytest.raises(tersor.TersorError):
            tersor.decompress_array(frame[:i])


def test_typesize_follows_the_numbers() -> None:
    expected = {"f4": 4, "c16": 8, "u1": 1, "M8[s]": 8, "U3": 4, "S3": 1, "i2,f8": 1, "V4": 1}
    assert {d: arrays.typesize_of(np.dtype(d)) for d in expected} == expected
    assert arrays.typesize_of(np.dtype(ml_dtypes.bfloat16)) == 2


def test_missing_ml_dtypes_is_named() -> None:
    frame = tersor.compress_array(ARRAYS["float8"])
    code = (
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "import tersor\n"
        "try: tersor.arrays.extension_dtype('bfloat16')\n"
        "except ImportError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", "import tersor.arrays\n" + code], capture_output=True, text=True, check=True
    )
    assert "pip install ml_dtypes" in run.stdout
    assert len(frame) < 400


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int64", "float8_e5m2"])
def test_torch_tensors(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    tensor = (torch.randn(40, 50) * 5).to(getattr(torch, dtype))
    frame = tersor.compress_array(tensor)
    out = torch.empty_like(tensor)
    assert tersor.decompress_array(frame, out=out) is out
    assert out.view(torch.uint8).equal(tensor.view(torch.uint8))
    assert tersor.decompress_array(frame).dtype.name == dtype
