"""`prune_oneshot_` against direct solutions, and its methods against each other."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812 - its usual name
from torch import Tensor, nn  # noqa: E402

from tersor.nn import oneshot, prune_oneshot_  # noqa: E402


def correlated(n: int, width: int, seed: int = 0) -> Tensor:
    """Inputs of very different sizes that depend on each other, as those inside networks do."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator) / width**0.5 + torch.eye(width)
    sizes = torch.logspace(-1, 1, width)[torch.randperm(width, generator=generator)]
    return torch.randn(n, width, generator=generator) @ mix * sizes


def images(n: int, channels: int, seed: int = 0) -> Tensor:
    smooth = F.avg_pool2d(
        torch.randn(n, channels, 14, 14, generator=torch.Generator().manual_seed(seed)), 3, 1
    )
    return smooth * torch.logspace(-1, 1, channels)[:, None, None]


def errors(layer: nn.Module, x: Tensor, sparsity: float, **options: Any) -> dict[str, float]:
    """What each method adds to a layer's output."""
    result = {}
    for method in ("magnitude", "wanda", "sparsegpt"):
        pruned = copy.deepcopy(layer)
        prune_oneshot_(pruned, sparsity, method=method, calibration=[x], **options)
        result[method] = (pruned(x) - layer(x)).square().mean().item()
    return result


# ---- Which method is better ----------------------------------------------------------------------


@pytest.mark.parametrize(("sparsity", "structure"), [(0.5, None), (0.8, None), (0.5, "2:4"), (0.75, "2:8")])
@pytest.mark.parametrize("kind", ["linear", "conv", "grouped"])
def test_the_more_a_method_knows_the_smaller_its_error(
    kind: str, sparsity: float, structure: str | None
) -> None:
    torch.manual_seed(0)
    if kind == "linear":
        layer: nn.Module = nn.Linear(160, 40)
        x = correlated(800, 160)
    else:
        layer = nn.Conv2d(16, 24, 3, padding=1, groups=1 if kind == "conv" else 2)
        x = images(8, 16)
    found = errors(layer, x, sparsity, structure=structure)
    assert found["sparsegpt"] < 0.95 * found["wanda"]
    assert found["wanda"] < 0.95 * found["magnitude"]


@pytest.mark.parametrize("sequential", [True, False])
def test_layers_see_what_the_layers_before_them_make(sequential: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 12), nn.Linear(12, 3))
    batches = correlated(300, 24).split(100)
    one_by_one = copy.deepcopy(network)
    for name in ("0", "2", "3") if sequential else ("3", "2", "0"):
        prune_oneshot_(one_by_one, {name: 0.6}, calibration=batches)
    prune_oneshot_(network, 0.6, calibration=batches, sequential=sequential)
    for a, b in zip(network.parameters(), one_by_one.parameters(), strict=True):
        assert torch.equal(a, b)


# ---- Against direct solutions --------------------------------------------------------------------


