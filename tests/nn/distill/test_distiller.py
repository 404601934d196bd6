"""`Distiller`: what it leaves alone, what it can do without, how it stops, and how it goes on."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

import tersor.checkpoint  # noqa: E402
from tersor.nn import DynamicPruner  # noqa: E402
from tersor.nn.distill import (  # noqa: E402
    AttentionLoss,
    BatchReport,
    DecoupledKDLoss,
    Distiller,
    FeatureLoss,
    Hint,
    KDLoss,
    LogitsLoss,
    MultiTeacherLoss,
    RegressionLoss,
    TeacherLoss,
)

N_CLASSES = 3


def make_teacher(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, N_CLASSES)
    )


def make_student(seed: int = 1) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.ReLU(), nn.Linear(6, N_CLASSES)
    )


X = torch.randn(96, 8, generator=torch.Generator().manual_seed(0))
Y = X[:, :N_CLASSES].argmax(1)


def batches(size: int = 16) -> list[tuple[Tensor, Tensor]]:
    return list(zip(X.split(size), Y.split(size), strict=True))


def shuffled(size: int = 16) -> DataLoader[Any]:
    return DataLoader(TensorDataset(X, Y), size, shuffle=True)


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_same(a: nn.Module, b: nn.Module) -> None:
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


def sgd(lr: float = 0.05) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, lr, momentum=0.9)


# ---- The teacher ------------------------------------------------------------------------------------


def test_student_learns_the_teacher_and_the_teacher_stays_as_it_was() -> None:
    teacher, student = make_teacher().train(), make_student().eval()
    teacher[1].eval()
    teacher[0].weight.requires_grad_(False)
    before = state_of(teacher)
    modes = [m.training for m in teacher.modules()]
    seen: list[bool] = []
    handle = teacher.register_forward_hook(lambda *_: seen.append(any(m.training for m in teacher.modules())))
    reports = Distiller(teacher, student, loss=LogitsLoss()).fit(shuffled(), 20)
    handle.remove()
    assert reports[-1].loss < reports[0].loss / 2
    assert seen
    assert not any(seen)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert [m.training for m in teacher.modules()] == modes
    assert [p.requires_grad for p in teacher.parameters()] == [False, *[True] * 5]
    assert all(p.grad is None for p in teacher.parameters())
    assert not any(m.training for m in student.modules())
    assert not any(m._forward_hooks for net in (teacher, student) for m in net.modules())


def test_a_teacher_that_goes_back_into_train_mode_is_refused() -> None:
    teacher = make_teacher()

    def validate(student: nn.Module) -> float:
        teacher.train()
        return 0.0

    with pytest.raises(RuntimeError, match=r"the teacher is in train mode .*undid its eval"):
        Distiller(teacher, make_student(), validate=validate).fit(batches(), 2)


def test_shared_weights_are_refused() -> None:
    teacher = make_teacher()
    student = nn.Sequential(teacher[0], nn.Linear(16, N_CLASSES))
    with pytest.raises(ValueError, match=r"share the parameter '0.weight'"):
        Distiller(teacher, student)


def test_the_teachers_state_is_restored_after_an_error() -> None:
    teacher = make_teacher().train()

    def progress(report: BatchReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Distiller(teacher, make_student(), progress=progress).fit(batches())
    assert teacher.training
    assert all(p.requires_grad for p in teacher.parameters())


def test_several_teachers() -> None:
    teachers = [make_teacher(seed) for seed in (3, 4)]
    loss = MultiTeacherLoss(KDLoss(alpha=1.0), [1, 0])
    many, one = make_student(), make_student()
    torch.manual_seed(5)
    Distiller(teachers, many, loss=loss, hints=[Hint("3", "1.2", FeatureLoss(), 0.0)]).fit(batches(), 2)
    assert not any(m._forward_hooks for t in teachers for m in t.modules())
    torch.manual_seed(5)
    Distiller(teachers[0], one, loss=KDLoss(alpha=1.0)).fit(batches(), 2)
    for a, b in zip(many.parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match="the teachers' outputs differ in shape"):
        Distiller([make_teacher(), nn.Linear(8, 4)], make_student()).fit(batches())


# ---- Batches -----------------------------------------------------------------------------------------


class Keywords(nn.Module):
    """A network in the manner of transformers: keyword arguments in, an object with logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, N_CLASSES)

    def forward(self, x: Tensor, scale: Tensor) -> Any:
        class Output:
            logits = self.layer(x) * scale

        return Output()


