"""f: a small class-conditional flow between E_u's code e and the style code z_u. Independence by construction.

z_u = f(e; c) is trained by maximum likelihood to be N(0, I) *for every class*: then z_u says nothing of the class, sampling from N(0, I)
is right, and a swap decodes f^-1(z_u of b; class of a), which lies where the codes of class a lie. No information is lost: f is
invertible. c is the class read from z_s. Knows codes and class indices; no pictures.

    f(e; c) = fold_c(coupling_L( ... coupling_1(W_c (e - m_c); c) ... ; c))

Whitening per class, then affine couplings (couplings.py), then a per-class affine map that is measured after training. The couplings
use complementary masks instead of shuffles, so axes keep their place and the exported graph gathers no columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from twofold.model.couplings import AffineCoupling

MASK_SEED = 7  # masks are part of the architecture: the same for every run


def alive(codes: Tensor, dead_variance: float) -> Tensor:
    """Which dimensions of codes [N, D_u] vary by `dead_variance` or more, as a mask [D_u]; the one that varies most always does."""
    variance = codes.var(0, correction=0)
    return variance >= variance.max().clamp_max(dead_variance)


class ClassFlow(nn.Module):
    """f(.; c): e [B, D_u] <-> z_u [B, D_u] for a class c.

    Args: dim_u, classes, layers (couplings; every dimension is free in one of two neighbours), hidden width of their networks.
    """

    def __init__(self, dim_u: int, classes: int, layers: int = 8, hidden: int = 128) -> None:
        super().__init__()
        self.code_means: Tensor
        self.whitening: Tensor
        self.unwhitening: Tensor
        self.whitening_log_det: Tensor
        self.fold_means: Tensor
        self.fold_log_scales: Tensor
        eye = torch.eye(dim_u).repeat(classes, 1, 1)
        for name, value in {
            "code_means": torch.zeros(classes, dim_u),
            "whitening": eye.clone(),
            "unwhitening": eye.clone(),
            "whitening_log_det": torch.zeros(classes),
            "fold_means": torch.zeros(classes, dim_u),
            "fold_log_scales": torch.zeros(classes, dim_u),
        }.items():
            self.register_buffer(name, value)
        generator = torch.Generator().manual_seed(MASK_SEED)
        masks: list[Tensor] = []
        for _ in range((layers + 1) // 2):
            mask = torch.zeros(dim_u)
            mask[torch.randperm(dim_u, generator=generator)[: dim_u // 2]] = 1
            masks += [mask, 1 - mask]
        self.couplings = nn.ModuleList(AffineCoupling(mask, classes, hidden) for mask in masks[:layers])

    def whiten(self, codes: Tensor, label: Tensor, shrink: float = 1e-3, dead_variance: float = 0.0) -> int:
        """Set the per-class ZCA whitening from codes [N, D_u] and label [N]; returns how many dimensions are alive.

        `shrink` times the mean variance is added to each diagonal. A class with no more rows than dimensions (it may never be read) has
        no covariance: it is whitened like all codes. Dead dimensions (`alive`)
        are dropped: f and f^-1 are 0 there, so that f is invertible on the others and nothing is read in, or drawn from, what carries
        nothing.
        """
        kept = alive(codes, dead_variance).nonzero()[:, 0]
        block = (kept[:, None], kept)
        eye = torch.eye(len(kept), dtype=torch.float64, device=codes.device)
        for matrices in (self.whitening, self.unwhitening):
            matrices.zero_()
        for k in range(len(self.code_means)):
            rows = codes[label == k].double()
            if len(rows) <= codes.shape[1]:
                rows = codes.double()
            self.code_means[k] = rows.mean(0).float()
            # C_k = V diag(v) V^T; W_k = V diag(v^-1/2) V^T is the whitening nearest to the identity, so axes keep their meaning
            centred = (rows - rows.mean(0))[:, kept]
            covariance = centred.T @ centred / max(1, len(rows) - 1)
            covariance += shrink * covariance.diagonal().mean().clamp_min(1e-12) * eye
            values, vectors = torch.linalg.eigh(covariance)
            self.whitening[k][block] = (vectors @ (values**-0.5).diag() @ vectors.T).float()
            self.unwhitening[k][block] = (vectors @ (values**0.5).diag() @ vectors.T).float()
            # log |det W_k| = -1/2 sum_j log v_j
            self.whitening_log_det[k] = (-0.5 * values.log().sum()).float()
        return len(kept)

    def fold(self, codes: Tensor, label: Tensor) -> None:
        """Set the per-class affine map after the couplings, so that z_u of these codes has mean 0 and deviation 1 per class.

        codes [N, D_u], label [N]. It stays the identity for a class with no more rows than dimensions.
        """
        self.fold_means.zero_()
        self.fold_log_scales.zero_()
        z_u, _ = self.forward(codes, label)
        for k in range(len(self.code_means)):
            rows = z_u[label == k]
            if len(rows) <= codes.shape[1]:
                continue
            self.fold_means[k] = rows.mean(0)
            self.fold_log_scales[k] = -rows.std(0).clamp_min(1e-3).log()

    def _couplings(self) -> list[AffineCoupling]:
        return [coupling for coupling in self.couplings if isinstance(coupling, AffineCoupling)]

    def whitened(self, e: Tensor, label: Tensor) -> Tensor:
        """e [B, D_u], label [B] -> W_c (e - m_c) [B, D_u]: where the couplings begin."""
        return (self.whitening[label] @ (e - self.code_means[label])[..., None])[..., 0]

    def forward(self, e: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """e [B, D_u], label [B] -> z_u [B, D_u], log |det dz_u/de| [B] in nats."""
        x = self.whitened(e, label)
        # the log-determinant of a composition is the sum over its steps: whitening, couplings, fold
        log_det = self.whitening_log_det[label] + self.fold_log_scales[label].sum(1)
        for coupling in self._couplings():
            x, part = coupling(x, label)
            log_det = log_det + part
        # fold_c(x) = (x - a_c) exp(b_c)
        return (x - self.fold_means[label]) * self.fold_log_scales[label].exp(), log_det

    def inverse(self, z_u: Tensor, label: Tensor) -> Tensor:
        """z_u [B, D_u], label [B] -> e [B, D_u]; exact up to rounding."""
        # e = W_c^-1 coupling_1^-1( ... coupling_L^-1(z_u exp(-b_c) + a_c)) + m_c
        x = z_u * (-self.fold_log_scales[label]).exp() + self.fold_means[label]
        for coupling in reversed(self._couplings()):
            x = coupling.inverse(x, label)
        return (self.unwhitening[label] @ x[..., None])[..., 0] + self.code_means[label]

    def forward_with_log_var(self, e: Tensor, log_var: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and first-order log-variance of z_u = f(e'; c), e' ~ N(e, diag exp log_var): [B, D_u] each."""
        x = self.whitened(e, label)
        # delta method: var(z_u)_i = sum_j (dz_i/de_j)^2 exp(log_var_j). Tangent j begins as W_c e_j exp(log_var_j / 2) ...
        tangents = self.whitening[label].transpose(1, 2) * (0.5 * log_var).exp()[:, :, None]
        for coupling in self._couplings():
            x, tangents = coupling.forward_with_tangents(x, tangents, label)
        # ... and the fold scales deviations by exp(b_c), log-variances by 2 b_c
        scale = self.fold_log_scales[label]
        variance = tangents.square().sum(1).clamp_min(1e-12)
        return (x - self.fold_means[label]) * scale.exp(), variance.log() + 2 * scale
