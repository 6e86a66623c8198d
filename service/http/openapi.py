"""What /openapi.json says of the routes. Requests are parsed by our own code (`request_body`), so FastAPI cannot derive their shapes.

It does not know status codes: it lists the codes of refusals, and `app` writes them out from its one table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypedDict, Unpack

from pydantic import BaseModel
from starlette.responses import Response

from twofold.service.http import schemas
from twofold.service.http.content_negotiation import PICTURES
from twofold.service.http.schemas import CAPPED, Request, Strict, with_cap
from twofold.service.runtime.image_headers import JPEG, PNG, WEBP

EVERYWHERE = ("uri_too_long", "headers_too_large", "internal")
QUERIED = ("malformed", "invalid", "not_found", "not_acceptable", "queue_full", "draining", "not_ready", "deadline_passed", *EVERYWHERE)
SENT = ("slow_sender", "too_large", "unsupported_media_type", *QUERIED)
PICTURED = ("undecodable_picture", *SENT)

Spec: TypeAlias = dict[str, Any]  # a JSON object of the document

OCTETS = "application/octet-stream"
_BINARY = {"type": "string", "format": "binary"}
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "the ETag of a picture that is at hand: 304 if it is still the same",
    "schema": {"type": "string"},
}


def reference(model: type[BaseModel]) -> dict[str, str]:
    """A JSON reference to the schema of a model."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


_CONTENT: Mapping[str, Spec] = {  # of answers with pictures; what is not here is a picture
    "application/json": {"schema": reference(schemas.ImagesAnswer)},
    "application/zip": {
        "schema": _BINARY
        | {"description": "0000.png (or .webp, as `format` says) and on, and manifest.json: the JSON but for the pictures"}
    },
    "application/x-npz": {
        "schema": _BINARY
        | {"description": "for numpy.load: pixels uint8 [n,H,W,C], z_s, z_u float32, labels, seeds, indices int64 if all have one"}
    },
}


class Taken(TypedDict, total=False):
    """Where a route takes its fields from: query, JSON, named `parts` of multipart bodies, a `raw` picture."""

    in_query: bool
    in_body: bool
    parts: Mapping[str, str]
    raw: bool


def picture_route(name: str, kind: type[Request], *, accepts: Sequence[str] = PICTURES, **taken: Unpack[Taken]) -> Spec:
    """Keyword arguments of a route decorator for a route that answers with pictures."""
    content: Spec = {media: _CONTENT.get(media, {"schema": _BINARY}) for media in accepts}
    headers = {"X-Sheet": "rows, columns and cell size, when several pictures are one image"}
    if taken.get("in_body"):
        return _route(name, kind, content, headers, **taken)
    kept = {"ETag": "of a picture with a seed: it changes when the picture would"}
    described = _route(name, kind, content, headers | kept, **taken)
    described["openapi_extra"]["parameters"].append(_IF_NONE_MATCH)
    described["responses"][304] = {"description": "If-None-Match names the picture; the model was not run.", "headers": _header_specs(kept)}
    return described


def json_route(name: str, kind: type[Request], answer: type[BaseModel], **taken: Unpack[Taken]) -> Spec:
    """Keyword arguments of a route decorator for a route that takes pictures and answers with JSON."""
    return _route(name, kind, {"application/json": {"schema": reference(answer)}}, {}, **taken)


