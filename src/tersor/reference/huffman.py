"""Huffman coding of a plane of bytes (docs/format.md, "The Huffman code").

A plane becomes Huffman data in four steps, which this module takes in this order: count the bytes,
find the lengths of their codes, turn the lengths into codes, and write table and codes down in one
of three layouts. Reading goes the same way back, from a table of lengths.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import CorruptDataError

__all__ = [
    "LANES",
    "LANES_TWICE",
    "MAX_LENGTH",
    "ONE_LANE",
    "canonical_codes",
    "code_lengths",
    "decode",
    "encode",
    "estimate_counts",
    "plan",
    "read_table",
    "write_table",
]

MAX_LENGTH = 11
"""Longest code of the format, in bits."""

# Layouts: modes of a plane.
ONE_LANE = 2
LANES = 3
LANES_TWICE = 4

_N_LANES = 64
# Within a step the even lanes go first: a vector machine holds them in one register and the odd ones
# in another, and refills one register after the other.
_LANE_ORDER = (*range(0, _N_LANES, 2), *range(1, _N_LANES, 2))
# The tail fills the 16 bits that every lane ends with.
_TAIL_ROOM = 2 * _N_LANES

# Our encoder estimates the counts of planes from this size on: see estimate_counts().
SAMPLED_MIN = 32 << 10
SAMPLE_PIECE = 128
SAMPLE_STRIDE = 17 * 64
_SAMPLE_WEIGHT = 8

# Nibbles of a code table that are no lengths.
_ABSENT_SHORT = 12
_ABSENT_LONG = 13
_REPEAT = 14


# ---- Counts -------------------------------------------------------------------------------------


def _count(data: bytes) -> list[int]:
    return [data.count(symbol) for symbol in range(256)]


def estimate_counts(data: bytes, *, exact: bool = False) -> list[int]:
    """Count the bytes of a plane; of a large one by a sample of an eighth.

    The fast encoder counts no faster than it codes, so it saves most of that work, and its
    twin has to do alike. A sample does two kinds of harm. A byte value that it misses would get no
    code: those are counted in all of the plane, one by one, and if they are more than one byte in 64,
    the sample is dropped. And a code made from it is a little longer than the best.
    """
    if exact or len(data) < SAMPLED_MIN:
        return _count(data)
    sample = b"".join(data[at : at + SAMPLE_PIECE] for at in range(0, len(data), SAMPLE_STRIDE))
    counts = [_SAMPLE_WEIGHT * count for count in _count(sample)]
    n_missed = 0
    for symbol in range(256):
        if not counts[symbol]:
            counts[symbol] = data.count(symbol)
            n_missed += counts[symbol]
    return _count(data) if n_missed > len(data) // 64 else counts


# ---- The code -----------------------------------------------------------------------------------


def code_lengths(counts: Sequence[int], max_length: int = MAX_LENGTH) -> list[int]:
    """Find the code lengths that make coded data shortest, with none above a limit.

    Parameters
    ----------
    counts : sequence of int
        How often each symbol occurs; two or more must occur.
    max_length : int
        Longest code allowed, in bits. The default is the limit of the format: tables of 2**11
        entries stay in a processor's first-level cache, and for bytes the limit costs next to
        nothing.

    Returns
    -------
    list of int
        The length of each symbol's code, 0 for those that do not occur. The code is complete.

    Raises
    ------
    ValueError
        If a count is negative, if fewer than two symbols occur, or if `max_length` bits cannot tell
        so many apart.

    Notes
    -----
    Without the limit this is Huffman's problem [1]_, which his tree solves. With it, package-merge
    [2]_ does. Think of a code of length l as l coins, of the denominations 1/2, 1/4 ... 2**-l, each
    of which costs as much as the symbol's count. A complete code for n symbols is a set of coins
    worth n - 1, and the cheapest such set is the code that makes the data shortest. Start with the
    smallest coins: only pairs of them can make up a whole number of the next denomination, and
    cheap ones should go together. So sort them, wrap neighbours as packages, put these among the
    coins of the next denomination, sort, and go on. At the last, the coins of 1/2, the cheapest
    2 (n - 1) items are the answer, and a symbol's code is as long as the number of its coins in them.

    Many codes can be equally good. To have all implementations arrive at the same one, coins lie in
    the order of count, then symbol, and where a package costs the same as a coin the coin comes first.

    References
    ----------
    .. [1] D. A. Huffman, "A Method for the Construction of Minimum-Redundancy Codes", Proc. IRE 40
       (1952) 1098-1101.
    .. [2] L. L. Larmore and D. S. Hirschberg, "A Fast Algorithm for Optimal Length-Limited Huffman
       Codes", J. ACM 37 (1990) 464-473.

    Examples
    --------
    >>> code_lengths([8, 4, 2, 1, 1])
    [1, 2, 3, 4, 4]
    >>> code_lengths([8, 4, 2, 1, 1], max_length=3)
    [1, 3, 3, 3, 3]
    """
    if any(count < 0 for count in counts):
        raise ValueError("counts must not be negative")
    symbols = [symbol for symbol, count in enumerate(counts) if count]
    if len(symbols) < 2:
        raise ValueError("a code needs two or more symbols that occur")
    if max_length < 1 or 1 << max_length < len(symbols):
        raise ValueError(f"{max_length} bits cannot tell {len(symbols)} symbols apart")

    # An item is what it costs and the symbols whose coins are in it, one entry for each coin.
    leaves = sorted((counts[symbol], (symbol,)) for symbol in symbols)
    items: list[tuple[int, tuple[int, ...]]] = list(leaves)
    for _ in range(max_length - 1):
        packages = [
            (first[0] + second[0], first[1] + second[1])
            for first, second in zip(items[0::2], items[1::2], strict=False)
        ]
        # Sorting is stable, and leaves stand before packages.
        items = sorted(leaves + packages, key=lambda item: item[0])

    lengths = [0] * len(counts)
    for _, coins in items[: 2 * len(symbols) - 2]:
        for symbol in coins:
            lengths[symbol] += 1
    return lengths


def canonical_codes(lengths: Sequence[int]) -> list[int]:
    """Give every symbol the code that follows from the lengths alone.

    Parameters
    ----------
    lengths : sequence of int
        Code lengths in bits, 0 for symbols without a code.

    Returns
    -------
    list of int
        The code of each symbol, a number of so many bits; 0 for symbols without one.

    Notes
    -----
    docs/format.md, "The Huffman code". Any code with these lengths compresses alike, so a table of
    lengths is all that has to be stored if both sides choose the same one: symbols ordered by length,
    then by value, get codes that count upwards.

    Examples
    --------
    >>> [f"{code:0{length}b}" for code, length in zip(canonical_codes([2, 1, 3, 3]), [2, 1, 3, 3])]
    ['10', '0', '110', '111']
    """
    codes = [0] * len(lengths)
    code = 0
    previous_length = 0
    for length, symbol in sorted((length, s) for s, length in enumerate(lengths) if length):
        code <<= length - previous_length
        codes[symbol] = code
        code += 1
        previous_length = length
    return codes


# ---- Code table ---------------------------------------------------------------------------------


def write_table(lengths: Sequence[int]) -> bytes:
    """Write down the lengths of a code.

    Parameters
    ----------
    lengths : sequence of int
        256 code lengths of at most 11 bits; 0 for absent symbols.

    Returns
    -------
    bytes
        At most 128.

    Raises
    ------
    ValueError
        If `lengths` has not 256 entries from 0 to 11.

    Notes
    -----
    docs/format.md, "Code table".

    Examples
    --------
    >>> write_table([1, 1] + [0] * 254).hex()
    '11dec0'
    """
    if len(lengths) != 256 or not all(0 <= length <= MAX_LENGTH for length in lengths):
        raise ValueError(f"a table takes 256 lengths from 0 to {MAX_LENGTH}")
    nibbles: list[int] = []
    symbol = 0
    while symbol < 256:
        length = lengths[symbol]
        run = 1
        while symbol + run < 256 and lengths[symbol + run] == length:
            run += 1
        symbol += run
        nibbles += _absent_nibbles(run) if length == 0 else _present_nibbles(length, run)
    if len(nibbles) % 2:
        nibbles.append(0)
    return bytes(high << 4 | low for high, low in zip(nibbles[0::2], nibbles[1::2], strict=True))


def _absent_nibbles(run: int) -> list[int]:
    nibbles = []
    while run >= 18:
        absent = min(run, 18 + 255)
        nibbles += [_ABSENT_LONG, (absent - 18) >> 4, (absent - 18) & 15]
        run -= absent
    while run >= 2:
        absent = min(run, 2 + 15)
        nibbles += [_ABSENT_SHORT, absent - 2]
        run -= absent
    return nibbles + [0] * run


def _present_nibbles(length: int, run: int) -> list[int]:
    nibbles = [length]
    run -= 1
    while run >= 3:
        again = min(run, 3 + 15)
        nibbles += [_REPEAT, again - 3]
        run -= again
    return nibbles + [length] * run


def read_table(data: bytes, pos: int) -> tuple[list[int], int]:
    """Read the lengths of a code and verify that they make a complete one.

    Parameters
    ----------
    data : bytes
    pos : int
        Where in `data` the table begins.

    Returns
    -------
    lengths : list of int
        256 code lengths.
    new_pos : int
        Where the table has ended.

    Raises
    ------
    CorruptDataError
        If the table breaks off, has a nibble that means nothing, runs past 256 symbols, or describes
        no complete code.

    Notes
    -----
    docs/format.md, "Code table". In an incomplete code some bit strings would mean nothing, in an
    over-subscribed one some would mean two things; both are refused here, so that no decoder has to
    care.

    Examples
    --------
    >>> lengths, new_pos = read_table(bytes.fromhex("11dec0"), 0)
    >>> lengths[:3], new_pos
    ([1, 1, 0], 3)
    """
    at = 2 * pos  # in nibbles

    def take() -> int:
        nonlocal at
        if at >= 2 * len(data):
            raise CorruptDataError(f"the data ends inside the code table, at byte {len(data)}")
        byte = data[at // 2]
        at += 1
        return byte & 15 if at % 2 == 0 else byte >> 4

    lengths: list[int] = []
    while len(lengths) < 256:
        start = at
        kind = take()
        if kind <= MAX_LENGTH:
            lengths.append(kind)
        elif kind == _ABSENT_SHORT:
            lengths += [0] * (take() + 2)
        elif kind == _ABSENT_LONG:
            lengths += [0] * ((take() << 4 | take()) + 18)
        elif kind == _REPEAT and lengths and lengths[-1]:
            lengths += [lengths[-1]] * (take() + 3)
        else:
            raise CorruptDataError(
                f"nibble {kind} at byte {start // 2} of the code table's data means nothing there"
            )
    if len(lengths) > 256:
        raise CorruptDataError(f"the code table describes {len(lengths)} symbols, not 256")
    if at % 2 and take():
        raise CorruptDataError(f"the code table's padding at byte {at // 2 - 1} is not zero")

    used = sum(1 << (MAX_LENGTH - length) for length in lengths if length)
    if used != 1 << MAX_LENGTH:
        fault = "over-subscribed" if used > 1 << MAX_LENGTH else "incomplete"
        raise CorruptDataError(f"the code whose table begins at byte {pos} is {fault}")
    return lengths, at // 2


def _decoding_table(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """List, for every value of the next 11 bits, which symbol they begin with and its code's length.

    Canonical codes count upwards with their length, so the symbols lie in the table in this order,
    and one with a code of length l holds all the 2**(11 - l) values that its code can be followed by.
    """
    table: list[tuple[int, int]] = []
    for length, symbol in sorted((length, s) for s, length in enumerate(lengths) if length):
        table += [(symbol, length)] * (1 << (MAX_LENGTH - length))
    return table


# ---- Bit strings --------------------------------------------------------------------------------


class _BitWriter:
    """Writes a bit string, most significant bit first."""

    def __init__(self) -> None:
        self._whole = bytearray()
        self._bits = 0  # those that do not fill a byte yet
        self._n_bits = 0

    def write(self, value: int, n_bits: int) -> None:
        self._bits = self._bits << n_bits | value
        self._n_bits += n_bits
        while self._n_bits >= 8:
            self._n_bits -= 8
            self._whole.append(self._bits >> self._n_bits)
            self._bits &= (1 << self._n_bits) - 1

    def finish(self) -> bytes:
        """Fill with zero bits to a whole byte and return all."""
        self.write(0, -self._n_bits % 8)
        return bytes(self._whole)


class _BitReader:
    """Reads a bit string, most significant bit first; `what` is its name in messages."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self._position = 0  # in bits

    def peek(self, n_bits: int) -> int:
        """Show the next bits, at most 32; zeros stand for those past the end."""
        byte, skipped = divmod(self._position, 8)
        window = int.from_bytes(self._data[byte : byte + 5].ljust(5, b"\0"), "big")
        return window >> (40 - skipped - n_bits) & ((1 << n_bits) - 1)

    def skip(self, n_bits: int) -> None:
        self._position += n_bits
        if self._position > 8 * len(self._data):
            raise CorruptDataError(f"{self._what} end early, after {len(self._data)} bytes")

    def read(self, n_bits: int) -> int:
        value = self.peek(n_bits)
        self.skip(n_bits)
        return value

    def align(self) -> None:
        """Go on to the next whole byte, over bits that must be zero."""
        if self.read(-self._position % 8):
            raise CorruptDataError(f"{self._what} have padding that is not zero")

    def finish(self) -> None:
        """Verify that this is the end, but for zero bits that fill the last byte."""
        self.align()
        n_left = len(self._data) - self._position // 8
        if n_left:
            raise CorruptDataError(f"{self._what} are followed by {n_left} bytes too many")


