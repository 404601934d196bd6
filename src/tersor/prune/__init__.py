"""Pruning of arrays: exact thresholds, masks, N:M sparsity, and storage that takes its profit from zeros.

`threshold` finds the smallest magnitude that is kept, `mask` says what is kept, and `apply_` makes zeros of
the rest in place. A list of arrays is pruned as one, without joining them. `sparse` stores arrays of many
zeros. docs/pruning.md has the formulas and the figures.
"""

from . import sparse
from .masks import apply_, mask, pack, threshold, unpack

__all__ = ["apply_", "mask", "pack", "sparse", "threshold", "unpack"]
