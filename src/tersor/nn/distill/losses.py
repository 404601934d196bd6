"""Distillation losses: plain modules over the outputs, or over one layer's features, of student and teacher.

Losses over outputs are called as ``loss(student, teacher, labels)`` with the classes in dimension 1, as
`torch.nn.functional.cross_entropy` has them; losses over features as ``loss(student, teacher)``. Gradients
reach the student alone. Half precision is widened to float32 first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

__all__ = [
    "AttentionLoss",
    "DecoupledKDLoss",
    "FeatureLoss",
    "KDLoss",
    "LogitsLoss",
    "MultiTeacherLoss",
    "RegressionLoss",
    "RelationalLoss",
]

Reduction = Literal["mean", "none"]


def _widen(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both outputs in full precision, the teacher's as constants; their shapes must agree."""
    if student.shape != teacher.shape:
        raise ValueError(
            f"the student's output has shape {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}: "
            "both need the same classes"
        )
    return _widen(student), _widen(teacher.detach())


def _need(labels: Tensor | None, reason: str) -> Tensor:
    if labels is None:
        raise ValueError(f"the batch has no labels, which are needed because {reason}")
    return labels


def _check_range(name: str, value: float, low: float, high: float = float("inf")) -> float:
    if not low <= value <= high:
        raise ValueError(f"{name} must be in [{low}, {high}], not {value}")
    return value


