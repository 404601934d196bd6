"""Two integers of up to 4 bits in a byte, the first in the lower half, each last axis from a new byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import _native
from ..arrays import bytes_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKED_BITS = _native.AFFINE_PACKED_BITS


def packed_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the bytes that hold integers of a shape."""
    return (*shape[:-1], (shape[-1] + 1) // 2) if shape else (1,)


def pack(integers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack the low halves of bytes.

    Examples
    --------
    >>> pack(np.array([[1, 2, 3], [4, 5, 6]], np.uint8)).tolist()
    [[33, 3], [84, 6]]
    """
    out = np.empty(packed_shape(integers.shape), np.uint8)
    n_row = integers.shape[-1] if integers.shape else 1
    _native.pack_nibbles(bytes_of(np.ascontiguousarray(integers)), bytes_of(out), max(n_row, 1))
    return out


def unpack(packed: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Undo `pack` for integers of a shape.

    Examples
    --------
    >>> unpack(np.array([[33, 3], [84, 6]], np.uint8), (2, 3)).tolist()
    [[1, 2, 3], [4, 5, 6]]
    """
    if packed.shape != packed_shape(shape):
        raise ValueError(f"integers of shape {shape} are not packed in bytes of shape {packed.shape}")
    out = np.empty(shape, np.uint8)
    n_row = shape[-1] if shape else 1
    _native.unpack_nibbles(bytes_of(np.ascontiguousarray(packed)), bytes_of(out), max(n_row, 1))
    return out
