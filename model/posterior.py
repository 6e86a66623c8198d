"""q(z_u | x): a diagonal Gaussian. Kingma & Welling 2014. Knows no networks and no classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DiagonalGaussian:
    """N(mean, diag exp(log_var)); mean and log_var are [B, D]."""

    mean: Tensor
    log_var: Tensor

    def sample(self, generator: torch.Generator | None = None, scale: float = 1.0) -> Tensor:
        """mean + scale * deviation * noise, reparametrised: [B, D]."""
        # z = m + scale exp(v / 2) eps,  eps ~ N(0, I): the gradient reaches m and v
        # scale 0 is the mean, 1 a draw of q
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + scale * (0.5 * self.log_var).exp() * noise

    def kl_to_standard(self) -> Tensor:
        """KL( N(mean, exp log_var) || N(0, 1) ) of each dimension: [B, D], nats. Kingma & Welling 2014, appendix B."""
        # KL = E_q[log q(z) - log N(z; 0, 1)] = 1/2 (m^2 + exp v - 1 - v), zero at m = v = 0; with E_q z^2 = m^2 + exp v
        return 0.5 * (self.mean.square() + self.log_var.exp() - 1.0 - self.log_var)
