"""Numbers to inline SVG: lines, dots, bands and a heat map. Colours that follow the page's theme come from its CSS variables.

Knows no model and no page; every function gives the text of one <svg>.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

Points = Sequence[tuple[float, float]]
Array = NDArray[np.float64]

LETTERED = 12  # up to so many classes the heat map has room for its numbers


def hue(k: int, classes: int) -> str:
    """The colour of class k: hues around the circle, neighbours of different lightness; readable on light and on dark."""
    return f"oklch({0.76 if k % 2 else 0.6} 0.155 {round(25 + 360 * k / classes)})"


def lines(series: Mapping[str, tuple[str, Points]], *, width: int = 260, height: int = 96, ticks: Mapping[float, str] | None = None) -> str:
    """{name: (colour, points)} on common axes from the least to the greatest value; `ticks` {x: word} are marks across the chart."""
    xs, ys = (np.array([p[i] for _, points in series.values() for p in points], float) for i in range(2))
    xs = np.append(xs, list(ticks or ()))
    left, right, low, high = xs.min(), max(xs.max(), xs.min() + 1e-9), ys.min(), ys.max()
    if low == high:
        low, high = low - 0.5, high + 0.5
    top, bottom, start, end = 8, height - (22 if ticks else 8), 52, width - 6

    def at(x: float, y: float) -> str:
        return f"{start + (x - left) / (right - left) * (end - start):.1f} {bottom - (y - low) / (high - low) * (bottom - top):.1f}"

    parts = [
        f'<path class="axis" d="M{start} {top}V{bottom}H{end}"/>',
        f'<text x="{start - 4}" y="{top + 5}" text-anchor="end">{_number(high)}</text>',
        f'<text x="{start - 4}" y="{bottom}" text-anchor="end">{_number(low)}</text>',
    ]
    for x, word in (ticks or {}).items():
        place = at(x, low).split()[0]
        parts.append(f'<path class="tick" d="M{place} {top}V{bottom}"/><text x="{float(place) + 3}" y="{height - 8}">{escape(word)}</text>')
    for name, (colour, points) in series.items():
        route = "L".join(at(x, y) for x, y in points)
        dot = "h.01" if len(points) == 1 else ""
        parts.append(f'<path class="line" stroke="{colour}" d="M{route}{dot}"><title>{escape(name)}</title></path>')
    return _svg(width, height, ", ".join(series), parts)


def dots(points: Array, labels: NDArray[np.int64], names: Sequence[str], *, marked: bool, size: int = 360) -> str:
    """Points [N, 2] in the colour of their class; `marked` writes the number of each class at its centre."""
    low, high = np.quantile(points, (0.005, 0.995), axis=0)  # the farthest few must not shrink the rest
    reach = max(float((high - low).max()) / 2, 1e-9)
    places = np.clip((points - (low + high) / 2) / reach, -1, 1) * (size / 2 - 8) + size / 2
    parts = []
    for k, name in enumerate(names):
        mine = places[labels == k]
        if len(mine):
            route = "".join(f"M{x:.0f} {y:.0f}h.01" for x, y in mine)
            parts.append(f'<path class="dots" stroke="{hue(k, len(names))}" d="{route}"><title>{escape(name)}</title></path>')
    if marked:
        for k in np.unique(labels):
            x, y = np.median(places[labels == k], 0)
            parts.append(f'<text class="mark" x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle">{k}</text>')
    return _svg(size, size, "a dot per picture in the colour of its class", parts)


def scatters(
    rows: Mapping[str, Sequence[tuple[str, Array, NDArray[np.int64]]]],
    names: Sequence[str],
    box: tuple[tuple[float, float], tuple[float, float]],
    width: int = 240,
) -> str:
    """{row: (caption, points [N, 2], labels [N]), ...} as a grid of plots on common axes; `box` is what x and y may be.

    Stands alone: its colours need no page.
    """
    (left, right), (low, high) = box
    height = round(width * (high - low) / (right - left))
    size = np.array([width, height], float)
    parts = ['<rect width="100%" height="100%" fill="#fff"/>']
    for j, (title, cells) in enumerate(rows.items()):
        top = j * (height + 56)
        parts.append(f'<text x="12" y="{top + 20}" font-size="14" font-weight="600" fill="#222">{escape(title)}</text>')
        for i, (caption, points, labels) in enumerate(cells):
            at = np.array([12 + i * (width + 12), top + 28])
            parts.append(f'<rect x="{at[0]}" y="{at[1]}" width="{width}" height="{height}" rx="4" fill="#f6f6f8"/>')
            parts.append(f'<text x="{at[0] + 2}" y="{at[1] + height + 15}" font-size="11" fill="#444">{escape(caption)}</text>')
            inside = ((points > [left, low]) & (points < [right, high])).all(1)
            places = at + (points - [left, high]) / [right - left, low - high] * size
            for k, name in enumerate(names):
                route = "".join(f"M{x:.1f} {y:.1f}h.01" for x, y in places[inside & (labels == k)])
                dots = f'fill="none" stroke="{hue(k, len(names))}" stroke-opacity=".7" stroke-width="2" stroke-linecap="round"'
                parts.append(f'<path {dots} d="{route}"><title>{escape(name)}</title></path>')
    columns = max(len(cells) for cells in rows.values())
    drawing = _svg(12 + columns * (width + 12), len(rows) * (height + 56) + 4, ", ".join(rows), parts)
    return drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif" ', 1)


def bands(posterior: Array, names: Sequence[str]) -> str:
    """Class posterior [frames, K] as stacked bars, one bar under each frame."""
    parts = []
    for i, row in enumerate(posterior):
        below = 0.0
        for k in np.argsort(-row):
            if row[k] >= 0.005:
                y, high = 40 * below, 40 * row[k]
                title = f"{escape(names[k])} {row[k]:.0%}"
                place = f'x="{10 * i + 0.5}" y="{y:.1f}" width="9" height="{high:.1f}"'
                parts.append(f'<rect {place} fill="{hue(int(k), len(names))}"><title>{title}</title></rect>')
                below += float(row[k])
    return _svg(10 * len(posterior), 40, "the class that is read in each frame", parts, stretch=True)


def heat(counts: NDArray[np.int64], names: Sequence[str]) -> str:
    """Counts [K, K], real class by class read, as shares of each row; right answers on the diagonal in another colour."""
    size = len(names)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    cell, left, top = (30, 118, 22) if size <= LETTERED else (max(6, 360 // size), 118, 22)
    parts = []
    fine = "" if size <= LETTERED else ' class="fine"'
    for k in range(0, size, -(-12 // cell)):
        x, y = left + cell * k + cell / 2, top + cell * k + cell / 2 + 4
        parts.append(f'<text{fine} x="{left - 6}" y="{y:.0f}" text-anchor="end">{escape(_short(names[k]))} {k}</text>')
        parts.append(f'<text{fine} x="{x:.0f}" y="{top - 7}" text-anchor="middle">{k}</text>')
    for i, j in zip(*np.nonzero(counts), strict=True):
        x, y, part = left + cell * j, top + cell * i, share[i, j]
        kind = "right" if i == j else "wrong"
        title = f"{escape(names[i])} read as {escape(names[j])}: {counts[i, j]} ({part:.1%})"
        place = f'x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}"'
        parts.append(f'<rect class="{kind}" {place} fill-opacity="{max(part, 0.04):.2f}"><title>{title}</title></rect>')
        if size <= LETTERED and part >= 0.005:
            tone = ' class="on"' if part > 0.55 else ""
            parts.append(f'<text{tone} x="{x + cell / 2:.0f}" y="{y + cell / 2 + 4:.0f}" text-anchor="middle">{100 * part:.0f}</text>')
    return _svg(left + cell * size + 2, top + cell * size + 2, "how often each class is read as each other", parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _short(name: str) -> str:
    return name if len(name) <= 15 else name[:14] + "…"


def _svg(width: float, height: float, label: str, parts: Sequence[str], *, stretch: bool = False) -> str:
    free = ' preserveAspectRatio="none"' if stretch else ""
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}"{free}>{"".join(parts)}</svg>'
