"""Speed of affine quantization beside torch and NumPy, by operation.

    python benchmarks/tables_quantize.py [REPETITIONS]

One thread. GB/s are 10**9 bytes of float32 a second, read or written; outputs are given where the peer can
take one. `tables.py` puts the table into docs/benchmarks.md.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from math import inf
from time import perf_counter
from typing import Any

import inputs
import numpy as np
from pages import table

from tersor import quantize

SIZE = 90 << 20
COLUMNS = 768
PEERS = ("tersor", "torch", "NumPy")

Work = Callable[[], Any]


def floats() -> Any:
    """Normal numbers in rows, as many as `TERSOR_BENCH_BYTES` allows."""
    size = min(inputs.cap() or SIZE, SIZE)
    n_rows = max(size // (4 * COLUMNS), 1)
    return np.random.default_rng(0).standard_normal((n_rows, COLUMNS), np.float32)


def operations(x: Any) -> Iterator[tuple[str, dict[str, Work]]]:
    """Name each operation, and what each peer does for it; what is not installed is left out."""
    integers, restored = np.empty(x.shape, np.int8), np.empty_like(x)
    packed = np.empty((len(x), COLUMNS // 2), np.uint8)
    half = np.empty(x.shape, np.float16)
    whole = quantize.affine(x)
    rows = quantize.affine(x, axis=0)
    columns = quantize.affine(x, axis=1)
    groups = quantize.affine(x, bits=4, group_size=64)
    scale = float(whole.scale)
    torch: Any = _torch()

    def numpy_quantize(scale: Any) -> None:
        np.divide(x, scale, out=restored)
        np.rint(restored, out=restored)
        np.clip(restored, -127, 127, out=restored)
        integers[...] = restored

    def with_torch(work: dict[str, Work], theirs: Callable[[], Work]) -> dict[str, Work]:
        return work if torch is None else work | {"torch": theirs()}

    def per_tensor() -> Work:
        return lambda: torch.quantize_per_tensor(t, scale, 0, torch.qint8)

    def per_channel(scales: Any, axis: int) -> Callable[[], Work]:
        def work() -> Work:
            s, zeros = torch.from_numpy(scales), torch.zeros(len(scales), dtype=torch.int64)
            return lambda: torch.quantize_per_channel(t, s, zeros, axis, torch.qint8)

        return work

    def dequantize(quantized: Callable[[], Work]) -> Callable[[], Work]:
        def work() -> Work:
            q = quantized()()
            return lambda: q.dequantize()

        return work

    t = None if torch is None else torch.from_numpy(x)
    yield (
        "quantize, one scale",
        with_torch(
            {
                "tersor": lambda: quantize.quantize_with(x, scale, out=integers, threads=1),
                "NumPy": lambda: numpy_quantize(scale),
            },
            per_tensor,
        ),
    )
    for name, q, axis in (("row", rows, 0), ("column", columns, 1)):
        wide = q.scale[:, None] if axis == 0 else q.scale
        yield (
            f"quantize, a scale each {name}",
            with_torch(
                {
                    "tersor": lambda q=q, axis=axis: quantize.quantize_with(
                        x, q.scale, axis=axis, out=integers, threads=1
                    ),
                    "NumPy": lambda wide=wide: numpy_quantize(wide),
                },
                per_channel(q.scale, axis),
            ),
        )
    yield (
        "range and quantize, each row",
        {"tersor": lambda: quantize.affine(x, axis=0, out=integers, threads=1)},
    )
    yield (
        "range and quantize to 4 bits, groups of 64",
        {"tersor": lambda: quantize.affine(x, bits=4, group_size=64, out=packed, threads=1)},
    )
    yield (
        "dequantize, one scale",
        with_torch(
            {
                "tersor": lambda: whole.dequantize(out=restored, threads=1),
                "NumPy": lambda: np.multiply(whole.values, whole.scale, out=restored),
            },
            dequantize(per_tensor),
        ),
    )
    yield (
        "dequantize, a scale each row",
        with_torch(
            {
                "tersor": lambda: rows.dequantize(out=restored, threads=1),
                "NumPy": lambda: np.multiply(rows.values, rows.scale[:, None], out=restored),
            },
            dequantize(per_channel(rows.scale, 0)),
        ),
    )
    yield "dequantize to float16", {"tersor": lambda: whole.dequantize(out=half, threads=1)}
    yield "dequantize 4 bits, groups of 64", {"tersor": lambda: groups.dequantize(out=restored, threads=1)}
    for name, axis, other in (("all", None, None), ("each row", 0, 1), ("each column", 1, 0)):
        yield (
            f"least and greatest, {name}",
            with_torch(
                {
                    "tersor": lambda axis=axis: quantize.min_max(x, axis=axis, threads=1),
                    "NumPy": lambda other=other: (x.min(axis=other), x.max(axis=other)),
                },
                lambda other=other: lambda: torch.aminmax(t, dim=other),
            ),
        )


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*deprecated", category=UserWarning)
    return torch


def tables(repetitions: int) -> Iterator[str]:
    """Race the peers in each operation, and write a table."""
    x = floats()
    rows = []
    for name, work in operations(x):
        best = dict.fromkeys(work, inf)
        for _ in range(repetitions):
            for peer, run in work.items():
                start = perf_counter()
                result = run()
                best[peer] = min(best[peer], perf_counter() - start)
                del result
        cells = [f"{x.nbytes / best[peer] / 1e9:.2f}" if peer in best else "" for peer in PEERS]
        fastest_other = min((best[p] for p in best if p != "tersor"), default=None)
        times = f"{fastest_other / best['tersor']:.1f}" if fastest_other else ""
        rows.append([name, *cells, times])
    yield "### Quantization"
    yield ""
    yield f"GB/s of float32, of which there are {x.nbytes / 1e6:.1f} MB; and how many times the faster peer."
    yield ""
    yield from table(["", *PEERS, "times"], rows)


if __name__ == "__main__":
    for line in tables(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        print(line)
