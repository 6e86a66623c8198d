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
from twofold.training.config.recipe_template import DatasetFacts
from twofold.training.config.schema import Config, ConfigError, DataConfig, from_dict
from twofold.training.data.dataset import Pictures, load_for, nearest_size
from twofold.training.data.summary import find_test_split, summarize
from twofold.training.experiments.profile import STEPS, Profile, duration, profile
from twofold.training.trainer.distributed import SINGLE_PROCESS, Distributed
from twofold.training.trainer.trainer import VALIDATIONS

SAMPLE = 500  # pictures that decide background and grey or RGB
ALMOST = 12  # levels: a border this near to black or white is black or white
RESERVE = 0.08  # of the time, for what the measured steps do not show
FEW_EPOCHS = 3.0  # of the codes: fewer make a poor model


@dataclass(frozen=True)
class AutoConfigOptions:
    """What a user asks of the configuration."""

    data: Path
    out: Path
    minutes: float = 20.0
    size: int = 0  # pixels a side; 0: as the pictures are
    group: str = ""  # what a split keeps together, as `[data]` takes it


def init(options: AutoConfigOptions, say: Callable[[str], object], steps: int = STEPS, distributed: Distributed = SINGLE_PROCESS) -> Config:
    """Write `options.out` for the device of `distributed`, and say what was found.

    Raises DataError; ConfigError if the file is there already, or for a size or a time that cannot be.
    """
    _check(options)
    data = _shape(options)
    train, validation = load_for(data, options.data)
    for line in summarize(train, validation, find_test_split(data, options.data)):
        say(line)
    facts = _facts(train, data)
    say(f"measuring {steps} steps of each stage on this machine ({distributed.device.type})")
    trial = _config(facts, dict.fromkeys(recipe_template.STAGES, 1.0))
    measured = profile(trial, train, validation, steps, distributed)
    epochs = lengths(facts, trial, measured, options.minutes * 60 * (1 - RESERVE))
    config = _config(facts, epochs)
    time = f"about {duration(measured.total_s(config, len(train)))} of {options.minutes:g} min asked for"
    eta = f"{time}, measured in {steps} steps of each stage on this machine"
    header = f"Written by `twofold-train init` for {len(train.class_names)} classes and {len(train):,} training pictures: {eta}."
    options.out.write_text(recipe_template.text(facts, epochs, header), encoding="utf-8")
    say(f"{options.out}: {eta}")
    if epochs["codes"] < FEW_EPOCHS:
        say(f"warning: only {epochs['codes']:g} epochs of the codes fit: give more --minutes, or a smaller --size than {facts.width}")
    say(f"next: twofold-train train {options.out} --data {options.data} --out RUN")
    return config


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
