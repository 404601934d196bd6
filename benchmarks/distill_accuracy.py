"""Measure what students learn from their teachers, with data and without.

    python benchmarks/distill_accuracy.py --data MNIST [--only NAME] [--seeds N] [--quick]

- `hinton`: MNIST, a 1200-1200 teacher with dropout and a 800-800 student without, as in Hinton et al. 2015.
- `half`: Fashion-MNIST, a small residual network and a student of half its width by `student_like`.
- `free`: MNIST, LeNet-5 and a student of half its width that sees no image but a generator's.
- `free-fashion`: the same on Fashion-MNIST.

Each is several runs, teachers included, from the weights and orders that their seeds give, and takes less
than 20 minutes on two cores. `--quick` takes one run of a part of MNIST in less than a minute, and fails
where a student's error is above half of what chance gives.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import networks
import torch
from networks import Data
from tables import table
from torch import Tensor, nn

from tersor.nn.distill import DataFreeDistiller, Distiller, ImageGenerator, ImageMixer, KDLoss, student_like

CHANCE = 90.0  # percent of ten classes
QUICK_IMAGES = 6000
QUICK_STEPS = 60

Row = dict[str, float]


class Shift(nn.Module):
    """Moves images by up to so many pixels, each by its own random step, while training."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return images
        n, _, height, width = images.shape
        padded = nn.functional.pad(images[:, 0], [self.pixels] * 4, value=float(images.min()))
        steps = torch.randint(2 * self.pixels + 1, (2, n, 1))
        rows = steps[0] + torch.arange(height)
        columns = steps[1] + torch.arange(width)
        return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]][:, None]


class Batches:
    """The training images in a new order each time, as a loader gives them."""

    def __init__(self, data: Data, seed: int, size: int) -> None:
        self.data = data
        self.size = size
        self.order = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.randperm(len(self.data.train_labels), generator=self.order).split(self.size):
            yield self.data.train_images[rows], self.data.train_labels[rows]

    def __len__(self) -> int:
        return -(-len(self.data.train_labels) // self.size)


def perceptron(width: int, dropout: bool) -> nn.Sequential:
    """Two hidden layers, with dropout and shifted images or with neither."""
    layers: list[nn.Module] = [Shift(2)] if dropout else []
    layers += [nn.Flatten(), nn.Dropout(0.2 * dropout), nn.Linear(784, width), nn.ReLU()]
    layers += [nn.Dropout(0.5 * dropout), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Dropout(0.5 * dropout), nn.Linear(width, 10))


def distill(
    teacher: nn.Module,
    student: nn.Module,
    data: Data,
    loss: KDLoss,
    *,
    epochs: int,
    lr: float,
    seed: int,
    batch: int,
    weight_decay: float,
) -> None:
    """Train as `networks.train` does, but with a teacher."""
    batches = Batches(data, seed, batch)
    with tempfile.TemporaryDirectory() as folder:
        Distiller(
            teacher,
            student,
            loss=loss,
            optimizer=lambda p: torch.optim.SGD(
                p, lr, momentum=0.9, nesterov=True, weight_decay=weight_decay
            ),
            scheduler=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, epochs * len(batches)),
            scheduler_every="step",
            cache=Path(folder) / "outputs.safetensors",
        ).fit(batches, epochs)


def with_data(
    data: Data,
    seed: int,
    teacher: nn.Module,
    make_student: Callable[[], nn.Module],
    loss: KDLoss,
    *,
    teacher_epochs: int,
    epochs: int,
    lr: float,
    batch: int,
    weight_decay: float,
) -> Row:
    """Train a teacher, and its student from the same weights once on labels and once with the teacher."""
    networks.train(teacher, data, epochs=teacher_epochs, lr=lr, batch=batch, seed=seed)
    row = {"teacher": networks.evaluate(teacher, data)}
    report("teacher", seed, row["teacher"])
    options = {"epochs": epochs, "lr": lr, "batch": batch, "seed": seed, "weight_decay": weight_decay}
    for name in ("on labels", "distilled"):
        torch.manual_seed(seed + 100)
        student = make_student()
        if name == "on labels":
            networks.train(student, data, **options)  # type: ignore[arg-type]
        else:
            distill(teacher, student, data, loss, **options)  # type: ignore[arg-type]
        row[name] = networks.evaluate(student, data)
        report(name, seed, row[name])
    return row


