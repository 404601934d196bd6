"""tersor and its peers behind one interface: `Peer`.

What is compressed is bytes, an array or the path of a file; a peer's functions take and return what
their library works on, and `to_bytes` makes results comparable. All use one thread.
"""

from __future__ import annotations

import io
import itertools
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from inputs import UnavailableError
from numpy.typing import NDArray

import tersor
from tersor import _native, checkpoint, lzw, reference
from tersor.huffman import HuffmanCode

# Slow peers are given this much of the data.
SLOW_SIZE = 1 << 20

BLOCK_SIZE = 256 << 10

ZIPNN_DTYPES = {"bf16": "bfloat16", "f32": "float32"}


@dataclass(frozen=True)
class Peer:
    """A compressor.

    `slow` ones (below some 20 MB/s) are measured on the beginning of the data only. One that
    `overwrites` its input while it compresses needs a copy each time. What one that `only_reads` decompresses
    was made by tersor.
    """

    name: str
    compress: Callable[[Any], Any]
    decompress: Callable[[Any], Any]
    slow: bool = False
    overwrites: bool = False
    only_reads: bool = False

    def sample(self, source: Any) -> Any:
        """Cut the source to what this peer is measured on."""
        return source[:SLOW_SIZE] if self.slow else source

    def fresh(self, source: Any) -> Any:
        """Make the argument of `compress`; not part of what is timed."""
        return bytearray(source) if self.overwrites else source

    def checked(self, source: Any) -> Any:
        """Compress, and make sure that the result decompresses to the source."""
        compressed = self.compress(self.fresh(source))
        if to_bytes(self.decompress(compressed)) != to_bytes(source):
            raise AssertionError(f"{self.name} does not reproduce its input")
        return compressed


def to_bytes(result: Any) -> bytes:
    """The bytes of a buffer, a list of buffers or a file."""
    if isinstance(result, Path):
        return result.read_bytes()
    if isinstance(result, np.ndarray):
        return result.tobytes()
    return b"".join(result) if isinstance(result, list) else bytes(result)


def _import(module: str, name: str) -> Any:
    try:
        # What a peer's own imports warn of is not ours to mend.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(import_module(module), name)
    except (AttributeError, ImportError) as error:
        raise UnavailableError(f"{module} cannot be used ({error})") from None


# ---- Bytes --------------------------------------------------------------------------------------


def _tersor(input_name: str, typesize: int) -> Peer:
    def compress(data: bytes) -> bytes:
        return tersor.compress(data, typesize=typesize, threads=1)

    return Peer("tersor", compress, lambda data: tersor.decompress(data, threads=1))


def _reference(input_name: str, typesize: int) -> Peer:
    encode = _import("tersor.reference", "compress")
    decode = _import("tersor.reference", "decompress")
    return Peer("tersor.reference", lambda data: encode(data, typesize=typesize), decode, slow=True)


