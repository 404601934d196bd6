"""Compression of PyTorch networks; needs torch, which nothing else in tersor imports."""

from __future__ import annotations

from importlib import import_module

try:
    import_module("torch")
except ImportError as error:
    raise ImportError("tersor.nn needs PyTorch: pip install 'tersor[torch]'") from error

from ..recipe import PRESETS, Recipe, TensorRecipe, Training
from . import distill
from .compressed import CompressedModel, CurvePoint
from .linear import QuantizedConv1d, QuantizedConv2d, QuantizedEmbedding, QuantizedLinear
from .oneshot import prune_oneshot_
from .pipeline import compress
from .pruner import DynamicPruner, PruneByThreshold
from .quantize import (
    ActivationConfig,
    PerChannel,
    PerGroup,
    PerTensor,
    QuantConfig,
    convert_,
    fake_quantize_,
    quantize_,
)
from .sensitivity import Sensitivity, sensitivity_scan
from .structured import shrink_

__all__ = [
    "PRESETS",
    "ActivationConfig",
    "CompressedModel",
    "CurvePoint",
    "DynamicPruner",
    "PerChannel",
    "PerGroup",
    "PerTensor",
    "PruneByThreshold",
    "QuantConfig",
    "QuantizedConv1d",
    "QuantizedConv2d",
    "QuantizedEmbedding",
    "QuantizedLinear",
    "Recipe",
    "Sensitivity",
    "TensorRecipe",
    "Training",
    "compress",
    "convert_",
    "distill",
    "fake_quantize_",
    "prune_oneshot_",
    "quantize_",
    "sensitivity_scan",
    "shrink_",
]
