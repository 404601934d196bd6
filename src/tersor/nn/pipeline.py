"""A network in, the smallest file out: prune, quantize, and train in between where there is data."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..quantize import CodebookArray, QuantizedArray
from ..recipe import WEIGHT_MIN, Recipe, TensorRecipe, Training
from ._select import prunable_layers
from .budget import Search
from .compressed import CompressedModel
from .distill import Distiller, KDLoss
from .oneshot import prune_oneshot_
from .pruner import DynamicPruner
from .quantize import (
    PerChannel,
    PerGroup,
    PerTensor,
    QuantConfig,
    convert_,
    fake_quantize_,
    fake_quantize_as_,
    quantize_,
    quantize_as_,
)

__all__ = ["compress"]

QUANTIZABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding)
_LOSSLESS = (TensorRecipe(), None)


def compress(
    model: nn.Module,
    recipe: Recipe | str | None = None,
    *,
    max_bytes: int | None = None,
    max_drop: float | None = None,
    evaluate: Callable[[nn.Module], float] | None = None,
    train: Iterable[Any] | None = None,
    calibration: Iterable[Any] | None = None,
    loss: Callable[..., Tensor] | None = None,
    optimizer: Callable[[Any, float], torch.optim.Optimizer] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> CompressedModel:
    """Prune and quantize a network.

    Parameters
    ----------
    model : torch.nn.Module
        Unchanged afterwards.
    recipe : Recipe or str, optional
        What to do, or the name of a preset: "lossless", "int8", "int4", "deep" (prune nine of ten weights,
        share the others by k-means, train both) or "tiny". By default "int8". With a budget only its rules
        and its training count.
    max_bytes : int, optional
        Largest size of the file.
    max_drop : float, optional
        Most that `evaluate` may lose.
    evaluate : callable, optional
        Tells the worth of the model: the more the better, such as its accuracy on data set aside for this.
        Needed for `max_drop`; for `max_bytes` it finds out which layers matter most.
    train : iterable of batches, optional
        Read once for each epoch of the recipe's training, of which there is none without.
    calibration : iterable of batches, optional
        Some hundreds of samples. Without training, weights are pruned by what that does to these (SparseGPT),
        and by their magnitude without these.
    loss : callable, optional
        ``loss(outputs, teacher_outputs, labels)``; `tersor.nn.distill.KDLoss` by default.
    optimizer : callable, optional
        Makes an optimizer for parameters and a learning rate; Adam by default.
    checkpoint : path, optional
        Directory for the state of the training. The same call goes on from there after an interruption.
    progress : callable, optional
        Called with the name of a stage and the share of it that is done.

    Returns
    -------
    CompressedModel
        Its `curve` has the sizes and scores that a search for a budget met.

    Raises
    ------
    LimitError
        If a budget cannot be met; the message tells the least that can.
    ValueError
        If arguments do not go together, or `evaluate` returns what is no number.

    Notes
    -----
    Layers of other kinds than Linear, Conv1d, Conv2d and Embedding, and weights of less than 1024 elements,
    are stored without loss.

    With a budget, every weight's sizes and errors are measured for 2 to 8 bits, codebooks and even steps, and
    bytes are spent where they save most (`tersor.quantize.allocate_bits`). An error counts by what `evaluate`
    says to that layer's alone; without it, by how far outputs for `calibration` get from what they were; and
    without that, relative to the layer's weights. With training, what this rounds to zero is pruned while the
    model trains, and the rest chosen again.

    Examples
    --------
    >>> import torch, tersor.nn
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32))
    >>> tersor.nn.compress(model, "int8").tensors["0.weight"]
    QuantizedArray(shape=(64, 64), bits=8, symmetric, axis=0, nbytes=4352)
    >>> tersor.nn.compress(model, max_bytes=4000).save("small.safetensors")
    """
    if max_drop is not None and evaluate is None:
        raise ValueError("max_drop needs evaluate")
    if max_bytes is not None and max_drop is not None:
        raise ValueError("max_bytes and max_drop exclude one another")
    if evaluate is None and calibration is not None:
        calibration = list(calibration)
    work = _Work(model, train, calibration, loss, optimizer, checkpoint, progress)
    if max_bytes is None and max_drop is None:
        return work.follow(Recipe.of("int8" if recipe is None else recipe))
    return work.meet(Recipe.of("lossless" if recipe is None else recipe), max_bytes, max_drop, evaluate)


class _Work:
    """A copy of a network on its way to be compressed."""

    def __init__(
        self,
        model: nn.Module,
        train: Iterable[Any] | None,
        calibration: Iterable[Any] | None,
        loss: Callable[..., Tensor] | None,
        optimizer: Callable[[Any, float], torch.optim.Optimizer] | None,
        checkpoint: str | os.PathLike[str] | None,
        progress: Callable[[str, float], None] | None,
    ) -> None:
        self.original = model
        self.model = copy.deepcopy(model)
        self.train = train
        self.calibration = calibration
        self.loss = loss or KDLoss()
        self.make_optimizer = optimizer or (lambda parameters, rate: torch.optim.Adam(parameters, rate))
        self.folder = None if checkpoint is None else Path(checkpoint)
        self.report = progress or (lambda stage, share: None)

    def follow(self, recipe: Recipe) -> CompressedModel:
        """Do what a recipe says."""
        rules = {name: _rule(recipe, name, layer) for name, layer in _layers(self.model).items()}
        shares = {name: rule.sparsity for name, rule in rules.items() if rule.sparsity > 0}
        has_own = any(recipe.rule(f"{name}.weight") for name in shares)
        self._prune(shares, recipe.training, together=not has_own)
        first = {layer.weight: (rules[name], layer) for name, layer in _layers(self.model).items()}
        configs = {
            name: _config(*first[layer.weight])
            for name, layer in self.model.named_modules()
            if isinstance(layer, QUANTIZABLE) and first.get(layer.weight, _LOSSLESS)[0].method != "lossless"
        }
        if configs and self._trains(recipe.training.quantize_epochs):
            fake_quantize_(self.model, configs)
            self._train("quantize", recipe.training.quantize_epochs, recipe.training, 0.1)
            convert_(self.model)
        elif configs:
            quantize_(self.model, configs)
        self.report("quantize", 1.0)
        return CompressedModel.of(self.model, recipe=recipe.to_json())

    def meet(
        self,
        recipe: Recipe,
        max_bytes: int | None,
        max_drop: float | None,
        evaluate: Callable[[nn.Module], float] | None,
    ) -> CompressedModel:
        """Choose bits, steps and zeros for a budget; the recipe has the rest."""
        rest = {
            name: layer
            for name, layer in _layers(self.model).items()
            if recipe.rule(f"{name}.weight") is None
        }
        training = recipe.training
        prunes = self._trains(training.prune_epochs + training.recover_epochs)
        tunes = self._trains(training.quantize_epochs)
        # Indices stay as they are while levels are trained, and with them the size; integers do not.
        methods = ("kmeans", "steps") if tunes else ("affine", "kmeans", "steps")
        # Of these alone, zeros are a part; they tell what to prune.
        first = ("steps",) if prunes else methods
        search = Search(self.model, rest, evaluate, self.calibration, self.report, first, recipe.to_json())
        if max_bytes is not None:
            # What is trained of the rest may take a little more.
            limit = max_bytes if not (prunes or tunes) else int(0.99 * max_bytes)
            arrays = search.within(limit)
        else:
            assert max_drop is not None
            arrays = search.losing(max_drop)
            limit = search.file_size(arrays)
        if prunes:
            shares = {name: _share_of_zeros(array) for name, array in arrays.items()}
            pruned = {
                name: share for name, share in shares.items() if name in dict(prunable_layers(self.model))
            }
            self._prune({name: s for name, s in pruned.items() if s > 0}, training, together=False)
            arrays = search.again(limit, methods)
        if tunes:
            fake_quantize_as_(self.model, arrays)
            self._train("quantize", training.quantize_epochs, training, 0.1)
            convert_(self.model)
        else:
            quantize_as_(self.model, arrays)
        self.report("quantize", 1.0)
        return CompressedModel.of(self.model, recipe=recipe.to_json(), curve=search.curve)

    def _trains(self, epochs: int) -> bool:
        return self.train is not None and epochs > 0

    def _prune(self, shares: Mapping[str, float], training: Training, *, together: bool) -> None:
        """Zero shares of the layers' weights, or of all of them together."""
        if not shares:
            return
        epochs = training.prune_epochs + training.recover_epochs
        if not self._trains(epochs):
            method = "magnitude" if self.calibration is None else "sparsegpt"
            prune_oneshot_(self.model, shares, method=method, calibration=self.calibration)
            self.report("prune", 1.0)
            return
        end = max(self._n_batches() * training.prune_epochs, 2)
        pruner = DynamicPruner(
            self.model,
            max(shares.values()),
            scope="global" if together else shares,
            end=end,
            frequency=max(end // 100, 1),
            exclude=[name for name, _ in prunable_layers(self.model) if name not in shares],
        )
        self._train("prune", epochs, training, 1.0, after_step=pruner.step, stateful={"pruner": pruner})
        pruner.finalize()

    def _n_batches(self) -> int:
        assert self.train is not None
        return sum(1 for _ in self.train)

    def _train(
        self,
        stage: str,
        epochs: int,
        training: Training,
        rate: float,
        after_step: Callable[[], object] | None = None,
        stateful: Mapping[str, Any] | None = None,
    ) -> None:
        """Train with a share of the recipe's rate, going on where an interrupted call has been."""
        assert self.train is not None
        path = None
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{stage}.pt"
        zeros = [(w, w == 0) for w in (layer.weight.detach() for layer in _layers(self.model).values())]

        def hold_zeros() -> None:
            for weight, is_zero in zeros:
                weight.masked_fill_(is_zero, 0)

        steps = count(1)
        n = epochs * self._n_batches()
        distiller = Distiller(
            self.original,
            self.model,
            loss=self.loss if training.distill else KDLoss(alpha=0.0),
            optimizer=lambda parameters: self.make_optimizer(parameters, training.learning_rate * rate),
            scheduler=lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n),
            scheduler_every="step",
            after_step=after_step or hold_zeros,
            stateful=stateful,
            checkpoint=path,
            progress=lambda _: self.report(stage, next(steps) / n),
        )
        distiller.fit(self.train, epochs, resume=path is not None)


