"""A recipe back to the codes that its picture decodes: one pure function per kind of picture.

A recipe comes from anyone, so every part is checked for its type and its bounds as a request is. It does not know how a picture
carries a recipe, nor how codes become pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from twofold.model.contract import Card, Directions
from twofold.service.runtime import inpainting, latents
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.inpainting import Hole
from twofold.service.runtime.latents import Pair
from twofold.service.runtime.provenance import MadeOf
from twofold.service.runtime.registry import Model

Choice = TypeVar("Choice", bound=str)
_HASH = re.compile(r"[0-9a-f]{64}")


def to_codes(made_of: MadeOf, model: Model) -> Pair:
    """The codes that a recipe of this model decodes. Pure. Raises Invalid when a part is missing or out of its bounds.

    `obstacle` must have found none.
    """
    return REPLAY[made_of["do"]](made_of, model)


def obstacle(made_of: MadeOf, model: Model) -> str | None:
    """Why this model cannot make the picture again; None where it can, or where the recipe is none."""
    made_by = made_of.get("model_hash")
    if made_by != model.card.model_hash:
        named = made_by[:8] if isinstance(made_by, str) and _HASH.fullmatch(made_by) else "unknown"
        return f"the picture was made by model {named}, and this is model {model.card.model_hash[:8]}"
    do = made_of.get("do")
    if not isinstance(do, str) or do not in REPLAY:
        return "pictures of this kind cannot be made again from their recipe alone"
    if "directions" in made_of and made_of.get("directions_hash") != _directions_hash(model):
        return "the picture was moved along directions of style that this bundle does not have"
    return None


def drawn_part(made_of: MadeOf, model: Model) -> Hole:
    """Where the picture is its codes decoded [H,W]: everywhere, but for a filled one in its hole alone. Raises Invalid."""
    dims = model.card.dims
    if made_of["do"] != "inpaint":
        return np.ones((dims.height, dims.width), np.bool_)
    hole = made_of.get("hole")
    if not isinstance(hole, str):
        raise _unlike("hole", "a text")
    return inpainting.unpack_hole(hole, dims.height, dims.width)


def _generate(made_of: MadeOf, model: Model) -> Pair:
    label, seed, index = _drawn(made_of, model.card)
    sampler = _one_of(made_of, "sampler", latents.SAMPLERS)
    z_s = latents.sample_z_s(model.prior, label, seed, index, _temperature(made_of, "class_temperature"), sampler)
    return z_s, latents.sample_z_u(model.prior, seed, index, _temperature(made_of, "temperature"), sampler)


def _decode(made_of: MadeOf, model: Model) -> Pair:
    if "code" in made_of:
        return _token(made_of, "code", model.card)
    label, seed, index = _drawn(made_of, model.card)
    return latents.sample_z_s(model.prior, label, seed, index), latents.sample_z_u(model.prior, seed, index)


def _swap(made_of: MadeOf, model: Model) -> Pair:
    return _token(made_of, "class_from", model.card)[0], _token(made_of, "style_from", model.card)[1]


def _interpolate(made_of: MadeOf, model: Model) -> Pair:
    start, end = _token(made_of, "from", model.card), _token(made_of, "to", model.card)
    return latents.between(start, end, _number(made_of, "t", 0, 1), _one_of(made_of, "path", latents.PATHS))


def _edit(made_of: MadeOf, model: Model) -> Pair:
    z_s, z_u = _token(made_of, "code", model.card)
    if "class" in made_of:
        label = _integer(made_of, "class", model.card.dims.classes - 1)
        z_s = latents.toward_class(model.prior, z_s, label, _number(made_of, "strength", 0, 1))
    if "style_spread" in made_of:
        spread, temperature = _number(made_of, "style_spread", 0, 1), _temperature(made_of, "temperature")
        seed, index = _integer(made_of, "seed", latents.MAX_SEED), _integer(made_of, "index", latents.MAX_INDEX)
        z_u = latents.other_style(model.prior, z_u, spread, seed, index, temperature)
    if "directions" in made_of and model.directions is not None:
        z_u = latents.steer(z_u, model.directions.directions, _weights(made_of["directions"], model.directions))
    return z_s, z_u


def _inpaint(made_of: MadeOf, model: Model) -> Pair:
    return _token(made_of, "code", model.card)


# A new kind of picture that is, or in some part is, its codes decoded takes a line here; `do` is the name its route gave it.
REPLAY: Mapping[str, Callable[[MadeOf, Model], Pair]] = {
    "generate": _generate,
    "decode": _decode,
    "swap": _swap,
    "interpolate": _interpolate,
    "edit": _edit,
    "inpaint": _inpaint,
}


def _drawn(made_of: MadeOf, card: Card) -> tuple[int, int, int]:
    """Class index, seed and index."""
    return (
        _integer(made_of, "class", card.dims.classes - 1),
        _integer(made_of, "seed", latents.MAX_SEED),
        _integer(made_of, "index", latents.MAX_INDEX),
    )


def _integer(made_of: MadeOf, name: str, most: int) -> int:
    value = made_of.get(name)
    if type(value) is not int or not 0 <= value <= most:
        raise _unlike(name, f"an integer from 0 to {most}")
    return value


def _number(made_of: MadeOf, name: str, least: float, most: float) -> float:
    value = made_of.get(name)
    if type(value) is not float or not least <= value <= most:
        raise _unlike(name, f"a number from {least:g} to {most:g}")
    return value


def _temperature(made_of: MadeOf, name: str) -> float:
    return _number(made_of, name, 0, latents.MAX_TEMPERATURE)


def _one_of(made_of: MadeOf, name: str, allowed: Sequence[Choice]) -> Choice:
    value = made_of.get(name)
    if value not in allowed:
        raise _unlike(name, " or ".join(allowed))
    return allowed[allowed.index(value)]


def _weights(told: object, directions: Directions) -> dict[int, float]:
    """Weights by the row of a direction."""
    if not isinstance(told, dict):
        raise _unlike("directions", "an object of weights")
    weights = {name: _number(told, name, -latents.MAX_DIRECTION_WEIGHT, latents.MAX_DIRECTION_WEIGHT) for name in told}
    return latents.direction_rows(weights, len(directions.effects))


def _directions_hash(model: Model) -> str | None:
    return None if model.directions is None else latents.directions_hash(model.directions.directions)


def _token(made_of: MadeOf, name: str, card: Card) -> Pair:
    token = made_of.get(name)
    if not isinstance(token, str):
        raise _unlike(name, "a code token")
    return latents.accept_token(token, card)


def _unlike(name: str, allowed: str) -> Invalid:
    return Invalid(f"{name} must be {allowed}", field=name, allowed=allowed)
