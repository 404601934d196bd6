"""``tersor demo`` and ``tersor bench``: the main job done before your eyes, beside the standard library."""

from __future__ import annotations

import argparse
import bz2
import importlib
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from .. import checkpoint, frame
from ..errors import CorruptDataError
from .output import print_table

# Short inputs are timed over at least this long in all, and the best round counts.
_SECONDS = 0.4
_ROUNDS = 3


class Codec(NamedTuple):
    """A way to compress, and back."""

    name: str
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]


def _codecs(typesize: int) -> list[Codec]:
    codecs = [
        Codec(
            "tersor",
            lambda data: frame.compress(data, typesize=typesize, threads=1),
            lambda data: frame.decompress(data, threads=1),
        ),
        Codec("zlib 6", zlib.compress, zlib.decompress),
        Codec("bz2 9", bz2.compress, bz2.decompress),
    ]
    if sys.version_info >= (3, 14):
        zstd: Any = importlib.import_module("compression.zstd")
        codecs.insert(1, Codec("zstd 3", zstd.compress, zstd.decompress))
    return codecs


def _best(function: Callable[[], Any]) -> tuple[Any, float]:
    """Run a function a few times; its result and its best time in seconds."""
    best = float("inf")
    spent = 0.0
    rounds = 0
    result = None
    while rounds < _ROUNDS or (spent < _SECONDS and best < _SECONDS / 4):
        start = time.perf_counter()
        result = function()
        seconds = time.perf_counter() - start
        best = min(best, seconds)
        spent += seconds
        rounds += 1
        if spent > 20:
            break
    return result, best


def _row(name: str, size: int, packed: int, there: float, back: float) -> tuple[str, ...]:
    speeds = (f"{size / seconds / 1e6:,.0f}" for seconds in (there, back))
    return (name, f"{packed:,}", f"{packed / size:.3f}" if size else "-", *speeds)


_HEADER = ("method", "bytes", "ratio", "compress MB/s", "decompress MB/s")


def _compare(data: bytes, typesize: int) -> list[tuple[str, ...]]:
    rows = []
    for codec in _codecs(typesize):
        packed, there = _best(lambda codec=codec: codec.compress(data))  # type: ignore[misc]
        restored, back = _best(lambda codec=codec, packed=packed: codec.decompress(packed))  # type: ignore[misc]
        if restored != data:
            raise CorruptDataError(f"{codec.name} did not restore the data")
        rows.append(_row(codec.name, len(data), len(packed), there, back))
    return rows


def _compare_model(path: Path) -> list[tuple[str, ...]]:
    """The model through files, as it is used; the other methods get the file's bytes."""
    original = path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        packed, restored = Path(folder, "packed.safetensors"), Path(folder, "restored.safetensors")
        _, there = _best(lambda: checkpoint.compress_file(path, packed, threads=1))
        _, back = _best(lambda: checkpoint.decompress_file(packed, restored, threads=1))
        if restored.read_bytes() != original:
            raise CorruptDataError("the model was not restored")
        own = _row("tersor (files)", len(original), packed.stat().st_size, there, back)
        opened = _open_with_safetensors(packed)
    print(f"model restored byte for byte: {len(original):,} bytes; {opened}")
    return [own, *_compare(original, 4)]


def _open_with_safetensors(path: Path) -> str:
    try:
        safetensors: Any = importlib.import_module("safetensors")
    except ImportError:
        return "safetensors is not installed, so that opening the result with it was not tried"
    with safetensors.safe_open(path, "np") as file:
        return f"safetensors opens the compressed file: {len(file.keys())} tensors"


def _package_text() -> bytes:
    """The package's own source code."""
    root = resources.files("tersor")
    sources = []

    def walk(folder: Any) -> None:
        for entry in sorted(folder.iterdir(), key=lambda e: e.name):
            if entry.is_dir():
                walk(entry)
            elif entry.name.endswith(".py"):
                sources.append(entry.read_bytes())

    walk(root)
    return b"".join(sources)


def demo(arguments: argparse.Namespace) -> None:
    """Compress, restore, check and compare the embedded model and text; make another model small."""
    with resources.as_file(resources.files("tersor") / "data" / "digits.safetensors") as path:
        model = _compare_model(path)
        size = path.stat().st_size
    text = _package_text()
    rows = _compare(text, 1)
    print(f"text restored byte for byte: {len(text):,} bytes\n")
    print_table(f"Model: a network for handwritten digits, float32, {size:,} bytes", _HEADER, model)
    print_table(f"Text: tersor's source code, {len(text):,} bytes", _HEADER, rows)
    print("One thread. Text has repeated phrases, which zlib, bz2 and zstd find and Huffman coding cannot:")
    print("tersor is for weights, arrays and other numbers.\n")
    try:
        from .mission import run
    except ImportError:
        print("Training, pruning and quantizing a network needs PyTorch: pip install 'tersor[torch]'")
        return
    run()


def bench(arguments: argparse.Namespace) -> None:
    """Compare methods on a file, or on what the demo has."""
    if arguments.file is None:
        demo(arguments)
        return
    path = Path(arguments.file)
    typesize = 1
    if path.suffix == ".npy":
        from ..arrays import NPY_HEADER_MAX, npy_parts

        with path.open("rb") as file:
            typesize = npy_parts(file.read(NPY_HEADER_MAX))[1]
    rows = _compare_model(path) if path.suffix == ".safetensors" else _compare(path.read_bytes(), typesize)
    print_table(f"{arguments.file}, {os.path.getsize(path):,} bytes, one thread", _HEADER, rows)
