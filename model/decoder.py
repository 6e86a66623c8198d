"""G: codes -> picture, x = sigmoid(G(z_s, e)). No label enters it; with a flow the class it needs is read from z_s (vae_gan.py).

Zheng & Sun 2019, section 3, with transposed convolutions whose kernel is a multiple of the stride, or repeated pixels and convolutions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from twofold.model.blocks import conv, halvings, residual, residual_up, up


class Modulation(nn.Module):
    """Scales and shifts each channel by what the codes [B, D] say: [B, C, H, W] -> the same shape. Perez et al. 2018 (FiLM).

    It begins as the identity.
    """

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.said = nn.Linear(dim, 2 * channels)
        nn.init.zeros_(self.said.weight)
        nn.init.zeros_(self.said.bias)

    def forward(self, h: Tensor, codes: Tensor) -> Tensor:
        # h_c <- h_c (1 + gain_c(codes)) + shift_c(codes)
        gain, shift = self.said(codes)[:, :, None, None].chunk(2, dim=1)
        return h * (1 + gain) + shift


class Decoder(nn.Module):
    """z_s [B, D_s], z_u [B, D_u] -> pictures [B, C, H, W] in [0, 1].

    A hidden layer, a linear map to the smallest grid, one convolution (or residual block) there, then one doubling per width. Where it is
    modulated every grid depends on the codes directly, not the smallest alone.
    """

    def __init__(
        self,
        dim_s: int,
        dim_u: int,
        hidden: int,
        widths: Sequence[int],
        channels: int,
        height: int,
        width: int,
        blocks: str = "plain",
        modulated: bool = False,
        upsampling: str = "transposed",
    ) -> None:
        super().__init__()
        times = halvings(height, width)
        if len(widths) != times + 1:
            raise ValueError(f"{height}x{width} pictures need {times + 1} widths, not {len(widths)}")
        grid = (widths[0], height >> times, width >> times)
        # [B, D_s + D_u] -> [B, hidden] -> [B, w_0, H / 2^n, W / 2^n], n = times
        self.lift = nn.Sequential(
            nn.Linear(dim_s + dim_u, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, grid[0] * grid[1] * grid[2]),
            nn.Unflatten(1, grid),
            nn.BatchNorm2d(grid[0]),
            nn.ReLU(),
        )
        block, double = (residual, residual_up) if blocks == "residual" else (conv, up)
        # [B, w_i, h, w] -> [B, w_i+1, 2 h, 2 w], n times, then one logit for each pixel and channel
        doublings = [double(before, after, upsampling) for before, after in itertools.pairwise(widths)]
        self.draw = nn.Sequential(block(widths[0], widths[0]), *doublings, nn.Conv2d(widths[-1], channels, 3, 1, 1))
        self.modulations = nn.ModuleList([Modulation(dim_s + dim_u, width) for width in widths] if modulated else [])

    def forward(self, z_s: Tensor, z_u: Tensor) -> Tensor:
        codes = torch.cat([z_s, z_u], 1)
        # the smallest grid, 4..7 pixels a side
        h = self.lift(codes)
        for level, modulation in itertools.zip_longest(self.draw, self.modulations):
            h = level(h) if modulation is None else modulation(level(h), codes)
        # x = sigmoid(h), pixels in (0, 1); the sigmoid in float32, where bf16 has 8 bits of mantissa
        return h.float().sigmoid()
