"""Compressed NumPy arrays: `.tsr` frames whose content is an `.npy` file (docs/format.md)."""

from __future__ import annotations

import ast
import math
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np

from . import _native
from .errors import CorruptDataError, LimitError
from .frame import (
    Block,
    FrameWriter,
    block_size,
    check_options,
    decode_blocks,
    frame_bound,
    iter_blocks,
    join_frame,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from typing_extensions import Buffer

__all__ = ["compress_array", "decompress_array"]

_NPY_MAGIC = b"\x93NUMPY"

# A header of more is no array's: NumPy's own limit for headers that it did not write itself.
NPY_HEADER_MAX = 10_000


def framework_of(a: Any) -> str:
    """Name the kind of array: "torch" for a tensor or dtype of torch, else "numpy"."""
    return "torch" if type(a).__module__.partition(".")[0] == "torch" else "numpy"


def from_numpy(a: NDArray[Any], framework: str) -> Any:
    """View a NumPy array as an array of the kind that `framework_of` names."""
    if framework == "numpy":
        return a
    torch = import_module("torch")
    if is_extension(a.dtype):
        return torch.from_numpy(a.view(f"i{a.itemsize}")).view(getattr(torch, a.dtype.name))
    return torch.from_numpy(a)


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """Find NumPy's dtype for what names one: also names of extension types, and dtypes of torch."""
    name = str(dtype).removeprefix("torch.") if framework_of(dtype) == "torch" else dtype
    try:
        return np.dtype(name)
    except TypeError:
        return extension_dtype(str(name))


def as_numpy(a: Any) -> NDArray[Any]:
    """View an array or CPU torch tensor as a NumPy array, without a copy where that is possible."""
    if isinstance(a, np.ndarray):
        return a
    if framework_of(a) == "torch":
        a = a.detach()
        if a.device.type != "cpu":
            raise TypeError(f"the tensor is on {a.device}: move it to the CPU first")
        name = str(a.dtype).removeprefix("torch.")
        if name == "bfloat16" or name.startswith("float8"):
            # NumPy takes no such tensor, but integers of the same size, whose bytes are then renamed.
            torch = import_module("torch")
            integers = torch.int16 if name == "bfloat16" else torch.uint8
            return a.contiguous().view(integers).numpy().view(extension_dtype(name))  # type: ignore[no-any-return]
        return a.numpy()  # type: ignore[no-any-return]
    return np.asarray(a)


def in_kind_of(a: NDArray[Any], like: Any) -> Any:
    """Hand out an array as what `like` is: a NumPy array or a torch tensor, which share its memory."""
    if type(like).__module__.partition(".")[0] != "torch":
        return a
    torch = import_module("torch")
    if is_extension(a.dtype):
        integers = np.int16 if a.itemsize == 2 else np.uint8
        return torch.from_numpy(a.view(integers)).view(getattr(torch, a.dtype.name))
    return torch.from_numpy(a)


def bytes_of(a: NDArray[Any]) -> memoryview:
    """View a contiguous array's bytes in the order of memory, also of dtypes that offer no buffer."""
    return memoryview(a.ravel(order="K").view(np.uint8) if a.size else np.empty(0, np.uint8))  # type: ignore[arg-type]


def extension_dtype(name: str) -> np.dtype[Any]:
    """Look up a dtype that NumPy itself lacks, such as "bfloat16"."""
    try:
        return cast("np.dtype[Any]", np.dtype(getattr(import_module("ml_dtypes"), name)))
    except AttributeError:
        raise TypeError(f"unknown dtype {name!r}") from None
    except ImportError:
        raise ImportError(
            f"NumPy arrays of {name} need the ml_dtypes package: pip install ml_dtypes"
        ) from None


def typesize_of(dtype: np.dtype[Any]) -> int:
    """Size of the numbers that an array consists of, where planes of their bytes make sense, else 1."""
    size = 1
    if dtype.kind in "biufmMcU" or is_extension(dtype):
        size = {"c": dtype.itemsize // 2, "U": 4}.get(dtype.kind, dtype.itemsize)
    return size if size in (2, 4, 8) else 1


def is_extension(dtype: np.dtype[Any]) -> bool:
    """Whether this is a number type that another package registered, as ml_dtypes does."""
    return dtype.isbuiltin == 2


def _npy_header(a: NDArray[Any]) -> bytes:
    fortran = a.flags.f_contiguous and not a.flags.c_contiguous
    descr = a.dtype.name if is_extension(a.dtype) else np.lib.format.dtype_to_descr(a.dtype)
    fields = {"descr": descr, "fortran_order": fortran, "shape": a.shape}
    text = repr(fields)
    try:
        encoded, version = text.encode("latin-1"), 1
    except UnicodeEncodeError:
        encoded, version = text.encode(), 3
    if version == 1 and len(encoded) > 0xFFFF - 64:
        version = 2
    start = 8 + (2 if version == 1 else 4)
    padding = -(start + len(encoded) + 1) % 64
    size = (len(encoded) + padding + 1).to_bytes(start - 8, "little")
    return b"".join([_NPY_MAGIC, bytes([version, 0]), size, encoded, b" " * padding, b"\n"])


def parse_npy_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int] | None:
    """Read an `.npy` header: shape, Fortran order, dtype, and size of the header in bytes.

    `None` if `head` does not begin with a whole header that describes plain data.
    """
    if head[:6] != _NPY_MAGIC or head[6:8] not in (b"\1\0", b"\2\0", b"\3\0"):
        return None
    start = 10 if head[6] == 1 else 12
    end = start + int.from_bytes(head[8:start], "little")
    if not start < end <= min(len(head), NPY_HEADER_MAX):
        return None
    try:
        fields = ast.literal_eval(head[start:end].decode("utf-8" if head[6] == 3 else "latin-1"))
        shape, fortran, descr = fields["shape"], fields["fortran_order"], fields["descr"]
        if not isinstance(shape, tuple) or not isinstance(fortran, bool) or len(fields) != 3:
            return None
        if not all(type(n) is int and n >= 0 for n in shape):
            return None
        dtype = _dtype_of(descr)
    except (ImportError, KeyError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
        return None
    return None if dtype.hasobject else (shape, fortran, dtype, end)


def _dtype_of(descr: Any) -> np.dtype[Any]:
    try:
        return np.lib.format.descr_to_dtype(descr)
    except TypeError:
        if not isinstance(descr, str):
            raise
        return extension_dtype(descr)


def npy_parts(head: bytes) -> tuple[int, int]:
    """How to cut an `.npy` file into blocks: size of its header, and type size of what follows.

    (0, 1) when `head`, the beginning of a file, is not that of an `.npy` file.
    """
    parsed = parse_npy_header(head)
    return (parsed[3], typesize_of(parsed[2])) if parsed else (0, 1)


def compress_array(a: Any, *, codec: str = "auto", threads: int | None = None) -> bytes:
    """Compress an array, with its dtype and shape, without loss.

    Parameters
    ----------
    a : array
        NumPy array or CPU torch tensor of any shape and any dtype but objects; copied only if it is
        not contiguous. BF16 and 8-bit floats need the ml_dtypes package.
    codec : {"auto", "huffman", "raw"}
    threads : int, optional
        Workers to use; all cores by default.

    Returns
    -------
    bytes
        One `.tsr` frame whose content is an `.npy` file.

    Raises
    ------
    TypeError
        If the array holds Python objects or is not on the CPU.

    Notes
    -----
    Each byte of the elements is coded on its own, after a rotation for floats or differences for
    smooth series where a sample of the block says that it pays.

    Examples
    --------
    >>> a = np.linspace(0, 1, 1000, dtype=np.float32).reshape(10, 100)
    >>> frame = tersor.compress_array(a)
    >>> bool((tersor.decompress_array(frame) == a).all()), len(frame) < a.nbytes
    (True, True)
    """
    check_options(codec, 1)
    array = as_numpy(a)
    if array.dtype.hasobject:
        raise TypeError("arrays of Python objects have no bytes to compress")
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        array = np.ascontiguousarray(array)
    header = _npy_header(array)
    flat = bytes_of(array)
    typesize = typesize_of(array.dtype)
    writer = FrameWriter(codec, threads=threads)

    def blocks() -> Iterator[memoryview]:
        yield from writer.blocks(memoryview(header), 1)
        yield from writer.blocks(flat, typesize)

    size = len(header) + array.nbytes
    n_blocks = 1 + -(-len(header) // block_size(1)) + -(-array.nbytes // block_size(typesize))
    return join_frame(writer, blocks(), size, frame_bound(size, n_blocks))


def decompress_array(
    data: Buffer, *, out: Any = None, max_length: int = -1, threads: int | None = None
) -> NDArray[Any]:
    """Decompress an array.

    Parameters
    ----------
    data : buffer
        What `compress_array` returned, or a compressed `.npy` file.
    out : array, optional
        Contiguous NumPy array or CPU torch tensor of the same dtype, shape and order to decode into,
        instead of a new one. It is returned; after an error its contents are unspecified.
    max_length : int
        Largest content to accept, in bytes, the `.npy` header included; -1 accepts any.
    threads : int, optional
        Workers to use; all cores by default.

    Returns
    -------
    ndarray
        Or `out`.

    Raises
    ------
    CorruptDataError
        If the data is damaged, or its content is not an array.
    LimitError
        If it is larger than `max_length`.
    ValueError
        If `out` does not fit.
    """
    shape, fortran, dtype, rest, blocks = open_array(_native.byte_view(data), max_length)
    order: Literal["C", "F"] = "F" if fortran else "C"
    if out is None:
        try:
            array = np.empty(shape, dtype=dtype, order=order)
        except (MemoryError, ValueError):
            raise LimitError(f"an array of shape {shape} does not fit in memory") from None
    else:
        array = as_numpy(out)
        fits = array.flags.f_contiguous if fortran else array.flags.c_contiguous
        fits = fits and array.flags.writeable
        if array.shape != shape or array.dtype != dtype or not fits:
            raise ValueError(
                f"out must be a contiguous, writable array of shape {shape}, dtype {dtype}, order {order}"
            )
    if array.nbytes:
        view = bytes_of(array)
        view[: len(rest)] = rest
        decode_blocks(blocks, view[len(rest) :], threads)
    return array if out is None else out


class OpenArray(NamedTuple):
    """A compressed array of which no more than the header has been decoded."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    rest: bytes  # of the elements, what the header's blocks hold
    blocks: list[Block]  # those after them


def open_array(data: memoryview, max_length: int = -1) -> OpenArray:
    """Read the header of a compressed array, and check that the blocks add up to what it says."""
    blocks = list(iter_blocks(data, max_length))
    header_blocks, head = _first_bytes(blocks)
    parsed = parse_npy_header(head)
    if parsed is None:
        raise CorruptDataError("the content is not an .npy array")
    shape, fortran, dtype, header_size = parsed
    size = sum(block.content_size for block in blocks) - header_size
    if size != math.prod(shape) * dtype.itemsize:
        raise CorruptDataError(
            f"the content has {size} bytes for an array of shape {shape} and dtype {dtype}"
        )
    return OpenArray(shape, fortran, dtype, head[header_size:], blocks[header_blocks:])


def _first_bytes(blocks: list[Block]) -> tuple[int, bytes]:
    """Decode the blocks that an `.npy` header may lie in: how many they are, and their content."""
    head = b""
    for n, block in enumerate(blocks, 1):
        head += block.decode()
        if len(head) >= NPY_HEADER_MAX or parse_npy_header(head) is not None:
            return n, head
    return len(blocks), head
