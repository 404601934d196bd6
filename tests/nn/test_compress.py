"""`tersor.nn.compress`: from a network to a file, and back."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import safetensors.torch  # noqa: E402 - which needs torch
from torch import Tensor, nn  # noqa: E402

import tersor  # noqa: E402
from tersor import checkpoint  # noqa: E402
from tersor.nn import CompressedModel, Recipe, TensorRecipe, Training, compress  # noqa: E402
from tersor.quantize import CodebookArray, QuantizedArray  # noqa: E402

PRESETS = ("lossless", "int8", "int4", "deep", "tiny")


def make_network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24 * 16, 48),
        nn.ReLU(),
        nn.Linear(48, 10),
    )


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    data = pytest.importorskip("sklearn.datasets").load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(data.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return images[:1300], labels[:1300], images[1300:], labels[1300:]


@pytest.fixture(scope="module")
def batches(digits: tuple[Tensor, ...]) -> list[tuple[Tensor, Tensor]]:
    return list(zip(digits[0].split(65), digits[1].split(65), strict=True))


@pytest.fixture(scope="module")
def trained(batches: list[tuple[Tensor, Tensor]]) -> nn.Sequential:
    network = make_network()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(12):
        for images, labels in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def evaluate(digits: tuple[Tensor, ...]) -> Any:
    def accuracy(network: nn.Module) -> float:
        assert not network.training
        return float((network(digits[2]).argmax(1) == digits[3]).float().mean())

    return accuracy


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in network.state_dict().items()}


def size_of(compressed: CompressedModel, folder: Path) -> int:
    compressed.save(folder / "size")
    return (folder / "size").stat().st_size


# ---- Presets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_files_give_what_was_compressed(trained: nn.Module, tmp_path: Path, preset: str) -> None:
    before = state_of(trained)
    compressed = compress(trained, preset)
    assert all(torch.equal(t, before[name]) for name, t in trained.state_dict().items())
    compressed.save(tmp_path / "m")
    loaded = CompressedModel.load(tmp_path / "m")
    assert loaded.recipe == compressed.recipe
    state = compressed.state_dict()
    assert state.keys() == before.keys()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[name]), name
        assert tensor.dtype == before[name].dtype
    ordinary = loaded.materialize(make_network(1)).eval()
    integers = loaded.to_module(make_network(1)).eval()
    x = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(ordinary(x), integers(x), atol=1e-3)
    held = sum(t.nbytes for t in integers.state_dict().values())
    assert (held < 0.5 * sum(t.nbytes for t in before.values())) == (preset != "lossless")
    if preset == "lossless":
        assert all(torch.equal(t, before[name]) for name, t in state.items())


def test_presets_get_smaller(trained: nn.Module, tmp_path: Path) -> None:
    sizes = [size_of(compress(trained, preset), tmp_path) for preset in PRESETS]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] / 8


def test_sparsity_of_each_layer_without_training(trained: nn.Module) -> None:
    state = compress(trained, Recipe(TensorRecipe("kmeans", bits=4, sparsity=0.75))).state_dict()
    for name in ("3.weight", "6.weight"):
        assert int((state[name] == 0).sum()) >= round(0.75 * state[name].numel())
        assert (state[name] == 0).float().mean() < 0.8
    assert (state["0.weight"] == 0).sum() == 0  # less than 1024 weights


def test_calibration_prunes_with_less_error(trained: nn.Module, batches: Any) -> None:
    recipe = Recipe(TensorRecipe(sparsity=0.7))
    images = [images for images, _ in batches[:4]]
    with torch.no_grad():
        wanted = trained(images[0])

        def error(**data: Any) -> float:
            network = compress(trained, recipe, **data).materialize(make_network(1)).eval()
            return float((network(images[0]) - wanted).square().mean())

        assert error(calibration=images) < 0.7 * error()


def test_rules_come_first(trained: nn.Module) -> None:
    recipe = Recipe(
        TensorRecipe("affine", bits=4, group_size=32),
        rules={"3.*": TensorRecipe(), "*8.weight": TensorRecipe("affine", bits=8, per_channel=True)},
    )
    compressed = compress(trained, recipe)
    assert isinstance(compressed.tensors["3.weight"], Tensor)
    assert isinstance(compressed.tensors["6.weight"], QuantizedArray)
    assert compressed.tensors["6.weight"].group_size == 32
    assert isinstance(compressed.tensors["8.weight"], Tensor)  # 480 weights


def test_shared_weights_are_stored_once(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(100, 32)
            self.out = nn.Linear(32, 100, bias=False)
            self.out.weight = self.table.weight

        def forward(self, ids: Tensor) -> Any:
            return self.out(self.table(ids))

    model = Tied()
    ids = torch.arange(7)
    for preset in ("lossless", "int8"):
        compressed = compress(model, preset)
        assert list(compressed.tensors) == ["table.weight"]
        assert compressed.shared == {"out.weight": "table.weight"}
        compressed.save(tmp_path / "m")
        loaded = CompressedModel.load(tmp_path / "m")
        ordinary = loaded.materialize(Tied())
        held = loaded.to_module(Tied())
        assert torch.allclose(ordinary(ids), held(ids), atol=1e-3)
        assert torch.allclose(ordinary(ids), model(ids), atol=0.2 if preset == "int8" else 0)


def test_unknown_layers_are_lossless() -> None:
    model = nn.Sequential(nn.LSTM(32, 32), nn.Linear(32, 64))
    compressed = compress(model, "int8")
    assert isinstance(compressed.tensors["1.weight"], QuantizedArray)
    assert torch.equal(compressed.tensors["0.weight_ih_l0"], model[0].weight_ih_l0.detach())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(64, 32)).to(dtype)
    compress(model, "int8").save(tmp_path / "m")
    loaded = CompressedModel.load(tmp_path / "m").materialize(nn.Sequential(nn.Linear(64, 32)).to(dtype))
    assert loaded[0].weight.dtype == dtype
    assert (loaded[0].weight - model[0].weight).abs().max() < 0.002


def test_other_readers_see_floats(trained: nn.Module, tmp_path: Path) -> None:
    compressed = compress(trained, "int4")
    compressed.save(tmp_path / "m")
    checkpoint.decompress_file(tmp_path / "m", tmp_path / "plain.safetensors")
    plain = safetensors.torch.load_file(tmp_path / "plain.safetensors")
    assert all(torch.equal(plain[name], t) for name, t in compressed.state_dict().items())


# ---- Training -----------------------------------------------------------------------------------


DEEP = Recipe(
    TensorRecipe("kmeans", bits=4, sparsity=0.9),
    training=Training(prune_epochs=4, recover_epochs=2, quantize_epochs=2, learning_rate=2e-3),
)


def test_training_gives_back_what_pruning_takes(
    trained: nn.Module, batches: Any, evaluate: Any, tmp_path: Path
) -> None:
    """Trained, compressed, saved, and loaded in a new process, which gets the same accuracy."""
    torch.manual_seed(0)
    stages: dict[str, float] = {}
    compressed = compress(
        trained, DEEP, train=batches, progress=lambda stage, done: stages.update({stage: done})
    )
    assert stages == {"prune": 1.0, "quantize": 1.0}
    without = compress(trained, DEEP)

    def accuracy(c: CompressedModel) -> float:
        return float(evaluate(c.materialize(make_network(1)).eval()))

    with torch.no_grad():
        dense, recovered, lost = evaluate(trained), accuracy(compressed), accuracy(without)
    assert dense > 0.93
    assert recovered > dense - 0.03
    assert recovered > lost + 0.03
    kept = sum(int((compressed.state_dict()[name] != 0).sum()) for name in ("3.weight", "6.weight"))
    assert kept <= math.ceil(0.1 * (12 * 24 * 9 + 384 * 48))
    assert size_of(compressed, tmp_path) < 0.1 * sum(t.nbytes for t in trained.state_dict().values())

    compressed.save(tmp_path / "m")
    torch.save(evaluate.__closure__[0].cell_contents, tmp_path / "digits.pt")
    script = f"""
