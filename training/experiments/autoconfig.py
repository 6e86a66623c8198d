"""`twofold-train init`: writes the configuration that fits a data set and the time there is.

Reads the pictures, measures a trial configuration, and shortens the stages to the time; the recipe itself is in recipe_template.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from twofold.model.contract import Pixels
from twofold.training.config import recipe_template
from twofold.training.config.recipe_template import MIN_CODES_STEPS, DatasetFacts
from twofold.training.config.schema import Config, ConfigError, DataConfig, from_dict
from twofold.training.data.dataset import SIDES, Pictures, load_for, nearest_size
from twofold.training.data.summary import find_test_split, summarize
from twofold.training.experiments.profile import STEPS, Profile, duration, profile
from twofold.training.trainer.distributed import SINGLE_PROCESS, Distributed
from twofold.training.trainer.trainer import VALIDATIONS

SAMPLE = 500  # pictures that decide background and grey or RGB
ALMOST = 12  # levels: a border this near to black or white is black or white
RESERVE = 0.08  # of the time, for what the measured steps do not show


@dataclass(frozen=True)
class AutoConfigOptions:
    """What a user asks of the configuration."""

    data: Path
    out: Path
    minutes: float = 20.0
    size: int = 0  # pixels a side; 0: as the pictures are
    group: str = ""  # what a split keeps together, as `[data]` takes it


@dataclass(frozen=True)
class Plan:
    """Pictures, what the recipe needs to know of them, what it costs on them, and how long its stages may be."""

    train: Pictures
    facts: DatasetFacts
    measured: Profile
    epochs: dict[str, float]

    @property
    def steps(self) -> int:
        """Steps of the codes."""
        return recipe_template.codes_steps(self.facts, self.epochs)


def init(options: AutoConfigOptions, say: Callable[[str], object], steps: int = STEPS, distributed: Distributed = SINGLE_PROCESS) -> Config:
    """Write `options.out` for the device of `distributed`, and say what was found.

    Raises DataError; ConfigError if the file is there already, or for a size or a time that cannot be.
    """
    _check(options)
    data = _shape(options)
    pictures = load_for(data, options.data)
    for line in summarize(*pictures, find_test_split(data, options.data)):
        say(line)
    plan = _plan(options, data, pictures, say, steps, distributed)
    height, width = (data.height, data.width) if options.size else _sides_for(plan)
    if (height, width) != (data.height, data.width):
        say(
            f"{data.height}x{data.width} pictures leave time for {plan.steps} steps of the codes, {MIN_CODES_STEPS} make a better model: "
            f"taking {height}x{width} (--size {min(data.height, data.width)} or more --minutes keep them larger)"
        )
        data = replace(data, height=height, width=width)
        plan = _plan(options, data, load_for(data, options.data), say, steps, distributed)
    train, config = plan.train, _config(plan.facts, plan.epochs)
    time = f"about {duration(plan.measured.total_s(config, len(train)))} of {options.minutes:g} min asked for"
    eta = f"{time}, measured in {steps} steps of each stage on this machine"
    header = f"Written by `twofold-train init` for {len(train.class_names)} classes and {len(train):,} training pictures: {eta}."
    options.out.write_text(recipe_template.text(plan.facts, plan.epochs, header), encoding="utf-8")
    say(f"{options.out}: {eta}")
    if plan.steps < MIN_CODES_STEPS:
        say(
            f"warning: only {plan.steps} steps of the codes fit, {MIN_CODES_STEPS} make a better model: "
            f"give more --minutes, or a smaller --size than {plan.facts.width}"
        )
    say(f"next: twofold-train train {options.out} --data {options.data} --out RUN")
    return config


def _plan(
    options: AutoConfigOptions,
    data: DataConfig,
    pictures: tuple[Pictures, Pictures],
    say: Callable[[str], object],
    steps: int,
    distributed: Distributed,
) -> Plan:
    """Measure the recipe on the pictures, and fit its stages into the time."""
    facts = _facts(pictures[0], data)
    say(f"measuring {steps} steps of each stage on this machine ({distributed.device.type})")
    trial = _config(facts, dict.fromkeys(recipe_template.STAGES, 1.0))
    measured = profile(trial, *pictures, steps, distributed)
    return Plan(pictures[0], facts, measured, lengths(facts, trial, measured, options.minutes * 60 * (1 - RESERVE)))


def _sides_for(plan: Plan) -> tuple[int, int]:
    """The largest height and width at which the codes have time for enough steps, if the cost follows the pixels; 28 or 32 at least."""
    height, width = plan.facts.height, plan.facts.width
    least = min(height, width, 32 if plan.facts.channels == 3 else 28)
    sizes = {min(height, width): (height, width)}
    for side in sorted((side for side in SIDES if least <= side < min(height, width)), reverse=True):
        scale = side / min(height, width)
        sizes[side] = nearest_size(round(width * scale), round(height * scale))[::-1]
    enough = (h_w for h_w in sizes.values() if plan.steps * height * width >= MIN_CODES_STEPS * h_w[0] * h_w[1])
    return next(enough, sizes[least])


def lengths(facts: DatasetFacts, trial: Config, measured: Profile, budget_s: float) -> dict[str, float]:
    """Epochs of each stage, by name: first as if validation cost nothing, then with the validations that so many epochs would take."""
    epoch_s = {stage.name: facts.rows / stage.batch * s for stage, s in zip(trial.stage, measured.step_s, strict=True)}
    stages_s = budget_s - measured.once_s(trial, facts.rows)
    most = recipe_template.lengths(facts, epoch_s, stages_s)
    validations = sum(min(math.ceil(epochs), VALIDATIONS) for epochs in most.values())
    return recipe_template.lengths(facts, epoch_s, stages_s - validations * measured.validation_s)


def _check(options: AutoConfigOptions) -> None:
    if options.out.exists():
        raise ConfigError(f"{options.out.name} is there already: give another --out, or remove it")
    if not 0 < options.minutes < math.inf:
        raise ConfigError("minutes must be a number above 0")
    if options.size and nearest_size(options.size, options.size) != (options.size, options.size):
        raise ConfigError(f"size must be 4 to 7 times a power of two, up to 128: try {nearest_size(options.size, options.size)[0]}")


def _facts(train: Pictures, data: DataConfig) -> DatasetFacts:
    _, height, width, channels = train.pixels.shape
    counts = np.bincount(train.labels, minlength=len(train.class_names))
    name = str(train.source["name"]).rpartition("/")[2]
    return DatasetFacts(name, height, width, channels, data.background, len(counts), len(train), int(counts.min()), data.group)


def _config(facts: DatasetFacts, epochs: dict[str, float]) -> Config:
    return from_dict(tomllib.loads(recipe_template.text(facts, epochs, "")))


def _shape(options: AutoConfigOptions) -> DataConfig:
    """Size, channels and background as the pictures suggest: grey if no picture has any colour."""
    data = DataConfig(height=options.size, width=options.size, group=options.group)
    train, _ = load_for(data, options.data)
    some = train.pixels[np.unique(np.linspace(0, len(train) - 1, SAMPLE).astype(int))]
    _, height, width, channels = some.shape
    if channels == 1 or (some == some[..., :1]).all():
        some, channels = some[..., :1], 1
    return replace(data, height=height, width=width, channels=channels, background=_border(some))


def _border(pixels: Pixels) -> tuple[int, ...]:
    """The median level of the pictures' borders in each channel; black or white where it is almost that. pixels [N, H, W, C]."""
    borders = np.concatenate([pixels[:, 0], pixels[:, -1], pixels[:, :, 0], pixels[:, :, -1]], 1)
    level = np.median(borders, axis=(0, 1)).astype(int)
    level[level <= ALMOST], level[level >= 255 - ALMOST] = 0, 255
    return tuple(level.tolist())
