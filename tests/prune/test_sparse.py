"""Arrays of many zeros: bit for bit back, near the entropy, and as compressed sparse rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import tersor
from tersor import _native, arrays, checkpoint
from tersor.errors import CorruptDataError, LimitError, TersorError
from tersor.frame import SPARSE, iter_blocks
from tersor.prune import sparse

DTYPES = ["float16", "bfloat16", "float32", "float64", "int16", "int64"]
DENSITIES = [0, 0.0002, 0.01, 0.1, 0.3, 0.6, 1]


def pruned(shape: int | tuple[int, ...], dtype: str, density: float) -> NDArray[Any]:
    rng = np.random.default_rng(0)
    numbers = np.round(rng.standard_normal(shape) * 100) if "int" in dtype else rng.standard_normal(shape)
    numbers = np.where(rng.random(shape) < density, numbers, 0)
    return numbers.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def shapes_of(frame: bytes) -> list[int]:
    return [block.shape for block in iter_blocks(memoryview(frame))]


def entropy(counts: NDArray[Any]) -> float:
    """Bits of all that is counted."""
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", DENSITIES)
def test_arrays_come_back_bit_for_bit(cpu_path: str, dtype: str, density: float) -> None:
    for shape in ((3, 70_001), (500, 7), (1,)):
        x = pruned(shape, dtype, density)
        if "float" in dtype:
            x.ravel()[: len(x.ravel()) // 2 : 999] = -0.0
            x.ravel()[-1] = np.nan
        frame = sparse.encode(x)
        back = sparse.decode(frame)
        assert (back.dtype, back.shape) == (x.dtype, x.shape)
        assert back.tobytes() == x.tobytes()
        assert sparse.encode(x, threads=1) == frame
        assert tersor.compress_array(x, codec="huffman") == frame


@pytest.mark.parametrize("density", [0.02, 0.1, 0.5])
def test_files_are_near_the_entropy(density: float) -> None:
    """Positions and order-0 byte planes of what is kept, as docs/format.md codes them."""
    for dtype in ("float32", "float16", "bfloat16"):
        x = pruned(2_000_000, dtype, density)
        kept = x[x != 0]
        bits = entropy(np.array([kept.size, x.size - kept.size]))
        raw = kept.view(f"u{kept.itemsize}")
        rotated = (raw << 3) | (raw >> (8 * kept.itemsize - 3))
        planes = rotated.view(np.uint8).reshape(-1, kept.itemsize)
        bits += sum(entropy(np.bincount(plane, minlength=256)) for plane in planes.T)
        assert 8 * len(sparse.encode(x)) < 1.03 * bits


def test_sparse_blocks_are_chosen_where_they_are_smaller() -> None:
    x = pruned(200_000, "float32", 0.3)
    assert all(shape & SPARSE for shape in shapes_of(sparse.encode(x))[1:])
    dense, ramp = pruned(200_000, "float32", 1), np.arange(200_000, dtype=np.int32)
    for array in (dense, ramp, np.zeros(200_000, np.float32)):
        assert not any(shape & SPARSE for shape in shapes_of(sparse.encode(array)))
    shape, payload = _native.encode_block(x.tobytes(), 4, 3)
    assert not shape & SPARSE
    assert len(_native.encode_block(x.tobytes(), 4)[1]) < 0.95 * len(payload)
    for codec in ("raw", "lzw"):
        frame = tersor.compress_array(x[:20_000], codec=codec)
        assert not any(shape & SPARSE for shape in shapes_of(frame))
        assert np.array_equal(tersor.decompress_array(frame), x[:20_000])


def test_streams_and_files_are_sparse_too(tmp_path: Path) -> None:
    x = pruned((1000, 300), "float32", 0.1)
    size = len(sparse.encode(x))
    compressor = tersor.Compressor(typesize=4)
    streamed = compressor.compress(x) + compressor.flush()
    assert tersor.decompress(streamed) == x.tobytes()
    assert len(streamed) < 1.01 * size
    checkpoint.save_file({"w": x}, tmp_path / "pruned.safetensors")
    assert (tmp_path / "pruned.safetensors").stat().st_size < 1.02 * size + 300
    with checkpoint.safe_open(tmp_path / "pruned.safetensors", "numpy") as file:
        assert np.array_equal(file.get_tensor("w"), x)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_pruning_by_multiplication_leaves_zeros_of_either_sign(cpu_path: str, dtype: str) -> None:
    """As torch's own pruning does. Their signs are kept, and take no more than a bit each."""
    x = pruned(100_000, dtype, 1)
    mask = np.random.default_rng(1).random(x.size) < 0.1
    multiplied = x * mask.astype(x.dtype)
    assert (np.signbit(multiplied) & (multiplied == 0)).any()
    frame = sparse.encode(multiplied)
    assert sparse.decode(frame).tobytes() == multiplied.tobytes()
    positive = sparse.encode(np.where(mask, x, np.array(0, x.dtype)))
    assert len(frame) < len(positive) + x.size * 0.95 / 8


