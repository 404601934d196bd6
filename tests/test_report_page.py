"""The page of a report: it shows all, loads nothing, and believes nothing."""

from __future__ import annotations

import json
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tersor import checkpoint, quantize, report
from tersor.cli import main
from tersor.report_page import PLOTS_MAX

pytest.importorskip("matplotlib")

RNG = np.random.default_rng(12)
WEIGHT = RNG.normal(0, 0.05, (96, 128)).astype("f4")
SPARSE = np.where(RNG.random(WEIGHT.shape) < 0.9, np.float32(0), WEIGHT)

ARRAYS: dict[str, Any] = {
    "whole": quantize.affine(WEIGHT),
    "groups": quantize.affine(WEIGHT, bits=4, group_size=32),
    "sparse": quantize.codebook(SPARSE, levels=32, keep_zero=True),
    "own": quantize.codebook(WEIGHT, levels=4, axis=0),
    "nf4": quantize.codebook(WEIGHT, method="nf4", group_size=64),
    "zeros": SPARSE,
    "half": SPARSE.astype("f2"),
    "bias": np.ones(300, "f4"),
    "counts": np.arange(100, dtype="i8"),
    "none": np.zeros((0, 4), "f4"),
}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    checkpoint.save_file(ARRAYS, "model.safetensors", {"note": "x"})
    return Path("model.safetensors")


class Elements(HTMLParser):
    """Checks that elements nest, and collects them and the text."""

    EMPTY = frozenset({"meta", "path", "use", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def assert_harmless(page: str) -> Elements:
    elements = Elements(page)
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "i", "b", "div", "span"}
    allowed |= {"figure", "figcaption", "table", "thead", "tbody", "tr", "th", "td", "pre"}
    allowed |= {"svg", "g", "path", "defs", "use", "text", "tspan", "clippath", "rect"}
    assert set(elements.tags) <= allowed
    assert "://" not in page
    for name, value in elements.attributes:
        assert not name.startswith("on"), name
        assert name not in ("src", "action", "formaction", "data")
        if name == "href":
            assert value is not None
            assert value.startswith("#")
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    return elements


def test_page_stands_alone_and_shows_all(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(path), "--html", "page.html"]) == 0
    assert capsys.readouterr() == ("", "")
    page = Path("page.html").read_text(encoding="utf-8")
    elements = assert_harmless(page)
    assert "default-src 'none'" in page
    assert 'name="viewport"' in page
    for t in report.describe(path)["tensors"]:
        assert t["name"] in elements.words
        assert f"{t['compressed_nbytes']:,}" in elements.words
    for heading in ("Sizes", "Weights", "Codebooks", "Tensors"):
        assert f"<h2>{heading}</h2>" in page
    assert "Rate and accuracy" not in page
    # Two charts of sizes, a histogram of each matrix of floats but the empty one, and three codebooks.
    assert page.count("<svg") == 2 + 7 + 3


def test_page_is_the_same_each_time(tmp_path: Path) -> None:
    checkpoint.save_file({"w": ARRAYS["sparse"]}, tmp_path / "m.safetensors")
    pages = {report.html_page(tmp_path / "m.safetensors")[1] for _ in range(2)}
    assert len(pages) == 1


def test_hostile_names_are_text(tmp_path: Path) -> None:
    names = [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</svg><a href='https://example.org'>",
        "$\\frac{$ & {0}",
        "]]>--><!--",
        "\u5c42\u202e\x1b[2J\ud800",
    ]
    tensors = {name + ".weight": quantize.codebook(WEIGHT) for name in names[:-1]}
    about = {"recipe": {"rules": {names[0]: {}}}, "curve": [[1, 2.0]], "shared": {names[1]: names[0]}}
    metadata = {"tersor.model": json.dumps(about), names[0]: names[1]}
    tensors[names[-1].replace("\ud800", "")] = quantize.codebook(WEIGHT)
    checkpoint.save_file(tensors, tmp_path / "m.safetensors", metadata)
    page = report.html_page(tmp_path / "m.safetensors", title=names[0])[1].decode()
    elements = assert_harmless(page.replace("https://example.org", ""))
    assert "<script" not in page
    assert names[0] + ".weight" in elements.words


def test_curve_and_recipe_are_on_the_page(tmp_path: Path) -> None:
    about = {"recipe": {"weights": {"bits": 3}}, "curve": [[900, 0.5], [2000, 0.75], [700, None]]}
    checkpoint.save_file({"w": WEIGHT}, tmp_path / "m.safetensors", {"tersor.model": json.dumps(about)})
    page = report.html_page(tmp_path / "m.safetensors")[1].decode()
    assert "<h2>Rate and accuracy</h2>" in page
    assert "bytes of the file" in page
    assert "&quot;bits&quot;: 3" in page


