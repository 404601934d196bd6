"""One function for each command."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

from ..errors import LimitError, TersorError
from ..file import CodedFile, TersorFile, read_blocks, read_exactly
from ..frame import MAGIC, SPARSE
from ..table import shown_ratio
from .output import open_output, print_table, progress_bar, refuse_existing
from .show import bench, demo

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ..recipe import Recipe

__all__ = ["UsageError", "bench", "compress", "decompress", "demo", "inspect"]

SUFFIX = ".tsr"
Z_SUFFIX = ".Z"
_CHUNK = 8 << 20


class UsageError(Exception):
    """The arguments do not go together."""


Progress = Callable[[int, int], None] | None


def _copy(
    source: IO[bytes] | CodedFile, write: Callable[[bytes], object], total: int, progress: Progress
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
    to_z = arguments.format == "z"
    is_model = name.endswith(".safetensors") and not to_z
    if to_z and (arguments.typesize or arguments.codec):
        raise UsageError("--typesize and --codec are for .tsr files: .Z files have just one way to be")
    arguments.codec = arguments.codec or "auto"
    if arguments.typesize and (is_model or name.endswith(".npy")):
        raise UsageError("--typesize is for files of bytes: models and arrays say what they consist of")
    stem, suffix = os.path.splitext(name)
    output = arguments.output or (
        "-" if name == "-" else stem + SUFFIX + suffix if is_model else name + (Z_SUFFIX if to_z else SUFFIX)
    )
    if arguments.recipe and not is_model:
        raise UsageError("--recipe is for models: files named .safetensors, compressed to the same")
    if is_model and output == "-":
        raise UsageError("a model is not written to standard output: its header comes last")
    recipe = _recipe(arguments.recipe) if arguments.recipe else None
    refuse_existing(output, arguments.force)
    with progress_bar("compressing") as progress:
        if recipe is not None:
            _compress_by_recipe(arguments, recipe, output, progress)
        elif is_model:
            from .. import checkpoint

            checkpoint.compress_file(
                name, output, codec=arguments.codec, threads=arguments.threads, progress=progress
            )
        else:
            _compress_bytes(arguments, output, progress)


def _recipe(name: str) -> Recipe:
    """Read a recipe, or look up that of a name."""
    from ..recipe import Recipe

    if not name.endswith(".json"):
        with _usage():
            return Recipe.of(name)
    with open(name, encoding="utf-8") as file, _usage(name):
        return Recipe.from_json(file.read())


@contextlib.contextmanager
def _usage(name: str = "--recipe") -> Iterator[None]:
    """Have what is wrong with a recipe be a matter of usage."""
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: {error}") from None


def _compress_by_recipe(
    arguments: argparse.Namespace, recipe: Recipe, output: str, progress: Progress
) -> None:
    from .. import checkpoint
    from ..recipe import KEY, VERSION, compress_tensors

    name, threads = arguments.file, arguments.threads
    tensors: dict[str, Any] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    with checkpoint.safe_open(name, threads=threads) as file:
        if file.compressed:
            raise TersorError("the file is already compressed by tersor")
        metadata = file.metadata()
        total = sum(tensor["nbytes"] for tensor in file.inspect())
        done = 0
        for key in file.keys():  # noqa: SIM118 - no mapping
            # One at a time: of a weight, only what it is quantized to stays in memory.
            tensor = file.get_tensor(key)
            tensors |= compress_tensors({key: tensor}, recipe)
            if tensors[key].shape != tensor.shape:
                shapes[key] = tensor.shape
            dtype = file.get_slice(key).get_dtype()
            dtypes[key] = "F32" if dtype not in checkpoint.QUANTIZED_DTYPES else dtype
            done += tensor.nbytes
            if progress is not None:
                progress(done, total)
    about = {"version": VERSION, "recipe": json.loads(recipe.to_json())}
    metadata[KEY] = json.dumps(about, separators=(",", ":"))
    checkpoint.save_file(
        tensors,
        output,
        metadata,
        codec=arguments.codec,
        threads=threads,
        dtype=dtypes,
        shapes=shapes,
        like=name,
    )
    if recipe.training.epochs:
        print("tersor: the recipe's training was left out: it needs tersor.nn.compress", file=sys.stderr)


def _compress_bytes(arguments: argparse.Namespace, output: str, progress: Progress) -> None:
    name = arguments.file
    with _open_input(name) as source, open_output(output, like=None if name == "-" else name) as out:
        total = _size(source)
        if arguments.format == "z":
            from ..lzw import LZWFile

            with LZWFile(out, "wb") as packed:
                _copy(source, packed.write, total, progress)
            return
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
    if suffix in (SUFFIX, Z_SUFFIX):
        return stem
    if suffix == ".safetensors" and stem.endswith(SUFFIX):
        return stem[: -len(SUFFIX)] + suffix
    raise UsageError(f"{name} has no name ending {SUFFIX} or {Z_SUFFIX} to take off: name the output with -o")


def _is_model(name: str) -> bool:
    """Whether a file is to be treated as a model; one without a frame's magic is by its name."""
    with open(name, "rb") as file:
        return file.read(len(MAGIC)) != MAGIC and name.endswith(".safetensors")


