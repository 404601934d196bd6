from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

CODEC_AUTO: int
CODEC_HUFFMAN: int
CODEC_RAW: int
CODEC_LZW: int
FILTER_CHOOSE: int
FILTER_SPARSE: int
BLOCK_CONTENT_MAX: int
LZW_NEED_INPUT: int
LZW_OUTPUT_FULL: int
LZW_END: int
CODE_MAX_LENGTH: int
CODE_SYMBOLS_MAX: int
LINEAR_GROUP: int
FLOAT32: int
FLOAT16: int
BFLOAT16: int
FLOAT64: int
CONDENSED_MAX: int
AFFINE_PACKED_BITS: int
PRUNE_BINS: int
PRUNE_M_MAX: int

class Bytes1D(Buffer):
    def __init__(self, data: Buffer, writable: bool = False) -> None: ...

class OutputBytes(Buffer):
    def __init__(self, size: int) -> None: ...
    def finish(self, size: int | None = None) -> bytes: ...

class Workspace:
    def __init__(self, size: int) -> None: ...

def copy_into(out: Buffer, data: Buffer) -> None: ...
def byte_view(data: Buffer, *, writable: bool = False) -> memoryview: ...
def cpu_features() -> dict[str, object]: ...
def cpu_paths() -> list[str]: ...
def select_cpu(name: str) -> None: ...
def result_codes() -> list[int]: ...
def result_error(rc: int, fault: int, within: str = ...) -> Exception: ...
def encode_bound(content_size: int) -> int: ...
def encode_block_into(
    content: Buffer, out: Buffer, typesize: int = 1, filter: int = 255, codec: int = 0
) -> tuple[int, int]: ...
def encode_block(
    content: Buffer, typesize: int = 1, filter: int = 255, codec: int = 0
) -> tuple[int, bytes]: ...
def decode_block(payload: Buffer, shape: int, out: Buffer) -> None: ...
def inspect_block(payload: Buffer, shape: int, content_size: int) -> list[tuple[int, int]]: ...
def histogram(data: Buffer | NDArray[np.uint8]) -> list[int]: ...
def code_lengths(counts: Sequence[int]) -> list[int]: ...

class LZWDialect:
    def __init__(
        self,
        msb_first: bool,
        literal_bits: int,
        max_bits: int,
        early_change: bool = False,
        clear_code: bool = True,
        end_code: bool = True,
        grouped: bool = False,
        full_grows: bool = False,
    ) -> None: ...

class LZWDecoder:
    def __init__(self, dialect: LZWDialect) -> None: ...
    def decode(self, data: Buffer, start: int, limit: int) -> tuple[bytes, int, int]: ...

class LZWEncoder:
    def __init__(self, dialect: LZWDialect) -> None: ...
    def encode(self, data: Buffer, finish: bool) -> tuple[bytes, int, int]: ...

def lzw_decode(
    dialect: LZWDialect, data: Buffer, start: int, room: int, limit: int
) -> tuple[bytes, int, int]: ...
def lzw_decode_into(
    dialect: LZWDialect, data: Buffer, start: int, out: Buffer, limit: int
) -> tuple[int, int, int]: ...
def lzw_encode(dialect: LZWDialect, data: Buffer, prefix: bytes = b"") -> bytes: ...

class CodeDecoder:
    def __init__(self, n_of_length: NDArray[np.uint32], symbols: NDArray[np.uint32]) -> None: ...
    def count(self, data: Buffer) -> int: ...
    def decode_into(self, data: Buffer, out: Buffer | NDArray[np.uint8], width: int) -> None: ...
    def decode_bits_into(
        self, data: Buffer, n_bits: int, out: NDArray[np.uint8], width: int
    ) -> tuple[int, int]: ...

