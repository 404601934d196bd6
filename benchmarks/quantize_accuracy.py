"""Measure what quantization does to accuracy, and write it as Markdown tables.

    python benchmarks/quantize_accuracy.py [--data FOLDER] [--quick] [--seeds N] [--output FILE]

First a small convolutional network on Fashion-MNIST (benchmarks/networks.py says where to get it), several
times from different seeds. Then a sentence encoder of 22.7 M weights as it is published, whose matrices
peers quantize too: their error, and how far the embeddings of sentences move.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import networks
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from encoder import encoder, sentences
from inputs import UnavailableError
from networks import Data
from torch import Tensor, nn

import tersor
from tersor.nn import (
    ActivationConfig,
    PerChannel,
    QuantConfig,
    convert_,
    fake_quantize_,
    quantize_,
)
from tersor.quantize import CodebookArray, QuantizedArray, affine, allocate_bits, codebook

Quantize = Callable[[nn.Module, Data, int], nn.Module]


def table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    """Format a table whose first column is text and whose others are numbers."""
    for row in [head, ["---"] + ["---:"] * (len(head) - 1), *rows]:
        yield f"| {' | '.join(row)} |"
    yield ""


def coded_size(array: QuantizedArray | CodebookArray) -> int:
    """Bytes once the integers are entropy coded, as a checkpoint stores them."""
    parts, _ = array.components()
    main = parts.pop("values" if isinstance(array, QuantizedArray) else "indices")
    return len(tersor.compress(main, threads=1)) + sum(part.nbytes for part in parts.values())


# ---- A network that is trained here ---------------------------------------------------------------


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Weights to quantize, as matrices."""
    kinds = nn.Linear | nn.Conv2d
    return {n: m.weight.detach().flatten(1) for n, m in network.named_modules() if isinstance(m, kinds)}


def size_of(network: nn.Module) -> int:
    """Bytes of the weights of a quantized network, entropy coded."""
    size = 0
    for layer in network.modules():
        if hasattr(layer, "weight_shape"):
            parts = {
                n: b for n, b in layer.named_buffers() if n in ("values", "indices", "codebook", "scale")
            }
            main = parts.pop("values", None) if "values" in parts else parts.pop("indices")
            size += len(tersor.compress(main.numpy(), threads=1)) + sum(p.nbytes for p in parts.values())
    return size


def importance(network: nn.Module, data: Data) -> dict[str, float]:
    """Mean squared gradient of a layer's weights, which tells what their errors cost."""
    network.eval()
    squares = dict.fromkeys(weights_of(network), 0.0)
    for rows in torch.arange(min(len(data.train_labels), 2048)).split(16):
        network.zero_grad()
        F.cross_entropy(network(data.train_images[rows]), data.train_labels[rows]).backward()
        for name in squares:
            squares[name] += float(network.get_submodule(name).weight.grad.square().mean())
    network.zero_grad()
    return squares


def calibration(data: Data) -> tuple[Tensor, ...]:
    """Images to choose the scales of activations by."""
    return data.train_images[:512].split(128)


def in_place(network: nn.Module, data: Data, epochs: int, *, config: Any) -> nn.Module:
    """Quantize, and no more."""
    return quantize_(network, config, calibration=calibration(data))


def trained(network: nn.Module, data: Data, epochs: int, *, config: Any) -> nn.Module:
    """Quantize, and train on what there is to train then."""
    fake_quantize_(network, config, calibration=calibration(data))
    networks.train(network, data, epochs=epochs, lr=0.005, weight_decay=0, seed=1)
    return convert_(network)


def mixed(network: nn.Module, data: Data, epochs: int, *, then: Any, method: Any) -> nn.Module:
    """Give each layer its own width, all in no more bytes than 4 bits take."""
    weights = weights_of(network)
    budget = sum(coded_size(affine(w, bits=4, axis=0)) for w in weights.values())
    options = {"weights": importance(network, data), "method": method, "axis": 0, "rate": "compressed"}
    choices = allocate_bits(weights, budget, **options).choices
    config = {name: QuantConfig.of(choice) for name, choice in choices.items()}
    return then(network, data, epochs, config=config)


