"""Quantized layers: what they compute, hold, and survive."""

from __future__ import annotations

import copy
import io
import math
import pickle
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

import tersor  # noqa: E402
from tersor.nn import (  # noqa: E402
    ActivationConfig,
    PerChannel,
    PerGroup,
    PerTensor,
    QuantConfig,
    QuantizedConv2d,
    QuantizedEmbedding,
    QuantizedLinear,
    quantize_,
)

CONFIGS = {
    "int8": QuantConfig(),
    "uint8": QuantConfig(symmetric=False),
    "per tensor": QuantConfig(6, granularity=PerTensor()),
    "int4 groups": QuantConfig(4, granularity=PerGroup(32), observer="mse"),
    "uint4 groups": QuantConfig(4, granularity=PerGroup(32), symmetric=False),
    "small groups": QuantConfig(3, granularity=PerGroup(16)),
    "k-means": QuantConfig(4, "kmeans"),
    "k-means by channel": QuantConfig(5, "kmeans", granularity=PerChannel()),
    "k-means by group, scaled": QuantConfig(4, "kmeans", granularity=PerGroup(32), scaled=True),
    "quantile": QuantConfig(2, "quantile"),
    "nf4": QuantConfig(4, "nf4", granularity=PerGroup(32)),
}
# Activations are rounded to 16 bits before integers are multiplied.
CLOSE = {"rtol": 1e-4, "atol": 1e-3}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS)
def config(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Net(nn.Module):
    """Every kind of layer that can be quantized, and one that cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 32)
        self.conv1 = nn.Conv1d(32, 32, 2, padding=1, padding_mode="circular", bias=False)
        self.conv2 = nn.Conv2d(4, 8, (2, 4), stride=2, dilation=1, groups=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 4 * 4, 10)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.conv1(self.embedding(ids).mT)[..., :8]
        x = self.norm(self.conv2(x.reshape(-1, 4, 8, 8))[..., :4])
        x = nn.functional.pad(x, (0, 4 - x.shape[-1], 0, 4 - x.shape[-2]))
        return self.head(x.flatten(1).tanh())


IDS = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(1))


def as_float(layer: Any) -> nn.Module:
    """A float64 layer with the weight that a quantized one stands for."""
    weight = layer.weight.double()
    if isinstance(layer, nn.Embedding):
        return nn.Embedding.from_pretrained(weight)
    if isinstance(layer, nn.Linear):
        twin: Any = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
    else:
        settings = {
            name: getattr(layer, name)
            for name in ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
        }
        kind = next(kind for kind in (nn.Conv1d, nn.Conv2d) if isinstance(layer, kind))
        twin = kind(layer.in_channels, layer.out_channels, bias=layer.bias is not None, **settings)
    twin = twin.double()
    twin.weight.data = weight
    if layer.bias is not None:
        twin.bias.data = layer.bias.detach().double()
    return twin


def quantized_by_hand(weight: Tensor, config: QuantConfig) -> Tensor:
    """What `tersor.quantize` makes of a weight."""
    matrix = weight.detach().flatten(1)
    if config.method == "affine":
        q: Any = tersor.quantize.affine(
            matrix, bits=config.bits, symmetric=config.symmetric, observer=config.observer, **config.cut
        )
    else:
        q = tersor.quantize.codebook(
            matrix, levels=2**config.bits, method=config.method, scaled=config.scaled, **config.cut
        )
    return q.dequantize().reshape(weight.shape)


def all_layers(model: nn.Module) -> list[Any]:
    return [m for m in model.modules() if hasattr(m, "weight_shape")]


def test_weights_are_what_the_array_api_makes(config: QuantConfig) -> None:
    model = Net()
    expected = {
        n: quantized_by_hand(p, config) for n, p in model.named_parameters() if "weight" in n and p.ndim > 1
    }
    assert quantize_(model, config) is model
    assert len(all_layers(model)) == 4
    for name in ("embedding", "conv1", "conv2", "head"):
        assert torch.equal(getattr(model, name).weight, expected[f"{name}.weight"])
    assert type(model.norm) is nn.BatchNorm2d


def test_layers_compute_with_their_weights(cpu_path: str, config: QuantConfig) -> None:
    model = quantize_(Net(), config).eval()
    with torch.no_grad():
        assert torch.equal(model.embedding(IDS), model.embedding.weight[IDS])
        for layer, shape in (
            (model.conv1, (3, 32, 9)),
            (model.conv2, (3, 4, 8, 8)),
            (model.head, (2, 5, 128)),
        ):
            x = torch.randn(shape)
            torch.testing.assert_close(layer(x).double(), as_float(layer)(x.double()), **CLOSE)


@pytest.mark.parametrize("n_rows", [1, 3, 16, 300])
def test_linear_for_few_and_many_rows(n_rows: int, config: QuantConfig) -> None:
    layer = quantize_(nn.Linear(96, 40, bias=n_rows != 3), config)
    x = torch.randn(n_rows, 96)
    with torch.no_grad():
        torch.testing.assert_close(layer(x).double(), as_float(layer)(x.double()), **CLOSE)


def test_quantization_is_close_to_the_floats() -> None:
    layer = nn.Linear(512, 256)
    x = torch.randn(4, 512)
    expected = layer(x)
    scale = layer.weight.detach().abs().amax(1) / 127
    quantize_(layer)
    # Each weight is off by half a step at most.
    limit = 0.51 * scale * x.abs().sum(1, keepdim=True)
    assert ((layer(x) - expected).abs() < limit).all()


@pytest.mark.parametrize("shape", [(), (0,), (0, 96), (2, 0, 96), (2, 3, 96), (95,)])
def test_shapes_of_inputs(shape: tuple[int, ...], config: QuantConfig) -> None:
    layer = quantize_(nn.Linear(96, 7), config)
    x = torch.ones(shape)
    if shape[-1:] == (96,):
        assert layer(x).shape == (*shape[:-1], 7)
    else:
        with pytest.raises((ValueError, RuntimeError), match="96"):
            layer(x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types_of_floats(dtype: Any, config: QuantConfig) -> None:
    """Casting a model leaves what is held as it is; outputs are of the new type."""
    model = quantize_(Net(), config).eval()
    held = {name: b.clone() for name, b in model.named_buffers() if "norm" not in name and "like" not in name}
    expected = model(IDS)
    model.to(dtype)
    for name, part in held.items():
        assert torch.equal(model.get_buffer(name), part)
        assert model.get_buffer(name).dtype == part.dtype
    assert model.embedding(IDS).dtype == model.head.weight.dtype == dtype
    y = model(IDS)
    assert y.dtype == dtype
    precision = max(torch.finfo(dtype).eps, 1e-5)
    torch.testing.assert_close(y.double(), expected.double(), rtol=30 * precision, atol=30 * precision)
    assert model.float()(IDS).dtype == torch.float32


def test_a_model_of_half_precision_stays_one() -> None:
    model = quantize_(Net().bfloat16(), QuantConfig(4, granularity=PerGroup(32)))
    assert model(IDS).dtype == torch.bfloat16
    assert model.embedding.scale.dtype == torch.float32


def test_memory_falls() -> None:
    for config, share in (
        (QuantConfig(), 1 / 4),
        (QuantConfig(4, granularity=PerGroup(64)), 1 / 8 + 1 / 64),
        (QuantConfig(4, "kmeans"), 1 / 8),
    ):
        layer = nn.Linear(1024, 512, bias=False)
        floats = layer.weight.nbytes
        quantize_(layer, config)
        held = sum(t.untyped_storage().nbytes() for t in (*layer.parameters(), *layer.buffers()))
        assert held == layer.nbytes
        assert held <= floats * share + 512 * 4


def test_state_dict_into_a_fresh_skeleton(config: QuantConfig) -> None:
    model = quantize_(Net(), config).eval()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    torch.manual_seed(1)
    other = quantize_(Net(), config).eval()
    assert not torch.equal(other(IDS), model(IDS))
    other.load_state_dict(torch.load(file))
    assert torch.equal(other(IDS), model(IDS))


def test_state_dict_into_a_skeleton_without_data(config: QuantConfig) -> None:
    config = QuantConfig(**{**vars(config), "activations": ActivationConfig()})
    model = quantize_(Net(), config, calibration=[IDS]).eval()
    with torch.device("meta"):
        skeleton = Net()
    quantize_(skeleton, config)
    skeleton.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(skeleton.eval()(IDS), model(IDS))


def test_state_dict_of_another_configuration_is_refused() -> None:
    state = quantize_(nn.Linear(64, 8), QuantConfig(4, "kmeans")).state_dict()
    with pytest.raises(RuntimeError, match="values"):
        quantize_(nn.Linear(64, 8)).load_state_dict(state)


def test_copies_and_pickles(config: QuantConfig) -> None:
    model = quantize_(Net(), config).eval()
    expected = model(IDS)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(IDS), expected)
        assert repr(twin) == repr(model)


@pytest.mark.parametrize("name", ["int8", "uint4 groups", "k-means by channel", "nf4"])
@pytest.mark.parametrize("activations", [None, ActivationConfig()], ids=["floats in", "integers in"])
def test_compile_and_export(name: str, activations: Any) -> None:
    config = QuantConfig(**{**vars(CONFIGS[name]), "activations": activations})
    model = quantize_(Net(), config, calibration=[IDS]).eval()
    with torch.no_grad():
        expected = model(IDS)
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(IDS), expected)
        program = torch.export.export(model, (IDS,))
        torch.testing.assert_close(program.module()(IDS), expected)


def test_operators_keep_the_rules_of_operators() -> None:
    """Fake kernels, gradients and schemas, as PyTorch checks them."""
    layer = quantize_(nn.Linear(64, 8), QuantConfig(4, granularity=PerGroup(32)))
    shared = quantize_(nn.Linear(64, 8), QuantConfig(4, "kmeans"))
    eight = quantize_(nn.Linear(64, 8))
    x = torch.randn(2, 64, requires_grad=True)
    rest = layer.bias, 64
    integers = layer.values, layer.scale, layer.zero_point
    levels = shared.indices, shared.codebook, None
    grid = torch.tensor(0.03), torch.tensor(120, dtype=torch.uint8), 8
    cases: list[tuple[Any, tuple[Any, ...]]] = [
        (torch.ops.tersor.linear, (x, *integers, *rest, 4, None, 32)),
        (torch.ops.tersor.decode_linear, (x, *levels, *rest, None, None)),
        (torch.ops.tersor.integer_linear, (x, *grid, eight.values, eight.scale, eight.bias)),
        (torch.ops.tersor.dequantize, (*integers, 4, [8, 64], None, 32, torch.float32)),
        (torch.ops.tersor.decode, (*levels, [8, 64], None, None, torch.float16)),
    ]
    for op, arguments in cases:
        torch.library.opcheck(op.default, arguments)


def test_gradients_reach_inputs_and_biases(config: QuantConfig) -> None:
    layer = quantize_(nn.Linear(96, 7), config)
    x = torch.randn(5, 96, requires_grad=True)
    layer(x).square().sum().backward()
    y = as_float(layer)(x.detach().double())
    torch.testing.assert_close(x.grad.double(), 2 * y @ layer.weight.double(), **CLOSE)
    torch.testing.assert_close(layer.bias.grad.double(), 2 * y.sum(0), **CLOSE)


def test_gradients_of_rounded_activations() -> None:
    x = torch.randn(5, 96, requires_grad=True)
    config = QuantConfig(activations=ActivationConfig(observer="percentile", percentile=90))
    layer = quantize_(nn.Linear(96, 7), config, calibration=[x.detach()])
    layer(x).sum().backward()
    inside = torch.autograd.grad(layer._inputs(x).sum(), x)[0]
    assert 0.8 < inside.mean() < 0.99
    torch.testing.assert_close(x.grad, inside * layer.weight.sum(0))


# ---- Activations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize("weights", [QuantConfig(), QuantConfig(symmetric=False), CONFIGS["int4 groups"]])
def test_activations_become_integers(weights: QuantConfig, bits: int, symmetric: bool) -> None:
    activations = ActivationConfig(bits, symmetric, "minmax")
    data = [torch.randn(20, 96) + 0.5 for _ in range(3)]
    config = QuantConfig(**{**vars(weights), "activations": activations})
    layer = quantize_(nn.Linear(96, 7), config, calibration=data)
    low, high = (float(f(torch.stack(data))) for f in (torch.min, torch.max))
    n_steps = 2**bits - 2 if symmetric else 2**bits - 1
    width = 2 * max(-low, high) if symmetric else high - low
    assert layer.input_scale.item() == pytest.approx(width / n_steps)
    x = torch.cat([torch.randn(4, 96) * 3, torch.zeros(1, 96)])
    zero = 0 if symmetric else int(layer.input_zero_point)
    least, most = (-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1) if symmetric else (0, 2**bits - 1)
    rounded = ((x / layer.input_scale).round() + zero).clamp(least, most) - zero
    expected = as_float(layer)(rounded.double() * layer.input_scale.double())
    with torch.no_grad():
        torch.testing.assert_close(layer(x).double(), expected, **CLOSE)


def test_nan_stays_nan_where_activations_become_integers() -> None:
    layer = quantize_(
        nn.Linear(8, 3), QuantConfig(activations=ActivationConfig()), calibration=[torch.ones(1, 8)]
    )
    x = torch.ones(3, 8)
    x[1, 4] = math.nan
    assert layer(x).isnan().all(1).tolist() == [False, True, False]


def test_calibration_changes_nothing_else() -> None:
    model = Net().train()
    before = copy.deepcopy(model.state_dict())
    seen = []
    config = {"head": QuantConfig(activations=ActivationConfig())}
    quantize_(model, config, calibration=[IDS, IDS], forward=lambda m, b: seen.append(m(b).requires_grad))
    assert seen == [False, False]
    assert model.training
    assert model.norm.training
    assert torch.equal(model.norm.running_mean, before["norm.running_mean"])
    assert not model.head._forward_pre_hooks
    assert model.head.input_bits == 8


# ---- Which layers ---------------------------------------------------------------------------------


def test_patterns_choose_layers() -> None:
    model = Net()
    quantize_(model, {"conv?": None, "*": QuantConfig(4, "kmeans"), "head": QuantConfig()})
    assert type(model.conv1) is nn.Conv1d
    assert type(model.conv2) is nn.Conv2d
    assert isinstance(model.embedding, QuantizedEmbedding)
    assert "levels=16" in repr(model.head)
    quantize_(model, {"conv2": QuantConfig()})
    assert isinstance(model.conv2, QuantizedConv2d)


def test_shared_weights_and_layers_are_quantized_once() -> None:
    model = nn.ModuleDict({"in": nn.Embedding(40, 32), "out": nn.Linear(32, 40, bias=False)})
    model["out"].weight = model["in"].weight
    model["again"] = model["out"]
    quantize_(model, QuantConfig(4, granularity=PerGroup(32)))
    assert model["again"] is model["out"]
    assert isinstance(model["out"], QuantizedLinear)
    assert model["in"].values.data_ptr() == model["out"].values.data_ptr()
    assert model["in"].scale.data_ptr() == model["out"].scale.data_ptr()


def test_layers_of_other_kinds_are_left_alone() -> None:
    model = nn.Sequential(nn.MultiheadAttention(32, 2), nn.Linear(32, 4), nn.Conv3d(1, 1, 1))
    quantize_(model)
    assert [type(m) for m in model] == [nn.MultiheadAttention, QuantizedLinear, nn.Conv3d]
    assert not isinstance(model[0].out_proj, QuantizedLinear)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_a_transformer_layer_that_reads_its_weights() -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval()
    x = torch.randn(2, 5, 32)
    with torch.no_grad():
        expected = layer(x)
        quantize_(layer)
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=0.05)


def test_numbers_of_bits_are_named_in_the_representation() -> None:
    assert repr(quantize_(nn.Linear(64, 2), QuantConfig(3, granularity=PerGroup(16)))) == (
        "QuantizedLinear(in_features=64, out_features=2, bias=True, bits=3, group_size=16)"
    )


# ---- Errors ---------------------------------------------------------------------------------------


def test_configurations_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="bits"):
        QuantConfig(9)
    with pytest.raises(ValueError, match="bits"):
        QuantConfig(1)
    with pytest.raises(ValueError, match="bits"):
        QuantConfig(9, "kmeans")
    with pytest.raises(ValueError, match="bits must be 4"):
        QuantConfig(8, "nf4")
    with pytest.raises(ValueError, match="method"):
        QuantConfig(8, "linear")
    with pytest.raises(ValueError, match="observer"):
        QuantConfig(8, observer="median")
    with pytest.raises(ValueError, match="granularity"):
        QuantConfig(8, granularity="channel")
    with pytest.raises(ValueError, match="size"):
        PerGroup(0)
    with pytest.raises(ValueError, match="bits"):
        ActivationConfig(16)
    with pytest.raises(ValueError, match="method"):
        ActivationConfig(observer="median")


def broken(change: Any) -> nn.Module:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    change(model[1])
    return model


def set_nan(layer: Any) -> None:
    layer.weight.data[3, 4] = math.nan


@pytest.mark.parametrize(
    ("model", "config", "message"),
    [
        (nn.Sequential(nn.ReLU()), QuantConfig(), "no layer"),
        (nn.Sequential(nn.Linear(8, 8)), {"fc*": QuantConfig()}, r"'fc\*' matches no"),
        (broken(set_nan), QuantConfig(), r"layer '1': x has nan at \[3, 4\]"),
        (broken(set_nan), QuantConfig(4, "kmeans"), r"layer '1': x has nan at \[3, 4\]"),
        (
            broken(lambda layer: None),
            QuantConfig(granularity=PerGroup(3)),
            "layer '0': group_size 3 does not",
        ),
        (broken(lambda layer: None), QuantConfig(activations=ActivationConfig()), "calibration"),
        (broken(torch.nn.utils.spectral_norm), QuantConfig(), "layer '1': its weight is computed"),
        (nn.Embedding(5, 5, max_norm=1.0), QuantConfig(), "max_norm"),
    ],
)
def test_errors_name_the_layer_and_change_nothing(model: nn.Module, config: Any, message: str) -> None:
    before = {name: (type(m), dict(m._parameters)) for name, m in model.named_modules()}
    with pytest.raises(ValueError, match=message):
        quantize_(model, config)
    assert {name: (type(m), dict(m._parameters)) for name, m in model.named_modules()} == before


def test_a_layer_that_calibration_does_not_reach() -> None:
    model = nn.ModuleDict({"used": nn.Linear(8, 8), "not": nn.Linear(8, 8)})
    with pytest.raises(ValueError, match="layer 'not': the observer has seen no data"):
        quantize_(
            model,
            QuantConfig(activations=ActivationConfig()),
            calibration=[torch.ones(2, 8)],
            forward=lambda m, x: m["used"](x),
        )


def test_damaged_state_dicts_never_read_out_of_bounds() -> None:
    """Whatever is loaded, an output or an error comes of it."""
    shared = quantize_(nn.Linear(64, 8), QuantConfig(3, "kmeans"))
    shared.indices.fill_(0xFF)
    with pytest.raises(tersor.CorruptDataError):
        shared(torch.ones(1, 64))
    layer = quantize_(nn.Linear(64, 8))
    layer.values = layer.values[:, :32]
    with pytest.raises(ValueError, match="32 bytes"):
        layer(torch.ones(1, 64))
    layer = quantize_(nn.Linear(64, 8), QuantConfig(4, granularity=PerGroup(32)))
    layer.scale = layer.scale[:, :1]
    with pytest.raises(ValueError, match="scale"):
        layer(torch.ones(1, 64))
    with pytest.raises(ValueError, match="scale"):
        layer(torch.ones(999, 64))


def test_results_do_not_depend_on_threads() -> None:
    layer = quantize_(nn.Linear(2048, 1500), QuantConfig(4, granularity=PerGroup(64)))
    x = torch.randn(3, 2048)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(layer(x).detach().numpy().tobytes())
    finally:
        torch.set_num_threads(before)
    assert len(set(results)) == 1


def test_every_path_gives_the_same_outputs() -> None:
    from tersor import _native

    model = quantize_(Net(), QuantConfig(4, granularity=PerGroup(32))).eval()
    before = str(_native.cpu_features()["selected"])
    try:
        x = torch.randn(3, 128)
        results = []
        for path in _native.cpu_paths():
            _native.select_cpu(path)
            results.append(model.head(x).detach().numpy())
    finally:
        _native.select_cpu(before)
    assert all(np.array_equal(result, results[0]) for result in results)


# ---- Bits by layer --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["affine", "kmeans", "steps", ("affine", "kmeans", "steps")])
@pytest.mark.parametrize("cut", [{}, {"axis": 0}, {"group_size": 32}])
def test_an_allocation_of_bits_becomes_a_configuration(method: Any, cut: dict[str, int]) -> None:
    model = Net()
    weights = {n: getattr(model, n).weight.flatten(1) for n in ("embedding", "conv1", "conv2", "head")}
    allocation = tersor.quantize.allocate_bits(weights, 4000, method=method, **cut)
    expected = {n: c.apply(weights[n]) for n, c in allocation.choices.items()}
    quantize_(model, {n: QuantConfig.of(c) for n, c in allocation.choices.items()})
    for name, array in expected.items():
        floats = array.dequantize() if hasattr(array, "dequantize") else array
        assert torch.equal(getattr(model, name).weight.flatten(1), floats)


def test_what_an_allocation_keeps_has_no_configuration() -> None:
    choice = tersor.quantize.allocate_bits({"x": torch.zeros(0, 3)}, 0).choices["x"]
    assert QuantConfig.of(choice) is None
    with pytest.raises(ValueError, match="step"):
        QuantConfig(4, "steps")
    with pytest.raises(ValueError, match="step"):
        QuantConfig(4, step=1.0)
