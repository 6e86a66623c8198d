"""Data sets that hold the true result of a swap: pictures of every class in the same styles, which a column of the table names.

The class of one picture in the style of another must then be a picture that exists, and its error is a number. Knows pictures, codes
and the served model; a data set without the column has no such figures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twofold.model.contract import Floats, Pixels
from twofold.service.runtime.array_api import Arrays
from twofold.service.runtime.engine import Encoded
from twofold.training.data.dataset import Pictures
from twofold.training.metrics import image_metrics
from twofold.training.metrics.probes import chance, leak

STYLE = "pose"  # the attribute that names the style: the same number, the same style in every class
GROUP = ("action", "direction")  # attributes that name it roughly
NEAR = 0.003  # mean square error on [0, 1] below which two styles of a class are the same to the eye
PIECE = 500  # swaps at once

Labels = NDArray[np.int64]


def is_known(pictures: Pictures) -> bool:
    """Whether the data set says which style each picture has."""
    return STYLE in pictures.attributes


def groups(fit: Pictures, held: Pictures) -> tuple[Labels, Labels]:
    """The rough style of every picture as one number, the same in both sets."""
    columns = [[p.attributes[name] for name in GROUP if name in p.attributes] for p in (fit, held)]
    stacked = [np.stack(c, 1) if c else np.zeros((len(p), 1), np.int64) for c, p in zip(columns, (fit, held), strict=True)]
    _, found = np.unique(np.concatenate(stacked), axis=0, return_inverse=True)
    return found.reshape(-1)[: len(fit)], found.reshape(-1)[len(fit) :]


def exact_swaps(model: Arrays, fit: Pictures, held: Pictures, codes: Encoded, pairs: int, rng: np.random.Generator) -> dict[str, float]:
    """Swaps of random held-out pairs beside the true picture: class of the first, style of the second. `codes` are those of `held`.

    The truth may be any picture of the data set, trained on or not: a pair without one is left out. A swap's style is that of its
    nearest picture among all of its class; of pictures that are alike pixel for pixel, either is right.
    """
    everything = _joined(fit, held)
    truth = _Truth(everything)
    a, b = rng.integers(0, len(held), (2, pairs))
    wanted = truth.row(held.labels[a], held.attributes[STYLE][b])
    a, b, wanted = a[wanted >= 0], b[wanted >= 0], wanted[wanted >= 0]
    nearest, error = np.empty(len(a), np.int64), np.empty(len(a))
    for start in range(0, len(a), PIECE):
        rows = slice(start, start + PIECE)
        swapped = model.decode(codes.z_s[a[rows]], codes.z_u_mean[b[rows]])
        error[rows] = image_metrics.mean_square_error(everything.pixels[wanted[rows]], swapped)
        nearest[rows] = truth.nearest(swapped, held.labels[a[rows]])
    rough = np.concatenate(groups(fit, held))
    apart = image_metrics.mean_square_error(everything.pixels[wanted], everything.pixels[nearest])
    swap, drawn = float(image_metrics.psnr(float(error.mean()))), model.decode(codes.z_s, codes.z_u_mean)
    return {
        "swap_psnr": swap,
        "swap_psnr_means": _psnr_of_means(fit, everything.pixels[wanted], held.labels[a], held.attributes[STYLE][b]),
        "swap_psnr_gap": float(image_metrics.psnr(float(image_metrics.mean_square_error(held.pixels, drawn).mean()))) - swap,
        "style_exact": float((apart == 0).mean()),
        "style_near": float((apart < NEAR).mean()),
        "style_group": float(((rough[nearest] == rough[wanted]) | (apart == 0)).mean()),
    }


def probes(fit: Pictures, held: Pictures, fit_codes: Encoded, held_codes: Encoded, seed: int) -> dict[str, float]:
    """Is the rough style read from z_s; and the class from z_u, where pictures of both sets are mixed and split at random.

    Similar styles are held out together, which makes the usual leak a question of unseen styles; the random split is not.
    """
    rough_fit, rough_held = groups(fit, held)
    z_u = np.concatenate([fit_codes.z_u_mean, held_codes.z_u_mean])
    labels = np.concatenate([fit.labels, held.labels])
    order = np.random.default_rng(seed).permutation(len(labels))
    train, test = order[: len(fit)], order[len(fit) :]
    return {
        "style_group_from_class": leak("mlp", fit_codes.z_s, rough_fit, held_codes.z_s, rough_held, seed),
        "style_group_chance": chance(rough_held),
        "leak_mlp_mixed": leak("mlp", z_u[train], labels[train], z_u[test], labels[test], seed),
    }


class _Truth:
    """The picture of every (class, style) of a data set."""

    def __init__(self, pictures: Pictures) -> None:
        self.styles, style = np.unique(pictures.attributes[STYLE], return_inverse=True)
        self.rows = np.full((len(pictures.class_names), len(self.styles)), -1)  # -1: there is none
        self.rows[pictures.labels, style] = np.arange(len(pictures))
        self.pixels = pictures.pixels

    def row(self, label: Labels, style: Labels) -> Labels:
        """label [N], style [N] -> rows [N] of the true pictures, -1 where there is none."""
        return self.rows[label, np.searchsorted(self.styles, style)]

    def nearest(self, pixels: Pixels, label: Labels) -> Labels:
        """The row of the picture of class label [N] that is nearest to pixels [N, H, W, C]: [N]."""
        found = np.empty(len(pixels), np.int64)
        for k in np.unique(label):
            mine, rows = np.flatnonzero(label == k), self.rows[k][self.rows[k] >= 0]
            true = _flat(self.pixels[rows])
            square = np.square(true).sum(1) - 2 * _flat(pixels[mine]) @ true.T  # less that of the picture itself
            found[mine] = rows[square.argmin(1)]
        return found


def _flat(pixels: Pixels) -> Floats:
    return np.asarray(pixels.reshape(len(pixels), -1).astype(np.float32) / 255, np.float32)


def _joined(first: Pictures, second: Pictures) -> Pictures:
    attributes = {STYLE: np.concatenate([first.attributes[STYLE], second.attributes[STYLE]])}
    pixels, labels = np.concatenate([first.pixels, second.pixels]), np.concatenate([first.labels, second.labels])
    return Pictures(pixels, labels, first.class_names, first.source, attributes=attributes)


def _psnr_of_means(fit: Pictures, truth: Pixels, label: Labels, style: Labels) -> float:
    """What adding means would reach: the mean of the class, plus the mean of the style, less the mean of all, of training pictures."""
    styles, known = np.unique(fit.attributes[STYLE], return_inverse=True)
    by_class = np.stack([fit.pixels[fit.labels == k].mean(0) for k in range(len(fit.class_names))])
    by_style = np.stack([fit.pixels[known == k].mean(0) for k in range(len(styles))])
    here = np.isin(style, styles)
    guess = by_class[label[here]] + by_style[np.searchsorted(styles, style[here])] - fit.pixels.mean(0)
    return float(image_metrics.psnr(float(np.square((guess.clip(0, 255) - truth[here]) / 255).mean())))