def test_update_is_the_least_squares_solution() -> None:
    """The weights that are left are, in double precision, the best for the mask that was chosen."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 3, bias=False)
    dense = layer.weight.detach().double()
    x = correlated(50, 6).double()
    gram = x.T @ x
    layer.double()
    # One weight of each row goes, the last: nothing that follows it could be moved, all before it must be.
    kept = torch.ones(3, 6, dtype=torch.bool)
    prune_oneshot_(layer, 1 / 6, calibration=[x], damping=0)
    kept = layer.weight != 0
    assert int((~kept).sum()) == 3
    for row in range(3):
        gone = (~kept[row]).nonzero().flatten()
        expected = dense[row].clone()
        # Column by column, as the method fixes what it has passed.
        for j in range(6):
            if j in gone:
                free = torch.arange(j, 6)
                inverse = torch.linalg.inv(gram[free][:, free])
                expected[free] -= expected[j] / inverse[0, 0] * inverse[0]
        assert torch.allclose(layer.weight[row].detach(), expected, rtol=1e-5, atol=1e-7)


def test_first_column_dropped_leaves_the_best_of_the_rest() -> None:
    """Where all weights of one input go, the rest is the least-squares solution without that input."""
    layer = nn.Linear(5, 4, bias=False)
    x = correlated(60, 5)
    with torch.no_grad():
        layer.weight[:, 0] *= 1e-3
        x = torch.cat([0.1 * x[:, :1] + x[:, 1:2], x[:, 1:]], dim=1)
    y = layer(x).detach()
    prune_oneshot_(layer, 0.2, calibration=[x], damping=0)
    assert (layer.weight[:, 0] == 0).all()
    best = torch.linalg.lstsq(x[:, 1:].double(), y.double()).solution.T
    assert torch.allclose(layer.weight[:, 1:].detach(), best.float(), atol=1e-4)


def test_blocks_change_nothing_for_a_given_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern is chosen group by group, so the size of the blocks cannot matter."""
    x = correlated(300, 96)
    layer = nn.Linear(96, 10)
    results = []
    for block in (4, 32, 128):
        monkeypatch.setattr(oneshot, "_BLOCK", block)
        pruned = copy.deepcopy(layer)
        prune_oneshot_(pruned, 0.5, structure="2:4", calibration=[x])
        results.append(pruned.weight.detach())
    assert torch.allclose(results[0], results[1], atol=1e-5)
    assert torch.allclose(results[0], results[2], atol=1e-5)


