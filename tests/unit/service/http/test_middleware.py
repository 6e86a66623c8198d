"""The middleware: who left, what failed, what came too late, and what is said of it."""

import asyncio
import json
import logging

import httpx
import pytest

from twofold.service.runtime.errors import BadOutput, QueueFull
from twofold.service.runtime.registry import load
from twofold.service.settings import Settings


class Wrapped:
    """A real model whose decode is replaced."""

    def __init__(self, model, decode):
        self._model = model
        self.decode = decode

    def __getattr__(self, name):
        return getattr(self._model, name)


@pytest.fixture
def client_with(open_client, toy_bundle):
    async def make(decode, **settings):
        return await open_client(Wrapped(load(toy_bundle, Settings()), decode), **settings)

    return make


def raising(error):
    async def decode(z_s, z_u, deadline):
        raise error

    return decode


async def test_a_handler_ends_when_its_client_leaves(client_with):
    ended, begun = asyncio.Event(), asyncio.Event()

    async def decode(z_s, z_u, deadline):
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    client = await client_with(decode)
    sent, came = [], asyncio.Queue()
    scope = {"type": "http", "method": "GET", "path": "/generate", "raw_path": b"/generate", "query_string": b"class=1", "headers": []}
    scope |= {
        "root_path": "",
        "scheme": "http",
        "server": ("test", 80),
        "client": ("c", 1),
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }

    async def send(message):
        sent.append(message)

    serving = asyncio.create_task(client.app(scope, came.get, send))
    await begun.wait()
    came.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    came.put_nowait({"type": "http.disconnect"})
    await asyncio.wait_for(serving, 10)
    assert ended.is_set()
    assert sent == []
    assert 'twofold_requests_total{code="499",route="/generate"} 1.0' in (await client.get("/metrics")).text


@pytest.mark.parametrize("error", [RuntimeError("secret /path"), BadOutput("secret row"), ZeroDivisionError("secret")])
async def test_our_own_fault_is_a_500_that_discloses_nothing_and_is_logged(client_with, caplog, error):
    client = await client_with(raising(error))
    answer = await client.get("/generate?class=1", headers={"x-request-id": "find-me"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.request_id == "find-me"
    assert "secret" in caplog.text


async def test_a_full_queue_says_when_to_come_back(client_with):
    client = await client_with(raising(QueueFull("full", retry_after_s=2.3)))
    answer = await client.get("/generate?class=1")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "queue_full", "3")


async def test_the_probes_answer_while_the_model_is_stuck(client_with):
    stuck = asyncio.Event()

    async def decode(z_s, z_u, deadline):
        await stuck.wait()
        raise QueueFull("full")

    client = await client_with(decode)
    waiting = [asyncio.create_task(client.get("/generate?class=1")) for _ in range(20)]
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await client.get(path)).status_code == 200
    stuck.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {503}


async def test_the_deadline_counts_from_arrival(client_with):
    seen = []

    async def decode(z_s, z_u, deadline):
        seen.append(deadline - asyncio.get_running_loop().time())
        raise QueueFull("full")

    client = await client_with(decode, deadline_s=7)

    async def slow_body():
        yield b'{"class":'
        await asyncio.sleep(0.3)
        yield b"1}"

    await client.post("/generate", content=slow_body(), headers={"content-type": "application/json"})
    assert seen[0] < 7 - 0.29


async def test_a_passed_deadline_is_a_504(open_client):
    client = await open_client(deadline_s=0.05)

    async def slow_body():
        yield b'{"class":'
        await asyncio.sleep(0.1)
        yield b"1}"

    answer = await client.post("/generate", content=slow_body(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_passed")


async def test_a_slow_body_is_a_408(open_client):
    client = await open_client(body_timeout_s=0.05)

    async def endless():
        yield b"{"
        await asyncio.sleep(30)

    answer = await client.post("/generate", content=endless(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"], answer.headers["connection"]) == (408, "slow_sender", "close")


async def test_requests_are_logged_with_their_id_and_route_but_never_their_values(client, caplog):
    caplog.set_level(logging.INFO)
    await client.get("/generate?class=Zebra", headers={"x-request-id": "r-1"})
    await client.get("/livez")
    (record,) = [record for record in caplog.records if record.name == "twofold.request"]
    said = {key: getattr(record, key) for key in ("request_id", "method", "route", "status", "reason")}
    assert said == {"request_id": "r-1", "method": "GET", "route": "/generate", "status": 422, "reason": "invalid"}
    assert "Zebra" not in json.dumps(record.__dict__, default=str)


async def test_a_problem_stays_within_its_size_whatever_the_class_names(client):
    from twofold.service.http.problems import refuse
    from twofold.service.runtime.errors import Invalid

    answer = refuse(Invalid("There is no such class.", field="class", allowed="ü" * 600), "r-1")
    assert len(answer.body) <= 1024
    assert "allowed" not in json.loads(answer.body)


async def test_an_answer_that_fails_half_way_is_cut(client):
    from twofold.service.http.middleware import RequestMiddleware

    async def half(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("half way")

    middleware = RequestMiddleware(half, client.app.state.state, lambda error, request_id: None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(middleware), base_url="http://test") as other:
        with pytest.raises(RuntimeError, match="half way"):
            await other.get("/")