class _Begun(io.RawIOBase):
    """A file of which the first bytes have been read: gives them once more."""

    def __init__(self, head: bytes, source: IO[bytes]) -> None:
        self._head = head
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        out = memoryview(buffer)
        data = self._head or self._source.read(len(out))
        out[: len(data)] = data
        self._head = b""
        return len(data)


def _open_compressed(source: IO[bytes], threads: int | None) -> CodedFile:
    """Open what a file holds by how it begins."""
    from ..lzw import Z_MAGIC, LZWFile

    head = read_exactly(source, len(Z_MAGIC))
    whole: Any = source
    if source.seekable():
        source.seek(0)
    else:
        whole = io.BufferedReader(_Begun(head, source))
    return LZWFile(whole) if head == Z_MAGIC else TersorFile(whole, threads=threads)


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

    with _open_compressed(source, arguments.threads) as file:
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
    is_model = _is_model(name)
    if arguments.html and arguments.json:
        raise UsageError("--html and --json exclude one another")
    if arguments.original and not arguments.html:
        raise UsageError("--original is for --html")
    if arguments.html and not is_model:
        raise UsageError("--html is for models")
    if arguments.html:
        _write_page(arguments)
        return
    if is_model:
        from ..report import describe

        report = describe(name)
    else:
        report = _inspect_z(name) or _inspect_frames(name)
    if arguments.json:
        json.dump(report, sys.stdout, indent=2, ensure_ascii=False)
        print()
    elif report["kind"] == "model":
        _show_model(report)
    elif report["kind"] == "z":
        print_table(
            report["file"], ("codes to", "block mode"), [(f"{report['max_bits']} bits", report["block_mode"])]
        )
        print(_whole(report))
    else:
        _show_frames(report)


def _write_page(arguments: argparse.Namespace) -> None:
    from ..report import html_page, weights_of

    refuse_existing(arguments.html, arguments.force)
    with contextlib.ExitStack() as stack:
        original = None
        if arguments.original:
            try:
                original = stack.enter_context(weights_of(arguments.original))
            except TersorError as error:
                raise TersorError(f"{arguments.original}: {error}") from None
        _, page = html_page(arguments.file, original=original)
    with open_output(arguments.html) as out:
        out.write(page)


def _ratio(size: int, content: int) -> float | None:
    return size / content if content else None


def _inspect_z(name: str) -> dict[str, Any] | None:
    """Describe a .Z file, if it is one. It tells its content's size only to who decodes it."""
    from ..lzw import Z_MAGIC, LZWFile

    with open(name, "rb") as source:
        head = source.read(3)
        if head[:2] != Z_MAGIC:
            return None
        source.seek(0)
        with LZWFile(source) as file:
            content = _copy(file, lambda chunk: None, 0, None)
    size = os.path.getsize(name)
    return {
        "kind": "z",
        "file": name,
        "max_bits": head[2] & 0x1F,
        "block_mode": head[2] >= 0x80,
        "content_bytes": content,
        "file_bytes": size,
        "ratio": _ratio(size, content),
    }


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
            sparse = "sparse " if block.shape & SPARSE else ""
            frame["filters"][sparse + _FILTERS[block.shape >> 2 & 7]] += 1
            for mode, _ in block.planes():
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


def _show_model(report: dict[str, Any]) -> None:
    from ..report import HEADER, notes, rows

    print_table(report["file"], HEADER, rows(report), left=4)
    print(*notes(report), sep="\n", end="\n" if notes(report) else "")


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
            shown_ratio(_ratio(f["payload_bytes"], f["content_bytes"])),
        )
        for i, f in enumerate(report["frames"], 1)
    ]
    header = ("frame", "blocks", "typesize", "filters", "planes", "content", "payload", "ratio")
    print_table(report["file"], header, rows, left=5)
    if report["file_bytes"] is not None:
        print(_whole(report))


def _whole(report: dict[str, Any]) -> str:
    sizes = f"{report['content_bytes']:,} bytes in {report['file_bytes']:,}"
    return f"{sizes}, ratio {shown_ratio(report['ratio']) or '-'}"
