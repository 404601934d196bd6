"""Channels that belong together, and their removal from a network.

A network is traced with `torch.fx`. Each channel that a layer makes gets a label, and the labels follow the
data: BatchNorm and element-wise functions keep them, a sum of two tensors unites them pair by pair,
concatenation puts them one after another, flattening repeats them. What is left is, for every axis of every
tensor of the network, which channel each of its slices belongs to; a channel is removed by leaving out all
of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from ._select import unwrap

__all__ = ["Channels", "shrink_"]

_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_CONV_TRANSPOSE = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORM = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)

# Each channel of the result depends on the same channel of the argument alone: of any axis, ...
_ELEMENTWISE_MODULES = (
    *(nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.LogSigmoid, nn.Dropout),
)
_ELEMENTWISE_NAMES = {
    *("relu", "relu_", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish"),
    *("hardsigmoid", "hardtanh", "sigmoid", "tanh", "softplus", "logsigmoid", "dropout"),
    *("abs", "neg", "square", "sqrt", "exp", "clamp", "contiguous", "clone", "float", "half", "to"),
}
# ... or of the second axis.
_SPATIAL_MODULES = (
    *(nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    *(nn.Upsample, nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d),
)
_SPATIAL_NAMES = {
    *("dropout1d", "dropout2d", "dropout3d", "interpolate"),
    *("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d"),
}


def _functions(names: set[str]) -> set[Callable[..., Any]]:
    return {f for home in (torch, F, operator) for name in names if (f := getattr(home, name, None))}


_ELEMENTWISE_FUNCTIONS = _functions(_ELEMENTWISE_NAMES)
_SPATIAL_FUNCTIONS = _functions(_SPATIAL_NAMES)
_PAIRWISE_NAMES = {"add", "add_", "sub", "sub_", "mul", "mul_", "maximum", "minimum"}
_PAIRWISE_FUNCTIONS = {
    *(operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul),
    *(torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum),
}
_RESHAPES = {"flatten", "view", "reshape"}
# Questions about a tensor that say nothing about its channels' values.
_QUESTIONS = {"size", "dim"}


class _Labels(NamedTuple):
    """The labels of a tensor's slices along an axis."""

    of: Tensor
    axis: int


class Axis(NamedTuple):
    """An axis of a module's tensor, and the channel of each of its slices; -1 are those that must stay."""

    module: nn.Module
    tensor: str
    axis: int
    made: bool  # by this module, and not read by it
    channels: Tensor


