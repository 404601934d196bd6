"""Reports on model files: figures against NumPy's, and pages that load nothing and believe nothing."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from tersor import checkpoint, quantize, report
from tersor.cli import main

RNG = np.random.default_rng(12)
WEIGHT = RNG.normal(0, 0.05, (96, 128)).astype("f4")
SPARSE = np.where(RNG.random(WEIGHT.shape) < 0.9, np.float32(0), WEIGHT)

ARRAYS: dict[str, Any] = {
    "whole": quantize.affine(WEIGHT),
    "rows": quantize.affine(WEIGHT, axis=0, bits=6),
    "columns": quantize.affine(WEIGHT, axis=1, symmetric=False),
    "groups": quantize.affine(WEIGHT, bits=4, group_size=32),
    "sparse": quantize.codebook(SPARSE, levels=32, keep_zero=True),
    "shared": quantize.codebook(WEIGHT, levels=5),
    "own": quantize.codebook(WEIGHT, levels=4, axis=0),
    "nf4": quantize.codebook(WEIGHT, method="nf4", group_size=64),
    "scaled": quantize.codebook(WEIGHT, levels=8, axis=0, scaled=True),
    "plain": WEIGHT,
    "zeros": SPARSE,
    "half": SPARSE.astype("f2"),
    "brain": SPARSE.astype(ml_dtypes.bfloat16),
    "eight": SPARSE.astype(ml_dtypes.float8_e4m3fn),
    "counts": np.arange(100, dtype="i8"),
    "flags": np.array([True, False, False, False]),
    "none": np.zeros((0, 4), "f4"),
    "scalar": np.float32(2),
}
METHODS = {
    "whole": ("int8", 8),
    "rows": ("int6 per channel", 6),
    "columns": ("uint8 by axis 1", 8),
    "groups": ("int4 in groups of 32", 4),
    "sparse": ("codebook of 32", 5),
    "shared": ("codebook of 5", 3),
    "own": ("codebook of 4 per channel", 2),
    "nf4": ("nf4 in groups of 64", 4),
    "scaled": ("codebook of 8, scaled per channel", 3),
    "plain": ("lossless", 32),
    "zeros": ("lossless, sparse", 32),
    "half": ("lossless, sparse", 16),
    "brain": ("lossless, sparse", 16),
    "counts": ("lossless", 64),
    "flags": ("lossless", 8),
}


def entropy(values: np.ndarray[Any, Any]) -> float:
    _, counts = np.unique(values, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    checkpoint.save_file(ARRAYS, "model.safetensors", {"note": "x"})
    return Path("model.safetensors")


@pytest.fixture
def shown(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["inspect", str(path), "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


# ---- Figures ----------------------------------------------------------------------------------------


def test_json_is_what_describe_returns(path: Path, shown: dict[str, Any]) -> None:
    assert shown == json.loads(json.dumps(report.describe(path)))


def test_methods_and_widths(shown: dict[str, Any]) -> None:
    found = {t["name"]: (t["method"], t["bits"]) for t in shown["tensors"]}
    assert {name: found[name] for name in METHODS} == METHODS


def test_sparsity_is_the_share_of_zeros_that_are_loaded(path: Path, shown: dict[str, Any]) -> None:
    loaded = checkpoint.load_file(path)
    for t in shown["tensors"]:
        if t["name"] == "none":
            assert t["sparsity"] is None
        else:
            assert t["sparsity"] == pytest.approx(np.mean(loaded[t["name"]].astype("f8") == 0), abs=1e-15)


def test_entropy_is_that_of_the_integers(shown: dict[str, Any]) -> None:
    for t in shown["tensors"]:
        array = ARRAYS[t["name"]]
        if t["name"] == "none":
            assert t["entropy"] is None
        elif isinstance(array, np.ndarray | np.generic):
            planes = np.frombuffer(array.tobytes(), "u1").reshape(-1, array.itemsize).T
            assert t["entropy"] == pytest.approx(sum(map(entropy, planes)), abs=1e-9)
        else:
            assert t["entropy"] == pytest.approx(entropy(array.integers()), abs=1e-9)


def test_sizes(path: Path, shown: dict[str, Any]) -> None:
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    n_content = 0
    for t in shown["tensors"]:
        array = ARRAYS[t["name"]]
        n = math.prod(t["shape"])
        start, end = header[t["name"]]["data_offsets"]
        assert t["compressed_nbytes"] == end - start
        itemsize = array.itemsize if isinstance(array, np.ndarray | np.generic) else 4
        assert t["nbytes"] == n * itemsize
        n_content += n * itemsize
        if t["quantization"] is None:
            assert t["quantized_nbytes"] == t["nbytes"]
        else:
            first, *parameters = array.components()[0].values()
            assert t["quantized_nbytes"] == n * t["bits"] // 8 + sum(p.nbytes for p in parameters)
            if t["bits"] in (4, 8):
                assert t["quantized_nbytes"] == first.nbytes + sum(p.nbytes for p in parameters)
    assert shown["content_bytes"] == n_content
    assert shown["file_bytes"] == os.path.getsize(path)
    assert shown["ratio"] == shown["file_bytes"] / n_content
    assert shown["quantized_bytes"] == sum(t["quantized_nbytes"] for t in shown["tensors"])


def test_totals_are_averages_over_elements(shown: dict[str, Any]) -> None:
    tensors = [t for t in shown["tensors"] if math.prod(t["shape"])]
    n = [math.prod(t["shape"]) for t in tensors]
    assert shown["elements"] == sum(n)
    for key in ("sparsity", "bits", "entropy"):
        assert shown[key] == pytest.approx(np.average([t[key] for t in tensors], weights=n))


def test_table_has_the_same_figures(
    path: Path, shown: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == list(report.HEADER)
    for t, line in zip(shown["tensors"], lines[2:], strict=False):
        assert line.split()[0] == t["name"]
        assert t["method"] in line
        assert f"{t['compressed_nbytes']:,}" in line.split()
        if t["entropy"] is not None:
            assert f"{t['entropy']:.3f}" in line.split()
            assert f"{t['sparsity']:.2%}" in line.split()
    assert lines[2 + len(shown["tensors"])].split()[-2] == f"{shown['file_bytes']:,}"


def test_ordinary_file(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"w": SPARSE}, tmp_path / "w.safetensors")
    about = report.describe(tmp_path / "w.safetensors")
    (t,) = about["tensors"]
    assert (about["compressed"], t["method"], t["ratio"]) == (False, "stored", 1.0)
    assert t["sparsity"] == np.mean(SPARSE == 0)


def test_file_without_quantized_tensors_shows_planes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint.save_file({"w": WEIGHT}, tmp_path / "w.safetensors")
    assert main(["inspect", str(tmp_path / "w.safetensors")]) == 0
    assert report.describe(tmp_path / "w.safetensors")["tensors"][0]["methods"] in capsys.readouterr().out


def test_brain_floats_need_no_ml_dtypes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {t["name"]: t["sparsity"] for t in report.describe(path)["tensors"]}
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    found = {t["name"]: t["sparsity"] for t in report.describe(path)["tensors"]}
    assert found == expected | {"eight": None}


def test_recipe_curve_and_shared_tensors_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = {
        "version": 1,
        "recipe": {"weights": {"method": "affine"}},
        "curve": [[900, 0.5], [1800, None], [2000, 0.75]],
        "shared": {"head.weight": "embed.weight"},
    }
    name = str(tmp_path / "m.safetensors")
    checkpoint.save_file({"embed.weight": quantize.affine(WEIGHT)}, name, {"tersor.model": json.dumps(about)})
    described = report.describe(name)
    assert {key: described[key] for key in ("recipe", "curve", "shared")} == {
        key: about[key] for key in ("recipe", "curve", "shared")
    }
    assert main(["inspect", name]) == 0
    out = capsys.readouterr().out
    assert "is embed.weight" in out
    assert 'recipe: {"weights": {"method": "affine"}}' in out
    assert "tried: 900 bytes, score 0.5\ntried: 1,800 bytes\ntried: 2,000 bytes, score 0.75\n" in out


@pytest.mark.parametrize(
    "entry",
    [
        "{",
        "[1]",
        "[" * 100_000,
        '{"recipe": 3, "curve": {}, "shared": []}',
        '{"curve": [3, [1], [1, 2, 3], ["1", 2], [-1, 2], [1, NaN], [1, 1e999], [1, true]]}',
        '{"shared": {"a": 2}}',
        '{"curve": [[1' + "0" * 300 + ", 0], [5, 1" + "0" * 400 + "]]}",
    ],
)
def test_damaged_metadata_is_left_out(entry: str, tmp_path: Path) -> None:
    checkpoint.save_file({"w": WEIGHT}, tmp_path / "m.safetensors", {"tersor.model": entry})
    about = report.describe(tmp_path / "m.safetensors")
    assert (about["recipe"], about["curve"], about["shared"]) == ({}, [], {})


# ---- Bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_damaged_tensor_is_one_line(
    path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(path.read_bytes())
    data[-200] ^= 4
    path.write_bytes(data)
    assert main(["inspect", str(path), *options]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("tersor: model.safetensors: ")
    assert os.listdir() == ["model.safetensors"]


def test_names_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint.save_file(
        {"a\x1b[2Jb\nc": WEIGHT}, tmp_path / "m.safetensors", {"tersor.model": '{"recipe":1}'}
    )
    assert main(["inspect", str(tmp_path / "m.safetensors")]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "a\ufffd[2Jb\ufffdc" in out


def test_names_are_no_markup_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    checkpoint.save_file({"layer[/b][red]": WEIGHT}, tmp_path / "m.safetensors")
    assert main(["inspect", str(tmp_path / "m.safetensors")]) == 0
    assert "layer[/b][red]" in capsys.readouterr().out


def test_tensor_far_larger_than_its_data_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "SUSPECT_SIZE", 1 << 20)
    checkpoint.save_file({"bomb": np.zeros((1 << 20,), "f4"), "w": WEIGHT}, tmp_path / "m.safetensors")
    about = {t["name"]: t for t in report.describe(tmp_path / "m.safetensors")["tensors"]}
    assert about["bomb"]["sparsity"] is None
    assert about["bomb"]["nbytes"] == 4 << 20
    assert about["w"]["sparsity"] == 0
