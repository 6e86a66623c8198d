"""A configuration: frozen dataclasses read from TOML. An unknown key is an error that names the nearest known one.

Knows the shape of a configuration, not what a loss or an action does (step.py and loop.py check those names).
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twofold.model.vae_gan import PARTS, Sizes

VIEWS = ("brightness", "translation", "cutout")  # those of data/augment.py
PRESETS = Path(__file__).parent / "presets"


class ConfigError(Exception):
    """The configuration cannot be used; the text names the key and what it may be."""


@dataclass(frozen=True)
class DataConfig:
    """How pictures become pixels, and how many training rows are held back for validation."""

    height: int = 0  # 0: as most pictures
    width: int = 0
    channels: int = 0  # 1 grey, 3 RGB, 0: as most pictures
    background: tuple[int, ...] = (255,)  # what shows through transparency; one level, or one per channel
    filter: str = "lanczos"
    crop: str = "center"
    validation_rows: int = 5000
    licence: str = "unknown"
    origin: str = ""  # where the data set comes from, for the card


@dataclass(frozen=True)
class Update:
    """One forward pass, after which each part named in `train` takes one optimiser step on its own weighted sum of losses.

    All gradients are taken before any part moves. `repeat` runs it several times, each on a fresh batch.
    """

    train: Mapping[str, Mapping[str, float]]
    repeat: int = 1


@dataclass(frozen=True)
class Stage:
    """One stage of training: which parts move on which losses, on what forward pass, for how long."""

    name: str
    epochs: float
    update: tuple[Update, ...]
    batch: int = 128
    pictures_per_class: int = 0  # > 0: batches of that many pictures of each of batch / n classes
    lr: Mapping[str, float] = field(default_factory=dict)  # per part
    optimizer: str = "adam"
    betas: tuple[float, ...] = (0.0, 0.9)
    weight_decay: float = 0.0
    schedule: str = "constant"  # constant | cosine | one-cycle
    ema: float = 0.0  # decay of the average that becomes the weights when the stage ends; 0: none
    flip: bool = False  # augmentation: mirror half of the pictures
    shift: int = 0  # augmentation: move by up to this many pixels
    cutout: int = 0  # augmentation: grey in a square of so many pixels a side
    class_code: str = "live"  # live | detached: whether reconstruction reaches E_s
    class_noise: float = 0.0  # noise on z_s before G, in deviations of the class
    class_exchange: bool = False  # G gets the z_s of another picture of the same class
    style_noise: float = 1.0  # share of the posterior deviation in the z_u that G gets
    flow_noise: float = 3.0  # the flow is fitted under a share U^flow_noise of it, U uniform: 0 all, 1 half in the mean, large none
    through_flow: bool = False  # swaps and samples go through f and f^-1, as served
    pairs: str = "any"  # any | class: which picture of the batch a swap takes its class code from
    sampler: str = "prior"  # prior | fitted: where the codes of sampled pictures come from
    swap_share: float = 1.0  # of the batch, how many swaps and samples are drawn
    sample_share: float = 1.0
    discriminator_views: tuple[str, ...] = ()  # brightness, translation, cutout: how D sees all pictures, real and drawn
    before: tuple[str, ...] = ()  # actions on the training codes: fit_sampler, standard, whiten, fold, quantize_style, shrink_to_class_mean
    after: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key, allowed in (
            ("optimizer", ("adam", "adamw")),
            ("schedule", ("constant", "cosine", "one-cycle")),
            ("class_code", ("live", "detached")),
            ("pairs", ("any", "class")),
            ("sampler", ("prior", "fitted")),
        ):
            if getattr(self, key) not in allowed:
                raise ConfigError(f"stage {self.name!r}: {key} must be one of {', '.join(allowed)}")
        for view in self.discriminator_views:
            if view not in VIEWS:
                raise ConfigError(f"stage {self.name!r}: unknown view {view!r}{nearest(view, VIEWS)}")
        for update in self.update:
            for part in update.train:
                if part not in PARTS:
                    raise ConfigError(f"stage {self.name!r}: unknown part {part!r}{nearest(part, PARTS)}")
                if part not in self.lr:
                    raise ConfigError(f"stage {self.name!r}: lr needs a learning rate for {part!r}")
        if len(self.betas) != 2:
            raise ConfigError(f"stage {self.name!r}: betas must be two numbers")
        if not self.flow_noise >= 0:
            raise ConfigError(f"stage {self.name!r}: flow_noise must be >= 0")
        if not self.epochs >= 0 or self.batch < 2:
            raise ConfigError(f"stage {self.name!r}: epochs must be >= 0 and batch >= 2")

    @property
    def trained(self) -> frozenset[str]:
        """The parts that some update of this stage moves."""
        return frozenset(part for update in self.update for part in update.train)

    @property
    def augments(self) -> bool:
        """Whether the training pictures of this stage are changed at random."""
        return self.flip or self.shift > 0 or self.cutout > 0

    @property
    def batches_per_step(self) -> int:
        return sum(update.repeat for update in self.update)


@dataclass(frozen=True)
class Config:
    """A whole configuration."""

    name: str
    stage: tuple[Stage, ...]
    seed: int = 0
    precision: str = "bf16"  # bf16: autocast of the convolutions; fp32
    data: DataConfig = field(default_factory=DataConfig)
    model: Sizes = field(default_factory=Sizes)

    def __post_init__(self) -> None:
        if self.precision not in ("bf16", "fp32"):
            raise ConfigError("precision must be one of bf16, fp32")
        if not self.stage:
            raise ConfigError("a configuration needs at least one [[stage]]")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, every default written out."""
        return dataclasses.asdict(self)


