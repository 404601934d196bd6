"""Output files that appear under their name only when they are complete."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def atomic_output(
    path: str | os.PathLike[str], *, like: str | os.PathLike[str] | None = None
) -> Iterator[IO[bytes]]:
    """Open a file for writing that replaces `path` when the block ends without an exception.

    Until then it has a temporary name in the same directory; after an exception, `KeyboardInterrupt`
    included, nothing is left of it and `path` is as it was. What is no regular file, such as /dev/null
    or a pipe, is written to directly.

    Parameters
    ----------
    path : str or path
    like : str or path, optional
        A file whose permission bits the new file gets; by default those of any new file.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        # A device or a pipe is written to, not replaced; a directory is refused by open().
        with path.open("wb") as file:
            yield file
        return
    with _named(path):
        fd, name = tempfile.mkstemp(prefix=f".{path.name[:64]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
        os.chmod(name, os.stat(like).st_mode & 0o777 if like is not None else 0o666 & ~_umask())
        with _named(path):
            os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Have errors name the file that was asked for, not the temporary one."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None


def _umask() -> int:
    """Read the process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
