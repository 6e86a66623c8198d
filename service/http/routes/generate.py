"""POST and GET /generate: pictures of a class. Picture k has index `index + k`, and can be had alone."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold import image_grid
from twofold.service.http import etag, model_calls, responses
from twofold.service.http.content_negotiation import ONLY_PICTURES, PICTURES, negotiate
from twofold.service.http.context import Connected, RequestContext, context_of
from twofold.service.http.openapi import picture_route
from twofold.service.http.request_body import read
from twofold.service.http.responses import Images
from twofold.service.http.schemas import Generate
from twofold.service.runtime import latents, operations
from twofold.service.runtime.registry import Model

router = APIRouter(tags=["pictures"])


@router.get("/generate", **picture_route("generate_get", Generate, in_query=True, accepts=ONLY_PICTURES))
@router.post("/generate", **picture_route("generate", Generate, in_query=True, in_body=True))
async def generate(request: HttpRequest) -> Response:
    """Pictures of a class."""
    context = context_of(request)
    media = negotiate(request, ONLY_PICTURES if request.method == "GET" else PICTURES)
    asked = await read(request, Generate)
    model = model_calls.chosen_model(context, asked.model)
    operation = _operation(context, model, asked)
    tag = etag.entity_tag(context, media, model, operation) if request.method == "GET" and asked.seed is not None else None
    if tag is not None and etag.is_known(request, tag):
        return etag.not_modified(tag)
    with Connected(request):
        z_s, z_u, pixels = await model_calls.run(context, model, operation)
    named = responses.class_entry(model, operation.label)
    codes = [] if media in ONLY_PICTURES else model_calls.tokens(model, z_s, z_u)
    entries = [{"class": named, "seed": operation.seed, "index": operation.index + k, "code": code} for k, code in enumerate(codes)]
    images = Images(model, operation, pixels, entries, *image_grid.shape_for(operation.n))
    response = await responses.respond(context, media, images, asked.format)
    if tag is not None:
        response.headers.update(etag.headers(tag))
    elif asked.seed is None:
        response.headers["cache-control"] = "no-store"
    return response


def _operation(context: RequestContext, model: Model, asked: Generate) -> operations.Generate:
    """Raises Invalid above a cap, and for a class that the model does not have."""
    model_calls.check_indices(asked.n, asked.index, context)
    label = latents.parse_class(str(asked.class_), model.card.class_names)
    seed = model_calls.use_seed(context, asked.seed)
    return operations.Generate(label, seed, asked.index, asked.n, asked.temperature, asked.class_temperature, asked.sampler)
