"""What a configuration will cost on this machine: a few real steps of every stage, on a sample of the pictures, then thrown away.

Writes nothing. The figures are those of the moment: a machine that is busy now is slow now.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch

from twofold.model.vae_gan import PARTS, VaeGan
from twofold.training.config.schema import Config, Stage
from twofold.training.data.dataset import Pictures
from twofold.training.trainer.batches import batches
from twofold.training.trainer import preflight
from twofold.training.trainer.calibration import ACTIONS
from twofold.training.trainer.latents import Codes, encode
from twofold.training.trainer.step import Health, make_optimizers, set_modes, step
from twofold.training.trainer.trainer import VALIDATIONS, build
from twofold.training.trainer.validation import picture, validate

STEPS = 20
WARM_UP = 3  # steps that choose kernels and fill caches
SAMPLE = 2048  # pictures


@dataclass(frozen=True)
class Rehearsal:
    """Seconds of one step of each stage, of one look, of encoding one picture; bytes in memory at the peak."""

    step_s: tuple[float, ...]
    look_s: float
    encode_s: float
    peak_bytes: int

    def stage_s(self, config: Config, rows: int) -> tuple[float, ...]:
        """Seconds of each stage over so many training pictures, looks included."""
        return tuple(
            stage.epochs * rows / stage.batch * s + min(math.ceil(stage.epochs), VALIDATIONS) * self.look_s
            for stage, s in zip(config.stage, self.step_s, strict=True)
        )

    def once_s(self, config: Config, rows: int) -> float:
        """Seconds that do not depend on the steps: encoding all pictures for the actions and the frozen encoders."""
        passes = sum(bool(stage.before) + bool(stage.after) + _plain(stage) for stage in config.stage)
        return passes * rows * self.encode_s

    def eta_s(self, config: Config, rows: int) -> float:
        """Seconds of the whole run."""
        return self.once_s(config, rows) + sum(self.stage_s(config, rows))


def rehearse(config: Config, train: Pictures, validation: Pictures, steps: int = STEPS) -> Rehearsal:
    """Take `steps` steps of every stage. Raises what training would: ConfigError, Diverged."""
    preflight.check(config)
    sample = _sample(train)
    model = build(config, train)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub forgets it
    since = time.monotonic()
    codes = encode(model, sample.pixels, sample.labels)
    encode_s = (time.monotonic() - since) / len(sample)
    step_s = []
    for number, stage in enumerate(config.stage):
        _act(model, stage.before, sample)
        codes = encode(model, sample.pixels, sample.labels)
        step_s.append(_stage(model, config, number, sample, codes, steps))
        _act(model, stage.after, sample)
    since = time.monotonic()
    validate(model, validation)
    picture(model, validation)
    look_s = time.monotonic() - since
    unit = 1 if sys.platform == "darwin" else 1024
    return Rehearsal(tuple(step_s), look_s, encode_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def parameters(config: Config, pictures: Pictures) -> dict[str, int]:
    """Parameters of each part."""
    model = build(config, pictures)
    parts = {part: getattr(model, part) for part in PARTS}
    return {part: sum(p.numel() for p in module.parameters()) for part, module in parts.items() if module is not None}


def clock(seconds: float) -> str:
    """Minutes and seconds, as people say them."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _stage(model: VaeGan, config: Config, number: int, sample: Pictures, codes: Codes, steps: int) -> float:
    """Seconds of one step."""
    stage = config.stage[number]
    set_modes(model, stage)
    optimizers = make_optimizers(model, stage)
    drawn = batches(sample, stage, (config.seed, number), 0, codes if _plain(stage) else None)
    health = Health(stage)
    since = 0.0
    for done in range(WARM_UP + steps):
        if done == WARM_UP:
            since = time.monotonic()
        step(model, stage, drawn, optimizers, (config.seed, number, done), health, config.precision == "bf16")
    health.check()
    return (time.monotonic() - since) / steps


def _plain(stage: Stage) -> bool:
    """Whether the codes of frozen encoders can be computed once: the pictures are not augmented."""
    return not stage.augments and not {"encoder_s", "encoder_u"} <= stage.trained


def _act(model: VaeGan, actions: tuple[str, ...], sample: Pictures) -> None:
    for action in actions:
        ACTIONS[action](model, encode(model, sample.pixels, sample.labels))


def _sample(train: Pictures) -> Pictures:
    """Up to SAMPLE pictures: the first of every class, then the second of every class, and so on."""
    rank = np.empty(len(train), np.int64)
    for k in range(len(train.class_names)):
        rows = np.flatnonzero(train.labels == k)
        rank[rows] = np.arange(len(rows))
    return train.take(np.lexsort((train.labels, rank))[: max(SAMPLE, len(train.class_names))])
