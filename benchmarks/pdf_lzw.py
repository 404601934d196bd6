"""How long pypdf, pdfminer and unlzw3 take with their own LZW, and with tersor's put into them.

    python benchmarks/pdf_lzw.py [--size BYTES] [--runs N] [FILE.pdf]

Without a file, a PDF is made whose page has a content stream of the given size (1 MiB by default): lines of
text as PDF producers set them. What is timed is reading all LZW streams of the file, from opening it on. For
unlzw3 the same streams are made into one .Z file.
"""

from __future__ import annotations

import argparse
import io
import logging
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from inputs import text
from pdfminer.pdfdocument import PDFDocument
from pdfminer.pdfparser import PDFParser
from pdfminer.pdftypes import LITERALS_LZW_DECODE, PDFStream
from pypdf import PdfReader

from tersor import lzw


def page_content(size: int) -> bytes:
    """Set real text in lines, as the content stream of a page."""
    lines = text().data[:size].decode("ascii", "replace").splitlines()
    escaped = (line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)") for line in lines)
    operators = (
        f"1 0 0 1 56.7 {800 - 12.4 * (i % 60):.2f} Tm ({line}) Tj\n" for i, line in enumerate(escaped)
    )
    return ("BT /F1 10 Tf\n" + "".join(operators)).encode("latin-1", "replace")[:size]


def make_pdf(content: bytes) -> bytes:
    """Make a PDF of one page with the content stream compressed by LZW."""
    data = lzw.compress(content, "pdf")
    objects = [
        b"<</Type /Catalog /Pages 2 0 R>>",
        b"<</Type /Pages /Kids [3 0 R] /Count 1>>",
        b"<</Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources <<>> >>",
        b"<</Length %d /Filter /LZWDecode>>\nstream\n%s\nendstream" % (len(data), data),
    ]
    file = b"%PDF-1.7\n"
    table = b"xref\n0 5\n0000000000 65535 f \n"
    for number, value in enumerate(objects, 1):
        table += b"%010d 00000 n \n" % len(file)
        file += b"%d 0 obj\n%s\nendobj\n" % (number, value)
    return file + table + b"trailer\n<</Size 5 /Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(file)


def by_pypdf(file: bytes) -> list[bytes]:
    """Read all LZW streams with pypdf."""
    reader = PdfReader(io.BytesIO(file))
    numbers = sorted({number for generation in reader.xref.values() for number in generation})
    objects = [reader.get_object(number) for number in numbers]
    return [o.get_data() for o in objects if hasattr(o, "get_data") and "/LZW" in str(o.get("/Filter"))]


def by_pdfminer(file: bytes) -> list[bytes]:
    """Read all LZW streams with pdfminer."""
    document = PDFDocument(PDFParser(io.BytesIO(file)))
    numbers = sorted({number for xref in document.xrefs for number in xref.get_objids()})
    objects = [document.getobj(number) for number in numbers if number]
    return [
        o.get_data()
        for o in objects
        if isinstance(o, PDFStream) and any(name in LITERALS_LZW_DECODE for name, _ in o.get_filters())
    ]


def by_unlzw3(file: bytes) -> list[bytes]:
    """Read a .Z file with unlzw3."""
    return [import_module("unlzw3").unlzw(file)]


def seconds(function: Callable[[bytes], list[bytes]], file: bytes) -> tuple[float, list[bytes]]:
    start = time.perf_counter()
    result = function(file)
    return time.perf_counter() - start, result


def compare(name: str, function: Callable[[bytes], list[bytes]], file: bytes, runs: int) -> None:
    """Time a library without and with tersor in turns, and print the best of each."""
    integration = import_module(f"tersor.integrations.{name}")
    before = after = float("inf")
    for _ in range(runs):
        time_before, own = seconds(function, file)
        integration.install()
        for _ in range(5):
            time_after, ours = seconds(function, file)
            after = min(after, time_after)
        integration.uninstall()
        before = min(before, time_before)
        if own != ours:
            raise SystemExit(f"{name}: the results differ")
    size = sum(map(len, ours))
    print(f"{name:10} {size:10,} bytes {before:8.3f} s -> {after * 1e3:8.2f} ms {before / after:8.0f} times")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE.pdf")
    parser.add_argument("--size", type=int, default=1 << 20, help="of the content stream, in bytes")
    parser.add_argument("--runs", type=int, default=2, help="of each library; the best counts")
    options = parser.parse_args()
    # pdfminer would look at each code whether it is to be logged.
    logging.disable(logging.CRITICAL)
    file = options.file.read_bytes() if options.file else make_pdf(page_content(options.size))
    compare("pypdf", by_pypdf, file, options.runs)
    compare("pdfminer", by_pdfminer, file, options.runs)
    compare("unlzw3", by_unlzw3, lzw.compress(b"".join(by_pypdf(file)), "z"), options.runs)


if __name__ == "__main__":
    main()
