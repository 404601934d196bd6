"""Streams at the edges of what the formats allow, each written by hand and judged by both coders alike."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from lzw_tools import (
    ALL,
    CLEAR,
    CODERS,
    COMPAT,
    PDF,
    PDF_LATE,
    TIFF,
    WITH_END,
    WRITTEN,
    Coder,
    Rules,
    Z,
    codes_of,
    distinct_pairs,
    gif,
    make_bytes,
    pack,
    stream,
    z,
)

from tersor import lzw
from tersor.errors import CorruptDataError, TruncatedDataError, UnsupportedFormatError

both = pytest.mark.parametrize("coder", CODERS, ids=lambda coder: coder.name)


def for_each(*rules: Rules) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rules", rules, ids=str)


def clear_of(rules: Rules) -> int:
    return 1 << rules.literal_bits


# ---- Codes ------------------------------------------------------------------------------------------


@both
@for_each(*ALL)
def test_a_code_may_be_the_entry_that_it_completes(coder: Coder, rules: Rules) -> None:
    """KwKwK: the decoder meets a code just before it has the entry."""
    first = rules.first
    lead = [clear_of(rules)] if rules.end else []
    codes = [*lead, 1, first, first + 1, 1]
    assert coder.decode(stream(codes, rules), rules)[0] == b"\1" * 7
    assert codes_of(b"\1" * 6, rules)[len(lead) :][:3] == [1, first, first + 1]


@both
@for_each(*ALL)
@pytest.mark.parametrize("above", [1, 2, 100])
def test_a_code_above_the_next_is_refused(coder: Coder, rules: Rules, above: int) -> None:
    lead = [clear_of(rules)] if rules.end else []
    code = min(rules.first + above, (2 << rules.literal_bits) - 1)
    with pytest.raises(CorruptDataError):
        coder.decompress(stream([*lead, 1, code, 0, 0], rules), rules)


@both
@for_each(*ALL)
def test_the_first_code_must_be_a_literal(coder: Coder, rules: Rules) -> None:
    lead = [clear_of(rules)] if rules.end else []
    with pytest.raises(CorruptDataError):
        coder.decompress(stream([*lead, rules.first, 1], rules), rules)


@both
@for_each(*(rules for rules in ALL if rules.clear))
def test_the_first_code_after_a_clear_must_be_a_literal(coder: Coder, rules: Rules) -> None:
    """Entries from before the clear are gone, even though their memory may not be."""
    clear = clear_of(rules)
    codes = [clear, 1, 2, 1, 2, clear, rules.first, 1]
    with pytest.raises(CorruptDataError):
        coder.decompress(stream(codes, rules), rules)


@both
@for_each(*(rules for rules in ALL if rules.clear))
def test_entries_from_before_a_clear_are_gone(coder: Coder, rules: Rules) -> None:
    clear = clear_of(rules)
    codes = [clear, 1, 2, 3, 0, clear, 1, rules.first + 1]
    with pytest.raises(CorruptDataError):
        coder.decompress(stream(codes, rules), rules)


@both
@for_each(*(rules for rules in ALL if rules.clear))
def test_clear_codes_in_a_row(coder: Coder, rules: Rules) -> None:
    clear = clear_of(rules)
    end = [clear + 1] if rules.end else []
    codes = [clear, clear, 1, 2, clear, clear, clear, 3, rules.first, clear, *end]
    assert coder.decompress(stream(codes, rules), rules) == b"\1\2\3\3\3"


@both
@for_each(*WITH_END)
def test_without_a_leading_clear(coder: Coder, rules: Rules) -> None:
    data = make_bytes("text", 5000)
    codes = codes_of(data, rules)
    assert codes[0] == CLEAR
    assert coder.decompress(stream(codes[1:], rules), rules) == data


@both
@for_each(Z, z(9), z(12))
def test_z_that_begins_with_a_clear(coder: Coder, rules: Rules) -> None:
    data = make_bytes("text", 3000)
    assert coder.decompress(stream([CLEAR, *codes_of(data, rules)], rules), rules) == data


@both
@for_each(Z, z(9), z(10), z(12), z(13))
@pytest.mark.parametrize("at", [258, 259, 263, 300, 511, 512, 513, 514, 600, 700])
def test_z_cleared_in_mid_group(coder: Coder, rules: Rules, at: int) -> None:
    """The rest of the group of eight codes is skipped, whatever the width is."""
    data = make_bytes("random", 3000) + make_bytes("text", 3000)
    assert coder.decompress(stream(codes_of(data, rules, at), rules), rules) == data


# ---- The full table ---------------------------------------------------------------------------------


@both
@for_each(*ALL)
def test_a_full_table_that_is_never_cleared(coder: Coder, rules: Rules) -> None:
    n = min(3 << rules.max_bits, coder.largest)
    data = distinct_pairs(n) if rules.literal_bits == 8 else make_bytes("random", 40_000, rules.literal_bits)
    codes = codes_of(data, rules)
    assert len(codes) > (1 << rules.max_bits) + 1000
    assert coder.decompress(stream(codes, rules), rules) == data


@both
@for_each(*WITH_END, gif(2), gif(5), z(12))
@pytest.mark.parametrize("at", [4090, 4092, 4093, 4094, 4095, 4096])
def test_cleared_when_just_full(coder: Coder, rules: Rules, at: int) -> None:
    data = make_bytes("random", 40_000, rules.literal_bits)
    codes = codes_of(data, rules, at)
    assert codes.count(clear_of(rules)) >= 2
    assert coder.decompress(stream(codes, rules), rules) == data


@both
@for_each(*WRITTEN)
@pytest.mark.parametrize("kind", ["pairs", "random", "runs"])
def test_round_trip_beyond_a_full_table(coder: Coder, rules: Rules, kind: str) -> None:
    n = min(5 << rules.max_bits, coder.largest)
    data = (
        distinct_pairs(n, rules.literal_bits) if kind == "pairs" else make_bytes(kind, n, rules.literal_bits)
    )
    encoded = coder.compress(data, rules)
    assert coder.decompress(encoded, rules) == data


# ---- Widths -----------------------------------------------------------------------------------------


def boundaries(rules: Rules) -> list[int]:
    """Numbers of codes around which the width or the table's state changes."""
    sizes = {1 << w for w in range(rules.literal_bits + 1, rules.max_bits + 1)}
    return sorted({abs(size - rules.first + d) for size in sizes for d in range(-3, 4)})


