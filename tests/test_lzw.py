"""`tersor.lzw`: whole data, streams, files, their limits and their errors; the dialects against the twin."""

from __future__ import annotations

import array
import io
import mmap
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common import KINDS, make
from hypothesis import given
from hypothesis import strategies as st

import tersor
from tersor import CorruptDataError, LimitError, TruncatedDataError, UnsupportedFormatError, lzw, reference

# Format, options of compress, options of decompress.
DIALECTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("tiff", {}, {}),
    ("pdf", {}, {}),
    ("pdf", {"early_change": 0}, {"early_change": 0}),
    *(("gif", {"min_code_size": m}, {"min_code_size": m}) for m in range(1, 9)),
    *(("z", {"max_bits": b}, {}) for b in range(9, 17)),
    ("z", {"block_mode": False}, {}),
    ("z", {"block_mode": False, "max_bits": 9}, {}),
    ("z", {"full_grows": True, "max_bits": 9}, {"full_grows": True}),
]
dialects = pytest.mark.parametrize(("format", "options", "reading"), DIALECTS)
few = pytest.mark.parametrize(("format", "options", "reading"), [DIALECTS[i] for i in (0, 2, 4, 10, 18, 19)])


def fit(data: bytes, options: dict[str, Any]) -> bytes:
    """Bytes that are literals of the dialect."""
    mask = (1 << options.get("min_code_size", 8)) - 1
    return bytes(byte & mask for byte in data)


# ---- Whole data -------------------------------------------------------------------------------------


@dialects
@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(format: str, options: dict[str, Any], reading: dict[str, Any], kind: str) -> None:
    for n in (1, 2, 3, 100, 4096, 70_000):
        data = fit(make(kind, n), options)
        codes = lzw.compress(data, format, **options)
        assert lzw.decompress(codes, format, **reading) == data
        assert lzw.decompress(codes, format, expected_size=n, **reading) == data


@dialects
@pytest.mark.parametrize("kind", ["constant", "text", "random", "shifting"])
def test_codes_are_the_twins(
    format: str, options: dict[str, Any], reading: dict[str, Any], kind: str
) -> None:
    for n in (0, 1, 300, 5000, 150_000 if format == "z" else 30_000):
        data = fit(make(kind, n), options)
        codes = lzw.compress(data, format, **options)
        assert codes == reference.lzw.compress(data, format, **options)
        assert reference.lzw.decompress(codes, format, **reading) == data


@dialects
@given(data=st.binary(max_size=3000), times=st.integers(1, 4))
def test_any_data(
    format: str, options: dict[str, Any], reading: dict[str, Any], data: bytes, times: int
) -> None:
    data = fit(data * times, options)
    codes = lzw.compress(data, format, **options)
    assert codes == reference.lzw.compress(data, format, **options)
    assert lzw.decompress(codes, format, **reading) == data


@few
@given(codes=st.binary(max_size=400), size=st.none() | st.integers(0, 3000))
def test_any_codes_are_judged_as_by_the_twin(
    format: str, options: dict[str, Any], reading: dict[str, Any], codes: bytes, size: int | None
) -> None:
    """Random codes: the same content, or the same exception at the same byte."""
    if format == "z":
        codes = lzw.compress(b"", format, **options) + codes
    results: list[Any] = []
    for module in (lzw, reference.lzw):
        try:
            results.append(module.decompress(codes, format, expected_size=size, **reading))
        except tersor.TersorError as error:
            results.append((type(error), str(error) if type(error) is CorruptDataError else ""))
    if format == "z" and isinstance(results[1], tuple) and results[1][0] is CorruptDataError:
        # The twin is given what follows the header.
        at = int(results[1][1].partition("byte ")[2].rstrip(")"))
        results[1] = (CorruptDataError, results[1][1].replace(f"byte {at}", f"byte {at + 3}"))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "data",
    [
        bytearray(b"terse tensors"),
        memoryview(b"terse tensors"),
        array.array("B", b"terse tensors"),
        np.frombuffer(b"terse tensors", "u1"),
        np.frombuffer(b"terse tensors...", "f4"),
    ],
    ids=lambda data: type(data).__name__,
)
def test_any_buffer_is_taken(data: Any) -> None:
    codes = lzw.compress(data)
    assert codes == lzw.compress(bytes(data))
    assert lzw.decompress(bytearray(codes)) == bytes(data)


