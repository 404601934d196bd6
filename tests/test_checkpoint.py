"""`tersor.checkpoint`, with the `safetensors` package as the oracle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

import tersor
from tersor import checkpoint
from tersor.frame import Block

RNG = np.random.default_rng(7)

TENSORS: dict[str, NDArray[Any]] = {
    "weight": RNG.normal(0, 0.05, (300, 500)).astype("f4"),
    "bf16": RNG.normal(0, 0.05, (400, 500)).astype(ml_dtypes.bfloat16),
    "half": RNG.normal(size=(3, 4, 5)).astype("f2"),
    "double": RNG.normal(size=9),
    "e4m3": RNG.normal(size=33).astype(ml_dtypes.float8_e4m3fn),
    "e5m2": RNG.normal(size=33).astype(ml_dtypes.float8_e5m2),
    "ids": np.arange(512).reshape(1, 512),
    "int32": RNG.integers(-9, 9, 1000, dtype="i4"),
    "int16": RNG.integers(-999, 999, 1001, dtype="i2"),
    "int8": RNG.integers(-9, 9, (7, 11), dtype="i1"),
    "uint8": RNG.integers(0, 255, 13, dtype="u1"),
    "flags": RNG.random(10) < 0.5,
    "scalar": np.array(2.5, "f4"),
    "empty": np.zeros((0, 4), "f4"),
    "ünïcode / 名": np.ones(3, "f4"),
}
METADATA = {"format": "np", "note": 'quotes " and ünïcode'}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(TENSORS, path, METADATA)
    return path


@pytest.fixture
def compressed(tmp_path: Path, source: Path) -> Path:
    path = tmp_path / "model.tsr.safetensors"
    checkpoint.compress_file(source, path)
    return path


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def write(path: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(dtype: str, shape: list[Any], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


# ---- Round trips --------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["auto", "huffman", "raw"])
@pytest.mark.parametrize("threads", [1, 3, None])
def test_file_round_trip_is_byte_identical(source: Path, tmp_path: Path, codec: str, threads: Any) -> None:
    checkpoint.compress_file(source, tmp_path / "c", codec=codec, threads=threads)
    checkpoint.decompress_file(tmp_path / "c", tmp_path / "d", threads=threads)
    assert (tmp_path / "d").read_bytes() == source.read_bytes()


def test_result_does_not_depend_on_threads(source: Path, compressed: Path, tmp_path: Path) -> None:
    checkpoint.compress_file(source, tmp_path / "one", threads=1)
    assert (tmp_path / "one").read_bytes() == compressed.read_bytes()


def test_unusual_headers_survive(tmp_path: Path) -> None:
    """Spaces, key order and padding of the JSON come back as they were."""
    text = b'{ "b": {"shape":[2],  "data_offsets":[2,4],"dtype":"U8"},"a":{"dtype":"U8","shape":[2],'
    text += b'"data_offsets":[0,2]},"__metadata__":{} }   '
    source = write(tmp_path / "s", text, b"wxyz")
    checkpoint.compress_file(source, tmp_path / "c")
    checkpoint.decompress_file(tmp_path / "c", tmp_path / "d")
    assert (tmp_path / "d").read_bytes() == source.read_bytes()


def test_file_without_tensors(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {})
    checkpoint.compress_file(source, tmp_path / "c")
    assert checkpoint.load_file(tmp_path / "c") == {}
    checkpoint.decompress_file(tmp_path / "c", tmp_path / "d")
    assert (tmp_path / "d").read_bytes() == source.read_bytes()


def test_dtypes_of_four_and_six_bits_are_carried(tmp_path: Path) -> None:
    header = {"four": entry("F4", [4], 0, 2), "six": entry("F6_E2M3", [4], 2, 5)}
    source = write(tmp_path / "s", header, b"abcde")
    checkpoint.compress_file(source, tmp_path / "c")
    checkpoint.decompress_file(tmp_path / "c", tmp_path / "d")
    assert (tmp_path / "d").read_bytes() == source.read_bytes()
    with pytest.raises(tersor.UnsupportedFormatError, match="F4"):
        checkpoint.load_file(tmp_path / "c")


def test_tensor_of_many_blocks(tmp_path: Path) -> None:
    big = RNG.normal(0, 0.02, 5_000_000).astype("f4")
    safetensors.numpy.save_file({"big": big, "small": big[:10]}, tmp_path / "s")
    checkpoint.compress_file(tmp_path / "s", tmp_path / "c", threads=1)
    assert same(checkpoint.load_file(tmp_path / "c")["big"], big)
    checkpoint.decompress_file(tmp_path / "c", tmp_path / "d")
    assert (tmp_path / "d").read_bytes() == (tmp_path / "s").read_bytes()


# ---- The compressed file is a safetensors file ---------------------------------------------------


def test_safetensors_opens_the_result(compressed: Path) -> None:
    with safetensors.safe_open(compressed, "np") as file:
        assert set(file.keys()) == set(TENSORS)
        metadata = file.metadata()
        frames = {name: file.get_tensor(name) for name in TENSORS}
    assert {k: metadata[k] for k in METADATA} == METADATA
    for name, frame in frames.items():
        assert frame.dtype == np.uint8
        assert tersor.decompress(frame) == TENSORS[name].tobytes()


def test_weights_shrink(source: Path, compressed: Path) -> None:
    assert compressed.stat().st_size < 0.85 * source.stat().st_size


def test_save_file_is_what_compress_file_makes_of_an_ordinary_file(tmp_path: Path) -> None:
    checkpoint.save_file(TENSORS, tmp_path / "c", METADATA)
    checkpoint.decompress_file(tmp_path / "c", tmp_path / "d")
    with safetensors.safe_open(tmp_path / "d", "np") as file:
        assert file.metadata() == METADATA
        for name, a in TENSORS.items():
            if a.dtype.name.startswith("float8"):  # which the package cannot give as NumPy arrays
                assert file.get_slice(name).get_shape() == list(a.shape)
            else:
                assert same(file.get_tensor(name), a)


def test_save_file_refuses_dtypes_without_a_name(tmp_path: Path) -> None:
    for a in (np.array(["text"]), np.zeros(3, ">f4"), np.zeros(3, "f4,f4")):
        with pytest.raises(tersor.UnsupportedFormatError, match="'x'"):
            checkpoint.save_file({"x": a}, tmp_path / "c")
    assert os.listdir(tmp_path) == []


# ---- Reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["source", "compressed"])
def test_load_file(which: str, request: pytest.FixtureRequest) -> None:
    """Both kinds of file, so that one call reads either."""
    loaded = checkpoint.load_file(request.getfixturevalue(which))
    assert set(loaded) == set(TENSORS)
    for name, a in TENSORS.items():
        assert same(loaded[name], a)


def test_load_file_gives_torch_tensors(compressed: Path) -> None:
    torch = pytest.importorskip("torch")
    loaded = checkpoint.load_file(compressed, framework="torch", device="cpu")
    for name, a in TENSORS.items():
        tensor = loaded[name]
        assert str(tensor.dtype) == "torch." + str(a.dtype)
        assert tuple(tensor.shape) == a.shape
        raw = tensor.reshape(-1).view(torch.uint8) if a.size else torch.empty(0)
        assert bytes(raw.to(torch.uint8).tolist()) == a.tobytes()


def test_safe_open(compressed: Path) -> None:
    with checkpoint.safe_open(compressed, "np") as file:
        assert set(file.keys()) == set(TENSORS)
        assert file.metadata() == METADATA
        assert same(file.get_tensor("half"), TENSORS["half"])
        with pytest.raises(KeyError, match="no tensor 'nothing'"):
            file.get_tensor("nothing")


@pytest.mark.parametrize("which", ["source", "compressed"])
def test_get_slice(which: str, request: pytest.FixtureRequest) -> None:
    weight = TENSORS["weight"]
    with checkpoint.safe_open(request.getfixturevalue(which), "numpy") as file:
        part = file.get_slice("weight")
        assert (part.get_shape(), part.get_dtype()) == ([300, 500], "F32")
        for index in (
            0,
            -1,
            slice(None),
            slice(3, 7),
            slice(250, 9999),
            slice(9, 3),
            slice(20, 200, 7),
            slice(200, 20, -7),
            (slice(5, 9), slice(None, 3)),
            (7, 8),
            Ellipsis,
            [4, 2],
        ):
            assert np.array_equal(part[index], weight[index]), index
        for index in (300, -301):
            with pytest.raises(IndexError, match="out of bounds"):
                part[index]
        assert file.get_slice("scalar")[()] == 2.5
        assert file.get_slice("empty")[0:5].shape == (0, 4)


def test_slices_decode_only_the_blocks_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = RNG.normal(size=(4096, 512)).astype("f4")
    checkpoint.save_file({"a": a}, tmp_path / "c")
    decoded = []
    decode = Block.decode
    monkeypatch.setattr(Block, "decode", lambda b: decoded.append(b.offset) or decode(b))
    with checkpoint.safe_open(tmp_path / "c", threads=1) as file:
        assert np.array_equal(file.get_slice("a")[2000:2010], a[2000:2010])
    assert len(decoded) <= 2


def test_unknown_framework_is_refused(compressed: Path) -> None:
    with pytest.raises(ValueError, match="unknown framework"):
        checkpoint.load_file(compressed, framework="jax")
    with pytest.raises(ValueError, match="CPU"):
        checkpoint.load_file(compressed, device="cuda")


def test_inspect_file(compressed: Path, source: Path) -> None:
    rows = {row["name"]: row for row in checkpoint.inspect_file(compressed)}
    with safetensors.safe_open(compressed, "np") as file:
        for name, a in TENSORS.items():
            row = rows[name]
            assert (row["shape"], row["nbytes"]) == (list(a.shape), a.nbytes)
            assert row["compressed_nbytes"] == file.get_tensor(name).size
    assert rows["weight"]["dtype"] == "F32"
    assert rows["weight"]["methods"].startswith("huffman, ")
    assert rows["empty"]["methods"] == "empty"
    assert {row["methods"] for row in checkpoint.inspect_file(source)} == {"stored"}


def test_is_compressed(source: Path, compressed: Path, tmp_path: Path) -> None:
    assert checkpoint.is_compressed(compressed)
    assert not checkpoint.is_compressed(source)
    (tmp_path / "other").write_bytes(b"text")
    assert not checkpoint.is_compressed(tmp_path / "other")


def test_progress_ends_at_the_total(source: Path, tmp_path: Path) -> None:
    total = sum(a.nbytes for a in TENSORS.values())
    for work, src, dst in (
        (checkpoint.compress_file, source, tmp_path / "c"),
        (checkpoint.decompress_file, tmp_path / "c", tmp_path / "d"),
    ):
        calls: list[tuple[int, int]] = []
        work(src, dst, progress=lambda done, of, calls=calls: calls.append((done, of)))
        assert calls == sorted(calls)
        assert calls[-1] == (total, total)


# ---- Bad input -----------------------------------------------------------------------------------


BAD_HEADERS: dict[str, Any] = {
    "no JSON": b"{nonsense",
    "not UTF-8": b"{\xff}",
    "a list": b"[]",
    "leading space": b" {}",
    "deep nesting": b'{"a":' * 50_000,
    "duplicate name": b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},' * 2 + b'"b":{}}',
    "no shape": {"a": {"dtype": "U8", "data_offsets": [0, 4]}},
    "shape no list": {"a": {"dtype": "U8", "shape": 4, "data_offsets": [0, 4]}},
    "negative size": {"a": entry("U8", [-4], 0, 4)},
    "float size": {"a": entry("U8", [4.0], 0, 4)},
    "bool size": {"a": entry("U8", [True, 4], 0, 4)},
    "unknown dtype": {"a": entry("Q7", [4], 0, 4)},
    "dtype no string": {"a": {"dtype": [], "shape": [4], "data_offsets": [0, 4]}},
    "offsets backwards": {"a": entry("U8", [4], 4, 0)},
    "offsets no pair": {"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4, 4]}},
    "size of another shape": {"a": entry("U8", [5], 0, 4)},
    "huge shape": {"a": entry("U8", [2**62, 2**62], 0, 4)},
    "not whole bytes": {"a": entry("F4", [7], 0, 4)},
    "overlap": {"a": entry("U8", [4], 0, 4), "b": entry("U8", [2], 2, 4)},
    "hole": {"a": entry("U8", [1], 0, 1), "b": entry("U8", [2], 2, 4)},
    "data missing": {"a": entry("U8", [5], 0, 5)},
    "data left over": {"a": entry("U8", [3], 0, 3)},
    "metadata no mapping": {"__metadata__": [], "a": entry("U8", [4], 0, 4)},
    "metadata no strings": {"__metadata__": {"x": 1}, "a": entry("U8", [4], 0, 4)},
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_invalid_safetensors_raise_and_leave_nothing(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / "s", BAD_HEADERS[name], b"wxyz")
    with pytest.raises(tersor.TersorError):
        checkpoint.compress_file(source, tmp_path / "c")
    with pytest.raises(tersor.TersorError):
        checkpoint.load_file(source)
    assert os.listdir(tmp_path) == ["s"]


@pytest.mark.parametrize("data", [b"", b"short", bytes(8), b"\xff" * 8 + b"{}", b"\x02" + bytes(7) + b"{"])
def test_files_that_are_no_safetensors_raise(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(data)
    for call in (
        lambda: checkpoint.compress_file(tmp_path / "s", tmp_path / "c"),
        lambda: checkpoint.decompress_file(tmp_path / "s", tmp_path / "c"),
        lambda: checkpoint.load_file(tmp_path / "s"),
        lambda: checkpoint.inspect_file(tmp_path / "s"),
    ):
        with pytest.raises(tersor.TersorError):
            call()
    assert os.listdir(tmp_path) == ["s"]


def test_compressing_twice_is_refused(compressed: Path, tmp_path: Path) -> None:
    with pytest.raises(tersor.TersorError, match="already compressed"):
        checkpoint.compress_file(compressed, tmp_path / "twice")


def test_decompressing_an_ordinary_file_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(tersor.UnsupportedFormatError, match="not compressed"):
        checkpoint.decompress_file(source, tmp_path / "d")


def rebuild(path: Path, target: Path, change: Any) -> Path:
    """Copy a compressed file with its header (a dict) changed."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    change(header)
    return write(target, header, raw[8 + size :])


