"""Channels that depend on each other, masked while training and then taken out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812 - its usual name
from torch import Tensor, nn  # noqa: E402

from tersor.nn import DynamicPruner, shrink_  # noqa: E402
from tersor.nn.structured import Channels  # noqa: E402


class Residual(nn.Module):
    """BatchNorm, a residual sum, concatenation, flattening, functions of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.inner = nn.Conv2d(8, 10, 3, padding=1, bias=False)
        self.inner_norm = nn.BatchNorm2d(10, affine=False)
        self.back = nn.Conv2d(10, 8, 1)
        self.side = nn.Conv2d(3, 6, 3, padding=1)
        self.depthwise = nn.Conv2d(14, 28, 3, padding=1, groups=14)
        self.act = nn.PReLU(28)
        self.fc = nn.Linear(28 * 4, 12)
        self.out = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        stem = F.relu(self.norm(self.stem(x)))
        y = stem + self.back(torch.sigmoid(self.inner_norm(self.inner(stem))))
        y = torch.cat([y, self.side(x)], dim=1)
        y = F.max_pool2d(self.act(self.depthwise(y)), 3)
        y = torch.flatten(y, 1)
        result: Tensor = self.out(F.gelu(self.fc(y)))
        return result


class Attention(nn.Module):
    """A gate for each channel (squeeze and excitation), whose sigmoid of zero is not zero."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.down = nn.Conv2d(8, 4, 1)
        self.up = nn.Conv2d(4, 8, 1)
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        gate = self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        x = x * gate
        result: Tensor = self.out(x.mean([2, 3]))
        return result


class Perceptrons(nn.Module):
    """Linear layers over sequences; LayerNorm ties the features, the hidden ones are free."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.up, self.down = nn.Linear(6, 16), nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Transposed(nn.Module):
    """An encoder and a decoder; a layer that is called twice; a group convolution in between."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Conv1d(2, 8, 3, stride=2)
        self.twice = nn.Conv1d(8, 8, 3, padding=1)
        self.free = nn.Conv1d(8, 6, 1)
        self.grouped = nn.Conv1d(6, 6, 3, padding=1, groups=2)
        self.decode = nn.ConvTranspose1d(6, 4, 3, stride=2)
        self.out = nn.ConvTranspose1d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(torch.relu(self.twice(self.encode(x))))
        result: Tensor = self.out(self.decode(self.grouped(self.free(x))).relu())
        return result


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, int]]] = {
    # Sets of channels by their first layer, and how many they are.
    "residual": (Residual, (2, 3, 6, 6), {"stem": 8, "inner": 10, "side": 6, "fc": 12}),
    "gate": (Attention, (2, 3, 6, 6), {"conv": 8, "down": 4}),
    "perceptrons": (Perceptrons, (2, 5, 6), {"up": 16}),
    "transposed": (Transposed, (2, 2, 9), {"encode": 8, "decode": 4}),
}


def make(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    network, shape, _ = NETWORKS[name]
    return network(), torch.randn(shape)


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_are_found(name: str) -> None:
    model, x = make(name)
    sets = Channels(model, x).sets
    assert {first: len(members) for first, members in sets.items()} == NETWORKS[name][2]
    together = torch.cat(list(sets.values()))
    assert sorted(together.tolist()) == list(range(len(together)))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("importance", ["magnitude", "taylor", "movement"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_shrunk_network_computes_what_the_masked_one_did(name: str, importance: str, scope: str) -> None:
    model, x = make(name)
    pruner = DynamicPruner(
        model,
        0.5,
        structure="channel",
        example_input=x,
        importance=importance,
        scope=scope,
        end=6,
        frequency=2,
        min_keep=2,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(8):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        pruner.step()
    n = sum(NETWORKS[name][2].values())
    assert pruner.sparsity() == round(0.5 * n) / n
    assert all(share < 1 for share in pruner.layer_sparsities().values())
    model.eval()
    masked = copy.deepcopy(model)
    size = sum(p.numel() for p in model.parameters())
    pruner.finalize()
    assert sum(p.numel() for p in model.parameters()) < 0.85 * size
    more = torch.randn(4, *x.shape[1:])
    assert torch.allclose(model(more), masked(more), atol=1e-5)
    check_sizes(model)
    # It is a network like any other: it trains, copies and loads.
    model.train()
    model(more).square().mean().backward()
    copy.deepcopy(model).load_state_dict(model.state_dict())


def check_sizes(model: nn.Module) -> None:
    """What the modules say of themselves is true."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // module.groups)
        elif isinstance(module, nn.ConvTranspose1d):
            assert module.weight.shape[:2] == (module.in_channels, module.out_channels // module.groups)
        elif isinstance(module, nn.BatchNorm2d):
            assert len(module.running_mean) == len(module.running_var) == module.num_features
        elif isinstance(module, nn.PReLU):
            assert len(module.weight) == module.num_parameters


@pytest.mark.parametrize("name", NETWORKS)
def test_shrink_removes_exactly_what_is_not_read(name: str) -> None:
    model, x = make(name)
    channels = Channels(model, x)
    gone = torch.randperm(channels.n)[: channels.n // 3]
    keep = torch.ones(channels.n, dtype=torch.bool)
    keep[gone] = False
    with torch.no_grad():
        for (module, tensor), mask in channels.masks(keep).items():
            getattr(module, tensor).mul_(mask)
    model.eval()
    expected = model(x)
    assert shrink_(model, x) == len(gone)
    assert torch.allclose(model(x), expected, atol=1e-5)
    assert shrink_(model, x) == 0


def test_masks_reach_running_statistics() -> None:
    """A dropped channel is zero behind its BatchNorm in evaluation too, also without affine parameters."""
    model, x = make("residual")
    for _ in range(3):
        model(x + 3)
    pruner = DynamicPruner(model, 0.5, structure="channel", example_input=x, schedule="one-shot")
    model.inner_norm.register_forward_hook(lambda m, i, o: seen.append(o))
    pruner.step()
    model.eval()
    seen: list[Tensor] = []
    model(x)
    dropped = ~pruner.masks()["inner_norm.running_mean"]
    assert dropped.any()
    assert (seen[0][:, dropped] == 0).all()


def test_frozen_layers_shared_weights_and_excluded_layers_keep_their_channels() -> None:
    model, x = make("residual")
    model.inner.weight.requires_grad_(False)
    # Neither may lose what it makes nor what it reads, which is what the stem makes.
    assert set(Channels(model, x).sets) == {"side", "fc"}
    assert set(Channels(model, x, exclude=["fc"]).sets) == {"side"}
    model, x = make("residual")
    model.extra = nn.Linear(12, 5)
    model.extra.weight = model.out.weight
    assert "fc" not in Channels(model, x).sets


def test_sizes_written_into_the_program_block_removal() -> None:
    class Fixed(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.conv, self.fc, self.size = nn.Conv2d(1, 4, 3), nn.Linear(16, 2), size

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.fc(self.conv(x).view(x.size(0), self.size))
            return result

    x = torch.randn(2, 1, 4, 4)
    assert Channels(Fixed(16), x).n == 0
    assert Channels(Fixed(-1), x).n == 4
    with pytest.raises(ValueError, match="no channels"):
        DynamicPruner(Fixed(16), 0.5, structure="channel", example_input=x, end=5)


class Odd(nn.Module):
    """Functions that look as if they kept channels apart, on an axis where they do not."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 8)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.fc(x))
        return result


@pytest.mark.parametrize(
    ("last", "shape"),
    [
        (nn.Sequential(nn.MaxPool1d(2), nn.Linear(4, 2)), (3, 6)),
        (nn.Sequential(nn.MaxPool1d(2), nn.Linear(4, 2)), (3, 8, 6)),
        (nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 2)), (3, 8, 6)),
        (nn.Sequential(nn.PReLU(8), nn.Linear(8, 2)), (3, 8, 6)),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), (3, 8, 6)),
        (nn.Sequential(nn.Softmax(-1), nn.Linear(8, 2)), (3, 6)),
        (nn.Sequential(nn.GroupNorm(2, 8), nn.Linear(8, 2)), (3, 6)),
    ],
    ids=str,
)
def test_functions_that_mix_channels_keep_them(last: nn.Module, shape: tuple[int, ...]) -> None:
    assert Channels(Odd(last), torch.randn(shape)).n == 0


def test_layer_that_also_reads_something_else_keeps_its_inputs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.twice, self.out = nn.Linear(4, 4), nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.out(self.twice(x) + self.twice(self.first(x)))
            return result

    assert list(Channels(Twice(), torch.randn(2, 4)).sets) == ["twice"]


def test_images_without_a_batch() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    x = torch.randn(3, 8, 8)
    channels = Channels(model, x)
    assert channels.n == 8
    keep = torch.arange(8) != 3
    with torch.no_grad():
        model[2].weight[:, 3] = 0
    expected = model(x)
    channels.shrink_(keep)
    assert torch.allclose(model(x), expected, atol=1e-6)


def test_untraceable_network_is_reported() -> None:
    class Branches(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.sum() > 0 else x

    with pytest.raises(ValueError, match="cannot trace"):
        shrink_(nn.ModuleList([Branches(2, 2)])[0], torch.ones(1, 2))


def test_training_mode_and_statistics_survive_tracing() -> None:
    model, x = make("residual")
    model.norm.eval()
    before = copy.deepcopy(model.state_dict())
    Channels(model, x)
    assert model.training
    assert not model.norm.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_agrees_with_torch_pruning() -> None:
    """The same filters removed by both: the networks have the same shapes."""
    peer = pytest.importorskip("torch_pruning")
    model, x = make("residual")
    model.depthwise = nn.Conv2d(14, 28, 1)  # of a depthwise layer with two outputs each it makes nonsense
    theirs = copy.deepcopy(model)
    channels = Channels(model, x)
    rows: Any = {"stem": [1, 5], "inner": [0, 9], "fc": [3]}
    keep = torch.ones(channels.n, dtype=torch.bool)
    for name, gone in rows.items():
        keep[channels.sets[name][gone]] = False
    channels.shrink_(keep)
    for name, gone in rows.items():
        graph = peer.DependencyGraph().build_dependency(theirs, example_inputs=x)
        layer = theirs.get_submodule(name)
        prune = peer.prune_linear_out_channels if name == "fc" else peer.prune_conv_out_channels
        graph.get_pruning_group(layer, prune, idxs=gone).prune()
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    assert shapes == {name: value.shape for name, value in theirs.state_dict().items()}
    model.eval(), theirs.eval()
    assert torch.allclose(model(x), theirs(x), atol=1e-5)
