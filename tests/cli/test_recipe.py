"""``tersor compress --recipe``: models quantized on the command line."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from tersor import checkpoint
from tersor.cli import main
from tersor.quantize import CodebookArray, QuantizedArray, affine
from tersor.recipe import PRESETS, Recipe, TensorRecipe, compress_tensors

RNG = np.random.default_rng(8)
CONV = RNG.normal(0, 0.1, (16, 8, 3, 3)).astype("f4")
LINEAR = RNG.normal(0, 0.1, (60, 128)).astype("f4")
BIAS = RNG.normal(0, 0.1, 60).astype("f4")
TENSORS: dict[str, np.ndarray[Any, Any]] = {
    "conv.weight": CONV,
    "fc.weight": LINEAR,
    "fc.bias": BIAS,
    "steps": np.arange(2000).reshape(40, 50),
}


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    safetensors.numpy.save_file(TENSORS, "model.safetensors", {"format": "np", "author": "<me>"})
    return "model.safetensors"


@pytest.mark.parametrize("name", PRESETS)
def test_presets_do_what_compress_tensors_does(name: str) -> None:
    assert main(["compress", "model.safetensors", "--recipe", name]) == 0
    loaded = checkpoint.load_file("model.tsr.safetensors", dequantize=False)
    expected = compress_tensors(TENSORS, name)
    assert loaded.keys() == expected.keys()
    for key, array in expected.items():
        if isinstance(array, np.ndarray):
            assert np.array_equal(loaded[key], array)
        else:
            assert type(loaded[key]) is type(array)
            assert np.array_equal(loaded[key].dequantize().ravel(), array.dequantize().ravel())


def test_quantized_model_is_restored_as_floats_of_the_same_shape() -> None:
    assert main(["compress", "model.safetensors", "--recipe", "int8"]) == 0
    packed = os.path.getsize("model.tsr.safetensors")
    assert packed < 0.4 * os.path.getsize("model.safetensors")
    assert main(["decompress", "model.tsr.safetensors", "-o", "back.safetensors"]) == 0
    back = safetensors.numpy.load_file("back.safetensors")
    assert {k: (v.shape, v.dtype) for k, v in back.items()} == {
        k: (v.shape, v.dtype) for k, v in TENSORS.items()
    }
    assert np.array_equal(back["fc.bias"], BIAS)
    assert np.array_equal(back["steps"], TENSORS["steps"])
    # Half a step of each channel.
    bound = np.abs(CONV).max(axis=(1, 2, 3), keepdims=True) / 254 * 1.001
    assert (np.abs(back["conv.weight"] - CONV) <= bound).all()


def test_metadata_is_kept_and_the_recipe_is_added() -> None:
    assert main(["compress", "model.safetensors", "--recipe", "int4"]) == 0
    with checkpoint.safe_open("model.tsr.safetensors") as file:
        metadata = file.metadata()
    about = json.loads(metadata.pop("tersor.model"))
    assert metadata == {"format": "np", "author": "<me>"}
    assert Recipe.from_json(json.dumps(about["recipe"])) == PRESETS["int4"]


def test_recipe_from_a_file() -> None:
    recipe = Recipe(TensorRecipe("kmeans", bits=3), rules={"fc.*": TensorRecipe("affine", 5)})
    Path("mine.json").write_text(recipe.to_json())
    assert main(["compress", "model.safetensors", "--recipe", "mine.json"]) == 0
    loaded = checkpoint.load_file("model.tsr.safetensors", dequantize=False)
    assert isinstance(loaded["conv.weight"], CodebookArray)
    assert loaded["conv.weight"].levels == 8
    assert isinstance(loaded["fc.weight"], QuantizedArray)
    assert np.array_equal(
        loaded["fc.weight"].dequantize(), affine(LINEAR, bits=5, observer="mse").dequantize()
    )


def test_each_tensor_keeps_its_dtype() -> None:
    kept = {"F32": LINEAR, "F16": LINEAR.astype("f2"), "BF16": LINEAR.astype(ml_dtypes.bfloat16)}
    checkpoint.save_file({**kept, "F64": LINEAR.astype("f8")}, "mixed.tsr.safetensors")
    assert main(["decompress", "mixed.tsr.safetensors"]) == 0
    assert main(["compress", "mixed.safetensors", "--recipe", "int8", "-o", "q.safetensors"]) == 0
    loaded = checkpoint.load_file("q.safetensors")
    assert {name: array.dtype for name, array in loaded.items()} == {
        **{name: array.dtype for name, array in kept.items()},
        "F64": np.dtype("f4"),
    }


def test_codec_and_threads_are_passed_on() -> None:
    sizes = []
    for codec in ("auto", "raw"):
        arguments = ["--recipe", "deep", "--codec", codec, "-T", "1", "-o", f"{codec}.safetensors"]
        assert main(["compress", "model.safetensors", *arguments]) == 0
        sizes.append(os.path.getsize(f"{codec}.safetensors"))
    assert sizes[0] < 0.8 * sizes[1]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_output_has_the_inputs_permissions() -> None:
    os.chmod("model.safetensors", 0o640)
    assert main(["compress", "model.safetensors", "--recipe", "int8"]) == 0
    assert os.stat("model.tsr.safetensors").st_mode & 0o777 == 0o640


def test_training_that_is_left_out_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", "model.safetensors", "--recipe", "int8"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["compress", "model.safetensors", "--recipe", "deep", "-f"]) == 0
    assert "training was left out" in capsys.readouterr().err


RECIPES = {
    "no JSON": "{",
    "a list": "[]",
    "unknown entry": '{"wieghts": {}}',
    "unknown method": '{"weights": {"method": "zip"}}',
    "bits": '{"weights": {"method": "affine", "bits": 9}}',
    "wrong type": '{"weights": {"sparsity": "much"}}',
    "rules": '{"rules": []}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES)
def test_bad_recipe_is_status_2(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.json").write_text(text)
    assert main(["compress", "model.safetensors", "--recipe", "bad.json"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("tersor: bad.json: ")
    assert err.count("\n") == 1
    assert sorted(os.listdir()) == ["bad.json", "model.safetensors"]


def test_wrong_use_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    Path("data.bin").write_bytes(b"data")
    for arguments, message in (
        (["model.safetensors", "--recipe", "best"], "must be one of lossless, int8"),
        (["data.bin", "--recipe", "int8"], "--recipe is for models"),
        (["model.safetensors", "--recipe", "int8", "--format", "z"], "--recipe is for models"),
        (["model.safetensors", "--recipe", "int8", "-o", "-"], "standard output"),
        (["model.safetensors", "--recipe", "int8", "--typesize", "4"], "--typesize is for files of bytes"),
    ):
        assert main(["compress", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert sorted(os.listdir()) == ["data.bin", "model.safetensors"]


def test_missing_recipe_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", "model.safetensors", "--recipe", "no.json"]) == 1
    assert capsys.readouterr().err == "tersor: no.json: No such file or directory\n"


def test_compressed_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", "model.safetensors", "--recipe", "int8"]) == 0
    assert main(["compress", "model.tsr.safetensors", "--recipe", "int8"]) == 1
    assert "already compressed" in capsys.readouterr().err


def test_weights_that_are_not_finite_leave_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    bad = LINEAR.copy()
    bad[3, 4] = np.nan
    safetensors.numpy.save_file({"w": bad}, "model.safetensors")
    assert main(["compress", "model.safetensors", "--recipe", "int8"]) == 1
    assert "[3, 4]" in capsys.readouterr().err
    assert os.listdir() == ["model.safetensors"]


def test_no_model_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("model.safetensors").write_bytes(struct.pack("<Q", 5) + b"{}")
    assert main(["compress", "model.safetensors", "--recipe", "int8"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir() == ["model.safetensors"]
