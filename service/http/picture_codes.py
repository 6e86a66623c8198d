"""Pictures and tokens of a request to pixels and codes. It does not know what a route makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twofold.model.contract import Dims, Pixels, Preprocessing
from twofold.service.http.context import RequestContext, computed
from twofold.service.http.model_calls import ModelCall
from twofold.service.http.request_body import picture_bytes
from twofold.service.runtime import image_headers, image_io, latents
from twofold.service.runtime.operations import Code, located


async def decode_picture(
    context: RequestContext, field: str, picture: str | bytes, dims: Dims, preprocessing: Preprocessing
) -> tuple[Pixels, list[str]]:
    """One picture as it was sent -> pixels uint8 [H,W,C] and notes. Raises TooLarge, UnsupportedMedia, UndecodablePicture, Invalid."""
    with context.timed("preprocess"):
        data = picture_bytes(picture, field, context.state.settings)
        header = image_headers.check_picture(data, context.state.settings)
        large = not image_headers.is_small(data, header)
        return await computed(large, image_io.decode, data, header, dims, preprocessing)


async def to_pixels(call: ModelCall, sent: Sequence[tuple[str, str | bytes]]) -> tuple[Pixels, list[list[str]]]:
    """(field, picture) pairs -> pixels uint8 [n,H,W,C] and notes. Raises as `decode_picture`."""
    card = call.model.card
    decoded = [await decode_picture(call.context, field, picture, card.dims, card.preprocessing) for field, picture in sent]
    return np.stack([pixels for pixels, _ in decoded]), [notes for _, notes in decoded]


async def codes_of(call: ModelCall, sources: Sequence[tuple[str, str | bytes]]) -> tuple[list[Code], list[list[str]]]:
    """Codes and notes of (field, picture or token), in order; a picture's style is the mean of its posterior.

    The pictures are encoded in one go. Raises as `decode_picture`, and Invalid for a token.
    """
    codes: dict[int, Code] = {}
    notes: list[list[str]] = [[] for _ in sources]
    pictures = []
    for k, (field, sent) in enumerate(sources):
        if isinstance(sent, str) and sent.startswith(latents.TOKEN_PREFIX):
            with located(field):
                codes[k] = Code.of_token(sent, call.model.card)
        else:
            pictures.append(k)
    if pictures:
        pixels, found = await to_pixels(call, [sources[k] for k in pictures])
        encoded = await call.encode(pixels)
        for row, k in enumerate(pictures):
            codes[k] = Code(encoded.z_s[row], encoded.z_u_mean[row], call.model.card)
            notes[k] = found[row]
    return [codes[k] for k in range(len(sources))], notes