class Channels:
    """The channels of a network that can be removed.

    Parameters
    ----------
    model : torch.nn.Module
        A network that `torch.fx.symbolic_trace` can follow.
    example_input : tensor or tuple
        Arguments to run it with once, for the shapes.
    exclude : collection of str
        Names of layers all of whose channels stay.

    Attributes
    ----------
    n : int
        How many channels there are.
    sets : dict of str to tensor
        Channels of the same layers, named after the first of them.
    axes : list of Axis
        All slices that belong to a channel.
    """

    def __init__(self, model: nn.Module, example_input: Any, exclude: Collection[str] = ()) -> None:
        self._model = model
        self._parent: list[int] = []  # a forest; a root's label stands for all below
        self._stays: list[Tensor] = []
        self._makers: dict[nn.Module, Tensor] = {}
        self._readers: list[tuple[nn.Module, str, int, bool, Tensor]] = []
        self._names = {module: name for name, module in model.named_modules()}
        self._trace(example_input)
        self._stays += [labels for module, labels in self._makers.items() if self._names[module] in exclude]
        self._number()

    # ---- Labels -----------------------------------------------------------------------------

    def _new(self, n: int) -> Tensor:
        labels = range(len(self._parent), len(self._parent) + n)
        self._parent += labels
        return torch.tensor(labels)

    def _root(self, label: int) -> int:
        while (up := self._parent[label]) != label:
            self._parent[label] = label = self._parent[up]
        return label

    def _roots(self, labels: Iterable[int]) -> Tensor:
        return torch.tensor([self._root(label) for label in labels], dtype=torch.long)

    def _unite(self, a: Tensor, b: Tensor) -> Tensor:
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            x, y = sorted((self._root(x), self._root(y)))
            self._parent[y] = x
        return a

    def _keep(self, labels: _Labels | None) -> None:
        if labels is not None:
            self._stays.append(labels.of)

    def _fixed(self, n: int) -> Tensor:
        """Labels of slices that are not ours to remove, but whose places count."""
        labels = self._new(n)
        self._stays.append(labels)
        return labels

    # ---- Trace ------------------------------------------------------------------------------

    def _trace(self, example_input: Any) -> None:
        arguments = example_input if isinstance(example_input, tuple) else (example_input,)
        try:
            traced = fx.symbolic_trace(self._model)
        except Exception as error:
            raise ValueError(f"torch.fx cannot trace this network: {error}") from error
        training = {m: m.training for m in self._model.modules()}
        self._model.eval()
        try:
            with torch.no_grad():
                ShapeProp(traced).propagate(*arguments)
        finally:
            for module, mode in training.items():
                module.training = mode
        modules = dict(traced.named_modules())
        labels: dict[fx.Node, _Labels | None] = {}
        for node in traced.graph.nodes:
            labels[node] = self._step(node, modules, labels)

    def _step(
        self, node: fx.Node, modules: dict[str, nn.Module], labels: dict[fx.Node, _Labels | None]
    ) -> _Labels | None:
        """Find the labels of a node's result."""
        inputs = [labels[n] for n in node.all_input_nodes]
        first = inputs[0] if inputs else None
        if node.op == "call_module":
            module = modules[str(node.target)]
            if isinstance(module, (*_CONV, *_CONV_TRANSPOSE, nn.Linear)):
                return self._layer(module, first, node)
            if isinstance(module, (*_NORM, nn.PReLU)):
                return self._per_channel(module, first)
            if isinstance(module, _ELEMENTWISE_MODULES):
                return first
            if isinstance(module, _SPATIAL_MODULES):
                return self._spatial(node, first)
            if isinstance(module, nn.Flatten):
                return self._reshape(node, first)
        elif node.op in ("call_function", "call_method"):
            name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
            method = node.op == "call_method"
            if (method and name in _QUESTIONS) or node.target is getattr:
                return None
            if (method and name in _ELEMENTWISE_NAMES) or node.target in _ELEMENTWISE_FUNCTIONS:
                return first
            if node.target in _SPATIAL_FUNCTIONS:
                return self._spatial(node, first)
            if (method and name in _PAIRWISE_NAMES) or node.target in _PAIRWISE_FUNCTIONS:
                return self._pairwise(node, labels)
            if node.target in (torch.cat, torch.concat):
                return self._concatenate(node, labels)
            if name in _RESHAPES and (method or node.target is torch.flatten):
                return self._reshape(node, first)
            if name == "mean":
                return self._mean(node, first)
        elif node.op != "output":
            return None
        # The network's result, or a function that may mix channels.
        for each in inputs:
            self._keep(each)
        return None

    def _layer(self, module: Any, read: _Labels | None, node: fx.Node) -> _Labels | None:
        transposed = isinstance(module, _CONV_TRANSPOSE)
        linear = isinstance(module, nn.Linear)
        axis = _n_axes(node) - 1 - (0 if linear else len(module.kernel_size))
        groups = 1 if linear else module.groups
        n_read, n_made = (
            (module.in_features, module.out_features) if linear else (module.in_channels, module.out_channels)
        )
        if read is not None and read.axis != axis:
            self._keep(read)
            read = None
        of = self._fixed(n_read) if read is None else read.of
        if groups == 1:
            made = self._makers[module] if module in self._makers else self._new(n_made)
            self._note(module, "weight", 0 if transposed else 1, False, of)
        elif groups == n_read and not transposed:
            made = of.repeat_interleave(n_made // groups)
            if module in self._makers:
                self._unite(made, self._makers[module])
        else:
            # Grouped convolutions that mix channels.
            self._stays.append(of)
            return None
        if module not in self._makers:
            self._note(module, "weight", 1 if transposed else 0, True, made)
            if module.bias is not None:
                self._note(module, "bias", 0, True, made)
        self._makers[module] = made
        return _Labels(made, axis)

    def _note(self, module: nn.Module, tensor: str, axis: int, made: bool, labels: Tensor) -> None:
        for reader in self._readers:
            if reader[:3] == (module, tensor, axis):  # the module is called twice
                self._unite(reader[4], labels)
                return
        self._readers.append((module, tensor, axis, made, labels))
        parameter = getattr(module, tensor)
        if isinstance(parameter, nn.Parameter) and not parameter.requires_grad:
            self._stays.append(labels)

    def _per_channel(self, module: Any, read: _Labels | None) -> _Labels | None:
        n = module.num_parameters if isinstance(module, nn.PReLU) else module.num_features
        if isinstance(module, nn.PReLU) and n == 1:
            return read
        if read is not None and read.axis != 1:
            self._keep(read)
            read = None
        of = self._fixed(n) if read is None else read.of
        for name in ("weight", "bias", "running_mean", "running_var"):
            if getattr(module, name, None) is not None:
                self._note(module, name, 0, True, of)
        return read

    def _spatial(self, node: fx.Node, read: _Labels | None) -> _Labels | None:
        if read is None or (read.axis == 1 and _n_axes(node.all_input_nodes[0]) > 2):
            return read
        self._keep(read)
        return None

    def _pairwise(self, node: fx.Node, labels: dict[fx.Node, _Labels | None]) -> _Labels | None:
        tensors = [n for n in node.all_input_nodes if _shape(n) is not None]
        if len(tensors) == 1 and len(node.args) == 2 and not all(isinstance(a, fx.Node) for a in node.args):
            return labels[tensors[0]]  # the other is a number
        found = [labels[n] for n in tensors]
        if len(node.args) == 2 and node.args[0] is node.args[1]:
            return found[0]
        a, b = found if len(found) == 2 else (None, None)
        if a is not None and b is not None and a.axis == b.axis and len(a.of) == len(b.of):
            return _Labels(self._unite(a.of, b.of), a.axis)
        for each in found:
            self._keep(each)
        return None

    def _concatenate(self, node: fx.Node, labels: dict[fx.Node, _Labels | None]) -> _Labels | None:
        tensors: Any = node.args[0] if node.args else node.kwargs["tensors"]
        axis: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        n_axes = _n_axes(node)
        axis %= n_axes
        parts = []
        for tensor in tensors:
            found = labels[tensor]
            if found is None or found.axis != axis:
                self._keep(found)
                shape = _shape(tensor)
                assert shape is not None
                found = _Labels(self._fixed(shape[axis]), axis)
            parts.append(found.of)
        return _Labels(torch.cat(parts), axis)

    def _reshape(self, node: fx.Node, read: _Labels | None) -> _Labels | None:
        if read is None:
            return None
        before, after = _shape(node.all_input_nodes[0]), _shape(node)
        assert before is not None
        # Only (n, c, ...) to (n, c * ...), and with a size that is not written into the program.
        fixed = node.target in ("view", "reshape") and node.args[-1] != -1
        if read.axis != 1 or fixed or after != (before[0], before[1:].numel()):
            self._keep(read)
            return None
        return _Labels(read.of.repeat_interleave(before[2:].numel()), 1)

    def _mean(self, node: fx.Node, read: _Labels | None) -> _Labels | None:
        if read is None:
            return None
        axes: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
        n_axes = _n_axes(node.all_input_nodes[0])
        axes = (
            range(n_axes)
            if axes is None
            else [a % n_axes for a in ([axes] if isinstance(axes, int) else axes)]
        )
        if any(a <= read.axis for a in axes):
            self._keep(read)
            return None
        return read

    # ---- Result -----------------------------------------------------------------------------

    def _number(self) -> None:
        """Number the channels that are left, and tell their sets and slices."""
        shared = _shared_parameters(self._model)
        for module, tensor, _, _, labels in self._readers:
            if getattr(module, tensor) in shared:
                self._stays.append(labels)
        stay = {self._root(label) for labels in self._stays for label in labels.tolist()}
        roots = self._roots(range(len(self._parent)))
        left = [label for label in roots.unique().tolist() if label not in stay]
        self.n = len(left)
        number = torch.full((len(roots),), -1)
        number[left] = torch.arange(self.n)
        number = number[roots]
        axes = [Axis(m, t, a, made, number[labels]) for m, t, a, made, labels in self._readers]
        self.axes = [axis for axis in axes if (axis.channels >= 0).any()]
        # Layers that have a channel in common are one set.
        self.sets: dict[str, Tensor] = {}
        home = torch.full((self.n,), -1)
        names: list[str] = []
        for module, labels in self._makers.items():
            if getattr(module, "groups", 1) > 1:
                continue  # makes of each channel the next, and unites none
            mine = number[labels].unique()
            mine = mine[mine >= 0]
            if not len(mine):
                continue
            others = [int(i) for i in home[mine].unique() if i >= 0]
            names.append(self._names[module])
            index = min(others, default=len(names) - 1)
            home[mine] = index
            for other in others:
                home[home == other] = index
        for index, name in enumerate(names):
            members = (home == index).nonzero().flatten()
            if len(members):
                self.sets[name] = members

    def masks(self, keep: Tensor) -> dict[tuple[nn.Module, str], Tensor]:
        """Make the mask of each tensor that has channels, from a flag for each channel."""
        flags = torch.cat([keep, keep.new_ones(1)])  # -1 finds the last
        masks: dict[tuple[nn.Module, str], Tensor] = {}
        for axis in self.axes:
            if axis.tensor == "running_var":
                continue  # stays positive
            tensor = getattr(axis.module, axis.tensor)
            shape = [1] * tensor.ndim
            shape[axis.axis] = -1
            key = axis.module, axis.tensor
            mask = masks.get(key, keep.new_ones(1)) & flags[axis.channels.to(keep.device)].view(shape)
            masks[key] = mask.expand(tensor.shape)
        return masks

    def shrink_(self, keep: Tensor) -> None:
        """Take all other channels out of the network."""
        flags = torch.cat([keep.cpu(), torch.ones(1, dtype=torch.bool)])
        for axis in self.axes:
            tensor = getattr(axis.module, axis.tensor)
            rows = flags[axis.channels].nonzero().flatten()
            with torch.no_grad():
                smaller = tensor.index_select(axis.axis, rows.to(tensor.device))
            if isinstance(tensor, nn.Parameter):
                smaller = nn.Parameter(smaller, tensor.requires_grad)
            setattr(axis.module, axis.tensor, smaller)
            _set_size(axis, len(rows))


def _set_size(axis: Axis, n: int) -> None:
    """Note in a module how many channels it now makes or reads."""
    module: Any = axis.module
    if isinstance(module, nn.Linear):
        name = "out_features" if axis.made else "in_features"
    elif isinstance(module, (*_CONV, *_CONV_TRANSPOSE)):
        if axis.tensor == "weight" and axis.made and module.groups > 1:
            per_group = module.out_channels // module.groups
            module.groups = module.in_channels = n // per_group
        name = "out_channels" if axis.made else "in_channels"
    else:
        name = "num_parameters" if isinstance(module, nn.PReLU) else "num_features"
    setattr(module, name, n)


def _shape(node: fx.Node) -> torch.Size | None:
    return getattr(node.meta.get("tensor_meta"), "shape", None)


def _n_axes(node: fx.Node) -> int:
    shape = _shape(node)
    assert shape is not None
    return len(shape)


def _shared_parameters(model: nn.Module) -> set[nn.Parameter]:
    """Parameters that more than one module holds."""
    seen: set[nn.Parameter] = set()
    shared: set[nn.Parameter] = set()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            (shared if parameter in seen else seen).add(parameter)
    return shared


def shrink_(model: nn.Module, example_input: Any) -> int:
    """Take out of a network the channels that no layer reads: what it computes stays the same.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place: layers get new, smaller parameters, so optimizers have to be made anew.
    example_input : tensor or tuple
        Arguments to run it with once, for the shapes.

    Returns
    -------
    int
        How many channels are gone.

    Raises
    ------
    ValueError
        If `torch.fx` cannot trace the network.

    Notes
    -----
    A channel is not read if all weights that multiply it are zero, in every layer that it reaches. One
    channel of each layer stays in any case. Kept whole are channels that reach the network's result or a
    function that this module does not know, those that a frozen or shared parameter makes or reads, and
    those of grouped convolutions that are not depthwise.

    Examples
    --------
    >>> import torch, tersor.nn
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> _ = torch.nn.init.zeros_(model[2].weight[:, 3:5].detach())
    >>> tersor.nn.shrink_(model, torch.zeros(1, 4))
    2
    >>> model[0]
    Linear(in_features=4, out_features=6, bias=True)
    """
    model = unwrap(model)
    channels = Channels(model, example_input)
    keep = torch.zeros(channels.n + 1, dtype=torch.bool)
    for axis in channels.axes:
        if not axis.made and axis.tensor == "weight":
            weight = getattr(axis.module, axis.tensor)
            used = (weight != 0).movedim(axis.axis, 0).flatten(1).any(1).cpu()
            keep[axis.channels[used]] = True
    keep = keep[:-1]
    for members in channels.sets.values():
        if not keep[members].any():
            keep[members[0]] = True
    channels.shrink_(keep)
    return int((~keep).sum())
