"""Write the tables of pruning in Markdown, beside NumPy, torch and SciPy.

    python benchmarks/tables_prune.py [--quick]

GB/s are 10**9 bytes of the dense array a second, on one thread. The peers of a table take turns, and the best
of several turns counts.
"""

from __future__ import annotations

import argparse
import io
import math
import os
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, NamedTuple

import inputs
import numpy as np
from numpy.typing import NDArray
from pages import QUICK_BYTES, head_line, table

from tersor import prune
from tersor.prune import sparse

SPARSITY = 0.9
SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.99)
SLOW_SIZE = 1 << 20  # elements that peers below 0.1 GB/s are given
ROW = 384


class Peer(NamedTuple):
    """What is timed: a function of an array, which is a fresh copy if it is changed."""

    name: str
    run: Callable[[Any], Any]
    changes: bool = False
    slow: bool = False


def torch_module() -> Any:
    """Import torch, on one thread; raises `UnavailableError` if it is missing."""
    try:
        import torch
    except ImportError:
        raise inputs.UnavailableError("torch is not installed") from None
    torch.set_num_threads(1)
    return torch


# ---- Peers ----------------------------------------------------------------------------------------


def threshold_peers() -> list[Peer]:
    """The threshold alone."""
    torch = torch_module()

    def rank(a: NDArray[Any]) -> int:
        return round(SPARSITY * a.size)

    return [
        Peer("`tersor.prune.threshold`", lambda a: prune.threshold(a, SPARSITY, threads=1)),
        Peer("`np.partition`", lambda a: np.partition(np.abs(a), rank(a))[rank(a)]),
        Peer("`torch.topk`", lambda a: torch.topk(torch.from_numpy(a).abs(), a.size - rank(a)).values.min()),
        Peer("`torch.kthvalue`", lambda a: torch.kthvalue(torch.from_numpy(a).abs(), rank(a) + 1).values),
    ]


def prune_peers() -> list[Peer]:
    """The threshold, and the array pruned."""
    torch = torch_module()
    from torch.nn.utils import prune as torch_prune

    def l1_unstructured(a: NDArray[Any]) -> None:
        module = torch.nn.Module()
        module.register_parameter("weight", torch.nn.Parameter(torch.from_numpy(a)))
        torch_prune.l1_unstructured(module, "weight", SPARSITY)
        torch_prune.remove(module, "weight")

    return [
        Peer("`tersor.prune.apply_`", lambda a: prune.apply_(a, SPARSITY, threads=1), changes=True),
        Peer("`torch.nn.utils.prune.l1_unstructured`", l1_unstructured, changes=True, slow=True),
    ]


def mask_peers(mask: NDArray[np.bool_]) -> list[Peer]:
    """A mask that is known, applied."""
    torch = torch_module()
    kept = torch.from_numpy(mask)
    return [
        Peer("`tersor.prune.apply_`", lambda a: prune.apply_(a, mask=mask, threads=1), changes=True),
        Peer("`torch.where`", lambda a: torch.where(kept, torch.from_numpy(a), 0.0)),
        Peer("`torch.mul_`", lambda a: torch.from_numpy(a).mul_(kept), changes=True),
        Peer("`np.copyto`", lambda a: np.copyto(a, 0, where=~mask), changes=True),
    ]


