"""Affine quantization of one run of floats that share a scale (docs/quantization.md).

Python's floats are of 64 bits, more than twice as precise as those of 32 that are quantized. So a product
that `float32` rounds once more is what 32-bit arithmetic gives, and a quotient is at a half between integers
only where it is so exactly.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence

__all__ = [
    "bfloat16",
    "dequantize",
    "float16",
    "float32",
    "histogram",
    "limits",
    "pack",
    "parameters",
    "quantize",
    "unpack",
    "value_range",
]

FLOAT32_MAX = (2 - 2**-23) * 2.0**127
SCALE_MIN = 2.0**-126


def float32(x: float) -> float:
    """Round to the nearest float of 32 bits, halves to the even one; infinite beyond the greatest.

    Examples
    --------
    >>> float32(0.1), float32(1e39)
    (0.10000000149011612, inf)
    """
    return _rounded(x, "f")


def float16(x: float) -> float:
    """Round a float of 32 bits to 16.

    Examples
    --------
    >>> float16(0.1), float16(65520.0)
    (0.0999755859375, inf)
    """
    return _rounded(x, "e")


def _rounded(x: float, format: str) -> float:
    try:
        return float(struct.unpack(format, struct.pack(format, x))[0])
    except OverflowError:
        return math.copysign(math.inf, x)


def bfloat16(x: float) -> float:
    """Round a float of 32 bits to the 16 that are its upper half.

    Examples
    --------
    >>> bfloat16(0.1), bfloat16(1.00390625), bfloat16(1.01171875)
    (0.10009765625, 1.0, 1.015625)
    """
    if not math.isfinite(x):
        return x
    bits = int(struct.unpack("<I", struct.pack("<f", x))[0])
    half = 0x7FFF + (bits >> 16 & 1)  # less than half of the last place, unless that is odd
    return float(struct.unpack("<f", struct.pack("<I", bits + half & 0xFFFF0000))[0])


def limits(bits: int, symmetric: bool) -> tuple[int, int]:
    """The least and the greatest integer.

    Examples
    --------
    >>> limits(8, True), limits(4, False)
    ((-127, 127), (0, 15))
    """
    most = 2 ** (bits - 1) - 1 if symmetric else 2**bits - 1
    return (-most if symmetric else 0), most


def value_range(values: Iterable[float]) -> tuple[float, float]:
    """The least and the greatest that is finite; infinite and upside down of none.

    Examples
    --------
    >>> value_range([1.0, -2.0, math.nan]), value_range([])
    ((-2.0, 1.0), (inf, -inf))
    """
    low, high = math.inf, -math.inf
    for value in map(float32, values):
        if math.isfinite(value):
            low, high = min(low, value), max(high, value)
    return low + 0.0, high + 0.0  # no zero is negative


def parameters(low: float, high: float, bits: int, symmetric: bool) -> tuple[float, int]:
    """Scale and zero point of a range, which is widened to have zero in it.

    Examples
    --------
    >>> parameters(-1.0, 1.5, 8, False)
    (0.009803921915590763, 102)
    """
    low, high = min(low, 0.0), max(high, 0.0)
    width = max(-low, high) if symmetric else high - low
    scale = float32(width / limits(bits, symmetric)[1])
    if scale < SCALE_MIN:
        scale = SCALE_MIN if width > 0 else 1.0
    return scale, 0 if symmetric else round(-low / scale)


def quantize(values: Iterable[float], scale: float, zero_point: int, bits: int, symmetric: bool) -> list[int]:
    """Integers for floats; NaN becomes the zero point.

    Examples
    --------
    >>> quantize([0.25, 0.75, -9.0, math.nan], 0.5, 0, 4, True)
    [0, 2, -7, 0]
    """
    least, most = limits(bits, symmetric)
    integers = []
    for value in map(float32, values):
        steps = value / scale
        if math.isnan(steps):
            steps = 0.0
        # Within the limits first: what is infinite cannot be rounded.
        steps = min(max(steps, float(least - zero_point)), float(most - zero_point))
        integers.append(round(steps) + zero_point)
    return integers


def dequantize(integers: Iterable[int], scale: float, zero_point: int) -> list[float]:
    """The floats of 32 bits that integers stand for.

    Examples
    --------
    >>> dequantize([0, 2, -7], 0.5, 0)
    [0.0, 1.0, -3.5]
    """
    products = (float32((q - zero_point) * scale) for q in integers)
    return [min(max(product, -FLOAT32_MAX), FLOAT32_MAX) for product in products]


def pack(integers: Sequence[int], n_row: int) -> bytes:
    """Two integers of up to 4 bits in a byte, the first in the lower half; rows begin with a byte.

    Examples
    --------
    >>> pack([1, -1, 3], 3).hex()
    'f103'
    """
    packed = bytearray()
    for start in range(0, len(integers), n_row):
        row = [q % 16 for q in integers[start : start + n_row]] + [0] * (n_row % 2)
        packed += bytes(low | high << 4 for low, high in zip(row[::2], row[1::2], strict=True))
    return bytes(packed)


def unpack(packed: bytes, n: int, n_row: int, symmetric: bool) -> list[int]:
    """Undo `pack`.

    Examples
    --------
    >>> unpack(bytes.fromhex("f103"), 3, 3, True)
    [1, -1, 3]
    """
    integers = []
    for i in range(n):
        row, column = divmod(i, n_row)
        half = packed[row * ((n_row + 1) // 2) + column // 2] >> 4 * (column % 2) & 15
        integers.append(half - 16 if symmetric and half >= 8 else half)
    return integers


def histogram(values: Iterable[float], limit: float, n_bins: int) -> list[int]:
    """Count floats that are finite in equal bins from minus the limit, a power of two, to the limit.

    Examples
    --------
    >>> histogram([-0.9, 0.0, 0.3, 0.9, 5.0], 1.0, 4)
    [1, 0, 2, 2]
    """
    counts = [0] * n_bins
    for value in map(float32, values):
        if math.isfinite(value):
            bin = math.floor(value * (n_bins // 2 / limit) + n_bins // 2)
            counts[min(max(bin, 0), n_bins - 1)] += 1
    return counts
