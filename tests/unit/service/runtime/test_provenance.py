"""The recipe is canonical: the same making gives the same text, whatever the order of its parts. Nothing that is read is trusted."""

import json

import pytest

from twofold import __version__
from twofold.service.runtime import provenance
from twofold.service.runtime.errors import Invalid
from twofold.service.runtime.registry import load
from twofold.service.settings import Settings


@pytest.fixture(scope="module")
def model(toy_bundle):
    return load(toy_bundle, Settings())


GENERATED = {"class": 1, "class_temperature": 0.5, "index": 2, "n": 1, "sampler": "fitted", "seed": 7, "temperature": 1.5}


def test_a_recipe_is_sorted_compact_and_names_model_service_and_provider(toy_bundle):
    model = load(toy_bundle, Settings())
    text = provenance.write(model, "generate", {"seed": 1, "class": 2, "temperature": 1.0})
    assert text == provenance.write(model, "generate", {"temperature": 1.0, "class": 2, "seed": 1})
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


def test_an_animation_holds_its_speed_and_its_frames_recipes():
    text = provenance.write_animation(['{"a":1}', '{"a":2}'], 12)
    assert json.loads(text) == {"twofold": 1, "fps": 12, "pictures": [{"a": 1}, {"a": 2}]}
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


def test_a_sheet_holds_its_shape_and_its_cells_recipes():
    assert json.loads(provenance.write_sheet(['{"a":1}', '{"a":2}'], 1, 2)) == {
        "twofold": 1,
        "rows": 1,
        "cols": 2,
        "pictures": [{"a": 1}, {"a": 2}],
    }


def test_a_recipe_is_read_as_it_was_written(model):
    text = provenance.write(model, "generate", GENERATED)
    found = provenance.read(text, 64)
    assert (found.rows, found.cols, found.document) == (1, 1, json.loads(text))
    sheet = provenance.read(provenance.write_sheet([text] * 5, 2, 3), 64)
    assert (sheet.rows, sheet.cols, len(sheet.pictures)) == (2, 3, 5)
    assert sheet.pictures[4] == found.document


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
        provenance.read(text, 64)


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
        provenance.read(text, 64)


@pytest.mark.parametrize("levels", [provenance.MAX_DEPTH, provenance.MAX_DEPTH + 1, 900, 5000])
def test_nesting_is_bounded_by_a_number_and_not_by_the_parser(levels):
    text = '{"do":' + "[" * (levels - 1) + "]" * (levels - 1) + ',"twofold":1}'
    if levels <= provenance.MAX_DEPTH:
        assert provenance.read(text, 64).document["twofold"] == 1
    else:
        with pytest.raises(Invalid, match="version 1, or was changed"):
            provenance.read(text, 64)


def test_values_are_counted_before_they_are_parsed():
    text = '{"pictures":[' + ",".join(["[]"] * 200_000) + '],"twofold":1}'
    with pytest.raises(Invalid, match="more than 64 pictures"):
        provenance.read(text, 64)
