"""Two bundles at once: `model` chooses on every route, the first is the default, and every answer names the one that made it."""

import base64
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests import drawings
from tests.toy import make_bundle
from twofold.model.contract import ContractError, Dims
from twofold.service.runtime.registry import Registry, load
from twofold.service.settings import Settings

JSON = {"accept": "application/json"}
COLOUR = Dims(dim_s=2, dim_u=3, classes=3, height=6, width=10, channels=3)
PICTURE = drawings.png()
TEXT = base64.b64encode(PICTURE).decode()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return make_bundle(folder / "a", name="grey"), make_bundle(folder / "b", COLOUR, name="colour", seed=1)


@pytest.fixture
async def both(open_client, bundles):
    return await open_client(*(load(bundle, Settings()) for bundle in bundles))


def requests(client, name):
    """One request to every route that runs a model; None leaves the choice to the server."""
    chosen = {} if name is None else {"model": name}
    return {
        "generate": client.post("/generate", json={"class": 1, "seed": 1} | chosen, headers=JSON),
        "generate by GET": client.get("/generate", params={"class": 1, "seed": 1} | chosen),
        "encode": client.post("/encode", json={"images": [TEXT]} | chosen),
        "encode multipart": client.post("/encode", files={"image": ("a", PICTURE)}, data=chosen),
        "encode raw": client.post("/encode", params=chosen, content=PICTURE, headers={"content-type": "image/png"}),
        "decode": client.post("/decode", json={"items": [{"class": 1, "seed": 1}]} | chosen),
        "swap": client.post("/swap", json={"class_from": [TEXT], "style_from": [TEXT]} | chosen),
        "swap multipart": client.post("/swap", files={"class_from": ("a", PICTURE), "style_from": ("b", PICTURE)}, params=chosen),
        "interpolate": client.post("/interpolate", json={"keys": [TEXT, {"class": 1}], "frames": 2, "seed": 1} | chosen),
        "edit": client.post("/edit", json={"image": TEXT, "class": 1} | chosen, headers=JSON),
        "edit raw": client.post("/edit", params={"class": 1} | chosen, content=PICTURE, headers={"content-type": "image/png"}),
        "inpaint": client.post("/inpaint", json={"image": TEXT, "box": [1, 1, 2, 2]} | chosen, headers=JSON),
        "inspect": client.post("/inspect", json={"image": TEXT} | chosen),
        "inspect multipart": client.post("/inspect", files={"image": ("a", PICTURE)}, data=chosen),
    }


@pytest.mark.parametrize(("name", "answered"), [(None, "grey"), ("grey", "grey"), ("colour", "colour")])
async def test_the_model_that_was_chosen_answers_on_every_route_and_is_named(both, name, answered):
    hashes = {model.card.name: model.card.model_hash for model in both.app.state.state.registry.models.values()}
    for route, request in requests(both, name).items():
        answer = await request
        assert answer.status_code == 200, (route, answer.text)
        assert answer.headers["x-model"] == f"{answered}@{hashes[answered][:8]}", route
        if answer.headers["content-type"] == "application/json":
            assert answer.json()["model"] == answer.headers["x-model"]


async def test_a_model_that_is_not_served_is_not_found_on_any_route(both):
    for route, request in requests(both, "other").items():
        answer = await request
        assert (answer.status_code, answer.json()["code"], answer.json()["allowed"]) == (404, "not_found", "grey, colour"), route


async def test_each_model_draws_its_own_pictures(both):
    shapes = {}
    for name in ("grey", "colour"):
        answer = await both.get("/generate", params={"class": 1, "seed": 1, "n": 2, "model": name})
        image = Image.open(io.BytesIO(answer.content))
        shapes[name] = (image.mode, image.size, answer.headers["x-sheet"])
    assert shapes == {"grey": ("L", (16, 8), "rows=1; cols=2; cell=8x8"), "colour": ("RGB", (20, 6), "rows=1; cols=2; cell=10x6")}


