"""LZW streams written by hand, the two coders under test, inputs, and containers that other programs read.

What is here is independent of the code under test: `codes_of` and `pack` follow the rules of the formats in
the simplest way, without looking ahead or being fast.
"""

from __future__ import annotations

import difflib
import inspect
import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tersor import lzw, reference

CLEAR = 256
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Rules:
    """A dialect as `pack` needs it, and how the coders are asked for it."""

    format: str
    options: tuple[tuple[str, Any], ...] = ()
    literal_bits: int = 8
    max_bits: int = 12
    msb: bool = False
    early: int = 0
    clear: bool = True
    end: bool = True
    grouped: bool = False

    @property
    def keywords(self) -> dict[str, Any]:
        """Options of `compress`."""
        return dict(self.options)

    @property
    def first(self) -> int:
        return (1 << self.literal_bits) + self.clear + self.end

    def __str__(self) -> str:
        return "-".join([self.format, *(f"{name}={value}" for name, value in self.options)])


def gif(bits: int) -> Rules:
    return Rules("gif", (("min_code_size", bits),), literal_bits=bits)


def z(max_bits: int = 16, block_mode: bool = True) -> Rules:
    options = (("max_bits", max_bits), ("block_mode", block_mode))
    return Rules("z", options, max_bits=max_bits, clear=block_mode, end=False, grouped=True)


TIFF = Rules("tiff", msb=True, early=1)
COMPAT = Rules("tiff-compat")
PDF = Rules("pdf", (("early_change", 1),), msb=True, early=1)
PDF_LATE = Rules("pdf", (("early_change", 0),), msb=True)
Z = z()
WRITTEN = [*map(gif, range(2, 9)), TIFF, PDF, PDF_LATE]
WRITTEN += [z(bits, block_mode) for bits in range(9, 17) for block_mode in (True, False)]
WITH_END = [gif(8), TIFF, COMPAT, PDF, PDF_LATE]
ALL = [*WITH_END, gif(2), Z, z(block_mode=False), z(12)]


def codes_of(data: bytes, rules: Rules, clear_at: int = 0) -> list[int]:
    """Codes of the data, beginning with a clear and closing with an end code where there are such.

    The table is emptied when its next code is `clear_at`; with 0 it never is.
    """
    clear = 1 << rules.literal_bits
    codes = [clear] if rules.end else []
    table: dict[bytes, int] = {}
    string = b""
    for byte in data:
        longer = string + bytes([byte])
        if len(longer) == 1 or longer in table:
            string = longer
            continue
        codes.append(table.get(string, string[0]))
        if rules.first + len(table) < 1 << rules.max_bits:
            table[longer] = rules.first + len(table)
        if clear_at and rules.first + len(table) == clear_at:
            codes.append(clear)
            table.clear()
        string = longer[-1:]
    if string:
        codes.append(table.get(string, string[0]))
    return [*codes, clear + 1] if rules.end else codes


def pack(codes: Iterable[int], rules: Rules, *, end_width: int = 0) -> bytes:
    """Write codes with the widths that a decoder expects.

    `end_width` is that many bits more for the end code, to get it wrong.
    """
    bits: list[str] = []
    in_group = 0
    width = rules.literal_bits + 1
    following = rules.first
    previous = False
    clear = 1 << rules.literal_bits

    def put(code: int, width: int) -> None:
        digits = f"{code:0{width}b}"
        assert len(digits) == width, "the code does not fit"
        bits.append(digits if rules.msb else digits[::-1])

    def end_group() -> None:
        if rules.grouped:
            for _ in range(-in_group % 8):
                put(0, width)

    for code in codes:
        if previous and following + rules.early >= 1 << width and width < rules.max_bits:
            end_group()
            width += 1
            in_group = 0
        put(code, width + (end_width if rules.end and code == clear + 1 else 0))
        in_group += 1
        if rules.clear and code == clear:
            end_group()
            width = rules.literal_bits + 1
            following, previous, in_group = rules.first, False, 0
        elif not (rules.end and code == clear + 1):
            following += previous and following < 1 << rules.max_bits
            previous = True
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    octets = [text[i : i + 8] for i in range(0, len(text), 8)]
    return bytes(int(octet if rules.msb else octet[::-1], 2) for octet in octets)


