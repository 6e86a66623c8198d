"""Training and service see the same picture: the same file becomes the same pixels on both roads."""

from __future__ import annotations

import io

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image

from twofold.model.contract import Dims, Preprocessing
from twofold.service.runtime import image_headers, image_io
from twofold.service.settings import Settings
from twofold.training.data.dataset import load

RNG = np.random.default_rng(3)
ORIENTATION = 0x0112


def noise(height: int, width: int, channels: int) -> np.ndarray:
    """Smooth enough that resampling matters, rough enough that a pixel's shift shows."""
    levels = RNG.integers(0, 256, (height, width, channels)).astype(float)
    return ((levels + np.roll(levels, 1, 0) + np.roll(levels, 1, 1)) / 3).astype(np.uint8)


def save(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return save(Image.fromarray(noise(30, 44, 3)), "JPEG", exif=exif, quality=90)


def palette(transparency: object = None) -> bytes:
    image = Image.fromarray(noise(20, 33, 3)).quantize(16)
    return save(image, "PNG", **({} if transparency is None else {"transparency": transparency}))


ODD = {
    "grey": save(Image.fromarray(noise(28, 28, 1)[..., 0]), "PNG"),
    "colour": save(Image.fromarray(noise(28, 28, 3)), "PNG"),
    "wide": save(Image.fromarray(noise(20, 61, 3)), "PNG"),
    "tall": save(Image.fromarray(noise(97, 31, 1)[..., 0]), "PNG"),
    "one pixel": save(Image.new("RGB", (1, 1), (200, 10, 90)), "PNG"),
    "transparent": save(Image.fromarray(noise(40, 36, 4)), "PNG"),
    "grey and transparent": save(Image.fromarray(noise(30, 30, 2)), "PNG"),
    "palette": palette(),
    "palette with a transparent colour": palette(3),
    "palette of half-transparent colours": palette(bytes(range(0, 256, 16))),
    "16 bits": save(Image.fromarray(RNG.integers(0, 65536, (32, 40), np.uint16)), "PNG"),
    "1 bit": save(Image.fromarray(noise(33, 29, 1)[..., 0]).convert("1"), "PNG"),
    "CMYK": save(Image.fromarray(noise(32, 32, 4), "CMYK"), "JPEG", quality=95),
    "grey JPEG": save(Image.fromarray(noise(50, 35, 1)[..., 0]), "JPEG", progressive=True),
    "WebP": save(Image.fromarray(noise(40, 40, 3)), "WEBP", quality=80),
    "transparent WebP": save(Image.fromarray(noise(40, 52, 4)), "WEBP", lossless=True),
    **{f"EXIF orientation {value}": turned(value) for value in (1, 2, 3, 4, 5, 6, 7, 8, 9)},
}
BUNDLES = {
    "grey, as it ships": (Dims(1, 1, 2, 28, 28, 1), Preprocessing((0,))),
    "grey, stretched": (Dims(1, 1, 2, 20, 36, 1), Preprocessing((130,), "bilinear", "none")),
    "colour": (Dims(1, 1, 2, 32, 24, 3), Preprocessing((255, 128, 0), "box")),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["a", "b"])})
    cells = [{"bytes": content, "path": None} for content in ODD.values()]
    rows = Dataset.from_dict({"image": cells, "label": [k % 2 for k in range(len(cells))]}, features=features)
    rows.to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("bundle", BUNDLES)
def test_every_odd_picture_becomes_the_same_pixels_in_training_and_in_the_service(data, bundle):
    dims, preprocessing = BUNDLES[bundle]
    trained = load(data, "train", dims, preprocessing).pixels
    assert len(trained) == len(ODD)
    for (name, content), pixels in zip(ODD.items(), trained, strict=True):
        served, _ = image_io.decode(content, image_headers.check_picture(content, Settings()), dims, preprocessing)
        np.testing.assert_array_equal(served, pixels, err_msg=name)
        assert served.shape == (dims.height, dims.width, dims.channels)


def test_the_odd_pictures_are_odd(data):
    dims, preprocessing = BUNDLES["colour"]
    seen = {
        name: image_io.decode(content, image_headers.check_picture(content, Settings()), dims, preprocessing)
        for name, content in ODD.items()
    }
    text = " ".join(note for _, notes in seen.values() for note in notes)
    assert all(words in text for words in ("rotated by EXIF", "16 bits reduced", "transparency flattened", "cropped to 24x32"))
    assert len({pixels.tobytes() for pixels, _ in seen.values()}) == len(ODD)
