"""Compression of PyTorch networks; needs torch, which nothing else in tersor imports."""

from __future__ import annotations

from importlib import import_module

try:
    import_module("torch")
except ImportError as error:
    raise ImportError("tersor.nn needs PyTorch: pip install 'tersor[torch]'") from error

__all__: list[str] = []
