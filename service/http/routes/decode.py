"""POST /decode: codes to pictures. The class comes from a token, z_s, a class or a mixture; the style from z_u or a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold.model.contract import Floats
from twofold.service.http import picture_codes, responses
from twofold.service.http.context import Connected, context_of
from twofold.service.http.openapi import picture_route
from twofold.service.http.request_body import read
from twofold.service.http.schemas import Decode, Item
from twofold.service.runtime import image_io, latents
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.registry import Model

router = APIRouter(tags=["pictures"])


@router.post("/decode", **picture_route("decode", Decode, in_body=True))
async def decode(request: HttpRequest) -> Response:
    """Put codes together."""
    context = context_of(request)
    media = responses.negotiate(request, responses.PICTURES)
    asked = await read(request, Decode)
    model = responses.chosen_model(context, asked.model)
    responses.at_most(len(asked.items), context, "items")
    pairs = [to_codes(item, model, f"items.{k}") for k, item in enumerate(asked.items)]
    z_s, z_u = np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])
    with Connected(request):
        pixels = await responses.decode(context, model, z_s, z_u)
    tokens = [latents.pack_token(*pair, model.card) for pair in pairs]
    entries: list[dict[str, Any]] = []
    for item, token in zip(asked.items, tokens, strict=True):
        drawn_by = {} if item.seed is None else {"seed": item.seed, "index": item.index}
        entries.append({"class": _named(item, model), **drawn_by, "code": token})
    seeds = {item.seed for item in asked.items}
    context.seed = seeds.pop() if len(seeds) == 1 else None
    recipes = [_recipe(item, model, token) for item, token in zip(asked.items, tokens, strict=True)]
    drawn = responses.Drawn(model, pixels, recipes, entries, "decode", *image_io.grid(len(pairs)))
    response = await responses.respond(context, media, drawn, asked.format)
    response.headers["cache-control"] = "no-store"  # a code may stand for an uploaded picture
    return response


def to_codes(item: Item, model: Model, field: str) -> tuple[Floats, Floats]:
    """(z_s [D_s], z_u [D_u]) of one item. Raises Invalid when the parts do not make one picture."""
    if sum(source is not None for source in (item.code, item.z_s, item.class_, item.class_weights)) != 1:
        raise Invalid(f"{field} needs exactly one of code, z_s, class, class_weights.", field=field)
    if item.code is not None:
        if item.z_u is not None or item.seed is not None:
            raise Invalid(f"{field}: a code holds its style; send no z_u and no seed beside it.", field=field)
        return picture_codes.from_token(item.code, model, f"{field}.code")
    return _class_code(item, model, field), _style_code(item, model, field)


def _class_code(item: Item, model: Model, field: str) -> Floats:
    if item.z_s is not None:
        return _vector(item.z_s, model.card.dims.dim_s, f"{field}.z_s")
    names = model.card.class_names
    if item.class_ is not None:
        with picture_codes.blamed_on(f"{field}.class"):
            label = latents.parse_class(str(item.class_), names)
        return (
            latents.class_mean(model.prior, label) if item.seed is None else latents.sample_z_s(model.prior, label, item.seed, item.index)
        )
    weights: dict[int, float] = {}
    with picture_codes.blamed_on(f"{field}.class_weights"):
        for name, weight in (item.class_weights or {}).items():
            label = latents.parse_class(name, names)
            if label in weights:
                raise Invalid("The weights name a class twice; send each once.")
            weights[label] = weight
        return latents.mix_means(model.prior, weights)


def _style_code(item: Item, model: Model, field: str) -> Floats:
    if item.z_u is not None:
        return _vector(item.z_u, model.card.dims.dim_u, f"{field}.z_u")
    if item.seed is None:
        raise Invalid(f"{field} needs a style: z_u or seed.", field=field)
    return latents.sample_z_u(model.prior, item.seed, item.index)


def _vector(values: list[float], length: int, field: str) -> Floats:
    if len(values) != length:
        raise Invalid(f"{field} must hold {length} numbers.", field=field, allowed=f"{length} numbers")
    return np.asarray(values, np.float32)


def _recipe(item: Item, model: Model, token: str) -> dict[str, Any]:
    """Class, seed and index where they make the picture, else its code."""
    named = _named(item, model)
    if named is None or item.seed is None or item.z_u is not None:
        return {"code": token, "n": 1}
    return {"class": named["index"], "index": item.index, "n": 1, "seed": item.seed}


def _named(item: Item, model: Model) -> dict[str, Any] | None:
    if item.class_ is None:
        return None
    return responses.class_entry(model, latents.parse_class(str(item.class_), model.card.class_names))