def group_peers() -> list[Peer]:
    """Masks within small groups."""
    torch = torch_module()

    def two_of_four(a: NDArray[Any]) -> Any:
        groups = torch.from_numpy(a).abs().view(-1, 4)
        return torch.zeros_like(groups, dtype=torch.bool).scatter_(1, groups.topk(2).indices, True)

    def rows(a: NDArray[Any]) -> Any:
        magnitudes = torch.from_numpy(a).abs().view(-1, ROW)
        mask = torch.ones_like(magnitudes, dtype=torch.bool)
        least = magnitudes.sort(dim=1, stable=True).indices[:, : ROW // 2]
        return mask.scatter_(1, least, False)

    return [
        Peer("`tersor.prune.mask`, 2 of 4", lambda a: prune.mask(a, n=2, m=4, threads=1)),
        Peer("`torch.topk`, 2 of 4", two_of_four, slow=True),
        Peer(
            f"`tersor.prune.mask`, rows of {ROW}",
            lambda a: prune.mask(a.reshape(-1, ROW), 0.5, axis=0, threads=1),
        ),
        Peer(f"`torch.sort`, rows of {ROW}", rows, slow=True),
    ]


def some_rows(array: NDArray[Any]) -> NDArray[Any]:
    """Take rows from all over the array, for slow peers."""
    return array.reshape(-1, ROW)[:: -(-array.size // SLOW_SIZE)].ravel()


def race(peers: list[Peer], array: NDArray[Any], repetitions: int) -> dict[str, float]:
    """GB/s of each peer."""
    best = dict.fromkeys([peer.name for peer in peers], math.inf)
    for turn in range(repetitions):
        for peer in peers:
            if peer.slow and turn:
                continue
            part = some_rows(array) if peer.slow else array
            argument = part.copy() if peer.changes else part
            start = perf_counter()
            result = peer.run(argument)
            seconds = (perf_counter() - start) / part.nbytes
            del result  # only now: freeing it is not part of the work
            best[peer.name] = min(best[peer.name], seconds)
    return {name: 1e-9 / seconds for name, seconds in best.items()}


# ---- Storage ----------------------------------------------------------------------------------------


class Codec(NamedTuple):
    """A way to store an array."""

    name: str
    encode: Callable[[NDArray[Any]], bytes]
    decode: Callable[[bytes], Any]


def codecs() -> list[Codec]:
    """tersor, and those of its peers that are installed."""

    def savez(a: NDArray[Any]) -> bytes:
        file = io.BytesIO()
        np.savez_compressed(file, a=a)
        return file.getvalue()

    found = [
        Codec(
            "`tersor.prune.sparse`",
            lambda a: sparse.encode(a, threads=1),
            lambda data: sparse.decode(data, threads=1),
        ),
        Codec("`np.savez_compressed`", savez, lambda data: np.load(io.BytesIO(data))["a"]),
    ]
    try:
        import scipy.sparse
    except ImportError:
        return found

    def save_npz(a: NDArray[Any]) -> bytes:
        file = io.BytesIO()
        scipy.sparse.save_npz(file, scipy.sparse.csr_matrix(a.reshape(-1, ROW)))
        return file.getvalue()

    def load_npz(data: bytes) -> Any:
        return scipy.sparse.load_npz(io.BytesIO(data)).toarray()

    return [*found, Codec("`scipy.sparse.save_npz`", save_npz, load_npz)]


def entropy(array: NDArray[Any]) -> float:
    """Bytes of positions and kept values: order 0, the values by byte planes after the best rotation."""

    def bits(counts: NDArray[Any]) -> float:
        counts = counts[counts > 0]
        return float(-(counts * np.log2(counts / counts.sum())).sum())

    kept = array[array != 0].view(np.uint32)

    def values(rotation: int) -> float:
        rotated = (kept << rotation | kept >> (32 - rotation)) if rotation else kept
        planes = rotated.view(np.uint8).reshape(-1, 4).T
        return sum(bits(np.bincount(plane, minlength=256)) for plane in planes)

    positions = bits(np.array([kept.size, array.size - kept.size]))
    return (positions + min(map(values, (0, 1, 3)))) / 8


def storage_rows(array: NDArray[Any], repetitions: int) -> Iterator[list[str]]:
    """Size and speed at each sparsity."""
    for sparsity in SPARSITIES:
        pruned = array.copy()
        prune.apply_(pruned, sparsity)
        bound = entropy(pruned)
        for codec in codecs():
            is_ours = codec.name.startswith("`tersor")
            part = pruned if is_ours else some_rows(pruned)
            times = [math.inf, math.inf]
            for _ in range(repetitions if is_ours else 1):
                start = perf_counter()
                data = codec.encode(part)
                times[0] = min(times[0], perf_counter() - start)
                start = perf_counter()
                back = codec.decode(data)
                times[1] = min(times[1], perf_counter() - start)
            assert np.array_equal(np.asarray(back).ravel(), part)
            limit = f"{len(data) / bound:.3f}" if is_ours else ""
            speeds = [f"{part.nbytes / seconds / 1e6:.0f}" for seconds in times]
            yield [f"{sparsity:.0%}, {codec.name}", f"{len(data) / part.nbytes:.4f}", limit, *speeds]


# ---- The tables -------------------------------------------------------------------------------------


def tables(repetitions: int) -> Iterator[str]:
    """Make all tables, line by line."""
    try:
        array = inputs.load_array("f32_weights")
        array = array[: array.size // ROW * ROW]
        mask = prune.mask(array, SPARSITY)
        peers = {
            f"Threshold at {SPARSITY:.0%}": threshold_peers(),
            f"Threshold found and applied, {SPARSITY:.0%}": prune_peers(),
            "Mask applied": mask_peers(mask),
            "Masks in groups": group_peers(),
        }
    except inputs.UnavailableError as reason:
        yield f"Left out: {reason}."
        return
    for title, members in peers.items():
        speeds = race(members, array, repetitions)
        yield from table([title, "GB/s"], ([name, _shown(speed)] for name, speed in speeds.items()))
    head = ["Sparse storage", "ratio", "to the entropy", "encode MB/s", "decode MB/s"]
    yield from table(head, storage_rows(array, repetitions))


def _shown(speed: float) -> str:
    return f"{speed:.2f}" if speed >= 0.1 else f"{speed:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small inputs and few repetitions")
    options = parser.parse_args()
    if options.quick:
        os.environ.setdefault("TERSOR_BENCH_BYTES", str(QUICK_BYTES))
    print(head_line(), end="\n\n")
    for line in tables(repetitions=2 if options.quick else 5):
        print(line, flush=True)


if __name__ == "__main__":
    main()
