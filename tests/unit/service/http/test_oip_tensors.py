"""Tensors on the wire: JSON and bytes to checked arrays and back, without HTTP and without a model."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from twofold.model.contract import TensorSpec
from twofold.service.http import oip_tensors
from twofold.service.http.schemas import Infer
from twofold.service.runtime.errors import Invalid, Malformed

PIXELS = TensorSpec("pixels", "uint8", (2, 2, 1))
CODES = (TensorSpec("z_s", "float32", (3,)), TensorSpec("z_u", "float32", (2,)))
FLAT = [0, 1, 254, 255]


def pixels(**changed):
    return {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 2, 1], "data": FLAT} | changed


def code(name, size, **changed):
    return {"name": name, "datatype": "FP32", "shape": [1, size], "data": [0.5] * size} | changed


def binary(tensor, size):
    return {key: value for key, value in tensor.items() if key != "data"} | {"parameters": {"binary_data_size": size}}


def asked(*inputs, **fields):
    return Infer.check({"inputs": list(inputs), **fields})


def read(*inputs, tail=b"", specs=(PIXELS,), max_rows=4):
    return oip_tensors.arrays(asked(*inputs), tail, specs, max_rows)


# ----------------------------------------------------------------------------------------------------------------- split


def test_without_the_header_the_whole_body_is_json():
    assert oip_tensors.split(b"{}\x00", []) == (b"{}\x00", b"")


def test_the_header_parts_the_json_from_the_bytes():
    assert oip_tensors.split(b"{}\x00\x01", ["2"]) == (b"{}", b"\x00\x01")
    assert oip_tensors.split(b"{}", ["2"]) == (b"{}", b"")


@pytest.mark.parametrize("lengths", [["5"], ["-1"], ["0"], [""], ["2.0"], ["+2"], ["02"], ["٢"], ["9" * 5000], ["2", "2"], ["2,2"], [" 2"]])
def test_a_header_that_is_no_length_of_this_body_is_malformed(lengths):
    with pytest.raises(Malformed):
        oip_tensors.split(b"{}\x00\x01", lengths)


# ---------------------------------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("data", [FLAT, [[[[0], [1]], [[254], [255]]]]], ids=["flat", "nested"])
def test_json_pixels_are_read_flat_or_nested(data):
    (array,) = read(pixels(data=data))
    assert array.dtype == np.uint8
    assert array.tolist() == [[[[0], [1]], [[254], [255]]]]


def test_binary_pixels_are_read_from_behind_the_json():
    (array,) = read(binary(pixels(), 4), tail=bytes(FLAT))
    assert array.dtype == np.uint8
    assert array.ravel().tolist() == FLAT


def test_binary_floats_are_little_endian_and_stand_in_the_order_of_the_request():
    tail = struct.pack("<2f", 4, 5) + struct.pack("<3f", 1, 2, 3)
    z_s, z_u = read(binary(code("z_u", 2), 8), binary(code("z_s", 3), 12), tail=tail, specs=CODES)
    assert z_s.dtype == z_u.dtype == np.float32
    assert (z_s.tolist(), z_u.tolist()) == ([[1, 2, 3]], [[4, 5]])


def test_one_input_may_be_binary_and_the_other_json():
    z_s, z_u = read(binary(code("z_s", 3), 12), code("z_u", 2, data=[4, 5.0]), tail=struct.pack("<3f", 1, 2, 3), specs=CODES)
    assert (z_s.tolist(), z_u.tolist()) == ([[1, 2, 3]], [[4, 5]])


def test_as_many_rows_as_the_cap_are_read_and_one_more_is_refused():
    assert len(read(pixels(shape=[4, 2, 2, 1], data=FLAT * 4))[0]) == 4
    with pytest.raises(Invalid, match="1 to 4 rows"):
        read(pixels(shape=[5, 2, 2, 1], data=FLAT * 5))


@pytest.mark.parametrize("shape", [[0, 2, 2, 1], [1, 2, 2], [1, 4], [1, 2, 2, 1, 1], [2, 2, 2, 1], [1, 2, 2, 2**62], [2**62, 2, 2, 1]])
def test_another_shape_is_refused(shape):
    with pytest.raises(Invalid):
        read(pixels(shape=shape))


@pytest.mark.parametrize(
    "data",
    [
        [],
        FLAT[:3],
        [*FLAT, 0],
        [0, 1, 2, 256],
        [0, 1, 2, -1],
        [0, 1, 2, 10**400],
        [0, 1, 2, 3.0],
        [0, 1, 2, True],
        [0, 1, 2, "3"],
        [0, 1, 2, None],
        [0, 1, 2, {}],
        [0, 1, 2, [3]],
        [[0, 1], [2, 3]],
        [[[[0], [1]], [[254]]]],
        [[[[0], [1]], [[254], 255]]],
        [[[[0], [1]], [[254], [[255]]]]],
    ],
    ids=str,
)
def test_data_that_are_not_this_shape_of_levels_are_refused(data):
    with pytest.raises(Invalid) as caught:
        read(pixels(data=data))
    assert caught.value.field.startswith("inputs.0")


@pytest.mark.parametrize("number", [10001, -10001, 1e308, 10**400, float("inf"), float("nan"), True, "1", None])
def test_json_codes_that_no_graph_should_see_are_refused(number):
    with pytest.raises(Invalid):
        read(code("z_s", 3, data=[0, 0, number]), code("z_u", 2), specs=CODES)


@pytest.mark.parametrize(
    "bits", [0x7FC00000, 0x7F800000, 0xFF800000, 0x7F800001, 0x7F7FFFFF], ids=["NaN", "inf", "-inf", "sNaN", "largest"]
)
def test_binary_codes_that_no_graph_should_see_are_refused(bits):
    tail = struct.pack("<3I", 0, 0, bits)
    with pytest.raises(Invalid, match="finite"):
        read(binary(code("z_s", 3), 12), code("z_u", 2), tail=tail, specs=CODES)


@pytest.mark.parametrize(
    ("size", "tail", "error"),
    [(3, 3, Invalid), (5, 5, Invalid), (2**62, 4, Invalid), (0, 0, Invalid), (4, 3, Malformed), (4, 5, Malformed), (4, 0, Malformed)],
)
def test_sizes_that_lie_are_refused(size, tail, error):
    with pytest.raises(error):
        read(binary(pixels(), size), tail=bytes(tail))


def test_bytes_that_no_tensor_asked_for_are_malformed():
    with pytest.raises(Malformed):
        read(pixels(), tail=b"\x00")


@pytest.mark.parametrize(
    "inputs",
    [
        [pixels(name="other")],
        [pixels(), pixels()],
        [pixels(datatype="FP32")],
        [{key: value for key, value in pixels().items() if key != "data"}],
        [pixels(parameters={"binary_data_size": 4})],
    ],
    ids=["unknown", "twice", "datatype", "no values", "two kinds of values"],
)
def test_inputs_that_are_not_the_graphs_are_refused(inputs):
    with pytest.raises(Invalid):
        read(*inputs, tail=b"")


def test_every_input_must_be_there_with_the_same_rows():
    with pytest.raises(Invalid, match="z_u is missing"):
        read(code("z_s", 3), specs=CODES)
    with pytest.raises(Invalid, match="same number of rows"):
        read(code("z_s", 3), code("z_u", 2, shape=[2, 2], data=[0] * 4), specs=CODES)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": [pixels(datatype="BYTES")]}, "inputs.0.datatype"),
        ({"inputs": [pixels(shape=[1, True])]}, "inputs.0.shape.1"),
        ({"inputs": [pixels(shape=[-1, 2, 2, 1])]}, "inputs.0.shape.0"),
        ({"inputs": [pixels(shape=[1] * 9)]}, "inputs.0.shape"),
        ({"inputs": [pixels(parameters={"shared_memory_region": "x"})]}, "inputs.0.parameters"),
        ({"inputs": [pixels()], "outputs": [{"name": "z_s", "parameters": {"classification": 3}}]}, "outputs.0.parameters"),
        ({"inputs": [pixels()], "parameters": {"sequence_id": 1}}, "parameters"),
        ({"inputs": [pixels()], "id": 7}, "id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_names_the_place_in_the_request(fields, path):
    with pytest.raises(Invalid) as caught:
        Infer.check(fields)
    assert caught.value.field == path


# --------------------------------------------------------------------------------------------------------------- outputs


def chosen(**fields):
    return [(spec.name, is_binary) for spec, is_binary in oip_tensors.chosen_outputs(asked(pixels(), **fields), CODES)]


def test_without_a_choice_all_outputs_are_given_as_json():
    assert chosen() == chosen(outputs=[]) == chosen(outputs=None) == [("z_s", False), ("z_u", False)]


def test_outputs_come_in_the_order_asked_for_and_their_own_form_comes_first():
    outputs = [{"name": "z_u", "parameters": {"binary_data": False}}, {"name": "z_s"}]
    assert chosen(outputs=outputs, parameters={"binary_data_output": True}) == [("z_u", False), ("z_s", True)]
    assert chosen(outputs=[{"name": "z_u", "parameters": {"binary_data": True}}]) == [("z_u", True)]


@pytest.mark.parametrize("names", [["pixels"], ["z_s", "z_s"]])
def test_an_unknown_output_or_one_twice_is_refused(names):
    with pytest.raises(Invalid):
        chosen(outputs=[{"name": name} for name in names])


def test_bytes_stand_behind_the_json_in_the_order_of_the_outputs():
    values = np.array([[1, 2, 3]], np.float32), np.array([[4, 5]], np.float32)
    body, length = oip_tensors.write(
        {"id": "a"}, [oip_tensors.Output(CODES[0], values[0], True), oip_tensors.Output(CODES[1], values[1], False)]
    )
    assert json.loads(body[:length]) == {
        "id": "a",
        "outputs": [
            {"name": "z_s", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": 12}},
            {"name": "z_u", "datatype": "FP32", "shape": [1, 2], "data": [4, 5]},
        ],
    }
    assert body[length:] == struct.pack("<3f", 1, 2, 3)


def test_an_answer_without_bytes_has_no_length():
    body, length = oip_tensors.write({}, [oip_tensors.Output(PIXELS, np.zeros((1, 2, 2, 1), np.uint8), False)])
    assert length is None
    assert json.loads(body)["outputs"][0]["data"] == [0] * 4
