"""Puts the house together: state, routes, the gate, and the one table from refusals to HTTP statuses.

It does not know what any route does.
"""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from twofold import __version__
from twofold.service.http import schemas
from twofold.service.http.middleware import AppState, RequestMiddleware
from twofold.service.http.openapi import write_caps
from twofold.service.http.routes import (
    decode,
    edit,
    encode,
    generate,
    inference,
    inpaint,
    inspect,
    interpolate,
    models,
    pages,
    probes,
    swap,
)
from twofold.service.runtime import errors
from twofold.service.runtime.registry import Registry
from twofold.service.settings import Settings
from twofold.service.telemetry import Metrics

STATUS: dict[str, int] = {
    errors.Malformed.code: 400,
    errors.NotFound.code: 404,
    errors.MethodNotAllowed.code: 405,
    errors.NotAcceptable.code: 406,
    errors.SlowSender.code: 408,
    errors.TooLarge.code: 413,
    errors.UriTooLong.code: 414,
    errors.UnsupportedMedia.code: 415,
    errors.Invalid.code: 422,
    errors.UndecodablePicture.code: 422,
    errors.HeadersTooLarge.code: 431,
    errors.TwofoldError.code: 500,
    errors.Unavailable.code: 503,
    errors.QueueFull.code: 503,
    errors.Draining.code: 503,
    errors.NotReady.code: 503,
    errors.DeadlinePassed.code: 504,
}
# RFC 9110's phrases; Python's own differ between its versions, which would change answers and the committed openapi.json.
PHRASE = {status: HTTPStatus(status).phrase for status in STATUS.values()} | {
    413: "Content Too Large",
    414: "URI Too Long",
    422: "Unprocessable Content",
}
ROUTERS = (
    generate.router,
    encode.router,
    decode.router,
    swap.router,
    interpolate.router,
    edit.router,
    inpaint.router,
    inspect.router,
    models.router,
    probes.router,
    inference.router,
)
PROBLEM = "application/problem+json"
MAX_PROBLEM_BYTES = 1024
_OURS = "Something failed on our side; try again, and tell the operator the request id."
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


def create_app(settings: Settings, registry: Registry, metrics: Metrics) -> FastAPI:
    """The ASGI app on loaded models. Its lifespan starts and drains their queues."""
    state = AppState(settings, registry, metrics)
    metrics.watch_queue(lambda: registry.queued)
    for model in registry.models.values():
        metrics.model_info.labels(model.card.name, model.card.model_hash, model.provider, model.card.precision).set(1)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        registry.start()
        try:
            yield
        finally:
            await registry.aclose()

    app = FastAPI(
        title="Twofold", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )
    app.state.state = state
    for router in (*ROUTERS, pages.page_router()):
        app.router.routes.extend(router.routes)  # flat: an included router would be a second dispatch per request
    app.add_exception_handler(HTTPException, _routing_refusal)
    app.add_middleware(RequestMiddleware, state=state, refuse=refuse)
    document = functools.cache(functools.partial(openapi_json, settings))  # made when first asked for, not at every start

    async def describe(_: Request) -> Response:
        return Response(document(), media_type="application/json")

    app.add_route("/openapi.json", describe, methods=["GET"], include_in_schema=False)
    return app


# -------------------------------------------------------------------------------------------------------------- refusals


def refuse(error: Exception, request_id: str, path: str = "") -> Response:
    """RFC 9457, at most MAX_PROBLEM_BYTES. Of an error that is not in the tree nothing is told.

    Below /v2 the detail stands in `error` too, where clients of the Open Inference Protocol look for it.
    """
    known = error if isinstance(error, errors.TwofoldError) and error.code != errors.TwofoldError.code else errors.TwofoldError(_OURS)
    status = STATUS[known.code]
    problem = {
        "type": "about:blank",
        "title": PHRASE[status],
        "status": status,
        "code": known.code,
        "detail": known.detail,
        "field": known.field,
        "allowed": known.allowed,
        "error": known.detail if f"{path}/".startswith("/v2/") else None,
        "request_id": request_id,
    }
    body = _compact(problem)
    if len(body) > MAX_PROBLEM_BYTES:  # class names may be long
        body = _compact(problem | {"allowed": None})
    headers = {"cache-control": "no-store"}
    if isinstance(known, errors.Unavailable):
        headers["retry-after"] = str(max(1, math.ceil(known.retry_after_s)))
    if isinstance(known, NoSuchMethod):
        headers["allow"] = known.methods
    return Response(body, status, headers, PROBLEM)


def _compact(problem: dict[str, Any]) -> bytes:
    return json.dumps({key: value for key, value in problem.items() if value is not None}, ensure_ascii=False).encode()


class NoSuchMethod(errors.MethodNotAllowed):
    """Carries what the Allow header says."""

    def __init__(self, methods: str) -> None:
        super().__init__(f"This route takes {methods}.", allowed=methods)
        self.methods = methods


async def _routing_refusal(request: Request, error: Exception) -> Response:
    """The router's own 404 and 405, raised again as ours; every method of the path is named, not only its first route's."""
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    if methods:
        raise NoSuchMethod(", ".join(sorted(methods)))
    raise errors.NotFound("There is no such route; /docs lists them.")


# --------------------------------------------------------------------------------------------------------- documentation


def openapi_json(settings: Settings | None = None) -> bytes:
    """The OpenAPI document: FastAPI's, with our schemas, the caps of the settings (None: the defaults) and every refusal of every route.

    `python -m twofold.service.http.app` prints it.
    """
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
    described: Callable[[str], str] = {error.code: (error.__doc__ or "").strip() for error in _tree()}.__getitem__
    example = {"type": "about:blank", "title": PHRASE[status], "status": status, "code": codes[0], "detail": "…", "request_id": "…"}
    headers = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}} if status == 503 else {}
    return {
        "description": " ".join(f"`{code}`: {described(code)}".rstrip(": ") for code in codes),
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
        **({"headers": headers} if headers else {}),
    }


def _tree() -> list[type[errors.TwofoldError]]:
    found = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.TwofoldError)]
    return [one for one in found if "code" in vars(one) and one is not errors.BadOutput]


if __name__ == "__main__":
    sys.stdout.buffer.write(openapi_json())