@both
@for_each(*WRITTEN)
def test_every_width_boundary(coder: Coder, rules: Rules) -> None:
    """Input of distinct pairs takes a code a byte, so that its length says where the table ends."""
    for n in boundaries(rules):
        if coder.name == "reference" and n > 9000:
            break
        data = distinct_pairs(n, rules.literal_bits)
        encoded = coder.compress(data, rules)
        assert coder.decompress(encoded, rules) == data, n
        assert coder.decompress(encoded, rules, n) == data, n


@for_each(*WRITTEN)
def test_both_coders_write_the_same(rules: Rules) -> None:
    core, twin = CODERS
    for n in [*range(20), *boundaries(rules)]:
        for kind in ("pairs", "text", "runs"):
            data = make_bytes(kind, min(n, twin.largest), rules.literal_bits)
            assert core.compress(data, rules) == twin.compress(data, rules), (kind, n)


@both
@for_each(*WRITTEN)
def test_the_first_codes_are_those_of_the_plainest_encoder(coder: Coder, rules: Rules) -> None:
    """As long as the table is not full there is nothing to choose."""
    for n in (0, 1, 2, 3, 7, 100, 1000, 3000):
        for kind in ("text", "runs", "random"):
            data = make_bytes(kind, n, rules.literal_bits)
            codes = codes_of(data, rules)
            if len(codes) + rules.first < min((1 << rules.max_bits) - 4, 4090):
                assert coder.compress(data, rules) == stream(codes, rules), (kind, n)


