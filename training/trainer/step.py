"""One optimisation step, which is the method: a list of updates, each a forward pass and an optimiser step for every part it trains.

    for each update, `repeat` times, on a fresh batch:
        L_i = loss_i(forward(batch))                          every loss that some part of the update is trained on
        g_p = d/d theta_p  sum_i w_pi L_i                     for each part p, its own weights w_p
        theta_p <- theta_p - eta_p Adam(g_p)                  all gradients are taken before any part moves

The table of who learns from what in Zheng & Sun 2019 is such a list: config/presets/paper.toml. The gradient of a part is
taken for that part alone, so nothing leaks: mu and Sigma never see the reconstruction, E_s never sees the latent classifier, the
discriminator's loss never reaches an encoder.

Nothing here waits for the device: losses stay tensors, and `Health` remembers there which was not finite. Knows nothing of files,
epochs or logging.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from twofold.model.vae_gan import VaeGan
from twofold.training.config.schema import Stage, Update
from twofold.training.trainer.distributed import SINGLE_PROCESS, Distributed
from twofold.training.trainer.draws import Draws
from twofold.training.trainer.forward import KINDS, Batch, Setting, forward
from twofold.training.trainer.objectives import OBJECTIVES, needs_of

ADVERSARIAL = (*(f"gen_{kind}" for kind in KINDS), "feature_matching")  # losses that `adversarial = "gradient"` weighs
MOST = 1e6  # of the factor that they are weighed with


class Diverged(Exception):
    """A loss or a weight is not finite; the text names it and the keys of the configuration to try."""


class Health:
    """Which losses of a stage were finite when the first was not: kept on the device, so that no step waits for it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.finite: dict[tuple[str, ...], Tensor] = {}  # by the losses of an update
        self.sound: Tensor | None = None  # whether all were so far

    def add(self, names: tuple[str, ...], values: Tensor) -> None:
        """Take note of losses [n]. After the first that is not finite nothing changes: what follows from it names nothing."""
        finite = values.isfinite()
        if self.sound is None:
            self.sound = torch.ones_like(finite[:1]).all()
        self.finite[names] = torch.where(self.sound, finite, self.finite.get(names, torch.ones_like(finite)))
        self.sound = self.sound & finite.all()

    def check(self) -> None:
        """Wait for the device. Raises Diverged, naming the first loss that was not finite."""
        if self.sound is None or bool(self.sound):
            return
        name = next(name for names, finite in self.finite.items() for name, fine in zip(names, finite.tolist(), strict=True) if not fine)
        parts = sorted({part for update in self.stage.update for part, weights in update.train.items() if name in weights})
        keys = " or ".join(f"lr.{part} (now {self.stage.lr[part]:g})" for part in parts)
        raise Diverged(f'{name} is not finite in stage {self.stage.name!r}: try a smaller {keys}, or precision = "fp32"')


def make_optimizers(model: VaeGan, stage: Stage) -> dict[str, torch.optim.Optimizer]:
    """One optimiser per part that the stage trains."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[stage.optimizer]
    betas = (stage.betas[0], stage.betas[1])
    return {
        part: kind(getattr(model, part).parameters(), lr=stage.lr[part], betas=betas, weight_decay=stage.weight_decay)
        for part in sorted(stage.trained)
    }


def set_modes(model: VaeGan, stage: Stage) -> None:
    """Parts that the stage trains are in training mode; the others are frozen and in evaluation mode."""
    model.eval()
    for name, part in model.named_children():
        part.train(name in stage.trained)
        part.requires_grad_(name in stage.trained)


def step(
    model: VaeGan,
    stage: Stage,
    batches: Iterator[Batch],
    optimizers: Mapping[str, torch.optim.Optimizer],
    place: tuple[int, ...],
    health: Health,
    bf16: bool = False,
    distributed: Distributed = SINGLE_PROCESS,
) -> dict[str, Tensor]:
    """One step: the stage's updates in written order. `place` is (seed, stage, step), which all random numbers follow from.

    Returns the last value of every loss it used, scalars on the device, each the mean over the processes.
    """
    values: dict[str, Tensor] = {}
    for number, update in enumerate(stage.update):
        for repetition in range(update.repeat):
            setting = Setting(model, stage, Draws((*place, number, repetition), distributed), bf16)
            values |= _update(setting, update, next(batches), optimizers, health)
    # each process normalises by its own rows; the statistics that are served are those of all
    distributed.average([buffer for name, buffer in model.named_buffers() if name.endswith(("running_mean", "running_var"))])
    return values


def _update(
    setting: Setting, update: Update, batch: Batch, optimizers: Mapping[str, torch.optim.Optimizer], health: Health
) -> dict[str, Tensor]:
    """One forward pass, the gradients of every part, then an optimiser step of every part."""
    model, distributed = setting.model, setting.draws.distributed
    names = tuple(sorted({name for weights in update.train.values() for name in weights}))
    # L_i
    passed = forward(setting, batch, needs_of(names))
    values = {name: OBJECTIVES[name].function(passed) for name in names}
    found = torch.stack([value.detach() for value in values.values()])
    distributed.average([found])  # so that all processes know where one diverges
    health.add(names, found)
    if setting.stage.adversarial == "gradient" and any(name in ADVERSARIAL for name in update.train.get("decoder", {})):
        factor = _adversarial_factor(model, update.train["decoder"], values)
        distributed.average([factor])
        values = {name: value * factor if name in ADVERSARIAL else value for name, value in values.items()}
    # g_p
    _take_gradients(model, update.train, values)
    distributed.average([p.grad for part in update.train for p in getattr(model, part).parameters() if p.grad is not None])
    # theta_p
    for part in update.train:
        if setting.stage.clip:
            # g <- g min(1, clip / |g|)
            nn.utils.clip_grad_norm_(getattr(model, part).parameters(), setting.stage.clip)
        optimizers[part].step()
    return dict(zip(names, found.unbind(), strict=True))


def _adversarial_factor(model: VaeGan, weights: Mapping[str, float], values: Mapping[str, Tensor]) -> Tensor:
    """What gen_* and feature_matching are multiplied by, a scalar without gradient. Esser et al. 2021 (VQGAN), per unit of weight."""
    last = list(model.decoder.draw.parameters())[-2]  # the weights of the last convolution; its bias follows
    norms = []
    for prefix in ("recon_", "gen_"):
        chosen = {name: weight for name, weight in weights.items() if name.startswith(prefix)}
        scale = 1.0 if prefix == "recon_" else sum(chosen.values())
        total = torch.stack([weight / scale * values[name] for name, weight in chosen.items()]).sum()
        norms.append(torch.autograd.grad(total, last, retain_graph=True)[0].norm())
    # lambda = |d L_rec / d theta_last| / |d L_adv / d theta_last|
    return (norms[0] / (norms[1] + 1e-6)).clamp_max(MOST)


def _take_gradients(model: VaeGan, train: Mapping[str, Mapping[str, float]], values: Mapping[str, Tensor]) -> None:
    """Gradient of each part's own sum for that part's parameters alone; parts with the same sum share one backward pass."""
    groups: dict[tuple[tuple[str, float], ...], list[nn.Parameter]] = {}
    for part, weights in train.items():
        groups.setdefault(tuple(sorted(weights.items())), []).extend(getattr(model, part).parameters())
    for i, (weighted, parameters) in enumerate(groups.items()):
        # sum_i w_pi L_i
        total = torch.stack([weight * values[name] for name, weight in weighted]).sum()
        gradients = torch.autograd.grad(total, parameters, retain_graph=i + 1 < len(groups), allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
