"""The shipped bundles are good enough to ship: their figures are whole and meet the thresholds."""

from __future__ import annotations

import math

import pytest

from twofold.model import contract
from twofold.service.runtime.registry import DEFAULT_BUNDLE
from twofold.training.evaluation.metric_table import MEASURES, OWN_FOLDER, thresholds

BUNDLES = {"fashion_mnist": "fashion-mnist", "mnist": "mnist", "lpc_sprites": "sprites"}  # by the data set they are measured on
TEST_ROWS = {"fashion_mnist": 10_000, "mnist": 10_000, "lpc_sprites": 3_620}


def bundle(data: str):
    return DEFAULT_BUNDLE.parent / BUNDLES[data]


def test_every_shipped_bundle_and_no_other_has_thresholds():
    assert set(thresholds()) == {OWN_FOLDER, *BUNDLES}
    assert {path.parent.name for path in DEFAULT_BUNDLE.parent.glob(f"*/{contract.CARD}")} == set(BUNDLES.values())


@pytest.mark.parametrize(("data", "key"), [(data, key) for data in BUNDLES for key in thresholds()[data]])
def test_a_shipped_bundle_meets_its_threshold(data, key):
    value = contract.read_card(bundle(data)).metrics["values"][key]
    assert thresholds()[data][key].threshold.holds(value), f"{key} is {value}, not {thresholds()[data][key].threshold}"


@pytest.mark.parametrize("data", BUNDLES)
def test_a_shipped_bundle_was_measured_whole_on_the_test_split(data):
    metrics = contract.read_card(bundle(data)).metrics
    assert (metrics["split"], metrics["rows"]["held"]) == ("test", TEST_ROWS[data])
    assert all(math.isfinite(value) for value in metrics["values"].values())


@pytest.mark.parametrize("data", BUNDLES)
def test_the_model_card_has_the_numbers_of_the_card(data):
    values = contract.read_card(bundle(data)).metrics["values"]
    text = (bundle(data) / contract.MODEL_CARD).read_text(encoding="utf-8")
    table = text[text.index("| measure |") :].partition("\n\n")[0]  # the first
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    column = rows[0].index(BUNDLES[data])
    shown = [(row[0], row[column]) for row in rows[2:]]
    measured = [(m.name, f"{values[m.key]:.{m.decimals}f}") for m in MEASURES if m.key in values]
    assert [(name, number.removesuffix(" x")) for name, number in shown] == measured
    assert not any(number.endswith(" x") for _, number in shown)
