"""`HuffmanCode`: the best code there is, the same bytes as the Python twin, and no silent damage."""

from __future__ import annotations

import heapq
import json
import math
import pickle
import random
import sys
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor import CorruptDataError, _native
from tersor.huffman import HuffmanCode
from tersor.reference import code as reference

DTYPES = ["uint8", "int8", "uint16", "int16"]
LONG = reference.STRINGS_MIN


def residuals(n: int, dtype: str, scale: float = 3.0, seed: int = 1) -> np.ndarray[Any, Any]:
    """Two-sided residuals with outliers."""
    rng = np.random.default_rng(seed)
    values = rng.laplace(0, scale, n).round()
    outliers = rng.random(n) < 0.001
    values[outliers] = rng.integers(-(1 << 15), 1 << 15, outliers.sum())
    return values.astype(np.int64).astype(dtype)


def huffman_cost(counts: Sequence[int]) -> int:
    """Bits of an unlimited Huffman code, by Huffman's own algorithm."""
    heap = list(counts)
    heapq.heapify(heap)
    cost = 0 if len(heap) > 1 else heap[0]
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        cost += joined
        heapq.heappush(heap, joined)
    return cost


def limited_cost(counts: Sequence[int], limit: int) -> float:
    """Least bits under a limit: the best way to share out leaves level by level (dynamic programming).

    With the symbols in descending order, a state is how many have their codes and how many nodes are free
    on this level; going one level down costs one bit for each symbol still without.
    """
    ordered = sorted(counts, reverse=True)
    left = [sum(ordered[i:]) for i in range(len(ordered) + 1)]
    states = {(0, 1): 0}
    for _ in range(limit):
        below: dict[tuple[int, int], int] = {}
        for (done, free), cost in states.items():
            free = min(2 * free, 2 * len(ordered))
            for n in range(min(free, len(ordered) - done) + 1):
                state = (done + n, free - n)
                new = cost + left[done]
                if new < below.get(state, math.inf):
                    below[state] = new
        states = below
    return min((cost for (done, _), cost in states.items() if done == len(ordered)), default=math.inf)


def cost_of(code: HuffmanCode, frequencies: dict[Any, int]) -> int:
    return sum(n * code.lengths[s] for s, n in frequencies.items())


def check_canonical(code: HuffmanCode) -> None:
    """Complete, prefix-free, in order, and counting upwards."""
    codes = list(code.codes.values())
    assert [len(c) for c in codes] == list(code.lengths.values()) == sorted(map(len, codes))
    if len(codes) > 1:
        assert sum(Fraction(1, 2 ** len(c)) for c in codes) == 1
    assert codes == sorted(codes)
    assert not any(b.startswith(a) for a, b in pairwise(codes))


# ---- The code ---------------------------------------------------------------------------------------

weights = st.one_of(st.integers(1, 30), st.integers(1, 1 << 20), st.sampled_from([2**k for k in range(40)]))


@given(st.dictionaries(st.integers(-500, 500), weights, min_size=1, max_size=60))
def test_codes_are_optimal_and_canonical(frequencies: dict[int, int]) -> None:
    code = HuffmanCode.from_frequencies(frequencies)
    check_canonical(code)
    assert cost_of(code, frequencies) == huffman_cost(list(frequencies.values()))
    by_length = sorted(code.symbols, key=lambda s: (code.lengths[s], s))
    assert list(code.symbols) == by_length
    expected = cost_of(code, frequencies) / sum(frequencies.values())
    assert code.expected_length(frequencies) == pytest.approx(expected)


@settings(max_examples=60)
@given(st.lists(weights, min_size=2, max_size=14), st.integers(0, 4))
def test_limited_codes_are_optimal(counts: list[int], slack: int) -> None:
    limit = math.ceil(math.log2(len(counts))) + slack
    frequencies = dict(enumerate(counts))
    code = HuffmanCode.from_frequencies(frequencies, max_length=limit)
    check_canonical(code)
    assert code.max_length <= limit
    assert cost_of(code, frequencies) == limited_cost(counts, limit)


