"""Compressed model files: valid `.safetensors` files whose tensors are `.tsr` frames (docs/format.md).

No torch is needed, except to return its tensors.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from itertools import accumulate
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .arrays import as_numpy, bytes_of, extension_dtype
from .atomic import atomic_output
from .errors import CorruptDataError, LimitError, TersorError, UnsupportedFormatError
from .file import TersorFile, read_blocks, read_exactly
from .frame import (
    SPARSE,
    Block,
    FrameWriter,
    block_size,
    check_options,
    decode_blocks,
    frame_bound,
    iter_blocks,
    pack_header,
)
from .parallel import n_workers, ordered_map

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    Path = str | os.PathLike[str]
    Progress = Callable[[int, int], None]

__all__ = [
    "compress_file",
    "decompress_file",
    "inspect_file",
    "is_compressed",
    "load_file",
    "safe_open",
    "save_file",
]

METADATA = "__metadata__"
KEY = "tersor"
VERSION = 1

# The safetensors format's own limit.
_HEADER_MAX = 100_000_000
# Tensor data in memory at a time, per worker.
_CHUNK = 8 << 20


class DType(NamedTuple):
    """A safetensors dtype: bits of an element, type size of its planes, NumPy's and torch's names."""

    bits: int
    typesize: int
    numpy: str | None
    torch: str | None


DTYPES = {
    "BOOL": DType(8, 1, "bool", "bool"),
    "U8": DType(8, 1, "uint8", "uint8"),
    "I8": DType(8, 1, "int8", "int8"),
    "U16": DType(16, 2, "uint16", "uint16"),
    "I16": DType(16, 2, "int16", "int16"),
    "U32": DType(32, 4, "uint32", "uint32"),
    "I32": DType(32, 4, "int32", "int32"),
    "U64": DType(64, 8, "uint64", "uint64"),
    "I64": DType(64, 8, "int64", "int64"),
    "F16": DType(16, 2, "float16", "float16"),
    "F32": DType(32, 4, "float32", "float32"),
    "F64": DType(64, 8, "float64", "float64"),
    "C64": DType(64, 4, "complex64", "complex64"),
    "BF16": DType(16, 2, "bfloat16", "bfloat16"),
    "F8_E4M3": DType(8, 1, "float8_e4m3fn", "float8_e4m3fn"),
    "F8_E5M2": DType(8, 1, "float8_e5m2", "float8_e5m2"),
    "F8_E8M0": DType(8, 1, "float8_e8m0fnu", "float8_e8m0fnu"),
    "F6_E2M3": DType(6, 1, None, None),
    "F6_E3M2": DType(6, 1, None, None),
    "F4": DType(4, 1, None, None),
}
_NAMES = {dtype.numpy: name for name, dtype in DTYPES.items() if dtype.numpy}


class Tensor(NamedTuple):
    """One entry of a header; begin and end are offsets in the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.begin


class Header(NamedTuple):
    """A safetensors header, its tensors in the order of their data."""

    text: str
    tensors: list[Tensor]
    metadata: dict[str, str]

    @property
    def data_size(self) -> int:
        return self.tensors[-1].end if self.tensors else 0


# ---- The safetensors header -------------------------------------------------------------------------


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        name = next(k for k, n in Counter(k for k, _ in pairs).items() if n > 1)
        raise CorruptDataError(f"safetensors header: {name!r} occurs twice")
    return result


def parse_header(text: str) -> Header:
    """Read and check a header: known dtypes, sizes that fit, data without holes or overlaps."""
    try:
        fields = json.loads(text, object_pairs_hook=_no_duplicates)
    except TersorError:
        raise
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(f"safetensors header: invalid JSON ({error})") from None
    if not isinstance(fields, dict) or not text.startswith("{"):
        raise CorruptDataError("safetensors header: not a JSON object")
    metadata = fields.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CorruptDataError("safetensors header: metadata is not a mapping of strings")
    tensors = sorted((_parse_tensor(n, f) for n, f in fields.items()), key=lambda t: (t.begin, t.end))
    end = 0
    for tensor in tensors:
        if tensor.begin != end:
            raise CorruptDataError(
                f"safetensors header: the data of {tensor.name!r} begins at {tensor.begin}, not {end}"
            )
        end = tensor.end
    return Header(text, tensors, metadata)


