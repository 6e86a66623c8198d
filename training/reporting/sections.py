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
    """Rows under a head of pictures (none: no head), and the share of pictures whose class the classifier confirms (None: not measured)."""

    rows: tuple[ImageRow, ...]
    head: tuple[Picture, ...] = ()
    kept: float | None = None


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


def samples(m: Material) -> Grid:
    """Decoded from a class and a style that were sampled: a row per class, a column per style."""
    shown = np.unique(np.linspace(0, len(m.names) - 1, min(CLASSES, len(m.names))).round().astype(int))
    rows, kept = [], []
    for label in shown:
        drawn = m.model.decode(*m.model.sample(np.full(STYLES, label), seed=m.seed))
        seen = m.eval_classifier.classify(drawn)[0]
        pictures = tuple(
            _decoded(m, picture, int(label), int(s), f"style {i + 1}") for i, (picture, s) in enumerate(zip(drawn, seen, strict=True))
        )
        rows.append(ImageRow(m.names[label], pictures))
        kept.append(seen == label)
    return Grid(tuple(rows), kept=float(np.mean(kept)))


def swap_matrix(m: Material) -> Grid:
    """Real pictures against each other: the class of the row's, the style of the column's. The diagonal is the reconstruction."""
    rng, labels = m.rng(1), m.held.labels
    classes = rng.permutation(np.unique(labels))[:SWAPS]
    chosen = np.array([rng.choice(np.flatnonzero(labels == k)) for k in np.sort(classes)])
    count = len(chosen)
    a, b = np.repeat(chosen, count), np.tile(chosen, count)
    drawn = m.model.swap(m.held.pixels[a], m.held.pixels[b])
    seen = m.eval_classifier.classify(drawn)[0]
    cells = [_decoded(m, drawn[i], int(labels[a[i]]), int(seen[i]), f"the style of column {i % count + 1}") for i in range(len(drawn))]
    heads = tuple(m.real(int(row)) for row in chosen)
    rows = tuple(ImageRow(head.caption, tuple(cells[i * count : (i + 1) * count]), head) for i, head in enumerate(heads))
    return Grid(rows, heads, float((seen == labels[a]).mean()))


def _decoded(m: Material, picture: Pixels, asked: int, seen: int, what: str) -> Picture:
    """A decoded picture; where the evaluation classifier sees another class than was asked for, its name is the caption."""
    good, name = asked == seen, m.names[seen]
    alt = f"{m.names[asked]} in {what}; the evaluation classifier sees {'the same' if good else name}"
    return Picture(picture, alt, "" if good else name, not good)


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
        found.append(ImageRow(f"{title}: real", tuple(m.real(int(row)) for row in rows[at])))
        again = (Picture(drawn[i], f"reconstruction, {decibels[i]:.1f} dB", f"{decibels[i]:.1f} dB") for i in at)
        found.append(ImageRow(f"{title}: reconstruction", tuple(again)))
    return Grid(tuple(found))


def interpolations(m: Material, pairs: int = 2) -> list[Interpolation]:
    """From one held-out picture to another of a different class: class and style together, then each of them alone."""
    rng, labels, found = m.rng(3), m.held.labels, []
    share = np.linspace(0, 1, FRAMES, dtype=np.float32)[:, None]
    for _ in range(pairs):
        a = int(rng.integers(len(labels)))
        b = int(rng.choice(np.flatnonzero(labels != labels[a])))
        start, end = m.names[labels[a]], m.names[labels[b]]
        z_s, z_u = ((1 - share) * code[a] + share * code[b] for code in (m.codes.z_s, m.codes.z_u_mean))
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
    rows_of = {"real": real, "mean in the hole": cut, "inpainted": filled}
    captions = [m.names[label] for label in m.held.labels[rows]]
    return Grid(
        tuple(
            ImageRow(title, tuple(Picture(p, f"{name}, {title}", name) for p, name in zip(pixels, captions, strict=True)))
            for title, pixels in rows_of.items()
        )
    )


def lost_swaps(m: Material) -> tuple[Grid, float]:
    """Swaps of random pairs that the evaluation classifier gives another class than the class source, and their share (0..1) of all."""
    rng, labels = m.rng(6), m.held.labels
    a, b = rng.integers(0, len(labels), (2, ROWS))
    drawn = m.model.decode(m.codes.z_s[a], m.codes.z_u_mean[b])
    seen = m.eval_classifier.classify(drawn)[0]
    lost = np.flatnonzero(seen != labels[a])
    shown = lost[:SHOWN]
    rows = (
        ImageRow("class from", tuple(m.real(int(a[i])) for i in shown)),
        ImageRow("style from", tuple(m.real(int(b[i])) for i in shown)),
        ImageRow("the swap", tuple(_decoded(m, drawn[i], int(labels[a[i]]), int(seen[i]), "another style") for i in shown)),
    )
    return Grid(rows if len(shown) else ()), len(lost) / len(drawn)


def least_typical(m: Material) -> Grid:
    """The held-out pictures that the model finds least typical, above their reconstructions."""
    rows = np.argsort(m.codes.log_density)[:SHOWN]
    drawn = m.model.decode(m.codes.z_s[rows], m.codes.z_u_mean[rows])
    read = m.codes.class_log_prob[rows].argmax(1)
    return Grid(
        (
            ImageRow("real", tuple(m.real(int(row)) for row in rows)),
            ImageRow(
                "reconstruction",
                tuple(_decoded(m, p, int(m.held.labels[r]), int(k), "its own style") for p, r, k in zip(drawn, rows, read, strict=True)),
            ),
        )
    )
