"""Bytes to pixels and pixels to bytes; the only room that knows Pillow.

Headers are read, and every cap checked, before a decoder sees a byte. It does not know where the bytes came from, what the
model makes of the pixels, or what a recipe says (a text to be carried along).

Longer than 250 lines because whatever touches the bytes of a picture file is here, and nowhere else.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from twofold.model.contract import Dims, Pixels, Preprocessing
from twofold.model.preprocessing import to_pixels
from twofold.service.runtime.errors import TooLarge, UndecodablePicture, UnsupportedMedia
from twofold.service.settings import Settings

PNG, JPEG, WEBP, GIF = "image/png", "image/jpeg", "image/webp", "image/gif"
SMALL_BYTES = 64 * 1024  # below both, decoding costs less than a thread's round trip
SMALL_PIXELS = 128 * 128
MAX_PARTS = 16_384  # chunks of a PNG, segments of a JPEG: more is not a picture but a way to keep a parser busy

PilPicture: TypeAlias = Image.Image  # for those who name it in a type

_GIF_TICK_MS, _GIF_SHORTEST_MS = 10, 20  # a GIF counts hundredths of a second, and browsers slow down what is shorter than two
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOUR = {1: 0, 3: 2}  # channels -> colour type
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # within a scan FF 00 is data and FF D0..D7 only restarts it
_JPEG_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_XMP_OPEN = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
_XMP_CLOSE = b"</rdf:RDF></x:xmpmeta>"
_XMP_RECIPE = re.compile(rb"<twofold:recipe>([^<]*)</twofold:recipe>")
_ITXT_NAME = b"twofold\0"
_ITXT_HEAD = _ITXT_NAME + b"\0\0\0\0"  # not compressed, no language, no translated keyword


@dataclass(frozen=True)
class Header:
    """What a picture says of itself before it is decoded: sides in pixels, JPEG scans (1 for the others)."""

    media: str
    width: int
    height: int
    scans: int = 1


def read_header(data: bytes, max_scans: int) -> Header:
    """Tell the format by content and read the header.

    Raises UnsupportedMedia (not PNG, JPEG or WebP), UndecodablePicture (damaged, or more than one frame), TooLarge (scans).
    """
    try:
        if data.startswith(_PNG_SIGNATURE):
            return _png_header(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg_header(data, max_scans)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_header(data)
    except (struct.error, IndexError) as error:
        raise UndecodablePicture("The picture ends too early; send the whole file.") from error
    raise UnsupportedMedia("The picture is of an unsupported format; send PNG, JPEG or WebP.", allowed="PNG, JPEG, WebP")


def _one_frame() -> UndecodablePicture:
    return UndecodablePicture("The picture is animated; send a single frame.")


def _too_many_parts() -> UndecodablePicture:
    return UndecodablePicture(f"The picture has more than {MAX_PARTS} chunks or segments; save it again.", allowed=f"{MAX_PARTS} parts")


def _png_header(data: bytes) -> Header:
    width = height = 0
    for kind, at, _ in _png_chunks(data):
        if kind == b"IHDR":
            width, height = struct.unpack_from(">II", data, at)
        elif kind == b"acTL":
            raise _one_frame()
    return Header(PNG, width, height)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset and length of every chunk before the end: a wrong CRC or a missing end would otherwise be found late or never."""
    at = len(_PNG_SIGNATURE)
    for _ in range(MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, at)
        (crc,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(memoryview(data)[at + 4 : at + 8 + length]) != crc:
            raise UndecodablePicture("The PNG is damaged: a checksum does not fit; send it again.")
        if kind == b"IEND":
            return
        yield kind, at + 8, length
        at += 12 + length
    raise _too_many_parts()


def _jpeg_header(data: bytes, max_scans: int) -> Header:
    width = height = scans = 0
    at = 2
    for _ in range(MAX_PARTS):
        found = _NEXT_MARKER.match(data, at) or _NEXT_MARKER.search(data, at)
        if found is None or data[found.end() - 1] == 0xD9:
            break  # no end marker: the decoder decides whether the scans are whole
        marker, at = data[found.end() - 1], found.end()
        if marker == 0x01 or marker == 0xD8:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if marker in _JPEG_SOF:
            height, width = struct.unpack_from(">HH", data, at + 3)
        elif marker == 0xDA:
            scans += 1
            if scans > max_scans:
                raise TooLarge(f"The JPEG has more than {max_scans} scans; send it as a baseline JPEG.", allowed=f"{max_scans} scans")
        at += max(length, 2)
    else:
        raise _too_many_parts()
    return Header(JPEG, width, height, scans)


def _webp_header(data: bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        if data[20] & 0x02:
            raise _one_frame()
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise UndecodablePicture("The WebP is damaged; send it again.")
    return Header(WEBP, width, height)


def check_picture(data: bytes, settings: Settings) -> Header:
    """Every cap, before decoding. Raises as `read_header`, and TooLarge naming the cap."""
    if len(data) > settings.max_picture_bytes:
        raise TooLarge(
            f"A picture may have {settings.max_picture_bytes} bytes; send a smaller file.", allowed=f"{settings.max_picture_bytes} bytes"
        )
    header = read_header(data, settings.max_jpeg_scans)
    if header.width < 1 or header.height < 1:
        raise UndecodablePicture("The picture has no size; send it again.")
    if max(header.width, header.height) > settings.max_side:
        raise TooLarge(f"A side may have {settings.max_side} pixels; scale the picture down.", allowed=f"{settings.max_side} pixels a side")
    if header.width * header.height > settings.max_pixels:
        raise TooLarge(f"A picture may have {settings.max_pixels} pixels; scale it down.", allowed=f"{settings.max_pixels} pixels")
    return header


def is_small(data: bytes, header: Header) -> bool:
    """Whether `decode` is cheap enough to run on the event loop."""
    return len(data) <= SMALL_BYTES and header.width * header.height <= SMALL_PIXELS


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
    """The decoded picture; whatever fails while it is open is its own fault. Raises UndecodablePicture."""
    try:
        with Image.open(io.BytesIO(data), formats=(header.media.removeprefix("image/").upper(),)) as image:
            if image.size != (header.width, header.height):
                raise UndecodablePicture("The picture's headers contradict one another; send it again.")
            image.load()
            yield image
    except UndecodablePicture:
        raise
    except Exception as error:  # Pillow raises a dozen kinds on damaged files; none of them is our fault
        raise UndecodablePicture("The picture cannot be decoded: it is cut short or damaged; send it again.") from error


# ------------------------------------------------------------------------------------------------------ carried recipes


def recipe_of(data: bytes) -> str | None:
    """The recipe that a picture or an animation made here carries, None without one. Raises UndecodablePicture.

    For those who know where the file is from; what comes from anyone is checked first, and given to `read_recipe`.
    """
    if data.startswith(b"GIF8"):
        with _opened(data) as image:
            comment: bytes = image.info.get("comment", b"")
        return comment.decode() if comment.startswith(b"{") else None
    media = PNG if data.startswith(_PNG_SIGNATURE) else WEBP if data[8:12] == b"WEBP" else None
    if media is None:
        raise _no_recipes()
    return read_recipe(data, Header(media, 0, 0), len(data))


def read_recipe(data: bytes, header: Header, max_bytes: int) -> str | None:
    """The recipe that a checked picture carries, None without one. Nothing is decompressed, and no XML parser is asked.

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
    for kind, at, length in _png_chunks(data):
        if kind == b"iTXt" and data.startswith(_ITXT_NAME, at):
            if length < len(_ITXT_HEAD) or not data.startswith(_ITXT_HEAD, at):  # compressed, or in a language
                raise _damaged_recipe()
            found.append(memoryview(data)[at + len(_ITXT_HEAD) : at + length])
    return found


def _xmp_recipes(data: bytes) -> list[bytes]:
    found = []
    for kind, at, length in _riff_chunks(data):
        if kind == b"XMP ":
            found += [_unescaped(text) for text in _XMP_RECIPE.findall(data, at, at + length)]
    return found


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset and length of every chunk of a WebP."""
    at = 12
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, at + 8, length
        at += 8 + length + length % 2
    raise _too_many_parts()


# --------------------------------------------------------------------------------------------------------------- encoding


def grid(n: int) -> tuple[int, int]:
    """Rows and columns of a sheet of n pictures: nearly square, wider than high."""
    rows = max(1, math.isqrt(n))
    return rows, -(-n // rows)


def sheet(pixels: Pixels, rows: int, cols: int, background: tuple[int, ...]) -> Pixels:
    """[n,H,W,C] in reading order -> [rows*H, cols*W, C]; cells beyond n show the background."""
    n, height, width, channels = pixels.shape
    cells = np.empty((rows * cols, height, width, channels), np.uint8)
    cells[:n] = pixels
    cells[n:] = np.asarray(background, np.uint8)
    return np.ascontiguousarray(
        cells.reshape(rows, cols, height, width, channels).swapaxes(1, 2).reshape(rows * height, cols * width, channels)
    )


def encode(pixels: Pixels, media: str, recipe: str | None) -> bytes:
    """uint8 [H,W,C] -> lossless PNG or WebP that carries the recipe; the same bytes for the same arguments."""
    return _png(pixels, recipe) if media == PNG else _webp(pixels, recipe)


def animation(pixels: Pixels, media: str, fps: int, recipe: str | None) -> bytes:
    """uint8 [n,H,W,C] -> WebP (lossless) or GIF (of 256 colours: lossless where grey) that runs for ever and carries the recipe.

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
    chunks = [_PNG_SIGNATURE, _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _PNG_COLOUR[channels], 0, 0, 0))]
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
    """What `_escaped` made `text` of. Raises UndecodablePicture when it did not."""
    plain = text.replace(b"&gt;", b">").replace(b"&lt;", b"<").replace(b"&amp;", b"&")
    if _escaped(plain) != text:
        raise _damaged_recipe()
    return plain


# ------------------------------------------------------------------------------------------------------------- made here


def to_image(data: bytes) -> Image.Image:
    """A picture made here, as a PIL picture. Raises UndecodablePicture."""
    image = _opened(data)
    image.load()
    return image


def to_array(data: bytes) -> Pixels:
    """A picture made here -> pixels uint8 [H,W,C] as they stand in its file (WebP is always RGB). Raises UndecodablePicture."""
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
