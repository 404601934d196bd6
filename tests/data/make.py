"""Makes the files of this folder; see README.md. Run as ``python tests/data/make.py`` and look at the diff.

The valid files prove that later releases read what earlier ones wrote: they are made once and then kept, and
only those that are missing are made.
"""

from __future__ import annotations

import hashlib
import random
import struct
from pathlib import Path

from xxhash import xxh3_64_intdigest

import tersor
from tersor import reference

HERE = Path(__file__).parent


def frame(content_size: int, shape: int, payload: bytes, check: int) -> bytes:
    """Wrap a payload, right or wrong, in a frame that is right otherwise."""
    empty = tersor.compress(b"")
    head = bytearray(empty[:16])
    head[8:16] = struct.pack("<Q", content_size)
    head[6:8] = struct.pack("<H", xxh3_64_intdigest(head[:6] + head[8:]) & 0xFFFF)
    sizes = content_size.to_bytes(3, "little") + len(payload).to_bytes(3, "little")
    end_check = xxh3_64_intdigest(struct.pack("<QQ", content_size, 1)) & 0xFFFFFFFF
    end = b"\0" + struct.pack("<II", 0, end_check)
    return bytes(head) + bytes([1, shape]) + sizes + struct.pack("<Q", check) + payload + end


def skewed(n: int) -> bytes:
    rng = random.Random(n)
    return bytes(min(int(rng.expovariate(1.2)), 9) for _ in range(n))


def literals(n: int, share: float) -> bytes:
    rng = random.Random(n)
    return bytes(rng.randrange(40) if rng.random() < share else 7 for _ in range(n))


def valid() -> dict[str, tuple[bytes, bytes]]:
    """Name, frame and content: one for each plane mode, type size and filter."""
    files = {}
    for name, content in {
        "empty": b"",
        "raw": bytes(range(64)),
        "single": b"\x2a" * 1000,
        "one_lane": skewed(700),
        "lanes": skewed(9001),
        "lanes_twice": skewed(66_003),
        "flags": literals(20_001, 0.28),
        "packed": bytes(random.Random(0).choices(range(3), k=60_001)),
        "gaps": literals(9000, 0.04),
    }.items():
        files[name] = (tersor.compress(content), content)
    numbers = b"".join(struct.pack("<d", i / 7) for i in range(40)) + b"odd"
    for typesize in (2, 4, 8):
        for filter in range(6):
            packed = reference.compress(numbers, typesize, filter)
            files[f"typesize{typesize}_filter{filter}"] = (packed, numbers)
    for typesize, one_in, filter in ((2, 3, 1), (4, 12, 3), (8, 40, 5)):
        rng = random.Random(typesize)
        zeros = (0, 0, 0, 2 ** (8 * typesize - 1))
        elements = (i * 2654435761 if rng.randrange(one_in) == 0 else zeros[i % 4] for i in range(2000))
        pruned = b"".join((e % 2 ** (8 * typesize)).to_bytes(typesize, "little") for e in elements) + b"!"
        packed = reference.compress(pruned, typesize, filter + reference.planes.SPARSE)
        files[f"sparse_typesize{typesize}"] = (packed, pruned)
    lzw = b"".join(b"%d is %d squared\n" % (i * i, i) for i in range(400))
    files["lzw"] = (tersor.compress(lzw, "lzw"), lzw)
    files["joined"] = (tersor.compress(b"one, ") + tersor.compress(b"two"), b"one, two")
    compressor = tersor.Compressor()
    files["size_unknown"] = (compressor.compress(b"streamed") + compressor.flush(), b"streamed")
    return files