def _parse_tensor(name: str, fields: Any) -> Tensor:
    def is_size(n: Any) -> bool:
        return type(n) is int and 0 <= n < 2**63

    where = f"safetensors header: tensor {name!r}"
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise CorruptDataError(f"{where} does not have dtype, shape and data_offsets")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(shape, list) or not all(map(is_size, shape)):
        raise CorruptDataError(f"{where} has an invalid shape")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(is_size, offsets)):
        raise CorruptDataError(f"{where} has invalid data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise UnsupportedFormatError(f"{where} has the unknown dtype {dtype!r}")
    begin, end = offsets
    bits = math.prod(shape) * DTYPES[dtype].bits
    if bits % 8 or end - begin != bits // 8:
        raise CorruptDataError(f"{where} has {end - begin} bytes, its shape and dtype need {bits} bits")
    return Tensor(name, dtype, tuple(shape), begin, end)


def _read_header(file: IO[bytes]) -> tuple[Header, int]:
    """Read the header of a file: also returns where its data begins."""
    file_size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file_size < 8:
        raise CorruptDataError("no safetensors file: shorter than 8 bytes")
    size = int.from_bytes(read_exactly(file, 8), "little")
    if size > min(_HEADER_MAX, file_size - 8):
        raise CorruptDataError(f"no safetensors file: a header of {size} bytes does not fit in it")
    try:
        text = read_exactly(file, size).decode()
    except UnicodeDecodeError:
        raise CorruptDataError("no safetensors file: the header is not UTF-8") from None
    header = parse_header(text)
    if header.data_size != file_size - 8 - size:
        raise CorruptDataError(
            f"the safetensors file has {file_size - 8 - size} bytes of data, "
            f"its header says {header.data_size}"
        )
    return header, 8 + size


def _make_header(tensors: list[Tensor], metadata: Mapping[str, str]) -> str:
    fields: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    for t in tensors:
        fields[t.name] = {"dtype": t.dtype, "shape": t.shape, "data_offsets": [t.begin, t.end]}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _original(stored: Header) -> Header:
    """Header of the file that `stored` was made from."""
    try:
        fields = json.loads(stored.metadata[KEY])
        version, text = fields["version"], fields["header"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise CorruptDataError(f"the metadata entry {KEY!r} is damaged, or not tersor's") from None
    if version != VERSION:
        raise UnsupportedFormatError(f"checkpoint version {version!r}; known is {VERSION}")
    if not isinstance(text, str):
        raise CorruptDataError(f"the metadata entry {KEY!r} is damaged, or not tersor's")
    original = parse_header(text)
    if [t.name for t in original.tensors] != [t.name for t in stored.tensors]:
        raise CorruptDataError("the tensors stored are not those of the original header")
    return original


# ---- Writing ----------------------------------------------------------------------------------------


class _Steps:
    """Adds up progress in bytes of tensor data."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._done = 0
        self._progress = progress

    def add(self, size: int) -> None:
        self._done += size
        if self._progress is not None:
            self._progress(self._done, self._total)


def _write_compressed(
    file: IO[bytes],
    original: Header,
    contents: Callable[[Tensor], Iterator[memoryview]],
    codec: str,
    threads: int | None,
    progress: Progress | None,
) -> None:
    """Write a compressed file. Sizes are known only after the data, so that room is left for a header."""
    metadata = dict(original.metadata)
    metadata[KEY] = json.dumps(
        {"version": VERSION, "header": original.text}, ensure_ascii=False, separators=(",", ":")
    )
    steps = _Steps(original.data_size, progress)

    def stored(sizes: list[int]) -> bytes:
        triples = zip(original.tensors, sizes, accumulate(sizes), strict=True)
        entries = [Tensor(t.name, "U8", (size,), end - size, end) for t, size, end in triples]
        return _make_header(entries, metadata).encode()

    bounds = [
        frame_bound(t.nbytes, -(-t.nbytes // block_size(DTYPES[t.dtype].typesize))) for t in original.tensors
    ]
    room = len(stored(bounds))
    room += -room % 8
    if room > _HEADER_MAX:
        raise LimitError(f"the header would have {room} bytes; safetensors allows {_HEADER_MAX}")
    file.write(bytes(8 + room))
    sizes = []
    for tensor in original.tensors:
        writer = FrameWriter(codec, threads=threads)
        size = file.write(pack_header(tensor.nbytes))
        for content in contents(tensor):
            for part in writer.blocks(content, DTYPES[tensor.dtype].typesize):
                size += file.write(part)
            steps.add(len(content))
        sizes.append(size + file.write(writer.end()))
    file.seek(0)
    file.write(room.to_bytes(8, "little") + stored(sizes).ljust(room))


def compress_file(
    src: Path,
    dst: Path,
    *,
    codec: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Compress a `.safetensors` file, without loss.

    Parameters
    ----------
    src, dst : str or path
        `dst` is replaced when the work is done; on an error it is left as it was.
    codec : {"auto", "huffman", "raw"}
    threads : int, optional
        Workers to use; all cores by default. The result does not depend on it.
    progress : callable, optional
        Called as ``progress(bytes_done, bytes_total)`` from this thread.

    Raises
    ------
    CorruptDataError, UnsupportedFormatError
        If `src` is no valid `.safetensors` file.
    TersorError
        If it is compressed already.

    Notes
    -----
    The result is a valid `.safetensors` file with the same tensor names, whose tensors are `U8` arrays
    that hold `.tsr` frames. `decompress_file` rebuilds the original byte for byte. Memory is bounded by
    some 16 MiB per worker, however large the file and its tensors are.
    """
    check_options(codec, 1)
    with open(src, "rb") as file:
        header, data_start = _read_header(file)
        if KEY in header.metadata:
            raise TersorError("the file is already compressed by tersor")
        largest = max((t.nbytes for t in header.tensors), default=0)
        chunk = bytearray(min(_CHUNK * n_workers(threads), largest))

        def contents(tensor: Tensor) -> Iterator[memoryview]:
            file.seek(data_start + tensor.begin)
            left = tensor.nbytes
            while left:
                view = memoryview(chunk)[:left]
                # Whole chunks: a short one would end a block early.
                if file.readinto(view) != len(view):
                    raise CorruptDataError("the file became shorter while it was read")
                yield view
                left -= len(view)

        with atomic_output(dst, like=src) as out:
            _write_compressed(out, header, contents, codec, threads, progress)


def save_file(
    tensors: Mapping[str, Any],
    path: Path,
    metadata: Mapping[str, str] | None = None,
    *,
    codec: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Save NumPy arrays or CPU torch tensors as a compressed model file.

    Parameters
    ----------
    tensors : mapping of str to array
    path : str or path
    metadata : mapping of str to str, optional
    codec, threads, progress
        As for `compress_file`.

    Raises
    ------
    UnsupportedFormatError
        If a dtype has no safetensors name.
    """
    check_options(codec, 1)
    arrays = {name: np.ascontiguousarray(as_numpy(t)) for name, t in tensors.items()}
    for name, t in tensors.items():  # ascontiguousarray makes scalars one-dimensional
        arrays[name] = arrays[name].reshape(as_numpy(t).shape)
    entries, end = [], 0
    # Widest elements first, as safetensors does, so that all are aligned.
    for name, a in sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])):
        if a.dtype.name not in _NAMES or a.dtype.byteorder == ">":
            raise UnsupportedFormatError(f"tensor {name!r}: safetensors has no dtype {a.dtype}")
        entries.append(Tensor(name, _NAMES[a.dtype.name], a.shape, end, end + a.nbytes))
        end += a.nbytes
    text = _make_header(entries, metadata or {})
    header = parse_header(text + " " * (-len(text.encode()) % 8))

    def contents(tensor: Tensor) -> Iterator[memoryview]:
        if tensor.nbytes:
            yield bytes_of(arrays[tensor.name])

    with atomic_output(path) as out:
        _write_compressed(out, header, contents, codec, threads, progress)


# ---- Reading ----------------------------------------------------------------------------------------


class _Section(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file = file
        self._start = start
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        with memoryview(buffer) as view:
            n = max(min(len(view), self._size - self._position), 0)
            self._file.seek(self._start + self._position)
            n = int(self._file.readinto(view[:n]))  # type: ignore[attr-defined]
        self._position += n
        return n


class safe_open:  # noqa: N801 - the name that users of safetensors know
    """Open a model file to read some of its tensors.

    Parameters
    ----------
    path : str or path
        A file from `compress_file` or `save_file`, or an ordinary `.safetensors` file.
    framework : {"numpy", "torch"}
        What tensors are returned as ("np" and "pt" are accepted too).
    device : str, optional
        Where torch tensors go.
    threads : int, optional

    Examples
    --------
    >>> tersor.checkpoint.save_file({"w": np.eye(3)}, "eye.safetensors")
    >>> with tersor.checkpoint.safe_open("eye.safetensors", "numpy") as f:
    ...     print(f.keys(), f.get_slice("w")[1])
    ['w'] [0. 1. 0.]
    """

    def __init__(
        self,
        path: Path,
        framework: str = "numpy",
        device: str | None = None,
        *,
        threads: int | None = None,
    ) -> None:
        self._to_framework = _framework(framework, device)
        self._threads = threads
        n_workers(threads)
        self._file = open(path, "rb")  # noqa: SIM115 - closed by close()
        try:
            self._stored, self._data_start = _read_header(self._file)
            self.compressed = KEY in self._stored.metadata
            self._header = _original(self._stored) if self.compressed else self._stored
        except BaseException:
            self._file.close()
            raise
        self._entries = {
            t.name: (t, stored) for t, stored in zip(self._header.tensors, self._stored.tensors, strict=True)
        }

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> safe_open:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def keys(self) -> list[str]:
        """Names of the tensors, in the order of their data."""
        return list(self._entries)

    def metadata(self) -> dict[str, str]:
        """Metadata of the original."""
        return dict(self._header.metadata)

    def get_tensor(self, name: str) -> Any:
        """Read and decode one tensor.

        Raises
        ------
        KeyError
            If there is no such tensor.
        CorruptDataError
            If it is damaged.
        """
        tensor, stored = self._entry(name)
        blocks: list[Block] = []
        if self.compressed:
            payload = read_exactly(self._section(stored), stored.nbytes)  # type: ignore[arg-type]
            blocks = list(_checked(tensor, iter_blocks(memoryview(payload))))
        try:
            flat = np.empty(tensor.nbytes, np.uint8)
        except MemoryError:
            raise LimitError(f"tensor {name!r} of {tensor.nbytes} bytes does not fit in memory") from None
        if self.compressed:
            decode_blocks(blocks, bytes_of(flat), self._threads)
        else:
            self._section(stored).readinto(flat)
        return self._to_framework(flat, tensor, tensor.shape)

    def get_slice(self, name: str) -> TensorSlice:
        """Prepare to read part of a tensor; only the blocks that hold it are decoded."""
        tensor, _ = self._entry(name)
        return TensorSlice(self, tensor)

    def _entry(self, name: str) -> tuple[Tensor, Tensor]:
        if name not in self._entries:
            raise KeyError(f"no tensor {name!r} in the file")
        return self._entries[name]

    def _section(self, stored: Tensor) -> _Section:
        return _Section(self._file, self._data_start + stored.begin, stored.nbytes)

    def _read_rows(self, tensor: Tensor, start: int, stop: int) -> Any:
        """Read rows (along the first axis) start to stop."""
        row = tensor.nbytes // max(tensor.shape[0], 1)
        flat = np.empty((stop - start) * row, np.uint8)
        section: Any = self._section(self._entries[tensor.name][1])
        if self.compressed:
            section = TersorFile(section, threads=self._threads)
        section.seek(start * row)
        if flat.size and section.readinto(flat) != flat.size:
            raise CorruptDataError(f"tensor {tensor.name!r} is shorter than its shape")
        return self._to_framework(flat, tensor, (stop - start, *tensor.shape[1:]))

    def inspect(self) -> list[dict[str, Any]]:
        """Describe every tensor without decoding it; see `inspect_file`."""
        return [self._inspect(*self._entries[name]) for name in self._entries]

    def _inspect(self, tensor: Tensor, stored: Tensor) -> dict[str, Any]:
        methods = ["stored"]
        if self.compressed:
            section: Any = self._section(stored)
            methods = describe_planes(_checked(tensor, read_blocks(section)))
        return {
            "name": tensor.name,
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "nbytes": tensor.nbytes,
            "compressed_nbytes": stored.nbytes,
            "methods": ", ".join(methods),
        }


def _checked(tensor: Tensor, blocks: Iterator[Block]) -> Iterator[Block]:
    """Pass blocks on; raises when they are more or less than the tensor's data."""
    size = 0
    for block in blocks:
        size += block.content_size
        if size <= tensor.nbytes:
            yield block
    if size != tensor.nbytes:
        raise CorruptDataError(f"tensor {tensor.name!r} has {size} bytes, not {tensor.nbytes}")


PLANE_MODES = ("raw", "single", "huffman", "huffman", "huffman", "flags", "packed", "lzw", "gaps")


def describe_planes(blocks: Iterator[Block]) -> list[str]:
    """Name the ways in which each byte plane is coded, most significant first, over all blocks.

    Before them the positions of elements that are not zero, where blocks are sparse.
    """
    planes: list[set[str]] = []
    positions: set[str] = set()
    for block in blocks:
        modes = [PLANE_MODES[mode] for mode, _ in block.planes()]
        if block.shape & SPARSE:
            positions.add(modes.pop(0))
        planes += [set() for _ in range(len(planes), len(modes))]
        for p, mode in enumerate(modes):
            planes[p].add(mode)
    by = ["positions by " + "/".join(sorted(positions))] if positions else []
    return by + ["/".join(sorted(modes)) for modes in reversed(planes)] or ["empty"]


class TensorSlice:
    """Part of a tensor, read when it is indexed; from `safe_open.get_slice`."""

    def __init__(self, file: safe_open, tensor: Tensor) -> None:
        self._file = file
        self._tensor = tensor

    def get_shape(self) -> list[int]:
        """Shape of the whole tensor."""
        return list(self._tensor.shape)

    def get_dtype(self) -> str:
        """The safetensors name of the dtype."""
        return self._tensor.dtype

    def __getitem__(self, index: Any) -> Any:
        """Read ``tensor[index]``; the first index decides which rows are decoded."""
        if not self._tensor.shape:
            return self._file.get_tensor(self._tensor.name)[index]
        first, *rest = index if isinstance(index, tuple) else (index,)
        n_rows = self._tensor.shape[0]
        if isinstance(first, slice):
            rows = range(*first.indices(n_rows))
            low, high = (min(rows), max(rows) + 1) if rows else (0, 0)
            part = self._file._read_rows(self._tensor, low, high)
            # What is read begins at row `low`; a negative step ends before the first row, written None.
            stop = rows[-1] - low + (1 if rows.step > 0 else -1) if rows else 0
            local = slice(rows.start - low, stop if stop >= 0 else None, rows.step) if rows else slice(0)
            return part[(local, *rest)]
        if isinstance(first, int):
            row = first + n_rows if first < 0 else first
            if not 0 <= row < n_rows:
                raise IndexError(f"index {first} is out of bounds for {n_rows} rows")
            return self._file._read_rows(self._tensor, row, row + 1)[(0, *rest)]
        return self._file.get_tensor(self._tensor.name)[index]


def _framework(
    framework: str, device: str | None
) -> Callable[[NDArray[np.uint8], Tensor, tuple[int, ...]], Any]:
    """Choose how bytes become a tensor."""
    if framework in ("numpy", "np"):
        if device not in (None, "cpu"):
            raise ValueError("NumPy arrays live on the CPU")
        return _to_numpy
    if framework not in ("torch", "pt"):
        raise ValueError(f"unknown framework {framework!r}: choose 'numpy' or 'torch'")
    try:
        torch = import_module("torch")
    except ImportError:
        raise ImportError("framework='torch' needs PyTorch: pip install tersor[torch]") from None

    def to_torch(flat: NDArray[np.uint8], tensor: Tensor, shape: tuple[int, ...]) -> Any:
        name = DTYPES[tensor.dtype].torch
        if name is None or not hasattr(torch, name):
            raise UnsupportedFormatError(f"tensor {tensor.name!r}: torch has no dtype {tensor.dtype}")
        dtype = getattr(torch, name)
        # A view of no bytes as wider elements is an error in torch.
        empty = not flat.size
        result = torch.empty(shape, dtype=dtype) if empty else torch.from_numpy(flat).view(dtype)
        result = result.reshape(shape)
        return result if device is None else result.to(device)

    return to_torch


def _to_numpy(flat: NDArray[np.uint8], tensor: Tensor, shape: tuple[int, ...]) -> NDArray[Any]:
    name = DTYPES[tensor.dtype].numpy
    if name is None:
        raise UnsupportedFormatError(f"tensor {tensor.name!r}: NumPy has no dtype {tensor.dtype}")
    dtype = extension_dtype(name) if "bfloat" in name or "float8" in name else np.dtype(name)
    return flat.view(dtype).reshape(shape)


def load_file(
    path: Path, *, framework: str = "numpy", device: str | None = None, threads: int | None = None
) -> dict[str, Any]:
    """Load all tensors of a model file.

    Parameters
    ----------
    path : str or path
        A file from `compress_file` or `save_file`, or an ordinary `.safetensors` file.
    framework : {"numpy", "torch"}
    device : str, optional
        Where torch tensors go.
    threads : int, optional
        Workers to use; all cores by default.

    Returns
    -------
    dict of str to array
        In the order of the data.

    Raises
    ------
    CorruptDataError, UnsupportedFormatError
        If the file is damaged or no model file.
    ImportError
        If torch, or for BF16 and 8-bit floats in NumPy ml_dtypes, is missing.
    """
    with safe_open(path, framework, device, threads=threads) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping


def decompress_file(
    src: Path, dst: Path, *, threads: int | None = None, progress: Progress | None = None
) -> None:
    """Rebuild the `.safetensors` file that `compress_file` compressed, byte for byte.

    Parameters
    ----------
    src, dst : str or path
        `dst` is replaced when the work is done; on an error it is left as it was.
    threads : int, optional
        Workers to use; all cores by default.
    progress : callable, optional
        Called as ``progress(bytes_done, bytes_total)`` from this thread.

    Raises
    ------
    CorruptDataError, UnsupportedFormatError
        If the file is damaged, or not one of tersor's.
    """
    with open(src, "rb") as file:
        stored, data_start = _read_header(file)
        if KEY not in stored.metadata:
            raise UnsupportedFormatError("the safetensors file is not compressed by tersor")
        original = _original(stored)
        steps = _Steps(original.data_size, progress)
        with atomic_output(dst, like=src) as out:
            text = original.text.encode()
            out.write(len(text).to_bytes(8, "little") + text)
            for tensor, entry in zip(original.tensors, stored.tensors, strict=True):
                section: Any = _Section(file, data_start + entry.begin, entry.nbytes)
                blocks = _checked(tensor, read_blocks(section))
                for content in ordered_map(Block.decode, blocks, threads):
                    out.write(content)
                    steps.add(len(content))


def is_compressed(path: Path) -> bool:
    """Tell whether a file is a model file that tersor compressed.

    False for any other file, also for one that is no `.safetensors` file at all.
    """
    with open(path, "rb") as file:
        try:
            return KEY in _read_header(file)[0].metadata
        except TersorError:
            return False


def inspect_file(path: Path) -> list[dict[str, Any]]:
    """Describe the tensors of a model file without decoding them.

    Returns
    -------
    list of dict
        For each tensor ``name``, ``dtype``, ``shape``, ``nbytes`` (of the original),
        ``compressed_nbytes``, and ``methods``: how its byte planes are coded, most significant first.
    """
    with safe_open(path) as file:
        return file.inspect()
