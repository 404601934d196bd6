"""Trains the network that `tersor demo` compresses, and writes it into the package.

    pip install -e . scikit-learn safetensors torch && python benchmarks/train_digits.py

The data are the 1,797 handwritten digits of scikit-learn's `load_digits` (UCI, Alpaydin & Kaynak 1998).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

TARGET = Path(__file__).parents[1] / "src/tersor/data/digits.safetensors"


def make_network() -> nn.Sequential:
    """Two convolutions and two linear layers: some 60,000 weights."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(1024, 40),
        nn.ReLU(),
        nn.Linear(40, 10),
    )


def main() -> None:
    """Train with a fixed seed, report the accuracy on a quarter of the data, and save."""
    torch.manual_seed(1)
    torch.set_num_threads(1)  # for the same sums in the same order everywhere
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=0.25, random_state=1, stratify=labels
    )
    network = make_network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    epochs = 60
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(train_x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(train_x[batch]), train_y[batch]).backward()
            optimizer.step()
        schedule.step()
    network.eval()
    accuracy = (network(test_x).argmax(1) == test_y).float().mean().item()
    TARGET.parent.mkdir(exist_ok=True)
    metadata = {"format": "pt", "dataset": "scikit-learn load_digits", "test_accuracy": f"{accuracy:.4f}"}
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, TARGET, metadata)
    print(f"test accuracy {accuracy:.4f}, {TARGET.stat().st_size:,} bytes in {TARGET}")


if __name__ == "__main__":
    main()
