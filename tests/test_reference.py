"""The C kernels and the plain Python twin write the same bytes, and read each other's."""

from __future__ import annotations

import random

import pytest
from common import CODES, EDGES, KINDS, block_of_code, make
from hypothesis import given
from hypothesis import strategies as st

import tersor
from tersor import _native, reference
from tersor.errors import TersorError

SIZES = [n for n in EDGES if n <= 8193] + [40_000, 70_001]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
def test_blocks_are_the_same_on_every_path(kind: str, n: int) -> None:
    content = make(kind, n)
    for typesize in (1, 2, 4, 8):
        filters = [0] if typesize == 1 else random.Random(n).sample(range(6), 2)
        for filter in filters if typesize <= n else []:
            expected = reference.frame.encode_block(content, typesize, filter)
            for path in _native.cpu_paths():
                _native.select_cpu(path)
                shape, payload = _native.encode_block(content, typesize, filter)
                assert (shape, payload) == expected
                out = bytearray(n)
                _native.decode_block(payload, shape, out)
                assert out == content
            assert reference.frame.decode_block(*expected, n) == content


@pytest.mark.parametrize("codec", ["auto", "huffman", "raw"])
def test_codecs_are_the_same(cpu_path: str, codec: str) -> None:
    content = make("weights", 9000)
    number = tersor.frame.CODECS[codec]
    expected = reference.frame.encode_block(content, 4, 1, codec)
    assert _native.encode_block(content, 4, 1, number) == expected


@pytest.mark.parametrize("mode", [2, 3, 4])
@pytest.mark.parametrize("code", CODES)
def test_unusual_codes_are_read(cpu_path: str, code: str, mode: int) -> None:
    content, payload = block_of_code(code, mode, 5000)
    out = bytearray(5000)
    _native.decode_block(payload, 0, out)
    assert out == content


@given(st.binary(min_size=8, max_size=600), st.sampled_from([1, 2, 4, 8]), st.integers(0, 5))
def test_any_block_is_the_same(content: bytes, typesize: int, filter: int) -> None:
    filter = filter if typesize > 1 else 0
    shape, payload = _native.encode_block(content, typesize, filter)
    assert (shape, payload) == reference.frame.encode_block(content, typesize, filter)
    assert reference.frame.decode_block(shape, payload, len(content)) == content


@pytest.mark.parametrize("n", [0, 1, 1000, 300_000])
def test_frames_are_the_same(n: int) -> None:
    data = make("text", n)
    assert tersor.compress(data) == reference.compress(data)


@pytest.mark.parametrize("typesize", [1, 2, 4, 8])
def test_frames_are_read_by_each_other(typesize: int) -> None:
    data = make("series", 100_003)
    assert reference.decompress(tersor.compress(data, typesize=typesize)) == data
    filter = 5 if typesize > 1 else 0
    assert tersor.decompress(reference.compress(data, typesize, filter) * 2) == data * 2


@pytest.mark.parametrize("kind", ["geometric", "fibonacci", "weights"])
@pytest.mark.parametrize("n", [300, 8192])
def test_damage_is_judged_alike(cpu_path: str, kind: str, n: int) -> None:
    """Whatever is flipped in a payload: refused by both, or decoded by both to the same."""
    content = make(kind, n)
    rng = random.Random(n)
    shape, payload = _native.encode_block(content, 1)
    for _ in range(60):
        bad = bytearray(payload)
        reach = len(bad) if rng.random() < 0.5 else min(len(bad), 60)
        bad[rng.randrange(reach)] ^= 1 << rng.randrange(8)
        try:
            expected: bytes | None = reference.frame.decode_block(shape, bytes(bad), n)
        except TersorError:
            expected = None
        out = bytearray(n)
        try:
            _native.decode_block(bad, shape, out)
        except TersorError:
            assert expected is None
        else:
            assert out == expected
