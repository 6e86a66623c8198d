"""The steps of the flow: affine couplings, each inverted exactly. Dinh et al. 2017 (RealNVP).

One half of a code is scaled and shifted by what a small network reads in the other half and in the class. A coupling knows its
log-determinant, and carries tangents along, because an exported graph has no autograd. Knows codes and class indices; no whitening and
no pictures.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

MAX_LOG_SCALE = 2.0  # nats; a coupling scales by e^-2 to e^2


class AffineCoupling(nn.Module):
    """y = x exp(s) + t on the free half of x, y = x on the masked half; s, t = net(masked half, class). Untrained, the identity.

    Args: mask [D] of zeros (free) and ones (masked), classes, hidden width of the network.
    """

    def __init__(self, mask: Tensor, classes: int, hidden: int) -> None:
        super().__init__()
        self.mask: Tensor
        self.register_buffer("mask", mask)
        self.first = nn.Linear(len(mask), hidden)
        self.condition = nn.Embedding(classes, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, 2 * len(mask))  # r and t, one of each for every dimension
        # zero here means s = t = 0, so the first map that the likelihood sees is the whitening alone
        for parameter in (self.condition.weight, self.last.weight, self.last.bias):
            nn.init.zeros_(parameter)

    def net(self, x: Tensor, label: Tensor) -> Tensor:
        """x [B, D], of which only the masked half is read, label [B] -> raw [B, 2 D]: log-scales before the bound, and shifts."""
        # raw = W3 silu(W2 silu(W1 (m * x) + E_c))
        return self.last(F.silu(self.second(F.silu(self._first(x, label)))))

    def forward(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, D], label [B] -> y [B, D], log |det dy/dx| [B] in nats."""
        log_scale, shift = self._scale_and_shift(self.net(x, label))
        # the Jacobian is triangular with exp(s) on its diagonal, so log |det dy/dx| = sum_j s_j
        return x * log_scale.exp() + shift, log_scale.sum(1)

    def inverse(self, y: Tensor, label: Tensor) -> Tensor:
        """y [B, D], label [B] -> x [B, D]."""
        # the network reads the masked half, which is the same in x and y, so s and t are known before x is
        log_scale, shift = self._scale_and_shift(self.net(y, label))
        # x = (y - t) exp(-s), which is y itself on the masked half, where s = t = 0
        return (y - shift) * (-log_scale).exp()

    def forward_with_tangents(self, x: Tensor, tangents: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, D], tangents [B, T, D], label [B] -> y [B, D], (dy/dx) tangents [B, T, D]. The class is held fixed."""
        # forward mode through the network: d silu(a) = silu'(a) da, layer by layer
        first = self._first(x, label)
        # a1 = W1 (m * x) + E_c, so da1 = (W1 diag m) dx: [B, T, D] @ [D, hidden]
        d_first = (tangents @ (self.first.weight * self.mask).T) * _silu_slope(first)[:, None]
        second = self.second(F.silu(first))
        # a2 = W2 silu(a1)
        d_second = (d_first @ self.second.weight.T) * _silu_slope(second)[:, None]
        log_scale, shift = self._scale_and_shift(self.last(F.silu(second)))
        # (r, t) = W3 silu(a2)
        d_log_scale, d_shift = (d_second @ self.last.weight.T).chunk(2, dim=-1)
        free = 1 - self.mask
        # s = M tanh(r), so ds = M (1 - (s / M)^2) dr
        d_log_scale = d_log_scale * (MAX_LOG_SCALE * (1 - (log_scale / MAX_LOG_SCALE).square()) * free)[:, None]
        # dy = exp(s) dx + x exp(s) ds + dt
        scaled = x * log_scale.exp()
        return scaled + shift, tangents * log_scale.exp()[:, None] + scaled[:, None] * d_log_scale + d_shift * free

    def _first(self, x: Tensor, label: Tensor) -> Tensor:
        # masking the weights equals masking x, and needs no second copy of x in the graph
        return F.linear(x, self.first.weight * self.mask, self.first.bias) + self.condition(label)

    def _scale_and_shift(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """raw [B, 2 D] -> log-scale and shift, each [B, D] and zero on the masked half."""
        log_scale, shift = raw.chunk(2, dim=-1)
        free = 1 - self.mask
        # s = M tanh(r) is bounded, so no code is scaled without end and the inverse keeps its precision
        return MAX_LOG_SCALE * log_scale.tanh() * free, shift * free


def _silu_slope(x: Tensor) -> Tensor:
    # silu(x) = x sigma(x), so silu'(x) = sigma(x) (1 + x (1 - sigma(x)))
    sigma = x.sigmoid()
    return sigma * (1 + x * (1 - sigma))
