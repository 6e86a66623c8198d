"""The recipe is canonical: the same making gives the same text, whatever the order it was told in."""

import json

from service import __version__, recipe
from service.bundles import load
from service.settings import Settings


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


def test_an_animation_holds_its_speed_and_its_frames_recipes():
    text = recipe.write_animation(['{"a":1}', '{"a":2}'], 12)
    assert json.loads(text) == {"twofold": 1, "fps": 12, "pictures": [{"a": 1}, {"a": 2}]}
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


def test_a_sheet_holds_its_shape_and_its_cells_recipes():
    assert json.loads(recipe.write_sheet(['{"a":1}', '{"a":2}'], 1, 2)) == {
        "twofold": 1,
        "rows": 1,
        "cols": 2,
        "pictures": [{"a": 1}, {"a": 2}],
    }
