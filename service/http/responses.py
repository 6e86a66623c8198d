"""Pixels to an answer: which media type the client wants, one picture, a sheet, JSON, a zip or arrays, with recipe and timings.

It does not know how the pixels came about: routes hand over pixels, recipes and what JSON should say of each picture.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold.model.contract import Dims, Floats, Pixels, Preprocessing
from twofold.service.http.context import RequestContext
from twofold.service.http.request_body import picture_bytes
from twofold.service.runtime import image_headers, image_io, latents, provenance
from twofold.service.runtime.batcher import Timings
from twofold.service.runtime.errors import Invalid, NotAcceptable
from twofold.service.runtime.registry import Model

JSON, ZIP, NPZ = "application/json", "application/zip", "application/x-npz"
PICTURES = (image_io.PNG, image_io.WEBP, JSON, ZIP, NPZ)  # the default first
ONLY_PICTURES = PICTURES[:2]
ONLY_JSON = (JSON,)
TOLD = (JSON, ZIP)  # where something is said of each picture
SMALL_ANSWER_PIXELS = 64 * 1024  # above, encoding moves off the event loop


# ------------------------------------------------------------------------------------------------------------ negotiation


def negotiate(request: HttpRequest, offered: Sequence[str]) -> str:
    """The offered media type the client likes best, the earliest of equals. Raises NotAcceptable."""
    accept = ",".join(request.headers.getlist("accept")).strip()
    if not accept or accept == "*/*" or accept == offered[0]:
        return offered[0]
    ranges = [_range(part) for part in accept.split(",")]
    best = max(offered, key=lambda media: _quality(media, ranges))
    if _quality(best, ranges) <= 0:
        raise NotAcceptable(f"This route answers with {', '.join(offered)}; ask for one of them.", allowed=", ".join(offered))
    return best


def _range(part: str) -> tuple[str, float]:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = float(parameter[2:])
            except ValueError:
                return media, 0.0
            return media, quality if 0 <= quality <= 1 else 0.0
    return media, 1.0


def _quality(media: str, ranges: Sequence[tuple[str, float]]) -> float:
    """RFC 9110: the most specific range that fits decides."""
    for wanted in (media, media.split("/")[0] + "/*", "*/*"):
        fitting = [quality for name, quality in ranges if name == wanted]
        if fitting:
            return max(fitting)
    return 0.0


# -------------------------------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True)
class Drawn:
    """What a route made: pixels [n,H,W,C] in reading order, each picture's recipe and what JSON says of it.

    Entries, each with the picture's `code`, may be left out where the answer is ONLY_PICTURES. With `fps` the pictures are one animation
    instead of a sheet.
    """

    model: Model
    pixels: Pixels
    recipes: Sequence[Mapping[str, Any]]
    entries: Sequence[Mapping[str, Any]]
    do: str
    rows: int
    cols: int
    fps: int | None = None

    def written(self, k: int) -> str:
        return provenance.write(self.model, self.do, self.recipes[k])


async def respond(
    context: RequestContext, media: str, drawn: Drawn, picture_format: str, extra: Mapping[str, Any] | None = None
) -> Response:
    """One picture, a sheet, an animation, JSON, a zip or arrays. Encoding leaves the event loop when it is worth a thread."""
    started = time.perf_counter()
    job = (context.state.settings.recipe, media, drawn, picture_format, extra or {})
    large = drawn.pixels.size > SMALL_ANSWER_PIXELS
    body, headers = await asyncio.to_thread(_encode, *job) if large else _encode(*job)
    context.spent("encode", time.perf_counter() - started)
    if isinstance(body, list):
        return answer_json(context, drawn.model, {"images": body, **(extra or {})})
    headers["vary"] = "Accept"
    return Response(body, media_type=media, headers=headers)


def _encode(
    with_recipe: bool, media: str, drawn: Drawn, picture_format: str, extra: Mapping[str, Any]
) -> tuple[bytes | list[dict[str, Any]], dict[str, str]]:
    if media == NPZ:
        return _npz(drawn), {}
    n = len(drawn.pixels)
    texts = [drawn.written(k) if with_recipe else None for k in range(n)]
    if media in TOLD:
        inner = f"image/{picture_format}"
        encoded = [image_io.encode(drawn.pixels[k], inner, texts[k]) for k in range(n)]
        if media == ZIP:
            return _zip(drawn, encoded, picture_format, extra), {}
        return [{"image": base64.b64encode(data).decode(), **entry} for data, entry in zip(encoded, drawn.entries, strict=True)], {}
    if n == 1:
        return image_io.encode(drawn.pixels[0], media, texts[0]), {}
    told = [one for one in texts if one is not None]
    if drawn.fps is not None:
        return image_io.animation(drawn.pixels, media, drawn.fps, provenance.write_animation(told, drawn.fps) if with_recipe else None), {}
    _, height, width, _ = drawn.pixels.shape
    joint = image_io.sheet(drawn.pixels, drawn.rows, drawn.cols, drawn.model.card.preprocessing.background)
    text = provenance.write_sheet(told, drawn.rows, drawn.cols) if with_recipe else None
    return image_io.encode(joint, media, text), {"x-sheet": f"rows={drawn.rows}; cols={drawn.cols}; cell={width}x{height}"}


def _zip(drawn: Drawn, encoded: Sequence[bytes], picture_format: str, extra: Mapping[str, Any]) -> bytes:
    """NNNN.png or .webp in reading order, then manifest.json: what JSON would say, but for the pictures and the times."""
    names = [f"{k:04}.{picture_format}" for k in range(len(encoded))]
    images = [{"file": name, **entry} for name, entry in zip(names, drawn.entries, strict=True)]
    manifest = _json_text({"model": drawn.model.card.id, "images": images, **extra})
    return _archive([*zip(names, encoded, strict=True), ("manifest.json", manifest)])


def _npz(drawn: Drawn) -> bytes:
    """For numpy.load: pixels uint8 [n,H,W,C], z_s, z_u float32 [n,D]; labels, seeds, indices int64 [n] if every picture has one."""
    pairs = [latents.unpack_token(entry["code"], drawn.model.card) for entry in drawn.entries]
    arrays: dict[str, Any] = {
        "pixels": drawn.pixels,
        "z_s": np.stack([z_s for z_s, _ in pairs]),
        "z_u": np.stack([z_u for _, z_u in pairs]),
    }
    for name, key in (("labels", "class"), ("seeds", "seed"), ("indices", "index")):
        told: list[Any] = [entry.get(key) for entry in drawn.entries]
        if all(one is not None for one in told):
            arrays[name] = np.array([one["index"] if key == "class" else one for one in told], np.int64)
    files = []
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.lib.format.write_array(stream, array, allow_pickle=False)
        files.append((f"{name}.npy", stream.getvalue()))
    return _archive(files)


def _archive(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip of stored files in this order, all of the oldest date a zip knows: the same files give the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o644 << 16  # or it would name the server's system, and unpack unreadable
            archive.writestr(info, data)
    return stream.getvalue()


# ------------------------------------------------------------------------------------------------------------------ JSON


def answer_json(context: RequestContext, model: Model, fields: Mapping[str, Any]) -> Response:
    """The JSON answer of a route that ran a model."""
    timings = {stage: round(context.timings_ms.get(stage, 0.0), 3) for stage in ("queue", "preprocess", "model", "encode")}
    return plain_json({"model": model.card.id, **fields, "timings_ms": timings}, {"vary": "Accept"})


def plain_json(value: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(_json_text(value), media_type=JSON, headers=headers)


def _json_text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


# ----------------------------------------------------------------------------------------------------------- model calls


def chosen_model(context: RequestContext, name: str | None) -> Model:
    """The model of a request; from here on the answer names it."""
    model = context.state.registry.get(name)
    context.model = model.card.id
    return model


def clocked(context: RequestContext, timings: Timings) -> None:
    context.spent("queue", timings.queue_ms / 1000)
    context.spent("model", timings.model_ms / 1000)


def at_most(count: int, context: RequestContext, field: str) -> None:
    """Raises Invalid above the cap on pictures, items, cells or n."""
    cap = context.state.settings.max_items
    if count > cap:
        raise Invalid(f"{field}: one request may ask for {cap}; split it.", field=field, allowed=f"at most {cap}")


def class_entry(model: Model, label: int) -> dict[str, Any]:
    return {"index": label, "name": model.card.class_names[label]}


async def to_pixels(context: RequestContext, model: Model, sent: Sequence[tuple[str, str | bytes]]) -> tuple[Pixels, list[list[str]]]:
    """(field, picture) pairs -> pixels [n,H,W,C] and notes. Raises TooLarge, UnsupportedMedia, UndecodablePicture, Invalid."""
    card = model.card
    decoded = [await decode_picture(context, field, picture, card.dims, card.preprocessing) for field, picture in sent]
    return np.stack([pixels for pixels, _ in decoded]), [notes for _, notes in decoded]


async def decode_picture(
    context: RequestContext, field: str, picture: str | bytes, dims: Dims, preprocessing: Preprocessing
) -> tuple[Pixels, list[str]]:
    """One picture as it was sent -> pixels [H,W,C] and notes, preprocessed as is said. Raises as `to_pixels`."""
    started = time.perf_counter()
    data = picture_bytes(picture, field, context.state.settings)
    header = image_headers.check_picture(data, context.state.settings)
    job = (data, header, dims, preprocessing)
    decoded = image_io.decode(*job) if image_headers.is_small(data, header) else await asyncio.to_thread(image_io.decode, *job)
    context.spent("preprocess", time.perf_counter() - started)
    return decoded


async def decode(context: RequestContext, model: Model, z_s: Floats, z_u: Floats) -> Pixels:
    pixels, timings = await model.decode(z_s, z_u, context.deadline)
    clocked(context, timings)
    return pixels
