"""tersor's LZW in pypdf: streams with the filter /LZWDecode are decoded (and encoded) in C.

/EarlyChange 0, which pypdf itself does not look at, is decoded as it says. Limits, predictors and everything
else stay pypdf's; damaged data raises pypdf's own exceptions.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from .. import lzw
from ..errors import LimitError, TersorError
from ._hooks import Hooks, Replacement, find, function, library
from ._lenient import decompress

__all__ = ["install", "uninstall"]

# pypdf does not tell its decoder the parameters of the filter: they go around it.
_early_change: ContextVar[int] = ContextVar("early_change", default=1)


def _early_change_in(parameters: Any) -> int:
    """Value of /EarlyChange in what pypdf hands to a filter: a dictionary, a list of them, or None."""
    parameters = _resolved(parameters)
    for dictionary in map(_resolved, parameters if isinstance(parameters, list) else [parameters]):
        if isinstance(dictionary, dict) and "/EarlyChange" in dictionary:
            return int(_resolved(dictionary["/EarlyChange"]) != 0)
    return 1


def _resolved(value: Any) -> Any:
    """What a reference refers to, or the value itself."""
    return value.get_object() if hasattr(value, "get_object") else value


def _find() -> list[Replacement]:
    codecs = library("pypdf._codecs._codecs")
    filters = library("pypdf.filters")
    stream_error = find(library("pypdf.errors"), "PdfStreamError")
    limit_error = find(library("pypdf.errors"), "LimitReachedError")
    decode_filter = find(filters, "LZWDecode.decode")

    def encode(self: Any, data: bytes) -> bytes:
        return lzw.compress(data, "pdf")

    def decode(self: Any, data: bytes) -> Any:
        early_change, limit = _early_change.get(), getattr(self, "max_output_length", -1)
        try:
            return decompress(data, "pdf", early_change=early_change, max_length=limit)
        except LimitError as error:
            raise limit_error(f"Limit reached while decompressing: {error}") from error
        except TersorError as error:
            raise stream_error(f"LZW data: {error}") from error

    def decode_with_parameters(data: bytes, decode_parms: Any = None, **options: Any) -> Any:
        token = _early_change.set(_early_change_in(decode_parms))
        try:
            return decode_filter(data, decode_parms, **options)
        finally:
            _early_change.reset(token)

    return [
        function(codecs, "LzwCodec.encode", encode),
        function(codecs, "LzwCodec.decode", decode),
        function(filters, "LZWDecode.decode", staticmethod(decode_with_parameters)),
    ]


_hooks = Hooks(_find)


def install() -> None:
    """Let pypdf decode and encode LZW with tersor.

    Raises
    ------
    ImportError
        If pypdf is not installed.
    HookError
        If this version of pypdf has no such functions to replace; pypdf is as it was.

    Notes
    -----
    A second call does nothing. Data after a fault is not guessed at: pypdf's ``PdfStreamError`` is raised
    where pypdf may go on with wrong bytes.

    Examples
    --------
    >>> import tersor.integrations.pypdf
    >>> tersor.integrations.pypdf.install()  # doctest: +SKIP
    """
    _hooks.install()


def uninstall() -> None:
    """Let pypdf use its own LZW again."""
    _hooks.uninstall()
