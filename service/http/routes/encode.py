"""POST /encode: pictures to codes, class posterior, density and a token for each."""

from __future__ import annotations

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold.service.http import picture_codes, responses
from twofold.service.http.content_negotiation import ONLY_JSON
from twofold.service.http.context import Connected
from twofold.service.http.model_calls import begin
from twofold.service.http.openapi import json_route
from twofold.service.http.responses import Entry
from twofold.service.http.schemas import Encode, EncodeAnswer
from twofold.service.runtime import latents
from twofold.service.runtime.engine import Encoded
from twofold.service.runtime.registry import Model
from twofold.service.telemetry import Metrics

router = APIRouter(tags=["pictures"])

PARTS = {"image": "images"}


@router.post("/encode", **json_route("encode", Encode, EncodeAnswer, in_body=True, parts=PARTS, raw=True))
async def encode(request: HttpRequest) -> Response:
    """Take pictures apart."""
    asked, _, call = await begin(request, Encode, ONLY_JSON, PARTS)
    call.check_count(len(asked.images), "images")
    with Connected(request):
        pixels, notes = await picture_codes.to_pixels(call, [(f"images.{k}", sent) for k, sent in enumerate(asked.images)])
        encoded = await call.encode(pixels)
    items = [describe(call.model, encoded, k, call.context.state.metrics) | {"notes": notes[k]} for k in range(len(notes))]
    return responses.answer_json(call.context, call.model, {"items": items})


def describe(model: Model, encoded: Encoded, k: int, metrics: Metrics) -> Entry:
    """What JSON says of row k (`schemas.Encoding` without its notes); the metrics count it."""
    probs = np.exp(encoded.class_log_prob[k].astype(np.float64))
    label = int(encoded.class_log_prob[k].argmax())
    return {
        "z_s": encoded.z_s[k].tolist(),
        "z_u": encoded.z_u_mean[k].tolist(),
        "z_u_log_var": encoded.z_u_log_var[k].tolist(),
        "class": responses.class_entry(model, label) | {"prob": float(probs[label])},
        "class_probs": probs.tolist(),
        "log_density": float(encoded.log_density[k]),
        "typicality": observe(model, encoded, k, metrics),
        "code": latents.pack_token(encoded.z_s[k], encoded.z_u_mean[k], model.card),
    }


def observe(model: Model, encoded: Encoded, k: int, metrics: Metrics) -> float | None:
    """Record the typicality of row k and the entropy of its class posterior; returns the former, None without calibration."""
    typicality = latents.typicality(float(encoded.log_density[k]), model.calibration)
    if typicality is not None:
        metrics.typicality.observe(typicality)
    log_prob = encoded.class_log_prob[k].astype(np.float64)
    metrics.entropy.observe(float(-(np.exp(log_prob) * np.maximum(log_prob, -745)).sum()))
    return typicality
