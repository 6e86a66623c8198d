"""The OpenAPI document: FastAPI's, with our schemas and every refusal of every route.

What a route declares comes from `http.openapi`, what a refusal looks like from `http.problems`. `python -m
twofold.service.http.openapi_document` prints it.
"""

from __future__ import annotations

import itertools
import json
import sys
from types import ModuleType
from typing import TypeVar

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from twofold import __version__
from twofold.service.http import schemas
from twofold.service.http.openapi import Spec, write_caps
from twofold.service.http.problems import PHRASE, PROBLEM, STATUS
from twofold.service.http.routes import ROUTERS
from twofold.service.runtime import errors
from twofold.service.settings import Settings

Kind = TypeVar("Kind")
_BASES = (BaseModel, schemas.Strict, schemas.Request, schemas.Part)


def openapi_json(settings: Settings | None = None) -> bytes:
    """The document as JSON, indented, with a newline at its end: the bytes of /openapi.json and of docs/openapi.json."""
    document = get_openapi(
        title="Twofold",
        version=__version__,
        summary="Take a picture apart into what it is (class) and how it looks (style), and put the codes together again.",
        routes=[route for router in ROUTERS for route in router.routes],
    )
    models = [one for one in _classes(schemas, BaseModel) if one not in _BASES]
    _, definitions = models_json_schema([(one, "validation") for one in models], ref_template="#/components/schemas/{model}")
    document["components"] = {"schemas": dict(sorted(definitions["$defs"].items()))}
    for path in document["paths"].values():
        for operation in path.values():
            operation["summary"] = operation.pop("description").partition("\n")[0].rstrip(".")
            refusals = sorted(operation.pop("x-refusals"), key=lambda code: (STATUS[code], code))
            for status, codes in itertools.groupby(refusals, STATUS.__getitem__):
                operation["responses"][str(status)] = _refusal_response(status, list(codes))
            operation["responses"] = dict(sorted(operation["responses"].items()))
    write_caps(document, (settings or Settings()).max_items)
    return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"


def _refusal_response(status: int, codes: list[str]) -> Spec:
    refusals = [one for one in _classes(errors, errors.TwofoldError) if "code" in vars(one) and one is not errors.BadOutput]
    described = {one.code: (one.__doc__ or "").strip() for one in refusals}
    example = {"type": "about:blank", "title": PHRASE[status], "status": status, "code": codes[0], "detail": "…", "request_id": "…"}
    headers = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}} if status == 503 else {}
    return {
        "description": " ".join(f"`{code}`: {described[code]}".rstrip(": ") for code in codes),
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
        **({"headers": headers} if headers else {}),
    }


def _classes(module: ModuleType, base: type[Kind]) -> list[type[Kind]]:
    """The classes of this base that a module has, in its order."""
    return [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, base)]


if __name__ == "__main__":
    sys.stdout.buffer.write(openapi_json())
