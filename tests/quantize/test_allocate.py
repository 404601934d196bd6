"""`allocate_bits`: within its budget, near the optimum, and by sizes that are real."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tersor
from tersor.quantize import (
    CodebookArray,
    QuantizedArray,
    affine,
    allocate_bits,
    codebook,
    even_steps,
    measure_choices,
)
from tersor.quantize.allocate import METHODS, Choice, _choose

F32 = np.float32


def model(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Tensors of different size, spread and shape of distribution."""
    rng = np.random.default_rng(seed)
    return {
        "wide": rng.normal(0, 1, (64, 96)).astype(F32),
        "narrow": rng.normal(0, 0.01, (64, 64)).astype(F32),
        "heavy": rng.standard_t(3, (40, 100)).astype(F32),
        "sparse": (rng.normal(size=5000) * (rng.random(5000) < 0.1)).astype(F32),
        "rows": (rng.normal(size=(30, 128)) * rng.lognormal(0, 1, (30, 1))).astype(F32),
    }


def entropy_bytes(integers: NDArray[Any]) -> float:
    _, counts = np.unique(integers, return_counts=True)
    return float((counts * np.log2(integers.size / counts)).sum()) / 8


def error_of(x: NDArray[Any], stored: Any) -> float:
    back = stored if isinstance(stored, np.ndarray) else stored.dequantize("float64")
    return float(np.square(x.astype("f8") - back).sum())