@settings(max_examples=60)
@given(st.lists(weights, min_size=2, max_size=80), st.one_of(st.none(), st.integers(7, 20)))
def test_lengths_are_the_references(counts: list[int], limit: int | None) -> None:
    counts.sort()
    lengths = np.zeros(len(counts), np.uint8)
    _native.sorted_code_lengths(np.array(counts, np.uint64), lengths, limit or 96)
    assert lengths.tolist() == reference.code_lengths(counts, limit)


@pytest.mark.parametrize("limit", [16, 17, 20, None])
def test_the_largest_integer_alphabet(limit: int | None) -> None:
    counts = (1e9 / (1 + np.arange(65536.0)) ** 1.5 + 1).astype(np.int64).tolist()
    frequencies = dict(enumerate(counts))
    code = HuffmanCode.from_frequencies(frequencies, max_length=limit)
    assert sum(Fraction(1, 2**length) for length in code.lengths.values()) == 1
    cost = cost_of(code, frequencies)
    if limit is None:
        assert cost == huffman_cost(counts)
    else:
        assert code.max_length == limit
        assert huffman_cost(counts) < cost
        if limit == 16:
            assert cost == 16 * sum(counts)


def test_a_tighter_limit_is_never_shorter() -> None:
    frequencies = {k: 2**k for k in range(30)}
    costs = [
        cost_of(HuffmanCode.from_frequencies(frequencies, max_length=m), frequencies) for m in range(5, 32)
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == huffman_cost(list(frequencies.values()))


def test_frequencies_may_be_any_exact_number() -> None:
    lengths = {"x": 1, "y": 2, "z": 2}
    for frequencies in (
        [0.5, 0.25, 0.25],
        [Fraction(2, 3), Fraction(1, 6), Fraction(1, 6)],
        [2**100, 2**99, 2**99],
        np.array([0.6, 0.2, 0.2], np.float32),
    ):
        code = HuffmanCode.from_frequencies(dict(zip("xyz", frequencies, strict=True)))
        assert code.lengths == lengths
    assert "w" not in HuffmanCode.from_frequencies({"x": 1, "w": 0})


@pytest.mark.parametrize("n", [60, 100, 300])
def test_codes_longer_than_the_kernels_take(n: int) -> None:
    """Fibonacci counts, by the twin."""
    fibonacci = [1, 1]
    while len(fibonacci) < n:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    frequencies = dict(enumerate(fibonacci))
    code = HuffmanCode.from_frequencies(frequencies)
    assert code.max_length == n - 1
    assert cost_of(code, frequencies) == huffman_cost(fibonacci)
    symbols = [0, n - 1, 1, n // 2]
    assert code.decode(code.encode(symbols)) == symbols
    assert code.decode(code.encode(np.array(symbols, np.uint16)), kind="uint16").tolist() == symbols
    data, n_bits = code.encode_bits(symbols)
    assert code.decode_bits(data, n_bits=n_bits) == symbols
    assert HuffmanCode.from_bytes(code.to_bytes()) == code
    limited = HuffmanCode.from_frequencies(frequencies, max_length=12)
    assert limited.max_length == 12


def test_codes_of_one_symbol() -> None:
    for symbol, data in [("x", "xxxxx"), (7, [7] * 5), (7, b"\x07" * 5), (-3, np.full(5, -3, np.int16))]:
        code = HuffmanCode.from_data(data)
        assert code.codes == {symbol: "0"}
        assert code.encode(data) == b"\x05\x00"
        assert list(code.decode(b"\x05\x00")) == list(data)
        with pytest.raises(CorruptDataError, match="no symbol's code"):
            code.decode(b"\x05\x10")
        with pytest.raises(CorruptDataError, match="padding"):
            code.decode(b"\x05\x01")
        assert HuffmanCode.from_bytes(code.to_bytes()) == code


# ---- Round trips --------------------------------------------------------------------------------------


def same(a: Any, b: Any) -> bool:
    if isinstance(b, np.ndarray):
        return bool(a.dtype == b.dtype and np.array_equal(a, b.reshape(-1)))
    return bool(type(a) is type(b) and a == b)


SAMPLES: list[Any] = [
    "to be or not to be",
    "naïve 🙂 text 🙂",
    "\ud800 lone",
    b"bytes of data",
    [("a", 1), ("b", 2), ("a", 1)],
    [1, 10**30, -5, 1, None, "x", 2.5],
    ["word", "another", "word"],
    [frozenset({1}), frozenset({2}), frozenset({1})],
    list(range(1000)) * 2,
    *(residuals(n, d) for d in DTYPES for n in (1, 7, 3000, LONG - 1, LONG, LONG + 5, 40_001)),
]


@pytest.mark.parametrize("data", SAMPLES, ids=lambda d: f"{type(d).__name__}{len(d)}")
def test_round_trip(cpu_path: str, data: Any) -> None:
    code = HuffmanCode.from_data(data)
    encoded = code.encode(data)
    assert same(code.decode(encoded), data)
    assert same(code.decode(encoded, len(data)), data)
    bits, n_bits = code.encode_bits(data)
    assert n_bits == sum(code.lengths[s] for s in (data.tolist() if hasattr(data, "tolist") else data))
    assert same(code.decode_bits(bits, n_bits=n_bits), data)
    assert same(code.decode_bits(bits, count=len(data)), data)
    # And what the twin makes of it.
    lengths = list(code.lengths.values())
    ranks = [code.symbols.index(s) for s in data] if len(code) < 50 else [code._ranks[s] for s in list(data)]
    assert encoded == reference.encode(ranks, lengths)
    assert (bits, n_bits) == reference.encode_bits(ranks, lengths)
    assert reference.decode(encoded, lengths) == ranks


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_length", [None, 12])
@pytest.mark.parametrize("scale", [0.3, 30.0, 3000.0])
def test_round_trip_of_long_tails(cpu_path: str, dtype: str, scale: float, max_length: int | None) -> None:
    data = residuals(100_003, dtype, scale)
    if max_length is not None:
        data &= 63
    code = HuffmanCode.from_data(data, max_length=max_length)
    assert same(code.decode(code.encode(data)), data)
    bits, n_bits = code.encode_bits(data)
    assert same(code.decode_bits(bits, n_bits=n_bits), data)


def test_round_trip_of_every_16_bit_value(cpu_path: str) -> None:
    rng = np.random.default_rng(5)
    data = np.concatenate([np.arange(65536), rng.integers(0, 65536, 50_000)]).astype(np.uint16)
    code = HuffmanCode.from_data(data)
    assert len(code) == 65536
    assert same(code.decode(code.encode(data)), data)
    assert HuffmanCode.from_bytes(code.to_bytes()) == code


def test_more_symbols_than_16_bits() -> None:
    data = [i * i for i in range(70_000)] + [0] * 1000
    code = HuffmanCode.from_data(data)
    assert code.decode(code.encode(data)) == data


@pytest.mark.parametrize("length", [11, 13, 17, 28, 29, 40, 56])
def test_codes_of_every_length_the_kernels_take(cpu_path: str, length: int) -> None:
    """Lengths 1, 2, ... and the longest codes over and over."""
    code = HuffmanCode.from_lengths({i: min(i + 1, length) for i in range(length + 1)})
    rng = random.Random(length)
    symbols = rng.choices(range(length + 1), k=LONG + 100) + [length, length - 1] * 100
    for data in (symbols, symbols[:300], symbols[-50:]):
        ranks = np.array(data, np.uint8)
        encoded = code.encode(ranks)
        assert code.decode(encoded) == data
        assert encoded == reference.encode(data, list(code.lengths.values()))


@given(
    st.lists(
        st.one_of(st.integers(), st.text(max_size=3), st.tuples(st.integers(0, 3)), st.binary(max_size=2)),
        min_size=1,
        max_size=80,
    )
)
def test_any_hashable_symbols(data: list[Any]) -> None:
    code = HuffmanCode.from_data(data)
    assert code.decode(code.encode(data)) == data
    assert code.decode(code.encode(iter(data))) == data
    again = HuffmanCode.from_dict(json.loads(json.dumps(code.to_dict())))
    assert again == code
    assert again.codes == code.codes
    assert HuffmanCode.from_bytes(code.to_bytes()) == code


@given(st.binary(min_size=1, max_size=400))
def test_any_bytes(data: bytes) -> None:
    code = HuffmanCode.from_data(data)
    assert code.decode(code.encode(data)) == data
    assert code.decode(code.encode(memoryview(data))) == data
    assert code.decode(code.encode(list(data))) == data
    assert HuffmanCode.from_bytes(code.to_bytes()) == code


def test_all_kinds_of_arrays() -> None:
    data = residuals(60_000, "int16")
    code = HuffmanCode.from_data(data)
    encoded = code.encode(data)
    assert code.encode(data.reshape(100, 600)) == encoded
    assert code.encode(np.repeat(data, 2)[::2]) == encoded
    assert code.encode(data.astype(">i2")) == encoded
    assert code.encode(data.astype(np.int64)) == encoded
    assert code.encode(np.asfortranarray(data.reshape(100, 600))) == encoded
    assert HuffmanCode.from_data(data.astype(">i2")) == code
    assert HuffmanCode.from_data(data[::-1]).lengths == code.lengths
    readonly = data.copy()
    readonly.flags.writeable = False
    assert code.encode(readonly) == encoded
    assert code.decode(memoryview(bytearray(encoded))).tolist() == data.tolist()
    assert code.decode(encoded, kind="list") == data.tolist()
    wide = HuffmanCode.from_data(data.tolist())
    assert wide.lengths == code.lengths
    assert wide.decode(encoded) == data.tolist()


def test_values_not_bits_are_what_symbols_are() -> None:
    code = HuffmanCode.from_frequencies({-1: 3, 255: 2, 65535: 2, 1: 1})
    for value, dtype in [(-1, "int8"), (-1, "int16"), (255, "uint8"), (255, "int16"), (65535, "uint16")]:
        assert code.decode(code.encode(np.array([value, 1], dtype))) == [value, 1]
    with pytest.raises(ValueError, match="symbol 254 at index 1"):
        code.encode(np.array([255, 254], np.uint8))


def test_tensors_and_array_module() -> None:
    import array

    code = HuffmanCode.from_data(array.array("H", [5, 6, 5, 70]))
    assert code.kind == "uint16"
    torch = pytest.importorskip("torch")
    tensor = torch.tensor([1, -2, 1, 300], dtype=torch.int16)
    code = HuffmanCode.from_data(tensor)
    assert code.decode(code.encode(tensor)).tolist() == tensor.tolist()


def test_empty_data() -> None:
    for data in ("ab", b"ab", [1, 2], np.array([1, 2], np.uint16)):
        code = HuffmanCode.from_data(data)
        assert code.encode(data[:0]) == b"\0"
        assert same(code.decode(b"\0"), data[:0])
        assert code.encode_bits(data[:0]) == (b"", 0)
        assert same(code.decode_bits(b"", n_bits=0), data[:0])


# ---- Mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HuffmanCode.from_data(""), "at least one symbol"),
        (lambda: HuffmanCode.from_data(np.zeros(0, np.uint8)), "at least one symbol"),
        (lambda: HuffmanCode.from_frequencies({}), "at least one symbol"),
        (lambda: HuffmanCode.from_frequencies({"a": 0}), "at least one symbol"),
        (lambda: HuffmanCode.from_frequencies({"a": 1, "b": -1}), "'b' is negative"),
        (lambda: HuffmanCode.from_frequencies({"a": math.nan}), "'a' must be a finite number"),
        (lambda: HuffmanCode.from_frequencies({"a": math.inf}), "'a' must be a finite number"),
        (lambda: HuffmanCode.from_data("abcde", max_length=2), "max_length=2 bits cannot tell 5 symbols"),
        (lambda: HuffmanCode.from_data("abcde", max_length=0), "max_length=0"),
        (lambda: HuffmanCode.from_lengths({"a": 1, "b": 1, "c": 1}), "over-subscribed"),
        (lambda: HuffmanCode.from_lengths({"a": 1, "b": 2}), "incomplete"),
        (lambda: HuffmanCode.from_lengths({"a": 10**9, "b": 1}), "incomplete"),
        (lambda: HuffmanCode.from_lengths({"a": 0, "b": 1}), "'a' has the length 0"),
        (lambda: HuffmanCode.from_lengths({}), "at least one symbol"),
        (lambda: HuffmanCode([0, 2], ["a", "a"]), "'a' is there more than once"),
        (lambda: HuffmanCode([0, 2], ["a"]), "add up to 2"),
        (lambda: HuffmanCode([1], ["a"]), "at least one bit"),
        (lambda: HuffmanCode([0, -1], ["a"]), "negative"),
        (lambda: HuffmanCode([0, 2], ["a", 5], kind="str"), "5 does not suit kind 'str'"),
        (lambda: HuffmanCode([0, 2], [1, 256], kind="bytes"), "256 does not suit kind 'bytes'"),
        (lambda: HuffmanCode([0, 2], [1, 2], kind="tuple"), "unknown kind 'tuple'"),
        (lambda: HuffmanCode.from_data("ab").expected_length({"c": 1}), "'c' has no code"),
        (lambda: HuffmanCode.from_data("ab").expected_length({}), "no symbol occurs"),
    ],
)
def test_mistakes_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("data", "unknown", "symbol"),
    [
        ("abab", "abxb", "'x'"),
        ("abab", "ab🙂b", "'🙂'"),
        (["ab", "c"], ["c", "ab", ("q",)], "('q',)"),
        (b"abab", b"abcb", "99"),
        (np.array([1, 2], np.int16), np.array([1, 2, -2, 3], np.int16), "-2"),
        (np.array([1, 2], np.int16), [1, 2, 3.5], "3.5"),
    ],
)
def test_unknown_symbols_are_named(data: Any, unknown: Any, symbol: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        HuffmanCode.from_data(data).encode(unknown)
    assert str(caught.value) == f"symbol {symbol} at index 2 has no code"


def test_unknown_symbol_far_inside() -> None:
    data = residuals(200_000, "uint16", 2.0)
    code = HuffmanCode.from_data(data[:50_000])
    first = next(i for i, s in enumerate(data.tolist()) if s not in code)
    with pytest.raises(ValueError, match=f"symbol {data[first]} at index {first} has no code"):
        code.encode(data)


def test_exactly_one_end_is_given() -> None:
    code = HuffmanCode.from_data("ab")
    for arguments in ({}, {"count": 1, "n_bits": 1}, {"count": 1, "end": "a"}):
        with pytest.raises(TypeError, match="one of"):
            code.decode_bits(b"\0", **arguments)


# ---- Damage ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [40, LONG + 3])
def test_cut_and_lengthened_data_are_refused(cpu_path: str, n: int) -> None:
    data = residuals(n, "uint16")
    code = HuffmanCode.from_data(data)
    encoded = code.encode(data)
    cuts = range(len(encoded)) if n < 100 else random.Random(1).sample(range(len(encoded)), 200)
    for cut in cuts:
        with pytest.raises(CorruptDataError):
            code.decode(encoded[:cut])
    with pytest.raises(CorruptDataError, match="left over"):
        code.decode(encoded + b"\0")
    with pytest.raises(CorruptDataError, match=f"hold {n} symbols, not {n - 1}"):
        code.decode(encoded, n - 1)


@pytest.mark.parametrize("n", [200, LONG + 1000])
@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_flipped_bits_are_judged_as_the_twin_does(cpu_path: str, n: int, dtype: str) -> None:
    data = residuals(n, dtype, 1.0 if n > 1000 else 20.0)
    code = HuffmanCode.from_data(data)
    encoded = code.encode(data)
    lengths = list(code.lengths.values())
    rng = random.Random(n)
    for _ in range(150 if n < 1000 else 12):
        bad = bytearray(encoded)
        at = rng.randrange(len(bad)) if rng.random() < 0.5 else rng.randrange(min(60, len(bad)))
        bad[at] ^= 1 << rng.randrange(8)
        try:
            expected: list[Any] | str = [code.symbols[r] for r in reference.decode(bytes(bad), lengths)]
        except CorruptDataError as error:
            expected = str(error)
        try:
            found: list[Any] | str = code.decode(bad).tolist()
        except CorruptDataError as error:
            found = str(error)
        assert found == expected


def test_leftovers_and_padding() -> None:
    code = HuffmanCode.from_lengths({"x": 2, "y": 1, "z": 2})
    for bad, message in [
        (b"", "ends before"),
        (b"\x83", "ends before"),
        (b"\x80\x00", "count"),
        (b"\xff" * 12, "count"),
        (b"\x09\x98", "count"),
        (b"\x07\x98", "ends before"),
        (b"\x03\x99", "padding"),
        (b"\x03\x98\x00", "left over"),
    ]:
        with pytest.raises(CorruptDataError, match=message):
            code.decode(bad)
    for arguments, message in [
        ({"count": 9}, "ends"),
        ({"count": 2}, None),
        ({"count": 1}, "padding"),
        ({"n_bits": 4}, "ends"),
        ({"n_bits": 9}, "are not what"),
        ({"end": "x"}, "does not end|padding"),
    ]:
        if message is None:
            continue
        with pytest.raises(CorruptDataError, match=message):
            code.decode_bits(b"\x98", **arguments)
    with pytest.raises(CorruptDataError, match="left over"):
        code.decode_bits(b"\x98\x00\x00", count=3)


def test_claims_take_no_memory() -> None:
    code = HuffmanCode.from_data(np.array([1, 2, 2], np.uint16))
    huge = b"\xff\xff\xff\xff\xff\xff\x7f" + bytes(20)
    with pytest.raises(CorruptDataError, match="count"):
        code.decode(huge)
    with pytest.raises(CorruptDataError, match="ends"):
        code.decode_bits(b"\0", count=1 << 60)


# ---- Storing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bytes", *DTYPES])
@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_tables_are_the_references(dtype: str, scale: float) -> None:
    data = residuals(20_000, "uint8" if dtype == "bytes" else dtype, scale)
    code = HuffmanCode.from_data(data.tobytes() if dtype == "bytes" else data)
    stored = code.to_bytes()
    info = np.iinfo(data.dtype)
    lengths = [code.lengths.get(v, 0) for v in range(info.min, info.max + 1)]
    assert stored[1:] == reference.write_table(lengths)
    assert reference.read_table(stored[1:], len(lengths)) == lengths
    assert HuffmanCode.from_bytes(stored) == code
    assert len(stored) < 2 * len(code) + 20


@settings(max_examples=50)
@given(st.binary(max_size=40), st.integers(0, 7))
def test_any_table_is_judged_alike(data: bytes, first: int) -> None:
    lengths = np.zeros(256, np.uint8)
    try:
        expected: list[int] | str = reference.read_table(data, 256)
    except CorruptDataError as error:
        expected = str(error)
    try:
        _native.read_code_table(data, lengths)
        found: list[int] | str = lengths.tolist()
    except CorruptDataError as error:
        found = str(error)
    assert found == expected
    with pytest.raises(tersor.TersorError):
        HuffmanCode.from_bytes(bytes([first]) + data + b"\xff")


def test_flipped_tables_are_judged_alike() -> None:
    code = HuffmanCode.from_data(residuals(5000, "uint8", 10.0))
    stored = code.to_bytes()
    for bit in range(8, 8 * len(stored)):
        bad = bytearray(stored)
        bad[bit >> 3] ^= 1 << (bit & 7)
        try:
            expected: list[int] | None = reference.read_table(bytes(bad[1:]), 256)
        except CorruptDataError:
            expected = None
        try:
            found = HuffmanCode.from_bytes(bad)
        except CorruptDataError:
            assert expected is None
        else:
            assert [found.lengths.get(v, 0) for v in range(256)] == expected


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([1, 1, 1], "over-subscribed"),
        ([1, 2], "incomplete"),
        ([2], "incomplete"),
        ([], "incomplete"),
        ([1, 57], "length"),
        ([1, 60], "length"),
    ],
)
def test_bad_lengths_in_tables(lengths: list[int], message: str) -> None:
    table = reference.write_table(lengths + [0] * (256 - len(lengths)))
    for read in (
        lambda: _native.read_code_table(table, np.zeros(256, np.uint8)),
        lambda: reference.read_table(table, 256),
        lambda: HuffmanCode.from_bytes(b"\x02" + table),
    ):
        with pytest.raises(CorruptDataError, match=message):
            read()


