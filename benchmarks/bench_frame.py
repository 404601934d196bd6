"""Bytes to frames and back, beside what else compresses bytes.

Slow peers take a part of the data only: their times are not to be compared, their MB/s are.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import inputs
import peers
import pytest

if TYPE_CHECKING:
    from conftest import Run

load = lru_cache(maxsize=1)(inputs.load)


@pytest.mark.parametrize("direction", ["compress", "decompress"])
@pytest.mark.parametrize(
    ("input_name", "peer_name"),
    [(i, p) for i in inputs.INPUTS for p in peers.names_for(i)],
)
def test_bytes(run: Run, input_name: str, peer_name: str, direction: str) -> None:
    def prepare() -> tuple[peers.Peer, Any]:
        source = load(input_name)
        return peers.make(peer_name, input_name, source.typesize), source.data

    run(direction, f"frame of {input_name}", prepare)
