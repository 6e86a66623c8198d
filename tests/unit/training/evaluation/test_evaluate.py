"""The evaluation, on the toy bundle through the service's own client, and on models that cheat in known ways."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests import toy
from tests.pictures import write_pictures
from twofold.model import contract
from twofold.service.client import Local
from twofold.service.runtime.array_api import Arrays
from twofold.training.data.dataset import DataError, load
from twofold.training.evaluation import evaluate as evaluation
from twofold.training.evaluation.eval_classifier import EvalClassifierConfig, load_eval_classifier, train_eval_classifier
from twofold.training.evaluation.formats import Evaluation
from twofold.training.evaluation.metric_table import MEASURES
from twofold.training.metrics import image_metrics, trivial
from twofold.training.metrics.probes import PROBES

pytestmark = pytest.mark.slow


def quiet(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> SimpleNamespace:
    """A toy bundle, pictures drawn by its decoder, and an evaluation classifier trained on them."""
    root = tmp_path_factory.mktemp("evaluate")
    data = write_pictures(root, train=800, test=400)
    train_eval_classifier(data, root / "eval_classifier", EvalClassifierConfig(widths=(4, 8, 8), epochs=6, batch=16), log=quiet)
    return SimpleNamespace(
        bundle=toy.make_bundle(root / "bundle"), data=data, eval_classifier=root / "eval_classifier", out=root / "evaluation.json"
    )


@pytest.fixture(scope="module")
def result(places) -> Evaluation:
    return evaluation.evaluate(places.bundle, places.data, places.eval_classifier, places.out, quick=True, log=quiet)


@pytest.fixture(scope="module")
def material(places) -> evaluation.Material:
    local, fit, held = Local(places.bundle).arrays, load(places.data), load(places.data, "test")
    codes = local.encode(fit.pixels), local.encode(held.pixels)
    return evaluation.Material(local, load_eval_classifier(places.eval_classifier), local.prior, fit, held, *codes, pairs=1000, seed=0)


@pytest.fixture(scope="module")
def with_poses(material) -> evaluation.Material:
    """The same pictures, with a table that gives every one of a class a style of its own."""
    fit, held = (
        replace(p, attributes={"pose": np.arange(len(p)) // 4 % 50, "action": np.arange(len(p)) // 4 % 5})
        for p in (material.fit, material.held)
    )
    return replace(material, fit=fit, held=held)


def test_a_model_that_separates_class_and_style_has_good_figures(result):
    values = result.values
    assert values["class_accuracy"] == pytest.approx(1, abs=0.02)
    assert values["class_kept"] > 0.95
    assert values["style_kept_retrieval"] > 0.7  # two dimensions, hundred candidates
    assert values["style_kept_r"] > 0.95
    assert values["leak_mlp"] == pytest.approx(values["chance"], abs=0.1)
    assert values["class_consistency"] > 0.95
    assert values["pixel_variance_ratio"] == pytest.approx(1, abs=0.15)
    assert values["frechet"] < 5 * values["frechet_real"]
    assert values["typicality_gap"] == pytest.approx(1, abs=0.2)
    assert values["typicality_gap_read"] == pytest.approx(1, abs=0.2)
    assert values["reconstruction_psnr"] > 25


def test_the_result_on_disk_says_what_was_measured_on_what(result, places):
    assert Evaluation.read(places.out) == result
    assert result.bundle.model_hash == contract.read_card(places.bundle).model_hash
    assert (result.split, result.quick, result.rows.held) == ("test", True, evaluation.QUICK_HELD_ROWS)
    assert result.eval_classifier.hash == load_eval_classifier(places.eval_classifier).card.hash
    assert set(evaluation.STAGES) < set(result.seconds)
    assert result.data.held["split"] == "test"


@pytest.mark.parametrize("change", [{"split": 3}, {"values": {"leak_mlp": "low"}}, {"unknown": 1}])
def test_an_evaluation_file_with_other_content_is_one_sentence(result, tmp_path, change):
    path = tmp_path / "e.json"
    path.write_text(json.dumps(result.to_dict() | change))
    with pytest.raises(DataError, match=r"^e\.json is not what evaluate writes$"):
        Evaluation.read(path)


def test_every_measure_of_the_table_has_a_value_where_the_data_allow_it(result, with_poses):
    exact = evaluation.exact_swaps(with_poses)
    assert not set(exact) & set(result.values)
    values = {**exact, **result.values, "swap_blurred_gain": 0}  # by both: the trivial predictors and the model
    assert {measure.key for measure in MEASURES} <= set(values)
    assert {measure.real for measure in MEASURES} <= {None, "one", "half", *values}


def test_copies_and_the_class_mean_stand_beside_the_model_by_class_and_style(result):
    found = result.predictors
    assert set(found) == {trivial.CLASS_MEAN, trivial.STYLE_COPY, trivial.CLASS_COPY, trivial.ADDITIVE}
    assert found[trivial.CLASS_COPY]["class_kept"] > 0.95
    assert found[trivial.STYLE_COPY]["class_kept"] < 0.5
    assert found[trivial.STYLE_COPY]["brightness_moved"] > 0.6  # in the deviations of another class
    assert found[trivial.CLASS_MEAN]["brightness_moved"] == pytest.approx(0, abs=0.15)


def test_where_the_truth_is_known_all_predictors_are_measured_on_the_same_pairs(with_poses):
    found, pairs = evaluation.trivial_swaps(with_poses), with_poses.true_pairs()
    assert {trivial.ADDITIVE_OTHERS, trivial.RIDGE_SOURCE} < set(found)
    copied = image_metrics.mean_square_error(with_poses.held.pixels[pairs.b], pairs.everything.pixels[pairs.truth]).mean()
    assert found[trivial.STYLE_COPY]["swap_psnr"] == pytest.approx(image_metrics.psnr(copied))
    assert evaluation.exact_swaps(with_poses)["swap_psnr"] < 30  # these poses are made up: no model finds them


def test_the_worst_probe_and_its_distance_from_chance_are_figures(result):
    values = result.values
    assert values["leak_worst"] == max(values[f"leak_{kind}"] for kind in PROBES)
    assert values["leak_excess"] == values["leak_worst"] - values["chance"]


def test_a_good_model_is_usable_and_the_file_says_so(result, places):
    assert result.verdict.usable
    assert json.loads(places.out.read_text())["verdict"]["text"].startswith("Usable for swaps")


def test_an_evaluation_of_an_earlier_version_is_one_sentence(result, tmp_path):
    old = result.to_dict()
    del old["verdict"], old["predictors"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    with pytest.raises(DataError, match=r"^old\.json is not what evaluate writes$"):
        Evaluation.read(tmp_path / "old.json")


def test_the_same_seed_gives_the_same_figures(result, places, tmp_path):
    again = evaluation.evaluate(places.bundle, places.data, places.eval_classifier, tmp_path / "again.json", quick=True, log=quiet)
    assert again.values == result.values


def test_the_validation_split_is_cut_from_training_rows_alone(places, tmp_path):
    alone = tmp_path / "data"
    alone.mkdir()
    (alone / "train-00000-of-00001.parquet").write_bytes((places.data / "train-00000-of-00001.parquet").read_bytes())
    found = evaluation.evaluate(
        places.bundle, alone, places.eval_classifier, tmp_path / "v.json", split="validation", quick=True, log=quiet
    )
    assert found.data.held["split"] == "train"
    assert (found.rows.held, found.rows.fit) == (80, 720)


def test_validation_rows_are_those_that_classifier_and_model_held_back(places):
    eval_classifier, card = load_eval_classifier(places.eval_classifier), contract.read_card(places.bundle)
    fewer = replace(card, data={"validation_rows": 40})
    mine, theirs = (evaluation.pictures(places.data, "validation", c, eval_classifier, 0, False)[1] for c in (fewer, card))
    assert (len(mine), len(theirs)) == (40, 80)
    assert {p.tobytes() for p in mine.pixels} < {p.tobytes() for p in theirs.pixels}


def test_a_classifier_of_another_split_by_groups_is_refused(places):
    eval_classifier, card = load_eval_classifier(places.eval_classifier), contract.read_card(places.bundle)
    grouped = replace(card, data={**card.data, "group": {"option": "auto"}})
    with pytest.raises(DataError, match="the groups are 'auto' and 'none'"):
        evaluation.pictures(places.data, "test", grouped, eval_classifier)


class CopiesTheClassSource:
    """Swaps that are the class source, untouched: the class is kept because nothing is swapped."""

    def __init__(self, model: Arrays) -> None:
        self.encode, self.decode, self.sample = model.encode, model.decode, model.sample

    def swap(self, class_from, style_from):
        return class_from


class CopiesTheStyleSource(CopiesTheClassSource):
    def swap(self, class_from, style_from):
        return style_from


def test_a_swap_that_swaps_nothing_keeps_the_class_and_moves_no_style(material):
    values = evaluation.swaps(replace(material, model=CopiesTheClassSource(material.model)))
    assert values["class_kept"] > 0.95
    assert values["brightness_moved"] == pytest.approx(0, abs=0.1)
    assert values["brightness_from_class"] == pytest.approx(1, abs=0.02)
    assert values["style_kept_retrieval"] < 0.05


def test_a_swap_that_is_the_style_source_keeps_the_style_and_loses_the_class(material):
    values = evaluation.swaps(replace(material, model=CopiesTheStyleSource(material.model)))
    assert values["class_kept_different"] < 0.05
    assert values["style_kept_retrieval"] == pytest.approx(1, abs=0.01)
    assert values["style_kept_r"] == pytest.approx(1)


def test_a_style_code_that_holds_the_class_is_found_out(material):
    def with_class(codes, labels):
        return replace(codes, z_u_mean=codes.z_u_mean + 10 * labels[:, None].astype(np.float32))

    fit, held = with_class(material.fit_codes, material.fit.labels), with_class(material.held_codes, material.held.labels)
    values = evaluation.leak_of_means(replace(material, fit_codes=fit, held_codes=held))
    assert min(values[f"leak_{kind}"] for kind in PROBES) > 0.98
    assert evaluation.leak_of_samples(replace(material, fit_codes=fit, held_codes=held))["leak_mlp_sampled"] > 0.98


def test_sampling_noise_hides_what_a_narrow_code_says(material):
    def narrow(codes, labels):
        return replace(codes, z_u_mean=1e-3 * labels[:, None].astype(np.float32), z_u_log_var=np.zeros((len(labels), 1), np.float32))

    fit, held = narrow(material.fit_codes, material.fit.labels), narrow(material.held_codes, material.held.labels)
    hidden = replace(material, fit_codes=fit, held_codes=held)
    assert evaluation.leak_of_means(hidden)["leak_linear"] == 1.0
    assert evaluation.leak_of_samples(hidden)["leak_mlp_sampled"] < 0.4


def test_a_classifier_of_other_training_pictures_is_refused(places, tmp_path):
    other = write_pictures(tmp_path, train=200, test=40, seed=1)
    with pytest.raises(DataError, match="evaluation classifier must come from these training pictures"):
        evaluation.evaluate(places.bundle, other, places.eval_classifier, tmp_path / "e.json", quick=True, log=quiet)


def test_an_unknown_split_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="test, validation"):
        evaluation.evaluate(tmp_path, tmp_path, tmp_path, Path("never"), split="train", log=quiet)
