"""Size against the order-0 entropy, where a Huffman code of single bytes must lose."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from tersor import _native
from tersor.frame import block_size

N = block_size(1)


def entropy(content: bytes) -> float:
    """Bits a byte."""
    n = len(content)
    return -sum(c / n * math.log2(c / n) for c in Counter(content).values())


def pruned(density: float, spread: float) -> NDArray[np.int8]:
    rng = np.random.default_rng(0)
    weights = np.clip(np.rint(rng.normal(0, spread, N)), -127, 127)
    return (weights * (rng.random(N) < density)).astype(np.int8)


def quantized(spread: float) -> NDArray[np.int8]:
    return np.clip(np.rint(np.random.default_rng(1).laplace(0, spread, N)), -127, 127).astype(np.int8)


def codebook(density: float, levels: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(2)
    return ((rng.random(N) < density) * rng.integers(1, levels + 1, N)).astype(np.uint8)


CASES = {
    **{f"pruned to {d}": pruned(d, 20) for d in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)},
    **{f"quantized, spread {s}": quantized(s) for s in (0.14, 0.2, 0.3, 0.5, 0.7, 1, 1.5)},
    **{f"{k} levels, {d} kept": codebook(d, k) for k in (1, 3, 15) for d in (0.035, 0.1, 0.2, 0.3, 0.5)},
}


@pytest.mark.parametrize("name", CASES)
def test_loss_against_the_entropy_is_below_three_percent(name: str) -> None:
    content = CASES[name].tobytes()
    _, payload = _native.encode_block(content)
    assert entropy(content) > 0.18
    assert 8 * len(payload) / N < 1.03 * entropy(content)


def test_rearranged_planes_are_chosen() -> None:
    """The cases above would fail without them: one each that only a certain mode brings below the limit."""
    modes = {
        _native.inspect_block(payload, shape, N)[0][0]
        for shape, payload in (_native.encode_block(a.tobytes()) for a in CASES.values())
    }
    assert {5, 6, 8} <= modes


def test_close_to_the_entropy_is_left_alone() -> None:
    """Where Huffman codes lose little, speed counts."""
    content = np.random.default_rng(3).normal(0, 20, N).astype(np.int8).tobytes()
    shape, payload = _native.encode_block(content)
    assert _native.inspect_block(payload, shape, N)[0][0] == 4
