"""One pure function per equation. Natural logarithms; the docstring says what is summed and what is averaged.

Knows no networks, no weights and no optimisers: `training/trainer/objectives.py` applies them to a forward pass,
`training/trainer/step.py` weighs and sums. Shapes: B rows of a batch, K classes, D_s and D_u dimensions of the codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from twofold.model.posterior import DiagonalGaussian
from twofold.model.prior import LOG_2PI

DIRECTIONS = 4  # of a power spectrum


def recon_sse(x: Tensor, x_rec: Tensor) -> Tensor:
    """Squared error, x [B, C, H, W] in [0, 1] -> scalar, sum over pixels, mean over B.

    With weight w it is -log N(x; x_rec, sigma^2 I) up to a constant, sigma^2 = 1 / (2 w).
    """
    # 1/B sum_b sum_p (x_bp - x'_bp)^2
    return (x - x_rec).square().flatten(1).sum(1).mean()


def recon_mse(x: Tensor, x_rec: Tensor) -> Tensor:
    """Mean squared error on the scale [-1, 1], x in [0, 1] -> scalar, mean over pixels and B. Zheng & Sun 2019 (code)."""
    # (2 x - 1) - (2 x' - 1) = 2 (x - x'), hence the 4
    return 4 * (x - x_rec).square().mean()


def recon_nll(x: Tensor, x_rec: Tensor) -> Tensor:
    """-log N(x; x_rec, sigma^2 I) under the sigma that is best for the batch, up to a constant -> scalar, nats, sum over pixels.

    The weight of the error follows the error: no weight has to be found for pictures of another kind. Rybkin et al. 2021 (sigma-VAE).
    """
    # min over sigma of D/2 log sigma^2 + |x - x'|^2 / (2 sigma^2) is at sigma^2 = mean (x - x')^2
    return 0.5 * x[0].numel() * (x - x_rec).square().mean().clamp_min(1e-8).log()


def kl_sum(q: DiagonalGaussian) -> Tensor:
    """KL(q(z_u | x) || N(0, I)) -> scalar, nats, sum over D_u, mean over B. Zheng & Sun 2019, L_KL."""
    # sum_j 1/2 (m_j^2 + exp v_j - 1 - v_j)
    return q.kl_to_standard().sum(1).mean()


def kl_mean(q: DiagonalGaussian) -> Tensor:
    """The same, *averaged* over D_u, as the authors' code has it: regularises z_u D_u times less."""
    # 1/D_u sum_j 1/2 (m_j^2 + exp v_j - 1 - v_j)
    return q.kl_to_standard().mean()


def class_loss(logits: Tensor, label: Tensor) -> Tensor:
    """CE(logits [B, K], label [B]) -> scalar, nats, mean over B. Zheng & Sun 2019, L_cls; Wan et al. 2018, margin 0."""
    # -log p(y | z_s) = logsumexp_k(logits_k) - logits_y; minimising it raises a bound on I(z_s; y) (Barber & Agakov 2003)
    return F.cross_entropy(logits, label)


def likelihood_loss(log_prob: Tensor) -> Tensor:
    """-log N(z_s; mu_y, Sigma_y), log_prob [B] summed over D_s -> scalar, nats, mean over B. Zheng & Sun 2019, L_lkd."""
    # 1/2 sum_j [(z_j - mu_yj)^2 exp(-s_yj) + s_yj + log 2 pi]
    return -log_prob.mean()


def log_var_regularizer(log_vars: Tensor) -> Tensor:
    """e^s - s - 1 >= 0, zero at s = 0: keeps z_s and Sigma from shrinking together. [K, D_s] -> scalar, mean over both."""
    # convex in s with its minimum at s = 0, Sigma = I: twice the KL of N(0, exp s) to N(0, 1)
    return (log_vars.exp() - log_vars - 1).mean()


def latent_adversary_loss(logits: Tensor, class_weights: Tensor) -> Tensor:
    """CE(C(z_u), pi) - H(pi) = mean over B of KL(pi || C(z_u)) >= 0: logits [B, K], pi [K] -> scalar, nats.

    Zero exactly when the classifier says no more than the class frequencies. Zheng & Sun 2019, L_adv for E_u.
    """
    # -sum_k pi_k log C_k(z_u) - H(pi)
    # [B, K]; the entropy H(pi) = -sum_k pi_k log pi_k is constant, and makes 0 the least value
    log_probs = F.log_softmax(logits, 1)
    entropy = -(class_weights * class_weights.clamp_min(1e-12).log()).sum()
    return -(class_weights * log_probs).sum(1).mean() - entropy


def latent_classifier_loss(logits: Tensor, label: Tensor) -> Tensor:
    """CE(C(z_u), y): what the latent classifier itself learns. logits [B, K], label [B] -> scalar, nats."""
    # -log C_y(z_u), C = softmax(logits); E_u is trained on the loss above, C alone on this one
    return F.cross_entropy(logits, label)


def discriminator_real_loss(score: Tensor) -> Tensor:
    """Hinge on real pictures, relu(1 - D(x, y)): [B] -> scalar, mean over B. Miyato & Koyama 2018."""
    # max(0, 1 - D(x, y)): no gradient from pictures that are already on the right side of the margin
    return F.relu(1 - score).mean()


def discriminator_fake_loss(score: Tensor) -> Tensor:
    """Hinge on generated pictures, relu(1 + D(x', y)): [B] -> scalar, mean over B."""
    # max(0, 1 + D(x', y')): with the loss above, D is drawn above +1 on real pictures and below -1 on generated ones
    return F.relu(1 + score).mean()


