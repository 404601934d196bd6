"""Speed of codebooks and of k-means on a line beside torch, NumPy and scikit-learn.

    python benchmarks/tables_codebook.py [REPETITIONS]

One thread. GB/s are 10**9 bytes of float32 a second, read or written; outputs are given where the peer can
take one. `tables.py` puts the tables into docs/benchmarks.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from math import inf
from time import perf_counter
from typing import Any

import inputs
import numpy as np
from pages import table
from threadpoolctl import threadpool_limits

from tersor import quantize

SIZE = 90 << 20
COLUMNS = 768
PEERS = ("tersor", "torch", "NumPy")
CLUSTERED = (("1 M values", 1_000_000), ("20 M values", 20_000_000))
SLOW = 5_000_000  # values that scikit-learn gets at the most

Work = Callable[[], Any]


def floats() -> Any:
    """Normal numbers in rows, as many as `TERSOR_BENCH_BYTES` allows."""
    size = min(inputs.cap() or SIZE, SIZE)
    n_rows = max(size // (4 * COLUMNS), 1)
    return np.random.default_rng(0).standard_normal((n_rows, COLUMNS), np.float32)


def operations(x: Any) -> Iterator[tuple[str, dict[str, Work]]]:
    """Name each operation, and what each peer does for it; what is not installed is left out."""
    restored, half = np.empty_like(x), np.empty(x.shape, np.float16)
    groups = quantize.codebook(x, method="nf4", group_size=64)
    torch: Any = _torch()
    for n_levels in (16, 256):
        c = quantize.codebook(x[:1000], levels=n_levels)
        levels = c.codebook[0]
        c = quantize.codebook_with(x, levels)
        one_each = c.integers()
        middles = (levels[1:] + levels[:-1]) / 2
        out = np.empty_like(c.indices)
        yield (
            f"nearest of {n_levels} levels",
            {
                "tersor": lambda levels=levels, out=out: quantize.codebook_with(
                    x, levels, measure=False, out=out, threads=1
                ),
                "NumPy": lambda middles=middles: np.searchsorted(middles, x),
            }
            | _bucketize(torch, x, middles),
        )
        if n_levels == 16:
            yield (
                "the same, and the error",
                {"tersor": lambda: quantize.codebook_with(x, levels, out=out, threads=1)},  # noqa: B023
            )
            yield (
                "NF4 in groups of 64, and the error",
                {"tersor": lambda: quantize.codebook(x, method="nf4", group_size=64, out=out, threads=1)},  # noqa: B023
            )
        yield (
            f"dequantize {n_levels} levels",
            {
                "tersor": lambda c=c: c.dequantize(out=restored, threads=1),
                "NumPy": lambda levels=levels, i=one_each: np.take(levels, i, out=restored, mode="clip"),
            }
            | _gather(torch, one_each, levels),
        )
        yield (
            f"dequantize {n_levels} levels to float16",
            {"tersor": lambda c=c: c.dequantize(out=half, threads=1)},
        )
    yield "dequantize NF4 in groups of 64", {"tersor": lambda: groups.dequantize(out=restored, threads=1)}


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    return torch


def _bucketize(torch: Any, x: Any, middles: Any) -> dict[str, Work]:
    if torch is None:
        return {}
    t, boundaries = torch.from_numpy(x), torch.from_numpy(middles)
    out = torch.empty(t.shape, dtype=torch.int32)
    return {"torch": lambda: torch.bucketize(t, boundaries, out_int32=True, out=out)}


def _gather(torch: Any, indices: Any, levels: Any) -> dict[str, Work]:
    if torch is None:
        return {}
    flat, table = torch.from_numpy(indices.astype(np.int32).ravel()), torch.from_numpy(levels)
    out = torch.empty(flat.shape)
    return {"torch": lambda: torch.index_select(table, 0, flat, out=out)}


def clusterings(n: int) -> dict[str, Callable[[], tuple[Any, float]]]:
    """What finds 16 levels for n values: their levels and mean squared error."""
    values = floats().ravel()[:n]

    def ours() -> tuple[Any, float]:
        c = quantize.codebook(values, levels=16, threads=1)
        return c.codebook, float(c.mse or 0)

    work: dict[str, Callable[[], tuple[Any, float]]] = {"tersor": ours}
    if n <= SLOW:
        try:
            from sklearn.cluster import KMeans
        except ImportError:
            return work

        def theirs() -> tuple[Any, float]:
            with threadpool_limits(1):
                fitted = KMeans(16, random_state=0).fit(values[:, None])
            return fitted.cluster_centers_, float(fitted.inertia_ / n)

        work["scikit-learn"] = theirs
    return work


def _race(work: dict[str, Work], repetitions: int) -> tuple[dict[str, float], dict[str, Any]]:
    """The best time of each, in turns, and what it returned."""
    best = dict.fromkeys(work, inf)
    results = {}
    for _ in range(repetitions):
        for peer, run in work.items():
            start = perf_counter()
            results[peer] = run()
            best[peer] = min(best[peer], perf_counter() - start)
    return best, results


def tables(repetitions: int) -> Iterator[str]:
    """Race the peers in each operation, and write the tables."""
    x = floats()
    rows = []
    for name, work in operations(x):
        best, _ = _race(work, repetitions)
        cells = [f"{x.nbytes / best[peer] / 1e9:.2f}" if peer in best else "" for peer in PEERS]
        fastest_other = min((best[p] for p in best if p != "tersor"), default=None)
        rows.append([name, *cells, f"{fastest_other / best['tersor']:.0f}" if fastest_other else ""])
    yield "### Codebooks"
    yield ""
    yield f"GB/s of float32, of which there are {x.nbytes / 1e6:.1f} MB; and how many times the faster peer."
    yield ""
    yield from table(["", *PEERS, "times"], rows)

    rows = []
    for name, n in CLUSTERED:
        best, results = _race(clusterings(n), repetitions)
        errors = {peer: error for peer, (_, error) in results.items()}
        for peer, seconds in best.items():
            row = [f"{name}, {peer}", f"{seconds * 1e3:.1f}", f"{errors[peer]:.6f}"]
            rows.append([*row, "" if peer == "tersor" else f"{seconds / best['tersor']:.0f}"])
    yield "k-means, 16 levels: milliseconds, mean squared error, and how many times as long as tersor"
    yield ""
    yield from table(["", "ms", "error", "times"], rows)


if __name__ == "__main__":
    for line in tables(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        print(line)
