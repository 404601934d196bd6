"""One function for each command."""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable
from typing import IO, Any

from .. import _native
from ..errors import LimitError
from ..file import TersorFile, read_blocks
from ..frame import MAGIC
from .output import open_output, print_table, progress_bar, refuse_existing
from .show import bench, demo

__all__ = ["UsageError", "bench", "compress", "decompress", "demo", "inspect"]

SUFFIX = ".tsr"
_CHUNK = 8 << 20


class UsageError(Exception):
    """The arguments do not go together."""


Progress = Callable[[int, int], None] | None


def _copy(
    source: IO[bytes] | TersorFile, write: Callable[[bytes], object], total: int, progress: Progress
) -> int:
    """Copy to the end in bounded memory; returns the size."""
    done = 0
    while chunk := source.read(_CHUNK):
        write(chunk)
        done += len(chunk)
        if progress is not None:
            progress(done, max(total, done))
    return done


def _open_input(name: str) -> IO[bytes]:
    return sys.stdin.buffer if name == "-" else open(name, "rb")


def _size(file: IO[bytes]) -> int:
    """Size of a regular file, 0 for a pipe."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


# ---- compress ---------------------------------------------------------------------------------------


def compress(arguments: argparse.Namespace) -> None:
    """Compress a file by its kind."""
    name = arguments.file
    is_model = name.endswith(".safetensors")
    if arguments.typesize and (is_model or name.endswith(".npy")):
        raise UsageError("--typesize is for files of bytes: models and arrays say what they consist of")
    stem, suffix = os.path.splitext(name)
    output = arguments.output or (
        "-" if name == "-" else stem + SUFFIX + suffix if is_model else name + SUFFIX
    )
    refuse_existing(output, arguments.force)
    with progress_bar("compressing") as progress:
        if is_model:
            from .. import checkpoint

            if output == "-":
                raise UsageError("a model is not written to standard output: its header comes last")
            checkpoint.compress_file(
                name, output, codec=arguments.codec, threads=arguments.threads, progress=progress
            )
        else:
            _compress_bytes(arguments, output, progress)


def _compress_bytes(arguments: argparse.Namespace, output: str, progress: Progress) -> None:
    name = arguments.file
    with _open_input(name) as source, open_output(output, like=None if name == "-" else name) as out:
        total = _size(source)
        head, typesize = _npy_parts(source) if name.endswith(".npy") else (b"", arguments.typesize or 1)
        options = {"codec": arguments.codec, "threads": arguments.threads}
        with TersorFile(out, "wb", typesize=typesize, **options) as file:
            file.write_apart(head)
            _copy(source, file.write, total, progress)


def _npy_parts(source: IO[bytes]) -> tuple[bytes, int]:
    """Take the header off an `.npy` file, if it is one: the header, and the type size of what follows."""
    from ..arrays import NPY_HEADER_MAX, npy_parts

    size, typesize = npy_parts(source.read(NPY_HEADER_MAX))
    source.seek(0)
    return source.read(size), typesize


# ---- decompress -------------------------------------------------------------------------------------


def decompress(arguments: argparse.Namespace) -> None:
    """Restore a file by what it holds."""
    name, output = arguments.file, arguments.output
    if output is None:
        output = _restored_name(name)
    refuse_existing(output, arguments.force)
    with progress_bar("decompressing") as progress:
        if name != "-" and _is_model(name):
            from .. import checkpoint

            if output == "-":
                raise UsageError("a model is restored to a file, not to standard output")
            _check_model(name, arguments.max_length)
            checkpoint.decompress_file(name, output, threads=arguments.threads, progress=progress)
            return
        like = None if name == "-" else name
        with _open_input(name) as source, open_output(output, like=like) as out:
            _decompress_bytes(source, out, arguments, progress)


def _restored_name(name: str) -> str:
    if name == "-":
        return "-"
    stem, suffix = os.path.splitext(name)
    if suffix == SUFFIX:
        return stem
    if suffix == ".safetensors" and stem.endswith(SUFFIX):
        return stem[: -len(SUFFIX)] + suffix
    raise UsageError(f"{name} has no name ending {SUFFIX} to take off: name the output with -o")


def _is_model(name: str) -> bool:
    """Whether a file is to be treated as a model; one without a frame's magic is by its name."""
    with open(name, "rb") as file:
        return file.read(len(MAGIC)) != MAGIC and name.endswith(".safetensors")


def _check_model(name: str, max_length: int) -> None:
    from .. import checkpoint

    size = sum(tensor["nbytes"] for tensor in checkpoint.inspect_file(name))
    if 0 <= max_length < size:
        raise LimitError(f"the content has {size} bytes, more than the allowed {max_length}")


