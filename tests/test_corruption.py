"""Damaged, cut, forged and absurd input: one clear exception, or exactly the content. Nothing else."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from common import make
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

import tersor
from tersor import _native, reference
from tersor.frame import block_size

DATA = Path(__file__).with_name("data")


def stream(data: bytes) -> bytes:
    """Decompress joined frames piece by piece."""
    content, rest = b"", data
    while True:
        decompressor = tersor.Decompressor()
        for i in range(0, len(rest), 5000):
            if decompressor.eof:
                break
            content += decompressor.decompress(rest[i : i + 5000])
            last = i + 5000
        if not rest or not decompressor.eof:
            raise EOFError
        rest = decompressor.unused_data + rest[last:]
        if not rest:
            return content


READERS: dict[str, Callable[[bytes], bytes]] = {
    "decompress": tersor.decompress,
    "Decompressor": stream,
    "file": lambda data: tersor.TersorFile(io.BytesIO(data), threads=1).read(),
}


def check(data: bytes, content: bytes, reader: str = "decompress") -> bool:
    """Whether bad data is refused; if it is not, it has to give the content."""
    try:
        result = READERS[reader](bytes(data))
    except (tersor.TersorError, EOFError):
        return True
    assert result == content
    return False


# Frames of all sorts: every plane mode, type size and filter, several blocks, several frames.
SMALL = {
    path.stem: (path.read_bytes(), reference.decompress(path.read_bytes()))
    for path in sorted((DATA / "valid").glob("*.tsr"))
}
LARGE = {
    "blocks": make("geometric", 2 * block_size(1) + 999),
    "weights": make("weights", block_size(4) + 4001),
    "series": make("series", block_size(2) + 77),
    "singles": bytes(2 * block_size(1)),
}


@pytest.mark.parametrize("name", SMALL)
def test_golden_files_decode(cpu_path: str, name: str) -> None:
    sums = dict(reversed(line.split()) for line in (DATA / "valid/SHA256SUMS").read_text().splitlines())
    packed = SMALL[name][0]
    assert set(sums) == {f"{n}.tsr" for n in SMALL}
    for reader in READERS.values():
        assert hashlib.sha256(reader(packed)).hexdigest() == sums[f"{name}.tsr"]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", [n for n in SMALL if len(SMALL[n][0]) < 1000])
def test_every_flipped_bit_of_small_frames(reader: str, name: str) -> None:
    packed, content = SMALL[name]
    refused = 0
    for at in range(8 * len(packed)):
        bad = bytearray(packed)
        bad[at // 8] ^= 1 << at % 8
        refused += check(bad, content, reader)
    # A code table can be written in several ways, so that very few flips change nothing; nor does an escape
    # that no gap needs.
    assert refused >= 8 * len(packed) - (10 if name.startswith("sparse") else 2)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", [n for n in SMALL if len(SMALL[n][0]) < 1000])
def test_every_truncation_of_small_frames(reader: str, name: str) -> None:
    packed, content = SMALL[name]
    whole = len(tersor.compress(b"one, ")) if name == "joined" else -1
    for size in range(len(packed)):
        if size != whole:
            assert check(packed[:size], content, reader)


@pytest.mark.parametrize("kind", ["one_lane", "lanes", "lanes_twice", "flags", "packed", "gaps"])
def test_random_damage_to_each_layout(cpu_path: str, kind: str) -> None:
    packed, content = SMALL[kind]
    rng = random.Random(kind)
    refused = 0
    for _ in range(600):
        bad = bytearray(packed)
        for _ in range(rng.choice([1, 1, 2, 8])):
            reach = len(bad) if rng.random() < 0.5 else 120
            bad[rng.randrange(reach)] ^= 1 << rng.randrange(8)
        refused += check(bad, content)
    assert refused >= 590


@pytest.mark.parametrize("kind", LARGE)
def test_random_damage_to_many_blocks(cpu_path: str, kind: str) -> None:
    content = LARGE[kind]
    typesize = {"weights": 4, "series": 2}.get(kind, 1)
    packed = tersor.compress(content, typesize=typesize)
    rng = random.Random(kind)
    for _ in range(60):
        bad = bytearray(packed)
        match rng.randrange(4):
            case 0:
                del bad[rng.randrange(len(bad)) :]
            case 1:
                at = rng.randrange(len(bad))
                del bad[at : at + rng.randrange(1, 9)]
            case 2:
                at = rng.randrange(len(bad))
                bad[at:at] = rng.randbytes(rng.randrange(1, 9))
            case _:
                bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        assert check(bad, content, rng.choice(list(READERS)))


@pytest.mark.parametrize("reader", READERS)
def test_extension_is_refused(reader: str) -> None:
    for name, (packed, content) in SMALL.items():
        for more in (b"\0", b"\x9b", b"\x9bTSR", bytes(16), packed[:20], b"more than sixteen bytes"):
            assert check(packed + more, content, reader), name


@pytest.mark.parametrize("reader", READERS)
@given(data=st.binary(max_size=300))
def test_random_bytes_are_refused(reader: str, data: bytes) -> None:
    assert check(data, b"", reader)


def blocks_of(packed: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Cut a frame into header, blocks and end."""
    blocks, at = [], 16
    while packed[at]:
        size = 16 + int.from_bytes(packed[at + 5 : at + 8], "little")
        blocks.append(packed[at : at + size])
        at += size
    return packed[:16], blocks, packed[at:]


