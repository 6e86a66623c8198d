"""POST /interpolate: frames on the way from picture to picture, class to class, style to style; as a row, an animation or JSON."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold.service.http import picture_codes, responses
from twofold.service.http.context import Connected, RequestContext, context_of
from twofold.service.http.openapi import picture_route
from twofold.service.http.request_body import read
from twofold.service.http.schemas import Interpolate, Key
from twofold.service.runtime import image_io, latents
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.registry import Model

router = APIRouter(tags=["pictures"])

PARTS = {"key": "keys"}
ANIMATIONS = (image_io.WEBP, image_io.GIF)
OFFERED = (*responses.PICTURES, image_io.GIF)


@router.post("/interpolate", **picture_route("interpolate", Interpolate, in_body=True, parts=PARTS, accepts=OFFERED))
async def interpolate(request: HttpRequest) -> Response:
    """From one to another in small steps."""
    context = context_of(request)
    media = responses.negotiate(request, OFFERED)
    asked = await read(request, Interpolate, pictures=PARTS)
    if asked.animate:
        media = responses.negotiate(request, ANIMATIONS)
    model = responses.chosen_model(context, asked.model)
    responses.at_most(asked.frames, context, "frames")
    with Connected(request):
        keys, notes = await _keys(context, model, asked)
        held = latents.hold(keys, asked.vary)
        places = latents.frame_places(len(held), asked.frames)
        frames = [latents.between(held[low], held[high], t, asked.path) for low, high, t in places]
        pixels = await responses.decode(context, model, np.stack([z_s for z_s, _ in frames]), np.stack([z_u for _, z_u in frames]))
        again = await picture_codes.encode(context, model, pixels) if asked.verdict and media in responses.TOLD else None
    tokens = [latents.pack_token(*key, model.card) for key in held]
    recipes = [{"from": tokens[low], "n": 1, "path": asked.path, "t": t, "to": tokens[high]} for low, high, t in places]
    entries: list[dict[str, Any]] = []
    for k, frame in enumerate(frames):
        probs = {} if again is None else {"class_probs": np.exp(again.class_log_prob[k].astype(np.float64)).tolist()}
        entries.append({"frame": k, "t": k / (asked.frames - 1), "code": latents.pack_token(*frame, model.card), **probs})
    fps = asked.fps if asked.animate or media == image_io.GIF else None
    drawn = responses.Drawn(model, pixels, recipes, entries, "interpolate", 1, asked.frames, fps)
    response = await responses.respond(context, media, drawn, asked.format, {"notes": {"keys": notes}})
    response.headers["cache-control"] = "no-store"
    return response


async def _keys(context: RequestContext, model: Model, asked: Interpolate) -> tuple[list[latents.Pair], list[list[str]]]:
    """The codes of every key and what was done to it, in order. Raises Invalid, and as `coding.codes_of`."""
    pictures: dict[int, tuple[str, str | bytes]] = {}
    pairs: dict[int, latents.Pair] = {}
    notes: list[list[str]] = [[] for _ in asked.keys]
    for k, key in enumerate(asked.keys):
        if not isinstance(key, Key):
            pictures[k] = (f"keys.{k}", key)
        elif (key.code is None) == (key.class_ is None) or (key.code is not None and key.seed is not None):
            raise Invalid(f"keys.{k} needs a code alone, or a class, with or without a seed.", field=f"keys.{k}")
        elif key.code is not None:
            pairs[k] = picture_codes.from_token(key.code, model, f"keys.{k}.code")
        else:
            pairs[k] = _of_class(context, model, key, asked.seed, f"keys.{k}.class")
    encoded = await picture_codes.codes_of(context, model, list(pictures.values()))
    for k, z_s, z_u, said in zip(pictures, *encoded, strict=True):
        pairs[k], notes[k] = (z_s, z_u), said
    return [pairs[k] for k in range(len(asked.keys))], notes


def _of_class(context: RequestContext, model: Model, key: Key, seed: int | None, field: str) -> latents.Pair:
    """A class with a seed is drawn with it; without one it is the class's mean, in the style of the request's seed."""
    with picture_codes.blamed_on(field):
        label = latents.parse_class(str(key.class_), model.card.class_names)
    if key.seed is not None:
        z_s, own = latents.sample_z_s(model.prior, label, key.seed, key.index), key.seed
    else:
        if context.seed is None:
            context.seed = secrets.randbelow(2**32) if seed is None else seed
        z_s, own = latents.class_mean(model.prior, label), context.seed
    return z_s, latents.sample_z_u(model.prior, own, key.index)
