"""Files that others made (tests/data/lzw), decoded to what their own reader makes of them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from lzw_tools import CODERS, PDF, Coder

import tersor.integrations.pypdf

DATA = Path(__file__).parents[1] / "data" / "lzw"
# Of what pypdf decodes it to.
OVERFLOW_SHA256 = "118a1523446d09729080f4d44ae5495d7fd077d8be559a9198afcd3e2567d493"
both = pytest.mark.parametrize("coder", CODERS, ids=lambda coder: coder.name)


@both
def test_a_stream_that_fills_its_table(coder: Coder) -> None:
    content = coder.decompress((DATA / "lzw_decoder_table_overflow.bin").read_bytes(), PDF)
    assert content.startswith(b"0123456789abcdefghijklmnopqrstuvwxyz")
    assert (len(content), hashlib.sha256(content).hexdigest()) == (38790, OVERFLOW_SHA256)


@both
def test_streams_of_a_pdf(coder: Coder) -> None:
    pypdf = pytest.importorskip("pypdf")
    reader = pypdf.PdfReader(DATA / "imagemagick-lzw.pdf")
    found = 0
    for number in range(1, len(reader.xref[0]) + 1):
        stream = reader.get_object(number)
        if hasattr(stream, "get_data") and "/LZWDecode" in str(stream.get("/Filter")):
            assert coder.decompress(stream._data, PDF) == stream.get_data()
            found += 1
    assert found == 2


def test_an_image_in_a_pdf() -> None:
    pypdf = pytest.importorskip("pypdf")
    pytest.importorskip("PIL")

    def image() -> bytes:
        (picture,) = pypdf.PdfReader(io.BytesIO((DATA / "imagemagick-lzw.pdf").read_bytes())).pages[0].images
        data: bytes = picture.data
        return data

    theirs = image()
    tersor.integrations.pypdf.install()
    try:
        assert image() == theirs
    finally:
        tersor.integrations.pypdf.uninstall()
