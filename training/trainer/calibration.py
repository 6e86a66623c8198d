"""Codes of the whole training split, and what is measured on them between stages (see ACTIONS).

Knows the model and pixels in memory; knows nothing of losses or of time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twofold.model.contract import Pixels
from twofold.model.posterior import DiagonalGaussian
from twofold.model.vae_gan import VaeGan
from twofold.training.config.schema import Config, ConfigError, nearest

PIECE = 100  # pictures that go through the networks at once: more would not fit a processor's cache


@dataclass(frozen=True)
class Codes:
    """Of N pictures: z_s [N, D_s], E_u's q(e | x) before the flow, the class read from z_s [N], the true label [N]."""

    z_s: Tensor
    q: DiagonalGaussian
    read: Tensor
    label: Tensor


def to_tensor(pixels: Pixels, device: torch.device | str = "cpu") -> Tensor:
    """pixels uint8 [B, H, W, C] -> float32 [B, C, H, W] in [0, 1], channels last in memory."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255


def encode(model: VaeGan, pixels: Pixels, labels: NDArray[np.int64], chunk: int = PIECE) -> Codes:
    """Encode everything in evaluation mode and float32, on the model's device (its modes are left as they were)."""
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    parts = [model.codes(to_tensor(pixels[start : start + chunk], device)) for start in range(0, len(pixels), chunk)]
    for module, mode in modes:
        module.training = mode
    q = DiagonalGaussian(torch.cat([p[1].mean for p in parts]), torch.cat([p[1].log_var for p in parts]))
    return Codes(torch.cat([p[0] for p in parts]), q, torch.cat([p[2] for p in parts]), torch.from_numpy(labels).to(device))


@torch.no_grad()
def fit_sampler(model: VaeGan, codes: Codes) -> None:
    """Fit the default sampler to the training codes: z_s by true class, z_u over all."""
    z_u = codes.q.mean if model.flow is None else model.flow(codes.q.mean, codes.read)[0]
    model.fitted.fit(codes.z_s, z_u, codes.label)


@torch.no_grad()
def standard(model: VaeGan, codes: Codes) -> None:
    """Set the default sampler to the means of the classes and z_u ~ N(0, I), whatever the codes."""
    model.fitted.be_standard(model.prior)


@torch.no_grad()
def whiten(model: VaeGan, codes: Codes) -> None:
    """Set the flow's per-class whitening from the codes, by the class read."""
    if model.flow is None:
        raise ConfigError("whiten needs a flow: set model.flow_layers above 0")
    model.flow.whiten(codes.q.mean, codes.read)


@torch.no_grad()
def fold(model: VaeGan, codes: Codes) -> None:
    """Fold the per-class mean and deviation of z_u into the flow, by the class read."""
    if model.flow is None:
        raise ConfigError("fold needs a flow: set model.flow_layers above 0")
    model.flow.fold(codes.q.mean, codes.read)


@torch.no_grad()
def quantize_style(model: VaeGan, codes: Codes) -> None:
    """Set the grain of E_u's means: `style_step` root mean square deviations of its posterior, per dimension."""
    if model.encoder_u.style_step is None:
        raise ConfigError("quantize_style needs a step: set model.style_step above 0")
    model.encoder_u.style_step.copy_(model.sizes.style_step * codes.q.log_var.exp().mean(0).sqrt())


@torch.no_grad()
def shrink_to_class_mean(model: VaeGan, codes: Codes) -> None:
    """From now on z_s is moved by `shrinkage` of its way to the mean of the class that it is read as."""
    if model.prior.shrinkage is None:
        raise ConfigError("shrink_to_class_mean needs an amount: set model.shrinkage above 0")
    model.prior.shrinkage.fill_(model.sizes.shrinkage)


ACTIONS: dict[str, Callable[[VaeGan, Codes], None]] = {
    action.__name__: action for action in (fit_sampler, standard, whiten, fold, quantize_style, shrink_to_class_mean)
}


def act(model: VaeGan, actions: Sequence[str], codes: Callable[[], Codes]) -> None:
    """Do the named actions in their order; the codes are made once, and only if there is anything to do."""
    if actions:
        found = codes()
        for action in actions:
            ACTIONS[action](model, found)


def check_actions(config: Config) -> None:
    """Raises ConfigError for a stage that names an action that does not exist."""
    for stage in config.stage:
        for action in (*stage.before, *stage.after):
            if action not in ACTIONS:
                raise ConfigError(f"stage {stage.name!r}: unknown action {action!r}{nearest(action, ACTIONS)}")
