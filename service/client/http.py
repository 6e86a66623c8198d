"""`Client` and `AsyncClient`: drive a plan over httpx, trying again where that is of use.

Both have the calls of `calls`, each with its signature and docstring there. They do not know what a call asks for.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

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
_FAILED = (TwofoldError, httpx.TransportError)


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
        self._patience, self._sleep = Patience(retries, max_wait_s), sleep
        self._once: dict[str, Any] = {}  # by path, answers that are good for all later requests

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
        try:
            ask = next(plan)
            while True:
                try:
                    value = self._answer(ask)
                except Exception as error:
                    ask = plan.throw(error)
                else:
                    ask = plan.send(value)
        except StopIteration as done:
            result: T = done.value
            return result

    def _answer(self, ask: Ask) -> Any:
        if not ask.once:
            return self._request(ask)
        if ask.path not in self._once:
            self._once[ask.path] = self._request(ask)
        return self._once[ask.path]

    def _request(self, ask: Ask) -> Any:
        patience = self._patience if ask.patient else Patience(retries=0)
        tries, waited_s = 0, 0.0
        while True:
            try:
                return read(self._http.request(ask.method, ask.path, json=ask.body, headers={"accept": ask.accept}))
            except _FAILED as error:
                tries += 1
                pause_s = patience.pause_s(error, tries, waited_s)
            self._sleep(pause_s)
            waited_s += pause_s

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
        self._patience, self._sleep = Patience(retries, max_wait_s), sleep
        self._once: dict[str, Any] = {}  # by path, answers that are good for all later requests

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
        try:
            ask = next(plan)
            while True:
                try:
                    value = await self._answer(ask)
                except Exception as error:
                    ask = plan.throw(error)
                else:
                    ask = plan.send(value)
        except StopIteration as done:
            result: T = done.value
            return result

    async def _answer(self, ask: Ask) -> Any:
        if not ask.once:
            return await self._request(ask)
        if ask.path not in self._once:
            self._once[ask.path] = await self._request(ask)
        return self._once[ask.path]

    async def _request(self, ask: Ask) -> Any:
        patience = self._patience if ask.patient else Patience(retries=0)
        tries, waited_s = 0, 0.0
        while True:
            try:
                return read(await self._http.request(ask.method, ask.path, json=ask.body, headers={"accept": ask.accept}))
            except _FAILED as error:
                tries += 1
                pause_s = patience.pause_s(error, tries, waited_s)
            await self._sleep(pause_s)
            waited_s += pause_s

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
