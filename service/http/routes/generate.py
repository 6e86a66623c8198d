"""POST and GET /generate: pictures of a class. Picture k has index `index + k`, and can be had alone."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold.model.contract import Floats
from twofold.service.http import etag, responses
from twofold.service.http.context import Connected, context_of
from twofold.service.http.openapi import picture_route
from twofold.service.http.request_body import read
from twofold.service.http.schemas import Generate
from twofold.service.runtime import image_io, latents
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.registry import Model

router = APIRouter(tags=["pictures"])


@router.get("/generate", **picture_route("generate_get", Generate, in_query=True, accepts=responses.ONLY_PICTURES))
@router.post("/generate", **picture_route("generate", Generate, in_query=True, in_body=True))
async def generate(request: HttpRequest) -> Response:
    """Pictures of a class."""
    context = context_of(request)
    media = responses.negotiate(request, responses.ONLY_PICTURES if request.method == "GET" else responses.PICTURES)
    asked = await read(request, Generate)
    model = responses.chosen_model(context, asked.model)
    responses.at_most(asked.n, context, "n")
    if asked.index + asked.n - 1 > latents.MAX_INDEX:
        raise Invalid("index + n - 1 must be at most 2^31-1.", field="index")
    label = latents.parse_class(str(asked.class_), model.card.class_names)
    seed = context.seed = secrets.randbelow(2**32) if asked.seed is None else asked.seed
    made_of = {
        "class": label,
        "class_temperature": asked.class_temperature,
        "sampler": asked.sampler,
        "seed": seed,
        "temperature": asked.temperature,
    }
    repeatable = request.method == "GET" and asked.seed is not None
    whole = {**made_of, "index": asked.index, "n": asked.n}
    tag = etag.entity_tag(context, media, model, "generate", whole) if repeatable else None
    if tag is not None and etag.is_known(request, tag):
        return etag.not_modified(tag)
    indices = range(asked.index, asked.index + asked.n)
    z_s, z_u = _codes(asked, model, label, seed, indices)
    with Connected(request):
        pixels = await responses.decode(context, model, z_s, z_u)
    recipes = [{**made_of, "index": k, "n": 1} for k in indices]
    entries = [] if media in responses.ONLY_PICTURES else _entries(model, label, seed, indices, z_s, z_u)
    drawn = responses.Drawn(model, pixels, recipes, entries, "generate", *image_io.grid(asked.n))
    response = await responses.respond(context, media, drawn, asked.format)
    if tag is not None:
        response.headers.update(etag.headers(tag))
    elif asked.seed is None:
        response.headers["cache-control"] = "no-store"
    return response


def _codes(asked: Generate, model: Model, label: int, seed: int, indices: range) -> tuple[Floats, Floats]:
    """z_s [n,D_s], z_u [n,D_u]."""
    z_s = [latents.sample_z_s(model.prior, label, seed, k, asked.class_temperature, asked.sampler) for k in indices]
    z_u = [latents.sample_z_u(model.prior, seed, k, asked.temperature, asked.sampler) for k in indices]
    return np.stack(z_s), np.stack(z_u)


def _entries(model: Model, label: int, seed: int, indices: range, z_s: Floats, z_u: Floats) -> list[dict[str, Any]]:
    """What JSON says of each picture."""
    named = responses.class_entry(model, label)
    tokens = [latents.pack_token(*pair, model.card) for pair in zip(z_s, z_u, strict=True)]
    return [{"class": named, "seed": seed, "index": k, "code": token} for k, token in zip(indices, tokens, strict=True)]
