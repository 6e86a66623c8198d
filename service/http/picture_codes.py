"""Somebody's pictures and tokens to codes, and results read by the encoder again: what the routes that begin with a picture share.

It does not know what a route makes of the codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from twofold.model.contract import Floats, Pixels
from twofold.service.http import responses
from twofold.service.http.context import RequestContext
from twofold.service.runtime import latents
from twofold.service.runtime.engine import Encoded
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.registry import Model


@contextmanager
def blamed_on(field: str) -> Iterator[None]:
    """`codes` does not know where in the request its input stood; the refusal says so."""
    try:
        yield
    except Invalid as error:
        raise Invalid(error.detail, field=field, allowed=error.allowed) from None


def from_token(token: str, model: Model, field: str) -> tuple[Floats, Floats]:
    """Both codes of a token, bounded like codes sent as numbers. Raises Invalid."""
    with blamed_on(field):
        return latents.accept_token(token, model.card)


async def codes_of(
    context: RequestContext, model: Model, sources: Sequence[tuple[str, str | bytes]]
) -> tuple[Floats, Floats, list[list[str]]]:
    """z_s [n,D_s], z_u (mean) [n,D_u] and notes of (field, picture or token) in order; the pictures are encoded in one go."""
    dims = model.card.dims
    z_s, z_u = np.empty((len(sources), dims.dim_s), np.float32), np.empty((len(sources), dims.dim_u), np.float32)
    notes: list[list[str]] = [[] for _ in sources]
    pictures = []
    for k, (field, sent) in enumerate(sources):
        if isinstance(sent, str) and sent.startswith(latents.TOKEN_PREFIX):
            z_s[k], z_u[k] = from_token(sent, model, field)
        else:
            pictures.append(k)
    if pictures:
        pixels, said = await responses.to_pixels(context, model, [sources[k] for k in pictures])
        encoded = await encode(context, model, pixels)
        z_s[pictures], z_u[pictures] = encoded.z_s, encoded.z_u_mean
        for k, note in zip(pictures, said, strict=True):
            notes[k] = note
    return z_s, z_u, notes


async def encode(context: RequestContext, model: Model, pixels: Pixels) -> Encoded:
    encoded, timings = await model.encode(pixels, context.deadline)
    responses.clocked(context, timings)
    return encoded


async def verdicts(context: RequestContext, model: Model, z_s: Floats, pixels: Pixels) -> list[dict[str, Any]]:
    """The model's own encoder on the results: which class it reads, and whether that is the class of z_s."""
    encoded = await encode(context, model, pixels)
    wanted = latents.class_log_joint(model.prior, z_s).argmax(1)
    found = encoded.class_log_prob.argmax(1)
    return [
        {"class": responses.class_entry(model, int(got)) | {"prob": float(np.exp(log_prob[got]))}, "kept": bool(want == got)}
        for want, got, log_prob in zip(wanted, found, encoded.class_log_prob, strict=True)
    ]
