"""The process around the app: sockets, signals, logging, and the limits that must hold before there is a request.

uvicorn does the HTTP; what it lacks is added here: a cap and a deadline on the bytes of a request's head, refusals as problem documents,
and a shutdown that is announced first. This uses uvicorn's internals, so uvicorn is pinned below its next minor version, and
tests/contract/test_uvicorn_protocol.py names all that is used. Routes are not known here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sys
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from twofold.service.http.context import AppState
from twofold.service.http.middleware import LINGER_S
from twofold.service.http.problems import refuse
from twofold.service.runtime import errors
from twofold.service.settings import Settings

log = logging.getLogger("twofold.server")

KEEP_ALIVE_S = 5


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a cap and a deadline on request heads, and a cap on what surrounds a body (chunk sizes, trailers)."""

    in_head = True
    url = b""
    refused = False  # what still comes is discarded
    received = 0  # bytes since the request began
    head_deadline: asyncio.TimerHandle | None = None

    @property
    def settings(self) -> Settings:
        state: AppState = self.config.app.state.state  # type: ignore[union-attr]
        return state.settings

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_head_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        self.received += len(data)
        super().data_received(data)
        if self.refused or self.transport.is_closing():
            return
        settings = self.settings
        if self.in_head:
            if self.received > settings.max_url_bytes + settings.max_header_bytes:
                self._refuse(
                    self._too_long() or errors.HeadersTooLarge(f"The headers may have {settings.max_header_bytes} bytes; send fewer.")
                )
            elif self.received and self.head_deadline is None:
                self._start_head_deadline()
        elif self.received > 8 * settings.max_body_bytes:
            self._refuse(errors.TooLarge(f"A body may have {settings.max_body_bytes} bytes, and less around it."))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:  # trailers, which come after the body, are dropped
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.in_head = False
        self._stop_head_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.in_head, self.received = True, 0

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._too_long() or errors.Malformed("This is not HTTP/1.1."))

    def _too_long(self) -> errors.UriTooLong | None:
        cap = self.settings.max_url_bytes
        return errors.UriTooLong(f"The URL may have {cap} bytes; send the fields in a body.") if len(self.url) > cap else None

    def _start_head_deadline(self) -> None:
        late = errors.SlowSender("The request's head did not arrive in time.")
        self.head_deadline = self.loop.call_later(self.settings.body_timeout_s, self._refuse, late)

    def _stop_head_deadline(self) -> None:
        if self.head_deadline is not None:
            self.head_deadline.cancel()
            self.head_deadline = None

    def _refuse(self, error: errors.TwofoldError) -> None:
        """Refuse and close. While another response of this connection is being sent, or nothing was received, only close."""
        self._stop_head_deadline()
        if self.refused or self.transport.is_closing():
            return
        self.refused = True
        if not self.received or not (self.cycle is None or self.cycle.response_complete):
            self.transport.close()
            return
        self._unset_keepalive_if_required()
        self.transport.write(_raw(refuse(error, secrets.token_hex(8))))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)  # closed on unread data, a socket would lose the response


def _raw(response: Response) -> bytes:
    """The bytes of a whole response that closes the connection."""
    head = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
    return b"HTTP/1.1 %d \r\n%sconnection: close\r\n\r\n%s" % (response.status_code, head, bytes(response.body))


class Server(uvicorn.Server):
    """On the first signal: not ready, `Connection: close` on every response, until no connection is left or the drain time is over.

    Then uvicorn's graceful shutdown: what was accepted is finished. A second signal skips the drain time. The exit status is 0.
    """

    def __init__(self, config: uvicorn.Config, state: AppState) -> None:
        super().__init__(config)
        self.state = state
        self._drain_until = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.state.draining:
            self.should_exit = True
            return
        self.state.draining = True
        self._drain_until = time.monotonic() + self.state.settings.drain_s

    async def on_tick(self, counter: int) -> bool:
        if self.state.draining and (not self.server_state.connections or time.monotonic() >= self._drain_until):
            self.should_exit = True
        return await super().on_tick(counter)


def serve(app: FastAPI, settings: Settings) -> None:
    """Run until a signal. Logs one line with the address once it listens. Raises SystemExit when it cannot."""
    logging_to_stderr(settings.log_level)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=GuardedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.deadline_s)) + 1,
    )
    Server(config, app.state.state).run()


class JsonLines(logging.Formatter):
    """One JSON object per record, with what was passed as `extra`."""

    _plain = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message"}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {"time": f"{record.created:.3f}", "level": record.levelname.lower(), "logger": record.name}
        line["message"] = record.getMessage()
        line |= {key: value for key, value in record.__dict__.items() if key not in self._plain}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def logging_to_stderr(level: str) -> None:
    """Send every record of `level` and above to stderr as JsonLines, warnings included."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
