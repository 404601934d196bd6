"""Model files, read, coded and written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import inputs
import peers
import pytest

if TYPE_CHECKING:
    from conftest import Run


@pytest.mark.parametrize("direction", ["compress", "decompress"])
@pytest.mark.parametrize("peer_name", peers.CHECKPOINT_PEERS)
@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_checkpoint(run: Run, tmp_path: Path, dtype: str, peer_name: str, direction: str) -> None:
    def prepare() -> tuple[peers.Peer, Any]:
        path = inputs.write_model(tmp_path / "model.safetensors", dtype)
        return peers.checkpoint_peer(peer_name, dtype), path

    run(direction, f"{dtype} model", prepare)
