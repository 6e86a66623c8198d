"""Filling holes: what may change, in which rounds, and what a hole is."""

import base64

import numpy as np
import pytest

from twofold.service.runtime import inpainting
from twofold.service.runtime.errors import Invalid

rng = np.random.default_rng(0)


def test_every_round_gives_the_picture_as_it_stands_and_takes_the_hole_alone():
    pixels, look = rng.integers(0, 256, (2, 4, 4, 1), np.uint8), np.full((4, 4, 1), 7, np.uint8)
    holes = np.zeros((2, 4, 4), bool)
    holes[0, 1:3, 1:3] = holes[1, :, 0] = True
    filling = inpainting.Filling(pixels, holes, look, steps=3)
    shown = []
    for filled in filling:
        shown.append(filled)
        filling.put(np.full_like(pixels, 100 + len(shown)))
    assert [int(np.unique(one[holes])[0]) for one in shown] == [7, 101, 102]
    assert np.unique(filling.filled[holes]).tolist() == [103]
    for one in (*shown, filling.filled):
        assert np.array_equal(one[~holes], pixels[~holes])


def test_the_mean_picture_weighs_the_classes():
    pixels = np.stack([np.full((2, 2, 1), level, np.uint8) for level in (0, 100, 200)])
    assert inpainting.mean_picture(pixels, np.array([0.25, 0.25, 0.5], np.float32)).tolist() == np.full((2, 2, 1), 125).tolist()


def test_a_box_is_x_y_width_height_from_the_upper_left():
    hole = inpainting.hole_of_box([1, 2, 3, 1], 4, 5)
    assert hole.tolist() == [[False] * 5, [False] * 5, [False, True, True, True, False], [False] * 5]


@pytest.mark.parametrize("box", [[0, 0, 5, 4], [4, 3, 1, 1]])
def test_a_box_may_reach_every_edge(box):
    inpainting.hole_of_box(box, 4, 5)


@pytest.mark.parametrize("box", [[0, 0, 6, 1], [0, 0, 1, 5], [5, 0, 1, 1], [0, 4, 1, 1], [0, 0, 0, 1], [0, 0, 1, 0], [-1, 0, 1, 1]])
def test_a_box_that_is_not_within_the_picture_is_refused(box):
    with pytest.raises(Invalid, match="within the picture") as caught:
        inpainting.hole_of_box(box, 4, 5)
    assert caught.value.field == "box"


def test_a_mask_is_a_hole_where_it_is_brighter_than_half():
    assert inpainting.hole_of_mask(np.array([[[0], [127], [128], [255]]], np.uint8)).tolist() == [[False, False, True, True]]


def test_a_hole_of_nothing_or_everything_is_refused():
    hole = np.zeros((2, 2), bool)
    with pytest.raises(Invalid, match="no pixel to fill"):
        inpainting.check_hole(hole, "mask")
    with pytest.raises(Invalid, match="no pixel to begin from"):
        inpainting.check_hole(~hole, "mask")
    hole[0, 0] = True
    inpainting.check_hole(hole, "mask")
    inpainting.check_hole(~hole, "mask")


def test_a_packed_hole_holds_every_bit():
    hole = rng.random((5, 7)) > 0.5
    bits = np.unpackbits(np.frombuffer(base64.b64decode(inpainting.pack_hole(hole)), np.uint8), count=35)
    assert np.array_equal(bits.reshape(5, 7).astype(bool), hole)
