"""The table: bundles side by side, beside the bars, and only where they can be compared."""

from __future__ import annotations

import pytest

from twofold.training.evaluation.metric_table import BARS, MEASURES, table


def fashion(**values: float) -> dict:
    """What an evaluation on Fashion-MNIST returns, as far as the table reads it."""
    return {
        "data": {"name": "fashion_mnist"},
        "split": "test",
        "quick": False,
        "rows": {"held": 10_000},
        "eval_classifier": {"hash": "0123abcd" + "0" * 56, "accuracy": 0.9365},
        "values": {measure.key: 0.5 for measure in MEASURES} | {"eval_classifier_accuracy": 0.9365, "chance": 0.1} | values,
    }


def test_the_table_lays_bundles_side_by_side_with_the_bars_and_marks_what_misses():
    text = table({"ours": fashion(leak_mlp=0.21, pixel_variance_ratio=0.94), "paper": fashion(leak_mlp=0.84)})
    lines = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[3:-1]] for line in text.splitlines() if line.startswith("| ")
    }
    assert lines["measure"] == ["ours", "paper", "bar", "stretch"]
    assert lines["leak, MLP 256-256"] == ["0.210", "0.840 x", "<= 0.25", "<= 0.15"]
    assert lines["pixel variance within class, ratio to real"][0] == "0.940"
    assert lines["pixel variance within class, ratio to real"][2:] == ["0.8 to 1.15", "0.9 to 1.1"]
    assert "judge 0123abcd" in text.splitlines()[-1]


def test_seeds_add_their_mean_and_the_worst_of_them_by_the_way_of_the_bar():
    seeds = [fashion(class_accuracy=0.94, leak_mlp=0.26, pixel_variance_ratio=1.1), fashion(class_accuracy=0.90, leak_mlp=0.20)]
    text = table({"ours": fashion(class_accuracy=0.92, leak_mlp=0.23, pixel_variance_ratio=0.9), "paper": fashion()}, seeds)
    lines = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[3:-1]] for line in text.splitlines() if "|" in line}
    assert lines["measure"][:4] == ["ours", "mean of 3 seeds", "worst of 3", "paper"]
    assert lines["class accuracy"][:3] == ["0.920", "0.920 ± 0.020", "0.900 x"]
    assert lines["leak, MLP 256-256"][:3] == ["0.230", "0.230 ± 0.030", "0.260 x"]
    assert lines["pixel variance within class, ratio to real"][2] == "0.500 x"
    assert lines["typicality gap"][2] == ""  # no bar, no worst


def test_a_quick_evaluation_is_marked_in_its_title():
    assert "ours (quick)" in table({"ours": {**fashion(), "quick": True}})


@pytest.mark.parametrize(
    "change", [{"split": "validation"}, {"eval_classifier": {"hash": "0" * 64, "accuracy": 1.0}}, {"data": {"name": "mnist"}}]
)
def test_evaluations_that_cannot_be_compared_are_refused(change):
    with pytest.raises(ValueError, match="same data, split and judge"):
        table({"a": fashion(), "b": {**fashion(), **change}})


def test_a_table_of_nothing_is_refused():
    with pytest.raises(ValueError, match="comparable"):
        table({})


def test_every_bar_belongs_to_a_measure_and_every_stretch_is_inside_its_bar():
    keys = {measure.key for measure in MEASURES}
    for bars in BARS.values():
        assert set(bars) <= keys
        assert all(bar.low <= stretch.low and stretch.high <= bar.high for bar, stretch in bars.values())
