"""Quantization-aware training: gradients by their formulas, and the layers that come of it."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from tersor.nn import (  # noqa: E402
    ActivationConfig,
    PerChannel,
    PerGroup,
    PerTensor,
    QuantConfig,
    convert_,
    fake_quantize_,
    quantize_,
)
from tersor.nn.linear import round_to_grid  # noqa: E402

CONFIGS = {
    "int8": QuantConfig(),
    "uint4": QuantConfig(4, symmetric=False),
    "per tensor": QuantConfig(2, granularity=PerTensor()),
    "groups": QuantConfig(3, granularity=PerGroup(8), observer="mse"),
    "k-means": QuantConfig(3, "kmeans"),
    "k-means by channel": QuantConfig(5, "kmeans", granularity=PerChannel()),
    "k-means by group, scaled": QuantConfig(2, "kmeans", granularity=PerGroup(8), scaled=True),
    "nf4": QuantConfig(4, "nf4"),
}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS)
def config(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def make_model() -> nn.Sequential:
    return nn.Sequential(
        nn.Embedding(20, 16),
        nn.Conv1d(4, 4, 4, groups=1),
        nn.Flatten(1),
        nn.Unflatten(1, (4, 1, -1)),
        nn.Flatten(0, 1),
        nn.Linear(13, 24),
        nn.ReLU(),
        nn.Linear(24, 16, bias=False),
        nn.Flatten(1),
        nn.Unflatten(1, (1, 4, 4)),
        nn.Conv2d(1, 8, 4, padding=1, padding_mode="reflect"),
    )


IDS = torch.randint(0, 20, (3, 4), generator=torch.Generator().manual_seed(1))


def for_all(config: QuantConfig) -> dict[str, QuantConfig]:
    """The configuration, for the layers that have groups of eight."""
    names = ("0", "7", "10") if isinstance(config.granularity, PerGroup) else ("*",)
    return dict.fromkeys(names, config)


# ---- Learned steps --------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("zero_point", [None, 1])
def test_gradients_are_those_of_lsq(bits: int, zero_point: Any) -> None:
    """Esser 2020, equations 3 and 5, spelt out in float64; a zero point moves the ends."""
    x = (torch.randn(6, 40, dtype=torch.float64) * 2).requires_grad_()
    step = (torch.rand(6, dtype=torch.float64) + 0.1).requires_grad_()
    zero = None if zero_point is None else torch.full((6,), zero_point, dtype=torch.uint8)
    incoming = torch.randn(6, 40, dtype=torch.float64)
    y = round_to_grid(x, step, zero, bits, gradient_scale=0.125)
    y.backward(incoming)
    low = -(2 ** (bits - 1)) + 1 if zero is None else -zero_point
    high = 2 ** (bits - 1) - 1 if zero is None else 2**bits - 1 - zero_point
    with torch.no_grad():
        ratio = x / step[:, None]
        inside = (low <= ratio) & (ratio <= high)
        assert torch.equal(y, ratio.round().clamp(low, high) * step[:, None])
        of_step = torch.where(inside, ratio.round() - ratio, ratio.clamp(low, high))
        torch.testing.assert_close(x.grad, incoming * inside)
        torch.testing.assert_close(step.grad, 0.125 * (incoming * of_step).sum(1))


def test_gradient_scale() -> None:
    """1 / sqrt(n q_max), n being the elements that share a step, in a sample of activations."""
    config = QuantConfig(4, granularity=PerGroup(8), activations=ActivationConfig(3, True))
    model = fake_quantize_(nn.Linear(16, 5), config, calibration=[torch.randn(4, 16)])
    for quantizer, x, n, most in (
        (model.weight_quantizer, model.weight, 8, 7),
        (model.input_quantizer, torch.randn(4, 16), 16, 3),
    ):
        arguments = (n,) if quantizer is model.input_quantizer else ()
        quantizer(x, *arguments).sum().backward()
        scaled = quantizer.step.grad.clone()
        quantizer.step.grad = None
        round_to_grid(x, quantizer.scale, None, quantizer.bits).sum().backward()
        torch.testing.assert_close(scaled, quantizer.step.grad / math.sqrt(n * most))


def test_a_step_that_becomes_negative_is_none() -> None:
    model = fake_quantize_(nn.Linear(16, 5), QuantConfig(4))
    model.weight_quantizer.step.data.mul_(-1)
    model.weight_quantizer.step.data[2] = 0
    expected = model.rounded_weight().detach()
    assert torch.equal(convert_(model).weight, expected)
    assert (model.scale > 0).all()


# ---- Shared levels --------------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", [PerTensor(), PerChannel(), PerGroup(8)])
def test_gradients_are_summed_by_level(granularity: Any) -> None:
    layer = fake_quantize_(nn.Linear(16, 6), QuantConfig(2, "kmeans", granularity=granularity))
    shared = layer.weight_quantizer
    incoming = torch.randn(6, 16)
    layer.rounded_weight().backward(incoming)
    parts = incoming.reshape(len(shared.codebook), -1)
    indices = shared.indices.reshape(parts.shape)
    expected = torch.stack([(parts * (indices == level)).sum(1) for level in range(4)], dim=1)
    n = 96 / expected.numel()  # weights of a level, on average
    torch.testing.assert_close(shared.codebook.grad, expected / math.sqrt(n))
    assert layer.weight.grad is None


def test_gradients_of_scaled_levels() -> None:
    layer = fake_quantize_(nn.Linear(16, 6), QuantConfig(4, "nf4", granularity=PerGroup(8)))
    shared = layer.weight_quantizer
    incoming = torch.randn(6, 16)
    layer.rounded_weight().backward(incoming)
    weighted = incoming.reshape(6, 2, 8) * shared.scale[..., None]
    indices = shared.indices.reshape(6, 2, 8)
    expected = torch.stack([(weighted * (indices == level)).sum() for level in range(16)])
    expected[shared.codebook[0] == 0] = 0
    expected /= math.sqrt(96 / 16) * shared.scale.square().mean()
    torch.testing.assert_close(shared.codebook.grad[0], expected)


@pytest.mark.parametrize("method", ["kmeans", "uniform", "quantile", "nf4"])
def test_pruned_weights_stay_zero(method: str) -> None:
    layer = nn.Linear(64, 32)
    pruned = torch.rand(32, 64) < 0.7
    layer.weight.data[pruned] = 0
    fake_quantize_(layer, QuantConfig(4, method))
    optimizer = torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    before = layer.rounded_weight().detach()
    for _ in range(5):
        optimizer.zero_grad()
        layer(torch.randn(8, 64)).square().sum().backward()
        optimizer.step()
    after = convert_(layer).weight
    assert (after[pruned] == 0).all()
    assert not torch.equal(before, after)
    assert method == "nf4" or len(after.unique()) <= 16  # nf4 is scaled


# ---- Models ---------------------------------------------------------------------------------------


def test_training_begins_where_quantization_ends(config: QuantConfig) -> None:
    model = make_model()
    twin = quantize_(copy.deepcopy(model), for_all(config))
    fake = fake_quantize_(model, for_all(config))
    torch.testing.assert_close(fake(IDS), twin(IDS), rtol=1e-3, atol=1e-3)
    for ours, theirs in zip(fake, twin, strict=True):
        if hasattr(ours, "rounded_weight"):
            assert torch.equal(ours.rounded_weight(), theirs.weight)


def test_converted_layers_hold_what_was_trained(config: QuantConfig) -> None:
    model = fake_quantize_(make_model(), for_all(config))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (model(IDS) - 1).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    rounded = [m.rounded_weight().detach() for m in model if hasattr(m, "rounded_weight")]
    expected = model(IDS).detach()
    assert convert_(model) is model
    assert all(torch.equal(m.weight, w) for m, w in zip(model_layers(model), rounded, strict=True))
    assert not any("quantizer" in name for name in model.state_dict())
    torch.testing.assert_close(model(IDS), expected, rtol=1e-3, atol=1e-3)


def model_layers(model: nn.Sequential) -> list[Any]:
    return [m for m in model if hasattr(m, "weight_shape")]


def test_activations_are_trained_and_converted() -> None:
    config = {
        "5": QuantConfig(4, activations=ActivationConfig(4)),
        "10": QuantConfig(activations=ActivationConfig(8, True)),
    }
    model = fake_quantize_(make_model(), config, calibration=[IDS])
    begin = model[5].input_quantizer.step.item()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(5):
        optimizer.zero_grad()
        (model(IDS) - 1).square().mean().backward()
        optimizer.step()
    assert model[5].input_quantizer.step.item() != begin
    expected = model(IDS).detach()
    convert_(model)
    assert (model[5].input_bits, model[10].input_bits) == (4, 8)
    # An activation at the edge of a step may fall to either side.
    difference = (model(IDS) - expected).abs()
    assert difference.mean() < 0.01 * expected.abs().mean()


def test_layers_and_parameters_stay_the_same_objects() -> None:
    model = make_model()
    layers, parameters = list(model), dict(model.named_parameters())
    called = []
    model[5].register_forward_hook(lambda *_: called.append(1))
    fake_quantize_(model)
    assert all(a is b for a, b in zip(layers, model, strict=True))
    assert all(dict(model.named_parameters())[name] is p for name, p in parameters.items())
    assert isinstance(model[5], nn.Linear)
    convert_(model)
    model(IDS)
    assert called == [1]


def test_shared_weights_share_a_quantizer() -> None:
    model = nn.ModuleDict({"in": nn.Embedding(40, 32), "out": nn.Linear(32, 40, bias=False)})
    model["out"].weight = model["in"].weight
    fake_quantize_(model, QuantConfig(4))
    assert model["in"].weight_quantizer is model["out"].weight_quantizer
    assert len(list(model.parameters())) == 2
    convert_(model)
    assert model["in"].values.data_ptr() == model["out"].values.data_ptr()


def test_state_dict_copies_and_pickles_while_training(config: QuantConfig) -> None:
    model = fake_quantize_(make_model(), for_all(config))
    torch.manual_seed(1)
    other = fake_quantize_(make_model(), for_all(config))
    other.load_state_dict(model.state_dict())
    expected = model(IDS)
    for twin in (other, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(IDS), expected)


@pytest.mark.parametrize("name", ["groups", "k-means"])
def test_training_can_be_compiled(name: str) -> None:
    model = fake_quantize_(make_model(), for_all(CONFIGS[name]))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    gradients: list[list[Tensor]] = []
    for runs in (model, compiled):
        model.zero_grad()
        runs(IDS).square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_half_precision(config: QuantConfig) -> None:
    model = fake_quantize_(make_model().bfloat16(), for_all(config))
    y = model(IDS)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    convert_(model)
    assert model(IDS).dtype == torch.bfloat16


def test_nothing_to_convert() -> None:
    with pytest.raises(ValueError, match="fake_quantize_"):
        convert_(make_model())