def gradient_penalty(score: Tensor, x: Tensor) -> Tensor:
    """1/2 |dD/dx|^2 on pictures x [B, C, H, W] that require gradients, score [B] -> scalar, mean over B. R1, Mescheder et al. 2018."""
    # 1/2 E |grad_x D(x, y)|^2: D may not be steep where the pictures are
    (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return 0.5 * gradient.square().flatten(1).sum(1).mean()


def feature_matching(features: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """|phi_l(x') - phi_l(x)| -> scalar: mean over B and the features of a level, sum over levels l of D. Larsen et al. 2016."""
    # sum_l 1/N_l |phi_l(x') - phi_l(x)|_1
    return torch.stack([(a.float() - b.float()).abs().mean() for a, b in zip(features, wanted, strict=True)]).sum()


def power_spectrum(x: Tensor) -> Tensor:
    """Mean power of pictures x [B, C, H, W] by distance from frequency 0 and by direction: [min(H, W) // 2 - 1, 4], the constant left out.

    Directions are sectors of 45 degrees about the horizontal, the vertical and the diagonals; 0 where a sector holds no frequency.
    """
    height, width = x.shape[2:]
    side = min(height, width)
    # |F[w (x - mean)]|^2, a Hann window w so that opposite borders do not count as an edge
    window = torch.hann_window(height, False, device=x.device)[:, None] * torch.hann_window(width, False, device=x.device)
    power = torch.fft.fft2((x - x.mean((2, 3), keepdim=True)) * window).abs().square().mean((0, 1))
    down, right = (torch.fft.fftfreq(n, 1 / side, device=x.device) for n in (height, width))
    ring = (down.square()[:, None] + right.square()).sqrt().round().long().clamp_max(side // 2)
    sector = (torch.atan2(down[:, None], right) / (math.pi / 4)).round().long() % DIRECTIONS
    cell, cells = (DIRECTIONS * ring + sector).flatten(), DIRECTIONS * (side // 2 + 1)
    sums = torch.zeros(cells, device=x.device).index_add(0, cell, power.flatten())
    return (sums / torch.bincount(cell, minlength=cells).clamp_min(1)).view(-1, DIRECTIONS)[1 : side // 2]


def spectrum_loss(x: Tensor, real: Tensor) -> Tensor:
    """(log P(x') - log P(x))^2 of the power spectra of two sets of pictures [B, C, H, W] -> scalar, mean over distances and directions.

    Durall et al. 2020 compare radial spectra of pictures one by one. Here it is the mean over a batch, so that no picture has to be like
    another; and by direction, or stripes would do for texture.
    """
    # log P: a texture at a tenth of the power counts as much as one at ten times
    return (power_spectrum(x).clamp_min(1e-12).log() - power_spectrum(real).clamp_min(1e-12).log()).square().mean()


def generator_loss(score: Tensor) -> Tensor:
    """-D(x', y): [B] -> scalar, mean over B."""
    # -D(x', y'), without a hinge: it has a gradient however sure D is
    return -score.mean()


def flow_nll(z_u: Tensor, log_det: Tensor) -> Tensor:
    """-log p(e | c) = -log N(f(e; c); 0, I) - log |det df/de| -> scalar, nats, sum over D_u, mean over B."""
    # change of variables: log p(e | c) = log N(f(e; c); 0, I) + log |det df/de|
    # -log N(z; 0, I) = 1/2 sum_j (z_j^2 + log 2 pi)
    return (0.5 * (z_u.square() + LOG_2PI).sum(1) - log_det).mean()


def flow_transport(z_u: Tensor, whitened: Tensor) -> Tensor:
    """|f(e; c) - W_c e|^2, how far the couplings carry a whitened code [B, D_u] -> scalar, sum over D_u, mean over B.

    The likelihood prefers none of the maps to N(0, I); the shortest keeps the axes of a style where they are, the same in every class.
    Monge's cost, which Onken et al. 2021 (OT-Flow) regularise flows with.
    """
    # sum_j (f_j(e; c) - (W_c (e - m_c))_j)^2
    return (z_u - whitened).square().sum(1).mean()


def cka_penalty(codes: Tensor, label: Tensor) -> Tensor:
    """Centred kernel alignment between codes [B, D] and label [B] -> scalar in [0, 1]; 0 for independence.

    Gaussian kernel on the codes with the median squared distance as bandwidth, "same class" kernel on the labels.
    Gretton et al. 2005 (HSIC); Cortes et al. 2012 (alignment).
    """
    # K_ab = exp(-|z_a - z_b|^2 / median),  M_ab = 1 where y_a = y_b
    # [B, B]. Over the median the kernel neither saturates nor vanishes: codes that all shrink alike keep their value
    squares = torch.cdist(codes, codes).square()
    bandwidth = squares.detach().median().clamp_min(1e-6)
    kernels = [(-squares / bandwidth).exp(), (label[:, None] == label[None]).to(codes.dtype)]
    # centred: H K H with H = I - 1/B
    k, m = (a - a.mean(0, keepdim=True) - a.mean(1, keepdim=True) + a.mean() for a in kernels)
    # <HKH, HMH> / (|HKH| |HMH|). The bound is inside the root, whose slope at 0 is infinite (collapsed codes, a batch of one class)
    return (k * m).sum() / (k.square().sum() * m.square().sum()).clamp_min(1e-24).sqrt()


def latent_regression(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared error between re-encoded and intended codes [B, D] -> scalar, mean over D and B."""
    # 1/D sum_j (z'_j - z_j)^2: InfoGAN's mutual information bound under a Gaussian of fixed variance (Chen et al. 2016)
    return (found - wanted).square().mean()
