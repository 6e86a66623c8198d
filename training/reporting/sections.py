"""What a report shows of a model: pictures with a caption each, decoded and classified; nothing of the page's layout.

Every section is a pure function of a `Material` with its own stream of random numbers, so that two models that are evaluated on
the same data set are shown with the same pictures. Knows the served model and the evaluation classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twofold.model.contract import Floats, Pixels
from twofold.training.data.dataset import Pictures
from twofold.training.evaluation.eval_classifier import EvalClassifier
from twofold.training.metrics import image_metrics, inpainting

if TYPE_CHECKING:
    from twofold.service.runtime.array_api import Arrays
    from twofold.service.runtime.engine import Encoded

Labels = NDArray[np.int64]

STYLES, CLASSES = 10, 26  # at most, in the grid of samples
SWAPS = 8  # rows and columns of the swap matrix, at most
ROWS = 2000  # held-out pictures that are reconstructed and swapped, at most
SHOWN = 8  # pictures in a row
FRAMES = 9  # of an interpolation


@dataclass(frozen=True)
class Picture:
    """One picture of the page. `bad` marks that the evaluation classifier sees another class than was asked for."""

    pixels: Pixels  # [H, W, C]
    alt: str
    caption: str = ""
    bad: bool = False


@dataclass(frozen=True)
class ImageRow:
    """A titled row of pictures."""

    title: str
    pictures: tuple[Picture, ...]
    head: Picture | None = None  # the picture that the whole row is about


@dataclass(frozen=True)
class Grid:
    """Rows under a head of pictures (none: no head)."""

    rows: tuple[ImageRow, ...]
    head: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Interpolation:
    """Frames between two pictures, and the class posterior [frames, K] that the encoder reads in each of them."""

    title: str
    frames: tuple[Picture, ...]
    posterior: NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """What every section is made of: model, evaluation classifier, held-out pictures and their codes, mean training picture [H, W, C]."""

    model: Arrays
    eval_classifier: EvalClassifier
    held: Pictures
    codes: Encoded
    mean: Pixels
    seed: int = 0

    def rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, 100 + purpose])

    @property
    def names(self) -> Sequence[str]:
        return self.held.class_names

    def some(self, purpose: int) -> Labels:
        """At most ROWS rows of the held-out pictures, at random."""
        return self.rng(purpose).permutation(len(self.held))[:ROWS]

    def real(self, row: int) -> Picture:
        name = self.names[self.held.labels[row]]
        return Picture(self.held.pixels[row], f"a real picture of {name}", name)

    def reals(self, rows: Labels) -> tuple[Picture, ...]:
        return tuple(self.real(int(row)) for row in rows)


def evenly(count: int, most: int) -> Labels:
    """At most so many of the indices below `count`, evenly over all."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(np.int64)


def line(start: Floats, end: Floats) -> Floats:
    """FRAMES codes from one to the other: [FRAMES, D]."""
    share = np.linspace(0, 1, FRAMES, dtype=np.float32)[:, None]
    return (1 - share) * start + share * end


def unlike_pair(labels: Labels, rng: np.random.Generator) -> tuple[int, int]:
    """Two rows of different classes, at random."""
    a = int(rng.integers(len(labels)))
    return a, int(rng.choice(np.flatnonzero(labels != labels[a])))


def samples(m: Material) -> tuple[Grid, float]:
    """Decoded from a class and a style that were sampled, a row per class, a column per style; the share (0..1) of the asked class."""
    rows, kept = [], []
    for label in evenly(len(m.names), CLASSES):
        asked = np.full(STYLES, label)
        drawn = m.model.decode(*m.model.sample(asked, seed=m.seed))
        seen = m.eval_classifier.classify(drawn)[0]
        rows.append(ImageRow(m.names[label], _decoded(m, drawn, asked, seen, [f"style {i + 1}" for i in range(STYLES)])))
        kept.append(seen == label)
    return Grid(tuple(rows)), float(np.mean(kept))


def swap_matrix(m: Material) -> tuple[Grid, float]:
    """Real pictures against each other: the class of the row's, the style of the column's. The diagonal is the reconstruction.

    Beside it the share (0..1) of them that the evaluation classifier gives the row's class.
    """
    rng, labels = m.rng(1), m.held.labels
    classes = rng.permutation(np.unique(labels))[:SWAPS]
    chosen = np.array([rng.choice(np.flatnonzero(labels == k)) for k in np.sort(classes)])
    count = len(chosen)
    a, b = np.repeat(chosen, count), np.tile(chosen, count)
    drawn = m.model.swap(m.held.pixels[a], m.held.pixels[b])
    seen = m.eval_classifier.classify(drawn)[0]
    cells = _decoded(m, drawn, labels[a], seen, [f"the style of column {i % count + 1}" for i in range(len(drawn))])
    heads = m.reals(chosen)
    rows = tuple(ImageRow(head.caption, cells[i * count : (i + 1) * count], head) for i, head in enumerate(heads))
    return Grid(rows, heads), float((seen == labels[a]).mean())


def _decoded(m: Material, drawn: Pixels, asked: Labels, seen: Labels, styles: Sequence[str]) -> tuple[Picture, ...]:
    """Decoded pictures [n, H, W, C]; where the evaluation classifier sees another class than was asked for, its name is the caption."""
    found = []
    for pixels, label, other, style in zip(drawn, asked, seen, styles, strict=True):
        good, name = bool(label == other), m.names[other]
        alt = f"{m.names[label]} in {style}; the evaluation classifier sees {'the same' if good else name}"
        found.append(Picture(pixels, alt, "" if good else name, not good))
    return tuple(found)


