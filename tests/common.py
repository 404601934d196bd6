"""Inputs that every codec is tried on."""

from __future__ import annotations

import random

import numpy as np

from tersor.reference import huffman

# Around the edges of steps, tails, layouts, samples and blocks.
EDGES = [1, 2, 3, 7, 8, 63, 64, 65, 127, 128, 129, 191, 192, 255, 256, 257, 8191, 8192, 8193]
EDGES += [32767, 32768, 65535, 65536, 65537, (256 << 10) - 1, 256 << 10, (256 << 10) + 1]


def fibonacci(n: int) -> bytes:
    """Bytes with Fibonacci counts, whose unlimited Huffman code is as long as it has symbols."""
    data = bytearray()
    a = b = 1
    for symbol in range(40):
        data += bytes([symbol]) * a
        a, b = b, a + b
        if len(data) >= n:
            break
    random.Random(n).shuffle(data)
    return bytes(data[:n])


def make(kind: str, n: int) -> bytes:
    """Make n bytes of a kind; the same each time."""
    rng = np.random.default_rng(n)
    match kind:
        case "constant":
            return b"\x2a" * n
        case "two symbols":
            return rng.integers(0, 2, n, dtype="u1").tobytes()
        case "one odd byte":
            return b"\0" * (n - 1) + b"\xff"
        case "geometric":
            return np.minimum(rng.geometric(0.3, n), 255).astype("u1").tobytes()
        case "fibonacci":
            return fibonacci(n)
        case "all values":
            return (np.arange(n) % 256).astype("u1").tobytes()
        case "shifting":
            return (rng.integers(0, 4, n) + np.arange(n) * 200 // n).astype("u1").tobytes()
        case "weights":
            return rng.normal(0, 0.05, n // 4 + 1).astype("f4").tobytes()[:n]
        case "series":
            return np.cumsum(rng.integers(-9, 9, n // 2 + 1)).astype("i2").tobytes()[:n]
        case "text":
            words = [b"huffman", b"code", b"the", b"of", b"prefix", b"lane", b"\n"]
            return b" ".join(words[i] for i in rng.integers(0, 7, n))[:n]
        case "sparse":
            return (rng.normal(0, 9, n) * (rng.random(n) < 0.05)).astype("i1").tobytes()
        case "ternary":
            return rng.choice(3, n, p=[0.1, 0.7, 0.2]).astype("u1").tobytes()
        case "few symbols":
            return (rng.integers(0, 12, n) * 20).astype("u1").tobytes()
        case "runs":
            return np.repeat(rng.integers(1, 3, n // 50 + 1).cumsum() % 3 * 99, 50).astype("u1").tobytes()[:n]
        case "random":
            return rng.bytes(n)
    raise ValueError(kind)


KINDS = (
    "constant",
    "two symbols",
    "one odd byte",
    "geometric",
    "fibonacci",
    "all values",
    "shifting",
    "weights",
    "series",
    "text",
    "sparse",
    "ternary",
    "few symbols",
    "runs",
    "random",
)

# Codes that our encoder never makes but a reader must know: how many symbols have each length.
CODES: dict[str, dict[int, int]] = {
    "one bit": {1: 2},
    "six bits": {6: 64},
    "seven bits": {7: 128},
    "eight bits": {8: 256},
    "each length": {**dict.fromkeys(range(1, 11), 1), 11: 2},
    "long ones": {1: 1, 2: 1, 8: 32, 9: 32, 10: 32, 11: 64},
    "one or nine": {1: 1, 8: 1, 9: 254},
    "nearly uniform": {7: 1, 8: 253, 9: 2},
    "gaps": {5: 31, 6: 1, 7: 1, 9: 4},
}


def block_of_code(code: str, mode: int, n: int) -> tuple[bytes, bytes]:
    """Make n bytes with every symbol of a code, and the payload of a block (shape 0) that has it."""
    rng = random.Random(n)
    symbols = [length for length, count in CODES[code].items() for _ in range(count)]
    lengths = symbols + [0] * (256 - len(symbols))
    rng.shuffle(lengths)
    content = bytes(rng.choices([s for s in range(256) if lengths[s]], k=n))
    plane = huffman.write_table(lengths) + huffman.encode(content, lengths, mode)
    return content, bytes([mode]) + len(plane).to_bytes(3, "little") + plane
