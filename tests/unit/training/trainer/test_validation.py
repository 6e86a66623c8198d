"""Validation finds what it is there to find."""

from __future__ import annotations

import numpy as np
import pytest

from twofold.training.metrics.image_metrics import brightness
from twofold.training.trainer.validation import _leak, _style_moved, validate


def test_validation_gives_its_figures_in_their_ranges_and_the_same_ones_again(exported):
    figures = validate(exported.model, exported.held).figures
    assert {"class_accuracy", "leak", "style_moved"} <= set(figures)
    assert 0 <= figures["class_accuracy"] <= 1
    assert 0 <= figures["leak"] <= 1
    assert -1 <= figures["style_moved"] <= 1
    assert validate(exported.model, exported.held).figures == figures


def test_a_style_code_that_holds_the_class_leaks_and_noise_does_not():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 10, 2000)
    noise = rng.normal(size=(2000, 8))
    assert _leak(noise, label, 10) == pytest.approx(0.1, abs=0.04)
    assert _leak(noise + 3 * rng.normal(size=(10, 8))[label], label, 10) > 0.95


def test_a_leak_that_is_not_linear_is_seen():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 2000)
    signs = rng.choice([-1.0, 1.0], (2000, 1))
    codes = np.concatenate([signs, signs * np.where(label, 1, -1)[:, None]], 1) + 0.1 * rng.normal(size=(2000, 2))
    assert _leak(codes, label, 2) > 0.95  # the class is the product of the two signs


def test_swaps_that_take_the_style_move_it_and_copies_of_the_class_source_do_not(sample):
    pixels, label = sample.pixels[:1000], sample.labels[:1000]
    order = np.argsort(label, kind="stable")
    pixels, label = pixels[order], label[order]  # the neighbour is of the same class, so it is a perfect swap but for ten rows
    assert _style_moved(pixels, np.roll(pixels, 1, 0), label) > 0.95
    shuffled = np.random.default_rng(0).permutation(1000)
    assert _style_moved(pixels[shuffled], pixels[shuffled], label[shuffled]) == pytest.approx(0, abs=0.1)
    assert brightness(pixels).std() > 0
