"""The table: bundles side by side, beside thresholds and targets, and only where they can be compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.evaluations import evaluation
from twofold.training.evaluation.formats import ClassifierId, EvaluatedData, Evaluation
from twofold.training.evaluation.metric_table import MEASURES, OWN_FOLDER, predictors_table, table, thresholds, thresholds_of


def fashion(**values: float) -> Evaluation:
    """An evaluation on Fashion-MNIST with every measure."""
    known = {measure.key: 0.5 for measure in MEASURES} | {"eval_classifier_accuracy": 0.9365, "chance": 0.1}
    return evaluation(known | values, data="fashion_mnist", classifier_hash="0123abcd" + "0" * 56, accuracy=0.9365)


def test_the_table_has_a_column_per_bundle_and_marks_missed_thresholds():
    text = table({"ours": fashion(leak_mlp=0.21, pixel_variance_ratio=0.94), "paper": fashion(leak_mlp=0.84)})
    lines = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[3:-1]] for line in text.splitlines() if line.startswith("| ")
    }
    assert lines["measure"] == ["ours", "paper", "threshold", "target"]
    assert lines["leak, MLP 256-256 (class leakage)"] == ["0.210", "0.840 x", "<= 0.25", "<= 0.15"]
    assert lines["pixel variance within class, ratio to real"][0] == "0.940"
    assert lines["pixel variance within class, ratio to real"][2:] == ["0.8 to 1.15", "0.9 to 1.1"]
    assert "evaluation classifier 0123abcd" in text.splitlines()[-1]


def test_seeds_add_their_mean_and_the_one_nearest_to_missing_the_threshold():
    seeds = [fashion(class_accuracy=0.94, leak_mlp=0.26, pixel_variance_ratio=1.1), fashion(class_accuracy=0.90, leak_mlp=0.20)]
    text = table({"ours": fashion(class_accuracy=0.92, leak_mlp=0.23, pixel_variance_ratio=0.9), "paper": fashion()}, seeds)
    lines = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[3:-1]] for line in text.splitlines() if "|" in line}
    assert lines["measure"][:4] == ["ours", "mean of 3 seeds", "worst of 3", "paper"]
    assert lines["class accuracy"][:3] == ["0.920", "0.920 ± 0.020", "0.900 x"]
    assert lines["leak, MLP 256-256 (class leakage)"][:3] == ["0.230", "0.230 ± 0.030", "0.260 x"]
    assert lines["pixel variance within class, ratio to real"][2] == "0.500 x"
    assert lines["typicality gap"][2] == ""  # no threshold, no worst


def test_a_quick_evaluation_is_marked_in_its_title():
    assert "ours (quick)" in table({"ours": replace(fashion(), quick=True)})


@pytest.mark.parametrize(
    "change",
    [{"split": "validation"}, {"eval_classifier": ClassifierId("0" * 64, 1.0)}, {"data": EvaluatedData("mnist", {}, {})}],
    ids=["split", "classifier", "data"],
)
def test_evaluations_that_cannot_be_compared_are_refused(change):
    with pytest.raises(ValueError, match="same data, split and evaluation classifier"):
        table({"a": fashion(), "b": replace(fashion(), **change)})


def test_a_table_of_nothing_is_refused():
    with pytest.raises(ValueError, match="comparable"):
        table({})


def test_every_threshold_is_of_a_measure_and_every_target_is_inside_it():
    keys = {measure.key for measure in MEASURES}
    for known in thresholds().values():
        assert set(known) <= keys
        for own in known.values():
            assert own.threshold.least <= own.target.least
            assert own.target.most <= own.threshold.most


def test_a_data_set_without_thresholds_has_those_of_an_own_folder():
    assert thresholds_of("my pictures") is thresholds()[OWN_FOLDER]
    assert thresholds_of("mnist") is thresholds()["mnist"]
    text = table({"mine": replace(fashion(class_kept=0.7), data=EvaluatedData("my pictures", {}, {}))})
    assert "| 0.700 x | >= 0.9 | >= 0.95 |" in text


def test_trivial_predictors_stand_below_the_model_in_the_columns_that_were_measured():
    own = replace(
        evaluation({"swap_psnr": 19.04, "swap_psnr_blurred": 22.5, "swap_truth_rank": 0.04, "class_kept": 0.9}),
        predictors={"class mean": {"swap_psnr": 17.9, "swap_psnr_blurred": 21.4, "swap_truth_rank": 0.41}, "ridge": {"swap_psnr": 18.4}},
    )
    assert predictors_table(own).splitlines() == [
        "| swaps by | raw dB | blurred dB | median rank | class kept |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| toy | 19.0 | 22.5 | 0.040 | 0.900 |",
        "| class mean | 17.9 | 21.4 | 0.410 |  |",
        "| ridge | 18.4 |  |  |  |",
    ]
    assert predictors_table(evaluation({"swap_psnr": 19})) == ""
