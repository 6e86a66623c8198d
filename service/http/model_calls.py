"""What handlers do with a model: choose it, check counts against the caps, run its graphs with the clock on.

It does not know pictures' formats, nor what a route makes of the codes.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from starlette.requests import Request as HttpRequest

from twofold.model.contract import Floats, Pixels
from twofold.service.http.content_negotiation import negotiate
from twofold.service.http.context import RequestContext, context_of
from twofold.service.http.request_body import NO_PICTURES, Asked, read
from twofold.service.http.responses import Entry, class_entry
from twofold.service.runtime import latents
from twofold.service.runtime.batcher import Timings
from twofold.service.runtime.engine import Encoded
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.operations import Operation
from twofold.service.runtime.parameters import MAX_INDEX
from twofold.service.runtime.registry import Model


def classifier_entry(model: Model, key: str) -> Entry:
    """{key: the network that reads classes}; nothing where that is the encoder, as in every bundle without an evaluation classifier."""
    return {} if model.classified_by == "encoder" else {key: model.classified_by}


async def begin(
    request: HttpRequest, kind: type[Asked], offered: Sequence[str], pictures: Mapping[str, str] = NO_PICTURES
) -> tuple[Asked, str, ModelCall]:
    """The validated request, the media type of its answer, and its model. Raises as `negotiate`, `read` and `ModelCall.of`."""
    media = negotiate(request, offered)
    asked = await read(request, kind, pictures)
    return asked, media, ModelCall.of(context_of(request), asked.model)


@dataclass(frozen=True)
class ModelCall:
    """One request and the model that answers it."""

    context: RequestContext
    model: Model

    @classmethod
    def of(cls, context: RequestContext, name: str | None) -> ModelCall:
        """The call of a model by its name, None for the default; the answer names it from here on. Raises NotFound."""
        model = context.state.registry.get(name)
        context.model = model.card.id
        return cls(context, model)

    def check_count(self, count: int, field: str) -> None:
        """Raises Invalid above the cap on pictures, items, cells or n."""
        cap = self.context.state.settings.max_items
        if count > cap:
            raise Invalid(f"{field}: one request may ask for {cap}; split it.", field=field, allowed=f"at most {cap}")

    def check_indices(self, n: int, index: int) -> None:
        """Raises Invalid where `n` pictures from `index` on are too many, or count beyond the last index."""
        self.check_count(n, "n")
        if index + n - 1 > MAX_INDEX:
            raise Invalid("index + n - 1 must be at most 2^31-1.", field="index")

    def use_seed(self, seed: int | None) -> int:
        """The seed of the request, a random one where it has none; the answer names it from here on."""
        self.context.seed = secrets.randbelow(2**32) if seed is None else seed
        return self.context.seed

    async def decode(self, z_s: Floats, z_u: Floats) -> Pixels:
        """z_s [n,D_s], z_u [n,D_u] -> pixels uint8 [n,H,W,C]. Raises what Model.decode raises."""
        pixels, timings = await self.model.decode(z_s, z_u, self.context.deadline)
        self._record(timings)
        return pixels

    async def encode(self, pixels: Pixels) -> Encoded:
        """Pixels uint8 [n,H,W,C] -> Encoded of n rows. Raises what Model.encode raises."""
        encoded, timings = await self.model.encode(pixels, self.context.deadline)
        self._record(timings)
        return encoded

    def _record(self, timings: Timings) -> None:
        self.context.spent("queue", timings.queue_ms / 1000)
        self.context.spent("model", timings.model_ms / 1000)

    async def run(self, operation: Operation) -> tuple[Floats, Floats, Pixels]:
        """An operation's z_s [n,D_s], z_u [n,D_u] and pixels uint8 [n,H,W,C]. Raises what Model.decode raises."""
        z_s, z_u = operation.latents(self.model)
        return z_s, z_u, await self.decode(z_s, z_u)

    def tokens(self, z_s: Floats, z_u: Floats) -> list[str]:
        """z_s [n,D_s], z_u [n,D_u] -> n code tokens."""
        return [latents.pack_token(*pair, self.model.card) for pair in zip(z_s, z_u, strict=True)]

    async def classify(self, pixels: Pixels) -> Floats:
        """Pixels uint8 [n,H,W,C] -> class log-probabilities [n,K] of the network `model.classified_by`.

        Raises what Model.classify raises.
        """
        log_prob, timings = await self.model.classify(pixels, self.context.deadline)
        self._record(timings)
        return log_prob

    async def verdicts(self, z_s: Floats, pixels: Pixels) -> list[Entry]:
        """What `classify` says of the results (`schemas.Verdict`): which class they show, and whether that is the class of z_s [n,D_s]."""
        log_probs = await self.classify(pixels)
        expected, by = latents.class_log_joint(self.model.prior, z_s).argmax(1), classifier_entry(self.model, "by")
        return [
            {"class": class_entry(self.model, int(got)) | {"prob": float(np.exp(log_prob[got]))}, "kept": bool(want == got), **by}
            for want, got, log_prob in zip(expected, log_probs.argmax(1), log_probs, strict=True)
        ]