async def test_classes_are_those_of_the_chosen_model(both):
    assert (await both.get("/generate?class=gamut")).status_code == 200
    answer = await both.get("/generate?class=gamut&model=colour")
    assert (answer.status_code, answer.json()["field"]) == (422, "class")


async def test_one_models_tag_is_not_the_others(both):
    tags = [(await both.get(f"/generate?class=1&seed=1&model={name}")).headers["etag"] for name in ("grey", "colour")]
    assert (await both.get("/generate?class=1&seed=1", headers={"if-none-match": tags[0]})).status_code == 304
    assert (await both.get("/generate?class=1&seed=1", headers={"if-none-match": tags[1]})).status_code == 200


async def test_one_models_token_is_refused_by_the_other(both):
    made = (await both.post("/generate", json={"class": 1, "seed": 1, "model": "colour"}, headers=JSON)).json()["images"][0]
    body = {"items": [{"code": made["code"]}]}
    answer = await both.post("/decode", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, "items.0.code")
    assert (await both.post("/decode", json=body | {"model": "colour"})).status_code == 200


async def test_arrays_and_zips_have_the_shape_of_the_chosen_model(both):
    body = {"class": 1, "seed": 1, "n": 2, "model": "colour"}
    answer = await both.post("/generate", json=body, headers={"accept": "application/x-npz"})
    with np.load(io.BytesIO(answer.content)) as found:
        assert (found["pixels"].shape, found["z_s"].shape, found["z_u"].shape) == ((2, 6, 10, 3), (2, 2), (2, 3))
    answer = await both.post("/generate", json=body, headers={"accept": "application/zip"})
    manifest = json.loads(zipfile.ZipFile(io.BytesIO(answer.content)).read("manifest.json"))
    assert manifest["model"] == answer.headers["x-model"]


@pytest.mark.parametrize("media", ["image/png", "image/webp"])
async def test_a_picture_is_verified_by_the_model_that_made_it_unless_another_is_named(both, media):
    for name in ("grey", "colour"):
        made = await both.get("/generate", params={"class": 1, "seed": 1, "n": 3, "model": name}, headers={"accept": media})
        reported = (await both.post("/inspect?verify=true", files={"image": ("a", made.content)})).json()
        assert (reported["model"], reported["verified"], reported["max_difference"]) == (made.headers["x-model"], True, 0)
    reported = (await both.post("/inspect?verify=true&model=grey", files={"image": ("a", made.content)})).json()
    assert reported["verified"] is None
    assert "made by model" in reported["notes"][0]


async def test_cards_classes_and_probes_know_both(both):
    listed = (await both.get("/models")).json()
    assert (listed["default"], [model["name"] for model in listed["models"]]) == ("grey", ["grey", "colour"])
    for name, classes in (("grey", 4), ("colour", 3)):
        card = await both.get(f"/models/{name}")
        assert (card.json()["name"], card.headers["x-model"]) == (name, card.json()["id"])
        assert len((await both.get(f"/models/{name}/classes")).json()["classes"]) == classes
        assert (await both.get(f"/models/{name}/examples")).json() == []
    assert len((await both.get("/readyz")).json()["models"]) == 2
    text = (await both.get("/metrics")).text
    assert 'model="grey"' in text
    assert 'model="colour"' in text


async def test_the_readiness_of_one_model_is_not_enough(both):
    _, colour = both.app.state.state.registry.models.values()
    await colour.aclose()
    assert (await both.get("/generate?class=1&model=grey")).status_code == 200
    answer = await both.get("/generate?class=1&model=colour")
    assert answer.status_code == 503


def test_two_bundles_of_one_name_are_refused(bundles):
    with pytest.raises(ContractError, match="two bundles are named grey"):
        Registry([load(bundles[0], Settings()), load(bundles[0], Settings())])


def test_settings_open_both_in_their_order(bundles):
    registry = Registry.open(Settings(bundle=bundles[::-1]))
    assert (registry.default, list(registry.models)) == ("colour", ["colour", "grey"])
