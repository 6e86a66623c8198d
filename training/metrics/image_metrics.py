"""Measures as pure functions on numpy arrays, each with its formula, its range and, where it has one, its source.

Knows no model, no files, no torch. Pictures are uint8 [N, H, W, C] (0..255), codes float [N, D], labels int [N].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, gaussian_filter

from twofold.model.contract import Pixels

Array = NDArray[np.floating]
Labels = NDArray[np.int64]

FOREGROUND = 25  # a pixel brighter than this, of 255, is foreground
ACTIVE_VARIANCE = 0.01  # a code dimension whose means vary less than this over the data is not in use
BLUR = 2.0  # pixels, deviation of the Gaussian before the blurred error
ROUNDING = 1 / 12  # variance of what rounding to whole grey levels adds to a pixel

# ------------------------------------------------------------------------------------------------- style statistics


def brightness(pixels: Pixels) -> Array:
    """Foreground brightness [N], 0 or 25..255 grey levels: mean of the pixels > 25, 0 for a picture without any."""
    grey = _grey(pixels)
    inside = grey > FOREGROUND
    count = inside.sum((1, 2))
    return np.where(count > 0, (grey * inside).sum((1, 2)) / np.maximum(count, 1), 0.0)


def slant(pixels: Pixels) -> Array:
    """Slant [N] by second central moments of ink: -mu11 / mu02, columns to the right per row upwards; any sign, 0 where mu02 is 0.

    mu_pq = sum grey(x, y) (x - x_mean)^p (y - y_mean)^q, y downwards (Hu, Visual Pattern Recognition by Moment Invariants, 1962).
    """
    grey = _grey(pixels)
    y, x = np.mgrid[: grey.shape[1], : grey.shape[2]].astype(float)
    mass = np.maximum(grey.sum((1, 2)), 1e-9)[:, None, None]
    dx = x - (grey * x).sum((1, 2), keepdims=True) / mass
    dy = y - (grey * y).sum((1, 2), keepdims=True) / mass
    mu11, mu02 = (grey * dx * dy).sum((1, 2)), (grey * dy * dy).sum((1, 2))
    return np.where(mu02 > 1e-9, -mu11 / np.maximum(mu02, 1e-9), 0.0)


def stroke_width(pixels: Pixels) -> Array:
    """Stroke width [N] in pixels, >= 0: 2 sum(grey) / sum |gradient of grey|, by forward differences; 0 for an empty picture.

    A bar of width w and length L holds w * L of ink inside an outline of about 2 * L.
    """
    grey = np.pad(_grey(pixels), ((0, 0), (1, 1), (1, 1)))
    dy, dx = np.diff(grey, axis=1)[:, :, :-1], np.diff(grey, axis=2)[:, :-1]
    outline = np.sqrt(dy * dy + dx * dx).sum((1, 2))
    return np.where(outline > 1e-9, 2 * grey.sum((1, 2)) / np.maximum(outline, 1e-9), 0.0)


STATISTICS: dict[str, Callable[[Pixels], Array]] = {"brightness": brightness, "slant": slant, "stroke_width": stroke_width}


def _grey(pixels: Pixels) -> Array:
    return pixels.mean(-1, dtype=np.float64)


def class_table(values: Array, labels: Labels, classes: int) -> tuple[Array, Array]:
    """Mean and standard deviation of a statistic [N] within every class: ([K], [K]), each > 0. A constant class gets deviation 1.

    Every class must have a row.
    """
    groups = [values[labels == k] for k in range(classes)]
    deviation = np.array([group.std() for group in groups])
    return np.array([group.mean() for group in groups]), np.where(deviation > 0, deviation, 1.0)


def standardise(values: Array, labels: Labels, table: tuple[Array, Array]) -> Array:
    """(value - mean of its class) / deviation of its class [N], by a `class_table` of real pictures."""
    return (values - table[0][labels]) / table[1][labels]


def pearson(a: Array, b: Array) -> float:
    """Pearson's r of two samples [N], -1..1: cov(a, b) / (std(a) std(b)); 0 where one is constant (no correlation is defined)."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 1e-12 else 0.0


# -------------------------------------------------------------------------------------------------------- style kept


