"""int8 graphs: which layers become integers, what the rewriting of doublings changes (nothing), and what stays standard ONNX."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from twofold.model import contract
from twofold.training.export.quantize import GRID_WEIGHTS, _transposed_to_plain, quantise
from twofold.training.metrics.compute_cost import multiply_adds

RNG = np.random.default_rng(0)


def weights(**shapes) -> dict[str, np.ndarray]:
    return {name: (RNG.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32) for name, shape in shapes.items()}


def graph(nodes, shape_in, constants) -> bytes:
    """x float32 [N, ...] -> y; every node is named after its output."""
    for node in nodes:
        node.name = node.output[0]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape_in])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *[None] * len(shape_in)])]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", contract.OPSET)], ir_version=10).SerializeToString()


def run(content: bytes, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(content).run(None, {"x": x})[0]


def integer_layers(content: bytes) -> set[str]:
    """The names of the layers that take integers."""
    found = onnx.load_model_from_string(content).graph
    integers = {name for node in found.node if node.op_type == "DequantizeLinear" for name in node.output}
    return {node.name for node in found.node if node.op_type in ("Conv", "Gemm") and set(node.input[:2]) <= integers}


def doubling(channels_in=5, channels_out=3) -> tuple[list, dict[str, np.ndarray]]:
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w", "b"], ["drawn"], kernel_shape=[4, 4], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["drawn"], ["y"]),
    ]
    return nodes, weights(w=(channels_in, channels_out, 4, 4), b=(channels_out,))


def test_a_doubling_in_its_plain_form_draws_the_same_picture():
    nodes, constants = doubling()
    content = graph(nodes, (5, 3, 4), constants)
    model = onnx.load_model_from_string(content)
    _transposed_to_plain(model.graph)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu", "DepthToSpace"]
    assert "w" not in {tensor.name for tensor in model.graph.initializer}
    x = RNG.normal(size=(2, 5, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(run(model.SerializeToString(), x), run(content, x), atol=1e-5)


def test_a_doubling_without_a_relu_is_refused():
    nodes, constants = doubling()
    nodes = [helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], kernel_shape=[4, 4], strides=[2, 2], pads=[1, 1, 1, 1])]
    with pytest.raises(ValueError, match="without a ReLU"):
        quantise(graph(nodes, (5, 4, 4), constants), {"x": np.zeros((1, 5, 4, 4), np.float32)}, grid=True)


CONSTANTS = weights(first=(6, 1, 3, 3), second=(8, 6, 3, 3), third=(1, 8, 3, 3))
NODES = [
    helper.make_node("Conv", ["x", "first"], ["a"], pads=[1] * 4),
    helper.make_node("Relu", ["a"], ["b"]),
    helper.make_node("Conv", ["b", "second"], ["c"], pads=[1] * 4),
    helper.make_node("Relu", ["c"], ["d"]),
    helper.make_node("Conv", ["d", "third"], ["e"], pads=[1] * 4),
    helper.make_node("Sigmoid", ["e"], ["y"]),
]


@pytest.fixture(scope="module")
def drawn() -> tuple[bytes, bytes, np.ndarray]:
    """A small picture-to-picture graph, its int8 twin, and pictures."""
    x = RNG.random((96, 1, 8, 8), np.float32)
    content = graph(NODES, (1, 8, 8), CONSTANTS)
    return content, quantise(content, {"x": x}, grid=True), x


def test_convolutions_become_integers_but_for_the_one_that_reads_the_picture(drawn):
    assert integer_layers(drawn[1]) == {"c", "e"}
    assert integer_layers(drawn[0]) == set()


def test_int8_pictures_are_the_fp32_ones_up_to_rounding(drawn):
    content, found, x = drawn
    error = np.abs(run(found, x) - run(content, x))
    assert 0 < error.mean() < 0.02
    np.testing.assert_array_equal(run(found, x[:1]), run(found, x)[:1])


def test_an_int8_graph_is_standard_onnx_and_costs_what_the_fp32_one_costs(drawn):
    content, found, _ = drawn
    model = onnx.load_model_from_string(found)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", contract.OPSET)]
    assert not model.graph.value_info
    assert multiply_adds(found) == multiply_adds(content)
    types = {tensor.data_type for tensor in model.graph.initializer if tensor.name.startswith(("second", "third"))}
    assert TensorProto.INT8 in types


def test_the_same_rows_give_the_same_bytes(drawn):
    content, found, x = drawn
    assert quantise(content, {"x": x}, grid=True) == found


@pytest.mark.parametrize(("grid", "layers"), [(True, {"b"}), (False, set())])
def test_large_linear_maps_become_integers_where_they_draw_a_grid(grid, layers):
    wide = GRID_WEIGHTS // 16
    nodes = [
        helper.make_node("Gemm", ["x", "small"], ["a"], transB=1),
        helper.make_node("Gemm", ["a", "large"], ["b"], transB=1),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    content = graph(nodes, (4,), weights(small=(16, 4), large=(wide, 16)))
    found = quantise(content, {"x": RNG.normal(size=(200, 4)).astype(np.float32)}, grid=grid)
    assert integer_layers(found) == layers
    assert multiply_adds(found)["total"] == 16 * 4 + wide * 16
