"""Thresholds, masks and sparse storage, beside NumPy, torch and SciPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import inputs
import pytest
import tables_prune
from numpy.typing import NDArray
from tables_prune import ROW, SPARSITY

from tersor import prune

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = 3


@cache
def weights() -> NDArray[Any]:
    """Whole rows of the trained weights; the test is skipped without them."""
    try:
        array = inputs.load_array("f32_weights")
        tables_prune.torch_module()
    except inputs.UnavailableError as missing:
        pytest.skip(str(missing))
    return array[: array.size // ROW * ROW]


GROUPS: dict[str, tuple[Callable[[], list[tables_prune.Peer]], int]] = {
    "threshold": (tables_prune.threshold_peers, 4),
    "threshold and apply": (tables_prune.prune_peers, 2),
    "apply a mask": (lambda: tables_prune.mask_peers(prune.mask(weights(), SPARSITY)), 4),
    "masks in groups": (tables_prune.group_peers, 4),
}


@pytest.mark.parametrize(
    ("group", "number"), [(group, i) for group, (_, n) in GROUPS.items() for i in range(n)]
)
def test_prune(benchmark: BenchmarkFixture, group: str, number: int) -> None:
    array = weights()
    peer = GROUPS[group][0]()[number]
    part = tables_prune.some_rows(array) if peer.slow else array
    benchmark.group = f"prune: {group}"
    benchmark.name = peer.name
    benchmark.extra_info["bytes"] = part.nbytes
    benchmark.pedantic(peer.run, setup=lambda: ((part.copy(),), {}), rounds=ROUNDS)


@pytest.mark.parametrize("direction", ["encode", "decode"])
@pytest.mark.parametrize("sparsity", tables_prune.SPARSITIES)
def test_storage(benchmark: BenchmarkFixture, sparsity: float, direction: str) -> None:
    array = weights().copy()
    prune.apply_(array, sparsity)
    codec = tables_prune.codecs()[0]
    data = codec.encode(array)
    benchmark.group = f"prune: {direction} at {sparsity:.0%}"
    benchmark.extra_info["bytes"] = array.nbytes
    benchmark.extra_info["ratio"] = len(data) / array.nbytes
    argument = array if direction == "encode" else data
    benchmark.pedantic(getattr(codec, direction), (argument,), rounds=ROUNDS)