def test_bad_tables() -> None:
    good = HuffmanCode.from_data(bytes(range(200))).to_bytes()
    for bad, message in [
        (b"", "at least one byte"),
        (good[:1], "ends inside"),
        (good[:-3], "ends inside"),
        (good + b"\0", "left over"),
        (good[:1] + b"\0" * 20, "ends inside"),
        (good[:1] + b"\0\0\0\1" + b"\xff" * 9, "more symbols"),
        (b"\0", "JSON"),
        (b"\0[1]", "description"),
        (b"\0{}", "lacks 'counts'"),
        (b"\0" + b"[" * 100_000, "JSON"),
        (b"\0\xff", "JSON"),
        (b'\0{"kind":"list","counts":[0,2],"symbols":[1,1]}', "more than once"),
        (b'\0{"kind":"list","counts":[0,2],"symbols":[1,{"x":1}]}', "no symbol"),
        (b'\0{"kind":5,"counts":[0,2],"symbols":[1,2]}', "unknown kind"),
        (b'\0{"kind":"list","counts":[0,3],"symbols":[1,2,3]}', "over-subscribed"),
        (b'\0{"kind":"list","counts":[0,1,1],"symbols":[1,2]}', "incomplete"),
        (b'\0{"kind":"list","counts":["1"],"symbols":[1,2]}', "description"),
    ]:
        with pytest.raises(CorruptDataError, match=message):
            HuffmanCode.from_bytes(bad)
    with pytest.raises(tersor.UnsupportedFormatError, match="byte 6"):
        HuffmanCode.from_bytes(b"\x06")