INT4 = QuantConfig(4, granularity=PerChannel())
CODEBOOK4 = QuantConfig(4, "kmeans")
SCALED4 = QuantConfig(4, "kmeans", granularity=PerChannel(), scaled=True)
WAYS: dict[str, Quantize] = {
    "int8 weights": partial(in_place, config=QuantConfig()),
    "int8 weights and activations": partial(in_place, config=QuantConfig(activations=ActivationConfig())),
    "4-bit codebooks by layer": partial(in_place, config=CODEBOOK4),
    "4-bit codebooks by layer, fine-tuned": partial(trained, config=CODEBOOK4),
    "4-bit codebook, scaled by channel": partial(in_place, config=SCALED4),
    "4-bit codebook, scaled by channel, fine-tuned": partial(trained, config=SCALED4),
    "int4 weights": partial(in_place, config=INT4),
    "int4 weights, fine-tuned (LSQ)": partial(trained, config=INT4),
    "2 to 8 bits, as many bytes as int4": partial(mixed, then=in_place, method=("affine", "kmeans")),
    "even steps, as many bytes as int4": partial(mixed, then=in_place, method="steps"),
    "even steps, fine-tuned": partial(mixed, then=trained, method="steps"),
    "int2 weights, fine-tuned (LSQ)": partial(trained, config=QuantConfig(2, observer="mse")),
}


@torch.no_grad()
def cross_entropy(network: nn.Module, data: Data) -> float:
    """Mean loss on the test images, which tells differences that the error is too coarse for."""
    network.eval()
    parts = zip(data.test_images.split(1000), data.test_labels.split(1000), strict=True)
    return mean(float(F.cross_entropy(network(images), labels)) for images, labels in parts)


def trained_here(data: Data, seeds: int, epochs: int, more: int) -> Iterator[str]:
    """Train networks, quantize each in all ways, and tell the errors."""
    rows: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in ("float32", *WAYS)}
    for seed in range(seeds):
        network = networks.build("SmallResNet", seed)
        networks.train(network, data, epochs=epochs, seed=seed)
        floats = sum(w.nbytes for w in weights_of(network).values())
        error, loss = networks.evaluate(network, data), cross_entropy(network, data)
        rows["float32"].append((1.0, error, 0.0, loss))
        for name, quantize in WAYS.items():
            other = quantize(copy.deepcopy(network), data, more)
            found = networks.evaluate(other, data)
            rows[name].append((size_of(other) / floats, found, found - error, cross_entropy(other, data)))
    yield (
        f"Fashion-MNIST, `SmallResNet` trained for {epochs} epochs, fine-tuned for {more}; {seeds} seeds, "
        "mean and standard deviation. Size: of the weights, entropy coded."
    )
    yield ""
    cells = []
    for name, runs in rows.items():
        size, error, change, loss = zip(*runs, strict=True)
        shown = [f"{100 * mean(size):.1f} %", spread(error), spread(change, "+"), f"{mean(loss):.4f}"]
        cells.append([name, *shown])
    yield from table(["weights", "size", "test error, %", "change, points", "test loss"], cells)


def spread(values: Iterable[float], sign: str = "") -> str:
    """Mean and standard deviation."""
    numbers = list(values)
    deviation = stdev(numbers) if len(numbers) > 1 else math.nan
    return f"{mean(numbers):{sign}.2f} ± {deviation:.2f}"


# ---- A network as it is published -----------------------------------------------------------------


def torch_int8(weight: Tensor, observer: str) -> tuple[Tensor, int]:
    """What `torch.ao.quantization` makes of a weight, by its own observers."""
    watch = getattr(torch.ao.quantization, observer)()
    watch(weight)
    scale, zero_point = watch.calculate_qparams()
    if scale.numel() == 1:
        found = torch.fake_quantize_per_tensor_affine(weight, scale, zero_point.int(), -128, 127)
    else:
        found = torch.fake_quantize_per_channel_affine(weight, scale, zero_point.int(), 0, -128, 127)
    return found, weight.numel() + 4 * scale.numel()


def torchao_nf4(weight: Tensor, block: int, scaler_block: int) -> tuple[Tensor, int]:
    """NF4 by torchao, whose scales are 8-bit integers with scales of their own."""
    try:
        from torchao.quantization.quantize_.workflows.nf4.nf4_tensor import to_nf4
    except ImportError as error:
        raise UnavailableError("torchao is not installed: pip install torchao") from error
    while weight.numel() // block % scaler_block:
        scaler_block //= 2
    q = to_nf4(weight, block, scaler_block)
    n = weight.numel()
    return q.get_original_weight().float(), n // 2 + n // block + 4 * n // (block * scaler_block)


