"""What /openapi.json says of the routes. Requests are parsed by hand (`reading`), so their shapes are declared by hand, here.

It does not know status codes: it lists the codes of refusals, and `app` writes them out from its one table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from service import schemas
from service.imaging import JPEG, PNG, WEBP
from service.schemas import Request

EVERYWHERE = ("uri_too_long", "headers_too_large", "internal")
QUERIED = ("malformed", "invalid", "not_found", "not_acceptable", "queue_full", "draining", "not_ready", "deadline_passed", *EVERYWHERE)
SENT = ("slow_sender", "too_large", "unsupported_media_type", *QUERIED)
PICTURED = ("undecodable_picture", *SENT)

_BINARY = {"type": "string", "format": "binary"}
_EXAMPLES: dict[str, dict[str, Any]] = {
    "Generate": {"class": 7, "n": 4, "seed": 1},
    "Encode": {"images": ["iVBORw0KGgo..."]},
    "Decode": {"items": [{"code": "c1...."}, {"class": 7, "seed": 1}, {"class_weights": {"7": 0.5, "9": 0.5}, "seed": 1}]},
    "Interpolate": {"keys": ["iVBORw0KGgo...", "c1....", {"class": "sneaker", "seed": 1}], "frames": 16, "vary": "both"},
    "Edit": {"image": "iVBORw0KGgo...", "class": "ankle boot", "strength": 0.5, "style_spread": 0.5, "n": 4, "seed": 1},
    "Inpaint": {"image": "iVBORw0KGgo...", "box": [7, 7, 14, 14]},
    "Swap": {"class_from": ["iVBORw0KGgo..."], "style_from": ["iVBORw0KGgo...", "c1...."], "verdict": True},
}


def reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def picture_route(
    name: str,
    kind: type[Request],
    *,
    in_query: bool = False,
    in_body: bool = False,
    parts: Mapping[str, str] | None = None,
    raw: bool = False,
    accepts: Sequence[str] = (PNG, WEBP, "application/json"),
) -> dict[str, Any]:
    """Keyword arguments of a route decorator for a route that answers with pictures."""
    content: dict[str, Any] = {media: {"schema": _BINARY} for media in accepts if media.startswith("image/")}
    if "application/json" in accepts:
        content["application/json"] = {"schema": reference(schemas.ImagesAnswer)}
    headers = {"X-Sheet": "rows, columns and cell size, when several pictures are one image"}
    return _route(name, kind, content, headers, in_query=in_query, in_body=in_body, parts=parts, raw=raw)


def json_route(name: str, kind: type[Request], answer: type[BaseModel], *, parts: Mapping[str, str], raw: bool = False) -> dict[str, Any]:
    """Keyword arguments of a route decorator for a route that takes pictures and answers with JSON."""
    return _route(name, kind, {"application/json": {"schema": reference(answer)}}, {}, in_body=True, parts=parts, raw=raw)


def plain_route(name: str, media: str = "application/json", refusals: Sequence[str] = EVERYWHERE, example: Any = None) -> dict[str, Any]:
    """Keyword arguments of a route decorator for a GET without parameters of its own."""
    content: dict[str, Any] = {media: {} if example is None else {"example": example}}
    return {
        "operation_id": name,
        "response_class": Response,
        "responses": {200: {"description": "The answer.", "content": content}},
        "openapi_extra": {"x-refusals": list(refusals)},
    }


def _route(
    name: str,
    kind: type[Request],
    content: dict[str, Any],
    headers: dict[str, str],
    *,
    in_query: bool = False,
    in_body: bool = False,
    parts: Mapping[str, str] | None = None,
    raw: bool = False,
) -> dict[str, Any]:
    extra: dict[str, Any] = {"x-refusals": list(PICTURED if parts else SENT if in_body else QUERIED)}
    extra["parameters"] = _parameters(kind, required=in_query and not in_body) if in_query else _parameters(kind, only=kind.in_query)
    if in_body:
        extra["requestBody"] = {"required": not in_query, "content": _bodies(kind, parts or {}, raw)}
    headers = {
        "X-Request-Id": "the client's, if it is 1 to 64 of A-Z a-z 0-9 . _ -, else made here",
        "X-Model": "name and hash of the model that answered",
        "X-Seed": "the seed, where one was used",
        "Server-Timing": "milliseconds of queue, preprocess, model and encode",
        **headers,
    }
    described = {key: {"description": text, "schema": {"type": "string"}} for key, text in headers.items()}
    return {
        "operation_id": name,
        "response_class": Response,
        "responses": {200: {"description": "The answer; Accept decides its form.", "content": content, "headers": described}},
        "openapi_extra": extra,
    }


def _parameters(kind: type[Request], *, required: bool = False, only: Mapping[str, type] | None = None) -> list[dict[str, Any]]:
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    found = []
    for name, spec in schema["properties"].items():
        if name not in (kind.in_query if only is None else only):
            continue
        text = spec.get("description", "")
        listed = kind.in_query[name] not in (int, float, bool, str)  # written as one text
        shape = {"type": "string"} if listed else {key: value for key, value in spec.items() if key not in ("title", "description")}
        found.append(
            {"name": name, "in": "query", "required": required and name in schema["required"], "description": text, "schema": shape}
        )
    return found


def _bodies(kind: type[Request], parts: Mapping[str, str], raw: bool) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": reference(kind), "example": _EXAMPLES[kind.__name__]}}
    if parts:
        repeatable = {"type": "array", "items": _BINARY, "description": "PNG, JPEG or WebP; repeatable"}
        single = _BINARY | {"description": "PNG, JPEG or WebP"}
        files = {part: repeatable if field in kind.repeatable else single for part, field in parts.items()}
        required = [part for part, field in parts.items() if kind.model_fields[field].is_required()]
        content["multipart/form-data"] = {"schema": {"type": "object", "properties": files, "required": required}}
    if raw:
        content |= {media: {"schema": _BINARY} for media in (PNG, JPEG, WEBP)}
    return content
