"""`twofold-train figures`: the experiments of Zheng & Sun 2019 as pictures of one bundle, a PNG file each.

Knows the served model, held-out pictures and how to draw; judges and measures nothing (report.py and evaluate.py do).

Longer than 250 lines because the experiments share how a picture is laid out and labelled.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from twofold.model import contract
from twofold.model.contract import Floats, Pixels, Prior
from twofold.training.data.dataset import Pictures, load
from twofold.training.evaluation.evaluate import open_model
from twofold.training.metrics import inpainting as inpaint
from twofold.training.reporting.sections import projection

if TYPE_CHECKING:
    from twofold.service.runtime.array_api import Arrays
    from twofold.service.runtime.engine import Encoded

CLASSES, STYLES, FRAMES, DOTS = 12, 12, 9, 4000  # at most, in a figure
SMALLEST_CELL = 84  # pixels of a drawn cell, reached by whole multiples: a pixel of the model stays a square
GUTTER, FRAME, LABEL = 2, 3, 26  # pixels of the drawing
PAPER, INK, CLASS, STYLE = "#ffffff", "#4a4a55", "#5b2be0", "#ad4a00"  # violet is the class, orange is the style, as on the page


@dataclass(frozen=True)
class Sheet:
    """Cells [R, C, H, W, channels] with an axis word and a colour per side; heads are pictures, titles are words."""

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
        count = len(self.held.class_names)
        return np.unique(np.linspace(0, count - 1, min(CLASSES, count)).round().astype(np.int64))

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
    held = load(data, "test", files.card.dims, files.card.preprocessing)
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
    """Encoded exchanged between real pictures: the class of the row's, the style of the column's."""
    rows = m.one_of_each(1)
    cells = _grid(m.model, m.codes.z_s[rows], m.codes.z_u_mean[rows])
    real = m.held.pixels[rows]
    return Sheet(cells, ("class from", CLASS), ("style from", STYLE), real, real)


def plane(m: Material) -> Sheet:
    """Both codes between two real pictures: z_s moves down, z_u moves across; two opposite corners are the reconstructions."""
    rng, labels = m.rng(2), m.held.labels
    a = int(rng.integers(len(labels)))
    b = int(rng.choice(np.flatnonzero(labels != labels[a])))
    cells = _grid(m.model, _line(m.codes.z_s[a], m.codes.z_s[b]), _line(m.codes.z_u_mean[a], m.codes.z_u_mean[b]))
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
    """A quarter is cut out and drawn again by encoding again and again: real, cut, drawn."""
    rows = m.one_of_each(4)
    real = m.held.pixels[rows]
    hole = inpaint.quarter_holes(len(real), real.shape[1], real.shape[2], m.rng(5))
    cut = np.where(hole[..., None], np.uint8(128), real)
    filled = m.model.inpaint(real, hole)
    return Sheet(np.stack([real, cut, filled]), row_titles=("real", "cut", "drawn"))


def latent(m: Material) -> Image.Image:
    """Held-out codes in the two directions in which they vary most, coloured by class: z_s on the left, z_u on the right."""
    rows = m.rng(6).permutation(len(m.held))[:DOTS]
    parts = [("class code z_s", CLASS, m.codes.z_s[rows]), ("style code z_u", STYLE, m.codes.z_u_mean[rows])]
    panels = [_dots(*projection(codes), m.held.labels[rows], len(m.held.class_names), words, colour) for words, colour, codes in parts]
    canvas = Image.new("RGB", (sum(p.width for p in panels), panels[0].height), PAPER)
    for k, panel in enumerate(panels):
        canvas.paste(panel, (k * panel.width, 0))
    return canvas


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


def _line(start: Floats, end: Floats) -> Floats:
    """FRAMES codes from one to the other: [FRAMES, D]."""
    share = np.linspace(0, 1, FRAMES, dtype=np.float32)[:, None]
    return (1 - share) * start + share * end


def _paths(m: Material, moves: str) -> Sheet:
    """A row per pair of held-out pictures of different classes; both ends stand beside it as real pictures."""
    rows = m.one_of_each(3)
    starts, ends = rows[: len(rows) // 2], rows[::-1][: len(rows) // 2]
    z_s, z_u = m.codes.z_s, m.codes.z_u_mean
    strips = []
    for a, b in zip(starts, ends, strict=True):
        moving, still = (_line(z_s[a], z_s[b]), z_u[[a]]) if moves == "z_s" else (z_s[[a]], _line(z_u[a], z_u[b]))
        strips.append(_grid(m.model, moving, still)[:, 0] if moves == "z_s" else _grid(m.model, moving, still)[0])
    real = np.stack([m.held.pixels[starts], m.held.pixels[ends]], 1)
    cells = np.concatenate([real[:, :1], np.stack(strips), real[:, 1:]], 1)
    word, colour = ("the class moves, the style stays", CLASS) if moves == "z_s" else ("the style moves, the class stays", STYLE)
    return Sheet(cells, across=(f"real      {word}      real", colour))


# ---------------------------------------------------------------------------------------------------------- drawing


def draw(sheet: Sheet) -> Image.Image:
    """The cells enlarged by whole multiples, with heads, titles and the words of both axes around them."""
    rows, columns, height, width = sheet.cells.shape[:4]
    scale = max(1, -(-SMALLEST_CELL // width))
    high, wide = scale * height, scale * width
    font = ImageFont.load_default(15)
    titles = max((int(font.getlength(title)) + 12 for title in sheet.row_titles), default=0)
    left = LABEL * bool(sheet.down[0]) + titles + (wide + 3 * FRAME) * (sheet.row_heads is not None)
    top = LABEL * bool(sheet.across[0]) + (high + 3 * FRAME) * (sheet.column_heads is not None)
    canvas = Image.new("RGB", (left + columns * (wide + GUTTER), top + rows * (high + GUTTER)), PAPER)
    pen = ImageDraw.Draw(canvas)
    for r in range(rows):
        y = top + r * (high + GUTTER)
        if sheet.row_titles:
            pen.text((left - 6, y + high / 2), sheet.row_titles[r], INK, font, "rm")
        if sheet.row_heads is not None:
            _framed(canvas, sheet.row_heads[r], (left - wide - 2 * FRAME, y), scale, sheet.down[1])
        for c in range(columns):
            canvas.paste(_enlarged(sheet.cells[r, c], scale), (left + c * (wide + GUTTER), y))
    for c in range(columns if sheet.column_heads is not None else 0):
        assert sheet.column_heads is not None
        _framed(canvas, sheet.column_heads[c], (left + c * (wide + GUTTER), top - high - 2 * FRAME), scale, sheet.across[1])
    if sheet.across[0]:
        canvas.paste(_words(*sheet.across, canvas.width - left), (left, 0))
    if sheet.down[0]:
        canvas.paste(_words(*sheet.down, canvas.height - top).transpose(Image.Transpose.ROTATE_90), (0, top))
    return canvas


def _framed(canvas: Image.Image, pixels: Pixels, corner: tuple[int, int], scale: int, colour: str) -> None:
    picture = _enlarged(pixels, scale)
    canvas.paste(picture, corner)
    box = (*corner, corner[0] + picture.width - 1, corner[1] + picture.height - 1)
    ImageDraw.Draw(canvas).rectangle(box, outline=colour, width=FRAME)


def _enlarged(pixels: Pixels, scale: int) -> Image.Image:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return image.resize((scale * image.width, scale * image.height), Image.Resampling.NEAREST).convert("RGB")


def _words(text: str, colour: str, length: int) -> Image.Image:
    strip = Image.new("RGB", (length, LABEL), PAPER)
    ImageDraw.Draw(strip).text((length / 2, LABEL / 2), text, colour, ImageFont.load_default(17), "mm")
    return strip


def _dots(
    points: NDArray[np.float64], share: float, labels: NDArray[np.int64], classes: int, words: str, colour: str, side: int = 460
) -> Image.Image:
    """Points [N, 2] as dots in the colour of their class, drawn at three times the size and scaled down."""
    low, high = np.quantile(points, (0.005, 0.995), axis=0)  # the farthest few must not shrink the rest
    places = (np.clip((points - (low + high) / 2) / max((high - low).max() / 2, 1e-9), -1, 1) * 0.47 + 0.5) * 3 * side
    panel = Image.new("RGB", (3 * side, 3 * side), PAPER)
    pen = ImageDraw.Draw(panel)
    for (x, y), label in zip(places, labels, strict=True):
        tone = colorsys.hls_to_rgb(label / classes, 0.62 if label % 2 else 0.42, 0.75)
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=tuple(round(255 * part) for part in tone))
    canvas = Image.new("RGB", (side, side + LABEL), PAPER)
    canvas.paste(_words(f"{words}: {share:.0%} of its variance", colour, side), (0, 0))
    canvas.paste(panel.resize((side, side), Image.Resampling.LANCZOS), (0, LABEL))
    return canvas
