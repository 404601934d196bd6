"""The C core under AddressSanitizer and UBSan, and compiled as strictly as compilers can."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "csrc"
AREAS = ("common", "cpu", "huffman", "lzw", "planes")
SOURCES = sorted(str(p) for area in AREAS for p in (CORE / area).glob("*.c"))
INCLUDES = [f"-I{CORE / area}" for area in ("include", *AREAS)]
COMPILER = shlex.split(os.environ.get("CC", "cc"))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sanitizers are run on Linux")


def build(output: Path, *flags: str) -> None:
    command = [*COMPILER, "-std=c11", *flags, *INCLUDES, str(CORE / "fuzz/fuzz_block.c"), *SOURCES]
    result = subprocess.run([*command, "-o", str(output)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("optimize", ["-O1", "-O3"])
def test_damaged_blocks_under_sanitizers(tmp_path: Path, optimize: str) -> None:
    """Real blocks, bit-flipped and cut, on every CPU path: no fault, and all paths agree."""
    program = tmp_path / "fuzz"
    sanitize = "-fsanitize=address,undefined"
    build(program, "-g", optimize, "-DFUZZ_STANDALONE", sanitize, "-fno-sanitize-recover=all")
    for seed in (1, 2, 3):
        run = subprocess.run([program, "250", str(seed)], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert run.stdout == "250 blocks and 6000 damaged ones on every path: no fault\n"


def test_core_compiles_without_warnings(tmp_path: Path) -> None:
    """No flag names an instruction set: kernels get theirs from function attributes."""
    build(tmp_path / "strict", "-O2", "-Wall", "-Wextra", "-Werror", "-DFUZZ_STANDALONE")
