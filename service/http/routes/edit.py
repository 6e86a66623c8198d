"""POST /edit: a picture with another class in the same style, in other styles of its class, or moved along directions of style."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
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
from twofold.service.http.schemas import Edit
from twofold.service.runtime import image_io, latents
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.registry import Model

router = APIRouter(tags=["pictures"])

PARTS = {"image": "image"}


@router.post("/edit", **picture_route("edit", Edit, in_body=True, parts=PARTS, raw=True))
async def edit(request: HttpRequest) -> Response:
    """The same picture with another class, or in other styles."""
    context = context_of(request)
    media = responses.negotiate(request, responses.PICTURES)
    asked = await read(request, Edit, pictures=PARTS)
    model = responses.chosen_model(context, asked.model)
    responses.at_most(asked.n, context, "n")
    if asked.index + asked.n - 1 > latents.MAX_INDEX:
        raise Invalid("index + n - 1 must be at most 2^31-1.", field="index")
    label = None if asked.class_ is None else latents.parse_class(str(asked.class_), model.card.class_names)
    weights = _weights(asked, model)
    if asked.style_spread:
        context.seed = secrets.randbelow(2**32) if asked.seed is None else asked.seed
    draws = [{} if context.seed is None else {"index": asked.index + k, "seed": context.seed} for k in range(asked.n)]
    with Connected(request):
        (sent_s,), (sent_u,), notes = await picture_codes.codes_of(context, model, [("image", asked.image)])
        z_s = np.tile(sent_s if label is None else latents.toward_class(model.prior, sent_s, label, asked.strength), (asked.n, 1))
        z_u = np.stack([_style(asked, model, sent_u, weights, draw) for draw in draws])
        pixels = await responses.decode(context, model, z_s, z_u)
        verdicts = await picture_codes.verdicts(context, model, z_s, pixels) if asked.verdict and media in responses.TOLD else None
    made_of: dict[str, Any] = {"code": latents.pack_token(sent_s, sent_u, model.card), "n": 1}
    if label is not None:
        made_of |= {"class": label, "strength": asked.strength}
    if model.directions and weights:
        made_of |= {"directions": asked.directions, "directions_hash": latents.directions_hash(model.directions.directions)}
    if context.seed is not None:
        made_of |= {"style_spread": asked.style_spread, "temperature": asked.temperature}
    found = responses.class_entry(model, int(latents.class_log_joint(model.prior, z_s[:1]).argmax()))
    entries = []
    for k, draw in enumerate(draws):
        verdict = {} if verdicts is None else {"verdict": verdicts[k]}
        entries.append({"class": found, **draw, "code": latents.pack_token(z_s[k], z_u[k], model.card), **verdict})
    drawn = responses.Drawn(model, pixels, [made_of | draw for draw in draws], entries, "edit", *image_io.grid(asked.n))
    response = await responses.respond(context, media, drawn, asked.format, {"notes": {"image": notes}})
    response.headers["cache-control"] = "no-store"
    return response


def _weights(asked: Edit, model: Model) -> dict[int, float]:
    """Weights by the row of the model's directions. Raises Invalid for a direction that there is not."""
    if asked.directions is None:
        return {}
    if model.directions is None:
        raise Invalid("This model has no directions of style; leave directions out.", field="directions")
    return latents.direction_rows(asked.directions, len(model.directions.effects))


def _style(asked: Edit, model: Model, z_u: Floats, weights: Mapping[int, float], draw: Mapping[str, int]) -> Floats:
    """z_u [D_u] of one picture: mixed with a draw where there is one, then moved."""
    if draw:
        z_u = latents.other_style(model.prior, z_u, asked.style_spread, draw["seed"], draw["index"], asked.temperature)
    return latents.steer(z_u, model.directions.directions, weights) if model.directions and weights else z_u
