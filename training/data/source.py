"""One split of a data set before its pictures are at the model's size, and the only decoder of files from outside in training.

Formats are those the service takes (PNG, JPEG, WebP, one frame), recognised by content; limits are checked before a decoder runs. Knows
nothing of where rows come from (image_folder, parquet, npz) nor what becomes of them (dataset).
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

MAX_FILE_BYTES = 32 * 2**20
MAX_PIXELS = 50_000_000
MAX_SIDE = 16_384
MAX_JPEG_SCANS = 100
CUT_SEED = 20190616
FORMATS = ("PNG", "JPEG", "WEBP")


class DataError(Exception):
    """A data set cannot be used; the text says what is wrong and what to do."""


class Unreadable(Exception):
    """One picture cannot be used; the text is the reason, short enough for a list."""


@dataclass(frozen=True)
class Rows:
    """Labelled pictures of one split, in a fixed order."""

    name: str  # of the data set
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]  # [N]
    read: Callable[[int], Image.Image]  # row -> picture; raises Unreadable
    row_name: Callable[[int], str]  # row -> its name in messages
    files: Callable[[], dict[str, str]]  # file or collection -> SHA-256: the same bytes, the same hashes
    tolerant: bool = False  # an unreadable picture is skipped and named; otherwise the data set cannot be used
    skipped: tuple[tuple[str, str], ...] = ()  # (file, reason) of what cannot be a picture
    own_validation: int = 0  # the last so many rows are the data set's own validation split
    held_back: int = 0  # so many pictures were cut off as the test split by `cut_test`
    attributes: Mapping[str, NDArray[np.int64]] = field(
        default_factory=dict
    )  # [N] by name: the other whole numbers that a table has of its pictures

    def __len__(self) -> int:
        return len(self.labels)


def decode(data: bytes) -> Image.Image:
    """Encoded picture -> loaded picture. Raises Unreadable with the reason."""
    if len(data) > MAX_FILE_BYTES:
        raise Unreadable(f"more than {MAX_FILE_BYTES >> 20} MiB")
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MAX_JPEG_SCANS:
        raise Unreadable(f"more than {MAX_JPEG_SCANS} JPEG scans")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns above 89 megapixels and of odd metadata; our own limit is lower
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if max(image.size) > MAX_SIDE or image.width * image.height > MAX_PIXELS:
                raise Unreadable(f"{image.width}x{image.height} pixels are too many")
            if getattr(image, "n_frames", 1) > 1:
                raise Unreadable("animated")
            image.load()
    except Unreadable:
        raise
    except Image.DecompressionBombError:
        raise Unreadable("too many pixels") from None
    except UnidentifiedImageError:
        raise Unreadable("damaged, or not PNG, JPEG or WebP") from None
    except Exception:  # Pillow raises many kinds on a damaged file
        raise Unreadable("damaged") from None
    return image


def cut_test(labels: NDArray[np.int64], classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(train, test) row numbers: a tenth of every class, at least one picture, is the test split; the same rows every time.

    Raises DataError if a class has fewer than 3 pictures.
    """
    order = np.random.default_rng(CUT_SEED).permutation(len(labels))
    test = []
    for k in range(classes):
        rows = order[labels[order] == k]
        if len(rows) < 3:
            raise DataError(f"class {k} (counted from 0) has {len(rows)} pictures: give every class at least 3, better 50")
        test.append(rows[: max(1, round(len(rows) / 10))])
    held = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(labels)), held), held


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key by which "10" follows "9", and upper and lower case stand together."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(0, int(part), "") if i % 2 else (1, 0, part) for i, part in enumerate(parts) if part], name
