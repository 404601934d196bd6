"""A thinner or shallower network of a teacher's making, found by following its channels with `torch.fx`."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

__all__ = ["student_like"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_NORMS = (*_BATCH_NORMS, *_INSTANCE_NORMS, nn.GroupNorm, nn.LayerNorm)
_SIZED = (*_CONVOLUTIONS, *_TRANSPOSED, *_NORMS, nn.Linear)

# Functions and methods that leave the channels as they are; those with several inputs need equal channels.
_ELEMENTWISE: set[Any] = {
    *(operator.add, operator.iadd, operator.sub, operator.mul, operator.imul, operator.truediv, operator.neg),
    *(torch.add, torch.sub, torch.mul, torch.div, torch.relu, torch.sigmoid, torch.tanh, torch.clamp),
    *(F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid),
    *(F.sigmoid, F.tanh, F.softplus, F.hardtanh, F.dropout, F.dropout1d, F.dropout2d, F.dropout3d),
    *(F.log_softmax, F.softmax, torch.softmax, torch.log_softmax),
}
_SPATIAL: set[Any] = {
    *(F.max_pool1d, F.max_pool2d, F.max_pool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d),
    *(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d, F.interpolate),
    *(F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d),
}
_METHODS = {
    *("relu", "relu_", "sigmoid", "tanh", "softmax", "log_softmax", "clamp", "clamp_"),
    *("add", "add_", "sub", "mul", "mul_", "div", "neg"),
    *("contiguous", "float", "half", "bfloat16", "to", "type_as", "detach", "clone"),
}


# Where torch has its layers that work on each channel alone; those with weights are left out.
_PLAIN = [
    f"torch.nn.modules.{name}" for name in ("activation", "dropout", "padding", "pooling", "upsampling")
]


def student_like(
    teacher: nn.Module,
    width: float = 1.0,
    depth: float = 1.0,
    *,
    divisor: int = 1,
    example: Tensor | None = None,
) -> nn.Module:
    """Build a network of the teacher's kind with fewer channels, fewer repeated blocks, or both.

    Parameters
    ----------
    teacher : module
        Made of convolutions, linear layers, normalizations and what works on each channel alone, in
        `nn.Sequential` or code that `torch.fx` can follow: branches, residual sums and concatenations.
        It is not changed.
    width : float
        The share of channels to keep in every layer but the last; the inputs and the classes remain.
    depth : float
        The share of blocks to keep of those that an `nn.Sequential` repeats: equal modules, or equal groups
        of modules, one after the other.
    divisor : int
        Round channels to multiples of this; 8 suits most hardware.
    example : tensor, optional
        An input to try the student on, compared with the teacher's output in shape.

    Returns
    -------
    module
        Of the teacher's class, with its layer names, freshly initialized, on its device.

    Raises
    ------
    ValueError
        If the teacher can't be followed; the message names the layer or operation and the reason.

    Examples
    --------
    >>> student_like(nn.Sequential(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.Flatten(), nn.Linear(11520, 10)), 0.5)
    Sequential(
      (0): Conv2d(1, 10, kernel_size=(5, 5), stride=(1, 1))
      (1): ReLU()
      (2): Flatten(start_dim=1, end_dim=-1)
      (3): Linear(in_features=5760, out_features=10, bias=True)
    )
    """
    for name, value in (("width", width), ("depth", depth)):
        if not 0 < value <= 1:
            raise ValueError(f"{name} must be above 0 and at most 1, not {value}")
    if divisor < 1:
        raise ValueError(f"divisor must be at least 1, not {divisor}")
    student = copy.deepcopy(teacher)
    if depth < 1 and not _drop_blocks(student, depth):
        raise ValueError("depth needs an nn.Sequential with repeated blocks, of which the teacher has none")
    if width < 1:
        _Plan(student).resize(width, divisor)
    else:
        for name, module in student.named_modules():
            _reset(name, module)
        student.requires_grad_(True)
    student.train(teacher.training)
    if example is not None:
        _check_shapes(teacher, student, example)
    return student


def _check_shapes(teacher: nn.Module, student: nn.Module, example: Tensor) -> None:
    shapes = []
    for network in (teacher, student):
        clone = copy.deepcopy(network).eval()
        with torch.no_grad():
            try:
                shapes.append(tuple(clone(example).shape))
            except RuntimeError as error:
                who = "teacher" if network is teacher else "student"
                raise ValueError(f"the {who} does not take the example: {error}") from error
    if shapes[0] != shapes[1]:
        raise ValueError(f"the student's output has shape {shapes[1]}, the teacher's {shapes[0]}")


# ---- Depth -------------------------------------------------------------------------------------------


def _drop_blocks(network: nn.Module, depth: float) -> int:
    """Shorten every run of repeated blocks in place; returns how many blocks were dropped."""
    n_dropped = 0
    for module in list(network.modules()):
        if type(module) is nn.Sequential:
            names = list(module._modules)
            for block in _surplus([*module], depth):
                # The others keep their names, which say whose likeness they are.
                for i in block:
                    del module._modules[names[i]]
                n_dropped += 1
    return n_dropped


def _surplus(modules: list[nn.Module], depth: float) -> Iterator[range]:
    """The blocks to drop of a sequence, as ranges of its modules."""
    kinds = [repr(module) for module in modules]
    i = 0
    while i < len(modules):
        period, n = _repeats(modules, kinds, i)
        # The first block of a ResNet's stage has another shape, but is one of the stage's blocks.
        leads = i > 0 and period == 1 and _is_like(modules[i - 1], modules[i])
        n_keep = max(1, int(depth * (n + leads) + 0.5)) - leads
        if (n > 1 or leads) and not any(map(_changes_size, modules[i : i + period])):
            yield from (range(i + k * period, i + (k + 1) * period) for k in range(n_keep, n))
        i += n * period


def _repeats(modules: list[nn.Module], kinds: list[str], i: int) -> tuple[int, int]:
    """The length of the shortest block with weights that is repeated from module i on, and how often."""
    for period in range(1, (len(modules) - i) // 2 + 1):
        n = 1
        while kinds[i + n * period : i + (n + 1) * period] == kinds[i : i + period]:
            n += 1
        if n > 1 and any([*m.parameters()] for m in modules[i : i + period]):
            return period, n
    return 1, 1


def _is_like(first: nn.Module, block: nn.Module) -> bool:
    """Whether a block of several layers has the type of the one before, and as many channels out as in."""
    sized = [m for m in block.modules() if isinstance(m, _SIZED)]
    return type(first) is type(block) and len(sized) > 1 and _sizes(sized[0])[0] == _sizes(sized[-1])[1]


def _changes_size(block: nn.Module) -> bool:
    """Whether a block has layers that change height and width."""

    def changes(module: nn.Module) -> bool:
        stride = getattr(module, "stride", 1)
        strides = stride if isinstance(stride, tuple) else (stride,)
        pools = type(module).__module__ == "torch.nn.modules.pooling"
        return pools or isinstance(module, (nn.Upsample, nn.Flatten)) or any(s != 1 for s in strides)

    return any(map(changes, block.modules()))


# ---- Width -------------------------------------------------------------------------------------------


class _Layout(NamedTuple):
    """A tensor's channels: variables, one after the other, each channel `repeat` times (None: unknown)."""

    variables: tuple[int, ...]
    repeat: int | None = 1


