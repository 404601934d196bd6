"""Recipes: what is to become of each tensor of a model, written down so that people and files can read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any

__all__ = ["PRESETS", "Recipe", "TensorRecipe", "Training"]

METHODS = ("lossless", "affine", "codebook")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class TensorRecipe:
    """What is done to one tensor.

    Parameters
    ----------
    method : {"lossless", "affine", "codebook"}
        How its values are stored. `affine` is an even grid of integers; `codebook` has its levels where
        k-means puts them.
    bits : int
        2 to 8: the width of the integers, or of the indices into ``2**bits`` levels.
    axis : int, optional
        Channels along this axis have a scale or a codebook each; by default there is one for the whole.
    group_size : int, optional
        Elements along the last axis that share a scale or a codebook.
    sparsity : float
        Share of the elements that is set to zero first, those that matter least; in [0, 1).
    """

    method: str = "lossless"
    bits: int = 8
    axis: int | None = None
    group_size: int | None = None
    sparsity: float = 0.0

    def __post_init__(self) -> None:
        _check(self.method in METHODS, f"method must be one of {', '.join(METHODS)}, not {self.method!r}")
        _check(
            type(self.bits) is int and 2 <= self.bits <= 8,
            f"bits must be an integer from 2 to 8: {self.bits!r}",
        )
        _check(self.axis is None or self.group_size is None, "axis and group_size exclude one another")
        _check(0 <= self.sparsity < 1, f"sparsity must be at least 0 and below 1, not {self.sparsity!r}")


@dataclass(frozen=True)
class Training:
    """How much a model is trained between the steps, where training data is given.

    Parameters
    ----------
    prune_epochs, recover_epochs, quantize_epochs : int
        Epochs in which the sparsity rises, that follow at the full sparsity, and with quantized weights.
    learning_rate : float
        Of the first two; a tenth of it for quantized weights.
    distill : bool
        Whether the model as it was is the teacher, beside the labels.
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


@dataclass(frozen=True)
class Recipe:
    """What is done to a model.

    Parameters
    ----------
    weights : TensorRecipe
        For the weights of linear and convolutional layers.
    embeddings : TensorRecipe
        For embedding tables.
    rules : mapping of str to TensorRecipe
        For tensors by name; ``*`` stands for any characters, and the first pattern that fits counts. They
        come before the others.
    training : Training

    All other tensors (biases, norms, buffers, weights of unknown layers) are lossless.

    Examples
    --------
    >>> recipe = Recipe(TensorRecipe("affine", bits=4, group_size=64), rules={"head.*": TensorRecipe()})
    >>> Recipe.from_json(recipe.to_json()) == recipe
    True
    """

    weights: TensorRecipe = TensorRecipe()
    embeddings: TensorRecipe = TensorRecipe()
    rules: Mapping[str, TensorRecipe] = field(default_factory=dict)
    training: Training = Training()

    def to_json(self) -> str:
        """Write the recipe down; `from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read a recipe.

        Raises
        ------
        ValueError
            If the text is not a recipe; the message tells where.
        """
        parts = json.loads(text)
        _known(parts, cls, "recipe")
        made: dict[str, Any] = {}
        for name in ("weights", "embeddings"):
            if name in parts:
                made[name] = _build(TensorRecipe, parts[name], name)
        if "training" in parts:
            made["training"] = _build(Training, parts["training"], "training")
        rules = parts.get("rules", {})
        _check(isinstance(rules, dict), "rules must be an object")
        made["rules"] = {p: _build(TensorRecipe, rule, f"rule {p!r}") for p, rule in rules.items()}
        return cls(**made)

    def rule(self, name: str) -> TensorRecipe | None:
        """Find the rule of a tensor's name."""
        return next((rule for pattern, rule in self.rules.items() if fnmatchcase(name, pattern)), None)


def _known(parts: Any, cls: type, where: str) -> None:
    _check(isinstance(parts, dict), f"{where} must be an object")
    unknown = set(parts) - {f.name for f in fields(cls)}
    _check(not unknown, f"{where} has the unknown entry {sorted(unknown)[:1]}")


def _build(cls: Any, parts: Any, where: str) -> Any:
    _known(parts, cls, where)
    try:
        return cls(**parts)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


_INT8 = TensorRecipe("affine", bits=8, axis=0)

PRESETS: Mapping[str, Recipe] = {
    "lossless": Recipe(),
    "int8": Recipe(weights=_INT8, embeddings=_INT8),
    # Deep Compression (Han, Mao, Dally 2015): prune, share weights by k-means, train the codebook.
    "deep": Recipe(
        weights=TensorRecipe("codebook", bits=5, sparsity=0.9),
        embeddings=TensorRecipe("affine", bits=4, group_size=32),
        training=Training(prune_epochs=10, recover_epochs=5, quantize_epochs=3),
    ),
    "tiny": Recipe(
        weights=TensorRecipe("codebook", bits=3, sparsity=0.96),
        embeddings=TensorRecipe("codebook", bits=3, group_size=64),
        training=Training(prune_epochs=20, recover_epochs=10, quantize_epochs=5),
    ),
}
