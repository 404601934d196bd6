"""How quantized arrays are taken apart for storage, and put together again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..arrays import bytes_of
from ..errors import CorruptDataError, UnsupportedFormatError
from ..quantize import CodebookArray, QuantizedArray

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARTS_MAX = 3  # arrays that a quantized one consists of
KINDS: dict[str, type[QuantizedArray | CodebookArray]] = {"affine": QuantizedArray, "codebook": CodebookArray}


class Quantization(NamedTuple):
    """What a file says of a quantized array, beside its shape and the arrays that it consists of."""

    kind: str
    fields: dict[str, Any]

    @classmethod
    def of(cls, array: Any, shape: tuple[int, ...]) -> Quantization:
        """Describe an array whose floats are to have a shape."""
        kind = next(kind for kind, of_kind in KINDS.items() if isinstance(array, of_kind))
        fields = array.components()[1]
        if tuple(fields["shape"]) == shape:
            del fields["shape"]
        return cls(kind, {k: v for k, v in fields.items() if v is not None})

    @classmethod
    def parse(cls, where: str, kind: Any, fields: Any) -> Quantization:
        if not isinstance(kind, str) or kind not in KINDS:
            raise UnsupportedFormatError(f"{where} has the unknown kind {kind!r}")
        if not isinstance(fields, dict):
            raise CorruptDataError(f"{where} is damaged")
        return cls(kind, fields)

    def layout(self, name: str, shape: tuple[int, ...]) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """Name, dtype and shape of the arrays that follow one another in the content."""
        with _named(name):
            fields = self._all_fields(shape)
            if math.prod(fields["shape"]) != math.prod(shape):
                raise ValueError(f"an array of shape {fields['shape']} cannot have the shape {list(shape)}")
            return KINDS[self.kind].component_layout(fields)

    def content_size(self, name: str, shape: tuple[int, ...]) -> int:
        return sum(dtype.itemsize * math.prod(part) for dtype, part in self.layout(name, shape).values())

    def build(
        self, name: str, shape: tuple[int, ...], content: NDArray[np.uint8]
    ) -> QuantizedArray | CodebookArray:
        """Make the array from its content."""
        arrays, start = {}, 0
        for part, (dtype, part_shape) in self.layout(name, shape).items():
            end = start + dtype.itemsize * math.prod(part_shape)
            arrays[part] = content[start:end].copy().view(dtype).reshape(part_shape)
            start = end
        with _named(name):
            return KINDS[self.kind].from_components(arrays, self._all_fields(shape))

    def _all_fields(self, shape: tuple[int, ...]) -> dict[str, Any]:
        fields = {"axis": None, "group_size": None, "shape": list(shape), **self.fields}
        if not isinstance(fields["shape"], list) or not all(type(n) is int for n in fields["shape"]):
            raise ValueError("the shape is no list of integers")
        return fields


def is_quantized(array: Any) -> bool:
    """Tell whether an array has a kind."""
    return isinstance(array, tuple(KINDS.values()))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Have errors in a tensor's parts name it."""
    try:
        yield
    except ValueError as error:
        raise CorruptDataError(f"tensor {name!r}: {error}") from None


def contents(array: QuantizedArray | CodebookArray) -> Iterator[tuple[memoryview, int]]:
    """The arrays that a quantized array consists of, each with the type size of its planes."""
    for part in array.components()[0].values():
        yield bytes_of(np.ascontiguousarray(part)), part.itemsize
