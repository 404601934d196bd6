"""Instructions per byte of each kernel on each CPU path, counted by QEMU's user mode.

    python benchmarks/count_instructions.py

needs gcc, gcc-aarch64-linux-gnu and qemu-user. Speed is another matter, but a count can be had for machines
that one does not have, and it is the same every time. AVX-512 is missing, because QEMU lacks it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import inputs

ROOT = Path(__file__).parents[1]
CORE = [folder for folder in (ROOT / "csrc").iterdir() if folder.name not in ("bindings", "fuzz")]
WORK = ("encode", "decode", "encode_lanes", "decode_lanes", "count_unseen", "histogram")
INPUTS = ("text", "bf16_exponents", "int8", "bf16")
SIZE = 256 << 10

MACHINES = {
    "aarch64": ("aarch64-linux-gnu-gcc", ["qemu-aarch64"], ("scalar", "neon")),
    "x86_64": ("gcc", ["qemu-x86_64", "-cpu", "max"], ("scalar", "avx2")),
}


def build(compiler: str, output: Path) -> None:
    sources = [path for folder in CORE for path in folder.glob("*.c")]
    includes = [f"-I{folder}" for folder in CORE]
    flags = ["-std=c11", "-O3", "-static", *includes]
    subprocess.run(
        [compiler, *flags, ROOT / "benchmarks/instructions/work.c", *sources, "-o", output], check=True
    )


def count(emulator: list[str], plugin: Path, program: Path, *arguments: object) -> int:
    command = [*emulator, "-plugin", plugin, "-d", "plugin", program, *map(str, arguments)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stderr)


def main() -> None:
    with TemporaryDirectory() as folder:
        plugin, program, data = (Path(folder, name) for name in ("plugin.so", "work", "data"))
        source = ROOT / "benchmarks/instructions/plugin.c"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", source, "-o", plugin], check=True)
        print(f"| machine, path | input | {' | '.join(WORK)} |")
        print("|---|---|" + "---|" * len(WORK))
        for machine, (compiler, emulator, paths) in MACHINES.items():
            build(compiler, program)
            for name in INPUTS:
                content, typesize = inputs.load(name)
                start = len(content) // 2 // typesize * typesize
                data.write_bytes(content[start : start + SIZE])
                for path in paths:
                    cells = []
                    for work in WORK:
                        once, thrice = (
                            count(emulator, plugin, program, path, work, n, typesize, data) for n in (1, 3)
                        )
                        cells.append(f"{(thrice - once) / 2 / SIZE:.2f}")
                    print(f"| {machine} {path} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
