"""Hostile tensors below /v2 get a refusal of the contract, with the protocol's `error` beside it, and never a 500."""

from __future__ import annotations

import json
import struct

import pytest

from twofold.service.http.problems import STATUS

MARK = "Zebra77"  # stands in inputs; no refusal may repeat it
DECODER, ENCODER = "/v2/models/toy.decoder/infer", "/v2/models/toy.encoder/infer"
LENGTH = "inference-header-content-length"
Z_S = {"name": "z_s", "datatype": "FP32", "shape": [1, 3]}
Z_U = {"name": "z_u", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}
PIXELS = {"name": "pixels", "datatype": "UINT8", "shape": [1, 8, 8, 1]}
DATA = [0] * 64


async def refused(request, *statuses):
    answer = await request
    problem = answer.json()
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) <= 1024
    assert problem["status"] == answer.status_code == STATUS[problem["code"]]
    assert problem.keys() <= {"type", "title", "status", "code", "detail", "error", "request_id", "field", "allowed"}
    assert problem["error"] == problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert MARK.lower() not in answer.text.lower()
    return problem


def framed(fields, tail=b"", length=None, **headers):
    """Keyword arguments of a request whose JSON is followed by bytes."""
    text = json.dumps(fields).encode()
    return {"content": text + tail, "headers": {LENGTH: str(len(text) if length is None else length), **headers}}


def with_size(tensor, size):
    return tensor | {"parameters": {"binary_data_size": size}}


# --------------------------------------------------------------------------------------------------------------- framing


@pytest.mark.parametrize("length", ["10000", "-1", "0", "1e3", "0x10", "", " ", "9" * 4000, MARK, "NaN", "1,1", "2.0"])
async def test_a_header_length_that_is_none_of_the_body(client, length):
    sent = framed({"inputs": [with_size(Z_S, 12), Z_U]}, bytes(12), length)
    await refused(client.post(DECODER, **sent), 400)


@pytest.mark.parametrize("length", [1, 20])
async def test_a_header_length_that_cuts_the_json(client, length):
    await refused(client.post(DECODER, **framed({"inputs": [with_size(Z_S, 12), Z_U]}, bytes(12), length)), 400)


async def test_two_header_lengths(client):
    sent = framed({"inputs": [with_size(Z_S, 12), Z_U]}, bytes(12))
    headers = [(LENGTH, sent["headers"][LENGTH])] * 2
    await refused(client.post(DECODER, content=sent["content"], headers=headers), 400)


async def test_a_header_length_without_a_body(client):
    await refused(client.post(DECODER, headers={LENGTH: "10"}), 400)
    await refused(client.post(DECODER), 422)


@pytest.mark.parametrize(
    ("size", "tail", "status"),
    [(12, 11, 400), (12, 13, 400), (12, 0, 400), (11, 11, 422), (13, 13, 422), (0, 0, 422), (2**62, 12, 422), (2**200, 12, 422)]
    + [(size, 12, 422) for size in (-1, -(2**63), 12.0, "12", True, [12], {"a": 12})],
    ids=str,
)
async def test_sizes_that_lie(client, size, tail, status):
    await refused(client.post(DECODER, **framed({"inputs": [with_size(Z_S, size), Z_U]}, bytes(tail))), status)


async def test_a_size_without_the_header_promises_bytes_that_are_not_there(client):
    await refused(client.post(DECODER, json={"inputs": [with_size(Z_S, 12), Z_U]}), 400)


async def test_two_tensors_cannot_share_their_bytes(client):
    inputs = [with_size(Z_S, 12), with_size({key: value for key, value in Z_U.items() if key != "data"}, 8)]
    await refused(client.post(DECODER, **framed({"inputs": inputs}, bytes(12))), 400)
    assert (await client.post(DECODER, **framed({"inputs": inputs}, bytes(20)))).status_code == 200


async def test_a_body_is_refused_one_byte_above_its_cap(client):
    tail = bytes(8 * 2**20)
    await refused(client.post(ENCODER, **framed({"inputs": [with_size(PIXELS, len(tail))]}, tail)), 413)


