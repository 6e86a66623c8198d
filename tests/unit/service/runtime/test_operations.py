"""Every control: its codes, a recipe for each picture that makes it alone, and the way back from the recipe."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests import toy
from twofold.service.runtime import latents, operations, provenance
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.operations import Code, Decode, Draw, Edit, Generate, Inpaint, Interpolate, Item, Steering, Swap
from twofold.service.runtime.registry import load
from twofold.service.settings import Settings

HOLE = np.zeros((8, 8), np.bool_)
HOLE[3:5, 2:6] = True


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The toy model, with directions of style."""
    return load(toy.make_bundle(tmp_path_factory.mktemp("bundle") / "toy", directions=toy.DIRECTIONS), Settings())


def made_by(kind, model):
    """An operation of several pictures, in which every parameter is used, and how many they are."""
    a, b, c = (Code(np.full(3, k, np.float32), np.full(2, 1 - k, np.float32), model.card) for k in (1, 2, 3))
    return {
        Generate: (Generate(2, 7, index=3, n=4, temperature=0.5, class_temperature=2.0, sampler="paper"), 4),
        Decode: (Decode((a, Draw(1, 5, 6), b)), 3),
        Swap: (Swap((a, b), (b, c, a)), 6),
        Interpolate: (Interpolate.evenly([a, b, c], 6, "style", "slerp"), 6),
        Edit: (Edit(a, 2, 0.25, Steering.of({"1": 2.0}, model), 3, 9, 4, 0.5, 1.5), 3),
        Inpaint: (Inpaint(a, HOLE), 1),
    }[kind]


@pytest.mark.parametrize("kind", operations.OPERATIONS.values())
def test_every_picture_is_made_alone_from_its_recipe(kind, model):
    operation, n = made_by(kind, model)
    z_s, z_u = operation.latents(model)
    assert (z_s.shape, z_u.shape) == ((n, 3), (n, 2))
    for k in range(n):
        recipe = json.loads(provenance.write(model, operation.do, operation.recipe(k)))
        alone = kind.from_recipe(recipe, model)
        found = alone.latents(model)
        assert len(found[0]) == len(found[1]) == 1
        assert np.array_equal(found[0][0], z_s[k])
        assert np.array_equal(found[1][0], z_u[k])
        assert np.array_equal(alone.decoded_region(model.card.dims), operation.decoded_region(model.card.dims))
        assert provenance.write(model, alone.do, alone.recipe(0)) == provenance.write(model, operation.do, operation.recipe(k))


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (Item(), "items.0"),
        (Item(class_=1), "items.0"),
        (Item(class_="none", seed=1), "items.0.class"),
        (Item(z_s=[1.0], z_u=[0.0, 0.0]), "items.0.z_s"),
        (Item(class_=1, z_u=[0.0]), "items.0.z_u"),
        (Item(class_weights={"0": 0.5, "alpha": 0.5}, seed=1), "items.0.class_weights"),
        (Item(code="c1.x"), "items.0.code"),
        (Item(code="c1.x", seed=1), "items.0"),
    ],
)
def test_an_item_that_is_no_picture_is_refused_by_its_field(item, field, model):
    with pytest.raises(Invalid) as caught:
        Decode.of_items([item], model)
    assert caught.value.field == field


def test_an_item_of_a_class_and_a_seed_is_a_draw_and_any_other_its_codes(model):
    operation = Decode.of_items(
        [Item(class_="beta", seed=3), Item(class_=1, z_u=[0.5, 1.0]), Item(class_=1, z_u=[0.5, 1.0], seed=3)], model
    )
    assert [sorted(operation.recipe(k)) for k in range(3)] == [["class", "index", "n", "seed"], ["code", "n"], ["code", "n"]]
    z_s, _ = operation.latents(model)
    assert np.array_equal(z_s[0], z_s[2])
    assert np.array_equal(z_s[1], latents.class_mean(model.prior, 1))


def test_steering_needs_directions_that_the_bundle_has(model, toy_bundle):
    with pytest.raises(Invalid, match="no direction"):
        Steering.of({"9": 1.0}, model)
    with pytest.raises(Invalid, match="no directions of style"):
        Steering.of({"0": 1.0}, load(toy_bundle, Settings()))
