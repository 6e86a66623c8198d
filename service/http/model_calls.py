"""What handlers do with a model: choose it, check counts against the caps, run its graphs with the clock on.

It does not know pictures' formats, nor what a route makes of the codes.
"""

from __future__ import annotations

import secrets

import numpy as np

from twofold.model.contract import Floats, Pixels
from twofold.service.http.context import RequestContext
from twofold.service.http.responses import Entry, class_entry
from twofold.service.runtime import latents
from twofold.service.runtime.batcher import Timings
from twofold.service.runtime.engine import Encoded
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.operations import Operation
from twofold.service.runtime.parameters import MAX_INDEX
from twofold.service.runtime.registry import Model


def chosen_model(context: RequestContext, name: str | None) -> Model:
    """The model of a request, which the answer names from here on. Raises NotFound."""
    model = context.state.registry.get(name)
    context.model = model.card.id
    return model


def check_count(count: int, context: RequestContext, field: str) -> None:
    """Raises Invalid above the cap on pictures, items, cells or n."""
    cap = context.state.settings.max_items
    if count > cap:
        raise Invalid(f"{field}: one request may ask for {cap}; split it.", field=field, allowed=f"at most {cap}")


def check_indices(n: int, index: int, context: RequestContext) -> None:
    """Raises Invalid where `n` pictures from `index` on are too many, or count beyond the last index."""
    check_count(n, context, "n")
    if index + n - 1 > MAX_INDEX:
        raise Invalid("index + n - 1 must be at most 2^31-1.", field="index")


def use_seed(context: RequestContext, seed: int | None) -> int:
    """The seed of a request, a random one where it has none; the answer names it from here on."""
    context.seed = secrets.randbelow(2**32) if seed is None else seed
    return context.seed


def record_timings(context: RequestContext, timings: Timings) -> None:
    """Add a run of a graph to the request's stages."""
    context.spent("queue", timings.queue_ms / 1000)
    context.spent("model", timings.model_ms / 1000)


async def decode(context: RequestContext, model: Model, z_s: Floats, z_u: Floats) -> Pixels:
    """z_s [n,D_s], z_u [n,D_u] -> pixels uint8 [n,H,W,C]. Raises what Model.decode raises."""
    pixels, timings = await model.decode(z_s, z_u, context.deadline)
    record_timings(context, timings)
    return pixels


async def encode(context: RequestContext, model: Model, pixels: Pixels) -> Encoded:
    """Pixels uint8 [n,H,W,C] -> Encoded of n rows. Raises what Model.encode raises."""
    encoded, timings = await model.encode(pixels, context.deadline)
    record_timings(context, timings)
    return encoded


async def classify(context: RequestContext, model: Model, pixels: Pixels) -> Floats:
    """Pixels uint8 [n,H,W,C] -> class log-probabilities [n,K] of the network `model.classified_by`. Raises what Model.classify raises."""
    log_prob, timings = await model.classify(pixels, context.deadline)
    record_timings(context, timings)
    return log_prob


def classifier_entry(model: Model, key: str) -> Entry:
    """{key: the network that reads classes}; nothing where that is the encoder, as in every bundle without an evaluation classifier."""
    return {} if model.classified_by == "encoder" else {key: model.classified_by}


async def run(context: RequestContext, model: Model, operation: Operation) -> tuple[Floats, Floats, Pixels]:
    """An operation's z_s [n,D_s], z_u [n,D_u] and pixels uint8 [n,H,W,C]. Raises what Model.decode raises."""
    z_s, z_u = operation.latents(model)
    return z_s, z_u, await decode(context, model, z_s, z_u)


def tokens(model: Model, z_s: Floats, z_u: Floats) -> list[str]:
    """z_s [n,D_s], z_u [n,D_u] -> n code tokens."""
    return [latents.pack_token(*pair, model.card) for pair in zip(z_s, z_u, strict=True)]


async def verdicts(context: RequestContext, model: Model, z_s: Floats, pixels: Pixels) -> list[Entry]:
    """What `classify` says of the results (`schemas.Verdict`): which class they show, and whether that is the class of z_s [n,D_s]."""
    log_probs = await classify(context, model, pixels)
    expected, by = latents.class_log_joint(model.prior, z_s).argmax(1), classifier_entry(model, "by")
    return [
        {"class": class_entry(model, int(got)) | {"prob": float(np.exp(log_prob[got]))}, "kept": bool(want == got), **by}
        for want, got, log_prob in zip(expected, log_probs.argmax(1), log_probs, strict=True)
    ]
