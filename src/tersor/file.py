"""File objects for `.tsr` files, shaped like `bz2`'s."""

from __future__ import annotations

import builtins
import io
import os
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, cast

from .errors import CorruptDataError
from .frame import (
    BLOCK,
    END,
    ENTRY_SIZE,
    HEADER,
    KIND_END,
    MAGIC,
    Block,
    FrameParser,
    block_size,
    check_options,
    end_check,
)
from .parallel import n_workers, ordered_map
from .stream import Compressor

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["TersorFile", "open"]


class Place(NamedTuple):
    """Where a block stands: in the file, in the content, and in its frame's content."""

    position: int
    start: int
    offset: int
    content_size: int
    size: int  # header and payload


def read_exactly(fp: IO[bytes], size: int) -> bytes:
    """Read `size` bytes, fewer only at the end of the file."""
    data = fp.read(size)
    while len(data) < size:
        more = fp.read(size - len(data))
        if not more:
            break
        data += more
    return data


def read_blocks(fp: IO[bytes]) -> Iterator[Block]:
    """Read frames to the end of the file, unit by unit.

    Raises
    ------
    TruncatedDataError
        If the file ends within a frame or has none.
    """
    parser = FrameParser()
    unit = b""
    while True:
        size = parser.need(memoryview(unit))
        if size > len(unit):
            unit += read_exactly(fp, size - len(unit))
            if len(unit) < size:
                if not unit and not parser.in_frame and parser.position:
                    return
                if not parser.in_frame and unit[:4] != MAGIC[: len(unit)]:
                    raise CorruptDataError(f"no .tsr frame at byte {parser.position}: wrong magic number")
                raise parser.truncated()
            continue
        block = parser.take(memoryview(unit))
        unit = b""
        if block is not None:
            yield block


def _index_at_end(fp: IO[bytes], end: int) -> tuple[int, list[Place]] | None:
    """Read the index of the frame that ends at `end`: the frame's start and its blocks' places.

    `None` when there is no index there, which a frame with fewer than two blocks does not have.
    """
    if end < END.size + HEADER.size:
        return None
    fp.seek(end - END.size)
    entries, check = END.unpack(read_exactly(fp, END.size))
    index_at = end - END.size - entries * ENTRY_SIZE
    if entries < 2 or index_at - 1 < HEADER.size:
        return None
    fp.seek(index_at - 1)
    kind_and_index = read_exactly(fp, 1 + entries * ENTRY_SIZE)
    kind, index = kind_and_index[0], kind_and_index[1:]
    sizes = [
        (int.from_bytes(index[i : i + 3], "little"), int.from_bytes(index[i + 3 : i + 6], "little"))
        for i in range(0, len(index), ENTRY_SIZE)
    ]
    content_size = sum(content for content, _ in sizes)
    if kind != KIND_END or check != end_check(index, content_size, entries):
        return None
    start = index_at - 1 - sum(BLOCK.size + payload for _, payload in sizes) - HEADER.size
    if start < 0:
        return None
    places = []
    position, offset = start + HEADER.size, 0
    for content, payload in sizes:
        places.append(Place(position, 0, offset, content, BLOCK.size + payload))
        position += BLOCK.size + payload
        offset += content
    return start, places


def _scan(fp: IO[bytes]) -> list[Place]:
    """Find all blocks by reading the file from its beginning."""
    fp.seek(0)
    places = []
    start = 0
    for block in read_blocks(fp):
        size = BLOCK.size + len(block.payload)
        places.append(Place(fp.tell() - size, start, block.offset, block.content_size, size))
        start += block.content_size
    return places


def find_blocks(fp: IO[bytes]) -> list[Place]:
    """Places of all blocks of a seekable file: from the indexes where there are any, else by reading."""
    end = fp.seek(0, os.SEEK_END)
    frames: list[list[Place]] = []
    while end > 0:
        found = _index_at_end(fp, end)
        if found is None:
            return _scan(fp)
        end, places = found
        frames.append(places)
    start = 0
    result = []
    for place in (p for places in reversed(frames) for p in places):
        result.append(place._replace(start=start))
        start += place.content_size
    return result


