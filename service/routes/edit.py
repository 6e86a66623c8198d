"""POST /edit: a picture with another class in the same style, in other styles of its class, or moved along directions of style."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from model.contract import Floats
from service import codes, imaging
from service.bundles import Model
from service.errors import Invalid
from service.middleware import Connected, visit_of
from service.routes import answering, coding
from service.routes.documentation import picture_route
from service.routes.reading import read
from service.schemas import Edit

router = APIRouter(tags=["pictures"])

PARTS = {"image": "image"}


@router.post("/edit", **picture_route("edit", Edit, in_body=True, parts=PARTS, raw=True))
async def edit(request: HttpRequest) -> Response:
    """The same picture with another class, or in other styles."""
    visit = visit_of(request)
    media = answering.negotiate(request, answering.PICTURES)
    asked = await read(request, Edit, pictures=PARTS)
    model = answering.chosen_model(visit, asked.model)
    answering.at_most(asked.n, visit, "n")
    if asked.index + asked.n - 1 > codes.MAX_INDEX:
        raise Invalid("index + n - 1 must be at most 2^31-1.", field="index")
    label = None if asked.class_ is None else codes.parse_class(str(asked.class_), model.card.class_names)
    weights = _weights(asked, model)
    if asked.style_spread:
        visit.seed = secrets.randbelow(2**32) if asked.seed is None else asked.seed
    draws = [{} if visit.seed is None else {"index": asked.index + k, "seed": visit.seed} for k in range(asked.n)]
    with Connected(request):
        (sent_s,), (sent_u,), notes = await coding.codes_of(visit, model, [("image", asked.image)])
        z_s = np.tile(sent_s if label is None else codes.toward_class(model.prior, sent_s, label, asked.strength), (asked.n, 1))
        z_u = np.stack([_style(asked, model, sent_u, weights, draw) for draw in draws])
        pixels = await answering.decode(visit, model, z_s, z_u)
        verdicts = await coding.verdicts(visit, model, z_s, pixels) if asked.verdict and media in answering.TOLD else None
    made_of: dict[str, Any] = {"code": codes.pack_token(sent_s, sent_u, model.card), "n": 1}
    if label is not None:
        made_of |= {"class": label, "strength": asked.strength}
    if model.directions and weights:
        made_of |= {"directions": asked.directions, "directions_hash": codes.directions_hash(model.directions.directions)}
    if visit.seed is not None:
        made_of |= {"style_spread": asked.style_spread, "temperature": asked.temperature}
    found = answering.class_entry(model, int(codes.class_log_joint(model.prior, z_s[:1]).argmax()))
    entries = []
    for k, draw in enumerate(draws):
        verdict = {} if verdicts is None else {"verdict": verdicts[k]}
        entries.append({"class": found, **draw, "code": codes.pack_token(z_s[k], z_u[k], model.card), **verdict})
    drawn = answering.Drawn(model, pixels, [made_of | draw for draw in draws], entries, "edit", *imaging.grid(asked.n))
    response = await answering.respond(visit, media, drawn, asked.format, {"notes": {"image": notes}})
    response.headers["cache-control"] = "no-store"
    return response


def _weights(asked: Edit, model: Model) -> dict[int, float]:
    """Weights by the row of the model's directions. Raises Invalid for a direction that there is not."""
    if asked.directions is None:
        return {}
    if model.directions is None:
        raise Invalid("This model has no directions of style; leave directions out.", field="directions")
    return codes.direction_rows(asked.directions, len(model.directions.effects))


def _style(asked: Edit, model: Model, z_u: Floats, weights: Mapping[int, float], draw: Mapping[str, int]) -> Floats:
    """z_u [D_u] of one picture: mixed with a draw where there is one, then moved."""
    if draw:
        z_u = codes.other_style(model.prior, z_u, asked.style_spread, draw["seed"], draw["index"], asked.temperature)
    return codes.steer(z_u, model.directions.directions, weights) if model.directions and weights else z_u
