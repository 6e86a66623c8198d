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
CENTRE_DECAY = 0.995  # of a class mean of the codes, for every picture of the class


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

    Args: trunk, dim_u, rounds (whether means are ever rounded: `style_step` is then part of the state), centred (classes; more than 0
    where the mean of its class is subtracted from every code: these means are then part of the state).
    """

    def __init__(self, trunk: Trunk, dim_u: int, rounds: bool = False, centred: int = 0) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(trunk.features, 2 * dim_u)
        self.style_step: Tensor | None
        self.register_buffer("style_step", torch.zeros(dim_u) if rounds else None)  # 0: not measured yet, means as they are
        self.class_running_mean: Tensor | None
        self.register_buffer("class_running_mean", torch.zeros(centred, dim_u) if centred else None)

    def forward(self, x: Tensor) -> DiagonalGaussian:
        """In training the means as they are; in evaluation rounded, once the style step is measured."""
        return self._served(self.fine(x))

    def within_class(self, x: Tensor, read: Tensor | None) -> DiagonalGaussian:
        """The same, less the mean code of the class `read` [B] in x where codes are centred; rounded after that."""
        fine = self.fine(x)
        return self._served(DiagonalGaussian(self.centred(fine.mean, read), fine.log_var))

    def _served(self, fine: DiagonalGaussian) -> DiagonalGaussian:
        return fine if self.training else DiagonalGaussian(self.quantized(fine.mean), fine.log_var)

    def fine(self, x: Tensor) -> DiagonalGaussian:
        """q(e | x) before any centring or rounding: [B, D_u] each."""
        # [m, v] = W h(x) + b: [B, 2 D_u] in two halves
        # the bounds keep exp v within float32 and the KL finite from the first step on
        mean, log_var = self.head(self.trunk(x)).float().chunk(2, dim=1)
        return DiagonalGaussian(mean, log_var.clamp(*LOG_VAR_LIMITS))

    def centred(self, mean: Tensor, read: Tensor | None) -> Tensor:
        """The mean [B, D_u] less that of its class `read` [B], where codes are centred. In training the class means follow the codes first.

        All classes then have the same mean, so that no linear map of the codes tells them apart. The decoder is given centred codes.
        """
        if self.class_running_mean is None or read is None:
            return mean
        if self.training:
            _follow(self.class_running_mean, mean.detach(), read)
        # e = m(x) - M_c
        return mean - self.class_running_mean[read]

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


@torch.no_grad()
def _follow(centres: Tensor, mean: Tensor, read: Tensor) -> None:
    """M_c [K, D_u] <- the average of M_c and of the class's codes in this batch, which count more the more of them there are."""
    members = torch.nn.functional.one_hot(read, len(centres)).to(mean.dtype)
    counts = members.sum(0)[:, None]
    # M_c <- d^n M_c + (1 - d^n) mean of the n codes
    kept = CENTRE_DECAY**counts
    centres.mul_(kept).add_((1 - kept) * (members.T @ mean) / counts.clamp_min(1))
