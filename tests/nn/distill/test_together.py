"""From a teacher to a file: distilled, pruned, quantized and stored, each step one call."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from tersor.nn import (  # noqa: E402
    DynamicPruner,
    QuantConfig,
    convert_,
    fake_quantize_,
)
from tersor.nn.compressed import CompressedModel  # noqa: E402
from tersor.nn.distill import Distiller, LogitsLoss, student_like  # noqa: E402


def rings(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points in the plane, among noise, and in which of three rings they are."""
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, :2].norm(dim=1) * 1.3).long().clamp_max(2)


def accuracy(network: nn.Module) -> float:
    x, y = rings(2000, 1)
    with torch.no_grad():
        return float((network.eval()(x).argmax(1) == y).float().mean())


def test_teacher_to_student_to_pruned_to_quantized_to_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x, y = rings(2000, 0)
    loader = list(zip(x.split(100), y.split(100), strict=True))
    teacher = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    optimizer = torch.optim.Adam(teacher.parameters(), 5e-3)
    for _ in range(8):
        for inputs, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(teacher(inputs), labels).backward()
            optimizer.step()

    student = student_like(teacher, 0.5)
    Distiller(teacher, student, loss=LogitsLoss()).fit(loader, 25)
    distilled = accuracy(student)

    dense = copy.deepcopy(student)
    pruner = DynamicPruner(student, 0.5, begin=0, end=60, frequency=5)
    Distiller(dense, student, loss=LogitsLoss(), after_step=pruner.step).fit(loader, 6)
    pruner.finalize()

    fake_quantize_(student, QuantConfig(4))
    Distiller(dense, student, loss=LogitsLoss()).fit(loader, 3)
    convert_(student)
    quantized = accuracy(student)
    CompressedModel.of(student).save(tmp_path / "network.safetensors")

    loaded = CompressedModel.load(tmp_path / "network.safetensors").to_module(student_like(teacher, 0.5))
    assert accuracy(teacher) > 0.85
    assert distilled > accuracy(teacher) - 0.05
    assert quantized > distilled - 0.05
    assert accuracy(loaded) == quantized
    weights = [p for p in loaded.state_dict().values() if p.dtype == torch.uint8 or p.dtype == torch.int8]
    assert weights
