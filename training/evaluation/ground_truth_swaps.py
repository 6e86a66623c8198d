"""Data sets that hold the true result of a swap: the class of one picture in the style of another is then a picture that exists.

Two kinds of them: a table with a column that names the style, the same in every class; and pictures in groups, where a group has one
picture of each class (all signs of one hand). Knows pictures, codes and the served model; other data sets have no such figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twofold.model.contract import Floats, Pixels
from twofold.service.runtime.array_api import Arrays
from twofold.service.runtime.engine import Encoded
from twofold.training.data.dataset import Pictures
from twofold.training.metrics import image_metrics
from twofold.training.metrics.probes import chance, leak

STYLE = "pose"  # the attribute that names the style: the same number, the same style in every class
ROUGH = ("action", "direction")  # attributes that name the style roughly
NEAR = 0.003  # mean square error on [0, 1] below which two styles of a class are the same to the eye
PIECE = 500  # swaps at once

Labels = NDArray[np.int64]
Draw = Callable[[Labels], Floats | Pixels]  # numbers of pairs [N] -> the swaps predicted for them [N, H, W, C], 0..255


@dataclass(frozen=True)
class TruePairs:
    """Pairs of held-out pictures that differ in class and style, and the picture that their swap should be.

    `a` [N] and `b` [N] are rows of the held-out pictures, `truth` [N] of `everything`: the training pictures and then the held-out
    ones, `groups` [M] what they are grouped by, `styles` [M] their styles, -1 for a picture whose style is not known.
    """

    a: Labels
    b: Labels
    truth: Labels
    everything: Pictures
    groups: Labels
    styles: Labels
    first_held: int  # the rows of `everything` from here are held out

    def __len__(self) -> int:
        return len(self.a)

    @property
    def label(self) -> Labels:
        """The class of every truth [N]."""
        return self.everything.labels[self.truth]

    @property
    def source(self) -> Labels:
        """The rows of `everything` that are the style sources [N]."""
        return self.b + self.first_held


def true_pairs(fit: Pictures, held: Pictures, pairs: int, rng: np.random.Generator) -> TruePairs | None:
    """Of `pairs` random pairs those with a truth; it may have been trained on. None where the data set has none."""
    fit_groups, held_groups = _groups(fit), _groups(held)
    if fit_groups is None or held_groups is None:
        return None
    everything, groups = _joined(fit, held), np.concatenate([fit_groups, held_groups])
    styles = _styles(everything, groups)
    rows = np.full((len(held.class_names), int(styles.max(initial=-1)) + 1), -1)  # of the picture of every (class, style)
    known = np.flatnonzero(styles >= 0)
    rows[everything.labels[known], styles[known]] = known
    a, b = rng.integers(0, len(held), (2, pairs))
    mine, style = styles[len(fit) :][a], styles[len(fit) :][b]
    usable = (style >= 0) & (mine != style) & (held.labels[a] != held.labels[b])
    a, b, truth = a[usable], b[usable], rows[held.labels[a[usable]], style[usable]]
    found = truth >= 0
    return TruePairs(a[found], b[found], truth[found], everything, groups, styles, len(fit)) if found.any() else None


def _groups(pictures: Pictures) -> Labels | None:
    """What says which pictures have one style: the column of the style, or else their groups [N]; None without either."""
    return pictures.attributes.get(STYLE, pictures.groups)


def _styles(pictures: Pictures, groups: Labels) -> Labels:
    """The style of every picture as a number from 0, -1 where it is not known: its column, or its group if that is whole."""
    _, style = np.unique(groups, return_inverse=True)
    if STYLE in pictures.attributes:
        return np.asarray(style, np.int64)
    table = np.zeros((len(pictures.class_names), int(style.max()) + 1), np.int64)
    np.add.at(table, (pictures.labels, style), 1)
    return np.where((table == 1).all(0)[style], style, -1)


def figures(draw: Draw, pairs: TruePairs) -> dict[str, float]:
    """How near the swaps that are drawn for the pairs come to their truth: dB raw and blurred, and the median rank among held-out ones."""
    raw, blurred, rank = np.empty(len(pairs)), np.empty(len(pairs)), np.empty(len(pairs))
    pixels, labels = pairs.everything.pixels, pairs.everything.labels
    held = np.arange(pairs.first_held, len(labels))
    for start in range(0, len(pairs), PIECE):
        some = np.arange(start, min(start + PIECE, len(pairs)))
        drawn, truth = draw(some), pixels[pairs.truth[some]]
        raw[some] = image_metrics.mean_square_error(drawn, truth)
        blurred[some] = image_metrics.blurred_square_error(drawn, truth)
        for k in np.unique(pairs.label[some]):
            mine = pairs.label[some] == k
            rank[some[mine]] = image_metrics.truth_rank(drawn[mine], truth[mine], pixels[held[labels[held] == k]])
    return {
        "swap_psnr": float(image_metrics.psnr(float(raw.mean()))),
        "swap_psnr_blurred": float(image_metrics.psnr(float(blurred.mean()))),
        "swap_truth_rank": float(np.median(rank)),
    }


def exact_swaps(model: Arrays, pairs: TruePairs, held: Pictures, codes: Encoded) -> dict[str, float]:
    """The model's `figures`, and whether a swap's style is the true one: that of its nearest picture among all of its class.

    `codes` are those of `held`. Of pictures that are alike pixel for pixel, either is right.
    """
    pixels, nearest = pairs.everything.pixels, np.empty(len(pairs), np.int64)

    def draw(some: Labels) -> Pixels:
        drawn = model.decode(codes.z_s[pairs.a[some]], codes.z_u_mean[pairs.b[some]])
        nearest[some] = _nearest(drawn, pairs, some)
        return drawn

    found = figures(draw, pairs)
    apart = image_metrics.mean_square_error(pixels[pairs.truth], pixels[nearest])
    error = image_metrics.mean_square_error(held.pixels, model.decode(codes.z_s, codes.z_u_mean)).mean()
    found |= {
        "swap_psnr_gap": float(image_metrics.psnr(float(error))) - found["swap_psnr"],
        "style_exact": float((apart == 0).mean()),
        "style_near": float((apart < NEAR).mean()),
    }
    rough = rough_styles(pairs.everything)
    return found if rough is None else found | {"style_group": float(((rough[nearest] == rough[pairs.truth]) | (apart == 0)).mean())}


def _nearest(drawn: Pixels, pairs: TruePairs, some: Labels) -> Labels:
    """The row of the picture of known style and right class that is nearest to each drawn [N, H, W, C]: [N]."""
    found, everything = np.empty(len(drawn), np.int64), pairs.everything
    for k in np.unique(pairs.label[some]):
        mine, rows = np.flatnonzero(pairs.label[some] == k), np.flatnonzero((everything.labels == k) & (pairs.styles >= 0))
        true = _flat(everything.pixels[rows])
        square = np.square(true).sum(1) - 2 * _flat(drawn[mine]) @ true.T  # less that of the picture itself
        found[mine] = rows[square.argmin(1)]
    return found


def rough_styles(pictures: Pictures) -> Labels | None:
    """The rough style of every picture as one number [N], of all combinations of its columns; None without such a column."""
    columns = [pictures.attributes[name] for name in ROUGH if name in pictures.attributes]
    if not columns:
        return None
    _, found = np.unique(np.stack(columns, 1), axis=0, return_inverse=True)
    return np.asarray(found.reshape(-1), np.int64)


def probes(fit: Pictures, held: Pictures, fit_codes: Encoded, held_codes: Encoded, seed: int) -> dict[str, float]:
    """Is the class read from z_u where pictures of both sets are mixed and split at random; and the rough style from z_s, if it is known.

    Similar styles are held out together, which makes the usual leak a question of unseen styles; the random split is not.
    """
    z_u = np.concatenate([fit_codes.z_u_mean, held_codes.z_u_mean])
    labels = np.concatenate([fit.labels, held.labels])
    order = np.random.default_rng(seed).permutation(len(labels))
    train, test = order[: len(fit)], order[len(fit) :]
    found = {"leak_mlp_mixed": leak("mlp", z_u[train], labels[train], z_u[test], labels[test], seed)}
    rough = rough_styles(_joined(fit, held))
    if rough is None:
        return found
    rough_fit, rough_held = rough[: len(fit)], rough[len(fit) :]
    return found | {
        "style_group_from_class": leak("mlp", fit_codes.z_s, rough_fit, held_codes.z_s, rough_held, seed),
        "style_group_chance": chance(rough_held),
    }


def _flat(pixels: Pixels) -> Floats:
    return np.asarray(pixels.reshape(len(pixels), -1).astype(np.float32) / 255, np.float32)


def _joined(first: Pictures, second: Pictures) -> Pictures:
    shared = [name for name in (STYLE, *ROUGH) if name in first.attributes and name in second.attributes]
    attributes = {name: np.concatenate([first.attributes[name], second.attributes[name]]) for name in shared}
    pixels, labels = np.concatenate([first.pixels, second.pixels]), np.concatenate([first.labels, second.labels])
    return Pictures(pixels, labels, first.class_names, first.source, attributes=attributes)