def _read_place(fp: IO[bytes], place: Place) -> Block:
    """Read one block where the index says it is."""
    fp.seek(place.position)
    unit = memoryview(read_exactly(fp, place.size))
    parser = FrameParser(in_frame=True, offset=place.offset, index=bytearray(), position=place.position)
    if len(unit) < place.size or parser.need(unit) != place.size:
        raise CorruptDataError(f"the index does not match the block at byte {place.position}")
    block = parser.take(unit)
    if block is None or block.content_size != place.content_size:
        raise CorruptDataError(f"the index does not match the block at byte {place.position}")
    return block


class RawReader(io.RawIOBase):
    """Raw content of a compressed file; subclasses read it and seek in it."""

    def __init__(self, fp: IO[bytes]) -> None:
        self._fp = fp
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._fp.seekable()

    def tell(self) -> int:
        return self._position

    def _target(self, offset: int, whence: int, size: Callable[[], int]) -> int:
        """Resolve the arguments of `seek`; `size` is called where the end has to be known."""
        if not self.seekable():
            raise io.UnsupportedOperation("the underlying file cannot seek")
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += size()
        elif whence != os.SEEK_SET:
            raise ValueError(f"invalid whence: {whence!r}")
        if offset < 0:
            raise ValueError(f"negative seek position {offset}")
        return offset


class _Reader(RawReader):
    """Raw content of all frames of a file; memory for a few blocks per core."""

    def __init__(self, fp: IO[bytes], threads: int | None) -> None:
        super().__init__(fp)
        self._threads = threads
        self._places: list[Place] | None = None
        self._contents = self._decode(read_blocks(fp))
        self._current = memoryview(b"")

    def _decode(self, blocks: Iterator[Block]) -> Iterator[bytes]:
        return ordered_map(Block.decode, blocks, self._threads)

    def readinto(self, buffer: Buffer) -> int:
        out = memoryview(buffer).cast("B")
        while not self._current:
            content = next(self._contents, None)
            if content is None:
                return 0
            self._current = memoryview(content)
        n = min(len(out), len(self._current))
        out[:n] = self._current[:n]
        self._current = self._current[n:]
        self._position += n
        return n

    def _content_size(self) -> int:
        if self._places is None:
            self._places = find_blocks(self._fp)
        return self._places[-1].start + self._places[-1].content_size if self._places else 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        target = self._target(offset, whence, self._content_size)
        size = self._content_size()
        position = min(target, size)
        places = self._places or []
        first = max(bisect_right(places, position, key=lambda p: p.start) - 1, 0)
        self.close_blocks()
        self._contents = self._decode(_read_place(self._fp, p) for p in places[first:])
        self._current = memoryview(b"")
        if places and position < size:
            self._current = memoryview(next(self._contents))[position - places[first].start :]
        elif places:
            self._contents = iter(())
        self._position = position
        return position

    def close_blocks(self) -> None:
        """Stop decoding ahead."""
        close = getattr(self._contents, "close", None)
        if close is not None:
            close()

    def close(self) -> None:
        self.close_blocks()
        super().close()


class _Compressor(Protocol):
    def compress(self, data: Buffer, /) -> bytes: ...
    def flush(self) -> bytes: ...


