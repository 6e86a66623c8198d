"""The figures of README.md are those of the shipped bundle, and the bundle is good enough to ship."""

from __future__ import annotations

from pathlib import Path

from docs import figures
from twofold.model import contract
from twofold.service.runtime.registry import DEFAULT_BUNDLE
from twofold.training.evaluation.metric_table import BARS

README = Path(__file__).parents[2] / "README.md"


def test_the_figures_of_the_readme_are_those_of_the_shipped_model_card():
    readme = README.read_text(encoding="utf-8")
    card = (DEFAULT_BUNDLE / contract.MODEL_CARD).read_text(encoding="utf-8")
    assert figures.fill(readme, card) == readme


def test_the_model_card_shows_the_numbers_of_the_card():
    values = contract.read_card(DEFAULT_BUNDLE).metrics["values"]
    text = (DEFAULT_BUNDLE / contract.MODEL_CARD).read_text(encoding="utf-8")
    shown = next(line for line in text.splitlines() if line.startswith("| class kept, of the true class |"))
    assert f"{values['class_kept']:.3f}" in shown


def test_the_shipped_model_was_measured_whole_on_the_test_split():
    metrics = contract.read_card(DEFAULT_BUNDLE).metrics
    assert (metrics["split"], metrics["rows"]["held"]) == ("test", 10_000)


def test_the_shipped_model_holds_the_bars_of_the_first_release():
    values = contract.read_card(DEFAULT_BUNDLE).metrics["values"]
    assert values["class_accuracy"] >= 0.90
    assert values["class_kept"] >= 0.82
    assert values["brightness_moved"] >= 0.5
    assert values["leak_mlp"] <= 0.30
    assert values["class_consistency"] >= 0.88
    assert BARS["fashion_mnist"]["bundle_mb"][0].met(values["bundle_mb"])
    assert BARS["fashion_mnist"]["decoder_multiply_adds_m"][0].met(values["decoder_multiply_adds_m"])
