"""What every control takes: type, bounds, default and purpose of each parameter, declared once. Standard library only.

From here come the query and JSON validators and the OpenAPI document (`http.schemas`), the options of the command line, and the
bounds within which a recipe is accepted (`operations`). Importing this module loads nothing, so that `--help` stays fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

Sampler = Literal["fitted", "paper"]
Vary = Literal["both", "class", "style"]
PathKind = Literal["linear", "slerp"]
ClassifiedBy = Literal["evaluation classifier", "encoder"]  # the network that says which class a picture shows

MAX_SEED, MAX_INDEX = 2**63 - 1, 2**31 - 1
MAX_DIRECTION_WEIGHT = 4.0
MAX_DIRECTIONS = 8  # of one edit
HARD_MAX_ITEMS = 4096  # what the setting max_items may be at most
_KINDS = {int: "an integer", float: "a number"}


@dataclass(frozen=True)
class Parameter:
    """One scalar parameter. `about` says what it is for; `high_text` how a bound is written that is hard to read as a number.

    A `capped` parameter is also bounded by the setting `max_items`. `help` replaces `about` on the command line.
    """

    kind: type[int | float | bool | str]
    default: Any = None
    about: str = ""
    low: float = 0
    high: float = 0
    high_text: str = ""
    choices: tuple[str, ...] = ()
    capped: bool = False
    help: str = ""

    @property
    def range(self) -> str:
        """The bounds in words, as "0 to 4"."""
        return f"{self.low:g} to {self.high_text or f'{self.high:g}'}"

    @property
    def allowed(self) -> str:
        """What a value may be: "an integer from 2 to {most}", where {most} stands for a bound that follows from the settings."""
        if self.kind is bool:
            return "true or false"
        if self.choices:
            return " or ".join(filter(None, (", ".join(self.choices[:-1]), self.choices[-1])))
        return f"{_KINDS[self.kind]} from {f'{self.low:g} to {{most}}' if self.capped else self.range}"

    @property
    def description(self) -> str:
        """What a value may be, and what it is for."""
        about = f"true: {self.about}" if self.kind is bool else self.about
        return f"{self.allowed} ({about})" if about else self.allowed

    def accepts(self, value: object) -> bool:
        """Whether a value of a recipe has exactly this type and lies within the bounds."""
        if type(value) is not self.kind:
            return False
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high


def _flag(about: str) -> Parameter:
    return Parameter(bool, False, about)


def _share(default: float, about: str) -> Parameter:
    return Parameter(float, default, about, 0, 1)


PICTURES = Parameter(int, 1, "how many pictures", 1, HARD_MAX_ITEMS, capped=True)
SEED = Parameter(
    int, None, "without it the server draws one and says which", 0, MAX_SEED, "2^63-1", help="without it one is drawn, and reported"
)
INDEX = Parameter(int, 0, "which picture of the seed is the first", 0, MAX_INDEX, "2^31-1")
TEMPERATURE = Parameter(float, 1.0, "spread of the styles", 0, 4.0)
FORMAT = Parameter(str, "png", "the encoding of pictures inside JSON and zip", choices=("png", "webp"))
WEIGHT = Parameter(float, None, "", -MAX_DIRECTION_WEIGHT, MAX_DIRECTION_WEIGHT)  # of one direction of style

_CLASSIFIER = "the bundle's evaluation classifier, or else the encoder,"

GENERATE: Mapping[str, Parameter] = {
    "n": PICTURES,
    "seed": SEED,
    "index": INDEX,
    "temperature": TEMPERATURE,
    "class_temperature": replace(TEMPERATURE, about="spread within the class"),
    "sampler": Parameter(str, "fitted", choices=get_args(Sampler), help="what codes are drawn from"),
    "format": FORMAT,
}
DECODE: Mapping[str, Parameter] = {"seed": SEED, "index": INDEX, "format": FORMAT}
SWAP: Mapping[str, Parameter] = {
    "verdict": _flag(f"{_CLASSIFIER} says which class every result shows, and whether it was kept; JSON and zip only"),
    "format": FORMAT,
}
INTERPOLATE: Mapping[str, Parameter] = {
    "frames": Parameter(int, 16, "how many pictures", 2, 64, capped=True),
    "vary": Parameter(str, "both", "class: all in the style of the first key; style: all in its class", choices=get_args(Vary)),
    "path": Parameter(
        str, "linear", "slerp: styles turn around the middle of all styles instead of crossing it", choices=get_args(PathKind)
    ),
    "seed": replace(SEED, about="the style of classes without a seed; without it one is drawn", help=""),
    "verdict": _flag(f"{_CLASSIFIER} gives the class_probs of every frame; JSON and zip only"),
    "animate": _flag("one moving WebP or GIF instead of a row of frames"),
    "fps": Parameter(int, 12, "frames a second of an animation", 1, 60),
    "format": FORMAT,
}
FRAME: Mapping[str, Parameter] = {"t": _share(0.0, "place of a frame between two keys"), "path": INTERPOLATE["path"]}
EDIT: Mapping[str, Parameter] = {
    "strength": _share(1.0, "how far towards the class"),
    "n": PICTURES,
    "seed": SEED,
    "index": INDEX,
    "style_spread": _share(0.0, "0: the picture's own style, 1: entirely other styles"),
    "temperature": replace(TEMPERATURE, about="spread of the other styles"),
    "verdict": _flag(f"{_CLASSIFIER} says which class every result shows, and whether it is the one asked for; JSON and zip only"),
    "format": FORMAT,
}
INPAINT: Mapping[str, Parameter] = {"steps": Parameter(int, 8, "rounds of encoding and drawing", 1, 32), "format": FORMAT}
INSPECT: Mapping[str, Parameter] = {"verify": _flag("the picture is made again from its recipe, and compared")}
