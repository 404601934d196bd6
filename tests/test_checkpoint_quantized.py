"""Quantized tensors in model files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import tersor
from tersor import checkpoint, quantize
from tersor.quantize import CodebookArray, QuantizedArray

RNG = np.random.default_rng(3)
WEIGHT = RNG.normal(0, 0.05, (30, 112)).astype("f4")

QUANTIZED: dict[str, QuantizedArray | CodebookArray] = {
    "int8": quantize.affine(WEIGHT),
    "rows": quantize.affine(WEIGHT, axis=0),
    "columns, asymmetric": quantize.affine(WEIGHT, axis=1, symmetric=False, bits=6),
    "4 bits in groups": quantize.affine(WEIGHT, bits=4, group_size=28),
    "2 bits, odd rows": quantize.affine(WEIGHT[:, :7], bits=2, symmetric=False),
    "scalar": quantize.affine(np.array(0.5, "f4")),
    "empty": quantize.affine(np.zeros((0, 3), "f4")),
    "kmeans": quantize.codebook(WEIGHT),
    "many levels": quantize.codebook(WEIGHT, levels=100, keep_zero=True),
    "codebook a row": quantize.codebook(WEIGHT, levels=4, axis=0),
    "nf4": quantize.codebook(WEIGHT, method="nf4", group_size=28),
}


def same_parts(a: Any, b: Any) -> bool:
    (parts_a, fields_a), (parts_b, fields_b) = a.components(), b.components()
    equal = [
        x.dtype == y.dtype and np.array_equal(x, y)
        for x, y in zip(parts_a.values(), parts_b.values(), strict=True)
    ]
    return type(a) is type(b) and fields_a == fields_b and all(equal)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    checkpoint.save_file({**QUANTIZED, "dense": WEIGHT}, tmp_path / "q", {"note": "x"})
    return tmp_path / "q"


def test_round_trip(path: Path) -> None:
    loaded = checkpoint.load_file(path, dequantize=False)
    assert all(same_parts(loaded[name], q) for name, q in QUANTIZED.items())
    assert np.array_equal(loaded["dense"], WEIGHT)
    with checkpoint.safe_open(path) as file:
        assert file.metadata() == {"note": "x"}
        assert file.is_quantized("nf4")
        assert not file.is_quantized("dense")
        with pytest.raises(KeyError, match="not quantized"):
            file.get_quantized("dense")


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_floats_are_what_dequantize_makes(tmp_path: Path, dtype: str) -> None:
    checkpoint.save_file(QUANTIZED, tmp_path / "q", dtype=dtype)
    wanted = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}[dtype]
    expected = {name: q.dequantize(wanted) for name, q in QUANTIZED.items()}
    for name, a in checkpoint.load_file(tmp_path / "q").items():
        assert a.dtype == wanted
        assert np.array_equal(a, expected[name]), name


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_floats_as_tensors(tmp_path: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    checkpoint.save_file(QUANTIZED, tmp_path / "q", dtype=dtype)
    expected = checkpoint.load_file(tmp_path / "q")
    for name, t in checkpoint.load_file(tmp_path / "q", framework="torch").items():
        assert np.array_equal(t.float().numpy(), expected[name].astype("f4")), name
        assert t.dtype == {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[dtype]


def test_decompressed_file_is_an_ordinary_one(path: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    checkpoint.decompress_file(path, tmp_path / "d", progress=lambda *call: calls.append(call))
    plain = safetensors.numpy.load_file(tmp_path / "d")
    assert set(plain) == {*QUANTIZED, "dense"}
    for name, q in QUANTIZED.items():
        assert np.array_equal(plain[name], q.dequantize()), name
    assert calls[-1] == (sum(a.nbytes for a in plain.values()),) * 2


def test_slices(path: Path) -> None:
    with checkpoint.safe_open(path) as file:
        part = file.get_slice("4 bits in groups")
        assert part.get_shape() == [30, 112]
        assert np.array_equal(part[3:9, 5], QUANTIZED["4 bits in groups"].dequantize()[3:9, 5])


def test_integers_are_entropy_coded(tmp_path: Path) -> None:
    """The file is near the order-0 entropy of the pairs of 4-bit indices, all else included."""
    weight = RNG.normal(0, 0.05, (1000, 1000)).astype("f4")
    weight[abs(weight) < 0.08] = 0
    q = quantize.codebook(weight, levels=16, keep_zero=True)
    checkpoint.save_file({"w": q}, tmp_path / "q")
    counts = np.bincount(q.indices.ravel(), minlength=256)
    p = counts[counts > 0] / counts.sum()
    entropy = -(p * np.log2(p)).sum() * q.indices.size / 8
    assert (tmp_path / "q").stat().st_size < 1.03 * entropy + 1000


def test_floats_may_have_another_shape(tmp_path: Path) -> None:
    """A convolution's weight, say, in groups that go across its kernel."""
    q = quantize.affine(WEIGHT, bits=4, group_size=28)
    checkpoint.save_file({"w": q}, tmp_path / "q", shapes={"w": (30, 4, 4, 7)})
    assert np.array_equal(checkpoint.load_file(tmp_path / "q")["w"], q.dequantize().reshape(30, 4, 4, 7))
    assert same_parts(checkpoint.load_file(tmp_path / "q", dequantize=False)["w"], q)
    with pytest.raises(ValueError, match="shape"):
        checkpoint.save_file({"w": q}, tmp_path / "r", shapes={"w": (30, 111)})


