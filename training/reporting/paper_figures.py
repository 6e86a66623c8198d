"""`twofold-train figures`: the experiments of Zheng & Sun 2019 as pictures of one bundle, a PNG file each.

Knows the served model, held-out pictures and how a sheet is labelled; measures nothing (`evaluate.py` does).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageColor import getrgb

from twofold import image_grid
from twofold.model import contract
from twofold.model.contract import Floats, Pixels, Prior
from twofold.training.data.dataset import Pictures, group_of, load
from twofold.training.evaluation.evaluate import open_model
from twofold.training.metrics import inpainting as inpaint
from twofold.training.reporting import charts
from twofold.training.reporting.sections import evenly, line, projection, unlike_pair

if TYPE_CHECKING:
    from twofold.service.runtime.array_api import Arrays
    from twofold.service.runtime.engine import Encoded

CLASSES, STYLES, DOTS = 12, 12, 4000  # at most, in a figure
SMALLEST_CELL = 84  # pixels of a cell, reached by whole multiples: a pixel of the model stays a square
GAP, FRAME, LABEL, PANEL = 2, 3, 26, 460  # pixels of a figure
TITLE_FONT, AXIS_FONT = 13, 15  # pixels
INK, CLASS, STYLE = "#4a4a55", "#5b2be0", "#ad4a00"  # violet is the class, orange is the style, as on the page


@dataclass(frozen=True)
class Sheet:
    """Cells uint8 [R, C, H, W, channels] with words and a colour for either side; heads [R or C, H, W, channels] are pictures."""

    cells: Pixels
    down: tuple[str, str] = ("", INK)
    across: tuple[str, str] = ("", INK)
    row_heads: Pixels | None = None
    column_heads: Pixels | None = None
    row_titles: Sequence[str] = ()


@dataclass(frozen=True)
class Material:
    """What every figure is made of: a model, its prior, held-out pictures and their codes."""

    model: Arrays
    prior: Prior
    held: Pictures
    codes: Encoded
    seed: int = 0

    def rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, 200 + purpose])

    @property
    def shown(self) -> NDArray[np.int64]:
        """Class indices [k <= CLASSES], evenly over all."""
        return evenly(len(self.held.class_names), CLASSES)

    def one_of_each(self, purpose: int) -> NDArray[np.int64]:
        """A held-out row of each shown class."""
        rng = self.rng(purpose)
        return np.array([rng.choice(np.flatnonzero(self.held.labels == k)) for k in self.shown if (self.held.labels == k).any()])

    def titles(self, labels: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        return tuple(self.held.class_names[k] for k in labels)

    def styles(self, count: int) -> Floats:
        """Style codes [count, D_u] of the default sampler."""
        return self.model.sample(np.zeros(count, np.int64), seed=self.seed)[1]


def figures(bundle: Path, data: Path, out: Path, seed: int = 0, log: Callable[[str], object] = print) -> list[Path]:
    """Draw every figure of a bundle into the folder `out`, from the test split of `data`. Raises ContractError, DataError."""
    files = contract.open_bundle(bundle)
    held = load(data, "test", files.card.dims, files.card.preprocessing, group_of(files.card.data))
    model = open_model(bundle)
    material = Material(model, files.prior, held, model.encode(held.pixels), seed)
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for name, experiment in FIGURES.items():
        shown = experiment(material)
        made.append(out / f"{name}.png")
        (draw(shown) if isinstance(shown, Sheet) else shown).save(made[-1], optimize=True)
        log(f"{name}.png: {(experiment.__doc__ or '').splitlines()[0]}")
    return made


# ------------------------------------------------------------------------------------------------------ experiments


def styles(m: Material) -> Sheet:
    """One style across all classes (a column), one class across all styles (a row): z_s is the class mean, z_u is drawn."""
    labels, z_u = m.shown, m.styles(STYLES)
    cells = _grid(m.model, m.prior.fit_means[labels], z_u)
    return Sheet(cells, ("class", CLASS), ("style", STYLE), row_titles=m.titles(labels))


def within_class(m: Material) -> Sheet:
    """What the class code holds beside the class: one class, a draw of z_s per row, a draw of z_u per column."""
    label = int(m.shown[len(m.shown) // 2])
    z_s = m.model.sample(np.full(6, label), seed=m.seed + 1)[0]
    cells = _grid(m.model, z_s, m.styles(STYLES))
    return Sheet(cells, (f"class codes of {m.held.class_names[label]}", CLASS), ("style", STYLE))


def exchange(m: Material) -> Sheet:
    """Codes exchanged between real pictures: the class of the row's, the style of the column's."""
    rows = m.one_of_each(1)
    cells = _grid(m.model, m.codes.z_s[rows], m.codes.z_u_mean[rows])
    real = m.held.pixels[rows]
    return Sheet(cells, ("class from", CLASS), ("style from", STYLE), real, real)


def plane(m: Material) -> Sheet:
    """Both codes between two real pictures: z_s moves down, z_u moves across; two opposite corners are the reconstructions."""
    labels = m.held.labels
    a, b = unlike_pair(labels, m.rng(2))
    cells = _grid(m.model, line(m.codes.z_s[a], m.codes.z_s[b]), line(m.codes.z_u_mean[a], m.codes.z_u_mean[b]))
    first, last = m.titles(labels[[a, b]])
    ways = f"class code, from {first} to {last}", f"style code, from {first} to {last}"
    return Sheet(cells, (ways[0], CLASS), (ways[1], STYLE))


def interpolate_class(m: Material) -> Sheet:
    """From one class to another in one style: z_s moves, z_u stays."""
    return _paths(m, moves="z_s")


def interpolate_style(m: Material) -> Sheet:
    """From one style to another in one class: z_u moves, z_s stays."""
    return _paths(m, moves="z_u")


def inpainting(m: Material) -> Sheet:
    """A quarter is cut out and filled by encoding and decoding in turn: real, cut, filled."""
    rows = m.one_of_each(4)
    real = m.held.pixels[rows]
    hole = inpaint.quarter_holes(len(real), real.shape[1], real.shape[2], m.rng(5))
    cut = np.where(hole[..., None], np.uint8(128), real)
    filled = m.model.inpaint(real, hole)
    return Sheet(np.stack([real, cut, filled]), row_titles=("real", "cut", "filled"))


@charts.styled
def latent(m: Material) -> Image.Image:
    """Held-out codes in the two directions in which they vary most, coloured by class: z_s on the left, z_u on the right."""
    rows = m.rng(6).permutation(len(m.held))[:DOTS]
    figure = charts.new_figure(2 * PANEL, LABEL + PANEL)
    for k, (words, colour, codes) in enumerate((("class code z_s", CLASS, m.codes.z_s), ("style code z_u", STYLE, m.codes.z_u_mean))):
        points, share = projection(codes[rows])
        axes = charts.empty_axes(figure, k * PANEL, LABEL, PANEL, PANEL)
        axes.set_title(f"{words}: {share:.0%} of its variance", color=colour, fontsize=AXIS_FONT, pad=6)
        axes.set(xlim=charts.BORDERS, ylim=charts.BORDERS)
        colours = [charts.hue(label, len(m.held.class_names)) for label in m.held.labels[rows]]
        x, y = charts.fitted(points).T
        axes.scatter(x, y, s=11, c=colours, linewidths=0)
    return charts.as_image(figure)


FIGURES: dict[str, Callable[[Material], Sheet | Image.Image]] = {
    "styles": styles,
    "within-class": within_class,
    "exchange": exchange,
    "plane": plane,
    "interpolate-class": interpolate_class,
    "interpolate-style": interpolate_style,
    "inpainting": inpainting,
    "latent": latent,
}


def _grid(model: Arrays, z_s: Floats, z_u: Floats) -> Pixels:
    """z_s [R, D_s], z_u [C, D_u] -> every pair of them drawn: [R, C, H, W, channels]."""
    drawn = model.decode(np.repeat(z_s, len(z_u), 0), np.tile(z_u, (len(z_s), 1)))
    return drawn.reshape(len(z_s), len(z_u), *drawn.shape[1:])


def _paths(m: Material, moves: str) -> Sheet:
    """A row per pair of held-out pictures of different classes; the real pictures are at both ends."""
    rows = m.one_of_each(3)
    starts, ends = rows[: len(rows) // 2], rows[::-1][: len(rows) // 2]
    z_s, z_u = m.codes.z_s, m.codes.z_u_mean
    between = []
    for a, b in zip(starts, ends, strict=True):
        if moves == "z_s":
            between.append(_grid(m.model, line(z_s[a], z_s[b]), z_u[[a]])[:, 0])
        else:
            between.append(_grid(m.model, z_s[[a]], line(z_u[a], z_u[b]))[0])
    real = np.stack([m.held.pixels[starts], m.held.pixels[ends]], 1)
    cells = np.concatenate([real[:, :1], np.stack(between), real[:, 1:]], 1)
    word, colour = ("the class moves, the style stays", CLASS) if moves == "z_s" else ("the style moves, the class stays", STYLE)
    return Sheet(cells, across=(f"real      {word}      real", colour))


# ---------------------------------------------------------------------------------------------------------- drawing


@charts.styled
def draw(sheet: Sheet) -> Image.Image:
    """The cells enlarged by whole multiples, with heads, titles and the words of both sides around them."""
    body = _body(sheet)
    left = LABEL * bool(sheet.down[0]) + _title_width(sheet.row_titles)
    top = LABEL * bool(sheet.across[0])
    width, height = left + body.shape[1], top + body.shape[0]
    figure = charts.new_figure(width, height)
    figure.figimage(body, left, 0, origin="upper")
    head_high, head_wide = (body.shape[axis] - _length(sheet, axis) for axis in (0, 1))
    across, down = (left + head_wide + width) / 2 / width, (body.shape[0] - head_high) / 2 / height  # of the cells alone
    figure.text(across, 1 - LABEL / 2 / height, sheet.across[0], color=sheet.across[1], fontsize=AXIS_FONT, ha="center", va="center")
    figure.text(LABEL / 2 / width, down, sheet.down[0], color=sheet.down[1], fontsize=AXIS_FONT, rotation=90, ha="center", va="center")
    step = (_length(sheet, 0) + GAP) / len(sheet.cells)
    for r, title in enumerate(sheet.row_titles):
        y = 1 - (top + head_high + (r + 0.5) * step - GAP / 2) / height
        figure.text((left - 6) / width, y, title, color=INK, fontsize=TITLE_FONT, ha="right", va="center")
    return charts.as_image(figure)


def _scale(sheet: Sheet) -> int:
    return max(1, -(-SMALLEST_CELL // sheet.cells.shape[3]))


def _length(sheet: Sheet, axis: int) -> int:
    """Pixels of all cells with the gaps between them, down (0) or across (1)."""
    count, side = sheet.cells.shape[axis], sheet.cells.shape[2 + axis] * _scale(sheet)
    return count * (side + GAP) - GAP


def _body(sheet: Sheet) -> Pixels:
    """The cells with the framed heads to their left and above them: RGB uint8 [H, W, 3]."""
    columns = sheet.cells.shape[1]
    body = image_grid.sheet(_enlarged(sheet.cells.reshape(-1, *sheet.cells.shape[2:]), _scale(sheet)), columns, gap=GAP)
    if sheet.column_heads is not None:
        heads = image_grid.sheet(_framed(sheet.column_heads, _scale(sheet), sheet.across[1]), columns, gap=GAP)
        body = np.concatenate([np.pad(heads, ((0, 2 * FRAME), (0, 0), (0, 0)), constant_values=255), body])
    if sheet.row_heads is not None:
        heads = image_grid.sheet(_framed(sheet.row_heads, _scale(sheet), sheet.down[1]), 1, gap=GAP)
        heads = np.pad(heads, ((len(body) - len(heads), 0), (0, 2 * FRAME), (0, 0)), constant_values=255)
        body = np.concatenate([heads, body], 1)
    return body


def _enlarged(pixels: Pixels, scale: int) -> Pixels:
    """[N, H, W, channels] -> RGB [N, scale H, scale W, 3], a square for each pixel."""
    return np.broadcast_to(pixels, (*pixels.shape[:3], 3)).repeat(scale, 1).repeat(scale, 2)


def _framed(pixels: Pixels, scale: int, colour: str) -> Pixels:
    """As `_enlarged`, with a frame over the outermost pixels."""
    framed = np.empty((len(pixels), scale * pixels.shape[1], scale * pixels.shape[2], 3), np.uint8)
    framed[:] = getrgb(colour)
    inside = slice(FRAME, -FRAME)
    framed[:, inside, inside] = _enlarged(pixels, scale)[:, inside, inside]
    return framed


def _title_width(titles: Sequence[str]) -> int:
    """Pixels that hold the longest title, with a margin."""
    return max((round(charts.text_width(title, TITLE_FONT)) + 12 for title in titles), default=0)
