"""Arrays of few bits an element: affine integers, and codebooks.

`affine` finds a scale for the whole array, for each channel or for each group, and makes a
`QuantizedArray` of 2 to 8 bits; `Observer` finds one for data that comes in batches, and `quantize_with`
applies it. docs/quantization.md tells when to use which.
"""

from .affine import QuantizedArray, affine, quantize_with
from .observers import Observer, abs_max, min_max

__all__ = ["Observer", "QuantizedArray", "abs_max", "affine", "min_max", "quantize_with"]
