"""POST /interpolate: frames on the way from picture to picture, class to class, style to style; as a row, an animation or JSON."""

from __future__ import annotations

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold.service.http import picture_codes, responses
from twofold.service.http.content_negotiation import PICTURES, WITH_ENTRIES, negotiate
from twofold.service.http.context import Connected, context_of
from twofold.service.http.model_calls import ModelCall, classifier_entry
from twofold.service.http.openapi import picture_route
from twofold.service.http.request_body import read
from twofold.service.http.responses import Entry, Images
from twofold.service.http.schemas import Interpolate, Key
from twofold.service.runtime import image_io, latents, operations
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.operations import Code, located

router = APIRouter(tags=["pictures"])

PARTS = {"key": "keys"}
ANIMATIONS = (image_io.WEBP, image_io.GIF)
OFFERED = (*PICTURES, image_io.GIF)


@router.post("/interpolate", **picture_route("interpolate", Interpolate, in_body=True, parts=PARTS, accepts=OFFERED))
async def interpolate(request: HttpRequest) -> Response:
    """From one to another in small steps."""
    media = negotiate(request, OFFERED)
    asked = await read(request, Interpolate, pictures=PARTS)
    if asked.animate:
        media = negotiate(request, ANIMATIONS)
    call = ModelCall.of(context_of(request), asked.model)
    call.check_count(asked.frames, "frames")
    with Connected(request):
        keys, notes = await _keys(call, asked)
        operation = operations.Interpolate.evenly(keys, asked.frames, asked.vary, asked.path)
        z_s, z_u, pixels = await call.run(operation)
        log_probs = await call.classify(pixels) if asked.verdict and media in WITH_ENTRIES else None
    entries: list[Entry] = [{"frame": k, "t": k / (asked.frames - 1), "code": code} for k, code in enumerate(call.tokens(z_s, z_u))]
    if log_probs is not None:
        by = classifier_entry(call.model, "class_probs_by")
        for entry, log_prob in zip(entries, log_probs, strict=True):
            entry.update({"class_probs": np.exp(log_prob.astype(np.float64)).tolist(), **by})
    fps = asked.fps if asked.animate or media == image_io.GIF else None
    images = Images(call.model, operation, pixels, entries, 1, asked.frames, fps)
    return await responses.respond(call.context, media, images, asked.format, {"notes": {"keys": notes}})


async def _keys(call: ModelCall, asked: Interpolate) -> tuple[list[Code], list[list[str]]]:
    """The codes of every key and what was done to it, in order. Raises Invalid, and as `picture_codes.codes_of`."""
    pictures = {k: (f"keys.{k}", key) for k, key in enumerate(asked.keys) if not isinstance(key, Key)}
    codes = {k: _of_key(call, key, asked.seed, f"keys.{k}") for k, key in enumerate(asked.keys) if isinstance(key, Key)}
    encoded, found = await picture_codes.codes_of(call, list(pictures.values()))
    codes |= dict(zip(pictures, encoded, strict=True))
    notes = dict(zip(pictures, found, strict=True))
    return [codes[k] for k in range(len(asked.keys))], [notes.get(k, []) for k in range(len(asked.keys))]


def _of_key(call: ModelCall, key: Key, seed: int | None, field: str) -> Code:
    """A token's codes. A class with a seed is drawn with it; without one it is the class mean, in the style of the request's seed."""
    if (key.code is None) == (key.class_ is None) or (key.code is not None and key.seed is not None):
        raise Invalid(f"{field} needs a code alone, or a class, with or without a seed.", field=field)
    model = call.model
    if key.code is not None:
        with located(f"{field}.code"):
            return Code.of_token(key.code, model.card)
    with located(f"{field}.class"):
        label = latents.parse_class(str(key.class_), model.card.class_names)
    if key.seed is not None:
        return Code(*operations.Draw(label, key.seed, key.index).pair(model), model.card)
    style_seed = call.use_seed(seed) if call.context.seed is None else call.context.seed
    return Code(latents.class_mean(model.prior, label), latents.sample_z_u(model.prior, style_seed, key.index), model.card)
