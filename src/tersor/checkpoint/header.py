"""Headers of `.safetensors` files, and the record in them of what a compressed file stands for."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

from ..errors import CorruptDataError, TersorError, UnsupportedFormatError
from ..file import read_exactly
from .quantized import Quantization

METADATA = "__metadata__"
KEY = "tersor"
VERSION = 1

# The safetensors format's own limit.
HEADER_MAX = 100_000_000


class DType(NamedTuple):
    """A safetensors dtype: bits of an element, type size of its planes, NumPy's and torch's names."""

    bits: int
    typesize: int
    numpy: str | None
    torch: str | None


DTYPES = {
    "BOOL": DType(8, 1, "bool", "bool"),
    "U8": DType(8, 1, "uint8", "uint8"),
    "I8": DType(8, 1, "int8", "int8"),
    "U16": DType(16, 2, "uint16", "uint16"),
    "I16": DType(16, 2, "int16", "int16"),
    "U32": DType(32, 4, "uint32", "uint32"),
    "I32": DType(32, 4, "int32", "int32"),
    "U64": DType(64, 8, "uint64", "uint64"),
    "I64": DType(64, 8, "int64", "int64"),
    "F16": DType(16, 2, "float16", "float16"),
    "F32": DType(32, 4, "float32", "float32"),
    "F64": DType(64, 8, "float64", "float64"),
    "C64": DType(64, 4, "complex64", "complex64"),
    "BF16": DType(16, 2, "bfloat16", "bfloat16"),
    "F8_E4M3": DType(8, 1, "float8_e4m3fn", "float8_e4m3fn"),
    "F8_E5M2": DType(8, 1, "float8_e5m2", "float8_e5m2"),
    "F8_E8M0": DType(8, 1, "float8_e8m0fnu", "float8_e8m0fnu"),
    "F6_E2M3": DType(6, 1, None, None),
    "F6_E3M2": DType(6, 1, None, None),
    "F4": DType(4, 1, None, None),
}
QUANTIZED_DTYPES = ("F32", "F16", "BF16")
NAMES = {dtype.numpy: name for name, dtype in DTYPES.items() if dtype.numpy}


class Tensor(NamedTuple):
    """One entry of a header; begin and end are offsets in the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.begin


class Header(NamedTuple):
    """A safetensors header, its tensors in the order of their data."""

    text: str
    tensors: list[Tensor]
    metadata: dict[str, str]

    @property
    def data_size(self) -> int:
        return self.tensors[-1].end if self.tensors else 0


class Original(NamedTuple):
    """What a compressed file was made from, or stands for."""

    header: Header
    quantized: dict[str, Quantization]  # of the tensors that are not stored without loss


# ---- The safetensors header -------------------------------------------------------------------------


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        name = next(k for k, n in Counter(k for k, _ in pairs).items() if n > 1)
        raise CorruptDataError(f"safetensors header: {name!r} occurs twice")
    return result


def parse_header(text: str) -> Header:
    """Read and check a header: known dtypes, sizes that fit, data without holes or overlaps."""
    try:
        fields = json.loads(text, object_pairs_hook=_no_duplicates)
    except TersorError:
        raise
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(f"safetensors header: invalid JSON ({error})") from None
    if not isinstance(fields, dict) or not text.startswith("{"):
        raise CorruptDataError("safetensors header: not a JSON object")
    metadata = fields.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CorruptDataError("safetensors header: metadata is not a mapping of strings")
    tensors = sorted((_parse_tensor(n, f) for n, f in fields.items()), key=lambda t: (t.begin, t.end))
    end = 0
    for tensor in tensors:
        if tensor.begin != end:
            raise CorruptDataError(
                f"safetensors header: the data of {tensor.name!r} begins at {tensor.begin}, not {end}"
            )
        end = tensor.end
    return Header(text, tensors, metadata)


def _is_size(n: Any) -> bool:
    return type(n) is int and 0 <= n < 2**63


def _n_bits(where: str, dtype: Any, shape: Any) -> int:
    """Check dtype and shape of a tensor, and work out its size in bits."""
    if not isinstance(shape, list) or not all(map(_is_size, shape)):
        raise CorruptDataError(f"{where} has an invalid shape")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise UnsupportedFormatError(f"{where} has the unknown dtype {dtype!r}")
    return math.prod(shape) * DTYPES[dtype].bits


