"""Students made of teachers by `student_like`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import Tensor, nn  # noqa: E402

from tersor.nn.distill import student_like  # noqa: E402


class Block(nn.Module):
    """A residual block as ResNets have it."""

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.shortcut = nn.Conv2d(n_in, n_out, 1, stride) if stride > 1 or n_in != n_out else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.stage1 = nn.Sequential(*[Block(16, 16) for _ in range(4)])
        self.stage2 = nn.Sequential(Block(16, 32, 2), Block(32, 32), Block(32, 32), Block(32, 32))
        self.classes = nn.Linear(32, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage2(self.stage1(self.stem(x)))
        return self.classes(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Branches(nn.Module):
    """Concatenation, depthwise and grouped convolutions, other norms, a gate, and a skip to the output."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 12, 1), nn.Conv2d(3, 20, 3, padding=1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.point = nn.Conv2d(32, 24, 1)
        self.grouped = nn.Conv2d(24, 24, 1, groups=4)
        self.norm = nn.GroupNorm(3, 24)
        self.gate = nn.Conv2d(24, 24, 1)
        self.up = nn.ConvTranspose2d(24, 10, 2, stride=2)
        self.hidden = nn.Linear(10, 40)
        self.layer_norm = nn.LayerNorm(40)
        self.classes = nn.Linear(40, 5)
        self.skip = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.left(x), F.relu(self.right(x))], dim=1)
        x = self.norm(self.grouped(self.point(self.depthwise(x))))
        x = x * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        x = self.up(x).mean((2, 3))
        return self.classes(self.layer_norm(self.hidden(x).relu())) + self.skip(x)


IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_width_of_a_sequential() -> None:
    teacher = nn.Sequential(
        *(nn.Conv2d(3, 20, 3), nn.BatchNorm2d(20), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(180, 50), nn.BatchNorm1d(50), nn.Dropout(), nn.Linear(50, 10)),
    )
    student: Any = student_like(teacher, 0.5, example=IMAGE)
    assert [student[i].weight.shape for i in (0, 5, 8)] == [(10, 3, 3, 3), (25, 90), (10, 25)]
    assert student[1].running_mean.tolist() == [0] * 10
    assert student(IMAGE).shape == (2, 10)


def test_width_of_a_resnet_keeps_sums_in_step() -> None:
    teacher = ResNet()
    student: Any = student_like(teacher, 0.25, example=IMAGE)
    assert isinstance(student, ResNet)
    assert student.stem.out_channels == student.stage1[3].conv2.out_channels == 4
    assert student.stage2[0].shortcut.out_channels == student.stage2[3].bn2.num_features == 8
    assert student.classes.in_features == 8
    assert student.classes.out_features == 7


def test_depth_of_a_resnet_drops_repeated_blocks() -> None:
    student: Any = student_like(ResNet(), depth=0.5, example=IMAGE)
    assert [len(student.stage1), len(student.stage2)] == [2, 2]
    assert student.stage2[0].shortcut is not None
    assert student.stem.out_channels == 16
    shallowest: Any = student_like(ResNet(), depth=0.1, example=IMAGE)
    assert [len(shallowest.stage1), len(shallowest.stage2)] == [1, 1]


def test_depth_of_a_perceptron_drops_pairs_and_keeps_names() -> None:
    layers = [m for _ in range(3) for m in (nn.Linear(30, 30), nn.ReLU())]
    teacher = nn.Sequential(nn.Linear(8, 30), nn.ReLU(), *layers, nn.Linear(30, 4))
    student = student_like(teacher, 0.5, 0.4, example=torch.randn(2, 8))
    shapes = {name: tuple(p.shape) for name, p in student.named_parameters() if p.dim() > 1}
    assert shapes == {"0.weight": (15, 8), "2.weight": (15, 15), "8.weight": (4, 15)}


