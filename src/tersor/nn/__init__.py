"""Compression of PyTorch networks; needs torch, which nothing else in tersor imports."""

from __future__ import annotations

from importlib import import_module

try:
    import_module("torch")
except ImportError as error:
    raise ImportError("tersor.nn needs PyTorch: pip install 'tersor[torch]'") from error

from .linear import QuantizedConv1d, QuantizedConv2d, QuantizedEmbedding, QuantizedLinear
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

__all__ = [
    "ActivationConfig",
    "PerChannel",
    "PerGroup",
    "PerTensor",
    "QuantConfig",
    "QuantizedConv1d",
    "QuantizedConv2d",
    "QuantizedEmbedding",
    "QuantizedLinear",
    "convert_",
    "fake_quantize_",
    "quantize_",
]
