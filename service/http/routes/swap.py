"""POST /swap: the class of some pictures with the style of others; several make the whole matrix."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold.service.http import model_calls, picture_codes, responses
from twofold.service.http.content_negotiation import PICTURES, WITH_ENTRIES, negotiate
from twofold.service.http.context import Connected, context_of
from twofold.service.http.openapi import picture_route
from twofold.service.http.request_body import read
from twofold.service.http.responses import Entry, Images
from twofold.service.http.schemas import Swap
from twofold.service.runtime import operations

router = APIRouter(tags=["pictures"])

PARTS = {"class_from": "class_from", "style_from": "style_from"}


@router.post("/swap", **picture_route("swap", Swap, in_body=True, parts=PARTS))
async def swap(request: HttpRequest) -> Response:
    """The class of one, the style of the other."""
    context = context_of(request)
    media = negotiate(request, PICTURES)
    asked = await read(request, Swap, pictures=PARTS)
    model = model_calls.chosen_model(context, asked.model)
    rows, cols = len(asked.class_from), len(asked.style_from)
    model_calls.check_count(rows * cols, context, "class_from x style_from")
    sources = [(f"class_from.{k}", sent) for k, sent in enumerate(asked.class_from)]
    sources += [(f"style_from.{k}", sent) for k, sent in enumerate(asked.style_from)]
    with Connected(request):
        codes, notes = await picture_codes.codes_of(context, model, sources)
        operation = operations.Swap(tuple(codes[:rows]), tuple(codes[rows:]))
        z_s, z_u, pixels = await model_calls.run(context, model, operation)
        verdicts = await model_calls.verdicts(context, model, z_s, pixels) if asked.verdict and media in WITH_ENTRIES else None
    for verdict in verdicts or ():
        context.state.metrics.swaps.labels(str(verdict["kept"]).lower()).inc()
    tokens = model_calls.tokens(model, z_s, z_u)
    entries: list[Entry] = [{"row": k // cols, "col": k % cols, "code": code} for k, code in enumerate(tokens)]
    responses.add_verdicts(entries, verdicts)
    extra = {"rows": rows, "cols": cols, "notes": {"class_from": notes[:rows], "style_from": notes[rows:]}}
    images = Images(model, operation, pixels, entries, rows, cols)
    response = await responses.respond(context, media, images, asked.format, extra)
    response.headers["cache-control"] = "no-store"
    return response
