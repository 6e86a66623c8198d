"""docs/reference/bundle.md: the format that it describes is the contract's, and its commands work as they stand."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import fields

from tests import toy
from tests.documents import blocks, page, rows, run, section, workplace
from twofold.model import contract
from twofold.model.contract import Card, CodeMap, Directions, Golden, Prior

PAGE = page("docs/reference/bundle.md")


def block(language: str, title: str) -> str:
    return next(code for kind, code in blocks(section(PAGE, title)) if kind == language)


def table(title: str) -> list[list[str]]:
    return rows(section(PAGE, title))


def test_the_example_of_a_card_is_a_card():
    text = block("json", "The card")
    card = Card.from_json(text)
    assert json.loads(card.to_json()) == json.loads(text)
    assert f"`{card.id}`" in section(PAGE, "The card")


def test_every_key_of_the_card_and_no_other_is_explained():
    assert [row[0] for row in table("The card")][2:] == [f"`{name}`" for name in sorted(Card.__dataclass_fields__)]


def test_every_file_and_no_other_is_explained():
    named = {name.rstrip("/") for row in table("Files")[2:] for name in re.findall(r"`([^`]+)`", row[0])}
    extras = {contract.EVAL_CLASSIFIER, contract.CALIBRATION, contract.DIRECTIONS, contract.MAP, contract.EXAMPLES, contract.MODEL_CARD}
    assert named == {*contract.REQUIRED, contract.SUMS} | extras


def test_every_tensor_has_the_type_and_shape_of_the_contract():
    letters = {"D_s": 3, "D_u": 2, "K": 4, "H": 8, "W": 16, "C": 1}
    dims = contract.Dims(dim_s=3, dim_u=2, classes=4, height=8, width=16, channels=1)
    specs = [
        spec
        for graph in (contract.encoder_signature, contract.decoder_signature, contract.eval_classifier_signature)
        for side in graph(dims)
        for spec in side
    ]
    found = []
    for name, dtype, shape in (row[1:4] for row in table("Tensors") if len(row) == 5 and row[1].startswith("`")):
        batch, *axes = shape.strip("[]").split(", ")
        assert batch == "N"
        found.append(contract.TensorSpec(name.strip("`"), dtype, tuple(letters[axis] for axis in axes)))
    assert found == specs


def test_every_array_of_every_file_is_explained():
    found = [row[0].strip("`") for row in table("Tensors") if len(row) == 3 and row[0].startswith("`")]
    assert found == [field.name for record in (Prior, Directions, CodeMap) for field in fields(record)]
    golden = section(PAGE, "Tensors").partition("`golden.npz`")[2]
    assert set(re.findall(r"`(\w+)`", golden)) == {field.name for field in fields(Golden)}


def test_a_bundle_made_by_hand_is_a_bundle_and_is_verified_by_hand(tmp_path, toy_bundle):
    shutil.copytree(toy_bundle, tmp_path / "mine")
    for name in (contract.CARD, contract.SUMS):
        (tmp_path / "mine" / name).unlink()
    environ = workplace(tmp_path)
    made = run("python", block("python", "Make one by hand"), tmp_path, environ)
    card = contract.open_bundle(tmp_path / "mine").card
    assert card.dims == toy.DIMS
    assert made == f"{card.id}\n"
    checked = run("sh", block("sh", "Verify one by hand"), tmp_path, environ)
    assert checked.splitlines()[-1] == f"{card.model_hash}  -"
