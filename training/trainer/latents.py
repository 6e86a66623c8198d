"""The codes of a whole split of pictures. Knows the model and pixels in memory; knows nothing of losses or of time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twofold.model.contract import Pixels
from twofold.model.posterior import DiagonalGaussian
from twofold.model.vae_gan import VaeGan

PIECE = 100  # pictures that go through the networks at once: more would not fit a processor's cache


@dataclass(frozen=True)
class Codes:
    """Of N pictures: z_s [N, D_s], E_u's q(e | x) before the flow, the class read from z_s [N], the true label [N]."""

    z_s: Tensor
    q: DiagonalGaussian
    read: Tensor
    label: Tensor


def on_device(array: np.ndarray, device: torch.device | str) -> Tensor:
    """The array as a tensor on the device. To a GPU it is copied from pinned memory, which waits for nothing that the GPU still does."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if torch.device(device).type == "cuda" else tensor


def to_tensor(pixels: Pixels, device: torch.device | str = "cpu") -> Tensor:
    """pixels uint8 [B, H, W, C] -> float32 [B, C, H, W] in [0, 1], channels last in memory, on the device."""
    return on_device(pixels, device).permute(0, 3, 1, 2).float() / 255


def to_pixels(x: Tensor) -> Pixels:
    """x [B, C, H, W] in [0, 1] -> pixels uint8 [B, H, W, C], the inverse of `to_tensor`."""
    return (x * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def encode(model: VaeGan, pixels: Pixels, labels: NDArray[np.int64], chunk: int = PIECE) -> Codes:
    """Encode pixels uint8 [N, H, W, C] in evaluation mode and float32, on the model's device (its modes are left as they were)."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    parts = [model.codes(to_tensor(pixels[start : start + chunk], model.device)) for start in range(0, len(pixels), chunk)]
    for module, mode in modes:
        module.training = mode
    q = DiagonalGaussian(torch.cat([p[1].mean for p in parts]), torch.cat([p[1].log_var for p in parts]))
    label = torch.from_numpy(labels).to(model.device)
    return Codes(torch.cat([p[0] for p in parts]), q, torch.cat([p[2] for p in parts]), label)
