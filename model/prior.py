"""p(z_s, c) and its refitted twin. `ClassPrior` is learned with E_s; `FittedPrior` is measured on the training codes afterwards.

    c ~ Cat(pi),   z_s | c ~ N(mu_c, diag exp s_c),   z_u ~ N(0, I)        Zheng & Sun 2019, section 3

Knows no pictures. Log-variances s, never precisions; everything in log space (a product of densities underflows at 512 dimensions).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LOG_2PI = math.log(2 * math.pi)
# Norm of the initial class means. Orthogonal ones are 4 sqrt 2 apart, so with Sigma = I the border between two classes is 2.8 deviations
# from either mean and a draw of one is read as the other with probability 0.002.
RADIUS = 4.0
# Of s, nats: deviations from 0.02 to 55. A point z_s has no noise that would keep Sigma_c from collapsing onto it.
LOG_VAR_BOUNDS = (-8.0, 8.0)
NEAR = 0.1  # deviations of a class: no draw so near to mu_c is read as another class


class ClassPrior(nn.Module):
    """One diagonal Gaussian per class: c ~ Cat(pi), z_s | c ~ N(mu_c, diag exp s_c). Zheng & Sun 2019, section 3.

    Args: class_weights [K] (training frequencies, sum 1), dim_s, shrinks (whether `shrunk` ever does anything: `shrinkage`, which is 0
    until the action `shrink_to_class_mean` sets it, is then part of the state).
    """

    def __init__(self, class_weights: Tensor, dim_s: int, shrinks: bool = False) -> None:
        super().__init__()
        classes = len(class_weights)
        # mu_c = RADIUS u_c with |u_c| = 1, orthogonal while K <= D_s: QR = U^T, so the rows of Q^T are the u_c
        directions = torch.nn.functional.normalize(torch.randn(classes, dim_s), dim=1)
        if classes <= dim_s:
            directions = torch.linalg.qr(directions.T).Q.T
        self.means = nn.Parameter(RADIUS * directions)
        # s = 0, Sigma_c = I
        self.raw_log_vars = nn.Parameter(torch.zeros(classes, dim_s))
        self.log_weights: Tensor
        self.register_buffer("log_weights", class_weights.log())
        self.shrinkage: Tensor | None
        self.register_buffer("shrinkage", torch.zeros(()) if shrinks else None)

    @property
    def log_vars(self) -> Tensor:
        """s [K, D_s], nats, within LOG_VAR_BOUNDS."""
        return self.raw_log_vars.clamp(*LOG_VAR_BOUNDS)

    def logits(self, z_s: Tensor) -> Tensor:
        """z_s [B, D_s] -> log pi_k - 1/2 sum_j [(z_j - mu_kj)^2 exp(-s_kj) + s_kj]: [B, K], nats.

        The log joint of the mixture up to a constant; its softmax is p(c | z_s).
        """
        # log pi_k + log N(z; mu_k, diag exp s_k) without the D_s/2 log 2 pi that all classes share
        # [B, 1, D_s] - [K, D_s] -> [B, K, D_s]
        squares = (z_s[:, None, :] - self.means).square() * (-self.log_vars).exp()
        return self.log_weights - 0.5 * (squares + self.log_vars).sum(-1)

    def shrunk(self, z_s: Tensor) -> Tensor:
        """z_s [B, D_s] shrunk towards E[mu_c | z_s]: the mean of the class it is read as, of several where it lies between.

        What z_s varies by within a class is what is left of the style in it; the class stays (docs/adr/0005).
        """
        if self.shrinkage is None:
            return z_s
        # z_s' = m + (1 - a) (z_s - m),  m = sum_k p(k | z_s) mu_k = E[mu_c | z_s]: [B, K] @ [K, D_s]
        means = self.logits(z_s).softmax(1) @ self.means
        return means + (1 - self.shrinkage) * (z_s - means)

    def log_prob(self, z_s: Tensor, label: Tensor) -> Tensor:
        """log N(z_s; mu_y, Sigma_y), summed over dimensions: [B], nats."""
        # log N(z; mu, diag exp s) = -1/2 sum_j [(z_j - mu_j)^2 exp(-s_j) + s_j + log 2 pi]
        log_vars = self.log_vars[label]
        squares = (z_s - self.means[label]).square() * (-log_vars).exp()
        return -0.5 * (squares + log_vars + LOG_2PI).sum(-1)

    def sample(self, label: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw of the learned Gaussian of each label: [B] -> [B, D_s]."""
        # z_s = mu_c + exp(s_c / 2) eps
        noise = torch.randn(len(label), self.means.shape[1], generator=generator, device=self.means.device)
        return self.means[label] + (0.5 * self.log_vars[label]).exp() * noise