def test_branches_groups_and_gates() -> None:
    student: Any = student_like(Branches(), 0.5, example=IMAGE)
    assert (student.left.out_channels, student.right.out_channels) == (6, 10)
    assert student.depthwise.groups == student.depthwise.out_channels == student.point.in_channels == 16
    assert student.grouped.weight.shape == (12, 3, 1, 1)
    assert student.up.weight.shape == (12, 5, 2, 2)
    assert student.layer_norm.normalized_shape == (20,)
    assert student.skip.out_features == student.classes.out_features == 5


def test_channels_are_multiples_of_the_divisor_and_of_groups() -> None:
    student: Any = student_like(Branches(), 0.4, divisor=8, example=IMAGE)
    assert student.left.out_channels == student.right.out_channels == 8
    assert student.grouped.out_channels == 24  # of 24, a multiple of 8, of 4 groups and of GroupNorm's 3


def test_the_student_is_fresh_and_the_teacher_untouched() -> None:
    teacher = ResNet().eval().requires_grad_(False)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    for student in (student_like(teacher, 0.5), student_like(teacher, depth=0.5)):
        assert all(p.requires_grad for p in student.parameters())
        assert not any(m.training for m in student.modules())
        own = dict(student.named_parameters())
        assert all(
            own[n].shape != p.shape or not p.equal(own[n])
            for n, p in teacher.named_parameters()
            if n in own and p.dim() > 1
        )
    assert all(value.equal(before[name]) for name, value in teacher.state_dict().items())
    assert not any(p.requires_grad for p in teacher.parameters())


def test_a_layer_used_twice_keeps_its_channels_equal() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again, self.last = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.again(self.again(self.first(x).relu()).relu()))

    student: Any = student_like(Twice(), 0.5, example=torch.randn(2, 6))
    assert student.again.weight.shape == (6, 6)


class Code(nn.Module):
    """A network of a function, to try what the function does."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **layers: Any) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self._function = function

    def forward(self, x: Tensor) -> Tensor:
        return self._function(self, x)


def _branching(m: Any, x: Tensor) -> Tensor:
    return m.a(x) if x.sum() > 0 else -m.a(x)


LINEAR = nn.Linear(6, 8)
REFUSED: list[tuple[nn.Module, str]] = [
    (Code(_branching, a=LINEAR), "torch.fx can't follow Code: symbolically traced variables"),
    (nn.Sequential(nn.Linear(6, 8), nn.LSTM(8, 4)), "the layer '1': layers of type LSTM"),
    (Code(lambda m, x: m.a(x).view(-1, 4, 2), a=LINEAR), "the operation 'view'.*in the code"),
    (Code(lambda m, x: m.a(x) @ m.w, a=LINEAR, w=nn.Parameter(torch.ones(8, 2))), "the parameter 'w'"),
    (Code(lambda m, x: m.a(x).sort(1)[0], a=LINEAR), "the operation 'sort': it is not understood"),
    (Code(lambda m, x: m.b(m.a(x)), a=LINEAR, b=nn.Linear(7, 2)), "'b': it takes 7 channels where 8"),
    (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 8)), nn.Linear(8, 2)), "parametrized"),
    (nn.Sequential(nn.Conv2d(3, 8, 1), nn.Flatten(2), nn.Linear(9, 2)), "only flattening of all dimensions"),
    (nn.Sequential(nn.Linear(6, 8), nn.PReLU(8), nn.Linear(8, 2)), "type PReLU are not understood"),
]


@pytest.mark.parametrize(("teacher", "message"), REFUSED)
def test_what_cannot_be_thinned_is_named(teacher: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        student_like(teacher, 0.5)


def test_wrong_arguments() -> None:
    teacher = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    for arguments in ({"width": 0}, {"width": 1.5}, {"depth": -1}, {"divisor": 0}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            student_like(teacher, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="repeated blocks, of which the teacher has none"):
        student_like(teacher, depth=0.5)
    with pytest.raises(ValueError, match="the teacher does not take the example"):
        student_like(teacher, 0.5, example=torch.randn(2, 5))