def stream(codes: Iterable[int], rules: Rules, **options: int) -> bytes:
    """Write codes as data of the format: for .Z with its header."""
    header = b""
    if rules.format == "z":
        header = bytes([0x1F, 0x9D, rules.max_bits | rules.clear << 7])
    return header + pack(codes, rules, **options)


# ---- The coders under test ------------------------------------------------------------------------


@dataclass(frozen=True)
class Coder:
    """`tersor.lzw` or its twin in plain Python."""

    name: str

    @property
    def largest(self) -> int:
        """The size of input up to which tests are quick."""
        return 1 << 21 if self.name == "core" else 70_000

    def compress(self, data: bytes, rules: Rules) -> bytes:
        module: Any = lzw if self.name == "core" else reference.lzw
        result: bytes = module.compress(data, rules.format, **rules.keywords)
        return result

    def decompress(self, data: bytes, rules: Rules, size: int | None = None) -> bytes:
        """Decompress strictly."""
        module: Any = lzw if self.name == "core" else reference.lzw
        options = {} if rules.format == "z" else rules.keywords
        result: bytes = module.decompress(data, rules.format, expected_size=size, **options)
        return result

    def decode(self, data: bytes, rules: Rules, size: int | None = None) -> tuple[bytes, str]:
        """Decompress leniently; also why decoding ended."""
        options = {} if rules.format == "z" else rules.keywords
        if self.name == "core":
            decompressor = lzw.LZWDecompressor(rules.format, expected_size=size, strict=False, **options)
            content = decompressor.decompress(data)
            return content, decompressor.end_reason
        if rules.format == "z":
            data, options = data[3:], rules.keywords
        dialect = reference.lzw.dialect(rules.format, **options)
        decoded = reference.lzw.decode(data, dialect, size)
        return decoded.content, decoded.end_reason


CODERS = [Coder("core"), Coder("reference")]


# ---- Inputs -----------------------------------------------------------------------------------------


