"""Arrays as the kernels see them: floats of a known type, cut into channels that share parameters."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _native
from ..arrays import as_numpy, bytes_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOAT_TYPES = {
    "float32": _native.FLOAT32,
    "float16": _native.FLOAT16,
    "bfloat16": _native.BFLOAT16,
    "float64": _native.FLOAT64,
}

# Elements that a worker takes at a time; results do not depend on it.
PIECE = 1 << 20

NAN_CHOICES = ("raise", "keep", "zero")


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive elements of an array, and the channels that they belong to."""

    elements: slice
    channels: slice
    n_channels: int
    n_inner: int

    @property
    def n(self) -> int:
        """How many elements they are."""
        return int(self.elements.stop - self.elements.start)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which elements share parameters: element i of n belongs to channel ``i // n_inner % n_channels``."""

    shape: tuple[int, ...]
    axis: int | None
    group_size: int | None
    parameter_shape: tuple[int, ...]
    n_channels: int
    n_inner: int

    @classmethod
    def of(cls, shape: tuple[int, ...], axis: Any = None, group_size: Any = None) -> Layout:
        """Cut an array of a shape by the `axis` and `group_size` of the public functions."""
        if group_size is not None:
            group_size = operator.index(group_size)
            if axis is not None:
                raise ValueError("group_size cuts the last axis: it goes with no axis")
            if not shape:
                raise ValueError("group_size needs an array with an axis")
            if group_size < 1 or shape[-1] % group_size:
                raise ValueError(f"group_size {group_size} does not divide the {shape[-1]} of the last axis")
            groups = (*shape[:-1], shape[-1] // group_size)
            return cls(shape, None, group_size, groups, math.prod(groups), group_size)
        if axis is None:
            return cls(shape, None, None, (), 1, math.prod(shape))
        axis = operator.index(axis)
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"axis {axis} is none of an array of {len(shape)} dimensions")
        axis %= len(shape)
        return cls(shape, axis, None, (shape[axis],), shape[axis], math.prod(shape[axis + 1 :]))

    @property
    def n(self) -> int:
        """How many elements there are."""
        return math.prod(self.shape)

    @property
    def n_row(self) -> int:
        """Elements of the last axis."""
        return self.shape[-1] if self.shape else 1

    @property
    def is_rows(self) -> bool:
        """Whether the elements of each of several channels lie together."""
        return self.n_channels > 1 and self.n == self.n_channels * self.n_inner

    def pieces(self, size: int = PIECE, *, packed: bool = False) -> Iterator[Piece]:
        """Cut into pieces of about `size` elements, whose packed integers begin and end with a byte."""
        period = self.n_channels * self.n_inner
        unit = 1
        if self.n == 0:
            return
        if self.n > period:
            unit = period
        elif self.n_channels > 1:
            unit = self.n_inner
        if packed:
            unit = math.lcm(unit, self.n_row if self.n_row % 2 else 2)
        step = max(size // unit, 1) * unit
        for start in range(0, self.n, step):
            stop = min(start + step, self.n)
            if self.is_rows:
                channels = slice(start // self.n_inner, stop // self.n_inner)
                yield Piece(slice(start, stop), channels, channels.stop - channels.start, self.n_inner)
            elif self.n_channels == 1:
                yield Piece(slice(start, stop), slice(0, 1), 1, stop - start)
            else:
                yield Piece(slice(start, stop), slice(0, self.n_channels), self.n_channels, self.n_inner)

    def packed_part(self, piece: Piece) -> tuple[slice, int]:
        """Find the bytes that a piece is packed in, and the length of the rows that it is packed by."""
        if self.n_row % 2 == 0:  # then the rows need no padding, and make one
            return slice(piece.elements.start // 2, piece.elements.stop // 2), piece.n
        size = (self.n_row + 1) // 2
        rows = slice(piece.elements.start // self.n_row, piece.elements.stop // self.n_row)
        return slice(rows.start * size, rows.stop * size), self.n_row


class Floats:
    """An array of floats that the kernels can read, a copy only where the caller's is laid out otherwise."""

    __slots__ = ("array", "data", "type")

    def __init__(self, x: Any, name: str = "x") -> None:
        array = as_numpy(x)
        if array.dtype.name not in FLOAT_TYPES:
            raise TypeError(f"{name} must hold {', '.join(FLOAT_TYPES)}, not {array.dtype}")
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        self.array: NDArray[Any] = np.require(array, requirements=["C", "A"])
        self.type = FLOAT_TYPES[array.dtype.name]
        self.data = bytes_of(self.array)

    def of(self, piece: Piece) -> memoryview:
        """Bytes of a piece."""
        size = self.array.itemsize
        return self.data[piece.elements.start * size : piece.elements.stop * size]

    def settled(self, first: int, nan: str) -> Floats:
        """What to quantize instead, `first` being the index of the first element that is not finite, if any.

        Itself, unless such elements are to become zero.
        """
        if first >= self.array.size or nan == "keep":
            return self
        if nan == "raise":
            raise ValueError(self._complaint(first))
        with np.errstate(over="ignore"):
            is_finite = np.isfinite(self.array.astype(np.float32))
        return Floats(np.where(is_finite, self.array, self.array.dtype.type(0)))

    def _complaint(self, first: int) -> str:
        index = ", ".join(str(i) for i in np.unravel_index(first, self.array.shape))
        value = float(self.array.ravel()[first])
        reason = ", which is beyond float32," if math.isfinite(value) else ""
        return f"x has {value}{reason} at [{index}]: give nan='zero' or nan='keep' to quantize it"


def checked_bits(bits: int) -> int:
    """Raise `ValueError` unless integers can have so many bits."""
    if not 2 <= operator.index(bits) <= 8:
        raise ValueError(f"bits must be from 2 to 8, not {bits}")
    return operator.index(bits)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `ValueError` for what is none of the choices of an argument."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def checked_out(out: Any, shape: tuple[int, ...], dtypes: tuple[str, ...], *sources: Any) -> NDArray[Any]:
    """View `out` as an array to write to, if it has the shape, one of the dtypes, and memory of its own."""
    array = as_numpy(out)
    fits = array.shape == shape and array.dtype.name in dtypes and array.dtype.isnative
    if not (fits and array.flags.c_contiguous and array.flags.aligned and array.flags.writeable):
        raise ValueError(
            f"out must be a contiguous, writable array of shape {shape} and dtype {' or '.join(dtypes)}"
        )
    if any(np.may_share_memory(array, source) for source in sources):
        raise ValueError("out must not overlap the input")
    return array
