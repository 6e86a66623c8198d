"""The engine runs graphs that keep the contract, and a row gives the same bytes alone and in any batch."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests import toy
from twofold.model import contract
from twofold.service.runtime import onnx_header
from twofold.service.runtime.engine import Engine, cpu_quota


@pytest.fixture(scope="module")
def graphs(toy_bundle):
    return {name: (toy_bundle / name).read_bytes() for name in (contract.ENCODER, contract.DECODER)}


@pytest.fixture(scope="module")
def engine(graphs):
    return make(graphs)


def make(graphs, **settings):
    return Engine(graphs[contract.ENCODER], graphs[contract.DECODER], toy.DIMS, **({"threads": 1} | settings))


def draw_codes(n):
    rng = np.random.default_rng(n)
    return rng.normal(size=(n, 3)).astype(np.float32), rng.normal(size=(n, 2)).astype(np.float32)


def test_decoding_then_encoding_gives_the_codes_back(engine):
    z_s, z_u = draw_codes(20)
    pixels = engine.decode(z_s / 4, z_u / 4)
    assert pixels.shape == (20, 8, 8, 1)
    assert pixels.dtype == np.uint8
    found = engine.encode(pixels)
    np.testing.assert_allclose(found.z_s, z_s / 4, atol=0.02)
    np.testing.assert_allclose(found.z_u_mean, z_u / 4, atol=0.02)
    np.testing.assert_allclose(np.exp(found.class_log_prob).sum(1), 1, rtol=1e-5)
    assert found.log_density.shape == (20,)
    assert engine.provider == "CPUExecutionProvider"


def test_pixels_are_the_same_bytes_alone_and_in_any_batch(graphs):
    z_s, z_u = draw_codes(64)
    alone = np.concatenate([make(graphs).decode(z_s[i : i + 1], z_u[i : i + 1]) for i in range(64)])
    for size in (2, 3, 5, 8, 16, 33, 64):
        engine = make(graphs, batch_rows=size)
        assert engine.decode(z_s, z_u).tobytes() == alone.tobytes()
        shuffled = np.random.default_rng(size).permutation(64)
        assert engine.decode(z_s[shuffled], z_u[shuffled]).tobytes() == alone[shuffled].tobytes()


def show_rows(model):
    """Make every pixel's level the number of rows that the run had."""
    graph = model.graph
    at = next(i for i, node in enumerate(graph.node) if node.op_type == "Round")
    for node in (
        helper.make_node("Add", ["nought", "rows"], ["counted"]),
        helper.make_node("Cast", ["count"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("Shape", ["z_s"], ["count"], end=1),
        helper.make_node("Sub", ["level", "level"], ["nought"]),
    ):
        graph.node.insert(at, node)
    graph.node[at + 4].input[0] = "counted"


def test_more_rows_than_a_run_may_have_are_run_in_chunks(graphs):
    pixels = make(altered(graphs, show_rows), batch_rows=3).decode(*draw_codes(8))
    assert pixels[:, 0, 0, 0].tolist() == [3, 3, 3, 3, 3, 3, 2, 2]


def altered(graphs, change):
    """The decoder's bytes after `change(model)`."""
    model = onnx.load_from_string(graphs[contract.DECODER])
    change(model)
    return graphs | {contract.DECODER: model.SerializeToString()}


def set_opset(version):
    def change(model):
        model.opset_import[0].version = version

    return change


def second_opset(model):
    model.opset_import.append(helper.make_opsetid("ai.onnx", 20))


def rename_input(model):
    model.graph.input[0].name = "z_class"
    model.graph.node[0].input[0] = "z_class"


def fix_batch(model):
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 4


def float_pixels(model):
    model.graph.node.remove(next(node for node in model.graph.node if node.op_type == "Cast"))
    next(node for node in model.graph.node if node.op_type == "Reshape").input[0] = "round"
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT


def swap_inputs(model):
    first, second = model.graph.input[0], model.graph.input[1]
    order = [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, ["N", n]) for t, n in ((second, 2), (first, 3))]
    del model.graph.input[:]
    model.graph.input.extend(order)


def external_weights(model):
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "basis")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="elsewhere.bin")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_opset(16), "must use one opset from 17 to 26"),
        (set_opset(27), "must use one opset from 17 to 26"),
        (second_opset, "must use one opset from 17 to 26"),
        (rename_input, "tensors must be named z_s, z_u"),
        (swap_inputs, "tensors must be named z_s, z_u"),
        (fix_batch, "z_s must have a dynamic batch axis"),
        (float_pixels, "pixels must be uint8, not float32"),
        (external_weights, "must hold its weights itself"),
    ],
)
def test_a_graph_that_breaks_the_contract_is_refused_by_name(graphs, change, says):
    with pytest.raises(contract.ContractError, match=f"^decoder.onnx: {says}"):
        make(altered(graphs, change))


