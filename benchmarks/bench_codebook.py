"""Codebooks beside torch, NumPy and scikit-learn: ``pytest benchmarks/bench_codebook.py``."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
import tables_codebook

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

x = cache(tables_codebook.floats)


@cache
def operations() -> dict[str, dict[str, tables_codebook.Work]]:
    return dict(tables_codebook.operations(x()))


OPERATIONS = [
    "nearest of 16 levels",
    "the same, and the error",
    "NF4 in groups of 64, and the error",
    "dequantize 16 levels",
    "dequantize 16 levels to float16",
    "nearest of 256 levels",
    "dequantize 256 levels",
    "dequantize 256 levels to float16",
    "dequantize NF4 in groups of 64",
]


@pytest.mark.parametrize("peer", tables_codebook.PEERS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_codebook(benchmark: BenchmarkFixture, operation: str, peer: str) -> None:
    work = operations()[operation].get(peer)
    if work is None:
        pytest.skip(f"{peer} has none, or is not installed")
    benchmark.group = operation
    benchmark.extra_info["bytes"] = x().nbytes
    benchmark.pedantic(work, rounds=3)


@pytest.mark.parametrize("peer", ["tersor", "scikit-learn"])
def test_kmeans(benchmark: BenchmarkFixture, peer: str) -> None:
    work = tables_codebook.clusterings(1_000_000).get(peer)
    if work is None:
        pytest.skip(f"{peer} is not installed")
    benchmark.group = "k-means, 16 levels of 1 M values"
    benchmark.pedantic(work, rounds=3)
