"""tersor: compression for data and models.

Bytes: `compress`, `decompress`, `open`, `Compressor`, `Decompressor`. Arrays: `compress_array`,
`decompress_array`. Model files: `tersor.checkpoint`. LZW for GIF, TIFF, PDF and .Z:
`tersor.lzw`. The rest is imported when first used, so that ``import tersor`` stays fast; nothing here
imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._native import cpu_features
from .errors import (
    CorruptDataError,
    LimitError,
    TersorError,
    TruncatedDataError,
    UnsupportedFormatError,
)
from .file import TersorFile, open
from .frame import compress, decompress
from .stream import Compressor, Decompressor

if TYPE_CHECKING:
    from . import checkpoint, huffman, lzw, prune, reference
    from .arrays import compress_array, decompress_array

__version__ = "0.1.0"

__all__ = [
    "Compressor",
    "CorruptDataError",
    "Decompressor",
    "LimitError",
    "TersorError",
    "TersorFile",
    "TruncatedDataError",
    "UnsupportedFormatError",
    "__version__",
    "checkpoint",
    "compress",
    "compress_array",
    "cpu_features",
    "decompress",
    "decompress_array",
    "huffman",
    "lzw",
    "open",
    "prune",
    "reference",
]

_LAZY = {
    "checkpoint": None,
    "huffman": None,
    "lzw": None,
    "prune": None,
    "reference": None,
    "compress_array": "arrays",
    "decompress_array": "arrays",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _LAZY[name]
    if home is None:
        return import_module(f".{name}", __name__)
    value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
