"""POST /edit: a picture with another class in the same style, in other styles of its class, or moved along directions of style."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold import image_grid
from twofold.service.http import model_calls, picture_codes, responses
from twofold.service.http.content_negotiation import PICTURES, WITH_ENTRIES, negotiate
from twofold.service.http.context import Connected, context_of
from twofold.service.http.openapi import picture_route
from twofold.service.http.request_body import read
from twofold.service.http.responses import Entry, Images
from twofold.service.http.schemas import Edit
from twofold.service.runtime import latents, operations
from twofold.service.runtime.operations import Steering
from twofold.service.runtime.registry import Model

router = APIRouter(tags=["pictures"])

PARTS = {"image": "image"}


@router.post("/edit", **picture_route("edit", Edit, in_body=True, parts=PARTS, raw=True))
async def edit(request: HttpRequest) -> Response:
    """The same picture with another class, or in other styles."""
    context = context_of(request)
    media = negotiate(request, PICTURES)
    asked = await read(request, Edit, pictures=PARTS)
    model = model_calls.chosen_model(context, asked.model)
    model_calls.check_indices(asked.n, asked.index, context)
    label = None if asked.class_ is None else latents.parse_class(str(asked.class_), model.card.class_names)
    steering = None if asked.directions is None else Steering.of(asked.directions, model)
    seed = model_calls.use_seed(context, asked.seed) if asked.style_spread else None
    with Connected(request):
        (code,), notes = await picture_codes.codes_of(context, model, [("image", asked.image)])
        moved = (label, asked.strength, steering)
        operation = operations.Edit(code, *moved, asked.n, seed, asked.index, asked.style_spread, asked.temperature)
        z_s, z_u, pixels = await model_calls.run(context, model, operation)
        verdicts = await model_calls.verdicts(context, model, z_s, pixels) if asked.verdict and media in WITH_ENTRIES else None
    entries = _entries(model, operation, int(latents.class_log_joint(model.prior, z_s[:1]).argmax()), model_calls.tokens(model, z_s, z_u))
    responses.add_verdicts(entries, verdicts)
    images = Images(model, operation, pixels, entries, *image_grid.shape_for(asked.n))
    response = await responses.respond(context, media, images, asked.format, {"notes": {"image": notes}})
    response.headers["cache-control"] = "no-store"
    return response


def _entries(model: Model, operation: operations.Edit, label: int, tokens: list[str]) -> list[Entry]:
    """Of each picture class `label`, the index and seed of its style where there is a seed, and its code."""
    named = responses.class_entry(model, label)
    if operation.seed is None:
        return [{"class": named, "code": code} for code in tokens]
    return [{"class": named, "index": operation.index + k, "seed": operation.seed, "code": code} for k, code in enumerate(tokens)]
