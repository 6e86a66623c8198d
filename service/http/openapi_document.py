"""The OpenAPI document: FastAPI's, with our schemas and every refusal of every route.

What a route declares comes from `http.openapi`, what a refusal looks like from `http.problems`. `python -m
twofold.service.http.openapi_document` prints it.
"""

from __future__ import annotations

import itertools
import json
import sys

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from twofold import __version__
from twofold.service.http import schemas
from twofold.service.http.openapi import Spec, write_caps
from twofold.service.http.problems import PHRASE, PROBLEM, STATUS
from twofold.service.http.routes import ROUTERS
from twofold.service.runtime.errors import BY_CODE
from twofold.service.settings import Settings

_BASES = (BaseModel, schemas.Strict, schemas.Request, schemas.Part)


def openapi_json(settings: Settings | None = None) -> bytes:
    """The document as JSON, indented, with a newline at its end: the bytes of /openapi.json and of docs/openapi.json."""
    document = get_openapi(
        title="Twofold",
        version=__version__,
        summary="Take a picture apart into what it is (class) and how it looks (style), and put the codes together again.",
        routes=[route for router in ROUTERS for route in router.routes],
    )
    models = [one for one in vars(schemas).values() if isinstance(one, type) and issubclass(one, BaseModel) and one not in _BASES]
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
    described = {code: (kind.__doc__ or "").strip() for code, kind in BY_CODE.items()}
    example = {"type": "about:blank", "title": PHRASE[status], "status": status, "code": codes[0], "detail": "…", "request_id": "…"}
    headers = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}} if status == 503 else {}
    return {
        "description": " ".join(f"`{code}`: {described[code]}".rstrip(": ") for code in codes),
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
        **({"headers": headers} if headers else {}),
    }


if __name__ == "__main__":
    sys.stdout.buffer.write(openapi_json())