import sys, torch
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_compress import make_network
from tersor.nn import CompressedModel
network = CompressedModel.load({str(tmp_path / "m")!r}).materialize(make_network(2)).eval()
images, labels = torch.load({str(tmp_path / "digits.pt")!r})[2:]
print(float((network(images).argmax(1) == labels).float().mean()))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(result.stdout) == recovered


def test_interrupted_training_goes_on(trained: nn.Module, batches: Any, tmp_path: Path) -> None:
    recipe = Recipe(
        TensorRecipe("kmeans", bits=4, sparsity=0.9),
        training=Training(prune_epochs=2, recover_epochs=1, quantize_epochs=1),
    )

    class StopError(Exception):
        pass

    def run(folder: Path, stop: float | None = None) -> CompressedModel:
        def progress(stage: str, done: float) -> None:
            if stop is not None and stage == "prune" and done > stop:
                raise StopError

        torch.manual_seed(0)
        return compress(trained, recipe, train=batches, checkpoint=folder, progress=progress)

    whole = run(tmp_path / "a").state_dict()
    with pytest.raises(StopError):
        run(tmp_path / "b", 0.5)
    resumed = run(tmp_path / "b").state_dict()
    assert all(torch.equal(resumed[name], t) for name, t in whole.items())


# ---- Budgets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.2, 0.1, 0.07])
def test_max_bytes_is_kept(trained: nn.Module, evaluate: Any, tmp_path: Path, share: float) -> None:
    limit = int(share * sum(t.nbytes for t in trained.state_dict().values()))
    compressed = compress(trained, max_bytes=limit, evaluate=evaluate)
    size = size_of(compressed, tmp_path)
    assert 0.9 * limit < size <= limit
    point = compressed.curve[-1]
    assert abs(point.nbytes - size) < 200
    with torch.no_grad():
        assert point.score == pytest.approx(
            evaluate(compressed.materialize(make_network(1)).eval()), abs=0.005
        )


