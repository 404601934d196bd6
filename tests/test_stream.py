"""`Compressor` and `Decompressor`, which behave as `bz2`'s do."""

from __future__ import annotations

import random

import pytest
from common import make
from hypothesis import given
from hypothesis import strategies as st

import tersor
from tersor.frame import block_size

DATA = make("weights", 2 * block_size(4) + 12_345)


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.parametrize("piece", [1000, 65_536, block_size(4), block_size(4) + 1, len(DATA)])
@pytest.mark.parametrize("typesize", [1, 4])
def test_compressor_makes_the_same_blocks_whatever_the_pieces(piece: int, typesize: int) -> None:
    compressor = tersor.Compressor(typesize=typesize)
    frame = b"".join(compressor.compress(p) for p in in_pieces(DATA, piece)) + compressor.flush()
    assert tersor.decompress(frame) == DATA
    # One-shot frames differ in the header alone, which knows the size.
    assert frame[16:] == tersor.compress(DATA, typesize=typesize)[16:]


def test_compressor_one_byte_at_a_time() -> None:
    compressor = tersor.Compressor("huffman")
    data = make("text", 3000)
    frame = b"".join(compressor.compress(bytes([b])) for b in data) + compressor.flush()
    assert tersor.decompress(frame) == data


def test_nothing_compressed_is_an_empty_frame() -> None:
    assert tersor.decompress(tersor.Compressor().flush()) == b""


def test_compressor_after_flush_is_refused() -> None:
    compressor = tersor.Compressor()
    compressor.flush()
    with pytest.raises(ValueError, match="flushed"):
        compressor.compress(b"x")
    with pytest.raises(ValueError, match="flushed"):
        compressor.flush()


def test_part_of_its_own() -> None:
    compressor = tersor.Compressor(typesize=8)
    frame = compressor.compress(b"abc") + compressor.compress_apart(b"header") + compressor.flush()
    assert tersor.decompress(frame) == b"abcheader"


@pytest.mark.parametrize("piece", [1, 7, 1000, 10**9])
def test_decompressor_takes_any_pieces(piece: int) -> None:
    data = make("text", 9000)
    frame = tersor.compress(data) + b"the rest"
    decompressor = tersor.Decompressor()
    content = b""
    pieces = in_pieces(frame, piece)
    while not decompressor.eof:
        assert decompressor.needs_input
        content += decompressor.decompress(pieces.pop(0))
    assert content == data
    assert decompressor.unused_data + b"".join(pieces) == b"the rest"
    assert not decompressor.needs_input
    with pytest.raises(EOFError):
        decompressor.decompress(b"")


@given(st.integers(0, 2**32))
def test_max_length_bounds_every_answer(seed: int) -> None:
    rng = random.Random(seed)
    data = DATA[: rng.randrange(len(DATA))]
    frame = tersor.compress(data, typesize=4)
    decompressor = tersor.Decompressor()
    content, at = bytearray(), 0
    while not decompressor.eof:
        fed = b""
        if decompressor.needs_input:
            fed = frame[at : at + rng.choice([1, 100, 10_000, 10**7])]
            assert fed
            at += len(fed)
        limit = rng.choice([-1, 1, 5000, 10**6])
        part = decompressor.decompress(fed, max_length=limit)
        assert limit < 0 or len(part) <= limit
        if limit > 0 and len(part) < limit and not decompressor.eof:
            assert decompressor.needs_input
        content += part
    assert content == data


def test_max_length_zero_gives_nothing() -> None:
    decompressor = tersor.Decompressor()
    frame = tersor.compress(b"abc")
    assert decompressor.decompress(frame, 0) == b""
    assert not decompressor.needs_input
    assert not decompressor.eof
    assert decompressor.decompress(b"", 2) == b"ab"
    assert decompressor.decompress(b"") == b"c"
    assert decompressor.eof


def test_damage_is_remembered() -> None:
    frame = bytearray(tersor.compress(b"x" * 1000))
    frame[40] ^= 1
    decompressor = tersor.Decompressor()
    with pytest.raises(tersor.TersorError):
        decompressor.decompress(frame)
    assert not decompressor.eof
    assert not decompressor.needs_input
    with pytest.raises(tersor.CorruptDataError, match="before"):
        decompressor.decompress(b"")


def test_bytes_that_are_no_frame_are_refused_at_once() -> None:
    with pytest.raises(tersor.CorruptDataError, match="magic"):
        tersor.Decompressor().decompress(b"sixteen bytes ok")
