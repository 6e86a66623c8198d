"""The steps of the flow: one half of a code is bent by what a small net reads in the other half, the class and perhaps z_s.

`AffineCoupling` stretches and moves (Dinh et al. 2017, RealNVP), `SplineCoupling` bends by monotone rational-quadratic splines
(Durkan et al. 2019, Neural Spline Flows). Each is inverted exactly, knows its log-determinant, and carries tangents along, because
an exported graph has no autograd. Knows codes and class indices; no whitening and no pictures.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_LOG_SCALE = 2.0  # of a stretch, and of a spline's slope at a knot
BOUND = 4.0  # a spline bends [-BOUND, BOUND], where whitened codes lie, and is the identity outside
MIN_SHARE = 0.25  # of an even bin: no bin is narrower or lower, so that no slope and no rounding error explodes


class Coupling(nn.Module):
    """y = x on the masked half; on the other y = bent(x; raw) with raw = net(masked half, class, z_s). Untrained, the identity.

    Args: mask [D], classes, hidden width, outputs of the net, dim_s: of the z_s that the net reads (0: the class alone).
    """

    def __init__(self, mask: Tensor, classes: int, hidden: int, outputs: int, dim_s: int = 0) -> None:
        super().__init__()
        self.mask: Tensor
        self.register_buffer("mask", mask)
        self.first = nn.Linear(len(mask), hidden)
        self.condition = nn.Embedding(classes, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, outputs)
        self.code = nn.Linear(dim_s, hidden, bias=False) if dim_s else None
        for parameter in (self.condition.weight, self.last.weight, self.last.bias, *(self.code.parameters() if self.code else ())):
            nn.init.zeros_(parameter)

    def bend(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, D], raw [B, outputs] -> y [B, D], log |det dy/dx| [B]."""
        raise NotImplementedError

    def unbend(self, y: Tensor, raw: Tensor) -> Tensor:
        """y [B, D], raw [B, outputs] -> x [B, D]."""
        raise NotImplementedError

    def carry(self, x: Tensor, raw: Tensor, dx: Tensor, d_raw: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, D], raw [B, outputs] and tangents of both, dx [B, T, D], d_raw [B, T, outputs] -> y and its tangents."""
        raise NotImplementedError

    def net(self, x: Tensor, label: Tensor, z_s: Tensor | None = None) -> Tensor:
        """raw [B, outputs]; reads only the masked half of x [B, D]."""
        hidden = F.silu(self._first(x, label, z_s))
        return self.last(F.silu(self.second(hidden)))

    def _first(self, x: Tensor, label: Tensor, z_s: Tensor | None) -> Tensor:
        hidden = F.linear(x, self.first.weight * self.mask, self.first.bias) + self.condition(label)
        return hidden if self.code is None else hidden + self.code(z_s)

    def forward(self, x: Tensor, label: Tensor, z_s: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B, D], label [B], z_s [B, D_s] -> y [B, D], log |det dy/dx| [B]."""
        return self.bend(x, self.net(x, label, z_s))

    def inverse(self, y: Tensor, label: Tensor, z_s: Tensor | None = None) -> Tensor:
        """y [B, D], label [B], z_s [B, D_s] -> x [B, D]."""
        return self.unbend(y, self.net(y, label, z_s))

    def forward_with_tangents(self, x: Tensor, tangents: Tensor, label: Tensor, z_s: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B, D], tangents [B, T, D] -> y, dy/dx @ tangents. Class and z_s are held fixed."""
        first = self._first(x, label, z_s)
        d_first = (tangents @ (self.first.weight * self.mask).T) * _silu_slope(first)[:, None]
        second = self.second(F.silu(first))
        d_second = (d_first @ self.second.weight.T) * _silu_slope(second)[:, None]
        return self.carry(x, self.last(F.silu(second)), tangents, d_second @ self.last.weight.T)


def _silu_slope(x: Tensor) -> Tensor:
    gate = x.sigmoid()
    return gate * (1 + x * (1 - gate))


class AffineCoupling(Coupling):
    """y = x exp(s) + t, with s, t = raw."""

    def __init__(self, mask: Tensor, classes: int, hidden: int, dim_s: int = 0) -> None:
        super().__init__(mask, classes, hidden, 2 * len(mask), dim_s)

    def _scale_and_shift(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Log-scale and shift, each [B, D] and zero on the masked half."""
        log_scale, shift = raw.chunk(2, dim=-1)
        free = 1 - self.mask
        return MAX_LOG_SCALE * log_scale.tanh() * free, shift * free

    def bend(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._scale_and_shift(raw)
        return x * log_scale.exp() + shift, log_scale.sum(1)

    def unbend(self, y: Tensor, raw: Tensor) -> Tensor:
        log_scale, shift = self._scale_and_shift(raw)
        return (y - shift) * (-log_scale).exp()

    def carry(self, x: Tensor, raw: Tensor, dx: Tensor, d_raw: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._scale_and_shift(raw)
        d_log_scale, d_shift = d_raw.chunk(2, dim=-1)
        free = 1 - self.mask
        d_log_scale = d_log_scale * (MAX_LOG_SCALE * (1 - (log_scale / MAX_LOG_SCALE).square()) * free)[:, None]
        scaled = x * log_scale.exp()
        return scaled + shift, dx * log_scale.exp()[:, None] + scaled[:, None] * d_log_scale + d_shift * free


class Bins(NamedTuple):
    """The K bins of n splines, all [B, n, K] but the first two.

    A spline goes from the left bottom to the right top corner of every bin, with slope `begin` at the one and `end` at the other.
    """

    share: Tensor  # [B, n, 2, K], softmax: of the freely divided width and height
    knot_tanh: Tensor  # [B, n, K - 1], the logarithm of a slope between bins, of MAX_LOG_SCALE
    left: Tensor
    width: Tensor
    bottom: Tensor
    height: Tensor
    begin: Tensor
    end: Tensor


class Traced(NamedTuple):
    """Where x [B, n] lies in all bins at once: [B, n, K] each; `slope` [B, n] is dy/dx.

    `done` is the share of a bin's width that x has behind it, 0 in bins above x and 1 in bins below; `risen` the same of y. So
    y is a sum over all bins, and nothing has to be looked up.
    """

    done: Tensor
    risen: Tensor
    mean_slope: Tensor
    denominator: Tensor
    slope: Tensor


class SplineCoupling(Coupling):
    """y = monotone rational-quadratic spline of x with K bins on [-BOUND, BOUND] and slope 1 at its ends, identity outside.

    Durkan et al. 2019, section 3.1, in units of a bin: with s = height / width, d, e the slopes at both ends and q = t (1 - t),
    risen(t) = (s t^2 + d q) / (s + (d + e - 2 s) q).
    """

    def __init__(self, mask: Tensor, classes: int, hidden: int, bins: int, dim_s: int = 0) -> None:
        free = (mask == 0).nonzero()[:, 0]
        super().__init__(mask, classes, hidden, len(free) * (3 * bins - 1), dim_s)
        self.bins = bins
        self.place: Tensor  # [n, D]: a matrix of zeros and ones takes the free dimensions out of a code and puts them back
        self.register_buffer("place", F.one_hot(free, len(mask)).to(mask.dtype), persistent=False)

    def _bins(self, raw: Tensor) -> Bins:
        sizes, knots = raw.unflatten(-1, (len(self.place), -1)).split([2 * self.bins, self.bins - 1], -1)
        share, knot_tanh = sizes.unflatten(-1, (2, self.bins)).softmax(-1), knots.tanh()
        size = 2 * BOUND * (MIN_SHARE / self.bins + (1 - MIN_SHARE) * share)
        edge = size.cumsum(-1) - size - BOUND
        slopes = F.pad((MAX_LOG_SCALE * knot_tanh).exp(), (1, 1), value=1.0)
        (width, height), (left, bottom) = size.unbind(-2), edge.unbind(-2)
        return Bins(share, knot_tanh, left, width, bottom, height, slopes[..., :-1], slopes[..., 1:])

    def _trace(self, x: Tensor, bins: Bins) -> Traced:
        t = ((x[..., None] - bins.left) / bins.width).clamp(0, 1)
        s, q = bins.height / bins.width, t * (1 - t)
        denominator = s + (bins.begin + bins.end - 2 * s) * q
        risen = (s * t.square() + bins.begin * q) / denominator
        slope = (s / denominator).square() * (bins.end * t.square() + 2 * s * q + bins.begin * (1 - t).square())
        inside = ((t > 0) & (t < 1)).to(x.dtype)
        return Traced(t, risen, s, denominator, 1 + (inside * (slope - 1)).sum(-1))

    def _put_back(self, x: Tensor, free: Tensor) -> Tensor:
        """x [B, D] with its free dimensions replaced by [B, n]; tangents [B, T, D] alike."""
        return x * self.mask + free @ self.place

    def _bent(self, free: Tensor, bins: Bins, at: Traced) -> Tensor:
        return (bins.height * at.risen).sum(-1) - BOUND + _outside(free)

    def bend(self, x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        bins, free = self._bins(raw), x @ self.place.T
        at = self._trace(free, bins)
        return self._put_back(x, self._bent(free, bins, at)), at.slope.log().sum(1)

    def unbend(self, y: Tensor, raw: Tensor) -> Tensor:
        bins, free = self._bins(raw), y @ self.place.T
        risen = ((free[..., None] - bins.bottom) / bins.height).clamp(0, 1)
        # a t^2 + b t = c, by the form of the root that does not cancel
        s = bins.height / bins.width
        b = bins.begin - risen * (bins.begin + bins.end - 2 * s)
        a, c = s - b, s * risen
        t = 2 * c / (b + (b.square() + 4 * a * c).clamp_min(0).sqrt())
        t = torch.where(risen < 1, t, 1.0)  # bins below y count whole, to the last bit
        return self._put_back(y, (bins.width * t).sum(-1) - BOUND + _outside(free))

    def carry(self, x: Tensor, raw: Tensor, dx: Tensor, d_raw: Tensor) -> tuple[Tensor, Tensor]:
        bins, free = self._bins(raw), x @ self.place.T
        at = self._trace(free, bins)
        t, s, q = at.done, at.mean_slope, at.done * (1 - at.done)
        # how y changes with a bin's mean slope, width and height, and with the slope between two bins
        by_mean = (t.square() - at.risen * (1 - 2 * q)) / at.denominator
        by_size = torch.stack([-at.slope[..., None] * t - s.square() * by_mean, at.risen + s * by_mean], -2)
        by_end = bins.height * q / at.denominator
        by_knot = (by_end * (1 - at.risen))[..., 1:] - (by_end * at.risen)[..., :-1]
        # and so with raw, through softmax and exp(tanh)
        by_share = 2 * BOUND * (1 - MIN_SHARE) * bins.share * (by_size - (bins.share * by_size).sum(-1, keepdim=True))
        by_tanh = by_knot * bins.end[..., :-1] * MAX_LOG_SCALE * (1 - bins.knot_tanh.square())
        by_raw = torch.cat([by_share.flatten(-2), by_tanh], -1)
        d_free = (d_raw.unflatten(-1, by_raw.shape[1:]) * by_raw[:, None]).sum(-1)
        moved = (dx @ self.place.T) * at.slope[:, None] + d_free
        return self._put_back(x, self._bent(free, bins, at)), self._put_back(dx, moved)


def _outside(x: Tensor) -> Tensor:
    """By how much x lies outside [-BOUND, BOUND]; 0 inside."""
    return x - x.clamp(-BOUND, BOUND)
