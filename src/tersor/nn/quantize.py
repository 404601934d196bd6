"""Quantization of networks: after training, and while they are trained further (docs/quantization.md)."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from ..quantize import (
    Choice,
    CodebookArray,
    Observer,
    QuantizedArray,
    affine,
    codebook,
    even_steps,
    quantize_with,
)
from ..quantize._layout import check_choice, checked_bits
from ..quantize._packing import pack
from ._ops import grid_ends
from ._running import call, evaluated
from .linear import (
    QuantizedConv1d,
    QuantizedConv2d,
    QuantizedEmbedding,
    QuantizedLinear,
    round_to_grid,
    scale_gradient,
)

__all__ = [
    "ActivationConfig",
    "FakeQuantizedConv1d",
    "FakeQuantizedConv2d",
    "FakeQuantizedEmbedding",
    "FakeQuantizedLinear",
    "PerChannel",
    "PerGroup",
    "PerTensor",
    "QuantConfig",
    "convert_",
    "fake_quantize_",
    "quantize_",
]

METHODS = ("affine", "kmeans", "uniform", "quantile", "nf4", "steps")

# The least scale that `tersor.quantize` makes.
_TINY = 2.0**-126


# ---- Configuration --------------------------------------------------------------------------------


@dataclass(frozen=True)
class PerTensor:
    """One scale or codebook for a weight."""


@dataclass(frozen=True)
class PerChannel:
    """One for each output of a layer, or each entry of an embedding."""


@dataclass(frozen=True)
class PerGroup:
    """One for so many neighbouring inputs of an output; the size divides their number.

    The inputs of a convolution are its channels times the places of its kernel.
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, not {self.size}")


@dataclass(frozen=True)
class ActivationConfig:
    """How the inputs of a layer are rounded to integers.

    Parameters
    ----------
    bits : int
        2 to 8.
    symmetric : bool
        Whether there is no zero point; inputs are often never negative, which wants one.
    observer : {"minmax", "percentile", "mse", "histogram"}
        How the range is chosen from what the layer is shown; see `tersor.quantize.Observer`.
    percentile : float
        For that observer.
    """

    bits: int = 8
    symmetric: bool = False
    observer: str = "mse"
    percentile: float = 99.99

    def __post_init__(self) -> None:
        self.make_observer()

    def make_observer(self) -> Observer:
        """Make an observer of the inputs of one layer."""
        return Observer(self.observer, bits=self.bits, symmetric=self.symmetric, percentile=self.percentile)


