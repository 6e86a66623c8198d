"""A training configuration: frozen pydantic dataclasses, read from TOML. The descriptions of the keys make the table of the documentation.

Knows which keys there are, their types and bounds; does not know what a loss or an action does (the trainer checks those names).
"""

from __future__ import annotations

import difflib
import functools
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticKnownError

from twofold.model.vae_gan import PARTS, Sizes

PRESETS = Path(__file__).parent / "presets"
MAX_SIZE = 65_536  # of any number in [model]
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def _known_part(name: str) -> str:
    if name not in PARTS:
        raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, PARTS))})
    return name


Part = Annotated[str, AfterValidator(_known_part)]
Level = Annotated[int, Field(ge=0, le=255)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(ge=0, le=1e12)]
Weight = Annotated[float, Field(ge=-1e9, le=1e9)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Actions = Annotated[tuple[Text, ...], Field(max_length=20)]

T = TypeVar("T")


class ConfigError(Exception):
    """The configuration cannot be used; the text names the key and what is allowed."""


@dataclass(frozen=True, config=STRICT)
class DataConfig:
    """How pictures become pixels, and how many training rows are held back for validation."""

    height: int = Field(
        default=0, ge=0, le=1024, description="pixels; 0: what most pictures have, or the nearest size that the model takes"
    )
    width: int = Field(default=0, ge=0, le=1024, description="pixels; 0: as for the height")
    channels: Literal[0, 1, 3] = Field(default=0, description="1: grey, 3: RGB, 0: what most pictures have")
    background: tuple[Level, ...] = Field(
        default=(255,),
        min_length=1,
        max_length=3,
        description="what shows through transparency, 0 to 255: one level, or one for each channel",
    )
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = Field(
        default="lanczos", description="Pillow's resampling filter"
    )
    crop: Literal["center", "none"] = Field(
        default="center", description="`center`: the largest centred region of the right aspect ratio; `none`: stretch"
    )
    validation_rows: int = Field(
        default=5000, ge=1, le=1_000_000, description="cut off the training split for validation, stratified; at most a tenth of it"
    )
    group: str = Field(
        default="",
        max_length=1000,
        description="pictures that a split keeps together: a regular expression with one group in parentheses, searched in the paths of "
        "the files, a column of a table, or `auto` (a guess from numbered names and near-duplicates); empty: each picture for itself",
    )
    licence: str = Field(default="unknown", max_length=1000, description="of the pictures, for the model card")
    origin: str = Field(default="", max_length=1000, description="where the pictures come from, for the model card")


@dataclass(frozen=True, config=STRICT)
class Update:
    """One forward pass, after which each part named in `train` takes one optimiser step on its own weighted sum of losses.

    All gradients are computed before any part is updated.
    """

    train: Mapping[Part, Mapping[Text, Weight]] = Field(
        description="`train.PART = { LOSS = weight, ... }`; parts with the same sum share one backward pass"
    )
    repeat: int = Field(default=1, ge=1, le=100, description="how many times, each on a fresh batch")


@dataclass(frozen=True, config=STRICT)
class Stage:
    """One stage of training: which parts are trained on which losses, on what forward pass, for how long."""

    name: Text = Field(description="for the progress line and the log")
    epochs: float = Field(
        ge=0, le=100_000, description="length: epochs x pictures / batch steps; a step that repeats an update sees more pictures"
    )
    update: tuple[Update, ...] = Field(max_length=20, description="the `[[stage.update]]` tables of a step, in order")
    batch: int = Field(default=128, ge=2, le=16_384, description="pictures per forward pass")
    pictures_per_class: int = Field(default=0, ge=0, le=16_384, description="n > 0: batches of n pictures each of batch / n classes")
    lr: Mapping[Part, Rate] = Field(default_factory=dict, description="learning rate of every part that is trained")
    optimizer: Literal["adam", "adamw"] = Field(default="adam", description="Adam, or AdamW with decoupled weight decay")
    betas: tuple[Beta, Beta] = Field(default=(0.0, 0.9), description="decay of the optimiser's two moments")
    weight_decay: float = Field(default=0.0, ge=0, le=10, description="of the optimiser")
    schedule: Literal["constant", "cosine", "one-cycle"] = Field(
        default="constant", description="of the learning rates; `one-cycle`: up from 4 % in the first quarter, then cosine down"
    )
    clip: float = Field(default=0.0, ge=0, le=1e12, description="largest norm of the gradient of a part; 0: any")
    adversarial: Literal["fixed", "gradient"] = Field(
        default="fixed",
        description="`gradient`: `gen_*` and `feature_matching` are multiplied by a factor, so that `gen_*` of total weight w pulls at "
        "the last layer of G w times as hard as the reconstruction [16]",
    )
    collapse_watch: bool = Field(
        default=False,
        description="after 60 steps: if z_u tells under 3 nats, or under 3 of its dimensions are alive, kl_* weighs a quarter from then on",
    )
    ema: float = Field(
        default=0.0, ge=0, lt=1, description="decay of the average of the weights that becomes the model when the stage ends; 0: none"
    )
    flip: bool = Field(
        default=False, description="augmentation: mirror half of the pictures; only where a mirrored picture keeps its class"
    )
    shift: int = Field(default=0, ge=0, le=64, description="augmentation: shift pictures by up to so many pixels, borders repeated")
    rotate: float = Field(default=0.0, ge=0, le=180, description="augmentation: turn pictures by up to so many degrees, borders reflected")
    scale: float = Field(default=0.0, ge=0, le=1, description="augmentation: scale pictures by up to e^`scale`, or down by as much")
    jitter: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="augmentation: contrast by up to e^`jitter`, brightness by half, every channel by a third of it",
    )
    cutout: int = Field(default=0, ge=0, le=1024, description="augmentation: make a square of so many pixels a side grey, anywhere [10]")
    class_code: Literal["live", "detached"] = Field(default="live", description="`detached`: reconstruction sends no gradient to E_s")
    class_noise: float = Field(default=0.0, ge=0, le=100, description="noise on the z_s that G gets, in deviations of its class")
    class_exchange: bool = Field(
        default=False, description="G gets the z_s of another picture of the same class: the style must come through z_u"
    )
    style_noise: float = Field(
        default=1.0, ge=0, le=100, description="share of the posterior's deviation in the code that G gets; 0: the mean"
    )
    flow_noise: float = Field(
        default=3.0,
        ge=0,
        le=1000,
        description="the flow is fitted to codes under a share U^`flow_noise` of the posterior's deviation, U uniform for each picture: "
        "0 is all of it, 1 half of it in the mean, 3 a quarter",
    )
    through_flow: bool = Field(default=False, description="swaps and samples go through f and f^-1, as they are served")
    pairs: Literal["any", "class"] = Field(
        default="any", description="`class`: a swap takes its class code from a picture of the same class"
    )
    sampler: Literal["prior", "fitted"] = Field(
        default="prior", description="samples from the learned Gaussians and N(0, I), or from those that `fit_sampler` fitted"
    )
    swap_share: float = Field(default=1.0, ge=0, le=1, description="swaps drawn per picture of the batch")
    sample_share: float = Field(default=1.0, ge=0, le=1, description="samples drawn per picture of the batch")
    discriminator_views: tuple[Literal["brightness", "translation", "cutout"], ...] = Field(
        default=(),
        max_length=3,
        description="how D sees every picture, real or generated [11]: `brightness` (up to 0.25 lighter or darker, for RGB), `translation` "
        "(up to an eighth of a side), `cutout` (half a side); G learns through them",
    )
    before: Actions = Field(default=(), description="actions on the codes of the training split before the first step")
    after: Actions = Field(default=(), description="actions on the codes of the training split after the last step")

    @model_validator(mode="after")
    def _has_rates(self) -> Stage:
        for part in sorted(self.trained - self.lr.keys()):
            raise ValueError(f"lr needs a learning rate for {part!r}, which an update trains")
        return self

    @property
    def trained(self) -> frozenset[str]:
        """The parts that some update of this stage trains."""
        return frozenset(part for update in self.update for part in update.train)

    @property
    def augments(self) -> bool:
        """Whether the training pictures of this stage are changed at random."""
        return self.flip or max(self.shift, self.rotate, self.scale, self.jitter, self.cutout) > 0

    @property
    def reuses_codes(self) -> bool:
        """Whether the codes of a frozen encoder can be computed once for the stage: the pictures are not augmented."""
        return not self.augments and not {"encoder_s", "encoder_u"} <= self.trained

    @property
    def batches_per_step(self) -> int:
        """Batches that one step takes: one for each run of an update."""
        return sum(update.repeat for update in self.update)


