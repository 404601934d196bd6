"""The extension module: its surface, its CPU paths, its errors, and the code construction."""

from __future__ import annotations

import ast
import heapq
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from common import KINDS, make
from hypothesis import given
from hypothesis import strategies as st

import tersor
from tersor import _native
from tersor.reference import huffman

STUB = Path(tersor.__file__).with_name("_native.pyi")


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment
    )


def test_stub_names_are_those_at_run_time() -> None:
    names = set()
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    imported = {"CorruptDataError", "UnsupportedFormatError", "os", "threading"}
    actual = {n for n in dir(_native) if not n.startswith("_")} - imported
    assert names == actual


def test_every_result_code_has_an_exception_and_a_sentence() -> None:
    messages = []
    for rc in _native.result_codes():
        error = _native.result_error(rc, 12)
        assert isinstance(error, ValueError | BufferError)
        messages.append(str(error))
    assert len(messages) == 25
    assert len(set(messages)) == len(messages)
    assert not any("unknown" in m for m in messages)


# ---- CPU paths ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", _native.cpu_paths())
def test_environment_forces_a_path(path: str) -> None:
    result = python("import tersor; print(tersor.cpu_features()['selected'])", TERSOR_CPU=path)
    assert result.stdout == f"{path}\n"


@pytest.mark.parametrize("path", ["fast", "AVX2", "neon" if "avx2" in _native.cpu_paths() else "avx2"])
def test_unknown_path_is_an_import_error_that_names_the_known(path: str) -> None:
    result = python("import tersor", TERSOR_CPU=path)
    assert result.returncode == 1
    expected = f"CPU path {path!r} is not one of this machine's: {', '.join(_native.cpu_paths())}"
    assert expected in result.stderr.splitlines()[-1]


def test_features() -> None:
    features = tersor.cpu_features()
    assert features["available"] == _native.cpu_paths()
    assert features["selected"] in _native.cpu_paths()
    areas = {"huffman", "planes", "codes", "codebooks", "linear", "prune", "quantize"}
    assert set(features["kernels"]) == areas  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="'none'"):
        _native.select_cpu("none")


def test_import_brings_in_neither_numpy_nor_torch() -> None:
    code = "import sys, tersor; print([m for m in ('numpy', 'torch') if m in sys.modules])"
    assert python(code).stdout == "[]\n"


# ---- Buffers ----------------------------------------------------------------------------------------


def test_output_bytes() -> None:
    output = _native.OutputBytes(5)
    view = memoryview(output)
    view[:] = b"abcde"
    with pytest.raises(BufferError, match="still being written"):
        output.finish()
    view.release()
    assert output.finish(3) == b"abc"
    with pytest.raises(BufferError):
        output.finish()
    with pytest.raises(BufferError):
        memoryview(output)
    assert _native.OutputBytes(0).finish() == b""
    assert _native.OutputBytes(9).finish(0) == b""
    with pytest.raises(ValueError, match="within"):
        _native.OutputBytes(9).finish(10)
    with pytest.raises(ValueError, match="negative"):
        _native.OutputBytes(-1)


def test_block_arguments_are_checked() -> None:
    for arguments in (
        (b"",),
        (b"abc", 3),
        (b"abc", 4),
        (b"abc", 1, 6),
        (b"abc", 1, 8),
        (b"abcd", 4, 14),
        (b"abc", 1, 0, 4),
        (bytes(2**20 + 1),),
    ):
        with pytest.raises(ValueError, match=r"block|unknown"):
            _native.encode_block(*arguments)
    with pytest.raises(BufferError, match="too small"):
        _native.encode_block_into(b"abc", bytearray(10))
    for size in (0, 2**20 + 1):
        with pytest.raises(ValueError, match="block"):
            _native.decode_block(b"abc", 0, bytearray(size))
    with pytest.raises((ValueError, BufferError, TypeError)):
        _native.decode_block(b"abc", 0, bytes(10))


# ---- Counts and codes -------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 1000, 100_001])
def test_histogram_counts(cpu_path: str, n: int) -> None:
    data = make("geometric", n)
    assert _native.histogram(data) == [Counter(data)[s] for s in range(256)]


def optimal_cost(counts: list[int]) -> tuple[int, int]:
    """Bits and longest code of an unlimited Huffman code, by Huffman's own algorithm."""
    heap = [(c, 0) for c in counts if c]
    heapq.heapify(heap)
    cost = 0
    while len(heap) > 1:
        (a, depth_a), (b, depth_b) = heapq.heappop(heap), heapq.heappop(heap)
        cost += a + b
        heapq.heappush(heap, (a + b, max(depth_a, depth_b) + 1))
    return cost, heap[0][1]


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "constant"])
@pytest.mark.parametrize("n", [100, 5000, 300_000])
def test_lengths_are_complete_and_optimal(kind: str, n: int) -> None:
    counts = _native.histogram(make(kind, n))
    lengths = _native.code_lengths(counts)
    assert [c > 0 for c in counts] == [length > 0 for length in lengths]
    assert sum(2.0**-length for length in lengths if length) == 1
    assert max(lengths) <= 11
    cost = sum(c * length for c, length in zip(counts, lengths, strict=True))
    best, longest = optimal_cost(counts)
    entropy = -sum(c * math.log2(c / n) for c in counts if c)
    assert entropy <= best + 1e-6
    assert cost == best if longest <= 11 else best < cost < best * 1.02


def limited_cost(counts: list[int], limit: int) -> int:
    """Least bits under a limit, by trying all complete sets of lengths; for few symbols."""
    ordered = sorted((c for c in counts if c), reverse=True)

    def best(i: int, space: int, shortest: int) -> float:
        """Least cost of symbols i and after, in what is left of 2**limit code space."""
        if i == len(ordered):
            return 0 if space == 0 else math.inf
        options = (
            ordered[i] * length + best(i + 1, space - 2 ** (limit - length), length)
            for length in range(shortest, limit + 1)
            if 2 ** (limit - length) <= space
        )
        return min(options, default=math.inf)

    return int(best(0, 2**limit, 1))


@given(st.lists(st.integers(1, 2000), min_size=2, max_size=7), st.integers(3, 5))
def test_limited_lengths_are_optimal(counts: list[int], limit: int) -> None:
    lengths = huffman.code_lengths(counts, limit)
    assert max(lengths) <= limit
    assert sum(c * n for c, n in zip(counts, lengths, strict=True)) == limited_cost(counts, limit)


@given(st.lists(st.integers(0, 4000), min_size=2, max_size=256).filter(lambda c: sum(map(bool, c)) > 1))
def test_lengths_are_the_references(counts: list[int]) -> None:
    counts = counts + [0] * (256 - len(counts))
    assert _native.code_lengths(counts) == huffman.code_lengths(counts)


def test_skewed_counts_use_the_limit() -> None:
    counts = [2**k for k in range(19)] + [0] * 237
    lengths = _native.code_lengths(counts)
    assert lengths == huffman.code_lengths(counts)
    assert max(lengths) == 11


def test_counts_are_checked() -> None:
    for counts in ([1, 1], [1] + [0] * 255, [2**20, 1] + [0] * 254):
        with pytest.raises(ValueError, match="counts"):
            _native.code_lengths(counts)
