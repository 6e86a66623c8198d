"""contract.py says what a bundle is, and says in one line what is not one."""

import hashlib
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import toy
from twofold.model import contract
from twofold.model.contract import Card, CodeMap, ContractError, Dims, Directions, Preprocessing, TensorSpec

CARD = Card(
    name="toy",
    class_names=toy.CLASS_NAMES,
    dims=toy.DIMS,
    preprocessing=Preprocessing(background=(255,), filter="box", crop="none"),
    model_hash="0a" * 32,
    precision="int8",
    data={"source": "made up", "rows": {"train": 10}},
    training={"steps": 3, "lr": 0.5},
    revision="abc",
    metrics={"split": "test", "values": {"class_accuracy": 0.5}},
)


# ----------------------------------------------------------------------------------------------------------------- card


def test_a_card_survives_being_written_and_read():
    assert Card.from_json(CARD.to_json()) == CARD
    assert CARD.to_json().endswith("}\n")
    assert list(json.loads(CARD.to_json())) == sorted(json.loads(CARD.to_json()))


def test_a_card_needs_only_what_has_no_default():
    raw = json.loads(CARD.to_json())
    few = {key: raw[key] for key in ("name", "class_names", "dims", "preprocessing", "model_hash")}
    card = Card.from_json(json.dumps(few))
    assert (card.precision, card.contract_version, card.metrics) == ("fp32", contract.CONTRACT_VERSION, {})


def test_a_card_is_called_by_its_name_and_eight_digits_of_its_hash():
    assert CARD.id == "toy@0a0a0a0a"


@given(st.lists(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=200), min_size=4, max_size=4, unique=True))
def test_any_printable_class_names_survive(names):
    card = replace(CARD, class_names=tuple(names))
    assert Card.from_json(card.to_json()).class_names == tuple(names)


def test_a_card_of_figures_that_are_no_numbers_is_not_written():
    with pytest.raises(ValueError, match="Out of range"):
        replace(CARD, metrics={"values": {"leak": float("nan")}}).to_json()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"contract_version": 2}, "contract_version must be 1"),
        ({"name": "Toy"}, "name must be"),
        ({"name": "a" * 65}, "name must be"),
        ({"name": "../toy"}, "name must be"),
        ({"name": "toy-"}, "name must be"),
        ({"name": 7}, "of the wrong type"),
        ({"class_names": ["a", "b", "c"]}, "class_names must hold 4"),
        ({"class_names": ["a", "b", "c", "c"]}, "class_names must hold 4"),
        ({"class_names": "abcd"}, "of the wrong type"),
        ({"class_names": ["a", "b", "c", "d\n"]}, "every class name must be"),
        ({"class_names": ["a", "b", "c", ""]}, "every class name must be"),
        ({"class_names": ["a", "b", "c", 4]}, "every class name must be"),
        ({"model_hash": "0A" * 32}, "model_hash must be"),
        ({"model_hash": "0a" * 31}, "model_hash must be"),
        ({"precision": "fp8"}, "precision must be"),
        ({"metrics": []}, "of the wrong type"),
        ({"data": None}, "of the wrong type"),
        ({"revision": 1}, "of the wrong type"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"dims": {"dim_s": 3}}, "a key is missing"),
        ({"dims": {**asdict(toy.DIMS), "depth": 1}}, "a key is missing, unknown"),
        ({"dims": {**asdict(toy.DIMS), "dim_s": 0}}, "dims.dim_s must be an integer"),
        ({"dims": {**asdict(toy.DIMS), "dim_u": 2.0}}, "dims.dim_u must be an integer"),
        ({"dims": {**asdict(toy.DIMS), "height": True}}, "dims.height must be an integer"),
        ({"dims": {**asdict(toy.DIMS), "width": 65537}}, "dims.width must be an integer"),
        ({"dims": {**asdict(toy.DIMS), "channels": 2}}, "dims.channels must be 1 .grey. or 3"),
        ({"preprocessing": {"background": [255, 255, 255]}}, "background must hold 1 level"),
        ({"preprocessing": {"background": [256]}}, "background must hold one level"),
        ({"preprocessing": {"background": []}}, "background must hold one level"),
        ({"preprocessing": {"background": [0], "filter": "magic"}}, "filter must be one of"),
        ({"preprocessing": {"background": [0], "crop": "left"}}, "crop must be one of"),
        ({"preprocessing": {}}, "a key is missing"),
        ({"preprocessing": 3}, "a key is missing"),
    ],
)
def test_a_card_that_breaks_a_rule_is_refused_by_the_rule(change, says):
    raw = json.loads(CARD.to_json()) | change
    with pytest.raises(ContractError, match=rf"^card\.json: .*{says}"):
        Card.from_json(json.dumps(raw))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "[" * 100_000])
def test_what_is_no_object_is_no_card(text):
    with pytest.raises(ContractError, match=r"^card\.json: not "):
        Card.from_json(text)


