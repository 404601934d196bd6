"""Every loss against its formula, written again in NumPy float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 (only with torch)

from tersor.nn.distill import (  # noqa: E402
    AttentionLoss,
    DecoupledKDLoss,
    FeatureLoss,
    KDLoss,
    LogitsLoss,
    MultiTeacherLoss,
    RegressionLoss,
    RelationalLoss,
)

Array = NDArray[np.float64]


def numbers(*shape: int, seed: int = 0, dtype: Any = torch.float64) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).mul(3).to(dtype)


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def divergence(p: Array, q: Array) -> Array:
    return (p * (np.log(p) - np.log(q))).sum(1)


def cross_entropy(x: Array, labels: NDArray[np.int64]) -> Array:
    return -np.log(softmax(x)[np.arange(len(x)), labels])


STUDENT, TEACHER = numbers(6, 5, seed=1), numbers(6, 5, seed=2)
LABELS = torch.tensor([0, 4, 2, 2, 1, 3])
S, T, Y = STUDENT.numpy(), TEACHER.numpy(), LABELS.numpy()

OUTPUT_LOSSES: list[tuple[Any, Array]] = [
    (
        KDLoss(3.0, 0.7, reduction="none"),
        0.3 * cross_entropy(S, Y) + 0.7 * 9 * divergence(softmax(T / 3), softmax(S / 3)),
    ),
    (KDLoss(1.0, 0.0, reduction="none"), cross_entropy(S, Y)),
    (
        LogitsLoss(0.25, reduction="none"),
        0.75 * cross_entropy(S, Y) + 0.25 * ((S - T) ** 2).mean(1),
    ),
    (LogitsLoss(reduction="none"), ((S - T) ** 2).mean(1)),
]


@pytest.mark.parametrize(("loss", "expected"), OUTPUT_LOSSES, ids=str)
def test_losses_of_logits_are_their_formulas(loss: Any, expected: Array) -> None:
    np.testing.assert_allclose(loss(STUDENT, TEACHER, LABELS).numpy(), expected, rtol=1e-12)
    loss.reduction = "mean"
    assert float(loss(STUDENT, TEACHER, LABELS)) == pytest.approx(expected.mean(), rel=1e-12)
    loss.reduction = "none"


def test_gradients_at_high_temperature_are_those_of_centred_logits() -> None:
    # Hinton, Vinyals, Dean, equation 4: (z - v) / N for logits of mean 0; the T^2 keeps it from vanishing.
    s = (STUDENT - STUDENT.mean(1, keepdim=True)).requires_grad_()
    t = TEACHER - TEACHER.mean(1, keepdim=True)
    KDLoss(1e4, 1.0, reduction="none")(s, t).sum().backward()
    np.testing.assert_allclose(s.grad.numpy(), (s.detach() - t).numpy() / 5, rtol=1e-2, atol=1e-3)


def test_kd_loss_takes_dense_predictions_and_label_probabilities() -> None:
    s, t = numbers(2, 4, 3, 3, seed=5), numbers(2, 4, 3, 3, seed=6)
    labels = torch.randint(4, (2, 3, 3), generator=torch.Generator().manual_seed(0))
    flat = [x.permute(0, 2, 3, 1).reshape(18, 4) for x in (s, t)]
    expected = KDLoss()(*flat, labels.flatten())
    assert float(KDLoss()(s, t, labels)) == pytest.approx(float(expected), rel=1e-12)
    one_hot = nn.functional.one_hot(LABELS, 5).double()
    assert float(KDLoss()(STUDENT, TEACHER, one_hot)) == pytest.approx(
        float(KDLoss()(STUDENT, TEACHER, LABELS))
    )


def test_decoupled_loss_is_its_formula() -> None:
    p, q = softmax(T / 2), softmax(S / 2)
    rows = np.arange(6)
    binary = [np.stack([x[rows, Y], 1 - x[rows, Y]], 1) for x in (p, q)]
    others = [np.stack([np.delete(x[i], Y[i]) for i in rows]) for x in (p, q)]
    others = [x / x.sum(1, keepdims=True) for x in others]
    soft = 4 * (1.5 * divergence(*binary) + 6 * divergence(*others))
    expected = soft + 0.5 * cross_entropy(S, Y)
    loss = DecoupledKDLoss(2.0, 1.5, 6.0, 0.5, reduction="none")(STUDENT, TEACHER, LABELS)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-12)


def test_decoupled_parts_add_up_to_the_soft_targets() -> None:
    # KL = KL(target against rest) + (1 - p_target) KL(among the rest), whatever the logits.
    for i in range(6):
        row = slice(i, i + 1)
        rest = 1 - softmax(T / 4)[i, Y[i]]
        loss = DecoupledKDLoss(4.0, 1.0, rest, 0.0)(STUDENT[row], TEACHER[row], LABELS[row])
        expected = KDLoss(4.0, 1.0)(STUDENT[row], TEACHER[row])
        assert float(loss) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.parametrize("kind", ["mse", "l1", "huber"])
def test_regression_loss_is_its_formula(kind: str) -> None:
    def distance(a: Array, b: Array) -> Array:
        d = np.abs(a - b)
        return {"mse": d**2, "l1": d, "huber": np.where(d < 1, d**2 / 2, d - 0.5)}[kind].mean(1)

    truth = numbers(6, 5, seed=3)
    loss = RegressionLoss(0.3, kind, reduction="none")(STUDENT, TEACHER, truth)  # type: ignore[arg-type]
    np.testing.assert_allclose(
        loss.numpy(), 0.7 * distance(S, truth.numpy()) + 0.3 * distance(S, T), rtol=1e-12
    )


def test_teacher_as_a_bound_counts_where_the_student_is_worse() -> None:
    truth = torch.zeros(3, 1)
    student, teacher = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[2.0], [2.1], [1.0]])
    loss = RegressionLoss(0.5, "l1", margin=0.5, reduction="none")(student, teacher, truth)
    assert loss.tolist() == [0.5, 2.0, 3.0]  # better by a margin; better by less; worse


def test_regression_loss_refuses_labels_that_only_broadcast() -> None:
    with pytest.raises(ValueError, match=r"labels of shape \(6,\) for outputs of \(6, 1\)"):
        RegressionLoss()(numbers(6, 1), numbers(6, 1), numbers(6))


def test_teachers_are_weighed() -> None:
    teachers = torch.stack([TEACHER, numbers(6, 5, seed=7)], 1)
    each = [KDLoss(reduction="none")(STUDENT, teachers[:, k], LABELS) for k in (0, 1)]
    loss = MultiTeacherLoss(KDLoss(), [3, 1])(STUDENT, teachers, LABELS)
    assert float(loss) == pytest.approx(float((0.75 * each[0] + 0.25 * each[1]).mean()), rel=1e-12)
    even = MultiTeacherLoss(KDLoss())(STUDENT, teachers, LABELS)
    assert float(even) == pytest.approx(float((each[0] + each[1]).mean()) / 2, rel=1e-6)


def test_confidence_trusts_the_teacher_that_knows_the_label() -> None:
    errors = np.stack([cross_entropy(T, Y), cross_entropy(numbers(6, 5, seed=7).numpy(), Y)])
    weights = 1 - softmax(errors.T).T
    teachers = torch.stack([TEACHER, numbers(6, 5, seed=7)], 1)
    each = [LogitsLoss(reduction="none")(STUDENT, teachers[:, k]).numpy() for k in (0, 1)]
    loss = MultiTeacherLoss(LogitsLoss(), "confidence")(STUDENT, teachers, LABELS)
    assert float(loss) == pytest.approx((weights * each).sum(0).mean(), rel=1e-12)


def test_feature_loss_is_the_mean_square_behind_its_adapter() -> None:
    s, t = numbers(3, 4, 5, 5, dtype=torch.float32), numbers(3, 6, 5, 5, seed=2, dtype=torch.float32)
    loss = FeatureLoss()
    value = loss(s, t).detach()
    assert isinstance(loss.adapter, nn.Conv2d)
    weight, bias = (p.detach().double().numpy() for p in loss.adapter.parameters())
    adapted = np.einsum("oi,nihw->nohw", weight[:, :, 0, 0], s.double().numpy()) + bias[:, None, None]
    assert float(value) == pytest.approx(((adapted - t.double().numpy()) ** 2).mean(), rel=1e-5)
    assert FeatureLoss()(s, s).item() == 0


def test_feature_loss_of_vectors_tokens_and_other_sizes() -> None:
    for s, t in (((3, 4), (3, 6)), ((3, 7, 4), (3, 7, 6))):
        loss = FeatureLoss()
        assert torch.isfinite(loss(numbers(*s), numbers(*t)))
        assert isinstance(loss.adapter, nn.Linear)
    big, small = numbers(2, 3, 8, 8), numbers(2, 3, 4, 4, seed=4)
    pooled = big.reshape(2, 3, 4, 2, 4, 2).mean((3, 5))
    assert float(FeatureLoss()(big, small)) == pytest.approx(float(((pooled - small) ** 2).mean()))


def test_normalized_features_ignore_scale() -> None:
    x = numbers(4, 3, 2, 2)
    assert float(FeatureLoss(normalize=True)(x * 7, x)) == pytest.approx(0, abs=1e-12)


def test_attention_loss_is_its_formula() -> None:
    s, t = numbers(3, 4, 5, 5), numbers(3, 7, 5, 5, seed=2)
    maps = [(np.abs(x.numpy()) ** 2).mean(1).reshape(3, -1) for x in (s, t)]
    s_map, t_map = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in maps)
    assert float(AttentionLoss()(s, t)) == pytest.approx(((s_map - t_map) ** 2).sum(1).mean(), rel=1e-12)


def test_relational_loss_is_its_formula() -> None:
    s, t = numbers(5, 4).numpy(), numbers(5, 7, seed=2).numpy()

    def distances(x: Array) -> Array:
        d = np.linalg.norm(x[:, None] - x[None], axis=2)
        return d / d[d > 0].mean()

    def angles(x: Array) -> Array:
        result = np.zeros((5, 5, 5))
        for i in range(5):
            for j in range(5):
                for k in range(5):
                    a, b = x[j] - x[i], x[k] - x[i]
                    if i not in (j, k):
                        result[i, j, k] = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        return result

    def huber(a: Array, b: Array) -> float:
        d = np.abs(a - b)
        return float(np.where(d < 1, d**2 / 2, d - 0.5).mean())

    expected = 25 * huber(distances(s), distances(t)) + 50 * huber(angles(s), angles(t))
    loss = RelationalLoss()(torch.from_numpy(s), torch.from_numpy(t))
    assert float(loss) == pytest.approx(expected, rel=1e-9)


ALL: list[tuple[Callable[..., Any], tuple[int, ...]]] = [
    (lambda s, t: KDLoss()(s, t, torch.zeros(len(s), dtype=torch.long)), (4, 6)),
    (lambda s, t: LogitsLoss()(s, t), (4, 6)),
    (lambda s, t: DecoupledKDLoss()(s, t, torch.zeros(len(s), dtype=torch.long)), (4, 6)),
    (lambda s, t: RegressionLoss(1.0)(s, t), (4, 6)),
    (lambda s, t: FeatureLoss()(s, t), (4, 3, 5, 5)),
    (lambda s, t: AttentionLoss()(s, t), (4, 3, 5, 5)),
    (lambda s, t: RelationalLoss()(s, t), (4, 6)),
]


@pytest.mark.parametrize(("loss", "shape"), ALL)
def test_gradients_reach_the_student_alone_and_are_right(
    loss: Callable[..., Any], shape: tuple[int, ...]
) -> None:
    s, t = numbers(*shape).requires_grad_(), numbers(*shape, seed=2).requires_grad_()
    loss(s, t).backward()
    assert t.grad is None
    assert s.grad.abs().sum() > 0
    assert torch.autograd.gradcheck(lambda x: loss(x, t.detach()), s, eps=1e-6, atol=1e-5)


@pytest.mark.parametrize(("loss", "shape"), ALL)
def test_half_precision_is_widened(loss: Callable[..., Any], shape: tuple[int, ...]) -> None:
    s, t = (numbers(*shape, seed=seed, dtype=torch.bfloat16) for seed in (1, 2))
    value = loss(s, t)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(float(loss(s.double(), t.double())), rel=1e-4)


def test_losses_stay_finite_where_student_and_teacher_agree_or_are_extreme() -> None:
    huge = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    label = torch.tensor([0])
    for loss in (KDLoss(), DecoupledKDLoss()):
        value = loss(huge, -huge.detach(), label)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(huge.grad).all()
    same = torch.ones(4, 3, requires_grad=True)
    RelationalLoss()(same, torch.ones(4, 3)).backward()
    assert torch.isfinite(same.grad).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KDLoss(0.0), "temperature must be positive"),
        (lambda: KDLoss(alpha=1.5), "alpha must be in"),
        (lambda: KDLoss(reduction="sum"), "reduction must be"),
        (lambda: DecoupledKDLoss(others=-1), "others must be in"),
        (lambda: RegressionLoss(kind="cosine"), "kind must be one of"),
        (lambda: MultiTeacherLoss(nn.MSELoss()), "a value for each sample"),
        (lambda: MultiTeacherLoss(KDLoss(), [-1, 2]), "weights must not be negative"),
        (lambda: MultiTeacherLoss(KDLoss(), "best"), "weights must be numbers"),
        (lambda: KDLoss()(numbers(2, 3), numbers(2, 4)), r"shape \(2, 3\), the teacher's \(2, 4\)"),
        (lambda: KDLoss()(numbers(2, 3), numbers(2, 3)), "no labels, which are needed because alpha is 0.9"),
        (lambda: DecoupledKDLoss()(numbers(2, 3), numbers(2, 3)), "no labels"),
        (lambda: MultiTeacherLoss(LogitsLoss(), [1])(numbers(2, 3), numbers(2, 2, 3)), "1 weights for 2"),
        (lambda: FeatureLoss()(numbers(2, 3), numbers(2, 3, 4, 4)), "no adapter"),
        (lambda: FeatureLoss()(numbers(2, 5, 3), numbers(2, 6, 3)), "adapted features have shape"),
        (lambda: AttentionLoss()(numbers(2, 3), numbers(2, 3)), "attention maps need places"),
        (lambda: RelationalLoss()(numbers(1, 3), numbers(1, 3)), "two samples or more"),
    ],
)
def test_misuse_is_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
