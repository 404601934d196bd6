"""Storage of arrays of many zeros: where the others are, and what they are, each coded for itself.

The blocks of a `.tsr` frame are sparse wherever that is smaller, so that what is stored here is what
`tersor.compress_array` makes, and pruned models shrink in `tersor.checkpoint` without being asked to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..arrays import as_numpy, compress_array, decompress_array, in_kind_of, is_extension, open_array
from ..errors import LimitError
from ..frame import Block
from ..parallel import ordered_map

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Rows without columns take no space in a file, but in memory.
EMPTY_ROWS_MAX = 1 << 24

__all__ = ["CSR", "decode", "encode", "from_dense", "to_csr"]


class CSR(NamedTuple):
    """A matrix by its rows: compressed sparse rows, as SciPy and torch have them.

    ``values[indptr[i]:indptr[i + 1]]`` are the elements of row i that are not zero, and ``indices`` their
    columns, in ascending order.
    """

    indptr: NDArray[Any]
    indices: NDArray[Any]
    values: NDArray[Any]
    shape: tuple[int, int]

    def to_dense(self) -> NDArray[Any]:
        """Make the matrix with its zeros."""
        dense = np.zeros(self.shape, self.values.dtype)
        rows = np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))
        dense[rows, self.indices] = self.values
        return dense

    def to_torch(self) -> Any:
        """Make a tensor of layout `torch.sparse_csr`, which shares the memory."""
        torch = import_module("torch")
        like = torch.empty(0)
        parts = (in_kind_of(a, like) for a in (self.indptr, self.indices, self.values))
        return torch.sparse_csr_tensor(*parts, size=self.shape, check_invariants=False)


def encode(x: Any, *, threads: int | None = None) -> bytes:
    """Compress an array of many zeros without loss.

    Parameters
    ----------
    x : array
        NumPy array or CPU torch tensor of any shape; any dtype but objects.
    threads : int, optional
        Workers to use; all cores by default. The result does not depend on it.

    Returns
    -------
    bytes
        What `tersor.compress_array` returns: `tersor.decompress_array` reads it too.

    Notes
    -----
    Positions are coded as gaps or as bits, whichever is smaller, and then by Huffman codes, as are the byte
    planes of the elements that are not zero. All bits are kept: zeros are told from -0.0, which pruning by
    multiplication with a mask leaves and which takes up to a bit each. docs/format.md, "Sparse blocks".

    Examples
    --------
    >>> x = np.where(np.arange(100_000) % 10 == 0, np.float32(0.5), np.float32(0))
    >>> frame = tersor.prune.sparse.encode(x)
    >>> len(frame) < x.nbytes // 100
    True
    """
    return compress_array(x, threads=threads)


def decode(
    data: Buffer,
    *,
    layout: Literal["dense", "csr"] | str = "dense",
    framework: Literal["numpy", "torch"] | str = "numpy",
    max_length: int = -1,
    threads: int | None = None,
) -> Any:
    """Decompress an array, with its zeros or without.

    Parameters
    ----------
    data : buffer
        What `encode` or `tersor.compress_array` returned.
    layout : {"dense", "csr"}
        "csr" is of rows and columns: the first axis and all others.
    framework : {"numpy", "torch"}
    max_length : int
        Largest dense array to accept, in bytes, some for a header included; -1 accepts any.
    threads : int, optional

    Returns
    -------
    ndarray, CSR, or tensor
        A tensor's layout is `torch.sparse_csr` with "csr".

    Raises
    ------
    CorruptDataError
        If the data is damaged, or its content is not an array.
    LimitError
        If the array is larger than `max_length`.

    Examples
    --------
    >>> x = np.array([[0, 0, 3], [0, 4, 0]], dtype=np.float32)
    >>> tersor.prune.sparse.decode(tersor.prune.sparse.encode(x), layout="csr").indices
    array([2, 1], dtype=int32)
    """
    if layout not in ("dense", "csr"):
        raise ValueError(f'layout must be "dense" or "csr", not {layout!r}')
    if framework not in ("numpy", "torch"):
        raise ValueError(f'framework must be "numpy" or "torch", not {framework!r}')
    if layout == "csr":
        matrix = to_csr(data, max_length=max_length, threads=threads)
        return matrix if framework == "numpy" else matrix.to_torch()
    array = decompress_array(data, max_length=max_length, threads=threads)
    return array if framework == "numpy" else in_kind_of(array, import_module("torch").empty(0))


def to_csr(data: Buffer, *, max_length: int = -1, threads: int | None = None) -> CSR:
    """Decompress an array to compressed sparse rows; memory is needed for these and a few blocks.

    Parameters
    ----------
    data, max_length, threads
        As for `decode`.

    Returns
    -------
    CSR
        Of the first axis and all others; an array of one axis is one row. Indices are int32 where those
        suffice.

    Raises
    ------
    CorruptDataError, LimitError
        As `decode` does.

    Examples
    --------
    >>> x = np.array([[0, 0, 3], [0, 4, 0]], dtype=np.float32)
    >>> tersor.prune.sparse.to_csr(tersor.prune.sparse.encode(x)).values
    array([3., 4.], dtype=float32)
    """
    opened = open_array(_native.byte_view(data), max_length)
    _check_numbers(opened.dtype)
    if opened.fortran:
        return from_dense(decompress_array(data, max_length=max_length, threads=threads))
    return _csr(_pieces(opened.rest, opened.blocks, opened.dtype, threads), opened.shape, opened.dtype)


def from_dense(x: Any) -> CSR:
    """Turn an array that is in memory into compressed sparse rows, as `to_csr` does.

    Parameters
    ----------
    x : array
        NumPy array or CPU torch tensor of numbers.

    Returns
    -------
    CSR

    Examples
    --------
    >>> tersor.prune.sparse.from_dense(np.array([[0, 0, 3], [0, 4, 0]], dtype=np.float32)).indptr
    array([0, 1, 2], dtype=int32)
    """
    array = np.ascontiguousarray(as_numpy(x))
    _check_numbers(array.dtype)
    return _csr(iter([array.reshape(-1)]), array.shape, array.dtype)


def _check_numbers(dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "biufc" and not is_extension(dtype):
        raise TypeError(f"sparse rows are of numbers, not of {dtype}")


def _pieces(
    rest: bytes, blocks: list[Block], dtype: np.dtype[Any], threads: int | None
) -> Iterator[NDArray[Any]]:
    """Decode blocks in order, and cut what they hold into whole elements."""
    for content in ordered_map(Block.decode, blocks, threads):
        rest += content
        n = len(rest) // dtype.itemsize
        yield np.frombuffer(rest, dtype, n)
        rest = rest[n * dtype.itemsize :]


def _csr(pieces: Iterator[NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype[Any]) -> CSR:
    n_rows, n_columns = (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))
    places: list[NDArray[Any]] = [np.empty(0, np.int64)]
    values: list[NDArray[Any]] = [np.empty(0, dtype)]
    start = 0
    for piece in pieces:
        kept = np.flatnonzero(piece)
        places.append(kept + start)
        values.append(piece[kept])
        start += piece.size
    if n_columns == 0 and n_rows > EMPTY_ROWS_MAX:
        raise LimitError(f"{n_rows} rows without columns")
    flat = np.concatenate(places)
    index_dtype = np.int32 if max(flat.size, n_columns) < 2**31 else np.int64
    ends = np.searchsorted(flat, np.arange(n_rows + 1) * n_columns)
    indices = flat % n_columns if n_columns else flat
    return CSR(
        ends.astype(index_dtype),
        indices.astype(index_dtype),
        np.concatenate(values),
        (n_rows, n_columns),
    )
