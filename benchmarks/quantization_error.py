"""Tell how much of a real model's weights quantization keeps: the table of docs/quantization.md.

python benchmarks/quantization_error.py
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import inputs
import numpy as np
from tables import table

from tersor.quantize import affine

BITS = (8, 6, 5, 4, 3, 2)
CUTS: dict[str, dict[str, int]] = {"tensor": {}, "row": {"axis": 0}, "group of 64": {"group_size": 64}}
KINDS: dict[str, dict[str, Any]] = {
    "minmax": {},
    "mse": {"observer": "mse"},
    "asymmetric, mse": {"observer": "mse", "symmetric": False},
}


def matrices() -> list[Any]:
    """The weight matrices whose rows can be cut into groups."""
    return [a for a in inputs.weights().values() if a.ndim == 2 and a.shape[1] % 64 == 0]


def rows(weights: list[Any]) -> Iterator[list[str]]:
    """Signal-to-noise ratios in decibels, over all weights, and the bits that each takes."""
    signal = sum(float(np.square(a, dtype=np.float64).sum()) for a in weights)
    n = sum(a.size for a in weights)
    for bits in BITS:
        for name, cut in CUTS.items():
            cells = [f"{bits}, {name}"]
            for options in KINDS.values():
                noise, n_scale_bits = 0.0, 0
                for a in weights:
                    q = affine(a, bits=bits, **cut, **options)
                    noise += float(np.square(q.dequantize() - a, dtype=np.float64).sum())
                    n_scale_bits += 8 * (q.nbytes - q.values.nbytes)
                cells.append(f"{10 * np.log10(signal / noise):.1f}")
            yield [*cells, f"{bits + n_scale_bits / n:.2f}"]  # zero points included


def main() -> None:
    for line in table(["bits, a scale each", *KINDS, "bits / weight"], rows(matrices())):
        print(line)


if __name__ == "__main__":
    main()
