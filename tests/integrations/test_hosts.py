"""tersor inside pypdf, pdfminer, tifffile and unlzw3: their own readers then give the right bytes, fast."""

from __future__ import annotations

import doctest
import importlib
import io
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tersor.integrations
from tersor import lzw
from tersor.integrations import HookError

DATA = b"".join(b"BT /F1 12 Tf %d %d Td (line %d) Tj ET\n" % (i % 7, i, i) for i in range(3000))
HOSTS = ["pypdf", "pdfminer", "tifffile", "unlzw3"]


def integration(name: str) -> ModuleType:
    pytest.importorskip(name)
    return importlib.import_module(f"tersor.integrations.{name}")


@pytest.fixture
def installed(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """Put tersor into a host for one test."""
    module = integration(request.param)
    module.install()
    yield module
    module.uninstall()


def inside(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("installed", [name], indirect=True)


def places(name: str) -> list[Any]:
    """Look at everything that is replaced in a host."""
    if name == "pypdf":
        from pypdf import filters
        from pypdf._codecs._codecs import LzwCodec

        return [vars(LzwCodec)["encode"], vars(LzwCodec)["decode"], vars(filters.LZWDecode)["decode"]]
    if name == "pdfminer":
        from pdfminer import pdftypes

        return [pdftypes.lzwdecode, vars(pdftypes.PDFStream)["decode"]]
    if name == "tifffile":
        from tifffile import TIFF

        return [TIFF.DECOMPRESSORS._codecs.get(5), TIFF.COMPRESSORS._codecs.get(5)]
    import unlzw3

    return [unlzw3.unlzw, sys.modules["unlzw3.unlzw"].unlzw]


# ---- Putting in and taking out ------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTS)
def test_install_and_uninstall(name: str) -> None:
    module = integration(name)
    before = places(name)
    module.uninstall()  # nothing to do
    for _ in range(2):
        module.install()
        during = places(name)
        module.install()
        assert places(name) == during
        assert all(new is not old for new, old in zip(during, before, strict=True))
        module.uninstall()
        module.uninstall()
        assert all(new is old for new, old in zip(places(name), before, strict=True))


@pytest.mark.parametrize("name", HOSTS)
def test_many_threads_install(name: str) -> None:
    module = integration(name)
    before = places(name)
    threads = [threading.Thread(target=module.install) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    module.uninstall()
    assert all(new is old for new, old in zip(places(name), before, strict=True))


@pytest.mark.parametrize("name", [*HOSTS, "fsspec"])
def test_a_missing_host_is_an_import_error(name: str) -> None:
    action = "register" if name == "fsspec" else "install"
    code = f"""
import sys
sys.modules["{name}"] = None
import tersor.integrations.{name} as module
try:
    module.{action}()
except ImportError as error:
    assert error.name == "{name}" and "not installed" in str(error), error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "module", "path"),
    [
        ("pypdf", "pypdf._codecs._codecs", "LzwCodec.decode"),
        ("pypdf", "pypdf._codecs._codecs", "LzwCodec"),
        ("pypdf", "pypdf.filters", "LZWDecode"),
        ("pypdf", "pypdf.errors", "LimitReachedError"),
        ("pdfminer", "pdfminer.pdftypes", "lzwdecode"),
        ("pdfminer", "pdfminer.pdftypes", "PDFStream.get_filters"),
        ("pdfminer", "pdfminer.pdftypes", "LITERALS_LZW_DECODE"),
        ("unlzw3", "unlzw3", "unlzw"),
    ],
)
def test_a_host_that_has_changed(name: str, module: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that names what is missing, and nothing replaced by halves."""
    fast = integration(name)
    before = places(name)
    with monkeypatch.context() as patch:
        patch.delattr(f"{module}.{path}")
        with pytest.raises(HookError, match=path.rpartition(".")[2]):
            fast.install()
    assert all(new is old for new, old in zip(places(name), before, strict=True))


def test_a_tifffile_that_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = integration("tifffile")
    from tifffile import TIFF

    with monkeypatch.context() as patch:
        patch.setattr(TIFF.COMPRESSORS, "_codecs", (5,))
        with pytest.raises(HookError, match="COMPRESSORS"):
            fast.install()
        patch.delattr(TIFF.COMPRESSORS, "_codecs")
        with pytest.raises(HookError, match="COMPRESSORS"):
            fast.install()
    assert None not in [TIFF.DECOMPRESSORS[5], TIFF.COMPRESSORS[5]]


def test_a_host_without_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = integration("pypdf")
    monkeypatch.setitem(sys.modules, "pypdf._codecs._codecs", None)
    with pytest.raises(HookError, match=r"pypdf\._codecs\._codecs"):
        fast.install()


@inside("unlzw3")
def test_replaced_again_by_someone_else(installed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import unlzw3

    with monkeypatch.context() as patch:
        patch.setattr(unlzw3, "unlzw", lambda data: b"theirs")
        with pytest.raises(HookError, match="someone else"):
            installed.uninstall()
        assert unlzw3.unlzw(b"") == b"theirs"


def test_integrations_import_no_host() -> None:
    code = "import sys, tersor.integrations\n"
    code += "".join(f"import tersor.integrations.{name}\n" for name in [*HOSTS, "fsspec", "imagecodecs"])
    code += f"assert not {{*{HOSTS}, 'fsspec', 'imagecodecs', 'ncompress'}} & {{*sys.modules}}\n"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert tersor.integrations.__all__ == ["HookError"]


# ---- PDF --------------------------------------------------------------------------------------------


def pdf_file(content: bytes, parameters: str = "", filters: str = "/LZWDecode") -> bytes:
    """Make a PDF of one page whose content stream is the given bytes."""
    page = b"<</Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R /Resources <<>> >>"
    stream = f"<</Length {len(content)} /Filter {filters} {parameters}>>".encode()
    objects = [
        b"<</Type /Catalog /Pages 2 0 R>>",
        b"<</Type /Pages /Kids [3 0 R] /Count 1>>",
        page,
        stream + b"\nstream\n" + content + b"\nendstream",
        b"0",
        b"<</EarlyChange 5 0 R>>",
    ]
    file = b"%PDF-1.7\n"
    offsets = []
    for i, text in enumerate(objects, 1):
        offsets.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (i, text)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    table = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table
    trailer = b"trailer\n<</Size %d /Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(file))
    return file + table + trailer


def by_pypdf(file: bytes) -> bytes:
    pypdf = pytest.importorskip("pypdf")
    data: bytes = pypdf.PdfReader(io.BytesIO(file)).get_object(4).get_data()
    return data


def by_pdfminer(file: bytes) -> bytes:
    pytest.importorskip("pdfminer")
    from pdfminer.pdfdocument import PDFDocument
    from pdfminer.pdfparser import PDFParser

    data: bytes = PDFDocument(PDFParser(io.BytesIO(file))).getobj(4).get_data()
    return data


PDF_READERS = [pytest.param("pypdf", by_pypdf), pytest.param("pdfminer", by_pdfminer)]
pdf_readers = pytest.mark.parametrize(("installed", "read"), PDF_READERS, indirect=["installed"])


@pdf_readers
def test_pdf_streams(installed: ModuleType, read: Any) -> None:
    assert read(pdf_file(lzw.compress(DATA, "pdf"))) == DATA
    assert read(pdf_file(lzw.compress(b"", "pdf"))) == b""


@pdf_readers
@pytest.mark.parametrize(
    "parameters",
    [
        "/DecodeParms <</EarlyChange 0>>",
        "/DecodeParms [<</EarlyChange 0>>]",
        "/DecodeParms 6 0 R",
        "/DecodeParms [6 0 R]",
        "/DecodeParms <</EarlyChange 5 0 R>>",
    ],
)
def test_early_change(installed: ModuleType, read: Any, parameters: str) -> None:
    """However the parameter gets there; the hosts do not look at it."""
    late = pdf_file(lzw.compress(DATA, "pdf", early_change=0), parameters)
    assert read(late) == DATA
    installed.uninstall()
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    try:
        theirs = read(late)
    except Exception as error:
        theirs = error
    assert theirs != DATA


@pdf_readers
@pytest.mark.parametrize(
    "parameters", ["", "/DecodeParms null", "/DecodeParms [null]", "/DecodeParms <</EarlyChange 1>>"]
)
def test_early_change_is_the_default(installed: ModuleType, read: Any, parameters: str) -> None:
    assert read(pdf_file(lzw.compress(DATA, "pdf"), parameters)) == DATA


@pdf_readers
def test_each_filter_has_its_own_parameters(installed: ModuleType, read: Any) -> None:
    inner = lzw.compress(DATA, "pdf", early_change=0)
    hexed = inner.hex().encode() + b">"
    outer = lzw.compress(hexed, "pdf")
    filters = "[/LZWDecode /ASCIIHexDecode /LZWDecode]"
    for parameters in ("[null null <</EarlyChange 0>>]", "[<</EarlyChange 1>> null <</EarlyChange 0>>]"):
        assert read(pdf_file(outer, f"/DecodeParms {parameters}", filters)) == DATA
    # and no trace is left
    assert read(pdf_file(lzw.compress(DATA, "pdf"))) == DATA


@inside("pdfminer")
def test_predictors_stay_the_hosts(installed: ModuleType) -> None:
    rows = np.arange(4000, dtype="u1").reshape(40, 100)
    up = np.diff(rows, axis=0, prepend=np.zeros((1, 100), "u1"))
    png = np.insert(up, 0, 2, axis=1)
    parameters = "/DecodeParms <</Predictor 12 /Columns 100 /EarlyChange 0>>"
    file = pdf_file(lzw.compress(png, "pdf", early_change=0), parameters)
    assert by_pdfminer(file) == rows.tobytes()


@pdf_readers
def test_no_end_code(installed: ModuleType, read: Any) -> None:
    whole = lzw.compress(b"to be or not to be", "pdf")
    assert read(pdf_file(whole[:-2])).startswith(b"to be or not to b")


@inside("pypdf")
def test_damage_in_pypdf(installed: ModuleType) -> None:
    from pypdf.errors import PdfStreamError

    with pytest.raises(PdfStreamError, match="LZW"):
        by_pypdf(pdf_file(b"\x80\x0b\x7f\xff\xff\xff"))


@inside("pypdf")
def test_the_limit_of_pypdf(installed: ModuleType) -> None:
    from pypdf._codecs._codecs import LzwCodec
    from pypdf.errors import LimitReachedError

    data = lzw.compress(bytes(1000), "pdf")
    assert LzwCodec(max_output_length=1000).decode(data) == bytes(1000)
    with pytest.raises(LimitReachedError, match="999"):
        LzwCodec(max_output_length=999).decode(data)
    bomb = lzw.compress(bytes(80_000_000), "pdf")
    with pytest.raises(LimitReachedError):
        by_pypdf(pdf_file(bomb))


@inside("pypdf")
def test_pypdf_encodes(installed: ModuleType) -> None:
    from pypdf._codecs._codecs import LzwCodec

    ours = LzwCodec().encode(DATA)
    assert ours == lzw.compress(DATA, "pdf")
    installed.uninstall()
    assert LzwCodec().decode(ours) == DATA


@inside("pdfminer")
def test_damage_in_pdfminer(
    installed: ModuleType, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pdfminer does: what comes before the damage; but not without a word."""
    from pdfminer import settings
    from pdfminer.pdfexceptions import PDFException

    whole = bytearray(lzw.compress(DATA, "pdf"))
    whole[1000:] = b"\xff" * 100
    content = by_pdfminer(pdf_file(bytes(whole)))
    assert len(content) > 1000
    assert "Invalid LZW data" in caplog.text
    installed.uninstall()
    assert by_pdfminer(pdf_file(bytes(whole))) == content
    installed.install()
    monkeypatch.setattr(settings, "STRICT", True)
    with pytest.raises(PDFException, match="LZW"):
        by_pdfminer(pdf_file(bytes(whole)))


@inside("pdfminer")
def test_text_of_a_page(installed: ModuleType) -> None:
    """Through the whole of pdfminer, in several threads."""
    from pdfminer.high_level import extract_text

    def work(early_change: int) -> None:
        data = lzw.compress(DATA[:5000], "pdf", early_change=early_change)
        file = pdf_file(data, f"/DecodeParms <</EarlyChange {early_change}>>")
        for _ in range(3):
            texts.append(extract_text(io.BytesIO(file)))

    texts: list[str] = []
    threads = [threading.Thread(target=work, args=(i % 2,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 18
    assert len(set(texts)) == 1


# ---- TIFF -------------------------------------------------------------------------------------------

IMAGES = {
    "u1": np.arange(40_000, dtype="u1").reshape(100, 400) // 3,
    "rgb": (np.indices((64, 50, 3)).sum(0) * 5 % 256).astype("u1"),
    "u2": (np.indices((90, 77)).prod(0)).astype("u2"),
    "big-endian": (np.indices((90, 77)).prod(0)).astype(">u2"),
    "f4": np.random.default_rng(1).normal(size=(60, 60)).astype("f4"),
    "f8": np.zeros((50, 3)),
    "i8": np.arange(5000, dtype="i8").reshape(50, 100),
    "c8": np.ones((20, 30), "c8") * (1 + 2j),
    "one pixel": np.array([[7]], "u1"),
    "not contiguous": np.arange(80_000, dtype="u2").reshape(200, 400)[::2, ::-3],
    "Fortran order": np.asfortranarray(np.arange(4000, dtype="u2").reshape(50, 80)),
    "stack": (np.indices((5, 30, 40)).sum(0) * 9).astype("u1"),
}


@inside("tifffile")
@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize(
    "options", [{}, {"rowsperstrip": 1}, {"tile": (16, 32)}, {"predictor": True}], ids=str
)
def test_images(installed: ModuleType, kind: str, options: dict[str, Any]) -> None:
    import tifffile

    image = IMAGES[kind]
    if kind in ("i8", "c8"):  # tifffile has no predictors for them
        options = {**options, "predictor": False}
    photometric = "rgb" if kind == "rgb" else "minisblack"
    byteorder = ">" if kind == "big-endian" else "<"
    file = io.BytesIO()
    tifffile.imwrite(file, image, compression="lzw", photometric=photometric, byteorder=byteorder, **options)
    assert (tifffile.imread(io.BytesIO(file.getvalue())) == image).all()
    installed.uninstall()
    if pytest.importorskip("imagecodecs"):
        assert (tifffile.imread(io.BytesIO(file.getvalue())) == image).all()


@inside("tifffile")
@pytest.mark.parametrize("kind", IMAGES)
def test_images_that_imagecodecs_wrote(installed: ModuleType, kind: str) -> None:
    import tifffile

    pytest.importorskip("imagecodecs")
    installed.uninstall()
    file = io.BytesIO()
    tifffile.imwrite(
        file, IMAGES[kind], compression="lzw", photometric="rgb" if kind == "rgb" else "minisblack"
    )
    installed.install()
    assert (tifffile.imread(io.BytesIO(file.getvalue())) == IMAGES[kind]).all()


def test_tifffile_without_imagecodecs(tmp_path: Any) -> None:
    """It then has no LZW of its own."""
    integration("tifffile")
    code = f"""
import sys
sys.modules["imagecodecs"] = None
import numpy, tifffile, tersor.integrations.tifffile
image = numpy.arange(30000, dtype="u2").reshape(100, 300)
path = {str(tmp_path / "a.tif")!r}
def roundtrip():
    tifffile.imwrite(path, image, compression="lzw", predictor=True)
    assert (tifffile.imread(path) == image).all()
for _ in range(2):
    try:
        roundtrip()
    except (KeyError, ValueError):
        pass
    else:
        raise AssertionError("tifffile has LZW after all")
    tersor.integrations.tifffile.install()
    roundtrip()
    tersor.integrations.tifffile.uninstall()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- Unix .Z ----------------------------------------------------------------------------------------


@inside("unlzw3")
def test_unlzw3(installed: ModuleType, tmp_path: Any) -> None:
    import unlzw3

    data = lzw.compress(DATA, "z")
    assert unlzw3.unlzw is installed.unlzw
    (tmp_path / "a.Z").write_bytes(data)
    for source in (data, bytearray(data), memoryview(data), tmp_path / "a.Z", list(data)):
        assert unlzw3.unlzw(source) == DATA


# ---- The page about all this --------------------------------------------------------------------------


def test_the_examples_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*HOSTS, "fsspec", "pandas"]:
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "integrations.md"
    try:
        assert doctest.testfile(str(page), module_relative=False).failed == 0
    finally:
        for name in HOSTS:
            integration(name).uninstall()
