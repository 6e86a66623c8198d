"""What a configuration costs on this machine: a few real steps of every stage on a sample of the pictures, then thrown away.

Writes nothing. On a CPU the seconds are those of its cores: a busy machine takes longer on the clock.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from dataclasses import dataclass

import torch
from tqdm import tqdm

from twofold.model.vae_gan import PARTS, VaeGan
from twofold.training.config.schema import Config
from twofold.training.data.dataset import Pictures
from twofold.training.trainer import preflight
from twofold.training.trainer.batches import batches
from twofold.training.trainer.calibration import act
from twofold.training.trainer.distributed import SINGLE_PROCESS, Distributed
from twofold.training.trainer.latents import Codes, encode
from twofold.training.trainer.step import Health, make_optimizers, set_modes, step
from twofold.training.trainer.trainer import VALIDATIONS, build
from twofold.training.trainer.validation import by_turns, picture, validate

STEPS = 20
WARM_UP = 3  # steps that choose kernels and fill caches
SAMPLE = 2048  # pictures


@dataclass(frozen=True)
class Profile:
    """Seconds of one step of each stage, of one validation, of encoding one picture; bytes of the device in use at the peak."""

    step_s: tuple[float, ...]
    validation_s: float
    encode_s: float
    peak_bytes: int

    def stage_s(self, config: Config, rows: int) -> tuple[float, ...]:
        """Seconds of each stage over `rows` training pictures, validations included."""
        return tuple(
            stage.epochs * rows / stage.batch * seconds + min(math.ceil(stage.epochs), VALIDATIONS) * self.validation_s
            for stage, seconds in zip(config.stage, self.step_s, strict=True)
        )

    def once_s(self, config: Config, rows: int) -> float:
        """Seconds that do not depend on the steps: encoding all pictures for the actions and for the frozen encoders."""
        passes = sum(bool(stage.before) + bool(stage.after) + stage.reuses_codes for stage in config.stage)
        return passes * rows * self.encode_s

    def total_s(self, config: Config, rows: int) -> float:
        """Seconds of the whole run."""
        return self.once_s(config, rows) + sum(self.stage_s(config, rows))


def profile(
    config: Config, train: Pictures, validation: Pictures, steps: int = STEPS, distributed: Distributed = SINGLE_PROCESS
) -> Profile:
    """Take `steps` steps of every stage on the device of `distributed`. Raises what training would: ConfigError, Diverged."""
    preflight.check(config, distributed)
    device, sample = distributed.device, train.take(by_turns(train.labels)[: max(SAMPLE, len(train.class_names))])
    model = build(config, train).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub forgets it
    since = _now(device)
    encode(model, sample.pixels, sample.labels)
    encode_s = (_now(device) - since) / len(sample)
    step_s = []
    for number in tqdm(range(len(config.stage)), desc="measuring", unit="stage", disable=None, delay=2, leave=False):
        stage = config.stage[number]
        act(model, stage.before, lambda: encode(model, sample.pixels, sample.labels))
        codes = encode(model, sample.pixels, sample.labels)
        step_s.append(_seconds_per_step(model, config, number, sample, codes, steps, distributed))
        act(model, stage.after, lambda: encode(model, sample.pixels, sample.labels))
    since = _now(device)
    validate(model, validation)
    picture(model, validation)
    return Profile(tuple(step_s), _now(device) - since, encode_s, _peak_bytes(device))


def parameters(config: Config, pictures: Pictures) -> dict[str, int]:
    """Number of parameters of each part."""
    model = build(config, pictures)
    parts = {part: getattr(model, part) for part in PARTS}
    return {part: sum(p.numel() for p in module.parameters()) for part, module in parts.items() if module is not None}


def duration(seconds: float) -> str:
    """Minutes and seconds in words."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _seconds_per_step(
    model: VaeGan, config: Config, number: int, sample: Pictures, codes: Codes, steps: int, distributed: Distributed
) -> float:
    stage = config.stage[number]
    set_modes(model, stage)
    optimizers = make_optimizers(model, stage)
    drawn = batches(sample, stage, (config.seed, number), 0, codes if stage.reuses_codes else None, distributed)
    health = Health(stage)
    since = 0.0
    for done in range(WARM_UP + steps):
        if done == WARM_UP:
            since = _now(distributed.device)
        step(model, stage, drawn, optimizers, (config.seed, number, done), health, config.precision == "bf16", distributed)
    health.check()
    return (_now(distributed.device) - since) / steps


def _now(device: torch.device) -> float:
    """Seconds so far, once the device has done what it was asked to: of each core in use on a CPU, so that other work does not count."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.monotonic()
    return time.process_time() / torch.get_num_threads()


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
