"""The recipe: what it takes to make a picture again, as canonical JSON that the picture itself carries.

Per picture: model, class as an index, seed, its own index, n = 1, parameters, the parents of a swap, versions. No time, no
request id: GET, POST and batch give the same bytes. A recipe that is read comes from anyone and is believed in nothing. It does not
know how a picture carries text (imaging does), nor what a recipe makes (replay does).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twofold import __version__
from twofold.model.contract import Card
from twofold.service.runtime.errors import Invalid

RECIPE_VERSION = 1
MAX_RECIPE_BYTES = 2**20  # a sheet of 64 swaps with codes of 512 numbers has 0.7 MB
MAX_VALUES = 64  # of one picture

MadeOf = Mapping[str, Any]  # a recipe of one picture


class Maker(Protocol):
    """What a recipe says of the model that made its picture."""

    card: Card
    provider: str


# --------------------------------------------------------------------------------------------------------------- writing


def write(model: Maker, do: str, made_of: MadeOf) -> str:
    """Sorted keys, no spaces, UTF-8; floats as Python writes them, so that equal parameters give equal bytes."""
    recipe = {
        "twofold": RECIPE_VERSION,
        "do": do,
        "model": model.card.name,
        "model_hash": model.card.model_hash,
        "provider": model.provider,
        "service": __version__,
        **made_of,
    }
    return _canonical(recipe)


def write_sheet(recipes: Sequence[str], rows: int, cols: int) -> str:
    """The recipe of a sheet: its shape and the recipes of its cells, in reading order."""
    return f'{{"cols":{cols},"pictures":[{",".join(recipes)}],"rows":{rows},"twofold":{RECIPE_VERSION}}}'


def write_animation(recipes: Sequence[str], fps: int) -> str:
    """The recipe of an animation: its speed and the recipes of its frames, in order."""
    return f'{{"fps":{fps},"pictures":[{",".join(recipes)}],"twofold":{RECIPE_VERSION}}}'


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


# --------------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class Recipe:
    """What a picture says of its making, checked in form alone: `told` as it stands there, one recipe per cell in reading order."""

    told: Mapping[str, Any]
    pictures: Sequence[MadeOf]
    rows: int
    cols: int


def read(text: str, most_pictures: int) -> Recipe:
    """Raises Invalid unless `text` is a recipe written here: of this version, and written the one way `write` writes it."""
    if text.count(",") > most_pictures * MAX_VALUES:  # as of a request: values cost, and are counted first
        raise Invalid(f"The picture's recipe tells of more than {most_pictures} pictures.", field="image")
    try:
        told = json.loads(text, parse_int=_short_integer)
        canonical = _canonical(told) == text  # so there is no duplicate key, no NaN, no lone surrogate in it
    except (ValueError, RecursionError):
        canonical = False
    if not canonical or not isinstance(told, dict) or _count(told.get("twofold")) != RECIPE_VERSION:
        raise Invalid(f"The picture's recipe is not one of version {RECIPE_VERSION}, or was changed.", field="image")
    if "pictures" not in told:
        return Recipe(told, (told,), 1, 1)
    pictures, rows, cols = told["pictures"], _count(told.get("rows")), _count(told.get("cols"))
    whole = isinstance(pictures, list) and all(isinstance(one, dict) for one in pictures)
    if not whole or not rows * cols - cols < len(pictures) <= rows * cols:
        raise Invalid("The recipe of the sheet is damaged: its shape and its pictures do not fit.", field="image")
    return Recipe(told, pictures, rows, cols)


def _short_integer(digits: str) -> int:
    """Raises ValueError beyond 64 bits: thousands of digits take quadratic time."""
    if len(digits) > 20:
        raise ValueError
    return int(digits)


def _count(value: object) -> int:
    """0 for what counts nothing."""
    return value if type(value) is int and 1 <= value <= 65535 else 0
