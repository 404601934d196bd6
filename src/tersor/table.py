"""Tables of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["plain_table", "printable", "shown_ratio"]


def printable(text: str) -> str:
    """Replace what would steer a terminal: names in a file may be anything."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def shown_ratio(ratio: float | None) -> str:
    """Write a ratio, where there is one."""
    return "" if ratio is None else f"{ratio:.4f}"


def plain_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]], left: int = 1) -> str:
    """Lay out a table, its first `left` columns aligned left.

    Examples
    --------
    >>> print(plain_table("sizes", ("name", "bytes"), [("weight", 1024), ("bias", 8)]), end="")
    sizes
      name    bytes
      weight   1024
      bias        8
    """
    cells = [[printable(str(cell)) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [printable(title)]
    for row in cells:
        aligned = [
            c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(aligned).rstrip())
    return "\n".join([*lines, ""])
