"""What a model file consists of, tensor by tensor: for tables, for programs, and for a page with plots."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import checkpoint
from .arrays import bytes_of, extension_dtype
from .checkpoint.header import DTYPES
from .quantize import CodebookArray, QuantizedArray
from .quantize.allocate import entropy_bits
from .quantize.codebook import NF4
from .recipe import KEY
from .table import plain_table, printable, shown_ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Content", "Original", "describe", "html_page", "text", "weights_of"]

# What is larger and takes up so much more room than is stored of it is not decoded: no weights are like this.
SUSPECT_SIZE = 64 << 20
SUSPECT_RATIO = 256

HEADER = ("tensor", "dtype", "shape", "method", "sparsity", "bits", "entropy", "bytes", "stored", "ratio")


class Content(NamedTuple):
    """A decoded tensor: as it is stored, and the numbers that it stands for."""

    stored: QuantizedArray | CodebookArray | NDArray[np.uint8]
    numbers: NDArray[Any] | None  # None where NumPy does not know the dtype


Visit = Callable[[dict[str, Any], Content], None]
Original = Callable[[str], "NDArray[Any] | None"]


def describe(path: str | os.PathLike[str], visit: Visit | None = None) -> dict[str, Any]:
    """Describe a model file.

    Parameters
    ----------
    path : str or path
        A compressed model file, or an ordinary `.safetensors` file.
    visit : callable, optional
        Called with the entry and the `Content` of each tensor. Only one is in memory at a time.

    Returns
    -------
    dict
        All that JSON can hold. Of the file: ``content_bytes`` and ``quantized_bytes``, the sizes of the
        tensors before, and as integers of their width that are not entropy coded; ``file_bytes``; ``ratio``;
        ``elements``; ``sparsity``, ``bits`` and ``entropy`` of an average element; ``metadata``; ``recipe``,
        ``curve`` and ``shared`` as `tersor.nn.CompressedModel` has them. For each of ``tensors``:

        - ``name``, ``dtype``, ``shape``, ``nbytes`` of the original;
        - ``method``: "lossless", or how it is quantized; ``bits``: the width of what is stored;
        - ``sparsity``: the share of zeros;
        - ``entropy``: bits that an element takes at least when integers are coded one by one, knowing only
          how often each occurs; those of numbers without loss byte by byte;
        - ``quantized_nbytes``, ``compressed_nbytes``, ``ratio``;
        - ``methods``: how its byte planes are coded, most significant first; ``quantization``: the fields in
          the file.

        What is not known is `None`.

    Raises
    ------
    CorruptDataError, UnsupportedFormatError
        If the file is damaged or no model file.

    Examples
    --------
    >>> w = np.eye(64, dtype=np.float32)
    >>> tersor.checkpoint.save_file({"w": tersor.quantize.affine(w, axis=0)}, "eye.safetensors")
    >>> entry = describe("eye.safetensors")["tensors"][0]
    >>> entry["method"], entry["sparsity"], round(entry["entropy"], 3)
    ('int8 per channel', 0.984375, 0.116)
    """
    with checkpoint.safe_open(path) as file:
        tensors = [_described(file, facts, visit) for facts in file.inspect()]
        metadata, is_compressed = file.metadata(), file.compressed
    size = os.path.getsize(path)
    content = sum(t["nbytes"] for t in tensors)
    return {
        "kind": "model",
        "file": os.fspath(path),
        "compressed": is_compressed,
        "metadata": metadata,
        "content_bytes": content,
        "quantized_bytes": sum(t["quantized_nbytes"] for t in tensors),
        "file_bytes": size,
        "ratio": size / content if content else None,
        "elements": sum(_n_elements(t) for t in tensors),
        **{key: _average(tensors, key) for key in ("sparsity", "bits", "entropy")},
        **_about(metadata),
        "tensors": tensors,
    }


def _n_elements(facts: dict[str, Any]) -> int:
    return math.prod(facts["shape"])


def _average(tensors: list[dict[str, Any]], key: str) -> float | None:
    """Average over the elements of those tensors of which it is known."""
    known = [(_n_elements(t), t[key]) for t in tensors if t[key] is not None]
    n = sum(n for n, _ in known)
    return sum(n_elements * value for n_elements, value in known) / n if n else None


def _about(metadata: dict[str, str]) -> dict[str, Any]:
    """Read what a compressed network's file tells of how it came to be; nothing if that is damaged."""
    about: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        about = json.loads(metadata.get(KEY, "{}"))
    about = about if isinstance(about, dict) else {}
    recipe, curve, shared = (about.get(key) for key in ("recipe", "curve", "shared"))
    return {
        "recipe": recipe if isinstance(recipe, dict) else {},
        "curve": [point for point in curve if _is_point(point)] if isinstance(curve, list) else [],
        "shared": {k: v for k, v in shared.items() if isinstance(v, str)} if isinstance(shared, dict) else {},
    }


