"""What the commands put out: files, tables, progress."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from ..atomic import atomic_output
from ..table import plain_table, printable


@contextlib.contextmanager
def open_output(path: str, *, like: str | None = None) -> Iterator[IO[bytes]]:
    """Open an output that appears under its name only when complete; "-" is standard output."""
    if path == "-":
        yield sys.stdout.buffer
    else:
        with atomic_output(path, like=like) as file:
            yield file


def refuse_existing(path: str, force: bool) -> None:
    """Raise `FileExistsError` for a file that exists and may not be replaced."""
    special = path == "-" or (os.path.exists(path) and not os.path.isfile(path))
    if not special and not force and os.path.lexists(path):
        raise FileExistsError(None, "the output exists; -f replaces it", path)


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show progress while the block runs, on a terminal and with rich installed.

    Yields a function to call with the bytes done and the bytes in all, or `None`.
    """
    try:
        from rich import progress
        from rich.console import Console
    except ImportError:
        yield None
        return
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """Show what is going on in one line that changes, on a terminal and with rich installed."""
    try:
        from rich.console import Console
    except ImportError:
        yield lambda text: None
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status("") as status:
        yield status.update


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]], left: int = 1) -> None:
    """Print a table, its first `left` columns aligned left: with rich on a terminal, else as plain text."""
    if sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text

            table = Table(title=Text(printable(title)), title_justify="left")
            for i, name in enumerate(header):
                table.add_column(name, justify="left" if i < left else "right")
            for row in rows:
                table.add_row(*(Text(printable(str(cell))) for cell in row))
            Console().print(table)
            return
    print(plain_table(title, header, rows, left))
