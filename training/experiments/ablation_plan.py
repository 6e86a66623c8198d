"""The rows of ablations.toml: what each changes in a base configuration, and the configuration that comes of it.

Knows configurations; trains and measures nothing (ablations.py does).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from twofold.training.config.recipe_template import card_name
from twofold.training.config.schema import STRICT, Config, ConfigError, Stage, changed, from_dict, nearest, parse, read, read_toml

PLAN = Path(__file__).with_name("ablations.toml")


@dataclass(frozen=True, config=STRICT)
class Variant:
    """One row; the keys are explained in ablations.toml."""

    name: str
    note: str
    preset: str = ""
    drop: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    change: tuple[str, ...] = ()
    like: str = ""
    sampler: Literal["fitted", "paper"] = "fitted"


@dataclass(frozen=True, config=STRICT)
class Plan:
    """All rows in their order, the share of the base's epochs that they are trained for, and the stages that are never cut short."""

    scale: Annotated[float, Field(gt=0, le=1000)]
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


def read_plan(path: Path = PLAN, scale: float | None = None) -> Plan:
    """The plan in a TOML file, with another `scale` if one is given.

    Raises ConfigError, also for two rows of one name, or a row that is like none above it.
    """
    raw = read_toml(path)
    plan = parse(Plan, raw if scale is None else {**raw, "scale": scale})
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
    _check(variant, config)
    raw = config.to_dict()
    raw["name"] = card_name(variant.name)
    raw["stage"] = [_without(stage, variant.without) for stage in raw["stage"] if stage["name"] not in variant.drop]
    config = changed(from_dict(raw), dict(item.split("=", 1) for item in variant.change))
    factor = decoder_steps(base) / decoder_steps(config)
    even = math.isclose(factor, 1)  # a stage that does not change can be shared
    scales = (1.0 if stage.name in whole else scale for stage in config.stage)
    factors = (1.0 if even or "decoder" not in stage.trained else factor for stage in config.stage)
    lengths = zip(config.stage, scales, factors, strict=True)
    return changed(config, {f"stage.{i}.epochs": repr(round(stage.epochs * s * f, 4)) for i, (stage, s, f) in enumerate(lengths)})


def decoder_steps(config: Config) -> float:
    """Steps that G takes for every picture of the training split."""
    return sum(decoder_updates(stage) * stage.epochs / stage.batch for stage in config.stage)


def decoder_updates(stage: Stage) -> int:
    """Steps that G takes in one step of the stage."""
    return sum(update.repeat for update in stage.update if "decoder" in update.train)


def _check(variant: Variant, config: Config) -> None:
    """Raises ConfigError where the row leaves out what is not there."""
    stages = {stage.name for stage in config.stage}
    for name in variant.drop:
        if name not in stages:
            raise ConfigError(f"variant {variant.name!r}: there is no stage {name!r} to drop{nearest(name, stages)}")
    losses = {loss for stage in config.stage for update in stage.update for weights in update.train.values() for loss in weights}
    for pattern in variant.without:
        if not any(fnmatch(loss, pattern) for loss in losses):
            raise ConfigError(f"variant {variant.name!r}: there is no loss {pattern!r} to leave out{nearest(pattern, losses)}")


def _of_preset(name: str, base: Config) -> Config:
    """Another preset with the networks, pictures, seed and precision of the base."""
    preset, ours = read(name).to_dict(), base.to_dict()
    networks = {key: value for key, value in ours["model"].items() if key.endswith(("_widths", "_hidden"))}
    kept = {key: ours[key] for key in ("seed", "precision", "data")}
    return from_dict({**preset, **kept, "model": {**preset["model"], **networks}})


def _without(stage: Mapping[str, Any], losses: Sequence[str]) -> dict[str, Any]:
    """A stage, as plain types, without these losses and without the updates that are left with none."""
    updates = [{**update, "train": _kept(update["train"], losses)} for update in stage["update"]]
    return {**stage, "update": [update for update in updates if update["train"]]}


def _kept(train: Mapping[str, Mapping[str, float]], losses: Sequence[str]) -> dict[str, dict[str, float]]:
    """The losses of each part without those left out; a part that is left with none is not trained."""
    left = {part: {t: w for t, w in weights.items() if not any(fnmatch(t, loss) for loss in losses)} for part, weights in train.items()}
    return {part: weights for part, weights in left.items() if weights}