def set_tersor(value: str) -> Any:
    return lambda header: header["__metadata__"].update(tersor=value)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("", tersor.CorruptDataError),
        ("[]", tersor.CorruptDataError),
        ("{}", tersor.CorruptDataError),
        ('{"version":2,"header":"{}"}', tersor.UnsupportedFormatError),
        ('{"version":1,"header":7}', tersor.CorruptDataError),
        ('{"version":1,"header":"{}"}', tersor.CorruptDataError),
        ('{"version":1,"header":"{"}', tersor.CorruptDataError),
    ],
)
def test_damaged_original_header_raises(compressed: Path, tmp_path: Path, value: str, error: Any) -> None:
    bad = rebuild(compressed, tmp_path / "bad", set_tersor(value))
    with pytest.raises(error):
        checkpoint.load_file(bad)
    with pytest.raises(error):
        checkpoint.decompress_file(bad, tmp_path / "d")
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("n", [149_999, 150_001, 2**40])
def test_shape_that_is_not_the_frames_raises(compressed: Path, tmp_path: Path, n: int) -> None:
    """A header that claims more, or less, than the frame holds: found before memory is taken."""
    header = json.dumps({"weight": entry("F32", [n], 0, 4 * n)})
    raw = compressed.read_bytes()
    with checkpoint.safe_open(compressed) as file:
        stored = next(t for t in file._stored.tensors if t.name == "weight")
    begin = 8 + int.from_bytes(raw[:8], "little") + stored.begin
    frame = raw[begin : begin + stored.nbytes]
    meta = {"tersor": json.dumps({"version": 1, "header": header})}
    outer = {"__metadata__": meta, "weight": entry("U8", [len(frame)], 0, len(frame))}
    bad = write(tmp_path / "bad", outer, frame)
    for call in (
        lambda: checkpoint.load_file(bad),
        lambda: checkpoint.decompress_file(bad, tmp_path / "d"),
        lambda: checkpoint.inspect_file(bad),
    ):
        with pytest.raises(tersor.CorruptDataError, match="'weight' has"):
            call()


