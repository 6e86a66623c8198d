"""What every request passes through: its id, caps on URL and headers, refusals, headers of the response, metrics, the log.

Pure ASGI, one layer. It does not know routes, pictures or models; `refuse`, which makes the response of a refusal, is passed in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twofold.service.http.context import REQUEST_ID, AppState, RequestContext
from twofold.service.runtime.errors import HeadersTooLarge, SlowSender, TwofoldError, UriTooLong

log = logging.getLogger("twofold.request")

QUIET = frozenset({"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})  # probes are logged at debug level only
LINGER_S = 2.0  # how long the rest of an unread body is discarded, so that the client can read the refusal
GONE = 499  # in log and metrics: the client disconnected before its response
_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class RequestMiddleware:
    """ASGI middleware. `refuse(error, request_id, path)` makes the response to an exception of the app."""

    def __init__(self, app: ASGIApp, state: AppState, refuse: Callable[[Exception, str, str], Response]) -> None:
        self.app = app
        self.state = state
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        offered = headers.get("x-request-id", "")
        request_id = offered if REQUEST_ID.fullmatch(offered) else secrets.token_hex(8)
        context = scope["context"] = RequestContext(self.state, request_id, time.monotonic())
        body = BodyStream(context, headers, receive)
        answer = ResponseHeaders(context, send, body)
        try:
            self._check_caps(scope)
            await self.app(scope, body.receive, answer.send)
        except asyncio.CancelledError:
            if not context.gone:
                raise
            context.status = context.status or GONE
        except Exception as error:
            if context.status:
                raise  # part of the response has been sent: the server must close the connection
            if not isinstance(error, TwofoldError) or error.code == "internal":
                log.exception("request failed", extra={"request_id": context.request_id})
            context.reason = error.code if isinstance(error, TwofoldError) else "internal"
            await self.refuse(error, context.request_id, scope["path"])(scope, body.receive, answer.send)
        finally:
            self._record(scope, context)

    def _check_caps(self, scope: Scope) -> None:
        settings = self.state.settings
        url = len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"]) + bool(scope["query_string"])
        if url > settings.max_url_bytes:
            raise UriTooLong(f"The URL may have {settings.max_url_bytes} bytes; send the fields in a JSON body.")
        if sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > settings.max_header_bytes:
            raise HeadersTooLarge(f"The headers may have {settings.max_header_bytes} bytes; send fewer.")

    def _record(self, scope: Scope, context: RequestContext) -> None:
        metrics = self.state.metrics
        route = getattr(scope.get("route"), "path", "unmatched")
        metrics.requests.labels(route, str(context.status)).inc()
        if context.reason:
            metrics.rejected.labels(context.reason).inc()
        for stage, spent_ms in context.timings_ms.items():
            metrics.stage.labels(stage).observe(spent_ms / 1000)
        level = logging.DEBUG if route in QUIET else logging.INFO
        if log.isEnabledFor(level):
            extra = {"request_id": context.request_id, "method": scope["method"], "route": route, "status": context.status}
            extra |= {"ms": round((time.monotonic() - context.arrived) * 1000, 3)} | ({"reason": context.reason} if context.reason else {})
            log.log(level, "request", extra=extra)


class BodyStream:
    """`receive` that notes whether the body was read whole, and can discard the rest when it was not."""

    def __init__(self, context: RequestContext, headers: Headers, receive: Receive) -> None:
        self.context = context
        self._receive = receive
        context.body_read = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers

    async def receive(self) -> Message:
        """The next message of the client."""
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self.context.body_read = True
        return message

    async def discard(self) -> None:
        """Read on until the end, four body caps or LINGER_S: a connection closed on unread data would lose the response."""
        left = 4 * self.context.state.settings.max_body_bytes
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self.context.body_read and left > 0:
                    left -= len((await self.receive()).get("body", b""))


class ResponseHeaders:
    """`send` that adds the headers of every response, and reads an unread body to its end before the last message."""

    def __init__(self, context: RequestContext, send: Send, body: BodyStream) -> None:
        self.context = context
        self._send = send
        self.body = body
        self._unread = False

    async def send(self, message: Message) -> None:
        """Pass on a message of the app."""
        if message["type"] == "http.response.start":
            self.context.status = message["status"]
            self._unread = not self.context.body_read
            self._add_headers(message)
        elif self._unread and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            if self.context.reason != SlowSender.code:
                await self.body.discard()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    def _add_headers(self, message: Message) -> None:
        context = self.context
        model = context.model or context.state.registry.get().card.id
        added = [(b"x-request-id", context.request_id.encode()), (b"x-model", model.encode()), *_SECURITY]
        if context.seed is not None:
            added.append((b"x-seed", str(context.seed).encode()))
        stages = ", ".join(f"{stage};dur={spent:.3f}" for stage, spent in context.timings_ms.items())
        total = f"total;dur={(time.monotonic() - context.arrived) * 1000:.3f}"
        added.append((b"server-timing", f"{stages}, {total}".encode() if stages else total.encode()))
        if self._unread or context.state.draining:
            added.append((b"connection", b"close"))
        message["headers"] = [*message.get("headers", ()), *added]
