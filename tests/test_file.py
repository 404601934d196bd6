"""`TersorFile` and `tersor.open`, with `io.BytesIO` as the oracle."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from common import make
from hypothesis import given
from hypothesis import strategies as st

import tersor
from tersor.frame import block_size

LINES = b"".join(b"line %d %s\n" % (i, b"x" * (i % 50)) for i in range(30_000))
SEVERAL = tersor.compress(LINES) + tersor.compress(b"") + tersor.compress(b"tail\n")
ONE_BLOCK = tersor.compress(LINES[:5000])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.tsr"


@pytest.mark.parametrize("typesize", [1, 4])
def test_write_and_read(path: Path, typesize: int) -> None:
    data = make("weights", 5_000_003)
    with tersor.open(path, "wb", typesize=typesize) as file:
        for i in range(0, len(data), 333_333):
            assert file.write(data[i : i + 333_333]) == len(data[i : i + 333_333])
        assert file.tell() == len(data)
    with tersor.open(path) as file:
        assert file.read() == data
    assert tersor.decompress(path.read_bytes()) == data


def test_modes(path: Path) -> None:
    with tersor.TersorFile(path, "x") as file:
        assert (file.writable(), file.readable(), file.seekable(), file.mode) == (True, False, False, "xb")
        file.write(b"one ")
        with pytest.raises(io.UnsupportedOperation):
            file.read()
    with pytest.raises(FileExistsError):
        tersor.open(path, "xb")
    with tersor.open(path, "ab") as file:
        file.write(b"two")
    with tersor.open(path, "rb") as file:
        assert (file.writable(), file.readable(), file.seekable()) == (False, True, True)
        assert file.name == str(path) or file.name == path
        assert file.read() == b"one two"
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"x")
    assert file.closed
    with pytest.raises(ValueError, match="closed"):
        file.read()
    with tersor.open(path, "wb"):
        pass
    assert tersor.open(path).read() == b""


def test_invalid_arguments(path: Path) -> None:
    for mode in ("", "rw", "rbt", "q", "r+"):
        with pytest.raises(ValueError, match="invalid mode"):
            tersor.open(path, mode)
    with pytest.raises(ValueError, match="text modes"):
        tersor.open(path, "rb", encoding="utf-8")
    with pytest.raises(ValueError, match="codec"):
        tersor.open(path, "wb", codec="x")
    with pytest.raises(TypeError, match="path"):
        tersor.TersorFile(7)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        tersor.open(path)
    assert not path.exists()


def test_text_modes(path: Path) -> None:
    with tersor.open(path, "wt", encoding="utf-16-le", newline="\r\n") as file:
        file.write("ünï\ncode\n")
    with tersor.open(path, "rt", encoding="utf-16-le") as file:
        assert list(file) == ["ünï\n", "code\n"]
    assert tersor.decompress(path.read_bytes()) == "ünï\r\ncode\r\n".encode("utf-16-le")


@given(st.sampled_from([SEVERAL, ONE_BLOCK]), st.integers(0, 2**32))
def test_reading_is_as_from_memory(packed: bytes, seed: int) -> None:
    rng = random.Random(seed)
    oracle = io.BytesIO(tersor.decompress(packed))
    size = len(oracle.getvalue())
    file: Any = tersor.TersorFile(io.BytesIO(packed))
    for _ in range(30):
        n = rng.choice([0, 1, 10, 1000, 100_000, -1])
        match rng.randrange(7):
            case 0:
                assert file.read(n) == oracle.read(n)
            case 1:
                a, b = bytearray(abs(n)), bytearray(abs(n))
                assert file.readinto(a) == oracle.readinto(b)
                assert a == b
            case 2:
                assert file.readline() == oracle.readline()
            case 3:
                part = file.read1(n)
                assert part == oracle.read(len(part))
            case 4:
                peeked = file.peek(10)
                assert oracle.getvalue()[oracle.tell() :].startswith(peeked)
                assert bool(peeked) == (oracle.tell() < size)
            case 5:
                to = rng.randrange(size + 10)
                assert file.seek(to) == min(oracle.seek(to), size)
                oracle.seek(min(to, size))
            case 6:
                back = rng.randrange(size)
                assert file.seek(-back, os.SEEK_END) == oracle.seek(-back, os.SEEK_END)
                step = rng.randrange(back + 1)
                assert file.seek(step, os.SEEK_CUR) == oracle.seek(step, os.SEEK_CUR)
        assert file.tell() == oracle.tell()
    file.close()


def test_seek_decodes_only_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tersor.compress(bytes(40 * block_size(1)))
    read = []
    with tersor.TersorFile(io.BytesIO(packed), threads=1) as file:
        decode = tersor.frame.Block.decode
        monkeypatch.setattr(tersor.frame.Block, "decode", lambda b: read.append(b.offset) or decode(b))
        file._raw._decode = lambda blocks: map(tersor.frame.Block.decode, blocks)  # type: ignore[method-assign]
        file.seek(30 * block_size(1) + 5)
        assert file.read(10) == bytes(10)
    assert read == [30 * block_size(1)]


def test_bad_seeks() -> None:
    file = tersor.TersorFile(io.BytesIO(ONE_BLOCK))
    with pytest.raises(ValueError, match="negative"):
        file.seek(-1)
    with pytest.raises(ValueError, match="whence"):
        file.seek(0, 9)


class Pipe(io.RawIOBase):
    """A stream that cannot seek and gives a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._data.read(min(len(buffer), 777))
        buffer[: len(part)] = part
        return len(part)