def _zlib_huffman(input_name: str, typesize: int) -> Peer:
    def compress(data: bytes) -> bytes:
        coder = zlib.compressobj(6, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
        return coder.compress(data) + coder.flush()

    return Peer("zlib Z_HUFFMAN_ONLY", compress, lambda data: zlib.decompress(data, -15))


def _zlib(input_name: str, typesize: int) -> Peer:
    return Peer("zlib 6", lambda data: zlib.compress(data, 6), zlib.decompress)


def _zstandard(input_name: str, typesize: int) -> Peer:
    # It writes the content size, so that the output is allocated once.
    compressor = _import("zstandard", "ZstdCompressor")(level=1)
    decompressor = _import("zstandard", "ZstdDecompressor")()
    return Peer("zstandard 1", compressor.compress, decompressor.decompress)


def _zxc(input_name: str, typesize: int) -> Peer:
    # Its strongest level ends in PivCo-Huffman: bits regrouped by the nodes of the code's tree.
    compress = _import("zxc", "compress")
    return Peer("zxc 7", partial(compress, level=7), _import("zxc", "decompress"))


def _bitarray(input_name: str, typesize: int) -> Peer:
    bitarray = _import("bitarray", "bitarray")
    canonical_huffman = _import("bitarray.util", "canonical_huffman")
    canonical_decode = _import("bitarray.util", "canonical_decode")
    head = struct.Struct("<BBH")

    def compress(data: bytes) -> bytes:
        code, counts, symbols = canonical_huffman(Counter(data))
        bits = bitarray()
        bits.encode(code, data)
        table = struct.pack(f"<{len(counts)}H", *counts) + bytes(symbols)
        header = head.pack(-len(bits) % 8, len(counts), len(symbols))
        return b"".join([header, table, bits.tobytes()])

    def decompress(data: bytes) -> bytes:
        padding, n_counts, n_symbols = head.unpack_from(data)
        counts = struct.unpack_from(f"<{n_counts}H", data, head.size)
        start = head.size + 2 * n_counts
        bits = bitarray()
        bits.frombytes(data[start + n_symbols :])
        del bits[len(bits) - padding :]
        return bytes(canonical_decode(bits, counts, data[start : start + n_symbols]))

    return Peer("bitarray", compress, decompress)


def _dahuffman(input_name: str, typesize: int) -> Peer:
    codec = _import("dahuffman", "HuffmanCodec")
    entry = struct.Struct("<BI")

    # It has no compact form of its code, but makes the same one from the same counts.
    def compress(data: bytes) -> bytes:
        counts = Counter(data)
        table = b"".join(itertools.starmap(entry.pack, counts.items()))
        return b"".join([bytes([len(counts) - 1]), table, codec.from_frequencies(counts).encode(data)])

    def decompress(data: bytes) -> bytes:
        end = 1 + (data[0] + 1) * entry.size
        counts = dict(entry.iter_unpack(data[1:end]))
        return bytes(codec.from_frequencies(counts).decode(data[end:]))

    return Peer("dahuffman", compress, decompress, slow=True)


def _zipnn(input_name: str, typesize: int) -> Peer:
    dtype = ZIPNN_DTYPES[input_name]
    coder = _import("zipnn", "ZipNN")(input_format="byte", bytearray_dtype=dtype, threads=1)
    return Peer("zipnn", coder.compress, coder.decompress, overwrites=True)


PEERS: dict[str, Callable[[str, int], Peer]] = {
    "tersor": _tersor,
    "tersor.reference": _reference,
    "zlib Z_HUFFMAN_ONLY": _zlib_huffman,
    "zlib 6": _zlib,
    "zstandard 1": _zstandard,
    "zxc 7": _zxc,
    "bitarray": _bitarray,
    "dahuffman": _dahuffman,
    "zipnn": _zipnn,
}

HUFFMAN_PEERS = ["tersor.reference", "zlib Z_HUFFMAN_ONLY", "bitarray", "dahuffman"]


def names_for(input_name: str) -> list[str]:
    """Peers that an input is meant for: zipnn takes floats only, and zxc has nothing for them."""
    left_out = "zxc 7" if input_name in ZIPNN_DTYPES else "zipnn"
    return [name for name in PEERS if name != left_out]


def make(name: str, input_name: str, typesize: int) -> Peer:
    """Make a peer for an input; raises `UnavailableError` if its library is not installed."""
    return PEERS[name](input_name, typesize)


# ---- The block coder ----------------------------------------------------------------------------


@contextmanager
def cpu_path(name: str) -> Iterator[None]:
    """Use one CPU path for a while."""
    before = tersor.cpu_features()["selected"]
    _native.select_cpu(name)
    try:
        yield
    finally:
        _native.select_cpu(str(before))


def block_coder(path: str, size: int) -> Peer:
    """Make a peer of tersor's block coder on one CPU path, for data of `size` bytes.

    The buffers are made here, so that nothing but the coder is timed.
    """
    starts = range(0, size, BLOCK_SIZE)
    buffers = [memoryview(bytearray(_native.encode_bound(BLOCK_SIZE))) for _ in starts]
    output = bytearray(size)
    blocks = [memoryview(output)[at : at + BLOCK_SIZE] for at in starts]

    def compress(data: bytes) -> list[memoryview]:
        payloads = []
        view = memoryview(data)
        with cpu_path(path):
            for at, buffer in zip(starts, buffers, strict=True):
                _, n = _native.encode_block_into(view[at : at + BLOCK_SIZE], buffer)
                payloads.append(buffer[:n])
        return payloads

    def decompress(payloads: list[memoryview]) -> bytearray:
        with cpu_path(path):
            for payload, block in zip(payloads, blocks, strict=True):
                _native.decode_block(payload, 0, block)
        return output

    return Peer(f"tersor {path}", compress, decompress)


def threaded(threads: int) -> Peer:
    """Make a peer of tersor with so many threads."""
    return Peer(
        f"{threads} thread{'s' * (threads > 1)}",
        lambda data: tersor.compress(data, threads=threads),
        lambda frame: tersor.decompress(frame, threads=threads),
    )


# ---- Codes of any alphabet ----------------------------------------------------------------------


def _tersor_code(code: HuffmanCode, path: str) -> Peer:
    def compress(data: NDArray[Any]) -> bytes:
        with cpu_path(path):
            return code.encode(data)

    def decompress(data: bytes) -> Any:
        with cpu_path(path):
            return code.decode(data)

    return Peer(f"tersor {path}", compress, decompress)


def _reference_code(code: HuffmanCode) -> Peer:
    ranks = {symbol: rank for rank, symbol in enumerate(code.symbols)}
    lengths = list(code.lengths.values())
    symbols = np.array(code.symbols, code.kind)

    def compress(data: NDArray[Any]) -> bytes:
        return reference.code.encode([ranks[s] for s in data.tolist()], lengths)

    def decompress(data: bytes) -> Any:
        return symbols[reference.code.decode(data, lengths)]

    return Peer("tersor.reference", compress, decompress, slow=True)


def _bitarray_code(code: HuffmanCode) -> Peer:
    bitarray = _import("bitarray", "bitarray")
    canonical_decode = _import("bitarray.util", "canonical_decode")
    codes = {symbol: bitarray(bits) for symbol, bits in code.codes.items()}

    def compress(data: NDArray[Any]) -> bytes:
        bits = bitarray()
        bits.encode(codes, data.tolist())
        return bytes([-len(bits) % 8]) + bits.tobytes()

    def decompress(data: bytes) -> Any:
        bits = bitarray()
        bits.frombytes(data[1:])
        del bits[len(bits) - data[0] :]
        return np.array(list(canonical_decode(bits, code.counts, code.symbols)), code.kind)

    return Peer("bitarray", compress, decompress, slow=True)


def _dahuffman_code(code: HuffmanCode, data: NDArray[Any]) -> Peer:
    huffman_codec = _import("dahuffman", "HuffmanCodec")
    values, counts = np.unique(data, return_counts=True)
    frequencies = dict(zip(values.tolist(), counts.tolist(), strict=True))
    codec = huffman_codec.from_frequencies(frequencies, concat=list)

    def decompress(encoded: bytes) -> Any:
        return np.array(codec.decode(encoded), code.kind)

    return Peer("dahuffman", lambda data: codec.encode(data.tolist()), decompress, slow=True)


CODE_PEERS = [
    *(f"tersor {path}" for path in _native.cpu_paths()),
    "tersor.reference",
    "bitarray",
    "dahuffman",
]


def code_peer(name: str, code: HuffmanCode, data: NDArray[Any]) -> Peer:
    """Make a peer that codes symbols with a code that was made of them beforehand."""
    if name == "tersor.reference":
        return _reference_code(code)
    if name == "bitarray":
        return _bitarray_code(code)
    if name == "dahuffman":
        return _dahuffman_code(code, data)
    return _tersor_code(code, name.removeprefix("tersor "))


# ---- Small inputs -------------------------------------------------------------------------------


SMALL_PEERS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "tersor.huffman": (tersor.huffman.compress, tersor.huffman.decompress),
    "zlib 1": (partial(zlib.compress, level=1), zlib.decompress),
    "zlib 6": (zlib.compress, zlib.decompress),
}


