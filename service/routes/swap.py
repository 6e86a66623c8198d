"""POST /swap: the class of some pictures with the style of others; several make the whole matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from model.contract import Floats, Pixels
from service import codes
from service.bundles import Model
from service.middleware import Connected, Visit, visit_of
from service.routes import answering
from service.routes.decode import from_token
from service.routes.documentation import picture_route
from service.routes.reading import read
from service.schemas import Swap

router = APIRouter(tags=["pictures"])

PARTS = {"class_from": "class_from", "style_from": "style_from"}


@router.post("/swap", **picture_route("swap", Swap, in_body=True, parts=PARTS))
async def swap(request: HttpRequest) -> Response:
    """The class of one, the style of the other."""
    visit = visit_of(request)
    media = answering.negotiate(request, answering.PICTURES)
    asked = await read(request, Swap, pictures=PARTS)
    model = answering.chosen_model(visit, asked.model)
    rows, cols = len(asked.class_from), len(asked.style_from)
    answering.at_most(rows * cols, visit, "class_from x style_from")
    sources = [(f"class_from.{k}", sent) for k, sent in enumerate(asked.class_from)]
    sources += [(f"style_from.{k}", sent) for k, sent in enumerate(asked.style_from)]
    with Connected(request):
        z_s, z_u, notes = await _codes_of(visit, model, sources)
        cells_s, cells_u = np.repeat(z_s[:rows], cols, axis=0), np.tile(z_u[rows:], (rows, 1))
        pixels = await answering.decode(visit, model, cells_s, cells_u)
        told = asked.verdict and media in (answering.JSON, answering.ZIP)
        verdicts = await _verdicts(visit, model, cells_s, pixels) if told else None
    parents = [codes.pack_token(z_s[k], z_u[k], model.card) for k in range(rows + cols)]
    recipes, entries = [], []
    for k in range(rows * cols):
        row, col = divmod(k, cols)
        recipes.append({"class_from": parents[row], "n": 1, "style_from": parents[rows + col]})
        verdict = {} if verdicts is None else {"verdict": verdicts[k]}
        entries.append({"row": row, "col": col, "code": codes.pack_token(cells_s[k], cells_u[k], model.card), **verdict})
    drawn = answering.Drawn(model, pixels, recipes, entries, "swap", rows, cols)
    extra = {"rows": rows, "cols": cols, "notes": {"class_from": notes[:rows], "style_from": notes[rows:]}}
    response = await answering.respond(visit, media, drawn, asked.format, extra)
    response.headers["cache-control"] = "no-store"
    return response


async def _codes_of(visit: Visit, model: Model, sources: Sequence[tuple[str, str | bytes]]) -> tuple[Floats, Floats, list[list[str]]]:
    """z_s [n,D_s], z_u (mean) [n,D_u] and notes of pictures and tokens, in order; the pictures are encoded in one go."""
    dims = model.card.dims
    z_s, z_u = np.empty((len(sources), dims.dim_s), np.float32), np.empty((len(sources), dims.dim_u), np.float32)
    notes: list[list[str]] = [[] for _ in sources]
    pictures = []
    for k, (field, sent) in enumerate(sources):
        if isinstance(sent, str) and sent.startswith(codes.TOKEN_PREFIX):
            z_s[k], z_u[k] = from_token(sent, model, field)
        else:
            pictures.append(k)
    if pictures:
        pixels, said = await answering.to_pixels(visit, model, [sources[k] for k in pictures])
        encoded, timings = await model.encode(pixels, visit.deadline)
        answering.clocked(visit, timings)
        z_s[pictures], z_u[pictures] = encoded.z_s, encoded.z_u_mean
        for k, note in zip(pictures, said, strict=True):
            notes[k] = note
    return z_s, z_u, notes


async def _verdicts(visit: Visit, model: Model, z_s: Floats, pixels: Pixels) -> list[dict[str, Any]]:
    """The model's own encoder on the results: which class it reads, and whether that is the class of z_s."""
    encoded, timings = await model.encode(pixels, visit.deadline)
    answering.clocked(visit, timings)
    wanted = codes.class_log_joint(model.prior, z_s).argmax(1)
    found = encoded.class_log_prob.argmax(1)
    verdicts = []
    for want, got, log_prob in zip(wanted, found, encoded.class_log_prob, strict=True):
        kept = bool(want == got)
        visit.house.metrics.swaps.labels(str(kept).lower()).inc()
        verdicts.append({"class": answering.class_entry(model, int(got)) | {"prob": float(np.exp(log_prob[got]))}, "kept": kept})
    return verdicts