def _is_point(point: Any) -> bool:
    if not isinstance(point, list) or len(point) != 2:
        return False
    nbytes, score = point
    is_score = score is None or (type(score) in (int, float) and abs(score) < 1e300)
    return type(nbytes) is int and 0 <= nbytes < 2**63 and is_score


def _described(file: checkpoint.safe_open, facts: dict[str, Any], visit: Visit | None) -> dict[str, Any]:
    name, dtype, nbytes, stored = (facts[k] for k in ("name", "dtype", "nbytes", "compressed_nbytes"))
    n = _n_elements(facts)
    entry: dict[str, Any] = {
        "name": name,
        "dtype": dtype,
        "shape": facts["shape"],
        "method": "lossless" if file.compressed else "stored",
        "sparsity": None,
        "bits": DTYPES[dtype].bits,
        "entropy": None,
        "nbytes": nbytes,
        "quantized_nbytes": nbytes,
        "compressed_nbytes": stored,
        "ratio": stored / nbytes if nbytes else None,
        "methods": facts["methods"],
        "quantization": facts["quantization"],
    }
    if nbytes > SUSPECT_SIZE and nbytes > SUSPECT_RATIO * stored:
        return entry
    content = _content(file, name, dtype)
    array, numbers = content
    if isinstance(array, np.ndarray):
        planes = DTYPES[dtype].typesize
        bits = sum(entropy_bits(bytes_of(np.ascontiguousarray(array[p::planes]))) for p in range(planes))
    else:
        parts = iter(array.components()[0].values())
        next(parts)  # the integers or indices
        entry["method"] = _method(array)
        entry["bits"] = array.bits if isinstance(array, QuantizedArray) else (array.levels - 1).bit_length()
        entry["quantized_nbytes"] = -(-n * entry["bits"] // 8) + sum(part.nbytes for part in parts)
        bits = entropy_bits(bytes_of(np.ascontiguousarray(array.integers())))
    if facts["methods"].startswith("positions by"):
        entry["method"] += ", sparse"
    entry["entropy"] = bits / n if n else None
    if numbers is not None and n:
        entry["sparsity"] = (n - int(np.count_nonzero(numbers))) / n
    if visit is not None:
        visit(entry, content)
    return entry


def _content(file: checkpoint.safe_open, name: str, dtype: str) -> Content:
    if file.is_quantized(name):
        array = file.get_quantized(name)
        # Whatever float32 has, bfloat16 has too, but for its precision.
        return Content(array, array.dequantize("float16" if dtype == "F16" else "float32"))
    flat = file.get_bytes(name)
    if dtype == "BF16":
        return Content(flat, (flat.view(np.uint16).astype(np.uint32) << 16).view(np.float32))
    known = DTYPES[dtype].numpy
    if known is None:
        return Content(flat, None)
    if known.startswith("float8"):
        try:
            return Content(flat, flat.view(extension_dtype(known)).astype(np.float32))
        except ImportError:
            return Content(flat, None)
    return Content(flat, flat.view(known))


def _method(array: QuantizedArray | CodebookArray) -> str:
    """Say in a few words how an array is quantized."""
    cut = "" if array.axis is None else " per channel" if array.axis == 0 else f" by axis {array.axis}"
    cut = cut if array.group_size is None else f" in groups of {array.group_size}"
    if isinstance(array, QuantizedArray):
        return f"{'int' if array.symmetric else 'uint'}{array.bits}{cut}"
    if array.scale is None:
        return f"codebook of {array.levels}{cut}"
    is_nf4 = np.array_equal(array.codebook, NF4[None])
    return f"nf4{cut}" if is_nf4 else f"codebook of {array.levels}, scaled{cut}"


# ---- Text -------------------------------------------------------------------------------------------


def rows(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """Lay out tensors, and their total, as rows below `HEADER`."""
    # Where nothing is quantized, how bytes are coded tells more.
    by_planes = report["compressed"] and not any(t["quantization"] for t in report["tensors"])

    def row(t: dict[str, Any], name: str, about: Iterable[str], before: int, after: int) -> tuple[str, ...]:
        sparsity, bits, entropy = (t[key] for key in ("sparsity", "bits", "entropy"))
        return (
            name,
            *about,
            "" if sparsity is None else f"{sparsity:.2%}",
            "" if bits is None else f"{bits:.3g}",
            "" if entropy is None else f"{entropy:.3f}",
            f"{before:,}",
            f"{after:,}",
            shown_ratio(t["ratio"]),
        )

    def tensor(t: dict[str, Any]) -> tuple[str, ...]:
        shape = " x ".join(map(str, t["shape"])) or "scalar"
        about = (t["dtype"], shape, t["methods"] if by_planes else t["method"])
        return row(t, t["name"], about, t["nbytes"], t["compressed_nbytes"])

    shared = [(name, "", "", f"is {of}", *[""] * 6) for name, of in report["shared"].items()]
    total = row(report, "total", ("", "", ""), report["content_bytes"], report["file_bytes"])
    return [*map(tensor, report["tensors"]), *shared, total]


def notes(report: dict[str, Any]) -> list[str]:
    """Write lines that go below the table: the recipe and the curve."""
    lines = []
    if report["recipe"]:
        lines.append(f"recipe: {printable(json.dumps(report['recipe']))}")
    for nbytes, score in report["curve"]:
        lines.append(f"tried: {nbytes:,} bytes" + ("" if score is None else f", score {score:.6g}"))
    return lines


def text(report: dict[str, Any]) -> str:
    """Write a report as text."""
    return "\n".join([plain_table(report["file"], HEADER, rows(report), left=4), *notes(report)])


# ---- The page ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def weights_of(path: str | os.PathLike[str]) -> Iterator[Original]:
    """Open a model file for the weights before that `html_page` asks for."""
    with checkpoint.safe_open(path) as file:
        dtypes = {facts["name"]: facts["dtype"] for facts in file.inspect()}
        yield lambda name: _content(file, name, dtypes[name]).numbers if name in dtypes else None


def html_page(
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    original: Original | None = None,
) -> tuple[dict[str, Any], bytes]:
    """Describe a model file by a page that needs nothing else, with plots.

    Parameters
    ----------
    path : str or path
    title : str, optional
        By default the name of the file.
    original : callable, optional
        Returns the weights by a name as they were before, or `None`.

    Returns
    -------
    report : dict
        See `describe`.
    page : bytes
        HTML, in UTF-8.

    Raises
    ------
    CorruptDataError, UnsupportedFormatError
        If the file is damaged or no model file.
    ImportError
        If Matplotlib is missing.
    """
    from .report_page import Page

    with checkpoint.safe_open(path) as file:
        page = Page(file.inspect(), original)
    report = describe(path, page.visit)
    return report, page.write(report, title or os.path.basename(path))
