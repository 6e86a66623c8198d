"""POST /inspect: a picture to the recipe it carries; with `verify` the picture is made again and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold import __version__, image_grid
from twofold.model.contract import Pixels
from twofold.service.http import responses
from twofold.service.http.content_negotiation import ONLY_JSON, negotiate
from twofold.service.http.context import Connected, RequestContext, computed, context_of
from twofold.service.http.model_calls import ModelCall
from twofold.service.http.openapi import json_route
from twofold.service.http.request_body import picture_bytes, read
from twofold.service.http.schemas import Inspect, InspectAnswer
from twofold.service.runtime import image_headers, image_io, provenance, replay
from twofold.service.runtime.engine import PROVIDER
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.image_headers import Header
from twofold.service.runtime.operations import Operation, all_latents
from twofold.service.runtime.provenance import FoundRecipe
from twofold.service.runtime.registry import Model

router = APIRouter(tags=["pictures"])

PARTS = {"image": "image"}


@dataclass
class Verdict:
    """Whether a recipe makes its picture: None when that cannot be decided here; `notes` say why."""

    verified: bool | None = None
    max_difference: int | None = None
    notes: list[str] = field(default_factory=list)


@router.post("/inspect", **json_route("inspect", Inspect, InspectAnswer, in_body=True, parts=PARTS, raw=True))
async def inspect(request: HttpRequest) -> Response:
    """The recipe of a picture that was made here."""
    context = context_of(request)
    negotiate(request, ONLY_JSON)
    asked = await read(request, Inspect, pictures=PARTS)
    data = picture_bytes(asked.image, "image", context.state.settings)
    header, found = _found_recipe(context, data)
    call = _call_of(context, asked.model, found)
    verdict = Verdict()
    if found is None:
        verdict.notes.append("the picture carries no recipe")
    elif reason := next(filter(None, (replay.obstacle(recipe, call.model) for recipe in found.pictures)), None):
        verdict.notes.append(reason)
    elif asked.verify:
        with Connected(request):
            verdict = await _verify(call, found, data, header)
    return responses.answer_json(context, call.model, {"recipe": None if found is None else found.document, **vars(verdict)})


def _found_recipe(context: RequestContext, data: bytes) -> tuple[Header, FoundRecipe | None]:
    """The header of a picture and the recipe that it carries. Raises as `image_headers.check_picture`, and Invalid for a forged recipe."""
    with context.timed("preprocess"):
        header = image_headers.check_picture(data, context.state.settings)
        text = image_io.read_recipe(data, header, provenance.MAX_RECIPE_BYTES)
        return header, None if text is None else provenance.read(text, context.state.settings.max_items)


def _call_of(context: RequestContext, name: str | None, found: FoundRecipe | None) -> ModelCall:
    """A call of the model that was named, else the one that made the picture if it is served, else the default."""
    if name is None and found is not None:
        maker = context.state.registry.made_with(found.pictures[0].get("model_hash"))
        name = None if maker is None else maker.card.name
    return ModelCall.of(context, name)


async def _verify(call: ModelCall, found: FoundRecipe, data: bytes, header: Header) -> Verdict:
    """Make every cell of a recipe without an obstacle again, and compare. Raises Invalid above the cap on pictures, else as `decode`."""
    call.check_count(len(found.pictures), "image")
    model = call.model
    try:
        operations = [replay.operation(recipe, model) for recipe in found.pictures]
    except Invalid as error:
        return Verdict(False, None, [f"the recipe was changed: {error.detail}"])
    dims = model.card.dims
    if (header.width, header.height) != (found.cols * dims.width, found.rows * dims.height):
        return Verdict(False, None, ["the picture is not of the size that its recipe makes"])
    pixels = await call.decode(*all_latents(operations, model))
    with call.context.timed("preprocess"):
        joint = image_grid.sheet(pixels, found.cols, model.card.preprocessing.background, rows=found.rows)
        compared = _decoded_regions(operations, model, found)
        difference = await computed(not image_headers.is_small(data, header), image_io.max_difference, data, header, joint, compared)
    verdict = _verdict(difference, found.pictures[0], model)
    if not compared.all():
        verdict.notes.append("of a filled picture the hole is compared; what is around it was sent")
    return verdict


def _decoded_regions(operations: list[Operation], model: Model, found: FoundRecipe) -> Pixels:
    """Where the sheet is compared, uint8 [H,W,1]: 1 where its pixels are codes decoded, and between its cells."""
    cells = np.stack([operation.decoded_region(model.card.dims) for operation in operations])
    return image_grid.sheet(cells[..., None].astype(np.uint8), found.cols, (1,), rows=found.rows)


def _verdict(difference: int, recipe: Mapping[str, object], model: Model) -> Verdict:
    """On the CPU provider pixels are the same to the byte; another one may be off by one grey level."""
    exact = model.provider == PROVIDER == recipe.get("provider")
    notes = [] if exact else ["not on the CPU both times: one grey level is allowed"]
    if recipe.get("service") != __version__:
        notes.append("made by another version of the service")
    return Verdict(difference <= (0 if exact else 1), difference, notes)
