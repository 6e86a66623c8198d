"""Trivial predictors of a swap: what means, copies and a linear regression reach without a model.

Knows pictures, labels and groups as arrays, and no model. A group is a set of pictures in one style, as all signs of one hand. Pictures are
[N, H, W, C], 0..255; what is predicted is float32 and not rounded. The residual of a picture is what it has beyond the mean of its class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twofold.model.contract import Floats, Pixels
from twofold.training.metrics.image_metrics import Labels

CLASS_MEAN, STYLE_COPY, CLASS_COPY = "class mean", "copy of the style source", "copy of the class source"
ADDITIVE, ADDITIVE_OTHERS, RIDGE_SOURCE = "additive from the source", "additive over all others", "ridge from the source"

COMPONENTS = 60  # principal components of the residual that the ridge regression reads
COMPONENT_ROWS = 1500  # pictures at most that the components are computed from
RIDGE_PAIRS = 10_000  # pairs of training pictures that it is fitted to
RIDGE = 0.1  # penalty by pair, of components that have unit variance


def class_means(pixels: Pixels, labels: Labels, classes: int) -> Floats:
    """The mean picture of every class [K, H, W, C]; every class must have a picture."""
    return np.stack([pixels[labels == k].mean(0, dtype=np.float64).astype(np.float32) for k in range(classes)])


def residuals(pixels: Pixels, labels: Labels, means: Floats) -> Floats:
    """Pictures less the mean of their class [N, H, W, C]."""
    return pixels.astype(np.float32) - means[labels]


def additive(residual: Floats, label: Labels, means: Floats) -> Floats:
    """The mean of the class asked for plus a residual [N, H, W, C], within 0..255."""
    return np.asarray((means[label] + residual).clip(0, 255), np.float32)


def group_sums(pixels: Pixels, labels: Labels, group: Labels, means: Floats) -> tuple[Floats, Labels]:
    """The sum of the residuals of every group [G, H, W, C] and its pictures [G]; `group` [N] counts from 0, below 0 is in no group."""
    count = np.bincount(group[group >= 0])
    total = np.zeros((len(count), *means.shape[1:]), np.float32)
    for row in np.flatnonzero(group >= 0):  # one at a time: all residuals at once would be four times the pictures
        total[group[row]] += pixels[row] - means[labels[row]]
    return total, count


def others_mean(total: Floats, count: Labels, left_out: Floats) -> Floats:
    """The mean residual of all others of a group [N, H, W, C], from its sum, its count and the residual left out; 0 if it is alone."""
    return np.asarray((total - left_out) / np.maximum(count - 1, 1)[:, None, None, None], np.float32)


@dataclass(frozen=True)
class ResidualRidge:
    """Linear regression from the residual of one picture to that of another of its group, by principal components.

    y = U^T B with U = the COMPONENTS whitened components of the source and B = (U U^T + RIDGE N I)^-1 U Y (Hoerl and Kennard, Ridge
    Regression, 1970).
    """

    components: Floats  # [P, H W C], P <= COMPONENTS, whitened
    coefficients: Floats  # [P, H W C]

    @classmethod
    def fit(cls, pixels: Pixels, labels: Labels, group: Labels, means: Floats, rng: np.random.Generator) -> ResidualRidge | None:
        """From training pictures; None where no group has pictures of two classes."""

        def flat(rows: Labels) -> Floats:
            return residuals(pixels[rows], labels[rows], means).reshape(len(rows), -1)

        source, target = _pairs(labels, group, rng)
        if not len(source):
            return None
        components = _components(flat(rng.permutation(len(labels))[:COMPONENT_ROWS]))
        gram, cross = np.zeros((len(components),) * 2), np.zeros_like(components)
        for start in range(0, len(source), 500):
            codes = flat(source[start : start + 500]) @ components.T
            gram += codes.T @ codes
            cross += codes.T @ flat(target[start : start + 500])
        penalty = RIDGE * len(source) * np.eye(len(components))
        return cls(components, np.linalg.solve(gram + penalty, cross).astype(np.float32))

    def predict(self, residual: Floats) -> Floats:
        """Residuals [N, H, W, C] of the sources -> those of the pictures asked for."""
        flat = residual.reshape(len(residual), -1)
        return np.asarray((flat @ self.components.T @ self.coefficients).reshape(residual.shape), np.float32)


def _pairs(labels: Labels, group: Labels, rng: np.random.Generator) -> tuple[Labels, Labels]:
    """Random rows (source, target) of one group and of different classes."""
    order = np.argsort(group, kind="stable")
    _, start, number, count = np.unique(group[order], return_index=True, return_inverse=True, return_counts=True)
    source = rng.integers(0, len(order), RIDGE_PAIRS)
    of = number[source]
    target = start[of] + rng.integers(0, count[of])
    different = labels[order[source]] != labels[order[target]]
    return order[source[different]], order[target[different]]


def _components(flat: Floats) -> Floats:
    """Principal axes [P, D] of rows [N, D], each divided by its standard deviation, by the Gram matrix of the rows."""
    centred = flat - flat.mean(0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    kept = [i for i in np.argsort(-values)[:COMPONENTS] if values[i] > 1e-6 * values.max()]
    # an axis is X^T v / sqrt(value), its deviation sqrt(value / N)
    return np.asarray((centred.T @ (vectors[:, kept] / values[kept])).T * np.sqrt(len(flat)), np.float32)
