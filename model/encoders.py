"""E_s and E_u: two separate encoders. No label enters either of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from twofold.model.blocks import conv, halvings, level
from twofold.model.posterior import DiagonalGaussian

LOG_VAR_LIMITS = (-12.0, 4.0)  # of q(z_u | x), nats


class Trunk(nn.Sequential):
    """Pictures [B, C, H, W] in [0, 1] -> features [B, F]. One width per resolution, two convolutions (or residual blocks) on each below
    the first.
    """

    def __init__(self, channels: int, height: int, width: int, widths: Sequence[int], dropout: float = 0.0, blocks: str = "plain") -> None:
        times = halvings(height, width)
        if len(widths) != times + 1:
            raise ValueError(f"{height}x{width} pictures need {times + 1} widths, not {len(widths)}")
        layers: list[nn.Module] = [conv(channels, widths[0])]
        for before, after in itertools.pairwise(widths):
            layers += level(blocks, before, after)
        super().__init__(*layers, nn.Flatten(), nn.Dropout(dropout))
        self.features = widths[-1] * (height >> times) * (width >> times)


class ClassEncoder(nn.Module):
    """E_s: pictures [B, C, H, W] -> z_s [B, D_s], a point."""

    def __init__(self, trunk: Trunk, dim_s: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(trunk.features, dim_s)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x)).float()


class StyleEncoder(nn.Module):
    """E_u: pictures [B, C, H, W] -> q(z_u | x), mean and log-variance [B, D_u]."""

    def __init__(self, trunk: Trunk, dim_u: int, rounds: bool = False) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(trunk.features, 2 * dim_u)
        self.style_step: Tensor | None
        self.register_buffer("style_step", torch.zeros(dim_u) if rounds else None)  # 0: not measured yet, means as they are

    def forward(self, x: Tensor) -> DiagonalGaussian:
        fine = self.fine(x)
        return fine if self.training else DiagonalGaussian(self.quantized(fine.mean), fine.log_var)

    def fine(self, x: Tensor) -> DiagonalGaussian:
        """q(z_u | x) before any rounding."""
        mean, log_var = self.head(self.trunk(x)).float().chunk(2, dim=1)
        return DiagonalGaussian(mean, log_var.clamp(*LOG_VAR_LIMITS))

    def quantized(self, mean: Tensor) -> Tensor:
        """The mean [B, D_u] in whole grains; the gradient passes as if it had not been rounded.

        What is finer than the posterior's own noise G never sees, so no reconstruction asks for it and no sample carries it; but a
        fresh probe reads the class in it (decisions in DESIGN.md).
        """
        if self.style_step is None:
            return mean
        rounded = torch.where(self.style_step > 0, (mean / self.style_step.clamp_min(1e-12)).round() * self.style_step, mean)
        return mean + (rounded - mean).detach() if torch.is_grad_enabled() else rounded