# ---- Huffman data -------------------------------------------------------------------------------


def plan(counts: Sequence[int], n: int) -> tuple[list[int], bytes, int]:
    """Make the code for a plane of n bytes with about these counts.

    Returns its lengths, its table, and the least size that the plane's data can then have.
    """
    lengths = code_lengths(counts)
    table = write_table(lengths)
    n_bits = sum(count * length for count, length in zip(counts, lengths, strict=True))
    # Estimated counts do not add up to n.
    return lengths, table, len(table) + n_bits * n // sum(counts) // 8


def encode(data: bytes, lengths: Sequence[int], mode: int) -> bytes:
    """Code bytes in a layout, without the table."""
    if mode == ONE_LANE:
        return _encode_one_lane(data, lengths)
    return _encode_lanes([data] if mode == LANES else _halves(data), lengths)


def decode(mode: int, payload: bytes, n: int) -> bytes:
    """Decode a plane of n bytes in one of the Huffman modes, from table and coded data."""
    n_least = {ONE_LANE: 1, LANES: _TAIL_ROOM, LANES_TWICE: 2 * _TAIL_ROOM}[mode]
    if n < n_least:
        raise CorruptDataError(f"a plane of {n} bytes is too short for mode {mode}")
    lengths, at = read_table(payload, 0)
    table = _decoding_table(lengths)
    if mode == ONE_LANE:
        return _decode_one_lane(payload[at:], table, n)
    n_first = n if mode == LANES else _size_of_first_half(n)
    sizes = [size for size in (n_first, n - n_first) if size]
    return _decode_lanes(payload, at, table, sizes)


