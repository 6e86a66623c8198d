"""E_s and E_u: two separate encoders. No label enters either of them. Zheng & Sun 2019, section 3.

z_s = E_s(x)                              a point
q(e | x) = N(m(x), diag exp v(x))         E_u; z_u = f(e; c) where there is a flow
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from twofold.model.blocks import conv, halvings, level
from twofold.model.posterior import DiagonalGaussian

LOG_VAR_LIMITS = (-12.0, 4.0)  # of q(e | x), nats: deviations from 0.0025 to 7.4, where the prior has 1


class Trunk(nn.Sequential):
    """Pictures [B, C, H, W] in [0, 1] -> features [B, F].

    One width per resolution, two convolutions (or residual blocks) on each below the first.
    """

    def __init__(self, channels: int, height: int, width: int, widths: Sequence[int], dropout: float = 0.0, blocks: str = "plain") -> None:
        times = halvings(height, width)
        if len(widths) != times + 1:  # one for each resolution
            raise ValueError(f"{height}x{width} pictures need {times + 1} widths, not {len(widths)}")
        # [B, C, H, W] -> [B, w_0, H, W] -> [B, w_1, H / 2, W / 2] -> ... -> [B, w_n, H / 2^n, W / 2^n], n = times
        layers: list[nn.Module] = [conv(channels, widths[0])]
        for before, after in itertools.pairwise(widths):
            layers += level(blocks, before, after)
        super().__init__(*layers, nn.Flatten(), nn.Dropout(dropout))
        # F = w_n H W / 4^n: flattened, not averaged, so a code may say where in the picture something is
        self.features = widths[-1] * (height >> times) * (width >> times)


class ClassEncoder(nn.Module):
    """E_s: pictures [B, C, H, W] -> z_s [B, D_s], a point."""

    def __init__(self, trunk: Trunk, dim_s: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(trunk.features, dim_s)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [B, C, H, W] in [0, 1] -> z_s [B, D_s], float32 under autocast too."""
        # z_s = W h(x) + b
        return self.head(self.trunk(x)).float()


class StyleEncoder(nn.Module):
    """E_u: pictures [B, C, H, W] -> q(e | x), mean and log-variance [B, D_u].

    Args: trunk, dim_u, rounds (whether means are ever rounded: `style_step` is then part of the state).
    """

    def __init__(self, trunk: Trunk, dim_u: int, rounds: bool = False) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(trunk.features, 2 * dim_u)
        self.style_step: Tensor | None
        self.register_buffer("style_step", torch.zeros(dim_u) if rounds else None)  # 0: not measured yet, means as they are

    def forward(self, x: Tensor) -> DiagonalGaussian:
        """In training the means as they are; in evaluation rounded, once the style step is measured."""
        fine = self.fine(x)
        return fine if self.training else DiagonalGaussian(self.quantized(fine.mean), fine.log_var)

    def fine(self, x: Tensor) -> DiagonalGaussian:
        """q(e | x) before any rounding: [B, D_u] each."""
        # [m, v] = W h(x) + b: [B, 2 D_u] in two halves
        # the bounds keep exp v within float32 and the KL finite from the first step on
        mean, log_var = self.head(self.trunk(x)).float().chunk(2, dim=1)
        return DiagonalGaussian(mean, log_var.clamp(*LOG_VAR_LIMITS))

    def quantized(self, mean: Tensor) -> Tensor:
        """The mean [B, D_u] rounded to whole multiples of the style step; the gradient passes as if it had not been rounded.

        G is never given what is finer than the posterior's own noise, so no reconstruction depends on it and no sample has it; but a
        fresh probe reads the class in it (docs/adr/0005).
        """
        if self.style_step is None:
            return mean
        # m_j <- step_j round(m_j / step_j) where step_j > 0; straight-through gradient, Bengio et al. 2013
        rounded = torch.where(self.style_step > 0, (mean / self.style_step.clamp_min(1e-12)).round() * self.style_step, mean)
        return mean + (rounded - mean).detach() if torch.is_grad_enabled() else rounded
