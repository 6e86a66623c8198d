"""The recipe: what it takes to make a picture again, as canonical JSON that the picture itself carries; and the way back to codes.

Per picture: model, class as an index, seed, its own index, n = 1, parameters, the parents of a swap, versions. No time, no
request id: GET, POST and batch give the same bytes. A recipe that is read comes from anyone and is believed in nothing. It does not
know how a picture carries text (imaging does), nor how codes become pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.contract import Card, Floats, Prior
from service import __version__, codes
from service.bundles import Model
from service.errors import Invalid

RECIPE_VERSION = 1
MAX_RECIPE_BYTES = 2**20  # a sheet of 64 swaps with codes of 512 numbers has 0.7 MB
MAX_VALUES = 64  # of one picture

MadeOf = Mapping[str, Any]  # a recipe of one picture
Codes = tuple[Floats, Floats]  # z_s [D_s], z_u [D_u]


# --------------------------------------------------------------------------------------------------------------- writing


def write(model: Model, do: str, made_of: MadeOf) -> str:
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


# -------------------------------------------------------------------------------------------------------------- replaying


def to_codes(made_of: MadeOf, card: Card, prior: Prior) -> Codes:
    """The codes that a recipe of this model decodes. Pure. Raises Invalid when a part is missing or out of its bounds.

    `made_of["do"]` must be in REPLAY.
    """
    return REPLAY[made_of["do"]](made_of, card, prior)


def can_replay(made_of: MadeOf) -> bool:
    """Whether the picture is its codes decoded, and this version knows how to come by them."""
    return isinstance(made_of.get("do"), str) and made_of["do"] in REPLAY


def _generate(made_of: MadeOf, card: Card, prior: Prior) -> Codes:
    label, seed, index = _drawn(made_of, card)
    sampler = made_of.get("sampler")
    if sampler not in codes.SAMPLERS:
        raise _unlike("sampler", " or ".join(codes.SAMPLERS))
    z_s = codes.sample_z_s(prior, label, seed, index, _temperature(made_of, "class_temperature"), sampler)
    return z_s, codes.sample_z_u(prior, seed, index, _temperature(made_of, "temperature"), sampler)


def _decode(made_of: MadeOf, card: Card, prior: Prior) -> Codes:
    if "code" in made_of:
        return _token(made_of, "code", card)
    label, seed, index = _drawn(made_of, card)
    return codes.sample_z_s(prior, label, seed, index), codes.sample_z_u(prior, seed, index)


def _swap(made_of: MadeOf, card: Card, prior: Prior) -> Codes:
    return _token(made_of, "class_from", card)[0], _token(made_of, "style_from", card)[1]


# A new kind of picture that is its codes decoded takes a line here; `do` is the name its route gave it.
REPLAY: Mapping[str, Callable[[MadeOf, Card, Prior], Codes]] = {"generate": _generate, "decode": _decode, "swap": _swap}


def _drawn(made_of: MadeOf, card: Card) -> tuple[int, int, int]:
    """Class index, seed and index."""
    return (
        _integer(made_of, "class", card.dims.classes - 1),
        _integer(made_of, "seed", codes.MAX_SEED),
        _integer(made_of, "index", codes.MAX_INDEX),
    )


def _integer(made_of: MadeOf, name: str, most: int) -> int:
    value = made_of.get(name)
    if type(value) is not int or not 0 <= value <= most:
        raise _unlike(name, f"an integer from 0 to {most}")
    return value


def _temperature(made_of: MadeOf, name: str) -> float:
    value = made_of.get(name)
    if type(value) is not float or not 0 <= value <= codes.MAX_TEMPERATURE:
        raise _unlike(name, f"a number from 0 to {codes.MAX_TEMPERATURE:g}")
    return value


def _token(made_of: MadeOf, name: str, card: Card) -> Codes:
    token = made_of.get(name)
    if not isinstance(token, str):
        raise _unlike(name, "a code token")
    return codes.accept_token(token, card)


def _unlike(name: str, allowed: str) -> Invalid:
    return Invalid(f"{name} must be {allowed}", field=name, allowed=allowed)
