"""POST /inspect: a picture to the recipe it carries; with `verify` the picture is made again and compared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold import __version__
from twofold.service.http import responses
from twofold.service.http.context import Connected, RequestContext, context_of
from twofold.service.http.openapi import json_route
from twofold.service.http.request_body import picture_bytes, read
from twofold.service.http.schemas import Inspect, InspectAnswer
from twofold.service.runtime import image_headers, image_io, provenance, replay
from twofold.service.runtime.engine import PROVIDER
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.image_headers import Header
from twofold.service.runtime.provenance import Recipe
from twofold.service.runtime.registry import Model

router = APIRouter(tags=["pictures"])

PARTS = {"image": "image"}


@dataclass
class Verdict:
    """Whether a recipe makes its picture: None when that cannot be told here; `notes` say why."""

    verified: bool | None = None
    max_difference: int | None = None
    notes: list[str] = field(default_factory=list)


@router.post("/inspect", **json_route("inspect", Inspect, InspectAnswer, parts=PARTS, raw=True))
async def inspect(request: HttpRequest) -> Response:
    """The recipe of a picture that was made here."""
    context = context_of(request)
    responses.negotiate(request, responses.ONLY_JSON)
    asked = await read(request, Inspect, pictures=PARTS)
    started = time.perf_counter()
    data = picture_bytes(asked.image, "image", context.state.settings)
    header = image_headers.check_picture(data, context.state.settings)
    text = image_io.read_recipe(data, header, provenance.MAX_RECIPE_BYTES)
    found = None if text is None else provenance.read(text, context.state.settings.max_items)
    context.spent("preprocess", time.perf_counter() - started)
    model = _model_of(context, asked.model, found)
    verdict = Verdict()
    if found is None:
        verdict.notes.append("the picture carries no recipe")
    elif reason := next(filter(None, (replay.obstacle(made_of, model) for made_of in found.pictures)), None):
        verdict.notes.append(reason)
    elif asked.verify:
        with Connected(request):
            verdict = await _verify(context, model, found, data, header)
    told = {"recipe": None if found is None else found.told, "verified": verdict.verified, "max_difference": verdict.max_difference}
    response = responses.answer_json(context, model, {**told, "notes": verdict.notes})
    response.headers["cache-control"] = "no-store"
    return response


def _model_of(context: RequestContext, name: str | None, found: Recipe | None) -> Model:
    """The model that was named, else the one that made the picture if it is served, else the default."""
    if name is None and found is not None:
        maker = context.state.registry.made_with(found.pictures[0].get("model_hash"))
        name = None if maker is None else maker.card.name
    return responses.chosen_model(context, name)


async def _verify(context: RequestContext, model: Model, found: Recipe, data: bytes, header: Header) -> Verdict:
    """Make every cell again of a recipe without an obstacle, and compare. Raises Invalid above the cap on pictures, else as `decode`."""
    responses.at_most(len(found.pictures), context, "image")
    try:
        pairs = [replay.to_codes(made_of, model) for made_of in found.pictures]
        drawn = np.stack([replay.drawn_part(made_of, model) for made_of in found.pictures])
    except Invalid as error:
        return Verdict(False, None, [f"the recipe was changed: {error.detail}"])
    dims = model.card.dims
    if (header.width, header.height) != (found.cols * dims.width, found.rows * dims.height):
        return Verdict(False, None, ["the picture is not of the size that its recipe makes"])
    pixels = await responses.decode(context, model, np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs]))
    started = time.perf_counter()
    joint = image_io.sheet(pixels, found.rows, found.cols, model.card.preprocessing.background)
    compared = image_io.sheet(drawn[..., None].astype(np.uint8), found.rows, found.cols, (1,))
    job = (data, header, joint, compared)
    small = image_headers.is_small(data, header)
    difference = image_io.max_difference(*job) if small else await asyncio.to_thread(image_io.max_difference, *job)
    context.spent("preprocess", time.perf_counter() - started)
    verdict = _judged(difference, found.pictures[0], model)
    if not compared.all():
        verdict.notes.append("of a filled picture the hole is compared; what is around it was sent")
    return verdict


def _judged(difference: int, made_of: Mapping[str, Any], model: Model) -> Verdict:
    """On the CPU provider pixels are the same to the byte; another one may be off by one grey level."""
    exact = model.provider == PROVIDER == made_of.get("provider")
    notes = [] if exact else ["not on the CPU both times: one grey level is allowed"]
    if made_of.get("service") != __version__:
        notes.append("made by another version of the service")
    return Verdict(difference <= (0 if exact else 1), difference, notes)
