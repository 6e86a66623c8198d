"""Trivial predictors beside the model, on pictures that are class + style."""

from __future__ import annotations

import numpy as np
import pytest

from twofold.training.data.dataset import Pictures
from twofold.training.evaluation import predictors
from twofold.training.evaluation.ground_truth_swaps import figures, true_pairs
from twofold.training.metrics import trivial

CLASSES, STYLES = 4, 40
RNG = np.random.default_rng(0)
TABLE = (RNG.integers(60, 180, (CLASSES, 1, 8, 8, 1)) + RNG.integers(-50, 50, (1, STYLES, 8, 8, 1))).astype(np.uint8)


def pictures(styles) -> Pictures:
    label, style = (index.reshape(-1) for index in np.meshgrid(np.arange(CLASSES), styles, indexing="ij"))
    return Pictures(TABLE[label, style], label, tuple("abcd"), {"name": "sums"}, groups=style)


FIT, HELD = pictures(np.arange(30)), pictures(np.arange(30, STYLES))
PAIRS = true_pairs(FIT, HELD, 400, np.random.default_rng(1))


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(2)
    draws = predictors.of_pairs(FIT, HELD, PAIRS.a, PAIRS.b) | predictors.of_groups(FIT, PAIRS, rng)
    return {name: figures(draw, PAIRS) for name, draw in draws.items()}


def test_what_adds_class_and_style_is_as_near_as_its_means_are(found):
    assert found[trivial.ADDITIVE]["swap_psnr"] > 28
    assert found[trivial.ADDITIVE_OTHERS]["swap_psnr"] > 28
    assert found[trivial.ADDITIVE]["swap_truth_rank"] == 0


def test_copies_and_the_class_mean_are_far_and_know_one_half_each(found):
    for name in (trivial.CLASS_MEAN, trivial.STYLE_COPY, trivial.CLASS_COPY):
        assert found[name]["swap_psnr"] < 20
    assert found[trivial.STYLE_COPY]["swap_truth_rank"] < 0.2  # the style is right
    assert found[trivial.CLASS_COPY]["swap_truth_rank"] == pytest.approx(0.5, abs=0.2)  # of the class any is as near


def test_the_regression_uses_the_training_groups_and_beats_the_class_mean(found):
    assert found[trivial.RIDGE_SOURCE]["swap_psnr"] > found[trivial.CLASS_MEAN]["swap_psnr"] + 2


def test_all_other_pictures_are_those_of_the_group_without_the_truth():
    draw, some = predictors.of_groups(FIT, PAIRS, np.random.default_rng(2))[trivial.ADDITIVE_OTHERS], np.array([0, 5])
    for number, drawn in zip(some, draw(some), strict=True):
        label, style = PAIRS.label[number], HELD.groups[PAIRS.b[number]]
        means = np.stack([FIT.pixels[FIT.labels == k].mean(0) for k in range(CLASSES)])
        others = np.mean([TABLE[k, style] - means[k] for k in range(CLASSES) if k != label], axis=0)
        assert drawn == pytest.approx((means[label] + others).clip(0, 255), abs=0.01)


def test_without_groups_of_two_classes_in_training_there_is_no_regression():
    singles = Pictures(FIT.pixels, FIT.labels, FIT.class_names, FIT.source, groups=1000 + np.arange(len(FIT)))
    pairs = true_pairs(singles, HELD, 400, np.random.default_rng(1))
    assert set(predictors.of_groups(singles, pairs, np.random.default_rng(2))) == {trivial.ADDITIVE_OTHERS}
