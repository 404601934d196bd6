"""The second part of ``tersor demo``: a network from training to a small file, and back."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import checkpoint
from ..arrays import decompress_array
from ..nn import CompressedModel, Recipe, TensorRecipe, Training, compress
from ..nn.distill import Distiller, KDLoss, student_like
from .output import print_table, status_line

BATCH = 64
N_TEST = 450
TEACHER_EPOCHS, STUDENT_EPOCHS = 25, 25
# Nine of ten weights go, the others share 15 values.
RECIPE = Recipe(
    TensorRecipe("kmeans", bits=4, sparsity=0.9),
    training=Training(prune_epochs=15, recover_epochs=10, quantize_epochs=5, learning_rate=2e-3),
)
HEADER = ("stage", "weights", "not zero", "file bytes", "of the teacher's", "test accuracy")


def make_network() -> nn.Sequential:
    """Two convolutions and two linear layers: some 60,000 weights."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1024, 40),
        nn.ReLU(),
        nn.Linear(40, 10),
    )


class Digits:
    """The 1,797 handwritten digits of 8 x 8 pixels (UCI, Alpaydin & Kaynak 1998), shuffled and split."""

    def __init__(self) -> None:
        table = decompress_array((resources.files("tersor") / "data" / "digits.npy.tsr").read_bytes())
        rows = torch.from_numpy(table)[torch.randperm(len(table), generator=torch.Generator().manual_seed(0))]
        images, labels = rows[:, :64].reshape(-1, 1, 8, 8).float() / 16, rows[:, 64].long()
        self.test = images[:N_TEST], labels[:N_TEST]
        self.train = images[N_TEST:], labels[N_TEST:]

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """The training images in batches."""
        return list(zip(*(part.split(BATCH) for part in self.train), strict=True))

    @torch.no_grad()
    def accuracy(self, network: nn.Module) -> float:
        """The share of the test images that a network names right."""
        images, labels = self.test
        return float((network.eval()(images).argmax(1) == labels).float().mean())


def run(threads: int = 1) -> None:
    """Show the way from a trained network to a small file."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)  # the same sums in the same order everywhere
    try:
        with (
            torch.random.fork_rng(devices=[]),
            tempfile.TemporaryDirectory() as folder,
            status_line() as show,
        ):
            torch.manual_seed(0)
            start = time.perf_counter()
            rows = _stages(Path(folder), show)
            seconds = time.perf_counter() - start
    finally:
        torch.set_num_threads(before)
    print_table(f"A network for handwritten digits, from training to file in {seconds:.0f} s", HEADER, rows)


def _stages(folder: Path, show: Callable[[str], None]) -> list[tuple[str, ...]]:
    digits = Digits()
    batches = digits.batches()
    rows: list[tuple[str, ...]] = []
    sizes: list[int] = []

    def note(stage: str, network: nn.Module, path: Path) -> None:
        weights = [p for p in network.state_dict().values() if p.is_floating_point()]
        sizes.append(path.stat().st_size)
        rows.append(
            (
                stage,
                f"{sum(w.numel() for w in weights):,}",
                f"{sum(int((w != 0).sum()) for w in weights):,}",
                f"{sizes[-1]:,}",
                f"{sizes[-1] / sizes[0]:.1%}",
                f"{digits.accuracy(network):.2%}",
            )
        )

    def plain(name: str, network: nn.Module) -> Path:
        # What safetensors would write: the lossless file, restored.
        CompressedModel.of(network).save(folder / "packed")
        checkpoint.decompress_file(folder / "packed", folder / name)
        return folder / name

    def learn(what: str, network: nn.Module, teacher: nn.Module, alpha: float, epochs: int) -> None:
        distiller = Distiller(
            teacher,
            network,
            loss=KDLoss(alpha=alpha),
            optimizer=lambda parameters: torch.optim.AdamW(parameters, 3e-3),
            scheduler=lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
            progress=lambda report: show(f"{what}: epoch {report.epoch} of {epochs}"),
        )
        distiller.fit(batches, epochs)

    teacher = make_network()
    # From labels alone: what a teacher would say has no weight.
    learn("training the teacher", teacher, make_network(), 0.0, TEACHER_EPOCHS)
    note("teacher, float32", teacher, plain("teacher", teacher))

    student = student_like(teacher, width=0.5)
    learn("distilling the student", student, teacher, 0.9, STUDENT_EPOCHS)
    note("student of half the width", student, plain("student", student))
    note("the same, Huffman coded without loss", student, folder / "packed")

    def progress(stage: str, done: float) -> None:
        verb = {"prune": "pruning", "quantize": "training shared weights"}.get(stage, stage)
        show(f"{verb}: {done:.0%}")

    pruned = compress(student, _without_quantization(RECIPE), train=batches, progress=progress)
    pruned.save(folder / "pruned")
    note("pruned while training", pruned.materialize(student_like(teacher, width=0.5)), folder / "pruned")
    compressed = compress(student, RECIPE, train=batches, progress=progress)
    compressed.save(folder / "small.safetensors")
    loaded = CompressedModel.load(folder / "small.safetensors").materialize(student_like(teacher, width=0.5))
    note("weights shared, all Huffman coded; loaded", loaded, folder / "small.safetensors")
    return rows


def _without_quantization(recipe: Recipe) -> Recipe:
    return Recipe(TensorRecipe(sparsity=recipe.weights.sparsity), training=recipe.training)
