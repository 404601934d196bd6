"""fsspec, and so Dask and what else opens files through it, reads and writes `.tsr` and `.Z` files."""

from __future__ import annotations

from typing import IO, Any

from .. import lzw
from ..file import TersorFile
from ._hooks import find, library

__all__ = ["register"]


def _open_tsr(file: IO[bytes], mode: str = "rb", **options: Any) -> TersorFile:
    return TersorFile(file, mode, **options)


def _open_z(file: IO[bytes], mode: str = "rb", **options: Any) -> lzw.LZWFile:
    return lzw.LZWFile(file, mode, **options)


def register() -> None:
    """Make the compressions "tsr" and "Z" known to fsspec, also by the names of files.

    Raises
    ------
    ImportError
        If fsspec is not installed.
    HookError
        If this version of fsspec has nowhere to register them.
    ValueError
        If something else is registered under one of the names.

    Notes
    -----
    A second call does nothing.

    Examples
    --------
    >>> import fsspec, tersor.integrations.fsspec
    >>> tersor.integrations.fsspec.register()
    >>> with fsspec.open("numbers.csv.tsr", "wt", compression="infer") as f:
    ...     print(*range(5), sep=",", file=f)
    >>> with fsspec.open("numbers.csv.tsr", "rt", compression="infer") as f:
    ...     f.read()
    '0,1,2,3,4\\n'
    """
    compression = library("fsspec.compression")
    known = find(compression, "compr")
    register_compression = find(compression, "register_compression")
    # fsspec looks names up in lower case.
    for name, callback, extension in (("tsr", _open_tsr, "tsr"), ("Z", _open_z, "z")):
        if known.get(name) is not callback:
            register_compression(name, callback, extension)
