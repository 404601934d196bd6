"""The Huffman coder of blocks: every CPU path, the pure Python twin, and peers that do the same.

All code the same piece of each input, so that times within a group compare.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import inputs
import peers
import pytest

from tersor import _native

if TYPE_CHECKING:
    from conftest import Run

PATHS = [f"tersor {path}" for path in _native.cpu_paths()]


@cache
def sample(input_name: str) -> bytes:
    return inputs.load(input_name).data[: peers.SLOW_SIZE]


@pytest.mark.parametrize("direction", ["compress", "decompress"])
@pytest.mark.parametrize("coder", [*PATHS, *peers.HUFFMAN_PEERS])
@pytest.mark.parametrize("input_name", inputs.BYTE_INPUTS)
def test_huffman(run: Run, input_name: str, coder: str, direction: str) -> None:
    def prepare() -> tuple[peers.Peer, Any]:
        source = sample(input_name)
        if coder in PATHS:
            return peers.block_coder(coder.removeprefix("tersor "), len(source)), source
        return peers.make(coder, input_name, 1), source

    run(direction, f"Huffman blocks of {input_name}", prepare)
