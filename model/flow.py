"""f: a small conditional flow between E_u's code e and the style code z_u. Independence by construction.

z_u = f(e; c) is trained by maximum likelihood to be N(0, I) *for every class*, so z_u says nothing of the class, sampling
from N(0, I) is right, and a swap decodes f^-1(z_u of b; class of a), which lies where class a's codes live. No information is
lost: f is exactly invertible. Knows codes and class indices; no pictures.

Whitening per class, then couplings (affine or spline, see couplings.py), then a per-class affine map folded in afterwards. The
couplings use complementary masks instead of shuffles, so axes keep their place and the exported graph has no gathers of columns.

c is the class read from z_s; a flow with `dim_s` reads z_s itself beside it, so that z_u becomes independent of all that z_s says.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from twofold.model.couplings import AffineCoupling, Coupling, SplineCoupling

FLOW_KINDS = ("affine", "spline")


class ClassFlow(nn.Module):
    """f(.; c): e [B, D_u] <-> z_u [B, D_u] for a class c, and where `dim_s` is not 0 for a class code z_s [B, dim_s]."""

    def __init__(
        self, dim_u: int, classes: int, layers: int = 8, hidden: int = 128, kind: str = "affine", bins: int = 8, dim_s: int = 0
    ) -> None:
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
        generator = torch.Generator().manual_seed(7)
        masks: list[Tensor] = []
        for _ in range((layers + 1) // 2):
            mask = torch.zeros(dim_u)
            mask[torch.randperm(dim_u, generator=generator)[: dim_u // 2]] = 1
            masks += [mask, 1 - mask]
        self.couplings = nn.ModuleList(
            SplineCoupling(mask, classes, hidden, bins, dim_s) if kind == "spline" else AffineCoupling(mask, classes, hidden, dim_s)
            for mask in masks[:layers]
        )

    def whiten(self, codes: Tensor, label: Tensor, shrink: float = 1e-3) -> None:
        """Set the per-class ZCA whitening from codes [N, D_u] and label [N].

        A class with no more rows than dimensions (it may never be read) has no covariance: it is whitened like all codes.
        """
        eye = torch.eye(codes.shape[1], dtype=torch.float64, device=codes.device)
        for k in range(len(self.code_means)):
            rows = codes[label == k].double()
            if len(rows) <= codes.shape[1]:
                rows = codes.double()
            centred = rows - rows.mean(0)
            covariance = centred.T @ centred / max(1, len(rows) - 1)
            covariance += shrink * covariance.diagonal().mean() * eye
            values, vectors = torch.linalg.eigh(covariance)
            self.code_means[k] = rows.mean(0).float()
            self.whitening[k] = (vectors @ (values**-0.5).diag() @ vectors.T).float()
            self.unwhitening[k] = (vectors @ (values**0.5).diag() @ vectors.T).float()
            self.whitening_log_det[k] = (-0.5 * values.log().sum()).float()

    def fold(self, codes: Tensor, label: Tensor, z_s: Tensor | None = None) -> None:
        """Set the per-class affine map after the couplings, so that z_u of these codes has mean 0 and deviation 1 per class.

        It stays the identity for a class with no more rows than dimensions.
        """
        self.fold_means.zero_()
        self.fold_log_scales.zero_()
        z_u, _ = self.forward(codes, label, z_s)
        for k in range(len(self.code_means)):
            rows = z_u[label == k]
            if len(rows) <= codes.shape[1]:
                continue
            self.fold_means[k] = rows.mean(0)
            self.fold_log_scales[k] = -rows.std(0).clamp_min(1e-3).log()

    def _couplings(self) -> list[Coupling]:
        return [coupling for coupling in self.couplings if isinstance(coupling, Coupling)]

    def whitened(self, e: Tensor, label: Tensor) -> Tensor:
        """e [B, D_u], label [B] -> the code under its class's whitening [B, D_u]: where the couplings begin."""
        return (self.whitening[label] @ (e - self.code_means[label])[..., None])[..., 0]

    def forward(self, e: Tensor, label: Tensor, z_s: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """e [B, D_u], label [B], z_s [B, D_s] -> z_u [B, D_u], log |det dz_u/de| [B]."""
        x = self.whitened(e, label)
        log_det = self.whitening_log_det[label] + self.fold_log_scales[label].sum(1)
        for coupling in self.couplings:
            x, part = coupling(x, label, z_s)
            log_det = log_det + part
        return (x - self.fold_means[label]) * self.fold_log_scales[label].exp(), log_det

    def inverse(self, z_u: Tensor, label: Tensor, z_s: Tensor | None = None) -> Tensor:
        """z_u [B, D_u], label [B], z_s [B, D_s] -> e [B, D_u]; exact up to rounding."""
        x = z_u * (-self.fold_log_scales[label]).exp() + self.fold_means[label]
        for coupling in reversed(self._couplings()):
            x = coupling.inverse(x, label, z_s)
        return (self.unwhitening[label] @ x[..., None])[..., 0] + self.code_means[label]

    def forward_with_log_var(self, e: Tensor, log_var: Tensor, label: Tensor, z_s: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and first-order log-variance of z_u = f(e'), e' ~ N(e, diag exp log_var): [B, D_u] each.

        var(z_u)_i = sum_j (dz_i/de_j)^2 exp(log_var_j): the tangents of the couplings, carried along.
        """
        x = self.whitened(e, label)
        tangents = self.whitening[label].transpose(1, 2) * (0.5 * log_var).exp()[:, :, None]
        for coupling in self._couplings():
            x, tangents = coupling.forward_with_tangents(x, tangents, label, z_s)
        scale = self.fold_log_scales[label]
        variance = tangents.square().sum(1).clamp_min(1e-12)
        return (x - self.fold_means[label]) * scale.exp(), variance.log() + 2 * scale
