"""Trivial predictors beside the model: what swaps of held-out pictures would be without one.

Knows pictures and pairs of their rows; `training.metrics.trivial` has the formulas.
"""

from __future__ import annotations

import numpy as np

from twofold.training.data.dataset import Pictures
from twofold.training.evaluation.ground_truth_swaps import GROUP, STYLE, Draw, Labels, TruePairs
from twofold.training.metrics import trivial

CLASS_MEAN, STYLE_COPY, CLASS_COPY = "class mean", "copy of the style source", "copy of the class source"
ADDITIVE, ADDITIVE_OTHERS, RIDGE = "additive from the source", "additive over all others", "ridge from the source"


def of_pairs(fit: Pictures, held: Pictures, a: Labels, b: Labels) -> dict[str, Draw]:
    """Predictors of the swaps with the class of a and the style of b, rows [N] of `held`, that need no more than the two pictures.

    The means of the classes are those of the training pictures.
    """
    means = trivial.class_means(fit.pixels, fit.labels, len(fit.class_names))

    def additive(some: Labels) -> trivial.Floats:
        source = b[some]
        return trivial.additive(trivial.residuals(held.pixels[source], held.labels[source], means), held.labels[a[some]], means)

    return {
        CLASS_MEAN: lambda some: means[held.labels[a[some]]],
        STYLE_COPY: lambda some: held.pixels[b[some]],
        CLASS_COPY: lambda some: held.pixels[a[some]],
        ADDITIVE: additive,
    }


def of_groups(fit: Pictures, pairs: TruePairs, rng: np.random.Generator) -> dict[str, Draw]:
    """Predictors that learn from groups: all other pictures in the style of b, and a regression on training pictures where they pair up."""
    everything, styles = pairs.everything, pairs.styles
    means = trivial.class_means(fit.pixels, fit.labels, len(fit.class_names))
    total, count = trivial.group_sums(everything.pixels, everything.labels, styles, means)

    def residual(rows: Labels) -> trivial.Floats:
        return trivial.residuals(everything.pixels[rows], everything.labels[rows], means)

    def others(some: Labels) -> trivial.Floats:
        truth = pairs.truth[some]
        mean = trivial.others_mean(total[styles[truth]], count[styles[truth]], residual(truth))
        return trivial.additive(mean, pairs.label[some], means)

    found: dict[str, Draw] = {ADDITIVE_OTHERS: others}
    groups = next(fit.attributes[name] for name in (STYLE, GROUP) if name in fit.attributes)
    ridge = trivial.ResidualRidge.fit(fit.pixels, fit.labels, groups, means, rng)
    if ridge is not None:
        found[RIDGE] = lambda some: trivial.additive(ridge.predict(residual(pairs.source[some])), pairs.label[some], means)
    return found