def _bounded(sizes: Sizes) -> Sizes:
    """Sizes checks what its networks need; here no number may be negative, or so large that it cannot be meant."""
    for key, value in vars(sizes).items():
        numbers = value if isinstance(value, tuple) else (value,)
        if len(numbers) > 16 or any(isinstance(n, int) and not 0 <= n <= MAX_SIZE for n in numbers):
            raise ValueError(f"{key} must be from 0 to {MAX_SIZE}, and a list of at most 16 numbers")
    return sizes


@dataclass(frozen=True, config=STRICT)
class Config:
    """A whole configuration."""

    name: Text = Field(description="of the bundle, unless `twofold-train export --name` gives another")
    stage: tuple[Stage, ...] = Field(min_length=1, max_length=100, description="the `[[stage]]` tables, in order")
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="of everything: same seed, same losses, bit for bit (same machine, thread count and versions)",
    )
    precision: Literal["bf16", "fp32"] = Field(default="bf16", description="`bf16`: autocast of the convolutional networks; `fp32`: none")
    data: DataConfig = Field(default_factory=DataConfig, description="the `[data]` table")
    model: Annotated[Sizes, AfterValidator(_bounded)] = Field(default_factory=Sizes, description="the `[model]` table")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, every default written out; `from_dict` reads it back."""
        plain: dict[str, Any] = _adapter(Config).dump_python(self, mode="json")
        return plain


# -------------------------------------------------------------------------------------------------- reading and changing


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
    return from_dict(_overridden(read_toml(file), overrides or {}))


def read_toml(file: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises ConfigError, which names the file."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file.name}: {error}") from error


def changed(config: Config, overrides: Mapping[str, str]) -> Config:
    """The configuration with overrides as `read` takes them. Raises ConfigError."""
    return from_dict(_overridden(config.to_dict(), overrides))


def from_dict(raw: Mapping[str, object]) -> Config:
    """Build a Config from plain types, as `to_dict` gives them. Raises ConfigError."""
    return parse(Config, raw)


def parse(kind: Callable[..., T], raw: Mapping[str, object]) -> T:
    """A pydantic dataclass of the class `kind` from plain types, as TOML gives them. Raises ConfigError."""
    try:
        found: T = _adapter(kind).validate_json(json.dumps(raw, default=str))  # as JSON, so that a list makes a tuple in strict mode
        return found
    except ValidationError as error:
        raise ConfigError(_sentence(kind, error)) from error


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _overridden(raw: dict[str, Any], overrides: Mapping[str, str]) -> dict[str, Any]:
    for key, text in overrides.items():
        *path, last = key.split(".")
        node: Any = raw
        for step in path:
            node = _below(node, step, key)
        if not isinstance(node, dict):
            raise ConfigError(f"{key}: {last!r} must be followed by a key")
        try:
            node[last] = tomllib.loads(f"value = {text}")["value"]
        except ValueError:
            node[last] = text
    return raw


def _below(node: Any, step: str, key: str) -> Any:
    if isinstance(node, list):
        names = [item.get("name") for item in node]
        if step not in names and not (step.isdecimal() and int(step) < len(node)):
            raise ConfigError(f"{key}: {step!r} must be an index below {len(node)}, or a name")
        return node[names.index(step) if step in names else int(step)]
    below = node.setdefault(step, {})
    if not isinstance(below, dict | list):
        raise ConfigError(f"{key}: {step!r} has no keys below it")
    return below


# --------------------------------------------------------------------------------------------------------------- refusals

_NO_SUCH_KEY = ("unexpected_keyword_argument", "extra_forbidden")  # of a dataclass, of a model
_MUST = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "dict_type": "must be a table",
    "mapping_type": "must be a table",
    "dataclass_type": "must be a table",
    "model_type": "must be a table",
    "tuple_type": "must be a list",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have {min_length} or more items",
    "too_long": "must have {max_length} items at most",
    "value_error": "{error}",
}


def _sentence(kind: object, error: ValidationError) -> str:
    """One sentence on the first thing that is wrong; a key that does not exist comes before one that is missing for its sake."""
    found = error.errors(include_url=False)
    first = next((one for one in found if one["type"] in _NO_SUCH_KEY), found[0])
    place, context, what = first["loc"], first.get("ctx", {}), first["type"]
    if place and place[-1] == "[key]":  # of a table whose keys are a choice
        return _unknown(place[:-1], _choices(context))
    key = ".".join(map(str, place))
    if what in _NO_SUCH_KEY:
        return _unknown(place, _keys(kind, place[:-1]))
    if what == "missing":
        return f"missing key {key!r}" if isinstance(place[-1], str) else f"{key.rpartition('.')[0]}: has too few items"
    if what == "literal_error":
        choices = _choices(context)
        return f"{key}: must be one of {', '.join(choices)}{nearest(str(first['input']), choices)}"
    numbers = {name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in context.items()}
    text = _MUST[what].format(**numbers) if what in _MUST else first["msg"]
    return f"{key}: {text}" if key else text


def _unknown(place: tuple[int | str, ...], known: Iterable[str]) -> str:
    return f"unknown key {'.'.join(map(str, place))!r}{nearest(str(place[-1]), known)}"


def _choices(context: Mapping[str, str]) -> list[str]:
    """The values that pydantic lists as "'a', 'b' or 'c'" or "0, 1 or 3"."""
    return [quoted or number for quoted, number in re.findall(r"'([^']*)'|(\d+)", context["expected"])]


def _keys(kind: object, place: tuple[int | str, ...]) -> list[str]:
    """The keys of the table at a place of a configuration."""
    schema = _adapter(kind).json_schema()
    node = schema
    for step in place:
        node = node["items"] if isinstance(step, int) else node["properties"][step]
        node = schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    return list(node["properties"])


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the known name that is most like `name`; nothing if none is."""
    close = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


# ----------------------------------------------------------------------------------------------------------- descriptions


@functools.cache
def keys() -> dict[str, dict[str, dict[str, Any]]]:
    """JSON schema of every key, with its description, by table and key; the tables are "", "data", "model", "stage", "stage.update"."""
    schema = _adapter(Config).json_schema()
    kinds = {"data": "DataConfig", "model": "Sizes", "stage": "Stage", "stage.update": "Update"}
    tables = {"": schema} | {table: schema["$defs"][kind] for table, kind in kinds.items()}
    return {table: dict(node["properties"]) for table, node in tables.items()}
