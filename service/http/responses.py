"""Pixels to an answer: one picture, a sheet, an animation, JSON, a zip or arrays, each with its recipe; and JSON with timings.

It does not know how the pixels came about: routes hand over pixels, the operation that made them and what JSON says of each picture.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from twofold import image_grid
from twofold.model.contract import Pixels
from twofold.service.http.content_negotiation import JSON, NPZ, ZIP
from twofold.service.http.context import RequestContext, computed
from twofold.service.runtime import image_io, latents, provenance
from twofold.service.runtime.operations import Operation
from twofold.service.runtime.registry import Model

SMALL_ANSWER_PIXELS = 64 * 1024  # above, encoding moves off the event loop
NO_STORE: Mapping[str, str] = {"cache-control": "no-store"}  # a code may stand for an uploaded picture

Entry: TypeAlias = dict[str, Any]  # what JSON says of one picture: an item of `schemas.ImagesAnswer.images`, without the picture


@dataclass(frozen=True)
class Images:
    """What a route made: pixels uint8 [n,H,W,C] of the operation's n pictures, in reading order of a sheet of `rows` and `cols`.

    `entries`, each with the picture's `code`, may be empty where the answer is a picture. With `fps` the pictures are one animation
    instead of a sheet.
    """

    model: Model
    operation: Operation
    pixels: Pixels
    entries: Sequence[Entry]
    rows: int
    cols: int
    fps: int | None = None


# -------------------------------------------------------------------------------------------------------------- pictures


async def respond(
    context: RequestContext,
    media: str,
    images: Images,
    picture_format: str,
    extra: Mapping[str, object] | None = None,
    caching: Mapping[str, str] = NO_STORE,
) -> Response:
    """The answer in the form `media`; JSON and zip encode pictures as `picture_format` and say `extra` beside them.

    Encoding leaves the event loop when it takes longer than a change of threads.
    """
    task = _Encoding(images, media, picture_format, extra or {}, context.state.settings.recipe)
    encode = _ENCODERS.get(media, _encode_picture)
    with context.timed("encode"):
        content = await computed(images.pixels.size > SMALL_ANSWER_PIXELS, encode, task)
    if isinstance(content, list):
        return answer_json(context, images.model, {"images": content, **task.extra}, caching)
    return Response(content, media_type=media, headers={**task.headers, "vary": "Accept", **caching})


@dataclass(frozen=True)
class _Encoding:
    """One answer that is to be encoded; `headers` are filled in by its encoder."""

    images: Images
    media: str
    picture_format: str
    extra: Mapping[str, object]
    with_recipe: bool
    headers: dict[str, str] = field(default_factory=dict)

    @cached_property
    def recipes(self) -> list[str]:
        """The text of each picture's recipe; none where they are switched off."""
        images = self.images
        if not self.with_recipe:
            return []
        operation = images.operation
        return [provenance.write(images.model, operation.do, operation.recipe(k)) for k in range(len(images.pixels))]

    def each(self) -> list[bytes]:
        """A file for each picture."""
        media = f"image/{self.picture_format}"
        texts: Sequence[str | None] = self.recipes or [None] * len(self.images.pixels)
        return [image_io.encode(pixels, media, text) for pixels, text in zip(self.images.pixels, texts, strict=True)]


def _encode_picture(task: _Encoding) -> bytes:
    """One picture, an animation or a sheet."""
    images, recipes = task.images, task.recipes
    if len(images.pixels) == 1:
        return image_io.encode(images.pixels[0], task.media, recipes[0] if recipes else None)
    if images.fps is not None:
        text = provenance.write_animation(recipes, images.fps) if recipes else None
        return image_io.animation(images.pixels, task.media, images.fps, text)
    _, height, width, _ = images.pixels.shape
    task.headers["x-sheet"] = f"rows={images.rows}; cols={images.cols}; cell={width}x{height}"
    joint = image_grid.sheet(images.pixels, images.cols, images.model.card.preprocessing.background, rows=images.rows)
    return image_io.encode(joint, task.media, provenance.write_sheet(recipes, images.rows, images.cols) if recipes else None)


def _encode_json(task: _Encoding) -> list[Entry]:
    """The entries, each with its picture in base64."""
    return [{"image": base64.b64encode(data).decode(), **entry} for data, entry in zip(task.each(), task.images.entries, strict=True)]


def _encode_zip(task: _Encoding) -> bytes:
    """NNNN.png or .webp in reading order, then manifest.json: what JSON would say, but for the pictures and the times."""
    files = [(f"{k:04}.{task.picture_format}", data) for k, data in enumerate(task.each())]
    entries = [{"file": name, **entry} for (name, _), entry in zip(files, task.images.entries, strict=True)]
    manifest = _json_text({"model": task.images.model.card.id, "images": entries, **task.extra})
    return _archive([*files, ("manifest.json", manifest)])


def _encode_npz(task: _Encoding) -> bytes:
    """For numpy.load: pixels uint8 [n,H,W,C], z_s, z_u float32 [n,D]; labels, seeds, indices int64 [n] if every picture has one."""
    images = task.images
    pairs = [latents.unpack_token(entry["code"], images.model.card) for entry in images.entries]
    arrays: dict[str, NDArray[Any]] = {
        "pixels": images.pixels,
        "z_s": np.stack([z_s for z_s, _ in pairs]),
        "z_u": np.stack([z_u for _, z_u in pairs]),
    }
    for name, key in (("labels", "class"), ("seeds", "seed"), ("indices", "index")):
        values: list[Any] = [entry.get(key) for entry in images.entries]
        if all(one is not None for one in values):
            arrays[name] = np.array([one["index"] if key == "class" else one for one in values], np.int64)
    files = []
    for name, array in arrays.items():
        stream = io.BytesIO()
        np.lib.format.write_array(stream, array, allow_pickle=False)
        files.append((f"{name}.npy", stream.getvalue()))
    return _archive(files)


_ENCODERS: Mapping[str, Callable[[_Encoding], bytes | list[Entry]]] = {JSON: _encode_json, ZIP: _encode_zip, NPZ: _encode_npz}


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


def answer_json(context: RequestContext, model: Model, fields: Mapping[str, object], caching: Mapping[str, str] = NO_STORE) -> Response:
    """The JSON answer of a route that ran a model."""
    timings = {stage: round(context.timings_ms.get(stage, 0.0), 3) for stage in ("queue", "preprocess", "model", "encode")}
    return plain_json({"model": model.card.id, **fields, "timings_ms": timings}, {"vary": "Accept", **caching})


def plain_json(value: object, headers: Mapping[str, str]) -> Response:
    """`value` as JSON. Its shape is that of the route's model in `schemas`; tests hold real answers to it."""
    return Response(_json_text(value), media_type=JSON, headers=headers)


def class_entry(model: Model, label: int) -> Entry:
    """A class as JSON says it: `schemas.ClassName`."""
    return {"index": label, "name": model.card.class_names[label]}


def _json_text(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
