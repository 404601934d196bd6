"""Recipes: what is to become of each tensor of a model, written down so that people and files can read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from . import prune
from .arrays import as_numpy
from .quantize import CodebookArray, QuantizedArray, affine, codebook

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PRESETS", "Recipe", "TensorRecipe", "Training", "compress_tensors"]

# The entry in a model file's metadata that tells what was done, in JSON: version, recipe, curve, shared.
KEY = "tersor.model"
VERSION = 1

METHODS = ("lossless", "affine", "kmeans", "uniform", "quantile", "nf4")

FLOATS = ("float32", "float16", "bfloat16", "float64")

# Smaller tensors, and vectors, are not worth an error.
WEIGHT_MIN = 1024


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class TensorRecipe:
    """What is done to one tensor.

    Parameters
    ----------
    method : {"lossless", "affine", "kmeans", "uniform", "quantile", "nf4"}
        How its values are stored: as they are; as integers of an even grid; as indices into a codebook of
        ``2**bits`` levels, which `tersor.quantize.codebook` finds by this method.
    bits : int
        2 to 8.
    per_channel : bool
        Whether each output, or entry of an embedding, has a scale or codebook of its own.
    group_size : int, optional
        How many neighbouring inputs share a scale or a codebook, instead; where it does not divide their
        number, it is as `per_channel`.
    sparsity : float
        Share of the elements that is set to zero first, those that matter least; in [0, 1).

    Examples
    --------
    >>> TensorRecipe("affine", bits=4, group_size=32).quantize(np.ones((2, 64), np.float32))
    QuantizedArray(shape=(2, 64), bits=4, symmetric, group_size=32, nbytes=80)
    """

    method: str = "lossless"
    bits: int = 8
    per_channel: bool = False
    group_size: int | None = None
    sparsity: float = 0.0

    def __post_init__(self) -> None:
        _check(self.method in METHODS, f"method must be one of {', '.join(METHODS)}, not {self.method!r}")
        _check(type(self.bits) is int and 2 <= self.bits <= 8, f"bits must be from 2 to 8, not {self.bits!r}")
        size = self.group_size
        _check(size is None or (type(size) is int and size > 0), f"group_size must be above 0, not {size!r}")
        _check(not (self.per_channel and size), "per_channel and group_size exclude one another")
        _check(0 <= self.sparsity < 1, f"sparsity must be at least 0 and below 1, not {self.sparsity!r}")
        _check(self.method != "nf4" or self.bits == 4, f"bits must be 4 for method 'nf4', not {self.bits}")

    def cut(self, n_inputs: int) -> dict[str, int]:
        """What shares parameters in a matrix with so many inputs, as `tersor.quantize` takes it."""
        if self.group_size is not None and n_inputs % self.group_size == 0:
            return {"group_size": self.group_size}
        return {"axis": 0} if self.per_channel or self.group_size or self.method == "nf4" else {}

    def quantize(self, matrix: NDArray[Any]) -> QuantizedArray | CodebookArray:
        """Quantize a matrix with a row for each output; what is zero stays zero."""
        cut: dict[str, Any] = self.cut(matrix.shape[-1])
        if self.method == "affine":
            observer = "minmax" if self.bits > 6 else "mse"
            return affine(matrix, bits=self.bits, observer=observer, **cut)
        keep_zero = self.sparsity > 0
        return codebook(matrix, levels=2**self.bits, method=self.method, keep_zero=keep_zero, **cut)


@dataclass(frozen=True)
class Training:
    """How a model is trained between the steps, where training data is given.

    Parameters
    ----------
    prune_epochs, recover_epochs, quantize_epochs : int
        Epochs in which the sparsity rises, that follow at the full sparsity, and with quantized weights.
    learning_rate : float
        Of the first two; a tenth of it for quantized weights.
    distill : bool
        Whether the model learns from what it was before, beside the labels.
    """

    prune_epochs: int = 0
    recover_epochs: int = 0
    quantize_epochs: int = 0
    learning_rate: float = 1e-3
    distill: bool = True

    def __post_init__(self) -> None:
        for name in ("prune_epochs", "recover_epochs", "quantize_epochs"):
            n = getattr(self, name)
            _check(type(n) is int and n >= 0, f"{name} must be an integer of at least 0, not {n!r}")
        _check(self.learning_rate > 0, f"learning_rate must be above 0, not {self.learning_rate!r}")

    @property
    def epochs(self) -> int:
        """All epochs together."""
        return self.prune_epochs + self.recover_epochs + self.quantize_epochs


@dataclass(frozen=True)
class Recipe:
    """What is done to a model.

    Parameters
    ----------
    weights : TensorRecipe
        For the weights of linear and convolutional layers. Its sparsity is that of each, or with training
        that of all together, so that those with weights to spare give more; that of a rule is its own.
    embeddings : TensorRecipe
        For embedding tables.
    rules : mapping of str to TensorRecipe
        For tensors by name; ``*`` stands for any characters, and the first pattern that fits counts. They
        come before the others.
    training : Training

    Notes
    -----
    All other tensors (biases, norms, buffers, weights of unknown layers) are lossless.

    Examples
    --------
    >>> recipe = Recipe(TensorRecipe("affine", bits=4, group_size=64), rules={"head.*": TensorRecipe()})
    >>> recipe.to_json()
    '{"weights": {"method": "affine", "bits": 4, "group_size": 64}, "rules": {"head.*": {}}}'
    >>> Recipe.from_json(recipe.to_json()) == recipe
    True
    """

    weights: TensorRecipe = TensorRecipe()
    embeddings: TensorRecipe = TensorRecipe()
    rules: Mapping[str, TensorRecipe] = field(default_factory=dict)
    training: Training = Training()

    def to_json(self) -> str:
        """Write down what is not by default; `from_json` reads it."""
        parts: dict[str, Any] = {}
        for name in ("weights", "embeddings", "training"):
            if changed := _changed(getattr(self, name)):
                parts[name] = changed
        if self.rules:
            parts["rules"] = {pattern: _changed(rule) for pattern, rule in self.rules.items()}
        return json.dumps(parts)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read a recipe.

        Raises
        ------
        ValueError
            If the text is no recipe; the message tells where.
        """
        parts = json.loads(text)
        _check_names(parts, cls, "the recipe")
        rules = parts.pop("rules", {})
        _check(isinstance(rules, dict), "rules must be an object")
        made = {
            name: _build(Training if name == "training" else TensorRecipe, part, name)
            for name, part in parts.items()
        }
        made["rules"] = {
            pattern: _build(TensorRecipe, rule, f"rule {pattern!r}") for pattern, rule in rules.items()
        }
        return cls(**made)

    @classmethod
    def of(cls, recipe: Recipe | str) -> Recipe:
        """Look up a preset by its name; other recipes are returned as they are."""
        if isinstance(recipe, Recipe):
            return recipe
        _check(recipe in PRESETS, f"recipe must be one of {', '.join(PRESETS)}, not {recipe!r}")
        return PRESETS[recipe]

    def rule(self, name: str) -> TensorRecipe | None:
        """Find the rule for a tensor's name."""
        return next((rule for pattern, rule in self.rules.items() if fnmatchcase(name, pattern)), None)


