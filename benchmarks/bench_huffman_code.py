"""`HuffmanCode`: alphabets of 8 and 16 bits on every CPU path, the Python twin, and peers that do the same.

The code is made beforehand. Slow peers code the beginning of the data only, so compare bytes per second.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import inputs
import peers
import pytest
from numpy.typing import NDArray

from tersor.huffman import HuffmanCode

if TYPE_CHECKING:
    from conftest import Run


@cache
def source(name: str) -> tuple[NDArray[Any], HuffmanCode]:
    data = inputs.CODE_INPUTS[name]()
    return data, HuffmanCode.from_data(data)


@pytest.mark.parametrize("direction", ["compress", "decompress"])
@pytest.mark.parametrize("coder", peers.CODE_PEERS)
@pytest.mark.parametrize("name", inputs.CODE_INPUTS)
def test_huffman_code(run: Run, name: str, coder: str, direction: str) -> None:
    def prepare() -> tuple[peers.Peer, Any]:
        data, code = source(name)
        return peers.code_peer(coder, code, data), data

    run(direction, f"Huffman code of {name}", prepare)


@pytest.mark.parametrize("max_length", [None, 16])
@pytest.mark.parametrize("name", inputs.CODE_INPUTS)
def test_making_a_code(benchmark: Any, name: str, max_length: int | None) -> None:
    data, _ = source(name)
    benchmark.group = f"Huffman code of {name}: from_data"
    benchmark.pedantic(lambda: HuffmanCode.from_data(data, max_length=max_length), rounds=3)