def test_blocks_lost_repeated_or_exchanged_are_noticed() -> None:
    """Equal blocks too: the checksum knows a block's place. The index is made to match each time."""
    content = make("geometric", block_size(1)) * 3
    head, blocks, _ = blocks_of(tersor.compress(content))
    compressor = tersor.Compressor()
    unsized = (compressor.compress(b"") + compressor.flush())[:16]
    a, b, c = blocks
    for order in ([b, a, c], [a, c], [b, c], [a, a, b, c], [a, b, c, c], [a, b, b]):
        index = b"".join(block[2:8] for block in order)
        size = sum(int.from_bytes(block[2:5], "little") for block in order)
        check_value = xxh3_64_intdigest(index + struct.pack("<QQ", size, len(order))) & 0xFFFFFFFF
        end = b"\0" + index + struct.pack("<II", len(order), check_value)
        for header in (head, unsized):
            with pytest.raises(tersor.CorruptDataError):
                tersor.decompress(header + b"".join(order) + end)


def forged(content_size: int, payload: bytes, claimed: int | None = None) -> bytes:
    """A well-formed frame of one block that claims a content size."""
    head = bytearray(tersor.compress(b"")[:16])
    head[8:16] = struct.pack("<Q", content_size if claimed is None else claimed)
    head[6:8] = struct.pack("<H", xxh3_64_intdigest(head[:6] + head[8:]) & 0xFFFF)
    sizes = content_size.to_bytes(3, "little") + len(payload).to_bytes(3, "little")
    end = struct.pack("<II", 0, xxh3_64_intdigest(struct.pack("<QQ", content_size, 1)) & 0xFFFFFFFF)
    return bytes(head) + b"\1\0" + sizes + bytes(8) + payload + b"\0" + end


@pytest.mark.parametrize("reader", READERS)
def test_absurd_sizes_are_refused(reader: str) -> None:
    single = b"\1\1\0\0x"
    for bad in (
        forged(5, b"\0\5\0\0abcde", claimed=2**64 - 1),
        forged(5, b"\0\5\0\0abcde", claimed=2**40),
        forged(0, b""),
        forged((1 << 20) + 1, single),
        forged((1 << 24) - 1, single),
        forged(1 << 20, b"\0\5\0\0abcde"),
        forged(1 << 20, b"\4\x40\0\0" + bytes(64)),
        forged(1 << 20, single),  # right but for the checksum
    ):
        assert check(bad, b"", reader)


