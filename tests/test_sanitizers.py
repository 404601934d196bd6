"""The C core under AddressSanitizer and UBSan, and compiled as strictly as compilers can."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "csrc"
AREAS = ("common", "cpu", "huffman", "lzw", "planes", "prune", "quantize")
SOURCES = sorted(str(p) for area in AREAS for p in (CORE / area).glob("*.c"))
INCLUDES = [f"-I{CORE / area}" for area in ("include", *AREAS)]
COMPILER = shlex.split(os.environ.get("CC", "cc"))

# Each fuzzer's own program, the number of cases that it is given, and what it prints in the end.
FUZZERS = {
    "fuzz_block.c": (250, "250 blocks and 6000 damaged ones on every path: no fault\n"),
    "fuzz_code.c": (100, "100 codes and 2400 damaged ones on every path: no fault\n"),
    "fuzz_quantize.c": (300, ": no fault\n"),
    "fuzz_codebook.c": (300, ": no fault\n"),
    "fuzz_linear.c": (300, ": no fault\n"),
    "fuzz_lzw.c": (100, " damaged ones, each whole and in pieces: no fault\n"),
    "fuzz_prune.c": (100, ": no fault\n"),
}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sanitizers are run on Linux")


def compile_with(flags: Sequence[str], *arguments: str, into: Path) -> None:
    command = [*flags, "-std=c11", "-DFUZZ_STANDALONE", *INCLUDES, *arguments]
    result = subprocess.run(command, cwd=into, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def compile_core(flags: Sequence[str], into: Path) -> None:
    """Compile all sources to objects, several at a time; `flags` begin with the compiler."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda source: compile_with(flags, "-c", source, into=into), SOURCES))


def link(fuzzer: str, flags: Sequence[str], folder: Path) -> Path:
    """Make a fuzzer's own program with the objects in a folder."""
    objects = [p.name for p in folder.glob("*.o")]
    program = folder / Path(fuzzer).stem
    compile_with(flags, str(CORE / "fuzz" / fuzzer), *objects, "-o", str(program), into=folder)
    return program


SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module", params=["-O1", "-O3"])
def sanitized(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, tuple[str, ...]]:
    """The core's objects, in a folder, and the flags that they were compiled with."""
    folder = tmp_path_factory.mktemp("sanitized")
    flags = (*COMPILER, request.param, *SANITIZE)
    compile_core(flags, folder)
    return folder, flags


@pytest.mark.parametrize("fuzzer", FUZZERS)
def test_damaged_data_under_sanitizers(sanitized: tuple[Path, tuple[str, ...]], fuzzer: str) -> None:
    """Real data of every kind, bit-flipped and cut: no fault, and all ways to read it agree."""
    folder, flags = sanitized
    program = link(fuzzer, flags, folder)
    n_cases, last = FUZZERS[fuzzer]
    for seed in (1, 2, 3):
        run = subprocess.run([program, str(n_cases), str(seed)], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert run.stdout.endswith(last)


def test_core_compiles_without_warnings(tmp_path: Path) -> None:
    """No flag names an instruction set: kernels get theirs from function attributes."""
    fuzzers = [str(CORE / "fuzz" / name) for name in FUZZERS]
    compile_with((*COMPILER, "-O2", "-Wall", "-Wextra", "-Werror"), "-c", *SOURCES, *fuzzers, into=tmp_path)
