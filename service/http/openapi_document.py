"""The OpenAPI document: FastAPI's, with our schemas and every refusal of every route.

What a route declares comes from `http.openapi`, what a refusal looks like from `http.problems`. `python -m
twofold.service.http.openapi_document` prints it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from twofold import __version__
from twofold.service.http import schemas
from twofold.service.http.openapi import write_caps
from twofold.service.http.problems import PHRASE, PROBLEM, STATUS
from twofold.service.http.routes import ROUTERS
from twofold.service.runtime import errors
from twofold.service.settings import Settings

_DOCUMENTED: tuple[type[BaseModel], ...] = (
    schemas.Generate,
    schemas.Encode,
    schemas.Decode,
    schemas.Swap,
    schemas.Interpolate,
    schemas.Edit,
    schemas.Inpaint,
    schemas.Inspect,
    schemas.ImagesAnswer,
    schemas.EncodeAnswer,
    schemas.InspectAnswer,
    schemas.ModelsAnswer,
    schemas.Infer,
    schemas.InferAnswer,
    schemas.ServerMetadata,
    schemas.ModelMetadata,
    schemas.Live,
    schemas.Ready,
    schemas.Problem,
)


def openapi_json(settings: Settings | None = None) -> bytes:
    """The document as JSON, indented, with a newline at its end: the bytes of /openapi.json and of docs/openapi.json."""
    document = get_openapi(
        title="Twofold",
        version=__version__,
        summary="Take a picture apart into what it is (class) and how it looks (style), and put the codes together again.",
        routes=[route for router in ROUTERS for route in router.routes],
    )
    _, definitions = models_json_schema([(one, "validation") for one in _DOCUMENTED], ref_template="#/components/schemas/{model}")
    document["components"] = {"schemas": dict(sorted(definitions["$defs"].items()))}
    for path in document["paths"].values():
        for operation in path.values():
            operation["summary"] = operation.pop("description").partition("\n")[0].rstrip(".")
            for status, codes in _by_status(operation.pop("x-refusals")).items():
                operation["responses"][str(status)] = _refusal_response(status, codes)
            operation["responses"] = dict(sorted(operation["responses"].items()))
    write_caps(document, (settings or Settings()).max_items)
    return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"


def _by_status(codes: list[str]) -> dict[int, list[str]]:
    grouped: dict[int, list[str]] = {}
    for code in sorted(codes, key=lambda code: (STATUS[code], code)):
        grouped.setdefault(STATUS[code], []).append(code)
    return grouped


def _refusal_response(status: int, codes: list[str]) -> dict[str, Any]:
    described = {error.code: (error.__doc__ or "").strip() for error in _refusals()}
    example = {"type": "about:blank", "title": PHRASE[status], "status": status, "code": codes[0], "detail": "…", "request_id": "…"}
    headers = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}} if status == 503 else {}
    return {
        "description": " ".join(f"`{code}`: {described[code]}".rstrip(": ") for code in codes),
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
        **({"headers": headers} if headers else {}),
    }


def _refusals() -> list[type[errors.TwofoldError]]:
    found = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.TwofoldError)]
    return [one for one in found if "code" in vars(one) and one is not errors.BadOutput]


if __name__ == "__main__":
    sys.stdout.buffer.write(openapi_json())
