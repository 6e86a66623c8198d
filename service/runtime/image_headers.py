"""What a picture file says of itself, read before a decoder sees a byte: format, size, frames, scans; and every cap on them.

Knows the structure of PNG, JPEG and WebP files, and no image library. It does not know what is done with the pixels.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twofold.service.runtime.errors import TooLarge, UndecodablePicture, UnsupportedMedia

if TYPE_CHECKING:
    from twofold.service.settings import Settings

PNG, JPEG, WEBP = "image/png", "image/jpeg", "image/webp"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PARTS = 16_384  # chunks of a PNG or WebP, segments of a JPEG: more is not a picture but a way to keep a parser busy

_SMALL_BYTES = 64 * 1024  # below both, decoding costs less than handing it to a thread
_SMALL_PIXELS = 128 * 128
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # within a scan FF 00 is data and FF D0..D7 only restarts it
_JPEG_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame: the sides
_JPEG_SOS, _JPEG_EOI = 0xDA, 0xD9  # start of scan, end of image
_JPEG_NO_LENGTH = frozenset({0x01, 0xD8})


@dataclass(frozen=True)
class Header:
    """What a file says of its picture: media type, sides in pixels, scans of a JPEG (1 for the others)."""

    media: str
    width: int
    height: int
    scans: int = 1


def read_header(data: bytes, max_scans: int) -> Header:
    """The header of a file whose format its content tells; nothing is decoded.

    Raises UnsupportedMedia (not PNG, JPEG or WebP), UndecodablePicture (damaged, or more than one frame), TooLarge (scans).
    """
    try:
        if data.startswith(PNG_SIGNATURE):
            return _png_header(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg_header(data, max_scans)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_header(data)
    except (struct.error, IndexError) as error:
        raise UndecodablePicture("The picture ends too early; send the whole file.") from error
    raise UnsupportedMedia("The picture is of an unsupported format; send PNG, JPEG or WebP.", allowed="PNG, JPEG, WebP")


def _animated() -> UndecodablePicture:
    return UndecodablePicture("The picture is animated; send a single frame.")


def _too_many_parts() -> UndecodablePicture:
    return UndecodablePicture(f"The picture has more than {MAX_PARTS} chunks or segments; save it again.", allowed=f"{MAX_PARTS} parts")


def _png_header(data: bytes) -> Header:
    width = height = 0
    for kind, at, _ in png_chunks(data):
        if kind == b"IHDR":
            width, height = struct.unpack_from(">II", data, at)
        elif kind == b"acTL":
            raise _animated()
    return Header(PNG, width, height)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset and length in bytes of the data of every chunk before IEND.

    Raises UndecodablePicture on a wrong CRC or too many chunks, struct.error without an end: a decoder would find these late or never.
    """
    at = len(PNG_SIGNATURE)
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
    for marker, at in _jpeg_segments(data):
        if marker in _JPEG_SOF:
            height, width = struct.unpack_from(">HH", data, at + 3)
        elif marker == _JPEG_SOS:
            scans += 1
            if scans > max_scans:
                raise TooLarge(f"The JPEG has more than {max_scans} scans; send it as a baseline JPEG.", allowed=f"{max_scans} scans")
    return Header(JPEG, width, height, scans)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and offset of the length of every segment; the entropy-coded data of a scan is skipped.

    Ends at the end marker, or where the file does: the decoder decides whether the scans are whole.
    """
    at = 2
    for _ in range(MAX_PARTS):
        found = _NEXT_MARKER.match(data, at) or _NEXT_MARKER.search(data, at)
        if found is None or data[found.end() - 1] == _JPEG_EOI:
            return
        marker, at = data[found.end() - 1], found.end()
        if marker in _JPEG_NO_LENGTH:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        yield marker, at
        at += max(length, 2)
    raise _too_many_parts()


def _webp_header(data: bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        if data[20] & 0x02:
            raise _animated()
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise UndecodablePicture("The WebP is damaged; send it again.")
    return Header(WEBP, width, height)


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset and length in bytes of the data of every chunk of a WebP. Raises UndecodablePicture when there are too many."""
    at = 12
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, at + 8, length
        at += 8 + length + length % 2
    raise _too_many_parts()


def check_picture(data: bytes, settings: Settings) -> Header:
    """The header of a picture within every cap of the settings. Raises as `read_header`, and TooLarge naming the cap in bytes or pixels."""
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
    """Whether decoding is cheap enough to run on the event loop."""
    return len(data) <= _SMALL_BYTES and header.width * header.height <= _SMALL_PIXELS