def in_path(name: str, description: str, **example: str) -> Spec:
    """A parameter that is a part of the path."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": description, **example}


def plain_route(
    name: str,
    media: str = "application/json",
    refusals: Sequence[str] = EVERYWHERE,
    example: object = None,
    answer: type[BaseModel] | None = None,
    path: Sequence[Spec] | None = None,
) -> Spec:
    """Keyword arguments of a route decorator for a GET without parameters, but for those in its path."""
    content: Spec = {media: {} if example is None else {"example": example}}
    if answer is not None:
        content[media]["schema"] = reference(answer)
    return {
        "operation_id": name,
        "response_class": Response,
        "responses": {200: {"description": "The answer.", "content": content}},
        "openapi_extra": {"x-refusals": list(refusals)} | ({} if path is None else {"parameters": list(path)}),
    }


def infer_route(name: str, parameters: Sequence[Spec]) -> Spec:
    """Keyword arguments of a route decorator for an inference of the Open Inference Protocol: JSON, or JSON and bytes behind it."""
    length, about = "Inference-Header-Content-Length", "bytes of the JSON, when bytes of tensors follow it"
    content = {"application/json": {"schema": reference(schemas.InferAnswer)}, OCTETS: {"schema": _BINARY}}
    described = _route(name, schemas.Infer, content, {length: about}, in_body=True)
    header = {"name": length, "in": "header", "required": False, "schema": {"type": "integer", "minimum": 1}, "description": about}
    extra = described["openapi_extra"]
    extra["parameters"] = [*parameters, header]
    extra["requestBody"]["content"][OCTETS] = {"schema": _BINARY}
    return described


def _route(name: str, kind: type[Strict], content: Spec, headers: dict[str, str], **taken: Unpack[Taken]) -> Spec:
    in_query, in_body, parts = taken.get("in_query", False), taken.get("in_body", False), taken.get("parts", {})
    extra: Spec = {"x-refusals": list(PICTURED if parts else SENT if in_body else QUERIED)}
    extra["parameters"] = _parameters(kind, required=in_query and not in_body)
    if in_body:
        extra["requestBody"] = {"required": not in_query, "content": _bodies(kind, parts, taken.get("raw", False))}
    headers = {
        "X-Request-Id": "the client's, if it is 1 to 64 of A-Z a-z 0-9 . _ -, else made here",
        "X-Model": "name and hash of the model that answered",
        "X-Seed": "the seed, where one was used",
        "Server-Timing": "milliseconds of queue, preprocess, model and encode",
        **headers,
    }
    return {
        "operation_id": name,
        "response_class": Response,
        "responses": {200: {"description": "The answer; Accept decides its form.", "content": content, "headers": _header_specs(headers)}},
        "openapi_extra": extra,
    }


def _header_specs(headers: Mapping[str, str]) -> Spec:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}


def _parameters(kind: type[Strict], *, required: bool) -> list[Spec]:
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    found = []
    for name, written_as in kind.in_query.items():
        spec = schema["properties"][name]
        text = spec.get("description", "")
        listed = written_as not in (int, float, bool, str)  # written as one text
        shape = {"type": "string"} if listed else {key: value for key, value in spec.items() if key not in ("title", "description")}
        one = {"name": name, "in": "query", "required": required and name in schema["required"], "description": text, "schema": shape}
        found.append(one | ({CAPPED: spec[CAPPED]} if CAPPED in spec else {}))
    return found


def write_caps(node: Any, max_items: int) -> None:
    """Write the bounds that are in force into a document, in place, wherever the setting `max_items` may lower one."""
    if isinstance(node, list):
        for one in node:
            write_caps(one, max_items)
    if not isinstance(node, dict):
        return
    high = node.pop(CAPPED, None)
    if high is not None:
        if "description" in node:
            node["description"] = with_cap(node["description"], high, max_items)
        for bound in ("maximum", "maxItems"):
            if bound in node:
                node[bound] = min(high, max_items)
    for one in node.values():
        write_caps(one, max_items)


def _bodies(kind: type[Strict], parts: Mapping[str, str], raw: bool) -> Spec:
    content: Spec = {"application/json": {"schema": reference(kind), "example": kind.example}}
    if parts:
        one = _BINARY | {"description": "PNG, JPEG or WebP"}
        several = {"type": "array", "items": _BINARY, "description": "PNG, JPEG or WebP; repeatable"}
        files = {part: several if field in kind.lists else one for part, field in parts.items()}
        required = [part for part, field in parts.items() if kind.model_fields[field].is_required()]
        content["multipart/form-data"] = {"schema": {"type": "object", "properties": files, "required": required}}
    if raw:
        content |= {media: {"schema": _BINARY} for media in (PNG, JPEG, WEBP)}
    return content
