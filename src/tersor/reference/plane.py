"""One plane of bytes in the mode that suits it (docs/format.md, "Rearranged planes").

Most planes are Huffman coded as they are. Huffman codes have whole bits, though, and that is dear where
few symbols make up most of a plane: one that holds 95 of 100 bytes still takes a bit each time. Three
rearrangements make bytes that stand for several symbols, before they are coded: packing, where there are
at most 16 symbols; flags, which tell the most common symbol from all others; and gaps, the numbers of
common symbols between others. What they make are planes again, coded by the same rules.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import CorruptDataError, UnsupportedFormatError
from . import huffman, lzw

__all__ = ["FLAGS", "GAPS", "LZW", "MODES", "PACKED", "RAW", "SINGLE", "decode_plane", "encode_plane"]

# Modes. The layouts of Huffman data are modes 2 to 4.
RAW = 0
SINGLE = 1
FLAGS = 5
PACKED = 6
LZW = 7
GAPS = 8
MODES = (RAW, SINGLE, huffman.ONE_LANE, huffman.LANES, huffman.LANES_TWICE, FLAGS, PACKED, LZW, GAPS)

DEPTH_MAX = 4
"""Planes may lie within planes so deep."""

# Least sizes for 64 lanes and for twice as many: of a plane, and of the coded data of one within others.
_LANES_MIN = 8 << 10
_LANES_TWICE_MIN = 64 << 10
_NESTED_LANES_MIN = 12 << 10
_NESTED_ONE_LANE_MAX = 32 << 10  # bytes: more take too long, however few bits they have
_NESTED_LANES_TWICE_MIN = 48 << 10

# Smaller planes would lose to the headers what they gain; and what those take beside the entropy.
_REARRANGED_MIN = 512
_REARRANGED_COST = 256
# A rearrangement must save one part in so many.
_EARNED = 64

_GAPS_ESCAPE_MIN = 15


def encode_plane(data: bytes, codec: str = "auto", depth: int = 0) -> tuple[int, bytes]:
    """Code a plane of bytes in the mode that our encoder chooses.

    Parameters
    ----------
    data : bytes
        The plane; not empty.
    codec : {"auto", "huffman", "lzw", "raw"}
        "raw" stores all planes as they are, "lzw" tries LZW as well. The other two are the same as long as
        no other way to compress is fast enough to be tried without being asked for.
    depth : int
        How many planes this one lies within.

    Returns
    -------
    mode : int
        0 raw, 1 single, 2 one lane, 3 64 lanes, 4 2 x 64 lanes, 5 flags, 6 packed, 7 LZW, 8 gaps.
    payload : bytes
        The plane's data, never longer than `data`.

    Raises
    ------
    ValueError
        If `data` is empty or `codec` unknown.

    Notes
    -----
    docs/format.md, "Rearranged planes" and "What our encoder chooses".

    Examples
    --------
    >>> encode_plane(b"aaaaaaaa")
    (1, b'a')
    >>> mode, payload = encode_plane(b"abracadabra" * 5)
    >>> mode, len(payload), decode_plane(mode, payload, 55) == b"abracadabra" * 5
    (2, 22, True)
    """
    n = len(data)
    if n == 0:
        raise ValueError("a plane has one byte or more")
    if codec not in ("auto", "huffman", "lzw", "raw"):
        raise ValueError(f"unknown codec {codec!r}: choose one of auto, huffman, lzw, raw")
    if codec == "raw":
        return RAW, data
    if codec == "lzw":
        mode, payload = encode_plane(data)
        codes = lzw.encode(data, lzw.TSR)
        return (LZW, codes) if len(codes) < len(payload) else (mode, payload)
    if data.count(data[0]) == n:
        return SINGLE, data[:1]

    counts = huffman.estimate_counts(data, exact=depth > 0)
    if depth < DEPTH_MAX and n >= _REARRANGED_MIN:
        direct = _estimate_sparse(counts, n) if _is_sparse(counts) else huffman.plan(counts, n)[2]
        mode = _choose_rearrangement(data, counts, direct)
        payload = data
        if mode == PACKED:
            payload = _encode_packed(data, counts, codec, depth)
        elif mode != RAW:
            payload = _encode_literals(data, mode, _most_common(counts), codec, depth)
        if len(payload) < min(direct, n):
            return mode, payload

    lengths, table, planned = huffman.plan(counts, n)
    if planned >= n:  # saves the work of coding where the outcome is clear
        return RAW, data
    mode = _choose_layout(n, planned, depth)
    payload = table + huffman.encode(data, lengths, mode)
    return (mode, payload) if len(payload) < n else (RAW, data)


def decode_plane(mode: int, payload: bytes, n: int, depth: int = 0) -> bytes:
    """Decode the data of one plane.

    Parameters
    ----------
    mode : int
        As `encode_plane` returned it.
    payload : bytes
        The plane's data.
    n : int
        The plane's size in bytes, at least 1; the data does not tell it.
    depth : int
        How many planes this one lies within.

    Returns
    -------
    bytes

    Raises
    ------
    CorruptDataError
        If the data is not exactly a plane of `n` bytes in this mode.
    UnsupportedFormatError
        If the format has no such mode.

    Notes
    -----
    docs/format.md, "Rearranged planes".

    Examples
    --------
    >>> decode_plane(SINGLE, b"a", 8)
    b'aaaaaaaa'
    """
    if mode not in MODES:
        raise UnsupportedFormatError(f"unknown plane mode {mode}")
    if mode == RAW:
        if len(payload) != n:
            raise CorruptDataError(f"a raw plane of {n} bytes has {len(payload)} bytes of data")
        return payload
    if mode == SINGLE:
        if len(payload) != 1:
            raise CorruptDataError(f"a single plane has {len(payload)} bytes of data, not 1")
        return payload * n
    if mode == LZW:
        return _decode_lzw(payload, n, depth)
    if mode not in _REARRANGED:
        return huffman.decode(mode, payload, n)
    if depth >= DEPTH_MAX:
        raise CorruptDataError(f"planes are nested more than {DEPTH_MAX} deep")
    return _REARRANGED[mode](payload, n, depth)


def _decode_lzw(payload: bytes, n: int, depth: int) -> bytes:
    if depth:
        raise CorruptDataError("an LZW plane lies within no other")
    decoded = lzw.decode(payload, lzw.TSR, n + 1)
    if len(decoded.content) != n:
        raise CorruptDataError(f"the codes do not stand for {n} bytes")
    if 8 * len(payload) - decoded.n_bits >= 8 or int.from_bytes(payload, "little") >> decoded.n_bits:
        raise CorruptDataError("the codes are followed by more than the zeros that fill up a byte")
    return decoded.content


# ---- Estimates ----------------------------------------------------------------------------------
# In units of 1/256 bit and without fractions, so that every machine chooses the same.


def log2_256(c: int) -> int:
    """Approximate 256 log2(c)."""
    e = c.bit_length() - 1
    fraction = (c << 16 >> e) - (1 << 16)
    bend = fraction * (65536 - fraction) >> 16
    return (e << 8) + (fraction + (bend * 22 >> 6) >> 8)


def _entropy_of_sample(sample: bytes) -> int:
    """Estimate the entropy of all from that of some.

    A sample misses symbols and so looks poorer than the whole: half of log2(e) for each symbol that it
    has makes up for most of that (Miller, 1955).
    """
    counts = [sample.count(symbol) for symbol in set(sample)]
    bits = len(sample) * log2_256(len(sample)) - sum(c * log2_256(c) for c in counts if c > 1)
    return bits + (len(counts) - 1) * 185


def _entropy_of_counts(counts: Sequence[int], without: int | None, n: int) -> int:
    """Entropy of the symbols counted, in a plane of n bytes; `without` is left out."""
    kept = [count for symbol, count in enumerate(counts) if symbol != without and count]
    bits = sum(count * (log2_256(sum(kept)) - log2_256(count)) for count in kept)
    return bits * n // sum(counts)


def _most_common(counts: Sequence[int]) -> int:
    return list(counts).index(max(counts))


def _is_sparse(counts: Sequence[int]) -> bool:
    return max(counts) * 8 >= sum(counts) * 7


def _estimate_sparse(counts: Sequence[int], n: int) -> int:
    """Size of a sparse plane as Huffman codes, without making the code.

    The common symbol has one bit, and the others have theirs behind the other bit.
    """
    return n // 8 + _entropy_of_counts(counts, _most_common(counts), n) // 256 // 8


def _estimate_rearranged(data: bytes, counts: Sequence[int], mode: int) -> int:
    """Size of a plane after a rearrangement, by the entropy of a sample of it."""
    n = len(data)
    stride = huffman.SAMPLE_PIECE if n < huffman.SAMPLED_MIN else huffman.SAMPLE_STRIDE
    starts = range(0, n - huffman.SAMPLE_PIECE + 1, stride)
    pieces = b"".join(data[at : at + huffman.SAMPLE_PIECE] for at in starts)
    if mode == FLAGS:
        common = _most_common(counts)
        bits, sample = 1, _split_flags(pieces, common)[0]
        literal_cost = _entropy_of_counts(counts, common, n)
    else:
        symbols = _alphabet(counts)
        bits, sample = _packed_bits(symbols), _pack(pieces, symbols)
        literal_cost = 0
    cost = _entropy_of_sample(sample) * _packed_size(n, bits) // len(sample) + literal_cost
    return cost // 256 // 8 + _REARRANGED_COST


def _choose_rearrangement(data: bytes, counts: Sequence[int], direct: int) -> int:
    """Find the rearrangement for a plane that Huffman codes alone bring to `direct` bytes.

    RAW when there is none. It has to earn its time: a code that is close to the entropy is left alone.
    """
    least = _entropy_of_counts(counts, None, len(data)) // 256 // 8
    direct -= direct // _EARNED
    if direct < least:
        return RAW
    if _is_sparse(counts):  # needs no sample: gaps cost what the entropy says
        return GAPS if least + _REARRANGED_COST < direct else RAW
    candidates = []
    if len(_alphabet(counts)) <= 16:
        candidates.append(PACKED)
    if max(counts) * 4 >= sum(counts):
        candidates.append(FLAGS)
    best = RAW
    for mode in candidates:
        size = _estimate_rearranged(data, counts, mode)
        if size < direct:
            best, direct = mode, size
    return best


def _choose_layout(n: int, planned: int, depth: int) -> int:
    """Choose a Huffman layout.

    Lanes have a fixed cost, some 200 bytes a stream, and speed. Within a rearrangement the plane has
    fewer bytes than what it stands for, so that there it is their cost that counts.
    """
    spares_lanes = depth > 0 and planned < _NESTED_LANES_MIN and n < _NESTED_ONE_LANE_MAX
    if n < _LANES_MIN or spares_lanes:
        return huffman.ONE_LANE
    if n < _LANES_TWICE_MIN or (depth and planned < _NESTED_LANES_TWICE_MIN):
        return huffman.LANES
    return huffman.LANES_TWICE


# ---- Packed symbols -----------------------------------------------------------------------------


def _alphabet(counts: Sequence[int]) -> list[int]:
    return [symbol for symbol, count in enumerate(counts) if count]


def _packed_bits(symbols: Sequence[int]) -> int:
    return 1 if len(symbols) <= 2 else 2 if len(symbols) <= 4 else 4


def _packed_size(n: int, bits: int) -> int:
    return -(-n * bits // 8)


def _pack(data: bytes, symbols: Sequence[int]) -> bytes:
    """Put the positions of the data's bytes in `symbols` into bytes, the first into the lowest bits."""
    bits = _packed_bits(symbols)
    index = {symbol: i for i, symbol in enumerate(symbols)}
    per_byte = 8 // bits
    packed = bytearray()
    for at in range(0, len(data), per_byte):
        number = 0
        for k, byte in enumerate(data[at : at + per_byte]):
            number |= index[byte] << (bits * k)
        packed.append(number)
    return bytes(packed)


