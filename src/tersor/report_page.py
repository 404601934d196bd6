"""The page of a report: HTML that loads nothing, with plots that Matplotlib draws."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _native
from .arrays import bytes_of
from .quantize import CodebookArray
from .report import HEADER, Content, Original, rows
from .table import shown_ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Page"]

# So many tensors have plots, so many layers bars and so many tensors a row: the largest.
PLOTS_MAX = 24
LAYERS_MAX = 30
ROWS_MAX = 1000

# No histogram counts more elements; of larger tensors they are evenly picked.
SAMPLE = 1 << 22
BINS = (20, 120)

# What is further from 0 is not drawn, as differences of it would overflow.
PLACE_MAX = 1e300

# Colours by what they stand for. In the page they are variables, which a dark one sets otherwise.
INK, BEFORE, WIDTH, AFTER = "#000000", "#9aa0a8", "#e0a02f", "#2c6fd6"
STAGES = (("original", BEFORE), ("quantized", WIDTH), ("on disk", AFTER))
VARIABLES = {INK: "currentColor", BEFORE: "var(--before)", WIDTH: "var(--width)", AFTER: "var(--after)"}

FIGURE_WIDTH = 4.1  # inches: text is then of the page's size on a phone

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --card: #f4f5f7; --ink: #1c1e21; --quiet: #62676e;
  --line: #d9dce0; --before: #9aa0a8; --width: #e0a02f; --after: #2c6fd6 }
@media (prefers-color-scheme: dark) { :root { --ground: #15171a; --card: #1f2226; --ink: #e6e8ea;
  --quiet: #9ba1a8; --line: #363b41; --before: #7d838b; --width: #d9a441; --after: #6aa3ff } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 75rem; background: var(--ground); color: var(--ink);
  font: 16px/1.45 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; margin: .3rem 0 1rem } h2 { font-size: 1.15rem; margin: 2rem 0 .6rem }
p { margin: .4rem 0 .8rem; color: var(--quiet) }
.cards, .plots { display: grid; gap: .75rem }
.cards { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)) }
.plots { align-items: start; grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr)) }
.cards div, figure { background: var(--card); border-radius: .6rem; padding: .7rem .8rem; margin: 0 }
.cards b { display: block; font-size: 1.25rem } .cards span, figcaption span { color: var(--quiet) }
figcaption { font-size: .9rem; margin-bottom: .3rem }
svg { display: block; width: 100%; height: auto }
svg * { stroke-linejoin: round } svg text { fill: currentColor }
i { display: inline-block; width: .8em; height: .8em; border-radius: .15em; margin: 0 .25em 0 .8em }
i:first-child { margin-left: 0 }
.scroll { overflow-x: auto; overflow-wrap: normal } table { border-collapse: collapse; font-size: .85rem }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th:nth-child(-n+4), td:nth-child(-n+4) { text-align: left } tr:last-child { font-weight: 600 }
td:first-child { max-width: 22rem; white-space: normal; min-width: 9rem; overflow-wrap: anywhere }
pre { background: var(--card); border-radius: .6rem; padding: .8rem;
  white-space: pre-wrap; font-size: .85rem }
"""

# What Matplotlib writes that a page has already, or must not have: addresses, and names that are not unique.
NOT_IN_A_PAGE = re.compile(
    r'<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->|(?<=<g) id="[^"]*"'
    r"|(?<=;) font-family: [^;\"]*;|(?<=<text style=\")font-family: [^;\"]*;",
    re.DOTALL,
)