def reconstructions(m: Material) -> Grid:
    """Held-out pictures above their reconstructions: the best, the middle and the worst by mean square error."""
    rows = m.some(2)
    drawn = m.model.decode(m.codes.z_s[rows], m.codes.z_u_mean[rows])
    decibels = image_metrics.psnr(image_metrics.mean_square_error(m.held.pixels[rows], drawn))
    order = np.argsort(-decibels)
    count = min(SHOWN, len(rows))
    middle = (len(rows) - count) // 2
    found = []
    for title, at in (("best", order[:count]), ("middle", order[middle : middle + count]), ("worst", order[len(order) - count :])):
        found.append(ImageRow(f"{title}: real", m.reals(rows[at])))
        again = (Picture(drawn[i], f"reconstruction, {decibels[i]:.1f} dB", f"{decibels[i]:.1f} dB") for i in at)
        found.append(ImageRow(f"{title}: reconstruction", tuple(again)))
    return Grid(tuple(found))


def interpolations(m: Material, pairs: int = 2) -> list[Interpolation]:
    """From one held-out picture to another of a different class: class and style together, then each of them alone."""
    rng, labels, found = m.rng(3), m.held.labels, []
    for _ in range(pairs):
        a, b = unlike_pair(labels, rng)
        start, end = m.names[labels[a]], m.names[labels[b]]
        z_s, z_u = (line(code[a], code[b]) for code in (m.codes.z_s, m.codes.z_u_mean))
        still_s, still_u = (np.repeat(code[a : a + 1], FRAMES, 0) for code in (m.codes.z_s, m.codes.z_u_mean))
        for what, codes in (("class and style", (z_s, z_u)), ("class only", (z_s, still_u)), ("style only", (still_s, z_u))):
            drawn = m.model.decode(*codes)
            posterior = np.exp(m.model.encode(drawn).class_log_prob.astype(np.float64))
            read = [m.names[k] for k in posterior.argmax(1)]
            frames = tuple(
                Picture(d, f"frame {i + 1} of {FRAMES}, read as {name}", name) for i, (d, name) in enumerate(zip(drawn, read, strict=True))
            )
            found.append(Interpolation(f"{start} to {end}: {what}", frames, posterior))
    return found


def projection(codes: Floats) -> tuple[NDArray[np.float64], float]:
    """The two directions in which codes [N, D] vary most: points [N, 2], and the share (0..1) of the variance that they show."""
    centred = codes.astype(np.float64) - codes.mean(0, dtype=np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    points = centred @ vectors[:, -2:][:, ::-1]
    points = np.concatenate([points, np.zeros((len(points), 2 - points.shape[1]))], 1)
    return points, float(values[-2:].sum() / max(values.sum(), 1e-12))


def confusion(m: Material) -> NDArray[np.int64]:
    """How often a held-out picture of class i was read as class j: counts [K, K]."""
    size = len(m.names)
    pairs = m.held.labels * size + m.codes.class_log_prob.argmax(1)
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def inpainted(m: Material) -> Grid:
    """A quarter of the picture is cut out and filled from what is left."""
    rows = m.some(4)[:SHOWN]
    real = m.held.pixels[rows]
    hole = inpainting.quarter_holes(len(real), real.shape[1], real.shape[2], m.rng(5))
    cut = np.where(hole[..., None], m.mean, real)
    filled = m.model.inpaint(real, hole)
    captions = [m.names[label] for label in m.held.labels[rows]]
    found = []
    for title, pixels in (("real", real), ("mean in the hole", cut), ("inpainted", filled)):
        found.append(ImageRow(title, tuple(Picture(p, f"{name}, {title}", name) for p, name in zip(pixels, captions, strict=True))))
    return Grid(tuple(found))


def lost_swaps(m: Material) -> tuple[Grid, float]:
    """Swaps of random pairs that the evaluation classifier gives another class than the class source, and their share (0..1) of all."""
    rng, labels = m.rng(6), m.held.labels
    a, b = rng.integers(0, len(labels), (2, ROWS))
    drawn = m.model.decode(m.codes.z_s[a], m.codes.z_u_mean[b])
    seen = m.eval_classifier.classify(drawn)[0]
    lost = np.flatnonzero(seen != labels[a])
    shown = lost[:SHOWN]
    rows = (
        ImageRow("class from", m.reals(a[shown])),
        ImageRow("style from", m.reals(b[shown])),
        ImageRow("the swap", _decoded(m, drawn[shown], labels[a[shown]], seen[shown], ["another style"] * len(shown))),
    )
    return Grid(rows if len(shown) else ()), len(lost) / len(drawn)


def least_typical(m: Material) -> Grid:
    """The held-out pictures that the model finds least typical, above their reconstructions."""
    rows = np.argsort(m.codes.log_density)[:SHOWN]
    drawn = m.model.decode(m.codes.z_s[rows], m.codes.z_u_mean[rows])
    read = m.codes.class_log_prob[rows].argmax(1)
    again = _decoded(m, drawn, m.held.labels[rows], read, ["its own style"] * len(rows))
    return Grid((ImageRow("real", m.reals(rows)), ImageRow("reconstruction", again)))