def invalid() -> dict[str, bytes]:
    """One frame for each data error of the C core, named after it; checksums cannot tell first."""
    n = 9000
    content = skewed(n)
    check = xxh3_64_intdigest(content, 0)
    mode, data = reference.plane.encode_plane(content)
    assert mode == reference.huffman.LANES
    _, at = reference.huffman.read_table(data, 0)
    n_words = int.from_bytes(data[at : at + 3], "little")
    words = data[at + 3 : at + 3 + 2 * n_words]
    states = data[at + 3 + 2 * n_words :]
    small = skewed(700)
    _, small_data = reference.plane.encode_plane(small)

    def plane(mode: int, data: bytes) -> bytes:
        return bytes([mode]) + len(data).to_bytes(3, "little") + data

    def lanes(words: bytes, states: bytes) -> bytes:
        count = (len(words) // 2).to_bytes(3, "little")
        return frame(n, 0, plane(3, data[:at] + count + words + states), check)

    def small_lane(data: bytes) -> bytes:
        return frame(700, 0, plane(2, data), xxh3_64_intdigest(small, 0))

    lzw_codes = reference.lzw.encode(b"terse tensors", reference.lzw.TSR)

    def lzw(data: bytes) -> bytes:
        return frame(13, 0, plane(7, data), xxh3_64_intdigest(b"terse tensors", 0))

    # Three elements of two bytes, of which the first and the last are said to be there.
    three = b"\x01\x02\0\0\x03\x04"

    def sparse(positions: bytes) -> bytes:
        headers = b"\0\3\0\0" + b"\0\2\0\0" * 2
        return frame(6, 0x21, headers + positions + b"\1\3\2\4", xxh3_64_intdigest(three, 0))

    assert tersor.decompress(sparse(b"\1\0\1")) == three
    padded = bytearray(small_data)
    padded[-1] |= 1
    return {
        "shape": frame(4, 0xE0, b"\0\4\0\0abcd", xxh3_64_intdigest(b"abcd", 0)),
        "mode": frame(4, 0, b"\x09\4\0\0abcd", xxh3_64_intdigest(b"abcd", 0)),
        "payload_size": frame(4, 0, b"\0\4\0\0abcde", xxh3_64_intdigest(b"abcd", 0)),
        "plane_size": frame(4, 0, b"\0\3\0\0abc", xxh3_64_intdigest(b"abcd", 0)),
        "table_truncated": small_lane(b"\x11" * 100),
        "table_nibble": small_lane(b"\xf1" + small_data[1:]),
        "table_overrun": small_lane(b"\xdf\xf1" + small_data),
        "code_oversubscribed": small_lane(b"\x11\x1d\xea" + b"\0" * 200),
        "code_incomplete": small_lane(b"\x12\xde\xb0" + b"\0" * 200),
        "stream_short": lanes(words[2:], states),
        "stream_long": lanes(words + bytes(2), states),
        "lane_state": lanes(words, states + b"\0"),
        "padding": small_lane(bytes(padded)),
        "lzw_code": lzw(lzw_codes[:3] + b"\xff" + lzw_codes[4:]),
        "lzw_first": lzw(b"\0\1" + lzw_codes[2:]),
        "depth": frame(1, 0, plane(6, b"\1ab\6" * 5 + b"\0\0"), xxh3_64_intdigest(b"a", 0)),
        "positions": sparse(b"\1\0\3"),
        # Two gaps, of which the second ends behind the plane.
        "gaps": frame(9, 0, plane(8, b"a\x0f\2\0\0\0\2\0\0\0\3\5bc"), xxh3_64_intdigest(b"aaabaaaaa", 0)),
    }


def main() -> None:
    sums = []
    (HERE / "valid").mkdir(exist_ok=True)
    (HERE / "invalid").mkdir(exist_ok=True)
    for name, (packed, content) in valid().items():
        path = HERE / "valid" / f"{name}.tsr"
        if not path.exists():
            path.write_bytes(packed)
        assert tersor.decompress(path.read_bytes()) == content
        sums.append(f"{hashlib.sha256(content).hexdigest()}  {name}.tsr\n")
    (HERE / "valid" / "SHA256SUMS").write_text("".join(sums))
    for name, packed in invalid().items():
        (HERE / "invalid" / f"{name}.tsr").write_bytes(packed)


if __name__ == "__main__":
    main()
