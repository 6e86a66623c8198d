"""A quick look at a model in training, on validation pictures: class accuracy, leak, style moved. For the progress line only.

The figures that are published come from evaluate.py, on the exported bundle.
"""

from __future__ import annotations

import numpy as np
import torch

from model.contract import Pixels
from model.vae_gan import VaeGan
from training.codes import to_tensor
from training.data import Pictures
from training.metrics import brightness, class_table, pearson, standardise

ROWS = 2000


@torch.no_grad()
def look(model: VaeGan, validation: Pictures) -> dict[str, float]:
    """Class accuracy, leak (a ridge probe on random features of z_u, half against half) and style moved (brightness r)."""
    rows = np.random.default_rng(0).permutation(len(validation))[:ROWS]
    x, label = to_tensor(validation.pixels[rows]), validation.labels[rows]
    model.eval()
    z_s, q, log_prob = model.read(x)
    z_u = q.mean
    swapped = model.decode(z_s, z_u.roll(1, 0))
    pixels = (swapped * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return {
        "class_accuracy": round(float((log_prob.argmax(1).numpy() == label).mean()), 4),
        "leak": round(_leak(z_u.numpy(), label, len(validation.class_names)), 4),
        "style_moved": round(_style_moved(validation.pixels[rows], pixels, label), 4),
    }


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
