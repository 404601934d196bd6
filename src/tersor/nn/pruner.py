"""Pruning while a network trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod

from .. import prune
from ._select import (
    check_share,
    n_inputs,
    parse_pattern,
    prunable_layers,
    unwrap,
    without_lowest,
)
from .structured import Channels

__all__ = ["DynamicPruner", "PruneByThreshold"]

SCHEDULES: dict[str, Callable[[float], float]] = {
    "one-shot": lambda progress: 1.0,
    "linear": lambda progress: progress,
    "cubic": lambda progress: 1 - (1 - progress) ** 3,
}
IMPORTANCES = ("magnitude", "gradient", "taylor", "movement")
REGROWTHS = ("surgery", "gradient")


class _Masked:
    """A tensor of a network, which of it is kept, and what is remembered of it."""

    def __init__(self, name: str, module: nn.Module, attribute: str) -> None:
        self.name = name
        self.module = module
        self.attribute = attribute
        # Ones and zeros of the tensor's own type: a product with them is ten times as fast as masked_fill_.
        self.kept = torch.ones_like(self.tensor)
        self.hidden: Tensor | None = None  # what the dropped weights would be; elsewhere meaningless
        self.score: Tensor | None = None  # collected since the last choice, or since ever

    @property
    def tensor(self) -> Tensor:
        """The tensor that the module has now: loading or moving a model may put another in its place."""
        tensor: Tensor = getattr(self.module, self.attribute).detach()
        return tensor

    @property
    def gradient(self) -> Tensor | None:
        gradient: Tensor | None = getattr(self.module, self.attribute).grad
        return gradient

    def hold(self) -> None:
        """Make the dropped weights zero again, and remember where they wanted to go."""
        tensor = self.tensor
        if self.kept.device != tensor.device or self.kept.dtype != tensor.dtype:
            self.kept = self.kept.to(tensor)
            self.hidden = None if self.hidden is None else self.hidden.to(tensor.device)
            self.score = None if self.score is None else self.score.to(tensor.device)
        if self.hidden is not None:
            self.hidden.add_(tensor)
        tensor.mul_(self.kept)

    def dense(self) -> Tensor:
        """The weights with the hidden ones in their places."""
        tensor = self.tensor.float()
        # Exact at both ends, and faster than torch.where.
        return tensor if self.hidden is None else torch.lerp(self.hidden, tensor, self.kept.float())

    def set_kept(self, kept: Tensor) -> None:
        """Exchange the mask; what comes back does so from hiding, else from zero."""
        tensor = self.tensor
        if self.hidden is not None:
            # A hidden weight went where it should go if it were the only one. Many come back at once: not
            # further from zero than what was kept is.
            dense = self.dense()
            stay = kept & (self.kept != 0)
            least = float(torch.where(stay, dense.abs(), math.inf).min()) if dense.numel() else 0.0
            self.hidden = torch.where(kept & ~stay, dense.clamp(-least, least), dense)
            tensor.copy_(self.hidden)
        self.kept.copy_(kept)
        tensor.mul_(self.kept)


class _Weights:
    """Every weight for itself: the units that are kept or dropped are the weights."""

    def __init__(self, masked: list[_Masked]) -> None:
        self.names = [m.name for m in masked]
        self.sizes = [m.tensor.numel() for m in masked]

    def scores(self, scores: list[Tensor]) -> list[Tensor]:
        """Scores of the units, from those of the weights."""
        return scores

    def masks(self, kept: list[Tensor]) -> list[Tensor]:
        """Marks of weights, from those of units."""
        return kept

    def protect(self, scores: list[Tensor]) -> None:
        """Raise the scores of units that must not be dropped."""


class _Pattern(_Weights):
    """At least n of m neighbours on the way to one output are dropped in the end."""

    def __init__(self, masked: list[_Masked], n: int, m: int) -> None:
        super().__init__(masked)
        self.n, self.m = n, m

    def scores(self, scores: list[Tensor]) -> list[Tensor]:
        # Neighbours are inputs, which convolutions have in their second axis.
        return [s.movedim(1, -1).contiguous() for s in scores]

    def masks(self, kept: list[Tensor]) -> list[Tensor]:
        return [k.movedim(-1, 1) for k in kept]

    def protect(self, scores: list[Tensor]) -> None:
        for score in scores:
            score[prune.mask(score, n=self.n, m=self.m, importance=score)] = math.inf


class _Channels:
    """Whole channels."""

    def __init__(self, channels: Channels, masked: list[_Masked]) -> None:
        self.channels = channels
        self.names = list(channels.sets)
        self.members = list(channels.sets.values())
        self.sizes = [len(members) for members in self.members]
        self.keys = [(m.module, m.attribute) for m in masked]
        self.made = [
            (self.keys.index((axis.module, axis.tensor)), axis)
            for axis in channels.axes
            if axis.made and axis.tensor == "weight" and getattr(axis.module, axis.tensor).ndim > 1
        ]

    def scores(self, scores: list[Tensor]) -> list[Tensor]:
        """The mean score of the weights that make a channel, in proportion to its layers' mean."""
        device = scores[0].device
        total, count = torch.zeros(2, self.channels.n + 1, device=device)  # -1 finds the last
        for index, axis in self.made:
            score = scores[index].movedim(axis.axis, 0).flatten(1)
            at = axis.channels.to(device) % len(total)
            total.index_add_(0, at, score.sum(1))
            count.index_add_(0, at, count.new_full((len(at),), score.shape[1]))
        mean = total / count.clamp_min(1)
        sets = [mean[members.to(device)] for members in self.members]
        return [s / s.abs().mean().clamp_min(torch.finfo(s.dtype).tiny) for s in sets]

    def masks(self, kept: list[Tensor]) -> list[Tensor]:
        masks = self.channels.masks(self._flags(kept))
        return [masks[key] for key in self.keys]

    def _flags(self, kept: list[Tensor]) -> Tensor:
        flags = torch.ones(self.channels.n, dtype=torch.bool)
        for members, keep in zip(self.members, kept, strict=True):
            flags[members] = keep
        return flags

    def protect(self, scores: list[Tensor]) -> None:
        pass

    def shrink_(self, kept: list[Tensor]) -> None:
        """Take the dropped channels out of the network."""
        self.channels.shrink_(self._flags(kept))


