"""Pictures laid out as one sheet. Needs numpy alone; knows no file format."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def shape_for(count: int) -> tuple[int, int]:
    """(rows, columns) of a sheet of so many pictures, count >= 0: nearly square, wider than high."""
    rows = max(1, math.isqrt(count))
    return rows, -(-count // rows)


def sheet(
    pixels: Pixels, columns: int, background: int | Sequence[int] = 255, gap: int = 0, margin: int = 0, rows: int | None = None
) -> Pixels:
    """Pictures uint8 [n, H, W, C] in reading order -> one picture, `gap` pixels between cells and `margin` around all of them.

    With r rows (None: ceil(n / columns)) it has r H + (r - 1) gap + 2 margin lines, its width likewise. Gaps, margins and cells beyond n
    show the background, a level 0..255 for all channels or one for each.
    """
    n, height, width, channels = pixels.shape
    rows = -(-n // columns) if rows is None else rows
    cells = np.empty((rows * columns, height + gap, width + gap, channels), np.uint8)
    cells[:] = np.asarray(background, np.uint8)
    cells[:n, :height, :width] = pixels
    joined = cells.reshape(rows, columns, height + gap, width + gap, channels).swapaxes(1, 2)
    joined = joined.reshape(rows * (height + gap), columns * (width + gap), channels)
    whole = np.empty((len(joined) - gap + 2 * margin, joined.shape[1] - gap + 2 * margin, channels), np.uint8)
    whole[:] = np.asarray(background, np.uint8)
    whole[margin : len(whole) - margin, margin : whole.shape[1] - margin] = joined[: len(joined) - gap, : joined.shape[1] - gap]
    return whole
