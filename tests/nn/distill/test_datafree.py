"""`DataFreeDistiller`: its losses, what it leaves alone, and that it needs no data."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from tersor.nn.distill import (  # noqa: E402
    DataFreeDistiller,
    ImageGenerator,
    ImageMixer,
    KDLoss,
    StepReport,
    save_image_grid,
)

N_CLASSES = 3
SHAPE = (1, 8, 8)


class Spots:
    """Images with a bright spot at one of three places: a task small enough to be learned in a second."""

    @staticmethod
    def draw(n: int, seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(N_CLASSES, (n,), generator=generator)
        images = 0.3 * torch.randn(n, *SHAPE, generator=generator)
        for i, (row, column) in enumerate(((1, 1), (1, 5), (5, 3))):
            images[labels == i, :, row : row + 2, column : column + 2] += 2
        return (images - images.mean()) / images.std(), labels


def make_network(seed: int, width: int = 8) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * width, 16), nn.ReLU(), nn.Linear(16, N_CLASSES)),
    )


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    network = make_network(0)
    images, labels = Spots.draw(512, 0)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    return network.eval().state_dict()


@pytest.fixture
def teacher(trained: dict[str, Any]) -> nn.Sequential:
    network = make_network(0)
    network.load_state_dict(trained)
    return network


def make_generator(seed: int = 2) -> ImageGenerator:
    torch.manual_seed(seed)
    return ImageGenerator(SHAPE, 8, 8, n_doublings=1)


def accuracy(network: nn.Module) -> float:
    images, labels = Spots.draw(512, 1)
    with torch.no_grad():
        return float((network.eval()(images).argmax(1) == labels).float().mean())


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_a_student_learns_without_data_and_the_teacher_stays_as_it_was(
    teacher: nn.Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("data were read")

    monkeypatch.setattr(DataLoader, "__iter__", refuse)
    monkeypatch.setattr(Spots, "draw", refuse)
    teacher.train()
    before = state_of(teacher)
    student = make_network(1, 4).eval()
    distiller = DataFreeDistiller(
        *(teacher, student, make_generator()),
        loss=KDLoss(2.0, 1.0),
        adversarial=1.0,
        batch_norm=1.0,
        batch_size=64,
        student_steps=3,
        memory=512,
    )
    torch.manual_seed(3)
    reports = distiller.fit(60)
    monkeypatch.undo()
    assert [r.step for r in reports] == list(range(1, 61))
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(m.training for m in teacher.modules())
    assert not student.training
    assert all(p.requires_grad and p.grad is None for p in teacher.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in teacher.modules())
    assert accuracy(teacher) > 0.95
    assert accuracy(student) > 0.8  # chance is 0.33


def test_the_generators_losses_are_their_formulas(teacher: nn.Sequential) -> None:
    teacher.eval()
    student = make_network(1)
    images = Spots.draw(32, 5)[0]

    class Fixed(nn.Module):
        """A generator of always the same images."""

        def __init__(self) -> None:
            super().__init__()
            self.images = nn.Parameter(images.clone())

        def forward(self, noise: Tensor) -> Tensor:
            return self.images + 0

    with torch.no_grad():
        features = teacher[:7](images).double().numpy()
        inner = teacher[0](images).double().numpy()
        logits = teacher(images).double().numpy()
        theirs = student.train()(images).double().numpy()
    student = make_network(1)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    norm = teacher[1]
    expected = {
        "one_hot": -np.log(p.max(1)).mean(),
        "activation": -np.abs(features).mean(),
        "entropy": (p.mean(0) * np.log(p.mean(0))).sum(),
        "adversarial": -np.abs(theirs - logits).mean(),
        "batch_norm": np.linalg.norm(inner.mean((0, 2, 3)) - norm.running_mean.numpy())
        + np.linalg.norm(inner.var((0, 2, 3)) - norm.running_var.numpy()),
    }
    for features_layer in (None, "6"):
        (report,) = DataFreeDistiller(
            *(teacher, make_network(1), Fixed()),
            latent=4,
            batch_size=32,
            adversarial=1.0,
            batch_norm=1.0,
            features=features_layer,
        ).fit(1)
        assert report.generator == pytest.approx(expected, rel=1e-4)
    assert report.loss == pytest.approx(((theirs - logits) ** 2).mean(), rel=1e-4)


@pytest.mark.parametrize("name", ["one_hot", "activation", "entropy", "adversarial", "batch_norm"])
def test_the_generator_improves_each_loss(name: str, teacher: nn.Sequential) -> None:
    weights = dict.fromkeys(["one_hot", "activation", "entropy", "adversarial", "batch_norm"], 0.0)
    torch.manual_seed(0)
    reports = DataFreeDistiller(
        *(teacher, make_network(1), make_generator()),
        **(weights | {name: 1.0}),
        batch_size=32,
        optimizer=lambda p: torch.optim.SGD(p, 0.0),
        generator_optimizer=lambda p: torch.optim.Adam(p, 3e-3),
    ).fit(25)
    values = [r.generator[name] for r in reports]
    assert set(reports[0].generator) == {name}
    assert np.mean(values[-5:]) < np.mean(values[:5])


def test_a_student_of_another_dimension_or_an_odd_generator_is_refused(teacher: nn.Sequential) -> None:
    with pytest.raises(ValueError, match=r"shape \(64, 5\), the teacher's \(64, 3\)"):
        DataFreeDistiller(
            teacher, nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), make_generator(), batch_size=64
        ).fit(1)
    for shape in ((2, 8, 8), (1, 9, 12)):
        generator = ImageGenerator(shape, 8, 4, n_doublings=1)
        with pytest.raises(ValueError, match=r"does not take what the generator makes, \(8, \d, \d+, \d+\)"):
            DataFreeDistiller(teacher, make_network(1), generator, batch_size=8).fit(1)
    halves = nn.Sequential(
        make_generator(), nn.AvgPool3d((1, 1, 1), (1, 1, 1)), nn.Flatten(0, 1), nn.Unflatten(0, (4, -1))
    )
    with pytest.raises(ValueError, match="the generator made 4 images of 8 latent vectors"):
        DataFreeDistiller(teacher, make_network(1), halves, latent=8, batch_size=8).fit(1)
    with pytest.raises(ValueError, match=r"must return \[batch, classes\]"):
        DataFreeDistiller(nn.Conv2d(1, 2, 1), make_network(1), make_generator(), activation=0).fit(1)


def test_a_loss_that_is_no_number_stops_at_its_step(teacher: nn.Sequential, tmp_path: Path) -> None:
    student, generator = make_network(1), make_generator()
    path = tmp_path / "checkpoint"
    states: list[dict[str, Tensor]] = []
    n_calls = 0

    def loss(s: Tensor, t: Tensor) -> Tensor:
        nonlocal n_calls
        n_calls += 1
        return (s - t).square().mean() * (math.nan if n_calls == 3 else 1)

    distiller = DataFreeDistiller(
        *(teacher, student, generator),
        loss=loss,
        batch_size=16,
        checkpoint=path,
        checkpoint_every=2,
        progress=lambda report: states.append({n: p.clone() for n, p in student.named_parameters()}),
    )
    with pytest.raises(FloatingPointError, match="the student's loss is nan at step 3"):
        distiller.fit(9)
    assert all(torch.equal(states[-1][n], p) for n, p in student.named_parameters())
    assert torch.load(path, weights_only=True)["step"] == 2

    class Poisoned(nn.Module):
        latent_size = 4

        def forward(self, noise: Tensor) -> Tensor:
            return torch.full((16, *SHAPE), math.inf, requires_grad=True)

    with pytest.raises(FloatingPointError, match="the generator's loss 'one_hot' is nan at step 1"):
        DataFreeDistiller(
            *(teacher, student, Poisoned()),
            batch_size=16,
            generator_optimizer=torch.optim.SGD([torch.zeros(1)], 1),
        ).fit(1)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    teacher: nn.Sequential, tmp_path: Path
) -> None:
    def run(name: str, seed: int, *, resume: bool, stop: int = 99) -> tuple[Any, ...]:
        student, generator = make_network(seed), make_generator(seed)

        def progress(report: StepReport) -> None:
            if report.step == stop:
                raise InterruptedError

        distiller = DataFreeDistiller(
            *(teacher, student, generator),
            adversarial=0.5,
            batch_size=16,
            student_steps=2,
            memory=40,
            checkpoint=tmp_path / name,
            checkpoint_every=4,
            progress=progress,
        )
        torch.manual_seed(seed)
        return student, generator, distiller.fit(10, resume=resume)

    whole_student, whole_generator, whole = run("whole", 1, resume=False)
    with pytest.raises(InterruptedError):
        run("part", 1, resume=False, stop=6)
    student, generator, rest = run("part", 77, resume=True)
    assert rest == whole[4:]
    for a, b in ((whole_student, student), (whole_generator, generator)):
        assert all(
            torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
        )


def test_memory_keeps_the_latest_images_and_spares_the_teacher(teacher: nn.Sequential) -> None:
    n_seen: list[int] = []
    teacher.register_forward_hook(lambda m, args, output: n_seen.append(len(output)))
    distiller = DataFreeDistiller(
        *(teacher, make_network(1), make_generator()), batch_size=16, student_steps=5, memory=40
    )
    distiller.fit(4)
    assert n_seen == [16] * 4
    images, answers = distiller._memory.draw(64)
    with torch.no_grad():
        torch.testing.assert_close(teacher.eval()(images), answers, rtol=1e-4, atol=1e-5)
    assert len(torch.unique(images.flatten(1), dim=0)) <= 40


def test_augmented_images_are_what_the_teacher_answers_to(teacher: nn.Sequential) -> None:
    seen: list[Tensor] = []
    teacher.register_forward_hook(lambda m, args, output: seen.append(args[0].detach().clone()))
    DataFreeDistiller(
        *(teacher, make_network(1), make_generator()), batch_size=16, augment=lambda x: x.flip(3)
    ).fit(1)
    assert len(seen) == 2
    assert torch.equal(seen[1], seen[0].flip(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"student_steps": 0}, "student_steps must be at least 1"),
        ({"memory": -1}, "memory must not be negative"),
        ({"one_hot": 0, "activation": 0, "entropy": 0}, "all of the generator's losses have weight 0"),
        ({"generator": nn.Linear(8, 8)}, "latent is needed"),
        ({"teacher": nn.Linear(8, 2), "batch_norm": 1}, "batch_norm needs a teacher with BatchNorm layers"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "teacher": make_network(0),
        "student": make_network(1),
        "generator": make_generator(),
    }
    with pytest.raises(ValueError, match=message):
        DataFreeDistiller(**arguments | options)


def test_wrong_uses_of_fit(teacher: nn.Sequential) -> None:
    distiller = DataFreeDistiller(teacher, make_network(1), make_generator(), features="nine")
    for arguments, message in (
        ({"steps": 0}, "steps must be at least 1"),
        ({"steps": 1, "resume": True}, "resume needs a checkpoint"),
        ({"steps": 1}, "the teacher has no layer 'nine'"),
    ):
        with pytest.raises(ValueError, match=message):
            distiller.fit(**arguments)  # type: ignore[arg-type]
    bare = nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten())
    with pytest.raises(ValueError, match="features must name a layer"):
        DataFreeDistiller(bare, make_network(1), make_generator()).fit(1)


# ---- Images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 9, 14), (1, 1, 1)])
@pytest.mark.parametrize("n_doublings", [0, 1, 2, 3])
def test_generators_of_all_shapes(shape: tuple[int, int, int], n_doublings: int) -> None:
    generator = ImageGenerator(shape, 5, 4, n_doublings=n_doublings)
    images = generator(torch.randn(6, 5))
    assert images.shape == (6, *shape)
    images.square().sum().backward()
    assert all(p.grad is not None for p in generator.parameters())


def test_generated_images_have_the_scale_of_normalized_data() -> None:
    images = ImageGenerator((2, 8, 8), 5, 4)(torch.randn(64, 5)).double()
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(2).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(images.std((0, 2, 3)), torch.ones(2).double(), rtol=0, atol=1e-2)


def test_images_are_mixed_within_limits() -> None:
    torch.manual_seed(0)
    images = torch.arange(64.0).reshape(64, 1, 1, 1).expand(64, 2, 16, 12)
    plain = ImageMixer(contrast=0, brightness=0)(images)
    assert plain.shape == images.shape
    n_values = [len(image.unique()) for image in plain]
    assert set(n_values) == {1, 2}  # of itself or a blend, or that and a rectangle
    assert 10 < n_values.count(2) < 54
    own = plain[:, 0, 0, 0] == images[:, 0, 0, 0]
    assert 10 < own.sum() < 54
    assert plain.min() >= 0
    assert plain.max() <= 63
    mixed = ImageMixer((5, 50))(images)
    assert (mixed.min(), mixed.max()) == (5, 50)
    limited = ImageGenerator((1, 8, 8), 5, 4, limits=(-0.5, 0.75))(torch.randn(16, 5))
    assert (limited.min(), limited.max()) == (-0.5, 0.75)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageMixer(contrast=-1), "must not be negative"),
        (lambda: ImageGenerator((28, 28)), "shape must be"),  # type: ignore[arg-type]
        (lambda: ImageGenerator((1, 0, 28)), "shape must be"),
        (lambda: ImageGenerator((1, 8, 8), width=0), "must be positive"),
        (lambda: save_image_grid(torch.zeros(8, 8), "x.png"), r"must be \[n, channels, height, width\]"),
    ],
)
def test_wrong_shapes(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_grids_are_saved_as_png(teacher: nn.Sequential, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    images = torch.zeros(5, 1, 4, 6)
    images[1, 0, 2, 3] = 7
    save_image_grid(images, tmp_path / "grid.png", columns=3)
    with image.open(tmp_path / "grid.png") as grid:
        pixels = np.asarray(grid)
    assert pixels.shape == (10, 22, 3)
    assert pixels[2, 8 + 3].tolist() == [255] * 3
    assert (pixels[:4, :6] == 0).all()
    assert (pixels[:, 6:8] == 255).all()  # the gap
    save_image_grid(torch.rand(2, 3, 4, 4), tmp_path / "colour.png")

    distiller = DataFreeDistiller(
        *(teacher, make_network(1), make_generator()),
        batch_size=16,
        samples=tmp_path / "new/samples",
        samples_every=2,
    )
    distiller.fit(5)
    assert [p.name for p in sorted((tmp_path / "new/samples").iterdir())] == [
        "step-000002.png",
        "step-000004.png",
    ]
    with image.open(tmp_path / "new/samples/step-000004.png") as grid:
        assert grid.size == (8 * 10 - 2, 2 * 10 - 2)


def test_without_pillow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'tersor\[images\]'"):
        save_image_grid(torch.zeros(1, 1, 4, 4), tmp_path / "x.png")