# ---- Ends -------------------------------------------------------------------------------------------


@both
@for_each(*WITH_END)
def test_without_an_end_code(coder: Coder, rules: Rules) -> None:
    data = make_bytes("text", 1000)
    cut = stream(codes_of(data, rules)[:-1], rules)
    with pytest.raises(TruncatedDataError):
        coder.decompress(cut, rules)
    content, reason = coder.decode(cut, rules, len(data))
    assert (content, reason) == (data, "output full")
    content, reason = coder.decode(cut, rules)
    assert (content[: len(data)], reason) == (data, "input end")


@both
@for_each(*WITH_END)
def test_without_an_end_code_but_padded(coder: Coder, rules: Rules) -> None:
    """Zeros that fill a strip decode to bytes 0, which only the expected size tells from content."""
    data = make_bytes("text", 1000)
    padded = stream(codes_of(data, rules)[:-1], rules) + bytes(5)
    assert coder.decompress(padded, rules, len(data)) == data
    content, reason = coder.decode(padded, rules)
    assert content[: len(data)] == data
    assert len(content) > len(data)
    assert reason == "input end"


@both
@for_each(*WITH_END)
def test_what_follows_the_end_code_does_not_matter(coder: Coder, rules: Rules) -> None:
    data = make_bytes("text", 1000)
    for junk in (b"\0", b"\xff", bytes(100), b"\xff" * 100):
        assert coder.decompress(stream(codes_of(data, rules), rules) + junk, rules) == data


@both
@for_each(*WITH_END)
def test_an_end_code_one_bit_short_at_a_width_boundary(coder: Coder, rules: Rules) -> None:
    """So wrote libtiff before 4.0.8; readers who know the size do not need the end code."""
    for width in (9, 10, 11):
        n = (1 << width) - rules.first - rules.early + 1
        data = distinct_pairs(n)
        right = pack(codes_of(data, rules), rules)
        short = pack(codes_of(data, rules), rules, end_width=-1)
        assert (right != short) == rules.msb  # at the low end, the missing bit is a 0 like the padding
        assert coder.decompress(short, rules, n) == data
        assert coder.decompress(right, rules) == data


@both
@for_each(*ALL)
def test_up_to_seven_bits_are_left_over(coder: Coder, rules: Rules) -> None:
    """Whatever they are: the last byte is filled with ones instead of zeros."""
    left = set()
    for n in range(1, 40):
        codes = codes_of(make_bytes("random", n, rules.literal_bits), rules)
        data = bytearray(stream(codes, rules))
        n_bits = len(codes) * (rules.literal_bits + 1) % 8
        if rules.literal_bits == 8 and n_bits:
            data[-1] |= 0xFF >> n_bits if rules.msb else 0xFF << n_bits & 0xFF
            left.add(8 - n_bits)
        assert coder.decompress(bytes(data), rules) == make_bytes("random", n, rules.literal_bits)
    assert rules.literal_bits < 8 or left == {1, 2, 3, 4, 5, 6, 7}


@both
@for_each(Z, z(block_mode=False), z(9))
def test_z_ignores_a_partial_code_at_the_end(coder: Coder, rules: Rules) -> None:
    data = make_bytes("random", 100)
    whole = stream(codes_of(data, rules), rules)
    assert len(whole) == 3 + 113
    assert coder.decode(whole[:-1], rules)[0] == data[:-1]


@both
@for_each(*WRITTEN)
def test_empty_input(coder: Coder, rules: Rules) -> None:
    encoded = coder.compress(b"", rules)
    clear = clear_of(rules)
    assert encoded == stream([clear, clear + 1] if rules.end else [], rules)
    assert coder.decompress(encoded, rules) == b""


