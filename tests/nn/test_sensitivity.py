"""`sensitivity_scan` and the targets that are read off it."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from tersor.nn import DynamicPruner, Sensitivity, sensitivity_scan  # noqa: E402


def scan() -> Sensitivity:
    curves = {
        "robust": {0.5: 1.0, 0.9: 0.99, 0.99: 0.9},
        "frail": {0.5: 0.9, 0.9: 0.5, 0.99: 0.1},
        "lucky": {0.5: 0.98, 0.9: 1.02, 0.99: 0.9},
    }
    return Sensitivity(1.0, curves, {"robust": 1000, "frail": 100, "lucky": 300})


def test_share_is_read_off_the_curve() -> None:
    found = scan()
    assert found.share("robust", 0) == 0.5
    assert found.share("robust", 0.01) == pytest.approx(0.9)
    assert found.share("robust", 0.055) == pytest.approx(0.945)
    assert found.share("robust", 1) == 0.99
    assert found.share("frail", 0.05) == pytest.approx(0.25)
    assert found.share("lucky", 0.01) == pytest.approx(0.25)  # the peak at 0.9 does not count
    assert found.share("lucky", 0.0201) == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize("sparsity", [0.0, 0.2, 0.5, 0.9, 0.985])
def test_targets_add_up_and_cost_the_same(sparsity: float) -> None:
    found = scan()
    targets = found.targets(sparsity)
    assert sum(targets[k] * n for k, n in found.sizes.items()) == pytest.approx(sparsity * 1400)
    assert targets["robust"] >= targets["frail"]


def test_more_than_was_tried_is_refused() -> None:
    with pytest.raises(ValueError, match=r"more than 0\.99"):
        scan().targets(0.995)


def test_scan_finds_the_layer_that_matters() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 4))
    with torch.no_grad():
        model[2].weight.mul_(0.001)
        model[2].weight.add_(torch.eye(30))  # what is not on the diagonal does not matter
    state = copy.deepcopy(model.state_dict())
    x = torch.randn(300, 30)
    y = model(x).detach()
    found = sensitivity_scan(model, lambda m: -(m(x) - y).square().mean().item())
    assert found.dense == 0
    assert list(found.curves) == ["0", "2", "4"]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    targets = found.targets(0.6)
    assert targets["2"] > 0.9 > 0.5 > targets["0"]
    pruner = DynamicPruner(model, 0.6, scope=targets, schedule="one-shot")
    pruner.step()
    n_zero = sum(int((model[i].weight == 0).sum()) for i in (0, 2, 4))
    assert abs(n_zero - 0.6 * 1920) <= 2  # each layer rounds


def test_scan_restores_the_network_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(5, 5))
    before = model[0].weight.detach().clone()
    worths = iter([1.0])
    with pytest.raises(StopIteration):
        sensitivity_scan(model, lambda _: next(worths))
    assert torch.equal(model[0].weight.detach(), before)
    with pytest.raises(ValueError, match="sparsities"):
        sensitivity_scan(model, lambda _: 0.0, sparsities=[2])
    with pytest.raises(ValueError, match="no layers"):
        sensitivity_scan(model, lambda _: 0.0, exclude=["0"])
