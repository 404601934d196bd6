"""Python packages read what tersor writes and write what it reads; where they are wrong, it is right."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lzw_tools import (
    CLEAR,
    CODERS,
    COMPAT,
    KINDS,
    PDF,
    PDF_LATE,
    TIFF,
    Coder,
    Rules,
    Z,
    codes_of,
    distinct_pairs,
    gif,
    gif_file,
    gif_frames,
    make_bytes,
    pack,
    stream,
    tiff_file,
    tiff_pages,
    z,
)

from tersor import lzw

both = pytest.mark.parametrize("coder", CODERS, ids=lambda coder: coder.name)
EDGES = [d + size - 258 for size in (512, 1024, 2048, 4096) for d in (-2, -1, 0, 1, 2)]
SIZES = [0, 1, 2, 3, 7, 100, *EDGES, 4093, 4094, 4095, 4096, 4097, 20_000]


def small(coder: Coder, *, empty: bool = True) -> list[bytes]:
    sizes = [n for n in SIZES if n <= (1500 if coder.name == "reference" else 20_000) and (n or empty)]
    return [make_bytes(kind, n) for kind in KINDS for n in sizes]


# ---- TIFF -------------------------------------------------------------------------------------------


@both
def test_imagecodecs(coder: Coder) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    for content in small(coder):
        assert imagecodecs.lzw_decode(coder.compress(content, TIFF)) == content
        theirs = imagecodecs.lzw_encode(content)
        assert coder.decompress(theirs, TIFF) == content
        assert coder.decompress(theirs, TIFF, len(content)) == content
        compat = pack(codes_of(content, COMPAT, 4094), COMPAT)
        assert coder.decompress(compat, COMPAT) == content


@both
def test_pillow_tiff(coder: Coder) -> None:
    image = pytest.importorskip("PIL.Image")
    for content in small(coder, empty=False):
        grey = np.frombuffer(content, "u1")[None]
        file = tiff_file([(coder.compress(content, TIFF), len(content))])
        assert image.open(io.BytesIO(file)).tobytes() == content
        written = io.BytesIO()
        image.fromarray(grey).save(written, "TIFF", compression="tiff_lzw")
        for strips, size in tiff_pages(written.getvalue()):
            assert b"".join(coder.decompress(strip, TIFF, size) for strip in strips) == content


# ---- GIF --------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("bits", range(2, 9))
def test_pillow_gif(coder: Coder, bits: int) -> None:
    image = pytest.importorskip("PIL.Image")
    for kind in KINDS:
        for width in (1, 3, 16, 50, 65, 150):
            pixels = make_bytes(kind, width * width, bits)
            file = gif_file([(coder.compress(pixels, gif(bits)), width, width)], bits)
            theirs = image.open(io.BytesIO(file))
            grey = [i * 255 // ((1 << bits) - 1) for i in range(1 << bits)]
            assert bytes(theirs.convert("L").tobytes()) == bytes(grey[pixel] for pixel in pixels)
            written = io.BytesIO()
            picture = image.frombytes("P", (width, width), pixels)
            picture.putpalette(bytes(i for i in range(1 << bits) for _ in range(3)))
            picture.save(written, "GIF", optimize=False, interlace=0)
            ((data, n, m),) = gif_frames(written.getvalue())
            assert (coder.decompress(data, gif(m), n), n) == (pixels, width * width)
            assert coder.decompress(data, gif(m)) == pixels


# ---- PDF --------------------------------------------------------------------------------------------


@both
def test_pypdf(coder: Coder) -> None:
    codecs = pytest.importorskip("pypdf._codecs._codecs")
    for content in small(coder):
        assert codecs.LzwCodec().decode(coder.compress(content, PDF)) == content
        if len(content) < 5000:
            theirs = codecs.LzwCodec().encode(content)
            assert coder.decompress(theirs, PDF) == content


@both
def test_pdfminer(coder: Coder) -> None:
    pdfminer = pytest.importorskip("pdfminer.lzw")
    logging.getLogger("pdfminer.lzw").setLevel(logging.WARNING)
    for content in small(coder):
        assert pdfminer.lzwdecode(coder.compress(content, PDF)) == content


# ---- Unix .Z ----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("bits", range(9, 17))
@pytest.mark.parametrize("block_mode", [True, False])
def test_ncompress(coder: Coder, bits: int, block_mode: bool) -> None:
    ncompress = pytest.importorskip("ncompress")
    for content in small(coder):
        ours = coder.compress(content, z(bits, block_mode))
        assert ncompress.decompress(ours) == content
        if (bits, block_mode) == (16, True):
            assert ncompress.compress(content) == ours


@both
@pytest.mark.parametrize("bits", range(9, 17))
def test_uncompresspy(coder: Coder, bits: int) -> None:
    uncompresspy = pytest.importorskip("uncompresspy")
    for content in small(coder):
        file = io.BytesIO(coder.compress(content, z(bits)))
        with uncompresspy.open(file) as theirs, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about bits left over
            assert theirs.read() == content


@both
@pytest.mark.parametrize("bits", range(10, 17))
@pytest.mark.parametrize("block_mode", [True, False])
def test_unlzw3(coder: Coder, bits: int, block_mode: bool) -> None:
    unlzw3 = pytest.importorskip("unlzw3")
    for content in small(coder):
        assert unlzw3.unlzw(coder.compress(content, z(bits, block_mode))) == content


@pytest.mark.parametrize("block_mode", [True, False])
def test_nine_bits_as_unlzw3_reads_them(block_mode: bool) -> None:
    unlzw3 = pytest.importorskip("unlzw3")
    for content in small(CODERS[0]):
        ours = lzw.compress(content, "z", max_bits=9, block_mode=block_mode, full_grows=True)
        assert unlzw3.unlzw(ours) == content


# ---- Where they are wrong ---------------------------------------------------------------------------
# Each test also holds the fault itself, so that it tells when a release has mended it: then only the
# second half of the test is still of use.


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns or raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return type(error).__name__


@both
def test_pypdf_ignores_early_change(coder: Coder) -> None:
    filters = pytest.importorskip("pypdf.filters")
    content = make_bytes("text", 5000)
    parameters = pytest.importorskip("pypdf.generic").DictionaryObject()
    data = coder.compress(content, PDF_LATE)
    assert outcome(filters.LZWDecode.decode, data, parameters) != content
    assert coder.decompress(data, PDF_LATE) == content


@both
def test_pdfminer_ignores_early_change_and_truncates_in_silence(coder: Coder) -> None:
    pdfminer = pytest.importorskip("pdfminer.lzw")
    content = make_bytes("text", 5000)
    data = coder.compress(content, PDF_LATE)
    theirs = pdfminer.lzwdecode(data)
    assert len(theirs) < len(content)
    assert theirs == content[: len(theirs)]
    assert coder.decompress(data, PDF_LATE) == content


@both
def test_pdfminer_needs_a_leading_clear(coder: Coder) -> None:
    pdfminer = pytest.importorskip("pdfminer.lzw")
    content = make_bytes("text", 1000)
    data = pack(codes_of(content, PDF)[1:], PDF)
    assert outcome(pdfminer.lzwdecode, data) == "IndexError"
    assert coder.decompress(data, PDF) == content


@both
def test_uncompresspy_fails_without_block_mode(coder: Coder) -> None:
    uncompresspy = pytest.importorskip("uncompresspy")
    rules = z(16, block_mode=False)
    for n, right in ((250, True), (400, False)):
        content = distinct_pairs(n)
        data = coder.compress(content, rules)
        with uncompresspy.open(io.BytesIO(data), warn_truncation=False) as file:
            assert (outcome(file.read) == content) == right
        assert coder.decompress(data, rules) == content


@both
def test_imagecodecs_refuses_a_table_that_is_never_cleared(coder: Coder) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    content = distinct_pairs(5000)
    data = pack(codes_of(content, TIFF), TIFF)
    assert outcome(imagecodecs.lzw_decode, data) == "ImcdError"
    assert coder.decompress(data, TIFF) == content


@both
def test_imagecodecs_needs_a_leading_clear(coder: Coder) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    content = make_bytes("text", 1000)
    codes = codes_of(content, TIFF)
    assert codes[0] == CLEAR
    data = pack(codes[1:], TIFF)
    assert outcome(imagecodecs.lzw_decode, data) == "ImcdError"
    assert coder.decompress(data, TIFF) == content


@both
def test_padding_without_an_end_code_decodes_to_more_bytes_in_all(coder: Coder) -> None:
    """Nobody can know better without the size."""
    imagecodecs = pytest.importorskip("imagecodecs")
    content = make_bytes("text", 1000)
    data = pack(codes_of(content, TIFF)[:-1], TIFF) + bytes(4)
    theirs = imagecodecs.lzw_decode(data)
    assert theirs == coder.decode(data, TIFF)[0]
    assert theirs[:1000] == content
    assert len(theirs) - len(content) == 3
    assert coder.decompress(data, TIFF, 1000) == content


@both
@pytest.mark.parametrize("rules", [Z, z(9), z(12)], ids=str)
def test_a_clear_as_the_very_first_code(coder: Coder, rules: Rules) -> None:
    unlzw3 = pytest.importorskip("unlzw3")
    content = make_bytes("text", 200)
    data = stream([CLEAR, *codes_of(content, rules)], rules)
    assert outcome(unlzw3.unlzw, data) == "ValueError"
    assert coder.decompress(data, rules) == content