def histogram16(data: NDArray[np.uint16], counts: NDArray[np.uint64]) -> None: ...
def sorted_code_lengths(weights: NDArray[np.uint64], lengths: NDArray[np.uint8], max_length: int) -> None: ...
def write_code_table(lengths: NDArray[np.uint8]) -> bytes: ...
def read_code_table(data: Buffer, lengths: NDArray[np.uint8]) -> None: ...
def encode_symbols(words: NDArray[np.uint64], symbols: NDArray[np.uint8], width: int) -> bytes | int: ...
def encode_symbol_bits(
    words: NDArray[np.uint64], symbols: NDArray[np.uint8], width: int
) -> tuple[bytes, int] | int: ...
def float_range(
    data: Buffer,
    type: int,
    n_channels: int,
    n_inner: int,
    low: NDArray[np.float32],
    high: NDArray[np.float32],
) -> int: ...
def float_histogram(
    data: Buffer,
    type: int,
    n_channels: int,
    n_inner: int,
    limits: NDArray[np.float64],
    counts: NDArray[np.uint64],
) -> None: ...
def affine_parameters(
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    scale: NDArray[np.float32],
    zero: NDArray[np.uint8] | None,
    bits: int,
) -> None: ...
def affine_quantize(
    data: Buffer,
    type: int,
    n_channels: int,
    n_inner: int,
    scale: NDArray[np.float32],
    zero: NDArray[np.uint8] | None,
    bits: int,
    out: Buffer,
    n_row: int,
) -> int: ...
def affine_dequantize(
    data: Buffer,
    n_channels: int,
    n_inner: int,
    scale: NDArray[np.float32],
    zero: NDArray[np.uint8] | None,
    bits: int,
    n_row: int,
    out: Buffer,
    type: int,
) -> None: ...
def affine_error(
    data: Buffer,
    type: int,
    n_channels: int,
    n_inner: int,
    scale: NDArray[np.float32],
    zero: NDArray[np.uint8] | None,
    bits: int,
    error: NDArray[np.float64],
) -> None: ...
def pack_nibbles(data: Buffer, out: Buffer, n_row: int) -> None: ...
def unpack_nibbles(data: Buffer, out: Buffer, n_row: int) -> None: ...

class Codebook:
    def __init__(
        self, levels: NDArray[np.float32], scales: NDArray[np.float32] | None, n_groups: int, run: int
    ) -> None: ...
    def prepare(self) -> None: ...
    def assign_into(
        self,
        x: Buffer,
        type: int,
        out: Buffer,
        first: int,
        n_rows: int,
        row: int,
        packed: bool,
        measure: bool,
    ) -> tuple[float, int]: ...
    def dequantize_into(
        self, indices: Buffer, out: Buffer, type: int, first: int, n_rows: int, row: int, packed: bool
    ) -> None: ...

def sort_floats(
    x: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    out: NDArray[np.float32],
    out_weights: NDArray[np.float32] | None,
) -> None: ...
def condense(x: NDArray[np.float32], values: NDArray[np.float32], weights: NDArray[np.float32]) -> int: ...
def kmeans(
    levels: NDArray[np.float32],
    sorted: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    keep_zero: bool,
) -> int: ...

class LinearProduct:
    def __init__(
        self,
        x: NDArray[np.float32],
        values: NDArray[np.uint8],
        scale: NDArray[np.float32],
        zero_point: NDArray[np.uint8] | None,
        bits: int,
        group_size: int,
    ) -> None: ...
    def multiply(self, out: NDArray[np.float32], first: int, last: int) -> None: ...

class PruneOrder:
    def __init__(self, width: int, infinity: int, by_value: bool = False) -> None: ...
    @property
    def width(self) -> int: ...
    @property
    def max_key(self) -> int: ...

def prune_sample(order: PruneOrder, numbers: Buffer, keys: Buffer) -> None: ...
def prune_count(
    order: PruneOrder, numbers: Buffer, lo: int, hi: int, keys: Buffer
) -> tuple[int, int, bool]: ...
def prune_histogram(
    order: PruneOrder, numbers: Buffer, lo: int, hi: int, counts: NDArray[np.uint64]
) -> None: ...
def prune_select(keys: Buffer, width: int, rank: int) -> tuple[int, int, int]: ...
def prune_select_rows(
    order: PruneOrder, numbers: Buffer, n_rows: int, rank: int, found: NDArray[np.uint64]
) -> None: ...
def prune_mask(order: PruneOrder, numbers: Buffer, threshold: int, n_ties: int, mask: Buffer) -> None: ...
def prune_mask_rows(
    order: PruneOrder, numbers: Buffer, found: NDArray[np.uint64], n_pruned: int, mask: Buffer
) -> None: ...
def prune_mask_nm(order: PruneOrder, numbers: Buffer, n_kept: int, m: int, mask: Buffer) -> None: ...
def prune_apply(order: PruneOrder, numbers: Buffer, threshold: int, n_ties: int) -> int: ...
def prune_apply_scored(
    numbers: Buffer, width: int, order: PruneOrder, scores: Buffer, threshold: int, n_ties: int
) -> int: ...
def prune_apply_mask(numbers: Buffer, width: int, mask: Buffer) -> int: ...
def prune_pack(mask: Buffer, bits: Buffer) -> None: ...
def prune_unpack(bits: Buffer, mask: Buffer) -> None: ...
