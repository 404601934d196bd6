"""tersor's LZW in pdfminer.six: streams with the filter LZWDecode are decoded in C.

EarlyChange 0, which pdfminer itself does not look at, is decoded as it says. Predictors and everything else
stay pdfminer's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from .. import lzw
from ..errors import TersorError
from ._hooks import Hooks, Replacement, find, function, library
from ._lenient import decompress

__all__ = ["install", "uninstall"]

_logger = logging.getLogger(__name__)

# pdfminer does not tell its decoder the parameters of the filter: those of a stream's LZW filters, in
# their order, go around it.
_parameters: ContextVar[Iterator[Any]] = ContextVar("parameters")


def _find() -> list[Replacement]:
    pdftypes = library("pdfminer.pdftypes")
    settings = library("pdfminer.settings")
    pdf_error = find(library("pdfminer.pdfexceptions"), "PDFException")
    names = find(pdftypes, "LITERALS_LZW_DECODE")
    resolve = find(pdftypes, "resolve1")
    decode_stream = find(pdftypes, "PDFStream.decode")
    find(pdftypes, "PDFStream.get_filters")

    def lzwdecode(data: bytes) -> Any:
        parameters = next(_parameters.get(iter(())), None)
        early_change = resolve(parameters.get("EarlyChange", 1)) if isinstance(parameters, dict) else 1
        options: dict[str, Any] = {"early_change": int(early_change != 0)}
        try:
            return decompress(data, "pdf", **options)
        except TersorError as error:
            if settings.STRICT:
                raise pdf_error(f"Invalid LZW data: {error}") from error
            _logger.warning("Invalid LZW data: %s", error)
            return lzw.decompress(data, "pdf", strict=False, **options)

    def decode(self: Any) -> None:
        filters = self.get_filters()
        token = _parameters.set(iter([parameters for name, parameters in filters if name in names]))
        try:
            decode_stream(self)
        finally:
            _parameters.reset(token)

    return [function(pdftypes, "lzwdecode", lzwdecode), function(pdftypes, "PDFStream.decode", decode)]


_hooks = Hooks(_find)


def install() -> None:
    """Let pdfminer decode LZW with tersor.

    Raises
    ------
    ImportError
        If pdfminer is not installed.
    HookError
        If this version of pdfminer has no such functions to replace; pdfminer is as it was.

    Notes
    -----
    A second call does nothing. As in pdfminer, damaged data gives what comes before the damage; it is
    logged, and with ``pdfminer.settings.STRICT`` it raises ``PDFException``.

    Examples
    --------
    >>> import tersor.integrations.pdfminer
    >>> tersor.integrations.pdfminer.install()  # doctest: +SKIP
    """
    _hooks.install()


def uninstall() -> None:
    """Let pdfminer use its own LZW again."""
    _hooks.uninstall()
