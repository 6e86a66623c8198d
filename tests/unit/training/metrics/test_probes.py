"""Probes find the class where codes hold it and chance elsewhere; the view in two dimensions keeps neighbours together."""

from __future__ import annotations

import numpy as np
import pytest

from twofold.training.metrics.probes import PROBES, chance, flat_view, leak, neighbour_share


@pytest.mark.parametrize("kind", PROBES)
def test_a_code_of_pure_noise_leaks_chance(kind):
    rng = np.random.default_rng(0)
    codes, labels = rng.normal(size=(1200, 4)).astype(np.float32), rng.integers(0, 4, 1200)
    assert leak(kind, codes[:400], labels[:400], codes[400:], labels[400:], seed=0) == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("kind", PROBES)
def test_a_code_that_is_the_class_leaks_everything_however_small_it_is_written(kind):
    labels = np.random.default_rng(0).integers(0, 4, 900)
    codes = (np.eye(4, dtype=np.float32)[labels] * 1e-3).astype(np.float32)
    assert leak(kind, codes[:600], labels[:600], codes[600:], labels[600:], seed=0) == 1.0


@pytest.mark.slow
def test_a_class_hidden_in_a_product_is_found_by_every_probe_with_layers():
    codes = np.random.default_rng(0).normal(size=(3000, 2)).astype(np.float32)
    labels = (codes[:, 0] * codes[:, 1] > 0).astype(np.int64)
    found = {kind: leak(kind, codes[:2000], labels[:2000], codes[2000:], labels[2000:], seed=0) for kind in PROBES}
    assert found.pop("linear") < 0.7
    assert min(found.values()) > 0.9


@pytest.mark.parametrize("kind", PROBES)
def test_the_same_seed_gives_the_same_figure(kind):
    rng = np.random.default_rng(0)
    codes, labels = rng.normal(size=(300, 3)).astype(np.float32), rng.integers(0, 3, 300)
    first, second = (leak(kind, codes, labels, codes, labels, seed=5) for _ in range(2))
    assert first == second


def test_chance_is_the_share_of_the_most_frequent_class():
    assert chance(np.array([0, 1, 1, 2])) == 0.5


def test_an_unknown_probe_is_refused_by_name():
    with pytest.raises(ValueError, match="linear, mlp, mlp_512, dcodr, overlord"):
        leak("forest", np.zeros((4, 1), np.float32), np.arange(4), np.zeros((4, 1), np.float32), np.arange(4), seed=0)


@pytest.mark.parametrize(("count", "dims"), [(2, 1), (7, 3), (90, 12)])
def test_the_flat_view_fills_its_square_whatever_it_is_given(count, dims):
    places = flat_view(np.random.default_rng(0).normal(size=(count, dims)).astype(np.float32))
    assert (places.shape, places.dtype) == ((count, 2), np.float32)
    assert np.abs(places).max() == pytest.approx(1)


def test_neighbours_of_one_class_are_counted_without_the_point_itself():
    points = np.array([[0.0], [1.0], [10.0], [11.0]])
    assert neighbour_share(points, np.array([0, 0, 1, 1]), 1) == 1.0
    assert neighbour_share(points, np.array([0, 1, 0, 1]), 1) == 0.0
    assert neighbour_share(points, np.array([0, 0, 1, 1])) == pytest.approx(1 / 3)


def test_a_probe_with_early_stopping_is_fitted_to_four_codes_of_each_class():
    labels = np.repeat(np.arange(5), 4)
    codes = np.eye(5, dtype=np.float32)[labels]
    assert 0 <= leak("mlp", codes, labels, codes, labels, seed=0) <= 1
