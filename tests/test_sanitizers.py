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

# Each fuzzer's own program, the number of cases that it is given, and what it prints in the end.
FUZZERS = {
    "fuzz_block.c": (250, "250 blocks and 6000 damaged ones on every path: no fault\n"),
    "fuzz_code.c": (100, "100 codes and 2400 damaged ones on every path: no fault\n"),
    "fuzz_lzw.c": (100, " damaged ones, each whole and in pieces: no fault\n"),
}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sanitizers are run on Linux")


def build(output: Path, fuzzer: str, *flags: str) -> None:
    command = [*COMPILER, "-std=c11", "-DFUZZ_STANDALONE", *flags, *INCLUDES, str(CORE / "fuzz" / fuzzer)]
    result = subprocess.run([*command, *SOURCES, "-o", str(output)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("optimize", ["-O1", "-O3"])
@pytest.mark.parametrize("fuzzer", FUZZERS)
def test_damaged_data_under_sanitizers(tmp_path: Path, fuzzer: str, optimize: str) -> None:
    """Real data of every kind, bit-flipped and cut: no fault, and all ways to read it agree."""
    program = tmp_path / "fuzz"
    build(program, fuzzer, "-g", optimize, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    n_cases, last = FUZZERS[fuzzer]
    for seed in (1, 2, 3):
        run = subprocess.run([program, str(n_cases), str(seed)], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert run.stdout.endswith(last)


@pytest.mark.parametrize("fuzzer", FUZZERS)
def test_core_compiles_without_warnings(tmp_path: Path, fuzzer: str) -> None:
    """No flag names an instruction set: kernels get theirs from function attributes."""
    build(tmp_path / "strict", fuzzer, "-O2", "-Wall", "-Wextra", "-Werror")