def test_batches_may_be_tensors_pairs_or_mappings() -> None:
    teacher = make_teacher()
    for batch in (X, (X,), [X]):
        Distiller(teacher, make_student(), loss=KDLoss(alpha=1.0)).fit([batch])
    Distiller(teacher, make_student()).fit([(X, Y)])
    batch = {"x": X, "scale": torch.ones(len(X), 1), "labels": Y}
    Distiller(Keywords(), Keywords()).fit([batch])
    Distiller(teacher, make_student(), unpack=lambda b: (b[1], b[0])).fit([(Y, X, "more")])
    with pytest.raises(ValueError, match="pass unpack"):
        Distiller(teacher, make_student()).fit([(X, Y, Y)])


def test_labels_are_needed_only_where_the_loss_needs_them() -> None:
    with pytest.raises(ValueError, match=r"the batch has no labels, .* because alpha is 0\.9"):
        Distiller(make_teacher(), make_student()).fit([X])
    with pytest.raises(ValueError, match="no labels"):
        Distiller(make_teacher(), make_student(), loss=DecoupledKDLoss()).fit([X])


def test_regression() -> None:
    teacher, student = nn.Linear(8, 2), nn.Linear(8, 2)
    targets = teacher(X).detach()
    loss = RegressionLoss(0.5, "huber")
    reports = Distiller(teacher, student, loss=loss, optimizer=sgd()).fit([(X, targets)], 200)
    assert reports[-1].loss < 0.01 * reports[0].loss


def test_empty_loaders_and_spent_iterators() -> None:
    hint = [Hint("3", "2", FeatureLoss())]
    for hints in ([], hint):
        with pytest.raises(ValueError, match=r"the loader has no batches$"):
            Distiller(make_teacher(), make_student(), hints=hints).fit([])
        with pytest.raises(ValueError, match="no batches in epoch 2: an iterator can be read only once"):
            Distiller(make_teacher(), make_student(), hints=hints).fit(iter(batches()), 2)
        (report,) = Distiller(make_teacher(), make_student(), hints=hints).fit(iter(batches()))
        assert report.step == 6


def test_class_counts_must_agree() -> None:
    with pytest.raises(ValueError, match=r"shape \(16, 5\), the teacher's \(16, 3\)"):
        Distiller(make_teacher(), nn.Linear(8, 5)).fit(batches())


# ---- Steps -------------------------------------------------------------------------------------------


def plain_student() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, N_CLASSES))


