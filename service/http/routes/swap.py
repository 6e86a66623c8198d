"""POST /swap: the class of some pictures with the style of others; several make the whole matrix."""

from __future__ import annotations

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold.service.http import picture_codes, responses
from twofold.service.http.context import Connected, context_of
from twofold.service.http.openapi import picture_route
from twofold.service.http.request_body import read
from twofold.service.http.schemas import Swap
from twofold.service.runtime import latents

router = APIRouter(tags=["pictures"])

PARTS = {"class_from": "class_from", "style_from": "style_from"}


@router.post("/swap", **picture_route("swap", Swap, in_body=True, parts=PARTS))
async def swap(request: HttpRequest) -> Response:
    """The class of one, the style of the other."""
    context = context_of(request)
    media = responses.negotiate(request, responses.PICTURES)
    asked = await read(request, Swap, pictures=PARTS)
    model = responses.chosen_model(context, asked.model)
    rows, cols = len(asked.class_from), len(asked.style_from)
    responses.at_most(rows * cols, context, "class_from x style_from")
    sources = [(f"class_from.{k}", sent) for k, sent in enumerate(asked.class_from)]
    sources += [(f"style_from.{k}", sent) for k, sent in enumerate(asked.style_from)]
    with Connected(request):
        z_s, z_u, notes = await picture_codes.codes_of(context, model, sources)
        cells_s, cells_u = np.repeat(z_s[:rows], cols, axis=0), np.tile(z_u[rows:], (rows, 1))
        pixels = await responses.decode(context, model, cells_s, cells_u)
        verdicts = await picture_codes.verdicts(context, model, cells_s, pixels) if asked.verdict and media in responses.TOLD else None
    for one in verdicts or ():
        context.state.metrics.swaps.labels(str(one["kept"]).lower()).inc()
    parents = [latents.pack_token(z_s[k], z_u[k], model.card) for k in range(rows + cols)]
    recipes, entries = [], []
    for k in range(rows * cols):
        row, col = divmod(k, cols)
        recipes.append({"class_from": parents[row], "n": 1, "style_from": parents[rows + col]})
        verdict = {} if verdicts is None else {"verdict": verdicts[k]}
        entries.append({"row": row, "col": col, "code": latents.pack_token(cells_s[k], cells_u[k], model.card), **verdict})
    drawn = responses.Drawn(model, pixels, recipes, entries, "swap", rows, cols)
    extra = {"rows": rows, "cols": cols, "notes": {"class_from": notes[:rows], "style_from": notes[rows:]}}
    response = await responses.respond(context, media, drawn, asked.format, extra)
    response.headers["cache-control"] = "no-store"
    return response
