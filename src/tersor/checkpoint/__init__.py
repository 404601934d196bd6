"""Compressed model files: valid `.safetensors` files whose tensors are `.tsr` frames (docs/format.md).

Arrays are stored without loss, quantized arrays as their integers or indices, which are Huffman coded too. No
torch is needed, except to return its tensors.
"""

from .header import QUANTIZED_DTYPES
from .reader import TensorSlice, decompress_file, inspect_file, is_compressed, load_file, safe_open
from .writer import compress_file, save_file

__all__ = [
    "QUANTIZED_DTYPES",
    "TensorSlice",
    "compress_file",
    "decompress_file",
    "inspect_file",
    "is_compressed",
    "load_file",
    "safe_open",
    "save_file",
]
