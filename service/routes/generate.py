"""POST and GET /generate: pictures of a class. Picture k has index `index + k`, and can be had alone."""

from __future__ import annotations

import secrets
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
from service.routes import answering, caching
from service.routes.documentation import picture_route
from service.routes.reading import read
from service.schemas import Generate

router = APIRouter(tags=["pictures"])


@router.get("/generate", **picture_route("generate_get", Generate, in_query=True, accepts=answering.ONLY_PICTURES))
@router.post("/generate", **picture_route("generate", Generate, in_query=True, in_body=True))
async def generate(request: HttpRequest) -> Response:
    """Pictures of a class."""
    visit = visit_of(request)
    media = answering.negotiate(request, answering.ONLY_PICTURES if request.method == "GET" else answering.PICTURES)
    asked = await read(request, Generate)
    model = answering.chosen_model(visit, asked.model)
    answering.at_most(asked.n, visit, "n")
    if asked.index + asked.n - 1 > codes.MAX_INDEX:
        raise Invalid("index + n - 1 must be at most 2^31-1.", field="index")
    label = codes.parse_class(str(asked.class_), model.card.class_names)
    seed = visit.seed = secrets.randbelow(2**32) if asked.seed is None else asked.seed
    made_of = {
        "class": label,
        "class_temperature": asked.class_temperature,
        "sampler": asked.sampler,
        "seed": seed,
        "temperature": asked.temperature,
    }
    repeatable = request.method == "GET" and asked.seed is not None
    whole = {**made_of, "index": asked.index, "n": asked.n}
    tag = caching.entity_tag(visit, media, model, "generate", whole) if repeatable else None
    if tag is not None and caching.is_known(request, tag):
        return caching.not_modified(tag)
    indices = range(asked.index, asked.index + asked.n)
    z_s, z_u = _codes(asked, model, label, seed, indices)
    with Connected(request):
        pixels = await answering.decode(visit, model, z_s, z_u)
    recipes = [{**made_of, "index": k, "n": 1} for k in indices]
    entries = [] if media in answering.ONLY_PICTURES else _entries(model, label, seed, indices, z_s, z_u)
    drawn = answering.Drawn(model, pixels, recipes, entries, "generate", *imaging.grid(asked.n))
    response = await answering.respond(visit, media, drawn, asked.format)
    if tag is not None:
        response.headers.update(caching.headers(tag))
    elif asked.seed is None:
        response.headers["cache-control"] = "no-store"
    return response


def _codes(asked: Generate, model: Model, label: int, seed: int, indices: range) -> tuple[Floats, Floats]:
    """z_s [n,D_s], z_u [n,D_u]."""
    z_s = [codes.sample_z_s(model.prior, label, seed, k, asked.class_temperature, asked.sampler) for k in indices]
    z_u = [codes.sample_z_u(model.prior, seed, k, asked.temperature, asked.sampler) for k in indices]
    return np.stack(z_s), np.stack(z_u)


def _entries(model: Model, label: int, seed: int, indices: range, z_s: Floats, z_u: Floats) -> list[dict[str, Any]]:
    """What JSON says of each picture."""
    named = answering.class_entry(model, label)
    tokens = [codes.pack_token(*pair, model.card) for pair in zip(z_s, z_u, strict=True)]
    return [{"class": named, "seed": seed, "index": k, "code": token} for k, token in zip(indices, tokens, strict=True)]
