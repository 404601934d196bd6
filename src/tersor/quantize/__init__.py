"""Arrays of few bits an element: affine integers, and codebooks.

`affine` finds a scale for the whole array, for each channel or for each group, and makes a
`QuantizedArray` of 2 to 8 bits; `Observer` finds one for data that comes in batches, and `quantize_with`
applies it. `codebook` finds up to 256 levels, evenly spaced or not, and makes a `CodebookArray`;
`codebook_with` takes those it is given. `allocate_bits` chooses among them for each tensor of a model, to
fit a size. docs/quantization.md tells when to use which.
"""

from .affine import QuantizedArray, affine, quantize_with
from .allocate import Allocation, Choice, allocate_bits, even_steps, measure_choices
from .codebook import CodebookArray, codebook, codebook_with
from .observers import Observer, abs_max, min_max

__all__ = [
    "Allocation",
    "Choice",
    "CodebookArray",
    "Observer",
    "QuantizedArray",
    "abs_max",
    "affine",
    "allocate_bits",
    "codebook",
    "codebook_with",
    "even_steps",
    "measure_choices",
    "min_max",
    "quantize_with",
]
