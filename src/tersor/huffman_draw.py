"""Pictures of Huffman codes: text, Graphviz, Matplotlib.

All of them need no tree: sorted by their bits, codes are the leaves from left to right, and what two
neighbours have in common is the path to where they part.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

__all__ = ["draw", "graphviz", "table", "tree"]


def table(codes: Mapping[Any, str]) -> str:
    """Lay out a code as text, a line for each symbol."""
    longest = max(4, *map(len, codes.values())) if codes else 4
    lines = [f"Bits {'Code':{longest}} Symbol"]
    lines += [f"{len(code):4} {code:{longest}} {symbol!r}" for symbol, code in codes.items()]
    return "\n".join(lines)


def tree(codes: Mapping[Any, str]) -> str:
    """Draw a code as a tree of text, a line for each symbol."""
    lines = []
    previous = ""
    for symbol, code in codes.items():
        # Where the path parts from the one above. A path that went by 0 before still has 1 to come below.
        fork = next((i for i, (a, b) in enumerate(zip(previous, code, strict=False)) if a != b), -1)
        line = "".join("│   " if bit == "0" else "    " for bit in code[: max(fork, 0)])
        for at, bit in enumerate(code[max(fork, 0) :], max(fork, 0)):
            line += ("└─" if at == fork else "┬─") + bit + "─"
        lines.append(f"{line} {symbol!r}")
        previous = code
    return "\n".join(lines)


def _label(symbol: Any, frequencies: Mapping[Any, Any] | None) -> str:
    return repr(symbol) if frequencies is None else f"{symbol!r}\n{frequencies.get(symbol, 0)}"


def graphviz(codes: Mapping[Any, str], frequencies: Mapping[Any, Any] | None = None) -> str:
    """Write the tree in Graphviz' language; a node's name is the path to it."""
    lines = ["digraph huffman {", "    node [shape=point];"]
    seen = set()
    for symbol, code in codes.items():
        label = _label(symbol, frequencies).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'    "n{code}" [shape=box, label="{label}"];')
        for end in range(len(code), 0, -1):
            if code[:end] in seen:
                break
            seen.add(code[:end])
            lines.append(f'    "n{code[: end - 1]}" -> "n{code[:end]}" [label="{code[end - 1]}"];')
    return "\n".join([*lines, "}", ""])


def draw(codes: Mapping[Any, str], ax: Any = None, frequencies: Mapping[Any, Any] | None = None) -> Any:
    """Draw the tree into Matplotlib axes, new ones by default, and return them."""
    if ax is None:
        try:
            pyplot = import_module("matplotlib.pyplot")
        except ImportError:
            raise ImportError("drawing needs Matplotlib: pip install 'tersor[plot]'") from None
        ax = pyplot.figure().add_subplot()
    # Leaves stand side by side, and each inner node above the middle of its two.
    across: dict[str, float] = {code: float(i) for i, code in enumerate(codes.values())}
    levels: dict[int, list[str]] = {}
    for code in codes.values():
        levels.setdefault(len(code), []).append(code)
    for depth in range(max(levels, default=0), 0, -1):
        for parent in dict.fromkeys(path[:-1] for path in levels[depth]):
            children = [path for path in (parent + "0", parent + "1") if path in across]
            across[parent] = sum(across[path] for path in children) / len(children)
            levels.setdefault(depth - 1, []).append(parent)
    for path, x in across.items():
        if path:
            up = path[:-1]
            ax.plot([across[up], x], [-len(up), -len(path)], color="0.5", zorder=1)
            ax.annotate(path[-1], ((across[up] + x) / 2, -len(path) + 0.5), ha="center", va="center")
    box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "0.5"}
    for symbol, code in codes.items():
        place = (across[code], -len(code))
        ax.annotate(_label(symbol, frequencies), place, ha="center", va="center", bbox=box)
    ax.set_axis_off()
    return ax
