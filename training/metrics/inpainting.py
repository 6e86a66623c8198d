"""Holes to measure inpainting with, and how well they were filled. The filling itself is the service's.

Pure functions on pixels; knows no model, no data set and no files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twofold.model.contract import Pixels
from twofold.training.metrics import image_metrics

Holes = NDArray[np.bool_]


def quarter_holes(count: int, height: int, width: int, rng: np.random.Generator) -> Holes:
    """One hole per picture at a random place, half as high and half as wide: [count, height, width], True in the hole."""
    high, wide = max(1, height // 2), max(1, width // 2)
    top, left = (rng.integers(0, side - hole + 1, (count, 1, 1)) for side, hole in ((height, high), (width, wide)))
    y, x = np.mgrid[:height, :width]
    return (y >= top) & (y < top + high) & (x >= left) & (x < left + wide)


def hole_psnr(real: Pixels, filled: Pixels, holes: Holes) -> float:
    """PSNR inside the holes in decibels, 0..100: of the mean square error over all pixels [N, H, W, C] where holes [N, H, W] are True."""
    error = np.square((real.astype(np.float64) - filled) / 255).mean(-1)
    return float(image_metrics.psnr(float(error[holes].mean())))
