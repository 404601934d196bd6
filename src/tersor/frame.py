"""The `.tsr` frame (docs/format.md): blocks, frames, and one-shot coding of bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from xxhash import xxh3_64_intdigest

from . import _native
from .errors import (
    CorruptDataError,
    LimitError,
    TruncatedDataError,
    UnsupportedFormatError,
)
from .parallel import n_workers, ordered_map

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAGIC = b"\x9bTSR"
VERSION = 1
KIND_END = 0
KIND_PLANES = 1
FLAG_CONTENT_SIZE = 1
SPARSE = _native.FILTER_SPARSE << 2  # in a block's shape

HEADER = struct.Struct("<4sBBHQ")
BLOCK = struct.Struct("<BB3s3sQ")
END = struct.Struct("<II")
ENTRY_SIZE = 6
PAYLOAD_EXCESS_MAX = 64

CODECS = {
    "auto": _native.CODEC_AUTO,
    "huffman": _native.CODEC_HUFFMAN,
    "lzw": _native.CODEC_LZW,
    "raw": _native.CODEC_RAW,
}

# Header, and the plane headers of the widest type, with that of positions.
_BLOCK_OVERHEAD = BLOCK.size + 9 * 4

# Content handed to a worker at a time: enough to make the hand-over cheap.
_BATCH = 2 << 20


# Large blocks spend less on tables and lane states, small ones follow the data more closely.
_BLOCK_SIZES = {1: 256 << 10, 2: 512 << 10, 4: 512 << 10, 8: 1 << 20}


def block_size(typesize: int) -> int:
    """Content of a full block in bytes."""
    return _BLOCK_SIZES[typesize]


def check_options(codec: str, typesize: int) -> None:
    """Raise `ValueError` for a codec or type size that does not exist."""
    if codec not in CODECS:
        raise ValueError(f"unknown codec {codec!r}: choose one of {', '.join(CODECS)}")
    if typesize not in _BLOCK_SIZES:
        raise ValueError(f"typesize must be 1, 2, 4 or 8, not {typesize!r}")


# ---- Writing ------------------------------------------------------------------------------------


def pack_header(content_size: int | None) -> bytes:
    """Make a frame header; `None` where the content's size is not known yet."""
    flags = 0 if content_size is None else FLAG_CONTENT_SIZE
    known = content_size or 0
    check = _header_check(HEADER.pack(MAGIC, VERSION, flags, 0, known))
    return HEADER.pack(MAGIC, VERSION, flags, check, known)


def _header_check(header: bytes) -> int:
    return xxh3_64_intdigest(header[:6] + header[8:]) & 0xFFFF


def end_check(index: bytes, content_size: int, n_blocks: int) -> int:
    """Compute the check of a frame's end."""
    return xxh3_64_intdigest(index + struct.pack("<QQ", content_size, n_blocks)) & 0xFFFFFFFF


