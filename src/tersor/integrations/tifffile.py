"""tersor's LZW in tifffile: it reads and writes LZW files without imagecodecs, and faster than with it.

Predictors, threads and everything else stay tifffile's.
"""

from __future__ import annotations

from ._hooks import HookError, Hooks, Replacement, find, item, library
from .imagecodecs import lzw_decode, lzw_encode

__all__ = ["install", "uninstall"]

_LZW = 5  # TIFF's number for it


def _find() -> list[Replacement]:
    tifffile = library("tifffile")
    replacements = []
    for name, codec in (("DECOMPRESSORS", lzw_decode), ("COMPRESSORS", lzw_encode)):
        codecs = find(tifffile, f"TIFF.{name}._codecs")
        if not isinstance(codecs, dict):
            raise HookError(f"in this version of tifffile TIFF.{name}._codecs is no dict")
        replacements.append(item(codecs, _LZW, f"tifffile.TIFF.{name}[{_LZW}]", codec))
    return replacements


_hooks = Hooks(_find)


def install() -> None:
    """Let tifffile decode and encode LZW with tersor.

    Raises
    ------
    ImportError
        If tifffile is not installed.
    HookError
        If this version of tifffile has no such tables to put codecs in; tifffile is as it was.

    Notes
    -----
    A second call does nothing. Pages whose first segment has been decoded keep the decoder that they have.

    Examples
    --------
    >>> import tersor.integrations.tifffile
    >>> tersor.integrations.tifffile.install()  # doctest: +SKIP
    """
    _hooks.install()


def uninstall() -> None:
    """Let tifffile use the LZW of imagecodecs again, if it is there."""
    _hooks.uninstall()
