"""Extras of a bundle are made again from what is served, and nothing else of it changes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tests.exported import SAMPLE
from tests.pictures import write_pictures
from twofold.model import contract
from twofold.training.bundle_ops.refresh_extras import EXTRAS, renew_extras
from twofold.training.data.dataset import DataError


@pytest.fixture
def old(exported, tmp_path):
    """A bundle from before directions and maps were known."""
    bundle = shutil.copytree(exported.bundle, tmp_path / "old")
    for name in (contract.DIRECTIONS, contract.MAP):
        (bundle / name).unlink()
    contract.write_sums(bundle)
    return bundle


def test_what_is_missing_is_made_and_the_model_stays_the_same(exported, old):
    before = {name: (old / name).read_bytes() for name in (*contract.REQUIRED, contract.MODEL_CARD)}
    renew_extras(old, SAMPLE)
    dims = contract.open_bundle(old).card.dims
    assert {name: (old / name).read_bytes() for name in before} == before
    assert all((old / name).exists() for name in EXTRAS)
    made, first = (contract.read_directions(bundle, dims) for bundle in (old, exported.bundle))
    same = np.abs(np.einsum("rd,rd->r", made.directions, first.directions)) / np.square(first.directions).sum(1)
    assert same[0] > 0.9  # found on whole grey levels, the most visible one is still the same
    assert made.effects[0] == pytest.approx(first.effects[0], rel=0.1)
    assert (contract.read_map(old, dims).label == contract.read_map(exported.bundle, dims).label).all()


def test_other_pictures_than_those_of_the_training_are_refused_and_nothing_changes(old, tmp_path):
    other = write_pictures(tmp_path / "other", train=400, test=40)
    before = {path.name: path.read_bytes() for path in old.iterdir() if path.is_file()}
    with pytest.raises(DataError):
        renew_extras(old, other)
    assert {path.name: path.read_bytes() for path in old.iterdir() if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
