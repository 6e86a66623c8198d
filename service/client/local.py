"""`Local`: the whole service in this process, without a socket. Its answers are to the byte those of a server.

It knows how to run an app on an event loop of its own; not what the app does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from twofold.service.client.http import Client

if TYPE_CHECKING:
    from twofold.service.runtime.array_api import Arrays
    from twofold.service.settings import Settings

_PATIENT_S = 3600.0  # nobody else waits here: a slow machine may take its time

OpenTransport = Callable[[], AbstractAsyncContextManager[httpx.AsyncBaseTransport]]


class InProcess(httpx.BaseTransport):
    """Answers from an async transport that lives on an event loop of its own, in a thread that starts with the first request."""

    def __init__(self, open_transport: OpenTransport) -> None:
        self._open = open_transport
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            if self._thread is None:
                started: Future[None] = Future()
                self._thread = threading.Thread(target=asyncio.run, args=(self._live(started),), name="twofold", daemon=True)
                self._thread.start()
                try:
                    started.result()
                except Exception:
                    self._thread.join()  # it has ended; the next request tries again
                    self._thread = None
                    raise
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop).result()

    async def _live(self, started: Future[None]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self._open() as self._transport:
                started.set_result(None)
                await self._stop.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())

    def close(self) -> None:
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._thread = None


class Local(Client):
    """A bundle (a folder, or hf:USER/NAME[@REVISION]; None: what the settings say, else the embedded one) without a server.

    Loaded at once; raises ContractError when it is not a good bundle. The service starts with the first call. `arrays` is the same
    model by the array.
    """

    def __init__(self, bundle: Path | str | None = None, settings: Settings | None = None) -> None:
        from twofold.service.runtime.registry import Registry  # a client of a server needs no engine
        from twofold.service.settings import Settings

        changes = {"deadline_s": _PATIENT_S} | ({} if bundle is None else {"bundle": (Path(bundle),)})
        self._settings = (settings or Settings()).model_copy(update=changes)
        self._registry = Registry.open(self._settings)
        super().__init__("http://local", timeout_s=_PATIENT_S, transport=InProcess(self._serving))

    @cached_property
    def arrays(self) -> Arrays:
        """The default model, arrays in and arrays out."""
        from twofold.service.runtime.array_api import Arrays

        return Arrays(self._registry.get(), self._settings)

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[httpx.AsyncBaseTransport]:
        from twofold.service.http.app import create_app  # who wants arrays alone needs no web framework
        from twofold.service.telemetry import Metrics

        app = create_app(self._settings, self._registry, Metrics())
        async with app.router.lifespan_context(app):
            yield httpx.ASGITransport(app, raise_app_exceptions=False)
