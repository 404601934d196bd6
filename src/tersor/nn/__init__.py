"""Compression of PyTorch networks; needs torch, which nothing else in tersor imports."""

from __future__ import annotations

from importlib import import_module

try:
    import_module("torch")
except ImportError as error:
    raise ImportError("tersor.nn needs PyTorch: pip install 'tersor[torch]'") from error

from .oneshot import prune_oneshot_
from .pruner import DynamicPruner, PruneByThreshold
from .sensitivity import Sensitivity, sensitivity_scan
from .structured import shrink_

__all__ = [
    "DynamicPruner",
    "PruneByThreshold",
    "Sensitivity",
    "prune_oneshot_",
    "sensitivity_scan",
    "shrink_",
]