# ---- The whole --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*METHODS, METHODS])
@pytest.mark.parametrize("rate", ["entropy", "compressed"])
@pytest.mark.parametrize("cut", [{}, {"axis": 0}, {"group_size": 32}])
def test_sizes_and_errors_are_those_of_what_is_stored(method: Any, rate: str, cut: dict[str, int]) -> None:
    tensors = model()
    total = sum(x.size for x in tensors.values())
    allocation = allocate_bits(tensors, total // 2, method=method, rate=rate, **cut)  # type: ignore[arg-type]
    assert allocation.nbytes == sum(c.nbytes for c in allocation.choices.values()) <= total // 2
    stored = allocation.apply(tensors)
    assert allocation.error == pytest.approx(sum(error_of(tensors[n], stored[n]) for n in tensors), rel=1e-4)
    for name, choice in allocation.choices.items():
        s = stored[name]
        assert choice.method in (method if isinstance(method, tuple) else (method, "keep"))
        arrays, _ = s.components()
        main = arrays.pop("values" if isinstance(s, QuantizedArray) else "indices")
        rest = sum(a.nbytes for a in arrays.values())
        if rate == "compressed":
            assert choice.nbytes == len(tersor.compress(main.tobytes())) + rest
        else:
            assert choice.nbytes - rest == pytest.approx(entropy_bytes(main.view(np.uint8)), abs=70)


def test_a_real_coder_comes_close_to_the_entropy() -> None:
    tensors = model()
    allocation = allocate_bits(tensors, 12_000)
    real = 0
    for stored in allocation.apply(tensors).values():
        arrays, _ = stored.components()
        real += sum(min(len(tersor.compress(a.tobytes())), a.nbytes) for a in arrays.values())
    assert real < 1.03 * allocation.nbytes + 50 * len(tensors)


def test_more_budget_never_makes_it_worse() -> None:
    tensors = model()
    errors = [allocate_bits(tensors, budget, method="affine").error for budget in range(6000, 40_000, 1500)]
    assert errors == sorted(errors, reverse=True)
    everything = allocate_bits(tensors, sum(x.nbytes for x in tensors.values()))
    assert everything.error == 0
    assert all(c.method == "keep" for c in everything.choices.values())
    assert everything.apply(tensors)["wide"] is tensors["wide"]


def test_mixed_widths_beat_one_width_for_all() -> None:
    tensors = model()
    for bits in (3, 4, 6):
        fixed = {n: affine(x, bits=bits) for n, x in tensors.items()}
        # Not the packed size: that which an entropy coder makes of it.
        size = sum(entropy_bytes(q.values.view(np.uint8)) + q.scale.nbytes for q in fixed.values())
        error = sum(error_of(tensors[n], q) for n, q in fixed.items())
        assert allocate_bits(tensors, int(size) + 64 * len(tensors), method="affine").error < 0.9 * error
        assert allocate_bits(tensors, int(size) + 64 * len(tensors)).error < 0.7 * error


def test_steps_beat_integers_of_the_same_entropy() -> None:
    """At high rate even steps, entropy coded, are the best there is: a quarter of a bit above the bound."""
    x = np.random.default_rng(3).normal(size=200_000).astype(F32)
    c = even_steps(x, 0.25)
    rate = 8 * entropy_bytes(c.integers()) / x.size
    assert c.mse is not None
    bound = 2.0 ** (-2 * rate)  # of a normal source of variance 1
    assert 0.2 < (math.log2(c.mse) - math.log2(bound)) / 2 < 0.27
    k = codebook(x, levels=16)
    assert k.mse is not None
    coarse = even_steps(x, 0.33)
    assert coarse.mse is not None
    assert entropy_bytes(coarse.integers()) < entropy_bytes(k.integers())
    assert coarse.mse < k.mse


def test_weights_move_bytes_to_what_matters() -> None:
    tensors = {n: model()["wide"] for n in ("a", "b")}
    even = allocate_bits(tensors, 6000)
    tilted = allocate_bits(tensors, 6000, weights={"b": 100.0})
    assert tilted.choices["b"].nbytes > even.choices["b"].nbytes
    assert tilted.choices["b"].error < even.choices["b"].error
    ignored = allocate_bits(tensors, 6000, weights={"a": 0.0})
    assert ignored.choices["a"].nbytes == min(
        allocate_bits({"a": tensors["a"]}, n).nbytes for n in (ignored.choices["a"].nbytes, 6000)
    )


def test_choices_are_measured_once_for_several_budgets() -> None:
    tensors = model()
    choices = measure_choices(tensors, bits=[3, 5], method=["affine", "kmeans"], axis=0)
    for budget in (9000, 20_000):
        again = allocate_bits(tensors, budget, choices=choices)
        assert again == allocate_bits(tensors, budget, bits=[3, 5], method=["affine", "kmeans"], axis=0)
    for wrong in ({"choices": choices, "axis": 0}, {"choices": {}}):
        with pytest.raises(ValueError, match="choices must"):
            allocate_bits(tensors, 9000, **wrong)  # type: ignore[arg-type]


def test_budget_that_cannot_be_met_names_the_least() -> None:
    tensors = model()
    with pytest.raises(ValueError, match="a budget of 100 bytes is below the smallest size, ") as error:
        allocate_bits(tensors, 100)
    least = int(str(error.value).rsplit(maxsplit=1)[-1])
    assert allocate_bits(tensors, least).nbytes == least
    with pytest.raises(ValueError, match=f"smallest size, {least}"):
        allocate_bits(tensors, least - 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"bits": [1]}, ValueError, "bits"),
        ({"bits": [9]}, ValueError, "bits"),
        ({"method": "best"}, ValueError, "method"),
        ({"rate": "guess"}, ValueError, "rate"),
        ({"weights": {"wide": -1.0}}, ValueError, "weights"),
        ({"weights": {"wide": math.nan}}, ValueError, "weights"),
        ({"budget": 1e5}, TypeError, "integer"),
        ({"tensors": {"x": np.array([1, np.nan], F32)}}, ValueError, "'x'"),
        ({"tensors": {"x": np.array([1, np.inf], F32)}, "method": "steps"}, ValueError, "'x'"),
        ({"tensors": {"x": np.arange(3)}}, TypeError, "'x'"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        allocate_bits(**({"tensors": model(), "budget": 10**6} | arguments))


def test_unusual_tensors() -> None:
    tensors = {
        "empty": np.zeros((0, 3), F32),
        "scalar": np.array(2.5, F32),
        "zero": np.zeros((5, 7), F32),
        "constant": np.full(300, -3.0, F32),
        "half": np.random.default_rng(0).normal(size=(9, 31)).astype(np.float16),
        "huge": np.array([3e38, -3e38, 1.0] * 50, F32),
        "tiny": np.array([1e-45, 0, -1e-45] * 50, F32),
    }
    for cut in ({}, {"axis": 0}, {"group_size": 31}):
        smallest = allocate_bits(tensors, 10**6, method="affine", **cut)  # type: ignore[arg-type]
        assert smallest.error == 0
        allocation = allocate_bits(tensors, 1500, **cut)  # type: ignore[arg-type]
        for name, s in allocation.apply(tensors).items():
            back = s if isinstance(s, np.ndarray) else s.dequantize()
            assert back.shape == tensors[name].shape
            assert np.isfinite(back).all()


def test_no_tensors() -> None:
    assert allocate_bits({}, 0).nbytes == 0
    with pytest.raises(ValueError, match="smallest size, 0"):
        allocate_bits({}, -1)


# ---- Even steps -------------------------------------------------------------------------------------


def test_even_steps_are_nearest_multiples_moved_to_their_means() -> None:
    x = np.random.default_rng(5).normal(size=(30, 71)).astype(F32)
    c = even_steps(x, 0.5)
    q = np.floor(x.astype("f8") / 0.5 + 0.5)
    tie = np.ceil(x.astype("f8") / 0.5 - 0.5)
    np.testing.assert_array_equal(c.integers(), tie - tie.min())
    assert (q - tie).max() == 0  # there were no ties
    np.testing.assert_allclose(c.dequantize()[q == 1], x[q == 1].mean(), rtol=1e-5)
    assert c.mse == pytest.approx(np.square(x - c.dequantize()).mean(), rel=1e-5)
    assert isinstance(c, CodebookArray)


def test_even_steps_check_the_step() -> None:
    x = np.array([-1, 0.5, 1], F32)
    assert even_steps(x, 2 / 254).levels == 255
    for step in (0.0, -1.0, math.nan, math.inf, 2 / 257):
        with pytest.raises(ValueError, match="step"):
            even_steps(x, step)
    with pytest.raises(ValueError, match="nan"):
        even_steps(np.array([np.nan], F32), 1.0)
    assert even_steps(np.array([np.nan, 2, np.inf], F32), 1.0, nan="zero").dequantize().tolist() == [0, 2, 0]


# ---- Choosing ---------------------------------------------------------------------------------------


def curves(rng: np.random.Generator, n_tensors: int, n_choices: int) -> dict[str, list[Choice]]:
    result = {}
    for t in range(n_tensors):
        sizes = rng.integers(1, 60, n_choices)
        errors = rng.lognormal(0, 2, n_choices) * 2.0 ** (-sizes / 20)
        result[str(t)] = [Choice("affine", 4, int(s), float(e)) for s, e in zip(sizes, errors, strict=True)]
    return result


@pytest.mark.parametrize("seed", range(30))
def test_choice_is_near_the_optimum(seed: int) -> None:
    """Beside all combinations: never better, of course, and worse by at most one step of one tensor."""
    rng = np.random.default_rng(seed)
    measured = curves(rng, 4, 6)
    importance = {name: float(w) for name, w in zip(measured, rng.lognormal(size=4), strict=True)}
    least = sum(min(c.nbytes for c in choices) for choices in measured.values())
    for budget in (least, least + 10, least + 40, least + 90):
        chosen = _choose(measured, importance, budget)
        error = sum(importance[n] * c.error for n, c in chosen.items())
        assert sum(c.nbytes for c in chosen.values()) <= budget
        best = min(
            sum(importance[n] * c.error for n, c in zip(measured, combination, strict=True))
            for combination in itertools.product(*measured.values())
            if sum(c.nbytes for c in combination) <= budget
        )
        largest = max(importance[n] * max(c.error for c in choices) for n, choices in measured.items())
        assert best * (1 - 1e-12) <= error <= best + largest