def _unpack(packed: bytes, bits: int, symbols: bytes, n: int) -> bytes:
    per_byte = 8 // bits
    mask = (1 << bits) - 1
    strings = [bytes(symbols[b >> (bits * k) & mask] for k in range(per_byte)) for b in range(256)]
    if n % per_byte and packed[-1] >> (bits * (n % per_byte)):
        raise CorruptDataError("the bits after the last packed symbol are not zero")
    return b"".join(strings[b] for b in packed)[:n]


def _encode_packed(data: bytes, counts: Sequence[int], codec: str, depth: int) -> bytes:
    symbols = _alphabet(counts)
    bits = _packed_bits(symbols)
    mode, payload = encode_plane(_pack(data, symbols), codec, depth + 1)
    return bytes([bits]) + bytes(symbols).ljust(1 << bits, b"\0") + bytes([mode]) + payload


def _decode_packed(payload: bytes, n: int, depth: int) -> bytes:
    bits = payload[0] if payload else 0
    if bits not in (1, 2, 4) or len(payload) < 3 + (1 << bits):
        raise CorruptDataError(f"no packed plane: {bits} bits, {len(payload)} bytes of data")
    at = 1 + (1 << bits)
    packed = decode_plane(payload[at], payload[at + 1 :], _packed_size(n, bits), depth + 1)
    return _unpack(packed, bits, payload[1:at], n)