@dataclass(frozen=True)
class QuantConfig:
    """How the weight of a layer is quantized, and its inputs if they are.

    Parameters
    ----------
    bits : int
        Of a weight, 2 to 8, or for codebooks 1 to 8; up to 4 are stored two a byte.
    method : {"affine", "kmeans", "uniform", "quantile", "nf4", "steps"}
        "affine": a scale times an integer. "steps": a codebook of multiples of `step`, as
        `tersor.quantize.even_steps` makes it. The others: a codebook of ``2**bits`` levels, as
        `tersor.quantize.codebook` finds them.
    granularity : PerTensor, PerChannel or PerGroup, optional
        What shares a scale or codebook. By default what a channel is, but for a codebook that has no scales
        the whole weight.
    symmetric : bool
        For "affine": whether there is no zero point.
    observer : {"minmax", "mse", "percentile", "histogram"}
        For "affine": how scales are chosen; "mse" is better for few bits.
    scaled : bool, optional
        For codebooks: share one, and scale it for each channel or group. By default only "nf4" does.
    step : float, optional
        For "steps".
    activations : ActivationConfig, optional
        None: inputs stay floats.

    Examples
    --------
    >>> QuantConfig(4, granularity=PerGroup(64)).granularity
    PerGroup(size=64)
    """

    bits: int = 8
    method: str = "affine"
    granularity: PerTensor | PerChannel | PerGroup | None = None
    symmetric: bool = True
    observer: str = "minmax"
    scaled: bool | None = None
    step: float | None = None
    activations: ActivationConfig | None = None

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)
        if (self.step is None) != (self.method != "steps"):
            raise ValueError("step is for method 'steps', which needs it")
        if not isinstance(self.granularity, PerTensor | PerChannel | PerGroup | None):
            raise ValueError(
                f"granularity must be PerTensor(), PerChannel() or PerGroup(n), not {self.granularity}"
            )
        if self.method == "affine":
            checked_bits(self.bits)
            check_choice("observer", self.observer, ("minmax", "mse", "percentile", "histogram"))
        elif not 1 <= self.bits <= 8:
            raise ValueError(f"bits must be from 1 to 8, not {self.bits}")
        elif self.method == "nf4" and self.bits != 4:
            raise ValueError(f"bits must be 4 for method 'nf4', not {self.bits}")

    @classmethod
    def of(cls, choice: Choice, activations: ActivationConfig | None = None) -> QuantConfig | None:
        """Make the configuration that a choice of `tersor.quantize.allocate_bits` stands for.

        Its tensors must be matrices with a row for each output, as ``weight.flatten(1)`` is. None: the
        tensor is kept.

        Examples
        --------
        >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 8))
        >>> weights = {name: layer.weight for name, layer in model.named_children()}
        >>> allocation = tersor.quantize.allocate_bits(weights, 2500, method="affine", axis=0)
        >>> config = {name: QuantConfig.of(c) for name, c in allocation.choices.items()}
        >>> _ = quantize_(model, config)
        """
        if choice.method == "keep":
            return None
        granularity: PerTensor | PerChannel | PerGroup = PerTensor()
        if choice.group_size is not None:
            granularity = PerGroup(choice.group_size)
        elif choice.axis is not None:
            granularity = PerChannel()
        return cls(
            choice.bits,
            choice.method,
            granularity,
            scaled=choice.method == "kmeans" and granularity != PerTensor(),
            step=choice.step if choice.method == "steps" else None,
            activations=activations,
        )

    @property
    def cut(self) -> dict[str, Any]:
        """What shares parameters in a matrix with a row for each output, as `tersor.quantize` takes it."""
        granularity = self.granularity
        if granularity is None:
            has_scales = self.method in ("affine", "nf4") or self.scaled
            granularity = PerChannel() if has_scales else PerTensor()
        if isinstance(granularity, PerGroup):
            return {"group_size": granularity.size}
        return {"axis": 0} if isinstance(granularity, PerChannel) else {}


Config = QuantConfig | Mapping[str, QuantConfig | None]


# ---- Weights and activations that are rounded and trained on ------------------------------------------


