"""Validation of a model in training, on held-out pictures: figures for the progress line and warnings, and one sheet of pictures.

The figures that are published come from training/evaluation, on the exported bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twofold import image_grid
from twofold.model.contract import Pixels
from twofold.model.vae_gan import VaeGan
from twofold.training.data.dataset import Pictures
from twofold.training.metrics.image_metrics import brightness, class_table, pearson, psnr, standardise, within_class_variance
from twofold.training.trainer.latents import PIECE, encode, to_pixels, to_tensor

ROWS = 2000
CLASSES, STYLES, SHOWN = 16, 8, 8  # of the sheet, at most
GAP = 2  # pixels between cells
SEED = 0


@dataclass(frozen=True)
class ValidationResult:
    """What validation found. `style_variance` [D_u] is the variance of E_u's mean over the pictures, before the flow."""

    figures: dict[str, float]
    style_variance: NDArray[np.float32]


@torch.no_grad()
def validate(model: VaeGan, validation: Pictures) -> ValidationResult:
    """Figures of the model, in evaluation mode.

    They are: class accuracy, leak (a ridge probe on random features of z_u, half against half), style moved (brightness r of swaps),
    PSNR of reconstructions in dB, variety (pixel variance of samples within their class, ratio to real).
    """
    rows = np.random.default_rng(0).permutation(len(validation))[:ROWS]
    pictures = validation.take(rows)
    x, label = to_tensor(pictures.pixels, model.device), pictures.labels
    model.eval()
    codes = encode(model, pictures.pixels, label)
    z_s, q, read = codes.z_s, codes.q, codes.read
    z_u = model.style_from_code(q, read).mean
    swapped = to_pixels(_in_pieces(model.decode, z_s, z_u.roll(1, 0)))
    error = (_in_pieces(model.draw, z_s, q.mean) - x).square().mean((1, 2, 3))
    drawn = to_pixels(_in_pieces(model.decode, *_samples(model, codes.label)))
    real = within_class_variance(pictures.pixels, label)
    figures = {
        "class_accuracy": float((read.cpu().numpy() == label).mean()),
        "leak": _leak(z_u.cpu().numpy(), label, len(validation.class_names)),
        "style_moved": _style_moved(pictures.pixels, swapped, label),
        "psnr_db": float(psnr(error.cpu().numpy()).mean()),
        "variety": within_class_variance(drawn, label) / max(real, 1e-12),
    }
    return ValidationResult({name: round(value, 4) for name, value in figures.items()}, q.mean.var(0).cpu().numpy())


@torch.no_grad()
def picture(model: VaeGan, validation: Pictures) -> Pixels:
    """One sheet [H, W, C], always of the same size and the same codes, so that sheets make a film.

    From left to right: samples, a class per row and one style per column; swaps, the row gives the class and the column the style,
    originals at the edges; reconstructions, each original beside its own.
    """
    model.eval()
    classes = np.linspace(0, len(validation.class_names) - 1, min(CLASSES, len(validation.class_names))).round().astype(int)
    label = torch.from_numpy(np.repeat(classes, STYLES)).to(model.device)
    z_s, z_u = _samples(model, label)
    one_style = z_u[:STYLES].repeat(len(classes), 1)
    samples = to_pixels(model.decode(z_s, one_style)).reshape(len(classes), STYLES, *validation.pixels.shape[1:])
    shown = validation.pixels[by_turns(validation.labels)[:SHOWN]]
    x = to_tensor(shown, model.device)
    z_s, q, read = model.codes(x)
    styles = model.style_from_code(q, read).mean
    n = len(shown)
    swaps = to_pixels(model.decode(z_s.repeat_interleave(n, 0), styles.repeat(n, 1))).reshape(n, n, *shown.shape[1:])
    corner = np.full_like(shown[:1], 255)
    matrix = np.concatenate([np.concatenate([corner, shown])[None], np.concatenate([shown[:, None], swaps], 1)])
    pairs = np.stack([shown, to_pixels(model.draw(z_s, q.mean))], 1)
    return _beside((samples, matrix, pairs))


def _in_pieces(network: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """The network over rows, a few at a time: all at once would not fit a processor's cache."""
    return torch.cat([network(*piece) for piece in zip(*(rows.split(PIECE) for rows in inputs), strict=True)])


def _samples(model: VaeGan, label: Tensor) -> tuple[Tensor, Tensor]:
    """z_s, z_u for labels [B]: z_s from the fitted class Gaussians once there are any, z_u ~ N(0, I)."""
    generator = torch.Generator(label.device).manual_seed(SEED)
    z_u = torch.randn(len(label), len(model.fitted.z_u_mean), generator=generator, device=label.device)
    if model.fitted.means.any():
        return model.fitted.sample(label, generator)[0], z_u
    return model.prior.sample(label, generator), z_u


def by_turns(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of labels [N] in an order that gives the first of every class, then the second of every class, and so on."""
    rank = np.empty(len(labels), np.int64)
    for k in np.unique(labels):
        rows = np.flatnonzero(labels == k)
        rank[rows] = np.arange(len(rows))
    return np.lexsort((labels, rank))


def _beside(blocks: Iterable[Pixels]) -> Pixels:
    """Blocks of cells [rows, columns, H, W, C] -> one picture, white between cells and blocks."""
    sheets = [image_grid.sheet(cells.reshape(-1, *cells.shape[2:]), cells.shape[1], gap=GAP) for cells in blocks]
    height = max(len(sheet) for sheet in sheets)
    filled = [np.pad(s, ((0, height - len(s)), (0, 4 * GAP), (0, 0)), constant_values=255) for s in sheets]
    return np.concatenate(filled, 1)


def _leak(z_u: np.ndarray, label: np.ndarray, classes: int) -> float:
    rng = np.random.default_rng(1)
    half = len(label) // 2
    z = (z_u - z_u[:half].mean(0)) / (z_u[:half].std(0) + 1e-6)
    features = np.maximum(z @ rng.normal(size=(z.shape[1], 512)) + rng.normal(size=512), 0)
    features = np.concatenate([features, z, np.ones((len(z), 1))], 1)
    gram = features[:half].T @ features[:half] + 10.0 * np.eye(features.shape[1])
    weights = np.linalg.solve(gram, features[:half].T @ np.eye(classes)[label[:half]])
    return float(((features[half:] @ weights).argmax(1) == label[half:]).mean())


def _style_moved(pixels: Pixels, swapped: Pixels, label: np.ndarray) -> float:
    """Row i of `swapped` has the class of i and the style of i - 1."""
    real = brightness(pixels)
    table = class_table(real, label, int(label.max()) + 1)
    return pearson(np.roll(standardise(real, label, table), 1), standardise(brightness(swapped), label, table))
