"""The recipe: what it takes to make a picture again, as canonical JSON that the picture itself carries.

Per picture: model, class as an index, seed, its own index, n = 1, parameters, the parents of a swap, versions. No time, no
request id: GET, POST and batch give the same bytes. A recipe that is read may come from anyone, so nothing in it is trusted. This
module does not know how a picture carries text (`image_io` does), nor what a recipe makes (`operations` does).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twofold import __version__
from twofold.model.contract import Card
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.parameters import Parameter

RECIPE_VERSION = 1
MAX_RECIPE_BYTES = 2**20  # a sheet of 64 swaps with codes of 512 numbers has 0.7 MB
MAX_VALUES = 64  # of one picture
MAX_DEPTH = 32  # of nested objects and lists; a sheet of edits along directions has 4

# Of one picture, the members that depend on the operation (`operations` has them); `write` adds the operation, the model and the service.
Recipe = Mapping[str, object]


class Maker(Protocol):
    """What a recipe names of the model that made its picture."""

    card: Card
    provider: str


# --------------------------------------------------------------------------------------------------------------- writing


def write(model: Maker, do: str, recipe: Recipe) -> str:
    """Sorted keys, no spaces, UTF-8; floats as Python writes them, so that equal parameters give equal bytes."""
    made_by = {"model": model.card.name, "model_hash": model.card.model_hash, "provider": model.provider, "service": __version__}
    return _canonical({"twofold": RECIPE_VERSION, "do": do, **made_by, **recipe})


def write_sheet(recipes: Sequence[str], rows: int, cols: int) -> str:
    """The recipe of a sheet: its shape and the recipes of its cells, in reading order."""
    return f'{{"cols":{cols},"pictures":[{",".join(recipes)}],"rows":{rows},"twofold":{RECIPE_VERSION}}}'


def write_animation(recipes: Sequence[str], fps: int) -> str:
    """The recipe of an animation: its speed and the recipes of its frames, in order."""
    return f'{{"fps":{fps},"pictures":[{",".join(recipes)}],"twofold":{RECIPE_VERSION}}}'


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


# --------------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class FoundRecipe:
    """The recipe that a file carries, checked in form alone: `document` as it stands there, one recipe per cell in reading order."""

    document: Mapping[str, Any]
    pictures: Sequence[Mapping[str, object]]
    rows: int
    cols: int


def read(text: str, max_pictures: int) -> FoundRecipe:
    """Raises Invalid unless `text` is a recipe written here: of this version, and written the one way `write` writes it."""
    if text.count(",") > max_pictures * MAX_VALUES:  # values are counted before they cost anything, as those of a request are
        raise Invalid(f"The picture's recipe tells of more than {max_pictures} pictures.", field="image")
    document = _parse(text)
    if document is None or _count(document.get("twofold")) != RECIPE_VERSION:
        raise Invalid(f"The picture's recipe is not one of version {RECIPE_VERSION}, or was changed.", field="image")
    if "pictures" not in document:
        return FoundRecipe(document, (document,), 1, 1)
    pictures, rows, cols = document["pictures"], _count(document.get("rows")), _count(document.get("cols"))
    whole = isinstance(pictures, list) and all(isinstance(one, dict) for one in pictures)
    if not whole or not rows * cols - cols < len(pictures) <= rows * cols:
        raise Invalid("The recipe of the sheet is damaged: its shape and its pictures do not fit.", field="image")
    return FoundRecipe(document, pictures, rows, cols)


def _parse(text: str) -> dict[str, Any] | None:
    """The object that `text` is the canonical form of; None for anything else, and for what nests more deeply than MAX_DEPTH."""
    try:
        value = json.loads(text, parse_int=_short_integer)
    except (ValueError, RecursionError):  # how deeply the parser goes differs between Pythons: all of that is far beyond MAX_DEPTH
        return None
    if not isinstance(value, dict) or _nests_beyond(value, MAX_DEPTH):
        return None
    try:
        return value if _canonical(value) == text else None  # so there is no duplicate key, no NaN, no lone surrogate in it
    except ValueError:
        return None


def _nests_beyond(value: object, levels: int) -> bool:
    """Whether there are more than `levels` levels of objects and lists in `value`."""
    if not isinstance(value, dict | list):
        return False
    return levels == 0 or any(_nests_beyond(one, levels - 1) for one in (value.values() if isinstance(value, dict) else value))


def _short_integer(digits: str) -> int:
    """Raises ValueError beyond 64 bits: thousands of digits take quadratic time."""
    if len(digits) > 20:
        raise ValueError
    return int(digits)


def _count(value: object) -> int:
    """0 for what counts nothing."""
    return value if type(value) is int and 1 <= value <= 65535 else 0


@dataclass(frozen=True)
class Fields:
    """The members of one picture's recipe, each checked for its type and its bounds as a request is. All methods raise Invalid."""

    recipe: Mapping[str, object]

    def __contains__(self, name: str) -> bool:
        return name in self.recipe

    def text(self, name: str, allowed: str) -> str:
        value = self.recipe.get(name)
        if not isinstance(value, str):
            raise _unlike(name, allowed)
        return value

    def integer(self, name: str, high: int) -> int:
        """An integer from 0 to `high`."""
        value = self.recipe.get(name)
        if type(value) is not int or not 0 <= value <= high:
            raise _unlike(name, f"an integer from 0 to {high}")
        return value

    def value(self, name: str, parameter: Parameter) -> Any:
        """A value of the type of `parameter`, which is a float or has choices, within its bounds."""
        value = self.recipe.get(name)
        if not parameter.accepts(value):
            raise _unlike(name, parameter.allowed)
        return value

    def values(self, parameters: Mapping[str, Parameter], *names: str) -> dict[str, Any]:
        """By name, the values of several `parameters`."""
        return {name: self.value(name, parameters[name]) for name in names}

    def weights(self, name: str, parameter: Parameter) -> dict[str, float]:
        """An object of floats, each within the bounds of `parameter`."""
        value = self.recipe.get(name)
        if not isinstance(value, dict):
            raise _unlike(name, "an object of weights")
        inner = Fields(value)
        return {key: inner.value(key, parameter) for key in value}


def _unlike(name: str, allowed: str) -> Invalid:
    return Invalid(f"{name} must be {allowed}", field=name, allowed=allowed)
