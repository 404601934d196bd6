"""A bit width for each tensor, for the least error in a budget of bytes (docs/quantization.md)."""

from __future__ import annotations

import heapq
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _native
from ..arrays import as_numpy, bytes_of, framework_of
from ..frame import compress
from ._layout import Floats, check_choice, checked_bits
from .affine import QuantizedArray, affine
from .codebook import LEVELS_MAX, CodebookArray, codebook, codebook_with

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Allocation", "Choice", "allocate_bits", "even_steps", "measure_choices"]

METHODS = ("affine", "kmeans", "steps")
RATES = ("entropy", "compressed")

# Steps that are tried: the finest that 8 bits can index, then each by so much more, until only zero is left.
STEP_RATIO = 2**0.5

# What an entropy coder adds to the entropy, about: the code's table, and the headers around it.
CODER_OVERHEAD = 64


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to store a tensor, and what it costs.

    Attributes
    ----------
    method : {"affine", "kmeans", "steps", "keep"}
    bits : int
        Of an integer or index before entropy coding; of an element as it is for "keep".
    nbytes : int
        Size once entropy coded, with scales or codebook.
    error : float
        Sum of squared errors.
    step : float
        Distance of levels, for "steps"; else 0.
    """

    method: str
    bits: int
    nbytes: int
    error: float
    step: float = 0.0
    axis: int | None = None
    group_size: int | None = None

    def apply(self, x: Any, *, threads: int | None = None) -> Any:
        """Store a tensor this way: a `QuantizedArray`, a `CodebookArray`, or itself for "keep"."""
        if self.method == "keep":
            return x
        if self.method == "steps":
            return even_steps(x, self.step, threads=threads)
        return _coded(x, self.method, self.bits, self.axis, self.group_size, threads)


@dataclass(frozen=True, slots=True)
class Allocation:
    """A choice for each tensor, as `allocate_bits` makes it.

    Attributes
    ----------
    choices : dict of str to Choice
    nbytes : int
        Size of all tensors, which is within the budget.
    error : float
        Sum of the tensors' squared errors, each by its weight.
    """

    choices: dict[str, Choice] = field(repr=False)
    nbytes: int
    error: float

    def apply(self, tensors: Mapping[str, Any], *, threads: int | None = None) -> dict[str, Any]:
        """Store all tensors as chosen."""
        return {name: choice.apply(tensors[name], threads=threads) for name, choice in self.choices.items()}


def measure_choices(
    tensors: Mapping[str, Any],
    *,
    bits: Iterable[int] = range(2, 9),
    method: str | Sequence[str] = METHODS,
    rate: str = "entropy",
    axis: int | None = None,
    group_size: int | None = None,
    threads: int | None = None,
) -> dict[str, list[Choice]]:
    """Store each tensor in many ways, and tell what each costs.

    Parameters
    ----------
    tensors : mapping of str to array
        Floats, all finite, as for `affine`.
    bits : iterable of int
        The widths to try, 2 to 8, for "affine" and "kmeans".
    method : str or sequence of str
        Ways to try. "affine": symmetric integers. "kmeans": codebooks of ``2**bits`` levels, scaled where
        there is an `axis` or `group_size`. "steps": `even_steps` of all sizes. A tensor may also be kept
        as it is.
    rate : {"entropy", "compressed"}
        How sizes are measured: by the order-0 entropy of the bytes that hold integers or indices, or by
        compressing these.
    axis, group_size : int, optional
        As for `affine`; left out for tensors of one dimension, and a `group_size` where it does not
        divide.
    threads : int, optional
        Workers to use; all cores by default.

    Returns
    -------
    dict of str to list of Choice

    Raises
    ------
    TypeError
        If a tensor does not hold floats.
    ValueError
        If one is not finite, or an argument is out of its range or unknown.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 1000, dtype=np.float32)
    >>> [(c.bits, c.nbytes) for c in measure_choices({"x": x}, bits=[4, 8], method="affine")["x"]]
    [(32, 4000), (4, 314), (8, 1067)]
    """
    widths = sorted({checked_bits(b) for b in bits})
    methods = (method,) if isinstance(method, str) else tuple(method)
    for name in methods:
        check_choice("method", name, METHODS)
    check_choice("rate", rate, RATES)
    size_of = _entropy_size if rate == "entropy" else _compressed_size
    choices = {}
    for name, x in tensors.items():
        try:
            choices[name] = _measure(x, widths, methods, size_of, axis, group_size, threads)
        except (TypeError, ValueError) as error:
            raise type(error)(f"tensor {name!r}: {error}") from None
    return choices


def allocate_bits(
    tensors: Mapping[str, Any],
    budget: int,
    *,
    weights: Mapping[str, float] | None = None,
    choices: Mapping[str, list[Choice]] | None = None,
    **options: Any,
) -> Allocation:
    """Choose how to store each tensor, for the least total error within a budget.

    Parameters
    ----------
    tensors : mapping of str to array
        Floats, all finite, as for `affine`.
    budget : int
        Bytes that all tensors may take together, once their integers are entropy coded.
    weights : mapping of str to float, optional
        How much a tensor's squared error counts; 1 where it is not told. The mean squared gradient of the
        loss is a good one.
    choices : mapping of str to list of Choice, optional
        What `measure_choices` told of these tensors, to try several budgets or weights.
    **options
        Those of `measure_choices`, which is called without `choices`.

    Returns
    -------
    Allocation

    Raises
    ------
    TypeError
        If a tensor does not hold floats.
    ValueError
        If the budget is below the smallest size that can be reached, which the message tells; or an
        argument is out of its range or unknown.

    Notes
    -----
    Every way to store a tensor is measured. Of a tensor's sizes and errors the lower convex hull counts:
    starting with the smallest sizes, the step along a hull that saves most error a byte is taken, as long
    as it fits (which is the optimum for the size it ends with), and in the end whatever else fits.

    Integers of b bits take less than b once they are entropy coded, the less the more they are alike. So the
    size counts that they have then, and steps that are fine and reach far cost little.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> tensors = {n: rng.normal(0, s, 4096).astype(np.float32) for n, s in [("a", 1), ("b", 0.1)]}
    >>> allocation = tersor.quantize.allocate_bits(tensors, 4096)
    >>> allocation.nbytes <= 4096
    True
    >>> allocation.choices["a"].nbytes > allocation.choices["b"].nbytes
    True
    """
    budget = operator.index(budget)
    importance = {name: float((weights or {}).get(name, 1)) for name in tensors}
    for name, weight in importance.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"weights must be finite and not negative, unlike {weight} of {name!r}")
    if choices is None:
        choices = measure_choices(tensors, **options)
    elif options or choices.keys() != tensors.keys():
        raise ValueError("choices must be those of the tensors, and go with no other options")
    chosen = _choose(choices, importance, budget)
    return Allocation(
        chosen,
        sum(c.nbytes for c in chosen.values()),
        math.fsum(importance[name] * c.error for name, c in chosen.items()),
    )


def even_steps(x: Any, step: float, *, nan: str = "raise", threads: int | None = None) -> CodebookArray:
    """Quantize to multiples of a step, then move each level but 0 to the mean of its elements.

    Entropy coded, this has less error than integers of a number of bits that take the same size: levels that
    are rarely used cost little. A step as large as most elements prunes them.

    Parameters
    ----------
    x : array
        As for `codebook`.
    step : float
        Above zero, and such that 256 levels reach from the least element to the greatest.
    nan : {"raise", "zero"}
        As for `codebook`.
    threads : int, optional
        Workers to use; all cores by default.

    Returns
    -------
    CodebookArray

    Raises
    ------
    TypeError, ValueError
        As `codebook` does, and if `step` is not above zero, or too small.

    Examples
    --------
    >>> c = even_steps(np.array([0.0, 0.2, 0.9, 1.1, 4.5], np.float32), 1.0)
    >>> c.codebook.round(3).tolist()[0][-1], c.integers().tolist()
    (4.5, [0, 0, 1, 1, 4])
    """
    check_choice("nan", nan, ("raise", "zero"))
    floats = Floats(x)
    with np.errstate(over="ignore"):
        values = floats.array.astype(np.float32, copy=False).ravel()
    finite = values[np.isfinite(values)] if nan == "zero" else values
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if not (step > 0 and math.isfinite(step)):
        raise ValueError(f"step must be finite and above zero, not {step}")
    if math.isfinite(low + high):  # else what follows raises
        first, last = round(min(low, 0) / step), round(max(high, 0) / step)
        if last - first >= LEVELS_MAX:
            raise ValueError(
                f"step {step} is too small: {last - first + 1} levels are more than {LEVELS_MAX}"
            )
        greatest = float(np.finfo(np.float32).max)
        levels = np.clip(np.arange(first, last + 1) * step, -greatest, greatest).astype(np.float32)
    else:
        levels = np.zeros(1, np.float32)
    c = codebook_with(x, levels, nan=nan, measure=False, threads=threads)
    if nan == "zero" and finite.size < values.size:
        values = np.where(np.isfinite(values), values, np.float32(0))
    indices = c.integers().ravel()
    n = np.bincount(indices, minlength=levels.size)
    sums = np.bincount(indices, values, minlength=levels.size)
    used = (n > 0) & (levels != 0)
    levels[used] = sums[used] / n[used]
    error = _squared_error(values, levels[indices])
    return CodebookArray(
        c.indices,
        levels[None],
        shape=c.shape,
        mse=error / max(values.size, 1),
        framework=framework_of(x),
    )


# ---- Measuring --------------------------------------------------------------------------------------


def _measure(
    x: Any,
    widths: list[int],
    methods: tuple[str, ...],
    size_of: Callable[[NDArray[Any]], int],
    axis: int | None,
    group_size: int | None,
    threads: int | None,
) -> list[Choice]:
    """Store a tensor in all ways."""
    array = Floats(x).array
    if array.ndim < 2:
        axis = None
    if group_size is not None and (array.ndim == 0 or array.shape[-1] % group_size):
        group_size = None
    choices = [Choice("keep", 8 * array.itemsize, array.nbytes, 0.0)]
    if array.size == 0:
        return choices
    wide = array.astype(np.float32, copy=False)
    for method in methods:
        if method == "steps":
            for step in _steps(wide):
                c = even_steps(x, step, threads=threads)
                size = size_of(c.indices) + c.codebook.nbytes
                bits = max(c.levels - 1, 1).bit_length()
                choices.append(Choice(method, bits, size, (c.mse or 0.0) * array.size, step))
            continue
        for bits in widths:
            stored = _coded(x, method, bits, axis, group_size, threads)
            arrays, _ = stored.components()
            main = arrays.pop("values" if method == "affine" else "indices")
            size = size_of(main) + sum(a.nbytes for a in arrays.values())
            error = _squared_error(wide, as_numpy(stored.dequantize("float32", threads=threads)))
            choices.append(Choice(method, bits, size, error, axis=axis, group_size=group_size))
    return choices


def _coded(
    x: Any, method: str, bits: int, axis: int | None, group_size: int | None, threads: int | None
) -> QuantizedArray | CodebookArray:
    if method == "affine":
        return affine(x, bits=bits, axis=axis, group_size=group_size, threads=threads)
    scaled = axis is not None or group_size is not None
    keep_zero = bool((as_numpy(x) == 0).any())  # what was pruned stays so
    cut: dict[str, Any] = {"axis": axis, "group_size": group_size, "scaled": scaled}
    return codebook(x, levels=1 << bits, keep_zero=keep_zero, threads=threads, **cut)


def _steps(x: NDArray[np.float32]) -> list[float]:
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    if not math.isfinite(low + high):
        raise ValueError("x must be finite")
    greatest = 2 * max(-low, high)  # of which nothing is more than half
    step = (high - low) / (LEVELS_MAX - 2)
    steps = []
    while step < greatest:
        steps.append(step)
        step *= STEP_RATIO
    return [*steps, greatest] if greatest > 0 else [1.0]


def _squared_error(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    with np.errstate(over="ignore"):
        difference = (x - y).ravel().astype(np.float64)
    return float(np.dot(difference, difference))


def entropy_bits(data: memoryview) -> float:
    """Bits that an ideal coder of bytes needs, which knows how often each occurs."""
    counts = np.array(_native.histogram(data), np.float64)
    counts = counts[counts > 0]
    return float((counts * np.log2(counts.sum() / counts)).sum())


def _entropy_size(integers: NDArray[Any]) -> int:
    return math.ceil(entropy_bits(bytes_of(integers)) / 8) + CODER_OVERHEAD


def _compressed_size(integers: NDArray[Any]) -> int:
    return len(compress(bytes_of(integers), threads=1))


# ---- Choosing ---------------------------------------------------------------------------------------


def _choose(
    curves: Mapping[str, list[Choice]], importance: Mapping[str, float], budget: int
) -> dict[str, Choice]:
    """Walk down the tensors' hulls together, the steepest step first."""
    hulls = {name: _hull(choices) for name, choices in curves.items()}
    chosen = {name: hull[0] for name, hull in hulls.items()}
    left = budget - sum(c.nbytes for c in chosen.values())
    if left < 0:
        raise ValueError(f"a budget of {budget} bytes is below the smallest size, {budget - left}")

    def gain(name: str, to: Choice) -> tuple[float, int]:
        more = to.nbytes - chosen[name].nbytes
        return importance[name] * (chosen[name].error - to.error), more

    queue: list[tuple[float, str, int]] = []

    def push(name: str, place: int) -> None:
        if place < len(hulls[name]):
            saved, more = gain(name, hulls[name][place])
            heapq.heappush(queue, (-saved / more, name, place))

    for name in hulls:
        push(name, 1)
    while queue:
        _, name, place = heapq.heappop(queue)
        saved, more = gain(name, hulls[name][place])
        if more <= left and saved > 0:
            chosen[name] = hulls[name][place]
            left -= more
            push(name, place + 1)
    # What is left is less than each hull's next step; a choice above a hull, or further down, may still fit.
    while True:
        better = [
            (*gain(name, c), name, c)
            for name, choices in curves.items()
            for c in choices
            if c.nbytes - chosen[name].nbytes <= left
        ]
        saved, more, name, choice = max(better, key=lambda b: (b[0], -b[1]), default=(0.0, 0, "", None))
        if choice is None or saved <= 0:
            return chosen
        chosen[name] = choice
        left -= more


def _hull(choices: list[Choice]) -> list[Choice]:
    """The lower convex hull of sizes and errors, from the smallest size to the least error."""
    hull: list[Choice] = []
    for c in sorted(choices, key=lambda c: (c.nbytes, c.error)):
        if hull and c.error >= hull[-1].error:
            continue
        while len(hull) > 1 and _is_above(hull[-2], hull[-1], c):
            hull.pop()
        if hull and c.nbytes == hull[-1].nbytes:
            continue
        hull.append(c)
    return hull


def _is_above(a: Choice, b: Choice, c: Choice) -> bool:
    """Whether b is not below the line from a to c."""
    return (b.error - a.error) * (c.nbytes - a.nbytes) >= (c.error - a.error) * (b.nbytes - a.nbytes)
