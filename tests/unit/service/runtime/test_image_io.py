"""Bytes to pixels and pixels to bytes: formats by content, caps before decoding, lossless and repeatable output."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageSequence

from tests import drawings
from twofold.model.contract import Dims, Preprocessing
from twofold.service.runtime import image_headers, image_io
from twofold.service.runtime.errors import TooLarge, UndecodablePicture, UnsupportedMedia
from twofold.service.settings import Settings

DIMS, PRE = Dims(3, 2, 4, 8, 8, 1), Preprocessing((255,))
GREY = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
RGB = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
EVERYWHERE = np.ones((8, 8, 1), np.uint8)
RECIPE = '{"a":"<é & ü>"}'


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
@pytest.mark.parametrize("recipe", [RECIPE, None])
def test_a_png_is_lossless_and_carries_its_recipe(pixels, recipe):
    image = Image.open(io.BytesIO(image_io.encode(pixels, image_io.PNG, recipe)))
    assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)
    assert image.text.get("twofold") == recipe


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_a_webp_is_lossless_and_carries_its_recipe(pixels):
    image = Image.open(io.BytesIO(image_io.encode(pixels, image_io.WEBP, RECIPE)))
    assert np.array_equal(np.asarray(image.convert("RGB")), np.broadcast_to(pixels, (8, 8, 3)))
    (recipe,) = ElementTree.fromstring(image.info["xmp"]).iter("{urn:twofold:recipe}recipe")
    assert recipe.text == RECIPE
    assert "xmp" not in Image.open(io.BytesIO(image_io.encode(pixels, image_io.WEBP, None))).info


@pytest.mark.parametrize("media", [image_io.PNG, image_io.WEBP])
def test_the_same_pixels_give_the_same_bytes(media):
    assert image_io.encode(RGB, media, RECIPE) == image_io.encode(RGB.copy(), media, RECIPE)


MOVING = np.stack([np.roll(GREY, k, 1) for k in range(5)]), np.stack([np.roll(RGB, k, 1) for k in range(5)])


def carried_by(image):
    """The recipe that an animation carries."""
    if image.format == "GIF":
        return image.info.get("comment", b"").decode() or None
    found = ElementTree.fromstring(image.info["xmp"]).iter("{urn:twofold:recipe}recipe") if "xmp" in image.info else ()
    return next((one.text for one in found), None)


@pytest.mark.parametrize("pixels", MOVING, ids=["grey", "rgb"])
@pytest.mark.parametrize("media", [image_io.WEBP, image_io.GIF])
@pytest.mark.parametrize("recipe", [RECIPE, None])
def test_an_animation_shows_every_frame_for_its_time_and_carries_its_recipe(pixels, media, recipe):
    image = Image.open(io.BytesIO(image_io.animation(pixels, media, 8, recipe)))
    assert (image.n_frames, image.info["loop"], carried_by(image)) == (5, 0, recipe)
    lasted = []
    for k, frame in enumerate(ImageSequence.Iterator(image)):
        assert np.array_equal(np.asarray(frame.convert("RGB")), np.broadcast_to(pixels[k], (8, 8, 3)))  # few colours: a GIF has them all
        lasted.append(frame.info["duration"])
    assert sum(lasted) == (625 if media == image_io.WEBP else 620)  # five eighths of a second, in hundredths for a GIF


@pytest.mark.parametrize(("fps", "total_ms"), [(1, 5000), (50, 100), (60, 100)])
def test_a_gif_never_shows_a_frame_for_less_than_browsers_honour(fps, total_ms):
    image = Image.open(io.BytesIO(image_io.animation(MOVING[0], image_io.GIF, fps, None)))
    lasted = [frame.info["duration"] for frame in ImageSequence.Iterator(image)]
    assert (min(lasted) >= 20, sum(lasted)) == (True, total_ms)


@pytest.mark.parametrize("media", [image_io.WEBP, image_io.GIF])
def test_a_long_recipe_is_carried_whole(media):
    recipe = RECIPE * 3000
    assert carried_by(Image.open(io.BytesIO(image_io.animation(MOVING[0], media, 8, recipe)))) == recipe


@pytest.mark.parametrize("media", [image_io.WEBP, image_io.GIF])
def test_the_same_frames_give_the_same_bytes(media):
    assert image_io.animation(MOVING[1], media, 8, RECIPE) == image_io.animation(MOVING[1].copy(), media, 8, RECIPE)


@pytest.mark.parametrize(
    ("data", "media"),
    [(drawings.png(20, 24), image_io.PNG), (drawings.jpeg(), image_headers.JPEG), (drawings.jpeg(progressive=True), image_headers.JPEG)]
    + [(drawings.webp(lossless=lossless), image_io.WEBP) for lossless in (True, False)]
    + [(drawings.webp(exif=Image.Exif().tobytes() + b"\0\0", xmp=b"<x/>"), image_io.WEBP)],
)
def test_a_header_tells_format_and_size_by_content(data, media):
    header = image_headers.read_header(data, 100)
    assert (header.media, header.width, header.height) == (media, 20, 24)


@pytest.mark.parametrize("form", ["GIF", "TIFF", "BMP", "PPM", "ICO", "PDF"])
def test_another_format_is_unsupported(form):
    with pytest.raises(UnsupportedMedia):
        image_headers.read_header(drawings.save(Image.fromarray(drawings.NOISE), form), 100)


@pytest.mark.parametrize("data", [b"", b"\x00" * 1024, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe", b"8BPS"])
def test_what_is_no_picture_is_unsupported(data):
    with pytest.raises(UnsupportedMedia):
        image_headers.read_header(data, 100)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_more_than_one_frame_is_refused(form):
    with pytest.raises(UndecodablePicture, match="animated"):
        image_headers.read_header(drawings.frames(form), 100)


@pytest.mark.parametrize("data", [drawings.png(20, 24), drawings.jpeg(), drawings.webp(lossless=True), drawings.webp()])
def test_every_truncation_is_refused_as_undecodable_or_unsupported(data):
    for length in range(len(data) - 3):
        with pytest.raises((UndecodablePicture, UnsupportedMedia)):
            image_io.decode(data[:length], image_headers.check_picture(data[:length], Settings()), DIMS, PRE)


def test_a_wrong_checksum_in_any_chunk_is_refused():
    data = drawings.png(20, 24)
    for at in range(16, len(data) - 12):
        damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises((UndecodablePicture, TooLarge)):
            image_io.decode(damaged, image_headers.check_picture(damaged, Settings()), DIMS, PRE)


@pytest.mark.parametrize("scans", [10, 100])
def test_as_many_jpeg_scans_as_the_cap_are_taken(scans):
    assert image_headers.check_picture(drawings.jpeg_with_scans(scans), Settings()).scans == scans


@pytest.mark.parametrize("scans", [101, 200, 2000])
def test_one_jpeg_scan_more_than_the_cap_is_refused(scans):
    with pytest.raises(TooLarge, match="100 scans"):
        image_headers.check_picture(drawings.jpeg_with_scans(scans), Settings())


@pytest.mark.parametrize(
    ("fits", "too_large", "setting"),
    [
        (drawings.png_claiming(4096, 1), drawings.png_claiming(4097, 1), "4096 pixels"),
        (drawings.png_claiming(1, 4096), drawings.png_claiming(1, 4097), "4096 pixels"),
        (drawings.png_claiming(2100, 2000), drawings.png_claiming(2101, 2000), "4200000 pixels"),
    ],
)
def test_sides_and_pixels_are_refused_from_one_above_their_caps(fits, too_large, setting):
    image_headers.check_picture(fits, Settings())
    with pytest.raises(TooLarge, match=setting):
        image_headers.check_picture(too_large, Settings())


def test_the_cap_on_bytes_holds_to_the_byte():
    data = drawings.png(64, 64)
    padded = data[:-12] + drawings.chunk(b"teSt", bytes(2000 - 12 - len(data))) + data[-12:]
    assert len(padded) == 2000
    image_headers.check_picture(padded, Settings(max_picture_bytes=2000))
    with pytest.raises(TooLarge, match="1999 bytes"):
        image_headers.check_picture(padded, Settings(max_picture_bytes=1999))


# --------------------------------------------------------------------------------------------------------------- recipes


def carried(data: bytes, max_bytes: int = 1000) -> str | None:
    return image_io.read_recipe(data, image_headers.check_picture(data, Settings()), max_bytes)


def png_with(*chunks: bytes) -> bytes:
    whole = drawings.png()
    return whole[:33] + b"".join(chunks) + whole[33:]


def itxt(text: bytes, keyword: bytes = b"twofold", rest: bytes = b"\0\0\0\0\0") -> bytes:
    return drawings.chunk(b"iTXt", keyword + rest + text)


def xmp(inner: str) -> bytes:
    return drawings.webp(lossless=True, xmp=inner.encode())


@pytest.mark.parametrize("media", [image_io.PNG, image_io.WEBP])
@pytest.mark.parametrize("text", [RECIPE, "{}", '{"a":"&amp;lt; ]]> \\" \U0001f600"}', ""])
def test_a_recipe_is_read_back_as_it_was_written(media, text):
    assert carried(image_io.encode(GREY, media, text)) == text


@pytest.mark.parametrize("data", [drawings.png(), drawings.jpeg(), drawings.webp(), image_io.encode(GREY, image_io.WEBP, None)])
def test_a_picture_without_a_recipe_has_none(data):
    assert carried(data) is None


@pytest.mark.parametrize(
    "data",
    [
        png_with(itxt(b"{}", b"twofold2")),
        png_with(drawings.chunk(b"tEXt", b"twofold\0{}")),
        png_with(drawings.chunk(b"zTXt", b"twofold\0\0" + b"x" * 9)),
        png_with(drawings.chunk(b"iTXt", b"twofold")),
        png_with(drawings.chunk(b"iTXt", b"")),
        xmp("<x:xmpmeta/>"),
        xmp("<twofold:recipe>{}"),
        xmp("<twofold:recipe a='b'>{}</twofold:recipe>"),
    ],
    ids=range(8),
)
def test_a_text_of_another_kind_is_not_taken_for_a_recipe(data):
    assert carried(data) is None


@pytest.mark.parametrize(
    "data",
    [
        png_with(itxt(b"{}"), itxt(b"{}")),
        png_with(itxt(b"{}", rest=b"\0\1\0\0\0")),  # compressed
        png_with(itxt(b"{}", rest=b"\0\0\0en\0\0")),
        png_with(itxt(b"", rest=b"\0\0\0")),
        png_with(itxt(b"\xff")),
        xmp("<twofold:recipe>{}</twofold:recipe>" * 2),
        xmp("<twofold:recipe>&a;</twofold:recipe>"),
        xmp("<twofold:recipe>&#65;</twofold:recipe>"),
        xmp("<twofold:recipe>a > b</twofold:recipe>"),
        drawings.webp(lossless=True, xmp=b"<twofold:recipe>\xff</twofold:recipe>"),
    ],
    ids=range(10),
)
def test_a_recipe_that_is_doubled_compressed_or_damaged_is_refused(data):
    with pytest.raises(UndecodablePicture, match="recipe"):
        carried(data)


def test_entities_of_an_xml_bomb_are_never_expanded():
    entities = "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 10))
    with pytest.raises(UndecodablePicture):
        carried(xmp(f"<!DOCTYPE x [{entities}]><twofold:recipe>&a9;</twofold:recipe>"))


@pytest.mark.parametrize("media", [image_io.PNG, image_io.WEBP])
def test_a_recipe_is_taken_at_its_cap_and_refused_one_byte_above(media):
    assert carried(image_io.encode(GREY, media, "<" * 1000)) == "<" * 1000
    with pytest.raises(TooLarge, match="1000 bytes"):
        carried(image_io.encode(GREY, media, "<" * 1001))


def test_a_webp_of_endless_chunks_is_refused():
    data = drawings.webp(lossless=True, xmp=b"<x/>")
    with pytest.raises(UndecodablePicture, match="16384"):
        carried(data + b"teSt\0\0\0\0" * 16_384)


def test_every_truncation_of_a_recipe_is_refused_or_finds_none():
    data = image_io.encode(GREY, image_io.WEBP, RECIPE)
    for length in range(30, len(data)):
        try:
            found = image_io.read_recipe(data[:length], image_headers.Header(image_io.WEBP, 8, 8), 1000)
        except UndecodablePicture:
            continue
        assert found in (None, RECIPE)


def test_a_difference_is_measured_in_grey_levels_of_any_channel():
    for pixels in (GREY, RGB):
        for media in (image_io.PNG, image_io.WEBP):
            data = image_io.encode(pixels, media, None)
            header = image_headers.check_picture(data, Settings())
            assert image_io.max_difference(data, header, pixels, EVERYWHERE) == 0
            changed = pixels.copy()
            changed[3, 4, -1] += 7
            assert image_io.max_difference(data, header, changed, EVERYWHERE) == 7
            elsewhere = EVERYWHERE.copy()
            elsewhere[3, 4] = 0
            assert image_io.max_difference(data, header, changed, elsewhere) == 0


def test_colour_of_the_same_brightness_and_transparency_are_differences_too():
    coloured = np.repeat(GREY, 3, 2)
    coloured[0, 0] = (60, 0, 0)
    for image in (Image.fromarray(coloured), Image.fromarray(np.dstack([np.repeat(GREY, 3, 2), np.full((8, 8), 254, np.uint8)]))):
        data = drawings.save(image, "PNG")
        assert image_io.max_difference(data, image_headers.check_picture(data, Settings()), GREY, EVERYWHERE) > 0


def _png_of(chunks: int) -> bytes:
    whole = drawings.png()  # IHDR, IDAT, IEND
    return whole[:33] + drawings.chunk(b"teSt", b"") * (chunks - 3) + whole[33:]


def _jpeg_of(segments: int) -> bytes:
    return b"\xff\xd8" + b"\xff\xe0\x00\x02" * segments + drawings.jpeg()[2:]


@pytest.mark.parametrize("made", [_png_of, _jpeg_of])
def test_a_picture_of_endless_parts_is_refused_and_one_of_many_is_taken(made):
    image_headers.check_picture(made(16_000), Settings())
    with pytest.raises(UndecodablePicture, match="16384"):
        image_headers.check_picture(made(16_385), Settings())


def test_the_cap_on_chunks_holds_to_the_chunk():
    image_headers.check_picture(_png_of(16_384), Settings())
    with pytest.raises(UndecodablePicture, match="16384"):
        image_headers.check_picture(_png_of(16_385), Settings())


def test_a_header_that_contradicts_itself_is_refused():
    data = drawings.webp(lossless=True)
    with pytest.raises(UndecodablePicture, match="contradict"):
        image_io.decode(data, image_headers.Header(image_io.WEBP, 21, 24), DIMS, PRE)


@pytest.mark.parametrize("data", [drawings.png(), drawings.jpeg(), drawings.webp()])
def test_random_damage_is_never_anything_but_a_refusal(data):
    rng = np.random.default_rng(0)
    taken = 0
    for _ in range(300):
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), 3):
            damaged[at] = rng.integers(256)
        try:
            pixels, _ = image_io.decode(bytes(damaged), image_headers.check_picture(bytes(damaged), Settings()), DIMS, PRE)
        except (UndecodablePicture, UnsupportedMedia, TooLarge):
            continue
        taken += 1
        assert pixels.shape == (8, 8, 1)
    assert taken < 300


def test_a_bomb_is_refused_without_being_decoded():
    bomb = drawings.png_claiming(10_000, 10_000, bytes(10_000 * 10_001))
    assert len(bomb) < 300_000
    with pytest.raises(TooLarge):
        image_headers.check_picture(bomb, Settings())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "YCbCr", "HSV"])
def test_a_picture_in_memory_becomes_a_file_of_the_same_pixels(mode):
    image = Image.new("RGB", (5, 4), (200, 30, 90)).convert("L").convert(mode) if mode == "I;16" else Image.new("RGB", (5, 4)).convert(mode)
    found = image_io.to_image(image_io.to_file(image))
    assert found.size == (5, 4)
    assert np.array_equal(np.asarray(found.convert("RGB")), np.asarray(image.convert("RGB")))


def test_a_picture_in_memory_keeps_its_orientation():
    image = Image.new("L", (5, 4))
    image.getexif()[0x0112] = 6
    assert image_io.to_image(image_io.to_file(image)).getexif()[0x0112] == 6


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_an_array_becomes_a_file_of_the_same_pixels(shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert np.array_equal(image_io.to_array(image_io.to_file(array)).reshape(shape), array)
    assert np.array_equal(image_io.to_array(image_io.to_file(array[..., :] > 99)).reshape(shape), np.where(array > 99, 255, 0))


def test_a_recipe_is_found_where_it_was_written_and_nowhere_else():
    pixels = np.zeros((4, 5, 1), np.uint8)
    assert image_io.recipe_of(image_io.encode(pixels, image_io.PNG, RECIPE)) == RECIPE
    assert image_io.recipe_of(image_io.encode(pixels, image_io.WEBP, RECIPE)) == RECIPE
    for media in (image_io.PNG, image_io.WEBP):
        assert image_io.recipe_of(image_io.encode(pixels, media, None)) is None
    with pytest.raises(UndecodablePicture, match="recipes stand in nothing else"):
        image_io.recipe_of(b"\xff\xd8\xff")