def test_claims_take_no_memory() -> None:
    """A frame that claims an exabyte, and thousands of blocks that claim a megabyte each."""
    code = """
import resource, sys, tersor
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
data = sys.stdin.buffer.read()
for read in (tersor.decompress, tersor.Decompressor().decompress):
    try:
        read(data)
    except tersor.TersorError as error:
        print(type(error).__name__)
"""
    exabyte = forged(5, b"\0\5\0\0abcde", claimed=2**60)
    _, (block,), _ = blocks_of(forged(1 << 20, b"\4\xff\xff\1" + bytes(0x1FFFF)))
    liars = forged(1 << 20, b"")[:8] + bytes(8) + block * 50
    _, (block,), _ = blocks_of(forged(1 << 20, b"\1\1\0\0x"))
    compressor = tersor.Compressor()
    bombs = (compressor.compress(b"") + compressor.flush())[:16] + block * 4000
    index = block[2:8] * 4000
    total = xxh3_64_intdigest(index + struct.pack("<QQ", 4000 << 20, 4000)) & 0xFFFFFFFF
    bombs += b"\0" + index + struct.pack("<II", 4000, total)
    for data, expected in (
        (exabyte, "CorruptDataError\nCorruptDataError\n"),
        (liars, "CorruptDataError\nCorruptDataError\n"),
        (bombs, "LimitError\nCorruptDataError\n"),
    ):
        result = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True)
        assert result.stdout.decode() == expected, result.stderr


INVALID = sorted((DATA / "invalid").glob("*.tsr"))


@pytest.mark.parametrize("path", INVALID, ids=lambda p: p.stem)
def test_each_error_of_the_core_is_named(cpu_path: str, path: Path) -> None:
    """On every path, with the sentence of exactly that error."""
    codes = dict(zip(CORE_ERRORS, _native.result_codes(), strict=True))
    sentence = str(_native.result_error(codes[path.stem], 0)).partition(" (at byte")[0]
    for reader in READERS.values():
        with pytest.raises(tersor.TersorError) as caught:
            reader(path.read_bytes())
        assert str(caught.value).startswith(sentence)
    with pytest.raises(tersor.TersorError):
        reference.decompress(path.read_bytes())


CORE_ERRORS = (
    "dst_too_small",
    "shape",
    "mode",
    "payload_size",
    "plane_size",
    "table_truncated",
    "table_nibble",
    "table_overrun",
    "code_oversubscribed",
    "code_incomplete",
    "stream_short",
    "stream_long",
    "lane_state",
    "padding",
    "depth",
    "lzw_code",
    "lzw_first",
    "lzw_symbol",
    "gaps",
    "table_length",
    "table_long",
    "count",
    "code_unassigned",
    "codebook_index",
    "positions",
)

# Mistakes of callers, and what only the data of a `HuffmanCode` (tests/test_huffman_code.py) or of a codebook
# can have.
NOT_IN_FRAMES = {"dst_too_small", "lzw_symbol", "table_length", "table_long", "count", "code_unassigned"}
NOT_IN_FRAMES |= {"codebook_index"}


def test_each_data_error_has_a_file() -> None:
    assert {p.stem for p in INVALID} == set(CORE_ERRORS) - NOT_IN_FRAMES


@pytest.mark.parametrize(("typesize", "density"), [(1, 1), (2, 1), (8, 1), (2, 0.02), (4, 0.1), (8, 0.4)])
def test_paths_agree_on_forged_payloads(typesize: int, density: float) -> None:
    """Payloads that no checksum guards: all paths refuse them, or decode them to the same bytes."""
    rng = random.Random(typesize)
    content = bytearray(make("weights", 9000 * typesize))
    for at in range(0, len(content), typesize):
        if rng.random() >= density:
            content[at : at + typesize] = bytes(typesize)
    shape, payload = _native.encode_block(content, typesize)
    assert shape >> 5 == (density < 1)
    selected = str(tersor.cpu_features()["selected"])
    for _ in range(700):
        bad = bytearray(payload)
        for _ in range(rng.randrange(1, 4)):
            bad[rng.randrange(len(bad) if rng.random() < 0.6 else 150)] = rng.randrange(256)
        bad_shape = shape if rng.random() < 0.9 else rng.randrange(256)
        size = len(content) if rng.random() < 0.9 else rng.randrange(1, 1 << 20)
        results = set()
        for path in _native.cpu_paths():
            _native.select_cpu(path)
            out = bytearray(size)
            try:
                _native.decode_block(bad, bad_shape, out)
                results.add(bytes(out))
            except tersor.TersorError as error:
                results.add(str(error).encode())
        assert len(results) == 1
    _native.select_cpu(selected)
