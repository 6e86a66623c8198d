"""POST /inpaint: a hole in a picture is filled; every other pixel stays as it was, to the byte."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold.model.contract import Dims, Preprocessing
from twofold.service.http import picture_codes, responses
from twofold.service.http.context import Connected, RequestContext, context_of
from twofold.service.http.openapi import picture_route
from twofold.service.http.request_body import read
from twofold.service.http.schemas import Inpaint
from twofold.service.runtime import inpainting, latents
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.registry import Model

router = APIRouter(tags=["pictures"])

PARTS = {"image": "image", "mask": "mask"}


@router.post("/inpaint", **picture_route("inpaint", Inpaint, in_body=True, parts=PARTS))
async def inpaint(request: HttpRequest) -> Response:
    """Fill a hole."""
    context = context_of(request)
    media = responses.negotiate(request, responses.PICTURES)
    asked = await read(request, Inpaint, pictures=PARTS)
    model = responses.chosen_model(context, asked.model)
    with Connected(request):
        hole, said = await _hole(context, model, asked)
        pixels, notes = await responses.to_pixels(context, model, [("image", asked.image)])
        filling = inpainting.Filling(pixels, hole[None], model.mean_picture, asked.steps)
        for filled in filling:
            encoded = await picture_codes.encode(context, model, filled)
            filling.put(await responses.decode(context, model, encoded.z_s, encoded.z_u_mean))
    code = latents.pack_token(encoded.z_s[0], encoded.z_u_mean[0], model.card)
    recipe = {"code": code, "hole": inpainting.pack_hole(hole), "n": 1}  # what is around the hole, the picture itself holds
    entry = {"class": responses.class_entry(model, int(encoded.class_log_prob[0].argmax())), "code": code}
    drawn = responses.Drawn(model, filling.filled, [recipe], [entry], "inpaint", 1, 1)
    response = await responses.respond(context, media, drawn, asked.format, {"notes": {"image": notes, **said}})
    response.headers["cache-control"] = "no-store"
    return response


async def _hole(context: RequestContext, model: Model, asked: Inpaint) -> tuple[inpainting.Hole, dict[str, list[list[str]]]]:
    """The hole [H,W] and notes on the mask. A mask goes the way of its picture, so that one as large as the picture lies on it."""
    if (asked.mask is None) == (asked.box is None):
        raise Invalid("There must be exactly one of mask and box.", field="mask", allowed="mask or box")
    card = model.card
    if asked.mask is None:
        hole, field, notes = inpainting.hole_of_box(asked.box or (), card.dims.height, card.dims.width), "box", {}
    else:
        dims = Dims(card.dims.dim_s, card.dims.dim_u, card.dims.classes, card.dims.height, card.dims.width, channels=1)
        shrunk = Preprocessing(background=(0,), filter="box", crop=card.preprocessing.crop)
        mask, said = await responses.decode_picture(context, "mask", asked.mask, dims, shrunk)
        hole, field, notes = inpainting.hole_of_mask(mask), "mask", {"mask": [said]}
    inpainting.check_hole(hole, field)
    return hole, notes