class FittedPrior(nn.Module):
    """Full-covariance Gaussians measured on the training codes: what is sampled is what was encoded."""

    def __init__(self, classes: int, dim_s: int, dim_u: int) -> None:
        super().__init__()
        self.means: Tensor
        self.scale_tril: Tensor
        self.z_u_mean: Tensor
        self.z_u_scale_tril: Tensor
        self.register_buffer("means", torch.zeros(classes, dim_s))
        self.register_buffer("scale_tril", torch.eye(dim_s).repeat(classes, 1, 1))
        self.register_buffer("z_u_mean", torch.zeros(dim_u))
        self.register_buffer("z_u_scale_tril", torch.eye(dim_u))

    def fit(self, z_s: Tensor, z_u: Tensor, label: Tensor, shrink: float = 1e-3) -> None:
        """Set all four from codes z_s [N, D_s], z_u [N, D_u] and label [N].

        `shrink` of the mean variance is added to each diagonal; a class needs more rows than dimensions for a full
        covariance, and falls back to its diagonal below that.
        """
        # m_k = 1/N_k sum z_s,  L_k L_k^T = covariance of z_s over the rows of class k
        for k in range(len(self.means)):
            rows = z_s[label == k]
            self.means[k] = rows.mean(0)
            self.scale_tril[k] = _cholesky(rows, shrink)
        # one Gaussian for all classes: z_u is independent of c
        self.z_u_mean.copy_(z_u.mean(0))
        self.z_u_scale_tril.copy_(_cholesky(z_u, shrink))

    def be_standard(self, prior: ClassPrior) -> None:
        """Set all four without any code: z_s about mu_c, so near that it is always read as c, and z_u ~ N(0, I).

        For a decoder that takes the mean of the class read: it is then asked for exactly the class.
        """
        # L_c = NEAR diag exp(s_c / 2)
        self.means.copy_(prior.means)
        self.scale_tril.copy_(torch.diag_embed(NEAR * (0.5 * prior.log_vars).exp()))
        self.z_u_mean.zero_()
        self.z_u_scale_tril.copy_(torch.eye(len(self.z_u_mean)))

    def sample(self, label: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """One draw for each label: label [B] -> z_s [B, D_s], z_u [B, D_u]."""
        device = self.means.device
        noise_s = torch.randn(len(label), self.means.shape[1], generator=generator, device=device)
        noise_u = torch.randn(len(label), len(self.z_u_mean), generator=generator, device=device)
        # z_s = m_c + L_c eps: covariance L_c E[eps eps^T] L_c^T = L_c L_c^T. [B, D_s, D_s] @ [B, D_s, 1]
        z_s = self.means[label] + (self.scale_tril[label] @ noise_s[..., None])[..., 0]
        # z_u = m_u + L_u eps, in rows: eps^T L_u^T
        return z_s, self.z_u_mean + noise_u @ self.z_u_scale_tril.T


class FittedDensity(nn.Module):
    """The log-density of a FittedPrior as it is now, with its matrices inverted beforehand (an exported graph cannot)."""

    def __init__(self, fitted: FittedPrior, log_weights: Tensor) -> None:
        super().__init__()
        self.means: Tensor
        self.inverses_s: Tensor
        self.offsets: Tensor
        self.z_u_mean: Tensor
        self.inverse_u: Tensor
        dims = fitted.means.shape[1] + len(fitted.z_u_mean)
        # log det L is the sum of the logarithms of its diagonal, because L is triangular
        log_det_s = fitted.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_det_u = fitted.z_u_scale_tril.diagonal().log().sum()
        self.register_buffer("means", fitted.means)
        self.register_buffer("inverses_s", torch.linalg.inv(fitted.scale_tril))
        # log pi_k - log det L_k - log det L_u - (D_s + D_u)/2 log 2 pi: all that does not depend on z
        self.register_buffer("offsets", log_weights - log_det_s - log_det_u - 0.5 * dims * LOG_2PI)
        self.register_buffer("z_u_mean", fitted.z_u_mean)
        self.register_buffer("inverse_u", torch.linalg.inv(fitted.z_u_scale_tril))

    def forward(self, z_s: Tensor, z_u: Tensor) -> Tensor:
        """z_s [B, D_s], z_u [B, D_u] -> log sum_k pi_k N(z_s; fit_k) + log N(z_u; fit): [B], nats."""
        # log N(z; m, L L^T) = -1/2 |L^-1 (z - m)|^2 - log det L - D/2 log 2 pi; the last two terms are in `offsets`
        # [K, D_s, D_s] @ [B, K, D_s, 1] -> [B, K, D_s]
        away = (self.inverses_s @ (z_s[:, None, :] - self.means)[..., None])[..., 0]
        # log sum_k exp(...): a sum of densities in log space
        log_joint = self.offsets - 0.5 * away.square().sum(-1)
        return log_joint.logsumexp(-1) - 0.5 * ((z_u - self.z_u_mean) @ self.inverse_u.T).square().sum(-1)


def _cholesky(rows: Tensor, shrink: float) -> Tensor:
    """The Cholesky factor [D, D] of the covariance of rows [N, D]: float64 inside, ridge `shrink` times the mean variance."""
    # C = 1/(N - 1) sum_n (r_n - r)(r_n - r)^T, of rank N - 1 at most: singular where N <= D
    centred = (rows - rows.mean(0)).double()
    covariance = centred.T @ centred / max(1, len(rows) - 1)
    if len(rows) <= rows.shape[1]:
        covariance = covariance.diagonal().diag()
    # C + shrink tr(C)/D I: every eigenvalue is at least shrink times the mean of all
    mean_variance = covariance.diagonal().mean().clamp_min(1e-12)
    covariance = covariance + shrink * mean_variance * torch.eye(rows.shape[1], dtype=torch.float64, device=rows.device)
    return torch.linalg.cholesky(covariance).float()
