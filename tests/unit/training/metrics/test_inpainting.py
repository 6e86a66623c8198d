"""Holes for inpainting, and how well they were filled."""

from __future__ import annotations

import numpy as np
import pytest

from twofold.training.metrics import inpainting


def test_a_hole_is_a_quarter_of_the_picture_and_lies_inside_it():
    holes = inpainting.quarter_holes(200, 8, 12, np.random.default_rng(0))
    assert (holes.sum((1, 2)) == 24).all()
    tops = {int(np.argmax(hole.any(1))) for hole in holes}
    assert tops == {0, 1, 2, 3, 4}


def test_decibels_are_counted_inside_the_hole_alone():
    real, filled = np.zeros((1, 4, 4, 1), np.uint8), np.full((1, 4, 4, 1), 255, np.uint8)
    hole = np.zeros((1, 4, 4), bool)
    hole[0, 0, 0] = True
    filled[0, 0, 0, 0] = 51  # a fifth of the range
    assert inpainting.hole_psnr(real, filled, hole) == pytest.approx(-20 * np.log10(0.2))
