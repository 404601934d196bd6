"""What the pages of benchmarks have in common: tables in Markdown, and where they were made."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import tersor
from tersor.parallel import n_cores

QUICK_BYTES = 4 << 20
LIBRARIES = ["numpy", "zstandard", "zxc-compress", "bitarray", "dahuffman", "zipnn", "torch", "imagecodecs"]
LIBRARIES += ["ncompress", "unlzw3", "uncompresspy", "pypdf", "pdfminer.six"]


def table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    """Format a table whose first column is text and whose others are numbers."""
    for row in [head, ["---"] + ["---:"] * (len(head) - 1), *rows]:
        yield f"| {' | '.join(row)} |"
    yield ""


def cpu_model() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def head_line() -> str:
    """Tell where and with what the tables were made."""
    libraries = [f"tersor {tersor.__version__} ({tersor.cpu_features()['selected']})"]
    for library in LIBRARIES:
        try:
            libraries.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    python = f"Python {platform.python_version()}"
    return f"{cpu_model()}, {n_cores()} cores; {python}; {', '.join(libraries)}; {date.today()}."
