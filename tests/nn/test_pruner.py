"""`DynamicPruner`: which weights are dropped, when, and that they stay so."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn.utils import prune as torch_prune  # noqa: E402

from tersor.nn import DynamicPruner, PruneByThreshold  # noqa: E402

X = torch.randn(64, 12, generator=torch.Generator().manual_seed(1))
Y = torch.randint(0, 5, (64,), generator=torch.Generator().manual_seed(2))


def make_model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 33), nn.ReLU(), nn.Linear(33, 17), nn.Tanh(), nn.Linear(17, 5))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    pruner: DynamicPruner | None,
    steps: int,
    check: Callable[[], None] = lambda: None,
) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), Y).backward()
        optimizer.step()
        if pruner is not None:
            pruner.step()
        check()


def weights(model: nn.Module) -> list[Tensor]:
    return [m.weight for m in model.modules() if isinstance(m, nn.Linear)]


def n_zero(model: nn.Module) -> int:
    return sum(int((w == 0).sum()) for w in weights(model))


N = sum(w.numel() for w in weights(make_model()))


# ---- The target is met ---------------------------------------------------------------------------


@pytest.mark.parametrize("importance", ["magnitude", "gradient", "taylor", "movement"])
@pytest.mark.parametrize("regrow", [False, "surgery", "gradient"])
@pytest.mark.parametrize("optimizer", [sgd, adam])
def test_sparsity_is_met_to_one_weight(importance: str, regrow: bool | str, optimizer: Any) -> None:
    model = make_model()
    pruner = DynamicPruner(model, 0.837, importance=importance, regrow=regrow, end=20, frequency=3)
    train(model, optimizer(model), pruner, 25)
    pruner.finalize()
    assert n_zero(model) == round(0.837 * N)
    assert pruner.sparsity() == round(0.837 * N) / N


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
def test_each_layer_meets_its_own_target(importance: str) -> None:
    model = make_model()
    scope = {"0": 0.9, "4": 0.25}
    pruner = DynamicPruner(model, 0.5, scope=scope, importance=importance, end=9, frequency=2)
    train(model, sgd(model), pruner, 10)
    for name, share in {"0": 0.9, "2": 0.5, "4": 0.25}.items():
        weight = model.get_submodule(name).weight
        assert int((weight == 0).sum()) == round(share * weight.numel())
        assert pruner.layer_sparsities()[name] == round(share * weight.numel()) / weight.numel()


def test_layer_scope_gives_every_layer_the_same_share() -> None:
    model = make_model()
    pruner = DynamicPruner(model, 0.8, scope="layer", schedule="one-shot")
    train(model, sgd(model), pruner, 1)
    assert [int((w == 0).sum()) for w in weights(model)] == [round(0.8 * w.numel()) for w in weights(model)]


@pytest.mark.parametrize("regrow", [True, False])
def test_one_shot_drops_the_smallest_magnitudes(regrow: bool) -> None:
    model = make_model()
    pruner = DynamicPruner(model, 0.7, schedule="one-shot", regrow=regrow)
    optimizer = sgd(model)
    train(model, optimizer, None, 3)
    before = torch.cat([w.detach().flatten() for w in weights(model)])
    pruner.step()
    after = torch.cat([w.detach().flatten() for w in weights(model)])
    order = before.abs().argsort(stable=True)
    assert (after[order[: round(0.7 * N)]] == 0).all()
    assert torch.equal(after[order[round(0.7 * N) :]], before[order[round(0.7 * N) :]])


def test_gradient_scores_are_sums_over_steps() -> None:
    """Against scores collected by hand."""
    for importance in ("gradient", "taylor", "movement"):
        model = make_model()
        pruner = DynamicPruner(model, 0.6, importance=importance, schedule="one-shot", begin=4, regrow=False)
        sums = [torch.zeros_like(w) for w in weights(model)]

        def collect(sums: list[Tensor] = sums, model: nn.Module = model, kind: str = importance) -> None:
            for total, w in zip(sums, weights(model), strict=True):
                g, w = w.grad, w.detach()
                total += {"gradient": g.abs(), "taylor": (w * g).abs(), "movement": -w * g}[kind]

        optimizer = sgd(model)
        train(model, optimizer, pruner, 4, collect)
        assert n_zero(model) == 0
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), Y).backward()
        optimizer.step()
        collect()
        pruner.step()
        flat = torch.cat([s.flatten() for s in sums])
        zero = torch.cat([w.flatten() for w in weights(model)]) == 0
        assert set(flat.argsort()[: round(0.6 * N)].tolist()) == set(zero.nonzero().flatten().tolist())


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", lambda p: p),
        ("cubic", lambda p: 1 - (1 - p) ** 3),
        ("one-shot", lambda p: 1.0),
        (lambda p: p**2, lambda p: p**2),
    ],
)
def test_schedules(schedule: Any, expected: Callable[[float], float]) -> None:
    model = make_model()
    pruner = DynamicPruner(model, 0.9, schedule=schedule, begin=3, end=13, frequency=2, initial=0.2)
    seen = []
    train(model, sgd(model), pruner, 15, lambda: seen.append(pruner.sparsity()))
    assert seen[:3] == [0, 0, 0]
    for step in (4, 6, 8, 10, 12, 13):
        share = 0.2 + 0.7 * expected((step - 3) / 10)
        assert seen[step - 1] == round(share * N) / N
    assert seen[4] == seen[3]
    assert seen[13:] == [round(0.9 * N) / N] * 2


def test_target_is_reached_when_the_end_is_not_a_multiple_of_the_frequency() -> None:
    model = make_model()
    pruner = DynamicPruner(model, 0.5, end=7, frequency=100)
    train(model, sgd(model), pruner, 7)
    assert n_zero(model) == round(0.5 * N)


# ---- Dropped weights stay dropped ----------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [sgd, adam])
@pytest.mark.parametrize("regrow", [False, "surgery", "gradient"])
def test_momentum_does_not_move_dropped_weights(optimizer: Any, regrow: bool | str) -> None:
    model = make_model()
    pruner = DynamicPruner(model, 0.8, end=10, frequency=5, regrow=regrow)

    def check() -> None:
        for name, kept in pruner.masks().items():
            assert (model.get_submodule(name).weight[~kept] == 0).all()

    train(model, optimizer(model), pruner, 20, check)
    frozen = pruner.masks()
    train(model, optimizer(model), pruner, 10, check)
    assert all(torch.equal(kept, frozen[name]) for name, kept in pruner.masks().items())


def test_without_regrowth_no_weight_returns() -> None:
    model = make_model()
    pruner = DynamicPruner(model, 0.9, end=30, frequency=1, regrow=False, importance="taylor")
    before = pruner.masks()

    def check() -> None:
        nonlocal before
        now = pruner.masks()
        assert all(not (now[name] & ~kept).any() for name, kept in before.items())
        before = now

    train(model, sgd(model), pruner, 30, check)
    assert n_zero(model) == round(0.9 * N)


# ---- Regrowth ------------------------------------------------------------------------------------


def two_weights(regrow: bool | str) -> tuple[nn.Linear, list[list[bool]]]:
    """Train y = 3 x_2 from weights of which the first is larger: which are kept after each step."""
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.1]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    pruner = DynamicPruner(
        model, 0.5, schedule="one-shot", end=40, frequency=5, regrow=regrow, exchange=1, min_keep=0
    )
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    kept = []
    for _ in range(40):
        optimizer.zero_grad()
        (model(x).flatten() - torch.tensor([0.0, 3.0])).square().sum().backward()
        optimizer.step()
        pruner.step()
        kept.append(pruner.masks()[""].flatten().tolist())
    pruner.finalize()
    return model, kept


@pytest.mark.parametrize("regrow", ["surgery", True])
def test_a_weight_that_becomes_important_returns(regrow: bool | str) -> None:
    model, kept = two_weights(regrow)
    assert kept[0] == [True, False]
    assert kept[-1] == [False, True]
    assert model.weight[0, 1] > 2
    assert model.weight[0, 0] == 0


def test_a_weight_that_becomes_important_does_not_return_when_it_must_not() -> None:
    model, kept = two_weights(False)
    assert kept == [[True, False]] * 40
    assert model.weight[0, 1] == 0


@pytest.mark.parametrize("speed", [0.1, 0.3])
def test_surgery_trains_hidden_weights_with_the_gradient_they_would_have(speed: float) -> None:
    """A hidden weight is the sum of its updates, and returns with that or with the least of the kept."""
    model = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.5, 2.0, 0.1]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=speed)
    pruner = DynamicPruner(model, 0.5, schedule="one-shot", end=20, frequency=5, margin=0, exchange=1)
    for step in range(6):
        optimizer.zero_grad()
        (model.weight * torch.tensor([[0.0, -1.0, 0.0, 0.0]])).sum().backward()  # moves the second
        optimizer.step()
        pruner.step()
        if step < 5:
            assert model.weight.tolist() == [[1, 0, 2, 0]]
    expected = min(0.5 + 6 * speed, 2.0)
    assert torch.allclose(model.weight.detach(), torch.tensor([[0.0, expected, 2.0, 0.0]]))


def test_no_more_come_back_at_a_time_than_the_exchange_allows() -> None:
    model = nn.Linear(100, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.linspace(1, 2, 100))
    pruner = DynamicPruner(model, 0.5, schedule="one-shot", end=50, frequency=1, exchange=0.2)
    pruner.step()
    seen = []
    for step in range(2, 51):
        before = pruner.masks()[""]
        with torch.no_grad():
            model.weight[~before] = 5  # all that are hidden would be worth more
        pruner.step()
        seen.append(int((pruner.masks()[""] & ~before).sum()))
        assert seen[-1] == round(0.2 * (1 + math.cos(math.pi * step / 50)) / 2 * 50)
    assert seen[0] == 10
    assert seen[-1] == 0


def test_regrowth_by_gradient_exchanges_the_least_for_the_steepest() -> None:
    model = nn.Linear(6, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.9, 0.8, 0.7, 0.2, 0.1]]))
    pruner = DynamicPruner(
        model, 1 / 3, schedule="one-shot", end=40, frequency=1, regrow="gradient", exchange=0.25
    )
    model.weight.grad = torch.tensor([[9.0, 0, 0, 2, -8, 3]])
    pruner.step()  # the two least go, and of the four left one more; the steepest of the three stays instead
    assert torch.equal(model.weight.detach(), torch.tensor([[1.0, 0.9, 0.8, 0, 0.2, 0]]))
    assert pruner.masks()[""].tolist() == [[True, True, True, False, True, False]]
    with torch.no_grad():
        model.weight[0, 4] = 2  # it was trained meanwhile
    model.weight.grad = torch.tensor([[0.0, 0, 0, 1, 0, 7]])
    pruner.step()
    assert torch.equal(model.weight.detach(), torch.tensor([[1.0, 0.9, 0, 0, 2, 0]]))
    assert pruner.masks()[""].tolist() == [[True, True, False, False, True, True]]


@pytest.mark.parametrize("margin", [0, 0.1])
def test_margin_keeps_what_is_kept(margin: float) -> None:
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.95]]))
    options: dict[str, Any] = {"margin": margin, "exchange": 1, "min_keep": 0}
    pruner = DynamicPruner(model, 0.5, schedule="one-shot", end=9, frequency=1, **options)
    pruner.step()
    with torch.no_grad():
        model.weight[0, 1] = 0.1  # what an optimizer would do: the hidden weight is 1.05 now
    pruner.step()
    assert bool(model.weight[0, 0] != 0) == (margin > 0)


# ---- Going on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("importance", ["magnitude", "gradient", "taylor", "movement"])
@pytest.mark.parametrize("regrow", [False, "surgery", "gradient"])
def test_resumed_training_equals_uninterrupted_training(importance: str, regrow: bool | str) -> None:
    def parts() -> tuple[nn.Module, torch.optim.Optimizer, DynamicPruner]:
        model = make_model()
        options: dict[str, Any] = {"importance": importance, "regrow": regrow, "end": 18, "frequency": 4}
        return model, sgd(model), DynamicPruner(model, 0.8, **options)

    whole = parts()
    train(*whole, 20)
    first = parts()
    train(*first, 11)
    file = io.BytesIO()
    torch.save([part.state_dict() for part in first], file)
    second = parts()
    file.seek(0)
    for part, state in zip(second, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    train(*second, 9)
    for a, b in zip(whole[0].parameters(), second[0].parameters(), strict=True):
        assert torch.equal(a, b)


def test_state_of_another_pruner_is_refused() -> None:
    state = DynamicPruner(make_model(), 0.5, end=9).state_dict()
    with pytest.raises(ValueError, match="settings"):
        DynamicPruner(make_model(), 0.5, end=9, importance="taylor").load_state_dict(state)
    with pytest.raises(ValueError, match="another model"):
        DynamicPruner(nn.Linear(12, 33), 0.5, end=9).load_state_dict(state)


def test_masks_follow_parameters_that_are_replaced() -> None:
    model = make_model()
    pruner = DynamicPruner(model, 0.5, schedule="one-shot", end=5, frequency=1)
    train(model, sgd(model), pruner, 1)
    model.load_state_dict({k: torch.ones_like(v) for k, v in model.state_dict().items()}, assign=True)
    pruner.step()
    assert n_zero(model) == round(0.5 * N)


def test_finalize_leaves_plain_parameters() -> None:
    model = make_model()
    names = list(model.state_dict())
    pruner = DynamicPruner(model, 0.9, end=5, frequency=1)
    train(model, sgd(model), pruner, 4)
    with pytest.raises(RuntimeError, match="5 steps, of which 4"):
        pruner.finalize()
    train(model, sgd(model), pruner, 1)
    pruner.finalize()
    assert list(model.state_dict()) == names
    assert all(type(p) is nn.Parameter and p.is_leaf for p in model.parameters())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    with pytest.raises(RuntimeError, match="finalize"):
        pruner.step()


@pytest.mark.parametrize("structure", [None, "2:4", "channel"])
def test_order_of_axes_in_memory_does_not_matter(structure: str | None) -> None:
    x = torch.randn(4, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    results = []
    for order in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(8, 12, 3), nn.ReLU(), nn.Conv2d(12, 8, 3), nn.Flatten(), nn.Linear(32, 2)
        )
        model = model.to(memory_format=order)
        pruner = DynamicPruner(model, 0.5, structure=structure, example_input=x, schedule="one-shot")
        optimizer = sgd(model)
        for _ in range(3):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
            pruner.step()
        assert model[0].weight.is_contiguous(memory_format=order)
        results.append(pruner.masks())
    assert all(torch.equal(mask, results[1][name]) for name, mask in results[0].items())


# ---- What surrounds a network --------------------------------------------------------------------


def test_compiled_model() -> None:
    plain, compiled = make_model(), make_model()
    results = []
    for model, call in ((plain, plain), (compiled, torch.compile(compiled, backend="aot_eager"))):
        pruner = DynamicPruner(call, 0.8, end=10, frequency=2)
        train(call, sgd(model), pruner, 12)
        results.append(torch.cat([w.flatten() for w in weights(model)]))
        assert list(pruner.masks()) == ["0", "2", "4"]
    assert n_zero(compiled) == round(0.8 * N)
    assert torch.allclose(*results, atol=1e-5)


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
def test_mixed_precision(importance: str) -> None:
    """Steps that a GradScaler skips change neither weights nor scores, and only delay a choice."""
    model = make_model()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    options: dict[str, Any] = {"importance": importance, "regrow": "gradient"}
    pruner = DynamicPruner(model, 0.8, end=10, frequency=3, **options)
    for step in range(12):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(model(X), Y)
        if step in (3, 9):
            loss = loss * math.inf
        before = pruner.sparsity()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        pruner.step()
        if step == 3:
            assert pruner.sparsity() == before
        if step == 9:
            with pytest.raises(RuntimeError, match="the target"):
                pruner.finalize()
    pruner.finalize()
    assert n_zero(model) == round(0.8 * N)
    assert all(w.isfinite().all() for w in weights(model))


@pytest.mark.parametrize("regrow", ["surgery", "gradient"])
def test_half_precision_weights(regrow: str) -> None:
    model = make_model().bfloat16()
    optimizer = sgd(model)
    pruner = DynamicPruner(model, 0.8, end=8, frequency=2, regrow=regrow)
    for _ in range(9):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X.bfloat16()).float(), Y).backward()
        optimizer.step()
        pruner.step()
    assert n_zero(model) == round(0.8 * N)


DISTRIBUTED = [("taylor", "surgery"), ("magnitude", "gradient")]


def _distributed(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    group = torch.distributed
    group.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = []
    for importance, regrow in DISTRIBUTED:
        model = nn.parallel.DistributedDataParallel(make_model())
        optimizer = sgd(model)
        pruner = DynamicPruner(model, 0.8, end=10, frequency=2, importance=importance, regrow=regrow)
        for step in range(12):
            optimizer.zero_grad()
            rows = torch.arange(64).roll(step)[rank::2]
            nn.functional.cross_entropy(model(X[rows]), Y[rows]).backward()
            optimizer.step()
            if rank == 1 and step == 3:
                # Even where the processes' weights have drifted apart they must choose alike.
                with torch.no_grad():
                    model.module[0].weight.mul_(1.5)
            pruner.step()
        results.append((pruner.masks(), n_zero(model)))
    torch.save(results, f"{folder}/{rank}")
    group.destroy_process_group()


def test_distributed_processes_choose_alike(tmp_path: Path) -> None:
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("no gloo")
    torch.multiprocessing.spawn(_distributed, (str(tmp_path),), nprocs=2)
    results = [torch.load(tmp_path / str(rank)) for rank in range(2)]
    for (mine, n_mine), (theirs, n_theirs) in zip(*results, strict=True):
        assert all(torch.equal(mask, theirs[name]) for name, mask in mine.items())
        assert n_mine == n_theirs == round(0.8 * N)


# ---- Odd networks and bad arguments --------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = self.a.weight
        self.c.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.c(self.b(self.a(x)))
        return result


def test_shared_weights_count_once_and_frozen_ones_not_at_all() -> None:
    model = Tied()
    frozen = model.c.weight.clone()
    pruner = DynamicPruner(model, 0.5, schedule="one-shot")
    pruner.step()
    assert list(pruner.masks()) == ["a"]
    assert int((model.a.weight == 0).sum()) == 18
    assert model.b.weight is model.a.weight
    assert torch.equal(model.c.weight, frozen)


def test_layers_added_later_are_not_pruned_and_lost_ones_are_noticed() -> None:
    model = make_model()
    pruner = DynamicPruner(model, 0.5, end=5, frequency=1)
    model.append(nn.Linear(5, 5))
    train(model, sgd(model), pruner, 3)
    assert (model[-1].weight != 0).all()
    model[0] = nn.Linear(12, 33)
    with pytest.raises(RuntimeError, match="'0' is no longer part"):
        pruner.step()


@pytest.mark.parametrize("regrow", [False, "surgery", "gradient"])
def test_no_layer_is_left_empty(regrow: bool | str) -> None:
    model = make_model()
    with torch.no_grad():
        model[2].weight.mul_(1e-6)
    pruner = DynamicPruner(model, 0.95, end=5, frequency=1, regrow=regrow, min_keep=3)
    for _ in range(5):
        for w in weights(model):
            w.grad = torch.ones_like(w)
        pruner.step()
    assert n_zero(model) == round(0.95 * N)
    assert int(model[2].weight.count_nonzero()) == 3


def test_layer_whose_best_weight_may_not_return_keeps_another() -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1e-3, 5e-4]]))
        model[1].weight.copy_(torch.tensor([[1.0], [2.0]]))
    pruner = DynamicPruner(model, 0.5, schedule=lambda p: 0.5 if p < 1 else 1.0, end=2, frequency=1)
    pruner.step()
    with torch.no_grad():
        model[0].weight[0, 1] = 0.1
    pruner.step()  # the last choice exchanges nothing
    assert model[0].weight.tolist() == [[pytest.approx(1e-3), 0]]
    assert model[1].weight.tolist() == [[0], [2]]


def test_of_equal_weights_the_first_are_kept() -> None:
    model = nn.Linear(4, 4)
    nn.init.ones_(model.weight)
    DynamicPruner(model, 0.625, schedule="one-shot", min_keep=0).step()
    assert model.weight.flatten().tolist() == [1] * 6 + [0] * 10


def test_zeros_are_positive_in_the_end() -> None:
    """Negative ones would cost room in a file."""
    model = make_model()
    pruner = DynamicPruner(model, 0.9, schedule="one-shot")
    train(model, sgd(model), pruner, 5)
    pruner.finalize()
    assert not any((w[w == 0].signbit()).any() for w in weights(model))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    model = make_model()
    with torch.no_grad():
        model[2].weight[3, 4] = value
    with pytest.raises(ValueError, match="'2' has weights"):
        DynamicPruner(model, 0.5, schedule="one-shot").step()


def test_missing_gradients_are_reported() -> None:
    pruner = DynamicPruner(make_model(), 0.5, schedule="one-shot", importance="taylor")
    with pytest.raises(RuntimeError, match="no gradients"):
        pruner.step()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1.1}, "sparsity"),
        ({"sparsity": -0.1}, "sparsity"),
        ({"sparsity": math.nan}, "sparsity"),
        ({"sparsity": 1.0}, "fewer than 1 would be left for each of 0, 2, 4"),
        ({"scope": {"4": 0.999}}, "left for each of 4"),
        ({"scope": {"5": 0.5}}, "scope: '5'"),
        ({"scope": {"4": 2}}, r"scope\['4'\]"),
        ({"scope": "all"}, "scope"),
        ({"schedule": "quadratic"}, "schedule"),
        ({"importance": "size"}, "importance"),
        ({"regrow": "maybe"}, "regrow"),
        ({"regrow": "gradient", "structure": "2:4", "sparsity": 0.5}, "regrow"),
        ({"structure": "4:2"}, "structure"),
        ({"structure": "rows"}, "structure"),
        ({"structure": "2:4"}, "'2:4' makes it 0.5, not 0.9"),
        ({"structure": "1:7", "sparsity": 6 / 7}, "no layer"),
        ({"structure": "1:3", "sparsity": 2 / 3, "scope": {"0": 0.5}}, "scope"),
        ({"structure": "channel"}, "example_input"),
        ({"begin": 5, "end": 5}, "begin, end"),
        ({"end": None}, "begin, end"),
        ({"frequency": 0}, "frequency"),
        ({"initial": -1}, "initial"),
        ({"exclude": ["9"]}, "exclude"),
        ({"exclude": ["0", "2", "4"]}, "no layer"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], message: str) -> None:
    arguments = {"sparsity": 0.9, "end": 10} | options
    with pytest.raises(ValueError, match=message):
        DynamicPruner(make_model(), **arguments)


def test_weights_computed_from_others_are_refused() -> None:
    model = make_model()
    torch_prune.identity(model[0], "weight")
    with pytest.raises(ValueError, match="'0' is computed"):
        DynamicPruner(model, 0.5, end=5)


# ---- n:m -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (3, 6)])
@pytest.mark.parametrize("regrow", [False, True])
@pytest.mark.parametrize("importance", ["magnitude", "movement"])
def test_n_of_m_inputs_are_kept(n: int, m: int, regrow: bool, importance: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(12, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 9, 5), nn.Linear(5, 2))
    pruner = DynamicPruner(
        model, 1 - n / m, structure=f"{n}:{m}", end=8, frequency=2, regrow=regrow, importance=importance
    )
    optimizer = adam(model)
    x = torch.randn(8, 12, 5, 5)
    seen = []
    for _ in range(10):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        pruner.step()
        seen.append(pruner.sparsity())
    assert 0 < seen[0] < seen[4] < seen[8] == 1 - n / m
    for weight in (model[0].weight.permute(0, 2, 3, 1), model[3].weight):
        kept = (weight != 0).reshape(-1, m).sum(1)
        assert (kept == n).all()
    assert (model[4].weight != 0).all()  # five inputs make no group


# ---- torch.nn.utils.prune ------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [0.0, 0.3, 0.999, 1.0, 17])
def test_prune_by_threshold_is_l1_unstructured(amount: float) -> None:
    ours, theirs = nn.Linear(20, 30), nn.Linear(20, 30)
    theirs.load_state_dict(ours.state_dict())
    PruneByThreshold.apply(ours, "weight", amount=amount)
    torch_prune.l1_unstructured(theirs, "weight", amount=amount)
    assert torch.equal(ours.weight_mask, theirs.weight_mask)
    PruneByThreshold.apply(ours, "weight", amount=0.5)
    torch_prune.l1_unstructured(theirs, "weight", amount=0.5)
    assert torch.equal(ours.weight, theirs.weight)
    torch_prune.remove(ours, "weight")
    assert isinstance(ours.weight, nn.Parameter)


@pytest.mark.parametrize("amount", [-0.5, 1.5, -1, 601])
def test_prune_by_threshold_names_a_bad_amount(amount: float) -> None:
    with pytest.raises(ValueError, match="amount"):
        PruneByThreshold.apply(nn.Linear(20, 30), "weight", amount=amount)
