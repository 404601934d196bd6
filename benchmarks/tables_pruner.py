"""What `DynamicPruner.step` adds to a step of training.

    python benchmarks/tables_pruner.py

Processor time on one thread. The parts take turns, and the best of many counts; a choice of what to drop is
spread over the steps until the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import process_time
from typing import Any

import networks
import torch
from pages import table
from torch import Tensor, nn
from train_digits import make_network

from tersor.nn import DynamicPruner

FREQUENCY = 100
BATCH = 64

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "digits": (make_network, (1, 8, 8)),
    "LeNet-300-100": (networks.lenet_300_100, (1, 28, 28)),
    "LeNet-5": (networks.lenet_5, (1, 28, 28)),
}


def measure(
    make: Callable[[], nn.Module], shape: tuple[int, ...], repetitions: int, **options: Any
) -> tuple[float, float, float]:
    """Time a step of training, a step of the pruner, and one in which it chooses; in microseconds."""
    torch.manual_seed(0)
    network = make()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randn(BATCH, *shape)
    labels = torch.randint(0, 10, (BATCH,))
    pruner = DynamicPruner(network, 0.9, end=10**9, frequency=FREQUENCY, schedule="one-shot", **options)

    def train(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    best = [float("inf")] * 3
    for _ in range(repetitions):
        for i in range(FREQUENCY):
            for part, function in ((0, lambda: train(images, labels)), (1 + (i == 0), pruner.step)):
                start = process_time()
                function()
                best[part] = min(best[part], process_time() - start)
    return best[0] * 1e6, best[1] * 1e6, best[2] * 1e6


def tables(repetitions: int) -> Iterator[str]:
    """Compare steps of the pruner with steps of training, on one thread."""
    yield "### Pruning while training"
    yield ""
    yield f"Batches of {BATCH}; weights are chosen each {FREQUENCY} steps."
    yield ""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    for name, (make, shape) in NETWORKS.items():
        for importance in ("magnitude", "taylor", "movement"):
            for regrow in (True, False):
                train, hold, choose = measure(make, shape, repetitions, importance=importance, regrow=regrow)
                share = (hold + (choose - hold) / FREQUENCY) / train
                label = f"{name}, {importance}{', regrowth' * regrow}"
                rows.append([label, f"{train:.0f}", f"{hold:.0f}", f"{choose:.0f}", f"{share:.1%}"])
    torch.set_num_threads(threads)
    yield from table(["", "training µs", "step µs", "choice µs", "share"], rows)


if __name__ == "__main__":
    print("\n".join(tables(3)))
