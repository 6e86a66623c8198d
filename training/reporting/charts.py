"""Numbers to charts: lines, dots, bands and a heat map as inline SVG whose colours follow the theme of the page that holds it.

The only module that imports matplotlib. It gives the same text for the same numbers: ids, fonts and dates do not vary. Knows no model.
"""

from __future__ import annotations

import colorsys
import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.patheffects import withStroke
from matplotlib.textpath import TextPath
from numpy.typing import NDArray
from PIL import Image

Points = Sequence[tuple[float, float]]
Array = NDArray[np.float64]

DPI = 72  # a pixel is a point: sizes of fonts and figures are in the same unit
WITH_NUMBERS = 12  # up to so many classes the heat map has room for its numbers
FONT = "DejaVu Sans"  # comes with matplotlib, so text is as wide on every machine
BORDERS = (-1.04, 1.04)  # of axes for `fitted` points: dots at the border are whole
TITLE = "title:"  # what a group of an inline SVG is called by a browser
STYLE: dict[Any, Any] = {  # matplotlib's type has every key of it
    "font.family": "sans-serif",
    "font.sans-serif": [FONT],
    "font.size": 11,
    "svg.fonttype": "none",
    "svg.hashsalt": "twofold",
}
# Colours of the page by name. matplotlib draws them as these placeholders, `inline_svg` puts the page's CSS variable in their place.
THEME = {name: f"#0102{k:02x}" for k, name in enumerate(("ink", "quiet", "card", "line", "class", "style", "bad"))}

styled = rc_context(STYLE)  # a decorator: text takes its font when it is made


def hue(k: int, classes: int) -> str:
    """The colour of class k as #rrggbb, readable on light and on dark: a qualitative map up to 20 classes, else hues around the circle."""
    if classes <= 20:
        return to_hex(colormaps["tab10" if classes <= 10 else "tab20"](k))
    return to_hex(colorsys.hls_to_rgb(k / classes, 0.62 if k % 2 else 0.42, 0.75))


# ------------------------------------------------------------------------------------------------------------------- figures


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many pixels."""
    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI)


def empty_axes(figure: Figure, left: float, top: float, width: float, height: float, background: str = "none") -> Axes:
    """Axes without ticks, labels and frame; the place is in pixels from the upper left corner."""
    w, h = figure.get_size_inches() * DPI
    axes = figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h), facecolor=background)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def text_width(text: str, size: float) -> float:
    """Pixels across the text in a font of so many pixels."""
    return float(TextPath((0, 0), text, size=size, prop=FontProperties(family=FONT)).get_extents().width) if text.strip() else 0.0


def as_image(figure: Figure) -> Image.Image:
    """The figure as an RGB image."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


@styled
def as_svg(figure: Figure) -> str:
    """The figure as an SVG file."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return _compact(stream.getvalue())


@styled
def inline_svg(figure: Figure, label: str, *, stretch: bool = False) -> str:
    """The figure as an <svg> element for a page: transparent, in the page's colours, with `label` for those who do not see it.

    `stretch` fills its place whatever its aspect ratio is.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    body = re.sub(
        r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>", "", text[text.index(">", text.index("<svg")) + 1 :], flags=re.DOTALL
    )
    body = re.sub(r"<g id=(\".*?\"|'.*?')/?>", _group, body)
    for name, placeholder in THEME.items():
        body = body.replace(placeholder, f"var(--{name})")
    width, height = figure.get_size_inches() * DPI
    free = ' preserveAspectRatio="none"' if stretch else ""
    body = re.sub(r">\s+<", "><", _compact(body)).strip()
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}"{free}>{body}'


def _group(tag: re.Match[str]) -> str:
    """A group's opening tag without its id; what `named` put there becomes its title."""
    identifier = tag[1][1:-1]
    if tag[0].endswith("/>"):
        return ""
    return f"<g><title>{identifier.removeprefix(TITLE)}</title>" if identifier.startswith(TITLE) else "<g>"


def _compact(svg: str) -> str:
    """Paths on one line with one decimal, text in the font of the system."""
    svg = re.sub(r'(?<= d=")[^"]*', lambda path: re.sub(r"(\.\d)\d+", r"\1", " ".join(path[0].split())), svg)
    return svg.replace(f"'{FONT}', sans-serif", "system-ui, sans-serif")


def named(artist: Artist, text: str) -> None:
    """A browser shows the text where the pointer is on this part of an inline SVG."""
    artist.set_gid(TITLE + text)


def add_dots(axes: Axes, points: Array, colour: str, name: str, size: float = 4.4, alpha: float = 0.75) -> None:
    """Points [N, 2] as dots of an SVG: one path of strokes of no length with round ends, a tenth of the bytes of as many circles."""
    outline = Outline(np.repeat(points, 2, 0), np.tile(np.array([Outline.MOVETO, Outline.LINETO], np.uint8), len(points)))
    outline.should_simplify = False
    patch = PathPatch(outline, facecolor="none", edgecolor=colour, linewidth=size, capstyle="round", alpha=alpha, clip_on=False)
    named(patch, name)
    axes.add_patch(patch)


# -------------------------------------------------------------------------------------------------------------------- charts