def _pack_end(index: bytes, content_size: int, n_blocks: int) -> bytes:
    check = end_check(index, content_size, n_blocks)
    return bytes([KIND_END]) + index + END.pack(len(index) // ENTRY_SIZE, check)


@lru_cache(maxsize=1024)
def _around_block(content_size: int) -> tuple[bytes, bytes]:
    """Make what stands before and after the only block of a frame.

    Kept, because for small frames it is most of the work, and they come in few sizes.
    """
    return pack_header(content_size), _pack_end(b"", content_size, 1)


def _encode_block(content: memoryview, offset: int, typesize: int, codec: int, out: memoryview) -> int:
    """Code a block, header and all, to the front of `out`; returns its size there."""
    size = len(content)
    # First, because the hash reads in order and so brings the block into the cache.
    check = xxh3_64_intdigest(content, offset)
    shape, n_payload = _native.encode_block_into(
        content, out[BLOCK.size :], typesize if size >= typesize else 1, codec=codec
    )
    sizes = size.to_bytes(3, "little"), n_payload.to_bytes(3, "little")
    BLOCK.pack_into(out, 0, KIND_PLANES, shape, *sizes, check)
    return BLOCK.size + n_payload


class FrameWriter:
    """Makes the parts of one frame; the caller puts them one after another.

    Parameters
    ----------
    codec : str
    threads : int or None
        Workers for `blocks`; `None` is one for each core.
    """

    def __init__(self, codec: str = "auto", *, threads: int | None = None) -> None:
        self._codec = CODECS[codec]
        self._threads = threads
        self._index = bytearray()
        self._buffers: list[bytearray] = []  # free for use by a worker
        self.content_size = 0

    def blocks(self, content: memoryview, typesize: int) -> Iterator[memoryview]:
        """Code content that follows what came before, in blocks.

        Yields parts of the frame; each is valid until the next is taken, because its memory is used
        again.
        """
        size = block_size(typesize)
        batch = min(max(_BATCH // size, 1) * size, len(content))
        n_blocks = -(-batch // size)
        capacity = batch + n_blocks * _BLOCK_OVERHEAD + _native.encode_bound(min(size, batch))
        start = self.content_size
        self.content_size += len(content)

        def encode(at: int) -> tuple[bytearray, int, bytes]:
            try:
                buffer = self._buffers.pop()
            except IndexError:
                buffer = bytearray(capacity)
            if len(buffer) < capacity:
                buffer = bytearray(capacity)
            entries = []
            n = 0
            with memoryview(buffer) as out:
                for b in range(at, min(at + batch, len(content)), size):
                    end = n + _encode_block(content[b : b + size], start + b, typesize, self._codec, out[n:])
                    entries.append(out[n + 2 : n + 2 + ENTRY_SIZE])
                    n = end
                return buffer, n, b"".join(entries)

        for buffer, n, entries in ordered_map(encode, range(0, len(content), batch or 1), self._threads):
            self._index += entries
            with memoryview(buffer) as view:
                yield view[:n]
            self._buffers.append(buffer)

    def end(self) -> bytes:
        """Make the end mark and index."""
        n_blocks = len(self._index) // ENTRY_SIZE
        return _pack_end(bytes(self._index) if n_blocks > 1 else b"", self.content_size, n_blocks)


def compress(data: Buffer, codec: str = "auto", *, typesize: int = 1, threads: int | None = None) -> bytes:
    """Compress bytes into one `.tsr` frame.

    Parameters
    ----------
    data : buffer
        Any contiguous buffer (`bytes`, `memoryview`, `mmap`, NumPy array ...); it is not copied.
    codec : {"auto", "huffman", "lzw", "raw"}
        "auto" takes the smallest of what is fast for each block and byte plane. "lzw" sees repeated strings,
        which Huffman codes do not, and is some thirty times slower; planes that it does not shrink are
        coded as by "auto".
    typesize : {1, 2, 4, 8}
        Size in bytes of the elements that `data` consists of. Above 1, each byte of the elements is
        coded on its own, so that the exponents of floats or the high bytes of integers compress
        although the low ones do not.
    threads : int, optional
        Workers to use; all cores by default. The result does not depend on it.

    Returns
    -------
    bytes
        At most 45 bytes longer than `data` plus 20 for each 256 KiB and 4 for each further byte plane
        of a block.

    Raises
    ------
    TypeError, BufferError
        If `data` is no contiguous buffer of plain bytes.
    ValueError
        If `codec` or `typesize` is unknown.

    Notes
    -----
    Canonical Huffman codes of at most 11 bits [1]_, blocks of 256 KiB to 1 MiB; docs/format.md has the
    layout.

    References
    ----------
    .. [1] D. A. Huffman, "A Method for the Construction of Minimum-Redundancy Codes", Proc. IRE 40
       (1952).

    Examples
    --------
    >>> frame = tersor.compress(b"abracadabra" * 1000)
    >>> len(frame) < 5000, tersor.decompress(frame) == b"abracadabra" * 1000
    (True, True)
    """
    check_options(codec, typesize)
    if threads is not None:
        n_workers(threads)  # raises, however little there is to do
    content = _native.byte_view(data)
    if 0 < len(content) <= block_size(typesize):
        return _compress_block(content, typesize, CODECS[codec])
    writer = FrameWriter(codec, threads=threads)
    n_blocks = -(-len(content) // block_size(typesize))
    bound = frame_bound(len(content), n_blocks)
    return join_frame(writer, writer.blocks(content, typesize), len(content), bound)


def _compress_block(content: memoryview, typesize: int, codec: int) -> bytes:
    """Make a frame of one block with as few calls as possible: small inputs come in large numbers."""
    header, end = _around_block(len(content))
    output = _native.OutputBytes(HEADER.size + BLOCK.size + _native.encode_bound(len(content)))
    with memoryview(output) as out:
        size = HEADER.size + _encode_block(content, 0, typesize, codec, out[HEADER.size :])
        out[: HEADER.size] = header
        out[size : size + len(end)] = end
    return output.finish(size + len(end))


def frame_bound(content_size: int, n_blocks: int) -> int:
    """Most bytes that a frame of so many blocks can take."""
    return HEADER.size + content_size + n_blocks * (_BLOCK_OVERHEAD + ENTRY_SIZE) + 1 + END.size


def join_frame(writer: FrameWriter, blocks: Iterator[memoryview], content_size: int, bound: int) -> bytes:
    """Join header, blocks (parts as `FrameWriter.blocks` yields them) and end of a whole frame."""
    output = _native.OutputBytes(bound)
    size = 0
    with memoryview(output) as out:

        def append(part: bytes | memoryview) -> None:
            nonlocal size
            _native.copy_into(out[size:], part)
            size += len(part)

        append(pack_header(content_size))
        for part in blocks:
            append(part)
        append(writer.end())
    return output.finish(size)


# ---- Reading ------------------------------------------------------------------------------------


class Block(NamedTuple):
    """One block as it stands in a frame."""

    shape: int
    content_size: int
    payload: memoryview
    check: int
    offset: int  # of its content in the frame's content

    def planes(self) -> list[tuple[int, int]]:
        """Mode and size of each plane as it is coded."""
        return _native.inspect_block(self.payload, self.shape, self.content_size)

    def decode_into(self, out: memoryview) -> None:
        """Decode into exactly `content_size` bytes and verify them."""
        _native.decode_block(self.payload, self.shape, out)
        if xxh3_64_intdigest(out, self.offset) != self.check:
            raise CorruptDataError(f"checksum mismatch in the block at content byte {self.offset}")

    def decode(self) -> bytes:
        """Decode into new bytes."""
        output = _native.OutputBytes(self.content_size)
        with memoryview(output) as out:
            self.decode_into(out)
        return output.finish()


@dataclass(slots=True)
class FrameParser:
    """Takes frames apart, one unit (header, block or end) at a time, from whatever holds the bytes.

    `need` tells how many bytes the next unit has; with so many at hand, `take` consumes it.
    """

    in_frame: bool = False
    content_size: int | None = None  # as the header claims
    offset: int = 0  # content seen in this frame
    index: bytearray | None = None
    position: int = 0  # bytes consumed in all, for messages

    def need(self, at_hand: memoryview) -> int:
        """Size of the next unit, or a lower bound when more has to be at hand to tell."""
        if not self.in_frame:
            return HEADER.size
        if not at_hand:
            return 1
        if at_hand[0] == KIND_END:
            return 1 + len(self._expected_index()) + END.size
        if at_hand[0] != KIND_PLANES:
            raise UnsupportedFormatError(f"unknown block kind {at_hand[0]} at byte {self.position}")
        if len(at_hand) < BLOCK.size:
            return BLOCK.size
        return BLOCK.size + self._block_sizes(at_hand)[1]

    def take(self, unit: memoryview) -> Block | None:
        """Consume one unit; returns a block, or `None` for a header or an end."""
        at = self.position
        self.position += len(unit)
        if not self.in_frame:
            self._start(unit, at)
            return None
        if unit[0] == KIND_END:
            self._finish(unit, at)
            return None
        content_size, _ = self._block_sizes(unit)
        _, shape, _, _, check = BLOCK.unpack_from(unit)
        payload = unit[BLOCK.size :]
        _native.inspect_block(payload, shape, content_size)
        block = Block(shape, content_size, payload, check, self.offset)
        assert self.index is not None
        self.index += unit[2:8]
        self.offset += content_size
        if self.content_size is not None and self.offset > self.content_size:
            raise CorruptDataError(
                f"the block at byte {at} exceeds the frame's content size of {self.content_size}"
            )
        return block

    def _start(self, unit: memoryview, at: int) -> None:
        magic, version, flags, check, content_size = HEADER.unpack(unit)
        if magic != MAGIC:
            raise CorruptDataError(f"no .tsr frame at byte {at}: wrong magic number")
        if version != VERSION:
            raise UnsupportedFormatError(f"format version {version} at byte {at}; known is {VERSION}")
        if flags & ~FLAG_CONTENT_SIZE:
            raise UnsupportedFormatError(f"unknown frame flags {flags:#04x} at byte {at}")
        if check != _header_check(bytes(unit)) or (content_size and not flags):
            raise CorruptDataError(f"damaged frame header at byte {at}")
        self.in_frame = True
        self.content_size = content_size if flags else None
        self.offset = 0
        self.index = bytearray()

    def _block_sizes(self, unit: memoryview) -> tuple[int, int]:
        content_size = int.from_bytes(unit[2:5], "little")
        payload_size = int.from_bytes(unit[5:8], "little")
        if (
            not 1 <= content_size <= _native.BLOCK_CONTENT_MAX
            or payload_size > content_size + PAYLOAD_EXCESS_MAX
        ):
            raise CorruptDataError(
                f"impossible sizes (content {content_size}, payload {payload_size}) "
                f"of the block at byte {self.position}"
            )
        return content_size, payload_size

    def _expected_index(self) -> bytes:
        assert self.index is not None
        return bytes(self.index) if len(self.index) > ENTRY_SIZE else b""

    def _finish(self, unit: memoryview, at: int) -> None:
        assert self.index is not None
        index = bytes(unit[1 : -END.size])
        entries, check = END.unpack(unit[-END.size :])
        if index != self._expected_index() or entries != len(index) // ENTRY_SIZE:
            raise CorruptDataError(f"the index at byte {at} does not match the blocks")
        if check != end_check(index, self.offset, len(self.index) // ENTRY_SIZE):
            raise CorruptDataError(f"checksum mismatch in the frame end at byte {at}")
        if self.content_size not in (None, self.offset):
            raise CorruptDataError(
                f"the frame that ends at byte {at} has {self.offset} bytes of content, "
                f"its header says {self.content_size}"
            )
        self.in_frame = False

    def truncated(self) -> TruncatedDataError:
        """The exception for data that ends in the middle of a unit, or holds no frame at all."""
        if self.position == 0 and not self.in_frame:
            return TruncatedDataError("no .tsr frame: the data ends before a frame header")
        return TruncatedDataError(f"the data ends inside a frame, after byte {self.position}")


def iter_blocks(data: memoryview, max_length: int = -1) -> Iterator[Block]:
    """Walk over all frames in `data`, which must hold one or more and nothing else.

    Raises `LimitError` once the content adds up to more than `max_length`, if that is not negative.
    """
    parser = FrameParser()
    total = 0
    while parser.in_frame or parser.position == 0 or parser.position < len(data):
        at_hand = data[parser.position :]
        size = parser.need(at_hand)
        if size > len(at_hand):
            # Bytes that are no frame are told from a frame cut short by how they begin.
            if not parser.in_frame and bytes(at_hand[:4]) != MAGIC[: len(at_hand)]:
                raise CorruptDataError(f"no .tsr frame at byte {parser.position}: wrong magic number")
            raise parser.truncated()
        block = parser.take(at_hand[:size])
        if block is not None:
            total += block.content_size
            if 0 <= max_length < total:
                raise LimitError(f"the content has more than the allowed {max_length} bytes")
            yield block


def _only_block(data: memoryview) -> Block | None:
    """Take the block out of a frame that has no other; `None` if `data` is anything else, sound or not."""
    end = len(data) - 1 - END.size
    if end < HEADER.size + BLOCK.size:
        return None
    kind, shape, content_bytes, payload_bytes, check = BLOCK.unpack_from(data, HEADER.size)
    content_size = int.from_bytes(content_bytes, "little")
    payload = data[HEADER.size + BLOCK.size : end]
    if (
        kind != KIND_PLANES
        or len(payload) != int.from_bytes(payload_bytes, "little")
        or not 1 <= content_size <= _native.BLOCK_CONTENT_MAX
        or len(payload) > content_size + PAYLOAD_EXCESS_MAX
        or (bytes(data[: HEADER.size]), bytes(data[end:])) != _around_block(content_size)
    ):
        return None
    return Block(shape, content_size, payload, check, 0)


def decode_blocks(blocks: list[Block], out: memoryview, threads: int | None = None) -> None:
    """Decode blocks side by side into `out`, which has their total content size."""
    ends = [0]
    for block in blocks:
        ends.append(ends[-1] + block.content_size)
    step = max(_BATCH // max((b.content_size for b in blocks), default=1), 1)

    def decode(first: int) -> None:
        spans = pairwise(ends[first : first + step + 1])
        for block, (start, end) in zip(blocks[first : first + step], spans, strict=True):
            block.decode_into(out[start:end])

    for _ in ordered_map(decode, range(0, len(blocks), step), threads):
        pass


def output_bytes(size: int) -> _native.OutputBytes:
    """Make room for content of a size that the blocks at hand add up to."""
    try:
        return _native.OutputBytes(size)
    except (MemoryError, OverflowError):
        raise LimitError(f"the content of {size} bytes does not fit in memory") from None


def decompress(data: Buffer, *, max_length: int = -1, threads: int | None = None) -> bytes:
    """Decompress one or more joined `.tsr` frames.

    Parameters
    ----------
    data : buffer
        Frames and nothing else; not copied.
    max_length : int
        Largest content to accept, in bytes; -1 accepts any. Give it for data that you do not trust:
        runs of one byte compress by up to 50,000 times.
    threads : int, optional
        Workers to use; all cores by default.

    Returns
    -------
    bytes

    Raises
    ------
    CorruptDataError
        If the data is damaged or is no frame; `TruncatedDataError` if it ends early.
    UnsupportedFormatError
        If it needs a newer tersor.
    LimitError
        If the content is longer than `max_length` or than memory.

    Examples
    --------
    >>> tersor.decompress(tersor.compress(b"tensors") + tersor.compress(b", terse"))
    b'tensors, terse'
    """
    if threads is not None:
        n_workers(threads)
    view = _native.byte_view(data)
    only = _only_block(view)
    if only is not None and not 0 <= max_length < only.content_size:
        return only.decode()
    blocks = list(iter_blocks(view, max_length))
    output = output_bytes(sum(block.content_size for block in blocks))
    with memoryview(output) as out:
        decode_blocks(blocks, out, threads)
    return output.finish()
