"""The search for bits, steps and zeros that meet a budget of bytes, or of what a network may lose."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import LimitError
from ..quantize import Choice, CodebookArray, QuantizedArray, allocate_bits, codebook, measure_choices
from ._running import call, evaluated
from .compressed import CompressedModel, CurvePoint
from .quantize import quantize_as_

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Search"]

Arrays = dict[str, "QuantizedArray | CodebookArray"]

# How often a budget is halved, or corrected for what the file really takes.
_STEPS = 8
# What may be put on the curve after the size of the file is known that the curve is in.
_NEXT_POINT = CurvePoint(10**12, -0.123456)
# Bits of a layer that is tried alone: few, so that something is lost.
_PROBE_BITS = 2


class Search:
    """Spends bytes on the layers of a network, whose weights stay as they are.

    Parameters
    ----------
    model : torch.nn.Module
    layers : mapping of str to module
        Those whose weights are to be quantized.
    evaluate : callable or None
        Tells the worth of the model.
    calibration : iterable of batches or None
        In place of `evaluate` tells how far outputs are from those of the model as it is.
    report : callable
        Called with a stage and the share of it that is done.
    methods : sequence of str
        Ways to quantize, as for `measure_choices`.
    recipe : str
        What is to stand in the file, in JSON.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, Any],
        evaluate: Callable[[nn.Module], float] | None,
        calibration: Iterable[Any] | None,
        report: Callable[[str, float], None],
        methods: Sequence[str],
        recipe: str,
    ) -> None:
        if not layers:
            raise ValueError("the model has no layer whose size a budget could change")
        self.model = model
        self.layers = dict(layers)
        self.evaluate = evaluate
        self.report = report
        self.methods = methods
        self.recipe = recipe
        self.curve: list[CurvePoint] = []
        self._worth: Callable[[], float] | None = None
        if evaluate is not None:
            self._worth = lambda: _worth(model, evaluate)
        elif calibration is not None:
            self._worth = _agreement(model, calibration)
        self._measure()
        self.importance = self._find_importance()

    def within(self, max_bytes: int) -> Arrays:
        """Find the least error for a file of at most so many bytes."""
        least = self._arrays(self.least)
        smallest = self.file_size(least)
        overhead = smallest - self.least
        budget = max_bytes - overhead
        best = least if smallest <= max_bytes else None
        for _ in range(_STEPS):
            if budget < self.least:
                break
            arrays = self._arrays(budget)
            size = self.file_size(arrays)
            if size <= max_bytes:
                best = arrays
                if size > 0.99 * max_bytes or budget >= self.most:
                    break
                budget += max((max_bytes - size) // 2, 1)
            elif best not in (None, least):
                break
            else:
                budget -= size - max_bytes + 16
        if best is None:
            raise LimitError(f"max_bytes: {max_bytes} cannot be reached; the smallest file has {smallest}")
        self._note(best)
        return best

    def losing(self, max_drop: float) -> Arrays:
        """Find the smallest file that costs at most so much of the network's worth."""
        assert self._worth is not None
        dense = self._worth()
        low, high = math.log(self.least), math.log(self.most)
        best = self._arrays(self.most)
        score = self._note(best)
        if score is None or dense - score > max_drop:
            raise LimitError(f"max_drop: {max_drop} cannot be kept, even by {self.curve[-1].nbytes} bytes")
        for step in range(_STEPS):
            budget = round(math.exp((low + high) / 2))
            arrays = self._arrays(budget)
            score = self._note(arrays)
            self.report("search", (step + 1) / _STEPS)
            if score is not None and dense - score <= max_drop:
                best, high = arrays, math.log(budget)
            else:
                low = math.log(budget)
        return best

    def again(self, max_bytes: int, methods: Sequence[str]) -> Arrays:
        """Choose anew for weights that have been trained."""
        self.methods = methods
        self._measure()
        return self.within(max_bytes)

    # ---- Measuring --------------------------------------------------------------------------------

    def _measure(self) -> None:
        matrices = {name: self._matrix(name) for name in self.layers}
        self.choices: dict[str, list[Choice]] = measure_choices(matrices, axis=0, method=self.methods)
        sizes = [[choice.nbytes for choice in choices] for choices in self.choices.values()]
        self.least, self.most = sum(map(min, sizes)), sum(map(max, sizes))
        self.report("measure", 1.0)

    def _find_importance(self) -> dict[str, float]:
        """How much a squared error in each layer counts."""
        energy = {
            name: float(layer.weight.detach().float().square().sum()) for name, layer in self.layers.items()
        }
        relative = {name: 1 / e if e > 0 else 1.0 for name, e in energy.items()}
        if self._worth is None:
            return relative
        dense = self._worth()
        drops = {}
        for i, name in enumerate(self.layers):
            matrix = self._matrix(name)
            probe = codebook(matrix, levels=1 << _PROBE_BITS)
            with self._holding({name: probe}):
                drops[name] = max(dense - self._worth(), 0.0), (probe.mse or 0.0) * matrix.numel()
            self.report("sensitivity", (i + 1) / len(self.layers))
        # A layer that happened to lose nothing is not worth nothing.
        floor = 0.1 * sum(drop for drop, _ in drops.values()) / len(drops)
        if floor == 0:
            return relative
        return {name: max(drop, floor) / error if error > 0 else 0.0 for name, (drop, error) in drops.items()}

    def _matrix(self, name: str) -> torch.Tensor:
        """The weight of a layer, a row for each output."""
        weight: torch.Tensor = self.layers[name].weight
        return weight.detach().float().cpu().flatten(1).contiguous()

    def _arrays(self, budget: int) -> Arrays:
        matrices = {name: self._matrix(name) for name in self.layers}
        allocation = allocate_bits(matrices, budget, weights=self.importance, choices=self.choices)
        chosen = allocation.apply(matrices)
        return {name: array for name, array in chosen.items() if not isinstance(array, torch.Tensor)}

    def _note(self, arrays: Arrays) -> float | None:
        """Put size and worth on the curve."""
        score = None
        if self._worth is not None:
            with self._holding(arrays):
                score = self._worth()
        shown = None if score is None else float(f"{score:.6g}")
        self.curve.append(CurvePoint(self.file_size(arrays), shown))
        return score

    @contextmanager
    def _holding(self, arrays: Arrays) -> Iterator[None]:
        """Have layers compute with what arrays stand for."""
        weights: dict[str, torch.Tensor] = {name: self.layers[name].weight for name in arrays}
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        try:
            with torch.no_grad():
                for name, array in arrays.items():
                    floats = torch.from_numpy(array.dequantize("float32"))
                    weights[name].copy_(floats.reshape(weights[name].shape))
            yield
        finally:
            with torch.no_grad():
                for name, weight in weights.items():
                    weight.copy_(before[name])

    def file_size(self, arrays: Arrays) -> int:
        """Bytes of the file with these."""
        copied = copy.deepcopy(self.model)
        quantize_as_(copied, arrays)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.safetensors")
            CompressedModel.of(copied, recipe=self.recipe, curve=[*self.curve, _NEXT_POINT]).save(path)
            return path.stat().st_size


def _worth(model: nn.Module, evaluate: Callable[[nn.Module], float]) -> float:
    with evaluated(model):
        score = float(evaluate(model))
    if not math.isfinite(score):
        raise ValueError(f"evaluate returned {score}")
    return score


def _agreement(model: nn.Module, calibration: Iterable[Any]) -> Callable[[], float]:
    """Make a score of how near outputs are to those that a model makes now; 0 is best."""
    batches = list(calibration)
    with evaluated(model):
        before = [_first(call(model, batch)) for batch in batches]
    energy = sum(float(y.square().sum()) for y in before)

    def score() -> float:
        with evaluated(model):
            after = (_first(call(model, batch)) for batch in batches)
            error = sum(float((y - z).square().sum()) for y, z in zip(before, after, strict=True))
        return -error / energy if energy > 0 else -error

    return score


def _first(output: Any) -> torch.Tensor:
    while not isinstance(output, torch.Tensor):
        output = next(iter(output.values() if isinstance(output, Mapping) else output))
    return output.float()