class _Plan:
    """How many channels every layer of a network has, as variables of which some are equal and some fixed."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._parents: list[int] = []
        self._sizes: list[int | None] = []
        self._multiples: list[int] = []
        self._fixed: list[bool] = []
        # The input and output of each layer, in the order of the first call.
        self._layers: dict[str, tuple[_Layout, _Layout]] = {}
        try:
            graph = fx.Tracer().trace(network)
        except Exception as error:  # whatever the network's own code raises at fx's stand-ins for tensors
            raise ValueError(f"torch.fx can't follow {type(network).__name__}: {error}") from error
        layouts: dict[fx.Node, _Layout | None] = {}
        for node in graph.nodes:
            layouts[node] = self._visit(node, layouts)

    def resize(self, width: float, divisor: int) -> None:
        """Give every layer its new channels and fresh weights, in place."""
        new = {v: self._new_size(v, width, divisor) for v in range(len(self._parents))}

        def count(layout: _Layout) -> int:
            return sum(new[v] for v in layout.variables) * (layout.repeat or 1)

        for name, (before, after) in self._layers.items():
            _resize(name, self._network.get_submodule(name), count(before), count(after))
        for name, module in self._network.named_modules():
            if name not in self._layers:
                _reset(name, module)
        self._network.requires_grad_(True)

    # Variables

    def _variable(self, size: int | None, *, fixed: bool = False) -> _Layout:
        self._parents.append(len(self._parents))
        self._sizes.append(size)
        self._multiples.append(1)
        self._fixed.append(fixed)
        return _Layout((len(self._parents) - 1,))

    def _root(self, variable: int) -> int:
        while self._parents[variable] != variable:
            variable = self._parents[variable]
        return variable

    def _new_size(self, variable: int, width: float, divisor: int) -> int:
        root = self._root(variable)
        size = self._sizes[root]
        if size is None or self._fixed[root]:
            return size or 1
        multiple = math.lcm(self._multiples[root], divisor if width < 1 else 1)
        return min(size, max(1, int(size * width / multiple + 0.5)) * multiple)

    def _join(self, a: _Layout, b: _Layout, node: fx.Node) -> _Layout:
        """Make the channels of two tensors equal, as a sum of them needs."""
        if len(a.variables) != len(b.variables):
            raise _refusal(node, "it joins tensors whose channels come from different layers")
        for left, right in zip(a.variables, b.variables, strict=True):
            x, y = self._root(left), self._root(right)
            sizes = self._sizes[x], self._sizes[y]
            if 1 in sizes and sizes != (1, 1):
                continue  # one channel stands for all
            if None not in sizes and sizes[0] != sizes[1]:
                raise _refusal(node, f"it joins {sizes[0]} and {sizes[1]} channels")
            if x != y:
                self._parents[y] = x
                self._sizes[x] = sizes[0] or sizes[1]
                self._fixed[x] |= self._fixed[y]
                self._multiples[x] = math.lcm(self._multiples[x], self._multiples[y])
        return a if self._size(a) != 1 else b

    def _size(self, layout: _Layout) -> int | None:
        sizes = [self._sizes[self._root(v)] for v in layout.variables]
        return None if None in sizes else sum(s for s in sizes if s is not None)

    def _accept(self, layout: _Layout | None, n: int, node: fx.Node) -> _Layout:
        """Match a tensor with the n channels that a layer takes."""
        if layout is None:
            raise _refusal(node, "its input is no tensor with channels")
        size = self._size(layout)
        if size is None:
            # The network's input; flattened or not, it stays as it is.
            self._sizes[self._root(layout.variables[0])] = n
            return layout._replace(repeat=1)
        repeat = n // size if layout.repeat is None else layout.repeat
        if size * repeat != n:
            raise _refusal(node, f"it takes {n} channels where {size * repeat} arrive")
        return layout._replace(repeat=repeat)

    def _need_multiple(self, layout: _Layout, multiple: int, node: fx.Node) -> None:
        if multiple == 1:
            return
        if len(layout.variables) != 1 or layout.repeat != 1:
            raise _refusal(node, "its groups span the channels of several layers")
        root = self._root(layout.variables[0])
        self._multiples[root] = math.lcm(self._multiples[root], multiple)

    # Nodes

    def _visit(self, node: fx.Node, layouts: dict[fx.Node, _Layout | None]) -> _Layout | None:
        inputs = [layout for n in node.all_input_nodes if (layout := layouts[n]) is not None]
        if node.op == "placeholder":
            return self._variable(None, fixed=True)
        if node.op == "output":
            for layout in inputs:
                for variable in layout.variables:
                    self._fixed[self._root(variable)] = True
            return None
        if node.op == "get_attr":
            raise _refusal(node, "it is a tensor of its own outside of layers")
        if node.op == "call_module":
            module = self._network.get_submodule(str(node.target))
            return self._visit_module(node, module, inputs[0] if inputs else None)
        if not inputs:
            return None  # arithmetic on sizes
        return self._visit_call(node, inputs, layouts)

    def _visit_module(self, node: fx.Node, module: nn.Module, layout: _Layout | None) -> _Layout | None:
        if parametrize.is_parametrized(module):
            raise _refusal(node, "its weight is parametrized")
        if isinstance(module, _SIZED):
            n_in, n_out = _sizes(module)
            name = str(node.target)
            before = self._accept(layout, n_in, node)
            if name in self._layers:  # called again, with as many channels
                self._join(self._layers[name][0], before, node)
                return self._layers[name][1]
            after = self._after(node, module, before, n_out)
            self._layers[name] = before, after
            return after
        if isinstance(module, nn.Flatten):
            if module.start_dim != 1 or module.end_dim != -1:
                raise _refusal(node, "only flattening of all dimensions after the first is understood")
            return _flat(layout)
        plain = type(module).__module__ in _PLAIN and not [*module.parameters()]
        if plain or isinstance(module, nn.Identity):
            return layout
        raise _refusal(node, f"layers of type {type(module).__name__} are not understood")

    def _after(self, node: fx.Node, module: nn.Module, before: _Layout, n_out: int) -> _Layout:
        """The output of a layer that is met for the first time."""
        if isinstance(module, _NORMS):
            self._need_multiple(before, getattr(module, "num_groups", 1), node)
            return before
        groups = getattr(module, "groups", 1)
        if groups > 1 and groups == getattr(module, "in_channels", None):  # each channel on its own
            return before._replace(repeat=(before.repeat or 1) * n_out // groups)
        after = self._variable(n_out)
        if groups > 1:
            self._need_multiple(before, groups, node)
            self._need_multiple(after, groups, node)
        return after

    def _visit_call(
        self, node: fx.Node, inputs: list[_Layout], layouts: dict[fx.Node, _Layout | None]
    ) -> _Layout | None:
        target = node.target
        first = inputs[0]
        if target in _ELEMENTWISE or (node.op == "call_method" and target in _METHODS):
            for other in inputs[1:]:
                first = self._join(first, other, node)
            return first
        if target in _SPATIAL:
            return first
        if target in (torch.flatten, "flatten"):
            if _argument(node, 1, "start_dim", 0) != 1 or _argument(node, 2, "end_dim", -1) != -1:
                raise _refusal(node, "only flattening of all dimensions after the first is understood")
            return _flat(first)
        if target in ("view", "reshape", torch.reshape):
            shape = node.args[1] if isinstance(node.args[1], (tuple, list)) else node.args[1:]
            if len(shape) != 2 or shape[1] != -1:
                raise _refusal(node, "only (batch, -1) is understood; a size in the code can't be changed")
            return _flat(first)
        if target in ("mean", torch.mean):
            dims = _argument(node, 1, "dim", None)
            dims = dims if isinstance(dims, (tuple, list)) else (dims,)
            if not all(d in (2, 3, 4, -1, -2, -3) for d in dims) or len(set(dims)) != len(dims):
                raise _refusal(node, "only means over height and width are understood")
            return first
        if target in (torch.cat, torch.concat):
            if _argument(node, 1, "dim", 0) != 1 or any(layout.repeat != 1 for layout in inputs):
                raise _refusal(node, "only concatenations of channels, in dimension 1, are understood")
            parts = [layouts[n] for n in node.args[0]]  # type: ignore[union-attr, index]
            return _Layout(tuple(v for part in parts if part is not None for v in part.variables))
        if target in ("size", "dim", getattr):
            return None
        raise _refusal(node, "it is not understood")


def _flat(layout: _Layout | None) -> _Layout | None:
    return None if layout is None else layout._replace(repeat=None)


def _argument(node: fx.Node, place: int, name: str, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _refusal(node: fx.Node, reason: str) -> ValueError:
    what = {"call_module": "the layer", "get_attr": "the parameter"}.get(node.op, "the operation")
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target)
    return ValueError(f"student_like can't thin {what} {name!r}: {reason}")


# ---- Layers ------------------------------------------------------------------------------------------


def _sizes(layer: nn.Module) -> tuple[int, int]:
    """Channels that a layer takes and gives."""
    if isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED)):
        return layer.in_channels, layer.out_channels
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    if isinstance(layer, nn.LayerNorm):
        return math.prod(layer.normalized_shape), math.prod(layer.normalized_shape)
    n = layer.num_channels if isinstance(layer, nn.GroupNorm) else layer.num_features
    assert isinstance(n, int)
    return n, n


def _resize(name: str, layer: nn.Module, n_in: int, n_out: int) -> None:
    """Change the channels of a layer in place."""
    old_out = _sizes(layer)[1]
    if isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED)):
        if layer.groups == layer.in_channels:
            layer.groups = n_in
        if n_in % layer.groups or n_out % layer.groups:
            raise ValueError(f"{name!r} can't have {n_in} and {n_out} channels in {layer.groups} groups")
        layer.in_channels, layer.out_channels = n_in, n_out
    elif isinstance(layer, nn.Linear):
        layer.in_features, layer.out_features = n_in, n_out
    elif isinstance(layer, nn.GroupNorm):
        layer.num_channels = n_out
    elif isinstance(layer, nn.LayerNorm):
        if len(layer.normalized_shape) != 1 and n_out != old_out:
            raise ValueError(f"{name!r} normalizes over {layer.normalized_shape}, which can't be thinned")
        if n_out != old_out:
            layer.normalized_shape = (n_out,)
    else:
        layer.num_features = n_out  # type: ignore[assignment]
    with torch.no_grad():
        for key, parameter in layer._parameters.items():
            if parameter is not None:
                shape = list(parameter.shape)
                if key == "weight" and len(shape) > 1 and not isinstance(layer, nn.LayerNorm):
                    per_group = n_in // getattr(layer, "groups", 1)
                    shape[:2] = (n_out, per_group)
                    if isinstance(layer, _TRANSPOSED):
                        shape[:2] = (n_in, n_out // layer.groups)
                elif not isinstance(layer, nn.LayerNorm) or len(shape) == 1:
                    shape[0] = n_out
                layer._parameters[key] = nn.Parameter(parameter.new_empty(shape))
        for key, buffer in layer._buffers.items():
            if buffer is not None and buffer.dim() == 1:
                layer._buffers[key] = buffer.new_empty(n_out)
    _reset(name, layer)


def _reset(name: str, layer: nn.Module) -> None:
    """Initialize a layer's own weights afresh."""
    reset = getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)
    if reset is not None:
        reset()
    elif any(True for _ in layer.parameters(recurse=False)):
        raise ValueError(f"{name!r} ({type(layer).__name__}) has weights but no reset_parameters()")
