"""The LZW functions of imagecodecs, by the same names and with the same parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import lzw
from ._lenient import decompress

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["lzw_check", "lzw_decode", "lzw_encode"]


def lzw_encode(data: Buffer, /, *, out: int | Buffer | None = None) -> Any:
    """Encode data as a TIFF strip.

    Parameters
    ----------
    data : buffer
        Arrays are taken element by element in their order, whatever their memory is like.
    out : int or writable buffer, optional
        Largest size of the result, or where to put it.

    Returns
    -------
    bytes, or the part of `out` that was written

    Raises
    ------
    ValueError
        If the result is larger than `out`.

    Examples
    --------
    >>> from tersor.integrations.imagecodecs import lzw_encode
    >>> lzw_encode(b"-----A---B").hex(" ")
    '80 0b 60 50 22 0c 0c 85 01'
    """
    view = memoryview(data)
    encoded = lzw.compress(view if view.c_contiguous else view.tobytes())
    if out is None:
        return encoded
    room = out if isinstance(out, int) else memoryview(out).nbytes
    if len(encoded) > room:
        raise ValueError(f"the encoded data has {len(encoded)} bytes, and out has {room}")
    if isinstance(out, int):
        return encoded
    memoryview(out).cast("B")[: len(encoded)] = encoded
    return _written(out, len(encoded))


def lzw_decode(data: Buffer, /, *, buffersize: int = 0, out: int | Buffer | None = None) -> Any:
    """Decode a TIFF strip, with the bits in either order.

    Parameters
    ----------
    data : buffer
    buffersize : int
        Has no meaning here.
    out : int or writable buffer, optional
        Largest size of the result, or where to put it; decoding stops when it is full.

    Returns
    -------
    bytes, or the part of `out` that was written

    Raises
    ------
    CorruptDataError
        If a code is not in the table. A missing clear code at the beginning, a missing end code and a table
        that is never emptied are fine.

    Examples
    --------
    >>> from tersor.integrations.imagecodecs import lzw_decode
    >>> lzw_decode(bytes.fromhex("800b6050220c0c8501"), out=5)
    b'-----'
    """
    head = bytes(memoryview(data).cast("B")[:2])
    format = "tiff-compat" if _begins_compat(head) else "tiff"
    if out is None or isinstance(out, int):
        return decompress(data, format, expected_size=None if out is None or out < 0 else out)
    n = decompress(data, format, out=out, expected_size=memoryview(out).nbytes)
    return _written(out, n)


def lzw_check(data: Buffer, /) -> bool | None:
    """Tell whether data begins as LZW strips do, with a clear code.

    Examples
    --------
    >>> from tersor.integrations.imagecodecs import lzw_check
    >>> lzw_check(bytes.fromhex("800b6050220c0c8501")), lzw_check(b"text")
    (True, False)
    """
    head = bytes(memoryview(data).cast("B")[:2])
    return len(head) < 2 or (head[0] == 0x80 and head[1] < 0x80) or _begins_compat(head)


def _begins_compat(head: bytes) -> bool:
    """Whether the first code is a clear code in the bit order of the oldest files."""
    return len(head) == 2 and head[0] == 0 and head[1] & 1 == 1


def _written(out: Any, n: int) -> Any:
    """The part of a buffer that was written; the buffer itself if that is all."""
    return out if n == memoryview(out).nbytes else out[:n] if hasattr(out, "dtype") else memoryview(out)[:n]