def _changed(part: Any) -> dict[str, Any]:
    return {f.name: value for f in fields(part) if (value := getattr(part, f.name)) != f.default}


def _check_names(parts: Any, cls: type, where: str) -> None:
    _check(isinstance(parts, dict), f"{where} must be an object")
    unknown = sorted(set(parts) - {f.name for f in fields(cls)})
    _check(not unknown, f"{where} has the unknown entry {unknown and unknown[0]!r}")


def _build(cls: Any, parts: Any, where: str) -> Any:
    _check_names(parts, cls, where)
    try:
        return cls(**parts)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


_INT8 = TensorRecipe("affine", bits=8, per_channel=True)

PRESETS: Mapping[str, Recipe] = {
    "lossless": Recipe(),
    "int8": Recipe(weights=_INT8, embeddings=_INT8),
    "int4": Recipe(
        weights=TensorRecipe("affine", bits=4, group_size=32),
        embeddings=TensorRecipe("affine", 4, group_size=32),
    ),
    # Deep Compression (Han, Mao, Dally 2015): prune, share weights by k-means, train the codebook.
    "deep": Recipe(
        weights=TensorRecipe("kmeans", bits=5, sparsity=0.9),
        embeddings=TensorRecipe("affine", bits=4, group_size=32),
        training=Training(prune_epochs=10, recover_epochs=5, quantize_epochs=3),
    ),
    "tiny": Recipe(
        weights=TensorRecipe("kmeans", bits=3, sparsity=0.96),
        embeddings=TensorRecipe("kmeans", bits=3, per_channel=False),
        training=Training(prune_epochs=20, recover_epochs=10, quantize_epochs=5),
    ),
}


def compress_tensors(tensors: Mapping[str, Any], recipe: Recipe | str) -> dict[str, Any]:
    """Do to the tensors of a model what needs neither data nor the model's code.

    Parameters
    ----------
    tensors : mapping of str to array
        Floats of two and more dimensions and at least 1024 elements are taken for weights, matrices with
        "embed" in their names for embeddings; weights that are to be sparse lose the smallest.
    recipe : Recipe or str
        Or the name of a preset. Its training is left out.

    Returns
    -------
    dict of str to array
        What `tersor.checkpoint.save_file` saves; quantized arrays are matrices.
    """
    recipe = Recipe.of(recipe)
    made = dict(tensors)
    for name, tensor in tensors.items():
        array = as_numpy(tensor)
        if array.ndim < 2 or array.size < WEIGHT_MIN or array.dtype.name not in FLOATS:
            continue
        is_table = array.ndim == 2 and "embed" in name.lower()
        rule = recipe.rule(name) or (recipe.embeddings if is_table else recipe.weights)
        if rule.sparsity > 0:
            array = made[name] = np.array(array, order="C")
            prune.apply_(array, rule.sparsity)
        if rule.method != "lossless":
            made[name] = rule.quantize(np.ascontiguousarray(array).reshape(array.shape[0], -1))
    return made
