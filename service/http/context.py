"""What all requests share, what is known of one request, and whether its client is still connected."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple

from starlette.requests import Request

from twofold.service.runtime.registry import Registry
from twofold.service.settings import Settings
from twofold.service.telemetry import Metrics

T = TypeVar("T")
Args = TypeVarTuple("Args")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass
class AppState:
    """What all requests share, for the life of the app. `draining`: the server is shutting down and refuses to be ready."""

    settings: Settings
    registry: Registry
    metrics: Metrics
    draining: bool = False


@dataclass(slots=True)
class RequestContext:
    """One request: its id and arrival, and what headers, metrics and log say of it. Filled by the handlers as they learn it."""

    state: AppState
    request_id: str
    arrived: float  # monotonic seconds
    model: str = ""  # id of the model that was used; "" is the default's
    seed: int | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    status: int = 0  # of the response; 0 until it begins
    reason: str = ""  # code of the refusal, if it was one
    body_read: bool = False
    gone: bool = False  # the client disconnected

    @property
    def deadline(self) -> float:
        """Monotonic seconds; counted from arrival."""
        return self.arrived + self.state.settings.deadline_s

    def spent(self, stage: str, seconds: float) -> None:
        """Add seconds to a stage: queue, preprocess, model or encode."""
        self.timings_ms[stage] = self.timings_ms.get(stage, 0.0) + seconds * 1000

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the time of a block to a stage, unless it raises."""
        started = time.perf_counter()
        yield
        self.spent(stage, time.perf_counter() - started)


async def computed(large: bool, work: Callable[[*Args], T], *args: *Args) -> T:
    """The result of `work`, off the event loop where it is `large`: where it takes longer than a change of threads."""
    return await asyncio.to_thread(work, *args) if large else work(*args)


def context_of(request: Request) -> RequestContext:
    """What RequestMiddleware noted of this request."""
    context: RequestContext = request.scope["context"]
    return context


class Connected:
    """`with Connected(request):` cancels the handler when its client disconnects, so that its rows leave the queue too.

    The body must have been read: this consumes what the client still sends.
    """

    def __init__(self, request: Request) -> None:
        self._request = request

    def __enter__(self) -> None:
        self._watcher = asyncio.create_task(self._watch(asyncio.current_task()))

    def __exit__(self, *_: object) -> None:
        self._watcher.cancel()

    async def _watch(self, handler: asyncio.Task[object] | None) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        context_of(self._request).gone = True
        if handler is not None:
            handler.cancel()
