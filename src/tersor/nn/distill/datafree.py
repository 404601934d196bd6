"""Distillation with no data at all: a generator makes the inputs, and the teacher is its discriminator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

from ._training import (
    OptimizerFactory,
    Path,
    SchedulerFactory,
    call,
    check_apart,
    check_finite,
    check_frozen,
    device_of,
    find_layer,
    first_tensor,
    frozen,
    load_checkpoint,
    make_optimizer,
    random_state,
    save_checkpoint,
    set_random_state,
    training_mode,
)
from .generators import save_image_grid
from .losses import LogitsLoss

__all__ = ["DataFreeDistiller", "StepReport"]

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class StepReport(NamedTuple):
    """One step: its number from 1, the student's loss, and the generator's losses before their weights."""

    step: int
    loss: float
    generator: dict[str, float]


class DataFreeDistiller:
    """Teach a student what a teacher knows from a generator's images, without any data.

    Each step first improves the generator, then has the student learn from the teacher what the generated
    images are.

    Parameters
    ----------
    teacher, student : module
        Classifiers of the same classes. The teacher never changes.
    generator : module
        Makes a batch of inputs from a batch of latent vectors; `ImageGenerator`, or any module.
    latent : int or callable, optional
        Length of the latent vectors, drawn from a normal distribution, or a function from a batch size to
        whatever the generator takes. By default `generator.latent_size`.
    loss : callable
        ``loss(student_logits, teacher_logits)`` for the student; mean squared difference by default.
    one_hot : float
        Weight of the cross-entropy between the teacher's output and its own largest class: real images
        leave a teacher in little doubt.
    activation : float
        Weight of minus the mean magnitude of the teacher's features: real images excite them.
    entropy : float
        Weight of minus the entropy of the batch's mean prediction: all classes should occur equally often.
    adversarial : float
        Weight of minus the mean absolute difference of the student's and the teacher's logits: the generator
        seeks what the student has not learned yet.
    batch_norm : float
        Weight of the distance between the generated batch's mean and variance before each of the teacher's
        BatchNorm layers and the statistics of real data that these layers keep.
    features : str, optional
        Name of the teacher's layer whose output `activation` sees; the input of its last linear layer by
        default.
    optimizer, generator_optimizer : optimizer or factory, optional
        Or a function that makes one for given parameters; Adam with learning rate 1e-3 by default.
    scheduler : factory, optional
        Makes a learning-rate schedule, stepped with each step, for either optimizer; by default a cosine from
        the first to the last step of `fit`.
    batch_size : int
    generator_steps, student_steps : int
        Updates of each in a step.
    memory : int
        Generated images to remember, with the teacher's answers. The student's updates after a step's first
        draw from them, which costs neither generator nor teacher and keeps it from forgetting.
    augment : callable, optional
        Changes a batch of images before the student's updates, shifting or mixing them perhaps; the teacher
        then sees the changed ones.
    samples : path, optional
        Folder for PNG grids of generated images, ``step-001000.png`` and so on; needs Pillow.
    samples_every : int
    checkpoint : path, optional
        Where to save everything that `fit(..., resume=True)` needs to go on, bit for bit.
    checkpoint_every : int
    progress : callable, optional
        Called with a `StepReport` after each step.

    References
    ----------
    Chen et al.: Data-Free Learning of Student Networks, 2019 (one-hot, activation, entropy). Fang et al.:
    Data-Free Adversarial Distillation, 2019; Micaelli, Storkey: Zero-shot Knowledge Transfer via Adversarial
    Belief Matching, 2019. Yin et al.: Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion,
    2020 (BatchNorm statistics).
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        generator: nn.Module,
        *,
        latent: int | Callable[[int], Any] | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        one_hot: float = 1.0,
        activation: float = 0.1,
        entropy: float = 5.0,
        adversarial: float = 0.0,
        batch_norm: float = 0.0,
        features: str | None = None,
        optimizer: torch.optim.Optimizer | OptimizerFactory | None = None,
        generator_optimizer: torch.optim.Optimizer | OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        batch_size: int = 256,
        generator_steps: int = 1,
        student_steps: int = 1,
        memory: int = 0,
        augment: Callable[[Tensor], Tensor] | None = None,
        samples: Path | None = None,
        samples_every: int = 1000,
        checkpoint: Path | None = None,
        checkpoint_every: int = 1000,
        progress: Callable[[StepReport], object] | None = None,
    ) -> None:
        check_apart(teacher, student)
        if latent is None:
            latent = getattr(generator, "latent_size", None)
            if not isinstance(latent, int):
                raise ValueError("latent is needed: the generator has no latent_size")
        for name, count in (
            ("batch_size", batch_size),
            ("generator_steps", generator_steps),
            ("student_steps", student_steps),
            ("samples_every", samples_every),
            ("checkpoint_every", checkpoint_every),
        ):
            if count < 1:
                raise ValueError(f"{name} must be at least 1, not {count}")
        self.weights = {
            "one_hot": one_hot,
            "activation": activation,
            "entropy": entropy,
            "adversarial": adversarial,
            "batch_norm": batch_norm,
        }
        if not any(self.weights.values()):
            raise ValueError("all of the generator's losses have weight 0")
        if batch_norm and not any(isinstance(m, _BATCH_NORMS) for m in teacher.modules()):
            raise ValueError("batch_norm needs a teacher with BatchNorm layers")
        self.teacher = teacher
        self.student = student
        self.generator = generator
        self.loss = loss or LogitsLoss()
        self.features = features
        self.batch_size = batch_size
        self.generator_steps = generator_steps
        self.student_steps = student_steps
        self.augment = augment
        self.samples = samples
        self.samples_every = samples_every
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.progress = progress
        self.step = 0
        self._latent = latent
        self._memory = _Memory(memory)

        def adam(parameters: Any) -> torch.optim.Optimizer:
            return torch.optim.Adam(parameters, 1e-3)

        self.optimizer = make_optimizer(optimizer, [*student.parameters()], adam)
        self.generator_optimizer = make_optimizer(generator_optimizer, [*generator.parameters()], adam)
        self._scheduler = scheduler

    def fit(self, steps: int, *, resume: bool = False) -> list[StepReport]:
        """Train generator and student.

        Parameters
        ----------
        steps : int
            Steps in all.
        resume : bool
            Go on from the checkpoint, where there is one, as if there had been no interruption.

        Returns
        -------
        list of StepReport
            One for each step of this call. The student is trained in place.

        Raises
        ------
        ValueError
            If the teacher does not take what the generator makes, or student and teacher have not the same
            classes.
        FloatingPointError
            If a loss is not finite. The weights are those of the step before, the checkpoint the last one.
        """
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        factory = self._scheduler or (lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps))
        self._schedulers = [factory(self.optimizer), factory(self.generator_optimizer)]
        self.step = 0
        if resume:
            if self.checkpoint is None:
                raise ValueError("resume needs a checkpoint path")
            if FilePath(self.checkpoint).exists():
                self._load(self.checkpoint)
        reports = []
        with ExitStack() as stack:
            stack.enter_context(frozen(self.teacher))
            stack.enter_context(training_mode(self.student, True))
            stack.enter_context(training_mode(self.generator, True))
            probe = stack.enter_context(_Probe(self.teacher, self.features, self.weights))
            while self.step < steps:
                check_frozen(self.teacher)
                self.step += 1
                reports.append(self._fit_step(probe))
                if self.samples is not None and self.step % self.samples_every == 0:
                    folder = FilePath(self.samples)
                    folder.mkdir(parents=True, exist_ok=True)
                    save_image_grid(self._latest[:64], folder / f"step-{self.step:06}.png")
                due = self.step % self.checkpoint_every == 0 or self.step == steps
                if self.checkpoint is not None and due:
                    save_checkpoint(self.checkpoint, self._state())
                if self.progress is not None:
                    self.progress(reports[-1])
        return reports

    # ---- A step ---------------------------------------------------------------------------------------

    def _fit_step(self, probe: _Probe) -> StepReport:
        for _ in range(self.generator_steps):
            images, answers, terms = self._improve_generator(probe)
        loss = self._teach(images, answers)
        for _ in range(self.student_steps - 1):
            again = self._memory.draw(self.batch_size) if self._memory.size else (images, answers)
            loss = self._teach(*again)
        for scheduler in self._schedulers:
            scheduler.step()
        self._latest = images
        return StepReport(self.step, loss, terms)

    def _improve_generator(self, probe: _Probe) -> tuple[Tensor, Tensor, dict[str, float]]:
        images = self._generate()
        probe.forget()
        try:
            answers = call(self.teacher, images)
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"the teacher does not take what the generator makes, {tuple(images.shape)}: {error}"
            ) from error
        if answers.dim() != 2:
            raise ValueError(f"the teacher must return [batch, classes], not {tuple(answers.shape)}")
        terms = self._terms(images, answers, probe)
        values = dict(zip(terms, torch.stack([t.detach() for t in terms.values()]).tolist(), strict=True))
        for name, value in values.items():
            check_finite(value, f"the generator's loss {name!r}", f"step {self.step}")
        self.generator_optimizer.zero_grad()
        torch.stack([self.weights[name] * term for name, term in terms.items()]).sum().backward()
        self.generator_optimizer.step()
        images, answers = images.detach(), answers.detach()
        self._memory.add(images, answers)
        return images, answers, values

    def _generate(self) -> Tensor:
        if callable(self._latent):
            noise = self._latent(self.batch_size)
        else:
            noise = torch.randn(self.batch_size, self._latent, device=device_of(self.generator))
        images = call(self.generator, noise)
        if len(images) != self.batch_size:
            raise ValueError(f"the generator made {len(images)} images of {self.batch_size} latent vectors")
        return images.to(device_of(self.teacher))

    def _terms(self, images: Tensor, answers: Tensor, probe: _Probe) -> dict[str, Tensor]:
        """The generator's losses whose weights are not 0."""
        terms = {}
        if self.weights["one_hot"]:
            terms["one_hot"] = F.cross_entropy(answers, answers.argmax(1))
        if self.weights["activation"]:
            terms["activation"] = -probe.features.abs().mean()
        if self.weights["entropy"]:
            p = answers.softmax(1).mean(0)
            terms["entropy"] = (p * p.clamp_min(torch.finfo(p.dtype).tiny).log()).sum()
        if self.weights["adversarial"]:
            # The student's gradients of this are thrown away before its own update.
            student = call(self.student, images.to(device_of(self.student)))
            terms["adversarial"] = -F.l1_loss(student.to(answers.device), answers)
        if self.weights["batch_norm"]:
            terms["batch_norm"] = probe.statistics()
        return terms

    def _teach(self, images: Tensor, answers: Tensor) -> float:
        if self.augment is not None:
            images = self.augment(images)
            with torch.no_grad():
                answers = call(self.teacher, images)
        device = device_of(self.student)
        loss = self.loss(call(self.student, images.to(device)), answers.to(device))
        value = loss.item()
        check_finite(value, "the student's loss", f"step {self.step}")
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return value

    # ---- Checkpoints ----------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return {
            "kind": type(self).__name__,
            "step": self.step,
            "student": self.student.state_dict(),
            "generator": self.generator.state_dict(),
            "optimizers": [self.optimizer.state_dict(), self.generator_optimizer.state_dict()],
            "schedulers": [scheduler.state_dict() for scheduler in self._schedulers],
            "memory": self._memory.state(),
            "random": random_state(),
        }

    def _load(self, path: Path) -> None:
        state = load_checkpoint(path, type(self).__name__)
        self.student.load_state_dict(state["student"])
        self.generator.load_state_dict(state["generator"])
        optimizers = self.optimizer, self.generator_optimizer
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for scheduler, saved in zip(self._schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        self._memory.load(state["memory"], device_of(self.teacher))
        set_random_state(state["random"])
        self.step = state["step"]


class _Probe:
    """Looks into the teacher during a forward pass: its features, and what comes before each BatchNorm."""

    def __init__(self, teacher: nn.Module, layer: str | None, weights: Mapping[str, float]) -> None:
        self.features: Tensor
        self._distances: list[Tensor] = []
        self._handles: list[Any] = []
        self._hook: Callable[[], Any] | None = None
        if weights["activation"] and layer is not None:
            named = find_layer(teacher, layer, "teacher")
            self._hook = partial(named.register_forward_hook, self._see_output)
        elif weights["activation"]:
            linear = [m for m in teacher.modules() if isinstance(m, nn.Linear)]
            if not linear:
                raise ValueError("features must name a layer: the teacher has no linear layer to look before")
            self._hook = partial(linear[-1].register_forward_pre_hook, self._see_input)
        self._batch_norms = [m for m in teacher.modules() if isinstance(m, _BATCH_NORMS)]
        if not weights["batch_norm"]:
            self._batch_norms = []

    def __enter__(self) -> _Probe:
        hooks = [partial(m.register_forward_pre_hook, self._see_statistics) for m in self._batch_norms]
        self._handles = [hook() for hook in (self._hook, *hooks) if hook is not None]
        return self

    def __exit__(self, *exc: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _see_output(self, module: nn.Module, args: Any, output: Any) -> None:
        self.features = first_tensor(output)

    def _see_input(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.features = args[0]

    def _see_statistics(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        x = args[0].transpose(0, 1).flatten(1)
        mean, variance = x.mean(1), x.var(1, correction=0)
        assert isinstance(module, _BATCH_NORMS)
        self._distances.append((mean - module.running_mean).norm() + (variance - module.running_var).norm())

    def statistics(self) -> Tensor:
        """The sum over BatchNorm layers of the latest forward pass."""
        return torch.stack(self._distances).sum()

    def forget(self) -> None:
        """Drop what earlier forward passes left."""
        self._distances = []


class _Memory:
    """The latest so many images and the teacher's answers."""

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"memory must not be negative, not {size}")
        self.size = size
        self._images: Tensor | None = None
        self._answers: Tensor | None = None
        self._n_seen = 0

    def add(self, images: Tensor, answers: Tensor) -> None:
        if not self.size:
            return
        if self._images is None or self._answers is None:
            self._images = images.new_empty(self.size, *images.shape[1:])
            self._answers = answers.new_empty(self.size, *answers.shape[1:])
        images, answers = images[-self.size :], answers[-self.size :]
        rows = (torch.arange(len(images), device=images.device) + self._n_seen) % self.size
        self._images[rows], self._answers[rows] = images, answers
        self._n_seen += len(images)

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        assert self._images is not None
        assert self._answers is not None
        rows = torch.randint(min(self._n_seen, self.size), (n,)).to(self._images.device)
        return self._images[rows], self._answers[rows]

    def state(self) -> dict[str, Any]:
        return {"images": self._images, "answers": self._answers, "n_seen": self._n_seen}

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        if state["images"] is not None:
            self._images, self._answers = state["images"].to(device), state["answers"].to(device)
        self._n_seen = state["n_seen"]
