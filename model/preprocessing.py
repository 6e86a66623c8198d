"""From any picture to the model's pixels, in training and service alike.

The only module of `model` that imports Pillow. It knows nothing of files, formats or caps: the caller has decoded and checked the picture.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from twofold.model.contract import Dims, Pixels, Preprocessing

_ORIENTATION = 0x0112
_UPRIGHT = {  # EXIF orientation -> what turns the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RESAMPLING = {name: getattr(Image.Resampling, name.upper()) for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")}


def to_pixels(image: Image.Image, dims: Dims, preprocessing: Preprocessing) -> tuple[Pixels, list[str]]:
    """Any PIL picture -> pixels uint8 [H,W,C] and one note per change, in words.

    In order: EXIF orientation, 16-bit to 8-bit, alpha flattened on the bundle's background, grey or RGB, centre crop to the
    aspect of the bundle, resize.
    """
    notes: list[str] = []
    was_grey = image.mode in ("1", "L", "LA")
    turn = _turn(image)
    if turn is not None:
        image = image.transpose(turn)
        notes.append("rotated by EXIF")
    if image.mode.startswith("I;16") or image.mode == "I":
        # 16-bit grey: keep the upper byte (Pillow's own conversion would clip everything above 255 to white)
        levels = np.asarray(image, dtype=np.int64).clip(0, 65535) >> 8
        image = Image.fromarray(levels.astype(np.uint8))
        notes.append("16 bits reduced to 8")
    mode = "L" if dims.channels == 1 else "RGB"
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        background = preprocessing.background if dims.channels == 3 else preprocessing.background * 3
        canvas = Image.new("RGBA", rgba.size, (*background, 255))
        image = Image.alpha_composite(canvas, rgba).convert("RGB")
        notes.append("transparency flattened")
    if image.mode != mode:
        if mode == "L" and not was_grey:
            notes.append("converted to grey")
        image = image.convert("RGB").convert(mode) if image.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV") else image.convert(mode)
    size = image.size
    if size != (dims.width, dims.height):
        box = _centred_box(size, dims) if preprocessing.crop == "center" else (0, 0, *size)
        cropped = box != (0, 0, *size)
        image = image.resize((dims.width, dims.height), _RESAMPLING[preprocessing.filter], box=box)
        notes.append(f"{size[0]}x{size[1]} {'cropped' if cropped else 'resized'} to {dims.width}x{dims.height}")
    pixels = np.asarray(image, dtype=np.uint8)
    return np.ascontiguousarray(pixels.reshape(dims.height, dims.width, dims.channels)), notes


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What turns a picture upright, None where it is or where its EXIF cannot be read. The pixels are turned, the EXIF is left alone."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # Pillow raises several kinds on damaged metadata, which is no fault of the pixels
        return None
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def _centred_box(size: tuple[int, int], dims: Dims) -> tuple[int, int, int, int]:
    """The largest centred (left, top, right, bottom) of the bundle's aspect, at least one pixel on each side."""
    width, height = size
    crop_width = max(1, min(width, height * dims.width // dims.height))
    crop_height = max(1, min(height, width * dims.height // dims.width))
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left, top, left + crop_width, top + crop_height
