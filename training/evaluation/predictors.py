"""Trivial predictors beside the model: what swaps of held-out pictures would be without one.

Knows pictures and pairs of their rows; `training.metrics.trivial` has the formulas.
"""

from __future__ import annotations

import numpy as np

from twofold.model.contract import Floats
from twofold.training.data.dataset import Pictures
from twofold.training.evaluation.ground_truth_swaps import Draw, Labels, TruePairs
from twofold.training.metrics import trivial


def of_pairs(fit: Pictures, held: Pictures, a: Labels, b: Labels) -> dict[str, Draw]:
    """Predictors of the swaps with the class of a and the style of b, rows [N] of `held`, that need no more than the two pictures.

    The means of the classes are those of the training pictures.
    """
    means = trivial.class_means(fit.pixels, fit.labels, len(fit.class_names))

    def additive(some: Labels) -> Floats:
        source = b[some]
        return trivial.additive(trivial.residuals(held.pixels[source], held.labels[source], means), held.labels[a[some]], means)

    return {
        trivial.CLASS_MEAN: lambda some: means[held.labels[a[some]]],
        trivial.STYLE_COPY: lambda some: held.pixels[b[some]],
        trivial.CLASS_COPY: lambda some: held.pixels[a[some]],
        trivial.ADDITIVE: additive,
    }


def of_groups(fit: Pictures, pairs: TruePairs, rng: np.random.Generator) -> dict[str, Draw]:
    """Predictors that learn from groups: all other pictures in the style of b, and a regression on training pictures where they pair up."""
    everything, styles = pairs.everything, pairs.styles
    means = trivial.class_means(fit.pixels, fit.labels, len(fit.class_names))
    total, count = trivial.group_sums(everything.pixels, everything.labels, styles, means)

    def residual(rows: Labels) -> Floats:
        return trivial.residuals(everything.pixels[rows], everything.labels[rows], means)

    def others(some: Labels) -> Floats:
        truth = pairs.truth[some]
        mean = trivial.others_mean(total[styles[truth]], count[styles[truth]], residual(truth))
        return trivial.additive(mean, pairs.label[some], means)

    found: dict[str, Draw] = {trivial.ADDITIVE_OTHERS: others}
    ridge = trivial.ResidualRidge.fit(fit.pixels, fit.labels, pairs.groups[: len(fit)], means, rng)
    if ridge is not None:
        found[trivial.RIDGE_SOURCE] = lambda some: trivial.additive(ridge.predict(residual(pairs.source[some])), pairs.label[some], means)
    return found
