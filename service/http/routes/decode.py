"""POST /decode: codes to pictures. The class comes from a token, z_s, a class or a mixture; the style from z_u or a seed."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold import image_grid
from twofold.service.http import model_calls, responses
from twofold.service.http.content_negotiation import PICTURES, negotiate
from twofold.service.http.context import Connected, context_of
from twofold.service.http.openapi import picture_route
from twofold.service.http.request_body import read
from twofold.service.http.responses import Entry, Images
from twofold.service.http.schemas import Decode
from twofold.service.runtime import operations
from twofold.service.runtime.registry import Model

router = APIRouter(tags=["pictures"])


@router.post("/decode", **picture_route("decode", Decode, in_body=True))
async def decode(request: HttpRequest) -> Response:
    """Put codes together."""
    context = context_of(request)
    media = negotiate(request, PICTURES)
    asked = await read(request, Decode)
    model = model_calls.chosen_model(context, asked.model)
    model_calls.check_count(len(asked.items), context, "items")
    items = [operations.Item(**dict(item)) for item in asked.items]
    operation = operations.Decode.of_items(items, model)
    with Connected(request):
        z_s, z_u, pixels = await model_calls.run(context, model, operation)
    seeds = {item.seed for item in items}
    context.seed = seeds.pop() if len(seeds) == 1 else None
    entries = [_entry(item, model) | {"code": code} for item, code in zip(items, model_calls.tokens(model, z_s, z_u), strict=True)]
    images = Images(model, operation, pixels, entries, *image_grid.shape_for(len(items)))
    response = await responses.respond(context, media, images, asked.format)
    response.headers["cache-control"] = "no-store"  # a code may stand for an uploaded picture
    return response


def _entry(item: operations.Item, model: Model) -> Entry:
    """The class that was named, and the seed and index where there is a seed."""
    label = item.label(model.card.class_names)
    named: Entry = {"class": None if label is None else responses.class_entry(model, label)}
    return named if item.seed is None else named | {"seed": item.seed, "index": item.index}