# ---- LZW ----------------------------------------------------------------------------------------


def _tersor_lzw(format: str, size: int) -> Peer:
    def decompress(data: bytes) -> bytes:
        # imagecodecs is told the size as well, and the others look for the end.
        return lzw.decompress(data, format, expected_size=size if format == "tiff" else None)

    return Peer("tersor.lzw", lambda data: lzw.compress(data, format), decompress)


def _reference_lzw(format: str, size: int) -> Peer:
    coder = reference.lzw
    return Peer(
        "tersor.reference",
        lambda data: coder.compress(data, format),
        lambda data: coder.decompress(data, format),
        slow=True,
    )


def _imagecodecs(format: str, size: int) -> Peer:
    encode, decode = _import("imagecodecs", "lzw_encode"), _import("imagecodecs", "lzw_decode")
    return Peer("imagecodecs", encode, lambda data: decode(data, out=size))


def _ncompress(format: str, size: int) -> Peer:
    return Peer("ncompress", _import("ncompress", "compress"), _import("ncompress", "decompress"))


def _reader(name: str, format: str, decompress: Callable[[bytes], Any]) -> Peer:
    return Peer(name, lambda data: lzw.compress(data, format), decompress, slow=True, only_reads=True)


def _unlzw3(format: str, size: int) -> Peer:
    return _reader("unlzw3", format, _import("unlzw3", "unlzw"))


