"""The recipe is canonical: the same making gives the same text, whatever the order it was told in. What is read is believed in nothing."""

import json

import numpy as np
import pytest

from service import __version__, codes, recipe
from service.bundles import load
from service.errors import Invalid
from service.settings import Settings


@pytest.fixture(scope="module")
def model(toy_bundle):
    return load(toy_bundle, Settings())


GENERATED = {"class": 1, "class_temperature": 0.5, "index": 2, "n": 1, "sampler": "fitted", "seed": 7, "temperature": 1.5}


def replayed(model, do, made_of):
    (told,) = recipe.read(recipe.write(model, do, made_of), 64).pictures
    assert recipe.can_replay(told)
    return recipe.to_codes(told, model.card, model.prior)


def test_a_recipe_is_sorted_compact_and_names_model_service_and_provider(toy_bundle):
    model = load(toy_bundle, Settings())
    text = recipe.write(model, "generate", {"seed": 1, "class": 2, "temperature": 1.0})
    assert text == recipe.write(model, "generate", {"temperature": 1.0, "class": 2, "seed": 1})
    read = json.loads(text)
    assert read == {
        "twofold": 1,
        "do": "generate",
        "class": 2,
        "seed": 1,
        "temperature": 1.0,
        "model": "toy",
        "model_hash": model.card.model_hash,
        "provider": "CPUExecutionProvider",
        "service": __version__,
    }
    assert text == json.dumps(read, sort_keys=True, separators=(",", ":"))


def test_a_sheet_holds_its_shape_and_its_cells_recipes():
    assert json.loads(recipe.write_sheet(['{"a":1}', '{"a":2}'], 1, 2)) == {
        "twofold": 1,
        "rows": 1,
        "cols": 2,
        "pictures": [{"a": 1}, {"a": 2}],
    }


def test_a_recipe_is_read_as_it_was_written(model):
    text = recipe.write(model, "generate", GENERATED)
    found = recipe.read(text, 64)
    assert (found.rows, found.cols, found.told) == (1, 1, json.loads(text))
    sheet = recipe.read(recipe.write_sheet([text] * 5, 2, 3), 64)
    assert (sheet.rows, sheet.cols, len(sheet.pictures)) == (2, 3, 5)
    assert sheet.pictures[4] == found.told


@pytest.mark.parametrize("sampler", ["fitted", "paper"])
def test_a_generated_picture_is_drawn_again_from_its_streams(model, sampler):
    z_s, z_u = replayed(model, "generate", GENERATED | {"sampler": sampler})
    assert np.array_equal(z_s, codes.sample_z_s(model.prior, 1, 7, 2, 0.5, sampler))
    assert np.array_equal(z_u, codes.sample_z_u(model.prior, 7, 2, 1.5, sampler))


def test_a_decoded_picture_is_made_again_from_its_code_or_from_class_and_seed(model):
    z_s, z_u = np.array([1, -2, 3], np.float32), np.array([0.25, -1], np.float32)
    found = replayed(model, "decode", {"code": codes.pack_token(z_s, z_u, model.card), "n": 1})
    assert all(np.array_equal(*pair) for pair in zip(found, (z_s, z_u), strict=True))
    found = replayed(model, "decode", {"class": 2, "index": 3, "n": 1, "seed": 5})
    wanted = codes.sample_z_s(model.prior, 2, 5, 3), codes.sample_z_u(model.prior, 5, 3)
    assert all(np.array_equal(*pair) for pair in zip(found, wanted, strict=True))


def test_a_swap_is_made_again_from_the_class_of_one_parent_and_the_style_of_the_other(model):
    parents = [(np.full(3, k, np.float32), np.full(2, -k, np.float32)) for k in (1, 2)]
    tokens = [codes.pack_token(*parent, model.card) for parent in parents]
    z_s, z_u = replayed(model, "swap", {"class_from": tokens[0], "n": 1, "style_from": tokens[1]})
    assert (z_s.tolist(), z_u.tolist()) == ([1, 1, 1], [-2, -2])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "not JSON",
        '{"twofold":2}',
        '{"twofold":1} ',
        '{"twofold": 1}',
        '{"twofold":1,"do":"generate"}',
        '{"do":"a","do":"b","twofold":1}',
        '{"seed":NaN,"twofold":1}',
        '{"seed":1e999,"twofold":1}',
        '{"do":"\\ud800","twofold":1}',
        '{"do":"\\u0041","twofold":1}',
        '{"seed":' + "9" * 5000 + ',"twofold":1}',
        '{"do":' + "[" * 5000 + "]" * 5000 + ',"twofold":1}',
        "[" * 100_000,
    ],
    ids=range(17),
)
def test_what_was_not_written_here_is_refused(text):
    with pytest.raises(Invalid):
        recipe.read(text, 64)


@pytest.mark.parametrize(
    ("rows", "cols", "pictures"),
    [
        (1, 1, []),
        (1, 1, [1]),
        (1, 1, {}),
        (1, 1, [{}, {}]),
        (2, 2, [{}, {}]),
        (0, 1, [{}]),
        (-1, -1, [{}]),
        (True, 1, [{}]),
        (1.0, 1, [{}]),
        ("1", 1, [{}]),
        (None, 1, [{}]),
        (1, 65536, [{}]),
    ],
)
def test_a_sheet_whose_shape_and_pictures_do_not_fit_is_refused(rows, cols, pictures):
    text = json.dumps({"cols": cols, "pictures": pictures, "rows": rows, "twofold": 1}, separators=(",", ":"))
    with pytest.raises(Invalid, match="shape"):
        recipe.read(text, 64)


def test_values_are_counted_before_they_are_parsed():
    text = '{"pictures":[' + ",".join(["[]"] * 200_000) + '],"twofold":1}'
    with pytest.raises(Invalid, match="more than 64 pictures"):
        recipe.read(text, 64)


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
    ],
)
def test_a_part_that_is_missing_or_out_of_its_bounds_is_refused(model, do, name, values):
    token = codes.pack_token(np.zeros(3, np.float32), np.zeros(2, np.float32), model.card)
    whole = (
        GENERATED
        if do == "generate"
        else {"class_from": token, "style_from": token}
        if do == "swap"
        else {"class": 1, "seed": 1, "index": 1}
    )
    recipe.to_codes({"do": do, **whole}, model.card, model.prior)
    for value in values:
        with pytest.raises(Invalid):
            recipe.to_codes({"do": do, **whole, name: value}, model.card, model.prior)
    if name != "code":
        with pytest.raises(Invalid):
            recipe.to_codes({"do": do, **{key: value for key, value in whole.items() if key != name}}, model.card, model.prior)


def test_codes_beyond_the_bound_are_refused_and_at_it_are_taken(model):
    for level, taken in ((10_000, True), (10_001, False)):
        token = codes.pack_token(np.full(3, level, np.float32), np.zeros(2, np.float32), model.card)
        made_of = {"do": "decode", "code": token}
        if taken:
            recipe.to_codes(made_of, model.card, model.prior)
        else:
            with pytest.raises(Invalid, match="beyond"):
                recipe.to_codes(made_of, model.card, model.prior)


@pytest.mark.parametrize("do", [None, "", "inpaint", 1, [], {"generate": 1}])
def test_what_this_version_does_not_know_cannot_be_replayed(do):
    assert not recipe.can_replay({"do": do})
    assert not recipe.can_replay({})