def test_inspect_names_the_quantization(path: Path) -> None:
    about = {t["name"]: t for t in checkpoint.inspect_file(path)}
    assert about["dense"]["quantization"] is None
    assert about["rows"]["quantization"] == {
        "kind": "affine",
        "fields": {"bits": 8, "axis": 0, "symmetric": True},
    }
    assert about["nf4"]["quantization"]["fields"]["levels"] == 16
    assert about["rows"]["nbytes"] == 4 * WEIGHT.size


def test_compressing_twice_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(tersor.TersorError, match="already"):
        checkpoint.compress_file(path, tmp_path / "c")


def test_unknown_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dtype must be"):
        checkpoint.save_file(QUANTIZED, tmp_path / "q", dtype="F64")
    assert not list(tmp_path.iterdir())


# ---- Bad input -----------------------------------------------------------------------------------


def edit_record(path: Path, name: str, edit: Any) -> None:
    """Change what a file says of a tensor."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    record = json.loads(header["__metadata__"]["tersor"])
    record["tensors"][name] = edit(record["tensors"][name])
    header["__metadata__"]["tersor"] = json.dumps(record)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


def with_fields(**fields: Any) -> Any:
    return lambda entry: [*entry[:3], entry[3] | fields]


BAD_RECORDS: dict[str, tuple[str, Any]] = {
    "three entries": ("int8", lambda e: e[:3]),
    "fields no object": ("int8", lambda e: [*e[:3], []]),
    "bits missing": ("int8", lambda e: [*e[:3], {}]),
    "bits no number": ("int8", with_fields(bits="8")),
    "9 bits": ("int8", with_fields(bits=9)),
    "other bits": ("int8", with_fields(bits=4)),
    "axis beyond": ("rows", with_fields(axis=2)),
    "another axis": ("rows", with_fields(axis=1)),
    "zero point missing": ("rows", with_fields(symmetric=False)),
    "group that does not divide": ("4 bits in groups", with_fields(group_size=27)),
    "group of none": ("4 bits in groups", with_fields(group_size=0)),
    "another shape": ("int8", lambda e: [e[0], [30, 113], *e[2:]]),
    "array of another size": ("int8", with_fields(shape=[30, 113])),
    "array of no shape": ("int8", with_fields(shape="30")),
    "huge shape": ("int8", lambda e: [e[0], [2**40, 2**20], *e[2:]]),
    "no levels": ("kmeans", with_fields(levels=0)),
    "257 levels": ("kmeans", with_fields(levels=257)),
    "other levels": ("kmeans", with_fields(levels=17)),
    "other codebooks": ("kmeans", with_fields(codebooks=30)),
    "float levels": ("kmeans", with_fields(levels=16.0)),
    "scaled": ("kmeans", with_fields(scaled=True)),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_damaged_records_raise(path: Path, tmp_path: Path, case: str) -> None:
    name, edit = BAD_RECORDS[case]
    edit_record(path, name, edit)
    for load in (
        lambda: checkpoint.load_file(path),
        lambda: checkpoint.load_file(path, dequantize=False),
        lambda: checkpoint.inspect_file(path),
        lambda: checkpoint.decompress_file(path, tmp_path / "d"),
    ):
        with pytest.raises(tersor.CorruptDataError):
            load()
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("kind", ["vector", 7, None])
def test_unknown_kinds_are_unsupported(path: Path, kind: Any) -> None:
    edit_record(path, "int8", lambda e: [*e[:2], kind, e[3]])
    with pytest.raises(tersor.UnsupportedFormatError, match="int8"):
        checkpoint.load_file(path)


def test_float_dtypes_only(path: Path) -> None:
    edit_record(path, "int8", lambda e: ["I32", *e[1:]])
    with pytest.raises(tersor.CorruptDataError, match="I32"):
        checkpoint.load_file(path)


def test_parts_that_do_not_fit_raise(tmp_path: Path) -> None:
    """Content whose checksums are right, and which is still no quantized array."""
    q = quantize.affine(WEIGHT, axis=0)
    q.scale[3] = np.nan
    checkpoint.save_file({"w": q}, tmp_path / "q")
    with pytest.raises(tersor.CorruptDataError, match="'w': scale"):
        checkpoint.load_file(tmp_path / "q")
    c = quantize.codebook(WEIGHT, levels=5)
    c.indices[2, 2] = 0x77
    checkpoint.save_file({"w": c}, tmp_path / "q")
    with pytest.raises(tersor.CorruptDataError):
        checkpoint.load_file(tmp_path / "q")


def test_flipped_bits_raise(path: Path) -> None:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    for offset in RNG.integers(start, len(data), 60):
        damaged = bytearray(data)
        damaged[offset] ^= 1 << int(RNG.integers(8))
        path.write_bytes(damaged)
        try:
            loaded = checkpoint.load_file(path, dequantize=False)
        except tersor.TersorError:
            continue
        # A bit that changes only how the same content is coded.
        assert all(same_parts(loaded[name], q) for name, q in QUANTIZED.items())
