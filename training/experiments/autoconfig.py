"""`twofold-train init`: looks at a data set and writes the configuration that fits it and the time at hand.

Puts data.py, survey.py, draft.py and rehearse.py together; what follows from what stands there.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from twofold.training.config import recipe_template
from twofold.training.config.schema import Config, ConfigError, DataConfig, from_dict
from twofold.training.data.dataset import Pictures, load_for, nearest_size
from twofold.training.data.summary import find_test_split, survey
from twofold.training.experiments.profile import STEPS, Rehearsal, clock, rehearse
from twofold.training.trainer.trainer import VALIDATIONS

LOOKED_AT = 500  # pictures that decide background and grey or RGB
ALMOST = 12  # levels: a border this near to black or white is black or white
SPARE = 0.08  # of the time, for what twenty steps don't show
FEW_EPOCHS = 3.0  # of the codes: fewer make a poor model


@dataclass(frozen=True)
class AutoConfigOptions:
    """What a person asks of the configuration."""

    data: Path
    out: Path
    minutes: float = 20.0
    size: int = 0  # pixels a side; 0: as the pictures are


def init(wish: AutoConfigOptions, say: Callable[[str], object], steps: int = STEPS) -> Config:
    """Write `wish.out` and say what was found. Raises DataError; ConfigError if the file is there already."""
    if wish.out.exists():
        raise ConfigError(f"{wish.out.name} is there already: give another --out, or remove it")
    if not wish.minutes > 0:
        raise ConfigError("minutes must be more than 0")
    data = _shape(wish)
    train, validation = load_for(data, wish.data)
    for line in survey(train, validation, find_test_split(data, wish.data)):
        say(line)
    facts = _facts(train, data)
    say(f"measuring {steps} steps of each stage on this machine")
    trial = _config(facts, dict.fromkeys(recipe_template.STAGES, 1.0))
    measured = rehearse(trial, train, validation, steps)
    epochs = lengths(facts, trial, measured, wish.minutes * 60 * (1 - SPARE))
    config = _config(facts, epochs)
    time = f"about {clock(measured.eta_s(config, len(train)))} of {wish.minutes:g} min asked for"
    eta = f"{time}, measured in {steps} steps of each stage on this machine"
    header = f"Written by `twofold-train init` for {len(train.class_names)} classes and {len(train):,} training pictures: {eta}."
    wish.out.write_text(recipe_template.text(facts, epochs, header), encoding="utf-8")
    say(f"{wish.out}: {eta}")
    if epochs["codes"] < FEW_EPOCHS:
        say(f"warning: only {epochs['codes']:g} epochs of the codes fit: give more --minutes, or a smaller --size than {facts.width}")
    say(f"next: twofold-train train {wish.out} --data {wish.data} --out RUN")
    return config


def _facts(train: Pictures, data: DataConfig) -> recipe_template.DatasetFacts:
    _, height, width, channels = train.pixels.shape
    counts = np.bincount(train.labels, minlength=len(train.class_names))
    name = str(train.source["name"]).rpartition("/")[2]
    return recipe_template.DatasetFacts(name, height, width, channels, data.background, len(counts), len(train), int(counts.min()))


def _config(facts: recipe_template.DatasetFacts, epochs: dict[str, float]) -> Config:
    return from_dict(tomllib.loads(recipe_template.text(facts, epochs, "")))


def lengths(facts: recipe_template.DatasetFacts, trial: Config, measured: Rehearsal, budget_s: float) -> dict[str, float]:
    """Epochs of each stage: first as if looks cost nothing, then with the looks that so many epochs would take."""
    epoch_s = {stage.name: facts.rows / stage.batch * s for stage, s in zip(trial.stage, measured.step_s, strict=True)}
    once_s = measured.once_s(trial, facts.rows)
    most = recipe_template.lengths(facts, recipe_template.Cost(epoch_s, once_s), budget_s)
    looks = sum(min(math.ceil(epochs), VALIDATIONS) for epochs in most.values())
    return recipe_template.lengths(facts, recipe_template.Cost(epoch_s, once_s + looks * measured.look_s), budget_s)


def _shape(wish: AutoConfigOptions) -> DataConfig:
    """Size, channels and background as the pictures suggest: grey if no picture has any colour, the median of the borders."""
    if wish.size and nearest_size(wish.size, wish.size) != (wish.size, wish.size):
        raise ConfigError(f"size must be 4 to 7 times a power of two, up to 128: try {nearest_size(wish.size, wish.size)[0]}")
    data = DataConfig(height=wish.size, width=wish.size)
    train, _ = load_for(data, wish.data)
    some = train.pixels[np.unique(np.linspace(0, len(train) - 1, LOOKED_AT).astype(int))]
    grey = some.shape[3] == 1 or bool((some == some[..., :1]).all())
    borders = np.concatenate([some[:, 0], some[:, -1], some[:, :, 0], some[:, :, -1]], 1)
    level = np.median(borders[..., :1] if grey else borders, axis=(0, 1)).astype(int)
    level[level <= ALMOST], level[level >= 255 - ALMOST] = 0, 255
    _, height, width, channels = some.shape
    return replace(data, height=height, width=width, channels=1 if grey else channels, background=tuple(level.tolist()))
