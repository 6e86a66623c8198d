"""Every format that people have is read by its content, in its right colours, and metadata is never in the way."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from twofold.model.contract import Dims, Preprocessing
from twofold.training.config.schema import DataConfig
from twofold.training.data.dataset import load, load_for
from twofold.training.data.decoding import Unreadable, decode, is_picture, pixels_of

RED, BACKGROUND = (250, 10, 20), (0, 0, 255)
DIMS, PREPROCESSING = Dims(1, 1, 2, 24, 32, 3), Preprocessing(background=BACKGROUND)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def seen(data: bytes) -> list[int]:
    """The middle pixel as the model gets it."""
    return pixels_of(decode(data), DIMS, PREPROCESSING)[12, 16].tolist()


def red(mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", (32, 24), RED).convert(mode)


FORMATS = {
    "PNG": {},
    "JPEG": {"quality": 95},
    "WEBP": {"lossless": True},
    "BMP": {},
    "PPM": {},
    "TIFF": {},
    "GIF": {},
    "AVIF": {"quality": 95},
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_known_by_its_content(form):
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    data = saved(red(), form, **FORMATS[form])
    assert is_picture(data[:16])
    assert np.abs(np.subtract(seen(data), RED)).max() <= 4


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_compressed_tiff_is_read(compression):
    assert np.abs(np.subtract(seen(saved(red(), "TIFF", compression=compression)), RED)).max() <= 6


@pytest.mark.parametrize("form", ["MPO", "TIFF", "GIF"])
def test_of_several_pictures_in_a_file_the_first_counts(form):
    data = saved(red(), form, save_all=True, append_images=[Image.new("RGB", (32, 24), (0, 255, 0))])
    assert np.abs(np.subtract(seen(data), RED)).max() <= 4


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_an_animation_of_a_format_of_photographs_is_refused(form):
    with pytest.raises(Unreadable, match="animated"):
        decode(saved(red(), form, save_all=True, append_images=[Image.new("RGB", (32, 24))]))


@pytest.mark.parametrize("data", [b"", b"text", b"<svg></svg>", b"%PDF-1.7", b"%!PS-Adobe-3.0", b"PAR1", b"\x00\x00\x01\x00"])
def test_what_is_no_format_of_the_list_is_no_picture(data):
    assert not is_picture(data)
    with pytest.raises(Unreadable, match="damaged, or not PNG, JPEG"):
        decode(data)


# --------------------------------------------------------------------------------------------------- modes, transparency


@pytest.mark.parametrize(
    ("image", "form", "expected"),
    [
        (Image.fromarray(np.full((24, 32), 0x80FF, np.uint16)), "PNG", [128] * 3),
        (Image.fromarray(np.full((24, 32), 0x80FF, np.uint16)), "TIFF", [128] * 3),
        (Image.fromarray(np.full((24, 32), 0x80FF, np.uint16)), "PPM", [128] * 3),
        (red().quantize(4), "BMP", list(RED)),
        (red("CMYK"), "TIFF", list(RED)),
        (Image.new("1", (32, 24), 1), "TIFF", [255] * 3),
        (Image.new("1", (32, 24), 1), "PPM", [255] * 3),
        (Image.new("RGBA", (32, 24), (*RED, 0)), "TIFF", list(BACKGROUND)),
        (Image.new("RGBA", (32, 24), (*RED, 0)), "GIF", list(BACKGROUND)),
        (Image.new("RGBA", (32, 24), (*RED, 0)), "AVIF", list(BACKGROUND)),
        (Image.new("LA", (32, 24), (200, 0)), "PNG", list(BACKGROUND)),
    ],
)
def test_depths_palettes_and_transparency_end_in_the_right_pixels(image, form, expected):
    assert np.abs(np.subtract(seen(saved(image, form)), expected)).max() <= 3


def test_pixels_that_are_fractions_are_refused():
    with pytest.raises(Unreadable, match="fractions"):
        decode(saved(Image.new("F", (8, 8), 0.5), "TIFF"))


# --------------------------------------------------------------------------------------------------------------- metadata

ODD_TAGS = {  # tag, type, count, value
    "resolution -1/0": (0x011A, 10, 1, struct.pack("<ii", -1, 0)),
    "resolution as text": (0x011A, 2, 4, b"72\0\0"),
    "resolution unit undefined": (0x0128, 7, 4, b"abcd"),
    "software as a fraction": (0x0131, 11, 1, struct.pack("<f", 1.5)),
}


def with_exif(orientation: int, tag: tuple[int, int, int, bytes]) -> bytes:
    """A JPEG of a left half that is dark and a right half that is bright, 48 wide and 32 high, with two EXIF tags."""
    entries = sorted([(0x0112, 3, 1, struct.pack("<HH", orientation, 0)), tag])
    at, body, table = 8 + 2 + 12 * len(entries) + 4, b"", struct.pack("<H", len(entries))
    for number, kind, count, value in entries:
        inline = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", at + len(body))
        body += value if len(value) > 4 else b""
        table += struct.pack("<HHI", number, kind, count) + inline
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + table + struct.pack("<I", 0) + body
    levels = np.repeat(np.array([[20, 230]], np.uint8), 24, axis=1).repeat(32, axis=0)
    plain = saved(Image.fromarray(levels), "JPEG", quality=95)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]


@pytest.mark.parametrize("tag", ODD_TAGS)
def test_a_picture_with_an_odd_tag_is_turned_upright_all_the_same(tag):
    upright = pixels_of(decode(with_exif(6, ODD_TAGS[tag])), Dims(1, 1, 2, 48, 32, 1), Preprocessing(background=(0,)))[..., 0]
    assert upright[:20].mean() < 40  # what was at the left is at the top
    assert upright[28:].mean() > 210


def test_exif_that_cannot_be_read_leaves_the_pixels_alone():
    data = saved(red(), "PNG", exif=b"Exif\0\0no such thing")
    assert seen(data) == list(RED)


# ---------------------------------------------------------------------------------------------------------------- colours


def wide_gamut() -> bytes:
    """A profile that swaps red and blue: sRGB's own with the tags of two primaries exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    first, last = data.index(b"rXYZ"), data.index(b"bXYZ")
    data[first : first + 4], data[last : last + 4] = b"bXYZ", b"rXYZ"
    return bytes(data)