def retrieval(queries: Array, codes: Array, targets: Labels, rng: np.random.Generator, candidates: int = 100) -> float:
    """Top-1 retrieval, 0..1: the share of queries [N, D] whose most similar code, by cosine, is their target's among `candidates` rows.

    `targets` [N] are rows of codes [M, D], M > 1; the other candidates are drawn from the remaining rows. A tie is a miss. Codes that
    say nothing get 1 / candidates.
    """
    unit = codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12)
    hits = 0
    for start in range(0, len(queries), 1000):  # [1000, candidates, D] at a time
        query, target = queries[start : start + 1000], targets[start : start + 1000]
        others = (target[:, None] + rng.integers(1, len(codes), (len(target), candidates - 1))) % len(codes)
        rival = np.einsum("nd,ncd->nc", query, unit[others]).max(1)
        hits += int((np.einsum("nd,nd->n", query, unit[target]) > rival).sum())
    return hits / len(queries)


def active(codes: Array) -> NDArray[np.bool_]:
    """Which dimensions of codes [N, D] are in use: variance of the means over the data above ACTIVE_VARIANCE, bool [D].

    The "active units" of Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016, with the same bound.
    """
    return codes.var(0) > ACTIVE_VARIANCE


def dimension_r(a: Array, b: Array, used: NDArray[np.bool_]) -> float:
    """Mean Pearson r, -1..1, between the same dimensions of two code sets [N, D], over the dimensions `used` [D]; 0 if none is."""
    return float(np.mean([pearson(a[:, d], b[:, d]) for d in np.flatnonzero(used)])) if used.any() else 0.0


# ------------------------------------------------------------------------------------------ distributions and spread


def frechet(a: Array, b: Array) -> float:
    """Fréchet distance, >= 0, of the Gaussians fitted to two feature sets [N, D], [M, D]: |m - n|^2 + tr(S + T - 2 (S T)^1/2).

    m, n are the means and S, T the covariances (Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017, there on Inception
    features; the value depends on the features and grows with the square of their scale).
    """
    first, second = a.astype(np.float64), b.astype(np.float64)
    s, t = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(s)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ t @ root), 0)).sum()
    gap = first.mean(0) - second.mean(0)
    return float(gap @ gap + np.trace(s) + np.trace(t) - 2 * cross)