@pytest.mark.parametrize("content_type", ["text/plain", "image/png", "multipart/form-data; boundary=b", f"application/{MARK}"])
async def test_another_content_type(client, content_type):
    await refused(client.post(DECODER, content=b"{}", headers={"content-type": content_type}), 415)


async def test_a_compressed_body(client):
    await refused(client.post(DECODER, **framed({"inputs": []}, **{"content-encoding": "gzip"})), 415)


async def test_a_query_is_not_taken(client):
    await refused(client.post(f"{DECODER}?{MARK}=1", json={}), 400)
    await refused(client.get(f"/v2?{MARK}=1"), 400)
    await refused(client.get(f"/v2/models/toy.decoder?{MARK}=1"), 400)


# --------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00000, 0x7F800001, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x461C4400 + 1])
async def test_binary_numbers_that_the_decoder_must_not_see(client, bits):
    sent = framed({"inputs": [with_size(Z_S, 12), Z_U]}, struct.pack("<3I", 0, bits, 0))
    problem = await refused(client.post(DECODER, **sent), 422)
    assert problem["field"] == "inputs.0"


async def test_denormals_and_the_largest_codes_are_taken(client):
    for bits in (0x00000001, 0x80000000, 0x461C4000, 0xC61C4000):  # 1.4e-45, -0, 10000, -10000
        sent = framed({"inputs": [with_size(Z_S, 12), Z_U]}, struct.pack("<3I", 0, bits, 0))
        assert (await client.post(DECODER, **sent)).status_code == 200


@pytest.mark.parametrize("number", ["1e999", "-1e999", "10001", "9" * 400, "true", "null", '"1"', "[0]", "{}", f'"{MARK}"'])
async def test_json_numbers_that_the_decoder_must_not_see(client, number):
    body = json.dumps({"inputs": [Z_S | {"data": [0, 0, "X"]}, Z_U]}).replace('"X"', number)
    await refused(client.post(DECODER, content=body), 422)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "9" * 5000, "01", "+1", ".5"])
async def test_numbers_that_are_not_json(client, number):
    body = json.dumps({"inputs": [Z_S | {"data": [0, 0, "X"]}, Z_U]}).replace('"X"', number)
    await refused(client.post(DECODER, content=body), 400)


@pytest.mark.parametrize("level", [-1, 256, 2**64, 1.0, 0.5, True, None, "0", MARK, [0], [[0]], {"a": 0}])
async def test_levels_that_are_none(client, level):
    await refused(client.post(ENCODER, json={"inputs": [PIXELS | {"data": [*DATA[1:], level]}]}), 422)


# ---------------------------------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    "shape",
    [
        *([n, 8, 8, 1] for n in (0, 2, 65, 10**9, 2**31, 2**32, 2**63 - 1, 2**63, 2**200, -1, 1.0, "1", True, None)),
        [2**32, 2**32, 8, 1],
        [1, 2**31, 2**33, 1],
        [1, 8, 8],
        [1, 8, 8, 3],
        [1, 64],
        [64],
        [1, 1, 8, 8, 1],
        [1] * 100_000,
        [],
        None,
        "1",
        {},
    ],
    ids=lambda shape: str(shape)[:24],
)
@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
async def test_shapes_that_are_none_of_the_graph(client, shape, binary):
    tensor = with_size(PIXELS | {"shape": shape}, 64) if binary else PIXELS | {"shape": shape, "data": DATA}
    await refused(client.post(ENCODER, **framed({"inputs": [tensor]}, bytes(64) if binary else b"")), 422)


@pytest.mark.parametrize("datatype", ["FP32", "INT8", "BYTES", "BOOL", "FP16", "BF16", "uint8", "", MARK, None, 7, ["UINT8"]])
async def test_another_datatype(client, datatype):
    await refused(client.post(ENCODER, json={"inputs": [PIXELS | {"datatype": datatype, "data": DATA}]}), 422)


