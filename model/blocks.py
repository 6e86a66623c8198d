"""Convolution blocks without a meaning: they know channels and strides, not codes or classes.

BatchNorm everywhere but in the critic: in evaluation it is an affine map of fixed numbers (an output never depends on its
batch) and export folds it into the convolution before it.
"""

from __future__ import annotations

from torch import nn


def halvings(height: int, width: int) -> int:
    """How often a picture is halved on the way to a 4..7 pixel grid: 28 -> 2 (7x7), 32 -> 3 (4x4), 64 -> 4 (4x4).

    Raises ValueError when a side does not halve evenly that often.
    """
    side, times = min(height, width), 0
    while side >= 8:
        side, times = side // 2, times + 1
    if height % 2**times or width % 2**times or side < 4:
        raise ValueError(f"sides must be 4 to 7 times a power of two (28, 32, 48, 64, 96, 128), not {height}x{width}")
    return times


def conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, BatchNorm, ReLU: [B, C, H, W] -> [B, C', H / stride, W / stride]."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


def up(channels_in: int, channels_out: int) -> nn.Sequential:
    """Doubles height and width: 4x4 transposed convolution of stride 2, BatchNorm, ReLU.

    The kernel is a multiple of the stride, so every output pixel is reached by the same number of taps: it is a 2x2-tap
    sub-pixel convolution (all of upsample + 3x3 convolution is a special case), not the 3x3 stride-2 form that draws
    checkerboards.
    """
    return nn.Sequential(
        nn.ConvTranspose2d(channels_in, channels_out, 4, 2, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
