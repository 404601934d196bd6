"""Reading compressed model files, and ordinary `.safetensors` files."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..arrays import bytes_of, extension_dtype
from ..atomic import atomic_output
from ..errors import CorruptDataError, LimitError, TersorError, UnsupportedFormatError
from ..file import TersorFile, read_blocks, read_exactly
from ..frame import SPARSE, Block, decode_blocks, iter_blocks
from ..parallel import n_workers, ordered_map
from .header import DTYPES, KEY, Original, Tensor, read_header, read_original
from .writer import Path, Progress, Steps

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from ..quantize import CodebookArray, QuantizedArray


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
            self._stored, self._data_start = read_header(self._file)
            self.compressed = KEY in self._stored.metadata
            plain = Original(self._stored, {})
            self._header, self._quantized = read_original(self._stored) if self.compressed else plain
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
        """Read and decode one tensor; floats, if it is quantized.

        Raises
        ------
        KeyError
            If there is no such tensor.
        CorruptDataError
            If it is damaged.
        """
        tensor, _ = self._entry(name)
        return self._to_framework(self.get_bytes(name), tensor, tensor.shape)

    def get_bytes(self, name: str) -> NDArray[np.uint8]:
        """Read and decode the bytes of one tensor, of whatever dtype; see `get_tensor`."""
        tensor, stored = self._entry(name)
        if name in self._quantized:
            return self._dequantize(tensor)
        if self.compressed:
            return self._decode(tensor, stored, tensor.nbytes)
        flat = _room(tensor, tensor.nbytes)
        self._section(stored).readinto(flat)
        return flat

    def get_quantized(self, name: str) -> QuantizedArray | CodebookArray:
        """Read one quantized tensor as it was saved.

        Raises
        ------
        KeyError
            If there is no such tensor, or it is not quantized.
        CorruptDataError
            If it is damaged.
        """
        tensor, stored = self._entry(name)
        if name not in self._quantized:
            raise KeyError(f"tensor {name!r} is not quantized")
        quantization = self._quantized[name]
        content = self._decode(tensor, stored, quantization.content_size(name, tensor.shape))
        return quantization.build(name, tensor.shape, content)

    def is_quantized(self, name: str) -> bool:
        """Tell whether `get_quantized` can read a tensor."""
        self._entry(name)
        return name in self._quantized

    def _dequantize(self, tensor: Tensor) -> NDArray[np.uint8]:
        """Read the bytes of the floats that a quantized tensor stands for."""
        array = self.get_quantized(tensor.name)
        flat = _room(tensor, tensor.nbytes)
        array.dequantize(out=_to_numpy(flat, tensor, array.shape), threads=self._threads)
        return flat

    def _decode(self, tensor: Tensor, stored: Tensor, content_size: int) -> NDArray[np.uint8]:
        payload = read_exactly(self._section(stored), stored.nbytes)  # type: ignore[arg-type]
        blocks = list(_checked(tensor, content_size, iter_blocks(memoryview(payload))))
        content = _room(tensor, content_size)
        decode_blocks(blocks, bytes_of(content), self._threads)
        return content

    def get_slice(self, name: str) -> TensorSlice:
        """Prepare to read part of a tensor.

        Only the blocks that hold it are decoded; of a quantized tensor all.
        """
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
        if tensor.name in self._quantized:
            return self.get_tensor(tensor.name)[start:stop]
        row = tensor.nbytes // max(tensor.shape[0], 1)
        flat = np.empty((stop - start) * row, np.uint8)
        section: Any = self._section(self._entries[tensor.name][1])
        if self.compressed:
            section = TersorFile(section, threads=self._threads)
        section.seek(start * row)
        if flat.size and section.readinto(flat) != flat.size:
            raise CorruptDataError(f"tensor {tensor.name!r} is shorter than its shape")
        return self._to_framework(flat, tensor, (stop - start, *tensor.shape[1:]))

    def _decompress_to(self, out: IO[bytes], progress: Progress | None) -> None:
        """Write the original file."""
        steps = Steps(self._header.data_size, progress)
        text = self._header.text.encode()
        out.write(len(text).to_bytes(8, "little") + text)
        for tensor, stored in self._entries.values():
            if tensor.name in self._quantized:
                out.write(bytes_of(self._dequantize(tensor)))
                steps.add(tensor.nbytes)
                continue
            section: Any = self._section(stored)
            blocks = _checked(tensor, tensor.nbytes, read_blocks(section))
            for content in ordered_map(Block.decode, blocks, self._threads):
                out.write(content)
                steps.add(len(content))

    def inspect(self) -> list[dict[str, Any]]:
        """Describe every tensor without decoding it; see `inspect_file`."""
        return [self._inspect(*self._entries[name]) for name in self._entries]

    def _inspect(self, tensor: Tensor, stored: Tensor) -> dict[str, Any]:
        quantization = self._quantized.get(tensor.name)
        methods = ["stored"]
        if self.compressed:
            section: Any = self._section(stored)
            methods = describe_planes(_checked(tensor, self._content_size(tensor), read_blocks(section)))
        return {
            "name": tensor.name,
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "nbytes": tensor.nbytes,
            "compressed_nbytes": stored.nbytes,
            "methods": ", ".join(methods),
            "quantization": quantization and quantization._asdict(),
        }

    def _content_size(self, tensor: Tensor) -> int:
        quantization = self._quantized.get(tensor.name)
        return quantization.content_size(tensor.name, tensor.shape) if quantization else tensor.nbytes


def _room(tensor: Tensor, size: int) -> NDArray[np.uint8]:
    try:
        return np.empty(size, np.uint8)
    except MemoryError:
        raise LimitError(f"tensor {tensor.name!r} of {size} bytes does not fit in memory") from None


def _checked(tensor: Tensor, content_size: int, blocks: Iterator[Block]) -> Iterator[Block]:
    """Pass blocks on; raises when they are more or less than a tensor's content."""
    size = 0
    for block in blocks:
        size += block.content_size
        if size <= content_size:
            yield block
    if size != content_size:
        raise CorruptDataError(f"tensor {tensor.name!r} has {size} bytes, not {content_size}")


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
    path: Path,
    *,
    framework: str = "numpy",
    device: str | None = None,
    threads: int | None = None,
    dequantize: bool = True,
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
    dequantize : bool
        Whether quantized tensors are returned as floats, rather than as `QuantizedArray` and `CodebookArray`.

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
        return {
            name: file.get_tensor(name)
            if dequantize or not file.is_quantized(name)
            else file.get_quantized(name)
            for name in file.keys()  # noqa: SIM118 - no mapping
        }