class CodedFile(io.BufferedIOBase):
    """What files of all formats have in common; see `TersorFile`.

    Parameters
    ----------
    file, mode
        As for `TersorFile`.
    batch : int
        Bytes to collect before they are compressed.
    """

    def __init__(self, file: str | os.PathLike[str] | IO[bytes], mode: str, batch: int) -> None:
        kind = mode.replace("b", "", 1)
        if kind not in ("r", "w", "x", "a"):
            raise ValueError(f"invalid mode {mode!r}")
        self._owns = isinstance(file, str | bytes | os.PathLike)
        if self._owns:
            self._fp = cast(IO[bytes], builtins.open(file, kind + "b"))  # type: ignore[arg-type]  # noqa: SIM115
        elif hasattr(file, "read" if kind == "r" else "write"):
            self._fp = cast(IO[bytes], file)
        else:
            raise TypeError("file must be a path or a binary file object")
        self._mode = kind + "b"
        self._reader: io.BufferedReader | None = None
        self._compressor: _Compressor | None = None
        if kind == "r":
            self._raw = self._make_reader(self._fp)
            self._reader = io.BufferedReader(self._raw, 128 << 10)
        else:
            self._compressor = self._make_compressor()
            self._batch = batch
            self._pending = bytearray()
            self._position = 0

    @abstractmethod
    def _make_reader(self, fp: IO[bytes]) -> io.RawIOBase:
        """Make the raw content of a file that is read."""

    @abstractmethod
    def _make_compressor(self) -> _Compressor:
        """Make what compresses a file that is written."""

    @property
    def mode(self) -> str:
        """Mode of the underlying file: "rb", "wb", "xb" or "ab"."""
        return self._mode

    @property
    def name(self) -> Any:
        """Name of the underlying file, if it has one."""
        return getattr(self._fp, "name", None)

    def fileno(self) -> int:
        """Return the underlying file's descriptor."""
        return self._fp.fileno()

    def readable(self) -> bool:
        self._check_not_closed()
        return self._reader is not None

    def writable(self) -> bool:
        self._check_not_closed()
        return self._compressor is not None

    def seekable(self) -> bool:
        self._check_not_closed()
        return self._reader is not None and self._raw.seekable()

    def _check_not_closed(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _for_reading(self) -> io.BufferedReader:
        self._check_not_closed()
        if self._reader is None:
            raise io.UnsupportedOperation("the file was not opened for reading")
        return self._reader

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes of content, all by default."""
        return self._for_reading().read(size)

    def read1(self, size: int = -1, /) -> bytes:
        """Read what is at hand, up to `size` bytes."""
        return self._for_reading().read1(size)

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill `buffer`; returns how many bytes were read."""
        return self._for_reading().readinto(buffer)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read one line."""
        return self._for_reading().readline(-1 if size is None else size)

    def peek(self, size: int = 0, /) -> bytes:
        """Look at content without moving on; at least one byte unless at the end."""
        return self._for_reading().peek(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a place in the content, through the index."""
        return self._for_reading().seek(offset, whence)

    def tell(self) -> int:
        """Return the position in the content."""
        self._check_not_closed()
        return self._position if self._reader is None else self._reader.tell()

    def write(self, data: Buffer, /) -> int:
        """Write content; returns its size in bytes."""
        compressor = self._for_writing()
        size = memoryview(data).nbytes
        self._position += size
        if size >= self._batch and not self._pending:
            self._fp.write(compressor.compress(data))
            return size
        self._pending += memoryview(data).cast("B") if size else b""
        if len(self._pending) >= self._batch:
            self._write_pending()
        return size

    def _for_writing(self) -> _Compressor:
        self._check_not_closed()
        if self._compressor is None:
            raise io.UnsupportedOperation("the file was not opened for writing")
        return self._compressor

    def _write_pending(self) -> None:
        pending, self._pending = self._pending, bytearray()
        self._fp.write(self._for_writing().compress(pending))

    def close(self) -> None:
        """End the frame when writing, and close the file if its path was given."""
        self._close(complete=True)

    def _close(self, *, complete: bool) -> None:
        if self.closed:
            return
        try:
            if self._compressor is not None and complete:
                self._write_pending()
                self._fp.write(self._compressor.flush())
            elif self._reader is not None:
                self._reader.close()
        finally:
            try:
                if self._owns:
                    self._fp.close()
            finally:
                super().close()

    def __exit__(self, exc_type: Any, *details: Any) -> None:
        self._close(complete=exc_type is None)

    def __del__(self) -> None:
        # Collected without close(): by then the file below may be gone, and an unfinished frame is
        # the honest state of what was not closed.
        if not self.closed and hasattr(self, "_fp"):
            self._close(complete=False)


class TersorFile(CodedFile):
    """A file of `.tsr` frames, opened for reading or writing bytes.

    Parameters
    ----------
    file : str, path or binary file object
        A file object that is passed in is not closed.
    mode : {"r", "w", "x", "a", "rb", "wb", "xb", "ab"}
    codec, typesize
        For writing, as for `tersor.compress`.
    threads : int, optional
        Workers; all cores by default.

    Notes
    -----
    Reading is sequential with a few blocks of at most 1 MiB in memory per worker, and seekable when
    the file is, through the index at each frame's end. A file that ends early raises
    `TruncatedDataError`, which is an `EOFError`.

    Writing goes straight to the file. When an exception leaves the ``with`` block, the frame is not
    ended, so that what was written cannot be mistaken for the whole.
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | IO[bytes],
        mode: str = "rb",
        *,
        codec: str = "auto",
        typesize: int = 1,
        threads: int | None = None,
    ) -> None:
        check_options(codec, typesize)
        self._options: dict[str, Any] = {"codec": codec, "typesize": typesize, "threads": threads}
        # Enough blocks at a time to keep all workers busy.
        super().__init__(file, mode, batch=n_workers(threads) * max(block_size(typesize), 1 << 20))

    def _make_reader(self, fp: IO[bytes]) -> io.RawIOBase:
        return _Reader(fp, self._options["threads"])

    def _make_compressor(self) -> Compressor:
        return Compressor(**self._options)

    def write_apart(self, data: Buffer, /) -> int:
        """Write content that gets blocks of its own, of type size 1, as a header before numbers should."""
        compressor = cast(Compressor, self._for_writing())
        self._write_pending()
        self._fp.write(compressor.compress_apart(data))
        size = memoryview(data).nbytes
        self._position += size
        return size


_File = TypeVar("_File", bound=CodedFile)


def open_as(
    kind: type[_File],
    file: str | os.PathLike[str] | IO[bytes],
    mode: str,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
    **options: Any,
) -> _File | io.TextIOWrapper:
    """Open a coded file of some kind, in a text mode too."""
    text = "t" in mode
    if text and "b" in mode:
        raise ValueError(f"invalid mode {mode!r}")
    if not text and (encoding, errors, newline) != (None, None, None):
        raise ValueError("encoding, errors and newline are for text modes")
    binary = kind(file, mode.replace("t", ""), **options)
    if not text:
        return binary
    return io.TextIOWrapper(cast(Any, binary), io.text_encoding(encoding), errors, newline)


def open(
    file: str | os.PathLike[str] | IO[bytes],
    mode: str = "rb",
    *,
    codec: str = "auto",
    typesize: int = 1,
    threads: int | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> TersorFile | io.TextIOWrapper:
    """Open a `.tsr` file, as `bz2.open` does for its own.

    Parameters
    ----------
    file : str, path or binary file object
    mode : str
        "r", "w", "x" or "a", with "b" (default) for bytes or "t" for text.
    codec, typesize, threads
        As for `tersor.compress`.
    encoding, errors, newline : str, optional
        For text modes, as for the built-in `open`.

    Returns
    -------
    TersorFile or io.TextIOWrapper

    Examples
    --------
    >>> with tersor.open("numbers.tsr", "wt") as f:
    ...     print(*range(5), file=f)
    >>> tersor.open("numbers.tsr", "rt").read()
    '0 1 2 3 4\\n'
    """
    options = {"codec": codec, "typesize": typesize, "threads": threads}
    return open_as(TersorFile, file, mode, encoding, errors, newline, **options)
