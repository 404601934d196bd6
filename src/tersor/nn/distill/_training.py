"""What both distillers share: a frozen teacher, features by layer name, checkpoints that resume exactly."""

from __future__ import annotations

import difflib
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...atomic import atomic_output

Path = str | os.PathLike[str]
OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


# ---- Networks ----------------------------------------------------------------------------------------


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Hold a network in eval mode, its weights without gradients; then leave every flag as it was found."""
    modes = [(module, module.training) for module in network.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        network.eval().requires_grad_(False)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in wanted:
            parameter.requires_grad_(flag)


def check_frozen(network: nn.Module) -> None:
    """Refuse a teacher that something has put back into train mode: it would change as it teaches."""
    for name, module in network.named_modules():
        if module.training:
            raise RuntimeError(f"the teacher is in train mode (layer {name!r}): something undid its eval()")


@contextmanager
def training_mode(network: nn.Module, mode: bool) -> Iterator[None]:
    """Hold a network in train or eval mode; then leave every flag as it was found."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.train(mode)
        yield
    finally:
        for module, was in modes:
            module.training = was


def check_apart(teacher: nn.Module, student: nn.Module) -> None:
    """Refuse networks that share weights, where training the student would change the teacher."""
    theirs = {id(parameter) for parameter in teacher.parameters()}
    for name, parameter in student.named_parameters():
        if id(parameter) in theirs:
            raise ValueError(f"student and teacher share the parameter {name!r}: copy.deepcopy one of them")


def device_of(network: nn.Module) -> torch.device:
    """The device of a network's first parameter or buffer."""
    tensors = iter([*network.parameters(), *network.buffers()])
    first = next(tensors, None)
    return torch.device("cpu") if first is None else first.device


def find_layer(network: nn.Module, name: str, role: str) -> nn.Module:
    """Look up a layer by its name in ``named_modules``."""
    layers: dict[str, nn.Module] = dict(network.named_modules())
    if name in layers and name:
        return layers[name]
    close = difflib.get_close_matches(name, [n for n in layers if n], 3, 0.3)
    hint = f"; there are {', '.join(map(repr, close))}" if close else ""
    raise ValueError(f"the {role} has no layer {name!r}{hint}")


class Taps:
    """The outputs of named layers in the latest forward pass, while the `with` block lasts."""

    def __init__(self, network: nn.Module, names: Iterable[str], role: str) -> None:
        self._layers = {name: find_layer(network, name, role) for name in dict.fromkeys(names)}
        self._role = role
        self._outputs: dict[str, Tensor] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Taps:
        def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(module: nn.Module, args: Any, output: Any) -> None:
                self._outputs[name] = first_tensor(output)

            return hook

        self._handles = [layer.register_forward_hook(keep(name)) for name, layer in self._layers.items()]
        return self

    def __exit__(self, *exc: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._outputs.clear()

    def take(self) -> dict[str, Tensor]:
        """Return what the forward pass left, and forget it."""
        for name in self._layers:
            if name not in self._outputs:
                raise ValueError(f"the {self._role}'s layer {name!r} did not run in the forward pass")
        outputs, self._outputs = self._outputs, {}
        return outputs


def first_tensor(output: Any) -> Tensor:
    """Find the tensor in what a network returned: itself, `.logits`, or the first of a tuple."""
    output = getattr(output, "logits", output)
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise TypeError(f"a network must return a tensor, a tuple of tensors, or .logits, not {type(output)}")
    return output


def call(network: nn.Module, inputs: Any) -> Tensor:
    """Run a network on the inputs of a batch: keyword arguments if they are a mapping."""
    return first_tensor(network(**inputs) if isinstance(inputs, Mapping) else network(inputs))


def move(batch: Any, device: torch.device) -> Any:
    """Move the tensors of a batch."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: move(value, device) for key, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return [move(value, device) for value in batch]
    return batch


def check_finite(loss: float, what: str, where: str) -> None:
    """Stop at a loss that is no number, before it reaches any weight."""
    if not np.isfinite(loss):
        raise FloatingPointError(f"{what} is {loss} at {where}; the weights are those of the step before")


# ---- Checkpoints -------------------------------------------------------------------------------------


def random_state(loader: Any = None) -> dict[str, Any]:
    """The states of all generators of random numbers that training draws from."""
    numpy: Any = np.random.get_state(legacy=True)
    state = {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": (numpy[0], torch.from_numpy(numpy[1].astype(np.int64)), *numpy[2:]),
    }
    return state | {f"loader{i}": g.get_state() for i, g in enumerate(_generators(loader))}


def set_random_state(state: Mapping[str, Any], loader: Any = None) -> None:
    """Put `random_state`'s result back."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    for i, generator in enumerate(_generators(loader)):
        generator.set_state(state[f"loader{i}"])


def _generators(loader: Any) -> list[torch.Generator]:
    """A loader's own generators; one without draws from torch's."""
    owners = (loader, getattr(loader, "sampler", None))
    found = (getattr(owner, "generator", None) for owner in owners)
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint that replaces the one before only when it is complete."""
    with atomic_output(path) as file:
        torch.save(dict(state), file)


def load_checkpoint(path: Path, kind: str) -> dict[str, Any]:
    """Read a checkpoint, on the CPU and without running code from the file."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or state.get("kind") != kind:
        raise ValueError(f"{os.fspath(path)} is no checkpoint of a {kind}")
    return state


def make_optimizer(
    optimizer: torch.optim.Optimizer | OptimizerFactory | None,
    parameters: Sequence[nn.Parameter],
    default: OptimizerFactory,
) -> torch.optim.Optimizer:
    """Take the caller's optimizer, adding what it lacks, or make one."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        return (optimizer or default)(parameters)
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if missing := [p for p in parameters if id(p) not in known]:
        optimizer.add_param_group({"params": missing})
    return optimizer