class Page:
    """Collects what is to be drawn while tensors are read.

    Parameters
    ----------
    tensors : sequence of dict
        As `safe_open.inspect` describes them.
    original : callable, optional
        Returns the weights by a name as they were before, or `None`.
    """

    def __init__(self, tensors: Sequence[dict[str, Any]], original: Original | None) -> None:
        try:
            self._matplotlib: Any = import_module("matplotlib")
            self._ticker: Any = import_module("matplotlib.ticker")
            self._figure: Any = import_module("matplotlib.figure").Figure
        except ImportError:
            raise ImportError("the page needs Matplotlib: pip install 'tersor[plot]'") from None
        floats = [t for t in tensors if t["dtype"][0] in "FB" and t["dtype"] != "BOOL"]
        floats = [t for t in floats if len(t["shape"]) > 1] or floats
        floats.sort(key=lambda t: -t["nbytes"])
        self._plotted = {t["name"] for t in floats[:PLOTS_MAX]}
        self._n_left = max(len(floats) - PLOTS_MAX, 0)
        self._original = original or (lambda name: None)
        self._has_before = False
        self._weights: list[str] = []
        self._codebooks: list[str] = []

    def visit(self, facts: dict[str, Any], content: Content) -> None:
        """Draw a tensor."""
        if facts["name"] not in self._plotted or content.numbers is None or not content.numbers.size:
            return
        caption = _caption(facts)
        before = self._original(facts["name"])
        if before is not None and before.size != content.numbers.size:
            before = None
        self._has_before |= before is not None
        figure = self._histogram(content.numbers, before)
        self._weights.append(f"<figure>{caption}{figure}</figure>")
        if isinstance(content.stored, CodebookArray):
            self._codebooks.append(f"<figure>{caption}{self._levels(content.stored)}</figure>")

    def write(self, report: dict[str, Any], title: str) -> bytes:
        """Put the page together."""
        left = f" The {PLOTS_MAX} largest of {PLOTS_MAX + self._n_left} tensors." if self._n_left else ""
        note = "Shares of the elements, on a logarithmic scale."
        stages = (("before", BEFORE), ("after", AFTER))
        parts = [
            _cards(report),
            _section("Sizes", _legend(STAGES), self._sizes(report)),
            _section(
                "Weights",
                f"<p>{note}{left}</p>{_legend(stages) if self._has_before else ''}",
                _plots(self._weights),
            ),
            _section(
                "Codebooks",
                f"<p>Levels, and the share of the elements that have each, on a logarithmic scale.{left}</p>",
                _plots(self._codebooks),
            ),
            _section("Rate and accuracy", "", self._curve(report)),
            _table(report),
            _recipe(report),
        ]
        page = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
            f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
            f"<body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>\n"
        )
        return page.encode("utf-8", "replace")

    # ---- Plots ------------------------------------------------------------------------------------

    def _draw(
        self, height: float, plot: Callable[[Any], None], label: str, left: float = 0.6, below: float = 0.25
    ) -> str:
        """Have a function draw into axes, with room for labels; returns SVG that can stand in a page."""
        # Whatever the caller has set, except for the backend, which no context would set back.
        defaults = {k: v for k, v in self._matplotlib.rcParamsDefault.items() if k != "backend"}
        settings = defaults | {
            "svg.fonttype": "none",
            "svg.hashsalt": "tersor",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.6,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
        }
        with self._matplotlib.rc_context(settings):
            figure = self._figure(figsize=(FIGURE_WIDTH, height))
            # Matplotlib could find the room by itself, which takes as long as all the rest.
            place = (
                left / FIGURE_WIDTH,
                below / height,
                1 - (left + 0.15) / FIGURE_WIDTH,
                1 - (below + 0.1) / height,
            )
            plot(figure.add_axes(place))
            file = io.StringIO()
            figure.savefig(file, format="svg")
        svg = file.getvalue()
        view = re.search(r'viewBox="([\d. ]+)"', svg)
        assert view is not None
        inner = svg[svg.index(">", view.end()) + 1 :]
        inner = NOT_IN_A_PAGE.sub("", inner).replace("xlink:href", "href")
        for colour, variable in VARIABLES.items():
            inner = inner.replace(colour, variable)
        inner = re.sub(r">\s+<", "><", re.sub(r" \n", " ", inner))
        return f'<svg viewBox="{view[1]}" role="img" aria-label="{escape(label)}">{inner}'

    def _histogram(self, numbers: NDArray[Any], before: NDArray[Any] | None) -> str:
        samples = [None if before is None else _sample(before), _sample(numbers)]
        known = [s for s in samples if s is not None and s.size]
        if not known:
            return "<p>No element can be drawn.</p>"
        low, high = min(float(s.min()) for s in known), max(float(s.max()) for s in known)
        if not low < high:
            low, high = low - (abs(low) or 1.0), high + (abs(high) or 1.0)
        size = max(s.size for s in known)
        edges = np.linspace(low, high, int(np.clip(2 * size**0.5, *BINS)) + 1)
        fills = ((BEFORE, 0.75), (AFTER, 0.6))

        def plot(axes: Any) -> None:
            for sample, (colour, alpha) in zip(samples, fills, strict=True):
                if sample is not None and sample.size:
                    shares = np.histogram(sample, edges)[0] / sample.size
                    axes.stairs(shares, edges, fill=True, color=colour, alpha=alpha, baseline=1e-9)
            _by_share(axes, 0.5 / size)

        return self._draw(2.0, plot, "histogram of the weights")

    def _levels(self, array: CodebookArray) -> str:
        indices = bytes_of(np.ascontiguousarray(array.integers()))
        counts = np.array(_native.histogram(indices)[: array.levels])
        levels = array.codebook.astype(np.float64)
        finite = np.isfinite(levels).all(axis=0)
        places = np.where(finite, levels.mean(axis=0), 0)[finite]
        shares = (counts / max(counts.sum(), 1))[finite]
        used = shares > 0
        least = float(shares[used].min()) if used.any() else 1.0

        def plot(axes: Any) -> None:
            axes.vlines(places[used], least / 2, shares[used], color=AFTER, linewidth=1.2)
            axes.plot(places[used], shares[used], "o", color=AFTER, markersize=3)
            _by_share(axes, least / 2)
            what = "level" if len(levels) == 1 else "level, on average over the codebooks"
            axes.set_xlabel(what if array.scale is None else f"{what}, before the scale")

        return self._draw(1.9, plot, "levels of the codebook and how often each is used", below=0.42)

    def _sizes(self, report: dict[str, Any]) -> str:
        totals = [report["content_bytes"], report["quantized_bytes"], report["file_bytes"]]
        layers = _layers(report["tensors"])
        if not layers:
            return ""
        return (
            '<div class="plots"><figure><figcaption>The whole file</figcaption>'
            f"{self._bars([(None, totals)])}</figure>"
            "<figure><figcaption>Layers <span>and how much of each is left</span></figcaption>"
            f"{self._bars(layers)}</figure></div>"
        )

    def _bars(self, layers: Sequence[tuple[str | None, Sequence[int]]]) -> str:
        """Draw three bars for each layer, its name above them."""
        names_above = layers[0][0] is not None
        row = 1.7 if names_above else 1.0

        def plot(axes: Any) -> None:
            for i, (name, sizes) in enumerate(layers):
                for k, ((_, colour), size) in enumerate(zip(STAGES, sizes, strict=True)):
                    axes.barh(i * row + k * 0.3, size, 0.27, color=colour)
                    if name is None:
                        axes.text(size, k * 0.3, f"\u00a0{_bytes(size)}", va="center")
                if name is not None:
                    ratio = sizes[2] / sizes[0] if sizes[0] else 1.0
                    y = i * row - 0.24
                    place = axes.get_yaxis_transform()
                    axes.text(0.01, y, _short(name), va="bottom", transform=place, parse_math=False)
                    axes.text(1, y, f"{ratio:.3f}", va="bottom", ha="right", transform=place)
            axes.set_ylim((len(layers) - 1) * row + 0.9, -1.0 if names_above else -0.3)
            axes.set_yticks([])
            axes.set_xlim(0, max(max(sizes) for _, sizes in layers) * (1.02 if names_above else 1.25) or 1)
            axes.xaxis.set_major_locator(self._ticker.MaxNLocator(5))
            axes.xaxis.set_major_formatter(lambda size, _: _bytes(size))

        return self._draw(0.5 + 0.33 * row * len(layers) + 0.3, plot, "sizes at each stage", left=0.25)

    def _curve(self, report: dict[str, Any]) -> str:
        points = [(nbytes, score) for nbytes, score in report["curve"] if score is not None]
        if not points:
            return ""

        def plot(axes: Any) -> None:
            sizes, scores = zip(*sorted(points), strict=True)
            axes.plot(sizes, scores, "-", color=BEFORE, linewidth=1)
            axes.plot(sizes, scores, "o", color=AFTER, markersize=4)
            axes.axvline(report["file_bytes"], color=WIDTH, linewidth=1, linestyle="--")
            axes.set_xlabel("bytes of the file")
            axes.set_ylabel("score")
            axes.xaxis.set_major_locator(self._ticker.MaxNLocator(5))
            axes.xaxis.set_major_formatter(lambda size, _: _bytes(size))

        caption = "What the search met <span>and, dashed, the size of this file</span>"
        figure = self._draw(2.6, plot, "score by size of the file", below=0.42)
        return f'<div class="plots"><figure><figcaption>{caption}</figcaption>{figure}</figure></div>'