@both
@for_each(*WITH_END)
def test_no_data_at_all(coder: Coder, rules: Rules) -> None:
    with pytest.raises(TruncatedDataError):
        coder.decompress(b"", rules)
    assert coder.decode(b"", rules) == (b"", "input end")
    assert coder.decompress(b"", rules, 0) == b""


@both
@for_each(Z, z(9), z(block_mode=False))
def test_z_header_only(coder: Coder, rules: Rules) -> None:
    assert coder.compress(b"", rules) == stream([], rules)
    assert coder.decompress(stream([], rules), rules) == b""


@both
@for_each(Z, z(9), z(block_mode=False))
def test_z_header_and_one_byte(coder: Coder, rules: Rules) -> None:
    """Less than a code, which is ignored."""
    assert coder.decode(stream([], rules) + b"a", rules)[0] == b""


@both
def test_z_header_cut_or_wrong(coder: Coder) -> None:
    for cut in (b"", b"\x1f", b"\x1f\x9d"):
        with pytest.raises(TruncatedDataError):
            coder.decompress(cut, Z)
    for magic in (b"\x1f\x8b\x90", b"\x1f\x9e\x90", b"PK\x90", b"\x9d\x1f\x90"):
        with pytest.raises(CorruptDataError):
            coder.decompress(magic + b"a\0", Z)
    for flags in (0x80, 0x88, 0x91, 0x9F, 0xB0, 0xD0, 0xF0):
        with pytest.raises(UnsupportedFormatError):
            coder.decompress(bytes([0x1F, 0x9D, flags]) + b"a\0", Z)


@both
@for_each(*WRITTEN)
def test_one_byte_of_input(coder: Coder, rules: Rules) -> None:
    """As in strips of one byte."""
    for byte in range(1 << rules.literal_bits):
        encoded = coder.compress(bytes([byte]), rules)
        assert encoded == stream(codes_of(bytes([byte]), rules), rules)
        assert coder.decompress(encoded, rules) == bytes([byte])
        assert coder.decompress(encoded, rules, 1) == bytes([byte])