# ---- One lane -----------------------------------------------------------------------------------


def _encode_one_lane(data: bytes, lengths: Sequence[int]) -> bytes:
    codes = canonical_codes(lengths)
    writer = _BitWriter()
    for symbol in data:
        writer.write(codes[symbol], lengths[symbol])
    return writer.finish()


def _decode_one_lane(coded: bytes, table: list[tuple[int, int]], n: int) -> bytes:
    reader = _BitReader(coded, "the codes")
    data = bytearray()
    for _ in range(n):
        symbol, length = table[reader.peek(MAX_LENGTH)]
        reader.skip(length)
        data.append(symbol)
    reader.finish()
    return bytes(data)


# ---- 64 lanes, once or twice --------------------------------------------------------------------


def _size_of_first_half(n: int) -> int:
    """Size of stream A: whole steps, and as near to a half as they allow."""
    return n // 128 * 64


def _halves(data: bytes) -> list[bytes]:
    n_first = _size_of_first_half(len(data))
    return [data[:n_first], data[n_first:]]


def _split_off_tail(n: int) -> tuple[int, int]:
    """Divide n bytes into steps of 64 that are Huffman coded and a tail of 64 to 127 that is not."""
    n_tail = 64 + n % 64
    return (n - n_tail) // _N_LANES, n_tail


