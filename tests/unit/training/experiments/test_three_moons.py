"""The three moons: what is real, what the two figures measure, and that the picture is a file of its own."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from twofold.training.experiments.three_moons import CENTRES, FIGURES, METHODS, NOISE, PLOT, SIGNS, moons, sliced_wasserstein, spread, toy

pytestmark = pytest.mark.slow


def real(rows=4000, seed=0):
    return moons(rows, np.random.default_rng(seed))


def test_real_points_lie_off_their_arc_by_the_noise():
    assert spread(*real()) == pytest.approx(NOISE, rel=0.03)


def test_the_spread_sees_points_on_the_arc_and_on_the_wrong_half_circle():
    points, labels = real()
    arc = CENTRES[labels] + (points - CENTRES[labels]) / np.linalg.norm(points - CENTRES[labels], axis=1, keepdims=True)
    assert spread(arc.astype(np.float32), labels) == pytest.approx(0, abs=1e-6)
    bottom = (CENTRES[labels] - [0, 1] * SIGNS[labels, None]).astype(np.float32)
    assert spread(bottom, labels) == pytest.approx(np.sqrt(2))  # from the nearer end of the half circle


def test_the_distance_of_clouds_sees_a_shift_and_a_swap_of_classes():
    points, labels = real()
    near = sliced_wasserstein(points, labels, *real(seed=1))
    assert sliced_wasserstein(points, labels, points, labels) == 0
    assert near < 0.03
    assert sliced_wasserstein(points + np.float32([1, 0]), labels, points, labels) == pytest.approx(2 / np.pi, abs=0.01)
    assert sliced_wasserstein(points, (labels + 1) % 3, points, labels) > 10 * near


def test_the_toy_draws_every_method_at_every_epoch_and_writes_figures(tmp_path):
    found = toy(tmp_path / "toy", snapshots=(1, 2), log=lambda line: None)
    assert {name: list(epochs) for name, epochs in found["figures"].items()} == {"real": [0], **{name: [1, 2] for name in METHODS}}
    assert all(np.isfinite(list(f.values())).all() for epochs in found["figures"].values() for f in epochs.values())
    assert set(found["seconds"]) == set(METHODS)
    written = json.loads((tmp_path / "toy" / FIGURES).read_text())
    assert written == json.loads(json.dumps(found))
    picture = ElementTree.fromstring((tmp_path / "toy" / PLOT).read_text())
    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text in METHODS] == list(METHODS)
    assert sum(text.startswith("epoch ") for text in texts) == 4
    assert sum(text.startswith("real: ") for text in texts) == 2


def test_the_same_seed_gives_the_same_points(tmp_path):
    first, second = (toy(tmp_path / str(i), snapshots=(1,), log=lambda line: None)["figures"] for i in range(2))
    assert first == second
