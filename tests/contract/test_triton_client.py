"""A real server answers NVIDIA's own client of the Open Inference Protocol, which knows nothing of Twofold."""

from __future__ import annotations

import json

import httpx
import numpy as np
import pytest
from tritonclient import http as triton

from tests.serving import serving
from tests.toy import make_bundle
from twofold import __version__
from twofold.service.client import Local

Z_S = np.array([[2, 0, 0], [0.5, -1, 0.25]], np.float32)
Z_U = np.array([[0, 1], [-1, 0.5]], np.float32)


@pytest.fixture(scope="module")
def server(toy_bundle, tmp_path_factory):
    second = make_bundle(tmp_path_factory.mktemp("second") / "x.encoder", name="x.encoder", seed=1)
    with serving(toy_bundle, second) as running:
        yield running


@pytest.fixture
def client(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


def tensor(name, array, binary):
    kind = {"uint8": "UINT8", "float32": "FP32"}[array.dtype.name]
    return triton.InferInput(name, list(array.shape), kind).set_data_from_numpy(array, binary_data=binary)


def codes(binary=True, z_s=Z_S, z_u=Z_U):
    return [tensor("z_s", z_s, binary), tensor("z_u", z_u, binary)]


def test_server_and_models_are_alive_and_ready(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    for name in ("toy.encoder", "toy.decoder", "x.encoder.encoder", "x.encoder.decoder"):
        assert client.is_model_ready(name)
        assert client.is_model_ready(name, "1")
    for name in ("toy", "x.encoder", "encoder", "toy.Encoder"):
        assert not client.is_model_ready(name)
    assert not client.is_model_ready("toy.encoder", "2")


def test_the_metadata_of_the_server(client):
    assert client.get_server_metadata() == {"name": "twofold", "version": __version__, "extensions": ["binary_tensor_data"]}


def test_the_metadata_of_a_model(client):
    assert client.get_model_metadata("toy.decoder") == client.get_model_metadata("toy.decoder", "1")
    assert client.get_model_metadata("toy.decoder") == {
        "name": "toy.decoder",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "z_s", "datatype": "FP32", "shape": [-1, 3]}, {"name": "z_u", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 8, 8, 1]}],
    }
    outputs = client.get_model_metadata("toy.encoder")["outputs"]
    assert [output["name"] for output in outputs] == ["z_s", "z_u_mean", "z_u_log_var", "class_log_prob", "log_density"]
    assert outputs[-1]["shape"] == [-1]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_the_decoder_draws_what_the_bundle_draws(client, toy_bundle, binary_in, binary_out):
    wanted = [triton.InferRequestedOutput("pixels", binary_data=binary_out)]
    answer = client.infer("toy.decoder", codes(binary_in), outputs=wanted, request_id="mine-1", model_version="1")
    assert np.array_equal(answer.as_numpy("pixels"), Local(toy_bundle).arrays.decode(Z_S, Z_U))
    assert answer.as_numpy("pixels").dtype == np.uint8
    found = answer.get_response()
    assert (found["model_name"], found["model_version"], found["id"]) == ("toy.decoder", "1", "mine-1")


@pytest.mark.parametrize("binary", [True, False])
def test_the_encoder_reads_what_the_bundle_reads(client, toy_bundle, binary):
    local = Local(toy_bundle).arrays
    pixels = local.decode(Z_S, Z_U)
    expected = local.encode(pixels)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in vars(expected)]
    for answer in (
        client.infer("toy.encoder", [tensor("pixels", pixels, binary)]),
        client.infer("toy.encoder", [tensor("pixels", pixels, binary)], outputs=outputs),
    ):
        for name, array in vars(expected).items():
            assert np.array_equal(answer.as_numpy(name), array), name
            assert answer.as_numpy(name).dtype == np.float32


