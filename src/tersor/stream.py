"""Incremental compression and decompression, shaped like `bz2`'s."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from . import _native
from .errors import CorruptDataError, TersorError
from .frame import FrameParser, FrameWriter, block_size, check_options, pack_header
from .parallel import n_workers

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Compressor", "Decompressor"]


class Compressor:
    """Compress a stream of bytes into one `.tsr` frame.

    Parameters
    ----------
    codec : {"auto", "huffman", "lzw", "raw"}
    typesize : {1, 2, 4, 8}
        As for `tersor.compress`.
    threads : int, optional
        Workers for data that arrives many blocks at a time; all cores by default.

    Examples
    --------
    >>> c = tersor.Compressor()
    >>> frame = c.compress(b"ab" * 5000) + c.compress(b"cd" * 5000) + c.flush()
    >>> tersor.decompress(frame) == b"ab" * 5000 + b"cd" * 5000
    True
    """

    def __init__(self, codec: str = "auto", typesize: int = 1, *, threads: int | None = None) -> None:
        check_options(codec, typesize)
        n_workers(threads)  # refuses a bad count now, not at the first large write
        self._lock = threading.Lock()
        self._typesize = typesize
        self._block_size = block_size(typesize)
        self._writer = FrameWriter(codec, threads=threads)
        self._pending = bytearray()  # less than a block between calls
        self._out = bytearray(pack_header(None))
        self._flushed = False

    def compress(self, data: Buffer) -> bytes:
        """Take more data; returns what compressed bytes there are, often none.

        Raises
        ------
        ValueError
            After `flush`.
        """
        with self._lock:
            self._check_open()
            view = _native.byte_view(data)
            if self._pending:
                missing = self._block_size - len(self._pending)
                self._pending += view[:missing]
                view = view[missing:]
                if len(self._pending) == self._block_size:
                    self._encode_pending()
            if view:
                whole = len(view) - len(view) % self._block_size
                self._encode(view[:whole])
                self._pending += view[whole:]
            return self._take_out()

    def compress_apart(self, data: Buffer) -> bytes:
        """Take data that gets blocks of its own, of type size 1, as a header before numbers should."""
        with self._lock:
            self._check_open()
            self._encode_pending()
            for part in self._writer.blocks(_native.byte_view(data), 1):
                self._out += part
            return self._take_out()

    def flush(self) -> bytes:
        """End the frame; the object cannot be used after."""
        with self._lock:
            self._check_open()
            self._flushed = True
            self._encode_pending()
            self._out += self._writer.end()
            return self._take_out()

    def _check_open(self) -> None:
        if self._flushed:
            raise ValueError("the compressor has been flushed")

    def _encode_pending(self) -> None:
        content, self._pending = self._pending, bytearray()
        self._encode(memoryview(content))

    def _encode(self, content: memoryview) -> None:
        for part in self._writer.blocks(content, self._typesize):
            self._out += part

    def _take_out(self) -> bytes:
        out, self._out = bytes(self._out), bytearray()
        return out


class Decompressor:
    """Decompress one `.tsr` frame that arrives in pieces.

    Attributes
    ----------
    eof : bool
        Whether the frame's end has been reached and verified.
    needs_input : bool
        Whether `decompress` needs more data before it can return any.
    unused_data : bytes
        What followed the frame, for example the next one.

    Examples
    --------
    >>> d = tersor.Decompressor()
    >>> frame = tersor.compress(b"terse tensors")
    >>> d.decompress(frame[:30]) + d.decompress(frame[30:]), d.eof
    (b'terse tensors', True)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parser = FrameParser()
        self._input = bytearray()
        self._output = b""
        self._output_at = 0
        self._eof = False
        self._failed = False
        self.unused_data = b""

    @property
    def eof(self) -> bool:
        return self._eof and self._output_at == len(self._output)

    @property
    def needs_input(self) -> bool:
        if self._eof or self._failed or self._output_at < len(self._output):
            return False
        try:
            return not self._complete_unit()
        except TersorError:
            return False  # what is there will be refused

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
            After the end of the frame.
        CorruptDataError, UnsupportedFormatError
            Every later call raises `CorruptDataError`.
        """
        with self._lock:
            if self.eof:
                raise EOFError("the end of the frame has already been reached")
            if self._failed:
                raise CorruptDataError("the stream was found to be damaged before")
            self._input += _native.byte_view(data)
            self._failed = True
            content = self._produce(max_length)
            self._failed = False
            return content

    def _complete_unit(self) -> int:
        """Size of the unit at the front of the input if all of it is there, else 0."""
        with memoryview(self._input) as view:
            size = self._parser.need(view)
            return size if size <= len(view) else 0

    def _produce(self, max_length: int) -> bytes:
        parts: list[bytes] = []
        room = max_length
        while True:
            stop = len(self._output) if max_length < 0 else self._output_at + room
            part = self._output[self._output_at : stop]
            self._output_at += len(part)
            room -= len(part)
            parts.append(part)
            if (max_length >= 0 and room == 0) or self._eof or not self._next_block():
                return b"".join(parts)

    def _next_block(self) -> bool:
        """Consume one unit; False when the input has no whole one."""
        size = self._complete_unit()
        if not size:
            return False
        unit = bytes(self._input[:size])
        del self._input[:size]
        started = self._parser.in_frame
        block = self._parser.take(memoryview(unit))
        if block is not None:
            self._output, self._output_at = block.decode(), 0
        elif started:
            self._eof = True
            self.unused_data = bytes(self._input)
            self._input.clear()
        return True
