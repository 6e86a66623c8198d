"""Refusals as HTTP responses: the one table from the exceptions of `runtime.errors` to statuses, and their body of RFC 9457.

It does not know routes; what the router itself refuses (no such path or method) gets the same form.
"""

from __future__ import annotations

import json
import math
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from twofold.service.runtime import errors

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
PROBLEM = "application/problem+json"
MAX_PROBLEM_BYTES = 1024
_INTERNAL = "Something failed on our side; try again, and tell the operator the request id."


def refuse(error: Exception, request_id: str, path: str = "") -> Response:
    """The response to an error: RFC 9457, at most MAX_PROBLEM_BYTES. An error that is no TwofoldError discloses nothing.

    Below /v2 the detail is in `error` too, where clients of the Open Inference Protocol expect it.
    """
    known = error if isinstance(error, errors.TwofoldError) and error.code != errors.TwofoldError.code else errors.TwofoldError(_INTERNAL)
    status = STATUS[known.code]
    problem: dict[str, object] = {
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


def _compact(problem: dict[str, object]) -> bytes:
    return json.dumps({key: value for key, value in problem.items() if value is not None}, ensure_ascii=False).encode()


class NoSuchMethod(errors.MethodNotAllowed):
    """405 with the value of the Allow header."""

    def __init__(self, methods: str) -> None:
        super().__init__(f"This route takes {methods}.", allowed=methods)
        self.methods = methods


async def refuse_routing(request: Request, error: Exception) -> Response:
    """Raise the router's own 404 and 405 again as ours; every method of the path is named, not only its first route's."""
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    if methods:
        raise NoSuchMethod(", ".join(sorted(methods)))
    raise errors.NotFound("There is no such route; /docs lists them.")
