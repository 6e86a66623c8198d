"""Trivial predictors, on pictures that are class plus style and on pictures whose styles say nothing of each other."""

from __future__ import annotations

import numpy as np
import pytest

from twofold.training.metrics import trivial

CLASSES, GROUPS = 4, 60
RNG = np.random.default_rng(0)
CLASS_PART = RNG.uniform(60, 120, (CLASSES, 6, 6, 1))
STYLE_PART = RNG.normal(0, 15, (GROUPS, 6, 6, 1))
LABELS, GROUP = np.repeat(np.arange(CLASSES), GROUPS), np.tile(np.arange(GROUPS), CLASSES)
SUMS = (CLASS_PART[LABELS] + STYLE_PART[GROUP]).round().astype(np.uint8)  # a picture for every class and group
MEANS = trivial.class_means(SUMS, LABELS, CLASSES)
RESIDUALS = trivial.residuals(SUMS, LABELS, MEANS)


def rows(label, group):
    return label * GROUPS + group


def test_the_residuals_of_a_class_have_mean_0():
    assert np.abs(RESIDUALS.reshape(CLASSES, GROUPS, -1).mean(1)).max() < 1e-3


def test_where_pictures_are_class_plus_style_one_source_gives_the_truth():
    source, label = rows(1, np.arange(GROUPS)), np.full(GROUPS, 2)
    drawn = trivial.additive(RESIDUALS[source], label, MEANS)
    assert np.abs(drawn - SUMS[rows(2, np.arange(GROUPS))]).max() < 2  # each part is rounded


def test_an_added_residual_stays_within_what_a_picture_can_show():
    drawn = trivial.additive(np.full((1, 6, 6, 1), 400, np.float32), np.array([0]), MEANS)
    assert (drawn.min(), drawn.max()) == (255, 255)


def test_the_residual_of_a_group_is_the_mean_of_its_others_alone():
    pixels, labels, means = np.arange(10, 15).astype(np.uint8)[:, None, None, None], np.zeros(5, int), np.full((1, 1, 1, 1), 10, np.float32)
    group = np.array([1, 1, 1, 0, -1])
    total, count = trivial.group_sums(pixels, labels, group, means)
    assert (total.reshape(-1).tolist(), count.tolist()) == ([3, 0 + 1 + 2], [1, 3])
    out = np.array([0, 2, 3])
    found = trivial.others_mean(total[group[out]], count[group[out]], trivial.residuals(pixels[out], labels[out], means))
    assert found.reshape(-1).tolist() == [1.5, 0.5, 0.0]  # (1 + 2) / 2, (0 + 1) / 2, and a group of one


def test_a_regression_learns_the_style_that_pictures_of_a_group_share():
    ridge = trivial.ResidualRidge.fit(SUMS, LABELS, GROUP, MEANS, np.random.default_rng(1))
    source, truth = rows(1, np.arange(GROUPS)), rows(3, np.arange(GROUPS))
    error = np.square(ridge.predict(RESIDUALS[source]) - RESIDUALS[truth]).mean()
    assert error < 0.05 * np.square(RESIDUALS[truth]).mean()


def test_a_regression_on_styles_that_say_nothing_of_each_other_gives_the_mean():
    rng = np.random.default_rng(2)
    noise, labels, means = rng.integers(0, 256, (4000, 2, 2, 1), dtype=np.uint8), np.repeat([0, 1], 2000), np.full((2, 2, 2, 1), 127.5)
    ridge = trivial.ResidualRidge.fit(noise, labels, np.tile(np.arange(2000), 2), means, rng)
    residual = trivial.residuals(noise, labels, means)
    assert np.square(ridge.predict(residual)).mean() < 0.01 * np.square(residual).mean()


def test_a_regression_that_halves_the_residual_has_the_closed_form_of_its_penalty():
    rng = np.random.default_rng(3)
    pair = rng.integers(-50, 51, (2000, 1, 1, 1)) * 2
    pixels, labels = (128 + np.concatenate([pair, pair // 2])).astype(np.uint8), np.repeat([0, 1], 2000)
    ridge = trivial.ResidualRidge.fit(pixels, labels, np.tile(np.arange(2000), 2), np.full((2, 1, 1, 1), 128.0), rng)
    # over pairs both ways: slope = E[x y] / ((1 + penalty) E[x^2]) = 0.5 s^2 / (1.1 * 0.625 s^2)
    assert ridge.predict(np.full((1, 1, 1, 1), 10, np.float32)).item() == pytest.approx(10 * 0.8 / 1.1, rel=0.1)


def test_without_groups_of_two_classes_there_is_no_regression():
    assert trivial.ResidualRidge.fit(SUMS, LABELS, LABELS, MEANS, np.random.default_rng(0)) is None
