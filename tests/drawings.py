"""Pictures for tests, written by Pillow or by hand, honest ones and hostile ones."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

NOISE = np.random.default_rng(7).integers(0, 256, (24, 20, 3), np.uint8)


def png(width: int = 8, height: int = 8, mode: str = "L", level: int = 128, **options: object) -> bytes:
    return save(Image.new(mode, (width, height), level), "PNG", **options)


def save(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def jpeg(**options: object) -> bytes:
    return save(Image.fromarray(NOISE), "JPEG", **options)


def webp(**options: object) -> bytes:
    return save(Image.fromarray(NOISE), "WEBP", **options)


def frames(form: str) -> bytes:
    first, second = (Image.fromarray(NOISE + shift) for shift in (0, 9))
    return save(first, form, save_all=True, append_images=[second], duration=100)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header says so much and whose pixels are `data`."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def jpeg_with_scans(scans: int) -> bytes:
    """A progressive JPEG that repeats its first scan until there are so many."""
    whole = jpeg(progressive=True)
    start = whole.index(b"\xff\xda")
    stop = start + 2
    while not (whole[stop] == 0xFF and whole[stop + 1] not in (0x00, *range(0xD0, 0xD8))):
        stop += 1
    have = whole.count(b"\xff\xda")
    return whole[:stop] + whole[start:stop] * (scans - have) + whole[stop:]