def _parse_tensor(name: str, fields: Any) -> Tensor:
    where = f"safetensors header: tensor {name!r}"
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise CorruptDataError(f"{where} does not have dtype, shape and data_offsets")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    bits = _n_bits(where, dtype, shape)
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        raise CorruptDataError(f"{where} has invalid data_offsets")
    begin, end = offsets
    if bits % 8 or end - begin != bits // 8:
        raise CorruptDataError(f"{where} has {end - begin} bytes, its shape and dtype need {bits} bits")
    return Tensor(name, dtype, tuple(shape), begin, end)


def read_header(file: IO[bytes]) -> tuple[Header, int]:
    """Read the header of a file: also returns where its data begins."""
    file_size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file_size < 8:
        raise CorruptDataError("no safetensors file: shorter than 8 bytes")
    size = int.from_bytes(read_exactly(file, 8), "little")
    if size > min(HEADER_MAX, file_size - 8):
        raise CorruptDataError(f"no safetensors file: a header of {size} bytes does not fit in it")
    try:
        text = read_exactly(file, size).decode()
    except UnicodeDecodeError:
        raise CorruptDataError("no safetensors file: the header is not UTF-8") from None
    header = parse_header(text)
    if header.data_size != file_size - 8 - size:
        raise CorruptDataError(
            f"the safetensors file has {file_size - 8 - size} bytes of data, "
            f"its header says {header.data_size}"
        )
    return header, 8 + size


def make_header(tensors: list[Tensor], metadata: Mapping[str, str]) -> str:
    """Write a header, with spaces that align the data."""
    fields: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    for t in tensors:
        fields[t.name] = {"dtype": t.dtype, "shape": t.shape, "data_offsets": [t.begin, t.end]}
    text = to_json(fields)
    return text + " " * (-len(text.encode()) % 8)


def to_json(fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


# ---- The record of the original -----------------------------------------------------------------------


def exact_record(header: Header) -> str:
    """Keep a header as it is, so that its file can be rebuilt byte for byte."""
    return to_json({"version": VERSION, "header": header.text})


def short_record(original: Original) -> str:
    """Keep what a header that `make_header` wrote consists of, and what is quantized how."""
    tensors: dict[str, list[Any]] = {}
    for t in original.header.tensors:
        tensors[t.name] = [t.dtype, t.shape]
        if t.name in original.quantized:
            tensors[t.name] += original.quantized[t.name]
    return to_json({"version": VERSION, "tensors": tensors})


def read_original(stored: Header) -> Original:
    """Read the record of either kind."""
    damaged = CorruptDataError(f"the metadata entry {KEY!r} is damaged, or not tersor's")
    try:
        record = json.loads(stored.metadata[KEY], object_pairs_hook=_no_duplicates)
        version = record["version"]
    except TersorError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError):
        raise damaged from None
    if version != VERSION:
        raise UnsupportedFormatError(f"checkpoint version {version!r}; known is {VERSION}")
    text, tensors = record.get("header"), record.get("tensors")
    quantized = {}
    if isinstance(text, str):
        header = parse_header(text)
    elif isinstance(tensors, dict):
        entries, end = [], 0
        for name, fields in tensors.items():
            if not isinstance(fields, list) or len(fields) not in (2, 4):
                raise damaged
            where = f"the record of tensor {name!r}"
            bits = _n_bits(where, *fields[:2])
            if bits % 8:
                raise CorruptDataError(f"{where} has {bits} bits, which are no whole bytes")
            entries.append(Tensor(name, fields[0], tuple(fields[1]), end, end + bits // 8))
            end += bits // 8
            if len(fields) == 4:
                if fields[0] not in QUANTIZED_DTYPES:
                    raise CorruptDataError(f"{where}: {fields[0]} cannot be quantized")
                quantized[name] = Quantization.parse(where, *fields[2:])
        metadata = {key: value for key, value in stored.metadata.items() if key != KEY}
        header = Header(make_header(entries, metadata), entries, metadata)
    else:
        raise damaged
    if [t.name for t in header.tensors] != [t.name for t in stored.tensors]:
        raise CorruptDataError("the tensors stored are not those of the original header")
    return Original(header, quantized)
