"""docs/bundle.md says what the contract says, and what it tells people to type works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from tests import toy
from twofold.model import contract
from twofold.model.contract import Card, CodeMap, Directions, Golden, Prior

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/bundle.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def block(language: str, title: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", section(title), re.DOTALL | re.MULTILINE)
    assert found, f"there is no {language} in {title}"
    return found[1]


def rows(title: str) -> list[list[str]]:
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_example_of_a_card_is_one():
    text = block("json", "The card")
    card = Card.from_json(text)
    assert json.loads(card.to_json()) == json.loads(text)
    assert f"`{card.id}`" in section("The card")


def test_every_key_of_the_card_and_no_other_is_explained():
    assert [row[0] for row in rows("The card")][2:] == [f"`{name}`" for name in sorted(Card.__dataclass_fields__)]


def test_every_file_and_no_other_is_explained():
    named = {name.rstrip("/") for row in rows("Files")[2:] for name in re.findall(r"`([^`]+)`", row[0])}
    extras = {contract.CALIBRATION, contract.DIRECTIONS, contract.MAP, contract.EXAMPLES, contract.MODEL_CARD}
    assert named == {*contract.REQUIRED, contract.SUMS} | extras


def test_every_tensor_has_the_type_and_shape_of_the_contract():
    letters = {"D_s": 3, "D_u": 2, "K": 4, "H": 8, "W": 16, "C": 1}
    dims = contract.Dims(dim_s=3, dim_u=2, classes=4, height=8, width=16, channels=1)
    specs = [spec for graph in (contract.encoder_signature, contract.decoder_signature) for side in graph(dims) for spec in side]
    found = []
    for name, dtype, shape in (row[1:4] for row in rows("Tensors") if len(row) == 5 and row[1].startswith("`")):
        batch, *axes = shape.strip("[]").split(", ")
        assert batch == "N"
        found.append(contract.TensorSpec(name.strip("`"), dtype, tuple(letters[axis] for axis in axes)))
    assert found == specs


def test_every_array_of_every_file_is_explained():
    found = [row[0].strip("`") for row in rows("Tensors") if len(row) == 3 and row[0].startswith("`")]
    assert found == [field.name for record in (Prior, Directions, CodeMap) for field in fields(record)]
    golden = section("Tensors").partition("`golden.npz`")[2]
    assert set(re.findall(r"`(\w+)`", golden)) == {field.name for field in fields(Golden)}


def test_a_bundle_made_and_verified_by_hand_is_one(tmp_path, toy_bundle):
    shutil.copytree(toy_bundle, tmp_path / "mine")
    for name in (contract.CARD, contract.SUMS):
        (tmp_path / "mine" / name).unlink()
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = block("python", "Make one by hand")
    made = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    card = contract.open_bundle(tmp_path / "mine").card
    assert card.dims == toy.DIMS
    assert made.stdout == f"{card.id}\n"
    script = "set -e\n" + block("sh", "Verify one by hand")
    checked = subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.splitlines()[-1] == f"{card.model_hash}  -"