def test_mapped_file(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(make("text", 10_000))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert lzw.decompress(lzw.compress(mapped)) == path.read_bytes()


def test_what_is_no_bytes_is_refused() -> None:
    for bad in ("text", 5, None, np.array([None, "a"], object)):
        with pytest.raises(TypeError):
            lzw.compress(bad)  # type: ignore[arg-type]
    with pytest.raises((BufferError, ValueError)):
        lzw.compress(np.zeros((4, 4), "u1")[:, ::2])


def test_threads_do_not_meet() -> None:
    """Each thread has memory of its own, whatever the others decode."""
    inputs = [(make(kind, 50_000), name) for kind in ("text", "runs") for name in ("tiff", "z", "gif")]
    codes = [lzw.compress(data, name) for data, name in inputs]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(20):
            if lzw.decompress(codes[i], inputs[i][1]) != inputs[i][0]:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- Sizes ------------------------------------------------------------------------------------------

TEXT = make("text", 5000)
STRIP = lzw.compress(TEXT)


def test_max_length() -> None:
    for length in (5000, 5001, 10**9):
        assert lzw.decompress(STRIP, max_length=length) == TEXT
    for length in (0, 1, 4999):
        with pytest.raises(LimitError, match=f"{length} bytes"):
            lzw.decompress(STRIP, max_length=length)
        with pytest.raises(LimitError):
            lzw.decompress(STRIP, max_length=length, strict=False)
        with pytest.raises(LimitError):
            lzw.decompress(STRIP, max_length=length, expected_size=5000)
        with pytest.raises(LimitError):
            lzw.decompress(STRIP, max_length=length, out=bytearray(6000))
        assert lzw.decompress(STRIP, max_length=length, expected_size=length) == TEXT[:length]


def test_out() -> None:
    for out in (
        bytearray(5000),
        np.zeros(5000, "u1"),
        np.zeros((50, 25), "f4"),
        array.array("B", bytes(5000)),
    ):
        assert lzw.decompress(STRIP, out=out) == 5000
        assert bytes(out) == TEXT
    large = bytearray(b"x" * 6000)
    assert lzw.decompress(STRIP, out=large) == 5000
    assert large == TEXT + b"x" * 1000
    assert lzw.decompress(STRIP, out=large, expected_size=100) == 100
    assert lzw.decompress(STRIP, out=bytearray(5000), expected_size=5000, max_length=5000) == 5000
    assert lzw.decompress(lzw.compress(b""), out=bytearray()) == 0


def test_out_that_does_not_do() -> None:
    for out in (bytes(5000), memoryview(bytes(5000)), np.zeros(10_000, "u1")[::2]):
        with pytest.raises(ValueError, match=r"writable|contiguous"):
            lzw.decompress(STRIP, out=out)
    with pytest.raises(ValueError, match="room for 4999"):
        lzw.decompress(STRIP, out=bytearray(4999))
    with pytest.raises(ValueError, match="4999 bytes, 5000"):
        lzw.decompress(STRIP, out=bytearray(4999), expected_size=5000)
    both = bytearray(STRIP) + bytearray(5000)
    with pytest.raises(ValueError, match="overlap"):
        lzw.decompress(memoryview(both)[: len(STRIP)], out=memoryview(both)[10:])
    assert lzw.decompress(memoryview(both)[: len(STRIP)], out=memoryview(both)[len(STRIP) :]) == 5000
    with pytest.raises(TypeError):
        lzw.decompress(STRIP, out="text")  # type: ignore[call-overload]


def test_out_holds_what_comes_before_the_damage() -> None:
    bad = bytearray(STRIP)
    bad[600] ^= 0xFF
    out = bytearray(6000)
    with pytest.raises(CorruptDataError):
        lzw.decompress(bad[:700], out=out)
    assert out[:500] == TEXT[:500]


def test_expected_size_beyond_what_there_is() -> None:
    with pytest.raises(TruncatedDataError, match=r"end code at byte \d+, after 5000 bytes .* 5001 expected"):
        lzw.decompress(STRIP, expected_size=5001)
    with pytest.raises(TruncatedDataError, match="end of the data"):
        lzw.decompress(STRIP[:-9], expected_size=5000)
    assert lzw.decompress(STRIP, expected_size=9999, strict=False) == TEXT


def test_expected_size_takes_no_memory() -> None:
    """Of a claim of 1 TB only what the data lives up to is allocated; content beyond max_length is not."""
    code = """
import resource, sys
from tersor import lzw
compressor = lzw.LZWCompressor("z")
zeros = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(200)) + compressor.flush()
resource.setrlimit(resource.RLIMIT_AS, (150 << 20, 150 << 20))
for options in ({"expected_size": 1 << 40}, {}, {"max_length": 1 << 20}):
    for data in (lzw.compress(bytes(1000), "z"), zeros):
        try:
            print(len(lzw.decompress(data, "z", **options)))
        except ValueError as error:
            print(type(error).__name__)
"""
    if sys.platform != "linux":
        pytest.skip("limits on memory are Linux's")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = "TruncatedDataError LimitError 1000 LimitError 1000 LimitError"
    assert result.stdout.split() == expected.split(), result.stderr


# ---- Damage -----------------------------------------------------------------------------------------


def test_errors_tell_the_byte() -> None:
    # Clear code, then a code that cannot be, for TIFF: 256 is 9 bits 1 0000 0000.
    with pytest.raises(CorruptDataError, match=r"^the first code is no literal \(at byte 1\)$"):
        lzw.decompress(b"\x80\x7f\xff")
    # Clear, 'a', then 259, where 258 would be next.
    bits = f"{256:09b}{97:09b}{259:09b}".ljust(32, "0")
    with pytest.raises(CorruptDataError, match=r"^a code is not in the table yet \(at byte 2\)$"):
        lzw.decompress(int(bits, 2).to_bytes(4, "big"))
    with pytest.raises(CorruptDataError, match=r"^the first code is no literal \(at byte 3\)$"):
        lzw.decompress(b"\x1f\x9d\x90\xff\xff", "z")


def test_damage_without_strict_ends_the_content() -> None:
    bad = bytearray(STRIP)
    bad[600:] = b"\xff" * len(bad[600:])
    with pytest.raises(CorruptDataError):
        lzw.decompress(bad)
    content = lzw.decompress(bad, strict=False)
    assert TEXT.startswith(content[:-40])
    assert len(content) > 500
    assert lzw.decompress(b"", strict=False) == b""
    assert lzw.decompress(STRIP[:-2], strict=False)[:4990] == TEXT[:4990]


@pytest.mark.parametrize("format", ["tiff", "tiff-compat", "pdf", "gif"])
def test_missing_end_code(format: str) -> None:
    writing = "tiff" if format == "tiff-compat" else format
    codes = lzw.compress(b"abc", writing)
    if format == "tiff-compat":
        codes = lzw.compress(b"abc", "gif")  # the same where there are so few codes
    for cut in range(len(codes) - 1):
        with pytest.raises(TruncatedDataError, match=f"byte {cut}, .*no end code"):
            lzw.decompress(codes[:cut], format)
    assert lzw.decompress(codes[:-1], format, expected_size=3) == b"abc"


def test_what_follows_the_end_code_is_ignored() -> None:
    assert lzw.decompress(STRIP + b"\0" * 9) == TEXT
    assert lzw.decompress(STRIP + STRIP) == TEXT


@pytest.mark.parametrize("format", ["tiff", "z", "gif"])
@given(seed=st.integers(0, 10**6))
def test_flipped_bits_raise_or_give_something(format: str, seed: int) -> None:
    codes = bytearray(lzw.compress(TEXT, format))
    at = seed % (8 * len(codes))
    codes[at // 8] ^= 1 << at % 8
    try:
        strict = lzw.decompress(codes, format, max_length=10**6)
    except tersor.TersorError:
        return
    assert lzw.decompress(codes, format, strict=False) == strict


# ---- Options ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_coder", [lambda f, **o: lzw.compress(b"", f, **o), lzw.LZWCompressor])
def test_options_that_do_not_exist(make_coder: Any) -> None:
    for format, options in (
        ("lzma", {}),
        ("TIFF", {}),
        ("gif", {"min_code_size": 0}),
        ("gif", {"min_code_size": 9}),
        ("pdf", {"early_change": 2}),
        ("z", {"max_bits": 8}),
        ("z", {"max_bits": 17}),
        ("tiff-compat", {}),
    ):
        with pytest.raises(ValueError, match=next(iter(options), format)):
            make_coder(format, **options)


@pytest.mark.parametrize("make_decoder", [lambda f, **o: lzw.decompress(STRIP, f, **o), lzw.LZWDecompressor])
def test_options_of_reading_that_do_not_exist(make_decoder: Any) -> None:
    for format, options in (
        ("lzma", {}),
        ("gif", {"min_code_size": 12}),
        ("pdf", {"early_change": -1}),
        ("tiff", {"expected_size": -1}),
    ):
        with pytest.raises(ValueError, match=next(iter(options), format)):
            make_decoder(format, **options)


def test_bytes_that_are_no_pixels() -> None:
    with pytest.raises(ValueError, match=r"no literal .*at byte 3"):
        lzw.compress(b"\0\1\2\4", "gif", min_code_size=2)
    compressor = lzw.LZWCompressor("gif", min_code_size=2)
    compressor.compress(b"\0\1\2\3")
    with pytest.raises(ValueError, match=r"no literal .*at byte 5"):
        compressor.compress(b"\0\4")
    for call in (compressor.flush, lambda: compressor.compress(b"\0")):
        with pytest.raises(ValueError, match="has failed"):
            call()


def test_z_header() -> None:
    assert lzw.compress(b"", "z") == b"\x1f\x9d\x90"
    assert lzw.compress(b"", "z", max_bits=12, block_mode=False) == b"\x1f\x9d\x0c"
    for bad, error in (
        (b"", TruncatedDataError),
        (b"\x1f\x9d", TruncatedDataError),
        (b"\x1f\x8b\x90", CorruptDataError),
        (b"\x1f\x9d\x91", UnsupportedFormatError),
        (b"\x1f\x9d\x88", UnsupportedFormatError),
        (b"\x1f\x9d\xb0", UnsupportedFormatError),
    ):
        with pytest.raises(error):
            lzw.decompress(bad, "z")
        with pytest.raises(error):
            lzw.LZWFile(io.BytesIO(bad)).read()


def test_the_two_readings_of_nine_bits() -> None:
    """Data of `max_bits=9` decodes either way up to where the table is full."""
    data = make("random", 2000)
    ours, gzips = (lzw.compress(data, "z", max_bits=9, full_grows=grows) for grows in (False, True))
    assert ours[:250] == gzips[:250]
    assert ours != gzips
    assert lzw.decompress(ours, "z") == lzw.decompress(gzips, "z", full_grows=True) == data


# ---- Streams ----------------------------------------------------------------------------------------


@dialects
def test_a_stream_cut_anywhere(format: str, options: dict[str, Any], reading: dict[str, Any]) -> None:
    data = fit(make("text", 700) + make("random", 300), options)
    codes = lzw.compress(data, format, **options)
    for at in range(len(codes) + 1):
        decompressor = lzw.LZWDecompressor(format, **reading)
        content = decompressor.decompress(codes[:at])
        assert decompressor.eof == (at == len(codes) and format != "z")
        if at < len(codes):
            assert decompressor.needs_input
            content += decompressor.decompress(codes[at:])
        assert content + decompressor.flush() == data


@few
@pytest.mark.parametrize("step", [1, 3, 4096])
@pytest.mark.parametrize("length", [-1, 1, 7, 4096])
def test_a_stream_in_small_steps(
    format: str, options: dict[str, Any], reading: dict[str, Any], step: int, length: int
) -> None:
    data = fit(make("shifting", 4000) + bytes(3000), options)
    compressor = lzw.LZWCompressor(format, **options)
    codes = b"".join(compressor.compress(data[i : i + step]) for i in range(0, len(data), step))
    codes += compressor.flush()
    assert codes == lzw.compress(data, format, **options)

    decompressor = lzw.LZWDecompressor(format, **reading)
    content = bytearray()
    for i in range(0, len(codes), step):
        content += decompressor.decompress(codes[i : i + step], length)
        while not decompressor.needs_input and not decompressor.eof:
            part = decompressor.decompress(b"", length)
            assert length < 0 or len(part) <= length
            content += part
    assert content == data
    assert decompressor.flush() == b""
    assert decompressor.eof


def test_compressor_after_its_end() -> None:
    compressor = lzw.LZWCompressor()
    compressor.flush()
    for call in (compressor.flush, lambda: compressor.compress(b"a")):
        with pytest.raises(ValueError, match="flushed"):
            call()


def test_decompressor_after_its_end() -> None:
    decompressor = lzw.LZWDecompressor()
    assert (decompressor.eof, decompressor.needs_input, decompressor.end_reason) == (False, True, None)
    assert decompressor.decompress(STRIP + b"more") == TEXT
    assert (decompressor.eof, decompressor.needs_input, decompressor.end_reason) == (True, False, "end code")
    assert decompressor.unused_data == b"more"
    assert decompressor.flush() == b""
    with pytest.raises(EOFError):
        decompressor.decompress(b"")


def test_decompressor_after_damage() -> None:
    decompressor = lzw.LZWDecompressor()
    decompressor.decompress(b"\x80")
    with pytest.raises(CorruptDataError, match="at byte 1"):
        decompressor.decompress(b"\x7f\xff\xff")
    for _ in range(2):
        with pytest.raises(CorruptDataError, match="before"):
            decompressor.decompress(STRIP)


def test_end_reasons() -> None:
    decompressor = lzw.LZWDecompressor()
    decompressor.decompress(STRIP[:50])
    assert decompressor.end_reason == "input end"
    with pytest.raises(TruncatedDataError, match="no end code"):
        decompressor.flush()

    decompressor = lzw.LZWDecompressor(expected_size=100)
    assert decompressor.decompress(STRIP, 60) + decompressor.decompress(b"", 60) == TEXT[:100]
    assert (decompressor.end_reason, decompressor.eof) == ("output full", True)
    assert STRIP.endswith(decompressor.unused_data)

    decompressor = lzw.LZWDecompressor(strict=False)
    codes = STRIP[:50] + b"\xff" * 50
    assert decompressor.decompress(codes)[:40] == TEXT[:40]
    assert (decompressor.end_reason, decompressor.eof) == ("damage", True)

    decompressor = lzw.LZWDecompressor(expected_size=9999)
    decompressor.decompress(STRIP[:-3])
    with pytest.raises(TruncatedDataError, match="9999 expected"):
        decompressor.flush()

    decompressor = lzw.LZWDecompressor("z")
    assert decompressor.decompress(lzw.compress(TEXT, "z"), 10) == TEXT[:10]
    assert (decompressor.end_reason, decompressor.needs_input) == ("output full", False)
    assert decompressor.flush() == TEXT[10:]
    assert (decompressor.end_reason, decompressor.eof) == ("input end", True)


def test_the_callers_buffer_is_not_kept() -> None:
    codes = bytearray(STRIP)
    decompressor = lzw.LZWDecompressor()
    start = decompressor.decompress(codes, 10)
    codes[:] = bytes(len(codes))
    codes.clear()  # would raise while there is a view of it
    assert start + decompressor.decompress(b"") == TEXT


# ---- Files ------------------------------------------------------------------------------------------


def test_file_round_trip(tmp_path: Path) -> None:
    data = make("text", 500_000) + make("random", 100_000)
    path = tmp_path / "data.Z"
    with lzw.open(path, "wb") as file:
        for i in range(0, len(data), 12_345):
            assert file.write(data[i : i + 12_345]) == len(data[i : i + 12_345])  # type: ignore[arg-type]
        assert file.tell() == len(data)
        assert file.writable()
        assert not file.readable()
        with pytest.raises(io.UnsupportedOperation):
            file.read()
    assert path.read_bytes() == lzw.compress(data, "z")
    with lzw.open(path) as file:
        assert file.read(10) == data[:10]
        assert file.read() == data[10:]
        assert file.read(1) == b""
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_file_seeks_by_reading_again(tmp_path: Path) -> None:
    data = make("series", 400_000)
    path = tmp_path / "data.Z"
    path.write_bytes(b"before" + lzw.compress(data, "z", max_bits=12))
    with path.open("rb") as raw:
        raw.seek(6)
        file = lzw.LZWFile(raw)
        assert file.seekable()
        for place in (0, 300_000, 10, 399_999, 200_000, 400_000, 500_000):
            assert file.seek(place) == min(place, len(data))
            assert file.read(7) == data[place : place + 7]
        assert file.seek(-5, os.SEEK_END) == len(data) - 5
        assert file.read() == data[-5:]
        file.seek(100)
        assert file.seek(50, os.SEEK_CUR) == 150
        with pytest.raises(ValueError, match="negative"):
            file.seek(-1)
        file.close()
        assert not raw.closed


def test_text_file(tmp_path: Path) -> None:
    path = tmp_path / "lines.Z"
    with lzw.open(path, "wt", encoding="latin-1", newline="\r\n") as file:
        file.write("één\ntwo\n")  # type: ignore[arg-type]
    assert lzw.decompress(path.read_bytes(), "z").decode("latin-1") == "één\r\ntwo\r\n"
    with lzw.open(path, "rt", encoding="latin-1") as file:
        assert list(file) == ["één\n", "two\n"]


def test_file_modes(tmp_path: Path) -> None:
    path = tmp_path / "data.Z"
    with lzw.open(path, "xb", max_bits=11) as file:
        file.write(b"once")  # type: ignore[arg-type]
    assert path.read_bytes() == lzw.compress(b"once", "z", max_bits=11)
    with pytest.raises(FileExistsError):
        lzw.open(path, "xb")
    for mode in ("ab", "rw", "rbt", "", "q"):
        with pytest.raises(ValueError, match=r"mode|append"):
            lzw.open(path, mode)
    with pytest.raises(ValueError, match="max_bits"):
        lzw.open(path, "wb", max_bits=17)
    with pytest.raises(ValueError, match="text modes"):
        lzw.open(path, encoding="utf-8")
    with pytest.raises(TypeError):
        lzw.open(5)  # type: ignore[arg-type]
    assert lzw.open(path).read() == b"once"  # no option has cut it


def test_bad_files() -> None:
    for data, error in (
        (b"", TruncatedDataError),
        (b"\x1f", TruncatedDataError),
        (b"text", CorruptDataError),
        (b"\x1f\x9d\x90\xff\xff", CorruptDataError),
        (b"\x1f\x9d\xff", UnsupportedFormatError),
    ):
        with pytest.raises(error):
            lzw.LZWFile(io.BytesIO(data)).read()


def test_file_from_a_pipe() -> None:
    class Pipe(io.RawIOBase):
        """Gives a byte at a time and does not seek."""

        def __init__(self, data: bytes) -> None:
            self.source = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            return self.source.readinto(memoryview(buffer)[:1])

    file = lzw.LZWFile(Pipe(lzw.compress(TEXT, "z")))  # type: ignore[arg-type]
    assert not file.seekable()
    assert file.read() == TEXT
    with pytest.raises(io.UnsupportedOperation):
        file.seek(0)


# ---- Frames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("typesize", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_codec_lzw(kind: str, typesize: int) -> None:
    for n in (0, 1, 9, 600, 300_001):
        data = make(kind, n)
        frame = tersor.compress(data, "lzw", typesize=typesize)
        assert tersor.decompress(frame) == data
        if typesize == 1:
            # Planes that get no smaller are as they would be without.
            assert len(frame) <= len(tersor.compress(data))


@pytest.mark.parametrize("kind", ["text", "constant", "random", "weights"])
def test_codec_lzw_is_the_twins(kind: str) -> None:
    data = make(kind, 20_000)
    assert tersor.compress(data, "lzw") == reference.compress(data, codec="lzw")
    assert reference.decompress(tersor.compress(data, "lzw", typesize=4)) == data


def test_codec_lzw_of_streams_and_files() -> None:
    compressor = tersor.Compressor("lzw")
    frame = compressor.compress(TEXT) + compressor.flush()
    assert len(frame) < len(tersor.compress(TEXT))
    assert tersor.Decompressor().decompress(frame) == TEXT
    target = io.BytesIO()
    with tersor.TersorFile(target, "wb", codec="lzw") as file:
        file.write(TEXT)
    assert tersor.decompress(target.getvalue()) == TEXT


def test_lzw_planes_are_exact() -> None:
    """Codes too many or too few, a byte or a bit after them: refused, as by the twin."""
    n = 500
    codes = reference.lzw.encode(TEXT[:n], reference.lzw.TSR)

    def outcome(codes: bytes, n: int) -> list[bytes | None]:
        payload = b"\7" + len(codes).to_bytes(3, "little") + codes
        outcomes: list[bytes | None] = []
        out = bytearray(n)
        try:
            tersor._native.decode_block(payload, 0, out)
            outcomes.append(bytes(out))
        except CorruptDataError:
            outcomes.append(None)
        try:
            outcomes.append(reference.frame.decode_block(0, payload, n))
        except CorruptDataError:
            outcomes.append(None)
        return outcomes

    assert outcome(codes, n) == [TEXT[:n]] * 2
    for bad in (codes[:-1], codes + b"\0", codes + b"\1", codes + codes, codes[:1], b""):
        assert outcome(bad, n) == [None, None]
    for size in (n - 1, n + 1):
        assert outcome(codes, size) == [None, None]
    for at in range(8 * len(codes)):
        bad = bytearray(codes)
        bad[at // 8] ^= 1 << at % 8
        one, other = outcome(bytes(bad), n)
        assert one == other != TEXT[:n]


def test_lzw_planes_lie_within_no_others() -> None:
    codes = reference.lzw.encode(b"ab", reference.lzw.TSR)
    payload = b"\1ab\7" + codes  # packed: 1 bit, two symbols, then the mode of the packed bytes
    block = b"\6" + len(payload).to_bytes(3, "little") + payload
    with pytest.raises(CorruptDataError, match="nested"):
        tersor._native.decode_block(block, 0, bytearray(16))
    with pytest.raises(CorruptDataError):
        reference.frame.decode_block(0, block, 16)