def test_wanda_drops_by_row_and_norm() -> None:
    x = correlated(100, 20)
    layer = nn.Linear(20, 7)
    scores = layer.weight.detach().abs() * x.norm(dim=0)
    dense = layer.weight.detach().clone()
    prune_oneshot_(layer, 0.6, method="wanda", calibration=x.split(30))
    for row in range(7):
        gone = scores[row].argsort()[:12]
        expected = dense[row].clone()
        expected[gone] = 0
        assert torch.equal(layer.weight[row].detach(), expected)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
        nn.Conv2d(4, 6, 3, groups=2, padding="same", padding_mode="reflect"),
        nn.Conv1d(4, 8, 5, groups=4, padding=2),
        nn.Conv3d(4, 2, 2, padding=1, padding_mode="circular"),
    ],
    ids=str,
)
def test_patches_are_what_a_convolution_multiplies(layer: Any) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, *[7, 6, 5][: len(layer.kernel_size)])
    gram = oneshot._Gram(layer)
    patches = gram._patches(x)
    matrices = layer.weight.reshape(layer.groups, -1, patches.shape[-1])
    expected = layer(x) - layer.bias.view(-1, *[1] * len(layer.kernel_size))
    made = torch.einsum("gpi,goi->pgo", patches, matrices).reshape(3, -1, layer.out_channels)
    assert torch.allclose(made.transpose(1, 2).reshape(expected.shape), expected, atol=1e-5)
    gram(layer, (x[0],))
    assert torch.allclose(
        gram.total, patches[:, : patches.shape[1] // 3].mT @ patches[:, : patches.shape[1] // 3]
    )


# ---- What is pruned ------------------------------------------------------------------------------


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 12, 3)
        self.norm = nn.BatchNorm2d(12)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(12 * 16, 10)
        self.odd = nn.Linear(10, 5)
        self.tied = nn.Linear(5, 10)
        self.unused = nn.Linear(4, 4)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        y = self.drop(self.norm(self.conv(x)).relu() * scale)
        result: Tensor = self.tied(self.odd(self.fc(y.flatten(1))))
        return result


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
def test_share_of_each_layer(method: str) -> None:
    torch.manual_seed(0)
    model = Mixed()
    model.odd.weight.requires_grad_(False)
    state = copy.deepcopy(model.state_dict())
    shares = prune_oneshot_(
        model, 0.7, method=method, calibration=[images(4, 8)[..., :6, :6] for _ in range(3)]
    )
    assert set(shares) == {"conv", "fc", "tied", "unused"}
    for name in ("conv", "fc", "tied"):
        weight = model.get_submodule(name).weight
        assert abs(int((weight == 0).sum()) - 0.7 * weight.numel()) <= len(weight) * 0.5
        assert shares[name] == float((weight == 0).double().mean())
        assert not weight[weight == 0].signbit().any()
    # Nothing else: neither what BatchNorm counts nor modes, hooks or gradients.
    for name, value in model.state_dict().items():
        if not name.endswith("weight") or name == "norm.weight" or name == "odd.weight":
            assert torch.equal(value, state[name]), name
    assert model.training
    assert model.drop.training
    assert not any(m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_batches_may_be_tuples_mappings_or_anything_with_a_forward() -> None:
    x = images(4, 8)[..., :6, :6]
    results = []
    for batch, forward in (
        (x, None),
        ((x, 1.0), None),
        ({"x": x, "scale": 1.0}, None),
        ([x], lambda model, batch: model(batch[0])),
    ):
        torch.manual_seed(0)
        model = Mixed()
        prune_oneshot_(model, {"fc": 0.5}, method="wanda", calibration=iter([batch]), forward=forward)
        results.append(model.fc.weight.detach())
        assert (model.conv.weight != 0).all()
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
def test_patterns_lie_along_inputs(method: str) -> None:
    torch.manual_seed(0)
    model = Mixed()
    shares = prune_oneshot_(
        model, 0.5, method=method, structure="2:4", calibration=[images(4, 8)[..., :6, :6]]
    )
    assert set(shares) == {"conv", "fc", "unused"}  # ten and five inputs make no fours
    for weight in (model.conv.weight.permute(0, 2, 3, 1), model.fc.weight):
        assert ((weight != 0).reshape(-1, 4).sum(1) == 2).all()


@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_inputs_that_are_always_zero_go_first(method: str) -> None:
    x = correlated(200, 10)
    x[:, [2, 7]] = 0
    layer = nn.Linear(10, 6)
    expected = layer(x)
    prune_oneshot_(layer, 0.2, method=method, calibration=[x])
    assert (layer.weight[:, [2, 7]] == 0).all()
    assert torch.allclose(layer(x), expected, atol=1e-6)
    silent = nn.Linear(10, 6)
    prune_oneshot_(silent, 0.5, method=method, calibration=[torch.zeros(3, 10)])
    assert int((silent.weight == 0).sum()) == 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "best"}, "method"),
        ({"sparsity": 1.5}, "sparsity"),
        ({"sparsity": float("nan")}, "sparsity"),
        ({"sparsity": {"9": 0.5}}, "sparsity: '9'"),
        ({"structure": "2:4", "sparsity": 0.6}, "'2:4' makes it 0.5, not 0.6"),
        ({"structure": "x"}, "structure"),
        ({"damping": -1}, "damping"),
        ({"calibration": None}, "calibration"),
        ({"calibration": []}, "calibration"),
        ({"calibration": [torch.full((2, 8), torch.inf)]}, "calibration: '0' is shown numbers"),
        ({"calibration": [torch.ones(2, 8)], "damping": 0}, "damping: the inputs depend"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], message: str) -> None:
    model = nn.Sequential(nn.Linear(8, 4))
    arguments = {"sparsity": 0.5, "calibration": [torch.randn(9, 8)]} | options
    with pytest.raises(ValueError, match=message):
        prune_oneshot_(model, **arguments)


def test_weights_that_are_not_finite_are_named() -> None:
    model = nn.Sequential(nn.Linear(8, 4))
    with torch.no_grad():
        model[0].weight[1, 1] = torch.nan
    with pytest.raises(ValueError, match="'0' has weights"):
        prune_oneshot_(model, 0.5, method="magnitude")