def decompress_file(
    src: Path, dst: Path, *, threads: int | None = None, progress: Progress | None = None
) -> None:
    """Rebuild the `.safetensors` file that `compress_file` compressed, byte for byte.

    Of what `save_file` saved, make an ordinary `.safetensors` file, with floats in the place of quantized
    tensors.

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
    with safe_open(src, threads=threads) as file:
        if not file.compressed:
            raise UnsupportedFormatError("the safetensors file is not compressed by tersor")
        with atomic_output(dst, like=src) as out:
            file._decompress_to(out, progress)


def is_compressed(path: Path) -> bool:
    """Tell whether a file is a model file that tersor compressed.

    False for any other file, also for one that is no `.safetensors` file at all.
    """
    with open(path, "rb") as file:
        try:
            return KEY in read_header(file)[0].metadata
        except TersorError:
            return False


def inspect_file(path: Path) -> list[dict[str, Any]]:
    """Describe the tensors of a model file without decoding them.

    Returns
    -------
    list of dict
        For each tensor ``name``, ``dtype``, ``shape``, ``nbytes`` (of the original),
        ``compressed_nbytes``, ``methods``: how its byte planes are coded, most significant first, and
        ``quantization``: a dictionary, or `None`.
    """
    with safe_open(path) as file:
        return file.inspect()