@given(st.data())
def test_any_array(data: st.DataObject) -> None:
    width = data.draw(st.sampled_from([2, 4, 8]))
    numbers = st.one_of(st.just(0), st.integers(0, 2 ** (8 * width) - 1))
    x = np.array(data.draw(st.lists(numbers, max_size=300)), f"u{width}")
    frame = sparse.encode(x)
    assert np.array_equal(sparse.decode(frame), x)
    assert np.array_equal(sparse.to_csr(frame).to_dense().ravel(), x)


# ---- Rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(300, 1000), (7,), (4, 3, 5), (0, 4), (4, 0), (), (2, 300_000)])
def test_rows_are_those_of_the_dense_array(dtype: str, shape: tuple[int, ...]) -> None:
    x = np.asarray(pruned(shape, dtype, 0.1))
    matrix = sparse.to_csr(sparse.encode(x))
    rows = x.reshape(shape[0], math.prod(shape[1:])) if len(shape) > 1 else x.reshape(1, -1)
    assert matrix.shape == rows.shape
    assert matrix.indptr[0] == 0
    for row, start, end in zip(rows, matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        assert np.array_equal(matrix.indices[start:end], np.flatnonzero(row))
        assert np.array_equal(matrix.values[start:end], row[row != 0])
    assert np.array_equal(matrix.to_dense(), rows)
    for ours, theirs in zip(matrix, sparse.from_dense(x), strict=True):
        assert np.array_equal(ours, theirs)


def test_rows_of_arrays_in_other_orders_and_blocks() -> None:
    x = pruned((50, 40), "float32", 0.2)
    expected = sparse.from_dense(x)
    data = tersor.decompress(tersor.compress_array(x))
    # Blocks that end inside of elements, as another writer may make them.
    odd = tersor.compress(data[:1001]) + tersor.compress(data[1001:2002]) + tersor.compress(data[2002:])
    for frame in (sparse.encode(np.asfortranarray(x)), odd):
        for ours, theirs in zip(sparse.to_csr(frame), expected, strict=True):
            assert np.array_equal(ours, theirs)
    assert sparse.from_dense(np.array([[0.0, -0.0, np.nan]])).indices.tolist() == [2]


def test_scipy_reads_the_rows() -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse")
    x = pruned((70, 90), "float32", 0.1)
    *parts, shape = sparse.to_csr(sparse.encode(x))
    indptr, indices, values = parts
    matrix = scipy_sparse.csr_matrix((values, indices, indptr), shape=shape)
    matrix.check_format(full_check=True)
    assert np.array_equal(matrix.toarray(), x)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_tensors(name: str) -> None:
    torch = pytest.importorskip("torch")
    w = torch.from_numpy(pruned((60, 80), "float32", 0.1)).to(getattr(torch, name))
    frame = sparse.encode(w)
    rows = sparse.decode(frame, layout="csr", framework="torch")
    assert (rows.layout, rows.dtype) == (torch.sparse_csr, w.dtype)
    assert torch.equal(rows.to_dense(), w)
    assert torch.equal(sparse.decode(frame, framework="torch"), w)


# ---- Bad input ------------------------------------------------------------------------------------


def test_arguments_are_checked() -> None:
    frame = sparse.encode(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="layout must be"):
        sparse.decode(frame, layout="coo")
    with pytest.raises(ValueError, match="framework must be"):
        sparse.decode(frame, framework="jax")
    texts = np.array(["a", ""])
    with pytest.raises(TypeError, match="of numbers, not"):
        sparse.from_dense(texts)
    with pytest.raises(TypeError, match="of numbers, not"):
        sparse.to_csr(tersor.compress_array(texts))


def test_claims_are_not_believed() -> None:
    x = pruned((100, 100), "float32", 0.1)
    for layout in ("dense", "csr"):
        with pytest.raises(LimitError):
            sparse.decode(sparse.encode(x), layout=layout, max_length=20_000)
        with pytest.raises(CorruptDataError):
            sparse.decode(tersor.compress(b"no array"), layout=layout)
    # Rows that have no columns need no bytes, however many they are said to be.
    many = arrays._npy_header(np.empty((2**20, 0), np.float32)).replace(b"1048576,", b"9999999999999,")
    with pytest.raises((LimitError, CorruptDataError)):
        sparse.to_csr(tersor.compress(many))


def forged(positions: bytes, planes: list[bytes], mode: int = 0) -> bytes:
    """A sparse payload with these positions and elements, all but the positions raw."""
    parts = [(mode, positions), *((0, plane) for plane in planes)]
    headers = b"".join(bytes([m]) + len(p).to_bytes(3, "little") for m, p in parts)
    return headers + b"".join(p for _, p in parts)


def test_positions_that_cannot_be(cpu_path: str) -> None:
    """Positions out of range, counts that disagree, absurd sizes."""
    shape = 1 | SPARSE
    out = bytearray(8)
    _native.decode_block(forged(b"\0\1\0\1", [b"ab", b"cd"]), shape, out)
    assert out == b"\0\0ac\0\0bd"
    _native.decode_block(forged(b"\0\1\2\1", [b"ab", b"cd"]), shape, out)
    assert out == b"\0\0ac\0\x80bd"
    gaps = b"\0\x0f" + b"\2\0\0" + b"\0\2\0\0\1%c%c" + b"\1"  # two gaps, then literals that are all 1
    _native.decode_block(forged(gaps % (1, 1), [b"ab", b"cd"], 8), shape, out)
    assert out == b"\0\0ac\0\0bd"  # and nothing is left of the -0.0
    for payload in (
        forged(b"\0\3\0\1", [b"ab", b"cd"]),
        forged(b"\0\4\0\1", [b"ab", b"cd"]),
        forged(b"\0\x81\1\1", [b"ab", b"cd"]),
        forged(b"\2\2\2\0", [b"", b""]),
        forged(b"\0\0\0\0", [b"", b""]),
        forged(b"\0\0\0\0", [b"a", b"b"]),
        forged(b"\0\1\0\1", [b"abc", b"cde"]),
        forged(b"\0\1\0\1", [b"ab", b"c"]),
        forged(b"\0\1\0", [b"ab", b"cd"]),
        forged(b"\0\1\0\1", [b"ab"]),
        forged(b"\0\1\0\1\1", [b"ab", b"cd"]),
        forged(gaps % (1, 2), [b"ab", b"cd"], 8),  # the second one behind the block
        forged(gaps % (1, 15), [b"ab", b"cd"], 8),
        forged(gaps % (1, 1), [b"abc", b"cde"], 8),
        forged(b"\1", [b"abcd", b"efg"], 1),
        forged(b"\0\1\0\1", [b"ab", b"cd"])[:-1],
        forged(b"\0\1\0\1", [b"ab", b"cd"]) + b"x",
        b"\0\4\0\0" + b"\0\xff\xff\xff" * 2 + b"\0\1\0\1abcd",
    ):
        with pytest.raises(CorruptDataError):
            _native.decode_block(payload, shape, out)
    for bad_shape in (0 | SPARSE, 1 | SPARSE | 0x40, 1 | SPARSE | 6 << 2):
        with pytest.raises(TersorError):
            _native.decode_block(forged(b"\0\1\0\1", [b"ab", b"cd"]), bad_shape, out)
