"""Any picture becomes the model's pixels, the same ones today and tomorrow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from twofold.model.contract import Dims, Preprocessing
from twofold.model.preprocessing import to_pixels


def dims(width=4, height=4, channels=1):
    return Dims(dim_s=1, dim_u=1, classes=1, height=height, width=width, channels=channels)


def grey(image, size=None, background=255, **settings):
    """Levels [[...]] of the grey picture, and the notes."""
    pixels, notes = to_pixels(image, dims(*(size or image.size)), Preprocessing(background=(background,), **settings))
    return pixels[..., 0].tolist(), notes


def colour(image, background=(255, 255, 255)):
    pixels, notes = to_pixels(image, dims(*image.size, channels=3), Preprocessing(background=background))
    return pixels.tolist(), notes


def of(mode, pixels, size=(2, 1)):
    image = Image.new(mode, size)
    image.putdata(pixels)
    return image


def palette(**info):
    image = of("P", [0, 1])
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.info |= info
    return image


GREY_CASES = [
    (of("1", [0, 255]), [0, 255], []),
    (of("L", [7, 200]), [7, 200], []),
    (of("LA", [(10, 255), (10, 0)]), [10, 255], ["transparency flattened"]),
    (of("LA", [(0, 128), (200, 64)]), [127, 241], ["transparency flattened"]),
    (palette(), [76, 29], ["converted to grey"]),
    (palette(transparency=1), [76, 255], ["transparency flattened", "converted to grey"]),
    (palette(transparency=b"\x00\x80"), [255, 142], ["transparency flattened", "converted to grey"]),
    (of("RGB", [(255, 0, 0), (0, 255, 0)]), [76, 150], ["converted to grey"]),
    (of("RGBA", [(255, 0, 0, 255), (0, 0, 0, 0)]), [76, 255], ["transparency flattened", "converted to grey"]),
    (of("CMYK", [(0, 0, 0, 0), (0, 255, 255, 0)]), [255, 76], ["converted to grey"]),
    (of("I;16", [0xFFFF, 0x12FF]), [255, 0x12], ["16 bits reduced to 8"]),
    (of("I", [70000, 256]), [255, 1], ["16 bits reduced to 8"]),
]


@pytest.mark.parametrize(("image", "levels", "notes"), GREY_CASES, ids=[f"{case[0].mode}-{i}" for i, case in enumerate(GREY_CASES)])
def test_every_mode_has_its_golden_grey_pixels(image, levels, notes):
    assert grey(image) == ([levels], notes)


COLOUR_CASES = [
    (of("1", [0, 255]), [[0, 0, 0], [255, 255, 255]]),
    (of("L", [7, 200]), [[7, 7, 7], [200, 200, 200]]),
    (of("LA", [(10, 255), (10, 0)]), [[10, 10, 10], [1, 2, 3]]),
    (palette(), [[255, 0, 0], [0, 0, 255]]),
    (palette(transparency=0), [[1, 2, 3], [0, 0, 255]]),
    (of("RGB", [(9, 8, 7), (6, 5, 4)]), [[9, 8, 7], [6, 5, 4]]),
    (of("RGBA", [(9, 8, 7, 255), (9, 8, 7, 0)]), [[9, 8, 7], [1, 2, 3]]),
    (of("CMYK", [(0, 255, 255, 0), (0, 0, 0, 255)]), [[255, 0, 0], [0, 0, 0]]),
    (of("I;16", [0xFFFF, 0x0100]), [[255, 255, 255], [1, 1, 1]]),
]


@pytest.mark.parametrize(("image", "levels"), COLOUR_CASES, ids=[f"{case[0].mode}-{i}" for i, case in enumerate(COLOUR_CASES)])
def test_every_mode_has_its_golden_colours(image, levels):
    assert colour(image, background=(1, 2, 3))[0] == [levels]


UPRIGHT = [[10, 20, 30], [40, 50, 60]]
STORED = {  # what a camera stores for orientation 1..8, so that the picture is UPRIGHT
    1: [[10, 20, 30], [40, 50, 60]],
    2: [[30, 20, 10], [60, 50, 40]],
    3: [[60, 50, 40], [30, 20, 10]],
    4: [[40, 50, 60], [10, 20, 30]],
    5: [[10, 40], [20, 50], [30, 60]],
    6: [[30, 60], [20, 50], [10, 40]],
    7: [[60, 30], [50, 20], [40, 10]],
    8: [[40, 10], [50, 20], [60, 30]],
}


def with_orientation(levels, value):
    image = Image.fromarray(np.array(levels, np.uint8))
    image.getexif()[0x0112] = value
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_set_upright(orientation):
    levels, notes = grey(with_orientation(STORED[orientation], orientation), size=(3, 2))
    assert levels == UPRIGHT
    assert notes == (["rotated by EXIF"] if orientation > 1 else [])


@pytest.mark.parametrize("nonsense", [0, 9, 65535])
def test_a_nonsense_orientation_is_ignored(nonsense):
    assert grey(with_orientation(UPRIGHT, nonsense), size=(3, 2)) == (UPRIGHT, [])


def test_a_wide_picture_loses_its_sides_and_a_tall_one_its_ends():
    wide = of("L", [0, 0, 9, 9, 0, 0], (6, 1))
    assert grey(wide, size=(1, 1), filter="box") == ([[9]], ["6x1 cropped to 1x1"])
    levels, notes = grey(of("L", [0, 5, 6, 0] * 2, (4, 2)), size=(2, 2), filter="box")
    assert (levels, notes) == ([[5, 6], [5, 6]], ["4x2 cropped to 2x2"])
    levels, notes = grey(of("L", [0, 0, 5, 6, 7, 8, 0, 0], (2, 4)), size=(2, 2), filter="box")
    assert (levels, notes) == ([[5, 6], [7, 8]], ["2x4 cropped to 2x2"])


def test_an_odd_aspect_is_cropped_to_the_bundles():
    levels, notes = grey(of("L", [0, 10, 20, 30, 0, 0, 10, 20, 30, 0], (5, 2)), size=(3, 2), filter="nearest")
    assert (levels, notes) == ([[10, 20, 30], [10, 20, 30]], ["5x2 cropped to 3x2"])


def test_without_cropping_the_picture_is_stretched():
    levels, notes = grey(of("L", [0, 10, 20, 30] * 2, (4, 2)), size=(2, 2), filter="box", crop="none")
    assert (levels, notes) == ([[5, 25], [5, 25]], ["4x2 resized to 2x2"])


def test_one_pixel_fills_the_picture():
    assert grey(of("L", [77], (1, 1)), size=(3, 2)) == ([[77] * 3] * 2, ["1x1 resized to 3x2"])


def test_lanczos_has_its_golden_pixels():
    ramp = Image.fromarray((np.arange(64, dtype=np.uint8) * 4).reshape(8, 8))
    assert grey(ramp, size=(3, 3))[0] == [[29, 40, 51], [115, 126, 137], [201, 212, 223]]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.sampled_from(["L", "RGB", "RGBA", "P", "CMYK"]))
def test_any_size_becomes_the_bundles_size(width, height, to_width, to_height, mode):
    image = Image.new(mode, (width, height))
    for channels, background in ((1, (255,)), (3, (255, 255, 255))):
        pixels, _ = to_pixels(image, dims(to_width, to_height, channels), Preprocessing(background=background))
        assert pixels.shape == (to_height, to_width, channels)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert len(np.unique(pixels)) == 1
