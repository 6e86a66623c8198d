"""GET /livez, /readyz, /metrics, /version: for monitoring. Never queued, never shed, independent of the load."""

from __future__ import annotations

import platform

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold import __version__
from twofold.service.http.context import AppState, context_of
from twofold.service.http.openapi import EVERYWHERE, plain_route
from twofold.service.http.responses import NO_STORE, plain_json
from twofold.service.runtime.errors import Draining, NotReady
from twofold.service.runtime.registry import Model, Registry
from twofold.service.telemetry import CONTENT_TYPE

router = APIRouter(tags=["operation"])


@router.get("/livez", **plain_route("livez", example={"status": "alive"}))
async def livez(request: HttpRequest) -> Response:
    """Whether the process answers, whatever the model and the load."""
    return plain_json({"status": "alive"}, NO_STORE)


@router.get("/readyz", **plain_route("readyz", refusals=("draining", "not_ready", *EVERYWHERE), example={"status": "ready"}))
async def readyz(request: HttpRequest) -> Response:
    """Whether to send requests here: models loaded, queues moving, not shutting down."""
    state = context_of(request).state
    check_ready(state, state.registry)
    served = {model.card.id: model.provider for model in state.registry.models.values()}
    return plain_json({"status": "ready", "models": served}, NO_STORE)


def check_ready(state: AppState, served: Registry | Model) -> None:
    """Raises Draining or NotReady."""
    if state.draining:
        raise Draining("The server is shutting down; ask another one.")
    if not served.healthy:
        raise NotReady("A model's queue does not move; ask another server.")


@router.get("/metrics", **plain_route("metrics", media="text/plain"))
async def metrics(request: HttpRequest) -> Response:
    """Prometheus' text format."""
    return Response(context_of(request).state.metrics.render(), headers={**NO_STORE, "content-type": CONTENT_TYPE})


@router.get("/version", **plain_route("version", example={"service": "0.1.0", "python": "3.11.4"}))
async def version(request: HttpRequest) -> Response:
    """Versions of the service and of Python."""
    return plain_json({"service": __version__, "python": platform.python_version()}, NO_STORE)
