"""LZW of TIFF, PDF and .Z, beside what else speaks it.

All code the same piece of each input, so that times within a group compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import inputs
import peers
import pytest

if TYPE_CHECKING:
    from conftest import Run

CASES = [
    pytest.param(format, maker, id=f"{format}-{maker.__name__.strip('_')}")
    for format, makers in peers.LZW_PEERS.items()
    for maker in makers
]


@pytest.mark.parametrize("direction", ["compress", "decompress"])
@pytest.mark.parametrize(("format", "maker"), CASES)
@pytest.mark.parametrize("input_name", peers.LZW_INPUTS)
def test_lzw(run: Run, input_name: str, format: str, maker: Any, direction: str) -> None:
    def prepare() -> tuple[peers.Peer, Any]:
        source = inputs.load(input_name).data[: peers.SLOW_SIZE]
        peer = peers.lzw_peer(maker, format, source)
        if peer.only_reads and direction == "compress":
            pytest.skip(f"{peer.name} only reads")
        return peer, source

    run(direction, f"LZW ({format}) of {input_name}", prepare)


@pytest.mark.parametrize("direction", ["compress", "decompress"])
@pytest.mark.parametrize("peer_name", ["tersor.lzw", "imagecodecs"])
def test_small_strips(run: Run, peer_name: str, direction: str) -> None:
    """Strips of 4 KiB, where what a call costs by itself shows."""

    def prepare() -> tuple[peers.Peer, Any]:
        source = inputs.load("text").data[:4096]
        maker = dict(zip(["tersor.lzw", "imagecodecs"], peers.LZW_PEERS["tiff"][::2], strict=True))[peer_name]
        return maker("tiff", len(source)), source

    run(direction, "LZW of a strip of 4 KiB", prepare)