def _encode_lanes(streams: list[bytes], lengths: Sequence[int]) -> bytes:
    """Code one or two streams with one code: word counts, then all words, then all states."""
    codes = canonical_codes(lengths)
    coded = [_encode_stream(data, lengths, codes) for data in streams]
    parts = [len(words).to_bytes(3, "little") for words, _ in coded]
    parts += [word.to_bytes(2, "little") for words, _ in coded for word in words]
    parts += [states for _, states in coded]
    return b"".join(parts)


def _encode_stream(data: bytes, lengths: Sequence[int], codes: Sequence[int]) -> tuple[list[int], bytes]:
    """Code a stream as shared words and the states that a decoder starts with.

    This is the decoder run backwards. It ends with 16 bits in every lane, so that is what this starts
    with, and the bytes of the tail are put there so that the room is not wasted. A decoder adds a word
    when it has taken a code off and fewer than 16 bits remain: exactly then, before it puts that code
    in front, this takes the word away.
    """
    n_steps, n_tail = _split_off_tail(len(data))
    tail = data[len(data) - n_tail :].ljust(_TAIL_ROOM, b"\0")
    bits = [int.from_bytes(tail[2 * k : 2 * k + 2], "big") for k in range(_N_LANES)]
    n_bits = [16] * _N_LANES

    words = []
    for step in reversed(range(n_steps)):
        for k in reversed(_LANE_ORDER):
            symbol = data[step * _N_LANES + k]
            if n_bits[k] + lengths[symbol] >= 32:
                words.append(bits[k] & 0xFFFF)
                bits[k] >>= 16
                n_bits[k] -= 16
            bits[k] |= codes[symbol] << n_bits[k]
            n_bits[k] += lengths[symbol]
    words.reverse()  # the word that was emitted last is the first that a decoder needs

    states = _BitWriter()
    for k in range(_N_LANES):
        states.write(n_bits[k] - 16, 4)
        states.write(bits[k], n_bits[k])
    return words, states.finish()