def test_damage_anywhere_is_found_or_harmless(compressed: Path, source: Path, tmp_path: Path) -> None:
    """Flipped bits and cut ends: a tersor error and no output, or the original."""
    raw, original = compressed.read_bytes(), source.read_bytes()
    rng = np.random.default_rng(3)
    bad, out = tmp_path / "bad", tmp_path / "out"
    n_found = 0
    for case in range(400):
        damaged = bytearray(raw)
        if case % 4:
            damaged[rng.integers(len(raw))] ^= 1 << rng.integers(8)
        else:
            del damaged[rng.integers(len(raw)) :]
        bad.write_bytes(damaged)
        try:
            checkpoint.decompress_file(bad, out, threads=1)
        except tersor.TersorError:
            n_found += 1
            assert not out.exists()
        else:
            assert out.read_bytes() == original
            out.unlink()
    assert n_found > 350
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["bad", compressed.name, source.name])


def test_failure_keeps_the_former_output(compressed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"precious")
    damaged = bytearray(compressed.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "bad").write_bytes(damaged)
    with pytest.raises(tersor.CorruptDataError):
        checkpoint.decompress_file(tmp_path / "bad", out)
    assert out.read_bytes() == b"precious"


def test_interrupted_progress_leaves_nothing(source: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoint.compress_file(source, tmp_path / "c", progress=interrupt)
    assert os.listdir(tmp_path) == [source.name]


def test_output_has_the_sources_permissions(source: Path, tmp_path: Path) -> None:
    source.chmod(0o640)
    checkpoint.compress_file(source, tmp_path / "c")
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_bounded(tmp_path: Path) -> None:
    """A file of 400 MB, half of it one tensor, in less than 150 MB."""
    half = 200 << 20
    header = {"a": entry("F32", [half // 4], 0, half)}
    for i in range(10):
        begin = half + i * half // 10
        header[f"b{i}"] = entry("F32", [half // 40], begin, begin + half // 10)
    piece = RNG.normal(0, 0.05, 1 << 20).astype("f4").tobytes()
    path = write(tmp_path / "s", header)
    with path.open("ab") as file:
        for _ in range(2 * half // len(piece)):
            file.write(piece)
    code = """
        import sys
        from tersor import checkpoint
        checkpoint.compress_file(sys.argv[1], sys.argv[2])
        checkpoint.decompress_file(sys.argv[2], sys.argv[3])
        print(*(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
    """
    arguments = [str(path), str(tmp_path / "c"), str(tmp_path / "d")]
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True, check=True
    )
    kib = int(run.stdout.split()[1])
    assert kib < 150 << 10
    assert (tmp_path / "d").stat().st_size == path.stat().st_size