def test_only_the_outputs_that_are_asked_for_come(client, toy_bundle):
    pixels = Local(toy_bundle).arrays.decode(Z_S, Z_U)
    wanted = [triton.InferRequestedOutput("log_density", binary_data=False), triton.InferRequestedOutput("z_s")]
    answer = client.infer("toy.encoder", [tensor("pixels", pixels, True)], outputs=wanted)
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["log_density", "z_s"]
    assert answer.as_numpy("z_u_mean") is None


def test_each_bundle_runs_its_own_graph(client):
    toy, second = (client.infer(name, codes()).as_numpy("pixels") for name in ("toy.decoder", "x.encoder.decoder"))
    assert not np.array_equal(toy, second)


def test_as_many_rows_as_the_cap_come_back_in_order(client, toy_bundle):
    z_s = np.linspace(-2, 2, 64 * 3, dtype=np.float32).reshape(64, 3)
    z_u = np.zeros((64, 2), np.float32)
    answer = client.infer("toy.decoder", codes(z_s=z_s, z_u=z_u))
    assert np.array_equal(answer.as_numpy("pixels"), Local(toy_bundle).arrays.decode(z_s, z_u))


def refusal(call):
    with pytest.raises(triton.InferenceServerException) as caught:
        call()
    return caught.value


def test_the_client_reads_why_it_was_refused(client):
    unknown = refusal(lambda: client.infer("toy", codes()))
    assert (unknown.status(), unknown.message()) == ("404", "There is no such model; every bundle is two, NAME.encoder and NAME.decoder.")
    shape = refusal(lambda: client.infer("toy.decoder", codes(z_u=np.zeros((2, 3), np.float32))))
    assert (shape.status(), shape.message()) == ("422", "inputs.1.shape must be [n, 2].")
    kind = refusal(lambda: client.infer("toy.encoder", [tensor("pixels", np.zeros((1, 8, 8, 1), np.float32), True)]))
    assert (kind.status(), kind.message()) == ("422", "inputs.0.datatype must be UINT8.")
    number = refusal(lambda: client.infer("toy.decoder", codes(z_s=np.full((2, 3), np.nan, np.float32))))
    assert (number.status(), number.message()) == ("422", "inputs.0 must hold finite numbers from -10000 to 10000.")
    rows = refusal(lambda: client.infer("toy.decoder", codes(z_s=np.zeros((65, 3), np.float32), z_u=np.zeros((65, 2), np.float32))))
    assert (rows.status(), rows.message()) == ("422", "inputs.0.shape: one request may hold 1 to 64 rows.")
    packed = refusal(lambda: client.infer("toy.decoder", codes(), request_compression_algorithm="gzip"))
    assert packed.status() == "415"
    assert refusal(lambda: client.get_model_config("toy.decoder")).status() == "404"  # Triton's extensions are not spoken


def test_the_client_reads_a_problem_of_the_service_and_one_field_more(server):
    answer = httpx.post(f"{server.url}/v2/models/toy.decoder/infer", json={"inputs": []})
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["error"] == problem["detail"]
    assert "error" not in httpx.post(f"{server.url}/decode", json={"items": []}).json()


def test_without_the_extension_everything_is_plain_json(server, toy_bundle):
    inputs = [{"name": "z_s", "datatype": "FP32", "shape": [2, 3], "data": Z_S.tolist()}]
    inputs.append({"name": "z_u", "datatype": "FP32", "shape": [2, 2], "data": Z_U.ravel().tolist()})
    answer = httpx.post(f"{server.url}/v2/models/toy.decoder/infer", json={"inputs": inputs})
    assert answer.headers["content-type"] == "application/json"
    assert "inference-header-content-length" not in answer.headers
    (output,) = json.loads(answer.text)["outputs"]
    assert output.pop("data") == Local(toy_bundle).arrays.decode(Z_S, Z_U).ravel().tolist()
    assert output == {"name": "pixels", "datatype": "UINT8", "shape": [2, 8, 8, 1]}