def ours(weight: Tensor, *, method: str = "affine", **options: Any) -> tuple[Tensor, int]:
    """What `tersor.quantize` makes of it."""
    if method == "affine":
        array: Any = affine(weight, **options)
    else:
        array = codebook(weight, method=method, **options)
    return array.dequantize(), array.nbytes


def bits_table() -> dict[str, Callable[[Tensor], tuple[Tensor, int]]]:
    """Ways to quantize a matrix, by name."""
    ways: dict[str, Callable[[Tensor], tuple[Tensor, int]]] = {
        "torch.ao int8 per tensor": partial(torch_int8, observer="default_weight_observer"),
        "torch.ao int8 per channel": partial(torch_int8, observer="default_per_channel_weight_observer"),
    }
    for bits in range(8, 1, -1):
        ways[f"int{bits} per channel"] = partial(ours, bits=bits, axis=0, observer="mse")
    ways["torchao NF4, groups of 64, int8 scales"] = partial(torchao_nf4, block=64, scaler_block=256)
    ways["NF4, groups of 64"] = partial(ours, method="nf4", group_size=64)
    ways["NF4, groups of 192"] = partial(ours, method="nf4", group_size=192)
    ways["k-means 16, groups of 64"] = partial(ours, method="kmeans", group_size=64, scaled=True)
    ways["k-means 16, groups of 192"] = partial(ours, method="kmeans", group_size=192, scaled=True)
    ways["k-means 16 per matrix"] = partial(ours, method="kmeans")
    ways["int4, groups of 64"] = partial(ours, bits=4, group_size=64, observer="mse")
    ways["uint4, groups of 64"] = partial(ours, bits=4, group_size=64, symmetric=False, observer="mse")
    return ways


@torch.no_grad()
def published(n_sentences: int) -> Iterator[str]:
    """Quantize a published network in all ways."""
    network = encoder()
    ids = sentences(n_sentences)
    expected = network(ids)
    matrices = {name: p for name, p in network.named_parameters() if p.ndim == 2}
    n = sum(p.numel() for p in matrices.values())
    yield (
        f"all-MiniLM-L6-v2, {n / 1e6:.1f} M weights in {len(matrices)} matrices, embeddings included; "
        f"{n_sentences} sentences. Error: of the weights, in dB below them. Size without entropy coding."
    )
    yield ""
    rows = []
    missing = []
    for name, quantize in bits_table().items():
        other = copy.deepcopy(network)
        noise = power = 0.0
        size = 0
        try:
            for matrix, weight in matrices.items():
                found, nbytes = quantize(weight.detach())
                noise += float((found - weight).double().square().sum())
                power += float(weight.double().square().sum())
                size += nbytes
                other.get_parameter(matrix).copy_(found)
        except UnavailableError as reason:
            missing.append(str(reason))
            continue
        cosine = F.cosine_similarity(other(ids), expected)
        decibel = f"{10 * math.log10(noise / power):.1f}"
        rows.append([name, f"{8 * size / n:.2f}", decibel, f"{cosine.mean():.5f}", f"{cosine.min():.4f}"])
    yield from table(["weights", "bits", "error, dB", "mean cosine", "least"], rows)
    for reason in missing:
        yield f"Left out: {reason}."


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    networks.add_arguments(parser)
    parser.set_defaults(data=networks.FASHION_MNIST)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the tables here, too")
    parser.add_argument("--only", choices=["trained", "published"], help="one of the two tables")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lines = []
    parts = []
    if options.only != "published":
        data = networks.load(options.data)
        if options.quick:
            data = data.head(6000)
        parts.append(trained_here(data, options.seeds, epochs=2 if options.quick else 8, more=1))
    if options.only != "trained":
        parts.append(published(16 if options.quick else 64))
    for part in parts:
        for line in part:
            print(line, flush=True)
            lines.append(line)
    if options.output:
        options.output.write_text("\n".join(lines).strip() + "\n")


if __name__ == "__main__":
    main()
