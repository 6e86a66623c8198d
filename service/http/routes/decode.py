"""POST /decode: codes to pictures. The class comes from a token, z_s, a class or a mixture; the style from z_u or a seed."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold import image_grid
from twofold.service.http import responses
from twofold.service.http.content_negotiation import PICTURES
from twofold.service.http.context import Connected
from twofold.service.http.model_calls import begin
from twofold.service.http.openapi import picture_route
from twofold.service.http.responses import Entry, Images
from twofold.service.http.schemas import Decode
from twofold.service.runtime import operations
from twofold.service.runtime.registry import Model

router = APIRouter(tags=["pictures"])


@router.post("/decode", **picture_route("decode", Decode, in_body=True))
async def decode(request: HttpRequest) -> Response:
    """Put codes together."""
    asked, media, call = await begin(request, Decode, PICTURES)
    call.check_count(len(asked.items), "items")
    items = [operations.Item(**dict(item)) for item in asked.items]
    operation = operations.Decode.of_items(items, call.model)
    with Connected(request):
        z_s, z_u, pixels = await call.run(operation)
    seeds = {item.seed for item in items}
    call.context.seed = seeds.pop() if len(seeds) == 1 else None
    entries = [_entry(item, call.model) | {"code": code} for item, code in zip(items, call.tokens(z_s, z_u), strict=True)]
    images = Images(call.model, operation, pixels, entries, *image_grid.shape_for(len(items)))
    return await responses.respond(call.context, media, images, asked.format)


def _entry(item: operations.Item, model: Model) -> Entry:
    """The class that was named, and the seed and index where there is a seed."""
    label = item.label(model.card.class_names)
    named: Entry = {"class": None if label is None else responses.class_entry(model, label)}
    return named if item.seed is None else named | {"seed": item.seed, "index": item.index}
