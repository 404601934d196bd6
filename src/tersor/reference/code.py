"""Canonical Huffman codes over any alphabet (docs/huffman.md), in plain Python.

Symbols are known here by their rank: their place in canonical order, shorter codes first. `lengths` are
always those of all ranks, so they never decrease.
"""

from __future__ import annotations

from bisect import bisect
from collections import deque
from collections.abc import Sequence

from ..errors import CorruptDataError
from . import huffman
from .huffman import _BitWriter, canonical_codes

__all__ = [
    "STRINGS",
    "STRINGS_MIN",
    "canonical_codes",
    "code_lengths",
    "decode",
    "decode_bits",
    "encode",
    "encode_bits",
    "read_table",
    "write_table",
]

STRINGS = 6
"""Bit strings that long data are cut into."""
STRINGS_MIN = 1 << 14
"""Symbols from which on data are long."""

TABLE_MAX_LENGTH = 56
"""Longest code that a table holds, in bits."""
_FIRST_PREVIOUS = 8


# ---- Code lengths ---------------------------------------------------------------------------------


def code_lengths(weights: Sequence[int], max_length: int | None = None) -> list[int]:
    """Find the code lengths that make coded data shortest.

    Parameters
    ----------
    weights : sequence of int
        How often each of two or more symbols occurs, in ascending order.
    max_length : int, optional
        Longest code allowed, in bits.

    Returns
    -------
    list of int
        In descending order.

    Notes
    -----
    Huffman's algorithm joins the two lightest nodes until one is left. Nodes are made in the order of their
    weight, so two queues do for a heap [1]_. Where that code is longer than allowed, `huffman.code_lengths`
    finds the best one that is not.

    References
    ----------
    .. [1] J. van Leeuwen, "On the construction of Huffman trees", Proc. 3rd ICALP (1976) 382-410.

    Examples
    --------
    >>> code_lengths([1, 1, 2, 4, 8])
    [4, 4, 3, 2, 1]
    >>> code_lengths([1, 1, 2, 4, 8], max_length=3)
    [3, 3, 3, 3, 1]
    """
    # A node is its weight and its children; a leaf has none.
    Node = tuple[int, tuple["Node", ...]]  # type: ignore[misc]  # noqa: N806
    leaves: deque[Node] = deque((weight, ()) for weight in weights)
    joined: deque[Node] = deque()

    def lightest() -> Node:
        if leaves and (not joined or leaves[0][0] <= joined[0][0]):
            return leaves.popleft()
        return joined.popleft()

    while len(leaves) + len(joined) > 1:
        first, second = lightest(), lightest()
        joined.append((first[0] + second[0], (first, second)))

    lengths = []
    level = [joined[0]]
    depth = 0
    while level:
        lengths += [depth for node in level if not node[1]]
        level = [child for node in level for child in node[1]]
        depth += 1
    if max_length is not None and lengths[-1] > max_length:
        return huffman.code_lengths(weights, max_length)
    return lengths[::-1]


# ---- Code tables ------------------------------------------------------------------------------------


def write_table(lengths: Sequence[int]) -> bytes:
    """Write down the code length of every value of an alphabet, 0 for those without a code.

    Notes
    -----
    docs/huffman.md, "Code table".

    Examples
    --------
    >>> write_table([0, 0, 1, 2, 2]).hex()
    '6c7380'
    """
    out = _BitWriter()
    previous = _FIRST_PREVIOUS
    at = 0
    while at < len(lengths):
        gap = _run(lengths, at, present=False)
        _write_gamma(out, gap + (at == 0))
        at += gap
        run = _run(lengths, at, present=True)
        if run:
            _write_gamma(out, run)
        for length in lengths[at : at + run]:
            difference = length - previous
            _write_gamma(out, (2 * difference if difference >= 0 else -2 * difference - 1) + 1)
            previous = length
        at += run
    return out.finish()


def _run(lengths: Sequence[int], at: int, present: bool) -> int:
    end = at
    while end < len(lengths) and bool(lengths[end]) == present:
        end += 1
    return end - at


def _write_gamma(out: _BitWriter, value: int) -> None:
    out.write(value, 2 * value.bit_length() - 1)


def read_table(data: bytes, n_values: int) -> list[int]:
    """Read what `write_table` wrote.

    Raises
    ------
    CorruptDataError
        If it is not exactly the table of a complete code for an alphabet of so many values.

    Examples
    --------
    >>> read_table(bytes.fromhex("6c7380"), 5)
    [0, 0, 1, 2, 2]
    """
    bits = "".join(f"{byte:08b}" for byte in data)
    at = 0

    def read_gamma() -> int:
        nonlocal at
        one = bits.find("1", at)
        n_more = one - at
        if one < 0 or one + n_more >= len(bits):
            raise CorruptDataError("the data ends inside the code table")
        at = one + n_more + 1
        return int(bits[one:at], 2)

    lengths: list[int] = []
    length = _FIRST_PREVIOUS
    while len(lengths) < n_values:
        lengths += [0] * _within(read_gamma() - (not lengths), n_values - len(lengths))
        if len(lengths) == n_values:
            break
        for _ in range(_within(read_gamma(), n_values - len(lengths))):
            half, odd = divmod(read_gamma() - 1, 2)
            length += -half - 1 if odd else half
            if not 1 <= length <= TABLE_MAX_LENGTH:
                raise CorruptDataError("a code length is zero or above the limit")
            lengths.append(length)
    if len(bits) - at >= 8:
        raise CorruptDataError("bytes are left over after the code table")
    if "1" in bits[at:]:
        raise CorruptDataError("padding bits are not zero")
    used = sum(1 << TABLE_MAX_LENGTH - length for length in lengths if length)
    if used != 1 << TABLE_MAX_LENGTH and [length for length in lengths if length] != [1]:
        fault = "over-subscribed" if used > 1 << TABLE_MAX_LENGTH else "incomplete"
        raise CorruptDataError(f"the code lengths are {fault}")
    return lengths


