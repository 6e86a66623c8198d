"""A damaged or wrong bundle never serves, and one line says which file is at fault."""

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.toy import make_bundle
from twofold.model import contract
from twofold.model.contract import ContractError
from twofold.service.runtime.registry import load
from twofold.service.settings import Settings

SETTINGS = Settings(threads=1)
FLIPS = 400


@pytest.fixture
def bundle(toy_bundle, tmp_path):
    return shutil.copytree(toy_bundle, tmp_path / "bundle")


def refusal(folder) -> str:
    with pytest.raises(ContractError) as caught:
        load(folder, SETTINGS)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 200
    return line


def reseal(folder):
    """Make hash and sums right again, so that only the content is wrong."""
    card = json.loads((folder / contract.CARD).read_text())
    card["model_hash"] = contract.model_hash({name: contract.file_sha256(folder / name) for name in contract.HASHED})
    (folder / contract.CARD).write_text(json.dumps(card))
    contract.write_sums(folder)


def rewrite(folder, file, change):
    """Change one array of an .npz by `change(arrays)`, then reseal."""
    with np.load(folder / file) as arrays:
        arrays = dict(arrays)
    change(arrays)
    np.savez(folder / file, **arrays)
    reseal(folder)


def test_every_flipped_bit_is_refused(tmp_path):
    bundle = make_bundle(tmp_path / "bundle", eval_classifier=True)
    rng = np.random.default_rng(0)
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    assert len(files) == 8
    for number in range(FLIPS):
        path = files[number % len(files)]
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        line = refusal(bundle)
        assert path.name in line or path.name == contract.SUMS, line
        path.write_bytes(whole)
    load(bundle, SETTINGS)


def test_every_flipped_bit_of_the_sums_is_refused(bundle):
    path = bundle / contract.SUMS
    whole = path.read_bytes()
    for at in sorted({i for i, byte in enumerate(whole) if not chr(byte).isalnum()} | set(range(0, len(whole), 13))):
        for bit in range(8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            with pytest.raises(ContractError):
                contract.verify_sums(bundle)
    path.write_bytes(whole)
    contract.verify_sums(bundle)


@pytest.mark.parametrize("file", [*contract.REQUIRED, contract.CALIBRATION, contract.SUMS])
def test_a_truncated_file_is_refused_by_name(bundle, file):
    path = bundle / file
    whole = path.read_bytes()
    for end in sorted({0, 1, len(whole) // 2, len(whole) - 1, *range(0, len(whole), 512)}):
        path.write_bytes(whole[:end])
        assert file in refusal(bundle) or file == contract.SUMS


@pytest.mark.parametrize("file", [*contract.REQUIRED, contract.CALIBRATION, contract.SUMS])
def test_a_missing_file_is_refused_by_name(bundle, file):
    (bundle / file).unlink()
    assert refusal(bundle).startswith(f"{file}: missing")


def test_a_required_file_that_the_sums_do_not_name_either_is_missed(bundle):
    (bundle / contract.PRIOR).unlink()
    contract.write_sums(bundle)
    assert refusal(bundle) == "SHA256SUMS: does not name prior.npz"


@pytest.mark.parametrize("file", ["notes.txt", "examples/00-0-0.png", ".hidden", "encoder.onnx.bak"])
def test_a_left_over_file_is_refused_by_name(bundle, file):
    (bundle / file).parent.mkdir(exist_ok=True)
    (bundle / file).write_bytes(b"left over")
    assert refusal(bundle) == f"{file}: not named in SHA256SUMS"


def test_the_card_of_another_model_is_refused(bundle, tmp_path):
    other = make_bundle(tmp_path / "other", seed=9)
    shutil.copy(other / contract.CARD, bundle)
    contract.write_sums(bundle)
    assert refusal(bundle) == "card.json: model_hash does not belong to these files"


def test_a_graph_of_another_model_is_refused_though_every_hash_fits(bundle, tmp_path):
    other = make_bundle(tmp_path / "other", seed=9)
    for file in (contract.DECODER, contract.ENCODER):
        whole = (bundle / file).read_bytes()
        shutil.copy(other / file, bundle)
        reseal(bundle)
        assert refusal(bundle).startswith(f"{file}: ")
        assert "golden.npz" in refusal(bundle)
        (bundle / file).write_bytes(whole)
    reseal(bundle)
    load(bundle, SETTINGS)


@pytest.mark.parametrize("graph", [contract.ENCODER, contract.DECODER])
def test_one_changed_weight_is_caught_by_the_golden_outputs(bundle, graph):
    model = onnx.load(bundle / graph)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name in ("inv", "basis"))
    values = numpy_helper.to_array(weight).copy()
    values[np.unravel_index(np.abs(values).argmax(), values.shape)] *= -1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, bundle / graph)
    reseal(bundle)
    assert refusal(bundle).startswith(f"{graph}: ")


def test_a_graph_that_loads_but_cannot_run_is_refused(bundle):
    model = onnx.load(bundle / contract.DECODER)
    at = next(i for i, node in enumerate(model.graph.node) if node.op_type == "Round")
    model.graph.node[at].input[0] = "looked_up"
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float32), "two"))
    for node in (
        onnx.helper.make_node("Add", ["level", "offset"], ["looked_up"]),
        onnx.helper.make_node("Gather", ["two", "rows"], ["offset"]),  # out of bounds for more than one row
        onnx.helper.make_node("Shape", ["z_s"], ["rows"], end=1),
    ):
        model.graph.node.insert(at, node)
    onnx.save(model, bundle / contract.DECODER)
    reseal(bundle)
    assert refusal(bundle) == "encoder.onnx or decoder.onnx: fails on its golden inputs"