def hinton(data: Data, seed: int, quick: bool) -> Row:
    """Distill Hinton's teacher."""
    torch.manual_seed(seed)
    teacher = perceptron(1200, dropout=True)
    return with_data(
        *(data, seed, teacher, lambda: perceptron(800, False), KDLoss(20.0, 0.9)),
        teacher_epochs=2 if quick else 16,
        epochs=2 if quick else 10,
        lr=0.1,
        batch=256,
        weight_decay=0.0,
    )


def half(data: Data, seed: int, quick: bool) -> Row:
    """Distill a residual network to half its width."""
    teacher = networks.build("SmallResNet", seed)

    def make() -> nn.Module:
        return student_like(teacher, 0.5).to(memory_format=torch.channels_last)

    return with_data(
        *(data, seed, teacher, make, KDLoss(3.0, 0.7)),
        teacher_epochs=1 if quick else 8,
        epochs=1 if quick else 8,
        lr=0.05,
        batch=128,
        weight_decay=5e-4,
    )


def free(data: Data, seed: int, quick: bool, samples: Path | None = None) -> Row:
    """Distill LeNet-5 to half its width from generated images alone."""
    teacher = networks.build("LeNet-5", seed)
    networks.train(teacher, data, epochs=2 if quick else 5, seed=seed)
    row = {"teacher": networks.evaluate(teacher, data)}
    report("teacher", seed, row["teacher"])
    torch.manual_seed(seed + 100)
    student = student_like(teacher, 0.5).to(memory_format=torch.channels_last)
    # What black and white pixels are after the teacher's normalization, which belongs to the teacher.
    limits = float(data.train_images.min()), float(data.train_images.max())
    generator = ImageGenerator((1, 28, 28), width=32, limits=limits).to(memory_format=torch.channels_last)
    steps = QUICK_STEPS if quick else 500
    DataFreeDistiller(
        *(teacher, student, generator),
        loss=nn.functional.l1_loss,
        one_hot=0.2,
        activation=0.0,
        adversarial=0.3,
        optimizer=lambda p: torch.optim.Adam(p, 5e-3),
        batch_size=128,
        student_steps=4,
        memory=8192,
        augment=ImageMixer(limits),
        samples=samples,
        samples_every=steps,
    ).fit(steps)
    row["distilled"] = networks.evaluate(student, data)
    report("distilled", seed, row["distilled"])
    return row


def report(what: str, seed: int, error: float) -> None:
    """Say on standard error how far it is."""
    print(f"seed {seed}, {what}: {error:.2f} %, {time.process_time():.0f} s of CPU time", file=sys.stderr)


EXPERIMENTS: dict[str, tuple[str, Callable[..., Row]]] = {
    "hinton": ("MNIST, 1200-1200 to 800-800", hinton),
    "half": ("Fashion-MNIST, SmallResNet to half its width", half),
    "free": ("MNIST, LeNet-5 to half its width, no data", free),
    "free-fashion": ("Fashion-MNIST, LeNet-5 to half its width, no data", free),
}
COLUMNS = ("teacher", "on labels", "distilled")


def spread(errors: list[float]) -> str:
    """Format the mean of several runs and how far they are apart."""
    return f"{statistics.mean(errors):.2f} ({min(errors):.2f} to {max(errors):.2f})"


def results(
    names: list[str], folder: Path, seeds: int, quick: bool, samples: Path | None
) -> Iterator[list[str]]:
    """Run the experiments; yields the rows of the table."""
    for name in names:
        title, run = EXPERIMENTS[name]
        if quick:
            title = title.replace("Fashion-MNIST", "MNIST")
        data = networks.load(networks.FASHION_MNIST if "Fashion" in title else folder)
        if quick:
            data = data.head(QUICK_IMAGES)
        if run is free:
            run = partial(run, samples=samples)
        rows = [run(data, seed, quick) for seed in range(seeds)]
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        if quick and max(columns["distilled"]) > CHANCE / 2:
            raise SystemExit(
                f"{title}: the student's error is {columns['distilled']} %, above {CHANCE / 2} %"
            )
        yield [title, *(spread(columns[key]) if key in columns else "" for key in COLUMNS)]


def main() -> None:
    """Print the table of results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    networks.add_arguments(parser)
    parser.add_argument("--only", choices=EXPERIMENTS, help="one experiment")
    parser.add_argument("--samples", type=Path, help="folder for the last run's generated images")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = (
        [arguments.only]
        if arguments.only
        else [n for n in EXPERIMENTS if not arguments.quick or n != "free-fashion"]
    )
    seeds = 1 if arguments.quick else arguments.seeds
    rows = results(names, arguments.data, seeds, arguments.quick, arguments.samples)
    print("\n".join(table(["", *(f"error % {column}" for column in COLUMNS)], rows)))


if __name__ == "__main__":
    main()