def _by_share(axes: Any, least: float) -> None:
    """Have the upward axis show shares, on a logarithmic scale."""
    axes.set_yscale("log")
    axes.set_ylim(least, 1.5)
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g}%")


def _sample(numbers: NDArray[Any]) -> NDArray[np.float64]:
    flat = numbers.reshape(-1)
    # An odd step meets every place of a row in turn.
    picked = np.asarray(flat[:: flat.size // SAMPLE | 1], np.float64)
    return picked[np.abs(picked) < PLACE_MAX]


def _layers(tensors: Iterable[dict[str, Any]]) -> list[tuple[str, list[int]]]:
    """Add up tensors to layers, the largest first, the smallest as one."""
    sizes: dict[str, list[int]] = {}
    for t in tensors:
        layer = sizes.setdefault(t["name"].rpartition(".")[0] or t["name"], [0, 0, 0])
        for k, key in enumerate(("nbytes", "quantized_nbytes", "compressed_nbytes")):
            layer[k] += t[key]
    layers = sorted(sizes.items(), key=lambda item: -item[1][0])
    rest = layers[LAYERS_MAX:]
    if rest:
        summed = [sum(column) for column in zip(*(s for _, s in rest), strict=True)]
        layers = [*layers[:LAYERS_MAX], (f"{len(rest)} more", summed)]
    return layers


def _short(name: str) -> str:
    """Shorten a name for a plot, and to characters that any font has."""
    plain = name.encode("ascii", "backslashreplace").decode()
    plain = "".join(c if c.isprintable() else "?" for c in plain)
    return plain if len(plain) <= 40 else f"...{plain[-37:]}"


def _bytes(size: float) -> str:
    """Write a size with three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g}\u00a0{unit}"
        size /= 1000
    return f"{size:.3g}\u00a0TB"


def _caption(facts: dict[str, Any]) -> str:
    about = " x ".join(map(str, facts["shape"])), facts["method"]
    zeros = () if not facts["sparsity"] else (f"{facts['sparsity']:.1%} zeros",)
    shown = escape(", ".join(filter(None, (*about, *zeros))))
    return f"<figcaption>{escape(facts['name'])} <span>{shown}</span></figcaption>"


def _section(title: str, intro: str, body: str) -> str:
    return f"<h2>{title}</h2>{intro}{body}" if body else ""


def _plots(figures: Sequence[str]) -> str:
    return f'<div class="plots">{"".join(figures)}</div>' if figures else ""


def _legend(entries: Iterable[tuple[str, str]]) -> str:
    shown = "".join(f'<i style="background: {VARIABLES[colour]}"></i>{name}' for name, colour in entries)
    return f"<p>{shown}</p>"


def _cards(report: dict[str, Any]) -> str:
    ratio, sparsity, bits, entropy = (report[key] for key in ("ratio", "sparsity", "bits", "entropy"))
    cards = [
        (_bytes(report["file_bytes"]), f"on disk, of {_bytes(report['content_bytes'])}"),
        (f"{1 / ratio:.3g} : 1" if ratio else "-", f"ratio {shown_ratio(ratio)}"),
        (f"{report['elements']:,}", f"elements in {len(report['tensors']):,} tensors"),
        ("-" if sparsity is None else f"{sparsity:.1%}", "zeros"),
        ("-" if bits is None else f"{bits:.3g}", "bits an element, on average"),
        ("-" if entropy is None else f"{entropy:.3g}", "bits of entropy an element"),
    ]
    return f'<div class="cards">{"".join(f"<div><b>{b}</b><span>{s}</span></div>" for b, s in cards)}</div>'


def _table(report: dict[str, Any]) -> str:
    shown = rows(report)
    *tensors, total = shown
    note = ""
    if len(tensors) > ROWS_MAX:
        largest = sorted(range(len(report["tensors"])), key=lambda i: -report["tensors"][i]["nbytes"])
        tensors = [tensors[i] for i in sorted(largest[:ROWS_MAX])]
        note = f"<p>The {ROWS_MAX:,} largest of {len(shown) - 1:,}.</p>"

    def cells(row: Iterable[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in row)}</tr>"

    body = "".join(cells(row, "td") for row in (*tensors, total))
    table = f"<table><thead>{cells(HEADER, 'th')}</thead><tbody>{body}</tbody></table>"
    return _section("Tensors", note, f'<div class="scroll">{table}</div>')


def _recipe(report: dict[str, Any]) -> str:
    if not report["recipe"]:
        return ""
    return _section("Recipe", "", f"<pre>{escape(json.dumps(report['recipe'], indent=2))}</pre>")
