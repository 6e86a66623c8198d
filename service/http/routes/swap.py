"""POST /swap: the class of some pictures with the style of others; several make the whole matrix."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold.service.http import picture_codes, responses
from twofold.service.http.content_negotiation import PICTURES, WITH_ENTRIES
from twofold.service.http.context import Connected
from twofold.service.http.model_calls import begin
from twofold.service.http.openapi import picture_route
from twofold.service.http.responses import Entry, Images
from twofold.service.http.schemas import Swap
from twofold.service.runtime import operations

router = APIRouter(tags=["pictures"])

PARTS = {"class_from": "class_from", "style_from": "style_from"}


@router.post("/swap", **picture_route("swap", Swap, in_body=True, parts=PARTS))
async def swap(request: HttpRequest) -> Response:
    """The class of one, the style of the other."""
    asked, media, call = await begin(request, Swap, PICTURES, PARTS)
    rows, cols = len(asked.class_from), len(asked.style_from)
    call.check_count(rows * cols, "class_from x style_from")
    sources = [(f"class_from.{k}", sent) for k, sent in enumerate(asked.class_from)]
    sources += [(f"style_from.{k}", sent) for k, sent in enumerate(asked.style_from)]
    with Connected(request):
        codes, notes = await picture_codes.codes_of(call, sources)
        operation = operations.Swap(tuple(codes[:rows]), tuple(codes[rows:]))
        z_s, z_u, pixels = await call.run(operation)
        verdicts = await call.verdicts(z_s, pixels) if asked.verdict and media in WITH_ENTRIES else []
    entries: list[Entry] = [{"row": k // cols, "col": k % cols, "code": code} for k, code in enumerate(call.tokens(z_s, z_u))]
    for entry, verdict in zip(entries, verdicts, strict=False):  # all have one, or none
        entry["verdict"] = verdict
        call.context.state.metrics.swaps.labels(str(verdict["kept"]).lower()).inc()
    extra = {"rows": rows, "cols": cols, "notes": {"class_from": notes[:rows], "style_from": notes[rows:]}}
    images = Images(call.model, operation, pixels, entries, rows, cols)
    return await responses.respond(call.context, media, images, asked.format, extra)
