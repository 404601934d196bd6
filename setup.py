"""Builds the one extension module; everything else is declared in pyproject.toml."""

import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, CompileError, ExecError, PlatformError

CORE = Path("csrc")
AREAS = ("common", "cpu", "huffman", "lzw", "planes", "prune")

# Instruction sets are chosen by function attributes in the sources, so no flag names one.
if sys.platform == "win32":
    FLAGS = ["/O2", "/std:c11"]
else:
    FLAGS = ["-O3", "-std=c11", "-fvisibility=hidden"]


class BuildExt(build_ext):
    """`build_ext` that says what is missing when there is no C compiler."""

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except (CCompilerError, CompileError, ExecError, PlatformError, OSError) as error:
            raise SystemExit(
                f"\ntersor: could not compile its C core: {error}\n"
                "A C11 compiler and the Python headers are needed to build from source:\n"
                "  Debian/Ubuntu: apt-get install gcc python3-dev\n"
                "  macOS:         xcode-select --install\n"
                "  Windows:       Visual Studio Build Tools with the C++ workload\n"
                "Or install a prebuilt wheel: pip install --only-binary tersor tersor\n"
            ) from None


extension = Extension(
    "tersor._native",
    sources=[
        "csrc/bindings/_native.pyx",
        *sorted(p.as_posix() for a in AREAS for p in (CORE / a).glob("*.c")),
    ],
    include_dirs=["csrc/include", *(f"csrc/{area}" for area in AREAS)],
    depends=sorted(p.as_posix() for pattern in ("*.h", "*.pxi", "*.pxd") for p in CORE.rglob(pattern)),
    extra_compile_args=FLAGS,
)

setup(
    ext_modules=cythonize([extension], include_path=["csrc/bindings"], build_dir="build/cython"),
    cmdclass={"build_ext": BuildExt},
)
