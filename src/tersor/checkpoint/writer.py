"""Writing compressed model files."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import IO, Any

import numpy as np

from ..arrays import as_numpy, bytes_of
from ..atomic import atomic_output
from ..errors import CorruptDataError, LimitError, TersorError, UnsupportedFormatError
from ..frame import FrameWriter, block_size, check_options, frame_bound, pack_header
from ..parallel import n_workers
from .header import (
    DTYPES,
    HEADER_MAX,
    KEY,
    NAMES,
    QUANTIZED_DTYPES,
    Header,
    Original,
    Tensor,
    exact_record,
    make_header,
    read_header,
    short_record,
)
from .quantized import PARTS_MAX, Quantization, is_quantized
from .quantized import contents as quantized_contents

Path = str | os.PathLike[str]
Progress = Callable[[int, int], None]
Contents = Callable[[Tensor], Iterator[tuple[memoryview, int]]]

# Tensor data in memory at a time, per worker.
_CHUNK = 8 << 20


class Steps:
    """Adds up progress in bytes of content."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._done = 0
        self._progress = progress

    def add(self, size: int) -> None:
        self._done += size
        if self._progress is not None:
            self._progress(self._done, self._total)


def _write(
    file: IO[bytes],
    original: Original,
    record: str,
    contents: Contents,
    codec: str,
    threads: int | None,
    progress: Progress | None,
) -> None:
    """Write a compressed file. Sizes are known only after the data, so that room is left for a header."""
    tensors, quantized = original.header.tensors, original.quantized
    metadata = original.header.metadata | {KEY: record}

    def content_size(t: Tensor) -> int:
        return quantized[t.name].content_size(t.name, t.shape) if t.name in quantized else t.nbytes

    def bound(t: Tensor) -> int:
        # Each of the arrays that a quantized one consists of begins a block.
        size, typesize = content_size(t), 1 if t.name in quantized else DTYPES[t.dtype].typesize
        return frame_bound(size, -(-size // block_size(typesize)) + PARTS_MAX)

    def stored(sizes: list[int]) -> bytes:
        ends = zip(tensors, sizes, accumulate(sizes), strict=True)
        return make_header(
            [Tensor(t.name, "U8", (size,), end - size, end) for t, size, end in ends], metadata
        ).encode()

    steps = Steps(sum(map(content_size, tensors)), progress)
    room = len(stored(list(map(bound, tensors))))
    if room > HEADER_MAX:
        raise LimitError(f"the header would have {room} bytes; safetensors allows {HEADER_MAX}")
    file.write(bytes(8 + room))
    sizes = []
    for tensor in tensors:
        writer = FrameWriter(codec, threads=threads)
        size = file.write(pack_header(content_size(tensor)))
        for content, typesize in contents(tensor):
            for part in writer.blocks(content, typesize):
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
        header, data_start = read_header(file)
        if KEY in header.metadata:
            raise TersorError("the file is already compressed by tersor")
        largest = max((t.nbytes for t in header.tensors), default=0)
        chunk = bytearray(min(_CHUNK * n_workers(threads), largest))

        def contents(tensor: Tensor) -> Iterator[tuple[memoryview, int]]:
            file.seek(data_start + tensor.begin)
            left = tensor.nbytes
            while left:
                view = memoryview(chunk)[:left]
                # Whole chunks: a short one would end a block early.
                if file.readinto(view) != len(view):
                    raise CorruptDataError("the file became shorter while it was read")
                yield view, DTYPES[tensor.dtype].typesize
                left -= len(view)

        with atomic_output(dst, like=src) as out:
            _write(out, Original(header, {}), exact_record(header), contents, codec, threads, progress)


def save_file(
    tensors: Mapping[str, Any],
    path: Path,
    metadata: Mapping[str, str] | None = None,
    *,
    codec: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    dtype: str | Mapping[str, str] = "F32",
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    like: Path | None = None,
) -> None:
    """Save arrays as a compressed model file.

    Parameters
    ----------
    tensors : mapping of str to array
        NumPy arrays and CPU torch tensors, which are stored without loss, and `QuantizedArray` and
        `CodebookArray`, of which their integers or indices are stored.
    path : str or path
    metadata : mapping of str to str, optional
    codec, threads, progress
        As for `compress_file`.
    dtype : {"F32", "F16", "BF16"}, or mapping of str to these
        What quantized arrays are for readers that want floats: all of them, or each by its name.
    shapes : mapping of str to tuple of int, optional
        Shapes that the floats of quantized arrays have, where it is not that of the array: a convolution's
        weight may be quantized as a matrix.
    like : str or path, optional
        A file whose permissions the new one gets.

    Raises
    ------
    UnsupportedFormatError
        If a dtype has no safetensors name.

    Examples
    --------
    >>> w = np.linspace(-1, 1, 1000, dtype=np.float32).reshape(10, 100)
    >>> tersor.checkpoint.save_file({"w": tersor.quantize.affine(w, bits=4)}, "w.safetensors")
    >>> loaded = tersor.checkpoint.load_file("w.safetensors")["w"]
    >>> loaded.dtype.name, bool(abs(loaded - w).max() < 0.08)
    ('float32', True)
    """
    check_options(codec, 1)
    dtypes = dict.fromkeys(tensors, dtype) if isinstance(dtype, str) else dtype
    for unknown in set(dtypes.values()) - set(QUANTIZED_DTYPES):
        raise ValueError(f"dtype must be one of {', '.join(QUANTIZED_DTYPES)}, not {unknown!r}")
    arrays: dict[str, Any] = {}
    quantized: dict[str, Quantization] = {}
    float_shapes: dict[str, tuple[int, ...]] = {}
    for name, given in tensors.items():
        array: Any = given
        if is_quantized(array):
            arrays[name] = array
            shape = tuple((shapes or {}).get(name, array.shape))
            if math.prod(shape) != math.prod(array.shape):
                raise ValueError(f"tensor {name!r} of shape {array.shape} cannot have the shape {shape}")
            quantized[name] = Quantization.of(array, shape)
            float_shapes[name] = shape
        else:
            array = as_numpy(array)
            # ascontiguousarray makes scalars one-dimensional
            arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
            if array.dtype.name not in NAMES or array.dtype.byteorder == ">":
                raise UnsupportedFormatError(f"tensor {name!r}: safetensors has no dtype {array.dtype}")

    def dtype_of(name: str) -> str:
        return dtypes.get(name, "F32") if name in quantized else NAMES[arrays[name].dtype.name]

    entries, end = [], 0
    # Widest elements first, as safetensors does, so that all are aligned.
    for name in sorted(arrays, key=lambda name: (-DTYPES[dtype_of(name)].bits, name)):
        shape = float_shapes.get(name, arrays[name].shape)
        size = math.prod(shape) * DTYPES[dtype_of(name)].bits // 8
        entries.append(Tensor(name, dtype_of(name), shape, end, end + size))
        end += size
    original = Original(
        Header(make_header(entries, metadata or {}), entries, dict(metadata or {})), quantized
    )

    def contents(tensor: Tensor) -> Iterator[tuple[memoryview, int]]:
        if tensor.name in quantized:
            yield from quantized_contents(arrays[tensor.name])
        elif tensor.nbytes:
            yield bytes_of(arrays[tensor.name]), DTYPES[tensor.dtype].typesize

    with atomic_output(path, like=like) as out:
        _write(out, original, short_record(original), contents, codec, threads, progress)
