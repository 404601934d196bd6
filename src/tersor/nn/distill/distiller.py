"""Training of a student on data with a teacher's help."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ._training import (
    OptimizerFactory,
    Path,
    SchedulerFactory,
    Taps,
    call,
    check_apart,
    check_finite,
    check_frozen,
    device_of,
    first_tensor,
    frozen,
    load_checkpoint,
    make_optimizer,
    move,
    random_state,
    save_checkpoint,
    set_random_state,
    training_mode,
)
from .cache import OutputCache, sample_keys
from .losses import KDLoss, MultiTeacherLoss

__all__ = ["BatchReport", "Distiller", "EpochReport", "Hint", "TeacherLoss"]

Loss = Callable[..., Tensor]


@dataclass(frozen=True)
class Hint:
    """A loss between a layer of the student and one of the teacher, by their names in ``named_modules``.

    With several teachers, a number says whose layer it is: "0.conv1".
    """

    student: str
    teacher: str
    loss: nn.Module
    weight: float = 1.0


class BatchReport(NamedTuple):
    """An update of the weights: epoch and step from 1, the loss, and its parts before their weights."""

    epoch: int
    step: int
    loss: float
    terms: dict[str, float]


class EpochReport(NamedTuple):
    """An epoch: its number and its last step from 1, means of the losses over its samples, and the score."""

    epoch: int
    step: int
    loss: float
    terms: dict[str, float]
    score: float | None


class TeacherLoss:
    """A loss against a frozen copy of a network, for training loops that are not `Distiller`'s.

    Made before pruning or quantization, it lets the dense float network teach its own smaller self.

    Parameters
    ----------
    teacher : module
        Copied, so that what happens to it later does not matter.
    loss : callable
        ``loss(student_output, teacher_output, labels)``; `KDLoss` by default.

    Examples
    --------
    >>> network = nn.Linear(4, 3)
    >>> loss = TeacherLoss(network, KDLoss(alpha=1.0))
    >>> x = torch.randn(8, 4)
    >>> float(loss(network(x), x).detach())
    0.0
    """

    def __init__(self, teacher: nn.Module, loss: Loss | None = None) -> None:
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self.loss = loss or KDLoss()

    def __call__(self, output: Any, inputs: Any, labels: Tensor | None = None) -> Tensor:
        """Compare the student's output on a batch with the teacher's."""
        with torch.no_grad():
            answers = call(self.teacher, move(inputs, device_of(self.teacher)))
        output = first_tensor(output)
        return self.loss(output, answers.to(output.device), labels)


class Distiller:
    """Train a student to give a teacher's outputs, and labels where there are some.

    Parameters
    ----------
    teacher : module, sequence of modules, or None
        Held in eval mode without gradients during `fit` and then left as it was found. Several teachers are
        weighed by a `MultiTeacherLoss`. None if `cache` holds all its outputs.
    student : module
        Trained in place, on the device it is on.
    loss : callable, optional
        ``loss(student_output, teacher_output, labels)``; `KDLoss` by default.
    hints : sequence of Hint
        Further losses between features.
    optimizer : optimizer or factory, optional
        Or a function that makes one for given parameters; AdamW with learning rate 1e-3 by default.
        Parameters of the losses, such as adapters, are added to it.
    scheduler : factory, optional
        Makes a learning-rate schedule for the optimizer.
    scheduler_every : {"epoch", "step"}
    accumulate : int
        Batches whose gradients are added up, weighted by their samples, before an update.
    amp : torch.bfloat16 or torch.float16, optional
        Mixed precision: what autocast computes in. float16 scales the loss.
    max_norm : float, optional
        Largest norm of the gradients, which are scaled down to it.
    cache : path, optional
        File for the teacher's outputs, so that it has to see each sample once only. Inputs must not be
        augmented at random; hints need the teacher itself.
    validate : callable, optional
        ``validate(student)``, called after each epoch with the student in eval mode without gradients;
        returns a score, larger is better.
    patience : int, optional
        Stop after so many epochs without a better score, and take the best epoch's weights.
    checkpoint : path, optional
        Where to save everything that `fit(..., resume=True)` needs to go on, bit for bit.
    checkpoint_every : int
        Epochs between two checkpoints.
    after_step : callable, optional
        Called after each update, while the gradients are still there: `DynamicPruner.step`, perhaps.
    stateful : mapping of str to object, optional
        What else belongs in the checkpoint, by `state_dict` and `load_state_dict`: the pruner, perhaps.
    progress : callable, optional
        Called with a `BatchReport` after each update.
    unpack : callable, optional
        Makes (inputs, labels or None) of a batch. By default a batch is a tensor, a sequence of inputs and
        labels, or a mapping whose "labels" are the labels; the rest of it are keyword arguments.

    Notes
    -----
    Under ``torchrun`` (an initialized process group), student and losses are wrapped in
    `DistributedDataParallel` for the time of `fit`. Each process needs as many batches as the others; the
    first writes files and calls `progress`.

    Examples
    --------
    >>> teacher, student = nn.Linear(4, 3), nn.Linear(4, 3)
    >>> batches = [torch.randn(16, 4) for _ in range(50)]
    >>> reports = Distiller(teacher, student, loss=KDLoss(alpha=1.0)).fit(batches, epochs=3)
    >>> reports[2].loss < reports[0].loss
    True
    """

    def __init__(
        self,
        teacher: nn.Module | Sequence[nn.Module] | None,
        student: nn.Module,
        *,
        loss: Loss | None = None,
        hints: Sequence[Hint] = (),
        optimizer: torch.optim.Optimizer | OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        scheduler_every: Literal["epoch", "step"] = "epoch",
        accumulate: int = 1,
        amp: torch.dtype | None = None,
        max_norm: float | None = None,
        cache: Path | None = None,
        validate: Callable[[nn.Module], float] | None = None,
        patience: int | None = None,
        checkpoint: Path | None = None,
        checkpoint_every: int = 1,
        after_step: Callable[[], object] | None = None,
        stateful: Mapping[str, Any] | None = None,
        progress: Callable[[BatchReport], object] | None = None,
        unpack: Callable[[Any], tuple[Any, Tensor | None]] | None = None,
    ) -> None:
        if isinstance(teacher, Sequence):
            teacher = _Teachers(teacher)
            loss = loss if isinstance(loss, MultiTeacherLoss) else MultiTeacherLoss(loss or KDLoss())  # type: ignore[arg-type]
        if teacher is not None:
            check_apart(teacher, student)
        elif cache is None:
            raise ValueError("without a teacher there must be a cache of its outputs")
        if cache is not None and hints:
            raise ValueError("hints need the teacher's features, which the cache does not hold")
        if amp not in (None, torch.bfloat16, torch.float16):
            raise ValueError(f"amp must be torch.bfloat16 or torch.float16, not {amp}")
        if patience is not None and validate is None:
            raise ValueError("patience needs validate")
        if scheduler_every not in ("epoch", "step"):
            raise ValueError(f'scheduler_every must be "epoch" or "step", not {scheduler_every!r}')
        for name, count in (("accumulate", accumulate), ("checkpoint_every", checkpoint_every)):
            if count < 1:
                raise ValueError(f"{name} must be at least 1, not {count}")
        self.teacher = teacher
        self.student = student
        self.hints = tuple(hints)
        self.accumulate = accumulate
        self.amp = amp
        self.max_norm = max_norm
        self.validate = validate
        self.patience = patience
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.after_step = after_step
        self.stateful = dict(stateful or {})
        self.progress = progress
        self.unpack = unpack or _unpack
        self.optimizer: torch.optim.Optimizer | None = None
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._scheduler_every = scheduler_every
        self._device = device_of(student)
        self._trainee = _Trainee(student, loss or KDLoss(), self.hints)
        self._taps = Taps(teacher or nn.Module(), [h.teacher for h in self.hints], "teacher")
        self._cache = None if cache is None else OutputCache(cache, teacher)
        self._n_asked = 0
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=amp == torch.float16)

    def fit(self, loader: Iterable[Any], epochs: int = 1, *, resume: bool = False) -> list[EpochReport]:
        """Train the student.

        Parameters
        ----------
        loader : iterable of batches
            Read once for each epoch.
        epochs : int
            Epochs in all.
        resume : bool
            Go on from the checkpoint, where there is one, as if there had been no interruption.

        Returns
        -------
        list of EpochReport
            One for each epoch, those before the checkpoint included.

        Raises
        ------
        ValueError
            If the loader is empty, outputs of student and teacher differ in shape, or labels are missing that
            the loss needs.
        FloatingPointError
            If a loss is not finite. The weights are those of the step before, the checkpoint the last one;
            running means of BatchNorm may have seen the batch.
        """
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {epochs}")
        if resume and self.checkpoint is None:
            raise ValueError("resume needs a checkpoint path")
        with ExitStack() as stack:
            if self.teacher is not None:
                stack.enter_context(frozen(self.teacher))
                stack.enter_context(self._taps)
            stack.enter_context(training_mode(self._trainee, True))
            stack.enter_context(self._trainee.taps)
            loader = self._prepare(loader)
            self._reports: list[EpochReport] = []
            self._step = 0
            self._best: tuple[float, int, dict[str, Tensor]] | None = None
            if resume and FilePath(self.checkpoint).exists():  # type: ignore[arg-type]
                self._load(self.checkpoint, loader)  # type: ignore[arg-type]
            self._network = self._distribute()
            while len(self._reports) < epochs and not self._out_of_patience():
                self._fit_epoch(loader, len(self._reports) + 1)
                if self.checkpoint is not None and (
                    len(self._reports) % self.checkpoint_every == 0
                    or len(self._reports) == epochs
                    or self._out_of_patience()
                ):
                    self._save(self.checkpoint, loader)
            del self._network
        if self.patience is not None and self._best is not None:
            self.student.load_state_dict(self._best[2])
        return self._reports

    # ---- Before ---------------------------------------------------------------------------------------

    def _prepare(self, loader: Iterable[Any]) -> Iterable[Any]:
        """Make adapters, optimizer and schedule; returns the loader, of which a batch may have been read."""
        if self.hints:
            loader = self._make_adapters(loader)
        if self.optimizer is None:
            self.optimizer = make_optimizer(
                self._optimizer,
                [p for p in self._trainee.parameters() if p.requires_grad],
                lambda parameters: torch.optim.AdamW(parameters, 1e-3),
            )
        self._schedule = None if self._scheduler is None else self._scheduler(self.optimizer)
        return loader

    def _make_adapters(self, loader: Iterable[Any]) -> Iterable[Any]:
        """Show both networks a batch, without a trace in the student or in random numbers to come."""
        state = random_state(loader)
        iterator = iter(loader)
        batch = next(iterator, None)
        if batch is None:
            raise ValueError("the loader has no batches")
        inputs, _ = self.unpack(batch)
        with torch.no_grad(), training_mode(self.student, False):
            _, features = self._ask(inputs)
            self._trainee.compare_features(move(inputs, self._device), features)
        set_random_state(state, loader)
        return itertools.chain([batch], iterator) if iterator is loader else loader

    def _distribute(self) -> nn.Module:
        if _world_size() == 1:
            return self._trainee
        return DistributedDataParallel(self._trainee)

    # ---- An epoch -------------------------------------------------------------------------------------

    def _fit_epoch(self, loader: Iterable[Any], epoch: int) -> None:
        set_epoch = getattr(getattr(loader, "sampler", None), "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch - 1)
        sums = torch.zeros(len(self.hints) + 2, dtype=torch.float64)
        n_samples, self._n_asked = 0, 0
        n_known = 0 if self._cache is None else len(self._cache)
        for group in _groups(loader, self.accumulate):
            self._step += 1
            losses, n = self._update([self.unpack(batch) for batch in group], epoch)
            sums += losses * n
            n_samples += n
            if self.progress is not None and _rank() == 0:
                loss, terms = self._named(losses)
                self.progress(BatchReport(epoch, self._step, loss, terms))
        if not n_samples:
            again = "" if epoch == 1 else f" in epoch {epoch}: an iterator can be read only once"
            raise ValueError(f"the loader has no batches{again}")
        if self._schedule is not None and self._scheduler_every == "epoch":
            self._schedule.step()
        if epoch > 1 and n_known and self._n_asked == n_samples:
            raise ValueError(
                f"no sample of epoch {epoch} was in the cache: it cannot serve inputs that change at random"
            )
        self._keep_outputs()
        totals = _sum_over_processes(torch.cat([sums, torch.tensor([n_samples], dtype=torch.float64)]))
        loss, terms = self._named(totals[:-1] / totals[-1])
        self._reports.append(EpochReport(epoch, self._step, loss, terms, self._score(epoch)))

    def _update(self, group: list[tuple[Any, Tensor | None]], epoch: int) -> tuple[Tensor, int]:
        """Make one step; returns the loss, its terms, and the number of samples."""
        assert self.optimizer is not None
        if self.teacher is not None:
            check_frozen(self.teacher)
        sizes = [_n_samples(inputs) for inputs, _ in group]
        sums = torch.zeros(len(self.hints) + 2, dtype=torch.float64)
        self.optimizer.zero_grad()
        for i, ((inputs, labels), size) in enumerate(zip(group, sizes, strict=True)):
            share = size / sum(sizes)
            last = i == len(group) - 1
            no_sync = getattr(self._network, "no_sync", nullcontext)
            with nullcontext() if last else no_sync():
                loss, terms = self._loss(inputs, labels)
                values = torch.stack([loss.detach(), *terms]).double().cpu()
                # One process that stopped alone would leave the others waiting for it.
                worst = _sum_over_processes(values[:1].clone()).item()
                check_finite(worst, "the loss", f"step {self._step} (epoch {epoch})")
                self._scaler.scale(loss * share).backward()
            sums += values * share
        if self.max_norm is not None:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._trainee.parameters(), self.max_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self._schedule is not None and self._scheduler_every == "step":
            self._schedule.step()
        if self.after_step is not None:
            self.after_step()
        return sums, sum(sizes)

    def _loss(self, inputs: Any, labels: Any) -> tuple[Tensor, list[Tensor]]:
        with torch.autocast(self._device.type, self.amp, enabled=self.amp is not None):
            answers, features = self._ask(inputs)
            result: tuple[Tensor, list[Tensor]] = self._network(
                move(inputs, self._device), move(answers, self._device), features, move(labels, self._device)
            )
        return result

    def _ask(self, inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The teacher's output and features, from the cache if there is one and it knows all samples."""
        keys = [] if self._cache is None else sample_keys(inputs)
        if self._cache is not None and (found := self._cache.find(keys)) is not None:
            return found, {}
        if self.teacher is None:
            assert self._cache is not None
            n = self._cache.n_missing(keys)
            raise ValueError(f"{n} of {len(keys)} samples are not in the cache, and there is no teacher")
        self._n_asked += len(keys)
        with torch.no_grad():
            answers = call(self.teacher, move(inputs, device_of(self.teacher)))
        if self._cache is not None:
            if len(answers) != len(keys):
                raise ValueError(f"the teacher gave {len(answers)} outputs for {len(keys)} samples")
            self._cache.add(keys, answers)
        return answers, {name: x.detach().to(self._device) for name, x in self._taps.take().items()}

    def _named(self, losses: Tensor) -> tuple[float, dict[str, float]]:
        loss, *terms = losses.tolist()
        names = ["output", *(f"{hint.student}/{hint.teacher}" for hint in self.hints)]
        return loss, dict(zip(names, terms, strict=True))

    # ---- After an epoch -------------------------------------------------------------------------------

    def _keep_outputs(self) -> None:
        if self._cache is None:
            return
        if _world_size() > 1:
            parts: list[Any] = [None] * _world_size()
            dist.all_gather_object(parts, self._cache.unsaved())
            for keys, outputs in filter(None, parts):
                self._cache.add(keys, outputs)
        self._cache.save(write=_rank() == 0)

    def _score(self, epoch: int) -> float | None:
        if self.validate is None:
            return None
        with torch.no_grad(), training_mode(self.student, False):
            scores = [float(self.validate(self.student))]
        if _world_size() > 1:
            dist.broadcast_object_list(scores)
        if math.isnan(scores[0]):
            raise ValueError(f"validate returned nan after epoch {epoch}")
        if self._best is None or scores[0] > self._best[0]:
            state = {name: value.detach().clone() for name, value in self.student.state_dict().items()}
            self._best = (scores[0], epoch, state)
        return scores[0]

    def _out_of_patience(self) -> bool:
        if self.patience is None or self._best is None:
            return False
        return len(self._reports) - self._best[1] >= self.patience

    # ---- Checkpoints ----------------------------------------------------------------------------------

    def _save(self, path: Path, loader: Any) -> None:
        states: list[Any] = [random_state(loader)]
        if _world_size() > 1:
            states *= _world_size()
            dist.all_gather_object(states, random_state(loader))
        assert self.optimizer is not None
        if _rank() == 0:
            state = {
                "kind": type(self).__name__,
                "step": self._step,
                "reports": [tuple(report) for report in self._reports],
                "best": self._best,
                "trainee": self._trainee.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": None if self._schedule is None else self._schedule.state_dict(),
                "scaler": self._scaler.state_dict(),
                "random": states,
                "stateful": {name: thing.state_dict() for name, thing in self.stateful.items()},
            }
            save_checkpoint(path, state)

    def _load(self, path: Path, loader: Any) -> None:
        assert self.optimizer is not None
        state = load_checkpoint(path, type(self).__name__)
        if len(state["random"]) != _world_size():
            raise ValueError(f"the checkpoint is of {len(state['random'])} processes, not {_world_size()}")
        self._trainee.load_state_dict(state["trainee"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._schedule is not None:
            self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        for name, thing in self.stateful.items():
            thing.load_state_dict(state["stateful"][name])
        self._reports = [EpochReport(*report) for report in state["reports"]]
        self._step = state["step"]
        self._best = state["best"]
        set_random_state(state["random"][_rank()], loader)


class _Teachers(nn.ModuleList):
    """Several teachers as one, their outputs stacked in dimension 1."""

    def __init__(self, teachers: Iterable[nn.Module]) -> None:
        super().__init__(teachers)
        if not len(self):
            raise ValueError("there are no teachers")

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        outputs = [first_tensor(teacher(*args, **kwargs)) for teacher in self]
        if len({output.shape for output in outputs}) > 1:
            shapes = ", ".join(str(tuple(output.shape)) for output in outputs)
            raise ValueError(f"the teachers' outputs differ in shape: {shapes}")
        return torch.stack(outputs, 1)


class _Trainee(nn.Module):
    """The student and the losses as one module, so that everything that is trained is in one place."""

    def __init__(self, student: nn.Module, loss: Loss, hints: Sequence[Hint]) -> None:
        super().__init__()
        self.student = student
        self.loss = loss
        self.losses = nn.ModuleList(hint.loss for hint in hints)
        self.hints = hints
        self.taps = Taps(student, [hint.student for hint in hints], "student")

    def forward(
        self, inputs: Any, answers: Tensor, features: Mapping[str, Tensor], labels: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        output = call(self.student, inputs)
        loss = self.loss(output, answers, labels)
        terms = [loss.detach()]
        for hint, value in zip(self.hints, self._feature_losses(features), strict=True):
            loss = loss + hint.weight * value
            terms.append(value.detach())
        return loss, terms

    def compare_features(self, inputs: Any, features: Mapping[str, Tensor]) -> None:
        """Run the losses between features once, so that they make their adapters."""
        call(self.student, inputs)
        self._feature_losses(features)

    def _feature_losses(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        own = self.taps.take()
        return [hint.loss(own[hint.student], features[hint.teacher]) for hint in self.hints]


def _unpack(batch: Any) -> tuple[Any, Tensor | None]:
    if isinstance(batch, Tensor):
        return batch, None
    if isinstance(batch, Mapping):
        return {key: value for key, value in batch.items() if key != "labels"}, batch.get("labels")
    if isinstance(batch, (tuple, list)) and len(batch) in (1, 2):
        return batch[0], batch[1] if len(batch) == 2 else None
    raise ValueError(f"a batch must be inputs, (inputs, labels) or a mapping: pass unpack for {type(batch)}")


def _n_samples(inputs: Any) -> int:
    if isinstance(inputs, Mapping):
        inputs = list(inputs.values())
    while isinstance(inputs, (tuple, list)):
        inputs = inputs[0]
    return len(inputs)


def _groups(loader: Iterable[Any], n: int) -> Iterator[list[Any]]:
    """The loader's batches, n at a time."""
    iterator = iter(loader)
    while group := list(itertools.islice(iterator, n)):
        yield group


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if _world_size() > 1 else 0


def _sum_over_processes(values: Tensor) -> Tensor:
    if _world_size() > 1:
        device = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
        values = values.to(device)
        dist.all_reduce(values)
    return values.cpu()