@both
@for_each(*ALL)
@pytest.mark.parametrize("kind", ["text", "runs", "random"])
def test_expected_sizes_around_the_true_one(coder: Coder, rules: Rules, kind: str) -> None:
    n = 4000
    data = make_bytes(kind, n, rules.literal_bits)
    encoded = stream(codes_of(data, rules), rules)
    assert coder.decompress(encoded, rules, n) == data
    for size in (0, 1, 2, n // 2, n - 17, n - 1):
        assert coder.decompress(encoded, rules, size) == data[:size]
        assert coder.decode(encoded, rules, size) == (data[:size], "output full")
    for size in (n + 1, n + 1000):
        with pytest.raises(TruncatedDataError):
            coder.decompress(encoded, rules, size)
        content, reason = coder.decode(encoded, rules, size)
        assert content == data
        assert reason == ("end code" if rules.end else "input end")


# ---- Options ----------------------------------------------------------------------------------------


@both
def test_gif_with_one_bit_pixels_grows_at_once(coder: Coder) -> None:
    """m = 1 is not to be written in a file, but its streams are well defined: codes of 2, then 3 bits."""
    rules = gif(1)
    data = bytes(random.Random(1).choices([0, 1], k=3000))
    codes = codes_of(data, rules)
    assert codes[0] == 2
    assert coder.decompress(stream(codes, rules), rules) == data


@both
@pytest.mark.parametrize("bits", [0, 9, 11, 12, 13, 255, -1])
def test_gif_code_sizes_that_do_not_exist(coder: Coder, bits: int) -> None:
    """The widest that a file may declare without breaking readers is 12, and it leaves no room for codes."""
    with pytest.raises(ValueError, match=r"min_code_size|dialect"):
        coder.decompress(bytes(4), replace(gif(8), options=(("min_code_size", bits),)))


@both
@for_each(*(gif(bits) for bits in range(2, 8)))
def test_pixels_that_are_no_literals(coder: Coder, rules: Rules) -> None:
    for bad in (1 << rules.literal_bits, 255):
        for at in (0, 1, 50):
            data = bytearray(60)
            data[at] = bad
            with pytest.raises(ValueError, match="literal"):
                coder.compress(bytes(data), rules)


@both
def test_early_change_matters_from_the_first_width_on(coder: Coder) -> None:
    for n in (100, 252, 253, 254, 255, 300, 5000):
        data = distinct_pairs(n)
        one, other = coder.compress(data, PDF), coder.compress(data, PDF_LATE)
        assert (one == other) == (n <= 253), n
        assert coder.decompress(one, PDF) == coder.decompress(other, PDF_LATE) == data


@both
def test_tiff_and_pdf_are_the_same(coder: Coder) -> None:
    data = make_bytes("text", 20_000)
    assert coder.compress(data, TIFF) == coder.compress(data, PDF)


def test_tiff_compat_is_read_only() -> None:
    with pytest.raises(ValueError, match="tiff-compat"):
        lzw.compress(b"abc", COMPAT.format)


# ---- Streaming --------------------------------------------------------------------------------------


@for_each(*ALL)
def test_input_split_at_every_byte(rules: Rules) -> None:
    data = make_bytes("text", 600, rules.literal_bits)
    encoded = stream(codes_of(data, rules, 400 if rules.literal_bits == 8 and rules.clear else 0), rules)
    for at in range(len(encoded) + 1):
        decompressor = decompressor_of(rules)
        content = decompressor.decompress(encoded[:at])
        if at < len(encoded):
            content += decompressor.decompress(encoded[at:])
        assert content == data, at


@for_each(*ALL)
def test_one_byte_at_a_time(rules: Rules) -> None:
    data = make_bytes("runs", 3000, rules.literal_bits) + make_bytes("random", 3000, rules.literal_bits)
    encoded = stream(codes_of(data, rules), rules)
    decompressor = decompressor_of(rules)
    assert b"".join(decompressor.decompress(encoded[i : i + 1]) for i in range(len(encoded))) == data


@for_each(*ALL)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 1000])
def test_output_of_every_size(rules: Rules, size: int) -> None:
    data = make_bytes("runs", 3000, rules.literal_bits) + make_bytes("text", 3000, rules.literal_bits)
    encoded = stream(codes_of(data, rules), rules)
    decompressor = decompressor_of(rules)
    parts = [decompressor.decompress(encoded, size)]
    while parts[-1] and not decompressor.eof:
        parts.append(decompressor.decompress(b"", size))
    assert max(map(len, parts)) <= size
    assert b"".join(parts) == data


@for_each(*(rules for rules in WRITTEN if rules not in (gif(3), gif(4), gif(5), gif(6))))
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_compressor_fed_in_pieces(rules: Rules, size: int) -> None:
    data = make_bytes("text", 15_000, rules.literal_bits)
    compressor = lzw.LZWCompressor(rules.format, **rules.keywords)
    parts = [compressor.compress(data[i : i + size]) for i in range(0, len(data), size)]
    assert b"".join([*parts, compressor.flush()]) == lzw.compress(data, rules.format, **rules.keywords)


def decompressor_of(rules: Rules) -> lzw.LZWDecompressor:
    return lzw.LZWDecompressor(rules.format, **({} if rules.format == "z" else rules.keywords))


def test_end_reasons() -> None:
    encoded = lzw.compress(b"abc" * 100, "tiff")
    decompressor = lzw.LZWDecompressor("tiff")
    decompressor.decompress(encoded + b"rest")
    assert (decompressor.end_reason, decompressor.eof) == ("end code", True)
    decompressor = lzw.LZWDecompressor("tiff", expected_size=100)
    assert len(decompressor.decompress(encoded)) == 100
    assert decompressor.end_reason == "output full"
