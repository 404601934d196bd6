"""The functions of the package ncompress, by the same names and with the same parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from .. import lzw

__all__ = ["compress", "decompress"]

_CHUNK = 1 << 20


def compress(
    in_bytes: bytes | BinaryIO | None = None,
    out_stream: BinaryIO | None = None,
    *,
    in_stream: BinaryIO | None = None,
) -> bytes | None:
    """Compress to the .Z format, as Unix `compress` does.

    Parameters
    ----------
    in_bytes : bytes or binary file object
        A file is read to its end.
    out_stream : binary file object, optional
        Where to write the result.
    in_stream : binary file object
        Another name for the first parameter.

    Returns
    -------
    bytes, or None if the result was written to `out_stream`

    Examples
    --------
    >>> from tersor.integrations.ncompress import compress, decompress
    >>> decompress(compress(b"terse tensors"))
    b'terse tensors'
    """
    source = _source(in_bytes, in_stream)
    if isinstance(source, bytes):
        return _deliver(iter([lzw.compress(source, "z")]), out_stream)
    compressor = lzw.LZWCompressor("z")
    return _deliver(_pieces(source, compressor.compress, compressor.flush), out_stream)


def decompress(
    in_bytes: bytes | BinaryIO | None = None,
    out_stream: BinaryIO | None = None,
    *,
    in_stream: BinaryIO | None = None,
) -> bytes | None:
    """Decompress a .Z file.

    Parameters
    ----------
    in_bytes, out_stream, in_stream
        As for `compress`.

    Returns
    -------
    bytes, or None if the result was written to `out_stream`

    Raises
    ------
    ValueError
        If it is no .Z data, or damaged.
    """
    source = _source(in_bytes, in_stream)
    if isinstance(source, bytes):
        return _deliver(iter([lzw.decompress(source, "z")]), out_stream)
    decompressor = lzw.LZWDecompressor("z")
    return _deliver(_pieces(source, decompressor.decompress, decompressor.flush), out_stream)


def _source(in_bytes: bytes | BinaryIO | None, in_stream: BinaryIO | None) -> bytes | BinaryIO:
    source = in_stream if in_bytes is None else in_bytes
    if isinstance(source, bytes) or (source is not None and hasattr(source, "read")):
        return source
    raise TypeError(f"bytes or a binary file object is needed, not {type(source).__name__}")


def _pieces(source: BinaryIO, code: Callable[[bytes], bytes], flush: Callable[[], bytes]) -> Iterator[bytes]:
    """Code a file piece by piece."""
    while data := source.read(_CHUNK):
        yield code(data)
    yield flush()


def _deliver(pieces: Iterator[bytes], out_stream: BinaryIO | None) -> bytes | None:
    if out_stream is None:
        return b"".join(pieces)
    for piece in pieces:
        out_stream.write(piece)
    return None
