"""POST /edit: a picture with another class in the same style, in other styles of its class, or moved along directions of style."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold import image_grid
from twofold.service.http import picture_codes, responses
from twofold.service.http.content_negotiation import PICTURES, WITH_ENTRIES
from twofold.service.http.context import Connected
from twofold.service.http.model_calls import begin
from twofold.service.http.openapi import picture_route
from twofold.service.http.responses import Entry, Images
from twofold.service.http.schemas import Edit
from twofold.service.runtime import latents, operations
from twofold.service.runtime.operations import Steering

router = APIRouter(tags=["pictures"])

PARTS = {"image": "image"}


@router.post("/edit", **picture_route("edit", Edit, in_body=True, parts=PARTS, raw=True))
async def edit(request: HttpRequest) -> Response:
    """The same picture with another class, or in other styles."""
    asked, media, call = await begin(request, Edit, PICTURES, PARTS)
    model = call.model
    call.check_indices(asked.n, asked.index)
    label = None if asked.class_ is None else latents.parse_class(str(asked.class_), model.card.class_names)
    steering = None if asked.directions is None else Steering.of(asked.directions, model)
    seed = call.use_seed(asked.seed) if asked.style_spread else None
    with Connected(request):
        (code,), notes = await picture_codes.codes_of(call, [("image", asked.image)])
        moved = (label, asked.strength, steering)
        operation = operations.Edit(code, *moved, asked.n, seed, asked.index, asked.style_spread, asked.temperature)
        z_s, z_u, pixels = await call.run(operation)
        verdicts = await call.verdicts(z_s, pixels) if asked.verdict and media in WITH_ENTRIES else []
    entry: Entry = {"class": responses.class_entry(model, int(latents.class_log_joint(model.prior, z_s[:1]).argmax()))}
    entries = [entry | operation.draw(k) | {"code": code} for k, code in enumerate(call.tokens(z_s, z_u))]
    for entry, verdict in zip(entries, verdicts, strict=False):  # all have one, or none
        entry["verdict"] = verdict
    images = Images(model, operation, pixels, entries, *image_grid.shape_for(asked.n))
    return await responses.respond(call.context, media, images, asked.format, {"notes": {"image": notes}})
