"""`Client` and `AsyncClient`: drive a plan over httpx, trying again where that is of use.

Both have the calls of `calls`, each with its signature and docstring there. They do not know what a call asks for.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import httpx

from twofold import __version__
from twofold.service.client import calls
from twofold.service.client.calls import Ask, Plan
from twofold.service.client.errors import Patience, read
from twofold.service.runtime.errors import TwofoldError

TIMEOUT_S = 30.0  # above the deadline of a request that the service holds by default

P = ParamSpec("P")
T = TypeVar("T")
_HEADERS = {"user-agent": f"twofold/{__version__}"}


class Steps:
    """A plan as the requests and the pauses (seconds) that it takes, one after the other: what both clients have in common.

    A step is answered with its response, or with the exception that it raised.
    """

    def __init__(self, build_request: Callable[..., httpx.Request], patience: Patience) -> None:
        self._build_request, self._patience = build_request, patience
        self._once: dict[str, object] = {}  # by path, answers that are good for all later requests

    def __call__(self, plan: Plan[T]) -> Generator[httpx.Request | float, Any, T]:
        try:
            ask = next(plan)
            while True:
                try:
                    value = self._once[ask.path] if ask.once and ask.path in self._once else (yield from self._request(ask))
                except Exception as error:
                    ask = plan.throw(error)
                else:
                    ask = plan.send(value)
        except StopIteration as done:
            return cast(T, done.value)

    def _request(self, ask: Ask) -> Generator[httpx.Request | float, Any, object]:
        patience = self._patience if ask.patient else Patience(retries=0)
        tries, waited_s = 0, 0.0
        while True:
            try:
                value = read((yield self._build_request(ask.method, ask.path, json=ask.body, headers={"accept": ask.accept})))
            except (TwofoldError, httpx.TransportError) as error:
                tries += 1
                pause_s = patience.pause_s(error, tries, waited_s)
            else:
                if ask.once:
                    self._once[ask.path] = value
                return value
            yield pause_s
            waited_s += pause_s


def _now(plan: Callable[P, Plan[T]]) -> Callable[Concatenate[Client, P], T]:
    """A plan as a method that returns its result."""

    @functools.wraps(plan)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.perform(plan(*args, **kwargs))

    return call


def _awaited(plan: Callable[P, Plan[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """A plan as a method to await."""

    @functools.wraps(plan)
    async def call(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.perform(plan(*args, **kwargs))

    return call


class Client:
    """A Twofold service at `url`. Close it, or use it in `with`; it may be used by several threads.

    A call that is larger than the caps of the service is divided into several requests; the caps are read once. It tries again at most
    `retries` times, and waits at most `max_wait_s` for that in all. `transport` and `sleep` are replaced in tests.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        retries: int = 3,
        max_wait_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._http = httpx.Client(base_url=url, timeout=timeout_s, transport=transport, headers=_HEADERS)
        self._steps, self._sleep = Steps(self._http.build_request, Patience(retries, max_wait_s)), sleep

    generate = _now(calls.generate)
    encode = _now(calls.encode)
    decode = _now(calls.decode)
    swap = _now(calls.swap)
    interpolate = _now(calls.interpolate)
    animate = _now(calls.animate)
    edit = _now(calls.edit)
    inpaint = _now(calls.inpaint)
    inspect = _now(calls.inspect)
    models = _now(calls.models)
    classes = _now(calls.classes)
    card = _now(calls.card)
    ready = _now(calls.ready)

    def perform(self, plan: Plan[T]) -> T:
        """Drive a plan to its result. Raises what the service refuses, and Unreachable."""
        steps = self._steps(plan)
        try:
            step = next(steps)
            while True:
                try:
                    done = self._sleep(step) if isinstance(step, float) else self._http.send(step)
                except httpx.TransportError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(done)
        except StopIteration as result:
            return cast(T, result.value)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """The same as `Client`, to be awaited: `await client.generate(...)`, `async with AsyncClient(url) as client`."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        retries: int = 3,
        max_wait_s: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=timeout_s, transport=transport, headers=_HEADERS)
        self._steps, self._sleep = Steps(self._http.build_request, Patience(retries, max_wait_s)), sleep

    generate = _awaited(calls.generate)
    encode = _awaited(calls.encode)
    decode = _awaited(calls.decode)
    swap = _awaited(calls.swap)
    interpolate = _awaited(calls.interpolate)
    animate = _awaited(calls.animate)
    edit = _awaited(calls.edit)
    inpaint = _awaited(calls.inpaint)
    inspect = _awaited(calls.inspect)
    models = _awaited(calls.models)
    classes = _awaited(calls.classes)
    card = _awaited(calls.card)
    ready = _awaited(calls.ready)

    async def perform(self, plan: Plan[T]) -> T:
        """Drive a plan to its result. Raises what the service refuses, and Unreachable."""
        steps = self._steps(plan)
        try:
            step = next(steps)
            while True:
                try:
                    done = await (self._sleep(step) if isinstance(step, float) else self._http.send(step))
                except httpx.TransportError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(done)
        except StopIteration as result:
            return cast(T, result.value)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