@styled
def lines(series: Mapping[str, tuple[str, Points]], *, width: int = 260, height: int = 96, ticks: Mapping[float, str] | None = None) -> str:
    """{name: (colour of THEME, points)} on common axes from the least to the greatest value; `ticks` {x: word} are vertical marks."""
    figure = new_figure(width, height)
    axes = empty_axes(figure, 52, 8, width - 58, height - (30 if ticks else 16))
    xs, ys = (np.array([p[i] for _, points in series.values() for p in points], float) for i in range(2))
    low, high = float(ys.min()), float(ys.max())
    pad = 0.0 if low < high else 0.5
    axes.set_ylim(low - pad, high + pad)
    left, right = min([xs.min(), *(ticks or ())]), max([xs.max(), *(ticks or ())])
    axes.set_xlim(left, max(right, left + 1e-9))
    axes.spines[["left", "bottom"]].set(visible=True, color=THEME["line"])
    axes.tick_params(length=0, labelcolor=THEME["quiet"])
    axes.set_yticks([low - pad, high + pad], [_number(low - pad), _number(high + pad)])
    for x, word in (ticks or {}).items():
        axes.axvline(x, color=THEME["line"], linewidth=1, linestyle=(0, (3, 3)), clip_on=False)
        axes.annotate(word, (x, 0), (3, -14), ("data", "axes fraction"), "offset points", color=THEME["quiet"])
    for name, (colour, points) in series.items():
        places = np.array(points, float)
        if len(points) == 1:
            add_dots(axes, places, THEME[colour], name)
        else:
            (line,) = axes.plot(*places.T, color=THEME[colour], linewidth=1.8, solid_capstyle="round", clip_on=False)
            named(line, name)
    return inline_svg(figure, ", ".join(series))


@styled
def dots(points: Array, labels: NDArray[np.int64], names: Sequence[str], *, marked: bool, size: int = 360) -> str:
    """Points [N, 2] in the colour of their class; `marked` writes the number of each class at its centre."""
    figure = new_figure(size, size)
    axes = empty_axes(figure, 0, 0, size, size)
    axes.set(xlim=BORDERS, ylim=BORDERS)
    places = fitted(points)
    for k, name in enumerate(names):
        if (labels == k).any():
            add_dots(axes, places[labels == k], hue(k, len(names)), name)
    for k in np.unique(labels) if marked else ():
        x, y = np.median(places[labels == k], 0)
        halo = [withStroke(linewidth=4, foreground=THEME["card"])]
        axes.text(x, y, str(k), color=THEME["ink"], fontsize=17, weight="bold", ha="center", va="center", path_effects=halo)
    return inline_svg(figure, "a dot per picture in the colour of its class")


def fitted(points: Array) -> Array:
    """Points [N, 2] moved and scaled into -1..1, both directions alike; the farthest few stay at the border."""
    low, high = np.quantile(points, (0.005, 0.995), axis=0)
    reach = max(float((high - low).max()) / 2, 1e-9)
    return np.asarray(np.clip((points - (low + high) / 2) / reach, -1, 1))


@styled
def bands(posterior: Array, names: Sequence[str]) -> str:
    """Class posterior [frames, K] as stacked bars, one bar under each frame."""
    figure = new_figure(10 * len(posterior), 40)
    axes = empty_axes(figure, 0, 0, 10 * len(posterior), 40)
    axes.set(xlim=(0, len(posterior)), ylim=(1, 0))
    for i, row in enumerate(posterior):
        below = 0.0
        for k in np.argsort(-row):
            if row[k] >= 0.005:
                bar = Rectangle((i + 0.05, below), 0.9, row[k], color=hue(int(k), len(names)), linewidth=0, clip_on=False)
                named(bar, f"{names[k]} {row[k]:.0%}")
                axes.add_patch(bar)
                below += float(row[k])
    return inline_svg(figure, "the class that is read in each frame", stretch=True)


@styled
def heat(counts: NDArray[np.int64], names: Sequence[str]) -> str:
    """Counts [K, K], real class by class read, as shares of each row; right answers on the diagonal in another colour."""
    size = len(names)
    numbers = size <= WITH_NUMBERS
    cell, left, top, font = (30, 118, 22, 13) if numbers else (max(6, 360 // size), 118, 22, 9.5)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = new_figure(left + cell * size + 2, top + cell * size + 2)
    axes = empty_axes(figure, left, top, cell * size, cell * size)
    axes.set(xlim=(0, size), ylim=(size, 0))
    text: dict[str, Any] = {"color": THEME["quiet"], "fontsize": font}
    for k in range(0, size, -(-12 // cell)):
        axes.text(-6 / cell, k + 0.5, f"{_short(names[k])} {k}", ha="right", va="center", **text)
    for k in range(0, size, -(-20 // cell)):
        axes.text(k + 0.5, -7 / cell, str(k), ha="center", va="bottom", **text)
    for i, j in zip(*np.nonzero(counts), strict=True):
        colour = THEME["class" if i == j else "bad"]
        square = Rectangle((j, i), 1 - 1 / cell, 1 - 1 / cell, color=colour, alpha=max(share[i, j], 0.04), linewidth=0, clip_on=False)
        named(square, f"{names[i]} read as {names[j]}: {counts[i, j]} ({share[i, j]:.1%})")
        axes.add_patch(square)
        if numbers and share[i, j] >= 0.005:
            dark = share[i, j] > 0.55
            tone, weight = (THEME["card"], "bold") if dark else (THEME["ink"], "normal")
            axes.text(j + 0.5, i + 0.5, f"{100 * share[i, j]:.0f}", ha="center", va="center", fontsize=font, color=tone, weight=weight)
    return inline_svg(figure, "how often each class is read as each other")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _short(name: str) -> str:
    return name if len(name) <= 15 else name[:14] + "…"
