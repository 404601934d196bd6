"""LZW in all its dialects (docs/lzw.md), to learn it from.

LZW replaces strings that came before by their numbers. Encoder and decoder keep the same table of
strings, numbered in the order in which they were added, and at first it holds every single byte. The
encoder takes the longest string of the table that the input goes on with, writes its number (a code),
and adds that string with the byte that follows it, which is the byte that stopped the match. The
decoder can tell that byte only from the next string, so that it adds the same entries one code later;
that is all that makes it differ, and the one case to think about (see `decode`).

The formats that use LZW differ in small things, which `Dialect` names: how many codes are bytes, the
order of bits, how wide codes may grow and when exactly they do, whether there are codes that empty the
table and end the data. `dialect` makes the well-known ones by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..errors import CorruptDataError, TruncatedDataError, UnsupportedFormatError

__all__ = ["TSR", "Decoded", "Dialect", "compress", "decode", "decompress", "dialect", "encode"]

_Z_MAGIC = b"\x1f\x9d"
_Z_BLOCK_MODE = 0x80
_Z_RESERVED = 0x60


@dataclass(frozen=True)
class Dialect:
    """What tells one kind of LZW from another.

    Parameters
    ----------
    msb_first : bool
        Whether a code begins at the high end of a byte.
    literal_bits : int
        1 to 8: the codes below 2**literal_bits stand for bytes.
    max_bits : int
        Width of the widest code: at least literal_bits + 1, at most 16.
    early_change : bool
        Whether codes grow wider one code earlier than they have to. A slip in early software that
        then became the rule of TIFF and PDF.
    clear_code : bool
        Whether the code 2**literal_bits empties the table.
    end_code : bool
        Whether the code after that ends the data.
    grouped : bool
        Whether codes of one width come in groups of eight, the last of which is filled up, as the
        buffer of the first Unix `compress` had it.
    full_grows : bool
        Whether codes grow once more when the table is full, which no code needs. The readers of .Z
        data disagree on this where max_bits is 9.
    """

    msb_first: bool
    literal_bits: int
    max_bits: int
    early_change: bool = False
    clear_code: bool = True
    end_code: bool = True
    grouped: bool = False
    full_grows: bool = False

    def __post_init__(self) -> None:
        fits = 1 <= self.literal_bits <= 8 and self.literal_bits < self.max_bits <= 16 - self.full_grows
        if not fits or (self.end_code and not self.clear_code):
            raise ValueError(f"no dialect of LZW: {self}")

    @property
    def clear(self) -> int:
        """The clear code, in dialects that have one."""
        return 1 << self.literal_bits

    @property
    def end(self) -> int:
        """The end code, in dialects that have one."""
        return self.clear + 1

    @property
    def first(self) -> int:
        """The code of the first entry after the bytes and special codes."""
        return (1 << self.literal_bits) + self.clear_code + self.end_code

    @property
    def first_width(self) -> int:
        """The width in bits of codes while the table is small."""
        return self.literal_bits + 1

    @property
    def last_width(self) -> int:
        """The width in bits that codes grow to."""
        return self.max_bits + self.full_grows


TSR = Dialect(False, 8, 16, clear_code=False, end_code=False)
"""What `.tsr` frames use inside (docs/format.md): nothing but the codes."""


def dialect(
    format: str = "tiff",
    *,
    min_code_size: int = 8,
    early_change: int = 1,
    max_bits: int = 16,
    block_mode: bool = True,
    full_grows: bool = False,
) -> Dialect:
    """Describe the dialect of a format.

    Parameters
    ----------
    format : {"gif", "tiff", "tiff-compat", "pdf", "z"}
    min_code_size : int
        GIF: the number of literal bits, 1 to 8.
    early_change : {0, 1}
        PDF: its parameter of that name.
    max_bits : int
        .Z: 9 to 16.
    block_mode : bool
        .Z: whether there is a clear code.
    full_grows : bool
        .Z with 9 bits: read it as gzip does, not as `compress`.

    Examples
    --------
    >>> dialect("gif", min_code_size=2).first
    6
    """
    match format:
        case "gif":
            return Dialect(False, min_code_size, 12)
        case "tiff":
            return Dialect(True, 8, 12, early_change=True)
        case "tiff-compat":
            return Dialect(False, 8, 12)
        case "pdf":
            return Dialect(True, 8, 12, early_change=bool(early_change))
        case "z":
            return Dialect(
                False,
                8,
                max_bits,
                clear_code=block_mode,
                end_code=False,
                grouped=True,
                full_grows=full_grows and max_bits == 9,
            )
    raise ValueError(f"unknown format {format!r}: choose one of gif, tiff, tiff-compat, pdf, z")


# ---- Codes as bits ------------------------------------------------------------------------------


class _CodeWriter:
    """Puts codes into bytes."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.data = bytearray()
        self.n_bits = 0  # written in all
        self._buffer = 0  # bits that make no whole byte yet
        self._n_buffered = 0
        self._width_start = 0

    def put(self, code: int, width: int) -> None:
        if self.dialect.msb_first:
            self._buffer = self._buffer << width | code
        else:
            self._buffer |= code << self._n_buffered
        self._n_buffered += width
        self.n_bits += width
        while self._n_buffered >= 8:
            self._n_buffered -= 8
            if self.dialect.msb_first:
                self.data.append(self._buffer >> self._n_buffered)
                self._buffer &= (1 << self._n_buffered) - 1
            else:
                self.data.append(self._buffer & 0xFF)
                self._buffer >>= 8

    def end_width(self, width: int) -> None:
        """Fill up the group of codes before the width changes, in dialects that have groups."""
        if self.dialect.grouped:
            for _ in range(-((self.n_bits - self._width_start) // width) % 8):
                self.put(0, width)
            self._width_start = self.n_bits

    def finish(self) -> bytes:
        if self._n_buffered:
            self.put(0, 8 - self._n_buffered)
        return bytes(self.data)


class _CodeReader:
    """Takes codes from bytes."""

    def __init__(self, dialect: Dialect, data: bytes) -> None:
        self.dialect = dialect
        self.data = data
        self.position = 0  # in bits
        self._width_start = 0

    def take(self, width: int) -> int | None:
        """The next code; `None` when fewer bits are left."""
        if self.position + width > 8 * len(self.data):
            return None
        at, shift = divmod(self.position, 8)
        window = self.data[at : at + 3]  # at most 7 + 16 bits
        self.position += width
        if self.dialect.msb_first:
            code = int.from_bytes(window, "big") >> (8 * len(window) - shift - width)
        else:
            code = int.from_bytes(window, "little") >> shift
        return code & ((1 << width) - 1)

    def end_width(self, width: int) -> None:
        if self.dialect.grouped:
            group = 8 * width
            self.position += (self._width_start - self.position) % group
            self._width_start = self.position


# ---- Decoding -----------------------------------------------------------------------------------


class Decoded(NamedTuple):
    """What `decode` found.

    Attributes
    ----------
    content : bytes
    n_bits : int
        Bits of the data that the codes have taken.
    end_reason : str
        "end code", "output full" or "input end".
    """

    content: bytes
    n_bits: int
    end_reason: str


def decode(data: bytes, dialect: Dialect, size: int | None = None) -> Decoded:
    """Decode LZW codes.

    Parameters
    ----------
    data : bytes
        Codes without any container.
    dialect : Dialect
    size : int, optional
        Stop after so many bytes of content, and what control codes follow them. Formats that know the
        size should give it: many files lack the end code, and what pads them would decode to more bytes.

    Returns
    -------
    Decoded

    Raises
    ------
    CorruptDataError
        If a code is not in the table; the message has the byte at which the code begins.

    Notes
    -----
    With `previous` the string before, a code adds the entry previous + its own first byte. There is
    just one code that can refer to an entry that is being added only now, the very next one, and then
    that first byte is also the first of `previous`. It happens whenever a string of the form KwK is
    followed by wK (K a byte, w a string), as in runs of one byte.

    Examples
    --------
    >>> decode(bytes.fromhex("80 0b 60 50 22 0c 0c 85 01"), dialect("tiff")).content
    b'-----A---B'
    """
    reader = _CodeReader(dialect, data)
    n_literals = 1 << dialect.literal_bits
    # The places of special codes are filled so that an entry's code is its index.
    fresh = [bytes([byte]) for byte in range(n_literals)] + [b""] * (dialect.first - n_literals)
    table = fresh.copy()
    width = dialect.first_width
    previous = b""  # the string before; none after a clear code
    content = bytearray()
    end_reason = ""
    while not end_reason:
        if previous and len(table) + dialect.early_change >= 1 << width and width < dialect.last_width:
            reader.end_width(width)
            width += 1
        at = reader.position // 8
        code = reader.take(width)
        if code is None:
            end_reason = "output full" if len(content) == size else "input end"
        elif dialect.clear_code and code == dialect.clear:
            reader.end_width(width)
            table = fresh.copy()
            width = dialect.first_width
            previous = b""
        elif dialect.end_code and code == dialect.end:
            end_reason = "end code"
        elif len(content) == size:
            end_reason = "output full"
            reader.position -= width
        else:
            if not previous and code >= n_literals:
                raise CorruptDataError(f"the first code is no literal (at byte {at})")
            if code > len(table) or code == 1 << dialect.max_bits:
                raise CorruptDataError(f"a code is not in the table yet (at byte {at})")
            string = table[code] if code < len(table) else previous + previous[:1]
            if previous and len(table) < 1 << dialect.max_bits:
                table.append(previous + string[:1])
            previous = string
            content += string
            if size is not None and len(content) > size:
                del content[size:]
                end_reason = "output full"
    return Decoded(bytes(content), reader.position, end_reason)


# ---- Encoding -----------------------------------------------------------------------------------


def encode(data: bytes, dialect: Dialect) -> bytes:
    """Encode bytes as LZW codes, the same codes as the fast encoder writes.

    Parameters
    ----------
    data : bytes
        Values below 2**literal_bits.
    dialect : Dialect

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        If a byte is no literal of the dialect.

    Examples
    --------
    >>> encode(b"-----A---B", dialect("tiff")).hex(" ")
    '80 0b 60 50 22 0c 0c 85 01'
    """
    return _Encoder(dialect).encode(data)


class _Encoder:
    """The state of an encoder.

    The table maps a string's code and the byte after it to the code of the longer string. It is one
    entry ahead of the decoder's, so that the width has to grow when its next code is *above* 2**width.
    """

    # From here on libtiff's table counts as full, and other readers of TIFF and PDF rely on that: the
    # clear code comes before any reader's table overflows, whatever its early change.
    _FULL = 4094
    # The input between two looks at the ratio, in bytes, as Unix `compress` has it.
    _RATIO_GAP = 10_000

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.writer = _CodeWriter(dialect)
        self.ratio = 0
        self.next_check = self._RATIO_GAP
        self.empty_table()

    def empty_table(self) -> None:
        self.table: dict[tuple[int, int], int] = {}
        self.next_code = self.dialect.first
        self.width = self.dialect.first_width

    def put(self, code: int) -> None:
        dialect = self.dialect
        is_first = self.next_code == dialect.first  # after a clear code: those have the first width
        fits = self.next_code + dialect.early_change <= 1 << self.width
        if not is_first and not fits and self.width < dialect.last_width:
            self.writer.end_width(self.width)
            self.width += 1
        self.writer.put(code, self.width)

    def put_string(self, code: int) -> None:
        """Put a code that stands for a string; the decoder adds an entry to its table, or soon will."""
        self.put(code)
        if self.next_code <= 1 << self.dialect.max_bits:
            self.next_code += 1
        if self.dialect.end_code and self.next_code == self._FULL:
            self.clear()

    def clear(self) -> None:
        self.put(self.dialect.clear)
        self.writer.end_width(self.width)
        self.empty_table()

    def encode(self, data: bytes) -> bytes:
        dialect = self.dialect
        if data and max(data) >= 1 << dialect.literal_bits:
            raise ValueError("a byte is no literal of this dialect")
        if dialect.end_code:
            self.clear()
        string: int | None = None
        for n_read, byte in enumerate(data):
            if string is None:
                string = byte
                continue
            if dialect.grouped and dialect.clear_code and string < dialect.clear:
                self.check_ratio(n_read)
            longer = self.table.get((string, byte))
            if longer is not None:
                string = longer
                continue
            if self.next_code < 1 << dialect.max_bits:
                self.table[string, byte] = self.next_code
            self.put_string(string)
            string = byte
        if string is not None:
            self.put_string(string)
        if dialect.end_code:
            self.put(dialect.end)
        return self.writer.finish()

    def check_ratio(self, n_read: int) -> None:
        """Once the table is full, empty it when it no longer suits the data (Unix `compress`)."""
        if n_read < self.next_check or self.next_code < 1 << self.dialect.max_bits:
            return
        self.next_check = n_read + self._RATIO_GAP
        n_written = len(_Z_MAGIC) + 1 + self.writer.n_bits // 8
        # In 1/256; large numbers are divided otherwise because they were once 32 bits wide.
        ratio = n_read // (n_written >> 8) if n_read > 0x7FFFFF else (n_read << 8) // n_written
        if ratio >= self.ratio:
            self.ratio = ratio
        else:
            self.ratio = 0
            self.clear()


# ---- Whole data of a format ---------------------------------------------------------------------


def compress(
    data: bytes,
    format: str = "tiff",
    *,
    min_code_size: int = 8,
    early_change: int = 1,
    max_bits: int = 16,
    block_mode: bool = True,
    full_grows: bool = False,
) -> bytes:
    """Compress as `tersor.lzw.compress` does; the options are those of `dialect`.

    Examples
    --------
    >>> compress(b"terse tensors", "z").hex(" ")
    '1f 9d 90 74 ca c8 99 53 06 44 40 37 73 de 0c 04'
    """
    spoken = dialect(
        format,
        min_code_size=min_code_size,
        early_change=early_change,
        max_bits=max_bits,
        block_mode=block_mode,
        full_grows=full_grows,
    )
    header = b""
    if format == "z":
        header = _Z_MAGIC + bytes([max_bits | (_Z_BLOCK_MODE if block_mode else 0)])
    return header + encode(data, spoken)


def decompress(
    data: bytes,
    format: str = "tiff",
    *,
    min_code_size: int = 8,
    early_change: int = 1,
    full_grows: bool = False,
    expected_size: int | None = None,
) -> bytes:
    """Decompress as `tersor.lzw.decompress` does with ``strict=True``.

    Raises
    ------
    CorruptDataError, UnsupportedFormatError
        `TruncatedDataError` if the data ends without an end code, or before `expected_size` is reached.

    Examples
    --------
    >>> decompress(compress(b"terse tensors", "gif"), "gif")
    b'terse tensors'
    """
    if format == "z":
        if data[:2] != _Z_MAGIC[: len(data)]:
            raise CorruptDataError("no .Z data: wrong magic number (at byte 0)")
        if len(data) < 3:
            raise TruncatedDataError(f"the data ends at byte {len(data)}, inside the .Z header")
        flags, data = data[2], data[3:]
        max_bits = flags & 0x1F
        if flags & _Z_RESERVED or not 9 <= max_bits <= 16:
            raise UnsupportedFormatError(f"unknown .Z flags {flags:#04x} (at byte 2)")
        block_mode = bool(flags & _Z_BLOCK_MODE)
        spoken = dialect("z", max_bits=max_bits, block_mode=block_mode, full_grows=full_grows)
    else:
        spoken = dialect(format, min_code_size=min_code_size, early_change=early_change)
    decoded = decode(data, spoken, expected_size)
    is_whole = (
        len(decoded.content) == expected_size
        if expected_size is not None
        else (decoded.end_reason == "end code" or not spoken.end_code)
    )
    if not is_whole:
        raise TruncatedDataError(
            f"the data ends at byte {-(-decoded.n_bits // 8)} after {len(decoded.content)} bytes of content"
        )
    return decoded.content