def _layers(model: nn.Module) -> dict[str, Any]:
    """The layers whose weights can be quantized and are worth it, each weight once."""
    layers: dict[str, Any] = {}
    seen = set()
    for name, layer in model.named_modules():
        if isinstance(layer, QUANTIZABLE) and isinstance(layer.weight, nn.Parameter):
            if layer.weight.numel() >= WEIGHT_MIN and layer.weight not in seen:
                layers[name] = layer
            seen.add(layer.weight)
    return layers


def _rule(recipe: Recipe, name: str, layer: nn.Module) -> TensorRecipe:
    usual = recipe.embeddings if isinstance(layer, nn.Embedding) else recipe.weights
    return recipe.rule(f"{name}.weight") or usual


def _config(rule: TensorRecipe, layer: Any) -> QuantConfig:
    """Say what `TensorRecipe.quantize` would do in the terms of `quantize_`."""
    cut = rule.cut(layer.weight[0].numel())
    granularity = PerGroup(cut["group_size"]) if "group_size" in cut else PerChannel() if cut else PerTensor()
    observer = "minmax" if rule.bits > 6 else "mse"
    return QuantConfig(rule.bits, rule.method, granularity, observer=observer)


def _share_of_zeros(array: QuantizedArray | CodebookArray) -> float:
    return float((array.dequantize("float32") == 0).mean())
