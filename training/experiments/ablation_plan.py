"""The rows of ablations.toml: what each changes in a base configuration, and the configuration that comes of it.

Knows configurations; trains and measures nothing (reproduce.py does).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import cast

from twofold.training.config.recipe_template import card_name
from twofold.training.config.schema import Config, ConfigError, Stage, changed, nearest, parse, read

PLAN = Path(__file__).with_name("ablations.toml")
SAMPLERS = ("fitted", "paper")


@dataclass(frozen=True)
class Variant:
    """One row; the keys are explained in ablations.toml."""

    name: str
    note: str
    preset: str = ""
    drop: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    change: tuple[str, ...] = ()
    like: str = ""
    sampler: str = "fitted"

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ConfigError(f"variant {self.name!r}: sampler must be one of {', '.join(SAMPLERS)}")


@dataclass(frozen=True)
class Plan:
    """All rows in their order, the share of the base's epochs that they are trained for, and the stages that are never cut short."""

    scale: float
    variant: tuple[Variant, ...]
    whole: tuple[str, ...] = ()

    def chosen(self, names: Sequence[str]) -> tuple[Variant, ...]:
        """The rows of these names (all, if there are none) and those that they are like. Raises ConfigError."""
        known = {variant.name: variant for variant in self.variant}
        for name in names:
            if name not in known:
                raise ConfigError(f"there is no row {name!r}{nearest(name, known)}; rows: {', '.join(known)}")
        wanted = set(names or known)
        wanted |= {known[name].like for name in wanted}
        return tuple(variant for variant in self.variant if variant.name in wanted)


def read_plan(path: Path = PLAN) -> Plan:
    """Raises ConfigError, also for two rows of one name, or a row that is like none above it."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path.name}: {error}") from error
    plan = cast("Plan", parse(Plan, raw))
    above: dict[str, Variant] = {}
    for variant in plan.variant:
        if variant.name in above:
            raise ConfigError(f"{path.name}: there are two rows {variant.name!r}")
        if variant.like and (variant.like not in above or above[variant.like].like):
            raise ConfigError(f"{path.name}: {variant.name!r} must be like a row above it that has a run of its own")
        above[variant.name] = variant
    return plan


def configure(variant: Variant, base: Config, scale: float, whole: Sequence[str] = ()) -> Config:
    """The configuration of a row: as many steps of G as the base, then all epochs times `scale`, but for the stages named in `whole`.

    Raises ConfigError.
    """
    config = _of_preset(variant.preset, base) if variant.preset else base
    for name in variant.drop:
        if name not in {stage.name for stage in config.stage}:
            raise ConfigError(f"variant {variant.name!r}: there is no stage {name!r} to drop")
    losses = {term for stage in config.stage for update in stage.update for terms in update.train.values() for term in terms}
    for pattern in variant.without:
        if not any(fnmatch(loss, pattern) for loss in losses):
            raise ConfigError(f"variant {variant.name!r}: there is no loss {pattern!r} to leave out")
    stages = tuple(_without(stage, variant.without) for stage in config.stage if stage.name not in variant.drop)
    config = replace(config, name=card_name(variant.name), stage=stages)
    config = changed(config, dict(item.split("=", 1) for item in variant.change))
    factor = decoder_steps(base) / decoder_steps(config)
    even = math.isclose(factor, 1)  # a stage that does not change can be shared
    scales = (1.0 if stage.name in whole else scale for stage in config.stage)
    factors = (1.0 if even or "decoder" not in stage.trained else factor for stage in config.stage)
    return replace(config, stage=tuple(map(_longer, config.stage, scales, factors)))


def decoder_steps(config: Config) -> float:
    """Steps that G takes for every picture of the training split."""
    return sum(decoder_updates(stage) * stage.epochs / stage.batch for stage in config.stage)


def decoder_updates(stage: Stage) -> int:
    """Steps that G takes in one step of the stage."""
    return sum(update.repeat for update in stage.update if "decoder" in update.train)


def _longer(stage: Stage, scale: float, factor: float) -> Stage:
    return replace(stage, epochs=round(stage.epochs * scale * factor, 4))


def _of_preset(name: str, base: Config) -> Config:
    """Another preset with the networks, pictures, seed and precision of the base."""
    preset = read(name)
    networks = {key: getattr(base.model, key) for key in vars(base.model) if key.endswith(("_widths", "_hidden"))}
    return replace(preset, seed=base.seed, precision=base.precision, data=base.data, model=replace(preset.model, **networks))


def _without(stage: Stage, losses: Sequence[str]) -> Stage:
    updates = (replace(update, train=_kept(update.train, losses)) for update in stage.update)
    return replace(stage, update=tuple(update for update in updates if update.train))


def _kept(move: Mapping[str, Mapping[str, float]], losses: Sequence[str]) -> dict[str, dict[str, float]]:
    """What parts move on when some losses are left out; without any, a part does not move."""
    left = {part: {t: w for t, w in terms.items() if not any(fnmatch(t, pattern) for pattern in losses)} for part, terms in move.items()}
    return {part: terms for part, terms in left.items() if terms}
