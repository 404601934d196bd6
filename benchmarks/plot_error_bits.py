"""Plot the error against the bits of a weight for a real model, and print the figures as a table.

    python benchmarks/plot_error_bits.py [OUTPUT.svg]

The model is the sentence encoder of `inputs.py`. Bits count scales and codebooks; curves are entropy coded,
single marks are stored as they are.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import log10
from pathlib import Path
from typing import Any

import inputs
import numpy as np

from tersor import quantize
from tersor.quantize import Choice

BITS = range(2, 9)
BUDGETS = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0)
Point = tuple[str, float, float]  # name, bits a weight, decibels


def matrices() -> dict[str, Any]:
    """The model's weights of two dimensions."""
    return {name: a for name, a in inputs.weights().items() if a.ndim == 2}


class Model:
    """The weights, and what to say of a way to store them."""

    def __init__(self) -> None:
        self.tensors = matrices()
        self.n = sum(x.size for x in self.tensors.values())
        self.energy = sum(float(np.square(x, dtype=np.float64).sum()) for x in self.tensors.values())

    def point(self, name: str, n_bytes: float, error: float) -> Point:
        """Bits a weight, and the signal-to-noise ratio."""
        return name, 8 * n_bytes / self.n, 10 * log10(self.energy / error)

    def stored(self, name: str, store: Callable[[Any], tuple[int, Any]]) -> Point:
        """The same for a function that tells the bytes and the floats that come back."""
        n_bytes, error = 0, 0.0
        for x in self.tensors.values():
            size, back = store(x)
            n_bytes += size
            error += float(np.square(x - back, dtype=np.float64).sum())
        return self.point(name, n_bytes, error)


def ours(**options: Any) -> Callable[[Any], tuple[int, Any]]:
    """Store with a codebook."""

    def store(x: Any) -> tuple[int, Any]:
        c = quantize.codebook(x, **options)
        return c.nbytes, c.dequantize()

    return store


def torch_int8(x: Any) -> tuple[int, Any]:
    """Store as torch does in 8 bits, with a scale of float32 for each row."""
    import torch

    warnings.filterwarnings("ignore", message=".*deprecated", category=UserWarning)
    t = torch.from_numpy(x)
    scales = (t.abs().amax(dim=1).double() / 127.5).clamp(min=1e-12)
    q = torch.quantize_per_channel(t, scales, torch.zeros(len(x), dtype=torch.int64), 0, torch.qint8)
    return x.size + 4 * len(x), q.dequantize().numpy()


def marks(model: Model) -> Iterator[Point]:
    """Ways of one size."""
    with suppress(ImportError):
        yield model.stored("torch int8, each row", torch_int8)
    yield model.stored("NF4, groups of 64", ours(method="nf4", group_size=64))
    yield model.stored("k-means, scaled groups of 64", ours(scaled=True, group_size=64))
    yield model.stored("k-means, 256 levels", ours(levels=256))


def curves(model: Model) -> dict[str, list[Point]]:
    """Ways of many sizes."""
    choices = quantize.measure_choices(model.tensors, axis=0)

    def total(wanted: Callable[[Choice], bool]) -> tuple[float, float]:
        found = [c for of_tensor in choices.values() for c in of_tensor if wanted(c)]
        return sum(c.nbytes for c in found), sum(c.error for c in found)

    result = {
        label: [
            model.point(f"{bits} bits", *total(lambda c: c.method == method and c.bits == bits))  # noqa: B023
            for bits in BITS
        ]
        for label, method in (
            ("integers, a scale each row", "affine"),
            ("k-means, a scale each row", "kmeans"),
        )
    }
    allocations = [(b, int(b * model.n / 8)) for b in BUDGETS]
    result["allocate_bits"] = [
        model.point(f"budget {b}", a.nbytes, a.error)
        for b, budget in allocations
        for a in [quantize.allocate_bits(model.tensors, budget, choices=choices)]
    ]
    return result


def draw(path: Path, lines: dict[str, list[Point]], points: list[Point]) -> None:
    """Write the plot."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "tersor"  # the same file each time
    mpl.rcParams["svg.fonttype"] = "none"
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, line in lines.items():
        axes.plot([p[1] for p in line], [p[2] for p in line], marker="o", markersize=3, label=name)
    for (name, bits, decibels), marker in zip(points, "sD^v", strict=False):
        axes.plot([bits], [decibels], marker, color="black", fillstyle="none", label=name)
    axes.set(xlabel="bits a weight", ylabel="signal-to-noise ratio, dB", xlim=(1, 9))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def table(lines: dict[str, list[Point]], points: list[Point]) -> Iterator[str]:
    """The figures in Markdown."""
    yield "| | | bits a weight | dB |"
    yield "| --- | --- | ---: | ---: |"
    for name, line in [*lines.items(), ("stored as they are", points)]:
        for label, bits, decibels in line:
            yield f"| {name} | {label} | {bits:.2f} | {decibels:.1f} |"


if __name__ == "__main__":
    model = Model()
    found = curves(model), list(marks(model))
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/error_bits.svg"), *found)
    print("\n".join(table(*found)))
