"""Pictures on one sheet: their order, their gaps and their background."""

from __future__ import annotations

import numpy as np
import pytest

from twofold.image_grid import shape_for, sheet


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (5, (2, 3)), (9, (3, 3)), (10, (3, 4))])
def test_a_sheet_is_nearly_square_and_never_higher_than_wide(count, shape):
    assert shape_for(count) == shape


def test_pictures_are_in_reading_order_and_spare_cells_show_the_background():
    pictures = np.arange(3, dtype=np.uint8).repeat(4).reshape(3, 2, 2, 1)
    found = sheet(pictures, 2, background=(9,))
    assert found[..., 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 9, 9], [2, 2, 9, 9]]


def test_gaps_are_between_cells_and_the_margin_is_around_them():
    pictures = np.zeros((4, 1, 1, 3), np.uint8)
    found = sheet(pictures, 2, background=(1, 2, 3), gap=1, margin=2)
    assert found.shape == (7, 7, 3)
    inside = np.zeros((7, 7), bool)
    inside[2::2, 2::2] = True
    inside[6:] = inside[:, 6:] = False
    assert (found[inside] == 0).all()
    assert (found[~inside] == [1, 2, 3]).all()