class StepQuantizer(nn.Module):
    """Rounds to integers times a step, which is learned (LSQ)."""

    zero_point: Tensor | None

    def __init__(self, scale: Tensor, zero_point: Tensor | None, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.step = nn.Parameter(scale)
        self.register_buffer("zero_point", zero_point)

    @classmethod
    def of_weight(cls, matrix: Tensor, config: QuantConfig) -> StepQuantizer:
        """Begin with the scales that quantization after training would use."""
        q = affine(
            matrix, bits=config.bits, symmetric=config.symmetric, observer=config.observer, **config.cut
        )
        scale, zero_point = _tensors(q.scale, q.zero_point)
        return cls(scale, zero_point, config.bits)

    @property
    def scale(self) -> Tensor:
        """The step as it is used: above zero, wherever training takes it."""
        return self.step.abs().clamp_min(_TINY)

    def forward(self, x: Tensor, n_sharing: int | None = None) -> Tensor:
        """Round. `n_sharing` elements of a sample share a step; by default all that do."""
        n = x.numel() // max(self.step.numel(), 1) if n_sharing is None else n_sharing
        _, most = grid_ends(self.zero_point, self.bits)
        return round_to_grid(x, self.scale, self.zero_point, self.bits, 1 / math.sqrt(max(n * most, 1)))

    def quantized(self, matrix: Tensor, config: QuantConfig) -> QuantizedArray:
        """Make the integers that stand for what `forward` returns."""
        zero_point = None if self.zero_point is None else self.zero_point.cpu()
        return quantize_with(matrix, self.scale.detach().cpu(), zero_point, bits=self.bits, **config.cut)

    def extra_repr(self) -> str:
        """Tell the number of bits."""
        return f"bits={self.bits}"


class SharedWeights(nn.Module):
    """Weights that share the levels of a codebook, which are learned: trained quantization.

    The gradient of a level is the sum of those of the weights that have it, by the square root of how many
    these are on average: sums of so many grow like that, and a learning rate that suits weights suits it
    then. A level that is 0 stays so.
    """

    indices: Tensor
    scale: Tensor | None
    is_free: Tensor

    def __init__(self, weights: CodebookArray) -> None:
        super().__init__()
        levels, indices = _tensors(weights.codebook, weights.integers())
        scale = None if weights.scale is None else torch.from_numpy(weights.scale)
        self.codebook = nn.Parameter(levels)
        self.register_buffer("indices", indices)
        self.register_buffer("scale", scale)
        self.register_buffer("is_free", levels != 0)
        # Levels that are to be multiplied by scales are larger than weights, and gradients smaller.
        square = 1.0 if scale is None else max(float(scale.square().mean()), _TINY)
        self.gradient_scale = 1 / (math.sqrt(max(indices.numel() / levels.numel(), 1)) * square)

    @classmethod
    def of_weight(cls, matrix: Tensor, config: QuantConfig) -> SharedWeights:
        """Share the levels that fit a weight; zeros of one that was pruned stay zeros."""
        if config.step is not None:
            return cls(even_steps(matrix, config.step))
        array = codebook(
            matrix,
            levels=2**config.bits,
            method=config.method,
            keep_zero=bool((matrix == 0).any()),
            scaled=config.scaled,
            **config.cut,
        )
        return cls(array)

    @property
    def levels(self) -> Tensor:
        """The codebook as it is used."""
        return scale_gradient(self.codebook, self.gradient_scale) * self.is_free

    def forward(self, weight: Tensor) -> Tensor:
        """Look up all weights; `weight` tells their shape and type alone."""
        levels = self.levels
        floats = levels.gather(1, self.indices.reshape(len(levels), -1).long())
        if self.scale is not None:
            floats = floats.reshape(*self.scale.shape, -1) * self.scale.unsqueeze(-1)
        return floats.reshape(weight.shape).to(weight.dtype)

    def quantized(self, matrix: Tensor, config: QuantConfig) -> CodebookArray:
        """Make the indices that stand for what `forward` returns."""
        indices = self.indices.cpu().numpy()
        packed = pack(indices) if self.codebook.shape[1] <= 16 else indices
        scale = None if self.scale is None else self.scale.cpu()
        return CodebookArray(packed, self.levels.detach().cpu(), scale, shape=indices.shape, **config.cut)

    def extra_repr(self) -> str:
        """Tell the number of levels."""
        return f"levels={self.codebook.shape[1]}"


def _tensors(first: Any, *others: Any) -> Any:
    return tuple(None if a is None else torch.from_numpy(a) for a in (first, *others))


# ---- Layers that are trained ------------------------------------------------------------------------


class _FakeQuantizedLayer(nn.Module):
    """A layer that works with rounded weights, and inputs, while its floats are trained."""

    quant_config: QuantConfig
    weight: Tensor
    weight_quantizer: StepQuantizer | SharedWeights
    input_quantizer: StepQuantizer | None

    def rounded_weight(self) -> Tensor:
        """Make the weight that the quantized layer will have."""
        return cast(Tensor, self.weight_quantizer(self.weight))

    def _inputs(self, x: Tensor) -> Tensor:
        if self.input_quantizer is None:
            return x
        sample = x[0] if x.ndim > 1 and len(x) else x
        return cast(Tensor, self.input_quantizer(x, sample.numel()))


class FakeQuantizedLinear(_FakeQuantizedLayer, nn.Linear):
    """A linear layer during quantization-aware training; made by `fake_quantize_`."""

    def forward(self, input: Tensor) -> Tensor:
        """Multiply with the rounded weight and add the bias."""
        return F.linear(self._inputs(input), self.rounded_weight(), self.bias)


class _FakeQuantizedConv(_FakeQuantizedLayer):
    def forward(self, input: Tensor) -> Tensor:
        """Convolve with the rounded weight and add the bias."""
        layer = cast(nn.Conv2d, self)  # or another
        return cast(Tensor, layer._conv_forward(self._inputs(input), self.rounded_weight(), layer.bias))


class FakeQuantizedConv1d(_FakeQuantizedConv, nn.Conv1d):
    """A convolution over sequences during quantization-aware training; made by `fake_quantize_`."""


class FakeQuantizedConv2d(_FakeQuantizedConv, nn.Conv2d):
    """A convolution over images during quantization-aware training; made by `fake_quantize_`."""


class FakeQuantizedEmbedding(_FakeQuantizedLayer, nn.Embedding):
    """A table of vectors during quantization-aware training; made by `fake_quantize_`."""

    def forward(self, input: Tensor) -> Tensor:
        """Look up rounded vectors."""
        return F.embedding(
            input,
            self.rounded_weight(),
            self.padding_idx,
            scale_grad_by_freq=self.scale_grad_by_freq,
            sparse=self.sparse,
        )


_FAKE: dict[type[nn.Module], type[_FakeQuantizedLayer]] = {
    nn.Linear: FakeQuantizedLinear,
    nn.Conv1d: FakeQuantizedConv1d,
    nn.Conv2d: FakeQuantizedConv2d,
    nn.Embedding: FakeQuantizedEmbedding,
}
_QUANTIZED: dict[type[nn.Module], Any] = {
    nn.Linear: QuantizedLinear,
    nn.Conv1d: QuantizedConv1d,
    nn.Conv2d: QuantizedConv2d,
    nn.Embedding: QuantizedEmbedding,
}


# ---- The way from floats to integers ------------------------------------------------------------------


@dataclass
class _Plan:
    """What a layer is to become."""

    name: str
    layer: Any
    config: QuantConfig
    weight_quantizer: Any = None
    input_quantizer: StepQuantizer | None = None

    def matrix(self) -> Tensor:
        """The weight as a matrix on the CPU, a row for each output; of zeros if it has no data."""
        weight = self.layer.weight.detach()
        if weight.is_meta:
            weight = torch.zeros(weight.shape, dtype=weight.dtype)
        return cast(Tensor, weight.cpu().flatten(1))

    @contextmanager
    def named(self) -> Iterator[None]:
        """Tell which layer an error is about."""
        try:
            yield
        except (TypeError, ValueError) as error:
            raise type(error)(f"layer {self.name!r}: {error}") from error


def fake_quantize_(
    model: nn.Module,
    config: Config = QuantConfig(),
    *,
    calibration: Iterable[Any] | None = None,
    forward: Callable[[nn.Module, Any], object] | None = None,
) -> nn.Module:
    """Make layers compute with rounded weights while their floats are trained.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place: its Linear, Conv1d, Conv2d and Embedding layers stay the same objects, with the
        same parameters, of another class. Subclasses of these are left alone.
    config : QuantConfig or mapping
        For all of them; or for those whose name matches a pattern like "encoder.*.fc?", of several patterns
        the first. None leaves them alone, as layers that match none are.
    calibration : iterable of batches
        What the network works on, a few hundred samples; only for activations.
    forward : callable, optional
        Runs the model on a batch; by default the batch, its parts if it is a tuple or list, or its entries
        by name if it is a mapping, are the arguments.

    Returns
    -------
    torch.nn.Module
        `model`.

    Raises
    ------
    ValueError
        If a pattern matches nothing, there is no layer to quantize or no data for its activations, or a
        weight is not finite, is computed from others or does not fit its configuration. Nothing has
        changed then.

    Notes
    -----
    Integers are rounded to with a straight-through gradient, and their steps are parameters too (LSQ). With
    codebooks the levels are the parameters, and every weight keeps its level; one of 0, which pruned weights
    get, stays 0. Make the optimizer afterwards, so that it knows the new parameters.

    References
    ----------
    Esser 2020 (LSQ), Han 2015 (Deep Compression).

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> _ = fake_quantize_(model, {"0": QuantConfig(4), "2": QuantConfig(4, "kmeans")})
    >>> model(torch.randn(3, 8)).sum().backward()
    >>> convert_(model)[2]
    QuantizedLinear(in_features=8, out_features=2, bias=True, levels=16)
    """
    for plan in _plans(model, config, calibration, forward):
        _fake_quantize(plan.layer, plan.config, plan.weight_quantizer, plan.input_quantizer)
    return model


def convert_(model: nn.Module) -> nn.Module:
    """Make layers that `fake_quantize_` made hold integers or indices, and no floats.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place, as before.

    Returns
    -------
    torch.nn.Module
        `model`.

    Raises
    ------
    ValueError
        If it has no such layer.
    """
    plans = [
        _Plan(name, layer, layer.quant_config, layer.weight_quantizer, layer.input_quantizer)
        for name, layer in model.named_modules()
        if isinstance(layer, _FakeQuantizedLayer)
    ]
    if not plans:
        raise ValueError("the model has no layer that fake_quantize_ made")
    _hold(plans)
    return model


def quantize_(
    model: nn.Module,
    config: Config = QuantConfig(),
    *,
    calibration: Iterable[Any] | None = None,
    forward: Callable[[nn.Module, Any], object] | None = None,
) -> nn.Module:
    """Make layers hold integers, or indices into a codebook, instead of floats.

    Parameters
    ----------
    model, config, calibration, forward
        As for `fake_quantize_`; without a configuration weights become 8-bit integers with a scale for each
        output. Weights that layers share are quantized once.

    Returns
    -------
    torch.nn.Module
        `model`, whose layers are now `QuantizedLinear` and the like. They have the same outputs as
        `fake_quantize_` makes, can be compiled, exported, copied and pickled, and let gradients through to
        their inputs and biases.

    Raises
    ------
    ValueError
        As `fake_quantize_` does.

    Notes
    -----
    To load a state dict, quantize a fresh model with the same configuration first. On the "meta" device
    that takes no data, not even for activations: ``model.load_state_dict(state, assign=True)`` brings it.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Embedding(100, 64), torch.nn.Linear(64, 64))
    >>> quantize_(model, QuantConfig(4, granularity=PerGroup(32)))
    Sequential(
      (0): QuantizedEmbedding(100, 64, bits=4, group_size=32)
      (1): QuantizedLinear(in_features=64, out_features=64, bias=True, bits=4, group_size=32)
    )
    >>> model[1].nbytes, model[1].weight.nbytes
    (2560, 16384)
    """
    _hold(_plans(model, config, calibration, forward))
    return model


def _hold(plans: list[_Plan]) -> None:
    """Quantize weights with their quantizers, and let the layers hold them."""
    held: dict[Any, Any] = {}  # layers that share a quantizer share a weight
    for plan in plans:
        layer, device = plan.layer, plan.layer.weight.device
        if plan.weight_quantizer not in held:
            weight = plan.weight_quantizer.quantized(plan.matrix(), plan.config)
            held[plan.weight_quantizer] = weight, None
        for name in ("quant_config", "weight_quantizer", "input_quantizer"):
            layer.__dict__.pop(name, None)
            layer._modules.pop(name, None)
        if isinstance(layer, _FakeQuantizedLayer):
            layer.__class__ = next(plain for plain, fake in _FAKE.items() if type(layer) is fake)  # type: ignore[assignment]
        weight, parts = held[plan.weight_quantizer]
        held[plan.weight_quantizer] = weight, hold_quantized(layer, weight, parts)
        if plan.input_quantizer is not None:
            inputs = plan.input_quantizer.to(device)
            layer.round_inputs(inputs.scale.detach(), inputs.zero_point, inputs.bits)


def hold_quantized(
    layer: nn.Module, weight: QuantizedArray | CodebookArray, parts: dict[str, Tensor] | None = None
) -> dict[str, Tensor] | None:
    """Make a layer hold a quantized weight, a matrix, in place of its own.

    Returns
    -------
    dict of str to Tensor, optional
        The tensors that it holds now, which are `parts` where a layer that shares them has made them. None:
        there is no quantized layer of this kind, and nothing has changed.
    """
    if type(layer) not in _QUANTIZED:
        return None
    if parts is None:
        device = cast(Tensor, layer.weight).device
        parts = {name: torch.from_numpy(a).to(device) for name, a in weight.components()[0].items()}
    layer.__class__ = _QUANTIZED[type(layer)]
    cast(Any, layer).hold(weight, parts)
    return parts


Arrays = Mapping[str, QuantizedArray | CodebookArray]


def quantize_as_(model: nn.Module, weights: Arrays) -> None:
    """Make layers hold quantized weights, by the layers' names, and those that share a weight with them."""
    for sharing, weight in _sharing(model, weights):
        parts = None
        for layer in sharing:
            parts = hold_quantized(layer, weight, parts)


def fake_quantize_as_(model: nn.Module, weights: Arrays) -> None:
    """Make layers compute with quantized weights, whose scales or levels are trained, until `convert_`."""
    for sharing, weight in _sharing(model, weights):
        quantizer: StepQuantizer | SharedWeights
        granularity: PerTensor | PerChannel | PerGroup = PerTensor() if weight.axis is None else PerChannel()
        if weight.group_size is not None:
            granularity = PerGroup(weight.group_size)
        if isinstance(weight, QuantizedArray):
            scale, zero_point = _tensors(weight.scale, weight.zero_point)
            quantizer = StepQuantizer(scale, zero_point, weight.bits)
            config = QuantConfig(weight.bits, granularity=granularity, symmetric=weight.symmetric)
        else:
            quantizer = SharedWeights(weight)
            config = QuantConfig(max((weight.levels - 1).bit_length(), 1), "kmeans", granularity)
        for layer in sharing:
            _fake_quantize(layer, config, quantizer, None)


def _sharing(model: nn.Module, weights: Arrays) -> Iterator[tuple[list[Any], QuantizedArray | CodebookArray]]:
    """Find all layers that have the weight of a named one."""
    layers = [layer for layer in model.modules() if type(layer) in _FAKE]
    named = dict(model.named_modules())
    for name, weight in weights.items():
        yield [layer for layer in layers if layer.weight is named[name].weight], weight


def _fake_quantize(layer: Any, config: QuantConfig, weight: nn.Module, inputs: nn.Module | None) -> None:
    device = layer.weight.device
    layer.__class__ = _FAKE[type(layer)]
    layer.quant_config = config
    layer.weight_quantizer = weight.to(device)
    layer.input_quantizer = None if inputs is None else inputs.to(device)


def _plans(
    model: nn.Module,
    config: Config,
    calibration: Iterable[Any] | None,
    forward: Callable[[nn.Module, Any], object] | None,
) -> list[_Plan]:
    """Decide what every layer is to become, without changing any."""
    plans = _chosen(model, config)
    quantizers: dict[Any, nn.Module] = {}
    for plan in plans:
        with plan.named():
            weight = plan.layer._parameters.get("weight")
            if weight is None:
                raise ValueError("its weight is computed from others: make it a plain parameter first")
            if getattr(plan.layer, "max_norm", None) is not None:
                raise ValueError("max_norm changes the weight whenever it is used")
            if (weight, plan.config) not in quantizers:
                kind: Any = StepQuantizer if plan.config.method == "affine" else SharedWeights
                quantizers[weight, plan.config] = kind.of_weight(plan.matrix(), plan.config)
            plan.weight_quantizer = quantizers[weight, plan.config]
    observed = [p for p in plans if p.config.activations and not isinstance(p.layer, nn.Embedding)]
    if observed:
        _calibrate(model, observed, calibration, forward or call)
    return plans


def _chosen(model: nn.Module, config: Config) -> list[_Plan]:
    patterns = {"*": config} if isinstance(config, QuantConfig) else dict(config)
    unused = set(patterns)
    plans = []
    for name, layer in model.named_modules():
        if type(layer) not in _FAKE:
            continue
        matches = [pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)]
        unused -= set(matches)
        found = patterns[matches[0]] if matches else None
        if found is not None:
            plans.append(_Plan(name, layer, found))
    if isinstance(config, Mapping) and unused:
        raise ValueError(f"config: {sorted(unused)[0]!r} matches no layer that can be quantized")
    if not plans:
        raise ValueError("the model has no layer to quantize")
    return plans


def _calibrate(
    model: nn.Module,
    plans: list[_Plan],
    calibration: Iterable[Any] | None,
    forward: Callable[[nn.Module, Any], object],
) -> None:
    """Choose the scales of activations from what layers are shown."""
    observers = {plan.name: cast(ActivationConfig, plan.config.activations).make_observer() for plan in plans}
    on_meta = all(plan.layer.weight.is_meta for plan in plans)
    if on_meta:  # what follows is to be loaded
        for observer in observers.values():
            observer.update(torch.zeros(1))
    elif calibration is None:
        raise ValueError("calibration: activations need data")

    def watch(plan: _Plan, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        x = arguments[0] if arguments else next(iter(named.values()))
        with plan.named():
            observers[plan.name].update(x.cpu())

    handles = [
        plan.layer.register_forward_pre_hook(
            lambda _, arguments, named, plan=plan: watch(plan, arguments, named), with_kwargs=True
        )
        for plan in plans
    ]
    try:
        with evaluated(model):
            for batch in () if on_meta else calibration or ():
                forward(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    for plan in plans:
        with plan.named():
            scale, zero_point = _tensors(*observers[plan.name].qparams())
            plan.input_quantizer = StepQuantizer(scale, zero_point, observers[plan.name].bits)
