"""The examples in the docstrings run, and the public names are documented and typed."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import tersor
import tersor.huffman
import tersor.reference

# tersor.nn is the one that needs torch.
HAS_TORCH = importlib.util.find_spec("torch") is not None
SKIPPED = {"tersor.cli.__main__"} | (set() if HAS_TORCH else {"tersor.nn"})
MODULES = sorted(m.name for m in pkgutil.walk_packages(tersor.__path__, "tersor.") if m.name not in SKIPPED)
PUBLIC: list[ModuleType] = [
    tersor,
    tersor.huffman,
    *(
        importlib.import_module(f"tersor.{name}")
        for name in ("checkpoint", "prune", "prune.sparse", "quantize", "recipe")
    ),
    *(importlib.import_module(f"tersor.{name}") for name in ("nn", "nn.distill") if HAS_TORCH),
]


@pytest.mark.parametrize("name", ["tersor", *MODULES])
def test_docstring_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"tersor": tersor, "np": np}
    result = doctest.testmod(importlib.import_module(name), extraglobs=names)
    assert result.failed == 0


def test_examples_of_the_huffman_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("bitarray")
    pytest.importorskip("dahuffman")
    page = Path(__file__).parents[1] / "docs/huffman.md"
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted > 30
    assert result.failed == 0


def test_examples_of_the_quantization_page() -> None:
    page = Path(__file__).parents[1] / "docs/quantization.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted > 20
    assert result.failed == 0


def test_examples_are_found() -> None:
    finder = doctest.DocTestFinder()
    modules = [importlib.import_module(name) for name in MODULES]
    assert sum(bool(test.examples) for m in modules for test in finder.find(m)) >= 12


@pytest.mark.parametrize("module", PUBLIC, ids=lambda m: m.__name__)
def test_public_callables_say_what_they_do(module: ModuleType) -> None:
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            doc = inspect.getdoc(value)
            assert doc, name
            assert doc.splitlines()[0].endswith("."), name
        if inspect.isfunction(value):
            hints = inspect.signature(value)
            untyped = [p for p in hints.parameters.values() if p.annotation is p.empty]
            assert not untyped, name
            assert hints.return_annotation is not hints.empty, name
