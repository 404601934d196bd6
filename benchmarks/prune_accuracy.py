"""Measure what pruning costs in accuracy, and draw it.

    python benchmarks/prune_accuracy.py --data MNIST [--quick] [--plot docs/pruning.svg]

Networks are pruned while they are trained from nothing, in as many steps as the dense ones get: errors
differ by the pruning alone. Each row is several runs, from weights and orders of the data that their seeds
give. `--quick` takes one run and a part of the data: it shows that everything works, and no more. A full run
takes some 20 minutes on two cores.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import networks
import torch
from tables import table

from tersor.nn import DynamicPruner

QUICK_IMAGES = 6000


class Recipe(NamedTuple):
    """How a network is trained, and at which sparsities it is shown."""

    epochs: int
    lr: float
    sparsities: tuple[float, ...]


RECIPES = {
    "LeNet-300-100": Recipe(12, 0.1, (0.92,)),
    "LeNet-5": Recipe(10, 0.05, (0.92, 0.99)),
}

PLOTTED = Recipe(8, 0.1, (0.8, 0.9, 0.95, 0.98, 0.99, 0.995))
IMPORTANCES = ("magnitude", "gradient", "movement")
COLOURS = {"magnitude": "#0072b2", "gradient": "#d55e00", "movement": "#009e73"}


def error(
    name: str,
    data: networks.Data,
    recipe: Recipe,
    seed: int,
    sparsity: float = 0,
    *,
    importance: str = "magnitude",
    regrow: bool = True,
) -> float:
    """Train a network, pruned or not, and measure its error in percent."""
    start = time.perf_counter()
    network = networks.build(name, seed)
    steps = networks.n_steps(data, recipe.epochs)
    pruner = None
    if sparsity:
        # The last third trains what is left.
        pruner = DynamicPruner(
            network,
            sparsity,
            importance=importance,
            regrow=regrow,
            begin=steps // 10,
            end=steps * 7 // 10,
            frequency=max(steps // 60, 1),
        )
    after_step = None if pruner is None else pruner.step
    networks.train(network, data, epochs=recipe.epochs, lr=recipe.lr, seed=seed, after_step=after_step)
    if pruner is not None:
        pruner.finalize()
    found = networks.evaluate(network, data)
    what = f"{sparsity:.1%} by {importance}{' with regrowth' * regrow}" if sparsity else "dense"
    print(f"{name}, seed {seed}, {what}: {found:.2f} %, {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return found


def spread(errors: list[float]) -> str:
    """Format the mean of several runs and how far they are apart."""
    return f"{statistics.mean(errors):.2f} ({min(errors):.2f} to {max(errors):.2f})"


def accuracy_table(data: networks.Data, seeds: int, quick: bool) -> Iterator[str]:
    """Compare pruned networks with dense ones."""

    def rows() -> Iterator[list[str]]:
        for name, recipe in RECIPES.items():
            recipe = recipe._replace(epochs=1) if quick else recipe
            weights = sum(p.numel() for p in networks.build(name, 0).parameters() if p.ndim > 1)
            dense = [error(name, data, recipe, seed) for seed in range(seeds)]
            for sparsity in recipe.sparsities:
                pruned = [error(name, data, recipe, seed, sparsity) for seed in range(seeds)]
                kept = f"{weights - round(sparsity * weights):,} of {weights:,}"
                yield [f"{name}, {sparsity:.0%} pruned", kept, spread(dense), spread(pruned)]

    yield from table(["", "weights kept", "error % dense", "error % pruned"], rows())


def plot(data: networks.Data, seeds: int, quick: bool, path: Path) -> Iterator[str]:
    """Draw the accuracy against the sparsity, and yield the figures as a table."""
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "tersor", "font.size": 9})
    name = "LeNet-300-100"
    recipe = PLOTTED._replace(epochs=1, sparsities=PLOTTED.sparsities[::3]) if quick else PLOTTED
    figure, ax = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    dense = statistics.mean(error(name, data, recipe, seed) for seed in range(seeds))
    ax.axhline(100 - dense, color="0.6", linewidth=0.8)
    ax.annotate("dense", (1, 100 - dense), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    lines = []
    places = range(len(recipe.sparsities))
    for importance in IMPORTANCES:
        for regrow in (True, False):
            errors = [
                [
                    error(name, data, recipe, seed, sparsity, importance=importance, regrow=regrow)
                    for seed in range(seeds)
                ]
                for sparsity in recipe.sparsities
            ]
            label = f"{importance}, {'with' if regrow else 'without'} regrowth"
            style = {"color": COLOURS[importance], "linestyle": "-" if regrow else ":", "marker": "o"}
            ax.plot(places, [100 - statistics.mean(e) for e in errors], label=label, markersize=3, **style)
            lines.append([label, *(f"{100 - statistics.mean(e):.2f}" for e in errors)])
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
    parser.add_argument("--plot", type=Path, help="draw accuracy against sparsity into this SVG file, too")
    parser.add_argument("--only-plot", action="store_true", help="leave out the table")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = networks.load(arguments.data)
    seeds = arguments.seeds
    if arguments.quick:
        data, seeds = data.head(QUICK_IMAGES), 1
    if not arguments.only_plot:
        for line in accuracy_table(data, seeds, arguments.quick):
            print(line, flush=True)
    if arguments.plot:
        for line in plot(data, seeds, arguments.quick, arguments.plot):
            print(line, flush=True)


if __name__ == "__main__":
    main()