@pytest.mark.parametrize("size", [32, 20])
def test_accumulated_batches_are_one_large_batch(size: int) -> None:
    large, small = plain_student(), plain_student()
    teacher = make_teacher()
    reports = Distiller(teacher, large, optimizer=sgd()).fit([(X, Y)], 3)
    pieces = Distiller(teacher, small, optimizer=sgd(), accumulate=99).fit(batches(size), 3)
    for a, b in zip(large.parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert pieces[-1].step == reports[-1].step == 3
    assert pieces[-1].loss == pytest.approx(reports[-1].loss, rel=1e-5)


def test_the_loss_is_trained_with_plain_steps() -> None:
    # The same as a loop that anyone would write.
    teacher, student, other = make_teacher().eval(), plain_student(), plain_student()
    Distiller(teacher, student, loss=KDLoss(2.0, 0.5), optimizer=sgd()).fit(batches(), 2)
    optimizer = torch.optim.SGD(other.parameters(), 0.05, momentum=0.9)
    for _ in range(2):
        for x, y in batches():
            optimizer.zero_grad()
            KDLoss(2.0, 0.5)(other(x), teacher(x), y).backward()
            optimizer.step()
    assert_same(student, other)


def test_mixed_precision_comes_close_to_full() -> None:
    full, mixed = plain_student(), plain_student()
    teacher = make_teacher()
    dtypes: list[torch.dtype] = []
    mixed[0].register_forward_hook(lambda m, a, output: dtypes.append(output.dtype))
    expected = Distiller(teacher, full, optimizer=sgd()).fit(batches(), 5)[-1].loss
    reports = Distiller(teacher, mixed, optimizer=sgd(), amp=torch.bfloat16).fit(batches(), 5)
    assert set(dtypes) == {torch.bfloat16}
    assert mixed[0].weight.dtype == torch.float32
    assert reports[-1].loss == pytest.approx(expected, rel=0.05)


def test_gradients_are_clipped_and_after_step_sees_them() -> None:
    student = plain_student()
    norms: list[float] = []

    def after_step() -> None:
        norms.append(float(torch.cat([p.grad.flatten() for p in student.parameters()]).norm()))

    Distiller(make_teacher(), student, max_norm=0.01, after_step=after_step).fit(batches())
    assert len(norms) == 6
    assert max(norms) <= 0.01 * 1.001


def test_after_step_keeps_a_pruned_network_pruned() -> None:
    dense = make_teacher()
    pruned = copy.deepcopy(dense)
    mask = pruned[0].weight.abs() > pruned[0].weight.abs().median()

    def prune() -> None:
        with torch.no_grad():
            pruned[0].weight.mul_(mask)

    prune()
    reports = Distiller(dense, pruned, loss=LogitsLoss(), after_step=prune).fit(shuffled(), 20)
    assert reports[-1].loss < reports[0].loss
    assert (pruned[0].weight == 0).sum() == (~mask).sum()


def test_the_dense_network_teaches_its_pruned_self() -> None:
    dense = make_teacher()
    network = copy.deepcopy(dense)
    pruner = DynamicPruner(network, 0.75, begin=0, end=60, frequency=5)
    reports = Distiller(dense, network, loss=LogitsLoss(), after_step=pruner.step).fit(shuffled(), 20)
    pruner.finalize()
    weights = [p for p in network.parameters() if p.dim() > 1]
    n_zero = sum(int((w == 0).sum()) for w in weights)
    assert n_zero / sum(w.numel() for w in weights) == pytest.approx(0.75, abs=0.01)
    assert reports[-1].loss < min(r.loss for r in reports[8:11])  # it recovers from the last pruning


def test_teacher_loss_serves_other_loops() -> None:
    network = make_teacher().train()
    loss = TeacherLoss(network, KDLoss(alpha=1.0))
    network[1].eval()
    network[3].eval()
    assert float(loss(network(X), X).detach()) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        network[0].weight.zero_()
    assert float(loss(network(X), X).detach()) > 0.01
    assert network.training


def test_schedule_by_epoch_and_by_step() -> None:
    for every, expected in (("epoch", 0.05 * 0.5**2), ("step", 0.05 * 0.5**12)):
        distiller = Distiller(
            make_teacher(),
            make_student(),
            optimizer=sgd(),
            scheduler=lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.5),
            scheduler_every=every,  # type: ignore[arg-type]
        )
        distiller.fit(batches(), 2)
        assert distiller.optimizer is not None
        assert distiller.optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def test_progress_reports_every_update() -> None:
    seen: list[BatchReport] = []
    hints = [Hint("3", "2", FeatureLoss(), 0.5)]
    distiller = Distiller(make_teacher(), make_student(), hints=hints, progress=seen.append)
    reports = distiller.fit(batches(), 2)
    assert [(r.epoch, r.step) for r in seen] == [(1 + i // 6, i + 1) for i in range(12)]
    for report in (*seen, *reports):
        assert report.terms.keys() == {"output", "3/2"}
        assert report.loss == pytest.approx(report.terms["output"] + 0.5 * report.terms["3/2"], rel=1e-5)
    assert reports[1].loss == pytest.approx(np.mean([r.loss for r in seen[6:]]), rel=1e-5)


# ---- Hints -------------------------------------------------------------------------------------------


def convolutions(width: int) -> nn.Sequential:
    torch.manual_seed(width)
    return nn.Sequential(
        *(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3), nn.Flatten()),
        nn.LazyLinear(N_CLASSES),
    )


def test_hints_pull_features_together_and_adapters_are_trained() -> None:
    images = torch.randn(64, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    teacher, student = convolutions(12), convolutions(4)
    for network in (teacher, student):
        network(images)
    feature, attention = FeatureLoss(), AttentionLoss()
    hints = [Hint("1", "1", feature), Hint("2", "2", attention, 10.0)]
    distiller = Distiller(teacher, student, loss=LogitsLoss(), hints=hints)
    first: dict[str, Tensor] = {}

    def progress(report: BatchReport) -> None:
        first.setdefault("weight", feature.adapter.weight.detach().clone())  # type: ignore[union-attr, operator]

    distiller.progress = progress
    reports = distiller.fit([images], 150)
    assert reports[-1].terms["1/1"] < 0.7 * reports[0].terms["1/1"]
    assert reports[-1].terms["2/2"] < reports[0].terms["2/2"]
    assert not torch.equal(feature.adapter.weight, first["weight"])  # type: ignore[union-attr, arg-type]
    assert set(dict(student.named_modules())) == set(dict(convolutions(4).named_modules()))


def test_missing_layers_are_named_with_what_is_close() -> None:
    teacher = nn.Sequential()
    teacher.add_module("block1", nn.Linear(8, N_CLASSES))
    with pytest.raises(ValueError, match="the teacher has no layer 'block2'; there are 'block1'"):
        Distiller(teacher, make_student(), hints=[Hint("0", "block2", FeatureLoss())])
    with pytest.raises(ValueError, match="the student has no layer 'conv'"):
        Distiller(teacher, make_student(), hints=[Hint("conv", "block1", FeatureLoss())])


def test_a_layer_that_does_not_run_is_named() -> None:
    class Unused(nn.Linear):
        def __init__(self) -> None:
            super().__init__(8, N_CLASSES)
            self.spare = nn.Linear(2, 2)

    with pytest.raises(ValueError, match="the student's layer 'spare' did not run"):
        Distiller(make_teacher(), Unused(), hints=[Hint("spare", "2", FeatureLoss())]).fit(batches())


def test_looking_at_a_batch_for_adapters_leaves_no_trace() -> None:
    # A hint of weight 0 must not change anything: no random number, no running mean.
    plain, hinted = make_student(), make_student()
    for student, hints in ((plain, []), (hinted, [Hint("3", "2", FeatureLoss(), 0.0)])):
        torch.manual_seed(7)
        Distiller(make_teacher(), student, hints=hints, optimizer=sgd()).fit(shuffled(), 2)
    assert_same(plain, hinted)


# ---- The cache ---------------------------------------------------------------------------------------


class Counting(nn.Module):
    """A teacher that counts the samples it sees."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher
        self.n_seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n_seen += len(x)
        return self.teacher(x)


def test_cached_outputs_give_the_same_student_and_spare_the_teacher(tmp_path: Path) -> None:
    teacher = Counting(make_teacher())
    plain, cached, alone = make_student(), make_student(), make_student()
    path = tmp_path / "outputs.safetensors"
    for student, who, cache in ((plain, teacher, None), (cached, teacher, path), (alone, None, path)):
        teacher.n_seen = 0
        torch.manual_seed(3)
        Distiller(who, student, cache=cache).fit(shuffled(), 3)
        assert teacher.n_seen == (96 * 3 if cache is None else 96 if who else 0)
    for student in (cached, alone):
        for a, b in zip(plain.parameters(), student.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    tensors = tersor.checkpoint.load_file(path)
    assert tersor.checkpoint.is_compressed(path)
    assert tensors["outputs"].shape == (96, N_CLASSES)
    expected = teacher.teacher.eval()(X).detach().numpy()
    np.testing.assert_allclose(np.sort(tensors["outputs"], 0), np.sort(expected, 0), rtol=1e-5)


def test_a_cache_knows_its_teacher(tmp_path: Path) -> None:
    path = tmp_path / "outputs.safetensors"
    Distiller(make_teacher(), make_student(), cache=path).fit(batches())
    with pytest.raises(ValueError, match="another teacher"):
        Distiller(make_teacher(9), make_student(), cache=path)
    tersor.checkpoint.save_file({"keys": np.zeros((2, 16), np.uint8)}, path)
    with pytest.raises(ValueError, match="no cache of a teacher's outputs"):
        Distiller(None, make_student(), cache=path)


def test_a_cache_has_to_be_complete_without_a_teacher(tmp_path: Path) -> None:
    path = tmp_path / "outputs.safetensors"
    with pytest.raises(ValueError, match="does not exist"):
        Distiller(None, make_student(), cache=path)
    Distiller(make_teacher(), make_student(), cache=path).fit(batches()[:2])
    with pytest.raises(ValueError, match="16 of 16 samples are not in the cache, and there is no teacher"):
        Distiller(None, make_student(), cache=path).fit(batches())


def test_inputs_that_change_at_random_are_no_use_to_a_cache(tmp_path: Path) -> None:
    class Augmented:
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            for x, y in batches():
                yield x + torch.randn_like(x), y

    with pytest.raises(ValueError, match="no sample of epoch 2 was in the cache"):
        Distiller(make_teacher(), make_student(), cache=tmp_path / "outputs").fit(Augmented(), 2)


def test_a_cache_excludes_hints(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hints need the teacher's features"):
        Distiller(make_teacher(), make_student(), cache=tmp_path / "x", hints=[Hint("0", "0", FeatureLoss())])


# ---- Stopping and going on ---------------------------------------------------------------------------


def test_early_stopping_takes_the_best_epoch() -> None:
    student = make_student()
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    states: list[dict[str, Tensor]] = []

    def validate(network: nn.Module) -> float:
        assert network is student
        assert not network.training
        assert not torch.is_grad_enabled()
        states.append(state_of(network))
        return next(scores)

    reports = Distiller(make_teacher(), student, validate=validate, patience=2).fit(batches(), 10)
    assert [r.score for r in reports] == [0.1, 0.5, 0.4, 0.3]
    assert all(torch.equal(value, states[1][name]) for name, value in student.state_dict().items())


def test_a_score_must_be_a_number() -> None:
    with pytest.raises(ValueError, match="validate returned nan after epoch 1"):
        Distiller(make_teacher(), make_student(), validate=lambda s: math.nan).fit(batches())


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path) -> None:
    def distiller(student: nn.Module, path: Path) -> Distiller:
        return Distiller(
            make_teacher(),
            student,
            hints=[Hint("3", "2", FeatureLoss(), 0.1)],
            scheduler=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 30),
            scheduler_every="step",
            validate=lambda s: -float(nn.functional.cross_entropy(s(X), Y)),
            patience=99,
            checkpoint=path,
        )

    torch.manual_seed(11)
    whole = make_student()
    torch.manual_seed(11)
    expected = distiller(whole, tmp_path / "whole").fit(shuffled(), 5)

    class Stop(Exception):  # noqa: N818
        pass

    def stop(report: BatchReport) -> None:
        if report.epoch == 3:
            raise Stop

    interrupted = make_student()
    torch.manual_seed(11)
    first = distiller(interrupted, tmp_path / "part")
    first.progress = stop
    with pytest.raises(Stop):
        first.fit(shuffled(), 5)

    resumed = make_student(99)
    torch.manual_seed(99)
    reports = distiller(resumed, tmp_path / "part").fit(shuffled(), 5, resume=True)
    assert reports == expected
    assert_same(whole, resumed)
    again = make_student(98)
    assert distiller(again, tmp_path / "part").fit(shuffled(), 5, resume=True) == expected
    assert_same(whole, again)


def test_a_loaders_own_generator_is_resumed(tmp_path: Path) -> None:
    def run(student: nn.Module, epochs: int, seed: int, resume: bool) -> Any:
        loader = DataLoader(
            TensorDataset(X, Y), 16, shuffle=True, generator=torch.Generator().manual_seed(seed)
        )
        path = tmp_path / "checkpoint"
        return Distiller(make_teacher(), student, checkpoint=path).fit(loader, epochs, resume=resume)

    whole, part = plain_student(), plain_student()
    expected = run(whole, 3, 5, False)
    run(part, 1, 5, False)
    assert run(part, 3, 6, True) == expected
    assert_same(whole, part)


def test_a_loss_that_is_no_number_stops_before_the_weights(tmp_path: Path) -> None:
    student = plain_student()
    path = tmp_path / "checkpoint"
    states: list[dict[str, Tensor]] = []

    def poison(report: BatchReport) -> None:
        states.append(state_of(student))

    data = batches()
    distiller = Distiller(make_teacher(), student, checkpoint=path, progress=poison)
    distiller.fit(data)
    saved = path.read_bytes()
    data[4] = (torch.full_like(X[:16], math.nan), Y[:16])
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step 5 \(epoch 1\)"):
        distiller.fit(data)
    assert all(torch.equal(value, states[-1][name]) for name, value in student.state_dict().items())
    assert path.read_bytes() == saved


def test_checkpoints_of_other_things_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    torch.save({"weights": torch.ones(3)}, path)
    with pytest.raises(ValueError, match="no checkpoint of a Distiller"):
        Distiller(make_teacher(), make_student(), checkpoint=path).fit(batches(), resume=True)
    with pytest.raises(ValueError, match="resume needs a checkpoint"):
        Distiller(make_teacher(), make_student()).fit(batches(), resume=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least 1"),
        ({"amp": torch.float64}, "amp must be"),
        ({"patience": 3}, "patience needs validate"),
        ({"scheduler_every": "day"}, "scheduler_every must be"),
        ({"teacher": None}, "without a teacher there must be a cache"),
        ({"teacher": []}, "there are no teachers"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Distiller(**{"teacher": make_teacher(), "student": make_student(), **options})
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        Distiller(make_teacher(), make_student()).fit(batches(), 0)


# ---- Several processes -------------------------------------------------------------------------------

WORKER = """
import sys, os, torch
import torch.distributed as dist
from test_distiller import X, Y, Distiller, FeatureLoss, Hint, make_teacher, plain_student, sgd
torch.set_num_threads(1)
dist.init_process_group("gloo")
rank = dist.get_rank()
folder = sys.argv[1]
half = [(x[rank::2], y[rank::2]) for x, y in zip(X.split(32), Y.split(32))]
student = plain_student()
if rank:  # the first process's weights count
    student[0].weight.data.zero_()
steps = []
options = dict(optimizer=sgd(), checkpoint=folder + "/checkpoint", progress=steps.append)
hints = [Hint("1", "2", FeatureLoss(), 0.0)]
reports = Distiller(make_teacher(), student, hints=hints, accumulate=2, **options).fit(half, 2)
cached = plain_student()
options |= dict(cache=folder + "/outputs", validate=lambda s: float(rank))
Distiller(make_teacher(), cached, **options).fit(half, 2)
assert len(steps) == (0 if rank else 2 * 2 + 2 * 3), steps
torch.save([student.state_dict(), cached.state_dict(), tuple(reports[-1])], f"{folder}/{rank}.pt")
half[1] = (half[1][0] * (1 if rank else float("nan")), half[1][1])
try:
    Distiller(make_teacher(), student).fit(half)
except FloatingPointError as error:
    assert "step 2" in str(error)
else:
    raise AssertionError("every process must stop")
dist.destroy_process_group()
"""


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*command, str(script), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr[-3000:]
    (first, first_cached, first_report), (second, second_cached, second_report) = (
        torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)
    )
    assert first_report == second_report
    alone, cached = plain_student(), plain_student()
    report = Distiller(make_teacher(), alone, optimizer=sgd(), accumulate=2).fit(batches(32), 2)[-1]
    Distiller(make_teacher(), cached, optimizer=sgd()).fit(batches(32), 2)
    assert first_report[2] == pytest.approx(report.loss, rel=1e-5)
    for ours, others in ((alone, (first, second)), (cached, (first_cached, second_cached))):
        for name, value in ours.state_dict().items():
            for other in others:
                torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6)
    assert tersor.checkpoint.load_file(tmp_path / "outputs")["outputs"].shape == (96, N_CLASSES)
