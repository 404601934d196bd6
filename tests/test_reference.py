"""The C kernels and the plain Python twin write the same bytes, and read each other's."""

from __future__ import annotations

import random

import numpy as np
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


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4"])
@pytest.mark.parametrize("n", [1, 63, 1000, 9001, 70_000])
def test_sparse_blocks_are_the_same_on_every_path(dtype: str, n: int) -> None:
    """Plane modes of positions and elements of many densities; -0.0 and NaN are elements like others."""
    rng = np.random.default_rng(n)
    for density in (0, 0.001, 0.1, 0.3, 0.9, 1):
        x = ((rng.standard_normal(n) * 5) * (rng.random(n) < density)).astype(dtype)
        if dtype != "i4" and density < 1:
            x[n // 2 : n // 2 + 2] = [-0.0, np.nan][: len(x[n // 2 : n // 2 + 2])]
        content = x.tobytes() + b"rest"[: n % 2]
        filter = [0, 3, 5][n % 3] + reference.planes.SPARSE
        expected = reference.frame.encode_block(content, x.itemsize, filter)
        if 0.001 < density < 0.9 and n > 1:
            assert expected[0] >> 5 == 1
        for path in _native.cpu_paths():
            _native.select_cpu(path)
            shape, payload = _native.encode_block(content, x.itemsize, filter)
            assert (shape, payload) == expected
            out = bytearray(len(content))
            _native.decode_block(payload, shape, out)
            assert out == content
        assert reference.frame.decode_block(*expected, len(content)) == content


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


@given(
    st.binary(min_size=8, max_size=600),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(0, 5),
    st.booleans(),
    st.sets(st.integers(0, 75)),
)
def test_any_block_is_the_same(
    content: bytes, typesize: int, filter: int, sparse: bool, zeros: set[int]
) -> None:
    for k in zeros:
        content = content[: 8 * k] + bytes(8) + content[8 * k + 8 :]
    filter = filter + reference.planes.SPARSE * sparse if typesize > 1 else 0
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
    judge_damage(*_native.encode_block(content, 1), n, rng)


@pytest.mark.parametrize("typesize", [2, 4, 8])
@pytest.mark.parametrize("density", [0.02, 0.4])
def test_damage_of_sparse_blocks_is_judged_alike(cpu_path: str, typesize: int, density: float) -> None:
    rng = random.Random(typesize)
    kept = [rng.random() < density for _ in range(3000)]
    content = b"".join(rng.randbytes(typesize) if k else bytes(typesize) for k in kept)
    shape, payload = _native.encode_block(content, typesize, 1 + _native.FILTER_SPARSE)
    assert shape >> 5
    judge_damage(shape, payload, len(content), rng)


def judge_damage(shape: int, payload: bytes, n: int, rng: random.Random) -> None:
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
