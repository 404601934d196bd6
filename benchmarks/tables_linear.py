"""Speed of products with quantized matrices beside PyTorch's own, by rows of activations.

    python benchmarks/tables_linear.py [REPETITIONS]

One thread, 4096 x 4096 weights; milliseconds of its CPU time, and the error of the outputs. `tables.py` puts
the table into the README.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Iterator
from math import inf
from time import thread_time
from typing import Any

from inputs import UnavailableError
from pages import table

N = 4096
ROWS = (1, 4, 16, 64)

Work = Callable[[Any], Any]


def layers(torch: Any) -> dict[str, Work]:
    """Ways to multiply with the same weights, the float32 layer first."""
    from tersor.nn import ActivationConfig, PerGroup, QuantConfig, quantize_

    torch.manual_seed(0)
    layer = torch.nn.Linear(N, N, bias=False)
    weight = layer.weight.detach()
    scale = weight.abs().amax(1) / 127
    int8 = (weight / scale[:, None]).round().to(torch.int8)
    groups = weight.view(N, -1, 64)
    group_scale = groups.abs().amax(2) / 7
    int4 = (groups / group_scale[..., None]).round().to(torch.int32).view(N, N) + 8
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(int4, 1)
    scales = (
        torch.stack([group_scale, torch.zeros_like(group_scale)], -1).transpose(0, 1).bfloat16().contiguous()
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        dynamic = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(layer), {torch.nn.Linear})
    configs = {
        "tersor int8": QuantConfig(),
        "tersor int4, groups of 64": QuantConfig(4, granularity=PerGroup(64)),
        "tersor int8, int8 activations": QuantConfig(activations=ActivationConfig(observer="minmax")),
    }
    ours = {
        name: quantize_(copy.deepcopy(layer), config, calibration=[torch.randn(64, N)])
        for name, config in configs.items()
    }
    mm8, mm4 = torch.ops.aten._weight_int8pack_mm, torch.ops.aten._weight_int4pack_mm_for_cpu
    short = scale.bfloat16()
    return {
        "float32 `nn.Linear`": layer,
        **ours,
        "torch int8 of bfloat16 (`_weight_int8pack_mm`)": lambda x: mm8(x.bfloat16(), int8, short),
        "torch int4 of bfloat16 (`_weight_int4pack_mm_for_cpu`)": lambda x: mm4(
            x.bfloat16(), packed, 64, scales
        ),
        "torch.ao int8, dynamic int8 activations": dynamic,
    }


def tables(repetitions: int) -> Iterator[str]:
    """Make the table; raises `UnavailableError` without PyTorch."""
    try:
        import torch
    except ImportError:
        raise UnavailableError("no products without torch: pip install torch") from None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    work = layers(torch)
    times = {name: [inf] * len(ROWS) for name in work}
    errors = dict.fromkeys(work, 0.0)
    with torch.no_grad():
        for place, n_rows in enumerate(ROWS):
            x = torch.randn(n_rows, N)
            for _ in range(repetitions):
                for name, multiply in work.items():
                    start = thread_time()
                    y = multiply(x)
                    times[name][place] = min(times[name][place], thread_time() - start)
                    exact = work["float32 `nn.Linear`"](x) if n_rows == ROWS[0] else None
                    if exact is not None:
                        errors[name] = float((y.float() - exact).norm() / exact.norm())
    torch.set_num_threads(threads)
    yield "### Products with quantized weights"
    yield ""
    yield f"{N} x {N} weights, one thread, milliseconds by rows of activations; error of the outputs."
    yield ""
    first = next(iter(times.values()))
    rows = []
    for name, found in times.items():
        cells = [f"{1e3 * t:.2f} ({f / t:.1f}x)" for t, f in zip(found, first, strict=True)]
        rows.append([name, *cells, f"{100 * errors[name]:.2f} %"])
    yield from table(["", *(f"{n} row{'s' * (n > 1)}" for n in ROWS), "error"], rows)


def main() -> None:
    for line in tables(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        print(line)


if __name__ == "__main__":
    main()