def _decompress_bytes(
    source: IO[bytes], out: IO[bytes], arguments: argparse.Namespace, progress: Progress
) -> None:
    limit = arguments.max_length
    done = 0
    total = _size(source)

    def write(chunk: bytes) -> None:
        nonlocal done
        done += len(chunk)
        if 0 <= limit < done:
            raise LimitError(f"the content has more than the allowed {limit} bytes")
        out.write(chunk)

    with TersorFile(source, "rb", threads=arguments.threads) as file:
        # What is known of the total is the compressed size, so that progress goes by what was read.
        shown = (lambda *_: progress(source.tell(), total)) if progress is not None and total else None
        _copy(file, write, 0, shown)


# ---- inspect ----------------------------------------------------------------------------------------

_MODES = (
    "raw",
    "single",
    "huffman, 1 lane",
    "huffman, 64 lanes",
    "huffman, 2 x 64 lanes",
    "flags",
    "packed",
    "lzw",
    "gaps",
)
_FILTERS = ("none", "rotate 1", "rotate 2", "rotate 3", "rotate 4", "delta")


def inspect(arguments: argparse.Namespace) -> None:
    """Describe a compressed file."""
    name = arguments.file
    report = _inspect_model(name) if _is_model(name) else _inspect_frames(name)
    if arguments.json:
        json.dump(report, sys.stdout, indent=2, ensure_ascii=False)
        print()
    elif report["kind"] == "model":
        _show_model(report)
    else:
        _show_frames(report)


def _inspect_model(name: str) -> dict[str, Any]:
    from .. import checkpoint

    with checkpoint.safe_open(name) as file:
        tensors, metadata, is_compressed = file.inspect(), file.metadata(), file.compressed
    content = sum(t["nbytes"] for t in tensors)
    size = os.path.getsize(name)
    return {
        "kind": "model",
        "file": name,
        "compressed": is_compressed,
        "metadata": metadata,
        "content_bytes": content,
        "file_bytes": size,
        "ratio": _ratio(size, content),
        "tensors": [t | {"ratio": _ratio(t["compressed_nbytes"], t["nbytes"])} for t in tensors],
    }


def _ratio(size: int, content: int) -> float | None:
    return size / content if content else None


def _inspect_frames(name: str) -> dict[str, Any]:
    frames: list[dict[str, Any]] = []
    with _open_input(name) as source:
        for block in read_blocks(source):
            if block.offset == 0:
                frames.append(
                    {
                        "blocks": 0,
                        "content_bytes": 0,
                        "payload_bytes": 0,
                        "typesizes": Counter(),
                        "filters": Counter(),
                        "planes": Counter(),
                    }
                )
            frame = frames[-1]
            frame["blocks"] += 1
            frame["content_bytes"] += block.content_size
            frame["payload_bytes"] += len(block.payload)
            frame["typesizes"][str(1 << (block.shape & 3))] += 1
            frame["filters"][_FILTERS[block.shape >> 2]] += 1
            for mode, _ in _native.inspect_block(block.payload, block.shape, block.content_size):
                frame["planes"][_MODES[mode]] += 1
        size = _size(source) if name != "-" else None
    content = sum(f["content_bytes"] for f in frames)
    return {
        "kind": "frames",
        "file": name,
        "content_bytes": content,
        "file_bytes": size,
        "ratio": None if size is None else _ratio(size, content),
        "frames": frames,
    }


def _shown_ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.4f}"


def _show_model(report: dict[str, Any]) -> None:
    rows = [
        (
            t["name"],
            t["dtype"],
            " x ".join(map(str, t["shape"])) or "scalar",
            t["methods"],
            f"{t['nbytes']:,}",
            f"{t['compressed_nbytes']:,}",
            _shown_ratio(t["ratio"]),
        )
        for t in report["tensors"]
    ]
    total = ("total", "", "", "", f"{report['content_bytes']:,}", f"{report['file_bytes']:,}")
    header = ("tensor", "dtype", "shape", "planes, highest first", "bytes", "stored", "ratio")
    print_table(report["file"], header, [*rows, (*total, _shown_ratio(report["ratio"]))], left=4)


def _show_frames(report: dict[str, Any]) -> None:
    def shown(counts: Counter[str]) -> str:
        return ", ".join(f"{n:,} {what}" for what, n in counts.most_common())

    rows = [
        (
            i,
            f"{f['blocks']:,}",
            "/".join(f["typesizes"]),
            shown(f["filters"]),
            shown(f["planes"]),
            f"{f['content_bytes']:,}",
            f"{f['payload_bytes']:,}",
            _shown_ratio(_ratio(f["payload_bytes"], f["content_bytes"])),
        )
        for i, f in enumerate(report["frames"], 1)
    ]
    header = ("frame", "blocks", "typesize", "filters", "planes", "content", "payload", "ratio")
    print_table(report["file"], header, rows, left=5)
    if report["file_bytes"] is not None:
        whole = f"{report['content_bytes']:,} bytes in {report['file_bytes']:,}"
        print(f"{whole}, ratio {_shown_ratio(report['ratio']) or '-'}")