def _within(run: int, n_left: int) -> int:
    if run > n_left:
        raise CorruptDataError("the code table describes more symbols than there are")
    return run


# ---- Bit strings --------------------------------------------------------------------------------------


def encode_bits(ranks: Sequence[int], lengths: Sequence[int]) -> tuple[bytes, int]:
    """Encode symbols as one bit string: its bytes, and its number of bits.

    Examples
    --------
    >>> encode_bits([1, 0, 2], [1, 2, 2])
    (b'\\x98', 5)
    """
    codes = canonical_codes(lengths)
    out = _BitWriter()
    for rank in ranks:
        out.write(codes[rank], lengths[rank])
    return out.finish(), sum(lengths[rank] for rank in ranks)


def decode_bits(data: bytes, lengths: Sequence[int], *, n_bits: int, n_max: int) -> tuple[list[int], int]:
    """Decode until there are `n_max` symbols or `n_bits` bits are used up: the ranks, and the bits used.

    Raises
    ------
    CorruptDataError
        If the bits end inside a code.

    Notes
    -----
    Codes of l bits are numbers that count upwards, so a code is as long as it takes to be no larger than
    the last of its length, and the distance from the first tells the rank.

    Examples
    --------
    >>> decode_bits(b"\\x98", [1, 2, 2], n_bits=5, n_max=9)
    ([1, 0, 2], 5)
    """
    firsts = [bisect(lengths, length - 1) for length in range(lengths[-1] + 2)]  # rank
    codes = canonical_codes(lengths)
    ranks: list[int] = []
    code = length = used = 0
    for at in range(n_bits):
        if len(ranks) == n_max:
            break
        code = code << 1 | data[at >> 3] >> (7 - (at & 7)) & 1
        length += 1
        first, end = firsts[length], firsts[length + 1]
        if first < end and code - codes[first] < end - first:
            ranks.append(first + code - codes[first])
            used = at + 1
            code = length = 0
        elif length == lengths[-1]:
            raise CorruptDataError("the bits are no symbol's code")
    if length:
        raise CorruptDataError("the bit stream ends before the last symbol")
    return ranks, used


# ---- Data -----------------------------------------------------------------------------------------------


def encode(ranks: Sequence[int], lengths: Sequence[int]) -> bytes:
    """Encode symbols with their number.

    Notes
    -----
    docs/huffman.md, "Encoded data".

    Examples
    --------
    >>> encode([1, 0, 2], [1, 2, 2])
    b'\\x03\\x98'
    """
    strings = [encode_bits(ranks[start:end], lengths)[0] for start, end in _parts(len(ranks))]
    sizes = b"".join(len(string).to_bytes(8, "little") for string in strings[:-1])
    return _count(len(ranks)) + sizes + b"".join(strings)


def _parts(n: int) -> list[tuple[int, int]]:
    n_strings = STRINGS if n >= STRINGS_MIN else 1
    starts = [i * (n // n_strings) for i in range(n_strings)]
    return list(zip(starts, [*starts[1:], n], strict=True))


def _count(n: int) -> bytes:
    out = bytearray()
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def decode(data: bytes, lengths: Sequence[int], count: int | None = None) -> list[int]:
    """Decode what `encode` returned, and insist on `count` symbols if it is given.

    Raises
    ------
    CorruptDataError
        If the data are not exactly what `encode` writes.

    Examples
    --------
    >>> decode(b"\\x03\\x98", [1, 2, 2])
    [1, 0, 2]
    """
    n = at = 0
    while True:
        if at == len(data):
            raise CorruptDataError("the bit stream ends before the last symbol")
        n |= (data[at] & 127) << (7 * at)
        at += 1
        if data[at - 1] < 128:
            break
        if at == 10:
            break
    if data[at - 1] >= 128 or (at > 1 and not data[at - 1]) or n > 8 * (len(data) - at) // lengths[0]:
        raise CorruptDataError("the count of symbols is not one that the data can hold")
    if count is not None and count != n:
        raise CorruptDataError(f"the data hold {n} symbols, not {count}")

    parts = _parts(n)
    sizes = [int.from_bytes(data[at + 8 * i : at + 8 * i + 8], "little") for i in range(len(parts) - 1)]
    at += 8 * len(sizes)
    if sum(sizes) > len(data) - at:
        raise CorruptDataError("the bit stream ends before the last symbol")
    ranks: list[int] = []
    for (start, end), size in zip(parts, [*sizes, len(data) - at - sum(sizes)], strict=True):
        string = data[at : at + size]
        found, used = decode_bits(string, lengths, n_bits=8 * size, n_max=end - start)
        if len(found) < end - start:
            raise CorruptDataError("the bit stream ends before the last symbol")
        if 8 * size - used >= 8:
            raise CorruptDataError("bits are left over after the last symbol")
        if used % 8 and string[-1] & (1 << 8 - used % 8) - 1:
            raise CorruptDataError("padding bits are not zero")
        ranks += found
        at += size
    return ranks