class _OutputLoss(nn.Module):
    """What losses over outputs share: the mean over samples, or a value for each."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "none"):
            raise ValueError(f'reduction must be "mean" or "none", not {reduction!r}')
        self.reduction = reduction

    def _reduce(self, per_sample: Tensor) -> Tensor:
        return per_sample.mean() if self.reduction == "mean" else per_sample


class _LabelledLoss(_OutputLoss):
    """(1 - alpha) times a loss against the labels plus alpha times one against the teacher."""

    def __init__(self, alpha: float, reduction: Reduction) -> None:
        super().__init__(reduction)
        self.alpha = _check_range("alpha", alpha, 0, 1)

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
        student, teacher = _pair(student, teacher)
        loss = self.alpha * self._soft(student, teacher)
        if self.alpha < 1:
            labels = _need(labels, f"alpha is {self.alpha}; alpha=1 learns from the teacher alone")
            loss = loss + (1 - self.alpha) * self._hard(student, labels)
        return self._reduce(loss)

    def _soft(self, student: Tensor, teacher: Tensor) -> Tensor:
        raise NotImplementedError

    def _hard(self, student: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(student, labels, reduction="none")


class KDLoss(_LabelledLoss):
    """Cross-entropy with the labels and with the teacher's softened probabilities.

    Parameters
    ----------
    temperature : float
        T: logits are divided by it before the softmax of both networks.
    alpha : float
        Weight of the teacher; 1 needs no labels.
    reduction : {"mean", "none"}

    Notes
    -----
    ``(1 - alpha) CE(student, labels) + alpha T^2 KL(softmax(teacher / T) || softmax(student / T))``. T^2
    keeps the gradients of the second part at the size of the first's whatever T is. Labels may be class
    numbers or probabilities.

    References
    ----------
    Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015.

    Examples
    --------
    >>> teacher = torch.tensor([[4.0, 1.0, 0.0]])
    >>> loss = KDLoss(temperature=2.0, alpha=1.0)
    >>> float(loss(teacher, teacher)), float(loss(-teacher, teacher)) > 1
    (0.0, True)
    """

    def __init__(
        self, temperature: float = 4.0, alpha: float = 0.9, *, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(alpha, reduction)
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.temperature = temperature

    def _soft(self, student: Tensor, teacher: Tensor) -> Tensor:
        return _soft_divergence(student, teacher, self.temperature)


def _soft_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    log_student = F.log_softmax(student / temperature, 1)
    log_teacher = F.log_softmax(teacher / temperature, 1)
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1)


class LogitsLoss(_LabelledLoss):
    """Mean squared difference of the logits, with cross-entropy where `alpha` is below 1.

    The limit of `KDLoss` at high temperatures, without its blindness to a constant added to all logits.

    References
    ----------
    Ba, Caruana: Do Deep Nets Really Need to be Deep?, 2014.
    """

    def __init__(self, alpha: float = 1.0, *, reduction: Reduction = "mean") -> None:
        super().__init__(alpha, reduction)

    def _soft(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).square().mean(1)


class RegressionLoss(_LabelledLoss):
    """Regression heads: distance to the labels and to the teacher's values.

    Parameters
    ----------
    alpha : float
        Weight of the teacher; 1 needs no labels.
    kind : {"mse", "l1", "huber"}
        The distance, elementwise.
    margin : float, optional
        Use the teacher as a bound instead of a target: its part of the loss becomes the student's own
        distance to the label, and nothing where that is below the teacher's by `margin` or more. For
        teachers that are at times further from the truth than the student.

    References
    ----------
    Chen, Choi, Yu, Han, Chandraker: Learning Efficient Object Detection Models with Knowledge
    Distillation, 2017 (the bound).
    """

    _DISTANCES = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.smooth_l1_loss}  # noqa: RUF012

    def __init__(
        self,
        alpha: float = 0.5,
        kind: Literal["mse", "l1", "huber"] = "mse",
        *,
        margin: float | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(alpha, reduction)
        if kind not in self._DISTANCES:
            raise ValueError(f"kind must be one of {', '.join(self._DISTANCES)}, not {kind!r}")
        self.kind = kind
        self.margin = margin

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        distance = self._DISTANCES[self.kind](a, b.to(a.dtype), reduction="none")
        return distance.flatten(1).mean(1) if distance.dim() > 1 else distance

    def _hard(self, student: Tensor, labels: Tensor) -> Tensor:
        # A shape that only broadcasts, [N] against [N, 1], would compare every sample with every other.
        if labels.shape != student.shape:
            raise ValueError(f"labels of shape {tuple(labels.shape)} for outputs of {tuple(student.shape)}")
        return self._distance(student, labels)

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.margin is None:
            return super().forward(student, teacher, labels)
        student, teacher = _pair(student, teacher)
        error = self._hard(student, _need(labels, "the teacher is only a bound"))
        bound = self._hard(teacher, _need(labels, "the teacher is only a bound"))
        bounded = torch.where(error + self.margin > bound, error, torch.zeros_like(error))
        return self._reduce((1 - self.alpha) * error + self.alpha * bounded)

    def _soft(self, student: Tensor, teacher: Tensor) -> Tensor:
        return self._distance(student, teacher)


class DecoupledKDLoss(_OutputLoss):
    """Soft targets in two parts with a weight each: the labelled class against the rest, and among the rest.

    Parameters
    ----------
    temperature : float
    target : float
        Weight of the divergence between (p, 1 - p), p being the labelled class's probability.
    others : float
        Weight of the divergence between the other classes' probabilities, scaled to sum to 1. `KDLoss` fixes
        this weight at the teacher's 1 - p, which hides most of it when the teacher is sure.
    hard : float
        Weight of the cross-entropy with the labels.

    References
    ----------
    Zhao, Cui, Song, Qiu, Liang: Decoupled Knowledge Distillation, 2022.
    """

    def __init__(
        self,
        temperature: float = 4.0,
        target: float = 1.0,
        others: float = 8.0,
        hard: float = 1.0,
        *,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction)
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.temperature = temperature
        self.target = _check_range("target", target, 0)
        self.others = _check_range("others", others, 0)
        self.hard = _check_range("hard", hard, 0)

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
        student, teacher = _pair(student, teacher)
        labels = _need(labels, "they say which class is the target")
        index = labels.unsqueeze(1)
        mask = torch.zeros_like(student, dtype=torch.bool).scatter_(1, index, True)

        def split(logits: Tensor) -> tuple[Tensor, Tensor]:
            """Log-probabilities of target and rest, and those within the rest."""
            log_p = F.log_softmax(logits / self.temperature, 1)
            rest = log_p.masked_fill(mask, -torch.inf).logsumexp(1, keepdim=True)
            within = (log_p - rest).masked_fill(mask, 0)
            return torch.cat([log_p.gather(1, index), rest], 1), within

        (binary_s, within_s), (binary_t, within_t) = split(student), split(teacher)
        target = F.kl_div(binary_s, binary_t, reduction="none", log_target=True).sum(1)
        # The target's own place holds log 1 on both sides and so adds nothing.
        others = F.kl_div(within_s, within_t, reduction="none", log_target=True).sum(1)
        soft = self.temperature**2 * (self.target * target + self.others * others)
        return self._reduce(soft + self.hard * F.cross_entropy(student, labels, reduction="none"))


class MultiTeacherLoss(_OutputLoss):
    """A weighted sum of one loss over several teachers, whose outputs are stacked in dimension 1.

    Parameters
    ----------
    loss : module
        Called for every teacher with ``reduction="none"``, which it must therefore know, as those of this
        module do.
    weights : sequence of float or "confidence", optional
        A weight for each teacher, scaled to sum to 1; equal by default. "confidence" weighs each teacher by
        sample: (1 - softmax(cross-entropy with the label)) / (teachers - 1).

    References
    ----------
    You, Xu, Xu, Tao: Learning from Multiple Teacher Networks, 2017. Zhang, Chen, Wang: Confidence-Aware
    Multi-Teacher Knowledge Distillation, 2022.
    """

    def __init__(
        self, loss: _OutputLoss, weights: Sequence[float] | Literal["confidence"] | None = None
    ) -> None:
        super().__init__()
        if not isinstance(loss, _OutputLoss):
            raise ValueError("several teachers need a loss that has a value for each sample, as KDLoss has")
        self.reduction = loss.reduction
        self.loss = loss
        loss.reduction = "none"
        if isinstance(weights, str):
            if weights != "confidence":
                raise ValueError(f'weights must be numbers or "confidence", not {weights!r}')
        elif weights is not None and (min(weights, default=0) < 0 or not sum(weights) > 0):
            raise ValueError("weights must not be negative nor all zero")
        self.weights = weights

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
        teachers = teacher.unbind(1)
        weights = self._weights(teachers, labels)
        losses = torch.stack([self.loss(student, t, labels) for t in teachers])
        weights = weights[(...,) + (None,) * (losses.dim() - weights.dim())]
        return self._reduce((weights * losses).sum(0))

    def _weights(self, teachers: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        """One weight for each teacher, or for each teacher and sample."""
        n = len(teachers)
        if self.weights == "confidence":
            labels = _need(labels, "they tell which teacher to trust")
            errors = torch.stack([F.cross_entropy(_widen(t), labels, reduction="none") for t in teachers])
            return (1 - errors.softmax(0)) / (n - 1) if n > 1 else torch.ones_like(errors)
        if self.weights is None:
            return torch.full((n,), 1 / n, device=teachers[0].device)
        if len(self.weights) != n:
            raise ValueError(f"{len(self.weights)} weights for {n} teachers")
        weights = torch.tensor(self.weights, device=teachers[0].device, dtype=torch.float64)
        return (weights / weights.sum()).to(_widen(teachers[0]).dtype)


# ---- Features ----------------------------------------------------------------------------------------


class FeatureLoss(nn.Module):
    """Mean squared difference of features, the student's through a learned adapter.

    Parameters
    ----------
    adapter : module, optional
        Brings the student's features to the teacher's shape. By default none where the channels agree, else
        a convolution of size 1 for images and signals and a linear layer for vectors and tokens, made at the
        first call. It belongs to this loss: its parameters are trained with the student's, then thrown away.
    normalize : bool
        Scale each sample's features to unit length first, so that only their direction counts.

    Notes
    -----
    Features of other height or width than the teacher's are brought to its size by average pooling.

    References
    ----------
    Romero, Ballas, Kahou, Chassang, Gatta, Bengio: FitNets: Hints for Thin Deep Nets, 2015.

    Examples
    --------
    >>> loss = FeatureLoss()
    >>> float(loss(torch.ones(2, 3), torch.zeros(2, 3)))
    1.0
    >>> _ = loss(torch.ones(2, 4, 6, 6), torch.zeros(2, 8, 3, 3))
    >>> loss.adapter
    Conv2d(4, 8, kernel_size=(1, 1), stride=(1, 1))
    """

    def __init__(self, adapter: nn.Module | None = None, *, normalize: bool = False) -> None:
        super().__init__()
        self.adapter = adapter
        self.normalize = normalize

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        teacher = teacher.detach()
        if student.dim() != teacher.dim() or student.dim() < 2:
            raise ValueError(
                f"features of shape {tuple(student.shape)} have no adapter to {tuple(teacher.shape)}"
            )
        if self.adapter is None and (sizes := _channels(student, teacher)):
            self.adapter = _make_adapter(student.dim(), *sizes).to(student.device, _widen(student).dtype)
        if self.adapter is not None:
            student = self.adapter(student)
        student = _resize(_widen(student), teacher)
        if student.shape != teacher.shape:
            raise ValueError(
                f"adapted features have shape {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}"
            )
        teacher = _widen(teacher)
        if self.normalize:
            student, teacher = (F.normalize(x.flatten(1), dim=1) for x in (student, teacher))
        return F.mse_loss(student, teacher)


def _channels(student: Tensor, teacher: Tensor) -> tuple[int, int] | None:
    """Both numbers of channels where they differ: in the last dimension of vectors and tokens, else in 1."""
    dim = 1 if student.dim() > 3 else -1
    sizes = student.shape[dim], teacher.shape[dim]
    return sizes if sizes[0] != sizes[1] else None


def _make_adapter(dim: int, n_in: int, n_out: int) -> nn.Module:
    return {4: nn.Conv2d, 5: nn.Conv3d}[dim](n_in, n_out, 1) if dim > 3 else nn.Linear(n_in, n_out)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    """Average-pool images and volumes to the height and width of another."""
    if x.dim() < 4 or x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, like.shape[2:], mode="area")


class AttentionLoss(nn.Module):
    """Attention transfer: where in the image a layer's activations are large, whatever its channels.

    The map is the mean of ``|x|**power`` over channels, scaled to unit length; the loss is the squared
    distance of both maps, averaged over samples. It needs no adapter.

    References
    ----------
    Zagoruyko, Komodakis: Paying More Attention to Attention, 2017.
    """

    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.power = _check_range("power", power, 1)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        if student.dim() != teacher.dim() or student.dim() < 3:
            raise ValueError(
                f"attention maps need places besides channels: {tuple(student.shape)}, {tuple(teacher.shape)}"
            )
        wide_s, wide_t = _widen(student), _widen(teacher.detach())
        maps = (x.abs().pow(self.power).mean(1, keepdim=True) for x in (_resize(wide_s, wide_t), wide_t))
        map_s, map_t = (F.normalize(m.flatten(1), dim=1) for m in maps)
        return (map_s - map_t).square().sum(1).mean()


class RelationalLoss(nn.Module):
    """Relations between samples: their distances, and the angles of every three.

    Parameters
    ----------
    distance, angle : float
        Weights of the two parts. Angles take memory for the cube of the batch size.

    Notes
    -----
    Distances are divided by their mean, so that features of any width compare; both parts use the Huber
    loss. It needs no adapter, and outputs will do as features.

    References
    ----------
    Park, Kim, Lu, Cho: Relational Knowledge Distillation, 2019.
    """

    def __init__(self, distance: float = 25.0, angle: float = 50.0) -> None:
        super().__init__()
        self.distance = _check_range("distance", distance, 0)
        self.angle = _check_range("angle", angle, 0)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        if len(student) != len(teacher) or len(student) < 2:
            raise ValueError(
                f"relations need two samples or more of both networks, not {len(student)} and {len(teacher)}"
            )
        s, t = _widen(student).flatten(1), _widen(teacher.detach()).flatten(1)
        loss = s.new_zeros(())
        if self.distance:
            loss = loss + self.distance * F.smooth_l1_loss(_relative_distances(s), _relative_distances(t))
        if self.angle:
            loss = loss + self.angle * F.smooth_l1_loss(_angles(s), _angles(t))
        return loss


def _relative_distances(x: Tensor) -> Tensor:
    # Not by matrix products, which leave a sample at some distance from itself, where the root is steep.
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    n = (distances > 0).sum().clamp_min(1)
    return distances / (distances.sum() / n).clamp_min(torch.finfo(x.dtype).eps)


def _angles(x: Tensor) -> Tensor:
    """Cosines of the angles at sample i between samples j and k."""
    directions = F.normalize(x.unsqueeze(0) - x.unsqueeze(1), dim=2)
    return torch.bmm(directions, directions.transpose(1, 2))
