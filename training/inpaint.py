"""Filling a hole with an encoder and a decoder that were never trained for it: the hole is drawn, encoded again, drawn again.

Pure functions on pixels and a served model; knows no data set and no files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.contract import Pixels
from training import metrics
from training.served import Model

STEPS = 20  # rounds of drawing and encoding; later ones hardly move a pixel

Mask = NDArray[np.bool_]


def quarter_holes(count: int, height: int, width: int, rng: np.random.Generator) -> Mask:
    """One hole per picture at a random place, half as high and half as wide: mask [count, height, width], True in the hole."""
    high, wide = max(1, height // 2), max(1, width // 2)
    top, left = (rng.integers(0, side - hole + 1, (count, 1, 1)) for side, hole in ((height, high), (width, wide)))
    y, x = np.mgrid[:height, :width]
    return (y >= top) & (y < top + high) & (x >= left) & (x < left + wide)


def fill(model: Model, pixels: Pixels, hole: Mask, start: Pixels, steps: int = STEPS) -> Pixels:
    """Draw what is missing: pixels uint8 [N, H, W, C], hole [N, H, W], `start` [H, W, C] in the hole at first -> [N, H, W, C].

    Each round encodes the picture as it stands and takes from its reconstruction the hole alone, so that the codes settle on
    what the visible pixels ask for. The other pixels stay as they are.
    """
    inside = hole[..., None]
    filled = np.where(inside, start, pixels)
    for _ in range(steps):
        codes = model.encode(filled)
        filled = np.where(inside, model.decode(codes.z_s, codes.z_u_mean), pixels)
    return filled


def hole_psnr(real: Pixels, filled: Pixels, hole: Mask) -> float:
    """Decibels of the mean square error inside the holes, over all pictures."""
    error = np.square((real.astype(np.float64) - filled) / 255).mean(-1)
    return float(metrics.psnr(float(error[hole].mean())))
