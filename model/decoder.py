"""G: codes -> picture. No label enters it; with a flow the class it needs is read from z_s outside (vae_gan.py)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.blocks import conv, halvings, residual, residual_up, up


class Decoder(nn.Module):
    """z_s [B, D_s], z_u [B, D_u] -> pictures [B, C, H, W] in [0, 1].

    A hidden layer, a linear map to the smallest grid, one convolution (or residual block) there, then one doubling per width.
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
    ) -> None:
        super().__init__()
        times = halvings(height, width)
        if len(widths) != times + 1:
            raise ValueError(f"{height}x{width} pictures need {times + 1} widths, not {len(widths)}")
        grid = (widths[0], height >> times, width >> times)
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
        doublings = [double(before, after) for before, after in itertools.pairwise(widths)]
        self.draw = nn.Sequential(block(widths[0], widths[0]), *doublings, nn.Conv2d(widths[-1], channels, 3, 1, 1))

    def forward(self, z_s: Tensor, z_u: Tensor) -> Tensor:
        return self.draw(self.lift(torch.cat([z_s, z_u], 1))).float().sigmoid()
