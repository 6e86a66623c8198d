"""What a bundle costs to run: multiply-adds counted on the ONNX graph, and bytes on disk. Runs nothing; knows no weights' meaning."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
from onnx import inliner, shape_inference

COUNTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Operators that multiply as much as these but have no rule here: refused, so that a figure is never silently too low.
UNCOUNTED = ("Einsum", "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "GRU", "LSTM", "RNN")


def multiply_adds(graph: bytes) -> dict[str, int]:
    """Multiply-adds of one row per operator type, with "total". Raises ValueError on an operator or a shape it cannot count."""
    model = inliner.inline_local_functions(onnx.load_model_from_string(graph))
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]  # shapes with the exporter's symbolic batch would contradict the fixed one
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    counts = dict.fromkeys(COUNTED, 0)
    for node in inferred.node:
        if node.op_type in UNCOUNTED:
            raise ValueError(f"cannot count the multiply-adds of {node.op_type}")
        if node.op_type in COUNTED:
            counts[node.op_type] += _node(node, shapes)
    return {**counts, "total": sum(counts.values())}


def _node(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    first, second, result = (shapes.get(name, [0]) for name in (node.input[0], node.input[1], node.output[0]))
    if node.op_type == "Conv":  # every output value takes one kernel: [out, in / groups, *kernel]
        count = math.prod(result) * math.prod(second[1:])
    elif node.op_type == "ConvTranspose":  # every input value meets one kernel: [in, out / groups, *kernel]
        count = math.prod(first) * math.prod(second[1:])
    else:
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        count = math.prod(result) * (first[-2] if transposed else first[-1])
    if count == 0:
        raise ValueError(f"cannot count the multiply-adds of {node.name or node.op_type}: a shape is unknown")
    return count


def file_bytes(folder: Path) -> dict[str, int]:
    """Bytes of every file of a bundle by its path inside, with "total"."""
    sizes = {str(file.relative_to(folder)): file.stat().st_size for file in sorted(folder.rglob("*")) if file.is_file()}
    return {**sizes, "total": sum(sizes.values())}
