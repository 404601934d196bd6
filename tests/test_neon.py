"""The NEON kernels, on a machine that has none: cross-compiled and run by QEMU's user mode."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from common import CODES, KINDS, block_of_code, make
from test_sanitizers import compile_core, link

from tersor import _native

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
DECODE_ONLY = 255
GOLDEN = sorted(Path(__file__).with_name("data").glob("valid/*.tsr"))

MISSING = [name for name in (COMPILER, EMULATOR) if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING),
    reason=f"not installed: {', '.join(MISSING)} (apt-get install gcc-aarch64-linux-gnu qemu-user)",
)


# UBSan, and buffers that end at pages which cannot be touched.
FLAGS = (COMPILER, "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-DFUZZ_GUARDED")
FLAGS += ("-fsanitize=undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the core's objects."""
    folder = tmp_path_factory.mktemp("neon")
    compile_core(FLAGS, folder)
    return folder


@pytest.fixture(scope="module")
def program(core: Path) -> Path:
    return link("fuzz_block.c", FLAGS, core)


def emulate(program: Path, *arguments: str) -> str:
    run = subprocess.run([EMULATOR, str(program), *arguments], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def record(content: bytes, payload: bytes, shape: int, codec: int) -> bytes:
    return struct.pack("<IIBB", len(content), len(payload), shape, codec) + content + payload


def encoded(content: bytes, typesize: int, filter: int) -> bytes:
    shape, payload = _native.encode_block(content, typesize, filter)
    return record(content, payload, shape, _native.CODEC_AUTO)


def decoded(payload: bytes, shape: int, n: int) -> bytes:
    content = bytearray(n)
    _native.decode_block(payload, shape, content)
    return record(content, payload, shape, DECODE_ONLY)


def blocks_of(frame: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Payload, shape and content size of each block of the first frame."""
    at = 16
    while frame[at]:
        n_content, n_payload = (int.from_bytes(frame[i : i + 3], "little") for i in (at + 2, at + 5))
        yield frame[at + 16 : at + 16 + n_payload], frame[at + 1], n_content
        at += 16 + n_payload


def check(program: Path, tmp_path: Path, blocks: list[bytes]) -> None:
    file = tmp_path / "blocks"
    file.write_bytes(b"".join(blocks))
    assert emulate(program, "--blocks", str(file)) == f"{len(blocks)} blocks, lastly on neon and neon\n"


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_blocks(program: Path, seed: int) -> None:
    """Real blocks, bit-flipped and cut: no fault, and NEON agrees with the scalar path."""
    expected = "150 blocks and 3600 damaged ones on every path: no fault\n"
    assert emulate(program, "150", str(seed)) == expected


def test_blocks_are_the_same_as_this_machines(program: Path, tmp_path: Path) -> None:
    blocks = [
        encoded(make(kind, n), typesize, filter)
        for kind in KINDS
        for n in (127, 9000, 70_001)
        for typesize, filter in ((1, 0), (2, 3), (4, 1), (8, 5), (2, 9), (4, 11), (8, 8))
    ]
    check(program, tmp_path, blocks)


def test_golden_frames(program: Path, tmp_path: Path) -> None:
    blocks = [decoded(*block) for file in GOLDEN for block in blocks_of(file.read_bytes())]
    assert len(blocks) >= len(GOLDEN) - 1  # one file is empty
    check(program, tmp_path, blocks)


def test_unusual_codes(program: Path, tmp_path: Path) -> None:
    blocks = [block_of_code(code, mode, 3000) for code in CODES for mode in (3, 4)]
    check(program, tmp_path, [record(content, payload, 0, DECODE_ONLY) for content, payload in blocks])


@pytest.mark.parametrize("fuzzer", ["fuzz_quantize.c", "fuzz_codebook.c"])
def test_quantization_is_that_of_the_plain_path(fuzzer: str, core: Path) -> None:
    assert (
        emulate(link(fuzzer, FLAGS, core), "200", "1")
        == "200 arrays on every path, lastly on neon: no fault\n"
    )


def test_pruning(core: Path) -> None:
    """Counts, masks and what they make of arrays are what plain loops say."""
    expected = "60 arrays on every path, lastly on neon: no fault\n"
    assert emulate(link("fuzz_prune.c", FLAGS, core), "60", "1") == expected


def test_products_are_those_of_the_plain_path(core: Path) -> None:
    assert (
        emulate(link("fuzz_linear.c", FLAGS, core), "200", "1")
        == "200 matrices on every path, lastly on neon: no fault\n"
    )
