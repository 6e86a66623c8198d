"""The evaluation classifier: it learns, a seed repeats it, and its weights must have the hash of its card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.pictures import write_pictures
from twofold.training.data.dataset import DataError, load
from twofold.training.evaluation import eval_classifier as module

TINY = module.EvalClassifierConfig(widths=(4, 8, 8), epochs=3, batch=16)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data"), train=320, test=80)


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("eval_classifier")
    module.train_eval_classifier(data, out, TINY, log=lambda line: None)
    return out


def test_a_trained_classifier_is_read_from_its_folder_and_separates_classes(folder, data):
    eval_classifier, test = module.load_eval_classifier(folder), load(data, "test")
    assert module.accuracy(eval_classifier.network, test) == eval_classifier.card.accuracy.test > 0.9
    assert eval_classifier.card.class_names == test.class_names


def test_it_trains_on_the_training_rows_without_the_validation_rows(folder):
    card = json.loads((folder / module.CARD).read_text())
    assert card["data"]["train"]["split"] == "train"
    assert card["data"]["train"]["rows_used"] == 320 - 32


def test_features_are_128_per_picture_and_do_not_depend_on_the_neighbours(folder, data):
    eval_classifier, pixels = module.load_eval_classifier(folder), load(data, "test").pixels
    together, alone = eval_classifier.classify(pixels)[1], eval_classifier.classify(pixels[3:4])[1]
    assert together.shape == (80, 128)
    np.testing.assert_allclose(together[3:4], alone, rtol=1e-4, atol=1e-5)


def test_features_have_a_mean_variance_of_1_and_the_logits_stay(data):
    train = load(data)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = module.Network(TINY, 1, 4)
    x = torch.from_numpy(train.pixels[:50]).permute(0, 3, 1, 2) / 255
    before = network.eval()(x)
    module._scale_features(network, train.pixels)
    assert module.classify(network, train.pixels)[1].var(0).mean() == pytest.approx(1, rel=1e-4)
    torch.testing.assert_close(network(x), before)


def test_the_same_seed_gives_the_same_hash_and_another_seed_another(folder, data, tmp_path):
    again = module.train_eval_classifier(data, tmp_path, TINY, log=lambda line: None)
    assert again == replace(module.load_eval_classifier(folder).card, seconds=again.seconds)
    other = module.train_eval_classifier(
        data, tmp_path, module.EvalClassifierConfig(widths=(4, 8, 8), epochs=1, batch=16, seed=1), log=lambda line: None
    )
    assert other.hash != again.hash


def test_training_leaves_torch_s_own_random_stream_alone(data, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    module.train_eval_classifier(data, tmp_path, module.EvalClassifierConfig(widths=(4, 4, 4), epochs=1), log=lambda line: None)
    assert torch.equal(torch.rand(2), expected)


def test_weights_that_are_not_those_of_the_card_are_refused(folder, tmp_path):
    for name in (module.WEIGHTS, module.CARD):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    card = json.loads((tmp_path / module.CARD).read_text())
    (tmp_path / module.CARD).write_text(json.dumps({**card, "config": {**card["config"], "seed": 99}}))
    with pytest.raises(DataError, match="does not hold the weights"):
        module.load_eval_classifier(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"hash": "0"}'])
def test_a_garbled_card_is_one_sentence(folder, tmp_path, content):
    (tmp_path / module.WEIGHTS).write_bytes((folder / module.WEIGHTS).read_bytes())
    (tmp_path / module.CARD).write_text(content)
    with pytest.raises(DataError, match=r"^eval_classifier\.json is not the card of an evaluation classifier$"):
        module.load_eval_classifier(tmp_path)


def test_garbled_weights_are_one_sentence(folder, tmp_path):
    (tmp_path / module.CARD).write_bytes((folder / module.CARD).read_bytes())
    (tmp_path / module.WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(DataError, match=r"^eval_classifier\.pt cannot be read, or is not what eval_classifier\.json describes$"):
        module.load_eval_classifier(tmp_path)


def test_a_folder_without_a_classifier_says_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match="twofold-train eval-classifier"):
        module.load_eval_classifier(tmp_path)


def test_a_shift_moves_pictures_by_at_most_its_pixels_and_keeps_their_shape():
    pixels = torch.zeros(64, 9, 9, 1, dtype=torch.uint8)
    pixels[:, 4, 4] = 255
    with torch.random.fork_rng():
        torch.manual_seed(0)
        moved = module._shift(pixels, 1)
    places = moved.nonzero()[:, 1:3]
    assert moved.shape == pixels.shape
    assert len(places) == 64
    assert (places - 4).abs().max() == 1