def _uncompresspy(format: str, size: int) -> Peer:
    open_file = _import("uncompresspy", "LZWFile")
    return _reader("uncompresspy", format, lambda data: open_file(io.BytesIO(data)).read())


def _pypdf(format: str, size: int) -> Peer:
    return _reader("pypdf", format, _import("pypdf.filters", "LZWDecode").decode)


def _pdfminer(format: str, size: int) -> Peer:
    return _reader("pdfminer.six", format, _import("pdfminer.lzw", "lzwdecode"))


LZW_PEERS: dict[str, list[Callable[[str, int], Peer]]] = {
    "tiff": [_tersor_lzw, _reference_lzw, _imagecodecs],
    "z": [_tersor_lzw, _reference_lzw, _ncompress, _unlzw3, _uncompresspy],
    "pdf": [_tersor_lzw, _reference_lzw, _pypdf, _pdfminer],
}
"""Makers of peers for each format, from the format and the size of the data."""

LZW_TITLES = {"tiff": "TIFF strips of 64 KiB", "z": "A `.Z` file", "pdf": "A PDF stream"}
LZW_INPUTS = ["text", "bf16_exponents", "int8", "pixels"]
STRIP_SIZE = 64 << 10


def lzw_peer(maker: Callable[[str, int], Peer], format: str, data: bytes) -> Peer:
    """Make a peer for data as a format has it: for TIFF cut into strips, which its results are lists of."""
    if format != "tiff":
        return maker(format, len(data))
    peer = maker(format, STRIP_SIZE)
    short = maker(format, (len(data) - 1) % STRIP_SIZE + 1)

    def compress(data: bytes) -> list[bytes]:
        return [peer.compress(data[at : at + STRIP_SIZE]) for at in range(0, len(data), STRIP_SIZE)]

    def decompress(strips: list[bytes]) -> list[bytes]:
        return [peer.decompress(strip) for strip in strips[:-1]] + [short.decompress(strips[-1])]

    return replace(peer, compress=compress, decompress=decompress)


# ---- Arrays and model files ---------------------------------------------------------------------


def _savez(a: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, a=a)
    return file.getvalue()


def _load_npz(data: bytes) -> Any:
    with np.load(io.BytesIO(data)) as file:
        return file["a"]


ARRAY_PEERS = {
    "tersor": Peer(
        "tersor",
        lambda a: tersor.compress_array(a, threads=1),
        lambda data: tersor.decompress_array(data, threads=1),
    ),
    "numpy.savez_compressed": Peer("numpy.savez_compressed", _savez, _load_npz),
}


def _convert(function: Callable[[Any], Any], source: Path, destination: Path) -> None:
    """Copy a model file, its data passed through a function."""
    with source.open("rb") as file:
        size = file.read(8)
        header = file.read(int.from_bytes(size, "little"))
        # Writable and our own: zipnn overwrites it.
        data = bytearray(source.stat().st_size - file.tell())
        file.readinto(data)
    with destination.open("wb") as file:
        file.write(size + header)
        file.write(function(data))


CHECKPOINT_PEERS = ["tersor", "zipnn", "zstandard 1"]


def checkpoint_peer(name: str, dtype: str) -> Peer:
    """Make a peer that compresses model files, writing beside them.

    tersor goes through a file tensor by tensor. The others are given the data of all tensors at once,
    which spares them the small ones, and keep the header as it is.
    """
    encode: Callable[[Path, Path], None]
    decode: Callable[[Path, Path], None]
    if name == "tersor":
        encode = partial(checkpoint.compress_file, threads=1)
        decode = partial(checkpoint.decompress_file, threads=1)
    else:
        peer = make(name, dtype.lower(), 1)
        encode = partial(_convert, peer.compress)
        decode = partial(_convert, peer.decompress)

    def compress(source: Path) -> Path:
        # A name for each peer, so that none replaces another's file.
        compressed = source.with_name(f"{source.stem}-{name}.compressed")
        encode(source, compressed)
        return compressed

    def decompress(compressed: Path) -> Path:
        restored = compressed.with_suffix(".restored")
        decode(compressed, restored)
        return restored

    return Peer(name, compress, decompress)