def read(path: Path | str, overrides: Mapping[str, str] | None = None) -> Config:
    """Read a TOML file, or a preset by its name (`fashion`, `cifar10`, `paper`, `tiny`). Raises ConfigError.

    `overrides` are dotted keys with TOML values: {"seed": "1", "stage.0.epochs": "2"}; a stage has a number, from 0, or its name.
    """
    file = Path(path)
    if file.suffix != ".toml":
        file = PRESETS / f"{path}.toml"
        if not file.is_file():
            known = [p.stem for p in PRESETS.glob("*.toml")]
            raise ConfigError(f"no preset of that name{nearest(str(path), known)}; presets: {', '.join(sorted(known))}")
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file.name}: {error}") from error
    return from_dict(_overridden(raw, overrides or {}))


def changed(config: Config, overrides: Mapping[str, str]) -> Config:
    """The configuration with overrides as `read` takes them. Raises ConfigError."""
    return from_dict(_overridden(json.loads(json.dumps(config.to_dict())), overrides))


def from_dict(raw: Mapping[str, Any]) -> Config:
    """Build a Config from plain types, as `to_dict` gives them. Raises ConfigError."""
    return typing.cast("Config", parse(Config, raw))


def _overridden(raw: dict[str, Any], overrides: Mapping[str, str]) -> dict[str, Any]:
    for key, value in overrides.items():
        _override(raw, key, value)
    return raw


def _override(raw: dict[str, Any], key: str, text: str) -> None:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        value = text
    *path, last = key.split(".")
    node: Any = raw
    for step in path:
        if isinstance(node, list):
            names = [item.get("name") for item in node]
            if step not in names and not (step.isdigit() and int(step) < len(node)):
                raise ConfigError(f"{key}: {step!r} must be an index below {len(node)}, or a name")
            node = node[names.index(step) if step in names else int(step)]
        else:
            node = node.setdefault(step, {})
        if not isinstance(node, dict | list):
            raise ConfigError(f"{key}: {step!r} has no keys below it")
    if not isinstance(node, dict):
        raise ConfigError(f"{key}: {last!r} must be followed by a key")
    node[last] = value


def parse(kind: Any, raw: Any, where: str = "") -> Any:
    """A dataclass, tuple or plain value from TOML; `where` is the dotted key for the error text. Raises ConfigError."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(raw, Mapping):
            raise ConfigError(f"{where.rstrip('.') or 'configuration'}: must be a table")
        hints = typing.get_type_hints(kind)
        for key in raw:
            if key not in hints:
                raise ConfigError(f"unknown key {where + key!r}{nearest(key, hints)}")
        missing = [
            f.name
            for f in dataclasses.fields(kind)
            if f.name not in raw and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ]
        if missing:
            raise ConfigError(f"missing key {where + missing[0]!r}")
        values = {key: parse(hints[key], value, f"{where}{key}.") for key, value in raw.items()}
        try:
            return kind(**values)
        except ValueError as error:
            raise ConfigError(f"{where.rstrip('.')}: {error}") from error
    if origin is tuple:
        if not isinstance(raw, list | tuple):
            raise ConfigError(f"{where.rstrip('.')}: must be a list")
        return tuple(parse(args[0], item, f"{where}{i}.") for i, item in enumerate(raw))
    if origin is not None:  # Mapping[str, X]
        if not isinstance(raw, Mapping):
            raise ConfigError(f"{where.rstrip('.')}: must be a table")
        return {key: parse(args[1], value, f"{where}{key}.") for key, value in raw.items()}
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if type(raw) is not kind:
        raise ConfigError(f"{where.rstrip('.')}: must be of type {kind.__name__}")
    return raw


def nearest(name: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