def test_a_missing_or_binary_card_is_unreadable(tmp_path):
    with pytest.raises(ContractError, match=r"^card\.json: missing or unreadable"):
        contract.read_card(tmp_path)
    (tmp_path / contract.CARD).write_bytes(b"\xff\xfe")
    with pytest.raises(ContractError, match=r"^card\.json: missing or unreadable"):
        contract.read_card(tmp_path)


# -------------------------------------------------------------------------------------------------------------- tensors

SPECS = (TensorSpec("z_s", "float32", (3,)), TensorSpec("log_density", "float32", ()))


def test_tensors_of_the_contract_pass():
    contract.check_tensors("x.onnx", SPECS, [("z_s", "float32", ["N", 3]), ("log_density", "float32", [None])])


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([("z_s", "float32", ["N", 3])], "tensors must be named z_s, log_density"),
        ([("log_density", "float32", ["N"]), ("z_s", "float32", ["N", 3])], "tensors must be named"),
        ([("z_s", "float16", ["N", 3]), ("log_density", "float32", ["N"])], "z_s must be float32, not float16"),
        ([("z_s", "float32", ["N", 4]), ("log_density", "float32", ["N"])], r"z_s must have shape \[N,3\]"),
        ([("z_s", "float32", ["N", "M"]), ("log_density", "float32", ["N"])], r"z_s must have shape \[N,3\]"),
        ([("z_s", "float32", [3]), ("log_density", "float32", ["N"])], r"z_s must have shape \[N,3\]"),
        ([("z_s", "float32", ["N", 3]), ("log_density", "float32", ["N", 1])], r"log_density must have shape \[N\]"),
        ([("z_s", "float32", [1, 3]), ("log_density", "float32", ["N"])], "z_s must have a dynamic batch axis"),
    ],
)
def test_other_tensors_are_refused_by_name(found, says):
    with pytest.raises(ContractError, match=rf"^x\.onnx: {says}"):
        contract.check_tensors("x.onnx", SPECS, found)


# ----------------------------------------------------------------------------------------------------- arrays and files


def test_what_a_bundle_holds_is_what_was_written(tmp_path):
    folder = toy.make_bundle(tmp_path / "toy")
    files = contract.open_bundle(folder)
    assert files.card == contract.read_card(folder)
    assert files.encoder == (folder / contract.ENCODER).read_bytes()
    assert files.decoder == (folder / contract.DECODER).read_bytes()
    assert files.eval_classifier is None
    for record, name in ((files.prior, contract.PRIOR), (files.golden, contract.GOLDEN)):
        contract.write_arrays(tmp_path / name, record)
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    np.testing.assert_array_equal(files.prior.class_means, toy.MEANS)


def float32(*shape):
    return np.linspace(-1, 1, int(np.prod(shape))).reshape(shape).astype(np.float32)


DIRECTIONS = Directions(directions=float32(2, 2), effects=np.array([3, 1], np.float32))
MAP = CodeMap(xy=float32(5, 2), label=np.arange(5) % 4, z_s=float32(5, 3), z_u=float32(5, 2), kept=np.asarray(np.float32(0.5)))


def test_extras_that_are_not_there_are_none(tmp_path):
    assert contract.read_directions(tmp_path, toy.DIMS) is None
    assert contract.read_map(tmp_path, toy.DIMS) is None


@pytest.mark.parametrize(
    ("record", "name", "read"),
    [(DIRECTIONS, contract.DIRECTIONS, contract.read_directions), (MAP, contract.MAP, contract.read_map)],
)
def test_extras_are_read_as_they_were_written(tmp_path, record, name, read):
    contract.write_arrays(tmp_path / name, record)
    found = read(tmp_path, toy.DIMS)
    assert all(np.array_equal(value, getattr(record, key)) for key, value in asdict(found).items())
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-30])
    with pytest.raises(ContractError, match=rf"^{name}: cannot be read"):
        read(tmp_path, toy.DIMS)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"directions": float32(2, 3)}, r"directions must be finite float32 of shape \[2, 2\]"),
        ({"directions": np.zeros((2, 2))}, "directions must be finite float32"),
        ({"effects": np.array([np.nan, 1], np.float32)}, "effects must be finite float32"),
        ({"effects": np.array([1, 3], np.float32)}, "effects must descend"),
        ({"effects": np.array([1, -1], np.float32)}, "effects must descend and not be negative"),
        ({"effects": np.float32(1)}, "directions must be finite float32"),
        ({"directions": float32(9, 2), "effects": np.ones(9, np.float32)}, "must hold 1 to 8"),
        ({"directions": float32(0, 2), "effects": float32(0)}, "must hold 1 to 8"),
    ],
)
def test_directions_that_break_a_rule_are_refused_by_the_rule(tmp_path, change, says):
    contract.write_arrays(tmp_path / contract.DIRECTIONS, replace(DIRECTIONS, **change))
    with pytest.raises(ContractError, match=rf"^directions\.npz: {says}"):
        contract.read_directions(tmp_path, toy.DIMS)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"xy": float32(4, 2)}, r"xy must be finite float32 of shape \[5, 2\]"),
        ({"xy": 2 * float32(5, 2)}, "xy must lie in -1..1"),
        ({"kept": np.asarray(np.float32(1.5))}, "xy must lie in -1..1, kept in 0..1"),
        ({"z_s": float32(5, 2)}, "z_s must be finite float32"),
        ({"z_u": np.full((5, 2), np.inf, np.float32)}, "z_u must be finite float32"),
        ({"label": np.arange(5)}, "label must hold class indices"),
        ({"label": np.arange(5, dtype=np.int32) % 4}, "label must be int64"),
        ({"label": np.int64(1)}, "xy must be finite float32"),
        ({"label": np.zeros(0, np.int64), "xy": float32(0, 2), "z_s": float32(0, 3), "z_u": float32(0, 2)}, "label must be int64 of shape"),
    ],
)
def test_a_map_that_breaks_a_rule_is_refused_by_the_rule(tmp_path, change, says):
    contract.write_arrays(tmp_path / contract.MAP, replace(MAP, **change))
    with pytest.raises(ContractError, match=rf"^map\.npz: {says}"):
        contract.read_map(tmp_path, toy.DIMS)


