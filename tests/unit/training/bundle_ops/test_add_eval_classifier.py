"""A bundle gets an evaluation classifier that reads the pictures as it was trained to; nothing else of the bundle changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.pictures import write_pictures
from tests.toy import make_bundle
from twofold.model import contract
from twofold.service.runtime.array_api import load_bundle
from twofold.training.bundle_ops import add_eval_classifier as module
from twofold.training.bundle_ops.add_eval_classifier import add_eval_classifier, config_for
from twofold.training.data.dataset import DataError, Pictures, load, split_validation
from twofold.training.data.provenance import manifest
from twofold.training.evaluation.eval_classifier import EvalClassifierConfig
from twofold.training.export.model_card import model_card
from twofold.training.export.verify import ExportError, verify_eval_classifier

TINY = EvalClassifierConfig(widths=(4, 8, 8), epochs=3, batch=16)
SEALED = (*contract.HASHED, contract.GOLDEN, contract.CALIBRATION)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data"), train=320, test=80)


def unclassified(folder: Path, data: Path, **changes: object) -> Path:
    """A toy bundle whose card names `data` as what it was trained on."""
    make_bundle(folder)
    card = replace(contract.read_card(folder), data=manifest(*split_validation(load(data), 32)), **changes)
    (folder / contract.CARD).write_text(card.to_json())
    (folder / contract.MODEL_CARD).write_text("as it was")
    contract.write_sums(folder)
    return folder


@pytest.fixture(scope="module")
def classified(data, tmp_path_factory) -> Path:
    bundle = unclassified(tmp_path_factory.mktemp("bundles") / "toy", data)
    before = {name: (bundle / name).read_bytes() for name in SEALED}
    add_eval_classifier(bundle, data, lambda line: None, TINY)
    assert {name: (bundle / name).read_bytes() for name in SEALED} == before
    return bundle


@pytest.mark.slow
def test_the_served_classifier_is_right_as_often_as_the_card_says(classified, data):
    model, test = load_bundle(classified), load(data, "test")
    assert model.classified_by == "evaluation classifier"
    right = float((model.classify(test.pixels).argmax(1) == test.labels).mean())
    facts = model.card.training["eval_classifier"]
    assert right == facts["accuracy"]["test"] > 0.9
    assert facts["accuracy"]["validation"] > 0.9
    assert facts["config"]["widths"] == [4, 8, 8]


@pytest.mark.slow
def test_the_model_card_without_figures_names_its_accuracy(classified):
    card = contract.read_card(classified)
    assert (classified / contract.MODEL_CARD).read_text() == model_card(card)
    assert "* Evaluation classifier, independent of the model: right for " in model_card(card)
    assert "Evaluation classifier" not in model_card(replace(card, training={}))


@pytest.mark.slow
def test_a_model_card_with_figures_and_a_data_set_without_test_split_are_kept(data, tmp_path):
    train_only = tmp_path / "train-only"
    train_only.mkdir()
    (train_only / "train-00000-of-00001.parquet").write_bytes((data / "train-00000-of-00001.parquet").read_bytes())
    bundle = unclassified(tmp_path / "toy", data, metrics={"values": {}})
    add_eval_classifier(bundle, train_only, lambda line: None, TINY)
    assert (bundle / contract.MODEL_CARD).read_text() == "as it was"
    assert contract.read_card(bundle).training["eval_classifier"]["accuracy"]["test"] is None


def test_other_pictures_are_refused_and_the_bundle_stays(data, tmp_path):
    other = write_pictures(tmp_path / "other", train=320, test=80, seed=1)
    bundle = unclassified(tmp_path / "toy", data)
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    with pytest.raises(DataError, match="not the pictures that the model was trained on"):
        add_eval_classifier(bundle, other, lambda line: None, TINY)
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


@pytest.mark.slow
def test_a_graph_that_differs_from_torch_is_refused(classified, data):
    network = module.fit(*split_validation(load(data), 32), replace(TINY, epochs=1), lambda line: None, module.torch.device("cpu"))
    graph = (classified / contract.EVAL_CLASSIFIER).read_bytes()
    with pytest.raises(ExportError, match=r"^eval_classifier\.onnx: class_log_prob differs from torch by"):
        verify_eval_classifier(network.eval(), graph, load(data, "test").pixels)


@pytest.mark.slow
def test_the_graph_holds_its_weights_and_no_batch_norm(classified):
    model = onnx.load(classified / contract.EVAL_CLASSIFIER)
    assert not any("Normalization" in node.op_type for node in model.graph.node)
    assert all(np.isfinite(numpy_helper.to_array(weight)).all() for weight in model.graph.initializer)
    assert json.loads((classified / contract.CARD).read_text())["model_hash"] == contract.read_card(classified).model_hash


@pytest.mark.parametrize(
    ("count", "side", "epochs", "batch", "shift_px"),
    [(55_000, 28, 8, 128, 1), (300, 64, 40, 18, 2), (100_000, 128, 3, 128, 4), (40, 28, 40, 16, 1)],
)
def test_epochs_and_batch_follow_the_number_and_size_of_the_pictures(count, side, epochs, batch, shift_px):
    pixels = np.broadcast_to(np.uint8(0), (count, side, side, 1))
    config = config_for(Pictures(pixels, np.zeros(count, np.int64), ("a",), {}))
    assert (config.epochs, config.batch, config.shift_px) == (epochs, batch, shift_px)
