"""Figures are recorded in a bundle by one function, and the model stays the same model."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import replace

import pytest

from tests import evaluations
from twofold.model import contract
from twofold.model.contract import ContractError
from twofold.training.bundle_ops.record_metrics import RECORDED, record
from twofold.training.evaluation.formats import BundleId
from twofold.training.export.model_card import model_card


@pytest.fixture
def bundle(toy_bundle, tmp_path):
    return shutil.copytree(toy_bundle, tmp_path / "bundle")


@pytest.fixture
def evaluation(bundle):
    """What evaluate.py writes, with few measures."""
    card = contract.read_card(bundle)
    values = {"class_accuracy": 0.8125, "class_consistency": 0.65, "eval_classifier_accuracy": 0.75}
    return evaluations.evaluation(values, card.name, card.model_hash)


def of_another(evaluation, **values):
    return replace(evaluation, bundle=BundleId("rival", "0" * 64), values={**evaluation.values, **values})


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_figures_land_in_the_card_and_in_the_model_card(bundle, evaluation):
    record(bundle, {"toy": evaluation})
    metrics = contract.open_bundle(bundle).card.metrics
    assert metrics == {key: evaluation.to_dict()[key] for key in RECORDED}
    assert metrics["verdict"]["text"] == "Usable for swaps."
    text = (bundle / contract.MODEL_CARD).read_text(encoding="utf-8")
    assert "| class accuracy | 0.750 | 0.812 |" in text
    assert "test split, 400 pictures; evaluation classifier abababab" in text
    assert "\n\nVerdict: Usable for swaps.\n" in text
    assert "Alpha, Beta, Gamma, Gamut" in text


def test_the_trivial_predictors_stand_in_the_card_and_below_the_table(bundle, evaluation):
    card = record(bundle, {"toy": replace(evaluation, predictors={"class mean": {"class_kept": 0.5}})})
    assert card.metrics["predictors"] == {"class mean": {"class_kept": 0.5}}
    assert "\n\n| swaps by | class kept |\n" in (bundle / contract.MODEL_CARD).read_text(encoding="utf-8")


def test_a_measured_bundle_is_the_same_model(bundle, evaluation):
    before = contents(bundle)
    record(bundle, {"toy": evaluation})
    after = contents(bundle)
    assert {name for name in after if after[name] != before.get(name)} == {contract.CARD, contract.MODEL_CARD, contract.SUMS}
    assert contract.open_bundle(bundle).card.model_hash == evaluation.bundle.model_hash
    assert list(bundle.parent.iterdir()) == [bundle]


def test_measured_again_the_newer_figures_count(bundle, evaluation):
    record(bundle, {"toy": evaluation})
    card = record(bundle, {"toy": replace(evaluation, values={**evaluation.values, "class_accuracy": 0.9})})
    assert contract.read_card(bundle) == card
    assert card.metrics["values"]["class_accuracy"] == 0.9


def test_other_evaluations_stand_beside_it_in_the_model_card_only(bundle, evaluation):
    record(bundle, {"toy": evaluation, "rival": of_another(evaluation, class_accuracy=0.5)})
    assert "| class accuracy | 0.750 | 0.812 | 0.500 |" in (bundle / contract.MODEL_CARD).read_text(encoding="utf-8")
    assert contract.read_card(bundle).metrics["values"]["class_accuracy"] == 0.8125


@pytest.mark.parametrize("case", ["quick", "another model", "not comparable"])
def test_what_is_no_figure_of_this_model_changes_nothing(bundle, evaluation, case):
    evaluations, error, sentence = {
        "quick": ({"toy": replace(evaluation, quick=True)}, ContractError, "run it whole"),
        "another model": ({"rival": of_another(evaluation)}, ContractError, "of another model"),
        "not comparable": ({"toy": evaluation, "rival": replace(of_another(evaluation), split="validation")}, ValueError, "comparable"),
    }[case]
    before = contents(bundle)
    with pytest.raises(error, match=sentence):
        record(bundle, evaluations)
    assert contents(bundle) == before
    assert list(bundle.parent.iterdir()) == [bundle]


def test_only_a_model_with_a_flow_claims_one(bundle):
    card = contract.read_card(bundle)
    with_flow = dataclasses.replace(card, training={"model": {"flow_layers": 8}})
    assert "flow" not in model_card(card, "")
    assert "flow" not in model_card(dataclasses.replace(card, training={"model": {"flow_layers": 0}}), "")
    assert "conditional flow" in model_card(with_flow, "")


@pytest.mark.parametrize(
    ("origin", "line"), [("somebody/shapes", ['datasets: ["somebody/shapes"]']), ("my photos", []), ('a "b"\n---\nc: d', [])]
)
def test_only_the_id_of_a_data_set_on_the_hub_stands_in_the_front_matter(bundle, origin, line):
    card = dataclasses.replace(contract.read_card(bundle), data={"origin": origin})
    front = model_card(card).split("\n---\n")[0].splitlines()
    assert front[:4] == ["---", "library_name: twofold", "pipeline_tag: image-to-image", "tags: [disentanglement, vae-gan, onnx]"]
    assert front[4:] == line


def test_a_bundle_without_figures_says_how_to_get_them(bundle):
    assert "\n## Figures\n\nNot measured yet" in model_card(contract.read_card(bundle))
    assert "Not measured yet" not in model_card(contract.read_card(bundle), "| class accuracy | 0.9 |\n")
