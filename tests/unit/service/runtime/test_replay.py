"""A recipe leads back to the codes of its picture; what is missing or out of its bounds is refused."""

import numpy as np
import pytest

from tests import toy
from twofold.service.runtime import inpainting, latents, provenance, replay
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.registry import load
from twofold.service.settings import Settings


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The toy model, with directions of style."""
    return load(toy.make_bundle(tmp_path_factory.mktemp("bundle") / "toy", directions=toy.DIRECTIONS), Settings())


GENERATED = {"class": 1, "class_temperature": 0.5, "index": 2, "n": 1, "sampler": "fitted", "seed": 7, "temperature": 1.5}
START, END = [(np.full(3, k, np.float32), np.full(2, -k, np.float32)) for k in (1, 2)]
HOLE = np.zeros((8, 8), np.bool_)
HOLE[3:5, 2:6] = True


def replayed(model, do, made_of):
    (recipe,) = provenance.read(provenance.write(model, do, made_of), 64).pictures
    assert replay.obstacle(recipe, model) is None
    return codes_of(recipe, model)


def codes_of(recipe, model):
    z_s, z_u = replay.operation(recipe, model).latents(model)
    assert len(z_s) == len(z_u) == 1
    return z_s[0], z_u[0]


@pytest.mark.parametrize("sampler", ["fitted", "paper"])
def test_a_generated_picture_is_sampled_again_from_its_streams(model, sampler):
    z_s, z_u = replayed(model, "generate", GENERATED | {"sampler": sampler})
    assert np.array_equal(z_s, latents.sample_z_s(model.prior, 1, 7, 2, 0.5, sampler))
    assert np.array_equal(z_u, latents.sample_z_u(model.prior, 7, 2, 1.5, sampler))


def test_a_decoded_picture_is_made_again_from_its_code_or_from_class_and_seed(model):
    z_s, z_u = np.array([1, -2, 3], np.float32), np.array([0.25, -1], np.float32)
    found = replayed(model, "decode", {"code": latents.pack_token(z_s, z_u, model.card), "n": 1})
    assert all(np.array_equal(*pair) for pair in zip(found, (z_s, z_u), strict=True))
    found = replayed(model, "decode", {"class": 2, "index": 3, "n": 1, "seed": 5})
    expected = latents.sample_z_s(model.prior, 2, 5, 3), latents.sample_z_u(model.prior, 5, 3)
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


def test_a_swap_is_made_again_from_the_codes_of_its_parents(model):
    parents = [(np.full(3, k, np.float32), np.full(2, -k, np.float32)) for k in (1, 2)]
    tokens = [latents.pack_token(*parent, model.card) for parent in parents]
    z_s, z_u = replayed(model, "swap", {"class_from": tokens[0], "n": 1, "style_from": tokens[1]})
    assert (z_s.tolist(), z_u.tolist()) == ([1, 1, 1], [-2, -2])


def same(found, expected):
    return all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize(("t", "path"), [(0.0, "linear"), (0.25, "linear"), (0.25, "slerp")])
def test_a_frame_is_made_again_from_both_ends_of_its_way(model, t, path):
    tokens = {"from": latents.pack_token(*START, model.card), "to": latents.pack_token(*END, model.card)}
    assert same(replayed(model, "interpolate", {**tokens, "n": 1, "path": path, "t": t}), latents.between(START, END, t, path))


def test_an_edit_is_made_again_from_what_did_something(model):
    made_of = {"code": latents.pack_token(*START, model.card), "n": 1}
    assert same(replayed(model, "edit", made_of), START)
    z_s = latents.toward_class(model.prior, START[0], 2, 0.5)
    made_of |= {"class": 2, "strength": 0.5}
    assert same(replayed(model, "edit", made_of), (z_s, START[1]))
    z_u = latents.other_style(model.prior, START[1], 0.5, 7, 3, 2.0)
    made_of |= {"index": 3, "seed": 7, "style_spread": 0.5, "temperature": 2.0}
    assert same(replayed(model, "edit", made_of), (z_s, z_u))
    hashed = latents.directions_hash(toy.DIRECTIONS.directions)
    made_of |= {"directions": {"1": -2.0}, "directions_hash": hashed}
    assert same(replayed(model, "edit", made_of), (z_s, latents.steer(z_u, toy.DIRECTIONS.directions, {1: -2.0})))


def test_of_a_filled_picture_the_hole_is_its_codes_and_of_others_all_is(model):
    made_of = {"code": latents.pack_token(*START, model.card), "do": "inpaint", "hole": inpainting.pack_hole(HOLE), "n": 1}
    assert same(replayed(model, "inpaint", made_of), START)
    assert np.array_equal(replay.operation(made_of, model).decoded_region(model.card.dims), HOLE)
    assert replay.operation(made_of | {"do": "decode"}, model).decoded_region(model.card.dims).all()


def test_directions_of_another_bundle_are_an_obstacle(model, toy_bundle):
    hashed = latents.directions_hash(toy.DIRECTIONS.directions)
    moved = {"do": "edit", "model_hash": model.card.model_hash, "directions": {"0": 1.0}}
    assert replay.obstacle(moved | {"directions_hash": hashed}, model) is None
    without = load(toy_bundle, Settings())
    assert without.card.model_hash == model.card.model_hash
    for made_of, maker in (
        (moved | {"directions_hash": hashed}, without),
        (moved | {"directions_hash": hashed[::-1]}, model),
        (moved, model),
    ):
        assert "directions" in replay.obstacle(made_of, maker)


@pytest.mark.parametrize(
    ("do", "name", "values"),
    [
        ("generate", "class", [-1, 4, True, 1.0, "1", None, 10**30]),
        ("generate", "seed", [-1, 2**63, True, 1.0, "1", None]),
        ("generate", "index", [-1, 2**31, False, None]),
        ("generate", "temperature", [-0.5, 4.5, 1, True, "1", None, 1e308]),
        ("generate", "class_temperature", [-0.5, 4.5, 1, None]),
        ("generate", "sampler", ["other", "", 1, None, []]),
        ("decode", "code", [None, 1, "", "c1.", "c1.AAAA", []]),
        ("decode", "class", [-1, 4, None]),
        ("swap", "class_from", [None, 1, "c1.x", {}]),
        ("swap", "style_from", [None, 1, "c1.x", {}]),
        ("interpolate", "from", [None, 1, "c1.x", {}]),
        ("interpolate", "to", [None, "", []]),
        ("interpolate", "t", [-0.1, 1.1, 0, True, None, "0"]),
        ("interpolate", "path", ["", "Linear", None, [], 1]),
        ("edit", "code", [None, "c1.x"]),
        ("edit", "class", [-1, 4, None, "1"]),
        ("edit", "strength", [-0.1, 1.1, 1, None]),
        ("edit", "style_spread", [-0.1, 1.1, 1, None]),
        ("edit", "temperature", [-0.1, 4.1, None]),
        ("edit", "seed", [-1, 2**63, None]),
        ("edit", "index", [-1, 2**31, None]),
        ("edit", "directions", [None, [], {"2": 1.0}, {"0": 4.1}, {"0": 1}, {"0": None}, {"": 1.0}]),
        ("inpaint", "code", [None, "c1.x"]),
    ],
)
def test_a_part_that_is_missing_or_out_of_its_bounds_is_refused(model, do, name, values):
    token = latents.pack_token(*START, model.card)
    spread = {"index": 1, "seed": 1, "style_spread": 0.5, "temperature": 1.0}
    whole = {
        "generate": GENERATED,
        "decode": {"class": 1, "seed": 1, "index": 1},
        "swap": {"class_from": token, "style_from": token},
        "interpolate": {"from": token, "path": "slerp", "t": 0.5, "to": token},
        "edit": {"class": 1, "code": token, "directions": {"0": 1.0}, "strength": 0.5, **spread},
        "inpaint": {"code": token, "hole": inpainting.pack_hole(HOLE)},
    }[do]
    replay.operation({"do": do, **whole}, model)
    for value in values:
        with pytest.raises(Invalid):
            replay.operation({"do": do, **whole, name: value}, model)
    if (do, name) not in OPTIONAL:
        with pytest.raises(Invalid):
            replay.operation({"do": do, **{key: value for key, value in whole.items() if key != name}}, model)


OPTIONAL = {("decode", "code"), ("edit", "class"), ("edit", "style_spread"), ("edit", "directions")}


@pytest.mark.parametrize(
    "hole",
    [None, 1, "", "A", "AAAAAAAAAAA", "AAAAAAAAAAA=", inpainting.pack_hole(np.ones((8, 8), np.bool_)), inpainting.pack_hole(HOLE[:4]), "ß"],
)
def test_what_is_no_hole_of_the_model_is_refused(model, hole):
    with pytest.raises(Invalid):
        replay.operation({"do": "inpaint", "code": latents.pack_token(*START, model.card), "hole": hole}, model)


def test_codes_beyond_the_bound_are_refused_and_at_it_are_taken(model):
    for level, taken in ((10_000, True), (10_001, False)):
        token = latents.pack_token(np.full(3, level, np.float32), np.zeros(2, np.float32), model.card)
        made_of = {"do": "decode", "code": token}
        if taken:
            replay.operation(made_of, model)
        else:
            with pytest.raises(Invalid, match="beyond"):
                replay.operation(made_of, model)


@pytest.mark.parametrize("do", [None, "", "unheard", 1, [], {"generate": 1}])
def test_what_this_version_does_not_know_cannot_be_replayed(model, do):
    for made_of in ({"do": do}, {}):
        assert "cannot be made again" in replay.obstacle({"model_hash": model.card.model_hash} | made_of, model)
