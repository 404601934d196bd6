"""A teacher's outputs on disk, found by the content of the inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor, nn

from ...arrays import as_numpy, bytes_of
from ...checkpoint import load_file, safe_open, save_file

_KEY_SIZE = 16


class OutputCache:
    """Outputs of a teacher, kept in memory and in a file of `tersor.checkpoint`.

    The key is a hash of a sample's bytes, so that the order of the loader does not matter, and samples that
    change are simply not found. The file names its teacher by a hash of the weights.
    """

    def __init__(self, path: str | os.PathLike[str], teacher: nn.Module | None) -> None:
        self.path = path
        self._teacher = fingerprint(teacher) if teacher is not None else None
        self._places: dict[bytes, int] = {}
        self._rows: Tensor | None = None
        self._n_saved = 0
        if os.path.exists(path):
            self._load()
        elif teacher is None:
            raise ValueError(f"without a teacher there must be a cache: {os.fspath(path)} does not exist")

    def __len__(self) -> int:
        return len(self._places)

    def find(self, keys: Sequence[bytes]) -> Tensor | None:
        """Return the outputs of these samples, if all of them are known."""
        places = [self._places.get(key) for key in keys]
        if self._rows is None or None in places:
            return None
        return self._rows[torch.tensor(places)]

    def n_missing(self, keys: Sequence[bytes]) -> int:
        return sum(key not in self._places for key in keys)

    def add(self, keys: Sequence[bytes], outputs: Tensor) -> None:
        """Keep the outputs of those samples that are not known yet."""
        outputs = outputs.detach().cpu()
        new = {key: i for i, key in enumerate(keys) if key not in self._places}
        if not new:
            return
        begin, end = len(self), len(self) + len(new)
        if self._rows is None:
            self._rows = outputs.new_empty(end, *outputs.shape[1:])
        if end > len(self._rows):
            grown = self._rows.new_empty(max(end, 2 * len(self._rows)), *self._rows.shape[1:])
            grown[:begin] = self._rows[:begin]
            self._rows = grown
        self._rows[begin:end] = outputs[list(new.values())]
        self._places.update(zip(new, range(begin, end), strict=True))

    def unsaved(self) -> tuple[list[bytes], Tensor] | None:
        """What was added since the last `save`."""
        if self._rows is None or self._n_saved == len(self):
            return None
        return list(self._places)[self._n_saved :], self._rows[self._n_saved : len(self)]

    def save(self, *, write: bool = True) -> None:
        """Write the file, if there is something new; or take it that another process does."""
        if self._rows is None or self.unsaved() is None:
            return
        n_known = self._n_saved = len(self)
        if not write:
            return
        keys = np.frombuffer(b"".join(self._places), np.uint8).reshape(-1, _KEY_SIZE)
        metadata = {} if self._teacher is None else {"teacher": self._teacher}
        save_file({"keys": keys, "outputs": self._rows[:n_known]}, self.path, metadata)

    def _load(self) -> None:
        name = os.fspath(self.path)
        with safe_open(self.path) as file:
            metadata = file.metadata()
        if self._teacher is None:
            self._teacher = metadata.get("teacher")
        elif metadata.get("teacher") != self._teacher:
            raise ValueError(f"{name} holds the outputs of another teacher: remove it, or name another file")
        tensors = load_file(self.path, framework="torch")
        keys, rows = tensors.get("keys"), tensors.get("outputs")
        if keys is None or rows is None or keys.shape != (len(rows), _KEY_SIZE) or keys.dtype != torch.uint8:
            raise ValueError(f"{name} is no cache of a teacher's outputs")
        self._places = {key.tobytes(): i for i, key in enumerate(keys.numpy())}
        if len(self._places) != len(rows):
            raise ValueError(f"{name} holds some samples twice")
        self._rows, self._n_saved = rows, len(rows)


def sample_keys(inputs: Any) -> list[bytes]:
    """Hash each sample of a batch: a tensor, or a mapping or sequence of tensors, samples in dimension 0."""
    if isinstance(inputs, Tensor):
        rows = np.ascontiguousarray(as_numpy(inputs.cpu()))
        kind = f"{inputs.dtype}{tuple(inputs.shape[1:])}".encode()
        return [xxhash.xxh3_128_digest(kind + bytes_of(row)) for row in rows]
    if isinstance(inputs, Mapping):
        inputs = [value for _, value in sorted(inputs.items())]
    parts = [sample_keys(value) for value in inputs if isinstance(value, (Tensor, Mapping, list, tuple))]
    return [xxhash.xxh3_128_digest(b"".join(row)) for row in zip(*parts, strict=True)]


def fingerprint(network: nn.Module) -> str:
    """Hash a network's parameters and buffers with their names."""
    state = xxhash.xxh3_128()
    for name, value in network.state_dict().items():
        if isinstance(value, Tensor):
            array = np.ascontiguousarray(as_numpy(value.detach().cpu()))
            state.update(f"{name}{array.dtype}{array.shape}".encode())
            state.update(bytes_of(array))
    return state.hexdigest()
