"""f: a small conditional flow between E_u's code e and the style code z_u. Independence by construction.

z_u = f(e; c) is trained by maximum likelihood to be N(0, I) *for every class*, so z_u says nothing of the class, sampling
from N(0, I) is right, and a swap decodes f^-1(z_u of b; class of a), which lies where class a's codes live. No information is
lost: f is exactly invertible. Knows codes and class indices; no pictures.

Whitening per class, then affine couplings (Dinh et al. 2017, RealNVP), then a per-class affine map folded in afterwards. The
couplings use complementary masks instead of shuffles, so axes keep their place and the exported graph has no gathers of columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MAX_LOG_SCALE = 2.0


class Coupling(nn.Module):
    """y = x on the masked half; y = x exp(s) + t on the other, with s, t = net(masked half, class)."""

    def __init__(self, mask: Tensor, classes: int, hidden: int) -> None:
        super().__init__()
        dim = len(mask)
        self.mask: Tensor
        self.register_buffer("mask", mask)
        self.first = nn.Linear(dim, hidden)
        self.condition = nn.Embedding(classes, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 2 * dim)
        for parameter in (self.condition.weight, self.last.weight, self.last.bias):
            nn.init.zeros_(parameter)

    def net(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Log-scale and shift, each [B, D] and zero on the masked half; reads only the masked half of x [B, D]."""
        hidden = nn.functional.silu(nn.functional.linear(x, self.first.weight * self.mask, self.first.bias) + self.condition(label))
        return self._scale_and_shift(self.last(nn.functional.silu(self.second(hidden))))

    def _scale_and_shift(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = raw.chunk(2, dim=-1)
        free = 1 - self.mask
        return MAX_LOG_SCALE * log_scale.tanh() * free, shift * free

    def forward(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, D], label [B] -> y [B, D], log |det dy/dx| [B]."""
        log_scale, shift = self.net(x, label)
        return x * log_scale.exp() + shift, log_scale.sum(1)

    def inverse(self, y: Tensor, label: Tensor) -> Tensor:
        """y [B, D], label [B] -> x [B, D]."""
        log_scale, shift = self.net(y, label)
        return (y - shift) * (-log_scale).exp()

    def forward_with_tangents(self, x: Tensor, tangents: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, D], tangents [B, T, D] -> y, dy/dx @ tangents. Written out, because the exported graph has no autograd."""
        weight = self.first.weight * self.mask
        first = nn.functional.linear(x, weight, self.first.bias) + self.condition(label)
        d_first = (tangents @ weight.T) * _silu_slope(first)[:, None]
        second = self.second(nn.functional.silu(first))
        d_second = (d_first @ self.second.weight.T) * _silu_slope(second)[:, None]
        log_scale, shift = self._scale_and_shift(self.last(nn.functional.silu(second)))
        d_raw, d_shift = (d_second @ self.last.weight.T).chunk(2, dim=-1)
        free = 1 - self.mask
        d_log_scale = d_raw * (MAX_LOG_SCALE * (1 - (log_scale / MAX_LOG_SCALE).square()) * free)[:, None]
        scaled = x * log_scale.exp()
        return scaled + shift, tangents * log_scale.exp()[:, None] + scaled[:, None] * d_log_scale + d_shift * free


def _silu_slope(x: Tensor) -> Tensor:
    gate = x.sigmoid()
    return gate * (1 + x * (1 - gate))


class ClassFlow(nn.Module):
    """f(.; c): e [B, D_u] <-> z_u [B, D_u] for a class c."""

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
        generator = torch.Generator().manual_seed(7)
        masks: list[Tensor] = []
        for _ in range((layers + 1) // 2):
            mask = torch.zeros(dim_u)
            mask[torch.randperm(dim_u, generator=generator)[: dim_u // 2]] = 1
            masks += [mask, 1 - mask]
        self.couplings = nn.ModuleList(Coupling(mask, classes, hidden) for mask in masks[:layers])

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

    def fold(self, codes: Tensor, label: Tensor) -> None:
        """Set the per-class affine map after the couplings, so that z_u of these codes has mean 0 and deviation 1 per class.

        It stays the identity for a class with no more rows than dimensions.
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

    def _couplings(self) -> list[Coupling]:
        return [coupling for coupling in self.couplings if isinstance(coupling, Coupling)]

    def _whitened(self, e: Tensor, label: Tensor) -> Tensor:
        return (self.whitening[label] @ (e - self.code_means[label])[..., None])[..., 0]

    def forward(self, e: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """e [B, D_u], label [B] -> z_u [B, D_u], log |det dz_u/de| [B]."""
        x = self._whitened(e, label)
        log_det = self.whitening_log_det[label] + self.fold_log_scales[label].sum(1)
        for coupling in self.couplings:
            x, part = coupling(x, label)
            log_det = log_det + part
        return (x - self.fold_means[label]) * self.fold_log_scales[label].exp(), log_det

    def inverse(self, z_u: Tensor, label: Tensor) -> Tensor:
        """z_u [B, D_u], label [B] -> e [B, D_u]; exact up to rounding."""
        x = z_u * (-self.fold_log_scales[label]).exp() + self.fold_means[label]
        for coupling in reversed(self._couplings()):
            x = coupling.inverse(x, label)
        return (self.unwhitening[label] @ x[..., None])[..., 0] + self.code_means[label]

    def forward_with_log_var(self, e: Tensor, log_var: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and first-order log-variance of z_u = f(e'), e' ~ N(e, diag exp log_var): [B, D_u] each.

        var(z_u)_i = sum_j (dz_i/de_j)^2 exp(log_var_j): the tangents of the couplings, carried along.
        """
        x = self._whitened(e, label)
        tangents = self.whitening[label].transpose(1, 2) * (0.5 * log_var).exp()[:, :, None]
        for coupling in self._couplings():
            x, tangents = coupling.forward_with_tangents(x, tangents, label)
        scale = self.fold_log_scales[label]
        variance = tangents.square().sum(1).clamp_min(1e-12)
        return (x - self.fold_means[label]) * scale.exp(), variance.log() + 2 * scale