def test_streams_that_cannot_seek() -> None:
    file: Any = tersor.TersorFile(Pipe(SEVERAL))  # type: ignore[arg-type]
    assert not file.seekable()
    with pytest.raises(io.UnsupportedOperation):
        file.seek(0)
    assert file.read() == LINES + b"tail\n"


def test_file_object_given_stays_open() -> None:
    buffer = io.BytesIO()
    with tersor.TersorFile(buffer, "w") as file:
        file.write(b"abc")
    assert tersor.decompress(buffer.getvalue()) == b"abc"
    with tersor.TersorFile(io.BytesIO(buffer.getvalue())) as file:
        shutil.copyfileobj(file, sink := io.BytesIO())
    assert sink.getvalue() == b"abc"
    assert not buffer.closed


# ---- Bad files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 1, 15, 16, 17, 40, len(SEVERAL) // 2, len(SEVERAL) - 1])
def test_truncated_file_raises_eof_error(keep: int) -> None:
    with pytest.raises(EOFError) as caught:
        tersor.TersorFile(io.BytesIO(SEVERAL[:keep])).read()
    assert isinstance(caught.value, tersor.CorruptDataError)


def test_garbage_after_the_frames_raises() -> None:
    for garbage in (b"\0", b"x" * 100, SEVERAL[:10]):
        with pytest.raises(tersor.CorruptDataError):
            tersor.TersorFile(io.BytesIO(SEVERAL + garbage)).read()


def test_content_before_the_damage_can_be_read() -> None:
    bad = bytearray(tersor.compress(LINES))
    bad[-40_000] ^= 1
    file = tersor.TersorFile(io.BytesIO(bad))
    assert file.read(100_000) == LINES[:100_000]
    with pytest.raises(tersor.CorruptDataError):
        file.read()


@pytest.mark.parametrize("at", range(1, 28))
def test_damaged_index_is_found_or_not_needed(at: int) -> None:
    """Without a usable index the blocks are found by reading, which finds the damage as well."""
    packed = bytearray(tersor.compress(LINES))
    packed[-at] ^= 0x10
    file = tersor.TersorFile(io.BytesIO(packed))

    def read_end() -> None:
        file.seek(len(LINES) - 50)
        file.read()

    with pytest.raises(tersor.TersorError):
        read_end()


def test_exception_while_writing_leaves_no_whole_frame(path: Path) -> None:
    def write_some() -> None:
        with tersor.open(path, "wb") as file:
            file.write(LINES)
            raise RuntimeError("the source broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        write_some()
    with pytest.raises(EOFError):
        tersor.open(path).read()


def test_forgotten_file_is_closed_quietly(path: Path) -> None:
    file: Any = tersor.TersorFile(path, "wb")
    file.write(b"abc")
    del file
    with pytest.raises(EOFError):
        tersor.open(path).read()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_bounded(path: Path) -> None:
    """A stream of 600 MB written and read in less than 100 MB."""
    code = f"""
import tersor
piece = bytes(range(256)) * 4096
with tersor.open({str(path)!r}, "wb", typesize=2) as f:
    for i in range(600):
        f.write(piece)
n = 0
with tersor.open({str(path)!r}) as f:
    while part := f.read(100_000):
        n += len(part)
    assert n == 600 << 20
    f.seek(300 << 20)
    assert f.read(256) == piece[:256]
print(*(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(result.stdout.split()[1]) < 100 << 10


def test_many_threads_share_the_workers() -> None:
    from concurrent.futures import ThreadPoolExecutor

    data = make("geometric", 3_000_000)
    frame = tersor.compress(data)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: tersor.compress(data) == frame, range(16))) == {True}
        assert set(pool.map(lambda _: tersor.decompress(frame) == data, range(16))) == {True}


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="needs fork")
def test_forked_child_has_workers_of_its_own() -> None:
    code = """
import os, warnings, tersor
warnings.simplefilter("ignore")
data = bytes(range(256)) * 40_000
frame = tersor.compress(data, threads=2)
if os.fork() == 0:
    os._exit(0 if tersor.decompress(frame, threads=2) == data else 1)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout == "0\n"
