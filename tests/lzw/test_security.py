"""What has gone wrong in LZW decoders before, a test for each (CVE numbers in the names' docstrings)."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import threading

import pytest
from lzw_tools import (
    ALL,
    CODERS,
    TIFF,
    Coder,
    Rules,
    Z,
    codes_of,
    distinct_pairs,
    gif,
    make_bytes,
    stream,
    z,
)

from tersor import lzw
from tersor.errors import CorruptDataError, LimitError, TersorError, TruncatedDataError

both = pytest.mark.parametrize("coder", CODERS, ids=lambda coder: coder.name)
all_rules = pytest.mark.parametrize("rules", ALL, ids=str)


def options(rules: Rules) -> dict[str, int]:
    return {} if rules.format == "z" else rules.keywords


@both
@all_rules
def test_a_code_that_is_not_yet_in_the_table(coder: Coder, rules: Rules) -> None:
    """CVE-2006-1168, CVE-2011-2895, CVE-2011-2896, CVE-2020-29385: followed into memory, or for ever."""
    lead = [1 << rules.literal_bits] if rules.end else []
    for n in (1, 2, 5):
        for code in range(rules.first + n, 2 << rules.literal_bits):
            data = stream([*lead, *[1, 2, 3, 0, 1][:n], code, 0], rules)
            with pytest.raises(CorruptDataError):
                coder.decompress(data, rules)


@both
@pytest.mark.parametrize("rules", [rules for rules in ALL if rules.clear], ids=str)
def test_table_index_underflow(coder: Coder, rules: Rules) -> None:
    """CVE-2010-0001: clears and short runs of codes in every order leave no table of less than nothing."""
    rng = random.Random(5)
    clear = 1 << rules.literal_bits
    for _ in range(200):
        codes = [clear]
        for _ in range(rng.randrange(12)):
            codes += [rng.randrange(clear)] * rng.randrange(2) + [clear] * rng.randrange(3)
        content = bytes(code for code in codes if code != clear)
        codes += [clear + 1] * rules.end
        assert coder.decode(stream(codes, rules), rules)[0] == content


@both
@pytest.mark.parametrize("rules", [rules for rules in ALL if rules.max_bits == 12], ids=str)
def test_codes_go_on_after_the_table_is_full(coder: Coder, rules: Rules) -> None:
    """CVE-2018-8905, CVE-2018-11490: entries were written past the end of the table."""
    codes = [1 << rules.literal_bits] if rules.end else []
    codes += [1, *range(rules.first, 1 << rules.max_bits)]
    codes += [(1 << rules.max_bits) - 1] * 50 + [0, 1, 2, 3] * 200
    content, _ = coder.decode(stream(codes, rules), rules)
    longest = (1 << rules.max_bits) - rules.first + 1
    n_run = longest * (longest + 1) // 2 + 50 * longest
    assert content == b"\1" * n_run + bytes([0, 1, 2, 3]) * 200


@both
@pytest.mark.parametrize("bits", [-1, 0, 9, 12, 13, 31, 32, 64, 255, 256, 1 << 40])
def test_bad_minimum_code_size(coder: Coder, bits: int) -> None:
    """CVE-2021-44648: a byte of the file became the size of a table."""
    with pytest.raises((ValueError, OverflowError)):
        coder.decompress(b"\x44\x01\x05" * 50, Rules("gif", (("min_code_size", bits),)))


@both
@all_rules
def test_string_longer_than_the_room_left(coder: Coder, rules: Rules) -> None:
    """CVE-2022-43359: the last string of an image went past its end."""
    n = 3000
    data = stream(codes_of(b"\1" * n, rules), rules)
    for size in [*range(60), *range(n - 90, n)]:
        assert coder.decompress(data, rules, size) == b"\1" * size


@all_rules
def test_string_longer_than_the_room_left_in_a_buffer(rules: Rules) -> None:
    n = 3000
    data = stream(codes_of(b"\1" * n, rules), rules)
    for size in [*range(60), *range(n - 90, n)]:
        room = bytearray(b"\xee" * (size + 64))
        with memoryview(room)[:size] as out:
            written = lzw.decompress(data, rules.format, out=out, expected_size=size, **options(rules))
        assert written == size
        assert room == b"\1" * size + b"\xee" * 64


@all_rules
def test_no_uninitialised_output_on_an_error(rules: Rules) -> None:
    """CVE-2008-2327, CVE-2025-6199: what was not decoded was handed out all the same."""
    lead = [1 << rules.literal_bits] if rules.end else []
    bad = stream([*lead, 1, rules.first + 1, 0], rules)
    assert lzw.decompress(bad, rules.format, strict=False, **options(rules)) == b"\1"
    out = bytearray(b"\xee" * 1000)
    with pytest.raises(CorruptDataError):
        lzw.decompress(bad, rules.format, out=out, **options(rules))
    assert out[:1] == b"\1"
    assert lzw.decompress(bad, rules.format, out=out, strict=False, **options(rules)) == 1
    with pytest.raises(TersorError):
        lzw.decompress(bad, rules.format, expected_size=500, **options(rules))
    assert lzw.decompress(bad, rules.format, expected_size=500, strict=False, **options(rules)) == b"\1"


@all_rules
def test_state_is_not_used_again_after_an_error(rules: Rules) -> None:
    """CVE-2022-1622, CVE-2022-1623: decoding went on with a table in disorder."""
    lead = [1 << rules.literal_bits] if rules.end else []
    bad = stream([*lead, 1, rules.first + 1, 0, 1, 2], rules)
    good = stream(codes_of(b"\1\2\3" * 50, rules), rules)
    decompressor = lzw.LZWDecompressor(rules.format, **options(rules))
    with pytest.raises(CorruptDataError):
        decompressor.decompress(bad)
    for _ in range(3):
        for data in (b"", good, bad):
            with pytest.raises(CorruptDataError):
                decompressor.decompress(data)
    # What is shared between calls forgets the error.
    for _ in range(3):
        with pytest.raises(CorruptDataError):
            lzw.decompress(bad, rules.format, **options(rules))
        assert lzw.decompress(good, rules.format, **options(rules)) == b"\1\2\3" * 50


def test_a_compressor_is_not_used_again_after_an_error() -> None:
    compressor = lzw.LZWCompressor("gif", min_code_size=2)
    with pytest.raises(ValueError, match="literal"):
        compressor.compress(b"\1\2\xff")
    for _ in range(2):
        with pytest.raises(ValueError, match="failed"):
            compressor.compress(b"\1")
        with pytest.raises(ValueError, match="failed"):
            compressor.flush()


@all_rules
@pytest.mark.parametrize("whole", [True, False])
def test_the_callers_buffer_is_not_kept(rules: Rules, whole: bool) -> None:
    """CVE-2026-6100: after a MemoryError the input pointer outlived the input."""
    content = b"\1" * 5000
    data = bytearray(stream(codes_of(content, rules), rules))
    decompressor = lzw.LZWDecompressor(rules.format, **options(rules))
    first = decompressor.decompress(data, -1 if whole else 10)
    data[:] = b"\xff" * len(data)  # a buffer that is still exported could not even be cleared
    data.clear()
    gc.collect()
    rest = b""
    while not decompressor.eof and (part := decompressor.decompress(b"", 100)):
        rest += part
    assert first + rest == content


def test_memory_error_leaves_nothing_dangling() -> None:
    """As much output as memory has no room for: one clear exception, and the next call is as good as new."""
    code = """
