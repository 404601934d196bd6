"""What uncompresspy opens .Z files with, by the same names and with the same parameters."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from .. import lzw

__all__ = ["LZWFile", "open"]


class LZWFile(lzw.LZWFile):
    """A .Z file, opened for reading.

    Parameters
    ----------
    filename : str, bytes, path or binary file object
    mode : {"", "r", "rb"}
    warn_truncation, save_checkpoints : bool
        Have no meaning here: the format has no end mark, so that most files that were cut look whole; and
        going back is reading again from the beginning, which is faster than from a checkpoint in Python.

    Raises
    ------
    ValueError
        If the mode is another one, or the file has no header of the .Z format.
    TypeError
        If `filename` is none of the above.

    Examples
    --------
    >>> import io
    >>> from tersor.integrations.uncompresspy import LZWFile
    >>> LZWFile(io.BytesIO(tersor.lzw.compress(b"terse tensors", "z"))).read(5)
    b'terse'
    """

    def __init__(
        self,
        filename: str | bytes | os.PathLike[str] | BinaryIO,
        mode: str = "rb",
        warn_truncation: bool = True,
        save_checkpoints: bool = True,
    ) -> None:
        if mode not in ("", "r", "rb"):
            raise ValueError(f"invalid mode {mode!r}: only reading is supported")
        super().__init__(os.fsdecode(filename) if isinstance(filename, bytes) else filename, "rb")
        try:
            self.peek()  # reads the header
        except BaseException:
            self.close()
            raise


def open(
    filename: str | bytes | os.PathLike[str] | BinaryIO,
    mode: str = "rb",
    warn_truncation: bool = True,
    save_checkpoints: bool = True,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> LZWFile | io.TextIOWrapper:
    """Open a .Z file for reading.

    Parameters
    ----------
    filename, warn_truncation, save_checkpoints
        As for `LZWFile`.
    mode : {"r", "rb", "rt"}
    encoding, errors, newline : str, optional
        For text mode, as for the built-in `open`.

    Returns
    -------
    LZWFile or io.TextIOWrapper
    """
    text = "t" in mode
    if text and "b" in mode:
        raise ValueError(f"invalid mode {mode!r}")
    if not text and (encoding, errors, newline) != (None, None, None):
        raise ValueError("encoding, errors and newline are for text mode")
    file = LZWFile(filename, mode.replace("t", ""), warn_truncation, save_checkpoints)
    return io.TextIOWrapper(file, io.text_encoding(encoding), errors, newline) if text else file
