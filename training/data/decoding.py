"""The only decoder of picture files from outside in training: bytes to a loaded picture, or the reason why not.

The one list of formats. They are recognised by content, and limits are checked before a decoder runs; of several pictures in a file
(pages, a camera's preview) the first counts, what is animated in the formats of photographs is refused. Knows nothing of data sets.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from twofold.model.contract import Dims, Pixels, Preprocessing
from twofold.model.preprocessing import to_pixels

MAX_FILE_BYTES = 32 * 2**20
MAX_PIXELS = 50_000_000
MAX_SIDE = 16_384
MAX_JPEG_SCANS = 100

SERVED = ("PNG", "JPEG", "WEBP")  # what the service takes too
FORMATS = (*SERVED, "BMP", "PPM", "TIFF", "GIF", "AVIF")  # Pillow's names
FORMATS_TEXT = "PNG, JPEG, WebP, BMP, PPM, TIFF, GIF or AVIF"
ONE_FRAME = ("PNG", "WEBP", "AVIF")
_STARTS = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"BM",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    *(b"P%d" % kind for kind in range(1, 8)),
)
_THUMBNAIL = Dims(1, 1, 1, 16, 16, 1)


class Unreadable(Exception):
    """One picture cannot be used; the text is the reason, short enough for a list."""


def is_picture(start: bytes) -> bool:
    """Whether a file that begins with `start` (16 bytes) says that it is of one of the formats."""
    if start[:4] == b"RIFF":
        return start[8:12] == b"WEBP"
    return start.startswith(_STARTS) or (start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis", b"mif1", b"msf1"))


def decode(data: bytes) -> Image.Image:
    """Encoded picture -> loaded picture, of which nothing raises later. Raises Unreadable with the reason."""
    if len(data) > MAX_FILE_BYTES:
        raise Unreadable(f"more than {MAX_FILE_BYTES >> 20} MiB")
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MAX_JPEG_SCANS:
        raise Unreadable(f"more than {MAX_JPEG_SCANS} JPEG scans")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns above 89 megapixels and of odd metadata; our own limit is lower
            return _loaded(data)
    except Unreadable:
        raise
    except Image.DecompressionBombError:
        raise Unreadable("too many pixels") from None
    except UnidentifiedImageError:
        raise Unreadable(f"damaged, or not {FORMATS_TEXT}") from None
    except Exception:  # Pillow raises many kinds on a damaged file
        raise Unreadable("damaged") from None


def _loaded(data: bytes) -> Image.Image:
    opened = Image.open(io.BytesIO(data), formats=FORMATS)
    if max(opened.size) > MAX_SIDE or opened.width * opened.height > MAX_PIXELS:
        raise Unreadable(f"{opened.width}x{opened.height} pixels are too many")
    if opened.format in ONE_FRAME and getattr(opened, "n_frames", 1) > 1:
        raise Unreadable("animated")
    opened.load()
    image: Image.Image = opened
    if image.mode == "F":
        raise Unreadable("its pixels are fractions: save it with 8 or 16 bits")
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    return image if opened.format in (*SERVED, "MPO") else in_srgb(image)


def in_srgb(image: Image.Image) -> Image.Image:
    """The colours of a picture with an ICC profile in sRGB; as it is without a profile, or with one that cannot be used.

    Not applied to SERVED formats: the service does not read profiles, and training must give the model the service's pixels.
    """
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("L", "RGB", "RGBA", "CMYK"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        plain = image.convert("RGB") if image.mode == "RGBA" else image
        found = ImageCms.profileToProfile(plain, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    if found is None:
        return image
    if image.mode == "RGBA":
        found.putalpha(image.getchannel("A"))
    found.info = {key: value for key, value in image.info.items() if key != "icc_profile"}
    return found.convert("L") if image.mode == "L" else found


def pixels_of(image: Image.Image, dims: Dims, preprocessing: Preprocessing) -> Pixels:
    """A decoded picture as the model gets it, uint8 [H, W, C]. Raises Unreadable: whatever a picture raises is its own fault."""
    try:
        return to_pixels(image, dims, preprocessing)[0]
    except Exception:
        raise Unreadable("damaged") from None


def thumbnail(image: Image.Image) -> Pixels:
    """A picture as 16x16 levels of grey, uint8 [16, 16]. Raises Unreadable."""
    return np.asarray(pixels_of(image, _THUMBNAIL, Preprocessing(background=(255,), filter="box", crop="none"))[..., 0])
