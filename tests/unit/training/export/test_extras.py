"""What a bundle holds beside its model: directions in the order in which they show, a map, examples within their budget."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from twofold.model import contract
from twofold.service.client import Local
from twofold.training.data.dataset import Pictures
from twofold.training.export import extras
from twofold.training.export.extras import code_map, style_directions, write_examples

pytestmark = pytest.mark.slow


def linear(slope, scale):
    """A model that draws pictures of 1x2 from 0.5 + z_u @ slope, its style codes fitted by N(0, scale scale^T)."""
    slope = torch.tensor(slope)
    return SimpleNamespace(
        decode=lambda z_s, z_u: (0.5 + z_u @ slope).reshape(-1, 1, 1, slope.shape[1]),
        fitted=SimpleNamespace(z_u_scale_tril=torch.tensor(scale)),
    )


# -------------------------------------------------------------------------------------------------------------- directions


def test_the_directions_of_a_linear_decoder_are_its_singular_vectors():
    model = linear([[0.0, 0.02], [-0.1, 0.0]], [[1.0, 0.0], [0.0, 1.0]])
    found = style_directions(model.decode, model.fitted.z_u_scale_tril, torch.zeros(40, 1), torch.randn(40, 2))
    np.testing.assert_allclose(found.directions, [[0, 1], [1, 0]], atol=1e-5)
    np.testing.assert_allclose(found.effects, [255 * 0.1 / 2, 255 * 0.02 / 2], rtol=1e-4)


def test_a_step_of_weight_1_is_one_deviation_of_the_style_codes():
    model = linear([[0.02, 0.0], [0.0, 0.1]], [[10.0, 0.0], [0.0, 1.0]])
    found = style_directions(model.decode, model.fitted.z_u_scale_tril, torch.zeros(4, 1), torch.zeros(4, 2))
    np.testing.assert_allclose(found.directions, [[10, 0], [0, 1]], atol=1e-4)  # 10 deviations of a small slope show more


def test_the_directions_of_a_bundle_change_its_pictures_in_their_order(exported):
    dims = contract.read_card(exported.bundle).dims
    found, local = contract.read_directions(exported.bundle, dims), Local(exported.bundle).arrays
    assert found.directions.shape == (min(8, dims.dim_u), dims.dim_u)
    assert (found.directions[np.arange(len(found.directions)), np.abs(found.directions).argmax(1)] > 0).all()
    codes = local.encode(exported.held.pixels[: extras.DIRECTION_ROWS])
    still = local.decode(codes.z_s, codes.z_u_mean).astype(float)
    moved = [
        np.mean([np.abs(local.decode(codes.z_s, codes.z_u_mean + sign * step) - still).mean() for sign in (1, -1)])
        for step in found.directions
    ]
    np.testing.assert_allclose(moved, found.effects, atol=0.3)  # pixels are whole grey levels
    far = np.subtract.outer(found.effects, found.effects) > 0.6
    assert (np.subtract.outer(moved, moved)[far] > 0).all()


# --------------------------------------------------------------------------------------------------------- map and examples


def test_the_map_of_far_classes_keeps_them_apart_and_stores_its_points_codes():
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 4
    z_s, z_u = (20 * np.eye(4)[labels] + rng.normal(size=(120, 4))).astype(np.float32), rng.normal(size=(120, 2)).astype(np.float32)
    found = code_map(labels, z_s, z_u)
    contract.check_map(found, contract.Dims(4, 2, 4, 8, 8, 1))
    assert found.kept == 1
    np.testing.assert_array_equal(found.z_s, z_s)
    np.testing.assert_array_equal(found.label, labels)
    again = code_map(labels, z_s, z_u)
    assert again.xy.tobytes() == found.xy.tobytes()


def test_a_map_takes_as_many_points_of_every_class():
    labels = np.repeat(np.arange(4), [100, 30, 10, 4])
    codes = np.random.default_rng(0).normal(size=(144, 3)).astype(np.float32)
    assert np.bincount(code_map(labels, codes, codes, most=40).label).tolist() == [10, 10, 10, 4]


def pictures(classes, per_class, side=8):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), per_class)
    return Pictures(rng.integers(0, 256, (len(labels), side, side, 1), np.uint8), labels, tuple(map(str, range(classes))), {})


@pytest.mark.parametrize(
    ("classes", "per_class", "shown"),
    [
        (2, 5, [(0, 0), (1, 0), (0, 1), (1, 1)]),
        (2, 1, [(0, 0), (1, 0)]),
        (40, 3, [(k, 0) for k in range(40)]),
        (100, 3, [(k, 0) for k in np.linspace(0, 99, 40).round().astype(int)]),
    ],
)
def test_examples_are_the_first_of_every_class_then_the_second_and_40_at_most(tmp_path, classes, per_class, shown):
    held = pictures(classes, per_class)
    write_examples(tmp_path / "examples", held)
    files = sorted((tmp_path / "examples").iterdir())
    assert [tuple(map(int, file.stem.split("-"))) for file in files] == [(order, k, n) for order, (k, n) in enumerate(shown)]
    for file, (k, n) in zip(files, shown, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(file.read_bytes()))), held.pixels[k * per_class + n, :, :, 0])


def test_examples_stay_within_their_bytes(tmp_path):
    write_examples(tmp_path / "examples", pictures(10, 2, side=64), most_bytes=20_000)
    files = list((tmp_path / "examples").iterdir())
    assert 1 <= len(files) < 10
    assert sum(file.stat().st_size for file in files) <= 20_000
