"""A real server against hostile connections: every one is answered or closed, and a valid client beside them is served."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading

import httpx
import pytest

from tests import drawings
from tests.serving import serving

GET = b"GET /generate?class=1&seed=5 HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /encode HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"


@pytest.fixture(scope="module")
def server(toy_bundle):
    with serving(toy_bundle, body_timeout_s=1) as running:
        yield running


@pytest.fixture(autouse=True)
def _still_serves(server):
    yield
    assert server.process.poll() is None
    assert httpx.get(f"{server.url}/generate?class=1&seed=5").content.startswith(b"\x89PNG")


def talk(server, *pieces: bytes, half_close: bool = False) -> bytes:
    """Send the pieces, then read until the server closes (or 5 s pass without a byte)."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        with contextlib.suppress(OSError):  # the server may refuse before everything is sent
            for piece in pieces:
                connection.sendall(piece)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(65536):
                answer += data
    return answer


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:80]
    return int(answer[9:12])


def problem(answer: bytes) -> dict:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    "head", [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Half: "], ids=["idle", "half line", "half head"]
)
def test_a_head_that_does_not_come_is_cut(server, head):
    answer = talk(server, head)
    assert answer == b"" if not head else status(answer) == 408


def test_a_body_that_was_promised_and_does_not_come_is_408(server):
    answer = talk(server, POST + b"Content-Length: 100\r\n\r\n" + b"x" * 10)
    assert status(answer) == 408
    assert problem(answer)["code"] == "slow_sender"
    assert b"connection: close" in answer.lower()


def test_chunks_without_end_are_cut_at_the_cap(server):
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    assert status(talk(server, POST + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 160)) == 413


def test_a_body_above_its_cap_is_refused_readably_before_it_is_read(server):
    answer = httpx.post(f"{server.url}/encode", content=bytes(20 * 2**20), headers={"content-type": "image/png"})
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"


def test_many_small_chunks_are_a_body_like_any_other(server):
    picture = drawings.png()
    chunks = b"".join(b"1\r\n" + picture[k : k + 1] + b"\r\n" for k in range(len(picture)))
    assert status(talk(server, POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")) == 200


def test_chunk_headers_and_trailers_cannot_grow_without_end(server):
    body = POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    answer = talk(server, body, *[b"X-Trailer: " + b"t" * 65000 + b"\r\n"] * 1100)
    assert answer == b"" or status(answer) in (400, 408, 413, 415)


@pytest.mark.parametrize(
    "request_",
    [
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Bad: a\x00b\r\n\r\n",
        b"GET /l\xffvez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"BREW /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["both lengths", "two lengths", "negative", "huge", "chunk overflow", "NUL", "non-ASCII", "no slash", "method", "TLS", "h2"],
)
def test_what_is_not_http_is_refused_as_malformed(server, request_):
    answer = talk(server, request_)
    assert answer == b"" or status(answer) in (400, 405), answer[:200]
    if answer and status(answer) == 400:
        assert problem(answer)["code"] == "malformed"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (414, 431)),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 200_000 + b"\r\n\r\n", (431,)),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: a\r\n" % k for k in range(50_000)) + b"\r\n", (431,)),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Endless: " + b"x" * 50_000, (431,)),
    ],
    ids=["long URL", "long header", "many headers", "endless header"],
)
def test_heads_above_their_caps_are_refused(server, head, expected):
    answer = talk(server, head, half_close=True)
    assert status(answer) in expected


def test_http_0_9_and_1_0_are_answered_and_closed(server):
    assert talk(server, b"GET /livez\r\n\r\n").endswith(b'{"status":"alive"}')
    assert talk(server, b"GET /livez HTTP/1.0\r\n\r\n").endswith(b'{"status":"alive"}')


def test_a_hundred_pipelined_requests_get_a_hundred_answers(server):
    answer = talk(server, GET * 99 + GET.replace(b"Host", b"Connection: close\r\nHost"))
    assert answer.count(b"HTTP/1.1 200") == 100
    bodies = {part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 ")[1:]}
    assert len(bodies) == 1


def test_a_forged_request_id_cannot_split_the_answer(server):
    answer = talk(server, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: a\r\n Set-Cookie: b\r\n\r\n")
    assert b"set-cookie" not in answer.lower()


def test_clients_that_leave_do_no_harm(server):
    for k in range(200):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall((GET, GET[:30], POST + b"Content-Length: 50\r\n\r\nabc")[k % 3])


def test_a_slow_reader_does_not_hold_up_others(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        with contextlib.suppress(TimeoutError):
            connection.settimeout(0.5)
            connection.sendall(GET * 300)
        assert httpx.get(f"{server.url}/livez").status_code == 200


# -------------------------------------------------------------------------------------------------------------- shutdown


def test_after_sigterm_what_was_accepted_is_answered_and_the_exit_status_is_0(toy_bundle):
    """Keep-alive clients go on until an answer says that it is the last; none of them loses an answer."""
    with serving(toy_bundle) as server:
        lost, answered, enough = [], [], threading.Event()

        def client() -> None:
            with httpx.Client() as session:
                while True:
                    try:
                        answer = session.get(f"{server.url}/generate?class=1&seed=5&n=4")
                    except httpx.HTTPError as error:
                        lost.append(error)
                        return
                    answered.append(answer.status_code)
                    if len(answered) > 50:
                        enough.set()
                    if answer.headers.get("connection") == "close":
                        return

        clients = [threading.Thread(target=client) for _ in range(8)]
        for one in clients:
            one.start()
        assert enough.wait(30)
        server.process.send_signal(signal.SIGTERM)
        for one in clients:
            one.join(30)
        assert server.process.wait(30) == 0
    assert lost == []
    assert set(answered) == {200}


def test_a_server_without_clients_ends_at_the_first_signal(toy_bundle):
    with serving(toy_bundle) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0


def test_a_draining_server_says_so_and_the_second_signal_ends_the_wait(toy_bundle):
    with serving(toy_bundle, drain_s=60) as server, httpx.Client() as session:
        assert session.get(f"{server.url}/readyz").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        while (answer := session.get(f"{server.url}/readyz")).status_code == 200:
            pass
        assert (answer.json()["code"], answer.headers["connection"]) == ("draining", "close")
        with socket.create_connection(("127.0.0.1", server.port)):  # an idle connection keeps it waiting
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(20) == 0
