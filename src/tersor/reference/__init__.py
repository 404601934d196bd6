"""The `.tsr` format in plain Python: a readable twin to learn from and to test against.

It reads everything that the fast library writes, and given the same filter it writes the same bytes,
tens to thousands of times slower. docs/format.md is the specification; the modules follow its
chapters, and each can be read alone:

- `huffman`: from counts to code lengths to codes, and bytes coded in one lane or in 64;
- `plane`: the mode for a plane of bytes, and the two that rearrange it before it is Huffman coded;
- `planes`: elements of 2, 4 or 8 bytes passed through a filter and taken apart into planes;
- `frame`: planes in blocks, blocks in frames, with their checks;
- `lzw`: LZW in the dialects of GIF, TIFF, PDF and Unix .Z, and its own.

Beside the format, `code` is the twin of `tersor.huffman.HuffmanCode`: codes over any alphabet. `prune` is
that of `tersor.prune`.
"""

from . import code, frame, huffman, lzw, plane, planes, prune
from .frame import compress, decompress

__all__ = ["code", "compress", "decompress", "frame", "huffman", "lzw", "plane", "planes", "prune"]
