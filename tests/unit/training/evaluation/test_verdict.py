"""The verdict, branch by branch: on figures of a good model, and on figures that contradict each other."""

from __future__ import annotations

import pytest

from twofold.training.evaluation.verdict import verdict
from twofold.training.metrics.trivial import ADDITIVE_OTHERS, CLASS_COPY, CLASS_MEAN, STYLE_COPY

GOOD = {
    "eval_classifier_accuracy": 0.97,
    "class_kept": 0.93,
    "class_kept_own": 0.96,
    "style_kept_retrieval": 0.9,
    "brightness_moved": 0.7,
    "slant_moved": 0.1,
    "stroke_width_moved": 0.1,
    "spectrum_log_ratio": 0.1,
    "spectrum_log_ratio_swaps": 0.1,
    "class_consistency": 0.95,
    "chance": 0.1,
    "leak_worst": 0.15,
    "leak_excess": 0.05,
}
TRUTH = {"swap_psnr_blurred": 22.5}
BESIDE = {
    CLASS_MEAN: {"swap_psnr_blurred": 21.4, "brightness_moved": 0.0},
    STYLE_COPY: {"swap_psnr_blurred": 19.7, "brightness_moved": 1.0},
    CLASS_COPY: {"swap_psnr_blurred": 18.5, "brightness_moved": 0.0},
    ADDITIVE_OTHERS: {"swap_psnr_blurred": 23.2},
}
NO_TRUTH = {name: {"brightness_moved": values.get("brightness_moved", 0.0)} for name, values in BESIDE.items()}


@pytest.mark.parametrize(("more", "beside"), [(TRUTH, BESIDE), ({}, NO_TRUTH)], ids=["truth", "no truth"])
def test_a_model_with_good_figures_is_usable_for_everything(more, beside):
    found = verdict(GOOD | more, beside)
    assert found.usable
    assert found.failed == []
    assert found.text == "Usable for swaps, new pictures and style codes that hold no class."


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"class_kept": 0.71, "class_kept_own": 0.75}, "class_kept", "in 0.71 by the independent classifier (threshold >= 0.9). "),
        ({"class_kept": 0.71}, "class_kept", "(threshold >= 0.9), although the model's own encoder reads it in 0.96. "),
        ({"swap_psnr_blurred": 17.9}, "swap_blurred_gain", "(17.9 dB, blurred) than the class mean (21.4 dB)"),
        ({"style_kept_retrieval": 0.03}, "style_kept_retrieval", "found again among 100 in 0.03 (threshold >= 0.6)"),
        (
            {"spectrum_log_ratio_swaps": 0.6},
            "spectrum_log_ratio_swaps",
            "texture of swaps differs from real pictures (spectrum log",
        ),
        ({"eval_classifier_accuracy": 0.55}, "eval_classifier_accuracy", "right in no more than 0.55 of real pictures"),
    ],
)
def test_swaps_that_fail_make_a_model_unusable_with_amount_and_remedy(change, key, words):
    found = verdict(GOOD | TRUTH | change, BESIDE)
    assert not found.usable
    assert found.failed[0] == key
    assert words in found.text
    assert found.text.startswith("Not usable, because ")
    assert ". To mend it, " in found.text
    assert "`" in found.text.partition("To mend it")[2]  # a command or a setting


def test_a_swap_that_equals_the_class_mean_is_not_better_than_it():
    assert not verdict(GOOD | {"swap_psnr_blurred": 21.4}, BESIDE).usable
    assert verdict(GOOD | {"swap_psnr_blurred": 21.5}, BESIDE).usable


def test_a_better_additive_predictor_does_not_make_a_model_unusable():
    assert verdict(GOOD | TRUTH, BESIDE).usable  # it has pictures of the style that the model has not


def test_style_that_only_the_own_encoder_finds_again_is_no_style():
    still = {"brightness_moved": 0.05}
    found = verdict(GOOD | still, NO_TRUTH)
    assert not found.usable
    assert "finds the style of a swap again in 0.90, but no statistic of it follows (r 0.05)" in found.text
    assert verdict(GOOD | still | TRUTH, BESIDE).usable  # the truth decides where it is known
    assert verdict(GOOD | still, {STYLE_COPY: {"brightness_moved": 0.2}}).usable  # the statistic says nothing of these pictures


def test_a_weak_classifier_is_asked_for_what_it_can_say():
    weak = {"eval_classifier_accuracy": 0.86, "class_consistency": 0.83}
    assert verdict(GOOD | weak | {"class_kept": 0.83}, NO_TRUTH).usable
    assert "threshold >= 0.82" in verdict(GOOD | weak | {"class_kept": 0.7}, NO_TRUTH).text


@pytest.mark.parametrize(
    ("change", "use", "words"),
    [
        (
            {"leak_worst": 0.35, "leak_excess": 0.25},
            "style codes that hold no class",
            "in 0.35 (chance 0.10, threshold 0.10 above)",
        ),
        ({"class_consistency": 0.7}, "new pictures", "0.70 of them show their class by the independent classifier (threshold >= 0.9)"),
        ({"spectrum_log_ratio": 0.4}, "new pictures", "texture of new pictures differs"),
    ],
)
def test_what_else_fails_limits_what_a_model_is_usable_for(change, use, words):
    found = verdict(GOOD | TRUTH | change, BESIDE)
    assert found.usable
    assert found.text.startswith("Usable for swaps and ")
    assert f"; not for {use}, because " in found.text
    assert words in found.text
    assert "to mend it, " in found.text


def test_chance_of_two_classes_is_no_leak():
    assert verdict(GOOD | {"chance": 0.5, "leak_worst": 0.56, "leak_excess": 0.06}, NO_TRUTH).failed == []


def test_the_text_names_two_reasons_and_the_list_has_all():
    bad = {"class_kept": 0.4, "style_kept_retrieval": 0.1, "swap_psnr_blurred": 10.0, "leak_excess": 0.5, "leak_worst": 0.6}
    found = verdict(GOOD | bad, BESIDE)
    assert found.failed == ["class_kept", "swap_blurred_gain", "style_kept_retrieval", "leak_excess"]
    assert found.text.count("(threshold") + found.text.count("dB, blurred") == 2
    assert found.text.count(". ") == 1  # two sentences


def test_a_model_without_swaps_is_measured_by_its_new_pictures():
    some = {key: GOOD[key] for key in ("eval_classifier_accuracy", "class_consistency", "spectrum_log_ratio")}
    assert verdict(some, {}).text == "Usable for new pictures."
    assert not verdict(some | {"class_consistency": 0.2}, {}).usable


def test_nothing_measured_is_not_usable():
    found = verdict({"class_accuracy": 0.99}, {})
    assert not found.usable
    assert "neither swaps nor new pictures were measured: run `twofold-train evaluate`" in found.text


def test_a_shipped_data_set_is_held_to_its_own_thresholds():
    own = GOOD | {"class_kept": 0.875, "class_consistency": 0.92}
    assert not verdict(own, NO_TRUTH).usable
    assert verdict(own, NO_TRUTH, "fashion_mnist").usable