def test_other_orders_are_kept() -> None:
    code = HuffmanCode([0, 1, 2], [9, 8, 7], kind="bytes")
    assert code.codes == {9: "0", 8: "10", 7: "11"}
    assert HuffmanCode.from_bytes(code.to_bytes()) == code


def test_save_and_pickle(tmp_path: Path) -> None:
    code = HuffmanCode.from_data(residuals(1000, "int8"))
    code.encode(np.array([0], np.int8))
    code.save(tmp_path / "code")
    assert HuffmanCode.load(tmp_path / "code") == code
    copy = pickle.loads(pickle.dumps(code))
    assert copy == code
    assert hash(copy) == hash(code)
    assert code != HuffmanCode.from_data(b"ab")
    assert code != 1
    with pytest.raises(TypeError, match="no form in JSON"):
        HuffmanCode.from_data([frozenset(), 1]).to_dict()


# ---- Peers -----------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(max_size=2), weights, min_size=1, max_size=40))
def test_bitarray_agrees(frequencies: dict[str, int]) -> None:
    util = pytest.importorskip("bitarray.util")
    from bitarray import bitarray

    codes, counts, symbols = util.canonical_huffman(frequencies)
    ours = HuffmanCode.from_frequencies(frequencies)
    assert cost_of(ours, frequencies) == sum(len(codes[s]) * n for s, n in frequencies.items())
    # Its code from its two lists, and its stream.
    code = HuffmanCode(counts, symbols)
    assert code.codes == {s: codes[s].to01() for s in symbols}
    data = random.Random(1).choices(symbols, k=50)
    bits = bitarray()
    bits.encode(codes, data)
    assert code.encode_bits(data) == (bits.tobytes(), len(bits))
    assert code.decode_bits(bits.tobytes(), n_bits=len(bits)) == data
    # And the other way round.
    data = random.Random(2).choices(ours.symbols, k=50)
    encoded, n_bits = ours.encode_bits(data)
    theirs = bitarray(endian="big")
    theirs.frombytes(encoded)
    assert list(util.canonical_decode(theirs[:n_bits], ours.counts, ours.symbols)) == data


