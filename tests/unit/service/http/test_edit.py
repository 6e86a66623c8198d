"""/edit on the toy bundle: another class, other styles, directions, and recipes that make every picture again."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests import drawings, toy
from twofold.service.client import Local
from twofold.service.runtime import latents
from twofold.service.runtime.registry import load
from twofold.service.settings import Settings

JSON = {"accept": "application/json"}


async def ok(request):
    answer = await request
    assert answer.status_code == 200, answer.text
    return answer


def pixels_of(image) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image["image"]))))


@pytest.fixture
def local(toy_bundle):
    return Local(toy_bundle).arrays


@pytest.fixture
def source(local):
    """The codes of some picture of class 0."""
    z_s, z_u = local.sample([0], seed=5)
    return z_s[0], z_u[0]


@pytest.fixture
def token(local, source):
    return latents.pack_token(*source, local.card)


@pytest.fixture
async def steered(open_client, tmp_path):
    """A client of a model with directions of style; but for them it is the toy bundle."""
    return await open_client(load(toy.make_bundle(tmp_path / "toy", directions=toy.DIRECTIONS), Settings()))


async def edited(client, local, **fields):
    answer = (await ok(client.post("/edit", json=fields, headers=JSON))).json()
    return [latents.unpack_token(image["code"], local.card) for image in answer["images"]]


async def test_without_parameters_an_edit_is_the_reconstruction(client, local, source, token):
    ((z_s, z_u),) = await edited(client, local, image=token)
    assert (z_s.tobytes(), z_u.tobytes()) == (source[0].tobytes(), source[1].tobytes())


async def test_another_class_in_the_same_style_by_strength(client, local, source, token):
    for strength in (0, 0.25, 1):
        ((z_s, z_u),) = await edited(client, local, image=token, strength=strength, **{"class": "gamma"})
        np.testing.assert_allclose(z_s, (1 - strength) * source[0] + strength * local.prior.fit_means[2], rtol=1e-5)
        assert z_u.tobytes() == source[1].tobytes()


async def test_the_class_is_that_of_the_new_code(client, token):
    body = {"image": token, "class": 3, "verdict": True}
    (image,) = (await ok(client.post("/edit", json=body, headers=JSON))).json()["images"]
    assert image["class"] == {"index": 3, "name": "Gamut"}
    assert (image["verdict"]["class"]["index"], image["verdict"]["kept"]) == (3, True)
    assert not {"seed", "index"} & image.keys()


async def test_other_styles_of_the_same_class_are_those_of_the_seed(client, local, source, token):
    got = await edited(client, local, image=token, style_spread=1, n=3, seed=4, index=7)
    for k, (z_s, z_u) in enumerate(got):
        assert z_s.tobytes() == source[0].tobytes()
        np.testing.assert_allclose(z_u, latents.sample_z_u(local.prior, 4, 7 + k), rtol=1e-6)
    half = await edited(client, local, image=token, style_spread=0.5, n=2, seed=4, index=7, temperature=0.5)
    assert half[0][1].tobytes() == latents.other_style(local.prior, source[1], 0.5, 4, 7, 0.5).tobytes()


async def test_each_picture_can_be_had_alone(client, token):
    request_body = {"image": token, "class": 1, "style_spread": 0.7, "seed": 4}
    images = (await ok(client.post("/edit", json=request_body | {"n": 4, "index": 2}, headers=JSON))).json()["images"]
    assert [(image["seed"], image["index"]) for image in images] == [(4, 2), (4, 3), (4, 4), (4, 5)]
    for image in images:
        alone = await ok(client.post("/edit", json=request_body | {"index": image["index"]}))
        assert alone.content == base64.b64decode(image["image"])


async def test_a_random_seed_is_returned_only_where_styles_are_sampled(client, token):
    body = {"image": token, "style_spread": 0.5, "n": 2}
    generated = await ok(client.post("/edit", json=body))
    assert (await ok(client.post("/edit", json=body | {"seed": int(generated.headers["x-seed"])}))).content == generated.content
    assert generated.headers["cache-control"] == "no-store"
    assert generated.headers["x-sheet"] == "rows=1; cols=2; cell=8x8"
    assert "x-seed" not in (await ok(client.post("/edit", json={"image": token, "seed": 3}))).headers


async def test_a_picture_may_come_in_four_ways(client):
    picture = drawings.png(12, 8, level=200)
    sent = base64.b64encode(picture).decode()
    answers = [
        await ok(client.post("/edit", json={"image": sent, "class": 1}, headers=JSON)),
        await ok(client.post("/edit", files={"image": ("a", picture), "class": ("", "1")}, headers=JSON)),
        await ok(client.post("/edit?class=1", files={"image": ("a", picture)}, headers=JSON)),
        await ok(client.post("/edit?class=1", content=picture, headers=JSON | {"content-type": "image/png"})),
    ]
    assert all(answer.json()["images"] == answers[0].json()["images"] for answer in answers)
    assert answers[0].json()["notes"] == {"image": [["12x8 cropped to 8x8"]]}


async def test_directions_move_the_style_by_their_weights(steered, local, source, token):
    directions = toy.DIRECTIONS.directions
    ((z_s, z_u),) = await edited(steered, local, image=token, directions={"0": 1.5, "1": -2})
    assert z_s.tobytes() == source[0].tobytes()
    np.testing.assert_allclose(z_u, source[1] + 1.5 * directions[0] - 2 * directions[1], rtol=1e-5)
    typed = await ok(steered.post("/edit?directions=0:1.5,1:-2", files={"image": ("", token)}))
    reported = await ok(steered.post("/edit", json={"image": token, "directions": {"1": -2.0, "0": 1.5}}))
    assert typed.content == reported.content


async def test_the_card_of_a_model_lists_what_its_directions_do(steered, client):
    assert (await ok(steered.get("/models/toy"))).json()["directions"] == [9, 4]
    assert (await ok(client.get("/models/toy"))).json()["directions"] is None


@pytest.mark.parametrize("directions", [{"2": 1}, {"-1": 1}, {"00": 1}, {"first": 1}, {"": 1}, {"٠": 1}])
async def test_a_direction_that_there_is_not_is_refused_with_those_there_are(steered, token, directions):
    answer = await steered.post("/edit", json={"image": token, "directions": directions})
    assert (answer.status_code, answer.json()["field"], answer.json()["allowed"]) == (422, "directions", "0 to 1")


async def test_a_model_without_directions_says_so(client, token):
    answer = await client.post("/edit", json={"image": token, "directions": {"0": 1}})
    assert (answer.status_code, answer.json()["field"]) == (422, "directions")
    assert "no directions" in answer.json()["detail"]


async def test_every_recipe_makes_its_picture_again(steered, local, token):
    requests = [
        {},
        {"class": 1},
        {"class": 1, "strength": 0.3, "style_spread": 0.4, "seed": 6, "index": 2, "n": 3, "temperature": 2},
        {"directions": {"1": 0.5}, "style_spread": 1, "seed": 6},
    ]
    for request_body in requests:
        for image in (await ok(steered.post("/edit", json={"image": token} | request_body, headers=JSON))).json()["images"]:
            recipe = json.loads(Image.open(io.BytesIO(base64.b64decode(image["image"]))).text["twofold"])
            z_s, z_u = latents.unpack_token(recipe["code"], local.card)
            if "class" in recipe:
                z_s = latents.toward_class(local.prior, z_s, recipe["class"], recipe["strength"])
            if "seed" in recipe:
                generated = (recipe[name] for name in ("style_spread", "seed", "index", "temperature"))
                z_u = latents.other_style(local.prior, z_u, *generated)
            if "directions" in recipe:
                assert recipe["directions_hash"] == latents.directions_hash(toy.DIRECTIONS.directions)
                z_u = latents.steer(z_u, toy.DIRECTIONS.directions, {int(row): weight for row, weight in recipe["directions"].items()})
            assert latents.pack_token(z_s, z_u, local.card) == image["code"]
            assert np.array_equal(local.decode(z_s[None], z_u[None])[0, :, :, 0], pixels_of(image))


async def test_a_recipe_holds_nothing_that_changed_nothing(client, token):
    (image,) = (await ok(client.post("/edit", json={"image": token, "seed": 1, "strength": 0.5}, headers=JSON))).json()["images"]
    recipe = json.loads(Image.open(io.BytesIO(base64.b64decode(image["image"]))).text["twofold"])
    assert recipe.keys() - {"model", "model_hash", "provider", "service", "twofold"} == {"do", "code", "n"}
