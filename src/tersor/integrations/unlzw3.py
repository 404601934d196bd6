"""unlzw3's one function, by the same name and with the same parameter; also in place of unlzw3's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import lzw
from ._hooks import Hooks, Replacement, function, library

__all__ = ["install", "uninstall", "unlzw"]


def unlzw(inp: Any) -> bytes:
    """Decompress a .Z file.

    Parameters
    ----------
    inp : Path, buffer or anything that a bytearray can be made of
        The file, or what is in it. Files of at most 9 bits are read as gzip and unlzw3 do: see `full_grows`
        of `tersor.lzw.decompress`.

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        If it is no .Z data, or damaged.
    TypeError
        If no bytes can be made of `inp`.

    Notes
    -----
    Unlike unlzw3 this takes a clear code at the very beginning, and does not mind bits at the end that make
    no whole code.

    Examples
    --------
    >>> from tersor.integrations.unlzw3 import unlzw
    >>> unlzw(tersor.lzw.compress(b"terse tensors", "z"))
    b'terse tensors'
    """
    if isinstance(inp, Path):
        inp = inp.read_bytes()
    elif not isinstance(inp, bytes | bytearray | memoryview):
        inp = bytearray(inp)
    return lzw.decompress(inp, "z", full_grows=True)


def _find() -> list[Replacement]:
    # The package has the function where its module of the same name would be.
    package = library("unlzw3")
    module = library("unlzw3.unlzw")
    return [function(package, "unlzw", unlzw), function(module, "unlzw", unlzw)]


_hooks = Hooks(_find)


def install() -> None:
    """Put `unlzw` in place of unlzw3's.

    Raises
    ------
    ImportError
        If unlzw3 is not installed.
    HookError
        If this version of unlzw3 has no such function; unlzw3 is as it was.

    Notes
    -----
    A second call does nothing. Who has done ``from unlzw3 import unlzw`` before keeps the old one.

    Examples
    --------
    >>> import tersor.integrations.unlzw3
    >>> tersor.integrations.unlzw3.install()  # doctest: +SKIP
    """
    _hooks.install()


def uninstall() -> None:
    """Put unlzw3's own function back."""
    _hooks.uninstall()
