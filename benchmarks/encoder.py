"""The published sentence encoder whose weights `inputs` reads, as a PyTorch network, and text for it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import inputs
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

WIDTH, HEADS, LAYERS, TOKENS = 384, 12, 6, 128
# Modules of the standard library whose documentation is read.
TEXT = (
    "argparse",
    "asyncio",
    "collections",
    "decimal",
    "email",
    "json",
    "logging",
    "pathlib",
    "random",
    "typing",
)


class Layer(nn.Module):
    """Attention and two linear layers, each added to what came in and normalized (Devlin 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, eps=1e-12) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Transform tokens; `mask` tells which there are."""
        q, k, v = (
            f(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = self.norm1(x + self.out(seen.transpose(1, 2).flatten(2)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Encoder(nn.Module):
    """Sentences as vectors of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places, self.types = (nn.Embedding(n, WIDTH) for n in (30522, 512, 2))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, ids: Tensor) -> Tensor:
        """Embed sentences of word pieces, filled up with 0."""
        mask = ids != 0
        x = self.words(ids) + self.places(torch.arange(ids.shape[1])) + self.types(torch.zeros_like(ids))
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, mask)
        return F.normalize((x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


NAMES = {
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "places",
    "embeddings.token_type_embeddings": "types",
    "embeddings.LayerNorm": "norm",
    "encoder.layer": "layers",
    "attention.self.": "",
    "attention.output.dense": "out",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "norm2",
}


def encoder() -> Encoder:
    """Build the network with its published weights; raises `UnavailableError` if they are not installed."""
    state = {}
    for name, weight in inputs.weights().items():
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        if not name.startswith("pooler"):
            state[name] = torch.from_numpy(weight.copy())
    network = Encoder()
    network.load_state_dict(state)
    return network.eval()


def sentences(n: int) -> Tensor:
    """Word pieces of sentences from Python's documentation strings."""
    spec = importlib.util.find_spec(inputs.MODEL_PACKAGE.replace("-", "_"))
    assert spec is not None
    assert spec.submodule_search_locations
    vocabulary = Path(spec.submodule_search_locations[0], "model", "vocab.txt").read_text().splitlines()
    ids = {piece: i for i, piece in enumerate(vocabulary)}
    rows = []
    for sentence in _documentation():
        pieces = list(_pieces(sentence, ids))[: TOKENS - 2]
        rows.append(torch.tensor([ids["[CLS]"], *pieces, ids["[SEP]"]]))
        if len(rows) == n:
            break
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


def _documentation() -> Iterator[str]:
    for name in TEXT:
        module = importlib.import_module(name)
        for _, value in sorted(inspect.getmembers(module)):
            for sentence in re.split(r"(?<=\.)\s+", inspect.getdoc(value) or ""):
                if len(sentence) > 30:
                    yield sentence


def _pieces(text: str, ids: dict[str, int]) -> Iterator[int]:
    """Cut lower-case words into the longest pieces that the vocabulary has."""
    plain = unicodedata.normalize("NFKD", text.lower())
    for word in re.findall(r"\w+|[^\w\s]", plain):
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in ids)
            if (end := next(ends, 0)) == 0:
                yield ids["[UNK]"]
                break
            yield ids[prefix + word[start:end]]
            start = end