def within_class_variance(values: NDArray[np.generic], labels: Labels) -> float:
    """Variance within a class, >= 0: sum_i |v_i - mean of the class of i|^2 / N over rows of values [N, ...]."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    total = sum(np.square(flat[labels == k] - flat[labels == k].mean(0)).sum() for k in np.unique(labels))
    return float(total) / len(flat)


def mahalanobis_gap(codes: Array, labels: Labels, means: Array, scale_tril: Array) -> Array:
    """|L_k^-1 (z - m_k)|^2 / D [N], >= 0, of codes [N, D] under their class Gaussian N(m_k, L_k L_k^T): means [K, D], L [K, D, D].

    Its mean is 1 for codes that are drawn from the Gaussians.
    """
    gap = np.empty(len(codes))
    for k in np.unique(labels):
        rows = labels == k
        gap[rows] = np.square(np.linalg.solve(scale_tril[k], (codes[rows] - means[k]).T)).mean(0)
    return gap


# ------------------------------------------------------------------------------------------------ picture against picture


def mean_square_error(a: Array | Pixels, b: Array | Pixels) -> Array:
    """Mean square error per picture [N], 0..1: pixels [N, H, W, C], 0..255, whole or not, are scaled to [0, 1]."""
    return np.square((a.astype(np.float64) - b) / 255).reshape(len(a), -1).mean(1)


def blurred_square_error(a: Array | Pixels, b: Array | Pixels) -> Array:
    """Mean square error per picture [N], 0..1, after both were blurred by a Gaussian of BLUR pixels, the border mirrored.

    Pixels [N, H, W, C], 0..255, whole or not. It forgives a sharp edge that is a pixel or two off, which the raw error punishes
    more than no edge at all.
    """
    gap = (a.astype(np.float32) - b.astype(np.float32)) / 255  # a blur is linear: that of the difference is the difference of the blurs
    return np.square(gaussian_filter(gap, (0, BLUR, BLUR, 0))).reshape(len(gap), -1).mean(1, dtype=np.float64)


def truth_rank(drawn: Array | Pixels, truth: Pixels, others: Pixels) -> Array:
    """Rank of the truth among other pictures by distance to what was drawn [N], 0 (the nearest) to 1; 0.5 if drawn without knowledge.

    The share of `others` [M, H, W, C] that are nearer, by mean square error, to drawn [N, H, W, C] than its truth [N, H, W, C] is; a
    tie counts half. Others that are the truth pixel for pixel are left out; 0.5 where none is left.
    """
    made, real, rival = (values.reshape(len(values), -1).astype(np.float64) / 255 for values in (drawn, truth, others))
    known = {picture.tobytes(): number for number, picture in enumerate(others)}
    same = np.array([[known[p.tobytes()]] for p in others]) == np.array([known.get(p.tobytes(), -1) for p in truth])
    own = np.square(made - real).sum(1)
    distance = np.square(made).sum(1) + np.square(rival).sum(1)[:, None] - 2 * rival @ made.T  # [M, N]
    nearer = (distance < own - 1e-9) + 0.5 * (np.abs(distance - own) <= 1e-9)
    counted = (~same).sum(0)
    return np.where(counted > 0, (nearer * ~same).sum(0) / np.maximum(counted, 1), 0.5)


def psnr(error: Array | float) -> Array:
    """Peak signal-to-noise ratio in decibels, 0..100: -10 log10(error) of a mean square error on [0, 1]; 100 for an exact match."""
    return -10 * np.log10(np.maximum(error, 1e-10))


def ssim(a: Pixels, b: Pixels) -> Array:
    """Structural similarity per picture [N], -1..1, mean over channels and windows.

    (2 m_a m_b + c1) (2 cov_ab + c2) / ((m_a^2 + m_b^2 + c1) (var_a + var_b + c2)) in a Gaussian window of 11 pixels, sigma 1.5, only
    where it lies inside; c1 = (0.01 * 255)^2, c2 = (0.03 * 255)^2 (Wang et al., Image Quality Assessment, 2004). Pictures smaller than
    the window get the largest odd window that fits.
    """
    size = min(11, *(side - 1 + side % 2 for side in a.shape[1:3]))
    offsets = np.arange(size) - size // 2
    window = np.exp(-0.5 * (offsets / 1.5) ** 2)
    window /= window.sum()
    inner = slice(size // 2, -(size // 2) or None)

    def blur(values: Array) -> Array:
        return correlate1d(correlate1d(values, window, 1), window, 2)[:, inner, inner]

    x, y = a.astype(np.float64), b.astype(np.float64)
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return values.reshape(len(a), -1).mean(1)


def radial_spectrum(pixels: Pixels) -> Array:
    """Power by spatial frequency, squared grey levels: bin r - 1 has r - 1/2 <= frequency < r + 1/2, from 1 to the corner (a chequerboard).

    P(u, v) = |DFT(w (g - mean g))|^2 / sum w^2 of the grey picture g (mean of its channels) in a Hann window w, averaged over pictures,
    then over the frequencies of a ring, of which r = sqrt(u^2 + v^2) with u, v in cycles per the shorter side. White noise of variance
    s^2 has P = s^2 everywhere.
    """
    _, height, width, _ = pixels.shape
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    power = np.zeros((height, width))
    for start in range(0, len(pixels), 500):
        grey = _grey(pixels[start : start + 500])
        power += np.square(np.abs(np.fft.fft2((grey - grey.mean((1, 2), keepdims=True)) * window))).sum(0)
    power /= len(pixels) * np.square(window).sum()
    radius = min(height, width) * np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    ring = np.floor(radius + 0.5).astype(int).reshape(-1)
    total, count = np.bincount(ring, power.reshape(-1)), np.bincount(ring)
    return total[1:] / count[1:]


def spectrum_log_ratio(a: Pixels, b: Pixels) -> float:
    """Mean over frequencies r of |ln((P_a(r) + 1/12) / (P_b(r) + 1/12))|, >= 0, of the `radial_spectrum` of two sets of pictures.

    0.25: the power differs by 28 % in the mean. 1/12 is what rounding to whole levels adds to any picture. A grid, stripes or noise give
    too much power at high frequencies, blur too little (Durall et al., Watch Your Up-Convolution, 2020).
    """
    return float(np.abs(np.log((radial_spectrum(a) + ROUNDING) / (radial_spectrum(b) + ROUNDING))).mean())


def intra_class_ssim(pixels: Pixels, labels: Labels, rng: np.random.Generator, pairs: int = 200) -> float:
    """Mean SSIM, -1..1, of `pairs` random pairs of different pictures within each class that has two; 1 if none has.

    Lower is more varied (Odena, Olah and Shlens, Conditional Image Synthesis with Auxiliary Classifier GANs, 2017, with MS-SSIM).
    """
    means = []
    for k in np.unique(labels):
        rows = np.flatnonzero(labels == k)
        if len(rows) < 2:
            continue
        first = rng.integers(0, len(rows), pairs)
        second = (first + rng.integers(1, len(rows), pairs)) % len(rows)
        means.append(ssim(pixels[rows[first]], pixels[rows[second]]).mean())
    return float(np.mean(means)) if means else 1.0