@pytest.mark.parametrize("data", [[MARK] * 64, [""] * 64, [{"b64": MARK}] * 64, MARK, None, {}, 7, [], [DATA], DATA * 20_000])
async def test_data_that_are_no_tensor(client, data):
    await refused(client.post(ENCODER, json={"inputs": [PIXELS | {"data": data}]}), 422)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"inputs":' + b"[" * 100_000, 400),
        (b'{"inputs":' + b"[" * 90_000 + b"]" * 90_000 + b"}", 422),
        (b'{"inputs":[{"name":"pixels","datatype":"UINT8","shape":[1,8,8,1],"data":' + b"[" * 900 + b"]" * 900 + b"}]}", 422),
        (b'{"inputs":[],"inputs":[]}', 400),
        (b'{"inputs":"\xff"}', 400),
        (b"[]", 422),
        (b"null", 422),
        (b" ", 400),
        (b"{} x", 400),
        (b'{"id":"\\ud800","inputs":[]}', 422),
    ],
    ids=range(10),
)
async def test_json_that_is_refused(client, body, status):
    await refused(client.post(ENCODER, content=body), status)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"inputs": None},
        {"inputs": [7]},
        {"inputs": [PIXELS]},
        {"inputs": [PIXELS | {"data": DATA}] * 2},
        {"inputs": [PIXELS | {"data": DATA}] * 5000},
        {"inputs": [with_size(PIXELS | {"data": DATA}, 64)]},
        {"inputs": [PIXELS | {"data": DATA, "name": MARK}]},
        {"inputs": [PIXELS | {"data": DATA, MARK: 1}]},
        {"inputs": [PIXELS | {"data": DATA, "parameters": {"shared_memory_region": MARK}}]},
        {"inputs": [PIXELS | {"data": DATA}], "outputs": [{"name": MARK}]},
        {"inputs": [PIXELS | {"data": DATA}], "outputs": [{"name": "z_s"}] * 2},
        {"inputs": [PIXELS | {"data": DATA}], "outputs": [{"name": "z_s", "parameters": {"classification": 1}}]},
        {"inputs": [PIXELS | {"data": DATA}], "outputs": [{"name": "z_s", "parameters": {"binary_data": 1}}]},
        {"inputs": [PIXELS | {"data": DATA}], "parameters": {"binary_data_output": "true"}},
        {"inputs": [PIXELS | {"data": DATA}], "parameters": {MARK: 1}},
        {"inputs": [PIXELS | {"data": DATA}], "id": 7},
        {"inputs": [PIXELS | {"data": DATA}], "id": MARK * 1000},
        {"inputs": [PIXELS | {"data": DATA}], MARK: 1},
        {"inputs": [PIXELS | {"data": DATA}], "model": "toy"},
    ],
    ids=range(20),
)
async def test_fields_that_are_refused(client, fields):
    await refused(client.post(ENCODER, json=fields), 422)


@pytest.mark.parametrize("name", ["toy", "toy.", ".encoder", "toy.encoder.encoder", "TOY.encoder", MARK, "..%2f..%2fetc", "toy%00.encoder"])
async def test_models_that_are_none(client, name):
    for path in (f"/v2/models/{name}", f"/v2/models/{name}/ready", f"/v2/models/{name}/versions/1"):
        await refused(client.get(path), 404)
    await refused(client.post(f"/v2/models/{name}/infer", json={}), 404)


@pytest.mark.parametrize("version", ["0", "2", "01", "1.0", "-1", MARK])
async def test_versions_that_are_none(client, version):
    await refused(client.get(f"/v2/models/toy.encoder/versions/{version}"), 404)
    await refused(client.post(f"/v2/models/toy.encoder/versions/{version}/infer", json={}), 404)


async def test_what_the_router_and_the_gate_refuse_speaks_the_protocol_too(client):
    await refused(client.get("/v2/"), 404)
    await refused(client.get(DECODER), 405)
    await refused(client.post("/v2"), 405)
    await refused(client.get("/v2/models/" + "x" * 5000), 414)
    await refused(client.get("/v2", headers={"x-long": "a" * 20_000}), 431)
    assert "error" not in (await client.get("/v20")).json()
