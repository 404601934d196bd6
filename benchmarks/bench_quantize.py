"""Affine quantization beside torch and NumPy: ``pytest benchmarks/bench_quantize.py``."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
import tables_quantize

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

x = cache(tables_quantize.floats)


@cache
def operations() -> dict[str, dict[str, tables_quantize.Work]]:
    return dict(tables_quantize.operations(x()))


OPERATIONS = [
    "quantize, one scale",
    "quantize, a scale each row",
    "quantize, a scale each column",
    "range and quantize, each row",
    "range and quantize to 4 bits, groups of 64",
    "dequantize, one scale",
    "dequantize, a scale each row",
    "dequantize to float16",
    "dequantize 4 bits, groups of 64",
    "least and greatest, all",
    "least and greatest, each row",
    "least and greatest, each column",
]


@pytest.mark.parametrize("peer", tables_quantize.PEERS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_quantize(benchmark: BenchmarkFixture, operation: str, peer: str) -> None:
    work = operations()[operation].get(peer)
    if work is None:
        pytest.skip(f"{peer} has none, or is not installed")
    benchmark.group = operation
    benchmark.extra_info["bytes"] = x().nbytes
    benchmark.pedantic(work, rounds=5)