# ---- Flags and gaps -----------------------------------------------------------------------------


def _split_flags(data: bytes, common: int) -> tuple[bytes, bytes]:
    """Tell the common symbol (0) from others (1) in a bit for each byte, and collect the others."""
    literals = bytes(byte for byte in data if byte != common)
    flags = _pack(bytes(byte != common for byte in data), (0, 1))
    return flags, literals


def _gaps(data: bytes, common: int, escape: int) -> bytes:
    """Count the common symbols before each literal; `escape` stands for so many without one."""
    gaps = bytearray()
    next = 0  # where a gap of zero would be
    for at, byte in enumerate(data):
        if byte == common:
            continue
        n_escapes, gap = divmod(at - next, escape)
        gaps += bytes([escape]) * n_escapes + bytes([gap])
        next = at + 1
    return bytes(gaps)


def _encode_literals(data: bytes, mode: int, common: int, codec: str, depth: int) -> bytes:
    """Code where the literals are, by flags or gaps, and what they are."""
    n = len(data)
    places, literals = _split_flags(data, common)
    if len(literals) > (n // 4 * 3 if mode == FLAGS else n // 3):
        return data  # more than the sample let expect
    head = bytes([common])
    if mode == GAPS:
        escape = _GAPS_ESCAPE_MIN
        # Twice the mean gap: escapes are rare, and the code table is small.
        while escape < 255 and escape * len(literals) < 2 * (n - len(literals)):
            escape = 2 * escape + 1
        places = _gaps(data, common, escape)
        head += bytes([escape]) + len(places).to_bytes(3, "little")
    places_mode, places_payload = encode_plane(places, codec, depth + 1)
    literals_mode, literals_payload = encode_plane(literals, codec, depth + 1)
    head += bytes([places_mode]) + len(places_payload).to_bytes(3, "little") + bytes([literals_mode])
    return head + places_payload + literals_payload


def _decode_places(payload: bytes, at: int, n: int, depth: int) -> tuple[bytes, int]:
    """Decode n flags or gaps whose mode is at `at`; returns also where the literals' data begins."""
    start = at + 5
    if len(payload) <= start:
        raise CorruptDataError(f"{len(payload)} bytes are too few for flags or gaps")
    end = start + int.from_bytes(payload[at + 1 : at + 4], "little")
    if end > len(payload):
        raise CorruptDataError(f"{end - start} bytes of flags or gaps do not fit in {len(payload)}")
    return decode_plane(payload[at], payload[start:end], n, depth + 1), end


def _decode_flags(payload: bytes, n: int, depth: int) -> bytes:
    packed, at = _decode_places(payload, 1, _packed_size(n, 1), depth)
    flags = _unpack(packed, 1, bytes([0, 1]), n)
    n_literals = flags.count(1)
    if n_literals == 0:
        raise CorruptDataError("flags without a literal")
    literals = iter(decode_plane(payload[5], payload[at:], n_literals, depth + 1))
    return bytes(next(literals) if flag else payload[0] for flag in flags)


def _decode_gaps(payload: bytes, n: int, depth: int) -> bytes:
    if len(payload) < 11:
        raise CorruptDataError(f"{len(payload)} bytes are too few for gaps")
    common, escape = payload[:2]
    n_gaps = int.from_bytes(payload[2:5], "little")
    if not 1 <= n_gaps <= n // 2:
        raise CorruptDataError(f"a plane of {n} bytes cannot have {n_gaps} gaps")
    gaps, at = _decode_places(payload, 5, n_gaps, depth)
    n_literals = n_gaps - gaps.count(escape)
    if max(gaps) > escape or sum(gaps) + n_literals > n or gaps[-1] == escape:
        raise CorruptDataError(f"the gaps do not fit in a plane of {n} bytes")
    literals = iter(decode_plane(payload[9], payload[at:], n_literals, depth + 1))
    content = bytearray()
    for gap in gaps:
        content += bytes([common]) * gap
        if gap != escape:
            content.append(next(literals))
    return bytes(content).ljust(n, bytes([common]))


_REARRANGED = {FLAGS: _decode_flags, PACKED: _decode_packed, GAPS: _decode_gaps}
