"""Multiply-adds against counts done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import toy
from twofold.model import contract
from twofold.training.metrics.compute_cost import file_bytes, multiply_adds


def graph(nodes, shape_in, weights) -> bytes:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape_in])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    constants = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights.items()]
    made = helper.make_graph(nodes, "g", inputs, outputs, constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", contract.OPSET)], ir_version=10).SerializeToString()


def test_a_grouped_strided_convolution_counts_a_kernel_per_output_value():
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], group=2)
    assert multiply_adds(graph([node], (4, 8, 8), {"w": (6, 2, 3, 3)}))["total"] == 6 * 4 * 4 * 2 * 9


def test_a_transposed_convolution_counts_a_kernel_per_input_value():
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])
    assert multiply_adds(graph([node], (4, 8, 8), {"w": (4, 3, 2, 2)}))["ConvTranspose"] == 4 * 8 * 8 * 3 * 4


def test_gemm_and_matmul_count_inputs_times_outputs():
    nodes = [helper.make_node("Gemm", ["x", "a"], ["h"], transB=1), helper.make_node("MatMul", ["h", "b"], ["y"])]
    assert multiply_adds(graph(nodes, (7,), {"a": (5, 7), "b": (5, 3)})) == {
        "Conv": 0, "ConvTranspose": 0, "Gemm": 35, "MatMul": 15, "total": 50,
    }  # fmt: skip


def test_an_operator_without_a_rule_is_refused_instead_of_left_out():
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation="ni,ij->nj")
    with pytest.raises(ValueError, match="Einsum"):
        multiply_adds(graph([node], (4,), {"w": (4, 4)}))


def test_a_bundle_is_weighed_file_by_file(tmp_path):
    sizes = file_bytes(toy.make_bundle(tmp_path / "toy"))
    assert sizes.pop("total") == sum(sizes.values())
    assert sizes[contract.DECODER] == (tmp_path / "toy" / contract.DECODER).stat().st_size
    assert set(contract.REQUIRED) < set(sizes)