@pytest.mark.parametrize(
    ("name", "by", "file"),
    [
        ("z_s", 0.05, "encoder.onnx: z_s is"),
        ("z_u_mean", 0.05, "encoder.onnx: z_u_mean is"),
        ("z_u_log_var", 0.05, "encoder.onnx: z_u_log_var is"),
        ("class_log_prob", 0.5, "encoder.onnx: class_log_prob is"),
        ("log_density", 1.0, "encoder.onnx: log_density is"),
        ("decoder_pixels", 2, "decoder.onnx: pixels are"),
    ],
)
def test_each_golden_output_is_compared_row_by_row(bundle, name, by, file):
    def change(arrays):
        arrays[name][-1:] = np.where(arrays[name][-1:] > 100, arrays[name][-1:] - by, arrays[name][-1:] + by)

    rewrite(bundle, contract.GOLDEN, change)
    assert refusal(bundle) == f"{file} not what golden.npz says"


def test_one_grey_level_off_is_within_what_the_contract_allows(bundle):
    def change(arrays):
        levels = arrays["decoder_pixels"]
        levels[...] = np.where(levels > 100, levels - 1, levels + 1)

    rewrite(bundle, contract.GOLDEN, change)
    load(bundle, SETTINGS)


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        (contract.PRIOR, lambda a: a.update(class_means=a["class_means"][:, :2]), "class_means must be finite float32"),
        (contract.PRIOR, lambda a: a["fit_means"].fill(np.nan), "fit_means must be finite"),
        (contract.PRIOR, lambda a: a.update(fit_z_u_mean=a["fit_z_u_mean"].astype(float)), "fit_z_u_mean must be finite float32"),
        (contract.PRIOR, lambda a: a["class_weights"].fill(0.3), "class_weights must be frequencies"),
        (contract.PRIOR, lambda a: a.pop("class_weights"), "must hold exactly"),
        (contract.PRIOR, lambda a: a.update(class_means=np.array([{}])), "cannot be read"),
        (contract.GOLDEN, lambda a: a.update(more=a["z_s"]), "must hold exactly"),
        (contract.GOLDEN, lambda a: a.update(z_s=a["z_s"][:1]), "z_s must be float32 of shape"),
        (contract.GOLDEN, lambda a: a.update(decoder_pixels=a["decoder_pixels"] / 255), "decoder_pixels must be uint8"),
        (contract.GOLDEN, lambda a: a.update({k: v[:0] for k, v in a.items()}), "pixels must be uint8"),
    ],
)
def test_an_array_of_the_wrong_shape_type_or_range_is_refused(bundle, file, change, says):
    rewrite(bundle, file, change)
    assert refusal(bundle).startswith(f"{file}: {says}")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"contract_version": 2}, "contract_version must be 1"),
        ({"class_names": ["a", "b", "c"]}, "class_names must hold 4"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"dims": {"dim_s": 3}}, "a key is missing"),
    ],
)
def test_a_card_that_does_not_keep_the_contract_is_refused(bundle, change, says):
    card = json.loads((bundle / contract.CARD).read_text()) | change
    (bundle / contract.CARD).write_text(json.dumps(card))
    contract.write_sums(bundle)
    assert refusal(bundle).startswith(f"card.json: {says}")


def test_a_card_of_other_sizes_than_the_graphs_is_refused(bundle):
    card = json.loads((bundle / contract.CARD).read_text())
    card["dims"]["width"] = 16
    (bundle / contract.CARD).write_text(json.dumps(card))
    contract.write_sums(bundle)
    assert refusal(bundle).startswith("golden.npz: pixels must be uint8 of shape")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"log_density_quantiles": [1, 2]}', json.dumps({"log_density_quantiles": [0] * 100 + [-1]}),
     '{"log_density_quantiles": ' + "[" * 100_000, json.dumps({"log_density_quantiles": [float("nan")] * 101})],
)  # fmt: skip
def test_a_calibration_that_is_none_is_refused(bundle, text):
    (bundle / contract.CALIBRATION).write_text(text)
    contract.write_sums(bundle)
    assert refusal(bundle).startswith("calibration.json: ")


@pytest.mark.parametrize("name", ["first.png", "00-4-0.png", "00-0-0.gif"])
def test_an_example_of_an_unknown_class_is_refused(bundle, name):
    (bundle / contract.EXAMPLES).mkdir()
    (bundle / contract.EXAMPLES / name).write_bytes(b"")
    contract.write_sums(bundle)
    assert refusal(bundle).startswith("examples: ")


def test_a_model_that_does_not_reach_the_cards_figure_is_refused(bundle):
    rewrite(bundle, contract.PRIOR, lambda arrays: arrays.update(fit_means=np.roll(arrays["fit_means"], 1, axis=0)))
    card = json.loads((bundle / contract.CARD).read_text()) | {"metrics": {"split": "test", "values": {"class_consistency": 0.95}}}
    (bundle / contract.CARD).write_text(json.dumps(card))
    contract.write_sums(bundle)
    assert refusal(bundle) == "card.json: claims class_consistency 0.95, the graphs reach 0.00"
