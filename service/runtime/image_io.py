"""Bytes to pixels and pixels to bytes: the only module of the service that imports Pillow.

It decodes what `image_headers` has checked. It does not know where the bytes came from, what the model makes of the pixels, or what a
recipe says: that is a text to be carried along.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from twofold.model.contract import Dims, Pixels, Preprocessing
from twofold.model.preprocessing import to_pixels
from twofold.service.runtime.errors import TooLarge, UndecodablePicture
from twofold.service.runtime.image_headers import PNG as PNG  # the media types that are written belong to this interface too
from twofold.service.runtime.image_headers import PNG_SIGNATURE, Header, png_chunks, riff_chunks
from twofold.service.runtime.image_headers import WEBP as WEBP

GIF = "image/gif"

PilPicture: TypeAlias = Image.Image  # for modules that need the type and must not import Pillow

_GIF_TICK_MS, _GIF_SHORTEST_MS = 10, 20  # a GIF counts hundredths of a second, and browsers slow down what is shorter than two
_PNG_COLOUR = {1: 0, 3: 2}  # channels -> colour type
_XMP_OPEN = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
_XMP_CLOSE = b"</rdf:RDF></x:xmpmeta>"
_XMP_RECIPE = re.compile(rb"<twofold:recipe>([^<]*)</twofold:recipe>")
_ITXT_NAME = b"twofold\0"
_ITXT_HEAD = _ITXT_NAME + b"\0\0\0\0"  # not compressed, no language, no translated keyword


def decode(data: bytes, header: Header, dims: Dims, preprocessing: Preprocessing) -> tuple[Pixels, list[str]]:
    """A checked picture -> pixels uint8 [H,W,C] and notes on what was done. Raises UndecodablePicture."""
    with _loaded(data, header) as image:
        return to_pixels(image, dims, preprocessing)


def max_difference(data: bytes, header: Header, pixels: Pixels, compared: Pixels) -> int:
    """How far a checked picture, as it stands in its file, is from `pixels` uint8 [H,W,C] of its size: grey levels, of all channels.

    Colours count where `compared` [H,W,1] is not 0; transparency is a difference everywhere. Raises UndecodablePicture.
    """
    with _loaded(data, header) as image:
        shown = np.asarray(image.convert("RGBA"))
    expected = np.full(shown.shape, 255, np.uint8)
    expected[:, :, :3] = np.where(compared, pixels, shown[:, :, :3])
    return int((np.maximum(shown, expected) - np.minimum(shown, expected)).max())


@contextmanager
def _loaded(data: bytes, header: Header) -> Iterator[Image.Image]:
    """The decoded picture. Any exception while it is open is the fault of its data. Raises UndecodablePicture."""
    try:
        with Image.open(io.BytesIO(data), formats=(header.media.removeprefix("image/").upper(),)) as image:
            if image.size != (header.width, header.height):
                raise UndecodablePicture("The picture's headers contradict one another; send it again.")
            image.load()
            yield image
    except UndecodablePicture:
        raise
    except Exception as error:  # Pillow raises a dozen kinds on damaged files
        raise UndecodablePicture("The picture cannot be decoded: it is cut short or damaged; send it again.") from error


# ---------------------------------------------------------------------------------------------- recipes in pictures


def recipe_of(data: bytes) -> str | None:
    """The recipe that a picture or an animation made here carries, None without one. Raises UndecodablePicture.

    For files of a known origin; what a client sent is checked by `image_headers` first and given to `read_recipe`.
    """
    if data.startswith(b"GIF8"):
        with _opened(data) as image:
            comment: bytes = image.info.get("comment", b"")
        return comment.decode() if comment.startswith(b"{") else None
    media = PNG if data.startswith(PNG_SIGNATURE) else WEBP if data[8:12] == b"WEBP" else None
    if media is None:
        raise _no_recipes()
    return read_recipe(data, Header(media, 0, 0), len(data))


def read_recipe(data: bytes, header: Header, max_bytes: int) -> str | None:
    """The recipe that a checked picture carries, None without one. Nothing is decompressed, and no XML parser is used.

    Raises TooLarge above `max_bytes`; UndecodablePicture when there are two, or one in another form than `encode` gives it.
    """
    carried: Sequence[bytes | memoryview] = ()
    if header.media == PNG:
        carried = _itxt_recipes(data)
    elif header.media == WEBP:
        carried = _xmp_recipes(data)
    if not carried:
        return None
    if len(carried) > 1:
        raise UndecodablePicture("The picture carries two recipes; send it as it was made.")
    if len(carried[0]) > max_bytes:
        raise TooLarge(f"A picture's recipe may have {max_bytes} bytes.", allowed=f"{max_bytes} bytes")
    try:
        return str(carried[0], "utf-8")
    except UnicodeDecodeError as error:
        raise _damaged_recipe() from error


def _damaged_recipe() -> UndecodablePicture:
    return UndecodablePicture("The picture's recipe is damaged, or not written here; send the picture as it was made.")


def _itxt_recipes(data: bytes) -> list[memoryview]:
    found = []
    for kind, at, length in png_chunks(data):
        if kind == b"iTXt" and data.startswith(_ITXT_NAME, at):
            if length < len(_ITXT_HEAD) or not data.startswith(_ITXT_HEAD, at):  # compressed, or with a language
                raise _damaged_recipe()
            found.append(memoryview(data)[at + len(_ITXT_HEAD) : at + length])
    return found


def _xmp_recipes(data: bytes) -> list[bytes]:
    found = []
    for kind, at, length in riff_chunks(data):
        if kind == b"XMP ":
            found += [_unescaped(text) for text in _XMP_RECIPE.findall(data, at, at + length)]
    return found


# --------------------------------------------------------------------------------------------------------------- encoding


def encode(pixels: Pixels, media: str, recipe: str | None) -> bytes:
    """uint8 [H,W,C] -> lossless PNG or WebP that carries the recipe; the same bytes for the same arguments."""
    return _png(pixels, recipe) if media == PNG else _webp(pixels, recipe)


def animation(pixels: Pixels, media: str, fps: int, recipe: str | None) -> bytes:
    """uint8 [n,H,W,C] -> WebP (lossless) or GIF (of 256 colours: lossless where grey) that repeats for ever and carries the recipe.

    The same bytes for the same arguments. A GIF runs at 50 frames a second at most.
    """
    tick, shortest = (_GIF_TICK_MS, _GIF_SHORTEST_MS) if media == GIF else (1, 1)
    starts = [tick * round(k * 1000 / fps / tick) for k in range(len(pixels) + 1)]  # rounded as a whole: no drift
    options = {"save_all": True, "loop": 0, "duration": [max(shortest, stop - start) for start, stop in pairwise(starts)]}
    frames = [_image(one) for one in pixels]
    stream = io.BytesIO()
    if media == GIF:
        comment = b"" if recipe is None else recipe.encode()
        frames[0].save(stream, "GIF", append_images=frames[1:], comment=comment, **options)
    else:
        frames = [frame.convert("RGB") for frame in frames]
        frames[0].save(stream, "WEBP", append_images=frames[1:], lossless=True, quality=50, method=2, xmp=_xmp(recipe), **options)
    return stream.getvalue()


def _png(pixels: Pixels, recipe: str | None) -> bytes:
    # Written by hand: a tenth of Pillow's time for small pictures, and the bytes depend on zlib alone.
    height, width, channels = pixels.shape
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # filter type 0, then the row
    lines[:, 1:] = pixels.reshape(height, -1)
    chunks = [PNG_SIGNATURE, _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _PNG_COLOUR[channels], 0, 0, 0))]
    if recipe is not None:
        chunks.append(_chunk(b"iTXt", _ITXT_HEAD + recipe.encode()))
    chunks += (_chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)), _chunk(b"IEND", b""))
    return b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _webp(pixels: Pixels, recipe: str | None) -> bytes:
    stream = io.BytesIO()
    _image(pixels).convert("RGB").save(stream, "WEBP", lossless=True, quality=50, method=2, xmp=_xmp(recipe))
    return stream.getvalue()


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _xmp(recipe: str | None) -> bytes:
    if recipe is None:
        return b""
    described = b'<rdf:Description xmlns:twofold="urn:twofold:recipe"><twofold:recipe>%s</twofold:recipe></rdf:Description>'
    return _XMP_OPEN + described % _escaped(recipe.encode()) + _XMP_CLOSE


def _escaped(text: bytes) -> bytes:
    return text.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")


def _unescaped(text: bytes) -> bytes:
    """The inverse of `_escaped`. Raises UndecodablePicture for a text that `_escaped` cannot have written."""
    plain = text.replace(b"&gt;", b">").replace(b"&lt;", b"<").replace(b"&amp;", b"&")
    if _escaped(plain) != text:
        raise _damaged_recipe()
    return plain


# ------------------------------------------------------------------------------------- pictures made by the service


def to_image(data: bytes) -> Image.Image:
    """A picture made by the service as a PIL picture. Raises UndecodablePicture."""
    image = _opened(data)
    image.load()
    return image


def to_array(data: bytes) -> Pixels:
    """A picture made by the service -> pixels uint8 [H,W,C] as they stand in its file (WebP is always RGB). Raises UndecodablePicture."""
    pixels = np.asarray(to_image(data))
    return pixels.reshape(*pixels.shape[:2], -1)


def to_file(picture: Image.Image | NDArray[Any]) -> bytes:
    """A PIL picture, or an array uint8 or bool [H,W] or [H,W,C], -> lossless PNG that keeps mode and EXIF. Raises TypeError."""
    if isinstance(picture, np.ndarray):
        levels = picture.astype(np.uint8) * 255 if picture.dtype == np.bool_ else picture
        if levels.dtype != np.uint8 or not (levels.ndim == 2 or (levels.ndim == 3 and levels.shape[2] in (1, 3, 4))):
            raise TypeError("an array must be uint8 or bool, [H,W] or [H,W,C] with C 1, 3 or 4")
        picture = Image.fromarray(levels[:, :, 0] if levels.shape[2:] == (1,) else levels)
    if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):  # PNG has none of these
        picture = picture.convert("RGB")
    stream = io.BytesIO()
    picture.save(stream, "PNG", exif=picture.getexif())
    return stream.getvalue()


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=("PNG", "WEBP", "GIF"))
    except UnidentifiedImageError:
        raise _no_recipes() from None


def _no_recipes() -> UndecodablePicture:
    return UndecodablePicture("This is no PNG, WebP or GIF; recipes stand in nothing else.")