def distinct_pairs(n: int, bits: int = 8) -> bytes:
    """Bytes in which no pair comes twice as long as possible: every byte takes a code of its own.

    A de Bruijn walk over all pairs (a, b): 0 0 1 0 2 ... 1 1 2 1 3 ...
    """
    values = 1 << bits
    walk = bytearray()
    for a in range(values):
        walk.append(a)
        for b in range(a + 1, values):
            walk += bytes([a, b])
        if len(walk) >= n:
            break
    return bytes((walk * (n // len(walk) + 1))[:n])


def make_bytes(kind: str, n: int, bits: int = 8) -> bytes:
    """Make n bytes below 2**bits."""
    rng = np.random.default_rng(n)
    if kind == "text":
        source = inspect.getsource(difflib).encode()
        data = (source * (n // len(source) + 1))[:n]
    elif kind == "random":
        data = rng.bytes(n)
    elif kind == "runs":
        data = np.repeat(rng.integers(0, 256, n // 500 + 1, dtype="u1"), 500).tobytes()[:n]
    elif kind == "one run":
        data = b"\1" * n
    elif kind == "image":
        smooth = np.cumsum(rng.integers(-3, 4, n))
        data = (smooth % 256).astype("u1").tobytes()
    elif kind == "pairs":
        data = distinct_pairs(n, bits)
    else:
        raise ValueError(kind)
    return bytes(np.frombuffer(data, "u1") & (1 << bits) - 1)


KINDS = ("text", "random", "runs", "one run", "image", "pairs")


# ---- Containers and programs ------------------------------------------------------------------------


def needs(program: str) -> pytest.MarkDecorator:
    """Skip a test where a program is not installed."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def run(*command: str | Path, input: bytes = b"", codes: tuple[int, ...] = (0,)) -> bytes:
    """Run a program; returns its output."""
    result = subprocess.run([*map(str, command)], input=input, capture_output=True, timeout=60, check=False)
    assert result.returncode in codes, (command, result.stderr[-2000:])
    return result.stdout


def tiff_file(pages: Iterable[tuple[bytes, int]], compression: int = 5) -> bytes:
    """Make a TIFF of one-line grey pages from each page's strip and width."""
    file = bytearray(b"II*\0\0\0\0\0")
    link = 4
    for strip, width in pages:
        offset = len(file)
        file += strip + bytes(len(strip) % 2)
        struct.pack_into("<I", file, link, len(file))
        tags = {256: width, 257: 1, 258: 8, 259: compression, 262: 1}
        tags |= {273: offset, 277: 1, 278: 1, 279: len(strip)}
        file += struct.pack("<H", len(tags))
        file += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        link = len(file)
        file += bytes(4)
    return bytes(file)


def tiff_pages(file: bytes) -> Iterator[tuple[list[bytes], int]]:
    """Yield the strips of each page of a little-endian TIFF, and the bytes that they make together."""
    (at,) = struct.unpack_from("<I", file, 4)
    while at:
        (n,) = struct.unpack_from("<H", file, at)
        tags: dict[int, list[int]] = {}
        for i in range(n):
            tag, kind, count, place = struct.unpack_from("<HHII", file, at + 2 + 12 * i)
            size = {3: "H", 4: "I"}.get(kind)
            if size:
                entry = at + 10 + 12 * i
                tags[tag] = [
                    *struct.unpack_from(
                        f"<{count}{size}", file, entry if struct.calcsize(size) * count <= 4 else place
                    )
                ]
        strips = [file[o : o + size] for o, size in zip(tags[273], tags[279], strict=True)]
        if tags.get(266) == [2]:  # FillOrder: the bits of each byte are the other way around
            strips = [strip.translate(REVERSED) for strip in strips]
        yield strips, tags[256][0] * tags[257][0] * tags.get(277, [1])[0]
        (at,) = struct.unpack_from("<I", file, at + 2 + 12 * n)


def gif_file(frames: Iterable[tuple[bytes, int, int]], bits: int) -> bytes:
    """Make a GIF of grey frames from each one's LZW data, width and height."""
    frames = [*frames]
    size = struct.pack("<HH", max(w for _, w, _ in frames), max(h for _, _, h in frames))
    n_colours = 1 << bits
    palette = b"".join(bytes([i * 255 // (n_colours - 1)]) * 3 for i in range(n_colours))
    file = b"GIF89a" + size + bytes([0x80 | bits - 1, 0, 0]) + palette
    for data, width, height in frames:
        file += b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + bytes([max(bits, 2)])
        for i in range(0, len(data), 255):
            block = data[i : i + 255]
            file += bytes([len(block)]) + block
        file += b"\0"
    return file + b";"


def gif_frames(file: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each frame's LZW data, number of pixels and minimum code size."""

    def skip_palette(flags: int, at: int) -> int:
        return at + (3 << (flags & 7) + 1 if flags & 0x80 else 0)

    def blocks(at: int) -> tuple[bytes, int]:
        data = b""
        while file[at]:
            data += file[at + 1 : at + 1 + file[at]]
            at += 1 + file[at]
        return data, at + 1

    at = skip_palette(file[10], 13)
    while file[at] != 0x3B:
        if file[at] == 0x21:
            _, at = blocks(at + 2)
            continue
        assert file[at] == 0x2C
        width, height, flags = struct.unpack_from("<HHB", file, at + 5)
        at = skip_palette(flags, at + 10)
        bits = file[at]
        data, at = blocks(at + 1)
        yield data, width * height, bits