@given(st.text(min_size=2, max_size=200))
def test_dahuffman_agrees(text: str) -> None:
    """It has one symbol more, which marks the end."""
    dahuffman = pytest.importorskip("dahuffman")
    codec = dahuffman.HuffmanCodec.from_data(text)
    end = next(s for s in codec.get_code_table() if not isinstance(s, str))
    frequencies = Counter(text) | Counter({end: 1})
    cost = sum(n * codec.get_code_table()[s][0] for s, n in frequencies.items())
    assert cost == huffman_cost(list(frequencies.values()))
    code = HuffmanCode.from_frequencies(Counter(text) | Counter({"END": 1}))
    assert cost_of(code, Counter(text) | Counter({"END": 1})) == cost
    data, _ = code.encode_bits([*text, "END"])
    assert code.decode_bits(data, end="END", kind="str") == text
    assert codec.decode(codec.encode(text)) == text


def test_end_symbols_are_found_behind_any_padding() -> None:
    code = HuffmanCode.from_lengths({"a": 1, "b": 2, "c": 3, "END": 3})
    for n in range(20):
        text = ("abcab" * 4)[:n]
        data, _ = code.encode_bits([*text, "END"])
        assert code.decode_bits(data, end="END", kind="str") == text
        with pytest.raises(CorruptDataError):
            code.decode_bits(data + b"\0", end="END")
        with pytest.raises(CorruptDataError):
            code.decode_bits(data[:-1], end="END")


