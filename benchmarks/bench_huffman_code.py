"""`HuffmanCode`: alphabets of 8 and 16 bits on every CPU path, the Python twin, and peers that do the same.

The code is made beforehand. Slow peers code the beginning of the data only, so compare bytes per second.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import peers
import pytest
from numpy.typing import NDArray

from tersor import _native
from tersor.huffman import HuffmanCode
from tersor.reference import code as reference

if TYPE_CHECKING:
    from conftest import Run

SIZE = 16 << 20


def residuals(dtype: str, scale: float, n_symbols: int) -> NDArray[Any]:
    """Two-sided residuals as a predictor leaves them, one in a thousand anywhere in the alphabet."""
    rng = np.random.default_rng(7)
    n = SIZE // np.dtype(dtype).itemsize
    values = rng.laplace(0, scale, n).round().astype(np.int64)
    outliers = (rng.random(n) < 0.001) | (abs(values) > n_symbols // 2)
    values[outliers] = rng.integers(-n_symbols // 2, n_symbols // 2, outliers.sum())
    return values.astype(dtype)


INPUTS: dict[str, Callable[[], NDArray[Any]]] = {
    "uint16, 2000 symbols": lambda: residuals("uint16", 100, 2000),
    "uint16, 2000 symbols, skewed": lambda: residuals("uint16", 2, 2000),
    "uint16, 65536 symbols": lambda: residuals("uint16", 6000, 65536),
    "uint8": lambda: residuals("uint8", 10, 256),
    "uint8, skewed": lambda: residuals("uint8", 1, 256),
}


@cache
def source(name: str) -> tuple[NDArray[Any], HuffmanCode]:
    data = INPUTS[name]()
    return data, HuffmanCode.from_data(data)


def _tersor(code: HuffmanCode, path: str) -> peers.Peer:
    def compress(data: NDArray[Any]) -> bytes:
        with peers.cpu_path(path):
            return code.encode(data)

    def decompress(data: bytes) -> Any:
        with peers.cpu_path(path):
            return code.decode(data)

    return peers.Peer(f"tersor {path}", compress, decompress)


def _reference(code: HuffmanCode) -> peers.Peer:
    ranks = {symbol: rank for rank, symbol in enumerate(code.symbols)}
    lengths = list(code.lengths.values())
    symbols = np.array(code.symbols, code.kind)

    def compress(data: NDArray[Any]) -> bytes:
        return reference.encode([ranks[s] for s in data.tolist()], lengths)

    def decompress(data: bytes) -> Any:
        return symbols[reference.decode(data, lengths)]

    return peers.Peer("tersor.reference", compress, decompress, slow=True)


def _bitarray(code: HuffmanCode) -> peers.Peer:
    bitarray = pytest.importorskip("bitarray").bitarray
    canonical_decode = pytest.importorskip("bitarray.util").canonical_decode
    codes = {symbol: bitarray(bits) for symbol, bits in code.codes.items()}

    def compress(data: NDArray[Any]) -> bytes:
        bits = bitarray()
        bits.encode(codes, data.tolist())
        return bytes([-len(bits) % 8]) + bits.tobytes()

    def decompress(data: bytes) -> Any:
        bits = bitarray()
        bits.frombytes(data[1:])
        del bits[len(bits) - data[0] :]
        return np.array(list(canonical_decode(bits, code.counts, code.symbols)), code.kind)

    return peers.Peer("bitarray", compress, decompress, slow=True)


def _dahuffman(code: HuffmanCode, data: NDArray[Any]) -> peers.Peer:
    dahuffman = pytest.importorskip("dahuffman")
    values, counts = np.unique(data, return_counts=True)
    frequencies = dict(zip(values.tolist(), counts.tolist(), strict=True))
    codec = dahuffman.HuffmanCodec.from_frequencies(frequencies, concat=list)

    def decompress(encoded: bytes) -> Any:
        return np.array(codec.decode(encoded), code.kind)

    return peers.Peer("dahuffman", lambda data: codec.encode(data.tolist()), decompress, slow=True)


PATHS = [f"tersor {path}" for path in _native.cpu_paths()]
CODERS = [*PATHS, "tersor.reference", "bitarray", "dahuffman"]


@pytest.mark.parametrize("direction", ["compress", "decompress"])
@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("name", INPUTS)
def test_huffman_code(run: Run, name: str, coder: str, direction: str) -> None:
    def prepare() -> tuple[peers.Peer, Any]:
        data, code = source(name)
        if coder in PATHS:
            return _tersor(code, coder.removeprefix("tersor ")), data
        if coder == "dahuffman":
            return _dahuffman(code, data), data
        return {"tersor.reference": _reference, "bitarray": _bitarray}[coder](code), data

    run(direction, f"Huffman code of {name}", prepare)


@pytest.mark.parametrize("max_length", [None, 16])
@pytest.mark.parametrize("name", INPUTS)
def test_making_a_code(benchmark: Any, name: str, max_length: int | None) -> None:
    data, _ = source(name)
    benchmark.group = f"Huffman code of {name}: from_data"
    benchmark.pedantic(lambda: HuffmanCode.from_data(data, max_length=max_length), rounds=3)
