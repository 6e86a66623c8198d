"""Convolution blocks without a meaning: they know channels and strides, not codes or classes.

BatchNorm everywhere but in the discriminator: in evaluation it is an affine map of fixed numbers (an output never depends on its
batch) and export folds it into the convolution before it.

Two kinds of everything: plain, a convolution per step, and residual (He et al. 2016), two of them beside a short way, for 32x32 and
larger pictures. Residual blocks normalise before they add, not before they convolve, so that BatchNorm can be folded there too.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

BLOCKS = ("plain", "residual")
UPSAMPLINGS = ("transposed", "nearest")


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
    # H' = floor((H + 2 - 3) / stride) + 1; no bias, because BatchNorm subtracts the mean and adds its own
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


def up(channels_in: int, channels_out: int, upsampling: str = "transposed") -> nn.Sequential:
    """Doubles height and width: 4x4 transposed convolution of stride 2, BatchNorm, ReLU; or repeated pixels and a `conv`.

    The kernel is a multiple of the stride, so every output pixel is reached by the same number of taps: it is a 2x2-tap
    sub-pixel convolution (all of upsample + 3x3 convolution is a special case), not the 3x3 stride-2 form that draws
    checkerboards. Its four phases have weights of their own, though, and draw a pattern of period 2 on flat areas; "nearest"
    cannot (docs/adr/0017).
    """
    if upsampling == "nearest":
        return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), *conv(channels_in, channels_out))
    # H' = 2 (H - 1) - 2 + 4 = 2 H
    return nn.Sequential(
        nn.ConvTranspose2d(channels_in, channels_out, 4, 2, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


class Residual(nn.Module):
    """act(body(x) + skip(x))."""

    def __init__(self, body: nn.Module, skip: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.body, self.skip, self.act = body, skip, act

    def forward(self, x: Tensor) -> Tensor:
        # y = act(F(x) + W x)
        return self.act(self.body(x) + self.skip(x))


def residual(channels_in: int, channels_out: int, stride: int = 1) -> Residual:
    """Two 3x3 convolutions beside a short way: [B, C, H, W] -> [B, C', H / stride, W / stride]."""
    body = nn.Sequential(*conv(channels_in, channels_out, stride), *_normed(nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)))
    changes = stride > 1 or channels_in != channels_out
    skip = nn.Sequential(*_normed(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False))) if changes else nn.Identity()
    return Residual(body, skip, nn.ReLU())


def residual_up(channels_in: int, channels_out: int, upsampling: str = "transposed") -> Residual:
    """Doubles height and width: `up` and a 3x3 convolution beside a 2x2 transposed convolution of stride 2.

    1x1 and repeated pixels are a special case of the latter, and what "nearest" takes: a 3x3 convolution, repeated pixels and another
    3x3 convolution beside it, so that only one convolution works on the larger grid.
    """
    if upsampling == "nearest":
        double = nn.Upsample(scale_factor=2, mode="nearest")
        body = nn.Sequential(*conv(channels_in, channels_out), double, *_normed(nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)))
        return Residual(body, nn.Sequential(*_normed(nn.Conv2d(channels_in, channels_out, 1, bias=False)), double), nn.ReLU())
    body = nn.Sequential(*up(channels_in, channels_out), *_normed(nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)))
    return Residual(body, nn.Sequential(*_normed(nn.ConvTranspose2d(channels_in, channels_out, 2, 2, bias=False))), nn.ReLU())


def _normed(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, nn.Module]:
    return layer, nn.BatchNorm2d(layer.out_channels)


def level(kind: str, channels_in: int, channels_out: int) -> list[nn.Module]:
    """Halves height and width, twice through convolutions or residual blocks."""
    block: Callable[..., nn.Module] = residual if kind == "residual" else conv
    return [block(channels_in, channels_out, stride=2), block(channels_out, channels_out)]


def discriminator_level(kind: str, channels_in: int, channels_out: int, halves: bool) -> list[nn.Module]:
    """A step of D, halving height and width or not: spectral normalisation on every convolution, leaky ReLU, no BatchNorm."""
    # W / sigma(W), sigma the largest singular value: D is about Lipschitz, so its gradient to G stays bounded. Miyato et al. 2018
    last = (4, 2, 1) if halves else (3, 1, 1)
    if kind == "plain":
        return [spectral_norm(nn.Conv2d(channels_in, channels_out, *last)), nn.LeakyReLU(0.2)]
    body = nn.Sequential(
        spectral_norm(nn.Conv2d(channels_in, channels_out, 3, 1, 1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(channels_out, channels_out, *last)),
    )
    short = spectral_norm(nn.Conv2d(channels_in, channels_out, 1))
    return [Residual(body, nn.Sequential(nn.AvgPool2d(2), short) if halves else short, nn.LeakyReLU(0.2))]