def test_bytes_go_where_they_matter(trained: nn.Module, batches: Any) -> None:
    """At the same bytes, outputs are nearer to what they were than with 3 bits everywhere."""
    images = [images for images, _ in batches]
    uniform = compress(trained, Recipe(TensorRecipe("affine", bits=3, per_channel=True)))
    folder = Path(".")
    del folder
    with torch.no_grad():
        wanted = torch.cat([trained(x) for x in images])

        def error(c: CompressedModel) -> float:
            network = c.materialize(make_network(1)).eval()
            return float((torch.cat([network(x) for x in images]) - wanted).square().mean())

        limit = len(file_bytes(uniform))
        mixed = compress(trained, max_bytes=limit, calibration=images[:5])
        assert len(file_bytes(mixed)) <= limit
        assert error(mixed) < 0.8 * error(uniform)


def file_bytes(compressed: CompressedModel) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        compressed.save(Path(folder, "m"))
        return Path(folder, "m").read_bytes()


def test_max_drop_is_kept(trained: nn.Module, evaluate: Any, tmp_path: Path) -> None:
    with torch.no_grad():
        dense = evaluate(trained)
        sizes = []
        for drop in (0.0, 0.01, 0.05):
            compressed = compress(trained, max_drop=drop, evaluate=evaluate)
            assert evaluate(compressed.materialize(make_network(1)).eval()) >= dense - drop
            sizes.append(size_of(compressed, tmp_path))
            assert len(compressed.curve) == 9
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < 0.15 * sum(t.nbytes for t in trained.state_dict().values())


