"""LZW for the formats that are made of it: GIF, TIFF, PDF and Unix .Z (docs/lzw.md).

For data of your own there is better: ``tersor.compress`` is many times faster, zstandard compresses further.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any, overload

from . import _native
from .errors import CorruptDataError, LimitError, TruncatedDataError, UnsupportedFormatError
from .file import CodedFile, RawReader, open_as

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["FORMATS", "LZWCompressor", "LZWDecompressor", "LZWFile", "compress", "decompress", "open"]

FORMATS = ("gif", "tiff", "tiff-compat", "pdf", "z")
"""Names of the formats."""

Z_MAGIC = b"\x1f\x9d"
_Z_HEADER_SIZE = 3
_Z_MAX_BITS = 0x1F
_Z_BLOCK_MODE = 0x80
_Z_RESERVED = 0x60

# Output of a known size is allocated at once if it has so many bytes at most, or so many for one of the
# data; larger ones grow, so that a size which the data does not live up to takes no memory.
_TRUSTED_SIZE = 1 << 20
_TRUSTED_RATIO = 16
# Output of unknown size begins with so many bytes for one of the data.
_LIKELY_RATIO = 4

# What files read and write at a time, in bytes.
_CHUNK = 128 << 10


# ---- Dialects -----------------------------------------------------------------------------------


@lru_cache
def _dialect(
    format: str,
    min_code_size: int = 8,
    early_change: int = 1,
    max_bits: int = 16,
    block_mode: bool = True,
    full_grows: bool = False,
) -> _native.LZWDialect:
    """Make the dialect of a format; raises `ValueError` for options that it cannot have."""
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: choose one of {', '.join(FORMATS)}")
    if format == "gif":
        if not 1 <= min_code_size <= 8:
            raise ValueError(f"min_code_size must be 1 to 8, not {min_code_size!r}")
        return _native.LZWDialect(False, min_code_size, 12)
    if format == "z":
        if not 9 <= max_bits <= 16:
            raise ValueError(f"max_bits must be 9 to 16, not {max_bits!r}")
        full_grows = full_grows and max_bits == 9
        return _native.LZWDialect(False, 8, max_bits, False, block_mode, False, True, full_grows)
    if format == "pdf" and early_change not in (0, 1):
        raise ValueError(f"early_change must be 0 or 1, not {early_change!r}")
    early = format == "tiff" or (format == "pdf" and bool(early_change))
    return _native.LZWDialect(format != "tiff-compat", 8, 12, early)


def _check_writable(format: str) -> None:
    if format == "tiff-compat":
        raise ValueError("the format tiff-compat is for reading old files only: write tiff")


def _z_header(max_bits: int, block_mode: bool) -> bytes:
    return Z_MAGIC + bytes([max_bits | (_Z_BLOCK_MODE if block_mode else 0)])


def _z_dialect(header: bytes, full_grows: bool) -> _native.LZWDialect:
    """Read the header of .Z data."""
    if header[:2] != Z_MAGIC[: len(header)]:
        raise CorruptDataError("no .Z data: wrong magic number (at byte 0)")
    if len(header) < _Z_HEADER_SIZE:
        raise TruncatedDataError(f"the data ends at byte {len(header)}, inside the .Z header")
    flags = header[2]
    max_bits = flags & _Z_MAX_BITS
    if flags & _Z_RESERVED or not 9 <= max_bits <= 16:
        raise UnsupportedFormatError(f"unknown .Z flags {flags:#04x} (at byte 2)")
    return _dialect("z", 8, 1, max_bits, bool(flags & _Z_BLOCK_MODE), full_grows)


# ---- Whole data ---------------------------------------------------------------------------------


def compress(
    data: Buffer,
    format: str = "tiff",
    *,
    min_code_size: int = 8,
    early_change: int = 1,
    max_bits: int = 16,
    block_mode: bool = True,
    full_grows: bool = False,
) -> bytes:
    """Compress bytes with LZW, as a format has it.

    Parameters
    ----------
    data : buffer
        Any contiguous buffer; it is not copied.
    format : {"tiff", "gif", "pdf", "z"}
        TIFF: one strip or tile, as libtiff writes it. GIF: one image, to be put into sub-blocks. PDF: one
        stream. .Z: a whole file, as `compress` writes it.
    min_code_size : int
        GIF: 1 to 8, the number of bits of a pixel; files have 2 or more.
    early_change : {0, 1}
        PDF: the parameter EarlyChange of the stream.
    max_bits : int
        .Z: 9 to 16, the width of the widest code. More compress better and take more memory.
    block_mode : bool
        .Z: whether there is a code that empties the table. Without it the data is as the first `compress`
        wrote it, and the table stays as it is once it is full.
    full_grows : bool
        .Z with ``max_bits=9``, which has two readings: codes grow to 10 bits when the table is full, as gzip
        reads them, instead of staying at 9 as in `compress` from version 5.1 on. Nothing in the data tells.

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        If an option is not one of those above, or, for GIF, if a byte is no pixel of ``min_code_size`` bits.
    TypeError, BufferError
        If `data` is no contiguous buffer of plain bytes.

    Notes
    -----
    T. A. Welch, "A Technique for High-Performance Data Compression", Computer 17 (1984); docs/lzw.md tells
    how the formats differ.

    Examples
    --------
    >>> tersor.lzw.compress(b"-----A---B").hex(" ")
    '80 0b 60 50 22 0c 0c 85 01'
    >>> len(tersor.lzw.compress(b"terse tensors, " * 1000, "z"))
    796
    """
    _check_writable(format)
    dialect = _dialect(format, min_code_size, early_change, max_bits, block_mode, full_grows)
    return _native.lzw_encode(dialect, data, _z_header(max_bits, block_mode) if format == "z" else b"")


@overload
def decompress(
    data: Buffer,
    format: str = ...,
    *,
    min_code_size: int = ...,
    early_change: int = ...,
    full_grows: bool = ...,
    expected_size: int | None = ...,
    max_length: int = ...,
    out: None = ...,
    strict: bool = ...,
) -> bytes: ...


@overload
def decompress(
    data: Buffer,
    format: str = ...,
    *,
    min_code_size: int = ...,
    early_change: int = ...,
    full_grows: bool = ...,
    expected_size: int | None = ...,
    max_length: int = ...,
    out: Buffer,
    strict: bool = ...,
) -> int: ...


def decompress(
    data: Buffer,
    format: str = "tiff",
    *,
    min_code_size: int = 8,
    early_change: int = 1,
    full_grows: bool = False,
    expected_size: int | None = None,
    max_length: int = -1,
    out: Buffer | None = None,
    strict: bool = True,
) -> bytes | int:
    """Decompress LZW data of a format.

    Parameters
    ----------
    data : buffer
        Any contiguous buffer; it is not copied. What follows the end code is ignored: containers pad it.
    format : {"tiff", "tiff-compat", "gif", "pdf", "z"}
        "tiff-compat" is what TIFF files had before version 5.0 of its specification: they begin with the
        bytes 00 01. .Z data says itself what `max_bits` and `block_mode` are.
    min_code_size, early_change, full_grows
        As for `compress`.
    expected_size : int, optional
        Size of the content in bytes, where the container tells it. Decoding stops there, which is also an
        end if the data has no end code.
    max_length : int
        Largest content to accept, in bytes; -1 accepts any. Give it for data that you do not trust: 12-bit
        codes expand by up to 1365 times, those of .Z by 32,640.
    out : writable buffer, optional
        Where to put the content.
    strict : bool
        Whether to refuse data that is damaged or ends early. If not, what comes before is returned.

    Returns
    -------
    bytes, or int
        The content, or its size in bytes if it went to `out`.

    Raises
    ------
    CorruptDataError
        If a code is not in the table, or .Z data has another magic number. The message has the byte at
        which the code begins. What `out` has by then is right up to there.
    TruncatedDataError
        If the data ends without an end code, where the format has one, or before `expected_size` is reached.
    UnsupportedFormatError
        If the header of .Z data asks for what no `compress` writes.
    LimitError
        If the content is longer than `max_length` or than memory; with ``strict=False`` as well.
    ValueError
        If an option is not one of those above; if `out` is not writable, overlaps `data`, or is too small
        for the content.

    Examples
    --------
    >>> strip = tersor.lzw.compress(b"terse tensors" * 100)
    >>> tersor.lzw.decompress(strip, expected_size=26)
    b'terse tensorsterse tensors'
    >>> tersor.lzw.decompress(strip, out=bytearray(2000))
    1300
    """
    if format == "z":
        dialect = _z_dialect(bytes(_native.byte_view(data)[:_Z_HEADER_SIZE]), full_grows)
        start = _Z_HEADER_SIZE
    else:
        dialect = _dialect(format, min_code_size, early_change)
        start = 0
    if expected_size is not None and expected_size < 0:
        raise ValueError(f"expected_size must not be negative: {expected_size}")
    if out is None:
        content, n_read, status = _decode(dialect, data, start, expected_size, max_length)
        size = len(content)
    else:
        size, n_read, status = _decode_into(dialect, data, start, expected_size, max_length, out)
    if strict and size != expected_size:
        if status < 0:
            raise _native.result_error(status, n_read, "")
        if expected_size is not None or (status == _native.LZW_NEED_INPUT and format != "z"):
            raise _truncated(n_read, size, expected_size, status)
    return content if out is None else size


def _decode(
    dialect: _native.LZWDialect, data: Buffer, start: int, expected_size: int | None, max_length: int
) -> tuple[bytes, int, int]:
    # One byte more than is allowed, to tell whether there is more.
    limit = sys.maxsize if max_length < 0 else max_length + 1
    if expected_size is None:
        room = -_LIKELY_RATIO
    else:
        limit = min(limit, expected_size)
        room = expected_size if expected_size <= _TRUSTED_SIZE else -_TRUSTED_RATIO
    try:
        content, n_read, status = _native.lzw_decode(dialect, data, start, room, limit)
    except MemoryError:
        raise LimitError("the content does not fit in memory") from None
    if 0 <= max_length < len(content):
        raise _too_long(max_length)
    return content, n_read, status


def _decode_into(
    dialect: _native.LZWDialect,
    data: Buffer,
    start: int,
    expected_size: int | None,
    max_length: int,
    out: Buffer,
) -> tuple[int, int, int]:
    limit = -1 if expected_size is None else expected_size
    if max_length >= 0:
        n_out = len(_native.byte_view(out))
        limit = min(n_out, max_length) if limit < 0 else min(limit, max_length)
        if limit in (expected_size, n_out):
            max_length = -1  # something else stops it first
    size, n_read, status = _native.lzw_decode_into(dialect, data, start, out, limit)
    if status == _native.LZW_OUTPUT_FULL and size != expected_size:
        if max_length >= 0:
            raise _too_long(max_length)
        raise ValueError(f"out has room for {size} bytes, and the content is longer")
    return size, n_read, status


def _too_long(max_length: int) -> LimitError:
    return LimitError(f"the content has more than the allowed {max_length} bytes")


def _truncated(n_read: int, size: int, expected_size: int | None, status: int) -> TruncatedDataError:
    where = "end code" if status == _native.LZW_END else "end of the data"
    expected = "no end code" if expected_size is None else f"{expected_size} expected"
    return TruncatedDataError(f"{where} at byte {n_read}, after {size} bytes of content: {expected}")


# ---- Streams ------------------------------------------------------------------------------------


class LZWCompressor:
    """Compress a stream of bytes with LZW.

    Parameters
    ----------
    format : {"tiff", "gif", "pdf", "z"}
    min_code_size, early_change, max_bits, block_mode, full_grows
        As for `compress`; the result is the same, however the data is cut.

    Examples
    --------
    >>> c = tersor.lzw.LZWCompressor("z")
    >>> tersor.lzw.decompress(c.compress(b"terse ") + c.compress(b"tensors") + c.flush(), "z")
    b'terse tensors'
    """

    def __init__(
        self,
        format: str = "tiff",
        *,
        min_code_size: int = 8,
        early_change: int = 1,
        max_bits: int = 16,
        block_mode: bool = True,
        full_grows: bool = False,
    ) -> None:
        _check_writable(format)
        self._lock = threading.Lock()
        self._encoder: _native.LZWEncoder | None = _native.LZWEncoder(
            _dialect(format, min_code_size, early_change, max_bits, block_mode, full_grows)
        )
        self._header = _z_header(max_bits, block_mode) if format == "z" else b""
        self._position = 0

    def compress(self, data: Buffer) -> bytes:
        """Take more data; returns what codes there are, often none.

        Raises
        ------
        ValueError
            If a byte is no literal of the dialect, and always after that or after `flush`.
        """
        return self._encode(data, finish=False)

    def flush(self) -> bytes:
        """End the data; the object cannot be used after."""
        return self._encode(b"", finish=True)

    def _encode(self, data: Buffer, *, finish: bool) -> bytes:
        with self._lock:
            encoder, self._encoder = self._encoder, None
            if encoder is None:
                raise ValueError("the compressor has been flushed, or has failed")
            codes, n_read, status = encoder.encode(data, finish)
            self._position += n_read
            if status < 0:
                raise _native.result_error(status, self._position, "")
            if not finish:
                self._encoder = encoder
            header, self._header = self._header, b""
            return header + codes


class LZWDecompressor:
    """Decompress LZW data that arrives in pieces.

    Parameters
    ----------
    format : {"tiff", "tiff-compat", "gif", "pdf", "z"}
    min_code_size, early_change, full_grows
        As for `decompress`.
    expected_size : int, optional
        Size of the content in bytes; decoding stops there.
    strict : bool
        Whether damage raises. If not, the content ends where it begins.

    Attributes
    ----------
    eof : bool
        Whether the end has been reached: the end code, or the expected size. .Z data has no end code; it
        ends with `flush`.
    needs_input : bool
        Whether `decompress` needs more data before it can return any content.
    unused_data : bytes
        What followed the end.
    end_reason : str or None
        Why decoding stands where it stands: "end code", "output full" (`max_length` or the expected size
        is reached), "input end" (all data is used), or with ``strict=False`` "damage". None before the first
        call.

    Examples
    --------
    >>> strip = tersor.lzw.compress(b"terse tensors")
    >>> d = tersor.lzw.LZWDecompressor("tiff")
    >>> d.decompress(strip[:5]), d.decompress(strip[5:] + b"more"), d.end_reason, d.unused_data
    (b'ter', b'se tensors', 'end code', b'more')
    """

    def __init__(
        self,
        format: str = "tiff",
        *,
        min_code_size: int = 8,
        early_change: int = 1,
        full_grows: bool = False,
        expected_size: int | None = None,
        strict: bool = True,
    ) -> None:
        if expected_size is not None and expected_size < 0:
            raise ValueError(f"expected_size must not be negative: {expected_size}")
        self._lock = threading.Lock()
        self._strict = strict
        self._expected_size = expected_size
        self._has_end_code = format != "z"
        self._full_grows = full_grows
        self._decoder: _native.LZWDecoder | None = None  # until the header of .Z data is there
        dialect = _dialect(format, min_code_size, early_change)
        if format != "z":
            self._decoder = _native.LZWDecoder(dialect)
        self._rest = b""  # of the data, kept for the next call
        self._rest_at = 0  # of which so much has been used
        self._position = 0  # in all data
        self._size = 0  # of the content so far
        self._failed = False
        self.eof = False
        self.needs_input = True
        self.unused_data = b""
        self.end_reason: str | None = None

    def decompress(self, data: Buffer, max_length: int = -1) -> bytes:
        """Take more data and return content.

        Parameters
        ----------
        data : buffer
            May be empty, to fetch content that `max_length` held back.
        max_length : int
            Most bytes to return, -1 for all that there are.

        Raises
        ------
        EOFError
            After the end.
        CorruptDataError, UnsupportedFormatError
            As for `decompress`; every later call raises `CorruptDataError`.
        """
        with self._lock:
            if self.eof:
                raise EOFError("the end of the data has already been reached")
            if self._failed:
                raise CorruptDataError("the stream was found to be damaged before")
            self._failed = True
            content = self._decode(_native.byte_view(data), max_length)
            self._failed = False
            return content

    def flush(self) -> bytes:
        """Say that all data has been given; returns the content that `max_length` held back.

        Raises
        ------
        TruncatedDataError
            If the end code is missing, or content up to the expected size, unless ``strict=False``.
        """
        content = b"" if self.eof else self.decompress(b"")
        with self._lock:
            if self.eof:
                return content
            if self._decoder is None and self._strict:
                _z_dialect(self._rest, self._full_grows)
            if self._strict and (self._has_end_code or self._expected_size is not None):
                size = self._size
                raise _truncated(self._position, size, self._expected_size, _native.LZW_NEED_INPUT)
            self.eof = True
            self.needs_input = False
            return content

    def _decode(self, data: memoryview, max_length: int) -> bytes:
        if self._rest_at < len(self._rest) or self._decoder is None:
            if data:
                self._rest, self._rest_at = self._rest[self._rest_at :] + bytes(data), 0
            source: bytes | memoryview = self._rest
        else:
            source, self._rest_at = data, 0
        if self._decoder is None:
            if len(self._rest) < _Z_HEADER_SIZE and self._rest == Z_MAGIC[: len(self._rest)]:
                self.end_reason = "input end"
                return b""
            self._decoder = _native.LZWDecoder(_z_dialect(self._rest[:_Z_HEADER_SIZE], self._full_grows))
            self._rest_at = self._position = _Z_HEADER_SIZE

        limit = sys.maxsize if max_length < 0 else max_length
        if self._expected_size is not None:
            limit = min(limit, self._expected_size - self._size)
        content, n_read, status = self._decoder.decode(source, self._rest_at, limit)
        self._position += n_read - self._rest_at
        self._size += len(content)
        if status < 0 and self._strict:
            raise _native.result_error(status, self._position, "")
        # The caller's buffer is not kept: it may change.
        if source is self._rest:
            self._rest_at = n_read
        else:
            self._rest, self._rest_at = bytes(source[n_read:]), 0
        self._note_end(status)
        return content

    def _note_end(self, status: int) -> None:
        is_full = self._size == self._expected_size
        if status < 0:
            self.end_reason = "damage"
        elif status == _native.LZW_END:
            self.end_reason = "end code"
        elif is_full or status == _native.LZW_OUTPUT_FULL:
            self.end_reason = "output full"
        else:
            self.end_reason = "input end"
        self.eof = is_full or self.end_reason in ("end code", "damage")
        self.needs_input = self.end_reason == "input end"
        if self.eof:
            self.unused_data = self._rest[self._rest_at :]
            self._rest, self._rest_at = b"", 0


# ---- Files --------------------------------------------------------------------------------------


class _Reader(RawReader):
    """Raw content of a .Z file."""

    def __init__(self, fp: IO[bytes], full_grows: bool) -> None:
        super().__init__(fp)
        self._full_grows = full_grows
        self._start = fp.tell() if fp.seekable() else 0
        self._begin()

    def _begin(self) -> None:
        self._decompressor = LZWDecompressor("z", full_grows=self._full_grows)
        self._position = 0

    def readinto(self, buffer: Buffer) -> int:
        out = memoryview(buffer).cast("B")
        content = b""
        while not content and not self._decompressor.eof and len(out):
            data = self._fp.read(_CHUNK) if self._decompressor.needs_input else b""
            if data or not self._decompressor.needs_input:
                content = self._decompressor.decompress(data, len(out))
            else:
                self._decompressor.flush()
        out[: len(content)] = content
        self._position += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        offset = self._target(offset, whence, self._read_to_end)
        if offset < self._position:
            self._fp.seek(self._start)
            self._begin()
        self._skip(offset - self._position)
        return self._position

    def _read_to_end(self) -> int:
        self._skip(sys.maxsize)
        return self._position

    def _skip(self, size: int) -> None:
        scratch = memoryview(bytearray(min(size, _CHUNK)))
        while size and (n := self.readinto(scratch[:size])):
            size -= n


class LZWFile(CodedFile):
    """A .Z file, opened for reading or writing bytes.

    Parameters
    ----------
    file : str, path or binary file object
        A file object that is passed in is not closed.
    mode : {"r", "w", "x", "rb", "wb", "xb"}
        There is no appending: nobody reads joined .Z files.
    max_bits, block_mode
        For writing, as for `compress`.
    full_grows : bool
        As for `compress`.

    Notes
    -----
    Memory is bounded. A file that is read can seek if the one below can, backwards by reading it again from
    its beginning. The format has no end mark, so that a file which was cut is read up to where it ends.
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | IO[bytes],
        mode: str = "rb",
        *,
        max_bits: int = 16,
        block_mode: bool = True,
        full_grows: bool = False,
    ) -> None:
        if "a" in mode:
            raise ValueError("a .Z file cannot be appended to")
        _dialect("z", 8, 1, max_bits, block_mode, full_grows)  # refuses bad options before a file is made
        self._options: dict[str, Any] = {
            "max_bits": max_bits,
            "block_mode": block_mode,
            "full_grows": full_grows,
        }
        super().__init__(file, mode, batch=_CHUNK)

    def _make_reader(self, fp: IO[bytes]) -> io.RawIOBase:
        return _Reader(fp, self._options["full_grows"])

    def _make_compressor(self) -> LZWCompressor:
        return LZWCompressor("z", **self._options)


def open(
    file: str | os.PathLike[str] | IO[bytes],
    mode: str = "rb",
    *,
    max_bits: int = 16,
    block_mode: bool = True,
    full_grows: bool = False,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> LZWFile | io.TextIOWrapper:
    """Open a .Z file, as `bz2.open` does for its own.

    Parameters
    ----------
    file : str, path or binary file object
    mode : str
        "r", "w" or "x", with "b" (default) for bytes or "t" for text.
    max_bits, block_mode, full_grows
        As for `LZWFile`.
    encoding, errors, newline : str, optional
        For text modes, as for the built-in `open`.

    Returns
    -------
    LZWFile or io.TextIOWrapper

    Examples
    --------
    >>> with tersor.lzw.open("numbers.Z", "wt") as f:
    ...     print(*range(5), file=f)
    >>> tersor.lzw.open("numbers.Z", "rt").read()
    '0 1 2 3 4\\n'
    """
    options = {"max_bits": max_bits, "block_mode": block_mode, "full_grows": full_grows}
    return open_as(LZWFile, file, mode, encoding, errors, newline, **options)
