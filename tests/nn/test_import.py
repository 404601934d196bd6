"""Torch is needed by `tersor.nn`, and by nothing else."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Mapping

import pytest

pytest.importorskip("torch")

import tersor.nn


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_without_torch_the_extra_is_named() -> None:
    program = """
import sys
from collections.abc import Mapping
sys.modules["torch"] = None
import tersor, tersor.checkpoint
try:
    import tersor.nn
except ImportError as error:
    print(error)
"""
    assert "pip install 'tersor[torch]'" in run(program)


def test_the_core_does_not_import_torch() -> None:
    program = "import sys, tersor, tersor.checkpoint, tersor.reference; print('torch' in sys.modules)"
    assert run(program) == "False\n"


@pytest.mark.parametrize("name", tersor.nn.__all__)
def test_public_names_are_documented_and_typed(name: str) -> None:
    value = getattr(tersor.nn, name)
    if isinstance(value, Mapping):
        return  # the presets
    doc = inspect.getdoc(value)
    assert doc
    assert doc.splitlines()[0].endswith(".")
    if inspect.isfunction(value):
        signature = inspect.signature(value)
        assert signature.return_annotation is not signature.empty
        assert all(p.annotation is not p.empty for p in signature.parameters.values())
