"""Decompression as containers need it: a missing end is no fault, damage is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import lzw
from ..errors import TruncatedDataError

if TYPE_CHECKING:
    from typing_extensions import Buffer


def decompress(data: Buffer, format: str, **options: Any) -> Any:
    """Do `tersor.lzw.decompress`, and return what there is if the data ends early."""
    try:
        return lzw.decompress(data, format, **options)
    except TruncatedDataError:
        return lzw.decompress(data, format, strict=False, **options)
