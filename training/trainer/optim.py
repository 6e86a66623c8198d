"""How fast the parts move, and how their average follows. Knows optimisers and tensors; knows no losses."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from twofold.training.config.schema import Stage


def rate_factor(schedule: str, done: float) -> float:
    """What a learning rate is multiplied by when a share `done` in [0, 1) of the stage is over."""
    if schedule == "cosine":
        # 1/2 (1 + cos pi t)
        return 0.5 * (1 + math.cos(math.pi * done))
    if schedule == "one-cycle":
        # from 0.04 to 1 in the first quarter, then the cosine down to 0. Smith & Topin 2019
        return 0.04 + 0.96 * done / 0.25 if done < 0.25 else 0.5 * (1 + math.cos(math.pi * (done - 0.25) / 0.75))
    return 1.0


def set_rates(optimizers: Mapping[str, torch.optim.Optimizer], stage: Stage, done: float) -> None:
    """Set every part's learning rate for a step of the stage."""
    for part, optimizer in optimizers.items():
        for group in optimizer.param_groups:
            group["lr"] = stage.lr[part] * rate_factor(stage.schedule, done)


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Exponential average of parameters and BatchNorm buffers, quicker in the first steps; without a decay a plain copy."""
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    averaged = [pair for pair in pairs if decay and pair[0].is_floating_point()]
    copied = [pair for pair in pairs if not (decay and pair[0].is_floating_point())]
    if averaged:
        # m <- d m + (1 - d) theta,  d = min(decay, (t + 1) / (t + 10))
        means, values = (list(tensors) for tensors in zip(*averaged, strict=True))
        torch._foreach_lerp_(means, values, 1 - min(decay, (step + 1) / (step + 10)))
    for mean, value in copied:
        mean.copy_(value)
