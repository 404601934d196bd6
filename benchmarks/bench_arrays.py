"""Arrays of floats and integers, beside NumPy's own compressed files."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import inputs
import peers
import pytest

if TYPE_CHECKING:
    from conftest import Run

load = lru_cache(maxsize=1)(inputs.load_array)


@pytest.mark.parametrize("direction", ["compress", "decompress"])
@pytest.mark.parametrize("peer_name", peers.ARRAY_PEERS)
@pytest.mark.parametrize("array_name", inputs.ARRAYS)
def test_array(run: Run, array_name: str, peer_name: str, direction: str) -> None:
    def prepare() -> tuple[peers.Peer, Any]:
        return peers.ARRAY_PEERS[peer_name], load(array_name)

    run(direction, f"array {array_name}", prepare)
