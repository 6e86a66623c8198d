"""The routes below /v2 in this process: who answers, what is counted, when they are not ready."""

from __future__ import annotations

import pytest

CODES = [
    {"name": "z_s", "datatype": "FP32", "shape": [1, 3], "data": [2, 0, 0]},
    {"name": "z_u", "datatype": "FP32", "shape": [1, 2], "data": [0, 1]},
]
PIXELS = [{"name": "pixels", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [128] * 64}]
DECODE, ENCODE = "/v2/models/toy.decoder/infer", "/v2/models/toy.encoder/versions/1/infer"


async def test_an_answer_names_its_model_and_its_times_and_is_not_stored(client):
    answer = await client.post(ENCODE, json={"inputs": PIXELS})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-model"].startswith("toy@")
    assert answer.headers["cache-control"] == "no-store"
    stages = [stage.partition(";")[0] for stage in answer.headers["server-timing"].split(", ")]
    assert stages == ["preprocess", "queue", "model", "encode", "total"]


async def test_requests_are_counted_by_route_template_and_pictures_like_those_of_encode(client):
    for name in ("toy.encoder", "nobody"):
        await client.post(f"/v2/models/{name}/infer", json={"inputs": PIXELS})
    counted = (await client.get("/metrics")).text
    assert 'twofold_requests_total{code="200",route="/v2/models/{model}/infer"} 1.0' in counted
    assert 'twofold_requests_total{code="404",route="/v2/models/{model}/infer"} 1.0' in counted
    assert 'twofold_rejected_total{reason="not_found"} 1.0' in counted
    assert "twofold_encode_typicality_count 1.0" in counted
    assert "twofold_class_entropy_nats_count 1.0" in counted
    assert "nobody" not in counted


@pytest.mark.parametrize(("sent", "given"), [("a-B.9_", "a-B.9_"), ("x" * 64, "x" * 64), (None, None), ("", None), ("a b", None)])
async def test_an_id_comes_back_if_it_is_safe(client, sent, given):
    answer = await client.post(DECODE, json={"id": sent, "inputs": CODES})
    assert answer.json().get("id") == given


@pytest.mark.parametrize("unsafe", ["x" * 65, "é", "<b>", "a\r\nb", '"', "a/b"])
async def test_an_id_that_is_not_safe_is_left_out(client, unsafe):
    answer = await client.post(DECODE, json={"id": unsafe, "inputs": CODES})
    assert answer.status_code == 200
    assert "id" not in answer.json()


@pytest.mark.parametrize("content_type", [None, "application/json", "application/json; charset=utf-8", "application/octet-stream"])
async def test_a_body_may_be_named_as_the_clients_do_it(client, content_type):
    body = client.build_request("POST", DECODE, json={"inputs": CODES}).content
    answer = await client.post(DECODE, content=body, headers={"content-type": content_type} if content_type else {})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("accept", "binary", "status"),
    [
        ("*/*", True, 200),
        ("application/octet-stream", True, 200),
        ("application/json", True, 406),
        ("application/json", False, 200),
        ("application/octet-stream", False, 406),
        ("image/png", False, 406),
    ],
)
async def test_the_outputs_decide_the_form_and_accept_may_refuse_it(client, accept, binary, status):
    fields = {"inputs": CODES, "parameters": {"binary_data_output": binary}}
    answer = await client.post(DECODE, json=fields, headers={"accept": accept})
    assert answer.status_code == status
    if status == 200:
        assert answer.headers["content-type"] == ("application/octet-stream" if binary else "application/json")


async def test_a_draining_server_is_alive_and_not_ready(client):
    client.app.state.state.draining = True
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    for path in ("/v2/health/ready", "/v2/models/toy.encoder/ready", "/v2/models/toy.encoder/versions/1/ready"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "draining")
        assert answer.headers["retry-after"]


async def test_health_reads_neither_query_nor_body(client):
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/toy.encoder/ready"):
        assert (await client.get(f"{path}?verbose=1")).status_code == 200


async def test_a_large_answer_is_the_same_off_the_event_loop(open_client, tmp_path):
    from tests.toy import DIMS, make_bundle
    from twofold.service.runtime.registry import load
    from twofold.service.settings import Settings

    dims = type(DIMS)(dim_s=3, dim_u=2, classes=4, height=96, width=96, channels=1)
    client = await open_client(load(make_bundle(tmp_path / "large", dims, name="large"), Settings()))
    inputs = [{**one, "shape": [n, size], "data": one["data"] * n} for one, n, size in zip(CODES, (8, 8), (3, 2), strict=True)]
    eight = (await client.post("/v2/models/large.decoder/infer", json={"inputs": inputs})).json()["outputs"][0]["data"]
    one = (await client.post("/v2/models/large.decoder/infer", json={"inputs": CODES})).json()["outputs"][0]["data"]
    assert eight == one * 8