def test_the_model_hash_follows_graphs_and_prior_alone(tmp_path):
    sums = {name: hashlib.sha256(name.encode()).hexdigest() for name in (*contract.REQUIRED, "README.md")}
    expected = hashlib.sha256("\n".join(sorted(sums[name] for name in contract.HASHED)).encode()).hexdigest()
    assert contract.model_hash(sums) == expected
    assert contract.model_hash(sums | {contract.CARD: "0" * 64}) == expected
    assert contract.model_hash(sums | {contract.PRIOR: "0" * 64}) != expected


def test_an_evaluation_classifier_is_summed_and_no_part_of_the_model_hash(tmp_path):
    plain, folder = (toy.make_bundle(tmp_path / str(has), eval_classifier=has) for has in (False, True))
    files = contract.open_bundle(folder)
    assert files.card == contract.read_card(plain)
    assert files.eval_classifier == (folder / contract.EVAL_CLASSIFIER).read_bytes()
    assert contract.EVAL_CLASSIFIER in contract.verify_sums(folder)


def test_sums_are_in_the_format_of_sha256sum(tmp_path):
    folder = toy.make_bundle(tmp_path / "toy")
    (folder / "examples").mkdir()
    (folder / "examples" / "00-0-0.png").write_bytes(b"x")
    contract.write_sums(folder)
    lines = (folder / contract.SUMS).read_text().splitlines()
    assert f"{hashlib.sha256(b'x').hexdigest()}  examples/00-0-0.png" in lines
    assert contract.verify_sums(folder) == {line[66:]: line[:64] for line in lines}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: "", "ends too early"),
        (lambda text: text[:-1], "ends too early"),
        (lambda text: text + "\n", "malformed line"),
        (lambda text: text.replace("  ", " ", 1), "malformed line 1"),
        (lambda text: text.upper(), "malformed line 1"),
        (lambda text: text.replace("\n", "\r\n"), "malformed line 1"),
        (lambda text: text + text.splitlines()[0] + "\n", "malformed line"),
        (lambda text: text + "0" * 64 + "  ../card.json\n", "malformed line"),
        (lambda text: text + "0" * 64 + "  /etc/passwd\n", "malformed line"),
        (lambda text: "".join(line for line in text.splitlines(True) if "card.json" not in line), "does not name card.json"),
        (lambda text: "\u00e9" + text, "missing or unreadable"),
    ],
)
def test_sums_in_another_format_are_refused(tmp_path, change, says):
    folder = toy.make_bundle(tmp_path / "toy")
    text = (folder / contract.SUMS).read_text()
    (folder / contract.SUMS).write_bytes(change(text).encode())
    with pytest.raises(ContractError, match=f"^SHA256SUMS: {says}"):
        contract.verify_sums(folder)


def test_a_file_beyond_all_reason_is_refused_before_it_is_read(tmp_path):
    folder = toy.make_bundle(tmp_path / "toy")
    with (folder / contract.PRIOR).open("r+b") as stream:
        stream.truncate(contract.MAX_FILE_BYTES + 1)  # sparse: takes no disk
    with pytest.raises(ContractError, match=r"^prior\.npz: larger than"):
        contract.verify_sums(folder)


def test_a_negative_size_is_refused():
    with pytest.raises(ContractError, match=r"dims\.classes must be an integer"):
        Dims(dim_s=1, dim_u=1, classes=-4, height=1, width=1, channels=1)