def test_weights_before_are_drawn_where_they_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint.save_file({name: ARRAYS[name] for name in ("whole", "groups", "zeros")}, "m.safetensors")
    safetensors.numpy.save_file({"whole": 2 * WEIGHT, "groups": WEIGHT[:3]}, "before.safetensors")
    assert main(["inspect", "m.safetensors", "--html", "after.html"]) == 0
    assert main(["inspect", "m.safetensors", "--html", "both.html", "--original", "before.safetensors"]) == 0
    after, both = (
        Path(name).read_bytes().count(b"fill: var(--before)") for name in ("after.html", "both.html")
    )
    # Only one is of the same size.
    assert both == after + 1


def test_settings_of_matplotlib_are_as_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    expected = report.html_page(path)[1]
    with matplotlib.rc_context({"font.size": 40, "axes.grid": True}):
        matplotlib.use("svg")
        before = dict(matplotlib.rcParams)
        assert report.html_page(path)[1] == expected
        assert dict(matplotlib.rcParams) == before


def test_damaged_original_is_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("before.safetensors").write_bytes(b"no model")
    assert main(["inspect", str(path), "--html", "page.html", "--original", "before.safetensors"]) == 1
    assert "before.safetensors: " in capsys.readouterr().err
    assert not Path("page.html").exists()


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    odd = WEIGHT.copy()
    odd[0, :3] = np.nan, np.inf, -np.inf
    tensors = {
        "odd": odd,
        "all": np.full((2, 3), np.nan, "f4"),
        "huge": np.array([[-3e38, 3e38]], "f4"),
        "same": np.full((40, 40), 0.5, "f4"),
        "levels": quantize.codebook(odd, levels=8, nan="keep"),
        "": np.eye(8, dtype="f4"),
        "wide": np.array([[-1.7e308, 1.7e308, np.nan]]),
    }
    checkpoint.save_file(tensors, tmp_path / "m.safetensors")
    page = report.html_page(tmp_path / "m.safetensors")[1].decode()
    assert_harmless(page)
    assert page.count("No element can be drawn.") == 2  # "all" and "wide"


def test_empty_model(tmp_path: Path) -> None:
    checkpoint.save_file({}, tmp_path / "m.safetensors")
    about, page = report.html_page(tmp_path / "m.safetensors")
    assert about["ratio"] is None
    assert_harmless(page.decode())


def test_of_many_tensors_the_largest_are_drawn(tmp_path: Path) -> None:
    tensors = {f"layer{i}.weight": np.zeros((4, i + 1), "f4") for i in range(PLOTS_MAX + 20)}
    checkpoint.save_file(tensors, tmp_path / "m.safetensors")
    page = report.html_page(tmp_path / "m.safetensors")[1].decode()
    assert f"The {PLOTS_MAX} largest of {PLOTS_MAX + 20} tensors." in page
    assert page.count("<svg") == 2 + PLOTS_MAX
    assert f"<figcaption>layer{PLOTS_MAX + 19}.weight " in page
    assert "<figcaption>layer0.weight " not in page
    assert "14 more" in page


def test_missing_matplotlib_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["inspect", str(path), "--html", "page.html"]) == 1
    assert "pip install 'tersor[plot]'" in capsys.readouterr().err
    assert os.listdir() == ["model.safetensors"]
    assert main(["inspect", str(path)]) == 0


def test_existing_page_needs_force(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("page.html").write_text("precious")
    assert main(["inspect", str(path), "--html", "page.html"]) == 1
    assert capsys.readouterr().err == "tersor: page.html: the output exists; -f replaces it\n"
    assert Path("page.html").read_text() == "precious"
    assert main(["inspect", str(path), "--html", "page.html", "-f"]) == 0
    assert "<svg" in Path("page.html").read_text(encoding="utf-8")


def test_wrong_use_is_status_2(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("data.tsr").write_bytes(b"")
    assert main(["inspect", "data.tsr", "--html", "page.html"]) == 2
    assert main(["inspect", str(path), "--original", "x"]) == 2
    assert main(["inspect", str(path), "--json", "--html", "page.html"]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_damaged_tensor_leaves_no_page(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(path.read_bytes())
    data[-200] ^= 4
    path.write_bytes(data)
    Path("page.html").write_text("precious")
    assert main(["inspect", str(path), "--html", "page.html", "-f"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(os.listdir()) == ["model.safetensors", "page.html"]
    assert Path("page.html").read_text() == "precious"


# ---- Compressed networks ----------------------------------------------------------------------------


def test_report_of_a_compressed_network(path: Path) -> None:
    torch = pytest.importorskip("torch")
    nn = pytest.importorskip("tersor.nn")
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32))
    compressed = nn.compress(model, "int8")
    shown = compressed.report("page.html", original=model)
    assert shown == compressed.report()
    compressed.save("saved.safetensors")
    assert main(["inspect", "saved.safetensors"]) == 0
    assert f"{os.path.getsize('saved.safetensors'):,}" in shown
    assert "int8 per channel" in shown
    page = Path("page.html").read_text(encoding="utf-8")
    assert_harmless(page)
    assert page.count("fill: var(--before)") == 2 + 1 + 2  # sizes, and two histograms
    with pytest.raises(OSError, match="nowhere"):
        compressed.report("nowhere/page.html")
    assert sorted(os.listdir()) == ["model.safetensors", "page.html", "saved.safetensors"]
