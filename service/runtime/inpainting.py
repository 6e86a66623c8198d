"""Inpainting: the picture is encoded and decoded several times, and only the hole takes what was decoded.

It does not know the model (the caller runs it, with or without await), codes, requests or files.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from twofold.model.contract import Floats, Pixels
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.parameters import INPAINT

# Rounds of encoding and decoding; measured on Fashion-MNIST, the fill is best after a few and becomes blander with more.
STEPS: int = INPAINT["steps"].default

Hole = NDArray[np.bool_]  # [n,H,W], or [H,W] of one picture; True where pixels are missing


class Filling:
    """Pixels uint8 [n,H,W,C] whose holes [n,H,W] are filled in `steps` rounds, beginning with `start` uint8 [H,W,C] in the hole.

    The caller runs the model and iterates over the rounds: each gives the pictures to be encoded, and `put` takes what the decoder
    gives for their codes. The codes converge to what the visible pixels determine. Pixels outside the holes are never changed.
    """

    def __init__(self, pixels: Pixels, holes: Hole, start: Pixels, steps: int) -> None:
        self._pixels, self._inside, self._steps = pixels, holes[..., None], steps
        self.filled: Pixels = np.where(self._inside, start, pixels)

    def __iter__(self) -> Iterator[Pixels]:
        for _ in range(self._steps):
            yield self.filled

    def put(self, decoded: Pixels) -> None:
        """End a round: decoded [n,H,W,C] goes into the holes."""
        self.filled = np.where(self._inside, decoded, self._pixels)


def mean_picture(class_pixels: Pixels, class_weights: Floats) -> Pixels:
    """What fills a hole at first: one picture per class [K,H,W,C], averaged by how frequent the classes are [K] -> [H,W,C]."""
    weights = class_weights.astype(np.float64)[:, None, None, None]
    mean: Pixels = np.rint((weights * class_pixels).sum(0) / weights.sum()).astype(np.uint8)
    return mean


def hole_of_box(box: Sequence[int], height: int, width: int) -> Hole:
    """x, y, width and height of a box in pixels, from the upper left -> hole [H,W]. Raises Invalid when it is not within the picture."""
    x, y, wide, high = box
    if not (x >= 0 and y >= 0 and wide >= 1 and high >= 1 and x + wide <= width and y + high <= height):
        raise Invalid("box must lie within the picture", field="box", allowed=f"x, y, width, height within {width}x{height} pixels")
    hole = np.zeros((height, width), np.bool_)
    hole[y : y + high, x : x + wide] = True
    return hole


def hole_of_mask(mask: Pixels) -> Hole:
    """Grey pixels [H,W,1] -> hole [H,W], where they are brighter than 127."""
    hole: Hole = mask[..., 0] > 127
    return hole


def check_hole(hole: Hole, field: str) -> None:
    """Raises Invalid where nothing is missing, or everything: then there is nothing to do, or nothing to begin from."""
    if not hole.any():
        raise Invalid(f"{field} leaves no pixel to fill; what is to be filled is white in a mask", field=field)
    if hole.all():
        raise Invalid(f"{field} leaves no pixel to begin from; leave something of the picture", field=field)


def pack_hole(hole: Hole) -> str:
    """[H,W] -> base64 of its bits in reading order, eight to a byte."""
    return base64.b64encode(np.packbits(hole).tobytes()).decode("ascii")


def unpack_hole(text: str, height: int, width: int) -> Hole:
    """What `pack_hole` made `text` of. Raises Invalid when it was no hole of this size that leaves something of the picture."""
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except (binascii.Error, ValueError):
        packed = np.empty(0, np.uint8)
    hole: Hole = np.unpackbits(packed, count=height * width).astype(np.bool_).reshape(height, width)
    if pack_hole(hole) != text:
        raise Invalid(f"hole must be {height}x{width} bits in base64", field="hole")
    check_hole(hole, "hole")
    return hole