# ---- Pictures ----------------------------------------------------------------------------------------------


def test_tree_shows_every_code() -> None:
    frequencies = {f"s{i}": 2 ** (i % 7) + i for i in range(40)}
    code = HuffmanCode.from_frequencies(frequencies)
    path: list[str] = []
    for line, (symbol, bits) in zip(code.tree().splitlines(), code.codes.items(), strict=True):
        body, _, shown = line.rpartition(" ")
        assert shown == repr(symbol)
        steps = [body[i : i + 4] for i in range(0, len(body), 4)]
        bars = [i for i, step in enumerate(steps) if "─" not in step]
        path = path[: len(bars)] + [step[2] for step in steps[len(bars) :]]
        assert "".join(path) == bits
        assert all((steps[i] == "│   ") == (bits[i] == "0") for i in bars)
    assert HuffmanCode.from_data("x").tree() == "┬─0─ 'x'"


def test_graphviz_has_every_node_once() -> None:
    code = HuffmanCode.from_data('say "\\"')
    source = code.to_graphviz(Counter('say "\\"'))
    arrows = [line for line in source.splitlines() if "->" in line]
    assert len(arrows) == len(set(arrows)) == 2 * len(code) - 2
    assert source.count("shape=box") == len(code)
    assert 'label="\'\\"\'\\n2"' in source
    assert source.startswith("digraph huffman {")


def test_deep_codes_are_drawn() -> None:
    code = HuffmanCode.from_lengths({i: min(i + 1, 2000) for i in range(2001)})
    assert code.tree().count("\n") == 2000


def test_matplotlib() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    code = HuffmanCode.from_data("abracadabra")
    ax = Figure().add_subplot()
    assert code.draw(ax, Counter("abracadabra")) is ax
    texts = [t.get_text() for t in ax.texts]
    assert texts.count("0") == texts.count("1") == 4
    assert "'a'\n5" in texts
    assert len(ax.lines) == 8


def test_matplotlib_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"tersor\[plot\]"):
        HuffmanCode.from_data("ab").draw()


def test_table() -> None:
    lines = HuffmanCode.from_data("abracadabra").table().splitlines()
    assert lines[0].split() == ["Bits", "Code", "Symbol"]
    assert lines[2].split() == ["3", "100", "'b'"]
