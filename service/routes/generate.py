"""POST and GET /generate: pictures of a class. Picture k has index `index + k`, and can be had alone."""

from __future__ import annotations

import secrets

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from service import codes
from service.errors import Invalid
from service.middleware import Connected, visit_of
from service.routes import answering
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
    indices = range(asked.index, asked.index + asked.n)
    z_s = np.stack([codes.sample_z_s(model.prior, label, seed, k, asked.class_temperature, asked.sampler) for k in indices])
    z_u = np.stack([codes.sample_z_u(model.prior, seed, k, asked.temperature, asked.sampler) for k in indices])
    with Connected(request):
        pixels = await answering.decode(visit, model, z_s, z_u)
    shared = {
        "class": label,
        "class_temperature": asked.class_temperature,
        "n": 1,
        "sampler": asked.sampler,
        "seed": seed,
        "temperature": asked.temperature,
    }
    recipes = [{**shared, "index": k} for k in indices]
    entries = (
        []
        if media in answering.ONLY_PICTURES
        else [
            {"class": answering.class_entry(model, label), "seed": seed, "index": k, "code": codes.pack_token(z_s[i], z_u[i], model.card)}
            for i, k in enumerate(indices)
        ]
    )
    drawn = answering.Drawn(model, pixels, recipes, entries, "generate", *answering.grid(asked.n))
    response = await answering.respond(visit, media, drawn, asked.format)
    if asked.seed is None:
        response.headers["cache-control"] = "no-store"
    return response
