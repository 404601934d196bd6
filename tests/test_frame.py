"""One-shot compression: round trips, and the facts of docs/format.md byte by byte."""

from __future__ import annotations

import array
import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from common import EDGES, KINDS, make
from hypothesis import given
from hypothesis import strategies as st

import tersor
from tersor.frame import block_size

SIZES = [0, *EDGES, (1 << 20) - 1, 1 << 20, (1 << 20) + 1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("typesize", [1, 2, 4, 8])
def test_round_trip(cpu_path: str, kind: str, typesize: int) -> None:
    for n in SIZES:
        data = make(kind, n) if n else b""
        frame = tersor.compress(data, typesize=typesize)
        assert tersor.decompress(frame) == data
        blocks = -(-n // block_size(typesize))
        assert len(frame) <= n + 25 + blocks * (16 + 6 + 4 * typesize)


@pytest.mark.parametrize("codec", ["auto", "huffman", "raw"])
@pytest.mark.parametrize("threads", [1, 2, 7, None])
def test_result_does_not_depend_on_threads(codec: str, threads: Any) -> None:
    data = make("weights", 3_000_001)
    frame = tersor.compress(data, codec, typesize=4, threads=threads)
    assert frame == tersor.compress(data, codec, typesize=4, threads=1)
    assert tersor.decompress(frame, threads=threads) == data


@given(st.binary(max_size=400), st.sampled_from([1, 2, 4, 8]))
def test_any_bytes_round_trip(data: bytes, typesize: int) -> None:
    assert tersor.decompress(tersor.compress(data, typesize=typesize)) == data


def test_any_contiguous_buffer_is_taken(tmp_path: Path) -> None:
    data = make("geometric", 5000)
    expected = tersor.compress(data)
    numbers = np.frombuffer(data, "u1")
    path = tmp_path / "file"
    path.write_bytes(data)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for buffer in (
            bytearray(data),
            memoryview(data),
            array.array("H", data),
            mapped,
            numbers,
            numbers.reshape(50, 100),
            np.asfortranarray(numbers.reshape(100, 50).T),
            numbers.view("f8"),
        ):
            assert tersor.compress(buffer) == expected
        assert tersor.decompress(memoryview(expected)) == data
        assert tersor.decompress(np.frombuffer(expected, "u1")) == data


def test_what_is_no_buffer_of_bytes_is_refused() -> None:
    for bad in ("text", None, 7, [1, 2], np.array([None])):
        with pytest.raises(TypeError):
            tersor.compress(bad)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            tersor.decompress(bad)  # type: ignore[arg-type]
    for strided in (memoryview(b"abcdef")[::2], np.zeros((4, 4))[:, ::2]):
        with pytest.raises((BufferError, ValueError), match="contiguous"):
            tersor.compress(strided)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValueError, match="codec"):
        tersor.compress(b"", "best")
    for typesize in (0, 3, 16, "4"):
        with pytest.raises(ValueError, match="typesize"):
            tersor.compress(b"", typesize=typesize)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threads"):
        tersor.compress(b"", threads=0)


def test_huffman_module_is_the_same_format() -> None:
    data = make("text", 50_000)
    frame = tersor.huffman.compress(data)
    assert frame == tersor.compress(data, codec="huffman")
    assert tersor.huffman.decompress(frame) == data
    with pytest.raises(tersor.LimitError):
        tersor.huffman.decompress(frame, max_length=49_999)


# ---- The format ---------------------------------------------------------------------------------------


def test_empty_frame_has_25_bytes() -> None:
    frame = tersor.compress(b"")
    head = b"\x9bTSR\x01\x01"
    check = struct.pack("<H", xxhash.xxh3_64_intdigest(head + bytes(8)) & 0xFFFF)
    end = struct.pack("<II", 0, xxhash.xxh3_64_intdigest(bytes(16)) & 0xFFFFFFFF)
    assert frame == head + check + bytes(8) + b"\0" + end
    assert len(frame) == 25


def test_raw_block_byte_by_byte() -> None:
    data = bytes(range(100))
    frame = tersor.compress(data, "raw")
    check = xxhash.xxh3_64_intdigest(data, 0)
    block = b"\x01\x00" + b"\x64\0\0" + b"\x68\0\0" + struct.pack("<Q", check) + b"\0\x64\0\0" + data
    assert frame[16:-9] == block
    assert len(frame) == len(data) + 45


def test_random_bytes_cost_45_bytes_and_20_a_further_block() -> None:
    data = make("random", 100)
    assert len(tersor.compress(data)) == 145
    data = make("random", 3 * block_size(1))
    assert len(tersor.compress(data)) == len(data) + 25 + 3 * (16 + 4 + 6)


def test_index_lists_all_blocks() -> None:
    data = make("geometric", 2 * block_size(1) + 77)
    frame = tersor.compress(data)
    entries, check = struct.unpack("<II", frame[-8:])
    assert entries == 3
    index = frame[-8 - 18 : -8]
    assert check == xxhash.xxh3_64_intdigest(index + struct.pack("<QQ", len(data), 3)) & 0xFFFFFFFF
    sizes = [int.from_bytes(index[i : i + 3], "little") for i in range(0, 18, 3)]
    assert sizes[::2] == [block_size(1), block_size(1), 77]
    assert 16 + sum(16 + payload for payload in sizes[1::2]) + 1 + 18 + 8 == len(frame)


def test_frames_are_joined() -> None:
    parts = [make(kind, 5000) for kind in KINDS]
    joined = b"".join(tersor.compress(part) for part in parts)
    assert tersor.decompress(joined) == b"".join(parts)


def test_max_length_is_a_limit_not_a_cut() -> None:
    data = make("text", 300_000)
    frame = tersor.compress(data) + tersor.compress(b"more")
    assert tersor.decompress(frame, max_length=300_004) == data + b"more"
    for limit in (0, 1, 299_999, 300_003):
        with pytest.raises(tersor.LimitError, match=str(limit)):
            tersor.decompress(frame, max_length=limit)
    assert tersor.decompress(tersor.compress(b""), max_length=0) == b""


def test_weights_shrink_by_their_exponents() -> None:
    data = make("weights", 400_000)
    assert len(tersor.compress(data, typesize=4)) < 0.86 * len(data)
    assert len(tersor.compress(data)) > 0.9 * len(data)


def test_series_shrink_by_their_differences() -> None:
    data = make("series", 200_000)
    assert len(tersor.compress(data, typesize=2)) < 0.4 * len(data)
