"""Networks as they are stored: every tensor without loss, or as integers, or as indices into a codebook."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import checkpoint
from ..atomic import atomic_output
from ..errors import CorruptDataError, UnsupportedFormatError
from ..quantize import CodebookArray, QuantizedArray
from ..recipe import KEY, VERSION
from ..report import describe, html_page, text
from .linear import QuantizedLayer
from .quantize import hold_quantized

__all__ = ["CompressedModel", "CurvePoint"]

_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


class CurvePoint(NamedTuple):
    """What a choice of bits and sparsities came to."""

    nbytes: int
    score: float | None  # as `evaluate` tells; None where there was none to ask


@dataclass(repr=False)
class CompressedModel:
    """A network whose tensors are compressed; from `compress`, or a file.

    Parameters
    ----------
    tensors : mapping of str to Tensor, QuantizedArray or CodebookArray
        By the names of the state dict, each shared tensor once.
    shapes : mapping of str to tuple of int
        Of the floats of quantized tensors, which are matrices.
    shared : mapping of str to str
        Further names of tensors.
    dtype : torch.dtype
        Of the floats.
    recipe : str
        What was done, in JSON.
    curve : list of CurvePoint
        Sizes and scores that the search for a budget met, in that order.

    Examples
    --------
    >>> import torch, tersor.nn
    >>> model = torch.nn.Linear(64, 64)
    >>> compressed = tersor.nn.compress(model, "int8")
    >>> compressed.save("linear.safetensors")
    >>> same = tersor.nn.CompressedModel.load("linear.safetensors").materialize(torch.nn.Linear(64, 64))
    >>> bool((same.weight - model.weight).abs().max() < 0.001)
    True
    """

    tensors: dict[str, Any]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    recipe: str = "{}"
    curve: list[CurvePoint] = field(default_factory=list)

    def __repr__(self) -> str:
        n = sum(isinstance(t, QuantizedArray | CodebookArray) for t in self.tensors.values())
        return (
            f"CompressedModel({len(self.tensors)} tensors, {n} of them quantized, {self.n_weights:,} numbers)"
        )

    @classmethod
    def of(cls, model: nn.Module, **about: Any) -> CompressedModel:
        """Take what a network holds, whose quantized layers stay as they are."""
        tensors: dict[str, Any] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        shared: dict[str, str] = {}
        first: dict[Any, str] = {}
        inside: set[str] = set()
        dtype: Any = torch.float32

        def add(name: str, key: Any, value: Any) -> bool:
            if key in first:
                shared[name] = first[key]
                return False
            first[key] = name
            tensors[name] = value
            return True

        for layer_name, layer in model.named_modules():
            if not isinstance(layer, QuantizedLayer):
                continue
            prefix = layer_name and layer_name + "."
            inside.update(prefix + part for part in layer.parts())
            key = tuple(part.data_ptr() for part in layer.parts().values())
            if add(prefix + "weight", key, layer.array()):
                shapes[prefix + "weight"] = tuple(layer.weight_shape)
                dtype = layer.like.dtype
        for name, tensor in model.state_dict(keep_vars=True).items():
            if name in inside:
                continue
            value = tensor.detach()
            storage = (value.data_ptr(), value.shape, value.stride()) if value.numel() else name
            add(name, storage, value)
        return cls(tensors, shapes, shared, dtype, **about)

    def save(self, path: str | os.PathLike[str], *, threads: int | None = None) -> None:
        """Write a model file: a valid `.safetensors` file, compressed, that `tersor.checkpoint` reads too."""
        about: dict[str, Any] = {"version": VERSION}
        for name, value in (
            ("shared", self.shared),
            ("recipe", json.loads(self.recipe)),
            ("curve", self.curve),
        ):
            if value:
                about[name] = value
        checkpoint.save_file(
            self.tensors,
            path,
            {"format": "pt", KEY: json.dumps(about, separators=(",", ":"))},
            threads=threads,
            dtype=_DTYPES[self.dtype],
            shapes=self.shapes,
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, threads: int | None = None) -> CompressedModel:
        """Read a file that `save` wrote.

        Raises
        ------
        CorruptDataError, UnsupportedFormatError
            If the file is damaged, or none of these.
        """
        with checkpoint.safe_open(path, "torch", threads=threads) as file:
            about = _about(file.metadata())
            tensors: dict[str, Any] = {}
            shapes: dict[str, tuple[int, ...]] = {}
            dtype = torch.float32
            for name in file.keys():  # noqa: SIM118 - no mapping
                if file.is_quantized(name):
                    tensors[name] = file.get_quantized(name)
                    shapes[name] = tuple(file.get_slice(name).get_shape())
                    dtype = next(d for d, n in _DTYPES.items() if n == file.get_slice(name).get_dtype())
                else:
                    tensors[name] = file.get_tensor(name)
        shared = about.get("shared", {})
        if not isinstance(shared, dict) or not all(tensors.get(n) is not None for n in shared.values()):
            raise CorruptDataError(f"the metadata entry {KEY!r} names shared tensors that are not there")
        try:
            curve = [CurvePoint(*point) for point in about.get("curve", [])]
        except TypeError:
            raise CorruptDataError(f"the curve in the metadata entry {KEY!r} is damaged") from None
        return cls(tensors, shapes, shared, dtype, json.dumps(about.get("recipe", {})), curve)

    def state_dict(self) -> dict[str, Tensor]:
        """Decode all tensors to floats, under all their names."""
        state = {name: self._floats(name) for name in self.tensors}
        return state | {name: state[of] for name, of in self.shared.items()}

    def _floats(self, name: str) -> Tensor:
        value = self.tensors[name]
        if isinstance(value, QuantizedArray | CodebookArray):
            floats: Tensor = value.dequantize(self.dtype)
            return floats.reshape(self.shapes.get(name, value.shape))
        return value  # type: ignore[no-any-return]

    def materialize(self, model: nn.Module) -> nn.Module:
        """Fill an ordinary network of the same architecture with the decoded weights; returns it.

        Raises
        ------
        RuntimeError
            If names or shapes are not the same, as `load_state_dict` tells.
        """
        model.load_state_dict(self.state_dict())
        return model

    def to_module(self, model: nn.Module) -> nn.Module:
        """Fill a network of the same architecture, keeping what is quantized as it is; returns it.

        Linear, convolutional and embedding layers become `QuantizedLinear` and the like, in place, which
        takes the less memory; what is quantized elsewhere becomes floats.
        """
        names = set(self.tensors) | set(self.shared)
        held: dict[str, Any] = {}
        for layer_name, layer in list(model.named_modules()):
            name = f"{layer_name}.weight" if layer_name else "weight"
            source = self.shared.get(name, name)
            weight = self.tensors.get(source)
            if not isinstance(weight, QuantizedArray | CodebookArray):
                continue
            if self.shapes.get(source, weight.shape) == tuple(getattr(layer, "weight", torch.empty(0)).shape):
                held[source] = hold_quantized(layer, weight, held.get(source))
                names -= {name} if held[source] is not None else set()
        state = {name: self._floats(self.shared.get(name, name)) for name in names}
        kept = {name: part for name, part in model.state_dict().items() if name not in state}
        # What the quantized layers hold is there already.
        model.load_state_dict({**kept, **state})
        return model

    def report(
        self,
        html: str | os.PathLike[str] | None = None,
        *,
        original: nn.Module | Mapping[str, Tensor] | None = None,
    ) -> str:
        """Tell what each tensor takes in a file, and how.

        Parameters
        ----------
        html : path, optional
            Where to write a page with plots, which needs Matplotlib. It loads nothing from elsewhere.
        original : torch.nn.Module or mapping of str to Tensor, optional
            The network as it was, or its state dict, for histograms of the weights before.

        Returns
        -------
        str
            A table, the recipe, and the sizes and scores that were tried.

        Examples
        --------
        >>> import torch, tersor.nn
        >>> report = tersor.nn.compress(torch.nn.Linear(64, 64), "int8").report()
        >>> print(report.splitlines()[1])
          tensor  dtype  shape    method            sparsity  bits  entropy   bytes  stored   ratio
        """
        before = original.state_dict() if isinstance(original, nn.Module) else dict(original or {})

        def weights(name: str) -> Any:
            return before[name].detach().float().cpu().numpy() if name in before else None

        title = "compressed model"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.safetensors")
            self.save(path)
            if html is None:
                about = describe(path)
            else:
                about, page = html_page(path, title=title, original=weights)
                with atomic_output(html) as file:
                    file.write(page)
        return text(about | {"file": title})

    @property
    def n_weights(self) -> int:
        """How many numbers the tensors have."""
        return sum(self._floats_shape(name).numel() for name in self.tensors)

    def _floats_shape(self, name: str) -> torch.Size:
        return torch.Size(self.shapes.get(name, tuple(self.tensors[name].shape)))


def _about(metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        about = json.loads(metadata[KEY])
        version = about["version"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise UnsupportedFormatError(f"no compressed network: it has no metadata entry {KEY!r}") from None
    if version != VERSION:
        raise UnsupportedFormatError(f"version {version!r} of the metadata entry {KEY!r}; known is {VERSION}")
    return about  # type: ignore[no-any-return]
