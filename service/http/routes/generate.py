"""POST and GET /generate: pictures of a class. Picture k has index `index + k`, and can be had alone."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold import image_grid
from twofold.service.http import etag, responses
from twofold.service.http.content_negotiation import ONLY_PICTURES, PICTURES
from twofold.service.http.context import Connected
from twofold.service.http.model_calls import begin
from twofold.service.http.openapi import picture_route
from twofold.service.http.responses import Images
from twofold.service.http.schemas import Generate
from twofold.service.runtime import latents, operations

router = APIRouter(tags=["pictures"])


@router.get("/generate", **picture_route("generate_get", Generate, in_query=True, accepts=ONLY_PICTURES))
@router.post("/generate", **picture_route("generate", Generate, in_query=True, in_body=True))
async def generate(request: HttpRequest) -> Response:
    """Pictures of a class."""
    asked, media, call = await begin(request, Generate, ONLY_PICTURES if request.method == "GET" else PICTURES)
    call.check_indices(asked.n, asked.index)
    label = latents.parse_class(str(asked.class_), call.model.card.class_names)
    drawn = call.use_seed(asked.seed), asked.index, asked.n
    operation = operations.Generate(label, *drawn, asked.temperature, asked.class_temperature, asked.sampler)
    caching = responses.NO_STORE if asked.seed is None else {}
    if request.method == "GET" and asked.seed is not None:
        tag = etag.entity_tag(call.context, media, call.model, operation)
        if etag.is_known(request, tag):
            return Response(status_code=304, headers=etag.headers(tag))
        caching = etag.headers(tag)
    with Connected(request):
        z_s, z_u, pixels = await call.run(operation)
    named = responses.class_entry(call.model, label)
    codes = [] if media in ONLY_PICTURES else call.tokens(z_s, z_u)
    entries = [{"class": named, "seed": operation.seed, "index": operation.index + k, "code": code} for k, code in enumerate(codes)]
    images = Images(call.model, operation, pixels, entries, *image_grid.shape_for(operation.n))
    return await responses.respond(call.context, media, images, asked.format, caching=caching)