def test_budget_with_training(trained: nn.Module, batches: Any, evaluate: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    limit = int(0.08 * sum(t.nbytes for t in trained.state_dict().values()))
    plain = compress(trained, max_bytes=limit, evaluate=evaluate)
    recipe = Recipe(
        training=Training(prune_epochs=3, recover_epochs=1, quantize_epochs=2, learning_rate=2e-3)
    )
    tuned = compress(trained, recipe, max_bytes=limit, evaluate=evaluate, train=batches)
    assert size_of(tuned, tmp_path) <= limit
    with torch.no_grad():
        scores = [evaluate(c.materialize(make_network(1)).eval()) for c in (plain, tuned)]
    assert scores[1] > scores[0]


# ---- Bad input -------------------------------------------------------------------------------------


def test_unreachable_budgets_tell_what_can_be_reached(
    trained: nn.Module, evaluate: Any, tmp_path: Path
) -> None:
    with pytest.raises(tersor.LimitError, match="the smallest file has") as error:
        compress(trained, max_bytes=100)
    smallest = int(str(error.value).split()[-1])
    assert size_of(compress(trained, max_bytes=smallest), tmp_path) <= smallest
    with pytest.raises(tersor.LimitError, match="max_drop"):
        compress(trained, max_drop=-1.0, evaluate=evaluate)


def test_arguments_that_do_not_go_together(trained: nn.Module, evaluate: Any) -> None:
    with pytest.raises(ValueError, match="max_drop needs evaluate"):
        compress(trained, max_drop=0.1)
    with pytest.raises(ValueError, match="exclude"):
        compress(trained, max_drop=0.1, max_bytes=9999, evaluate=evaluate)
    with pytest.raises(ValueError, match="recipe must be one of"):
        compress(trained, "int9")
    with pytest.raises(ValueError, match="no layer"):
        compress(nn.Sequential(nn.Linear(2, 2)), max_bytes=999)


def test_evaluate_must_return_numbers(trained: nn.Module) -> None:
    with pytest.raises(ValueError, match="evaluate returned nan"):
        compress(trained, max_drop=0.1, evaluate=lambda network: float("nan"))


def test_weights_that_are_not_finite_are_named(trained: nn.Module) -> None:
    broken = copy.deepcopy(trained)
    with torch.no_grad():
        broken[6].weight[3, 3] = float("nan")
    with pytest.raises(ValueError, match="'6'"):
        compress(broken, "int8")
    assert torch.equal(compress(broken, "lossless").tensors["8.weight"], broken[8].weight)


def edit_metadata(path: Path, **changes: Any) -> None:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    about = json.loads(header["__metadata__"]["tersor.model"]) | changes
    header["__metadata__"]["tersor.model"] = json.dumps(about)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


def test_damaged_files(trained: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "m"
    compress(trained, "int8").save(path)
    good = path.read_bytes()
    edit_metadata(path, version=2)
    with pytest.raises(tersor.UnsupportedFormatError, match="version 2"):
        CompressedModel.load(path)
    for change in ({"shared": {"a": "b"}}, {"shared": [1]}, {"curve": [[1]]}, {"curve": 7}):
        path.write_bytes(good)
        edit_metadata(path, **change)
        with pytest.raises(tersor.CorruptDataError):
            CompressedModel.load(path)
    damaged = bytearray(good)
    damaged[-200] ^= 8
    path.write_bytes(damaged)
    with pytest.raises(tersor.CorruptDataError):
        CompressedModel.load(path)
    checkpoint.save_file({"w": torch.ones(3)}, path)
    with pytest.raises(tersor.UnsupportedFormatError, match="no compressed network"):
        CompressedModel.load(path)


def test_nothing_half_written(trained: nn.Module, tmp_path: Path) -> None:
    compressed = compress(trained, "int8")
    compressed.tensors["9.weight"] = torch.ones(3, dtype=torch.complex128)
    with pytest.raises(tersor.UnsupportedFormatError, match=r"9\.weight"):
        compressed.save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_another_architecture_is_refused(trained: nn.Module) -> None:
    with pytest.raises(RuntimeError, match=r"size mismatch|Missing key"):
        compress(trained, "int8").materialize(nn.Sequential(nn.Linear(3, 3)))


# ---- Recipes --------------------------------------------------------------------------------------


def test_recipes_round_trip() -> None:
    recipe = Recipe(
        TensorRecipe("kmeans", bits=3, sparsity=0.5),
        TensorRecipe("nf4", bits=4, group_size=64),
        rules={"a.*": TensorRecipe(), "*": TensorRecipe("affine", per_channel=True)},
        training=Training(prune_epochs=3, distill=False),
    )
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert list(Recipe.from_json(recipe.to_json()).rules) == ["a.*", "*"]
    assert Recipe.from_json("{}") == Recipe()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[]", "must be an object"),
        ('{"wights": {}}', "unknown entry 'wights'"),
        ('{"weights": {"bit": 3}}', "weights has the unknown entry 'bit'"),
        ('{"weights": {"bits": 9, "method": "affine"}}', "weights: bits"),
        ('{"weights": {"method": "zip"}}', "weights: method"),
        ('{"weights": {"sparsity": 1}}', "sparsity"),
        ('{"weights": {"group_size": 0}}', "group_size"),
        ('{"weights": {"group_size": 8, "per_channel": true}}', "exclude"),
        ('{"rules": {"a*": {"bits": "8"}}}', r"rule 'a\*': bits"),
        ('{"rules": []}', "rules must be"),
        ('{"training": {"prune_epochs": -1}}', "prune_epochs"),
        ('{"training": {"learning_rate": 0}}', "learning_rate"),
    ],
)
def test_bad_recipes(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Recipe.from_json(text)


def test_compress_tensors_needs_no_torch() -> None:
    script = """
import numpy as np, sys
from tersor.recipe import compress_tensors
w = np.random.default_rng(0).normal(0, 1, (64, 3, 3, 3)).astype("f4")
made = compress_tensors({"w": w, "embed": w.reshape(64, 27), "b": w[0, 0]}, "deep")
assert type(made["w"]).__name__ == "CodebookArray" and made["w"].shape == (64, 27)
assert (made["w"].dequantize() == 0).mean() > 0.899
assert type(made["embed"]).__name__ == "QuantizedArray" and made["b"].shape == (3, 3)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_code_books_stay_small(trained: nn.Module) -> None:
    weight = compress(trained, "tiny").tensors["6.weight"]
    assert isinstance(weight, CodebookArray)
    assert weight.levels == 8
