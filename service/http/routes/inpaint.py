"""POST /inpaint: a hole in a picture is filled; every other pixel stays as it was, to the byte."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold.model.contract import Preprocessing
from twofold.service.http import picture_codes, responses
from twofold.service.http.content_negotiation import PICTURES
from twofold.service.http.context import Connected
from twofold.service.http.model_calls import ModelCall, begin
from twofold.service.http.openapi import picture_route
from twofold.service.http.responses import Images
from twofold.service.http.schemas import Inpaint
from twofold.service.runtime import inpainting, operations
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.operations import Code

router = APIRouter(tags=["pictures"])

PARTS = {"image": "image", "mask": "mask"}


@router.post("/inpaint", **picture_route("inpaint", Inpaint, in_body=True, parts=PARTS))
async def inpaint(request: HttpRequest) -> Response:
    """Fill a hole."""
    asked, media, call = await begin(request, Inpaint, PICTURES, PARTS)
    model = call.model
    with Connected(request):
        hole, mask_notes = await _hole(call, asked)
        pixels, notes = await picture_codes.to_pixels(call, [("image", asked.image)])
        filling = inpainting.Filling(pixels, hole[None], model.mean_picture, asked.steps)
        for filled in filling:
            encoded = await call.encode(filled)
            filling.put(await call.decode(encoded.z_s, encoded.z_u_mean))
    operation = operations.Inpaint(Code(encoded.z_s[0], encoded.z_u_mean[0], model.card), hole)
    entry = {"class": responses.class_entry(model, int(encoded.class_log_prob[0].argmax())), "code": operation.code.token}
    images = Images(model, operation, filling.filled, [entry], 1, 1)
    return await responses.respond(call.context, media, images, asked.format, {"notes": {"image": notes, **mask_notes}})


async def _hole(call: ModelCall, asked: Inpaint) -> tuple[inpainting.Hole, dict[str, list[list[str]]]]:
    """The hole bool [H,W] and notes on the mask, which is preprocessed as its picture is, so that one of the same size fits it."""
    if (asked.mask is None) == (asked.box is None):
        raise Invalid("There must be exactly one of mask and box.", field="mask", allowed="mask or box")
    card = call.model.card
    if asked.mask is None:
        hole = inpainting.hole_of_box(asked.box or (), card.dims.height, card.dims.width)
        inpainting.check_hole(hole, "box")
        return hole, {}
    dims = replace(card.dims, channels=1)
    preprocessing = Preprocessing(background=(0,), filter="box", crop=card.preprocessing.crop)
    mask, notes = await picture_codes.decode_picture(call.context, "mask", asked.mask, dims, preprocessing)
    hole = inpainting.hole_of_mask(mask)
    inpainting.check_hole(hole, "mask")
    return hole, {"mask": [notes]}
