"""The ASGI application: state, routes, the middleware around them, and the lifespan that starts and drains the queues.

It does not know what any route does.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from twofold import __version__
from twofold.service.http.context import AppState
from twofold.service.http.middleware import RequestMiddleware
from twofold.service.http.openapi_document import openapi_json
from twofold.service.http.problems import refuse, refuse_routing
from twofold.service.http.routes import ROUTERS, pages
from twofold.service.runtime.registry import Registry
from twofold.service.settings import Settings
from twofold.service.telemetry import Metrics


def create_app(settings: Settings, registry: Registry, metrics: Metrics) -> FastAPI:
    """The ASGI app on loaded models. Its lifespan starts and drains their queues.

    `registry` must not be started yet; the app's state of all requests is at `app.state.state`.
    """
    state = AppState(settings, registry, metrics)
    metrics.queue_rows.set_function(lambda: registry.queued)  # called when the metrics are collected
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
    app.add_exception_handler(HTTPException, refuse_routing)
    app.add_middleware(RequestMiddleware, state=state, refuse=refuse)
    document = functools.cache(functools.partial(openapi_json, settings))  # made when first asked for, not at every start

    async def describe(_: Request) -> Response:
        return Response(document(), media_type="application/json")

    app.add_route("/openapi.json", describe, methods=["GET"], include_in_schema=False)
    return app