import resource, tersor
from tersor import lzw
bomb = lzw.compress(bytes(200 << 20), "z")
small = lzw.compress(b"abc" * 1000, "z")
in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + (100 << 20),) * 2)
stream = lzw.LZWDecompressor("z")
for _ in range(3):
    data = bytearray(bomb)
    for call in (lambda: lzw.decompress(data, "z"), lambda: stream.decompress(data)):
        try:
            call()
        except (tersor.LimitError, tersor.CorruptDataError, MemoryError):
            pass
        else:
            raise AssertionError("no room, and yet no error")
    data.clear()
    assert lzw.decompress(small, "z") == b"abc" * 1000
print("fine")
"""
    if sys.platform != "linux":
        pytest.skip("limits of address space are not enforced")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.stdout, result.returncode) == ("fine\n", 0), result.stderr[-2000:]


@pytest.mark.parametrize("rules", [gif(8), TIFF, Z], ids=str)
def test_bombs_stop_at_the_limit(rules: Rules) -> None:
    n = 60 << 20
    bomb = lzw.compress(bytes(n), rules.format, **rules.keywords)
    assert len(bomb) < n // 1000
    with pytest.raises(LimitError):
        lzw.decompress(bomb, rules.format, max_length=1 << 20, **options(rules))
    with pytest.raises(LimitError):
        lzw.decompress(bomb, rules.format, max_length=n - 1, strict=False, **options(rules))
    assert len(lzw.decompress(bomb, rules.format, max_length=n, **options(rules))) == n
    decompressor = lzw.LZWDecompressor(rules.format, **options(rules))
    assert decompressor.decompress(bomb, 1000) == bytes(1000)
    assert decompressor.end_reason == "output full"


@pytest.mark.parametrize("size", [1 << 30, 1 << 40, 1 << 62])
def test_a_size_that_the_data_cannot_live_up_to_takes_no_memory(size: int) -> None:
    data = lzw.compress(b"abc", "tiff")
    with pytest.raises(TruncatedDataError):
        lzw.decompress(data, "tiff", expected_size=size)
    assert lzw.decompress(data, "tiff", expected_size=size, strict=False) == b"abc"


@all_rules
def test_noise_is_decoded_alike_or_refused(rules: Rules) -> None:
    """Whatever the bytes are, both coders agree on the content and on how it ends."""
    rng = random.Random(7)
    core, twin = CODERS
    for i in range(150):
        data = rng.randbytes(rng.randrange(400))
        if i % 2:
            good = bytearray(stream(codes_of(make_bytes("text", 400, rules.literal_bits), rules), rules))
            good[rng.randrange(3, len(good))] ^= 1 << rng.randrange(8)
            data = bytes(good)
        elif rules.format == "z":
            data = stream([], rules) + data
        try:
            expected: tuple[bytes, str] | None = twin.decode(data, rules)
        except TersorError:
            expected = None
        content, reason = core.decode(data, rules)
        if expected is None:
            assert reason == "damage"
        else:
            assert (content, reason) == expected


def test_many_threads_with_one_object() -> None:
    data = stream(codes_of(distinct_pairs(20_000), Z), Z)
    decompressor = lzw.LZWDecompressor("z")
    parts: list[int] = []

    def work() -> None:
        for _ in range(50):
            parts.append(len(decompressor.decompress(b"", 50)))

    parts.append(len(decompressor.decompress(data, 50)))
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(parts) == min(20_000, 50 * 401)


def test_many_threads_with_their_own() -> None:
    contents = [make_bytes("text", 50_000 + i) for i in range(8)]
    failures: list[int] = []

    def work(content: bytes) -> None:
        for rules in (TIFF, gif(8), Z, z(12)):
            if lzw.decompress(lzw.compress(content, rules.format), rules.format) != content:
                failures.append(len(content))

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