@pytest.mark.parametrize("form", ["TIFF", "AVIF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_tagged_colours_become_those_of_srgb(form, mode):
    data = saved(red().convert(mode), form, icc_profile=wide_gamut(), **({"quality": 95} if form == "AVIF" else {}))
    assert np.abs(np.subtract(seen(data), RED[::-1])).max() <= 6


@pytest.mark.parametrize("profile", [b"nonsense", wide_gamut()[:200]])
def test_a_broken_profile_is_ignored(profile):
    assert seen(saved(red(), "TIFF", icc_profile=profile)) == list(RED)


# ------------------------------------------------------------------------------------------------------------ in a folder


def test_a_folder_of_all_formats_under_any_names_is_read_whole(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(8):
            form = ("PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF", "GIF", "PNG")[i]
            (tmp_path / name / f"picture {i}").write_bytes(saved(red(), form))
    train, validation = load_for(DataConfig(), tmp_path)
    assert train.seen.skipped == ()
    assert len(train) + len(validation) + len(load(tmp_path, "test")) == 16


def test_whatever_one_file_raises_is_its_own_fault(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(8):
            Image.new("RGB", (16, 16), (i, i, i)).save(tmp_path / name / f"{i}.png")
    bad = saved(Image.new("RGB", (16, 16), (77, 77, 77)), "PNG")
    (tmp_path / "a" / "bad.png").write_bytes(bad)
    real = Image.Image.convert

    def convert(self, *args, **options):
        if self.getpixel((0, 0))[:3] == (77, 77, 77):
            raise RuntimeError("something that no one thought of")
        return real(self, *args, **options)

    monkeypatch.setattr(Image.Image, "convert", convert)
    dims = Dims(1, 1, 2, 16, 16, 1)
    skipped = (*load(tmp_path, "train", dims).seen.skipped, *load(tmp_path, "test", dims).seen.skipped)
    assert skipped == (("a/bad.png", "damaged"),)