def test_the_opset_of_the_export_is_within_the_range_that_is_served():
    assert contract.OPSET in onnx_header.OPSETS


@pytest.mark.parametrize("version", [19, 21, 26])
def test_a_graph_of_a_neighbouring_opset_gives_the_same_pixels(graphs, engine, version):
    codes = draw_codes(3)
    assert make(altered(graphs, set_opset(version))).decode(*codes).tobytes() == engine.decode(*codes).tobytes()


def test_a_graph_of_other_sizes_is_refused(graphs):
    other = contract.Dims(**(vars(toy.DIMS) | {"dim_u": 4}))
    with pytest.raises(contract.ContractError, match=r"^encoder.onnx: z_u_mean must have shape \[N,4\]"):
        Engine(graphs[contract.ENCODER], graphs[contract.DECODER], other)


@pytest.fixture(scope="module")
def eval_classifier(tmp_path_factory):
    folder = toy.make_bundle(tmp_path_factory.mktemp("classified") / "toy", eval_classifier=True)
    return (folder / contract.EVAL_CLASSIFIER).read_bytes()


def test_the_class_comes_from_the_evaluation_classifier_where_there_is_one(graphs, engine, eval_classifier):
    pixels = engine.decode(*draw_codes(11))
    other = make(graphs, eval_classifier=eval_classifier, batch_rows=4)
    assert (engine.classified_by, other.classified_by) == ("encoder", "evaluation classifier")
    read = engine.encode(pixels).class_log_prob
    assert engine.classify(pixels).tobytes() == read.tobytes()
    np.testing.assert_allclose(other.classify(pixels), np.roll(read, 1, 1), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_opset(16), "must use one opset from 17 to 26"),
        (lambda model: setattr(model.graph.input[0], "name", "images"), "cannot be loaded|tensors must be named pixels"),
        (lambda model: setattr(model.graph.output[0].type.tensor_type.shape.dim[0], "dim_value", 1), "must have a dynamic batch axis"),
    ],
)
def test_an_evaluation_classifier_that_breaks_the_contract_is_refused(graphs, eval_classifier, change, says):
    model = onnx.load_from_string(eval_classifier)
    change(model)
    with pytest.raises(contract.ContractError, match=f"^eval_classifier.onnx: .*({says})"):
        make(graphs, eval_classifier=model.SerializeToString())


def test_an_evaluation_classifier_of_other_tensors_is_refused(graphs):
    with pytest.raises(contract.ContractError, match=r"^eval_classifier.onnx: tensors must be named class_log_prob, in this order"):
        make(graphs, eval_classifier=graphs[contract.ENCODER])


@pytest.mark.parametrize("data", [b"", b"\x00", b"not a graph", b"\xff" * 100, b"\x08\x0a\x42\x02\x10\x14"])
def test_what_is_no_graph_is_refused(graphs, data):
    with pytest.raises(contract.ContractError, match=r"^encoder.onnx: "):
        make(graphs | {contract.ENCODER: data})


def test_a_truncated_graph_is_refused_wherever_it_ends(graphs):
    whole = graphs[contract.DECODER]
    for end in range(0, len(whole), 37):
        with pytest.raises(contract.ContractError, match=r"^decoder.onnx: "):
            make(graphs | {contract.DECODER: whole[:end]})


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "garbage\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_the_cpus_are_those_of_the_container(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == (expected or cpu_quota(tmp_path / "nothing"))
