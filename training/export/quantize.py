"""A verified fp32 graph becomes an int8 one: static, per channel, in the QDQ form that onnxruntime fuses into integer kernels.

Knows graphs and rows to calibrate on; nothing of what they mean. Which layers stay in float was measured (docs/experiments.md): the
first convolution of an encoder, the heads that give the codes, the first layer of the decoder, and the flow. They are small, and their
rounding error changes everything after them.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

PIECE = 64  # rows at once
PICTURE_CHANNELS = 3  # a convolution of so few channels reads a picture
GRID_WEIGHTS = 2**15  # a linear map of so many weights draws the decoder's smallest grid
LOGIT_RANGE = 8.0  # a sigmoid is within a tenth of a grey level of black and white outside


def quantise(graph: bytes, rows: Mapping[str, NDArray], *, grid: bool) -> bytes:
    """The int8 twin of a graph, calibrated on `rows` {input: [N, ...]}; `grid`: its large linear maps too, not convolutions alone.

    Weights have 7 bits: sums of two products then fit into 16, so processors without VNNI give the same answers, bit for bit.
    """
    model = onnx.load_model_from_string(graph)
    _transposed_to_plain(model.graph)
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if _is_worth_it(node, weights, grid)]
    before_sigmoid = {name for node in model.graph.node if node.op_type == "Sigmoid" for name in node.input}
    limits = [{"rmin": np.float32(-LOGIT_RANGE), "rmax": np.float32(LOGIT_RANGE)}]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        plain, found = Path(folder, "plain.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, plain)
        quantize_static(
            plain,
            found,
            _Rows(rows),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=[node.name for node in (*layers, *(n for n in model.graph.node if n.op_type == "Relu"))],
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"TensorQuantOverrides": {n.output[0]: limits for n in layers if n.output[0] in before_sigmoid}},
        )
        model = onnx.load(found)
    del model.graph.value_info[:], model.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _is_worth_it(node: onnx.NodeProto, weights: Mapping[str, Sequence[int]], grid: bool) -> bool:
    if node.op_type not in ("Conv", "Gemm") or node.input[1] not in weights:
        return False
    dims = weights[node.input[1]]
    return dims[1] > PICTURE_CHANNELS if node.op_type == "Conv" else grid and math.prod(dims) >= GRID_WEIGHTS


class _Rows(CalibrationDataReader):
    """Rows {input: [N, ...]} in pieces of one size, as the histograms ask for; a remainder is left out."""

    def __init__(self, rows: Mapping[str, NDArray]) -> None:
        count = len(next(iter(rows.values())))
        size = min(PIECE, count)
        self._pieces = iter([{name: array[i : i + size] for name, array in rows.items()} for i in range(0, count - size + 1, size)])

    def get_next(self) -> dict[str, NDArray] | None:
        return next(self._pieces, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser prints its progress and warns of preprocessing that these graphs do not need."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


# ------------------------------------------------------------------------------------------ transposed convolutions


def _transposed_to_plain(graph: onnx.GraphProto) -> None:
    """Rewrite every doubling (4x4 transposed convolution of stride 2, ReLU) in the form that has integer kernels, in place.

    Output pixel 2m + a needs x[m - 1 + a] and x[m + a]: a 3x3 convolution gives all four phases as channels, DepthToSpace puts them
    side by side. Exact; it multiplies with zeros, and is still the fastest form in int8. ReLU goes before DepthToSpace, where it is fused.
    """
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    renamed: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "ConvTranspose":
            inputs = [name + "_phases" for name in node.input[1:]]
            phases = [_phases(weights[node.input[1]]), *(np.tile(weights[name], 4) for name in node.input[2:])]
            graph.initializer.extend(numpy_helper.from_array(array, name) for array, name in zip(phases, inputs, strict=True))
            inputs.insert(0, node.input[0])
            nodes.append(helper.make_node("Conv", inputs, list(node.output), node.name, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
            renamed[node.output[0]] = node.name + "_to_space"
        elif node.op_type == "Relu" and node.input[0] in renamed:
            drawn, name = node.output[0], renamed.pop(node.input[0])
            node.output[0] = name + "_phases"
            nodes += [node, helper.make_node("DepthToSpace", [node.output[0]], [drawn], name, blocksize=2, mode="DCR")]
        else:
            nodes.append(node)
    if renamed:
        raise ValueError("a transposed convolution without a ReLU has no int8 form here")
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def _phases(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights [in, out, 4, 4] of a transposed convolution of stride 2 and padding 1 -> [4 * out, in, 3, 3], phases first."""
    channels_in, channels_out = weight.shape[:2]
    found = np.zeros((2, 2, channels_out, channels_in, 3, 3), np.float32)
    taps = ([3, 1], [2, 0])  # of phase 0 and 1, in the order of the pixels they meet
    for a, rows in enumerate(taps):
        for b, columns in enumerate(taps):
            found[a, b, :, :, a : a + 2, b : b + 2] = weight[:, :, rows][..., columns].transpose(1, 0, 2, 3)
    return found.reshape(4 * channels_out, channels_in, 3, 3)
