"""Blocks and frames: how `.tsr` data is put together (docs/format.md, "Files and frames")."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from xxhash import xxh3_64_intdigest

from ..errors import CorruptDataError, TersorError, TruncatedDataError, UnsupportedFormatError
from . import planes
from .plane import MODES, decode_plane, encode_plane

__all__ = ["compress", "decode_block", "decompress", "encode_block"]

_MAGIC = b"\x9bTSR"
_VERSION = 1
_FLAG_CONTENT_SIZE = 1
_HEADER_SIZE = 16

_KIND_END = 0
_KIND_PLANES = 1
_BLOCK_HEADER_SIZE = 16
_BLOCK_CONTENT_MAX = 1 << 20
_PAYLOAD_EXCESS_MAX = 64
_PLANE_HEADER_SIZE = 4
_ENTRY_SIZE = 6

# What an element of a sparse block is: all bits zero, any other, or only the highest bit set.
_ZERO, _KEPT, _MINUS_ZERO = range(3)

# Content of a full block for each type size, as our encoder chooses it.
_BLOCK_SIZES = {1: 256 << 10, 2: 512 << 10, 4: 512 << 10, 8: 1 << 20}


# ---- Blocks -------------------------------------------------------------------------------------


def encode_block(
    content: bytes, typesize: int = 1, filter: int = planes.NONE, codec: str = "auto"
) -> tuple[int, bytes]:
    """Code the content of one block.

    Parameters
    ----------
    content : bytes
        `typesize` bytes to 1 MiB.
    typesize : {1, 2, 4, 8}
        Size of the elements in bytes.
    filter : int
        0 for none, 1 to 4 to rotate by so many bits, 5 for differences; see `planes.split`. With 8 added the
        block is sparse. The fast library chooses by itself, this leaves it to the caller.
    codec : {"auto", "huffman", "lzw", "raw"}

    Returns
    -------
    shape : int
        The byte that tells a reader type size and filter.
    payload : bytes
        Headers of the planes, data of the planes, and the bytes that are no whole element.

    Raises
    ------
    ValueError
        If an argument is not one of those above.

    Notes
    -----
    docs/format.md, "Byte planes (kind 1)".

    Examples
    --------
    >>> shape, payload = encode_block(bytes(6) + b"z", typesize=2, filter=planes.DELTA)
    >>> shape, payload.hex(" ")
    (21, '01 01 00 00 01 01 00 00 00 00 7a')
    >>> decode_block(shape, payload, 7)
    b'\\x00\\x00\\x00\\x00\\x00\\x00z'
    """
    planes.check_shape(typesize, filter)
    if not typesize <= len(content) <= _BLOCK_CONTENT_MAX:
        raise ValueError(f"a block of this type size has {typesize} bytes to 1 MiB of content")
    coded: list[tuple[int, bytes]] = []
    if filter & planes.SPARSE:
        coded, rest = _encode_sparse(content, typesize, filter & ~planes.SPARSE, codec)
    if not coded:
        filter &= ~planes.SPARSE
        split, rest = planes.split(content, typesize, filter)
        coded = [encode_plane(plane, codec) for plane in split]
    headers = b"".join(bytes([mode]) + _u24(len(data)) for mode, data in coded)
    data = b"".join(data for _, data in coded)
    return planes.TYPE_SIZES.index(typesize) | filter << 2, headers + data + rest


def _encode_sparse(
    content: bytes, typesize: int, filter: int, codec: str
) -> tuple[list[tuple[int, bytes]], bytes]:
    """Code positions and planes of the elements that are kept; no planes where that is no use."""
    n_whole = len(content) - len(content) % typesize
    elements = [content[at : at + typesize] for at in range(0, n_whole, typesize)]
    zeros = {bytes(typesize): _ZERO, bytes(typesize - 1) + b"\x80": _MINUS_ZERO}
    positions = bytes(zeros.get(element, _KEPT) for element in elements)
    kept = b"".join(element for element in elements if element not in zeros)
    if not kept:
        return [], b""
    coded = [encode_plane(positions, codec)]
    if len(coded[0][1]) + len(kept) > n_whole:
        return [], b""
    coded += [encode_plane(plane, codec) for plane in planes.split(kept, typesize, filter)[0]]
    return coded, content[n_whole:]


def decode_block(shape: int, payload: bytes, content_size: int) -> bytes:
    """Decode the payload of one block.

    Parameters
    ----------
    shape : int
        The block's shape byte.
    payload : bytes
    content_size : int
        Size of the content in bytes, 1 to 1 MiB; the payload does not tell it.

    Returns
    -------
    bytes

    Raises
    ------
    CorruptDataError
        If the payload is not exactly that of such a block.
    UnsupportedFormatError
        If the shape or the mode of a plane is not one that the format has.
    ValueError
        If `content_size` is not one that a block can have.

    Notes
    -----
    docs/format.md, "Byte planes (kind 1)". The checksum belongs to the block's header and is
    compared in `decompress`.

    Examples
    --------
    >>> decode_block(0, b"\\x01\\x01\\x00\\x00z", 7)
    b'zzzzzzz'
    """
    if not 1 <= content_size <= _BLOCK_CONTENT_MAX:
        raise ValueError(f"a block has 1 byte to 1 MiB of content, not {content_size}")
    typesize = planes.TYPE_SIZES[shape & 3]
    filter = shape >> 2
    try:
        planes.check_shape(typesize, filter)
    except ValueError as error:
        raise UnsupportedFormatError(f"unknown shape {shape:#04x}: {error}") from None
    n, n_rest = divmod(content_size, typesize)
    if n == 0:
        raise UnsupportedFormatError(
            f"{content_size} bytes of content are no element of {typesize} bytes (shape {shape:#04x})"
        )

    sparse = filter & planes.SPARSE
    n_planes = typesize + bool(sparse)
    at = _PLANE_HEADER_SIZE * n_planes
    if len(payload) < at:
        raise CorruptDataError(
            f"a payload of {len(payload)} bytes has no room for the headers of {n_planes} planes"
        )
    headers = [(payload[i], _from_u24(payload, i + 1)) for i in range(0, at, _PLANE_HEADER_SIZE)]
    # First, because the sizes of planes in an unknown mode may mean anything.
    for p, (mode, _) in enumerate(headers):
        if mode not in MODES:
            raise UnsupportedFormatError(f"plane {p} has the unknown mode {mode}")
    # Before any plane is decoded, so that no claim is believed that the data cannot hold.
    expected = at + sum(size for _, size in headers) + n_rest
    if len(payload) != expected:
        raise CorruptDataError(
            f"the planes and the rest take {expected} bytes, the payload has {len(payload)}"
        )

    decoded = []
    n_here = n
    for p, (mode, size) in enumerate(headers):
        with _located(f"plane {p}, at byte {at} of the payload"):
            decoded.append(decode_plane(mode, payload[at : at + size], n_here))
        at += size
        if sparse and p == 0:
            positions = decoded.pop()
            if max(positions) > _MINUS_ZERO or _KEPT not in positions:
                raise CorruptDataError("positions are not all 0, 1 or 2, or none of them is 1")
            n_here = positions.count(_KEPT)
    content = planes.join(decoded, b"", typesize, filter & ~planes.SPARSE)
    if sparse:
        kept = (content[k : k + typesize] for k in range(0, len(content), typesize))
        zeros = {_ZERO: bytes(typesize), _MINUS_ZERO: bytes(typesize - 1) + b"\x80"}
        content = b"".join(next(kept) if p == _KEPT else zeros[p] for p in positions)
    return content + payload[at:]


# ---- Writing frames -----------------------------------------------------------------------------


def compress(data: bytes, typesize: int = 1, filter: int = planes.NONE, codec: str = "auto") -> bytes:
    """Compress bytes into one frame.

    Parameters
    ----------
    data : bytes
    typesize : {1, 2, 4, 8}
        Size in bytes of the elements that `data` consists of.
    filter : int
        For all blocks: 0 for none, 1 to 4 to rotate by so many bits, 5 for differences, with 8 added to leave
        out elements that are zero.
    codec : {"auto", "huffman", "lzw", "raw"}

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        If an argument is not one of those above.

    Notes
    -----
    docs/format.md, "Files and frames" and "What our encoder chooses". Bytes at the end that are
    less than an element, and would be a block of their own, are coded as single bytes.

    Examples
    --------
    >>> len(compress(b""))
    25
    >>> decompress(compress(b"tensors") + compress(b", terse"))
    b'tensors, terse'
    """
    planes.check_shape(typesize, filter)
    parts = [_pack_header(len(data))]
    entries = []
    size = _BLOCK_SIZES[typesize]
    for start in range(0, len(data), size):
        content = data[start : start + size]
        if len(content) < typesize:
            shape, payload = encode_block(content, codec=codec)
        else:
            shape, payload = encode_block(content, typesize, filter, codec)
        sizes = _u24(len(content)) + _u24(len(payload))
        # The place of the content is the seed, so that blocks cannot change places unnoticed.
        check = xxh3_64_intdigest(content, start)
        parts.append(bytes([_KIND_PLANES, shape]) + sizes + check.to_bytes(8, "little") + payload)
        entries.append(sizes)
    parts.append(_pack_end(entries, len(data)))
    return b"".join(parts)


def _pack_header(content_size: int) -> bytes:
    front = _MAGIC + bytes([_VERSION, _FLAG_CONTENT_SIZE])
    back = content_size.to_bytes(8, "little")
    return front + _header_check(front + back) + back


def _header_check(fields: bytes) -> bytes:
    """Hash the header without the check itself."""
    return (xxh3_64_intdigest(fields, 0) & 0xFFFF).to_bytes(2, "little")


def _pack_end(entries: list[bytes], content_size: int) -> bytes:
    """Make the end of a frame; `entries` has the two sizes of each block, as in its header."""
    # The place of a single block is known without an index.
    n_entries = len(entries) if len(entries) > 1 else 0
    index = b"".join(entries[:n_entries])
    totals = content_size.to_bytes(8, "little") + len(entries).to_bytes(8, "little")
    check = xxh3_64_intdigest(index + totals, 0) & 0xFFFFFFFF
    return bytes([_KIND_END]) + index + n_entries.to_bytes(4, "little") + check.to_bytes(4, "little")


# ---- Reading frames -----------------------------------------------------------------------------


def decompress(data: bytes) -> bytes:
    """Decompress one or more joined frames.

    Parameters
    ----------
    data : bytes
        Frames and nothing else.

    Returns
    -------
    bytes
        The content of all frames, joined.

    Raises
    ------
    CorruptDataError
        If anything is not as the format has it; `TruncatedDataError` if the data ends early.
    UnsupportedFormatError
        If the version, a flag, a kind of block, a shape or a plane's mode is unknown.

    Notes
    -----
    docs/format.md, "Files and frames".

    Examples
    --------
    >>> decompress(compress(bytes(1000)))[:4]
    b'\\x00\\x00\\x00\\x00'
    """
    contents: list[bytes] = []
    at = 0
    while at < len(data) or not contents:
        content, at = _decode_frame(data, at)
        contents.append(content)
    return b"".join(contents)


def _decode_frame(data: bytes, at: int) -> tuple[bytes, int]:
    """Decode the frame that begins at byte `at`; returns its content and where it ends."""
    claim = _unpack_header(data, at)
    at += _HEADER_SIZE
    content = bytearray()
    entries = []
    while (kind := _take(data, at, 1, "a block or the end of a frame")[0]) != _KIND_END:
        if kind != _KIND_PLANES:
            raise UnsupportedFormatError(f"unknown block kind {kind} at byte {at}")
        with _located(f"the block at byte {at}"):
            sizes, block_content, end = _decode_one_block(data, at, len(content))
        content += block_content
        entries.append(sizes)
        if claim is not None and len(content) > claim:
            raise CorruptDataError(f"the block at byte {at} exceeds the frame's content size of {claim}")
        at = end

    # Everything in it follows from the blocks, so there is just one end that fits them.
    expected = _pack_end(entries, len(content))
    end_mark = _take(data, at, len(expected), "the end of a frame")
    if end_mark[:-4] != expected[:-4]:
        raise CorruptDataError(f"the index at byte {at + 1} does not match the blocks")
    if end_mark != expected:
        raise CorruptDataError(f"checksum mismatch in the end of the frame at byte {at}")
    if claim is not None and len(content) != claim:
        raise CorruptDataError(
            f"the frame that ends at byte {at} has {len(content)} bytes of content, its header says {claim}"
        )
    return bytes(content), at + len(expected)


def _unpack_header(data: bytes, at: int) -> int | None:
    """Read a frame header; returns the content size that it claims, if it claims one."""
    # What begins in another way is no frame at all, rather than one that is cut short.
    magic = data[at : at + len(_MAGIC)]
    if magic != _MAGIC[: len(magic)]:
        raise CorruptDataError(f"no .tsr frame at byte {at}: wrong magic number")
    header = _take(data, at, _HEADER_SIZE, "a frame header")
    version, flags = header[4], header[5]
    if version != _VERSION:
        raise UnsupportedFormatError(f"format version {version} at byte {at}; known is {_VERSION}")
    if flags & ~_FLAG_CONTENT_SIZE:
        raise UnsupportedFormatError(f"unknown frame flags {flags:#04x} at byte {at}")
    if header[6:8] != _header_check(header[:6] + header[8:]):
        raise CorruptDataError(f"checksum mismatch in the frame header at byte {at}")
    content_size = int.from_bytes(header[8:], "little")
    if flags & _FLAG_CONTENT_SIZE:
        return content_size
    if content_size:
        raise CorruptDataError(
            f"the frame header at byte {at} gives a content size and says that it is unknown"
        )
    return None


def _decode_one_block(data: bytes, at: int, offset: int) -> tuple[bytes, bytes, int]:
    """Decode and verify the block at byte `at`, whose content has this offset in the frame's.

    Returns its sizes as they stand in the header, its content, and where it ends.
    """
    header = _take(data, at, _BLOCK_HEADER_SIZE, "a block header")
    shape = header[1]
    content_size = _from_u24(header, 2)
    payload_size = _from_u24(header, 5)
    if not 1 <= content_size <= _BLOCK_CONTENT_MAX:
        raise CorruptDataError(f"{content_size} bytes of content, where 1 to 2^20 are allowed")
    if payload_size > content_size + _PAYLOAD_EXCESS_MAX:
        raise CorruptDataError(
            f"a payload of {payload_size} bytes is too long for {content_size} bytes of content"
        )
    at += _BLOCK_HEADER_SIZE
    payload = _take(data, at, payload_size, "a payload")
    content = decode_block(shape, payload, content_size)
    if xxh3_64_intdigest(content, offset) != int.from_bytes(header[8:], "little"):
        raise CorruptDataError(f"checksum mismatch in the content, at byte {offset} of the frame's")
    return header[2:8], content, at + payload_size


def _take(data: bytes, at: int, size: int, what: str) -> bytes:
    if at + size > len(data):
        raise TruncatedDataError(f"the data ends at byte {len(data)}, inside or before {what}")
    return data[at : at + size]


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Say in the message of a data error where it is."""
    try:
        yield
    except TersorError as error:
        raise type(error)(f"{where}: {error}") from None


def _u24(number: int) -> bytes:
    return number.to_bytes(3, "little")


def _from_u24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")
