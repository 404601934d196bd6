"""Measure what pruning costs in accuracy, and draw it.

    python benchmarks/prune_accuracy.py --data MNIST [--quick] [--plot docs/pruning.svg]

Each row is several runs, from the weights and orders of the data that their seeds give: a dense network is
trained, then trained on while it is pruned and, for a comparison that is fair, trained on for as long
without pruning. For the plot networks are pruned while they are trained from nothing. `--quick` takes one run
and a part of the data: it shows that everything works, and no more. A full run takes some 20 minutes on two
cores.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import networks
import torch
from tables import table
from torch import nn

from tersor.nn import DynamicPruner, prune_oneshot_

QUICK_IMAGES = 6000
CALIBRATION = 1024
ONESHOT = (0.5, 0.7, 0.8, 0.9)
ONESHOT_METHODS = ("magnitude", "wanda", "sparsegpt")


class Recipe(NamedTuple):
    """How long a network is trained and then trained on, how fast, and at which sparsities it is shown."""

    epochs: int
    more_epochs: int
    lr: float
    more_lr: float
    sparsities: tuple[float, ...]


RECIPES = {
    "LeNet-300-100": Recipe(12, 20, 0.1, 0.05, (0.92,)),
    "LeNet-5": Recipe(5, 12, 0.05, 0.05, (0.92, 0.99)),
}
PLOTTED = Recipe(6, 0, 0.1, 0, (0.8, 0.9, 0.95, 0.98, 0.99))
IMPORTANCES = ("magnitude", "gradient", "movement")
COLOURS = {"magnitude": "#0072b2", "gradient": "#d55e00", "movement": "#009e73"}


def train(
    network: nn.Module,
    data: networks.Data,
    epochs: int,
    lr: float,
    seed: int,
    sparsity: float = 0,
    **options: Any,
) -> nn.Module:
    """Train a network, and prune it meanwhile."""
    start = time.perf_counter()
    steps = networks.n_steps(data, epochs)
    pruner = None
    if sparsity:
        # The rest of the time trains what is left.
        pruner = DynamicPruner(
            network, sparsity, end=steps * 6 // 10, frequency=max(steps // 60, 1), **options
        )
    after_step = None if pruner is None else pruner.step
    networks.train(network, data, epochs=epochs, lr=lr, seed=seed, after_step=after_step)
    if pruner is not None:
        pruner.finalize()
    what = f"{sparsity:.1%} pruned {options or ''}" if sparsity else "dense"
    print(f"seed {seed}, {epochs} epochs, {what}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return network


def spread(errors: list[float]) -> str:
    """Format the mean of several runs and how far they are apart."""
    return f"{statistics.mean(errors):.2f} ({min(errors):.2f} to {max(errors):.2f})"


def accuracy_tables(data: networks.Data, names: list[str], seeds: int, quick: bool) -> Iterator[str]:
    """Compare pruned networks with dense ones, and ways to prune the dense ones without training."""
    oneshot = []
    rows = []
    for name in names:
        recipe = RECIPES[name]
        if quick:
            recipe = recipe._replace(epochs=1, more_epochs=1)
        dense = [
            train(networks.build(name, seed), data, recipe.epochs, recipe.lr, seed) for seed in range(seeds)
        ]
        weights = sum(p.numel() for p in dense[0].parameters() if p.ndim > 1)

        def more(sparsity: float, dense: list[nn.Module] = dense, recipe: Recipe = recipe) -> str:
            copies = [copy.deepcopy(network) for network in dense]
            options = (recipe.more_epochs, recipe.more_lr)
            # Another order of the data than the first time.
            trained = [train(n, data, *options, seed + 1000, sparsity) for seed, n in enumerate(copies)]
            return spread([networks.evaluate(network, data) for network in trained])

        errors = [spread([networks.evaluate(network, data) for network in dense]), more(0)]
        for sparsity in recipe.sparsities:
            kept = f"{weights - round(sparsity * weights):,} of {weights:,}"
            rows.append([f"{name}, {sparsity:.0%} pruned", kept, *errors, more(sparsity)])
        for method in ONESHOT_METHODS:
            oneshot.append([f"{name}, {method}", *oneshot_errors(dense, data, method)])
    yield from table(["error %", "weights kept", "dense", "dense, trained on", "pruned"], rows)
    yield from table(["error %, pruned without training", *(f"{s:.0%}" for s in ONESHOT)], oneshot)


def oneshot_errors(dense: list[nn.Module], data: networks.Data, method: str) -> Iterator[str]:
    """Prune trained networks, shown some of the images that they were trained on."""
    calibration = data.train_images[:CALIBRATION].split(256)
    for sparsity in ONESHOT:
        errors = []
        for network in dense:
            network = copy.deepcopy(network)
            prune_oneshot_(network, sparsity, method=method, calibration=calibration)
            errors.append(networks.evaluate(network, data))
        yield f"{statistics.mean(errors):.2f}"


def plot(data: networks.Data, seeds: int, quick: bool, path: Path) -> Iterator[str]:
    """Draw the accuracy against the sparsity, and yield the figures as a table."""
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "tersor", "font.size": 9})
    name = "LeNet-300-100"
    recipe = PLOTTED._replace(epochs=1, sparsities=PLOTTED.sparsities[::2]) if quick else PLOTTED

    def accuracy(sparsity: float = 0, **options: Any) -> float:
        errors = []
        for seed in range(seeds):
            network = networks.build(name, seed)
            train(network, data, recipe.epochs, recipe.lr, seed, sparsity, **options)
            errors.append(networks.evaluate(network, data))
        return 100 - statistics.mean(errors)

    figure, ax = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    dense = accuracy()
    ax.axhline(dense, color="0.6", linewidth=0.8)
    place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
    ax.annotate("dense", (1, dense), **place).set_in_layout(False)
    lines = [["dense", *[f"{dense:.2f}"] * len(recipe.sparsities)]]
    places = range(len(recipe.sparsities))
    for importance in IMPORTANCES:
        for regrow in (True, False):
            found = [
                accuracy(sparsity, importance=importance, regrow=regrow) for sparsity in recipe.sparsities
            ]
            label = f"{importance}, {'with' if regrow else 'without'} regrowth"
            style = {"color": COLOURS[importance], "linestyle": "-" if regrow else ":", "marker": "o"}
            ax.plot(places, found, label=label, markersize=3, **style)
            lines.append([label, *(f"{each:.2f}" for each in found)])
    ax.set_xticks(places, [f"{100 * s:g}" for s in recipe.sparsities])
    ax.set_xlabel("weights pruned, %")
    ax.set_ylabel(f"accuracy of {name}, %")
    ax.set_ylim(max(ax.get_ylim()[0], 90), None)
    ax.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    yield from table(["accuracy %, pruned", *(f"{s:.1%}" for s in recipe.sparsities)], lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    networks.add_arguments(parser)
    parser.add_argument("--networks", nargs="*", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--plot", type=Path, help="draw accuracy against sparsity into this SVG file, too")
    parser.add_argument("--plot-seeds", type=int, default=1, help="runs of each of its points")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = networks.load(arguments.data)
    seeds, plot_seeds = arguments.seeds, arguments.plot_seeds
    if arguments.quick:
        data, seeds, plot_seeds = data.head(QUICK_IMAGES), 1, 1
    if arguments.networks:
        for line in accuracy_tables(data, arguments.networks, seeds, arguments.quick):
            print(line, flush=True)
    if arguments.plot:
        for line in plot(data, plot_seeds, arguments.quick, arguments.plot):
            print(line, flush=True)


if __name__ == "__main__":
    main()