def _decode_lanes(payload: bytes, at: int, table: list[tuple[int, int]], sizes: Sequence[int]) -> bytes:
    """Decode one or two streams of so many bytes, whose word counts begin at `at`."""
    n_words = []
    for _ in sizes:
        if at + 3 > len(payload):
            raise CorruptDataError(f"the plane's data ends inside a word count, at byte {at}")
        n_words.append(int.from_bytes(payload[at : at + 3], "little"))
        at += 3

    words = []
    for n in n_words:
        end = at + 2 * n
        if end > len(payload):
            raise CorruptDataError(f"the plane's data ends before the {n} words at byte {at} do")
        words.append([int.from_bytes(payload[i : i + 2], "little") for i in range(at, end, 2)])
        at = end

    reader = _BitReader(payload[at:], f"the lane states at byte {at} of the plane's data")
    states = [_read_states(reader) for _ in sizes]
    reader.finish()
    return b"".join(
        _decode_stream(n, stream_words, bits, n_bits, table)
        for n, stream_words, (bits, n_bits) in zip(sizes, words, states, strict=True)
    )


def _read_states(reader: _BitReader) -> tuple[list[int], list[int]]:
    """Read what the 64 lanes of one stream hold at first: their bits, and how many they are."""
    bits = []
    n_bits = []
    for _ in range(_N_LANES):
        n_bits.append(16 + reader.read(4))
        bits.append(reader.read(n_bits[-1]))
    reader.align()
    return bits, n_bits


def _decode_stream(
    n: int, words: list[int], bits: list[int], n_bits: list[int], table: list[tuple[int, int]]
) -> bytes:
    """Run the lanes, which begin with `bits` (changed in place), over the words they share."""
    n_steps, n_tail = _split_off_tail(n)
    data = bytearray(n_steps * _N_LANES)
    n_used = 0
    for step in range(n_steps):
        for k in _LANE_ORDER:
            # A lane has 16 bits or more, so the next code is always there in full.
            symbol, length = table[bits[k] >> (n_bits[k] - MAX_LENGTH)]
            data[step * _N_LANES + k] = symbol
            n_bits[k] -= length
            bits[k] &= (1 << n_bits[k]) - 1
            if n_bits[k] < 16:
                if n_used == len(words):
                    raise CorruptDataError(f"the words of the lanes end early, in step {step}")
                bits[k] = bits[k] << 16 | words[n_used]
                n_bits[k] += 16
                n_used += 1

    if n_used < len(words):
        raise CorruptDataError(f"{len(words) - n_used} words of the lanes are left over")
    for k in range(_N_LANES):
        if n_bits[k] != 16:
            raise CorruptDataError(f"lane {k} ends with {n_bits[k]} bits instead of 16")
    tail = b"".join(lane.to_bytes(2, "big") for lane in bits)
    if any(tail[n_tail:]):
        raise CorruptDataError(f"the bytes after the tail of {n_tail} bytes are not zero")
    return bytes(data) + tail[:n_tail]