class DynamicPruner:
    """Prune a network step by step while it trains.

    Call `step` after each step of the optimizer. Between the training steps `begin` and `end`, each
    `frequency` steps, all weights are scored, and the least important are set to zero and held there.

    Parameters
    ----------
    model : torch.nn.Module
        Its linear and convolutional layers are pruned, those that it has now: layers added later are not.
        A weight that several layers share counts once; frozen ones are left alone. May be wrapped by
        `torch.compile` or `DistributedDataParallel`.
    sparsity : float
        Share of the weights (or channels) to drop in the end, 0 to 1. It is met to one weight.
    schedule : {"cubic", "linear", "one-shot"} or callable
        How the share grows: a function from the progress between begin and end to the part of the
        target to have by then, both 0 to 1. Cubic takes most at first, when weights are plenty.
    importance : {"magnitude", "gradient", "taylor", "movement"}
        What a weight w with gradient g is worth: \\|w\\|; \\|g\\|; \\|w g\\|; or -w g, how much it moves away
        from zero. Gradients are collected over all steps since the last choice, for movement since the
        beginning.
    scope : {"global", "layer"} or mapping
        Whether all weights compete or each layer gives the same share; or the share of each layer by
        name, as `sensitivity_scan` finds them. Layers that the mapping does not name get `sparsity`.
    structure : str, optional
        "n:m" keeps n of m neighbouring inputs, as "2:4" for sparse tensor cores; layers whose number of
        inputs m does not divide stay dense. "channel" drops whole channels, which `finalize` takes out of
        the network.
    regrow : bool or {"surgery", "gradient"}
        Whether dropped weights may come back. "surgery", the same as True: each goes on being trained
        out of sight, with the gradient that it would have, and returns with the value it has by then, but
        no larger than the least of its layer, once it is worth more than another; channels return with
        the weights they had. "gradient": at each choice the least important are exchanged for those with the
        largest gradient, which start from zero.
    margin : float
        How much more a dropped weight must be worth than a kept one to take its place, so that few
        change back and forth; with "surgery".
    exchange : float
        Share of the kept weights that are exchanged at first, and at most with "surgery", at a time. It
        falls to zero along a cosine, so that what is left can settle.
    begin, end, frequency : int
        Steps of training before the first choice, at the last, and between two. A one-shot schedule
        needs no end.
    initial : float
        Sparsity to begin with.
    min_keep : int
        Weights (or channels) that every layer keeps.
    exclude : collection of str
        Names of layers to leave alone.
    example_input : tensor or tuple, optional
        Arguments for the model, whose shapes "channel" needs to find out which layers depend on each other.
    process_group : torch.distributed.ProcessGroup, optional
        Whose processes choose alike; that of the model if it is a `DistributedDataParallel`.

    Raises
    ------
    ValueError
        If an argument makes no sense, there is nothing to prune, or a layer would be left empty.

    Notes
    -----
    Weights are plain parameters all the time, so that optimizers, `state_dict`, autocast and compiled models
    see nothing unusual; momentum may move a dropped weight, and `step` moves it back. Of equal scores
    the first are kept. The processes of a distributed job choose alike, by the mean of their scores.
    A step whose gradients are not finite, which a `GradScaler` skips, is not scored.

    References
    ----------
    Zhu & Gupta 2017 (cubic schedule), Molchanov 2019 (Taylor), Sanh 2020 (movement), Guo 2016 (surgery), Evci
    2020 (regrowth by gradient).

    Examples
    --------
    >>> import torch, tersor.nn
    >>> model = torch.nn.Linear(20, 5)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> pruner = tersor.nn.DynamicPruner(model, 0.9, end=30, frequency=5)
    >>> for _ in range(40):
    ...     optimizer.zero_grad()
    ...     model(torch.randn(8, 20)).square().mean().backward()
    ...     optimizer.step()
    ...     pruner.step()
    >>> pruner.finalize()
    >>> int((model.weight != 0).sum())
    10
    """

    def __init__(
        self,
        model: nn.Module,
        sparsity: float,
        *,
        schedule: str | Callable[[float], float] = "cubic",
        importance: str = "magnitude",
        scope: str | Mapping[str, float] = "global",
        structure: str | None = None,
        regrow: bool | str = True,
        margin: float = 0.1,
        exchange: float = 0.3,
        begin: int = 0,
        end: int | None = None,
        frequency: int = 100,
        initial: float = 0.0,
        min_keep: int = 1,
        exclude: Collection[str] = (),
        example_input: Any = None,
        process_group: Any = None,
    ) -> None:
        if isinstance(model, nn.parallel.DistributedDataParallel) and process_group is None:
            process_group = model.process_group
        self._group = process_group
        self._model = unwrap(model)
        if isinstance(schedule, str) and schedule not in SCHEDULES:
            raise ValueError(f"schedule: {schedule!r} is not one of {', '.join(SCHEDULES)}")
        if importance not in IMPORTANCES:
            raise ValueError(f"importance: {importance!r} is not one of {', '.join(IMPORTANCES)}")
        regrow = "surgery" if regrow is True else regrow
        if regrow and regrow not in REGROWTHS:
            raise ValueError(f"regrow: {regrow!r} is not one of {', '.join(REGROWTHS)}")
        if regrow == "gradient" and structure is not None:
            raise ValueError("regrow: by gradient only without a structure")
        if end is None and schedule == "one-shot":
            end = begin + 1
        if end is None or not 0 <= begin < end:
            raise ValueError(f"begin, end: 0 <= begin < end, but they are {begin} and {end}")
        if frequency < 1 or min_keep < 0 or margin < 0:
            raise ValueError("frequency must be at least 1, min_keep and margin not negative")
        check_share("exchange", exchange)
        check_share("initial", initial)
        self._schedule = schedule if callable(schedule) else SCHEDULES[schedule]
        self._importance = importance
        self._regrow = regrow
        self._margin = margin
        self._exchange = exchange
        self._begin, self._end, self._frequency = begin, end, frequency
        self._initial = initial
        self._min_keep = min_keep
        self._structure = structure
        self._steps = 0
        self._due = False
        self._finalized = False
        self._units = self._find_units(structure, set(exclude), example_input)
        self._kept = [
            torch.ones(s.shape, dtype=torch.bool)
            for s in self._units.scores([m.tensor.float() for m in self._masked])
        ]
        self._pools = self._find_pools(sparsity, scope)
        self._check_room()
        for masked in self._masked:
            if regrow == "surgery":
                masked.hidden = torch.zeros_like(masked.tensor, dtype=torch.float32)
            if importance != "magnitude" and masked.tensor.ndim > 1:
                masked.score = torch.zeros_like(masked.tensor, dtype=torch.float32)

    # ---- What there is to prune -------------------------------------------------------------

    def _find_units(
        self, structure: str | None, exclude: set[str], example_input: Any
    ) -> _Weights | _Channels:
        layers = dict(self._model.named_modules())
        if unknown := sorted(exclude - layers.keys()):
            raise ValueError(f"exclude: the model has no layer {unknown[0]!r}")
        if structure == "channel":
            if example_input is None:
                raise ValueError("example_input: structure='channel' needs one")
            channels = Channels(self._model, example_input, exclude)
            if not channels.n:
                raise ValueError("the model has no channels that can be removed")
            names = {module: name for name, module in layers.items()}
            keys = channels.masks(torch.ones(channels.n, dtype=torch.bool))
            self._masked = [_Masked(f"{names[module]}.{tensor}", module, tensor) for module, tensor in keys]
            return _Channels(channels, self._masked)
        found = dict(prunable_layers(self._model, lambda name: name not in exclude))
        n, m = parse_pattern(structure)
        found = {name: layer for name, layer in found.items() if n_inputs(layer) % m == 0}
        if not found:
            raise ValueError("the model has no layer that can be pruned")
        self._masked = [_Masked(name, layer, "weight") for name, layer in found.items()]
        return _Weights(self._masked) if structure is None else _Pattern(self._masked, n, m)

    def _find_pools(self, sparsity: float, scope: str | Mapping[str, float]) -> list[tuple[list[int], float]]:
        """Which sets of units compete, and how much of each is to go."""
        if isinstance(self._units, _Pattern):
            share = 1 - self._units.n / self._units.m
            if not math.isclose(sparsity, share):
                raise ValueError(f"sparsity: {self._structure!r} makes it {share}, not {sparsity}")
            if isinstance(scope, Mapping):
                raise ValueError(f"scope: {self._structure!r} gives all layers the same share")
        names = self._units.names
        check_share("sparsity", sparsity)
        if isinstance(scope, Mapping):
            if unknown := sorted(scope.keys() - set(names)):
                raise ValueError(f"scope: {unknown[0]!r} is no layer to prune; those are {', '.join(names)}")
            for name, share in scope.items():
                check_share(f"scope[{name!r}]", share)
            return [([i], scope.get(name, sparsity)) for i, name in enumerate(names)]
        if scope == "layer":
            return [([i], sparsity) for i in range(len(names))]
        if scope == "global":
            return [(list(range(len(names))), sparsity)]
        raise ValueError(f"scope: {scope!r} is neither 'global' nor 'layer' nor a mapping")

    def _check_room(self) -> None:
        for members, share in self._pools:
            sizes = [self._units.sizes[i] for i in members]
            needed = sum(min(size, self._min_keep) for size in sizes)
            if sum(sizes) - round(share * sum(sizes)) < needed:
                names = ", ".join(self._units.names[i] for i in members)
                raise ValueError(
                    f"sparsity: with {share} fewer than {self._min_keep} would be left for each of {names}"
                )

    # ---- Training ---------------------------------------------------------------------------

    @torch.no_grad()
    def step(self) -> None:
        """Hold the dropped weights at zero and, when it is time, choose again which they are.

        To be called after each step of the optimizer, before the gradients are cleared.
        """
        if self._finalized:
            raise RuntimeError("step() after finalize()")
        self._steps += 1
        passed = self._steps - self._begin - 1
        chooses = passed >= 0 and self._steps < self._end and passed % self._frequency == 0
        self._due |= chooses or self._steps == self._end
        for masked in self._masked:
            masked.hold()
        finite = True
        if self._due or self._steps < self._end:
            finite = self._collect()
        if self._due and finite:
            self._choose()
            self._due = False

    def _collect(self) -> bool:
        """Add what the gradients of this step say to the scores; false if they say nothing."""
        if self._importance == "magnitude" and not (self._due and self._regrow == "gradient"):
            return True
        pairs = [(m, m.gradient) for m in self._masked if m.tensor.ndim > 1]
        found = [(m, g) for m, g in pairs if g is not None]
        if not found:
            raise RuntimeError("no gradients to score weights by: call step() before they are cleared")
        if not all(bool(g.sum(dtype=torch.float32).isfinite()) for _, g in found):
            return False
        for masked, gradient in found:
            if masked.score is None:
                continue
            if self._importance == "gradient":
                masked.score.add_(gradient.abs())
            elif self._importance == "taylor":
                masked.score.add_((masked.dense() * gradient).abs_())
            else:
                masked.score.addcmul_(masked.dense(), gradient.float(), value=-1)
        return True

    def _choose(self) -> None:
        """Score all units and drop the lowest."""
        progress = min((self._steps - self._begin) / (self._end - self._begin), 1.0)
        part = self._schedule(progress)
        modules = set(self._model.modules())
        for masked in self._masked:
            if masked.module not in modules:
                raise RuntimeError(f"{masked.name!r} is no longer part of the model")
        scores = self._unit_scores([m.dense().abs() if m.score is None else m.score for m in self._masked])
        growth = None
        if self._regrow == "gradient":
            gradients = [(m, m.gradient) for m in self._masked]
            growth = self._unit_scores([m.kept * 0 if g is None else g.abs() for m, g in gradients])
        for members, share in self._pools:
            initial = min(self._initial, share)
            n = sum(self._units.sizes[i] for i in members)
            n_drop = round((initial + (share - initial) * part) * n)
            chosen = self._choose_among(
                [scores[i] for i in members],
                [self._kept[i] for i in members],
                n_drop,
                progress,
                None if growth is None else [growth[i] for i in members],
            )
            for i, kept in zip(members, chosen, strict=True):
                self._kept[i] = kept
        for masked, kept in zip(self._masked, self._units.masks(self._kept), strict=True):
            masked.set_kept(kept.to(masked.kept.device))
        if self._importance in ("gradient", "taylor"):
            for masked in self._masked:
                if masked.score is not None:
                    masked.score.zero_()

    def _unit_scores(self, scores: list[Tensor]) -> list[Tensor]:
        """Turn scores of weights into those of units, which every process of the group has alike."""
        for masked, score in zip(self._masked, scores, strict=True):
            # The sum is quick, but that of finite numbers need not be.
            if not score.sum().isfinite() and not score.isfinite().all():
                raise ValueError(f"{masked.name!r} has weights or scores that are not finite")
        # Copies, and where `tersor.prune` can read them.
        scores = [
            s.to("cpu", copy=True, memory_format=torch.contiguous_format)
            for s in self._units.scores([s.float() for s in scores])
        ]
        if self._group is not None:
            flat = torch.cat([s.flatten() for s in scores]).to(self._masked[0].kept.device)
            dist.all_reduce(flat, group=self._group)
            flat /= dist.get_world_size(self._group)
            parts = flat.cpu().split([s.numel() for s in scores])
            scores = [part.view(s.shape) for part, s in zip(parts, scores, strict=True)]
        return scores

    def _choose_among(
        self,
        scores: list[Tensor],
        kept: list[Tensor],
        n_drop: int,
        progress: float,
        growth: list[Tensor] | None,
    ) -> list[Tensor]:
        """Mark the units to keep among those that compete."""
        n = sum(score.numel() for score in scores)
        n_dropped = sum(int((~keep).sum()) for keep in kept)
        exchange = round(self._exchange * (1 + math.cos(math.pi * progress)) / 2 * (n - n_drop))
        back = max(exchange, n_dropped - n_drop)  # as many as may return, or as there is room for
        candidates = kept
        if self._regrow == "surgery":
            for score, keep in zip(scores, kept, strict=True):
                score.addcmul_(score.abs(), keep.to(score), value=self._margin)
            if back < n_dropped:
                hidden = [torch.where(keep, -math.inf, s) for s, keep in zip(scores, kept, strict=True)]
                first = without_lowest(hidden, n - back)
                candidates = [keep | some for keep, some in zip(kept, first, strict=True)]
            else:
                candidates = [torch.ones_like(keep) for keep in kept]
        for score, candidate in zip(scores, candidates, strict=True):
            score.copy_(torch.where(candidate, score, -math.inf))
            flat = score.view(-1)
            n_best = min(self._min_keep, len(flat))
            flat[flat.argmax() if n_best == 1 else flat.topk(n_best).indices] = math.inf
        self._units.protect(scores)
        if self._regrow == "surgery":
            return without_lowest(scores, n_drop)
        if growth is None:
            return without_lowest(scores, max(n_drop, n_dropped))
        room = n - sum(min(self._min_keep, score.numel()) for score in scores)
        for gradient, keep in zip(
            growth, without_lowest(scores, min(max(n_drop + exchange, n_dropped), room)), strict=True
        ):
            gradient[keep] = math.inf
        return without_lowest(growth, n_drop)

    # ---- What came of it --------------------------------------------------------------------

    def sparsity(self) -> float:
        """Share of the weights, or channels, that are dropped now."""
        n = sum(self._units.sizes)
        return (n - sum(int(kept.sum()) for kept in self._kept)) / n

    def layer_sparsities(self) -> dict[str, float]:
        """The same for each layer, or for each set of layers whose channels belong together."""
        return {
            name: int((~kept).sum()) / kept.numel()
            for name, kept in zip(self._units.names, self._kept, strict=True)
        }

    def masks(self) -> dict[str, Tensor]:
        """Copies of the masks: true where a tensor of the model, named after its layer, is kept."""
        return {masked.name: masked.kept != 0 for masked in self._masked}

    @torch.no_grad()
    def finalize(self) -> None:
        """End pruning: the model is left with plain parameters, and channels are taken out of it.

        Optimizers do not know the smaller parameters of a network that lost channels: make a new one to
        go on training.

        Raises
        ------
        RuntimeError
            If the last choice has not been made yet.
        """
        if self._steps < self._end or self._due:
            raise RuntimeError(
                f"the target is reached after {self._end} steps, of which {self._steps} are done"
            )
        if self._finalized:
            return
        for masked in self._masked:
            masked.hidden = masked.score = None
            masked.tensor.masked_fill_(masked.kept == 0, 0)  # products with zero may be negative
        self._finalized = True
        if isinstance(self._units, _Channels):
            self._units.shrink_(self._kept)

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs to go on, in tensors and numbers."""
        return {
            "settings": self._settings(),
            "steps": self._steps,
            "due": self._due,
            "kept": dict(zip(self._units.names, self._kept, strict=True)),
            "hidden": {m.name: m.hidden for m in self._masked if m.hidden is not None},
            "score": {m.name: m.score for m in self._masked if m.score is not None},
        }

    def _settings(self) -> dict[str, Any]:
        return {"importance": self._importance, "regrow": self._regrow, "structure": self._structure}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was called, on a model whose own state has been loaded.

        Raises
        ------
        ValueError
            If the state belongs to another model or other settings.
        """
        if state["settings"] != self._settings():
            raise ValueError(f"the state has the settings {state['settings']}, not {self._settings()}")
        mine = self.state_dict()
        for kind in ("kept", "hidden", "score"):
            if {k: v.shape for k, v in mine[kind].items()} != {k: v.shape for k, v in state[kind].items()}:
                raise ValueError("the state belongs to another model")
            for name, tensor in mine[kind].items():
                tensor.copy_(state[kind][name])
        self._steps, self._due = state["steps"], state["due"]
        for masked, kept in zip(self._masked, self._units.masks(self._kept), strict=True):
            masked.kept.copy_(kept)
            masked.tensor.mul_(masked.kept)


class PruneByThreshold(BasePruningMethod):
    """Drop the smallest magnitudes, for users of `torch.nn.utils.prune`.

    The same weights as `torch.nn.utils.prune.L1Unstructured` drops, but for ties, found in one pass.

    Parameters
    ----------
    amount : float or int
        Share of the weights that are left, or their number, to drop.

    Examples
    --------
    >>> import torch, tersor.nn
    >>> layer = torch.nn.Linear(10, 10)
    >>> _ = tersor.nn.PruneByThreshold.apply(layer, "weight", amount=0.7)
    >>> int(layer.weight.count_nonzero())
    30
    """

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: float) -> None:
        if isinstance(amount, float):
            check_share("amount", amount)
        elif amount < 0:
            raise ValueError(f"amount: {amount} is negative")
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """Clear the mask where the magnitudes are smallest."""
        n = round(self.amount * t.numel()) if isinstance(self.amount, float) else self.amount
        if n > t.numel():
            raise ValueError(f"amount: {n} is more than the {t.numel()} weights that are left")
        (kept,) = without_lowest([t.detach().abs().float().cpu()], n)
        return default_mask * kept.to(default_mask)
