"""POST /interpolate: frames on the way from picture to picture, class to class, style to style; as a row, an animation or JSON."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from service import codes, imaging
from service.bundles import Model
from service.errors import Invalid
from service.middleware import Connected, Visit, visit_of
from service.routes import answering, coding
from service.routes.documentation import picture_route
from service.routes.reading import read
from service.schemas import Interpolate, Key

router = APIRouter(tags=["pictures"])

PARTS = {"key": "keys"}
ANIMATIONS = (imaging.WEBP, imaging.GIF)
OFFERED = (*answering.PICTURES, imaging.GIF)


@router.post("/interpolate", **picture_route("interpolate", Interpolate, in_body=True, parts=PARTS, accepts=OFFERED))
async def interpolate(request: HttpRequest) -> Response:
    """From one to another in small steps."""
    visit = visit_of(request)
    media = answering.negotiate(request, OFFERED)
    asked = await read(request, Interpolate, pictures=PARTS)
    if asked.animate:
        media = answering.negotiate(request, ANIMATIONS)
    model = answering.chosen_model(visit, asked.model)
    answering.at_most(asked.frames, visit, "frames")
    with Connected(request):
        keys, notes = await _keys(visit, model, asked)
        held = codes.hold(keys, asked.vary)
        places = codes.frame_places(len(held), asked.frames)
        frames = [codes.between(held[low], held[high], t, asked.path) for low, high, t in places]
        pixels = await answering.decode(visit, model, np.stack([z_s for z_s, _ in frames]), np.stack([z_u for _, z_u in frames]))
        again = await coding.encode(visit, model, pixels) if asked.verdict and media in answering.TOLD else None
    tokens = [codes.pack_token(*key, model.card) for key in held]
    recipes = [{"from": tokens[low], "n": 1, "path": asked.path, "t": t, "to": tokens[high]} for low, high, t in places]
    entries: list[dict[str, Any]] = []
    for k, frame in enumerate(frames):
        probs = {} if again is None else {"class_probs": np.exp(again.class_log_prob[k].astype(np.float64)).tolist()}
        entries.append({"frame": k, "t": k / (asked.frames - 1), "code": codes.pack_token(*frame, model.card), **probs})
    fps = asked.fps if asked.animate or media == imaging.GIF else None
    drawn = answering.Drawn(model, pixels, recipes, entries, "interpolate", 1, asked.frames, fps)
    response = await answering.respond(visit, media, drawn, asked.format, {"notes": {"keys": notes}})
    response.headers["cache-control"] = "no-store"
    return response


async def _keys(visit: Visit, model: Model, asked: Interpolate) -> tuple[list[codes.Pair], list[list[str]]]:
    """The codes of every key and what was done to it, in order. Raises Invalid, and as `coding.codes_of`."""
    pictures: dict[int, tuple[str, str | bytes]] = {}
    pairs: dict[int, codes.Pair] = {}
    notes: list[list[str]] = [[] for _ in asked.keys]
    for k, key in enumerate(asked.keys):
        if not isinstance(key, Key):
            pictures[k] = (f"keys.{k}", key)
        elif (key.code is None) == (key.class_ is None) or (key.code is not None and key.seed is not None):
            raise Invalid(f"keys.{k} needs a code alone, or a class, with or without a seed.", field=f"keys.{k}")
        elif key.code is not None:
            pairs[k] = coding.from_token(key.code, model, f"keys.{k}.code")
        else:
            pairs[k] = _of_class(visit, model, key, asked.seed, f"keys.{k}.class")
    encoded = await coding.codes_of(visit, model, list(pictures.values()))
    for k, z_s, z_u, said in zip(pictures, *encoded, strict=True):
        pairs[k], notes[k] = (z_s, z_u), said
    return [pairs[k] for k in range(len(asked.keys))], notes


def _of_class(visit: Visit, model: Model, key: Key, seed: int | None, field: str) -> codes.Pair:
    """A class with a seed is drawn with it; without one it is the class's mean, in the style of the request's seed."""
    with coding.blamed_on(field):
        label = codes.parse_class(str(key.class_), model.card.class_names)
    if key.seed is not None:
        z_s, own = codes.sample_z_s(model.prior, label, key.seed, key.index), key.seed
    else:
        if visit.seed is None:
            visit.seed = secrets.randbelow(2**32) if seed is None else seed
        z_s, own = codes.class_mean(model.prior, label), visit.seed
    return z_s, codes.sample_z_u(model.prior, own, key.index)
