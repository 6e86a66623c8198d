"""The room that fills holes: what is visible stays, what is hidden follows from it."""

from __future__ import annotations

import numpy as np
import pytest

from service.arrays import Arrays
from service.client import Local
from tests import toy
from training import inpaint


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Arrays:
    return Local(toy.make_bundle(tmp_path_factory.mktemp("inpaint") / "bundle")).arrays


@pytest.fixture(scope="module")
def drawn(model) -> np.ndarray:
    return model.decode(*model.sample(np.arange(40) % 4, seed=3))


def test_a_hole_is_a_quarter_of_the_picture_and_lies_inside_it():
    holes = inpaint.quarter_holes(200, 8, 12, np.random.default_rng(0))
    assert (holes.sum((1, 2)) == 24).all()
    tops = {int(np.argmax(hole.any(1))) for hole in holes}
    assert tops == {0, 1, 2, 3, 4}


def test_visible_pixels_stay_to_the_byte(model, drawn):
    hole = inpaint.quarter_holes(len(drawn), 8, 8, np.random.default_rng(1))
    filled = inpaint.fill(model, drawn, hole, np.zeros((8, 8, 1), np.uint8), steps=2)
    assert (filled[~hole] == drawn[~hole]).all()
    assert (filled[hole] != 0).any()


def test_a_picture_that_the_model_can_draw_is_found_again_behind_the_hole(model, drawn):
    hole = inpaint.quarter_holes(len(drawn), 8, 8, np.random.default_rng(1))
    mean = drawn.mean(0).round().astype(np.uint8)
    first = inpaint.hole_psnr(drawn, np.where(hole[..., None], mean, drawn), hole)
    assert inpaint.hole_psnr(drawn, inpaint.fill(model, drawn, hole, mean), hole) > first + 10


def test_decibels_are_counted_inside_the_hole_alone():
    real, filled = np.zeros((1, 4, 4, 1), np.uint8), np.full((1, 4, 4, 1), 255, np.uint8)
    hole = np.zeros((1, 4, 4), bool)
    hole[0, 0, 0] = True
    filled[0, 0, 0, 0] = 51  # a fifth of the range
    assert inpaint.hole_psnr(real, filled, hole) == pytest.approx(-20 * np.log10(0.2))
