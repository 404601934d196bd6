"""Huffman coding: bytes into `.tsr` frames, and canonical codes over any alphabet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import frame
from .huffman_code import HuffmanCode

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["HuffmanCode", "compress", "decompress"]


def compress(data: Buffer, *, threads: int | None = None) -> bytes:
    """Compress bytes with Huffman codes into a `.tsr` frame.

    The same as ``tersor.compress(data, codec="huffman")``: canonical codes of at most 11 bits, optimal
    for each block of 256 KiB, and blocks that would not shrink stored as they are.

    Examples
    --------
    >>> len(tersor.huffman.compress(b"abracadabra" * 1000)) < 3100
    True
    """
    return frame.compress(data, "huffman", threads=threads)


def decompress(data: Buffer, *, max_length: int = -1) -> bytes:
    """Decompress what `compress` made, or any other `.tsr` frames; see `tersor.decompress`."""
    return frame.decompress(data, max_length=max_length)
